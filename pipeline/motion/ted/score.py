"""How good a tracked piece of motion is, as one number from 0 to 1 and the parts that it is made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.types import Array, MotionClip

from ..skeleton import INDEX
from ..statistics import joint_paths, limit_excess
from ..tracked import Seen

GOOD_ERROR = 2.0
"""Mean reprojection error in percent of the person's height at which the score is down to 1/e."""
HIGH_JERK = 900.0
"""Wrist jerk (95th percentile, m/s^3) at which the score is halved; fast gestures stay well under it."""
MAX_EXCESS = 12.0
"""Degrees over a joint's limit at which the score is nought."""


@dataclass(frozen=True)
class TrackedPiece:
    """A tracked stretch: its motion, what was seen, and the reprojection error per frame (F,), percent of height."""

    clip: MotionClip
    seen: Seen
    errors: Array


def score(piece: TrackedPiece, part: slice) -> dict[str, float]:
    """Judge some frames of a tracked stretch.

    Returns:
        ``score`` = seen x hands x error x jerk x limits, and these five, each in 0..1: the share of frames with person
        and face; 0.4 plus 0.6 of the share of frames with a hand (mean of both); exp(-error / 2 %); one over one plus
        (jerk / 900)^2; and how far joints stay within their limits.
    """
    seen, clip = piece.seen, _part(piece.clip, part)
    hands = 0.5 * (seen.left_hand[part].mean() + seen.right_hand[part].mean())
    errors = piece.errors[part]
    error = float(np.nanmean(errors)) if np.isfinite(errors).any() else np.inf
    wrists = joint_paths(clip)[1][:, [INDEX["left_wrist"], INDEX["right_wrist"]]]
    jerk = np.linalg.norm(np.diff(wrists, 3, axis=0), axis=-1) * clip.fps**3
    excess = float(np.percentile(np.degrees(limit_excess(clip)), 95))
    parts = {
        "seen": float((seen.person & seen.face)[part].mean()),
        "hands": float(0.4 + 0.6 * hands),
        "error": float(np.exp(-error / GOOD_ERROR)),
        "jerk": float(1.0 / (1.0 + (np.percentile(jerk, 95) / HIGH_JERK) ** 2)) if jerk.size else 0.0,
        "limits": float(np.clip(1.0 - excess / MAX_EXCESS, 0.0, 1.0)),
    }
    return {k: round(v, 3) for k, v in {"score": float(np.prod(list(parts.values()))), **parts}.items()}


def _part(clip: MotionClip, part: slice) -> MotionClip:
    from ..edit import select

    return select(clip, part)


def calm_cuts(clip: MotionClip, shortest: float, longest: float) -> list[slice]:
    """Cut a stretch into clips of ``shortest`` to ``longest`` seconds, as equal as can be, where the hands are calm.

    Returns:
        Frames of each clip; none when the stretch is too short.
    """
    frames, fps = len(clip), clip.fps
    if frames < round(shortest * fps):
        return []
    count = int(np.ceil(frames / fps / longest - 1e-6))
    wrists = joint_paths(clip)[1][:, [INDEX["left_wrist"], INDEX["right_wrist"]]]
    speed = np.linalg.norm(np.gradient(wrists, axis=0), axis=-1).sum(axis=1) if frames > 1 else np.zeros(1)
    edges = [0]
    for k in range(1, count):
        ideal = round(k * frames / count)
        low = max(ideal - round(fps), edges[-1] + round(shortest * fps), frames - int((count - k) * longest * fps))
        high = min(ideal + round(fps), edges[-1] + int(longest * fps), frames - round(shortest * fps) * (count - k))
        edges.append(low + int(np.argmin(speed[low : high + 1])) if low <= high else ideal)
    edges.append(frames)
    return [slice(a, b) for a, b in zip(edges[:-1], edges[1:], strict=True)]
