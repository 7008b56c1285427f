"""Driving motions that are keypoints in the picture, without a body: DWPose sequences in one ``.npz`` file.

Layout (T frames, coordinates in shares of the canvas, OpenPose order): ``body (T, 18, 2)``, ``body_score (T, 18)``,
``hands (T, 2, 21, 2)`` left then right, ``hands_score (T, 2, 21)``, ``face68 (T, 68, 2)``, ``face_score (T, 68)``,
``fps``, ``canvas (2,)`` width and height.
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.labels.mimicmotion.align import fit_alignment
from pipeline.labels.mimicmotion.driving import Driving
from pipeline.labels.mimicmotion.keypoints import BODY_ORDER, NECK, People, to_pose
from pipeline.types import Array, Observation, PipelineError

SHAPES = {
    "body": (18, 2), "body_score": (18,), "hands": (2, 21, 2), "hands_score": (2, 21), "face68": (68, 2),
    "face_score": (68,),
}  # fmt: skip
MAX_FRAMES = 20_000


@dataclass(frozen=True)
class KeypointClip:
    """A driving motion as keypoints.

    Attributes:
        fps: frames per second. points: (T, 133, 2) COCO-WholeBody, pixels of the canvas. scores: (T, 133).
        width, height: of the canvas. name: for messages.
    """

    fps: float
    points: Array
    scores: Array
    width: int
    height: int
    name: str

    def __len__(self) -> int:
        return len(self.points)


def is_keypoint_file(path: str | Path) -> bool:
    """Whether a file is an ``.npz`` with the fields of the layout; does not read them."""
    try:
        with np.load(path, allow_pickle=False) as content:
            return set(SHAPES) <= set(content.files)
    except (OSError, ValueError, AttributeError, zipfile.BadZipFile):
        return False


def read_keypoints(path: str | Path) -> KeypointClip:
    """Read a keypoint file.

    Raises:
        PipelineError: it is damaged, or its arrays have other shapes, too many frames or values that are not finite.
    """
    name = Path(path).name
    try:
        with np.load(path, allow_pickle=False) as content:
            data = {key: np.asarray(content[key], np.float64) for key in (*SHAPES, "fps", "canvas")}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise PipelineError(f"{name} is not a readable file of 2D keypoints; make it again.") from error
    frames = len(data["body"]) if data["body"].ndim else 0
    wrong = [key for key, shape in SHAPES.items() if data[key].shape != (frames, *shape)]
    if wrong or data["canvas"].shape != (2,) or data["fps"].size != 1:
        raise PipelineError(f"{name} has arrays of unexpected shape ({', '.join(wrong) or 'fps or canvas'}).")
    if not 0 < frames <= MAX_FRAMES or not all(np.isfinite(values).all() for values in data.values()):
        raise PipelineError(f"{name} must hold 1 to {MAX_FRAMES} frames of finite numbers.")
    fps, (width, height) = float(data["fps"].reshape(())), data["canvas"]
    if not (1 <= fps <= 240 and 16 <= width <= 16384 and 16 <= height <= 16384):
        raise PipelineError(f"{name} has an impossible frame rate or canvas size.")
    return KeypointClip(fps, *_wholebody(data, np.array([width, height])), int(width), int(height), Path(path).stem)


def _wholebody(data: dict[str, Any], canvas: Array) -> tuple[Array, Array]:
    """OpenPose to COCO-WholeBody: the neck is dropped, feet are unknown (score 0)."""
    frames = len(data["body"])
    points, scores = np.zeros((frames, 133, 2)), np.zeros((frames, 133))
    for openpose, coco in enumerate(BODY_ORDER):
        if coco != NECK:
            points[:, coco], scores[:, coco] = data["body"][:, openpose], data["body_score"][:, openpose]
    points[:, 23:91], scores[:, 23:91] = data["face68"], data["face_score"]
    points[:, 91:133] = data["hands"].reshape(frames, 42, 2)
    scores[:, 91:133] = data["hands_score"].reshape(frames, 42)
    return points * canvas, scores


def drive_keypoints(clip: KeypointClip, observation: Observation, photo: People, *, fps: float, frames: int) -> Driving:
    """Lay a keypoint motion on the person in the photo by one scale and offset (see :mod:`.align`).

    Args:
        clip: the motion. observation: the photo, understood. photo: its keypoints, the first person is meant.
        fps: frames per second of the result; frames: at most so many.

    Raises:
        PipelineError: fewer than two frames, or nothing to align by.
    """
    index = np.arange(0, len(clip), clip.fps / fps).astype(int)[:frames]
    if len(index) < 2:
        raise PipelineError(
            f"{clip.name} is shorter than two frames at {fps:g} frames per second; use a longer motion."
        )
    height, width = observation.image.shape[:2]
    poses = [to_pose(People(clip.points[i : i + 1], clip.scores[i : i + 1]), clip.width, clip.height) for i in index]
    scale, offset = fit_alignment(
        to_pose(photo, width, height), poses, (height, width), (clip.height, clip.width)
    )  # fmt: skip
    points = (clip.points[index] / (clip.width, clip.height) * scale + offset) * (width, height)
    people = People(points, clip.scores[index])
    still = (observation.params,) * len(index)
    return Driving(still, np.zeros((len(index), 52), np.float32), people, observation.camera, posed=False)
