"""What an author writes down for one preset: hand keys, torso, head, face and speech. Pure data.

Hand places are in the space of the chest, in metres on an average adult of 1.70 m, seen from the hand's own side:
(out from the middle of the chest, up from the shoulders, forward). So (0.16, -0.30, 0.30) is elbow height, in front of
the hand's own shoulder, for either hand. Directions (of the fingers and of the palm) are in the same axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .face import FaceScore
from .hands import HandShape
from .speech import Phrase
from .timeline import Key

Vec = tuple[float, float, float]


@dataclass(frozen=True)
class HandKey:
    """A place that a hand reaches.

    Attributes:
        time: arrival, seconds.
        place: wrist (out, up, forward), metres.
        fingers: direction in which the straight hand points.
        palm: direction that the palm faces.
        shape: hand shape or its name.
        travel: seconds that the move to here takes at most.
        arc: how far the path bows out half-way (out, up, forward), metres.
        elbow: 0 lets the elbow hang, 1 lifts it to the side.
    """

    time: float
    place: Vec
    fingers: Vec
    palm: Vec
    shape: HandShape | str = "relaxed"
    travel: float = 0.6
    arc: Vec = (0.0, 0.0, 0.0)
    elbow: float = 0.15


def hanging(time: float, travel: float = 1.0, *, forward: float = 0.05) -> HandKey:
    """The arm hanging at the side, a little bent."""
    return HandKey(
        time, (0.235, -0.465, forward), (-0.04, -1.0, 0.16), (-0.95, 0.05, -0.25), "relaxed", travel, elbow=0.1
    )


@dataclass(frozen=True)
class HandScore:
    """One hand over the whole clip.

    Attributes:
        keys: in rising time; the first is also where the loop ends.
        beats: (time, depth in metres) of gestural beats on top.
        stress_beats: mean depth of further beats on the stresses of the speech, metres.
        beat_direction: where a beat strikes (out, up, forward).
        sway: size of the slow drift while holding, metres.
        wiggle: size of the slow finger movement, degrees.
        lag: how much later than the other hand this one moves, seconds.
        waves: (start, end, swing in degrees, Hz) of the hand swinging about the direction its palm faces.
        restless: share of the body's small adjustments that this hand makes; little for one that touches something.
    """

    keys: Sequence[HandKey]
    beats: Sequence[tuple[float, float]] = ()
    stress_beats: float = 0.0
    beat_direction: Vec = (0.15, -1.0, 0.35)
    sway: float = 0.007
    wiggle: float = 3.0
    lag: float = 0.0
    waves: Sequence[tuple[float, float, float, float]] = ()
    restless: float = 1.0


@dataclass(frozen=True)
class Performance:
    """A preset as written by its author.

    Attributes:
        name, title, description, tags: for people.
        duration: seconds.
        seed: for every random detail.
        left, right: the hands.
        speech: phrases spoken.
        face: expression besides speech.
        head: keys of the head's turn in the room, degrees (down, to the left, tilt to the right shoulder).
        torso: keys of the torso's lean, degrees (forward, turn to the left, lean to the right).
        shrug: keys of the lift of both shoulders, degrees.
        weight: keys of the pelvis shift to the left, metres.
        nod: depth of the nods on stresses, degrees.
        nods: further nods (time, depth in degrees).
        shakes: (start, end, swing in degrees, Hz) of head shakes.
        tremble: (start, end, size in degrees, Hz) of a chest shaking with laughter.
        calm: factor on all slow noise of head and torso.
        fidget: way of the hands in the small adjustments of a held pose, metres.
    """

    name: str
    title: str
    description: str
    tags: tuple[str, ...]
    duration: float
    seed: int
    left: HandScore
    right: HandScore
    speech: Sequence[Phrase] = ()
    face: FaceScore = field(default_factory=FaceScore)
    head: Sequence[Key] = ((0.0, (0.0, 0.0, 0.0)),)
    torso: Sequence[Key] = ((0.0, (2.0, 0.0, 0.0)),)
    shrug: Sequence[Key] = ((0.0, 0.0),)
    weight: Sequence[Key] = ((0.0, 0.0),)
    nod: float = 4.8
    nods: Sequence[tuple[float, float]] = ()
    shakes: Sequence[tuple[float, float, float, float]] = ()
    tremble: Sequence[tuple[float, float, float, float]] = ()
    calm: float = 1.0
    fidget: float = 0.028

    def meta(self) -> dict[str, Any]:
        """The clip's meta: what it is and where it comes from."""
        return {
            "name": self.name,
            "title": self.title,
            "description": self.description,
            "tags": list(self.tags),
            "source": "authored",
            "licence": "CC0-1.0",
            "loop": True,
            "format": 1,
        }
