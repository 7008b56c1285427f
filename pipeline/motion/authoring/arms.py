"""Arms of an authored clip: wrist paths in chest space, then collar, shoulder, elbow and wrist rotations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...types import Array
from ..curves import min_jerk
from ..kinematics import frame_from, joint_positions, limb_rotations, local_to_global, two_bone
from ..rotations import (
    aa_to_matrix,
    aa_to_quat,
    axis_rotation,
    matrix_to_aa,
    matrix_to_quat,
    quat_to_aa,
    quat_to_matrix,
    twist_angle,
)
from ..skeleton import INDEX
from .fidget import Fidget
from .hands import hand_pose
from .performance import HandScore
from .timeline import BEAT, Timeline, bump

WRIST_LIMITS = np.radians((105.0, 32.0, 68.0))
"""Soft limits of the wrist: forearm twist, deviation towards thumb or little finger, bend."""
ELBOW_TWIST_SHARE = 0.55
"""Part of the forearm's twist that is carried by the elbow joint, so that the skin at the wrist does not wring."""

SETTLE = 0.8
"""How far the wrist bends when the fingers do in an adjustment, in parts of their bend."""


@dataclass(frozen=True)
class ArmPath:
    """One arm's wishes, in chest axes with x to the person's left (not mirrored).

    Attributes:
        place: (F, 3) wrist, from the middle between the shoulders, metres.
        hand: (F, 3, 3) rotation of the hand relative to its T-pose.
        fingers: (F, 15, 3) finger pose, axis-angle.
        elbow: (F,) 0 hanging to 1 lifted.
    """

    place: Array
    hand: Array
    fingers: Array
    elbow: Array


def arm_path(
    timeline: Timeline, score: HandScore, side: str, stresses: Sequence[float], small: Fidget, rng: np.random.Generator
) -> ArmPath:
    """Lay the keys of one hand out in time.

    Args:
        timeline: the clip's span.
        score: what the hand does.
        side: "left" or "right".
        stresses: times of stressed vowels.
        small: adjustments that both hands make together.
        rng: seeded.
    """
    gains = score.stress_beats * rng.uniform(0.35, 1.5, len(stresses))
    beats = [*score.beats, *zip(stresses, gains, strict=True)]
    sign = np.array([1.0, 1.0, 1.0]) if side == "left" else np.array([-1.0, 1.0, 1.0])
    arrivals = [k.time for k in score.keys]
    travel = [k.travel for k in score.keys]
    place = _places(timeline, score, arrivals, travel, beats, rng) * sign
    place = place + score.restless * small.hands
    quats = np.stack([_hand_quat(np.array(k.fingers) * sign, np.array(k.palm) * sign, side) for k in score.keys])
    hand = timeline.rotation_track(arrivals, _continuous(quats), travel)
    hand = timeline.lag(timeline.smooth_quats(hand, 0.06), 0.035 + score.lag)
    hand = quat_to_matrix(hand / np.linalg.norm(hand, axis=-1, keepdims=True))
    hand = hand @ _waves(timeline, score, side) @ _drag(timeline, place, hand, side)
    hand = hand @ axis_rotation("z", (-1.0 if side == "left" else 1.0) * SETTLE * score.restless * small.curl)
    elbow = timeline.track([(k.time, k.elbow) for k in score.keys], travel=1.0)
    elbow = timeline.smooth(elbow, 0.12) + 0.05 * timeline.noise(rng, highest=0.4)
    fingers = _fingers(timeline, score, arrivals, travel, side, score.restless * small.curl, rng)
    return ArmPath(place, hand, fingers, elbow)


