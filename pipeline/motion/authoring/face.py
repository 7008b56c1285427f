"""The face of an authored clip: blinks, gaze, brows, smiles and speech gathered into 52 ARKit coefficients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ...types import Array
from ..skeleton import ARKIT
from .speech import PAIRED, Speech
from .timeline import BLINK, RAISE, Key, Timeline

FACE_INDEX = {name: i for i, name in enumerate(ARKIT)}

LOOK_RANGE = np.radians(30.0)
"""Eye turn that a look coefficient of 1 stands for."""


@dataclass(frozen=True)
class FaceScore:
    """What the face does besides speaking.

    Attributes:
        smile: keys of smile strength 0..1 (cheeks and eyes follow).
        brows: times of brow raises, seconds, besides those on stresses.
        brow_gain: how much stresses raise the brows.
        blinks: times of blinks; None draws natural ones.
        gaze: keys of where the eyes look, degrees (to the person's left, up), in the room; eyes jump in saccades.
        extra: further coefficients by name (both sides where it has them) with their keys.
    """

    smile: Sequence[Key] = ((0.0, 0.1),)
    brows: Sequence[float] = ()
    brow_gain: float = 0.25
    blinks: Sequence[float] | None = None
    gaze: Sequence[Key] = ((0.0, (0.0, 0.0)),)
    extra: dict[str, Sequence[Key]] = field(default_factory=dict)


def blink_times(duration: float, rng: np.random.Generator) -> list[float]:
    """Natural blink times: 2.2 to 4.6 s apart, now and then a double blink."""
    times, time = [], rng.uniform(0.6, 1.8)
    while time < duration - 0.3:
        times.append(time)
        if rng.random() < 0.12 and time + 0.34 < duration - 0.3:
            times.append(time + 0.34)
        time += rng.uniform(2.2, 4.6)
    return times


def face_curves(timeline: Timeline, score: FaceScore, speech: Speech, head: Array, rng: np.random.Generator) -> Array:
    """All coefficients of a clip.

    Args:
        timeline: the clip's span.
        score: expression.
        speech: mouth curves and stresses.
        head: (F, 3) rotation vector of the head in the room, so that the gaze can hold against it.
        rng: seeded.

    Returns:
        (F, 52) in 0..1.
    """
    arkit = np.zeros((timeline.frames, len(ARKIT)))
    for name, curve in speech.mouth.items():
        _add(arkit, name, curve, rng if name in PAIRED else None)
    smile = timeline.track(score.smile, travel=0.6) * (1.0 + 0.12 * timeline.noise(rng))
    _add_smile(arkit, smile, speech.voice, rng)
    _add_brows(arkit, timeline, score, speech, rng)
    for name, keys in score.extra.items():
        _add(arkit, name, timeline.track(keys, travel=0.45), rng)
    _add_gaze(arkit, timeline, score, head, rng)
    _add_blinks(arkit, timeline, score, rng)
    return np.clip(arkit, 0.0, 1.0)


def _add(arkit: Array, name: str, curve: Array, rng: np.random.Generator | None = None) -> None:
    """Add a curve to a coefficient, or to both sides of it with a slight difference."""
    if name in FACE_INDEX:
        arkit[:, FACE_INDEX[name]] += curve
        return
    tilt = 0.0 if rng is None else float(rng.uniform(-0.07, 0.07))
    arkit[:, FACE_INDEX[f"{name}Left"]] += (1.0 + tilt) * curve
    arkit[:, FACE_INDEX[f"{name}Right"]] += (1.0 - tilt) * curve


def _add_smile(arkit: Array, smile: Array, voice: Array, rng: np.random.Generator) -> None:
    smile = np.clip(smile, 0.0, 1.0)
    spoken = smile * (1.0 - 0.35 * voice)
    _add(arkit, "mouthSmile", spoken, rng)
    _add(arkit, "mouthDimple", 0.18 * spoken, rng)
    _add(arkit, "cheekSquint", 0.75 * smile**1.3, rng)
    _add(arkit, "eyeSquint", 0.5 * smile**1.5, rng)
    _add(arkit, "mouthUpperUp", 0.22 * spoken**1.5, rng)


def _add_brows(arkit: Array, timeline: Timeline, score: FaceScore, speech: Speech, rng: np.random.Generator) -> None:
    raised = [t - 0.05 for t in speech.stresses]
    gains = list(score.brow_gain * rng.uniform(0.15, 1.1, len(raised)) * (rng.random(len(raised)) < 0.6))
    lift = timeline.pulses(raised, RAISE, gains) + timeline.pulses(score.brows, RAISE, [0.5] * len(score.brows))
    lift = timeline.smooth(lift, 0.05) + 0.03 * (1.0 + timeline.noise(rng))
    _add(arkit, "browInnerUp", 0.7 * lift)
    _add(arkit, "browOuterUp", 0.8 * lift, rng)
    _add(arkit, "eyeWide", 0.22 * np.clip(lift, 0, 1), rng)


def _add_gaze(arkit: Array, timeline: Timeline, score: FaceScore, head: Array, rng: np.random.Generator) -> None:
    target = np.radians(timeline.track(score.gaze, travel=0.07).reshape(timeline.frames, -1))
    if target.shape[1] != 2:
        raise ValueError("gaze keys are (left, up) pairs")
    eyes = target + eye_steps(timeline, rng) - np.stack([head[:, 1], -head[:, 0]], axis=-1)
    for name, curve in look_coefficients(eyes).items():
        arkit[:, FACE_INDEX[name]] += curve


def eye_steps(timeline: Timeline, rng: np.random.Generator) -> Array:
    """Small fixation changes (F, 2) of the eyes, radians to the left and up."""
    return np.stack([_fixations(timeline, rng, size) for size in (0.022, 0.014)], axis=-1)


def look_coefficients(eyes: Array) -> dict[str, Array]:
    """The eight look coefficients (F,) of eye turns (F, 2), radians to the person's left and up, softly limited."""
    limit = np.radians(24.0)
    left, up = (limit * np.tanh(eyes / limit) / LOOK_RANGE).T
    turns = {
        "OutLeft": left, "InRight": left, "InLeft": -left, "OutRight": -left,
        "UpLeft": up, "UpRight": up, "DownLeft": -up, "DownRight": -up,
    }  # fmt: skip
    return {f"eyeLook{name}": np.maximum(curve, 0.0) for name, curve in turns.items()}


def _fixations(timeline: Timeline, rng: np.random.Generator, size: float) -> Array:
    """Small random gaze steps (F,), radians: held for half a second or more, changed within two frames."""
    times = [0.0]
    while times[-1] < timeline.duration - 1.0:
        times.append(times[-1] + rng.uniform(0.45, 1.5))
    return timeline.track([(t, float(rng.normal(0, size))) for t in times], travel=0.06)


def _add_blinks(arkit: Array, timeline: Timeline, score: FaceScore, rng: np.random.Generator) -> None:
    times = blink_times(timeline.duration, rng) if score.blinks is None else list(score.blinks)
    lids = timeline.pulses(times, BLINK, list(rng.uniform(0.93, 1.0, len(times))))
    for i, side in enumerate(("Left", "Right")):
        late = timeline.lag(lids, 0.008 * i)
        column = FACE_INDEX[f"eyeBlink{side}"]
        # lids follow the eyes down; a squint closes them a little already
        base = 0.35 * arkit[:, FACE_INDEX[f"eyeLookDown{side}"]]
        arkit[:, column] = np.maximum(np.clip(late, 0, 1), base + (1 - base) * np.clip(late, 0, 1))
        arkit[:, FACE_INDEX[f"eyeWide{side}"]] *= 1.0 - np.clip(late, 0, 1)
    _add(arkit, "browDown", 0.05 * np.clip(lids, 0, 1))
