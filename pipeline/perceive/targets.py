"""What a registration has to explain: 2D detections of one or many frames as weighted tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pipeline.types import Array, Detections

N_FACE, N_HAND, N_POSE = 478, 21, 33
FACE = slice(0, N_FACE)
LEFT_HAND = slice(N_FACE, N_FACE + N_HAND)
RIGHT_HAND = slice(N_FACE + N_HAND, N_FACE + 2 * N_HAND)
POSE = slice(N_FACE + 2 * N_HAND, N_FACE + 2 * N_HAND + N_POSE)
N_POINTS = POSE.stop

POSE_HANDS = range(15, 23)
"""MediaPipe Pose points on wrists and knuckles: coarse, used only where no hand was found."""
POSE_FACE = range(11)
ARM_POINTS = ((13, 15, 17, 19, 21), (14, 16, 18, 20, 22))
"""MediaPipe Pose points on the left and the right arm, from the elbow on."""
PHANTOM, RAISED, ELBOW_SEEN = 0.8, 0.1, 0.9
"""A wrist is taken for a guess: within so many lengths of a hand from the other side's, where that hand is so many
shoulder widths above the shoulders, and its own elbow is less visible than this."""
POSE_TORSO = (11, 12, 23, 24)

ARM_BONES = ((11, 13), (13, 15), (12, 14), (14, 16))
TRUNK_BONES = ((11, 12), (23, 24), (11, 23), (12, 24))
BODY_BONES = ARM_BONES + TRUNK_BONES + ((23, 25), (25, 27), (24, 26), (26, 28))
HAND_BONES = tuple((0 if i % 4 == 1 else i - 1, i) for i in range(1, 21))

LIPS = (
    *(61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 185, 40, 39, 37, 0, 267, 269, 270, 409),
    *(78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 191, 80, 81, 82, 13, 312, 311, 310, 415),
)
EYES = (
    *(33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),
    *(263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466),
)
FACE_CONTOUR = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152),
    *(148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
FLESH = 1.25
"""A hand's outline relative to that of its joints."""
BEHIND_HAND = 0.05
"""Weight of a facial landmark behind a hand."""
IRISES = tuple(range(468, 478))


@dataclass(frozen=True)
class Targets:
    """Detections of F frames.

    Attributes:
        points: (F, N_POINTS, 2) pixels: face 478, left hand 21, right hand 21, pose 33.
        weights: (F, N_POINTS) in 0..1, 0 where nothing was seen.
        body_dirs: (F, len(BODY_BONES), 3) unit bone directions in world axes, with ``body_dir_weights``.
        hand_dirs: (F, 2, 20, 3) unit finger bone directions in world axes, with ``hand_dir_weights`` (F, 2).
        has_face, has_left_hand, has_right_hand: (F,) bool.
        width, height: image size, pixels.
    """

    points: Tensor
    weights: Tensor
    body_dirs: Tensor
    body_dir_weights: Tensor
    hand_dirs: Tensor
    hand_dir_weights: Tensor
    has_face: Tensor
    has_left_hand: Tensor
    has_right_hand: Tensor
    width: int
    height: int

    def __len__(self) -> int:
        return len(self.points)

    def trunk(self) -> Targets:
        """What places the root: without arms and hands, which would drag the body along while they cannot bend.

        Of the pose a shoulder alone counts a quarter, because it may be raised; a group with less than one counts less.
        """
        weights, body_dirs = self.weights.clone(), self.body_dir_weights.clone()
        weights[:, POSE] /= len(POSE_TORSO)
        weights[:, LEFT_HAND] = weights[:, RIGHT_HAND] = 0
        weights[:, [POSE.start + p for arm in ARM_POINTS for p in arm]] = 0
        body_dirs[:, [BODY_BONES.index(bone) for bone in ARM_BONES]] = 0
        hands = torch.zeros_like(self.hand_dir_weights)
        return replace(self, weights=weights, body_dir_weights=body_dirs, hand_dir_weights=hands)

    def select(self, index: Array | slice) -> Targets:
        """The targets of some frames."""
        fields = {k: v[index] for k, v in self.__dict__.items() if isinstance(v, Tensor)}
        return Targets(**fields, width=self.width, height=self.height)


def drop_confused_hand(detections: Detections) -> Detections:
    """Hand-swap guard: when the two hand boxes coincide (IoU > 0.5), keep the hand nearer to its own pose wrist."""
    left, right = detections.left_hand, detections.right_hand
    if left is None or right is None or _box_iou(left, right) <= 0.5:
        return detections
    distance_left = np.linalg.norm(left[0, :2] - detections.pose[15, :2])
    distance_right = np.linalg.norm(right[0, :2] - detections.pose[16, :2])
    if distance_left <= distance_right:
        return replace(detections, right_hand=None, right_hand_score=0.0)
    return replace(detections, left_hand=None, left_hand_score=0.0)


def _box_iou(a: Array, b: Array) -> float:
    low = np.maximum(a[:, :2].min(0), b[:, :2].min(0))
    high = np.minimum(a[:, :2].max(0), b[:, :2].max(0))
    inter = np.prod(np.maximum(high - low, 0))
    union = np.prod(np.ptp(a[:, :2], axis=0)) + np.prod(np.ptp(b[:, :2], axis=0)) - inter
    return float(inter / max(union, 1e-6))


