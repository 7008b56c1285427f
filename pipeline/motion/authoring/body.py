"""From a written performance to a motion clip: torso, head, arms by inverse kinematics, legs on the ground, face."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...types import Array, MotionClip
from ..kinematics import joint_positions, limb_rotations, local_to_global, two_bone
from ..rotations import aa_to_matrix, matrix_to_aa
from ..skeleton import INDEX, N_JOINTS, SIDES, mean_joints
from .arms import ArmPath, arm_path, solve_arm
from .face import face_curves
from .fidget import Fidget, fidget
from .performance import Performance
from .speech import Speech, speak
from .timeline import NOD, SURGE, Timeline

SPINE_SHARE = {"spine1": 0.24, "spine2": 0.46, "spine3": 0.30}
NECK_SHARE = 0.45
STANCE = 0.012
"""Metres that the pelvis sinks below straight legs, so that knees are never locked."""
TORSO_DRIFT, HEAD_DRIFT = (1.4, 2.5, 1.7), (2.3, 2.9, 2.3)
"""Standard deviation of the slow drift of torso and head, degrees (forward, turn, lean)."""
ACCENT = (6.0, 5.3, 3.5)
"""Largest size of the torso's accents on stressed syllables, degrees (forward, turn, lean)."""
NOD_SHARE = 0.4
"""How far the torso goes along with a written nod."""


@dataclass(frozen=True)
class _Upper:
    """Torso and head as rotation vectors in the room, (F, 3) each, and the collars' lift (F,)."""

    root: Array
    torso: Array
    head: Array
    lift: Array
    shift: Array


def perform(score: Performance, fps: float = 30.0) -> MotionClip:
    """Turn a performance into a clip that loops.

    Args:
        score: what the author wrote.
        fps: frames per second.

    Returns:
        The clip, float32, quantised so that regenerated files are equal.
    """
    timeline = Timeline(score.duration, fps)
    rng = np.random.default_rng(score.seed)
    speech = speak(timeline, score.speech)
    small = fidget(timeline, score.fidget, score.seed)
    paths = {s: arm_path(timeline, getattr(score, s), s, speech.stresses, small, rng) for s in SIDES}
    upper = _upper_body(timeline, score, speech, paths, small, rng)
    local, root = _pose(timeline, upper, paths)
    arkit = face_curves(timeline, score.face, speech, upper.head, rng)
    return _clip(local, root, arkit, paths, fps, score)


def _clip(
    local: Array, root: Array, arkit: Array, paths: dict[str, ArmPath], fps: float, score: Performance
) -> MotionClip:
    aa = matrix_to_aa(local)
    zeros = np.zeros((len(root), 3))
    arrays = {
        "global_orient": aa[:, 0],
        "body_pose": aa[:, 1:22],
        "left_hand_pose": paths["left"].fingers,
        "right_hand_pose": paths["right"].fingers,
        "transl": root - root.mean(axis=0),
        "arkit": arkit,
    }
    steps = {"arkit": 2.0**-10}
    rounded = {k: _quantise(v, steps.get(k, 2.0**-13)) for k, v in arrays.items()}
    blank = {k: zeros.astype(np.float32) for k in ("jaw_pose", "leye_pose", "reye_pose")}
    return MotionClip(fps=fps, meta=score.meta(), **rounded, **blank)


def _quantise(values: Array, step: float) -> Array:
    """Round to multiples of ``step``, so that files are small and the same on every machine."""
    return (np.round(values / step) * step + 0.0).astype(np.float32)


def _upper_body(
    timeline: Timeline, score: Performance, speech: Speech, paths: dict[str, ArmPath], small: Fidget,
    rng: np.random.Generator,
) -> _Upper:  # fmt: skip
    breath = timeline.breath()
    calm = score.calm
    torso = np.radians(_vector(timeline, score.torso))
    torso = torso + calm * np.radians(timeline.noise3(rng, TORSO_DRIFT, highest=1.3, slope=0.8))
    torso = torso + _follow_hands(timeline, paths) + calm * _accents(timeline, speech, rng) + small.torso
    torso[:, 0] += np.radians(-0.55 * breath + _tremble(timeline, score))
    torso[:, 0] += NOD_SHARE * _nods(timeline, score)
    shift = timeline.track(score.weight, travel=1.6) + 0.004 * calm * timeline.noise(rng, highest=0.3)
    root = np.zeros((timeline.frames, 3))
    root[:, 1] = 0.25 * torso[:, 1]
    root[:, 2] = -1.2 * shift
    head = _head(timeline, score, speech, torso, rng)
    lift = np.radians(timeline.track(score.shrug, travel=0.45) + 0.9 * breath)
    return _Upper(timeline.smooth(root, 0.08), timeline.smooth(torso, 0.06), head, timeline.smooth(lift, 0.05), shift)


def _vector(timeline: Timeline, keys) -> Array:
    return timeline.track(keys, travel=0.9).reshape(timeline.frames, 3) * np.array([1.0, 1.0, -1.0])


def _tremble(timeline: Timeline, score: Performance) -> Array:
    total = np.zeros(timeline.frames)
    for start, end, size, rate in score.tremble:
        gate = timeline.progress(start, start + 0.25) * (1.0 - timeline.progress(end - 0.5, end))
        total += gate * size * np.sin(2 * np.pi * rate * (timeline.times - start))
    return total


