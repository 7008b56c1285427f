"""Authored presets of people who listen, think or are still."""

from __future__ import annotations

from .face import FaceScore
from .performance import HandKey, HandScore, Performance
from .speech import Phrase


def listening() -> Performance:
    """Hands resting low in front, attentive face, small nods."""
    left = HandScore(
        keys=[
            HandKey(0.0, (0.062, -0.322, 0.205), (-0.8, -0.15, 0.55), (-0.35, 0.25, -0.9), "relaxed", 1.0),
            HandKey(4.4, (0.066, -0.312, 0.208), (-0.8, -0.10, 0.58), (-0.35, 0.30, -0.9), "relaxed", 1.2),
        ],
        sway=0.006,
        wiggle=2.0,
    )
    right = HandScore(
        keys=[
            HandKey(0.0, (0.052, -0.266, 0.262), (-0.82, -0.14, 0.50), (-0.42, -0.30, -0.85), "relaxed", 1.0),
            HandKey(4.5, (0.057, -0.257, 0.265), (-0.82, -0.10, 0.52), (-0.42, -0.26, -0.88), "relaxed", 1.2),
        ],
        sway=0.006,
        wiggle=2.4,
    )
    return Performance(
        name="listening",
        title="Listening",
        description="Stands and listens: breathing, blinks, small nods, hands resting in front.",
        tags=("idle", "listening", "calm"),
        duration=9.0,
        seed=3,
        left=left,
        right=right,
        face=FaceScore(
            smile=((0.0, 0.10), (2.6, 0.24), (4.6, 0.12), (7.2, 0.2)),
            brows=(2.5, 6.6),
            gaze=((0.0, (0.0, 0.0)), (3.6, (7.0, -4.0)), (4.2, (0.0, 0.0)), (7.9, (-4.0, 2.0)), (8.3, (0.0, 0.0))),
        ),
        head=((0.0, (0.5, 1.0, 2.0)), (2.2, (1.5, -2.0, 4.0)), (4.7, (-0.5, 3.0, -1.5)), (7.0, (1.0, 0.0, 3.0))),
        torso=((0.0, (1.5, 0.0, 0.0)), (4.5, (2.6, 1.4, 0.8))),
        nods=((2.3, 5.0), (2.85, 3.6), (6.5, 4.2), (7.05, 2.6)),
        weight=((0.0, 0.010), (4.6, -0.010)),
    )


def thinking() -> Performance:
    """A hand at the chin, the eyes wandering, then an idea."""
    left = HandScore(
        keys=[
            HandKey(0.0, (-0.010, -0.275, 0.205), (-0.95, 0.05, 0.12), (-0.1, 0.25, -0.95), "wrap", 0.9, elbow=0.2),
            HandKey(6.0, (0.100, -0.29, 0.27), (-0.55, 0.15, 0.8), (-0.6, 0.35, -0.7), "relaxed", 0.7, elbow=0.15),
        ],
        sway=0.003,
    )
    right = HandScore(
        keys=[
            HandKey(
                0.0, (0.058, 0.004, 0.172), (-0.40, 0.85, -0.04), (-0.25, 0.15, -0.95), "chin", 0.9, (0.05, 0, 0.05)
            ),
            HandKey(2.9, (0.062, 0.006, 0.172), (-0.43, 0.83, -0.02), (-0.25, 0.15, -0.95), "chin", 0.9),
            HandKey(6.0, (0.180, -0.06, 0.3), (-0.15, 0.95, 0.35), (-0.35, -0.1, 0.9), "one", 0.55, (0.05, 0.02, 0.06)),
            HandKey(7.1, (0.168, -0.18, 0.33), (-0.3, 0.45, 0.85), (-0.6, 0.6, 0.1), "open", 0.5, (0.02, 0.03, 0.0)),
        ],
        beats=[(6.35, 0.03)],
        sway=0.003,
        wiggle=2.0,
        restless=0.4,
    )
    return Performance(
        name="thinking",
        title="Thinking, then an idea",
        description="A hand at the chin, eyes wandering up and aside, then a raised finger and a smile.",
        tags=("idle", "thinking", "idea"),
        duration=9.0,
        seed=29,
        left=left,
        right=right,
        speech=[
            Phrase(1.1, "HH AH1 M M", 0.5, 0.6),
            Phrase(6.0, "AA1 , AY N OW1 , M EY B IY L AY K DH IH1 S", 1.0),
        ],
        face=FaceScore(
            smile=((0.0, 0.05), (5.9, 0.42), (7.9, 0.22)),
            brows=(5.75, 6.2),
            gaze=(
                (0.0, (-9.0, 8.0)), (1.7, (10.0, 11.0)), (3.0, (-4.0, -12.0)), (4.4, (-12.0, 9.0)), (5.6, (0.0, 0.0)),
                (8.5, (-9.0, 8.0)),
            ),
            blinks=(0.35, 1.72, 3.05, 4.45, 5.62, 7.4, 8.5),
            extra={
                "browDown": ((0.0, 0.22), (5.6, 0.0), (8.6, 0.22)),
                "mouthPress": ((0.0, 0.18), (5.5, 0.0), (8.7, 0.18)),
                "mouthLeft": ((0.0, 0.0), (2.8, 0.16), (4.6, 0.0)),
            },
        ),
        head=(
            (0.0, (3.0, -4.0, 5.0)), (1.8, (-2.0, 6.0, 3.0)), (3.1, (7.0, -1.0, 5.0)), (4.5, (0.0, -7.0, 3.0)),
            (5.9, (-4.0, 1.0, -2.0)), (7.2, (2.0, 2.0, -3.0)),
        ),
        torso=((0.0, (3.0, -2.0, 1.0)), (3.0, (4.0, 0.0, 1.5)), (5.9, (0.5, 2.0, -0.5))),
        nods=((6.7, 4.0),),
        calm=0.8,
    )  # fmt: skip
