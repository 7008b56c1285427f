"""Is a face drawn? Skin in a photo is never of one colour; drawings are filled with flat areas."""

from __future__ import annotations

import cv2
import numpy as np

from pipeline.perceive.detect import as_uint8
from pipeline.types import Array

FLAT_RANGE = 2
"""Largest difference within 3x3 pixels, of 255, that counts as flat."""
FLAT_SHARE = 0.2
"""Share of flat pixels from which a face counts as drawn. Measured: 30 photos at most 0.11, the same with heavy
denoising or enlarged six times 0.08; posters of a few flat colours 0.45 to 0.72, as a JPEG 0.24 to 0.44."""
DARK, BRIGHT = 40, 250
"""Pixels darker or brighter than this, of 255, may be flat because the photo is clipped there."""
SIDE = 256
"""Larger faces are looked at this size, so that the grain of large photos does not matter."""


def flat_share(image: Array, face: Array) -> float:
    """Share of a face's bounding box that is of one flat colour, neither black nor white, 0..1.

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
    return float(((spread <= FLAT_RANGE) & exposed).mean())


def is_drawn(image: Array, face: Array) -> bool:
    """Whether a face, given as in :func:`flat_share`, is filled with flat colours. Shaded paintings are not caught."""
    return flat_share(image, face) > FLAT_SHARE
