"""Where a video is cut: hard cuts, dissolves, wipes and fades through a blank picture, told from gestures and pans.

Two measures of neighbouring thumbnails: how many colours changed places (histogram) and how many pixels changed. A hard
cut is a jump of both, or of the pixels alone when it stands far out of what came before and after (a jump cut in one
room).

A dissolve is told by how it gets from one picture to the other. While one shot is mixed into the next, every picture
between is a sum of the first and the last one, with a share that grows from 0 to 1; what moves is no such sum, since an
edge on its way is where neither end has it. So a stretch counts when its ends rest and differ much, when the pictures
between are explained by the ends, and when the last one is not the first one brighter, darker, moved or zoomed.

A wipe is told by its pictures too: each is the last one on one side of a straight edge and the first one on the other,
and the edge crosses the picture. Round wipes, dissolves and wipes of more than two seconds, and those between pictures
that are nearly alike are not found.
"""

from __future__ import annotations

import math
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
SUDDEN = 2.0
"""How many times larger it is than the changes just before and after: a head that is thrown round takes some frames."""
MIN_SHOT_SECONDS = 0.2

DISSOLVE_SECONDS = (0.5, 0.8, 1.2, 1.8, 3.0)
"""Lengths of the stretches that are looked at: the dissolve and some rest at both ends."""
LOOKS = 24
"""Most pictures between that are compared with the ends."""
REST, REST_PART = 0.12, 0.17
"""How far the share may be from 0 and 1 at the ends of a stretch, and how much of the stretch each end
is: in the midst of a dissolve the share grows by more over as long."""
BETWEEN = 3
"""Fewest pictures that are neither the one nor the other: with fewer it is a hard cut."""
NOT_LIGHT = 0.04
"""Mean change (0..1) that is left when the last picture is explained as the first, brighter or darker."""
UNEXPLAINED, UNEXPLAINED_AT_NONE, UNEXPLAINED_MOST = 1.9, 0.08, 0.34
"""What the ends may leave unexplained, in parts of their difference: more the more they differ, up to the last."""
CHANGED, BANDS, COVER = 0.08, 8, 0.3
"""Change (0..1) of a thumbnail pixel that tells the ends apart, and the share of such pixels that a wipe needs in each
of so many bands across and down the picture: what crosses a room leaves some of it as it was."""
WIPED, STRAIGHT = 0.4, 0.8
"""Mean distance of the changed pixels to the nearer end, in parts of their change; share that is on the right side."""
EDGE_TURNS = 8
"""Directions that are tried for the edge of a wipe."""
SCALES, MARGIN, MOVED = (0.85, 0.92, 1.0, 1.09, 1.18), 8, 0.5
"""Zooms, and thumbnail pixels of shift, that are tried; share of the squared difference that is left when one fits."""
BLANK, NOT_BLANK = 0.015, 0.03
"""Contrast (standard deviation, 0..1) below which a picture shows nothing, and above which it shows something."""


class CutDetector:
    """Takes the frames of one video in order.

    Args:
        fps: frames per second, for what "recent" means and for the shortest shot.
    """

    def __init__(self, fps: float) -> None:
        self._recent: deque[float] = deque(maxlen=max(4, round(fps)))
        self._shortest = max(3, round(MIN_SHOT_SECONDS * fps))
        self._spans = [max(6, round(seconds * fps)) for seconds in DISSOLVE_SECONDS]
        self._past: deque[Array] = deque(maxlen=self._spans[-1] + 1)
        self._colours: Array | None = None
        self._length = 0
        self._latest = self._jump = 0.0
        self._shown = self._blank = False

    def new_shot(self, frame: Array) -> int | None:
        """How many frames ago a new shot began, as this (H, W, 3) uint8 RGB frame tells; None for most frames.

        0 or 1 after a hard cut or a blank picture; a dissolve is known at its end and began the shot at its middle. The
        first frame begins no new shot.
        """
        small = cv2.resize(frame, THUMBNAIL, interpolation=cv2.INTER_AREA)
        colours = cv2.calcHist([small], [0, 1, 2], None, [6, 6, 6], [0, 256] * 3).ravel() / (small.size / 3)
        picture, before = small.astype(np.float32) / 255, self._colours
        self._colours = colours
        self._length += 1
        ago = None
        if before is not None:
            ago = self._hard_cut(picture, 0.5 * float(np.abs(before - colours).sum()))
        self._past.append(picture)
        if self._after_blank(picture) and ago is None:
            ago = 0
        if ago is None:
            ago = self._gradual()
        if ago is not None:
            self._recent.clear()
            self._past = deque(list(self._past)[-1 - ago :], self._past.maxlen)
            self._length, self._jump = 1 + ago, 0.0
        return ago

    def _hard_cut(self, picture: Array, moved: float) -> int | None:
        """Whether this picture or the one before begins a shot; ``moved`` is the share of colours that changed."""
        pixels = float(np.abs(self._past[-1] - picture).mean())
        usual = float(np.median(self._recent)) if self._recent else 0.0
        latest, self._latest = self._latest, pixels
        jump, self._jump = self._jump, 0.0
        if pixels > PIXELS and moved > COLOURS:
            self._past.clear()  # no dissolve is looked for over a jump, be it a cut or a flash
            return 0 if self._length > self._shortest else None
        if jump > SUDDEN * pixels and self._length > self._shortest + 1:
            self._past = deque([self._past[-1]], self._past.maxlen)
            return 1
        if len(self._recent) >= 4 and pixels > max(PIXELS_ALONE, OUTSTANDING * usual, SUDDEN * latest):
            self._jump = pixels  # the next picture tells whether this was a jump or the begin of a move
        else:
            self._recent.append(pixels)
        return None

    def _after_blank(self, picture: Array) -> bool:
        """Whether something shows again after a blank picture that followed a picture of something."""
        contrast = float(picture.mean(axis=2).std())
        if contrast < BLANK:
            self._blank = self._shown
        elif contrast > NOT_BLANK:
            again, self._blank, self._shown = self._blank, False, True
            return again
        return False

    def _gradual(self) -> int | None:
        """Frames since the middle of a dissolve or wipe that has just come to its end."""
        for span in self._spans:
            if span < len(self._past):
                ago = replaced([self._past[len(self._past) - 1 - span + i] for i in range(span + 1)])
                if ago is not None:
                    return ago
        return None


