"""What an ablation is made of: a synthetic person, its photo, its labels, and what the avatar never saw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.evaluate.ablation import corrupt
from pipeline.evaluate.ablation.person import Person, face_landmarks, make_person, photo
from pipeline.types import Array, BodyParams, Camera, Observation, PseudoLabel

if TYPE_CHECKING:
    from pipeline.body import BodyModel

PHOTO_CLIP, LABEL_CLIPS, TEST_CLIPS = "explaining", ("counting", "emphatic", "greeting"), ("presenting", "weighing")
LABEL_VIEWS = ((0, 0), (-18, 4), (18, -4), (-9, 10), (9, -10))
"""Yaw and pitch in degrees of the label frames, in turn (section 3.2 turns the root instead)."""
TEST_VIEWS = ((0, 0), (15, 0), (-15, 0), (30, 0), (-30, 0), (0, 20))
TAUGHT = (
    {"jawOpen": 0.7}, {"eyeBlinkLeft": 1, "eyeBlinkRight": 1}, {"mouthSmileLeft": 0.8, "mouthSmileRight": 0.8},
    {"jawOpen": 0.35, "mouthFunnel": 0.6}, {"jawOpen": 0.25, "mouthUpperUpLeft": 0.7, "mouthUpperUpRight": 0.7},
    {"eyeBlinkLeft": 0.6, "eyeBlinkRight": 0.6, "mouthPucker": 0.5}, {"jawOpen": 1.0, "browInnerUp": 0.7},
    {"mouthLowerDownLeft": 0.8, "mouthLowerDownRight": 0.8, "jawOpen": 0.2},
)  # fmt: skip
"""Facial actions of the head labels."""
HELD_OUT = (
    {"jawOpen": 0.5, "mouthSmileLeft": 0.6, "mouthSmileRight": 0.6}, {"eyeBlinkLeft": 0.85, "eyeBlinkRight": 0.85},
    {"jawOpen": 0.85, "eyeBlinkLeft": 1, "eyeBlinkRight": 1}, {"mouthStretchLeft": 0.7, "mouthStretchRight": 0.7,
    "jawOpen": 0.4}, {"jawOpen": 0.6, "mouthFunnel": 0.3, "eyeSquintLeft": 0.8, "eyeSquintRight": 0.8},
)  # fmt: skip
"""Facial actions that only the test shows."""
MOUTH = (0, 17, 61, 291, 39, 269, 181, 405)
EYES = (33, 133, 159, 145, 263, 362, 386, 374, 105, 334)
"""Points of the face mesh whose boxes are compared."""


@dataclass(frozen=True)
class Shot:
    """A true picture that no fit sees.

    Attributes:
        params, camera: of the picture. image: (H, W, 3) on white. alpha: (H, W).
        boxes: name to (row, column) slices, for faces.
    """

    params: BodyParams
    camera: Camera
    image: Array
    alpha: Array
    boxes: dict[str, tuple[slice, slice]]


@dataclass(frozen=True)
class Size:
    """How large an ablation is.

    Attributes:
        height: rows of the photo. gaussians: of the truth. surface, pixels: most of the fit's, see FitConfig.
        steps: of each fit. labels: of each kind. poses: held-out poses, each seen from one view.
    """

    height: int = 384
    gaussians: int = 80_000
    surface: int = 45_000
    pixels: int = 60_000
    steps: int = 40
    labels: int = 8
    poses: int = 8


QUICK = Size(height=160, gaussians=20_000, surface=8_000, pixels=8_000, steps=10, labels=2, poses=2)


@dataclass(frozen=True)
class Bench:
    """All of it.

    Attributes:
        person: the truth. observation: its photo. portrait: another photo, of head and shoulders.
        labels: kind ("body", "untracked", "head") to frames.
        shots: held-out poses and views. faces: held-out expressions, cut to the head.
    """

    person: Person
    observation: Observation
    portrait: Observation
    labels: dict[str, list[PseudoLabel]]
    shots: list[Shot]
    faces: list[Shot]


def make_bench(body: BodyModel, seed: int, size: Size) -> Bench:
    """Make a person with photo, labels and tests; the same seed gives the same."""
    person = make_person(body, seed, size.height, size.gaussians)
    pose = _poses(person, (PHOTO_CLIP,), 8)[2]
    pose = pose.replace(**_neutral(body))
    labels = {
        kind: _labels(person, pose, size, kind, np.random.default_rng(seed + 1))
        for kind in ("body", "untracked", "head")
    }
    camera = person.avatar.camera
    center = np.zeros(3, np.float32)
    shots = [
        _shot(person, params, camera.orbited(*TEST_VIEWS[i % len(TEST_VIEWS)], center))
        for i, params in enumerate(_poses(person, TEST_CLIPS, size.poses))
    ]
    faces = []
    for actions in HELD_OUT[: max(2, size.poses // 2)]:
        params = pose.replace(**_acting(body, actions))
        faces.append(_shot(person, params, corrupt.head_camera(person, params, camera), faces=True))
    near = corrupt.bust_camera(person, pose, camera)
    photos = [photo(person, pose, view, seed) for view in (camera, near)]
    return Bench(person, *photos, labels, shots, faces)


def _poses(person: Person, clips: tuple[str, ...], count: int) -> list[BodyParams]:
    """Poses of preset motions, evenly spread over each clip and taken from the clips in turn."""
    from pipeline.animation import pose_sequence
    from pipeline.motion import get_motion

    each = -(-count // len(clips))
    out: list[list[BodyParams]] = []
    for name in clips:
        clip = get_motion(name)
        frames = pose_sequence(person.avatar, clip, 10.0)
        out.append([frames[int((k + 0.5) * len(frames) / each)] for k in range(each)])
    return [row[k] for k in range(each) for row in out][:count]


def _acting(body: BodyModel, actions: dict[str, float]) -> dict[str, Array]:
    from pipeline.body import ARKIT_NAMES

    arkit = np.zeros((1, len(ARKIT_NAMES)), np.float32)
    for name, value in actions.items():
        arkit[0, ARKIT_NAMES.index(name)] = value
    return {key: value[0] for key, value in body.arkit_to_params(arkit).items()}


def _neutral(body: BodyModel) -> dict[str, Array]:
    return _acting(body, {})


def _labels(person: Person, pose: BodyParams, size: Size, kind: str, rng: np.random.Generator) -> list[PseudoLabel]:
    camera, center, out = person.avatar.camera, np.zeros(3, np.float32), []
    driving = _poses(person, LABEL_CLIPS, size.labels)
    for i in range(size.labels):
        view = camera.orbited(*LABEL_VIEWS[i % len(LABEL_VIEWS)], center)
        if kind == "head":
            asked = pose.replace(**_acting(person.body, TAUGHT[i % len(TAUGHT)]))
            out.append(corrupt.head_label(person, asked, view, rng))
        else:
            out.append(corrupt.body_label(person, driving[i], view, rng, corrupt.Corruption(), kind == "body"))
    return out


def _shot(person: Person, params: BodyParams, camera: Camera, faces: bool = False) -> Shot:
    image, alpha = person.draw(params, camera)
    boxes = {}
    marks = face_landmarks(person, params, camera) if faces else None
    if marks is not None:
        boxes = {"mouth": _box(marks[list(MOUTH), :2], camera), "eyes": _box(marks[list(EYES), :2], camera)}
    return Shot(params, camera, image + (1 - alpha[..., None]), alpha, boxes)


def _box(points: Array, camera: Camera, grow: float = 0.25) -> tuple[slice, slice]:
    """Rows and columns around points (n, 2), a little larger."""
    low, high = points.min(0), points.max(0)
    low, high = low - grow * (high - low), high + grow * (high - low)
    low = np.clip(np.floor(low), 0, (camera.width - 2, camera.height - 2)).astype(int)
    high = np.clip(np.ceil(high), low + 2, (camera.width, camera.height)).astype(int)
    return slice(low[1], high[1]), slice(low[0], high[0])
