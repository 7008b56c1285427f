"""Video tracking: the same registration over many frames at once, with temporal smoothness."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from pipeline.body import ARKIT_NAMES, BodyModel
from pipeline.media import to_uint8
from pipeline.perceive import targets as T
from pipeline.perceive.crop import CropWindow, crop_916
from pipeline.perceive.dense import DenseTargets
from pipeline.perceive.detect import Detector
from pipeline.perceive.eyes import BLINK, read_eyes
from pipeline.perceive.flow import FlowAligner, cut_out
from pipeline.perceive.initial import bend_legs, initial_state
from pipeline.perceive.likeness import Likeness
from pipeline.perceive.lips import JAW_OPEN, jaw_left
from pipeline.perceive.matte import Matter
from pipeline.perceive.mouth import with_own_mouth
from pipeline.perceive.people import count_people
from pipeline.perceive.photo import crop_detections, person_height_pixels, photo_camera
from pipeline.perceive.reach import reach_for_hands
from pipeline.perceive.register import RegisterConfig, Registration, Stage, register
from pipeline.perceive.report import part_errors
from pipeline.perceive.shots import CutDetector, shots
from pipeline.perceive.targets import Targets, build_targets
from pipeline.types import Array, BodyParams, Camera, Detections, MotionClip, Observation, PipelineError
from pipeline.video import VideoReader

CHUNK, OVERLAP = 240, 24
"""Frames optimised together, and frames shared by neighbouring chunks (cross-faded)."""
SHAPE_FRAMES = 6
MIN_TRACKED = 0.5
"""Smallest share of frames in which a person must be found."""
BEFORE_CHEST = 0.5
"""What a hand before the chest takes from the score of a frame as the photo, as a factor."""
MOVING, MOVING_UNSEEN = 0.06, 0.12
"""Way of a wrist from frame to frame, in shoulder widths, that halves a frame's score as the photo; the second one
where the hand is not found, and the wrist is a guess that jumps about."""
PEOPLE_SECONDS, MAX_CROWDED = 1.0, 0.75
"""How often people are counted, and the largest share of counts with several faces (prints on clothes can pass)."""
PLAIN_SIDE = 960
"""Long side in pixels at which frames are read for motion alone; the detectors see no more anyway."""

VIDEO_STAGES = (
    Stage(40, 0.04, ("global_orient", "transl")),
    Stage(60, 0.03, ("global_orient", "transl", "body_pose", "arkit"), prior=1.5),
    Stage(60, 0.02, ("global_orient", "transl", "body_pose", "left_hand_pose", "right_hand_pose", "arkit"), prior=0.7),
    Stage(
        50,
        0.015,
        ("global_orient", "transl", "body_pose", "left_hand_pose", "right_hand_pose", "arkit"),
        prior=0.7,
        order=True,
    ),
)
_ALL = VIDEO_STAGES[2].free
PLAIN_STAGES = (
    Stage(20, 0.05, ("global_orient", "transl")),
    Stage(25, 0.037, ("global_orient", "transl", "body_pose", "arkit"), prior=1.5, newton=3),
    Stage(40, 0.025, _ALL, prior=0.7),
    Stage(40, 0.016, _ALL, prior=0.7, order=True, newton=6),
)
"""For motion alone. Newton steps bring the body to rest, which Adam's leave trembling (docs/motion.md)."""
KNOWN_STAGES = (
    Stage(20, 0.01, ("global_orient", "transl")),
    Stage(160, 0.03, _ALL, prior=0.7),
    Stage(110, 0.016, _ALL, prior=0.7, order=True),
)
"""For a person known from a photo, whose pose is the start: no long steps for the root, which would lose the face,
and more of them, because a hand near the camera and a face are reconciled slowly."""
PLAIN_GAINS = {"weight_body": 3.0, "weight_body_direction": 2.0, "weight_trunk_direction": 10.0, "weight_order": 2.0}
"""Beside hands and face the arms' and legs' points weigh little, and in so few steps they would not arrive. Where the
trunk looks, the detector's idea of its depth has to say: narrow shoulders may be turned either way."""
SHAPE_STAGES = (
    Stage(30, 0.04, ("global_orient", "transl")),
    Stage(50, 0.03, ("global_orient", "transl", "body_pose", "arkit"), prior=2.0),
    Stage(80, 0.02, (*_ALL, "betas")),
)
ORDER_STEP = 3
DENSE_STAGES = (replace(VIDEO_STAGES[3], iterations=20, learning_rate=0.008, newton=5),)
DENSE_ROUNDS = 3
FLOW_HEIGHT = 512
"""Height in pixels at which frames are compared by optical flow."""


