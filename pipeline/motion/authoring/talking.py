"""Authored presets of people who speak: explaining, stressing, counting, presenting."""

from __future__ import annotations

from .face import FaceScore
from .performance import HandKey, HandScore, Performance
from .speech import Phrase

UP_IN = (-0.35, 0.25, 0.9)
"""Fingers forward, a little inwards and up: the usual way in which a talking hand points."""


def explaining() -> Performance:
    """Both hands open and shape an idea between them."""
    palm_in, palm_up = (-0.85, 0.35, -0.1), (-0.35, 0.9, 0.05)
    rest = HandKey(0.0, (0.112, -0.352, 0.262), (-0.6, 0.1, 0.8), (-0.65, 0.2, -0.75), "relaxed", 0.8)
    left = HandScore(
        keys=[
            rest,
            HandKey(0.75, (0.186, -0.24, 0.33), UP_IN, palm_in, "open", 0.55, (0.03, 0.03, 0.02)),
            HandKey(2.1, (0.178, -0.26, 0.34), (-0.1, 0.2, 0.95), palm_up, "open", 0.6, (0.02, 0.05, 0.0)),
            HandKey(3.6, (0.120, -0.25, 0.34), (-0.4, 0.25, 0.85), palm_in, "cup", 0.55, (0.03, 0.04, 0.03)),
            HandKey(5.0, (0.190, -0.22, 0.31), (0.05, 0.3, 0.9), (-0.4, 0.85, -0.1), "open", 0.5, (0.0, 0.06, 0.04)),
            HandKey(6.5, (0.138, -0.3, 0.32), (-0.35, 0.1, 0.9), (-0.5, 0.75, -0.2), "soft", 0.6, (0.0, 0.03, 0.0)),
        ],
        stress_beats=0.041,
        lag=0.035,
    )
    right = HandScore(
        keys=[
            HandKey(0.0, (0.090, -0.35, 0.316), (-0.65, 0.1, 0.75), (-0.6, 0.15, -0.8), "relaxed", 0.8),
            HandKey(0.70, (0.192, -0.21, 0.34), UP_IN, palm_in, "open", 0.55, (0.04, 0.03, 0.02)),
            HandKey(2.05, (0.171, -0.25, 0.35), (-0.2, 0.25, 0.95), palm_up, "open", 0.6, (0.02, 0.04, 0.0), 0.2),
            HandKey(3.55, (0.126, -0.2, 0.35), (-0.45, 0.35, 0.8), (-0.85, 0.1, -0.3), "cup", 0.5, (0.03, 0.05, 0.03)),
            HandKey(4.95, (0.200, -0.2, 0.3), (0.12, 0.35, 0.85), (-0.3, 0.9, 0.1), "open", 0.5, (0.0, 0.07, 0.05)),
            HandKey(6.4, (0.144, -0.28, 0.33), (-0.4, 0.15, 0.9), (-0.55, 0.7, -0.2), "soft", 0.6, (0.0, 0.03, 0.0)),
        ],
        stress_beats=0.064,
    )
    return Performance(
        name="explaining",
        title="Explaining with both hands",
        description="Open hands shape an idea, gather it and lay it out; steady eye contact.",
        tags=("talking", "both hands", "calm"),
        duration=8.0,
        seed=11,
        left=left,
        right=right,
        speech=[
            Phrase(0.35, "S OW1 DH IY AY D IY1 AH IH Z S IH1 M P AH L", 0.95),
            Phrase(2.2, "W IY T EY1 K DH IH S P AA1 R T , AE N D DH IY AH1 DH ER W AH N", 1.0),
            Phrase(4.5, "AE N D B R IH1 NG DH EH M T UH G EH1 DH ER , S OW DH AE T IH T AO L F IH1 T S", 1.05),
        ],
        face=FaceScore(
            smile=((0.0, 0.14), (1.6, 0.08), (5.4, 0.22), (7.0, 0.2)),
            gaze=((0.0, (0.0, 0.0)), (2.0, (-5.0, -9.0)), (2.75, (0.0, 0.0)), (4.4, (6.0, 3.0)), (4.95, (0.0, 0.0))),
            brow_gain=0.32,
        ),
        head=(
            (0.0, (0.0, 0.0, -1.0)), (1.4, (2.0, 3.0, 2.0)), (2.5, (4.0, -4.0, -2.5)), (3.6, (0.0, 1.0, 1.0)),
            (4.9, (-2.0, 4.5, 3.0)), (6.4, (1.5, 0.0, 0.5)),
        ),
        torso=((0.0, (2.0, 0.0, 0.0)), (2.1, (3.5, 2.0, 1.0)), (4.2, (4.5, -1.0, 0.0)), (6.0, (1.5, -2.0, -0.6))),
        weight=((0.0, 0.006), (4.0, -0.008)),
    )  # fmt: skip


