"""Hands on another body: keep the contacts that the clip has, and keep arms out of torso and head.

All work is done on wrist places; arms follow by two-bone inverse kinematics that leaves the hands' orientation and the
arms' twist as they were.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter1d, maximum_filter1d

from ..types import Array, Camera
from .collision import BodySolids, Capsule, Solid, body_solids
from .kinematics import joint_positions, local_to_global, two_bone
from .rotations import axis_rotation, heading, normalize
from .skeleton import INDEX, SIDES

if TYPE_CHECKING:
    from ..body import BodyModel

HAND_POINTS = ("wrist", "index1", "middle1", "pinky1", "index2", "middle2", "pinky2", "index3", "middle3", "thumb3")
HAND_RADIUS = 0.012
"""Flesh around the hand's joints, metres."""
ARM_RADIUS = 0.035
TOUCH_NEAR, TOUCH_FAR = 0.035, 0.10
"""Distance at which the clip's hand is taken as touching, and at which no more, metres."""
SOLIDS = ("torso", "head")
"""What hands may touch on purpose."""
OBSTACLES = (*SOLIDS, "left_thigh", "right_thigh")
"""What hands must not go through."""
GESTURE_TURN = 0.6
MAX_GESTURE_TURN = np.radians(25.0)
"""Share and limit of the turn from chest to head that gestures follow."""
PASSES = 4
MAX_SHIFT = 0.25
MAX_DRAW = 0.14
"""Furthest that a hand is drawn back into the picture, metres."""


Gaps = dict[tuple[str, str], Array]
"""Distance (F, N) of hand points to a solid, by side and solid."""


@dataclass(frozen=True)
class HandFixes:
    """How far wrists were moved (largest over the clip, metres) and what remained inside (metres)."""

    largest_shift: float = 0.0
    deepest_left: float = 0.0

    def notes(self) -> list[str]:
        """For people."""
        if self.largest_shift < 0.01:
            return []
        return [f"Hands were moved by up to {100 * self.largest_shift:.0f} cm to suit this body."]


@dataclass
class _Pose:
    """A posed body whose arms are being changed: world rotations (F, 55, 3, 3) and joint places (F, 55, 3)."""

    world: Array
    joints: Array
    rest: Array

    def hand_points(self, side: str) -> Array:
        """(F, N, 3) joints of a hand, and a point beyond each of the two longest fingers' last joint."""
        ids = [INDEX[f"{side}_{n}"] for n in HAND_POINTS]
        points = self.joints[:, ids]
        tips = 1.7 * points[:, [-3, -2]] - 0.7 * points[:, [-6, -5]]
        return np.concatenate([points, tips], axis=1)

    def arm_points(self, side: str) -> Array:
        """(F, 3, 3) elbow and two points of the forearm."""
        elbow, wrist = self.joints[:, INDEX[f"{side}_elbow"]], self.joints[:, INDEX[f"{side}_wrist"]]
        return np.stack([elbow, elbow + 0.35 * (wrist - elbow), elbow + 0.7 * (wrist - elbow)], axis=1)


def fix_hands(
    local: Array,
    source_local: Array,
    transl: Array,
    body: BodyModel,
    betas: Array,
    clearance: float,
    fps: float,
    camera: Camera | None = None,
) -> tuple[Array, HandFixes]:
    """Adjust the arms of a retargeted motion.

    Args:
        local: (F, 55, 3, 3) rotations on the new body.
        source_local: (F, 55, 3, 3) the clip's own rotations.
        transl: (F, 3) root translation on the new body.
        body, betas: the new body; the clip is thought to be made on the same model's mean shape.
        clearance: metres between hands and skin where the clip does not touch.
        fps: for smoothing in time.
        camera: when given, raised hands that leave its picture at the sides are drawn back into it.

    Returns:
        The changed rotations and how much was changed.
    """
    own = body_solids(body, betas)
    mean = body_solids(body, np.zeros_like(betas))
    source = _posed(source_local, np.zeros(3), mean.rest)
    pose = _posed(local, transl + own.rest[0], own.rest)
    _turn_gestures(pose, source)
    start = {s: pose.joints[:, INDEX[f"{s}_wrist"]].copy() for s in SIDES}
    shift = {s: np.zeros((len(local), 3)) for s in SIDES}
    gaps = _source_gaps(source, mean)
    wanted = _wanted_shifts(pose, source, own, gaps, clearance)
    if camera is not None:
        wanted = {side: wanted[side] + _into_picture(pose, camera, side) for side in SIDES}
    for step in range(PASSES):
        for side in SIDES:
            move = wanted[side] if step == 0 else _push_out(pose, own, gaps, side, clearance)
            shift[side] = _limit(shift[side] + _smooth(move, fps))
            target = start[side] + shift[side]
            _move_arm(pose, side, target, _elbow_push(pose, own, side))
    out = _write_back(local, pose)
    largest = max(float(np.linalg.norm(s, axis=-1).max()) for s in shift.values())
    return out, HandFixes(largest, _deepest(pose, own))


