"""Colours of lids and of the inside of the mouth from labels: what opens and closes, and no photo shows whole.

A splat there counts as shown by as much of it as the rasteriser really draws, and takes the mean of the label's colours
under it: folded lids hide one another, and lips hide teeth. Labels are a pixel off here and there, so that the seam
along the lips teaches nothing, and what lies near it little.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from scipy.spatial import cKDTree

from pipeline.avatar import geometry as geo
from pipeline.avatar.attach import LID, Samples
from pipeline.avatar.below import BLUR
from pipeline.types import Array, Camera, PseudoLabel

if TYPE_CHECKING:
    from pipeline.body import BodyModel

GUESSED = 0.5
"""A splat is a guess from here on."""
COVERED = 0.9
"""Share of a pixel that must be lid, or one part of the mouth, for it to teach them."""
DEEP = 3.0
"""Pixels from the lips at which a pixel of the mouth counts fully; the first one teaches nothing."""
SHOWN_LID, SHOWN_MOUTH = 0.05, 0.01
"""Share of a splat, of what it would cover alone, from which on a label shows it; those of the mouth overlap more."""
CLEAR = 10.0
"""How many times as much must be shown to count fully."""
NEAR, NEIGHBOURS = 0.003, 16
"""Metres over which, and number of splats for which, what is shown of teeth and tongue speaks for the rest of them."""
DOUBT = 0.5
"""Weight of a part's common tint against what is shown around a place."""
TINT, DARKEST = (0.4, 2.5), 0.02
"""Bounds of the tint that labels give to guessed colours of the mouth, and the darkest colours that are compared."""
BRIGHTEST = 0.9
"""Quantile of what is shown of a part that nothing of it outshines."""
MARGIN = 8
"""Pixels around lids and mouth within which splats are drawn."""
PARTS = ("upper_teeth", "lower_teeth", "tongue")
"""Regions of the mouth; what is left of it is a further part."""


@dataclass(frozen=True)
class Glimpse:
    """What one label shows of the M splats of lids and mouth: ``weight`` (M,) of each, its colour ``rgb`` (M, 3)."""

    weight: Array
    rgb: Array


def inside_rows(samples: Samples) -> Array:
    """Indices (M,) of splats of lids and of the inside of the mouth."""
    return np.flatnonzero((samples.kind == LID) | (samples.group == geo.MOUTH))


def inside_kinds(body: BodyModel, samples: Samples) -> Array:
    """Which splats are lid, upper teeth, lower teeth, tongue, other inside of the mouth, (N, 5) float32 0 or 1."""
    corners, mouth = np.asarray(body.faces)[samples.face], samples.group == geo.MOUTH
    parts = [mouth & (geo.region(body, name)[corners].mean(1) > 0.5) for name in PARTS]
    return np.stack([samples.kind == LID, *parts, mouth & ~np.any(parts, axis=0)], 1).astype(np.float32)


def glimpse(body: BodyModel, points: Array, samples: Samples, label: PseudoLabel, solid: Array, gain: Array) -> Glimpse:
    """How much of each splat inside a label shows, and in which colours.

    The derivative of a picture by a splat's colour is how much of the splat each pixel shows.

    Args:
        points: (N, 3) world means at the label's pose. solid: (H, W) bool, pixels that show the person.
        gain: (3,) from the label's light to the photo's.
    """
    from pipeline.render import rasterize_gaussians

    rows = inside_rows(samples)
    uv, depth = label.camera.project(points)
    box = _box(uv[rows][depth[rows] > 0.01], label.camera)
    if box is None:
        return Glimpse(np.zeros(len(rows), np.float32), np.zeros((len(rows), 3), np.float32))
    c0, r0, c1, r1 = box
    camera = label.camera.cropped(c0, r0, c1 - c0, r1 - r0)
    near = np.flatnonzero(((uv > (c0 - MARGIN, r0 - MARGIN)) & (uv < (c1 + MARGIN, r1 + MARGIN))).all(1))
    kinds = inside_kinds(body, samples)
    spots, scale = torch.from_numpy(points[near]), torch.from_numpy(samples.scale[near])
    with torch.no_grad():
        cover = rasterize_gaussians(spots, scale, torch.from_numpy(kinds[near]), camera).image.numpy()
    teach = teaching(cover) * solid[r0:r1, c0:c1]
    values = torch.zeros((len(near), 4), requires_grad=True)
    picture = np.concatenate([label.image[r0:r1, c0:c1] * gain, np.ones_like(teach)[..., None]], 2)
    drawn = rasterize_gaussians(spots, scale, values, camera).image
    (drawn * torch.from_numpy((picture * teach[..., None]).astype(np.float32))).sum().backward()
    total = np.zeros((len(points), 4), np.float32)
    total[near] = values.grad.numpy()
    total, width = total[rows], samples.scale[rows] * camera.K[0, 0] / np.maximum(depth[rows], 1e-3)
    share = np.clip(total[:, 3] / (2 * np.pi * (width**2 + BLUR)), 0, 1)
    share = share / np.where(samples.kind[rows] == LID, SHOWN_LID, SHOWN_MOUTH)
    weight = np.where(share > 1, np.minimum(share / CLEAR, 1), 0)
    rgb = np.clip(total[:, :3] / np.maximum(total[:, 3:], 1e-6), 0, 1)
    return Glimpse(weight.astype(np.float32), rgb.astype(np.float32))


