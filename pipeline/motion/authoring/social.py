"""Authored presets between people: greeting, shrugging and laughing, thanking, refusing, agreeing."""

from __future__ import annotations

from .face import FaceScore
from .performance import HandKey, HandScore, Performance, hanging
from .speech import Phrase
from .timeline import Key


def greeting() -> Performance:
    """A wave with the right hand, a smile, and an inviting gesture."""
    right = HandScore(
        keys=[
            HandKey(
                0.0, (0.126, -0.31, 0.26), (-0.55, 0.0, 0.8), (-0.75, 0.15, -0.6), "relaxed", 0.9, (0.06, 0.0, 0.05)
            ),
            HandKey(0.85, (0.182, 0.0, 0.26), (0.0, 0.98, 0.12), (-0.15, -0.10, 0.97), "open", 0.7, (0.05, 0.0, 0.06)),
            HandKey(2.5, (0.184, 0.01, 0.262), (0.02, 0.98, 0.12), (-0.15, -0.08, 0.97), "open", 0.5),
            HandKey(
                3.9, (0.162, -0.22, 0.33), (-0.2, 0.3, 0.95), (-0.45, 0.85, -0.05), "open", 0.75, (0.05, 0.02, 0.05)
            ),
            HandKey(5.2, (0.186, -0.23, 0.34), (0.05, 0.25, 0.95), (-0.25, 0.93, 0.1), "open", 0.6, (0.0, 0.04, 0.02)),
        ],
        waves=((0.65, 2.75, 17.0, 2.1),),
        stress_beats=0.014,
    )
    left = HandScore(
        keys=[
            hanging(0.0),
            hanging(2.9, forward=0.08),
            HandKey(4.0, (0.156, -0.25, 0.32), (-0.25, 0.25, 0.9), (-0.5, 0.8, -0.15), "open", 0.7, (0.03, 0.02, 0.02)),
            HandKey(5.3, (0.182, -0.25, 0.33), (0, 0.25, 0.95), (-0.25, 0.92, 0.1), "open", 0.6, (0.0, 0.04, 0.02)),
        ],
        stress_beats=0.027,
        lag=0.03,
    )
    return Performance(
        name="greeting",
        title="Greeting with a wave",
        description="Waves hello with the right hand, smiles, and opens both hands in welcome.",
        tags=("greeting", "wave", "friendly"),
        duration=7.5,
        seed=7,
        left=left,
        right=right,
        speech=[
            Phrase(0.8, "HH EH L OW1", 0.8, 1.1),
            Phrase(2.2, "IH T S S OW1 N AY1 S T UW M IY1 T Y UW", 0.95),
            Phrase(4.5, "W EH1 L K AH M", 0.85, 1.1),
        ],
        face=FaceScore(
            smile=((0.0, 0.18), (0.8, 0.62), (2.4, 0.42), (4.4, 0.56), (6.6, 0.3)),
            brows=(0.72, 4.45),
            brow_gain=0.4,
        ),
        head=((0.0, (0.0, 0.0, 0.0)), (0.9, (-3.0, -2.0, 5.0)), (2.6, (1.5, 1.0, -2.0)), (4.4, (3.0, 1.0, 2.0))),
        torso=((0.0, (2.0, 0.0, 0.0)), (0.9, (1.0, -2.0, -1.6)), (3.9, (4.0, 0.5, 0.0)), (6.0, (2.0, 0.0, 0.0))),
        weight=((0.0, 0.0), (0.9, -0.010), (4.0, 0.008)),
        nods=((2.0, 4.0), (4.7, 4.5)),
    )  # fmt: skip


