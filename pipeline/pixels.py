"""Distances between the pixels of a picture, and its connected pieces, with plain types."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from scipy import ndimage

from pipeline.types import Array


def distance_to(mask: Array) -> Array:
    """How far every pixel is from the nearest one of ``mask`` (H, W) bool, (H, W) float64.

    It is 0 within the mask, and 65536 everywhere if the mask is empty. OpenCV's transform is five times as fast as
    SciPy's, but does not say which pixel is the nearest (:func:`nearest_of` does), and wants its last digits put right:
    squared distances are whole numbers.
    """
    rough = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.sqrt(np.rint(np.square(rough, dtype=np.float64)))


def nearest_of(mask: Array) -> tuple[Array, Array, Array]:
    """The same, and the row and column of that nearest pixel, (H, W) each."""
    found: Any = ndimage.distance_transform_edt(~mask, return_indices=True)
    gap, (rows, cols) = found
    return gap, rows, cols


def depth_within(mask: Array) -> Array:
    """How far every pixel of ``mask`` (H, W) bool is from its border, (H, W); it goes on beyond the picture's edges."""
    return distance_to(~np.pad(mask, 1, mode="edge"))[1:-1, 1:-1]


def pieces_of(mask: Array, corners: bool = True) -> tuple[Array, int]:
    """The connected pieces of ``mask`` (H, W) bool, counted from 1, (H, W) int, and how many there are.

    Args:
        corners: whether pixels that touch at a corner are connected.
    """
    found: Any = ndimage.label(mask, ndimage.generate_binary_structure(2, 2 if corners else 1))
    return found
