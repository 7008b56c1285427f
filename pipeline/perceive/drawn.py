"""Is a face drawn? Drawings are filled with a few colours; skin in a photo is never of one, however smooth it is."""

from __future__ import annotations

import cv2
import numpy as np

from pipeline.perceive.detect import as_uint8
from pipeline.types import Array

FLAT_RANGE = 2
"""Largest difference within 3x3 pixels, of 255, that counts as flat."""
FILLS, ONE_FILL = 3, 4
"""How many of the commonest colours count as fills, and the largest difference within one, of 255. Beauty filters and
video compression flatten skin too, but leave its gradients."""
FILLED_SHARE = 0.16
"""Share of filled pixels from which a face counts as drawn. Measured: 122 photos at most 0.10, frames of 27 videos,
some heavily compressed, at most 0.14; photos turned into 8 or 16 flat colours 0.17 or more, as a JPEG 0.01 or more."""
DARK, BRIGHT = 40, 250
"""Pixels darker or brighter than this, of 255, may be flat because the photo is clipped there."""
SIDE = 256
"""Larger faces are looked at this size, so that the grain of large photos does not matter."""


def filled_share(image: Array, face: Array) -> float:
    """Share of a face's bounding box that is filled with one of a few flat colours, neither black nor white, 0..1.

    Args:
        image: (H, W, 3) RGB, uint8 or float in 0..1.
        face: (N, 2 or more) landmarks in pixels.
    """
    height, width = image.shape[:2]
    (x0, y0), (x1, y1) = face[:, :2].min(0), face[:, :2].max(0)
    rows, columns = slice(max(int(y0), 0), min(int(y1), height)), slice(max(int(x0), 0), min(int(x1), width))
    part = as_uint8(image)[rows, columns]
    if min(part.shape[:2]) < 8:
        return 0.0
    scale = SIDE / max(part.shape[:2])
    if scale < 1:
        part = cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    kernel = np.ones((3, 3), np.uint8)
    spread = (cv2.dilate(part, kernel) - cv2.erode(part, kernel)).max(2)
    exposed = (part.max(2) >= DARK) & (part.min(2) <= BRIGHT)
    flat = part[(spread <= FLAT_RANGE) & exposed].astype(np.int64)
    count = len(flat)
    for _ in range(FILLS):
        if len(flat):
            cells = np.ravel_multi_index(tuple(flat.T // ONE_FILL), (256,) * 3)
            values, size = np.unique(cells, return_counts=True)
            fill = flat[cells == values[size.argmax()]].mean(0)
            flat = flat[np.abs(flat - fill).max(1) > ONE_FILL]
    return (count - len(flat)) / (part.shape[0] * part.shape[1])


def is_drawn(image: Array, face: Array) -> bool:
    """Whether a face, given as in :func:`filled_share`, is filled with flat colours. Shaded paintings pass."""
    return filled_share(image, face) > FILLED_SHARE
