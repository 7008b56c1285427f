"""How far a job is and how long it will still take, from the stages that it names."""

from __future__ import annotations

import time
from collections.abc import Callable

FIT_STAGES = {
    "reading the photo": ("reading the photo", 0.01),
    "opening the body model": ("opening the body model", 0.02),
    "keypoints": ("finding the person", 0.03),
    "matte": ("cutting the person out", 0.04),
    "registration": ("laying the body over the photo", 0.16),
    "shaping the body": ("shaping the body", 0.04),
    "placing Gaussians": ("placing Gaussians", 0.04),
    "refining": ("refining", 0.63),
    "finishing": ("finishing", 0.03),
}
"""Stages of a fit in order: words for people, and the share of the time that they take (measured on two CPU cores)."""
VIDEO_STAGES = {
    "tracking": ("reading the motion from the video", 0.4),
    "drawing": ("drawing the video", 0.6),
}


class Clock:
    """Turns (stage, share of the stage) into words with the time left and a share of the whole.

    Args:
        stages: name to (words, weight), in order; stages that never come count as done when a later one starts.
        now: seconds; for tests.
    """

    def __init__(self, stages: dict[str, tuple[str, float]], now: Callable[[], float] = time.monotonic) -> None:
        self._stages, self._now, self._start, self._done = stages, now, now(), 0.0

    def read(self, stage: str, share: float) -> tuple[str, float]:
        """Words for people, and the share of the whole, 0..1, which never falls."""
        total, before = sum(weight for _, weight in self._stages.values()), 0.0
        words, weight = self._stages.get(stage, (stage, 0.0))
        for name, (_, other) in self._stages.items():
            if name == stage:
                break
            before += other
        else:
            before, weight = self._done * total, 0.0
        self._done = max(self._done, min(1.0, (before + weight * min(max(share, 0.0), 1.0)) / total))
        spent = self._now() - self._start
        if spent < 3 or not 0.1 < self._done < 1:
            return words, self._done
        return f"{words}, about {_seconds(spent * (1 - self._done) / self._done)} left", self._done


def _seconds(left: float) -> str:
    if left >= 90:
        return f"{round(left / 60)} min"
    return f"{max(5, 5 * round(left / 5))} s"