def replaced(pictures: list[Array]) -> int | None:
    """Whether the first of these pictures, (h, w, 3) float 0..1, was dissolved into the last, or wiped off by it.

    Returns:
        How many pictures before the last one half of the way was done; None when it was neither.
    """
    first, change = pictures[0], pictures[-1] - pictures[0]
    size = float(np.abs(change).mean())
    if size < PIXELS:
        return None
    power = float(np.vdot(change, change))
    ends = math.ceil(REST_PART * (len(pictures) - 1))
    if abs(float(np.vdot(pictures[-1 - ends] - first, change)) / power - 1.0) > REST:
        return None  # still under way: most looks end here
    looks = np.unique(np.linspace(0, len(pictures) - 1, LOOKS + 1).round().astype(int))
    steps = np.stack([pictures[i] - first for i in looks])
    share = steps.reshape(len(looks), -1) @ change.ravel() / power
    between = (share > 0.15) & (share < 0.85)
    at_rest = np.abs(share[looks <= ends]).max() <= REST and np.abs(share[looks >= looks[-1] - ends] - 1).max() <= REST
    if not at_rest or between.sum() < BETWEEN:
        return None
    mixed = _mixed(steps[between], share[between], change, size) or _wiped(steps[between], change)
    if not mixed or not _other(first, pictures[-1]):
        return None
    middle = int(looks[np.flatnonzero(share >= 0.5)[0]])
    return len(pictures) - 1 - middle


def _mixed(steps: Array, share: Array, change: Array, size: float) -> bool:
    """Whether ``steps`` from the first picture, (n, h, w, 3), are all of them parts of the whole ``change``."""
    rest = steps - share[:, None, None, None] * change
    left = np.sqrt(np.square(rest).sum(axis=(1, 2, 3)) / np.vdot(change, change))
    return bool(left.mean() <= min(UNEXPLAINED * size + UNEXPLAINED_AT_NONE, UNEXPLAINED_MOST))


def _wiped(steps: Array, change: Array) -> bool:
    """Whether ``steps`` have the whole ``change`` on one side of a straight edge, and nothing of it on the other."""
    size = np.abs(change).mean(axis=-1)
    changed = size > CHANGED
    bands = [band for axis in (0, 1) for band in np.array_split(changed, BANDS, axis=axis)]
    if min(band.mean() for band in bands) < COVER:
        return False
    before, after = (np.abs(steps - end).mean(axis=-1)[:, changed] for end in (0.0, change))
    if np.minimum(before, after).mean() > WIPED * size[changed].mean():
        return False
    new = after < before
    y, x = np.nonzero(changed)
    turns = np.arange(EDGE_TURNS) * (2 * np.pi / EDGE_TURNS)
    right = [_behind(np.cos(t) * x + np.sin(t) * y, new) for t in turns]
    return max(right) >= STRAIGHT


def _behind(place: Array, new: Array) -> float:
    """Share of pixels at ``place (p,)`` along some direction for which ``new (n, p)`` is true just up to some edge."""
    order = np.argsort(np.argsort(place, kind="stable"), kind="stable")
    return float(((order < new.sum(axis=1, keepdims=True)) == new).mean())


def _other(first: Array, last: Array) -> bool:
    """Whether two pictures show different things, not one thing in another light, moved or zoomed."""
    a, b = (p.reshape(-1, 3) - p.reshape(-1, 3).mean(axis=0) for p in (first, last))
    gain = (a * b).sum(axis=0) / np.maximum((a * a).sum(axis=0), 1e-6)
    if float(np.abs(b - gain * a).mean()) < NOT_LIGHT:
        return False
    middle = last[MARGIN:-MARGIN, MARGIN:-MARGIN]
    unmoved = float(np.square(first[MARGIN:-MARGIN, MARGIN:-MARGIN] - middle).sum())
    for scale in SCALES:
        zoomed = cv2.resize(first, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
        if cv2.matchTemplate(zoomed, middle, cv2.TM_SQDIFF).min() < MOVED * unmoved:
            return False
    return True


def find_cuts(frames: Iterable[Array], fps: float) -> list[int]:
    """Numbers of the frames, (H, W, 3) uint8 RGB, that begin a new shot (never 0)."""
    detector = CutDetector(fps)
    found = [(i, detector.new_shot(frame)) for i, frame in enumerate(frames)]
    return [i - ago for i, ago in found if ago is not None]


def shots(cuts: Iterable[int], frames: int) -> list[tuple[int, int]]:
    """First and one-past-last frame of every shot of a video of ``frames`` frames."""
    edges = [0, *cuts, frames]
    return list(zip(edges[:-1], edges[1:], strict=True))
