"""Driving faces: frames of talking people, aligned as the networks want them, and a varied choice among them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.labels.choice import farthest_points
from pipeline.labels.portrait4d.align import align, mediapipe_points
from pipeline.labels.portrait4d.faces import MAX_YAW, FaceFinder, pupil_distance, rough_yaw
from pipeline.labels.portrait4d.quality import expression_features
from pipeline.perceive.detect import as_uint8
from pipeline.types import Array, PipelineError
from pipeline.video import VideoReader

LOG = logging.getLogger(__name__)
MIN_PUPILS = 14.0
"""Driving faces smaller than this, in pixels between the pupils, are skipped."""


@dataclass(frozen=True)
class AlignedFace:
    """A face brought to the generator's framing.

    Attributes:
        image: (512, 512, 3) uint8. face: (478, 3) MediaPipe landmarks in its pixels. origin: where it is from.
    """

    image: Array
    face: Array
    origin: str

    @property
    def landmarks68(self) -> Array:
        """(68, 2) iBUG points."""
        return mediapipe_points(self.face)[1]


def align_face(image: Array, face: Array, origin: str) -> AlignedFace:
    """Cut a face out of a picture.

    Args:
        image: (H, W, 3) RGB, uint8 or float in 0..1. face: (478, 3) in its pixels.

    Raises:
        PipelineError: the face is too small.
    """
    picture = as_uint8(image)
    found = align(mediapipe_points(face)[0], picture.shape[1], picture.shape[0])
    moved = np.concatenate([found.to_aligned(face[:, :2]), face[:, 2:] * found.scale], 1)
    return AlignedFace(found.apply(picture), moved.astype(np.float32), origin)


def driving_faces(
    videos: Sequence[str | Path], *, fps: float = 3.0, max_seconds: float = 60.0,
    progress: Callable[[float], None] | None = None,
) -> list[AlignedFace]:  # fmt: skip
    """Usable faces of some videos: one face, not tiny, not in profile, wholly inside of the picture.

    Frames that do not qualify are skipped; a video that breaks off in the middle gives what came before.

    Args:
        videos: paths. fps: frames looked at per second. max_seconds: of each video.

    Raises:
        PipelineError: no video has a usable face; or the only video cannot be read.
    """
    found: list[AlignedFace] = []
    problems: list[PipelineError] = []
    with FaceFinder() as finder:
        for k, path in enumerate(videos):
            try:
                _collect(Path(path), finder, fps, max_seconds, found)
            except PipelineError as error:
                problems.append(error)
                LOG.warning("%s: %s", Path(path).name, error)
            if progress is not None:
                progress((k + 1) / len(videos))
    if not found:
        raise (
            problems[0]
            if problems
            else PipelineError(
                "No driving video shows exactly one clear face; use videos of one person talking to the camera."
            )
        )
    return found


def _collect(path: Path, finder: FaceFinder, fps: float, max_seconds: float, found: list[AlignedFace]) -> None:
    with VideoReader(path, max_seconds=max_seconds, fps=fps) as reader:
        for index, frame in enumerate(reader):
            face = finder.single(frame)
            if face is not None and usable(face, frame.shape[1], frame.shape[0]):
                found.append(align_face(frame, face, f"{path.name}:{index / fps:.2f}s"))


def usable(face: Array, width: int, height: int) -> bool:
    """Whether a driving face can be read: large enough, not in profile, inside of the picture."""
    low, high = face[:468, :2].min(0), face[:468, :2].max(0)
    inside = low.min() > -2 and high[0] < width + 2 and high[1] < height + 2
    return bool(inside and pupil_distance(face) > MIN_PUPILS and abs(rough_yaw(face)) < MAX_YAW)


def varied(faces: Sequence[AlignedFace], count: int) -> list[int]:
    """Indices of ``count`` faces with expressions as different as can be (farthest-point order, repeatable).

    The first is the calmest (nearest to the median).
    """
    if not faces:
        return []
    features = np.stack([expression_features(f.face) for f in faces])
    return farthest_points(features / np.maximum(features.std(0), 0.02), count)
