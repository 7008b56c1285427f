"""Labels from real pictures of the person: a few seconds of footage, or a folder of frames without poses.

They are tracked with the photo's shape fixed (re-tracking, Eq. 6), judged, and a varied choice of the good ones becomes
labels of the region "body" that are marked as filmed. Same clothes and a similar light as in the photo are expected.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.body import BodyModel
from pipeline.labels.choice import farthest_points
from pipeline.labels.identity import ColourReference, face_difference
from pipeline.labels.sightings import Known, Sighting, seen_in_pictures, seen_in_video
from pipeline.perceive.matte import Matter
from pipeline.types import Array, BodyParams, Observation, PipelineError, PseudoLabel

if TYPE_CHECKING:
    from pipeline.avatar import Avatar

Progress = Callable[[str, float], None]
PICTURES = {".jpg", ".jpeg", ".png", ".webp"}
JOINTS = (15, 16, 17, 18, 19, 20, 21)
"""Head, shoulders, elbows and wrists: what makes one frame different from another."""


@dataclass(frozen=True)
class FootageLimits:
    """A frame is dropped beyond these.

    Attributes:
        body, face, hand: reprojection error after re-tracking, percent of the person's height.
        likeness: least correlation of the colours on torso and head with the photo's, see
            :meth:`.identity.ColourReference.likeness`.
        sharpness: least sharpness, in shares of the footage's median.
        face_shape: largest median :func:`.identity.face_difference` to the photo.
        agreement: share of the frames judged that must look like the photo.
    """

    body: float = 4.0
    face: float = 1.5
    hand: float = 4.0
    likeness: float = 0.85
    sharpness: float = 0.4
    face_shape: float = 0.05
    agreement: float = 0.34


@dataclass(frozen=True)
class FootageConfig:
    """How footage becomes labels.

    Attributes:
        count: labels at most. seconds: of the footage that are looked at. least: frames that footage must have.
        limits: what is dropped.
    """

    count: int = 24
    seconds: float = 10.0
    least: int = 12
    limits: FootageLimits = FootageLimits()


@dataclass(frozen=True)
class FootageLabels:
    """The outcome.

    Attributes:
        labels: kept labels. frames: looked at, spread over the footage. judged: of these, by their pictures.
        dropped: reason -> number of frames. face_difference: median to the photo; None where no face was seen.
    """

    labels: list[PseudoLabel]
    frames: int
    judged: int
    dropped: dict[str, int] = field(default_factory=dict)
    face_difference: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values for the avatar's file."""
        return {
            "labels": len(self.labels), "frames": self.frames, "judged": self.judged, "dropped": self.dropped,
            "face_difference": self.face_difference,
        }  # fmt: skip


def footage_labels(
    video: str | Path, observation: Observation, body: BodyModel, *, config: FootageConfig | None = None,
    progress: Progress | None = None, avatar: Avatar | None = None,
) -> FootageLabels:  # fmt: skip
    """Labels from footage of the person in the photo.

    Args:
        video: one person, camera at rest, the clothes of the photo.
        observation: the photo, understood. body: its body model. config: settings.
        progress: called with a stage name and the share done; may raise to stop.
        avatar: of the photo alone, with which frames are aligned; without it, only with the photo.

    Raises:
        PipelineError: unreadable or too short footage, nobody in it, another person or other clothes, no usable frame.
    """
    config = config or FootageConfig()
    known = None if avatar is None else Known(avatar, observation)
    seen = seen_in_video(Path(video), observation, body, config.seconds, config.least, progress, known)
    return judge(seen, observation, body, config, Path(video).name)


def picture_labels(
    folder: str | Path, observation: Observation, body: BodyModel, *, config: FootageConfig | None = None,
    progress: Progress | None = None, avatar: Avatar | None = None,
) -> FootageLabels:  # fmt: skip
    """Labels from a folder of pictures of the person, of any sizes; see :func:`footage_labels`.

    Raises:
        PipelineError: no pictures in the folder, or as for footage.
    """
    paths = pictures_in(Path(folder))
    if not paths:
        raise PipelineError(f"{folder} holds no pictures and no labels; name a folder with frames of the person.")
    known = None if avatar is None else Known(avatar, observation)
    seen = seen_in_pictures(paths, observation, body, progress, known)
    return judge(seen, observation, body, config or FootageConfig(), Path(folder).name)