def _posed(local: Array, root: Array, rest: Array) -> _Pose:
    world = local_to_global(local)
    return _Pose(world, joint_positions(world, rest, root), rest)


def _turn_gestures(pose: _Pose, source: _Pose) -> None:
    """Turn both hands around the chest, part of the way to where the head looks.

    People whose torso is turned aside in the photo gesture towards whom they look at, not where their chest points.
    """
    yaw = _head_yaw(pose) - _head_yaw(source)
    angle = float(np.clip(GESTURE_TURN * yaw, -MAX_GESTURE_TURN, MAX_GESTURE_TURN))
    if abs(angle) < np.radians(1.0):
        return
    chest = pose.world[:, INDEX["spine3"]]
    turn = chest @ axis_rotation("y", angle) @ np.swapaxes(chest, -1, -2)
    centre = pose.joints[:, [INDEX["left_shoulder"], INDEX["right_shoulder"]]].mean(axis=1)
    for side in SIDES:
        wrist = INDEX[f"{side}_wrist"]
        target = centre + np.einsum("fij,fj->fi", turn, pose.joints[:, wrist] - centre)
        _move_arm(pose, side, target, np.zeros_like(target))
        hand = _hand_joints(side)
        place = pose.joints[:, wrist, None]
        pose.joints[:, hand] = place + np.einsum("fij,fnj->fni", turn, pose.joints[:, hand] - place)
        pose.world[:, hand] = turn[:, None] @ pose.world[:, hand]


def _head_yaw(pose: _Pose) -> float:
    """Average turn of the head against the chest, radians, positive to the person's left."""
    relative = np.swapaxes(pose.world[:, INDEX["spine3"]], -1, -2) @ pose.world[:, INDEX["head"]]
    return float(np.median(heading(relative)))


def _hand_joints(side: str) -> list[int]:
    """Wrist and fingers."""
    first = INDEX[f"{side}_index1"]
    return [INDEX[f"{side}_wrist"], *range(first, first + 15)]


def _source_gaps(source: _Pose, mean: BodySolids) -> Gaps:
    """Distance of the clip's own hand points to the clip's own torso and head."""
    return {
        (side, name): _solid(mean, name).distance(source.hand_points(side), source.world, source.joints)[0]
        for side in SIDES
        for name in SOLIDS
    }


def _wanted_shifts(pose: _Pose, source: _Pose, own: BodySolids, gaps: Gaps, clearance: float) -> dict[str, Array]:
    """First correction of each wrist (F, 3): hand to hand as in the clip, then to the skin as in the clip."""
    shifts = _hand_to_hand(pose, source)
    for side in SIDES:
        shifts[side] = shifts[side] + _to_skin(pose, own, gaps, side, clearance)
    return shifts


def _hand_to_hand(pose: _Pose, source: _Pose) -> dict[str, Array]:
    """Where the clip's hands touch, bring these hands into the same relation, in chest axes, scaled by hand size."""
    points = {s: source.hand_points(s) for s in SIDES}
    gaps = np.linalg.norm(points["left"][:, :, None] - points["right"][:, None], axis=-1).min(axis=(1, 2))
    weight = _touching(gaps)[:, None]
    wrists = [INDEX["left_wrist"], INDEX["right_wrist"]]
    chest = INDEX["spine3"]
    turn = pose.world[:, chest] @ np.swapaxes(source.world[:, chest], -1, -2)
    scale = _hand_length(pose.rest) / _hand_length(source.rest)
    wished = scale * np.einsum("fij,fj->fi", turn, source.joints[:, wrists[0]] - source.joints[:, wrists[1]])
    present = pose.joints[:, wrists[0]] - pose.joints[:, wrists[1]]
    half = 0.5 * weight * (wished - present)
    return {"left": half, "right": -half}


