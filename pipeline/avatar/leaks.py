"""Pieces of what stands beside a person that the matte took for part of an arm (a helmet, the back of a chair).

Such a piece has a colour that the arm has nowhere else, and goes on without an edge on the other side of the matte's
outline. It must not swing with the arm.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from pipeline.avatar import geometry as geo
from pipeline.avatar.arms import lab_image
from pipeline.pixels import distance_to, nearest_of, pieces_of

Array = np.ndarray

RARE = 0.25
"""Share of an arm's pixels that have about a colour, from which on it is the arm's own."""
UNLIKE, ALIKE = 40.0, 16.0
"""Distance in Lab (8 bits per channel) from which on a colour is another, and up to which it is the same."""
ACROSS = 6
"""Pixels, at 1024 rows, to both sides of the outline between which colours are compared."""
SMALLEST = 150
"""Pixels, at 1024 rows, below which a piece is left alone."""
SAMPLE = 2000
"""Pixels of an arm that are compared with."""
OPEN = 0.5
"""Share of its stretch of the outline on which a piece has to go on outside."""


def leaked(label: Array, image: Array, valid: Array) -> Array:
    """Pixels (H, W) bool of arms that belong to what is beside the person.

    Args:
        label: (H, W) int8 part groups, -1 outside the person. image: (H, W, 3). valid: (H, W) bool, where there is a
            photo: its edge says nothing.
    """
    unit = len(label) / 1024
    lab = lab_image(image, 1.0).astype(np.float32)
    gap, row, col = nearest_of(label < 0)
    step = max(ACROSS * unit, 2.0)
    outside = distance_to(label >= 0)[row, col]  # of the nearest pixel beyond the outline
    rows, cols = np.indices(label.shape)
    beyond = [
        np.clip(np.rint(near + (near - here) / np.maximum(gap, 1) * step), 0, size - 1).astype(int)
        for near, here, size in zip((row, col), (rows, cols), label.shape, strict=True)
    ]
    same = np.linalg.norm(lab[tuple(beyond)] - lab, axis=-1) < ALIKE
    rim = (gap > 0) & (gap <= step) & (outside > 0) & valid[tuple(beyond)]
    out = np.zeros(label.shape, bool)
    for group in (geo.LEFT_ARM, geo.RIGHT_ARM):
        arm = label == group
        if arm.sum() < 4 * SMALLEST * unit**2:
            continue
        pieces, count = pieces_of(rare(lab, arm), corners=False)
        for piece in range(1, count + 1):
            mine = pieces == piece
            edge = mine & rim
            if mine.sum() >= SMALLEST * unit**2 and edge.any() and same[edge].mean() >= OPEN:
                out |= ndimage.binary_dilation(mine, iterations=round(2 * unit)) & arm
    return out


def rare(lab: Array, arm: Array) -> Array:
    """Pixels (H, W) bool of an arm (H, W) bool with few others of about their colour."""
    colours = lab[arm]
    sample = colours[:: max(len(colours) // SAMPLE, 1)]
    tree = cKDTree(sample)
    coarse, inverse = np.unique(np.rint(colours / 4).astype(np.int16), axis=0, return_inverse=True)
    alike = tree.query_ball_point(4.0 * coarse, UNLIKE, return_length=True)
    out = np.zeros(arm.shape, bool)
    out[arm] = (alike < RARE * len(sample))[inverse.ravel()]
    return out
