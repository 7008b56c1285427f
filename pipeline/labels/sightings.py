"""Frames of the person, found and tracked with the photo's shape: from a video, or from single pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.body import BodyModel
from pipeline.labels.align import HEIGHT, CutOut, agree
from pipeline.labels.steady import UNKNOWN, shared_ground
from pipeline.media import from_uint8, load_photo, to_uint8
from pipeline.perceive.crop import CropWindow, crop_916
from pipeline.perceive.dense import DenseTargets
from pipeline.perceive.detect import Detector
from pipeline.perceive.flow import FlowAligner, cut_out
from pipeline.perceive.matte import Matter, matte
from pipeline.perceive.photo import crop_detections, person_height_pixels
from pipeline.perceive.register import RegisterConfig, Registration, register
from pipeline.perceive.report import part_errors
from pipeline.perceive.targets import Targets, build_targets
from pipeline.perceive.track import (
    DENSE_STAGES,
    FLOW_HEIGHT,
    TrackResult,
    VideoDetections,
    detect_video,
    track_video,
)
from pipeline.types import Array, BodyParams, Camera, Detections, Observation, PipelineError
from pipeline.video import VideoReader

if TYPE_CHECKING:
    from pipeline.avatar import Avatar

Progress = Callable[[str, float], None]
PICTURE_ROUNDS = 2
STILL = RegisterConfig(smooth_pose=0.0, smooth_hand=0.0, smooth_arkit=0.0, smooth_transl=0.0)
"""Frames that do not follow one another."""
KEPT = 64
"""Frames of a video that are kept in memory, evenly spread; all are tracked."""


@dataclass(frozen=True)
class Known:
    """The person as the photo shows them: what frames are aligned with.

    Attributes:
        avatar: fitted to the photo alone. photo: the observation it was fitted to.
    """

    avatar: Avatar
    photo: Observation


@dataclass(frozen=True)
class Sighting:
    """One tracked frame.

    Attributes:
        crop: (H, W, 3) uint8. valid: (H, W) bool, False where the crop reaches over the frame's edge.
        camera, params: as in :class:`pipeline.types.Observation`, with the photo's shape.
        detections: in the crop's pixels. errors: reprojection error per seen part, percent of the person's height.
        matte: (H, W) in 0..1, when it is known already.
    """

    crop: Array
    valid: Array
    camera: Camera
    params: BodyParams
    detections: Detections
    errors: dict[str, float]
    matte: Array | None = None

    @property
    def image(self) -> Array:
        """(H, W, 3) float32 in 0..1."""
        return from_uint8(self.crop)

    @property
    def face(self) -> Array | None:
        """(478, 3) landmarks, or None."""
        return self.detections.face

    def alpha(self, matter: Matter) -> Array:
        """(H, W) matte, 0 where the frame ends."""
        alpha = self.matte
        if alpha is None:
            alpha = matter.matte(self.crop, self.detections, "fast", self.valid)
        return alpha * self.valid

    def sharpness(self) -> float:
        """Spread of the Laplacian around the face and hands; compare within one piece of footage only."""
        import cv2

        grey = cv2.cvtColor(self.crop, cv2.COLOR_RGB2GRAY)
        parts = (self.face, self.detections.left_hand, self.detections.right_hand)
        points = [p[:, :2] for p in parts if p is not None]
        if not points:
            return float(cv2.Laplacian(grey, cv2.CV_32F).std())
        x0, y0 = np.clip(np.concatenate(points).min(0), 0, None).astype(int)
        x1, y1 = np.ceil(np.concatenate(points).max(0)).astype(int)
        inner = grey[y0 : y1 + 1, x0 : x1 + 1]
        return float(cv2.Laplacian(inner, cv2.CV_32F).std()) if inner.size else 0.0


def seen_in_video(
    path: Path, photo: Observation, body: BodyModel, seconds: float, least: int, progress: Progress | None = None,
    known: Known | None = None,
) -> list[Sighting | None]:  # fmt: skip
    """Track footage with the photo's shape (Eq. 6), and keep some of its frames; None where nobody was found.

    Args:
        path: the footage. photo: of the same person. seconds: that are looked at. least: frames it must have.
        known: aligns the kept frames with the drawn avatar of the photo; without it, optical flow does with the photo.

    Raises:
        PipelineError: unreadable or too short footage, or nobody in it.
    """
    tell = progress or (lambda stage, share: None)
    try:
        found = detect_video(path, max_seconds=seconds, progress=lambda s, share: tell("looking at the footage", share))
    except PipelineError as error:
        raise PipelineError(f"The footage {path.name} cannot be used: {error}") from error
    if len(found.frames) < least:
        raise PipelineError(
            f"The footage {path.name} has only {len(found.frames)} frames; film the person for a second or more."
        )
    size = photo.camera.width, photo.camera.height
    tracked = track_video(
        found, body, size=size, betas=photo.params.betas, reference=photo, dense=known is None,
        progress=lambda stage, share: tell(f"footage: {stage}", share),
    )  # fmt: skip
    return sightings_of(tracked, found, body, known=known, progress=progress)


def sightings_of(
    tracked: TrackResult, found: VideoDetections, body: BodyModel, frames: int | None = None,
    known: Known | None = None, progress: Progress | None = None,
) -> list[Sighting | None]:  # fmt: skip
    """Some frames of a tracked video, evenly spread over its first ``frames`` (all by default).

    Args:
        tracked: the video, tracked with the photo's shape. found: its detections. body: body model.
        known: aligns the frames, see :func:`seen_in_video`.
    """
    count = min(frames or len(tracked), len(tracked))
    kept = np.unique(np.linspace(0, count - 1, min(KEPT, count)).astype(int))
    crops, inside = [], []
    with VideoReader(found.path, max_seconds=(count + 1) / found.fps, max_side=found.max_side) as reader:
        for f, (seen, frame) in enumerate(zip(found.frames, reader, strict=False)):
            if f in kept:
                crops.append(tracked.window.apply(frame))
                inside.append(None if seen is None else crop_detections(seen, tracked.window))
    kept = kept[: len(crops)]
    registration, targets = tracked.registration.select(kept), tracked.targets.select(kept)
    return _sightings(crops, inside, targets, registration, tracked.camera, body, known, progress, at_rest=True)


def seen_in_pictures(
    paths: Sequence[Path], photo: Observation, body: BodyModel, progress: Progress | None = None,
    known: Known | None = None,
) -> list[Sighting | None]:  # fmt: skip
    """Register single pictures with the photo's shape; one entry per picture, None where nobody was found.

    Raises:
        PipelineError: a picture that cannot be read, or nobody in any.
    """
    tell = progress or (lambda stage, share: None)
    camera = photo.camera
    size = camera.width, camera.height
    crops, inside = [], []
    with Detector(static=True) as detector:
        for k, path in enumerate(paths):
            tell("looking at the pictures", k / len(paths))
            picture = load_photo(path)
            found = detector.detect(picture)
            window = _whole(picture, size) if found is None else _window(picture, found, size)
            crops.append(window.apply(to_uint8(picture)))
            inside.append(None if found is None else crop_detections(found, window))
    if all(d is None for d in inside):
        raise PipelineError("Nobody was found in any of the pictures; use frames that show the person in the photo.")
    targets = build_targets(list(inside), camera.width, camera.height)
    registration = _register(crops, inside, targets, camera, photo, body, lambda share: tell("pictures", share))
    return _sightings(crops, inside, targets, registration, camera, body, known, progress)


def _sightings(
    crops: Sequence[tuple[Array, Array]], inside: Sequence[Detections | None], targets: Targets,
    registration: Registration, camera: Camera, body: BodyModel, known: Known | None, progress: Progress | None,
    at_rest: bool = False,
) -> list[Sighting | None]:  # fmt: skip
    """Registered frames, first aligned with what is known of the person; ``at_rest``: one camera filmed them."""
    mattes: Sequence[Array | None] = [None] * len(crops)
    if known is not None:
        mattes = _mattes(crops, inside, known.photo if at_rest else None, progress)
        registration = _agree(crops, mattes, targets, registration, camera, known, progress)
    errors = part_errors(registration, targets, person_height_pixels(body, registration, camera))
    return [
        _sighting(*crop, seen, camera, registration.frame(f), errors, f, matte)
        for f, (crop, seen, matte) in enumerate(zip(crops, inside, mattes, strict=True))
    ]


def _mattes(
    crops: Sequence[tuple[Array, Array]], inside: Sequence[Detections | None], photo: Observation | None,
    progress: Progress | None,
) -> list[Array]:  # fmt: skip
    """Mattes of the frames (H, W); where ``photo`` was taken by their camera from the same place, it steadies them."""
    tell = progress or (lambda stage, share: None)
    mattes = []
    with Matter() as matter:
        for k, ((crop, valid), seen) in enumerate(zip(crops, inside, strict=True)):
            mattes.append(matter.matte(crop, seen, "fast", valid))
            tell("footage: matte", (k + 1) / len(crops))
    if photo is None:
        return mattes
    known = photo.alpha if photo.valid is None else np.where(photo.valid, photo.alpha, UNKNOWN).astype(np.float32)
    middle = len(crops) // 2
    ground = shared_ground(photo.image, known, crops[middle][0], mattes[middle])
    if ground is None:
        return mattes
    return [ground.steady(alpha, crop) for alpha, (crop, _) in zip(mattes, crops, strict=True)]


def _agree(
    crops: Sequence[tuple[Array, Array]], mattes: Sequence[Array], targets: Targets, registration: Registration,
    camera: Camera, known: Known, progress: Progress | None,
) -> Registration:  # fmt: skip
    """Move the bodies of single frames until the drawn avatar agrees with them."""
    import cv2

    tell = progress or (lambda stage, share: None)
    size = round(HEIGHT * camera.width / camera.height), HEIGHT
    frames = []
    for (crop, valid), own in zip(crops, mattes, strict=True):
        small = (cv2.resize(x, size, interpolation=cv2.INTER_AREA) for x in (crop, own, valid.astype("u1")))
        image, alpha, inner = small
        frames.append(CutOut.of(image, alpha, inner > 0))
    photo = dataclasses.replace(known.photo, params=known.avatar.params)
    return agree(
        registration, targets, camera, [(0, len(crops))], STILL, known.avatar, photo, frames,
        lambda stage, share: tell(f"footage: {stage}", share),
    )  # fmt: skip


def _window(picture: Array, found: Detections, size: tuple[int, int]) -> CropWindow:
    return crop_916(picture, found, matte(picture, found), out_width=size[0], out_height=size[1])


def _whole(picture: Array, size: tuple[int, int]) -> CropWindow:
    """Any window; the picture shows nobody."""
    full = np.ones(picture.shape[:2], np.float32)
    return crop_916(picture, None, full, out_width=size[0], out_height=size[1])


def _register(
    crops: Sequence[tuple[Array, Array]], inside: Sequence[Detections | None], targets: Targets, camera: Camera,
    photo: Observation, body: BodyModel, tell: Callable[[float], None],
) -> Registration:  # fmt: skip
    """Unrelated frames, the photo's shape: by keypoints, then by optical flow against the photo."""
    betas = photo.params.betas
    registration = register(targets, body, camera, STILL, betas=betas, fixed_shape=True, progress=tell)
    frames, aligner = _aligner(crops, inside, photo, body)
    still = dataclasses.replace(STILL, stages=DENSE_STAGES)
    for _ in range(PICTURE_ROUNDS):
        seen = [aligner.align(frame, registration.frame(f)) for f, frame in enumerate(frames)]
        points, weights = (np.stack(values).astype(np.float32) for values in zip(*seen, strict=True))
        dense = DenseTargets(aligner.anchors, *_tensors(points, weights))
        registration = register(
            targets, body, camera, still, betas=betas, fixed_shape=True, init=registration.state, dense=dense
        )
    return registration


