"""Small adjustments of a body that holds a pose: the hands settle anew, fingers bend a little, the torso shifts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...types import Array
from .timeline import Timeline

STREAM = 9
"""Of random numbers, so that adjustments change nothing else of a preset."""
PAUSE = (0.65, 0.95)
"""Seconds from one adjustment to the next."""
HANDS_TRAVEL, TORSO_TRAVEL = 0.26, 0.42
WANDER = 0.7
"""How far the direction of an adjustment strays from straight back over the middle, 0 for not at all."""
WAYS = np.array([1.0, 1.0, 0.6])
"""Of the hands: to the side, up, and forward."""
CURL = 9.0
"""Degrees by which fingers bend or stretch."""
TORSO = np.array([1.8, 2.4, 1.8])
"""Degrees of the torso (forward, turn, lean)."""


@dataclass(frozen=True)
class Fidget:
    """Offsets from the written pose.

    Attributes:
        hands: (F, 3) of both wrists in chest axes, metres.
        curl: (F,) of the fingers, radians.
        torso: (F, 3) rotation vector, radians.
    """

    hands: Array
    curl: Array
    torso: Array


def fidget(timeline: Timeline, size: float, seed: int) -> Fidget:
    """Adjustments about once a second.

    Args:
        timeline: the clip's span.
        size: way of the hands in one of them, metres; fingers and torso go along.
        seed: of the preset.
    """
    rng = np.random.default_rng([seed, STREAM])
    times = [0.0]
    while times[-1] < timeline.duration - 2.0 * PAUSE[0]:
        times.append(times[-1] + rng.uniform(*PAUSE))
    there = _to_and_fro(rng, len(times), 3) * WAYS * 0.5 * size
    turned = _to_and_fro(rng, len(times), 3) * np.radians(TORSO) * (size > 0)
    bent = rng.uniform(0.6, 1.0, len(times)) * np.radians(CURL) * np.where(np.arange(len(times)) % 2, 0.5, -0.5)
    keys = [list(zip(times, values, strict=True)) for values in (there, bent * (size > 0), turned)]
    hands, curl = (timeline.track(k, travel=HANDS_TRAVEL) for k in keys[:2])
    return Fidget(hands, curl, timeline.track(keys[2], travel=TORSO_TRAVEL))


def _to_and_fro(rng: np.random.Generator, count: int, axes: int) -> Array:
    """(count, axes) vectors of about unit length, each roughly opposite to the one before."""
    out = [rng.normal(size=axes)]
    for _ in range(count - 1):
        out.append(-out[-1] / np.linalg.norm(out[-1]) + WANDER * rng.normal(size=axes) / np.sqrt(axes))
    vectors = np.stack(out)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True) * rng.uniform(0.85, 1.15, (count, 1))
