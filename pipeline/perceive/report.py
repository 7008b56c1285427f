"""The fit report: how well the registration went, in words and numbers, and what to do when it did not."""

from __future__ import annotations

import numpy as np

from pipeline.perceive import targets as T
from pipeline.perceive.register import Registration
from pipeline.perceive.targets import Targets
from pipeline.types import Array, Detections, FitReport, PipelineError

MIN_PERSON_PIXELS = 200
"""Shortest person (visible part, pixels of the photo) that carries enough detail."""
MIN_FACE_PIXELS = 24
"""Smallest face, forehead to chin, pixels of the photo."""
MAX_FACE_ERROR, MAX_BODY_ERROR, MAX_HAND_ERROR = 1.2, 5.0, 3.0
"""Largest mean reprojection error per part, percent of the person's height."""
MIN_OVERLAP = 0.55
"""Smallest intersection over union of matte and naked body; hair and clothes keep it well under 1."""
MAX_FACE_COVERED = 0.12
"""Largest share of the face behind a hand: the fingers would stay on the cheek when the hand moves."""
HAND_AT_FACE = 0.6
"""Heights of the face from its middle to a hand: nearer, cheek, hair or hat come apart when the hand leaves."""
TORSO_COVERED = 0.22
"""Share of the torso behind arms from which on the report says that it will be guessed."""

SURE = 0.8
"""Visibility from which on a knee or a hip is well seen."""

_PARTS = {
    "left hand": T.LEFT_HAND,
    "right hand": T.RIGHT_HAND,
}
_LIMBS = {"hips": (23, 24), "knees": (25, 26), "feet": (27, 28), "left elbow": (13,), "right elbow": (14,)}


def check_detections(detections: Detections | None, width: int, height: int, people: int) -> Detections:
    """Refuse pictures that cannot become an avatar.

    Raises:
        PipelineError: no person, several people, too small, from behind, only a face, a hand over the face, crouching.
    """
    if detections is None:
        raise PipelineError("No person was found in this picture; use a photo of one real person seen from the front.")
    if people > 1:
        raise PipelineError(f"{people} people were found in this picture; crop it so that only one person is in it.")
    pose = detections.pose
    seen = (pose[:, 2] > 0.5) & (pose[:, 0] > 0) & (pose[:, 0] < width) & (pose[:, 1] > 0) & (pose[:, 1] < height)
    if detections.face is None or people == 0:  # the face mesh alone is sometimes laid on the back of a head
        raise PipelineError("No face was found: use a photo in which the person looks towards the camera.")
    face_height = float(np.ptp(detections.face[:, 1]))
    if not (seen[11] or seen[12]):
        raise PipelineError("Only a face is visible; use a photo that shows at least the shoulders and the chest.")
    points = np.concatenate([pose[seen, :2], detections.face[:, :2]])
    extent = min(float(points[:, 1].max()), height) - max(float(points[:, 1].min()) - 0.3 * face_height, 0)
    if max(extent, height - points[:, 1].min() if not seen[27:29].any() else extent) < MIN_PERSON_PIXELS:
        raise PipelineError(
            f"The person is only about {extent:.0f} pixels tall; use a photo in which they fill at least "
            f"{MIN_PERSON_PIXELS} pixels."
        )
    if face_height < MIN_FACE_PIXELS:
        raise PipelineError(
            f"The face is only about {face_height:.0f} pixels high; use a larger or closer photo in which it fills at "
            f"least {MIN_FACE_PIXELS} pixels."
        )
    if crouches(pose):
        raise PipelineError("The person crouches; use a photo of a person who stands or sits upright.")
    if T.behind_hands(detections).mean() > MAX_FACE_COVERED:
        raise PipelineError("A hand covers part of the face; use a photo with both hands away from the face.")
    if hand_to_face(detections) < HAND_AT_FACE:
        raise PipelineError("A hand is at the face; use a photo with both hands away from the head.")
    return detections


def hand_to_face(detections: Detections) -> float:
    """Distance from the middle of the face to the nearest point of a hand, heights of the face; inf without them."""
    if detections.face is None:
        return np.inf
    middle, height = detections.face[:, :2].mean(0), max(float(np.ptp(detections.face[:, 1])), 1.0)
    hands = [hand for hand in (detections.left_hand, detections.right_hand) if hand is not None]
    return min((float(np.linalg.norm(h[:, :2] - middle, axis=1).min()) / height for h in hands), default=np.inf)


