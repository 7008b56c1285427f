"""Which generated frames may teach: keypoints as asked for, well tracked, hands found, and still the same person."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.labels.identity import ColourReference
from pipeline.labels.mimicmotion.retrack import Retracked
from pipeline.types import Array, Camera

BODY_POINTS = slice(0, 17)
HANDS = {"left": slice(91, 112), "right": slice(112, 133)}


@dataclass(frozen=True)
class BodyQualityLimits:
    """A frame is dropped beyond these.

    Attributes:
        agreement: mean distance of seen body keypoints to those asked for, percent of the person's height.
        body, face, hand: reprojection error after re-tracking, percent of the person's height.
        identity: drift of the colours on torso and head, see :class:`ColourReference`.
    """

    agreement: float = 5.0
    body: float = 4.0
    face: float = 1.5
    hand: float = 3.0
    identity: float = 0.2


@dataclass(frozen=True)
class BodyQuality:
    """Measurements of one frame; smaller is better, NaN where there was nothing to measure.

    Attributes:
        agreement, body, face, hand, identity: see :class:`BodyQualityLimits`.
        lost_hands: hands that were asked to be seen and were not found.
        reasons: why it is dropped; empty = kept.
    """

    agreement: float
    body: float
    face: float
    hand: float
    identity: float
    lost_hands: int
    reasons: tuple[str, ...]

    def confidence(self, limits: BodyQualityLimits) -> float:
        """0..1: falls with every measurement and every lost hand; 0 when dropped."""
        if self.reasons:
            return 0.0
        shares = [getattr(self, k) / getattr(limits, k) for k in ("agreement", "body", "face", "hand", "identity")]
        return float(np.exp(-0.4 * np.nansum(np.square(shares))) * 0.7**self.lost_hands)


def judge(
    frame: Array, tracked: Retracked, asked: Array, asked_scores: Array, reference: ColourReference,
    camera: Camera, limits: BodyQualityLimits,
) -> BodyQuality:  # fmt: skip
    """Measure one generated frame.

    Args:
        frame: (H, W, 3) float 0..1. tracked: what was found in it.
        asked: (133, 2) keypoints in pixels and asked_scores (133,), what it should show.
        reference: colours of the photo. camera: of the frame. limits: of the filter.
    """
    agreement = keypoint_agreement(asked, asked_scores, tracked)
    errors = tracked.errors
    hands = [errors[f"{side}_hand"] for side in HANDS if not np.isnan(errors[f"{side}_hand"])]
    hand = max(hands, default=float("nan"))
    lost = sum(
        bool((asked_scores[where] > 0.9).mean() > 0.8) and getattr(tracked.detections, f"{side}_hand") is None
        for side, where in HANDS.items()
    )
    identity = reference.drift(frame, tracked.params, camera)
    checks = (
        (agreement, limits.agreement, "the pose is not the one asked for"),
        (errors["body"], limits.body, "the body could not be aligned"),
        (errors["face"], limits.face, "the face could not be aligned"),
        (hand, limits.hand, "a hand could not be aligned"),
        (identity, limits.identity, "it no longer looks like the photo"),
    )
    reasons = tuple(reason for value, limit, reason in checks if value > limit)
    if np.isnan(agreement):
        reasons = ("the body is hardly seen", *reasons)
    return BodyQuality(agreement, errors["body"], errors["face"], hand, identity, lost, reasons)


def keypoint_agreement(asked: Array, asked_scores: Array, tracked: Retracked) -> float:
    """Mean distance of body keypoints, percent of the person's height; NaN where fewer than four are seen in both."""
    seen = tracked.detections.keypoints[BODY_POINTS]
    both = (seen[:, 2] > 0.5) & (asked_scores[BODY_POINTS] > 0.5)
    if both.sum() < 4:
        return float("nan")
    gaps = np.linalg.norm(seen[both, :2] - asked[BODY_POINTS][both], axis=1)
    return float(gaps.mean() / max(tracked.height, 1.0) * 100)
