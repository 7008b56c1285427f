"""Curves over a looping timeline: minimum-jerk keys, beat pulses, slow noise, smoothing and lag.

Every curve is periodic over the clip, so an authored preset repeats without a jump. Times are in seconds; a key may
lie outside 0..duration and then belongs to the neighbouring repetition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from ...types import Array
from ..curves import min_jerk
from ..rotations import slerp

Key = tuple[float, float | Sequence[float]]
"""Arrival time and value."""


@dataclass(frozen=True)
class Timeline:
    """A looping span of frames.

    Attributes:
        duration: seconds; ``duration * fps`` must be whole.
        fps: frames per second.
    """

    duration: float
    fps: float = 30.0

    @property
    def frames(self) -> int:
        """Number of frames."""
        return round(self.duration * self.fps)

    @property
    def times(self) -> Array:
        """(F,) seconds."""
        return np.arange(self.frames) / self.fps

    def progress(self, start: float, end: float) -> Array:
        """Minimum-jerk course (F,) from 0 before ``start`` to 1 after ``end`` (not periodic by itself)."""
        return min_jerk((self.times - start) / max(end - start, 1e-6))

    def track(self, keys: Sequence[Key], travel: float | None = None) -> Array:
        """Values held at keys and joined by minimum-jerk moves.

        Args:
            keys: (time of arrival, value) with rising times; the first key's value is also what the loop returns to.
            travel: longest time that a move takes, seconds; None lets it take the whole gap between keys.

        Returns:
            (F,) for scalar values, else (F, n).
        """
        values = np.array([np.atleast_1d(np.asarray(v, np.float64)) for _, v in keys])
        out = np.repeat(values[:1], self.frames, axis=0)
        for k, weight in self.moves([t for t, _ in keys], travel):
            out = out + weight[:, None] * (values[(k + 1) % len(values)] - values[k])
        return out[:, 0] if out.shape[1] == 1 else out

    def moves(
        self, arrivals: Sequence[float], travel: float | Sequence[float] | None = None
    ) -> list[tuple[int, Array]]:
        """Progress curves of the moves between keys, the last one leading back to the first key at the loop's end.

        Args:
            arrivals: rising times; the first is taken as the loop's start.
            travel: longest time per move, one for all or one per arrival (the first entry belongs to the way back).

        Returns:
            For each move: index of the key that it leaves, and its course (F,) from 0 to 1.
        """
        ends = [*arrivals[1:], self.duration + min(arrivals[0], 0.0)]
        limits = travel if isinstance(travel, Sequence) else [travel] * len(arrivals)
        moves = []
        for k, end in enumerate(ends):
            begin = max(arrivals[k], 0.0)
            limit = limits[(k + 1) % len(limits)]
            if limit is not None:
                begin = max(begin, end - limit)
            moves.append((k, self.progress(begin, end)))
        return moves

    def pulses(
        self, times: Sequence[float], shape: Sequence[tuple[float, float]], gains: Sequence[float] | None = None
    ) -> Array:
        """Sum (F,) of one pulse shape placed at several times, wrapped around the loop.

        Args:
            times: where the pulse's own time 0 goes.
            shape: (offset, value) keys of the pulse; zero outside.
            gains: factor per pulse.
        """
        total = np.zeros(self.frames)
        for i, time in enumerate(times):
            local = (self.times - time + self.duration / 2) % self.duration - self.duration / 2
            total += (1.0 if gains is None else gains[i]) * _pulse(local, shape)
        return total

    def noise(self, rng: np.random.Generator, lowest: float = 0.08, highest: float = 1.2, slope: float = 1.0) -> Array:
        """Periodic low-frequency noise (F,) with unit standard deviation and amplitude falling as 1 / f**slope."""
        cycles = np.arange(max(1, round(lowest * self.duration)), max(2, round(highest * self.duration)) + 1)
        amplitude = rng.uniform(0.6, 1.4, len(cycles)) / cycles**slope
        phase = rng.uniform(0, 2 * np.pi, len(cycles))
        wave = np.sin(2 * np.pi * cycles * self.times[:, None] / self.duration + phase) @ amplitude
        return wave / np.sqrt(0.5 * np.sum(amplitude**2))

    def noise3(self, rng: np.random.Generator, scale: Sequence[float], **options: float) -> Array:
        """Three independent :meth:`noise` curves (F, 3) times ``scale``."""
        return np.stack([self.noise(rng, **options) * s for s in scale], axis=-1)

    def breath(self) -> Array:
        """Breathing (F,) in -1..1, about one breath in four seconds, in faster than out."""
        phase = 2 * np.pi * max(1, round(self.duration / 4.0)) * self.times / self.duration
        return np.sin(phase + 0.35 * np.sin(phase))

    def smooth(self, values: Array, seconds: float) -> Array:
        """Gaussian smoothing along the loop with standard deviation ``seconds``."""
        return gaussian_filter1d(values, seconds * self.fps, axis=0, mode="wrap")

    def lag(self, values: Array, seconds: float) -> Array:
        """The curve (F, ...) delayed by ``seconds`` (negative: ahead of time), linear between frames, looping."""
        shift = seconds * self.fps
        whole = int(np.floor(shift))
        part = shift - whole
        return (1.0 - part) * np.roll(values, whole, axis=0) + part * np.roll(values, whole + 1, axis=0)

    def velocity(self, values: Array) -> Array:
        """Central time derivative along the loop, per second."""
        return (np.roll(values, -1, axis=0) - np.roll(values, 1, axis=0)) * (0.5 * self.fps)

    def rotation_track(
        self, arrivals: Sequence[float], quats: Array, travel: Sequence[float] | float | None = None
    ) -> Array:
        """Unit quaternions (F, 4) slerped between keys ``quats (K, 4)`` with the timing of :meth:`moves`."""
        out = np.repeat(quats[:1], self.frames, axis=0)
        for k, weight in self.moves(arrivals, travel):
            moving = weight > 0
            out[moving] = slerp(quats[k], quats[(k + 1) % len(quats)], weight[moving])
        return out

    def smooth_quats(self, quats: Array, seconds: float) -> Array:
        """Gaussian smoothing of unit quaternions (F, 4) along the loop."""
        signs = np.where(np.sum(quats[1:] * quats[:-1], axis=-1) < 0, -1.0, 1.0)
        aligned = quats * np.concatenate([[1.0], np.cumprod(signs)])[:, None]
        if np.dot(aligned[-1], aligned[0]) < 0:
            raise ValueError("the rotation makes a full turn over the loop")
        out = self.smooth(aligned, seconds)
        return out / np.linalg.norm(out, axis=-1, keepdims=True)


def bump(progress: Array) -> Array:
    """0 at both ends of a move's progress (0..1) and 1 half-way, smooth: the weight of an arc's height."""
    return (4.0 * progress * (1.0 - progress)) ** 1.5


def _pulse(local: Array, shape: Sequence[tuple[float, float]]) -> Array:
    keys = [(shape[0][0] - 1e-6, 0.0), *shape]
    out = np.zeros_like(local)
    for (t0, v0), (t1, v1) in zip(keys[:-1], keys[1:], strict=True):
        inside = (local >= t0) & (local < t1)
        out[inside] = v0 + (v1 - v0) * min_jerk((local[inside] - t0) / (t1 - t0))
    return out


BEAT = ((-0.42, 0.0), (-0.16, 0.35), (0.0, -1.0), (0.14, -0.72), (0.55, 0.0))
"""A gestural beat, in units of its depth: a small lift, a quick drop to the stress, a short hold, a slow return."""

NOD = ((-0.26, 0.0), (-0.10, -0.22), (0.06, 1.0), (0.22, 0.45), (0.50, 0.0))
"""A nod on a stress, in units of its depth (down positive): a slight lift, the nod after the stress, the return."""

SURGE = ((-0.36, 0.0), (-0.15, -0.18), (0.08, 1.0), (0.28, 0.7), (0.80, 0.0))
"""An accent of the torso on a stress, in units of its depth: it draws back a little, comes in and settles slowly."""

RAISE = ((-0.22, 0.0), (-0.02, 1.0), (0.20, 0.85), (0.60, 0.0))
"""A brow raise."""

BLINK = ((-0.075, 0.0), (0.0, 1.0), (0.035, 1.0), (0.20, 0.0))
"""A blink: lids fall in 75 ms and rise in 165 ms."""