def _places(
    timeline: Timeline,
    score: HandScore,
    arrivals: list[float],
    travel: list[float],
    beats: Sequence[tuple[float, float]],
    rng: np.random.Generator,
) -> Array:
    """Wrist path in own-side axes: minimum-jerk moves on arcs, beats, drift, then a softening that overlaps moves."""
    keys = score.keys
    place = np.repeat(np.array([keys[0].place]), timeline.frames, axis=0)
    for k, weight in timeline.moves(arrivals, travel):
        following = keys[(k + 1) % len(keys)]
        step = np.array(following.place) - np.array(keys[k].place)
        place = place + weight[:, None] * step + bump(weight)[:, None] * np.array(following.arc)
    place = timeline.smooth(place, 0.05)
    strike = np.array(score.beat_direction) / np.linalg.norm(score.beat_direction)
    beat = timeline.pulses([t for t, _ in beats], BEAT, [d for _, d in beats])
    place = place - timeline.smooth(beat, 0.022)[:, None] * strike
    place[:, 0] += 0.10 * _swing(timeline, score)
    drift = timeline.noise3(rng, (1.0, 1.0, 0.8), lowest=0.12, highest=1.5, slope=1.0) * score.sway
    return timeline.lag(place, score.lag) + drift


def _hand_quat(fingers: Array, palm: Array, side: str) -> Array:
    """Rotation of the hand from its T-pose (fingers sideways, palm down) to the wanted directions."""
    rest_fingers = np.array([1.0 if side == "left" else -1.0, 0.0, 0.0])
    rest = frame_from(rest_fingers, np.array([0.0, -1.0, 0.0]))
    return matrix_to_quat(frame_from(fingers, palm) @ rest.T)


def _continuous(quats: Array) -> Array:
    out = quats.copy()
    for i in range(1, len(out)):
        if np.dot(out[i], out[i - 1]) < 0:
            out[i] = -out[i]
    return out


def _waves(timeline: Timeline, score: HandScore, side: str) -> Array:
    """Hand waving: swings about the palm's normal, (F, 3, 3) in the hand's own axes."""
    angle = timeline.lag(_swing(timeline, score), 0.05)
    return axis_rotation("y", angle if side == "left" else -angle)


def _swing(timeline: Timeline, score: HandScore) -> Array:
    """Angle (F,) of all waves, radians."""
    angle = np.zeros(timeline.frames)
    for start, end, swing, rate in score.waves:
        gate = timeline.progress(start, start + 0.35) * (1.0 - timeline.progress(end - 0.4, end))
        angle += gate * np.radians(swing) * np.sin(2 * np.pi * rate * (timeline.times - start))
    return angle


def _drag(timeline: Timeline, place: Array, hand: Array, side: str) -> Array:
    """The loose wrist trails the hand's path: bends against its velocity, (F, 3, 3) in the hand's own axes."""
    speed = timeline.smooth(timeline.velocity(place), 0.04)
    own = np.einsum("fji,fj->fi", hand, timeline.lag(speed, 0.03))
    out = 1.0 if side == "left" else -1.0
    bend = out * 0.30 * own[:, 1]
    turn = -out * 0.16 * own[:, 2]
    aa = np.stack([np.zeros_like(bend), turn, -bend], axis=-1)
    return aa_to_matrix(np.clip(aa, -0.35, 0.35))


