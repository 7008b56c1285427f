"""The matte of a frame filmed by a camera at rest, made steadier by a photo from the same place.

Segmentation wavers from frame to frame: a chair becomes a skirt for a moment. Where a frame looks exactly as the photo
did, its matte cannot have changed either. The photo's matte was made with more care, so there it decides: what was
ground stays ground, what was well inside the person stays person. Elsewhere, and when the camera moves, it does not.
"""

from __future__ import annotations

import cv2
import numpy as np

from pipeline.types import Array

SAME, DIFFERENT = 0.04, 0.06
"""Largest change of a colour channel (0..1, mean over a small window) that is no change, and from which it is one."""
WINDOW, MARGIN = 1 / 200, 1 / 400
"""Side of that window, and distance from the photo's outline that is left alone, in parts of the picture's height."""


def steady_matte(alpha: Array, crop: Array, photo: Array, photo_alpha: Array) -> Array:
    """Correct a frame's matte by the photo's.

    Args:
        alpha: (H, W) in 0..1, the frame's own matte. crop: (H, W, 3) uint8 RGB, the frame.
        photo: (H, W, 3) in 0..1 and photo_alpha: (H, W): the photo in the same window, and its matte.

    Returns:
        (H, W) float32 in 0..1.
    """
    side = max(3, round(WINDOW * len(alpha)) | 1)
    change = cv2.blur(np.abs(crop.astype(np.float32) / 255 - photo).max(2), (side, side))
    same = np.clip((DIFFERENT - change) / (DIFFERENT - SAME), 0, 1)
    size = 2 * max(1, round(MARGIN * len(alpha))) + 1
    kernel = np.ones((size, size), np.uint8)
    ground, person = (cv2.erode(x.astype(np.uint8), kernel) > 0 for x in (photo_alpha < 0.05, photo_alpha > 0.95))
    out = np.where(ground, alpha * (1 - same), np.where(person, np.maximum(alpha, same), alpha))
    return out.astype(np.float32)