@dataclass(frozen=True)
class VideoDetections:
    """2D detections of a whole video, in source pixels.

    Attributes:
        path: the video. frames: one entry per frame, None where no person was found.
        fps: frames per second. width, height: source pixels.
        cuts: numbers of the frames that begin a new shot.
        max_side: long side at which the frames were read.
    """

    path: Path

    frames: tuple[Detections | None, ...]
    fps: float
    width: int
    height: int
    cuts: tuple[int, ...] = ()
    max_side: int = 1920


@dataclass(frozen=True)
class TrackResult:
    """A tracked video.

    Attributes:
        registration: bodies of F frames. camera: the camera of the crop. window: the crop in source pixels.
        targets: the detections that were explained. fps: frames per second.
        found: (F,) bool, frames in which a person was detected (others are bridged).
        errors: mean reprojection error per part, percent of the person's height.
        cuts: numbers of the frames that begin a new shot; nothing is smoothed over them.
        source: the detections.
    """

    registration: Registration
    camera: Camera
    window: CropWindow
    targets: Targets
    fps: float
    found: Array
    errors: dict[str, float]
    cuts: tuple[int, ...] = ()
    source: VideoDetections | None = None

    def __len__(self) -> int:
        return len(self.registration)

    def frame(self, index: int) -> BodyParams:
        """Body parameters of one frame."""
        return self.registration.frame(index)

    def clip(self, name: str) -> MotionClip:
        """The motion alone, one pose per frame as registered; blinks, gaze and shut lips as measured on the face mesh.

        See :mod:`pipeline.motion.tracked` for what makes a smooth motion of it.
        """
        state, face = self.registration.state, self.registration.face
        pose = {k: state[k] for k in ("global_orient", "body_pose", "left_hand_pose", "right_hand_pose", "transl")}
        meta = {
            "name": name, "source": "tracked from video", "frames_found": int(self.found.sum()), "errors": self.errors,
        }  # fmt: skip
        mesh, has_face = self.targets.points[:, T.FACE].numpy(), self.targets.has_face.numpy()
        eyes = read_eyes(mesh, has_face)
        turn = np.concatenate([eyes.gaze[:, ::-1], np.zeros((len(self), 1))], axis=1).astype(np.float32)
        arkit = np.array(state["arkit"])
        looks = [i for i, n in enumerate(ARKIT_NAMES) if n.startswith("eyeLook")]
        arkit[:, BLINK], arkit[:, looks] = eyes.blink, 0.0
        left = jaw_left(arkit, self.targets)
        arkit[:, JAW_OPEN] *= left
        jaw_pose = face["jaw_pose"] * left[:, None]
        pose |= {"jaw_pose": jaw_pose, "leye_pose": turn, "reye_pose": turn}
        return MotionClip(fps=self.fps, arkit=arkit, meta=meta, **pose)

    def seen(self) -> dict[str, Array]:
        """(F,) bool per part: in which frames the detectors saw the person, the face and each hand."""
        t = self.targets
        parts = {"face": t.has_face, "left_hand": t.has_left_hand, "right_hand": t.has_right_hand}
        return {"person": self.found, **{name: values.numpy() for name, values in parts.items()}}


def detect_video(
    path: str | Path,
    *,
    max_seconds: float = 120.0,
    max_side: int = 1920,
    start: float = 0.0,
    progress: Callable[[str, float], None] | None = None,
) -> VideoDetections:
    """Run the detectors over a video; at a cut they start anew.

    Args:
        path: the video.
        max_seconds: length of the part that is looked at; ``start``: where it begins, seconds.
        max_side: larger frames are shrunk to this long side first.
        progress: called with a stage name and the share done.

    Raises:
        PipelineError: unreadable video, a person in fewer than half of its frames, or several people in most.
    """
    found: list[Detections | None] = []
    crowded: list[bool] = []
    cuts: list[int] = []
    with VideoReader(path, max_seconds=max_seconds, max_side=max_side, start=start) as reader:
        scene = CutDetector(reader.info.fps)
        with Detector(static=False) as detector:
            for number, frame in enumerate(reader):
                ago = scene.new_shot(frame)
                if ago is not None:
                    cuts.append(number - ago)
                    detector.close()
                found.append(detector.detect(frame))
                if number % max(1, round(PEOPLE_SECONDS * reader.info.fps)) == 0:
                    crowded.append(count_people(frame, found[-1]) > 1)
                if progress is not None and number % 5 == 0:
                    progress("keypoints", min(number / max(reader.info.frames, 1), 1.0))
        info = reader.info
    _check_people(found, crowded)
    return VideoDetections(Path(path), tuple(found), info.fps, info.width, info.height, tuple(cuts), max_side)