def emphatic() -> Performance:
    """Strong beats of both hands and the head on every important word."""
    chop, wide = (-0.95, 0.1, 0.05), (-0.35, 0.55, 0.6)
    left = HandScore(
        keys=[
            HandKey(0.0, (0.133, -0.29, 0.28), (-0.45, 0.2, 0.85), (-0.8, 0.1, -0.4), "soft", 0.7),
            HandKey(0.8, (0.150, -0.19, 0.34), (-0.2, 0.45, 0.85), chop, "flat", 0.5, (0.0, 0.05, 0.02)),
            HandKey(3.3, (0.182, -0.17, 0.32), (0, 0.6, 0.75), wide, "open", 0.5, (0.03, 0.05, 0.0)),
            HandKey(4.7, (0.100, -0.2, 0.33), (-0.35, 0.55, 0.75), (-0.7, -0.2, -0.6), "fist", 0.45, (0.03, 0.06, 0.0)),
            HandKey(6.3, (0.138, -0.26, 0.31), (-0.4, 0.3, 0.85), (-0.75, 0.35, -0.3), "soft", 0.7, (0.0, 0.03, 0.0)),
        ],
        stress_beats=0.048,
        lag=0.03,
        restless=0.3,
    )
    right = HandScore(
        keys=[
            HandKey(0.0, (0.120, -0.27, 0.326), (-0.5, 0.2, 0.8), (-0.75, 0.15, -0.5), "soft", 0.7),
            HandKey(0.75, (0.138, -0.12, 0.35), (-0.15, 0.65, 0.7), (-0.75, 0.2, 0.55), "pinch", 0.5, (0.0, 0.05, 0.0)),
            HandKey(3.2, (0.193, -0.13, 0.31), (0.1, 0.65, 0.7), wide, "open", 0.5, (0.03, 0.06, 0.02)),
            HandKey(4.65, (0.132, -0.11, 0.33), (-0.25, 0.8, 0.5), (-0.65, 0.0, 0.5), "fist", 0.45, (0.04, 0.06, 0.0)),
            HandKey(6.2, (0.150, -0.25, 0.33), (-0.35, 0.3, 0.85), (-0.65, 0.55, -0.2), "open", 0.65, (0.0, 0.03, 0.0)),
        ],
        stress_beats=0.06,
        restless=0.3,
    )
    return Performance(
        name="emphatic",
        title="Emphatic beats",
        description="Hands and head beat on the important words, leaning into the point.",
        tags=("talking", "both hands", "energetic"),
        duration=8.0,
        seed=28,
        left=left,
        right=right,
        speech=[
            Phrase(0.5, "DH IH1 S IH Z R IY1 L IY , R IY1 L IY IH M P AO1 R T AH N T", 0.92, 1.15),
            Phrase(3.1, "W IY K AE1 N D UW1 IH T , AE N D W IY W IH1 L", 0.85, 1.2),
            Phrase(5.6, "B AH T AA1 N L IY T UW G EH1 DH ER", 0.95, 1.1),
        ],
        face=FaceScore(
            smile=((0.0, 0.06), (3.0, 0.18), (6.8, 0.3)),
            brow_gain=0.5,
            gaze=((0.0, (0.0, 0.0)), (2.75, (7.0, 2.0)), (3.15, (0.0, 0.0)), (5.2, (-6.0, -3.0)), (5.65, (0.0, 0.0))),
            extra={"browDown": ((0.0, 0.0), (0.9, 0.24), (2.7, 0.05), (4.6, 0.3), (5.4, 0.0))},
        ),
        head=((0.0, (0.0, 0.0, 0.0)), (0.9, (3.0, -3.0, 2.0)), (3.2, (-2.0, 4.0, -2.0)), (4.8, (4.0, 0.0, 1.0))),
        torso=((0.0, (2.0, 0.0, 0.0)), (1.0, (5.5, -1.5, 0.0)), (3.2, (2.5, 2.5, 0.6)), (4.8, (6.0, -1.0, 0.0))),
        weight=((0.0, -0.006), (3.0, 0.008)),
        nod=5.0,
    )  # fmt: skip