def crouches(pose: Array) -> bool:
    """Whether a well seen knee of MediaPipe's pose (33, 3) is above the hip: most of the front is hidden then."""
    return any(
        min(pose[knee, 2], pose[hip, 2]) > SURE and pose[knee, 1] < pose[hip, 1] for hip, knee in ((23, 25), (24, 26))
    )


def part_errors(registration: Registration, targets: Targets, person_pixels: Array) -> dict[str, Array]:
    """Mean reprojection error per frame and part, percent of the person's height; NaN where the part is unseen.

    Args:
        registration: F registered frames.
        targets: their detections.
        person_pixels: (F,) height of the whole person in pixels, visible or not.
    """
    gap = np.linalg.norm(registration.points - targets.points.numpy(), axis=-1) / person_pixels[:, None] * 100
    weights = targets.weights.numpy()
    parts = {"face": T.FACE, "left_hand": T.LEFT_HAND, "right_hand": T.RIGHT_HAND, "body": T.POSE}
    errors = {}
    for name, where in parts.items():
        w = weights[:, where] * (weights[:, where] > 0.25)
        total = w.sum(1)
        with np.errstate(invalid="ignore"):
            errors[name] = np.where(total > 0, (gap[:, where] * w).sum(1) / np.where(total > 0, total, 1), np.nan)
    return errors


def not_visible(targets: Targets) -> tuple[str, ...]:
    """Names of the parts that one frame does not show."""
    weights, points = targets.weights[0], targets.points[0]
    missing = [name for name, where in _PARTS.items() if not bool((weights[where] > 0).any())]
    for name, indices in _LIMBS.items():
        inside = [bool(weights[T.POSE][i] > 0.25) and 0 < float(points[T.POSE][i, 1]) < targets.height for i in indices]
        if not any(inside):
            missing.append(name)
    return (*missing, "back of the head and body")


def make_report(
    errors: dict[str, Array], overlap: float, missing: tuple[str, ...], face_pixels: float, torso_covered: float = 0.0
) -> FitReport:
    """Turn the numbers of one photo into a verdict, a sentence and hints.

    Args:
        errors: from :func:`part_errors`. overlap: of matte and mesh, 0..1. missing: from :func:`not_visible`.
        face_pixels: height of the face. torso_covered: share of the torso behind arms, 0..1.
    """
    metrics = {f"error_{k}_percent": round(float(v[0]), 3) for k, v in errors.items() if not np.isnan(v[0])}
    metrics |= {"matte_overlap_iou": round(overlap, 3), "face_height_pixels": round(face_pixels, 1)}
    metrics["torso_covered"] = round(torso_covered, 3)
    problems, hints = [], []
    if metrics.get("error_face_percent", 99.0) > MAX_FACE_ERROR:
        problems.append("the face could not be aligned")
        hints.append("Use a sharp, evenly lit photo with the face towards the camera and nothing in front of it.")
    if metrics.get("error_body_percent", 0.0) > MAX_BODY_ERROR:
        problems.append("the body pose could not be aligned")
        hints.append("Use a photo with a simple pose: standing or sitting upright, limbs not hidden behind things.")
    if overlap < MIN_OVERLAP:
        problems.append("the outline of the person does not match the body")
        hints.append("Use a photo with a plain background, without large bags, umbrellas or other people.")
    for side in ("left", "right"):
        if metrics.get(f"error_{side}_hand_percent", 0.0) > MAX_HAND_ERROR:
            hints.append(f"The {side} hand is aligned poorly; a photo with the hand open and in view is better.")
        if f"{side} hand" in missing:
            hints.append(f"The {side} hand is not visible and will be guessed.")
    if torso_covered > TORSO_COVERED:
        hints.append("The arms cover part of the body, which will be guessed; arms at the sides are better.")
    if face_pixels < 80:
        hints.append("The face is small; a closer or larger photo gives a sharper one.")
    accepted = not problems
    summary = "The body was aligned to the photo." if accepted else f"This photo will not do: {', '.join(problems)}."
    return FitReport(accepted, summary, tuple(hints), metrics, missing)