def _tensors(*arrays: Array) -> tuple:
    import torch

    return tuple(torch.from_numpy(a) for a in arrays)


def _aligner(
    crops: Sequence[tuple[Array, Array]], inside: Sequence[Detections | None], photo: Observation, body: BodyModel
) -> tuple[list[Array], FlowAligner]:
    """Small grey cut-outs of the pictures, and what compares them with the photo."""
    import cv2

    size = round(FLOW_HEIGHT * photo.camera.width / photo.camera.height), FLOW_HEIGHT

    def small(image: Array, alpha: Array) -> Array:
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        return cut_out(*(cv2.resize(x, size, interpolation=cv2.INTER_AREA) for x in (grey, alpha)))

    with Matter() as matter:
        frames = [
            small(crop, matter.matte(crop, seen, "fast", valid))
            for (crop, valid), seen in zip(crops, inside, strict=True)
        ]
    return frames, FlowAligner(body, small(to_uint8(photo.image), photo.alpha), photo.params, photo.camera)


def _sighting(
    crop: Array, valid: Array, seen: Detections | None, camera: Camera, params: BodyParams, errors: dict[str, Array],
    frame: int, matte: Array | None,
) -> Sighting | None:  # fmt: skip
    if seen is None:
        return None
    parts = {name: float(values[frame]) for name, values in errors.items() if not np.isnan(values[frame])}
    return Sighting(crop, valid, camera, params, seen, parts, matte)