def _nods(timeline: Timeline, score: Performance) -> Array:
    """The written nods (F,), radians downwards."""
    return timeline.pulses([t for t, _ in score.nods], NOD, [np.radians(depth) for _, depth in score.nods])


def _accents(timeline: Timeline, speech: Speech, rng: np.random.Generator) -> Array:
    """The torso goes with stressed syllables (F, 3): in towards the listener, and each time a little to one side."""
    sizes = rng.uniform(0.35, 1.25, len(speech.stresses))
    sides = rng.uniform(-1.0, 1.0, (len(speech.stresses), 2))
    gains = np.column_stack([sizes, sides]) * np.radians(ACCENT)
    curves = [timeline.pulses(speech.stresses, SURGE, list(column)) for column in gains.T]
    return np.stack(curves, axis=-1)


def _follow_hands(timeline: Timeline, paths: dict[str, ArmPath]) -> Array:
    """The torso leans and turns a little with the hands, ahead of them, as a body that carries its arms does."""
    left, right = paths["left"].place, paths["right"].place
    reach = 0.5 * (left[:, 2] + right[:, 2]) - 0.25
    turn = (right[:, 2] - left[:, 2]) * 0.35 + (left[:, 0] + right[:, 0]) * 0.30
    lean = (left[:, 1] - right[:, 1]) * 0.12
    follow = np.stack([0.20 * reach, turn, lean], axis=-1)
    return timeline.lag(timeline.smooth(follow, 0.13), -0.10)


def _head(timeline: Timeline, score: Performance, speech: Speech, torso: Array, rng: np.random.Generator) -> Array:
    """The head in the room: keys, nods on stresses, shakes, drift, and a part of the torso's turn that it keeps."""
    head = np.radians(_vector(timeline, score.head))
    gains = rng.uniform(0.5, 1.6, len(speech.stresses)) * np.radians(score.nod)
    head[:, 0] += timeline.pulses(speech.stresses, NOD, list(gains))
    head[:, 0] += _nods(timeline, score)
    for start, end, swing, rate in score.shakes:
        gate = timeline.progress(start, start + 0.3) * (1.0 - timeline.progress(end - 0.4, end))
        head[:, 1] += gate * np.radians(swing) * np.sin(2 * np.pi * rate * (timeline.times - start))
    alive = score.calm * (0.9 + 1.1 * timeline.smooth(speech.voice, 0.15))[:, None]
    head = head + alive * np.radians(timeline.noise3(rng, HEAD_DRIFT, lowest=0.16, highest=2.4, slope=0.6))
    return timeline.smooth(head, 0.04) + torso * np.array([0.25, 0.30, 0.2])


def _pose(timeline: Timeline, upper: _Upper, paths: dict[str, ArmPath]) -> tuple[Array, Array]:
    """Local rotations (F, 22, 3, 3) and pelvis positions (F, 3)."""
    rest = mean_joints()
    local = np.broadcast_to(np.eye(3), (timeline.frames, N_JOINTS, 3, 3)).copy()
    local[:, 0] = aa_to_matrix(upper.root)
    relative = upper.torso - upper.root
    for name, share in SPINE_SHARE.items():
        local[:, INDEX[name]] = aa_to_matrix(share * relative)
    chest = local_to_global(local)[:, INDEX["spine3"]]
    neck = matrix_to_aa(np.swapaxes(chest, -1, -2) @ aa_to_matrix(upper.head))
    local[:, INDEX["neck"]] = aa_to_matrix(NECK_SHARE * neck)
    local[:, INDEX["head"]] = aa_to_matrix((1.0 - NECK_SHARE) * neck)
    root = np.stack([upper.shift, np.full(timeline.frames, -STANCE), np.zeros(timeline.frames)], axis=-1)
    _place_legs(local, rest, root)
    for side in SIDES:
        solve_arm(local, rest, root, paths[side], side, upper.lift)
    return local[:, :22], root


def _place_legs(local: Array, rest: Array, root: Array) -> None:
    """Bend the legs so that both ankles stay where they stood, feet flat."""
    world = local_to_global(local)
    joints = joint_positions(world, rest, root)
    for side in SIDES:
        hip, knee, ankle = (INDEX[f"{side}_{j}"] for j in ("hip", "knee", "ankle"))
        upper_bone, lower_bone = rest[knee] - rest[hip], rest[ankle] - rest[knee]
        target = np.broadcast_to(rest[ankle], root.shape)
        forward = np.broadcast_to(np.array([0.0, 0.0, 1.0]), root.shape)
        lengths = np.linalg.norm(upper_bone), np.linalg.norm(lower_bone)
        middle, end = two_bone(joints[:, hip], target, *lengths, forward, max_reach=0.9995)
        hinge = np.array([1.0, 0.0, 0.0])
        fallback = world[:, 0] @ hinge
        thigh, shin = limb_rotations(joints[:, hip], middle, end, upper_bone, lower_bone, hinge, fallback)
        local[:, hip] = np.swapaxes(world[:, 0], -1, -2) @ thigh
        local[:, knee] = np.swapaxes(thigh, -1, -2) @ shin
        local[:, ankle] = np.swapaxes(shin, -1, -2)
