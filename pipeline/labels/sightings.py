"""Frames of the person, found and tracked with the photo's shape: from a video, or from single pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.body import BodyModel
from pipeline.media import from_uint8, load_photo, to_uint8
from pipeline.perceive.crop import CropWindow, crop_916
from pipeline.perceive.dense import DenseTargets
from pipeline.perceive.detect import Detector
from pipeline.perceive.flow import FlowAligner, cut_out
from pipeline.perceive.matte import Matter, matte
from pipeline.perceive.photo import crop_detections, person_height_pixels, photo_camera
from pipeline.perceive.register import RegisterConfig, Registration, register
from pipeline.perceive.report import part_errors
from pipeline.perceive.targets import build_targets
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

Progress = Callable[[str, float], None]
PICTURE_ROUNDS = 2
KEPT = 64
"""Frames of a video that are kept in memory, evenly spread; all are tracked."""


@dataclass(frozen=True)
class Sighting:
    """One tracked frame.

    Attributes:
        crop: (H, W, 3) uint8. valid: (H, W) bool, False where the crop reaches over the frame's edge.
        camera, params: as in :class:`pipeline.types.Observation`, with the photo's shape.
        detections: in the crop's pixels. errors: reprojection error per seen part, percent of the person's height.
    """

    crop: Array
    valid: Array
    camera: Camera
    params: BodyParams
    detections: Detections
    errors: dict[str, float]

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
        return matter.matte(self.crop, self.detections, "fast", self.valid) * self.valid

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
    path: Path, photo: Observation, body: BodyModel, seconds: float, least: int, progress: Progress | None = None
) -> list[Sighting | None]:
    """Track footage with the photo's shape (Eq. 6), and keep some of its frames; None where nobody was found.

    Args:
        path: the footage. photo: of the same person. seconds: that are looked at. least: frames it must have.

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
        found, body, size=size, betas=photo.params.betas, reference=photo,
        progress=lambda stage, share: tell(f"footage: {stage}", share),
    )  # fmt: skip
    return sightings_of(tracked, found, body)


def sightings_of(
    tracked: TrackResult, found: VideoDetections, body: BodyModel, frames: int | None = None
) -> list[Sighting | None]:
    """Some frames of a tracked video, evenly spread over its first ``frames`` (all by default).

    Args:
        tracked: the video, tracked with the photo's shape. found: its detections. body: body model.
    """
    registration, camera = tracked.registration, tracked.camera
    errors = part_errors(registration, tracked.targets, person_height_pixels(body, registration, camera))
    count = min(frames or len(tracked), len(tracked))
    kept = {int(f) for f in np.linspace(0, count - 1, min(KEPT, count))}
    out = []
    with VideoReader(found.path, max_seconds=(count + 1) / found.fps, max_side=found.max_side) as reader:
        for f, (seen, frame) in enumerate(zip(found.frames, reader, strict=False)):
            if f in kept:
                inside = None if seen is None else crop_detections(seen, tracked.window)
                picture = tracked.window.apply(frame)
                out.append(_sighting(*picture, inside, camera, registration.frame(f), errors, f))
    return out


def seen_in_pictures(
    paths: Sequence[Path], photo: Observation, body: BodyModel, progress: Progress | None = None
) -> list[Sighting | None]:
    """Register single pictures with the photo's shape; one entry per picture, None where nobody was found.

    Raises:
        PipelineError: a picture that cannot be read, or nobody in any.
    """
    tell = progress or (lambda stage, share: None)
    size = photo.camera.width, photo.camera.height
    camera = photo_camera(size, RegisterConfig())
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
    registration, errors = _register(crops, inside, camera, photo, body, lambda share: tell("pictures", share))
    return [
        _sighting(*crop, seen, camera, registration.frame(f), errors, f)
        for f, (crop, seen) in enumerate(zip(crops, inside, strict=True))
    ]


def _window(picture: Array, found: Detections, size: tuple[int, int]) -> CropWindow:
    return crop_916(picture, found, matte(picture, found), out_width=size[0], out_height=size[1])


def _whole(picture: Array, size: tuple[int, int]) -> CropWindow:
    """Any window; the picture shows nobody."""
    full = np.ones(picture.shape[:2], np.float32)
    return crop_916(picture, None, full, out_width=size[0], out_height=size[1])


def _register(
    crops: Sequence[tuple[Array, Array]], inside: Sequence[Detections | None], camera: Camera, photo: Observation,
    body: BodyModel, tell: Callable[[float], None],
) -> tuple[Registration, dict[str, Array]]:  # fmt: skip
    """Unrelated frames, the photo's shape: by keypoints, then by optical flow against the photo."""
    targets = build_targets(list(inside), camera.width, camera.height)
    still = RegisterConfig(smooth_pose=0.0, smooth_hand=0.0, smooth_arkit=0.0, smooth_transl=0.0)
    betas = photo.params.betas
    registration = register(targets, body, camera, still, betas=betas, fixed_shape=True, progress=tell)
    frames, aligner = _aligner(crops, inside, photo, body)
    still = dataclasses.replace(still, stages=DENSE_STAGES)
    for _ in range(PICTURE_ROUNDS):
        seen = [aligner.align(frame, registration.frame(f)) for f, frame in enumerate(frames)]
        points, weights = (np.stack(values).astype(np.float32) for values in zip(*seen, strict=True))
        dense = DenseTargets(aligner.anchors, *_tensors(points, weights))
        registration = register(
            targets, body, camera, still, betas=betas, fixed_shape=True, init=registration.state, dense=dense
        )
    return registration, part_errors(registration, targets, person_height_pixels(body, registration, camera))


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
    frame: int,
) -> Sighting | None:  # fmt: skip
    if seen is None:
        return None
    parts = {name: float(values[frame]) for name, values in errors.items() if not np.isnan(values[frame])}
    return Sighting(crop, valid, camera, params, seen, parts)
