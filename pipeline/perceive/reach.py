"""Arms that reach for the hands that are seen: two-bone inverse kinematics on a first guess.

The pose network's bone directions are those of a distant camera. An arm that points at a near one is bent by them far
past the hand in the picture, where the robust reprojection has saturated and nothing brings it back.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from pipeline.body import BodyModel
from pipeline.body.kinematics import chain_transforms, rotation_matrices
from pipeline.perceive import targets as T
from pipeline.perceive.initial import smallest_turn
from pipeline.perceive.targets import Targets
from pipeline.types import Array, Camera

ARMS = (
    (13, 16, 18, 20, 13, T.LEFT_HAND, "mediapipe_left_hand"),
    (14, 17, 19, 21, 14, T.RIGHT_HAND, "mediapipe_right_hand"),
)
"""Collar, shoulder, elbow and wrist joint, the pose's elbow, and the hand's landmarks, of either side."""
ELBOW_SEEN = 0.5
"""Weight of an elbow from which on the directions of the arm are trusted."""
MISSED = 0.12
"""Metres beside the hand from which the arm of a first guess is bent anew."""
PALM = ((0, 5), (0, 17), (5, 17))
"""Landmarks of a hand whose distances do not change."""
FAN = tuple(i for i, (a, _) in enumerate(T.HAND_BONES) if a == 0)
"""Bones from the wrist to the fingers' roots, which turn with the wrist alone."""
MAX_WRIST = 1.4
"""Radians by which a wrist is turned at most."""
STRETCH = 0.98
"""Share of its length to which an arm is stretched at most."""


def reach_for_hands(state: dict[str, Array], targets: Targets, body: BodyModel, betas: Array, camera: Camera) -> None:
    """Bend the arms of a first guess, in place, whose wrist lies far from the hand, and whose elbow is not seen.

    The hand's place is where its pixel's ray has the depth that the size of the palm says, within the arm's reach; the
    elbow stays on the side on which it was.

    Args:
        state: unknowns of a registration, see :func:`pipeline.perceive.initial.initial_state`.
        targets: F frames of detections. body: body model. betas: (B,) shape. camera: of the pictures.
    """
    with torch.no_grad():
        shape = torch.as_tensor(np.asarray(betas, np.float32))[None]
        vertices, joints = (x[0] for x in body.shaped(shape, torch.zeros(1, body.n_expression)))
    frames, rest = _joint_frames(state, joints), joints.numpy()
    for side, (collar, shoulder, elbow, wrist, joint, hand, landmarks) in enumerate(ARMS):
        spots = body.landmarks[landmarks]
        palm = (vertices.numpy()[spots.vertex_ids] * np.asarray(spots.weights)[..., None]).sum(1)
        lengths = np.array([np.linalg.norm(palm[a] - palm[b]) for a, b in PALM])
        lost = (targets.weights[:, hand].sum(1) > 0) & (targets.weights[:, T.POSE.start + joint] < ELBOW_SEEN)
        for f in np.flatnonzero(lost.numpy()):
            place, seen = frames[f, :, :3, 3], targets.points[f, hand].numpy()
            if _gap(place[wrist], place[shoulder], seen[0], camera) < MISSED:
                continue
            chain = (shoulder, elbow, wrist)
            upper, lower = (np.linalg.norm(rest[b] - rest[a]) for a, b in itertools.pairwise(chain))
            goal = _goal(place[shoulder], STRETCH * (upper + lower), seen, lengths, camera)
            bend = _bend(place[shoulder], place[elbow], goal, upper, lower)
            turns = _turns(Rotation.from_matrix(frames[f, collar, :3, :3]), rest[[*chain]], place[shoulder], bend, goal)
            for number, turn in zip((shoulder, elbow), turns[:2], strict=True):
                state["body_pose"][f, number - 1] = turn.as_rotvec()
            if targets.hand_dir_weights[f, side] > 0:
                dirs = turns[-1].inv().apply(targets.hand_dirs[f, side, list(FAN)].numpy())
                state["body_pose"][f, wrist - 1] = _wrist(palm, dirs)


