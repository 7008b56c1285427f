"""What one registered photo teaches about tracking the same person in a video.

A detector's idea of a shoulder is not the body model's, and the difference is much the same in every frame. A photo
whose body is already known gives it away: each landmark gets an offset on the body, so that the photo's own detections
are explained exactly by the photo's own pose. What a video does not show (legs behind a table, depth) stays as it is
in the photo, not as it is in an average person.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from pipeline.body import BodyModel
from pipeline.perceive import targets as T
from pipeline.perceive.initial import initial_state
from pipeline.perceive.register import LandmarkModel, project
from pipeline.perceive.targets import Targets, build_targets
from pipeline.types import Array, Camera, Observation

REACH_FACE, REACH_HAND, REACH_BODY = 0.012, 0.02, 0.08
"""Longest believable offsets in metres; longer ones are cut to this."""
ARMS = (15, 16, 17, 18, 19, 20)
"""Rows of ``body_pose`` from shoulder to wrist: taken from each frame's own detections at the start."""


@dataclass(frozen=True)
class Likeness:
    """A person as registered in a photo.

    Attributes:
        state: the photo's unknowns (:data:`pipeline.perceive.register.STATE`), each with a leading axis of one frame.
        offsets: (N_POINTS, 3) canonical metres from the body's landmarks to what the detectors mean by them.
        turns: (len(BODY_BONES), 3) rotation vectors from the detector's bone directions to the body's.
        dirs: (len(BODY_BONES), 3) the detector's bone directions in the photo.
        hands: whether the left and the right hand were seen.
        targets: the photo's own detections.
    """

    state: dict[str, Array]
    offsets: Array
    turns: Array
    dirs: Array
    hands: tuple[bool, bool]
    targets: Targets

    @staticmethod
    def of(photo: Observation, body: BodyModel) -> Likeness:
        """Compare a photo's detections with its registered body."""
        p = photo.params
        state = {
            "global_orient": p.global_orient, "body_pose": p.body_pose, "left_hand_pose": p.left_hand_pose,
            "right_hand_pose": p.right_hand_pose, "arkit": photo.arkit, "transl": p.transl,
        }  # fmt: skip
        state = {k: np.asarray(v, np.float32)[None] for k, v in state.items()}
        seen = build_targets([photo.detections], photo.camera.width, photo.camera.height)
        landmarks = LandmarkModel(body)
        tensors = {k: torch.from_numpy(v) for k, v in state.items()}
        betas = torch.as_tensor(p.betas)
        with torch.no_grad():
            points, _ = landmarks(tensors, betas)
            offsets = _offsets(landmarks, tensors, betas, points, seen, photo.camera)
        body_points = points[0, T.POSE].numpy()
        own = np.stack([body_points[b] - body_points[a] for a, b in T.BODY_BONES])
        dirs = seen.body_dirs[0].numpy()
        turns = np.stack([_between(a, b) for a, b in zip(dirs, own, strict=True)])
        hands = bool(seen.has_left_hand[0]), bool(seen.has_right_hand[0])
        return Likeness(state, offsets, turns, dirs, hands, seen)

    def start(self, targets: Targets, body: BodyModel, camera: Camera) -> dict[str, Array]:
        """Where the optimisation starts: the photo, with arms and place as each frame's detections have them."""
        guess, own = initial_state(targets, body, camera), initial_state(self.targets, body, camera)
        start = {k: np.repeat(v, len(targets), 0) for k, v in self.state.items()}
        start["transl"] = (start["transl"] + guess["transl"] - own["transl"]).astype(np.float32)
        arms = list(ARMS)
        start["body_pose"][:, arms] = guess["body_pose"][:, arms]
        return start

    def corrected(self, targets: Targets) -> Targets:
        """The same detections with bone directions as the body would have them.

        A correction fades as a bone leaves the direction that it had in the photo.
        """
        from dataclasses import replace

        dirs = targets.body_dirs.numpy().copy()
        for k in range(dirs.shape[1]):
            near = np.clip(dirs[:, k] @ self.dirs[k], 0, 1)[:, None] ** 2
            dirs[:, k] = Rotation.from_rotvec(near * self.turns[k]).apply(dirs[:, k])
        return replace(targets, body_dirs=torch.from_numpy(dirs.astype(np.float32)))


def _between(a: Array, b: Array) -> Array:
    """Rotation vector of the smallest turn from direction ``a`` to direction ``b``; zero where one is missing."""
    size = np.linalg.norm(a) * np.linalg.norm(b)
    if size < 1e-9:
        return np.zeros(3)
    axis = np.cross(a, b) / size
    sine = np.linalg.norm(axis)
    return axis / max(sine, 1e-9) * np.arctan2(sine, a @ b / size)


def _offsets(
    landmarks: LandmarkModel, state: dict[str, Tensor], betas: Tensor, points: Tensor, seen: Targets, camera: Camera
) -> Array:
    """Gaps in the picture, taken back to the canonical body."""
    uv = project(points, camera)
    view = torch.from_numpy(camera.viewmat)
    depth = points[0] @ view[2, :3] + view[2, 3]
    weights = seen.weights[0]
    gap = (seen.points[0] - uv[0]) * (depth / float(camera.K[0, 0]))[:, None]
    reach = torch.full((T.N_POINTS,), REACH_BODY)
    reach[T.FACE], reach[T.LEFT_HAND], reach[T.RIGHT_HAND] = REACH_FACE, REACH_HAND, REACH_HAND
    gap = gap * (reach / gap.norm(dim=1).clamp(min=1e-9)).clamp(max=1.0)[:, None]
    world = torch.nn.functional.pad(gap * (weights > 0.05)[:, None], (0, 1)) @ view[:3, :3]
    blended = landmarks.rotations(state, betas)[0, : T.N_POINTS]
    return torch.linalg.solve(blended, world[..., None])[..., 0].numpy()