def behind_hand(points: Array, hand: Array | None) -> Array:
    """Which points (n, 2+) lie within the outline of a hand (21, 2+) and a little around it, (n,) bool.

    A face mesh goes on behind a hand, but what it says of lips and lids there is invented.
    """
    if hand is None:
        return np.zeros(len(points), bool)
    import cv2

    middle = hand[:, :2].mean(0)
    hull = cv2.convexHull((middle + FLESH * (hand[:, :2] - middle)).astype(np.float32))[:, 0]
    edges = np.roll(hull, -1, 0) - hull
    gap = points[:, None, :2] - hull
    side = edges[:, 0] * gap[..., 1] - edges[:, 1] * gap[..., 0]
    return (side >= 0).all(1) | (side <= 0).all(1)


def behind_hands(detections: Detections) -> Array:
    """Which landmarks of a detected face lie behind a hand, (N_FACE,) bool."""
    face = detections.face
    return behind_hand(face, detections.left_hand) | behind_hand(face, detections.right_hand)


def _unit(v: Array) -> Array:
    return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-9)


def trust(visibility: Array) -> Array:
    """Weight of a pose point by its visibility: an elbow or wrist that the detector half guesses says little."""
    return np.clip((visibility - 0.35) / 0.55, 0, 1) ** 2


def phantom_wrists(detections: Detections) -> tuple[bool, bool]:
    """Whether the left and the right wrist of the pose are none, but guesses at the one hand that was found, the other.

    The pose network likes to put both wrists on a single hand that is raised before the face; the hand network then
    finds one hand there. An arm whose elbow is seen is real, and below the shoulders two hands often meet, one of which
    hides the other.
    """
    pose, left, right = detections.pose, detections.left_hand, detections.right_hand
    lowest = pose[[11, 12], 1].min() - RAISED * abs(pose[11, 0] - pose[12, 0])

    def beside(hand: Array | None, elbow: int, wrist: int) -> bool:
        if hand is None or hand[:, 1].mean() > lowest or pose[elbow, 2] > ELBOW_SEEN:
            return False
        length = np.linalg.norm(hand[:, :2] - hand[0, :2], axis=1).max()
        return bool(np.linalg.norm(hand[:, :2] - pose[wrist, :2], axis=1).min() < PHANTOM * length)

    return left is None and beside(right, 13, 15), right is None and beside(left, 14, 16)


def _pose_weights(detections: Detections, width: int, height: int, found: tuple[bool, bool, bool]) -> Array:
    """Visibility, lowered outside the picture, where a finer detector has spoken, and where a wrist is no wrist."""
    xy, weights = detections.pose[:, :2], trust(detections.pose[:, 2])
    for phantom, arm in zip(phantom_wrists(detections), ARM_POINTS, strict=True):
        weights[list(arm)] *= 0.0 if phantom else 1.0
    outside = (xy < 0).any(1) | (xy[:, 0] > width) | (xy[:, 1] > height)
    weights[outside] *= 0.1
    face, left, right = found
    if face:
        weights[list(POSE_FACE)] = 0
    weights[[17, 19, 21]] *= 0.0 if left else 0.3
    weights[[18, 20, 22]] *= 0.0 if right else 0.3
    weights[15] *= 0.3 if left else 1.0
    weights[16] *= 0.3 if right else 1.0
    return weights


def build_targets(frames: Sequence[Detections | None], width: int, height: int) -> Targets:
    """Stack per-frame detections; a frame without a person has weight 0 everywhere."""
    n = len(frames)
    points = np.zeros((n, N_POINTS, 2), np.float32)
    weights = np.zeros((n, N_POINTS), np.float32)
    body_dirs = np.zeros((n, len(BODY_BONES), 3), np.float32)
    body_w = np.zeros((n, len(BODY_BONES)), np.float32)
    hand_dirs = np.zeros((n, 2, len(HAND_BONES), 3), np.float32)
    hand_w = np.zeros((n, 2), np.float32)
    found = np.zeros((n, 3), bool)
    flip = np.array([1, -1, -1], np.float32)
    for f, raw in enumerate(frames):
        if raw is None:
            continue
        det = drop_confused_hand(raw)
        found[f] = det.face is not None, det.left_hand is not None, det.right_hand is not None
        if det.face is not None:
            points[f, FACE], weights[f, FACE] = det.face[:, :2], 1.0
            weights[f, FACE][behind_hands(det)] = BEHIND_HAND
        for side, (hand, score, where) in enumerate(
            ((det.left_hand, det.left_hand_score, LEFT_HAND), (det.right_hand, det.right_hand_score, RIGHT_HAND))
        ):
            if hand is None:
                continue
            points[f, where], weights[f, where] = hand[:, :2], max(score, 0.3)
            bones = np.array([hand[b] - hand[a] for a, b in HAND_BONES])
            hand_dirs[f, side] = _unit(bones) * flip
            hand_w[f, side] = max(score, 0.3)
        points[f, POSE] = det.pose[:, :2]
        weights[f, POSE] = _pose_weights(det, width, height, tuple(found[f]))
        body_dirs[f] = _unit(np.array([det.pose_world[b] - det.pose_world[a] for a, b in BODY_BONES])) * flip
        sure = trust(det.pose[:, 2])
        for phantom, arm in zip(phantom_wrists(det), ARM_POINTS, strict=True):
            sure[list(arm)] *= 0.0 if phantom else 1.0
        body_w[f] = [min(sure[a], sure[b]) for a, b in BODY_BONES]
    tensor = torch.from_numpy
    return Targets(
        tensor(points), tensor(weights), tensor(body_dirs), tensor(body_w), tensor(hand_dirs), tensor(hand_w),
        tensor(found[:, 0]), tensor(found[:, 1]), tensor(found[:, 2]), width, height,
    )  # fmt: skip
