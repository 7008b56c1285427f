"""Long hair: what of it hangs before an arm or on the chest moves with the head, and further down with the body.

The mesh has no hair, so that a lock on a shoulder is taken for the sleeve below it, and one on the chest is torn off
when the head turns. Hair has the colours of what covers the skull and goes on to there without a gap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from scipy import ndimage

from pipeline.avatar import geometry as geo
from pipeline.avatar.arms import color_bins, color_histogram, guided_filter, lab_image
from pipeline.pixels import distance_to

if TYPE_CHECKING:
    from pipeline.body import BodyModel
    from pipeline.types import Camera

Array = np.ndarray

ENOUGH, SMALLEST = 600, 150
"""Pixels, at 1024 rows, of hair on the head from which its colours are known; and of a lock."""
SUSPECT, LIKELIER = 0.4, 1.2
"""Logarithm of how much likelier a colour must be for hair than for a whole part, which may show hair, to be left out
of the part's colours; and than for what is left, to be hair."""
DISTINCT_TRUNK, DISTINCT_ARM = 0.62, 0.72
"""Least Hellinger distance (squared) between the colours of the hair and those of the rest of the part: a bit of a
jumper that follows the head is seldom seen, a bit of a sleeve that stays behind is."""
REST = 0.3
"""Least share of a part that is not hair: what covers more is cloth."""
HANGS = 0.16
"""Length in metres over which hair below the head goes over from the head's motion to the body's."""
LIFT, RISE = 0.025, 0.04
"""How far in metres hair that follows the head lies before the shoulders, lest it sinks into them when the head turns;
and over what length beside the head it gets there: what touches the head stays on it."""


def hair_pixels(body: BodyModel, label: Array, hits: geo.Hits, image: Array) -> Array:
    """Pixels (H, W) bool that show hair where the mesh has an arm, or the body below the head.

    Args:
        label: (H, W) int8 part groups, -1 outside the person. hits: what rays meet of the body without arms.
        image: (H, W, 3).
    """
    unit, out = len(label) / 1024, np.zeros(label.shape, bool)
    faces = np.asarray(body.faces)
    scalp, head = (geo.region(body, name)[faces].all(1) for name in ("scalp", "head"))
    trunk, met = label == geo.BODY, np.maximum(hits.face, 0)
    skull = trunk & (hits.face >= 0) & scalp[met]
    if skull.sum() < ENOUGH * unit**2:
        return out
    lab = lab_image(image, 1.0)
    hair = color_histogram(lab[skull])
    above = trunk & (hits.face >= 0) & head[met]
    for group in (geo.BODY, geo.LEFT_ARM, geo.RIGHT_ARM):
        part = (label == group) & ~above
        rest = part & ~(_likelier(lab, hair, part, unit) > SUSPECT)
        if rest.sum() < max(REST * part.sum(), SMALLEST * unit**2):
            continue
        alike = (_likelier(lab, hair, rest, unit) > LIKELIER) & (part | trunk)
        lock = part & _broad(_hanging(alike, skull, max(round(2 * unit), 1)), max(round(2 * unit), 1))
        rest = part & ~ndimage.binary_dilation(lock, iterations=max(round(3 * unit), 1))
        if lock.sum() < SMALLEST * unit**2 or rest.sum() < REST * part.sum():
            continue
        if 1 - np.sqrt(hair * color_histogram(lab[rest])).sum() > (
            DISTINCT_TRUNK if group == geo.BODY else DISTINCT_ARM
        ):
            out |= lock
    return out


def head_share(hair: Array, on_head: Array, depth: Array, camera: Camera) -> Array:
    """How much hair follows the head, (H, W) in 0..1: wholly beside it, no more from :data:`HANGS` metres below.

    Args:
        hair: (H, W) bool, from :func:`hair_pixels`. on_head: (H, W) bool, pixels whose surface is the head's.
        depth: (H, W) metres.
    """
    if not (hair & ~on_head).any() or not on_head.any():
        return np.zeros(hair.shape, np.float32)
    away = distance_to(on_head) * depth / camera.K[0, 0]
    return np.where(hair & ~on_head, np.clip(1 - away / HANGS, 0, 1), 0).astype(np.float32)


def lifted(share: Array) -> Array:
    """How far, in metres, hair that follows the head by ``share`` (from :func:`head_share`) is brought forward."""
    return LIFT * share * np.minimum((1 - share) * HANGS / RISE, 1)


def _likelier(lab: Array, hair: Array, part: Array, unit: float) -> Array:
    """Log-likelihood ratio (H, W) of hair against the pixels ``part``, smooth within areas of a colour."""
    bins = color_bins(lab)
    ratio = np.clip(np.log((hair[bins] + 2e-5) / (color_histogram(lab[part])[bins] + 2e-5)), -4, 4)
    return guided_filter(lab[..., 0].astype(np.float32) / 255, ratio, max(round(3 * unit), 1), 4e-4)


def _hanging(alike: Array, skull: Array, gap: int) -> Array:
    """The pieces (H, W) bool of hair-like pixels that reach the skull, over gaps of some pixels."""
    size = 2 * gap + 1
    closed = cv2.morphologyEx(alike.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((size, size), np.uint8)) > 0
    return alike & geo.pieces_at(closed, skull & alike)


def _broad(mask: Array, radius: int) -> Array:
    """A mask (H, W) bool without its thin lines (necklines, shadows)."""
    size = 2 * radius + 1
    opened = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((size, size), np.uint8))
    return mask & (cv2.dilate(opened, np.ones((size, size), np.uint8)) > 0)
