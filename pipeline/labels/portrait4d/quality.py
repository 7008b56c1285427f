"""Which generated heads may teach: head box, tracking, identity drift, expression agreement."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.labels.portrait4d.faces import pupil_distance
from pipeline.types import Array

SKIN = (
    *(10, 151, 9, 8, 67, 297, 109, 338, 69, 299, 104, 333),
    *(50, 280, 101, 330, 205, 425, 36, 266, 117, 346, 118, 347, 123, 352, 147, 376, 187, 411),
    *(168, 6, 197, 195, 5, 4, 1, 48, 278, 115, 344, 220, 440, 152, 175, 199, 200, 171, 396, 140, 369),
)
"""Forehead, cheeks, nose and chin: places that look alike whatever the expression."""
FEATURES = ("mouth open", "mouth width", "right eye open", "left eye open", "right brow", "left brow")
_TOLERANCE = np.array([0.16, 0.14, 0.12, 0.12, 0.14, 0.14])


@dataclass(frozen=True)
class QualityLimits:
    """A label is dropped beyond these.

    Attributes:
        pupils: least and most pixels between the pupils of a 512 frame (about 110 is normal; less when turned).
        margin: least distance of the face from the frame's edge, pixels.
        tracking: rigid landmark error, pupil distances.
        identity: drift of the skin's colours, see :func:`colour_drift`.
        expression: disagreement with the driving frame, see :func:`expression_gap`.
    """

    pupils: tuple[float, float] = (60.0, 160.0)
    margin: float = 12.0
    tracking: float = 0.12
    identity: float = 0.16
    expression: float = 1.6


@dataclass(frozen=True)
class Quality:
    """Measurements of one generated head; smaller is better everywhere.

    Attributes:
        tracking, identity, expression: see :class:`QualityLimits`. reasons: why it is dropped; empty = kept.
    """

    tracking: float
    identity: float
    expression: float
    reasons: tuple[str, ...]

    @property
    def accepted(self) -> bool:
        """Whether the label may teach."""
        return not self.reasons

    @property
    def confidence(self) -> float:
        """0..1: falls with every measurement; 0 when dropped."""
        if self.reasons:
            return 0.0
        limits = QualityLimits()
        shares = (self.tracking / limits.tracking, self.identity / limits.identity, self.expression / limits.expression)
        return float(np.exp(-0.5 * sum(s**2 for s in shares)))


def box_problem(face: Array, size: int, limits: QualityLimits) -> str | None:
    """What is wrong with the place of a face (478, >= 2) in its frame, or None."""
    distance = pupil_distance(face)
    if not limits.pupils[0] <= distance <= limits.pupils[1]:
        return f"the head has the wrong size ({distance:.0f} pixels between the pupils)"
    low, high = face[:468, :2].min(0), face[:468, :2].max(0)
    if low.min() < limits.margin or high.max() > size - limits.margin:
        return "the head leaves the frame"
    return None


def expression_features(face: Array) -> Array:
    """(6,) openings and distances of :data:`FEATURES`, free of size and roll."""
    gap = lambda a, b: float(np.linalg.norm(face[a, :2] - face[b, :2]))  # noqa: E731
    nose = max(gap(168, 2), 1e-6)
    right, left = max(gap(33, 133), 1e-6), max(gap(362, 263), 1e-6)
    return np.array(
        [
            gap(13, 14) / nose, gap(61, 291) / max(gap(33, 263), 1e-6),
            gap(159, 145) / right, gap(386, 374) / left,
            gap(105, 159) / nose, gap(334, 386) / nose,
        ]
    )  # fmt: skip


def expression_gap(generated: Array, driving: Array) -> float:
    """Root mean square difference of :func:`expression_features` in units of what identity and pose alone change."""
    difference = (expression_features(generated) - expression_features(driving)) / _TOLERANCE
    return float(np.sqrt((difference**2).mean()))


def skin_colours(image: Array, face: Array) -> Array:
    """(len(SKIN), 3) smoothed colours at the skin landmarks.

    Args:
        image: (H, W, 3) float in 0..1. face: (478, >= 2) in its pixels.
    """
    import cv2

    sigma = max(0.06 * pupil_distance(face), 0.8)
    smooth = cv2.GaussianBlur(np.asarray(image, np.float32), (0, 0), sigma)
    places = face[list(SKIN), :2].astype(np.float32)
    return cv2.remap(smooth, places[:, None], None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[:, 0]


def colour_drift(generated: Array, photo: Array) -> float:
    """How far the skin's colours (n, 3) moved: median over landmarks of the distance, at equal mean brightness.

    Matching the brightness forgives exposure and nothing else; hue, beard, make-up and shading stay in.
    """
    gain = photo.mean() / max(float(generated.mean()), 1e-3)
    return float(np.median(np.linalg.norm(generated * np.clip(gain, 0.5, 2.0) - photo, axis=1)))


def judge(
    face: Array, driving: Array, colours: Array, photo_colours: Array, tracking: float, size: int = 512,
    limits: QualityLimits | None = None,
) -> Quality:  # fmt: skip
    """Measure one generated head.

    Args:
        face: (478, >= 2) in the generated frame. driving: (478, >= 2) of the driving frame, any scale.
        colours, photo_colours: :func:`skin_colours` of the two. tracking: rigid landmark error.
    """
    limits = limits or QualityLimits()
    identity, expression = colour_drift(colours, photo_colours), expression_gap(face, driving)
    reasons = [] if (problem := box_problem(face, size, limits)) is None else [problem]
    if tracking > limits.tracking:
        reasons.append("the body model does not fit the face")
    if identity > limits.identity:
        reasons.append("the face no longer looks like the photo")
    if expression > limits.expression:
        reasons.append("the expression is not that of the driving frame")
    return Quality(tracking, identity, expression, tuple(reasons))
