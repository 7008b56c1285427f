"""The idle layer: blinks, gaze, breathing and sway, put under clips that lack them."""

from __future__ import annotations

import numpy as np

from ..types import Array, MotionClip
from .authoring.face import FACE_INDEX, blink_times, eye_steps, look_coefficients
from .authoring.timeline import BLINK, Timeline
from .rotations import aa_to_matrix, matrix_to_aa
from .skeleton import ARKIT, INDEX

BLINK_COLUMNS = [i for i, n in enumerate(ARKIT) if n.startswith("eyeBlink")]
LOOK_COLUMNS = [i for i, n in enumerate(ARKIT) if n.startswith("eyeLook")]
STILL = np.radians(0.15)
"""Standard deviation of a joint's angle under which it is taken as not moving by itself."""
BREATH = {"spine2": (-0.35, 0.0, 0.0), "spine3": (-0.55, 0.0, 0.0), "neck": (0.5, 0.0, 0.0)}
COLLAR_LIFT = 0.9
"""Degrees at the top of a breath."""


def has_blinks(clip: MotionClip) -> bool:
    """Whether the lids of the clip ever close."""
    return float(clip.arkit[:, BLINK_COLUMNS].max()) > 0.35


def has_gaze(clip: MotionClip) -> bool:
    """Whether the eyes of the clip move."""
    eyes = np.concatenate([clip.leye_pose, clip.reye_pose], axis=1)
    return float(clip.arkit[:, LOOK_COLUMNS].std(axis=0).max()) > 0.01 or float(eyes.std(axis=0).max()) > np.radians(
        0.5
    )


def is_still(clip: MotionClip, joint: str) -> bool:
    """Whether a body joint of the clip does not move."""
    return float(clip.body_pose[:, INDEX[joint] - 1].std(axis=0).max()) < STILL


def add_idle(clip: MotionClip, seed: int = 0, *, strength: float = 1.0) -> MotionClip:
    """Give a clip the small life that it lacks.

    Blinks and gaze are added where the clip has none, breathing where its chest is still, sway where its head is.
    What the clip does by itself is not changed.

    Args:
        clip: any clip of a second or more; shorter ones are returned as they are.
        seed: of the random times.
        strength: size of breathing and sway, 1 is natural.
    """
    if clip.duration < 1.0:
        return clip
    timeline = Timeline(len(clip) / clip.fps, clip.fps)
    rng = np.random.default_rng(seed)
    arkit = clip.arkit.astype(np.float64)
    if not has_gaze(clip):
        _add_gaze(arkit, timeline, rng)
    if not has_blinks(clip):
        _add_blinks(arkit, timeline, rng)
    body = _add_breath_and_sway(clip, timeline, strength, rng)
    return clip.replace(arkit=np.clip(arkit, 0, 1).astype(np.float32), body_pose=body.astype(np.float32))


def _add_gaze(arkit: Array, timeline: Timeline, rng: np.random.Generator) -> None:
    for name, curve in look_coefficients(eye_steps(timeline, rng)).items():
        arkit[:, FACE_INDEX[name]] += curve


def _add_blinks(arkit: Array, timeline: Timeline, rng: np.random.Generator) -> None:
    times = blink_times(timeline.duration, rng) or [0.5 * timeline.duration]
    lids = np.clip(timeline.pulses(times, BLINK), 0.0, 1.0)
    for column in BLINK_COLUMNS:
        arkit[:, column] = np.maximum(arkit[:, column], lids)


def _add_breath_and_sway(clip: MotionClip, timeline: Timeline, strength: float, rng: np.random.Generator) -> Array:
    breath = timeline.breath()
    body = clip.body_pose.astype(np.float64)
    if is_still(clip, "spine3"):
        for joint, degrees in BREATH.items():
            _turn(body, joint, np.radians(degrees) * strength * breath[:, None])
        for joint, side in (("left_collar", 1.0), ("right_collar", -1.0)):
            _turn(body, joint, np.radians([0.0, 0.0, side * COLLAR_LIFT]) * strength * breath[:, None])
    if is_still(clip, "head"):
        sway = timeline.noise3(rng, (0.7, 1.1, 0.7), lowest=0.12, highest=0.8)
        _turn(body, "head", np.radians(sway) * strength)
    return body


def _turn(body: Array, joint: str, aa: Array) -> None:
    """Turn one joint of ``body (F, 21, 3)`` further by rotation vectors (F, 3), in place."""
    column = INDEX[joint] - 1
    body[:, column] = matrix_to_aa(aa_to_matrix(body[:, column]) @ aa_to_matrix(aa))
