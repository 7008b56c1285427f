"""The compiled loop of :mod:`pipeline.watermark`."""

from __future__ import annotations

from numba import njit

from pipeline.types import Array


@njit(cache=True, nogil=True)
def add_pattern(frame: Array, busy: Array, plain_steps: Array, busy_steps: Array, out: Array) -> None:
    """Write ``frame`` plus one of two patterns to ``out``, clipped to 0..255.

    Args:
        frame, out: (H, W, 3) or (H, W, 4) uint8; where alpha is 0 nothing is added.
        busy: (ceil(H/4), ceil(W/4)) bool, which pattern is taken.
        plain_steps, busy_steps: (H, W) int8.
    """
    height, width, channels = frame.shape
    for y in range(height):
        for x in range(width):
            step = int(busy_steps[y, x]) if busy[y >> 2, x >> 2] else int(plain_steps[y, x])
            if channels == 4:
                out[y, x, 3] = frame[y, x, 3]
                step = step if frame[y, x, 3] > 0 else 0
            for c in range(3):
                out[y, x, c] = min(255, max(0, int(frame[y, x, c]) + step))
