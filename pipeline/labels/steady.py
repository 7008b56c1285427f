"""The matte of a frame filmed by a camera at rest, made steadier by a photo from the same place.

Segmentation wavers from frame to frame: a chair becomes a skirt for a moment. Where a frame looks exactly as the photo
did, its matte cannot have changed either. The photo's matte was made with more care, so there it decides: what was
ground stays ground, what was well inside the person stays person. Elsewhere, and when the camera moves, it does not:
before a plain wall every place looks the same, so that only textured ground tells whether it moved.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.types import Array

SAME, DIFFERENT = 0.04, 0.06
"""Largest change of a colour channel (0..1, mean over a small window) that is no change, and from which it is one."""
LEAST_GROUND, LEAST_SAME = 0.02, 0.75
"""Share of the picture that must be ground in both pictures, and share of it that must look the same, before a photo
counts as taken from the same place."""
TEXTURE, LEAST_TEXTURED, LEAST_STILL = 20, 5e-4, 0.45
"""Range of grey (of 255) within five pixels that counts as texture; share of the picture that must be textured ground
to tell anything; share of it that looks the same through a camera at rest. Measured on twelve videos: 0.63 to 1.00 at
rest, at most 0.3 a second after a camera by hand began."""
UNKNOWN = 0.5
"""Opacity of a photo's matte that decides nothing."""
FEATURES, LEAST_MATCHES, FEATURE_RATIO, FEATURE_ERROR = 2000, 20, 0.8, 2.0
"""Corners looked for in each picture; how many must agree on one window; Lowe's ratio; pixels."""
WINDOW, MARGIN = 1 / 200, 1 / 400
"""Side of that window, and distance from the photo's outline that is left alone, in parts of the picture's height."""


def steady_matte(alpha: Array, crop: Array, photo: Array, photo_alpha: Array) -> Array:
    """Correct a frame's matte by the photo's.

    Args:
        alpha: (H, W) in 0..1, the frame's own matte. crop: (H, W, 3) uint8 RGB, the frame.
        photo: (H, W, 3) in 0..1 and photo_alpha: (H, W): the photo in the same window, and its matte.

    Returns:
        (H, W) float32 in 0..1; ``alpha`` itself when the camera has moved.
    """
    change = _change(crop, photo)
    if moved(change, photo, photo_alpha, alpha):
        return alpha
    same = np.clip((DIFFERENT - change) / (DIFFERENT - SAME), 0, 1)
    size = 2 * max(1, round(MARGIN * len(alpha))) + 1
    kernel = np.ones((size, size), np.uint8)
    ground, person = (cv2.erode(x.astype(np.uint8), kernel) > 0 for x in (photo_alpha < 0.05, photo_alpha > 0.95))
    out = np.where(ground, alpha * (1 - same), np.where(person, np.maximum(alpha, same), alpha))
    return out.astype(np.float32)


def camera_moved(crop: Array, alpha: Array, photo: Array, photo_alpha: Array) -> bool:
    """Whether the camera has moved between a photo and a frame, given as in :func:`steady_matte`."""
    return moved(_change(crop, photo), photo, photo_alpha, alpha)


def moved(change: Array, photo: Array, photo_alpha: Array, alpha: Array) -> bool:
    """Whether textured ground looks different; ``change`` (H, W) of colours, in 0..1. False where all is plain."""
    kernel = np.ones((5, 5), np.uint8)
    grey = cv2.cvtColor(np.clip(photo * 255, 0, 255).astype(np.uint8), cv2.COLOR_RGB2GRAY)
    textured = cv2.dilate(grey, kernel) - cv2.erode(grey, kernel) > TEXTURE
    reach = np.ones((15, 15), np.uint8)
    ground = cv2.erode(((photo_alpha < 0.05) & (alpha < 0.05)).astype(np.uint8), reach) > 0
    tells = textured & ground
    return bool(tells.mean() > LEAST_TEXTURED and (change[tells] < DIFFERENT).mean() < LEAST_STILL)


def _change(crop: Array, photo: Array) -> Array:
    side = max(3, round(WINDOW * len(crop)) | 1)
    return cv2.blur(np.abs(crop.astype(np.float32) / 255 - photo).max(2), (side, side))


@dataclass(frozen=True)
class Ground:
    """A photo as a camera at rest sees it through the window of its frames.

    Attributes:
        image: (H, W, 3) in 0..1. alpha: (H, W), :data:`UNKNOWN` where the photo shows nothing.
    """

    image: Array
    alpha: Array

    def steady(self, alpha: Array, crop: Array) -> Array:
        """See :func:`steady_matte`."""
        return steady_matte(alpha, crop, self.image, self.alpha)


def shared_ground(photo: Array, photo_alpha: Array, crop: Array, alpha: Array) -> Ground | None:
    """The photo laid over a frame, if it was taken by the same camera from the same place; else None.

    First as it is, then moved, turned and scaled as corners of the ground say. Either way the ground must then look
    the same.

    Args:
        photo: (H, W, 3) in 0..1. photo_alpha: (H, W). crop: (h, w, 3) uint8, a frame. alpha: (h, w), its matte.
    """
    candidates = [Ground(photo, photo_alpha)] if photo_alpha.shape == alpha.shape else []
    laid = _laid_over(photo, photo_alpha, crop, alpha)
    for ground in candidates + ([laid] if laid else []):
        both = (ground.alpha < 0.05) & (alpha < 0.05)
        change = np.abs(crop.astype(np.float32) / 255 - ground.image).max(2)[both]
        alike = both.mean() > LEAST_GROUND and (change < DIFFERENT).mean() > LEAST_SAME
        if alike and not camera_moved(crop, alpha, ground.image, ground.alpha):
            return ground
    return None


def _laid_over(photo: Array, photo_alpha: Array, crop: Array, alpha: Array) -> Ground | None:
    """The photo warped by matched corners of the ground; None where too few agree."""
    finder = cv2.ORB_create(FEATURES)
    pictures = (np.clip(photo * 255, 0, 255).astype(np.uint8), photo_alpha), (crop, alpha)
    found = [
        finder.detectAndCompute(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (matte < 0.05).astype(np.uint8) * 255)
        for image, matte in pictures
    ]
    (ours, codes), (theirs, other_codes) = found
    if min(len(ours), len(theirs)) < LEAST_MATCHES:
        return None
    pairs = cv2.BFMatcher(cv2.NORM_HAMMING).knnMatch(codes, other_codes, k=2)
    good = [p[0] for p in pairs if len(p) == 2 and p[0].distance < FEATURE_RATIO * p[1].distance]
    if len(good) < LEAST_MATCHES:
        return None
    here = np.float32([ours[m.queryIdx].pt for m in good])
    there = np.float32([theirs[m.trainIdx].pt for m in good])
    move, inliers = cv2.estimateAffinePartial2D(here, there, ransacReprojThreshold=FEATURE_ERROR)
    if move is None or inliers.sum() < LEAST_MATCHES:
        return None
    size = alpha.shape[::-1]
    image = cv2.warpAffine(photo, move, size, flags=cv2.INTER_LINEAR)
    matte = cv2.warpAffine(photo_alpha, move, size, flags=cv2.INTER_LINEAR, borderValue=UNKNOWN)
    return Ground(image, matte)