def shrug_laugh() -> Performance:
    """Shrugs with the palms up, then laughs about it."""
    up = (-0.25, 0.95, 0.1)
    left = HandScore(
        keys=[
            HandKey(0.0, (0.127, -0.3, 0.26), (-0.5, 0.05, 0.85), (-0.7, 0.3, -0.6), "relaxed", 0.9),
            HandKey(1.15, (0.215, -0.19, 0.27), (0.22, 0.35, 0.85), up, "wide", 0.6, (0.0, 0.03, 0.03)),
            HandKey(2.9, (0.163, -0.27, 0.3), (-0.15, 0.15, 0.95), (-0.55, 0.75, -0.2), "soft", 0.7, (0.0, 0.03, 0.0)),
            HandKey(4.4, (0.126, -0.27, 0.25), (-0.7, 0.15, 0.6), (-0.45, 0.3, -0.85), "relaxed", 0.8),
        ],
        stress_beats=0.022,
        lag=0.03,
    )
    right = HandScore(
        keys=[
            hanging(0.0, forward=0.08),
            HandKey(1.1, (0.223, -0.16, 0.27), (0.25, 0.4, 0.82), up, "wide", 0.6, (0.0, 0.03, 0.03)),
            HandKey(2.8, (0.167, -0.25, 0.31), (-0.15, 0.2, 0.95), (-0.5, 0.8, -0.15), "soft", 0.7, (0.0, 0.03, 0.0)),
            HandKey(
                4.2, (0.020, -0.13, 0.18), (-0.85, 0.40, 0.02), (0.0, 0.05, -1.0), "soft", 0.8, (0.06, 0.0, 0.09), 0.3
            ),
            HandKey(6.3, (0.030, -0.14, 0.18), (-0.85, 0.38, 0.02), (0.0, 0.05, -1.0), "soft", 0.8, elbow=0.3),
        ],
        stress_beats=0.025,
    )
    laugh = tuple((t, 0.0 if k % 2 else 0.26 - 0.02 * k) for k, t in enumerate(_steps(4.0, 6.2, 0.115)))
    jaw: tuple[Key, ...] = ((0.0, 0.0), (3.75, 0.0), *((t, 0.16 + v) for t, v in laugh), (6.5, 0.0))
    return Performance(
        name="shrug_laugh",
        title="Shrug and laugh",
        description="Shrugs with open palms: no idea; then laughs, a hand on the chest.",
        tags=("shrug", "laugh", "friendly"),
        duration=8.0,
        seed=13,
        left=left,
        right=right,
        speech=[Phrase(0.6, "W EH1 L , AY HH AE V N OW1 AY D IY1 AH", 0.9)],
        face=FaceScore(
            smile=((0.0, 0.12), (1.2, 0.05), (2.8, 0.4), (3.9, 0.92), (5.6, 0.85), (7.2, 0.35)),
            brows=(1.1, 1.5),
            brow_gain=0.3,
            blinks=(0.5, 2.4, 3.5, 6.7),
            gaze=((0.0, (0.0, 0.0)), (1.2, (9.0, 6.0)), (2.2, (0.0, 0.0)), (4.6, (-6.0, -14.0)), (5.9, (0.0, 0.0))),
            extra={
                "jawOpen": jaw,
                "mouthShrugLower": ((0.0, 0.0), (1.2, 0.35), (2.4, 0.0)),
                "mouthFrown": ((0.0, 0.0), (1.2, 0.20), (2.3, 0.0)),
                "browInnerUp": ((0.0, 0.0), (1.2, 0.45), (2.4, 0.0)),
                "mouthUpperUp": ((0.0, 0.0), (3.9, 0.22), (6.3, 0.0)),
                "noseSneer": ((0.0, 0.0), (4.0, 0.14), (6.2, 0.0)),
            },
        ),
        head=((0.0, (0.0, 0.0, 0.0)), (1.2, (0.0, 2.0, 9.0)), (2.8, (1.0, 0.0, -2.0)), (4.0, (-7.0, 3.0, 3.0)),
              (4.9, (7.0, -4.0, -3.0)), (6.2, (0.0, 1.0, 1.0))),
        torso=((0.0, (2.0, 0.0, 0.0)), (1.2, (0.0, 1.0, 1.0)), (4.0, (-2.0, 1.0, -1.0)), (4.9, (6.5, -2.0, 1.0))),
        shrug=((0.0, 0.0), (1.15, 15.0), (1.75, 13.0), (2.6, 0.0), (4.2, 3.0), (6.2, 0.0)),
        tremble=((3.85, 6.4, 0.9, 4.35),),
    )  # fmt: skip


def _steps(start: float, end: float, step: float) -> list[float]:
    """Times from ``start`` to ``end`` every ``step`` seconds."""
    return [start + step * k for k in range(round((end - start) / step))]


