"""Where a video is cut: hard changes of picture from one frame to the next, told from gestures and camera moves.

Two measures of neighbouring thumbnails: how many colours changed places (histogram) and how many pixels changed. A cut
is a jump of both, or of the pixels alone when it stands far out of what the last second had (a jump cut in one room).
Fades and dissolves are not found.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import cv2
import numpy as np

from pipeline.types import Array

THUMBNAIL = (64, 64)
PIXELS, PIXELS_ALONE = 0.06, 0.035
"""Mean change of a thumbnail's pixels (0..1): at a cut with new colours, and at one in the same room."""
COLOURS = 0.12
"""Share of the thumbnail whose colour class changed."""
OUTSTANDING = 6.0
"""How many times larger than the recent median a jump in the same room is."""
MIN_SHOT_SECONDS = 0.2


class CutDetector:
    """Takes the frames of one video in order.

    Args:
        fps: frames per second, for what "recent" means and for the shortest shot.
    """

    def __init__(self, fps: float) -> None:
        self._recent: deque[float] = deque(maxlen=max(4, round(fps)))
        self._shortest = max(1, round(MIN_SHOT_SECONDS * fps))
        self._before: tuple[Array, Array] | None = None
        self._length = 0

    def is_cut(self, frame: Array) -> bool:
        """Whether this (H, W, 3) uint8 RGB frame begins a new shot; the first frame does not."""
        small = cv2.resize(frame, THUMBNAIL, interpolation=cv2.INTER_AREA)
        colours = cv2.calcHist([small], [0, 1, 2], None, [6, 6, 6], [0, 256] * 3).ravel() / (small.size / 3)
        before, self._before = self._before, (small.astype(np.float32) / 255, colours)
        self._length += 1
        if before is None:
            return False
        pixels = float(np.abs(before[0] - self._before[0]).mean())
        moved = 0.5 * float(np.abs(before[1] - colours).sum())
        usual = float(np.median(self._recent)) if self._recent else 0.0
        cut = (pixels > PIXELS and moved > COLOURS) or (
            pixels > PIXELS_ALONE and len(self._recent) >= 4 and pixels > OUTSTANDING * usual
        )
        if not cut:
            self._recent.append(pixels)
        if not cut or self._length <= self._shortest:
            return False
        self._recent.clear()
        self._length = 1
        return True


def find_cuts(frames: Iterable[Array], fps: float) -> list[int]:
    """Numbers of the frames, (H, W, 3) uint8 RGB, that begin a new shot (never 0)."""
    detector = CutDetector(fps)
    return [i for i, frame in enumerate(frames) if detector.is_cut(frame)]


def shots(cuts: Iterable[int], frames: int) -> list[tuple[int, int]]:
    """First and one-past-last frame of every shot of a video of ``frames`` frames."""
    edges = [0, *cuts, frames]
    return list(zip(edges[:-1], edges[1:], strict=True))
