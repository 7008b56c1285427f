"""Expression and camera of generated heads, by the same registration as everything else (paper Eq. 6: shape fixed)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.body import BodyModel
from pipeline.labels.portrait4d.head_camera import in_avatar_coordinates, label_camera, place_head
from pipeline.perceive import targets as T
from pipeline.perceive.register import RegisterConfig, Registration, Stage, register
from pipeline.perceive.targets import Targets, build_targets
from pipeline.types import Array, BodyParams, Camera, Detections

RIGID = (168, 6, 197, 195, 5, 4, 1, 33, 133, 362, 263, 10, 151, 9, 127, 356, 93, 323)
"""Landmarks that expressions hardly move."""


@dataclass(frozen=True)
class Retracked:
    """One generated head, understood.

    Attributes:
        params: the photo's body with the expression of this frame. camera: sees it as the frame shows it.
        arkit: (52,) facial actions. points: (478, 2) projected landmarks, pixels.
        error: mean distance of the rigid landmarks to the detected ones, in pupil distances.
    """

    params: BodyParams
    camera: Camera
    arkit: Array
    points: Array
    error: float


def head_config() -> RegisterConfig:
    """Head crops: only root motion and facial actions are unknown, frames are unrelated."""
    return RegisterConfig(
        smooth_pose=0.0, smooth_hand=0.0, smooth_arkit=0.0, smooth_transl=0.0, sigma_face=0.002,
        stages=(
            Stage(80, 0.02, ("global_orient", "transl")),
            Stage(160, 0.02, ("global_orient", "transl", "arkit")),
            Stage(60, 0.006, ("global_orient", "transl", "arkit")),
        ),
    )  # fmt: skip


def retrack(
    faces: Sequence[Array], rotations: Sequence[Array], home: BodyParams, body: BodyModel,
    size: int = 512, progress: Callable[[float], None] | None = None,
) -> list[Retracked]:  # fmt: skip
    """Explain the landmarks of generated heads by the avatar's body.

    Args:
        faces: (478, >= 2) landmarks per frame, pixels of a ``size`` x ``size`` picture.
        rotations: (3, 3) head rotation per frame that the generator was asked for; the start of the search.
        home: the photo's registration; shape and pose of everything but the face are kept.
        body: body model.
        progress: called with the share done.
    """
    if not faces:
        return []
    camera = label_camera(size)
    placed = [place_head(body, home, rotation) for rotation in rotations]
    start = {
        "global_orient": np.stack([p.global_orient for p in placed]),
        "transl": np.stack([p.transl for p in placed]),
        "body_pose": np.stack([home.body_pose] * len(faces)),
        "left_hand_pose": np.stack([home.left_hand_pose] * len(faces)),
        "right_hand_pose": np.stack([home.right_hand_pose] * len(faces)),
        "arkit": np.zeros((len(faces), 52), np.float32),
    }
    targets = face_targets(faces, size)
    registration = register(
        targets, body, camera, head_config(), init=start, betas=home.betas, fixed_shape=True, progress=progress
    )
    return [_result(body, registration, i, faces[i], home, camera) for i in range(len(faces))]


def face_targets(faces: Sequence[Array], size: int) -> Targets:
    """Registration targets that hold faces and nothing else."""
    blank = np.zeros((33, 3), np.float32)
    found = [
        Detections(
            keypoints=np.zeros((133, 3), np.float32), pose=blank, pose_world=blank,
            face=np.asarray(face, np.float32), left_hand=None, right_hand=None,
        )
        for face in faces
    ]  # fmt: skip
    return build_targets(found, size, size)


def _result(
    body: BodyModel, registration: Registration, index: int, face: Array, home: BodyParams, camera: Camera
) -> Retracked:
    frame = registration.frame(index)
    points = registration.points[index, T.FACE]
    gaps = np.linalg.norm(points[list(RIGID)] - face[list(RIGID), :2], axis=1)
    unit = float(np.linalg.norm(face[468, :2] - face[473, :2]))
    expressed = home.replace(
        expression=frame.expression, jaw_pose=frame.jaw_pose, leye_pose=frame.leye_pose, reye_pose=frame.reye_pose
    )
    return Retracked(
        params=expressed,
        camera=in_avatar_coordinates(body, frame, home, camera),
        arkit=registration.state["arkit"][index],
        points=points,
        error=float(gaps.mean() / max(unit, 1e-6)),
    )
