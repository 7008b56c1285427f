"""The matte of a frame filmed by a camera at rest, made steadier by a photo from the same place.

Segmentation wavers from frame to frame: a chair becomes a skirt for a moment. Where a frame looks exactly as the photo
did, its matte cannot have changed either. The photo's matte was made with more care, so there it decides: what was
ground stays ground, what was well inside the person stays person. Elsewhere, and when the camera moves, it does not:
a plain wall looks the same from everywhere, so that corners of the ground tell whether it moved.
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
CORNERS, LEAST_CORNERS, MOVED = 300, 5, 2.0
"""Corners of the ground that are followed, at most and at least; median way of them, pixels at 1024 rows, from which on
the camera has moved. Measured on twelve videos: at most 0.5 at rest, 5 to 127 once a camera by hand is under way."""
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
    if camera_moved(crop, alpha, photo, photo_alpha):
        return alpha
    side = max(3, round(WINDOW * len(alpha)) | 1)
    change = cv2.blur(np.abs(crop.astype(np.float32) / 255 - photo).max(2), (side, side))
    same = np.clip((DIFFERENT - change) / (DIFFERENT - SAME), 0, 1)
    size = 2 * max(1, round(MARGIN * len(alpha))) + 1
    kernel = np.ones((size, size), np.uint8)
    ground, person = (cv2.erode(x.astype(np.uint8), kernel) > 0 for x in (photo_alpha < 0.05, photo_alpha > 0.95))
    out = np.where(ground, alpha * (1 - same), np.where(person, np.maximum(alpha, same), alpha))
    return out.astype(np.float32)


def camera_moved(crop: Array, alpha: Array, photo: Array, photo_alpha: Array) -> bool:
    """Whether the ground lies elsewhere in a frame than in a photo, given as in :func:`steady_matte`.

    Corners of the ground are followed (Lucas and Kanade); False where there are too few to tell.
    """
    unit = len(alpha) / 1024
    reach = np.ones((2 * max(1, round(10 * unit)) + 1,) * 2, np.uint8)
    ground = cv2.erode(((photo_alpha < 0.05) & (alpha < 0.05)).astype(np.uint8), reach)
    before = cv2.cvtColor(np.clip(photo * 255, 0, 255).astype(np.uint8), cv2.COLOR_RGB2GRAY)
    after = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    corners = cv2.goodFeaturesToTrack(before, CORNERS, 0.01, max(3.0, 9 * unit), mask=255 * ground)
    if corners is None:
        return False
    there, found, _ = cv2.calcOpticalFlowPyrLK(before, after, corners, None)
    back, again, _ = cv2.calcOpticalFlowPyrLK(after, before, there, None)
    sure = (found[:, 0] > 0) & (again[:, 0] > 0) & (np.linalg.norm(back - corners, axis=-1)[:, 0] < 1)
    way = np.linalg.norm(there - corners, axis=-1)[sure, 0]
    return bool(len(way) >= LEAST_CORNERS and np.median(way) > MOVED * unit)


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