def _check_people(found: Sequence[Detections | None], crowded: Sequence[bool]) -> None:
    people = sum(d is not None for d in found)
    if not found:
        raise PipelineError("The video has no frames; use another video.")
    if people < MIN_TRACKED * len(found):
        raise PipelineError(
            f"A person was found in only {people} of {len(found)} frames; use a video that shows one person throughout."
        )
    if sum(crowded) > MAX_CROWDED * len(crowded):
        raise PipelineError("The video shows several people; crop it so that only one person is in it.")


def choose_reference(detections: VideoDetections) -> int:
    """The first usable frontal frame: face to the camera, and, if ever, hands in view, still, not before the chest.

    What a hand covers in the photo would have to be guessed whenever that hand moves, and a moving hand is blurred.

    Raises:
        PipelineError: when no frame shows a face.
    """
    scores = np.array([_frontal_score(d, detections) for d in detections.frames]) * stillness(detections)
    if scores.max() <= 0:
        raise PipelineError("No frame shows the person's face; use a video in which they look at the camera.")
    return int(np.flatnonzero(scores >= 0.75 * scores.max())[0])


def _frontal_score(found: Detections | None, video: VideoDetections) -> float:
    if found is None or found.face is None:
        return 0.0
    nose, left, right = (found.face[i, 0] for i in (1, 454, 234))
    width = abs(left - right)
    yaw = abs((left - nose) - (nose - right)) / max(width, 1e-6)
    score = max(0.0, 1.0 - yaw)
    for hand, wrist in ((found.left_hand, 15), (found.right_hand, 16)):
        x, y, visibility = found.pose[wrist]
        inside = 0 < x < video.width and 0 < y < video.height and visibility > 0.5
        score *= 1.0 if hand is not None else (0.75 if inside else 0.85)
        if before_chest(found.pose, hand.mean(0) if hand is not None else found.pose[wrist]):
            score *= BEFORE_CHEST
    return float(score)


def stillness(video: VideoDetections) -> Array:
    """1 for frames in which both wrists are at rest .. 0 for fast ones (T,), by their way to the frames around them."""
    out = np.ones(len(video.frames))
    for i, found in enumerate(video.frames):
        around = [video.frames[k] for k in (i - 1, i + 1) if 0 <= k < len(video.frames)]
        if found is None:
            continue
        for wrist, hand in ((15, found.left_hand), (16, found.right_hand)):
            if found.pose[wrist, 2] < 0.5:
                continue
            width = max(abs(found.pose[11, 0] - found.pose[12, 0]), 1.0)
            seen = [d.pose[wrist, :2] for d in around if d is not None and d.pose[wrist, 2] > 0.5]
            way = max((np.linalg.norm(found.pose[wrist, :2] - there) for there in seen), default=0.0) / width
            out[i] *= 1 / (1 + (way / (MOVING if hand is not None else MOVING_UNSEEN)) ** 2)
    return out


def before_chest(pose: Array, point: Array) -> bool:
    """Whether a point (x, y, ...) lies before the chest or neck of a pose (33, 3), in pixels."""
    (x0, x1), top = np.sort(pose[[11, 12], 0]), pose[[11, 12], 1].min()
    hips = pose[[23, 24], 1].max()
    return bool(x0 < point[0] < x1 and top - 0.5 * (x1 - x0) < point[1] < top + 0.8 * (hips - top))