def counting() -> Performance:
    """One to five on the fingers of the raised right hand."""
    up, front = (0.02, 0.98, 0.18), (-0.22, -0.12, 0.95)
    places = [(0.112 + 0.004 * i, -0.105 + 0.008 * i, 0.30) for i in range(5)]
    times = (0.75, 1.85, 2.95, 4.05, 5.15)
    shapes = ("one", "two", "three", "four", "five")
    counts = [
        HandKey(t, p, (0.02 * i - 0.04, 0.98, 0.18), front, s, 0.50, (0.0, 0.025, -0.01))
        for i, (t, p, s) in enumerate(zip(times, places, shapes, strict=True))
    ]
    right = HandScore(
        keys=[
            HandKey(
                0.0, (0.120, -0.29, 0.306), (-0.55, 0.15, 0.8), (-0.7, 0.2, -0.6), "relaxed", 0.8, (0.04, 0.0, 0.05)
            ),
            *counts,
            HandKey(6.3, (0.132, -0.09, 0.305), up, front, "five", 0.6),
        ],
        beats=[(t + 0.12, 0.028) for t in times],
        beat_direction=(0.0, -0.8, 0.6),
        sway=0.004,
        wiggle=1.2,
        restless=0.5,
    )
    left = HandScore(
        keys=[
            HandKey(0.0, (0.121, -0.31, 0.26), (-0.6, 0.1, 0.8), (-0.65, 0.3, -0.7), "relaxed", 0.9),
            HandKey(3.4, (0.126, -0.3, 0.28), (-0.55, 0.15, 0.8), (-0.6, 0.45, -0.6), "relaxed", 1.2),
            HandKey(6.2, (0.138, -0.27, 0.3), (-0.45, 0.2, 0.85), (-0.5, 0.7, -0.3), "soft", 0.8),
        ],
        stress_beats=0.015,
    )
    return Performance(
        name="counting",
        title="Counting to five",
        description="Counts one to five on the fingers of the right hand, a nod for each.",
        tags=("talking", "right hand", "fingers"),
        duration=8.0,
        seed=23,
        left=left,
        right=right,
        speech=[
            Phrase(0.72, "W AH1 N", 0.9), Phrase(1.82, "T UW1", 0.85), Phrase(2.90, "TH R IY1", 0.9),
            Phrase(4.00, "F AO1 R", 0.85), Phrase(5.10, "F AY1 V", 0.85),
            Phrase(6.2, "DH AE T S AO1 L DH EH R IH Z", 1.0),
        ],
        face=FaceScore(
            smile=((0.0, 0.12), (3.0, 0.1), (5.4, 0.3), (7.2, 0.24)),
            gaze=(
                (0.0, (0.0, 0.0)), (0.55, (-12.0, -6.0)), (1.0, (0.0, 0.0)), (2.75, (-11.0, -5.0)), (3.15, (0.0, 0.0)),
                (4.95, (-11.0, -4.0)), (5.35, (0.0, 0.0)),
            ),
            brow_gain=0.35,
        ),
        head=((0.0, (0.0, 0.0, 0.0)), (0.7, (2.0, -4.0, 3.0)), (2.9, (1.0, -2.0, -1.0)), (5.1, (0.0, -4.0, 3.0))),
        torso=((0.0, (2.0, 0.0, 0.0)), (1.0, (2.5, -2.0, -0.8)), (5.2, (3.0, 1.0, 0.4))),
        nods=[(t + 0.12, 3.2) for t in times],
        nod=1.2,
    )  # fmt: skip