def _hand_length(rest: Array) -> float:
    return float(np.linalg.norm(rest[INDEX["left_middle3"]] - rest[INDEX["left_wrist"]]))


def _touching(distance: Array) -> Array:
    """1 where a distance means touch, 0 where it does not, smooth between."""
    x = np.clip((TOUCH_FAR - distance) / (TOUCH_FAR - TOUCH_NEAR), 0.0, 1.0)
    return x * x * (3.0 - 2.0 * x)


def _to_skin(pose: _Pose, own: BodySolids, gaps: Gaps, side: str, clearance: float) -> Array:
    """Wrist shift (F, 3) that gives the hand the clip's distance to the nearest skin, where that is small."""
    total = np.zeros((len(pose.joints), 3))
    for name in SOLIDS:
        before = gaps[side, name]
        now, out = _solid(own, name).distance(pose.hand_points(side), pose.world, pose.joints)
        nearest = before.argmin(axis=1)[:, None]
        gap = np.take_along_axis(before, nearest, 1)[:, 0]
        here = np.take_along_axis(now, nearest, 1)[:, 0]
        direction = np.take_along_axis(out, nearest[..., None], 1)[:, 0]
        floor = _allowed(gap, clearance)
        total += (_touching(gap) * (np.maximum(gap, floor) - here))[:, None] * direction
    return total


def _allowed(gap: Array, clearance: float) -> Array:
    """Least distance of hand joints to the skin: flesh plus clearance, less where the clip itself touches."""
    return HAND_RADIUS + clearance * (1.0 - _touching(gap))


def _around_thigh(pose: _Pose, side: str) -> Array:
    """Preferred way (F, 3) for a hand around a thigh: outwards and up, the same on its whole path."""
    outwards = 1.0 if side == "left" else -1.0
    return pose.world[:, 0] @ np.array([1.2 * outwards, 0.4, 0.0])


def _least_gap(gaps: Gaps, side: str, name: str, clearance: float) -> Array:
    """:func:`_allowed` (F, 1) or (1, 1) for a solid; thighs are never touched on purpose."""
    if (side, name) not in gaps:
        return np.full((1, 1), HAND_RADIUS + clearance)
    return _allowed(gaps[side, name].min(axis=1), clearance)[:, None]


def _solid(solids: BodySolids, name: str) -> Solid | Capsule:
    return {
        "torso": solids.torso,
        "head": solids.head,
        "left_thigh": solids.left_thigh,
        "right_thigh": solids.right_thigh,
    }[name]


def _push_out(pose: _Pose, own: BodySolids, gaps: Gaps, side: str, clearance: float) -> Array:
    """Wrist shift (F, 3) that takes the hand's points out of torso, head and thighs."""
    total = np.zeros((len(pose.joints), 3))
    for name in OBSTACLES:
        now, out = _solid(own, name).distance(pose.hand_points(side), pose.world, pose.joints)
        lacking = _least_gap(gaps, side, name, clearance) - now
        depth = np.maximum(lacking, 0.0)
        if name not in SOLIDS:
            out = normalize(out + _around_thigh(pose, side)[:, None])
        total += depth.max(axis=1)[:, None] * normalize(np.sum(depth[..., None] * out, axis=1))
    return total


def _into_picture(pose: _Pose, camera: Camera, side: str) -> Array:
    """Wrist shift (F, 3) to the side that brings a hand back between the picture's edges, none for hanging hands."""
    points = pose.hand_points(side)
    pixels, depth = camera.project(points)
    margin = 0.02 * camera.width
    beyond = np.maximum(margin - pixels[..., 0].min(axis=1), 0.0)
    beyond = beyond - np.maximum(pixels[..., 0].max(axis=1) - (camera.width - margin), 0.0)
    metres = beyond * depth[:, 0] / camera.K[0, 0]
    metres = MAX_DRAW * np.tanh(metres / MAX_DRAW)
    low = pixels[:, 0, 1] / camera.height
    raised = np.clip((1.05 - low) / 0.20, 0.0, 1.0) * (depth[:, 0] > 0.1)
    return (metres * raised)[:, None] * camera.viewmat[0, :3].astype(np.float64)