def video_window(detections: VideoDetections, size: tuple[int, int]) -> CropWindow:
    """One 9:16 window for a whole video, around everything that the person reaches."""
    blank = np.broadcast_to(np.zeros(1, np.uint8), (detections.height, detections.width, 3))
    some = [d for d in detections.frames if d is not None]
    merged = np.zeros((detections.height, detections.width), np.float32)
    for d in some[:: max(len(some) // 60, 1)]:
        sure = [d.pose[d.pose[:, 2] > 0.5, :2]]
        sure += [p[:, :2] for p in (d.face, d.left_hand, d.right_hand) if p is not None]
        points = np.concatenate(sure)
        x0, y0 = np.clip(points.min(0), 0, None).astype(int)
        x1, y1 = np.ceil(points.max(0)).astype(int)
        merged[y0:y1, x0:x1] = 1.0
    return crop_916(blank, some[0], merged, out_width=size[0], out_height=size[1])


def track_video(
    video: str | Path | VideoDetections,
    body: BodyModel,
    *,
    size: tuple[int, int] = (576, 1024),
    window: CropWindow | None = None,
    betas: Array | None = None,
    reference: Observation | None = None,
    dense: bool = True,
    config: RegisterConfig | None = None,
    max_seconds: float = 120.0,
    progress: Callable[[str, float], None] | None = None,
) -> TrackResult:
    """Track a person through a video.

    Args:
        video: path, or detections from :func:`detect_video`.
        body: body model.
        size: (width, height) of the crop in pixels.
        window: crop in source pixels; chosen around the person when absent.
        betas: (B,) shape, kept fixed (re-tracking, Eq. 6); estimated from the clearest frames when absent.
        reference: a photo of the same person in the same clothes and window: what it teaches about detectors and pose
            is used (:mod:`pipeline.perceive.likeness`), and dense alignment compares all frames with it; the clearest
            frame of the video when absent.
        dense: refine by optical flow (:mod:`pipeline.perceive.flow`), about half of the time.
        config: registration weights.
        max_seconds: longer videos are cut there.
        progress: called with a stage name and the share done.

    Raises:
        PipelineError: unreadable video or no person.
    """
    tell = progress or (lambda stage, share: None)
    found = video
    if not isinstance(found, VideoDetections):
        side = 1920 if dense else PLAIN_SIDE
        found = detect_video(found, max_seconds=max_seconds, max_side=side, progress=tell)
    window = window or video_window(found, size)
    config = config or RegisterConfig()
    if not dense:
        config = replace(config, **{name: gain * getattr(config, name) for name, gain in PLAIN_GAINS.items()})
    cropped = [None if d is None else crop_detections(d, window) for d in found.frames]
    camera = photo_camera(size, config, cropped) if reference is None else reference.camera
    targets = build_targets(cropped, *size)
    if betas is None:
        shape = config if dense else replace(config, stages=SHAPE_STAGES)
        betas = estimate_shape(targets, body, camera, shape)
    plain = replace(config, stages=PLAIN_STAGES if reference is None else KNOWN_STAGES, order_step=ORDER_STEP)
    config = replace(config, stages=VIDEO_STAGES) if dense else plain
    chunks = chunks_of(found.cuts, len(targets))
    likeness = None if reference is None else Likeness.of(reference, body)
    registration = register_chunks(
        targets, body, camera, config, betas, chunks, lambda share: tell("tracking", share), likeness=likeness
    )
    if dense:
        frames = _cut_outs(found, window, lambda share: tell("matte", share))
        aligner = _aligner(found, body, camera, frames, registration, reference)
        config = replace(config, stages=DENSE_STAGES)
        for k in range(DENSE_ROUNDS):
            anchors = _look(aligner, frames, registration, lambda share, k=k: tell(f"flow {k + 1}", share))
            registration = register_chunks(
                targets, body, camera, config, betas, chunks,
                lambda share, k=k: tell(f"alignment {k + 1}", share), registration, anchors, likeness,
            )  # fmt: skip
    if reference is None:
        registration = with_own_mouth(registration, targets, camera, body)
    errors = part_errors(registration, targets, person_height_pixels(body, registration, camera))
    with np.errstate(all="ignore"):
        means = {k: round(float(np.nanmean(v)), 3) for k, v in errors.items() if not np.isnan(v).all()}
    seen = np.array([d is not None for d in cropped])
    return TrackResult(registration, camera, window, targets, found.fps, seen, means, found.cuts, found)


def estimate_shape(targets: Targets, body: BodyModel, camera: Camera, config: RegisterConfig) -> Array:
    """One shape for the video, from the frames in which most is seen, spread over its length."""
    seen = targets.weights[:, T.POSE].sum(1) + targets.has_face.float() * 8
    parts = np.array_split(np.arange(len(targets)), min(SHAPE_FRAMES, len(targets)))
    best = np.array([part[int(seen[part].argmax())] for part in parts])
    still = replace(config, smooth_pose=0.0, smooth_hand=0.0, smooth_arkit=0.0, smooth_transl=0.0)
    return register(targets.select(best), body, camera, still).betas


def _cut_outs(video: VideoDetections, window: CropWindow, progress: Callable[[float], None]) -> list[Array]:
    """Small grey crops of all frames with the person on white, (h, w) uint8 each (0.15 MB)."""
    import cv2

    width = round(FLOW_HEIGHT * window.out_width / window.out_height)
    small = replace(window, out_width=width, out_height=FLOW_HEIGHT)
    frames = []
    seconds = (len(video.frames) + 1) / video.fps
    with VideoReader(video.path, max_seconds=seconds, max_side=video.max_side) as reader, Matter() as matter:
        for found, frame in zip(video.frames, reader, strict=False):
            crop, valid = small.apply(frame)
            seen = None if found is None else crop_detections(found, small)
            alpha = matter.matte(crop, seen, "fast", valid)
            frames.append(cut_out(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), alpha))
            progress(len(frames) / len(video.frames))
    return frames


def _aligner(
    video: VideoDetections, body: BodyModel, camera: Camera, frames: Sequence[Array], registration: Registration,
    reference: Observation | None,
) -> FlowAligner:  # fmt: skip
    import cv2

    if reference is None:
        index = choose_reference(video)
        return FlowAligner(body, frames[index], registration.frame(index), camera)
    size = frames[0].shape[::-1]
    grey = cv2.cvtColor(to_uint8(reference.image), cv2.COLOR_RGB2GRAY)
    small, alpha = (cv2.resize(x, size, interpolation=cv2.INTER_AREA) for x in (grey, reference.alpha))
    return FlowAligner(body, cut_out(small, alpha), reference.params, camera)


def _look(
    aligner: FlowAligner, frames: Sequence[Array], registration: Registration, progress: Callable[[float], None]
) -> DenseTargets:
    """Where the anchors are seen in every frame; weight 0 in frames that could not be read again."""
    count = len(registration)
    points = np.zeros((count, len(aligner.anchors), 2), np.float32)
    weights = np.zeros(points.shape[:2], np.float32)
    for f, frame in enumerate(frames[:count]):
        points[f], weights[f] = aligner.align(frame, registration.frame(f))
        progress((f + 1) / count)
    return DenseTargets(aligner.anchors, torch.from_numpy(points), torch.from_numpy(weights))


def chunks_of(cuts: Sequence[int], frames: int) -> list[tuple[int, int]]:
    """Parts of the video that are optimised together, [first, end); those of one shot share OVERLAP frames."""
    parts = []
    for begin, end in shots(cuts, frames):
        firsts = range(begin, max(end - OVERLAP, begin + 1), CHUNK - OVERLAP)
        parts += [(first, min(first + CHUNK, end)) for first in firsts]
    return parts


def register_chunks(
    targets: Targets, body: BodyModel, camera: Camera, config: RegisterConfig, betas: Array,
    chunks: Sequence[tuple[int, int]], progress: Callable[[float], None], start: Registration | None = None,
    dense: DenseTargets | None = None, likeness: Likeness | None = None,
) -> Registration:  # fmt: skip
    pieces = []
    for k, (first, end) in enumerate(chunks):
        part = slice(first, end)
        if start is None and likeness is not None:
            init = likeness.start(targets.select(part), body, camera)
        elif start is None:
            init = initial_state(targets.select(part), body, camera)
            bend_legs(init, targets.select(part), body)
        else:
            init = {name: values[part] for name, values in start.state.items()}
        if start is None:
            reach_for_hands(init, targets.select(part), body, betas, camera)
        pieces.append(
            register(
                targets.select(part), body, camera, config, betas=betas, fixed_shape=True, init=init,
                dense=None if dense is None else dense.select(part), likeness=likeness,
                progress=lambda share, k=k: progress((k + share) / len(chunks)),
            )
        )  # fmt: skip
    return pieces[0] if len(pieces) == 1 else _crossfade(pieces, chunks)


def _crossfade(pieces: Sequence[Registration], chunks: Sequence[tuple[int, int]]) -> Registration:
    """Blend neighbouring chunks linearly over the frames that they share (rotations there are nearly equal)."""
    frames = chunks[-1][1]
    weight = np.zeros((len(pieces), frames), np.float32)
    for k, (first, end) in enumerate(chunks):
        ramp = np.ones(end - first, np.float32)
        before = chunks[k - 1][1] - first if k else 0
        after = end - chunks[k + 1][0] if k + 1 < len(chunks) else 0
        if before:
            ramp[:before] = np.linspace(0, 1, before + 2)[1:-1]
        if after:
            ramp[-after:] *= np.linspace(1, 0, after + 2)[1:-1]
        weight[k, first:end] = ramp
    weight /= weight.sum(0)

    def blend(get: Callable[[Registration], Array]) -> Array:
        example = get(pieces[0])
        total = np.zeros((frames, *example.shape[1:]), np.float32)
        for k, (piece, (first, end)) in enumerate(zip(pieces, chunks, strict=True)):
            w = weight[k, first:end].reshape(-1, *(1,) * (example.ndim - 1))
            total[first:end] += w * get(piece)
        return total

    state = {k: blend(lambda p, k=k: p.state[k]) for k in pieces[0].state}
    face = {k: blend(lambda p, k=k: p.face[k]) for k in pieces[0].face}
    return Registration(state, pieces[0].betas, face, blend(lambda p: p.points))
