"""Which MediaPipe point is which COCO-WholeBody keypoint: index tables only, shared by body and detector.

COCO-WholeBody (Jin et al., ECCV 2020) has 133 keypoints in the order body 17, feet 6, face 68, left hand 21,
right hand 21; "left" is the person's own left. MediaPipe Pose has 33 points, the refined face mesh 478 and each
hand 21 in the same order as COCO's (wrist, then thumb to little finger from base to tip).
"""

from __future__ import annotations

import numpy as np

MEDIAPIPE_TO_COCO17: tuple[int, ...] = (0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28)
"""Indices into MediaPipe Pose (33) of nose, eyes, ears, shoulders, elbows, wrists, hips, knees, ankles (left first)."""

MEDIAPIPE_TO_COCO_FEET: tuple[int, ...] = (31, -1, 29, 32, -1, 30)
"""Left big toe, small toe, heel, right big toe, small toe, heel; MediaPipe Pose has no small toe (-1)."""

_CONTOUR = (127, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 356)
_BROWS = (70, 63, 105, 66, 107, 336, 296, 334, 293, 300)
_NOSE = (168, 197, 5, 1, 98, 97, 2, 326, 327)
_EYES = (33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380)
_LIPS = (61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87)

FACE68_FROM_MEDIAPIPE: tuple[int, ...] = _CONTOUR + _BROWS + _NOSE + _EYES + _LIPS
"""For each of the 68 face keypoints (person's right to left, iBUG order) its index in MediaPipe's 478."""

COCO_BODY = slice(0, 17)
COCO_FEET = slice(17, 23)
COCO_FACE = slice(23, 91)
COCO_LEFT_HAND = slice(91, 112)
COCO_RIGHT_HAND = slice(112, 133)


def coco_wholebody_from_mediapipe(
    pose: np.ndarray | None,
    face: np.ndarray | None = None,
    left_hand: np.ndarray | None = None,
    right_hand: np.ndarray | None = None,
    scores: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> np.ndarray:
    """Assemble the 133 keypoints from MediaPipe's parts.

    Args:
        pose: (33, 3) x, y, visibility in pixels, or None.
        face: (478, >=2) x, y in pixels, or None.
        left_hand, right_hand: (21, >=2) x, y in pixels of the person's own hands, or None.
        scores: confidence in 0..1 given to the points of face, left hand and right hand.

    Returns:
        (133, 3) float32 x, y, confidence; zeros where nothing was seen (also the small toes).
    """
    out = np.zeros((133, 3), np.float32)
    if pose is not None:
        out[COCO_BODY] = pose[list(MEDIAPIPE_TO_COCO17), :3]
        for row, index in zip(range(COCO_FEET.start, COCO_FEET.stop), MEDIAPIPE_TO_COCO_FEET, strict=True):
            if index >= 0:
                out[row] = pose[index, :3]
    parts = (
        (COCO_FACE, face, scores[0]),
        (COCO_LEFT_HAND, left_hand, scores[1]),
        (COCO_RIGHT_HAND, right_hand, scores[2]),
    )
    for where, points, score in parts:
        if points is not None:
            chosen = points[list(FACE68_FROM_MEDIAPIPE)] if where == COCO_FACE else points
            out[where, :2] = chosen[:, :2]
            out[where, 2] = score
    return out