def heartfelt() -> Performance:
    """Thanks with a hand on the chest."""
    chest = (0.0, 0.08, -1.0)
    right = HandScore(
        keys=[
            HandKey(0.0, (0.100, -0.29, 0.306), (-0.6, 0.1, 0.8), (-0.65, 0.25, -0.7), "relaxed", 0.9),
            HandKey(0.95, (0.010, -0.115, 0.178), (-0.82, 0.45, 0.02), chest, "flat", 0.75, (0.06, 0.0, 0.08), 0.3),
            HandKey(3.4, (0.012, -0.118, 0.178), (-0.82, 0.43, 0.02), chest, "flat", 0.6, elbow=0.3),
            HandKey(4.7, (0.160, -0.22, 0.36), (-0.15, 0.3, 0.95), (-0.4, 0.9, 0.0), "open", 0.75, (0.04, 0.02, 0.03)),
        ],
        beats=[(5.2, 0.025)],
        sway=0.002,
        wiggle=1.5,
        restless=0.4,
    )
    left = HandScore(
        keys=[
            HandKey(0.0, (0.121, -0.31, 0.26), (-0.6, 0.05, 0.8), (-0.65, 0.25, -0.7), "relaxed", 0.9),
            HandKey(1.1, (0.100, -0.3, 0.25), (-0.7, 0.05, 0.68), (-0.55, 0.25, -0.8), "relaxed", 0.9),
            HandKey(4.8, (0.150, -0.26, 0.33), (-0.25, 0.2, 0.9), (-0.5, 0.8, -0.1), "soft", 0.8, (0.03, 0.02, 0.0)),
        ],
        stress_beats=0.037,
        sway=0.006,
    )
    return Performance(
        name="heartfelt",
        title="Thank you, from the heart",
        description="A hand on the chest, a bow of the head and a warm smile.",
        tags=("thanks", "right hand", "warm"),
        duration=7.0,
        seed=43,
        left=left,
        right=right,
        speech=[
            Phrase(0.9, "TH AE1 NG K Y UW , TH AE1 NG K Y UW S OW1 M AH CH", 0.9),
            Phrase(4.1, "IH T M IY1 N Z AH L AA1 T T UW M IY", 0.95),
        ],
        face=FaceScore(
            smile=((0.0, 0.15), (1.0, 0.45), (3.2, 0.34), (5.6, 0.5)),
            brows=(1.0, 4.3),
            blinks=(0.9, 2.75, 4.4, 6.1),
            extra={"browInnerUp": ((0.0, 0.0), (0.9, 0.32), (5.6, 0.1), (6.4, 0.0))},
        ),
        head=((0.0, (0.0, 0.0, 0.0)), (1.1, (3.0, 1.0, 5.0)), (2.8, (7.0, 2.0, 5.0)), (4.3, (0.0, -1.0, -2.0))),
        torso=((0.0, (2.0, 0.0, 0.0)), (1.1, (3.0, 1.0, 0.5)), (2.8, (7.0, 1.0, 0.5)), (4.6, (3.5, -1.0, 0.0))),
        nods=((1.5, 3.0), (5.9, 3.0)),
    )


