"""Whole-body keypoints in the order and units that the pose pictures are drawn from.

Detectors speak COCO-WholeBody (133 points, pixels). The drawing speaks OpenPose: 18 body joints with a neck, 68 face
points and two hands, in shares of the picture's width and height.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.types import Array

VISIBLE = 0.3
"""Confidence above which a body joint counts as seen."""
N_BODY = 18
NECK = 17
"""Where the neck is inserted behind the 17 COCO body joints."""

BODY_ORDER = (0, 17, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
"""OpenPose body joint -> index in COCO's 17 joints with the neck appended as 17."""


@dataclass(frozen=True)
class People:
    """Detected people in one picture.

    Attributes:
        points: (P, 133, 2) COCO-WholeBody x, y in pixels.
        scores: (P, 133) confidence; not bounded by 1.
    """

    points: Array
    scores: Array

    def __len__(self) -> int:
        return len(self.points)


@dataclass(frozen=True)
class Pose:
    """What is drawn: P people, x and y as shares of the picture's width and height (float64).

    Attributes:
        body: (P, 18, 2); body_score: (P, 18).
        hands: (2P, 21, 2), all left hands, then all right hands; hands_score: (2P, 21).
        faces: (P, 68, 2); faces_score: (P, 68).
    """

    body: Array
    body_score: Array
    hands: Array
    hands_score: Array
    faces: Array
    faces_score: Array

    def __len__(self) -> int:
        return len(self.body)

    def moved(self, scale: Array, offset: Array) -> Pose:
        """All coordinates times ``scale`` (2,) plus ``offset`` (2,); scores unchanged."""
        parts = {name: getattr(self, name) * scale + offset for name in ("body", "hands", "faces")}
        return Pose(body_score=self.body_score, hands_score=self.hands_score, faces_score=self.faces_score, **parts)


def to_openpose(people: People) -> tuple[Array, Array]:
    """Insert the neck and put the body joints into OpenPose order.

    Returns:
        points (P, 134, 2) pixels and scores (P, 134), float64: 0..17 body, 18..23 feet, 24..91 face, 92..112 left
        hand, 113..133 right hand. The neck is the middle of the shoulders, its score 1 where both are seen, else 0.
    """
    points, scores = people.points.astype(np.float64), people.scores.astype(np.float64)
    neck = points[:, 5:7].mean(axis=1, keepdims=True)
    neck_score = (people.scores[:, 5:7] > VISIBLE).all(axis=1, keepdims=True).astype(np.float64)
    points = np.concatenate([points[:, :NECK], neck, points[:, NECK:]], axis=1)
    scores = np.concatenate([scores[:, :NECK], neck_score, scores[:, NECK:]], axis=1)
    order = [*BODY_ORDER, *range(N_BODY, points.shape[1])]
    return points[:, order], scores[:, order]


def to_pose(people: People, width: int, height: int) -> Pose:
    """What is drawn of the people in a picture of that size."""
    points, scores = to_openpose(people)
    points = points / np.array([width, height], np.float64)
    hands = (slice(92, 113), slice(113, 134))
    return Pose(
        body=points[:, :N_BODY],
        body_score=scores[:, :N_BODY],
        hands=np.concatenate([points[:, h] for h in hands]),
        hands_score=np.concatenate([scores[:, h] for h in hands]),
        faces=points[:, 24:92],
        faces_score=scores[:, 24:92],
    )
