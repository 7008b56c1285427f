"""Hand shapes: finger curls in degrees, turned into SMPL-X hand poses about each finger's own bending axis."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ...types import Array
from ..rotations import aa_to_matrix, matrix_to_aa, normalize
from ..skeleton import FINGERS, INDEX, mean_joints

Curl = tuple[float, float, float]
"""Bend of the three joints of a finger, base to tip, degrees; negative stretches back."""


@dataclass(frozen=True)
class HandShape:
    """Bends and spreads of one hand, degrees, the same numbers for left and right.

    Attributes:
        index, middle, ring, pinky: bends base to tip.
        thumb: bends of the thumb's three joints towards the palm.
        spread: fan of the fingers away from the middle finger, degrees per finger.
        opposition: thumb swung in front of the palm (positive) or out beside it (negative).
        across: thumb swung over towards the little finger's side.
    """

    index: Curl
    middle: Curl
    ring: Curl
    pinky: Curl
    thumb: Curl = (8.0, 10.0, 12.0)
    spread: float = 3.0
    opposition: float = 8.0
    across: float = 0.0


OPEN: Curl = (4.0, 8.0, 5.0)
BENT: Curl = (74.0, 96.0, 58.0)
BENT_SMALL: Curl = (74.0, 78.0, 48.0)
STRAIGHT: Curl = (2.0, 4.0, 2.0)

SHAPES: dict[str, HandShape] = {
    "relaxed": HandShape((16, 26, 14), (22, 32, 17), (26, 35, 18), (28, 33, 18), spread=2.0),
    "soft": HandShape((10, 17, 10), (15, 22, 12), (19, 25, 13), (18, 24, 13), spread=3.5),
    "open": HandShape(OPEN, (6, 10, 6), (8, 12, 7), (6, 11, 7), thumb=(0, 4, 4), spread=7.0, opposition=-4),
    "flat": HandShape((3, 6, 4), (4, 7, 4), (5, 8, 5), (5, 9, 5), thumb=(4, 8, 6), spread=2.0, opposition=-2),
    "wide": HandShape((-4, 4, 3), (-2, 6, 4), (0, 8, 5), (-3, 8, 5), thumb=(-6, 0, 0), spread=12.0, opposition=-10),
    "cup": HandShape(
        (26, 28, 16), (28, 30, 17), (28, 31, 18), (26, 31, 18), thumb=(10, 14, 10), spread=4, opposition=22
    ),
    "pinch": HandShape(
        (48, 44, 24), (42, 36, 20), (34, 30, 17), (26, 27, 16), thumb=(16, 20, 22), opposition=34, across=8
    ),
    "point": HandShape(
        STRAIGHT, (66, 84, 46), (72, 88, 50), (70, 86, 50), thumb=(22, 30, 26), spread=1, opposition=26, across=14
    ),
    "fist": HandShape(BENT, BENT, BENT, BENT_SMALL, thumb=(20, 34, 34), spread=0, opposition=34, across=8),
    "clasp": HandShape(
        (38, 44, 22), (42, 48, 24), (44, 49, 25), (42, 47, 25), thumb=(10, 18, 12), spread=3, opposition=18
    ),
    "wrap": HandShape(
        (30, 34, 18), (33, 38, 20), (35, 40, 21), (34, 39, 21), thumb=(6, 14, 8), spread=3, opposition=10
    ),
    "chin": HandShape(
        (52, 62, 34), (58, 70, 38), (62, 74, 40), (62, 74, 40), thumb=(4, 10, 8), spread=1, opposition=14
    ),
    "one": HandShape(STRAIGHT, BENT, BENT, BENT_SMALL, thumb=(20, 36, 34), spread=1, opposition=36, across=8),
    "two": HandShape(STRAIGHT, STRAIGHT, BENT, BENT_SMALL, thumb=(24, 38, 34), spread=7, opposition=38, across=14),
    "three": HandShape(
        STRAIGHT, STRAIGHT, STRAIGHT, BENT_SMALL, thumb=(28, 38, 30), spread=7, opposition=38, across=20
    ),
    "four": HandShape(STRAIGHT, STRAIGHT, STRAIGHT, STRAIGHT, thumb=(26, 36, 26), spread=7, opposition=40, across=26),
    "five": HandShape((0, 3, 2), (0, 4, 2), (1, 5, 3), (0, 5, 3), thumb=(-8, -2, 0), spread=11, opposition=-12),
    "thumb_up": HandShape(BENT, BENT, BENT, BENT_SMALL, thumb=(-10, -8, -6), spread=0, opposition=-16),
}

_SPREAD_STEPS = {"index": 1.0, "middle": 0.0, "ring": -1.0, "pinky": -2.0}
_PALM = np.array([0.0, -1.0, 0.0])


def hand_pose(shape: HandShape | str, side: str) -> Array:
    """The pose of one hand.

    Args:
        shape: a shape or the name of one in ``SHAPES``.
        side: "left" or "right".

    Returns:
        (15, 3) axis-angle in SMPL-X finger order.
    """
    shape = SHAPES[shape] if isinstance(shape, str) else shape
    left = np.concatenate([_finger(shape, name) for name in FINGERS])
    return left if side == "left" else left * np.array([1.0, -1.0, -1.0])


def _finger(shape: HandShape, name: str) -> Array:
    """(3, 3) axis-angle of one finger of the left hand."""
    if name == "thumb":
        return _thumb(shape)
    joints = mean_joints()
    bones = [joints[INDEX[f"left_{name}{i}"]] for i in (1, 2, 3)]
    direction = normalize(bones[2] - bones[0])
    bend_axis = normalize(np.cross(direction, _PALM))
    bends = np.radians(getattr(shape, name))
    # fanned fingers close together again as they bend, as real ones do
    fan = np.radians(shape.spread * _SPREAD_STEPS[name]) * np.clip(np.cos(bends[0]), 0.2, 1.0)
    base = aa_to_matrix(np.array([0.0, -1.0, 0.0]) * fan) @ aa_to_matrix(bend_axis * bends[0])
    return np.stack([matrix_to_aa(base), bend_axis * bends[1], bend_axis * bends[2]])


def _thumb(shape: HandShape) -> Array:
    joints = mean_joints()
    base, knuckle, tip = (joints[INDEX[f"left_thumb{i}"]] for i in (1, 2, 3))
    along = normalize(tip - base)
    hand = np.array([1.0, 0.0, 0.0])
    # opposition turns the thumb about the hand's length, down in front of the palm; across swings it over the palm
    opposition = aa_to_matrix(hand * np.radians(shape.opposition))
    across = aa_to_matrix(np.array([0.0, 1.0, 0.0]) * np.radians(shape.across))
    inward = normalize(np.array([0.2, -0.55, -0.8]))
    bend_axis = normalize(np.cross(normalize(tip - knuckle), inward))
    bends = np.radians(shape.thumb)
    first = across @ opposition @ aa_to_matrix(normalize(np.cross(along, inward)) * bends[0])
    return np.stack([matrix_to_aa(first), bend_axis * bends[1], bend_axis * bends[2]])


def blend(a: HandShape | str, b: HandShape | str, weight: float) -> HandShape:
    """A shape between two, 0 gives ``a`` and 1 gives ``b``."""
    a = SHAPES[a] if isinstance(a, str) else a
    b = SHAPES[b] if isinstance(b, str) else b
    mix = {}
    for name in HandShape.__dataclass_fields__:
        x, y = np.asarray(getattr(a, name), float), np.asarray(getattr(b, name), float)
        value = (1 - weight) * x + weight * y
        mix[name] = tuple(value) if value.ndim else float(value)
    return replace(a, **mix)
