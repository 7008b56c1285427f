"""D(.): pose pictures whose colours carry the confidence of every keypoint.

Drawn on a canvas of 2160 pixels on the short side, then reduced without antialiasing; equal to the pictures that the
diffusion model was trained on to the last bit.
"""

from __future__ import annotations

import colorsys
import math

import numpy as np

from pipeline.labels.mimicmotion.keypoints import VISIBLE, Pose
from pipeline.types import Array

CANVAS_SIDE = 2160
LIMB_DIM = 0.6

_LIMBS = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13), (1, 0),
    (0, 14), (14, 16), (0, 15), (15, 17),
)  # fmt: skip
_RAINBOW = (
    (255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0), (0, 255, 0), (0, 255, 85),
    (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255), (0, 0, 255), (85, 0, 255), (170, 0, 255),
    (255, 0, 255), (255, 0, 170), (255, 0, 85),
)  # fmt: skip
"""Canvas channel order; the finished picture reverses it."""
_FINGER_EDGES = tuple((0 if k == 0 else first + k - 1, first + k) for first in (1, 5, 9, 13, 17) for k in range(4))
_EDGE_COLOURS = tuple(colorsys.hsv_to_rgb(e / 20, 1.0, 1.0) for e in range(20))


def draw_pose(pose: Pose, height: int, width: int) -> Array:
    """Draw one picture.

    Args:
        pose: people in shares of the picture's size; points may lie outside.
        height, width: pixels of the picture.

    Returns:
        (height, width, 3) uint8 RGB on black.
    """
    import cv2

    canvas = draw_canvas(pose, height, width)
    picture = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(picture[..., ::-1])


def draw_canvas(pose: Pose, height: int, width: int) -> Array:
    """The large canvas before reduction, uint8, in canvas channel order (blue, green, red of the finished picture)."""
    import cv2

    short = min(height, width)
    enlarge = CANVAS_SIDE / short if short != CANVAS_SIDE else 1.0
    canvas = np.zeros((int(height * enlarge), int(width * enlarge), 3), np.uint8)
    size = np.array([canvas.shape[1], canvas.shape[0]], np.float64)
    _draw_limbs(canvas, pose, size)
    canvas = cv2.LUT(canvas, (np.arange(256) * LIMB_DIM).astype(np.uint8))
    _draw_joints(canvas, pose, size)
    for points, scores in zip(pose.hands, pose.hands_score, strict=True):
        _draw_hand(canvas, (points * size).astype(np.int64), scores)
    for points, scores in zip(pose.faces, pose.faces_score, strict=True):
        _draw_dots(canvas, (points * size).astype(np.int64), scores, 3, (1, 1, 1))
    return canvas


def _draw_limbs(canvas: Array, pose: Pose, size: Array) -> None:
    import cv2

    for (a, b), colour in zip(_LIMBS, _RAINBOW, strict=False):
        for points, scores in zip(pose.body, pose.body_score, strict=True):
            if scores[a] < VISIBLE or scores[b] < VISIBLE:
                continue
            (xa, ya), (xb, yb) = points[a] * size, points[b] * size
            centre = int((xa + xb) / 2), int((ya + yb) / 2)
            half = int(math.sqrt((xa - xb) ** 2 + (ya - yb) ** 2) / 2)
            angle = int(math.degrees(math.atan2(ya - yb, xa - xb)))
            polygon = cv2.ellipse2Poly(centre, (half, 4), angle, 0, 360, 1)
            cv2.fillConvexPoly(canvas, polygon, [int(c * scores[a] * scores[b]) for c in colour])


def _draw_joints(canvas: Array, pose: Pose, size: Array) -> None:
    import cv2

    for joint, colour in enumerate(_RAINBOW):
        for points, scores in zip(pose.body, pose.body_score, strict=True):
            if scores[joint] > VISIBLE:
                x, y = (points[joint] * size).astype(np.int64).tolist()
                cv2.circle(canvas, (x, y), 4, [int(c * scores[joint]) for c in colour], thickness=-1)


def _draw_hand(canvas: Array, points: Array, scores: Array) -> None:
    import cv2

    for (a, b), colour in zip(_FINGER_EDGES, _EDGE_COLOURS, strict=True):
        if points[a].min() > 0 and points[b].min() > 0:
            strength = int(scores[a] * scores[b] * 255)
            cv2.line(canvas, points[a].tolist(), points[b].tolist(), [c * strength for c in colour], thickness=2)
    _draw_dots(canvas, points, scores, 4, (0, 0, 1))


def _draw_dots(canvas: Array, points: Array, scores: Array, radius: int, channels: tuple[int, int, int]) -> None:
    """Filled circles as bright as their score; points on or outside the top and left edges are left out."""
    import cv2

    for (x, y), score in zip(points.tolist(), scores, strict=True):
        if x > 0 and y > 0:
            value = int(255 * score)
            cv2.circle(canvas, (x, y), radius, [value * c for c in channels], thickness=-1)