def _fingers(
    timeline: Timeline,
    score: HandScore,
    arrivals: list[float],
    travel: list[float],
    side: str,
    curl: Array,
    rng: np.random.Generator,
) -> Array:
    """Finger pose (F, 15, 3): shapes joined after the hand has begun to move, little finger first, slowly alive."""
    shapes = np.stack([aa_to_quat(hand_pose(k.shape, side)) for k in score.keys])
    short = [min(t, 0.42) for t in travel]
    out = np.empty((timeline.frames, 15, 3))
    delay = {0: 0.055, 1: 0.035, 2: 0.0, 3: 0.015, 4: 0.03}
    bend_sign = -1.0 if side == "left" else 1.0
    for joint in range(15):
        quats = timeline.rotation_track(arrivals, _continuous(shapes[:, joint]), short)
        quats = timeline.lag(timeline.smooth_quats(quats, 0.035), delay[joint // 3] + score.lag)
        out[:, joint] = quat_to_aa(quats / np.linalg.norm(quats, axis=-1, keepdims=True))
    for finger in range(5):
        wave = np.radians(score.wiggle) * timeline.noise(rng, lowest=0.1, highest=0.8) + curl
        axis = (0.2, 0.4, 0.6) if finger == 4 else (0.0, 0.0, 1.0)
        out[:, 3 * finger : 3 * finger + 3] += bend_sign * wave[:, None, None] * np.array(axis)
    return out


def solve_arm(local: Array, rest: Array, root: Array, path: ArmPath, side: str, lift: Array) -> None:
    """Write the collar, shoulder, elbow and wrist rotations of one arm into ``local`` (F, 55, 3, 3)."""
    out = 1.0 if side == "left" else -1.0
    collar, shoulder, elbow, wrist = (INDEX[f"{side}_{j}"] for j in ("collar", "shoulder", "elbow", "wrist"))
    centre = 0.5 * (rest[INDEX["left_shoulder"]] + rest[INDEX["right_shoulder"]])
    local[:, collar] = _collar(path.place * np.array([out, 1.0, 1.0]), lift, out)
    world = local_to_global(local)
    chest = world[:, INDEX["spine3"]]
    joints = joint_positions(world, rest, root)
    spine3 = INDEX["spine3"]
    target = joints[:, spine3] + np.einsum("fij,fj->fi", chest, path.place + (centre - rest[spine3]))
    pole = np.einsum("fij,fj->fi", chest, _pole(path, out))
    upper_bone, lower_bone = rest[elbow] - rest[shoulder], rest[wrist] - rest[elbow]
    lengths = np.linalg.norm(upper_bone), np.linalg.norm(lower_bone)
    middle, end = two_bone(joints[:, shoulder], target, *lengths, pole)
    hinge = np.array([0.0, -out, 0.0])
    fallback = np.cross(pole, middle - joints[:, shoulder])
    upper, lower = limb_rotations(joints[:, shoulder], middle, end, upper_bone, lower_bone, hinge, fallback)
    local[:, shoulder] = np.swapaxes(world[:, collar], -1, -2) @ upper
    local[:, elbow], local[:, wrist] = _forearm(upper, lower, chest @ path.hand, out)


def _collar(place: Array, lift: Array, out: float) -> Array:
    """Collar rotation (F, 3, 3) that follows the hand: up when it rises above the chest, forward when it reaches."""
    rise = 0.20 * min_jerk((place[:, 1] + 0.30) / 0.55) + lift
    reach = 0.12 * min_jerk((place[:, 2] - 0.22) / 0.30) + 0.10 * min_jerk((0.12 - place[:, 0]) / 0.30)
    zeros = np.zeros_like(rise)
    return aa_to_matrix(np.stack([zeros, -out * reach, out * rise], axis=-1))


def _pole(path: ArmPath, out: float) -> Array:
    """Where the elbow points (F, 3) in chest axes: down, out and a little back; further out as it is lifted."""
    side = out * path.place[:, 0]
    outward = 0.16 + 1.4 * path.elbow + 1.3 * np.clip(0.12 - side, 0.0, 0.4) - 2.6 * np.clip(side - 0.18, 0.0, 0.2)
    return np.stack([out * outward, -np.ones_like(outward), np.full_like(outward, -0.45)], axis=-1)


def _forearm(upper: Array, lower: Array, hand: Array, out: float) -> tuple[Array, Array]:
    """Elbow and wrist rotations (F, 3, 3) whose chain ends in ``hand``, within the wrist's limits, twist shared."""
    axis = np.array([1.0, 0.0, 0.0])
    wrist = np.swapaxes(lower, -1, -2) @ hand
    twist = twist_angle(wrist, axis)
    swing = matrix_to_aa(wrist @ axis_rotation("x", -twist))
    twist = soft_clip(twist, WRIST_LIMITS[0])
    for i in (1, 2):
        swing[:, i] = soft_clip(swing[:, i], WRIST_LIMITS[i])
    carried = ELBOW_TWIST_SHARE * twist
    elbow = np.swapaxes(upper, -1, -2) @ lower @ axis_rotation("x", carried)
    # swing was measured before the twist: undo the elbow's share, swing, then twist the rest
    turned = axis_rotation("x", -carried) @ aa_to_matrix(swing) @ axis_rotation("x", twist)
    return elbow, turned


def soft_clip(values: Array, limit: float) -> Array:
    """Identity to 70 % of the limit, bending smoothly to never pass it."""
    begin = 0.7 * limit
    room = limit - begin
    over = np.maximum(np.abs(values) - begin, 0.0)
    return np.where(over > 0, np.sign(values) * (begin + room * np.tanh(over / room)), values)
