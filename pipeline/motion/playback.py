"""How motions are played: mirrored, faster or slower, one after the other, and round and round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..types import MotionClip, PipelineError
from .clips import MAX_FRAMES
from .edit import crossfade, loop, mirror, repeat, speed

FADE_SECONDS = 0.5


@dataclass(frozen=True)
class Playback:
    """Attributes:
    mirror: left and right exchanged.
    speed: 0.25..4 times as fast.
    loop: seconds that the motion is repeated for without a jump (or cut to); None plays it once.
    """

    mirror: bool = False
    speed: float = 1.0
    loop: float | None = None


def arrange(clips: Sequence[MotionClip], playback: Playback) -> MotionClip:
    """One clip of several, in order, each fading into the next within half a second, played as asked.

    Args:
        clips: one or more.
        playback: see :class:`Playback`.

    Raises:
        PipelineError: no clip, a value out of range, or more than 36000 frames.
    """
    if not clips:
        raise PipelineError("No motion was given: name a preset or a motion file.")
    seconds = playback.loop
    if seconds is not None and not 0.1 <= seconds <= MAX_FRAMES:
        raise PipelineError(f"A motion can be repeated for 0.1 s and more, not for {seconds:g} s.")
    parts = [speed(mirror(clip) if playback.mirror else clip, playback.speed) for clip in clips]
    whole = parts[0]
    for part in parts[1:]:
        whole = crossfade(whole, part, FADE_SECONDS)
    if seconds is None:
        return whole
    count = round(seconds * whole.fps)
    return repeat(loop(whole) if count > len(whole) else whole, max(count, 1))