def _elbow_push(pose: _Pose, own: BodySolids, side: str) -> Array:
    """Elbow shift (F, 3) that takes the forearm and elbow out of the torso."""
    distance, out = own.torso.distance(pose.arm_points(side), pose.world, pose.joints)
    depth = np.maximum(ARM_RADIUS - distance, 0.0)
    return (1.5 * depth[..., None] * out).sum(axis=1)


def _smooth(move: Array, fps: float) -> Array:
    """Spread a correction in time so that it comes and goes slowly and still reaches its peaks."""
    width = max(1, round(0.10 * fps))
    size = np.linalg.norm(move, axis=-1)
    held = maximum_filter1d(size, 2 * width + 1, mode="nearest")
    direction = gaussian_filter1d(move, width, axis=0, mode="nearest")
    held = gaussian_filter1d(held, width, mode="nearest")
    return normalize(direction, 1e-6) * held[:, None]


def _limit(shift: Array) -> Array:
    size = np.linalg.norm(shift, axis=-1, keepdims=True)
    return shift * (MAX_SHIFT * np.tanh(size / MAX_SHIFT) / np.maximum(size, 1e-9))


def _move_arm(pose: _Pose, side: str, target: Array, elbow_push: Array) -> None:
    """Bring the wrist to ``target`` (F, 3), the elbow staying on its side, and carry the hand along unturned."""
    shoulder, elbow, wrist = (INDEX[f"{side}_{j}"] for j in ("shoulder", "elbow", "wrist"))
    a, b, c = (pose.joints[:, j] for j in (shoulder, elbow, wrist))
    upper, lower = (np.linalg.norm(pose.rest[j] - pose.rest[i]) for i, j in ((shoulder, elbow), (elbow, wrist)))
    line = normalize(target - a)
    offset = b + elbow_push - a
    straight = np.linalg.norm(np.cross(normalize(b - a), normalize(c - b)), axis=-1, keepdims=True)
    spare = -pose.world[:, INDEX["spine3"], :, 1]
    pole = (
        offset - np.sum(offset * line, axis=-1, keepdims=True) * line + 0.02 * np.exp(-((straight / 0.1) ** 2)) * spare
    )
    middle, end = two_bone(a, target, upper, lower, pole, max_reach=0.999, min_angle=0.35)
    pose.world[:, shoulder] = _turn(b - a, middle - a) @ pose.world[:, shoulder]
    pose.world[:, elbow] = _turn(c - b, end - middle) @ pose.world[:, elbow]
    pose.joints[:, _hand_joints(side)] += (end - c)[:, None]
    pose.joints[:, elbow] = middle


def _turn(a: Array, b: Array) -> Array:
    """Smallest rotations (F, 3, 3) that take directions ``a`` to ``b`` (F, 3)."""
    a, b = normalize(a), normalize(b)
    v = np.cross(a, b)
    c = np.sum(a * b, axis=-1)
    k = np.zeros((len(a), 3, 3))
    k[:, 0, 1], k[:, 0, 2], k[:, 1, 2] = -v[:, 2], v[:, 1], -v[:, 0]
    k -= np.swapaxes(k, -1, -2)
    return np.eye(3) + k + k @ k / np.maximum(1.0 + c, 1e-6)[:, None, None]


def _write_back(local: Array, pose: _Pose) -> Array:
    """Local rotations from the changed world rotations of shoulders, elbows and wrists."""
    out = local.copy()
    for side in SIDES:
        chain = [INDEX[f"{side}_{j}"] for j in ("collar", "shoulder", "elbow", "wrist")]
        for parent, joint in zip(chain[:-1], chain[1:], strict=True):
            out[:, joint] = np.swapaxes(pose.world[:, parent], -1, -2) @ pose.world[:, joint]
    return out


def _deepest(pose: _Pose, own: BodySolids) -> float:
    """How deep a hand joint still is inside torso, head or thighs, metres, 0 when none is."""
    depth = 0.0
    for side in SIDES:
        for name in OBSTACLES:
            distance, _ = _solid(own, name).distance(pose.hand_points(side), pose.world, pose.joints)
            depth = max(depth, float(-distance.min()))
    return max(depth, 0.0)