def presenting() -> Performance:
    """Shows something at the person's left with an open hand, looks there and back."""
    left = HandScore(
        keys=[
            HandKey(
                0.0, (0.110, -0.29, 0.28), (-0.55, 0.1, 0.8), (-0.65, 0.25, -0.7), "relaxed", 0.9, (0.02, 0.02, 0.06)
            ),
            HandKey(
                1.35, (0.178, -0.125, 0.31), (0.40, 0.72, 0.5), (0.05, 0.75, 0.65), "open", 0.75, (0.0, 0.02, 0.10)
            ),
            HandKey(3.0, (0.182, -0.105, 0.315), (0.38, 0.76, 0.48), (0.0, 0.72, 0.68), "open", 1.0),
            HandKey(4.6, (0.185, -0.19, 0.32), (0.2, 0.35, 0.9), (-0.1, 0.9, 0.4), "soft", 0.6, (0.0, 0.04, 0.0)),
            HandKey(6.3, (0.138, -0.27, 0.31), (-0.3, 0.2, 0.9), (-0.6, 0.65, -0.2), "soft", 0.7, (0.0, 0.02, 0.06)),
        ],
        beats=[(2.1, 0.03), (3.5, 0.025)],
        stress_beats=0.022,
    )
    right = HandScore(
        keys=[
            HandKey(0.0, (0.105, -0.318, 0.296), (-0.65, 0.1, 0.75), (-0.6, 0.2, -0.75), "relaxed", 0.9),
            HandKey(1.5, (0.110, -0.3, 0.275), (-0.75, 0.1, 0.6), (-0.45, 0.4, -0.8), "relaxed", 0.9),
            HandKey(4.7, (0.160, -0.25, 0.33), (-0.25, 0.25, 0.9), (-0.5, 0.8, -0.1), "open", 0.6, (0.02, 0.05, 0.0)),
            HandKey(6.4, (0.126, -0.29, 0.3), (-0.45, 0.15, 0.85), (-0.6, 0.5, -0.5), "soft", 0.7),
        ],
        stress_beats=0.03,
        lag=0.04,
    )
    return Performance(
        name="presenting",
        title="Presenting to the side",
        description="An open left hand shows something beside the speaker; eyes go there and come back.",
        tags=("talking", "left hand", "pointing"),
        duration=8.0,
        seed=31,
        left=left,
        right=right,
        speech=[
            Phrase(0.9, "AE N D OW1 V ER HH IY1 R , Y UW K AE N S IY1 HH AW IH T W ER1 K S", 0.95),
            Phrase(4.4, "IH T IH Z R IY L IY EY1 K W AY T N IY1 T AY D IY1 AH", 1.0),
        ],
        face=FaceScore(
            smile=((0.0, 0.14), (1.4, 0.2), (4.5, 0.3), (7.0, 0.2)),
            gaze=((0.0, (0.0, 0.0)), (0.85, (34.0, -8.0)), (2.1, (0.0, 0.0)), (2.9, (32.0, -6.0)), (3.7, (0.0, 0.0))),
            blinks=(0.84, 2.1, 3.68, 5.6, 7.3),
        ),
        head=(
            (0.0, (0.0, 0.0, 0.0)), (1.2, (2.0, 20.0, 2.0)), (2.4, (0.0, 4.0, 4.0)), (3.15, (1.0, 17.0, 1.0)),
            (4.1, (-1.0, 1.0, 3.0)), (5.8, (2.0, -2.0, -2.0)),
        ),
        torso=((0.0, (2.0, 0.0, 0.0)), (1.35, (2.0, 6.0, -2.0)), (4.4, (2.5, 0.0, 0.0)), (6.2, (3.0, -1.5, 0.5))),
        weight=((0.0, 0.0), (1.4, 0.014), (4.6, 0.0)),
        nod=3.0,
    )  # fmt: skip