def pictures_in(folder: Path) -> list[Path]:
    """Pictures of a folder, by name."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURES and p.is_file())


def judge(
    seen: Sequence[Sighting | None], observation: Observation, body: BodyModel, config: FootageConfig, name: str
) -> FootageLabels:
    """Judge tracked frames and keep a varied choice of the good ones.

    Args:
        seen: frames, None where nobody was found. observation: the photo. body: body model. config: settings.
        name: what the footage is called in messages.

    Raises:
        PipelineError: another person or other clothes, or no usable frame.
    """
    limits, dropped = config.limits, Counter[str]()
    found = [s for s in seen if s is not None]
    dropped["nobody was found"] = len(seen) - len(found)
    difference = _compare_faces(found, observation)
    if difference is not None and difference > limits.face_shape:
        raise PipelineError(
            f"{name} does not seem to show the person in the photo: the faces differ by {difference:.3f}, and those of "
            f"one person by less than {limits.face_shape:g}; use footage of the same person."
        )
    aligned = [s for s in found if not (reason := _misaligned(s, limits)) or dropped.update([reason])]
    if not aligned:
        raise PipelineError(f"{name} could not be aligned with the body in any frame; use sharper, closer footage.")
    order = farthest_points(np.stack([_pose_features(body, s.params) for s in aligned]), 2 * config.count)
    pictures = [aligned[i] for i in order]
    sharpness = np.array([s.sharpness() for s in pictures])
    reference = ColourReference(observation, body)
    labels, strange = [], 0
    with Matter() as matter:
        for sighting, sharp in zip(pictures, sharpness, strict=True):
            likeness = reference.likeness(sighting.image, sighting.params, sighting.camera)
            if not likeness >= limits.likeness:
                strange += 1
                dropped["it does not look like the photo"] += 1
            elif sharp < limits.sharpness * np.median(sharpness):
                dropped["it is blurred"] += 1
            elif len(labels) < config.count:
                labels.append(_label(sighting, sighting.alpha(matter), likeness, limits))
    if len(pictures) - strange < limits.agreement * len(pictures) or not labels:
        raise PipelineError(
            f"{name} does not look like the person in the photo in {strange} of {len(pictures)} frames; use footage of "
            "the same person in the same clothes and a similar light."
        )
    return FootageLabels(labels, len(seen), len(pictures), {k: n for k, n in dropped.items() if n}, difference)


def _compare_faces(found: Sequence[Sighting], observation: Observation) -> float | None:
    """Median difference of the faces that look about where the photo's looks; None without such faces."""
    own = observation.detections.face
    if own is None:
        return None
    faces = [s.face for s in found if s.face is not None]
    near = [face for face in faces if abs(_turn(face) - _turn(own)) < 0.35][:200]
    return round(float(np.median([face_difference(own, face) for face in near])), 4) if near else None


def _turn(face: Array) -> float:
    """-1..1: how far the nose stands to one side."""
    nose, left, right = (float(face[i, 0]) for i in (1, 454, 234))
    return (left + right - 2 * nose) / max(abs(left - right), 1e-6)


def _misaligned(sighting: Sighting, limits: FootageLimits) -> str:
    """Why the tracked body does not lie on the person; empty when it does."""
    errors = sighting.errors
    if errors.get("body", 0.0) > limits.body:
        return "the body could not be aligned"
    if errors.get("face", 0.0) > limits.face:
        return "the face could not be aligned"
    hands = max(errors.get("left_hand", 0.0), errors.get("right_hand", 0.0))
    return "a hand could not be aligned" if hands > limits.hand else ""


def _pose_features(body: BodyModel, params: BodyParams) -> Array:
    """Where head, arms and hands are, metres, and what the face does, in decimetres of an open mouth."""
    import torch

    from pipeline.labels.portrait4d.head_camera import batch_of_one

    with torch.no_grad():
        joints = body(**batch_of_one(params), vertex_ids=torch.zeros(1, dtype=torch.long)).joints[0].numpy()
    face = np.asarray(params.expression, np.float32) if body.expression_space == "arkit" else params.jaw_pose
    return np.concatenate([joints[list(JOINTS)].ravel(), 0.1 * np.asarray(face).ravel()])


def _label(sighting: Sighting, alpha: Array, likeness: float, limits: FootageLimits) -> PseudoLabel:
    errors = sighting.errors
    hand = max(errors.get("left_hand", 0.0), errors.get("right_hand", 0.0))
    shares = (
        (1 - likeness) / (1 - limits.likeness),
        errors.get("body", 0.0) / limits.body,
        errors.get("face", 0.0) / limits.face,
        hand / limits.hand,
    )
    confidence = float(np.exp(-0.25 * np.sum(np.square(shares))))
    weight = None if sighting.valid.all() else sighting.valid.astype(np.float32)
    return PseudoLabel(sighting.image, alpha, sighting.camera, sighting.params, "body", confidence, weight, filmed=True)
