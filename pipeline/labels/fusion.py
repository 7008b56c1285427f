"""How labels join: a soft seam at the neck, the photo's colours, and less say for body labels' faces."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from pipeline.body import BodyModel
from pipeline.labels.portrait4d.head_camera import HEAD_JOINT, posed
from pipeline.types import Array, BodyParams, Camera, PseudoLabel

NECK_JOINT = 12
SEAM = (0.15, 0.85)
"""Where the seam begins and ends on the way from the neck joint to the head joint."""
BODY_FACE_WEIGHT = 0.25
"""What a body label's face still counts where head labels exist."""


def seam_mask(body: BodyModel, params: BodyParams, camera: Camera) -> Array:
    """Where a head label may teach.

    A ramp across the neck, from 0 at its base to 1 at the skull; it is a half-plane and not the mesh's outline, so that
    hair beside and above the head is in.

    Returns:
        (H, W) float32 in 0..1.
    """
    joints = posed(body, params).joints[0].numpy()
    (base, top), _ = camera.project(joints[[NECK_JOINT, HEAD_JOINT]])
    along = top - base
    length = float(along @ along)
    if length < 1.0:
        return np.ones((camera.height, camera.width), np.float32)
    y, x = np.mgrid[: camera.height, : camera.width] + 0.5
    share = ((x - base[0]) * along[0] + (y - base[1]) * along[1]) / length
    ramp = np.clip((share - SEAM[0]) / (SEAM[1] - SEAM[0]), 0, 1)
    return (ramp * ramp * (3 - 2 * ramp)).astype(np.float32)


def body_label_weight(body: BodyModel, params: BodyParams, camera: Camera) -> Array:
    """(H, W) float32: how much a body label counts where there are head labels too: less on the head, all elsewhere."""
    return 1 - (1 - BODY_FACE_WEIGHT) * seam_mask(body, params, camera)


def fuse(body: BodyModel, labels: Sequence[PseudoLabel]) -> list[PseudoLabel]:
    """Where there are head labels, the faces of generated body labels give way to them.

    Filmed faces are the person's own and keep their say.
    """
    if not any(label.region == "head" for label in labels):
        return list(labels)
    return [_yielding(body, label) if label.region == "body" and not label.filmed else label for label in labels]


def _yielding(body: BodyModel, label: PseudoLabel) -> PseudoLabel:
    weight = body_label_weight(body, label.params, label.camera)
    return dataclasses.replace(label, weight=weight if label.weight is None else weight * label.weight)


def match_colours(
    image: Array, colours: Array, photo_colours: Array, bounds: tuple[float, float] = (0.8, 1.25)
) -> Array:
    """Give a label the photo's colours by one gain per channel (an offset would grey the darks).

    Args:
        image: (H, W, 3) float in 0..1. colours, photo_colours: (n, 3) at the same places of both faces.
        bounds: of the gains.

    Returns:
        (H, W, 3) float32 in 0..1.
    """
    gains = np.median(photo_colours / np.maximum(colours, 0.02), axis=0)
    return np.clip(image * np.clip(gains, *bounds), 0, 1).astype(np.float32)