def teaching(cover: Array) -> Array:
    """How much each pixel (H, W) teaches, 0..1, by how much of it is of each of :func:`inside_kinds` (H, W, 5).

    The mouth does so away from the lips and from the seams between its parts, lids wherever they are.
    """
    lids, mouth = cover[..., 0], cover[..., 1:]
    off_lips = np.clip((_depth(mouth.sum(2)) - 1) / (DEEP - 1), 0, 1)
    off_seams = np.max([np.clip(_depth(part) - 1, 0, 1) for part in np.moveaxis(mouth, 2, 0)], axis=0)
    return np.maximum(off_lips * off_seams, lids > COVERED)


def _depth(cover: Array) -> Array:
    """How far each pixel lies within what is covered, in pixels; 1 at its rim."""
    return cv2.distanceTransform((cover > COVERED).astype(np.uint8), cv2.DIST_L2, 3)


def _box(uv: Array, camera: Camera) -> tuple[int, int, int, int] | None:
    """Columns and rows around points (n, 2) in the picture; None where there are none."""
    size = (camera.width, camera.height)
    if not len(uv):
        return None
    low = np.clip(np.floor(uv.min(0)) - MARGIN, 0, size).astype(int)
    high = np.clip(np.ceil(uv.max(0)) + MARGIN, 0, size).astype(int)
    return None if (high - low < 2).any() else (low[0], low[1], high[0], high[1])


def combined(glimpses: Sequence[Glimpse]) -> tuple[Array, Array]:
    """Sum of the weights (M,) of all labels, and the weighted median of their colours (M, 3)."""
    weight = np.stack([g.weight for g in glimpses])
    rgb, total = weighted_median(np.stack([g.rgb for g in glimpses]), weight[..., None])
    return total[:, 0], rgb


def weighted_median(values: Array, weight: Array) -> tuple[Array, Array]:
    """Medians (M, C) over the first axis of ``values`` (L, M, C) with ``weight`` (L, M, 1), and its sums (M, 1).

    Between the two middle values it is interpolated; 0 where nothing weighs anything.
    """
    order = np.argsort(np.where(weight > 0, values, np.inf), axis=0)
    value = np.take_along_axis(values, order, 0)
    w = np.take_along_axis(np.broadcast_to(weight, values.shape), order, 0)
    middle, half = np.cumsum(w, 0) - 0.5 * w, 0.5 * w.sum(0)
    before = np.maximum((middle <= half).sum(0) - 1, 0)[None]
    after = np.minimum(before + (np.take_along_axis(middle, before, 0) < half), len(w) - 1)
    (m0, v0), (m1, v1) = ([np.take_along_axis(x, k, 0)[0] for x in (middle, value)] for k in (before, after))
    share = np.clip((half - m0) / np.maximum(m1 - m0, 1e-9), 0, 1)
    total = weight.sum(0)
    return np.where(total > 0, v0 + share * (v1 - v0), 0).astype(np.float32), total


def teach_inside(body: BodyModel, samples: Samples, glimpses: Sequence[Glimpse]) -> tuple[Samples, Array]:
    """Colour lids, and what the photo does not show of the mouth, by what labels show.

    Lids take what is seen. Teeth, tongue and cavity keep the shades of the guess, and each part is tinted as a whole:
    labels show their front only, and deep in the mouth it is dark.

    Returns:
        Samples with new ``rgb`` and ``guessed``, and which splats (N,) bool labels show.
    """
    rows, shown = inside_rows(samples), np.zeros(len(samples), bool)
    if not glimpses or not len(rows):
        return samples, shown
    weight, seen = combined(glimpses)
    rgb, lids = samples.rgb.copy(), samples.kind[rows] == LID
    rgb[rows] = np.where((lids & (weight > 0))[:, None], seen, rgb[rows])
    guess = ~lids & (samples.guessed[rows] > GUESSED)
    corners = np.asarray(body.v_template)[np.asarray(body.faces)[samples.face[rows]]]
    place = (corners * samples.bary[rows][..., None]).sum(1)
    for part in inside_kinds(body, samples)[rows, 1:].T > 0:
        todo, known = part & guess, part & guess & (weight > 0)
        if known.any():
            tint = np.log(np.maximum(seen[known], DARKEST) / np.maximum(rgb[rows[known]], DARKEST))
            spread = spread_tint(place[todo], place[known], np.clip(tint, *np.log(TINT)), weight[known])
            brightest = np.quantile(seen[known], BRIGHTEST, axis=0)
            rgb[rows[todo]] = np.minimum(rgb[rows[todo]] * np.exp(spread), brightest)
    shown[rows] = (weight > 0) & (lids | guess)
    guessed = np.where(shown, 0, samples.guessed).astype(np.float32)
    return dataclasses.replace(samples, rgb=np.clip(rgb, 0, 1).astype(np.float32), guessed=guessed), shown


def spread_tint(points: Array, known: Array, tint: Array, weight: Array) -> Array:
    """Tints (N, 3) of points (N, 3) from those ``tint`` (K, 3) of known points (K, 3) nearby, leaning to their median.

    Args:
        weight: (K,) of the known points.
    """
    common, _ = weighted_median(tint[:, None], weight[:, None, None])
    distance, near = cKDTree(known).query(points, k=min(NEIGHBOURS, len(known)))
    distance, near = distance.reshape(len(points), -1), near.reshape(len(points), -1)
    share = weight[near] * np.exp(-0.5 * (distance / NEAR) ** 2)
    return ((share[..., None] * tint[near]).sum(1) + DOUBT * common) / (share.sum(1) + DOUBT)[:, None]