def _joint_frames(state: dict[str, Array], joints: Tensor) -> Array:
    """Frames (F, 55, 4, 4) of the posed joints, world, for rest joints (55, 3); fingers and face as at rest."""
    pose = torch.as_tensor(np.concatenate([state["global_orient"][:, None], state["body_pose"]], 1)).float()
    turns = torch.eye(3).repeat(len(pose), len(joints), 1, 1)
    turns[:, : pose.shape[1]] = rotation_matrices(pose)
    frames = chain_transforms(turns, joints[None].expand(len(pose), -1, -1)).numpy()
    frames[:, :, :3, 3] += state["transl"][:, None]
    return frames


def _turns(
    collar: Rotation, rest: Array, shoulder: Array, elbow: Array, wrist: Array
) -> tuple[Rotation, Rotation, Rotation]:
    """How shoulder and elbow turn, each against its parent, for joints at these places; and the forearm in the world.

    Args:
        collar: in the world. rest: (3, 3) the joints at rest. shoulder, elbow, wrist: (3,) world.
    """
    first = smallest_turn(rest[1] - rest[0], collar.inv().apply(elbow - shoulder))
    second = smallest_turn(rest[2] - rest[1], (collar * first).inv().apply(wrist - elbow))
    return first, second, collar * first * second


def _gap(wrist: Array, shoulder: Array, pixel: Array, camera: Camera) -> float:
    """How far a wrist (3,) lies beside a pixel (2,), in metres at the shoulder's distance."""
    uv, depth = camera.project(np.stack([wrist, shoulder]))
    if depth[0] < 0.05:
        return np.inf
    return float(np.linalg.norm(uv[0] - pixel) * depth[1] / camera.K[0, 0])


def _goal(shoulder: Array, reach: float, hand: Array, lengths: Array, camera: Camera) -> Array:
    """Where the wrist of a hand (21, 2) in pixels is, (3,) world: at the depth of its palm, within ``reach``.

    A palm that is seen aslant looks shorter, so its longest view counts; and a hand that is seen is not behind.
    """
    shown = np.array([np.linalg.norm(hand[a] - hand[b]) for a, b in PALM])
    depth = camera.K[0, 0] * (lengths / np.maximum(shown, 1.0)).min()
    turn, shift = camera.viewmat[:3, :3], camera.viewmat[:3, 3]
    ray = np.linalg.solve(np.asarray(camera.K, np.float64), np.append(hand[0], 1.0))
    centre = turn @ shoulder + shift
    middle = (ray @ centre) / (ray @ ray)
    spare = reach**2 - ((centre - middle * ray) ** 2).sum()
    if spare <= 0:
        point = centre + reach * _unit(middle * ray - centre)
    else:
        half = np.sqrt(spare / (ray @ ray))
        nearest = middle - half
        point = np.clip(depth, nearest, max(nearest, min(middle + half, centre[2]))) * ray
    return turn.T @ (point - shift)


def _bend(shoulder: Array, elbow: Array, goal: Array, upper: float, lower: float) -> Array:
    """The elbow (3,) of an arm of two bones from ``shoulder`` to ``goal``, on the side of ``elbow``."""
    way = goal - shoulder
    distance = float(np.clip(np.linalg.norm(way), abs(upper - lower) + 1e-3, upper + lower))
    along = (upper**2 - lower**2 + distance**2) / (2 * distance)
    axis = _unit(way)
    aside = elbow - shoulder - ((elbow - shoulder) @ axis) * axis
    return shoulder + along * axis + np.sqrt(max(upper**2 - along**2, 0.0)) * _unit(aside)


def _wrist(palm: Array, dirs: Array) -> Array:
    """The rotation vector (3,) that turns the FAN of a hand (21, 3) at rest into directions (5, 3), bounded."""
    fan = np.array([palm[b] - palm[a] for a, b in (T.HAND_BONES[i] for i in FAN)])
    turn = Rotation.align_vectors(dirs, fan / np.linalg.norm(fan, axis=1, keepdims=True))[0].as_rotvec()
    return turn * min(1.0, MAX_WRIST / max(float(np.linalg.norm(turn)), 1e-9))


def _unit(v: Array) -> Array:
    return v / max(float(np.linalg.norm(v)), 1e-9)