def refusing() -> Performance:
    """No: a shaken head and hands that wipe the idea away."""
    left = HandScore(
        keys=[
            HandKey(0.0, (0.127, -0.29, 0.27), (-0.55, 0.1, 0.8), (-0.7, 0.2, -0.65), "relaxed", 0.8),
            HandKey(0.95, (0.090, -0.16, 0.34), (-0.35, 0.6, 0.7), (-0.15, -0.75, 0.6), "flat", 0.55, (0.0, 0.04, 0.0)),
            HandKey(1.6, (0.193, -0.17, 0.31), (0.1, 0.6, 0.75), (0.1, -0.75, 0.6), "open", 0.50, (0.0, 0.01, 0.04)),
            HandKey(3.3, (0.160, -0.22, 0.34), (-0.15, 0.7, 0.65), (-0.2, -0.55, 0.8), "open", 0.6, (0.0, 0.04, 0.0)),
            HandKey(5.2, (0.132, -0.28, 0.3), (-0.45, 0.2, 0.85), (-0.7, 0.3, -0.5), "relaxed", 0.8),
        ],
        lag=0.03,
        stress_beats=0.027,
    )
    right = HandScore(
        keys=[
            HandKey(0.0, (0.110, -0.28, 0.316), (-0.6, 0.1, 0.8), (-0.7, 0.2, -0.65), "relaxed", 0.8),
            HandKey(0.9, (0.080, -0.13, 0.36), (-0.35, 0.6, 0.7), (-0.15, -0.75, 0.6), "flat", 0.55, (0.0, 0.04, 0.0)),
            HandKey(1.55, (0.200, -0.14, 0.32), (0.1, 0.6, 0.75), (0.1, -0.75, 0.6), "open", 0.50, (0.0, 0.01, 0.04)),
            HandKey(3.2, (0.163, -0.12, 0.35), (-0.05, 0.92, 0.35), (-0.25, -0.2, 0.95), "one", 0.6, (0.0, 0.04, 0.0)),
            HandKey(5.1, (0.138, -0.27, 0.31), (-0.45, 0.25, 0.85), (-0.7, 0.35, -0.4), "soft", 0.8),
        ],
        waves=((3.1, 4.6, 14.0, 2.0),),
        stress_beats=0.024,
    )
    return Performance(
        name="refusing",
        title="No, not that",
        description="Shakes the head, wipes the idea away with both hands, then a raised finger says no.",
        tags=("talking", "no", "both hands"),
        duration=7.0,
        seed=47,
        left=left,
        right=right,
        speech=[
            Phrase(0.75, "N OW1 , N OW1 N OW", 0.9, 1.1),
            Phrase(2.9, "DH AE T S N AA1 T W AH T AY M IY1 N", 0.95),
        ],
        face=FaceScore(
            smile=((0.0, 0.06), (5.0, 0.26)),
            extra={
                "browDown": ((0.0, 0.0), (0.8, 0.3), (4.6, 0.05)),
                "mouthPress": ((0.0, 0.0), (2.3, 0.22), (2.8, 0.0)),
            },
        ),
        head=((0.0, (0.0, 0.0, 0.0)), (0.9, (2.0, 0.0, -3.0)), (3.2, (1.0, 0.0, 3.0)), (5.2, (-1.0, 0.0, 0.0))),
        torso=((0.0, (2.0, 0.0, 0.0)), (1.0, (0.0, 0.0, 0.0)), (3.2, (3.0, -1.5, 0.0)), (5.2, (2.0, 0.0, 0.0))),
        shakes=((0.6, 2.5, 9.0, 1.7), (3.1, 4.5, 6.0, 1.9)),
        nod=1.2,
    )  # fmt: skip


def agreeing() -> Performance:
    """Yes: nods and a thumb up."""
    right = HandScore(
        keys=[
            hanging(0.0, forward=0.06),
            HandKey(
                2.55, (0.168, -0.11, 0.32), (-0.75, 0.10, 0.62), (-0.62, 0.05, -0.75), "thumb_up", 0.65, (0.05, 0, 0.05)
            ),
            HandKey(4.3, (0.163, -0.11, 0.34), (-0.75, 0.12, 0.62), (-0.62, 0.05, -0.75), "thumb_up", 0.6),
            HandKey(5.5, (0.138, -0.27, 0.31), (-0.45, 0.2, 0.85), (-0.7, 0.35, -0.5), "soft", 0.8),
        ],
        beats=[(2.95, 0.03), (3.75, 0.035)],
        sway=0.004,
    )
    left = HandScore(
        keys=[
            hanging(0.0),
            hanging(2.6, 1.2, forward=0.08),
        ],
        stress_beats=0.027,
    )
    return Performance(
        name="agreeing",
        title="Yes, and a thumb up",
        description="Nods in agreement and gives a thumb up with a smile.",
        tags=("yes", "right hand", "friendly"),
        duration=6.5,
        seed=53,
        left=left,
        right=right,
        speech=[
            Phrase(0.6, "Y EH1 S , IH G Z AE1 K T L IY", 0.95),
            Phrase(2.5, "G R EY1 T JH AA1 B", 0.9, 1.1),
        ],
        face=FaceScore(smile=((0.0, 0.15), (0.8, 0.3), (2.6, 0.58), (5.2, 0.3)), brows=(0.6, 2.5), brow_gain=0.4),
        head=((0.0, (0.0, 0.0, 0.0)), (0.8, (1.0, 2.0, 2.0)), (2.6, (-1.0, -3.0, 5.0)), (4.8, (1.0, 1.0, -1.0))),
        torso=((0.0, (2.0, 0.0, 0.0)), (1.0, (4.0, 1.0, 0.0)), (2.7, (1.5, -2.0, -1.0))),
        nods=((0.8, 6.0), (1.35, 4.5), (1.9, 3.0), (3.0, 4.0), (4.6, 3.0)),
    )  # fmt: skip