def weighing() -> Performance:
    """On the one hand, on the other hand: two open hands weigh two sides."""
    low, high = (-0.35, 0.92, 0.05), (-0.3, 0.93, 0.1)
    left = HandScore(
        keys=[
            HandKey(0.0, (0.127, -0.3, 0.27), (-0.5, 0.1, 0.85), (-0.65, 0.45, -0.6), "relaxed", 0.8),
            HandKey(0.9, (0.190, -0.17, 0.32), (0, 0.25, 0.95), high, "cup", 0.6, (0.02, 0.05, 0.0)),
            HandKey(2.9, (0.178, -0.27, 0.31), (-0.05, 0.1, 0.95), low, "cup", 0.6),
            HandKey(4.9, (0.182, -0.2, 0.32), (-0.05, 0.2, 0.95), high, "open", 0.5),
            HandKey(5.6, (0.182, -0.26, 0.32), (-0.05, 0.15, 0.95), low, "open", 0.5),
            HandKey(6.5, (0.156, -0.27, 0.31), (-0.25, 0.2, 0.9), (-0.5, 0.8, -0.2), "soft", 0.6),
        ],
        stress_beats=0.037,
        lag=0.03,
    )
    right = HandScore(
        keys=[
            HandKey(0.0, (0.110, -0.28, 0.316), (-0.55, 0.15, 0.8), (-0.65, 0.4, -0.65), "relaxed", 0.8),
            HandKey(1.1, (0.163, -0.3, 0.3), (-0.2, 0.1, 0.95), low, "soft", 0.7),
            HandKey(2.8, (0.197, -0.14, 0.32), (0.05, 0.3, 0.95), high, "cup", 0.6, (0.02, 0.06, 0.0)),
            HandKey(4.85, (0.186, -0.25, 0.32), (-0.05, 0.15, 0.95), low, "open", 0.5),
            HandKey(5.55, (0.186, -0.18, 0.33), (-0.05, 0.25, 0.95), high, "open", 0.5),
            HandKey(6.4, (0.150, -0.26, 0.32), (-0.3, 0.2, 0.9), (-0.5, 0.8, -0.2), "soft", 0.6),
        ],
        stress_beats=0.037,
    )
    return Performance(
        name="weighing",
        title="On the one hand, on the other",
        description="Two open hands weigh two sides in turn; the torso and head go along.",
        tags=("talking", "both hands", "calm"),
        duration=8.0,
        seed=37,
        left=left,
        right=right,
        speech=[
            Phrase(0.5, "AA N DH AH W AH1 N HH AE N D , IH T S V EH R IY K W IH1 K", 0.95),
            Phrase(2.6, "AA N DH IY AH1 DH ER , IH T S N AA1 T CH IY1 P", 0.95),
            Phrase(4.7, "S OW W IY W IH1 L HH AE V T UW CH UW1 Z", 0.95),
        ],
        face=FaceScore(
            smile=((0.0, 0.08), (4.8, 0.24), (7.0, 0.14)),
            gaze=((0.0, (0.0, 0.0)), (0.95, (13.0, -9.0)), (1.6, (0.0, 0.0)), (2.75, (-13.0, -9.0)), (3.5, (0.0, 0.0))),
            brow_gain=0.4,
            extra={"mouthShrugLower": ((0.0, 0.0), (6.4, 0.28), (7.3, 0.0))},
        ),
        head=(
            (0.0, (0.0, 0.0, 0.0)), (1.0, (2.0, 4.5, -4.0)), (2.9, (2.0, -4.5, 4.0)), (4.8, (0.0, 1.0, -3.0)),
            (5.6, (1.0, -1.0, 3.0)), (6.5, (0.0, 0.0, 4.0)),
        ),
        torso=((0.0, (2.0, 0.0, 0.0)), (1.0, (2.5, 2.5, -2.0)), (2.9, (2.5, -2.5, 2.0)), (5.0, (3.0, 0.0, 0.0))),
        weight=((0.0, 0.0), (1.0, 0.014), (2.9, -0.014), (5.0, 0.0)),
    )  # fmt: skip


