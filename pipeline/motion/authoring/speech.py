"""Mouth movement from phonemes: visemes on ARKit coefficients, joined by coarticulation.

Each phoneme has a target mouth and, per coefficient, a dominance: a bump around its centre whose width says how far
the phoneme spreads into its neighbours (lip rounding spreads early and wide, a lip closure is short and strict). The
mouth is the dominance-weighted mean of all targets and of rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...types import Array
from .timeline import Timeline

VOWELS: dict[str, dict[str, float]] = {
    "AA": {"jawOpen": 0.42, "mouthLowerDown": 0.22, "mouthUpperUp": 0.10},
    "AE": {"jawOpen": 0.36, "mouthStretch": 0.16, "mouthLowerDown": 0.26, "mouthUpperUp": 0.16},
    "AH": {"jawOpen": 0.27, "mouthLowerDown": 0.16, "mouthUpperUp": 0.08},
    "AO": {"jawOpen": 0.34, "mouthFunnel": 0.38, "mouthPucker": 0.10},
    "AW": {"jawOpen": 0.36, "mouthFunnel": 0.24, "mouthPucker": 0.16},
    "AY": {"jawOpen": 0.34, "mouthStretch": 0.12, "mouthLowerDown": 0.20, "mouthSmile": 0.06},
    "EH": {"jawOpen": 0.26, "mouthStretch": 0.18, "mouthLowerDown": 0.22, "mouthUpperUp": 0.12},
    "ER": {"jawOpen": 0.16, "mouthFunnel": 0.26, "mouthPucker": 0.16},
    "EY": {"jawOpen": 0.20, "mouthStretch": 0.20, "mouthSmile": 0.12, "mouthLowerDown": 0.20},
    "IH": {"jawOpen": 0.17, "mouthStretch": 0.14, "mouthLowerDown": 0.16, "mouthUpperUp": 0.06},
    "IY": {"jawOpen": 0.12, "mouthStretch": 0.22, "mouthSmile": 0.20, "mouthLowerDown": 0.18, "mouthUpperUp": 0.08},
    "OW": {"jawOpen": 0.24, "mouthFunnel": 0.34, "mouthPucker": 0.34},
    "UH": {"jawOpen": 0.17, "mouthFunnel": 0.28, "mouthPucker": 0.16},
    "UW": {"jawOpen": 0.11, "mouthFunnel": 0.26, "mouthPucker": 0.56},
}
CONSONANTS: dict[str, dict[str, float]] = {
    "P": {"jawOpen": 0.015, "mouthPress": 0.34, "mouthRollLower": 0.14, "mouthRollUpper": 0.10},
    "F": {"jawOpen": 0.05, "mouthRollLower": 0.34, "mouthUpperUp": 0.14, "mouthShrugLower": 0.10},
    "TH": {"jawOpen": 0.13, "tongueOut": 0.08, "mouthLowerDown": 0.14},
    "T": {"jawOpen": 0.09, "mouthLowerDown": 0.16, "mouthUpperUp": 0.05},
    "S": {"jawOpen": 0.05, "mouthStretch": 0.16, "mouthLowerDown": 0.20, "mouthUpperUp": 0.08},
    "SH": {"jawOpen": 0.07, "mouthFunnel": 0.42, "mouthPucker": 0.18, "mouthLowerDown": 0.10},
    "K": {"jawOpen": 0.13, "mouthLowerDown": 0.14},
    "R": {"jawOpen": 0.11, "mouthFunnel": 0.26, "mouthPucker": 0.18},
    "L": {"jawOpen": 0.15, "mouthLowerDown": 0.16},
    "W": {"jawOpen": 0.07, "mouthFunnel": 0.20, "mouthPucker": 0.60},
    "HH": {"jawOpen": 0.16, "mouthLowerDown": 0.10},
}
SAME_MOUTH = {
    "B": "P", "M": "P", "V": "F", "DH": "TH", "D": "T", "N": "T", "Z": "S", "ZH": "SH", "CH": "SH", "JH": "SH",
    "G": "K", "NG": "K", "Y": "IY",
}  # fmt: skip
PAIRED = ("mouthStretch", "mouthLowerDown", "mouthUpperUp", "mouthSmile", "mouthPress")
ROUNDING = ("mouthFunnel", "mouthPucker")
CLOSING = ("P", "F")


@dataclass(frozen=True)
class Phrase:
    """A stretch of speech.

    Attributes:
        start: seconds.
        phonemes: ARPAbet separated by spaces; a vowel with a trailing 1 is stressed; "," pauses for a moment.
        rate: speaking speed, 1 is about 4.5 syllables per second.
        effort: how large the mouth moves, about 1.
    """

    start: float
    phonemes: str
    rate: float = 1.0
    effort: float = 1.0


@dataclass(frozen=True)
class Speech:
    """Spoken phrases as curves.

    Attributes:
        mouth: coefficient name (without side where it has one) to (F,) values.
        stresses: times of the stressed vowels, seconds.
        voice: (F,) 0..1 where somebody speaks, smooth.
        ends: time at which each phrase ends.
    """

    mouth: dict[str, Array]
    stresses: list[float]
    voice: Array
    ends: list[float]


@dataclass(frozen=True)
class _Sound:
    centre: float
    length: float
    mouth: dict[str, float]
    kind: str
    effort: float


def speak(timeline: Timeline, phrases: Sequence[Phrase]) -> Speech:
    """Lay out phrases in time and compute the mouth.

    Args:
        timeline: the clip's span.
        phrases: in rising order of start.

    Returns:
        The curves; values about 0..0.6.

    Raises:
        KeyError: an unknown phoneme.
    """
    sounds: list[_Sound] = []
    stresses: list[float] = []
    ends: list[float] = []
    voice = np.zeros(timeline.frames)
    for phrase in phrases:
        placed, stressed, end = _lay_out(phrase)
        sounds += placed
        stresses += stressed
        ends.append(end)
        voice = np.maximum(voice, timeline.progress(phrase.start - 0.1, phrase.start + 0.1))
        voice = voice * (1.0 - timeline.progress(end - 0.05, end + 0.2))
    return Speech(_coarticulate(timeline, sounds), stresses, voice, ends)


def _lay_out(phrase: Phrase) -> tuple[list[_Sound], list[float], float]:
    sounds: list[_Sound] = []
    stresses: list[float] = []
    time = phrase.start
    symbols = phrase.phonemes.split()
    for i, symbol in enumerate(symbols):
        if symbol == ",":
            time += 0.22 / phrase.rate
            continue
        stressed = symbol.endswith("1")
        name = symbol.rstrip("1")
        final = i == len(symbols) - 1 or symbols[i + 1] == ","
        key = SAME_MOUTH.get(name, name)
        vowel = name in VOWELS
        length = (0.125 if vowel else 0.066) * (1.4 if stressed else 1.0) * (1.35 if final else 1.0) / phrase.rate
        mouth = VOWELS[key] if key in VOWELS else CONSONANTS[key]
        effort = phrase.effort * (1.2 if stressed else 0.88) if vowel else 1.0
        sounds.append(_Sound(time + length / 2, length, mouth, "vowel" if vowel else key, effort))
        if stressed:
            stresses.append(time + length / 2)
        time += length
    return sounds, stresses, time


def _coarticulate(timeline: Timeline, sounds: Sequence[_Sound]) -> dict[str, Array]:
    names = sorted({n for table in (VOWELS, CONSONANTS) for shape in table.values() for n in shape})
    top = {n: np.zeros(timeline.frames) for n in names}
    bottom = {n: np.full(timeline.frames, 0.35) for n in names}
    fine = timeline.times
    for sound in sounds:
        for name in names:
            weight = _dominance(fine - sound.centre, sound, name)
            top[name] += weight * sound.effort * sound.mouth.get(name, 0.0)
            bottom[name] += weight
    return {n: timeline.smooth(top[n] / bottom[n], 0.012) for n in names}


def _dominance(offset: Array, sound: _Sound, name: str) -> Array:
    """How much one sound shapes one coefficient around its centre."""
    closing = sound.kind in CLOSING
    width = sound.length * (0.62 if closing else 0.80)
    strength = {True: 9.0, False: 1.6 if sound.kind == "vowel" else 1.1}[closing]
    if name in ROUNDING:
        wanted = name in sound.mouth
        width *= 1.5 if wanted else 0.8
        strength = strength * (1.3 if wanted else 0.35)
    elif name not in sound.mouth and not closing:
        strength *= 0.6
    return strength * np.exp(-0.5 * (offset / width) ** 2)
