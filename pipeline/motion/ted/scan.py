"""A quick look through a whole video: its shots, and the stretches in which one speaker is well in view."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.types import Array, Detections

LOOK_SECONDS = 0.5
"""How often a frame is looked at closely."""
SCAN_SIDE = 640
MAX_SECONDS = 7200.0
MIN_FACE = 0.045
"""Smallest face height, in parts of the picture's height: smaller speakers move by less than the detector's noise."""
MAX_TURN = 0.75
"""Furthest that the nose may be off the middle of the face, 0 (frontal) to 1 (profile)."""
SURE = 0.5
ARM_POINTS = {"shoulders": (11, 12), "elbows": (13, 14), "wrists": (15, 16)}
SEVERAL, NOBODY = "several people", "nobody"
CROWD_SHARE = 0.6
"""A shot shows several people when more looks than this say so: prints on clothes pass for a face now and then."""


@dataclass(frozen=True)
class Stretch:
    """Part of a video, seconds; ``reason`` says why it will not do, empty when it will."""

    start: float
    end: float
    reason: str = ""

    @property
    def seconds(self) -> float:
        """Length."""
        return self.end - self.start


@dataclass(frozen=True)
class Scan:
    """What a video holds: its length in seconds, its cuts in seconds, and its stretches, good and bad."""

    seconds: float
    cuts: tuple[float, ...]
    stretches: tuple[Stretch, ...]

    def good(self) -> list[Stretch]:
        """The stretches that will do."""
        return [s for s in self.stretches if not s.reason]


def scan_video(path: str | Path, min_seconds: float, progress: Callable[[str, float], None] | None = None) -> Scan:
    """Find the shots of a video and where one speaker is well in view.

    Args:
        path: the video; what comes after two hours is not looked at.
        min_seconds: shorter stretches are of no use.
        progress: called with a stage name and the share done.

    Raises:
        PipelineError: the video cannot be read.
    """
    from pipeline.perceive.detect import Detector
    from pipeline.perceive.people import count_people
    from pipeline.perceive.shots import CutDetector
    from pipeline.video import VideoReader

    cuts: list[int] = []
    looks: list[tuple[int, str]] = []
    number = 0
    with VideoReader(path, max_seconds=MAX_SECONDS, max_side=SCAN_SIDE) as reader, Detector(static=False) as detector:
        info = reader.info
        scene, every = CutDetector(info.fps), max(1, round(LOOK_SECONDS * info.fps))
        for number, frame in enumerate(reader, start=1):
            ago = scene.new_shot(frame)
            if ago is not None:
                cuts.append(number - 1 - ago)
                detector.close()
            if (number - 1) % every == 0:
                found = detector.detect(frame)
                several = found is not None and count_people(frame, found) > 1
                looks.append((number - 1, SEVERAL if several else objection(found, info.width, info.height)))
                if progress is not None:
                    progress("looking through", min(number / max(info.frames, 1), 1.0))
    stretches = find_stretches(looks, cuts, number, info.fps, min_seconds)
    return Scan(number / info.fps, tuple(c / info.fps for c in cuts), tuple(stretches))


def objection(found: Detections | None, width: int, height: int) -> str:
    """Why a frame will not do, in a few words; empty when one speaker's face, arms and hands are in view."""
    if found is None:
        return NOBODY
    if found.face is None:
        return "no face"
    if np.ptp(found.face[:, 1]) < MIN_FACE * height:
        return "too small"
    nose, left, right = (found.face[i, 0] for i in (1, 454, 234))
    if abs((left - nose) - (nose - right)) > MAX_TURN * abs(left - right):
        return "turned away"
    for name, points in ARM_POINTS.items():
        inside = [_in_view(found.pose[i], width, height) for i in points]
        if not (any(inside) if name == "wrists" else all(inside)):
            return f"{name} not in view"
    return ""


def _in_view(point: Array, width: int, height: int) -> bool:
    return bool(point[2] > SURE and 0 <= point[0] < width and 0 <= point[1] < height)


def find_stretches(
    looks: Sequence[tuple[int, str]], cuts: Sequence[int], frames: int, fps: float, min_seconds: float
) -> list[Stretch]:
    """Put the looks at single frames together, shot by shot.

    Args:
        looks: frame number and objection (empty: none) of every frame looked at.
        cuts: numbers of the frames that begin a shot. frames: of the whole video.
        fps: frames per second. min_seconds: shortest stretch of use.

    Returns:
        Stretches in order; a single objection between two good looks is taken as the detector's hiccup.
    """
    from pipeline.perceive.shots import shots

    stretches: list[Stretch] = []
    for begin, end in shots(cuts, frames):
        within = [(n, word) for n, word in looks if begin <= n < end]
        words = [word for _, word in within]
        crowd = words.count(SEVERAL) > CROWD_SHARE * len(words)
        words = [SEVERAL if crowd else ("" if word == SEVERAL else word) for word in words]
        for i in range(1, len(words) - 1):
            if words[i] and not crowd and not words[i - 1] and not words[i + 1]:
                words[i] = ""
        turns = [within[i][0] for i in range(1, len(words)) if bool(words[i]) != bool(words[i - 1])]
        edges = [begin, *turns, end]
        for a, b in zip(edges[:-1], edges[1:], strict=True):
            own = [w for (n, _), w in zip(within, words, strict=True) if a <= n < b]
            reason = max(set(own), key=own.count) if own else "too short"
            if not reason and (b - a) / fps < min_seconds:
                reason = "too short"
            stretches.append(Stretch(a / fps, b / fps, reason))
    return stretches