def question() -> Performance:
    """Asks the viewer, palms turned up, head tilted, and waits for the answer."""
    left = HandScore(
        keys=[
            HandKey(0.0, (0.112, -0.3, 0.27), (-0.6, 0.1, 0.8), (-0.6, 0.3, -0.7), "relaxed", 0.9),
            HandKey(1.0, (0.171, -0.25, 0.34), (-0.1, 0.2, 0.95), (-0.3, 0.93, 0.1), "open", 0.55, (0.02, 0.05, 0.0)),
            HandKey(4.2, (0.150, -0.28, 0.32), (-0.3, 0.1, 0.95), (-0.5, 0.8, -0.2), "soft", 0.9),
        ],
        stress_beats=0.034,
        lag=0.04,
    )
    right = HandScore(
        keys=[
            HandKey(0.0, (0.100, -0.28, 0.316), (-0.6, 0.15, 0.8), (-0.6, 0.25, -0.75), "relaxed", 0.9),
            HandKey(0.9, (0.167, -0.19, 0.37), (-0.12, 0.3, 0.95), (-0.3, 0.93, 0.15), "open", 0.55, (0.02, 0.06, 0.0)),
            HandKey(2.6, (0.156, -0.2, 0.38), (-0.25, 0.25, 0.95), (-0.35, 0.9, 0.1), "soft", 0.6, (0.0, 0.03, 0.0)),
            HandKey(4.4, (0.138, -0.27, 0.33), (-0.4, 0.15, 0.9), (-0.55, 0.75, -0.2), "soft", 0.9),
        ],
        stress_beats=0.049,
    )
    return Performance(
        name="question",
        title="Asking a question",
        description="Asks with open palms and raised brows, tilts the head and waits for the answer.",
        tags=("talking", "both hands", "question"),
        duration=7.0,
        seed=41,
        left=left,
        right=right,
        speech=[Phrase(0.6, "W AH1 T D UW Y UW TH IH1 NG K , W UH D Y UW D UW1 IH T DH AH S EY1 M W EY1", 0.95)],
        face=FaceScore(
            smile=((0.0, 0.12), (3.4, 0.3), (5.6, 0.2)),
            brows=(1.5, 3.35, 3.7),
            brow_gain=0.45,
            extra={"browInnerUp": ((0.0, 0.0), (3.2, 0.3), (5.4, 0.0))},
        ),
        head=((0.0, (0.0, 0.0, 0.0)), (1.0, (-2.0, 2.0, 4.0)), (3.2, (-1.0, -3.0, 8.0)), (5.4, (0.0, 0.0, 1.0))),
        torso=((0.0, (2.0, 0.0, 0.0)), (1.1, (5.0, 1.0, 0.5)), (3.2, (6.0, -1.5, 1.0)), (5.2, (2.0, 0.0, 0.0))),
        nods=((4.9, 3.5), (5.4, 2.4)),
    )  # fmt: skip
