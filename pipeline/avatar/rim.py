"""The person's outline: opaque splats that together cover half-transparent pixels as far as the matte says.

A splat is opaque. In the middle of a pixel of alpha 0.6 it covers all of it, and the fit can then match the photo only
by giving it the colour of what shines through: a bright line along an arm that turns. So splats at the rim are moved
across it, until what they cover is what the matte asks for; colour has nothing left to explain there.

Where an arm lies before the body, the pixels of an enlarged photo beside it are mixtures of the two, which would stay
on the shirt as a skin-coloured line when the hand leaves. They take the shirt's colour.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import torch
from scipy import ndimage
from scipy.spatial import cKDTree

from pipeline.avatar import geometry as geo
from pipeline.avatar.attach import LOOSE, OPAQUE, TIGHT, Samples
from pipeline.pixels import depth_within, distance_to, nearest_of
from pipeline.types import Camera

Array = np.ndarray

INWARDS, OUTWARDS = 1.3, 0.6
"""Pixels by which a splat is moved at most."""
ROUNDS, STEP = 6, 1.2
"""Corrections, and pixels per unit of opacity that is too much."""
SLOPE = 0.02
"""Change of alpha per pixel below which there is no rim."""
SOFT = 1.6
"""Enlargement of a photo from which on the rims of arms are visibly mixed with the ground as well."""
SOLID, AROUND, SLACK = 0.98, 0.01, 0.06
"""Alpha from which on a pixel shows nothing but the person, how far around it its colours are at home, as a share of
the picture's height, and by how much in each channel they may differ."""
MIXED, WIDEST = 1.2, 4
"""Width of the mixed pixels beside the border of a part in pixels of the photo, and at most in those of the picture."""
TINTED = 3.5
"""The same of pixels whose tint is mixed: JPEG and video keep one for four pixels."""
SHADES, ANY = (0.8, 1.15), (0.0, 50.0)
"""Brightness of the rim of an arm, relative to what is further inside: shading, but in an enlarged photo no halo."""
CALMING, BORDER = 2.5, 6.0
"""Splats per pixel of an enlarged photo that share what they learnt at a border, and its width in pixels."""
LUMA = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue in brightness (ITU-R BT.601, as in JPEG)."""


def match_matte(samples: Samples, camera: Camera, alpha: Array) -> Samples:
    """Move the photo-aligned splats of half-transparent pixels along the slope of the matte.

    Args:
        samples: all Gaussians. camera: of the photo. alpha: (H, W) matte.
    """
    xy, depth = camera.project(samples.point)
    h, w = alpha.shape
    row, col = np.clip(xy[:, 1].astype(int), 0, h - 1), np.clip(xy[:, 0].astype(int), 0, w - 1)
    down, right = (g[row, col] for g in np.gradient(ndimage.gaussian_filter(alpha, 1.0)))
    slope = np.hypot(right, down)
    rim = np.flatnonzero(np.isin(samples.kind, (TIGHT, LOOSE)) & (alpha[row, col] < OPAQUE) & (slope > SLOPE))
    inwards = np.stack([right[rim], down[rim]], 1) / slope[rim, None]
    wanted, way, point = alpha[row[rim], col[rim]], np.zeros(len(rim)), samples.point.copy()
    for _ in range(ROUNDS):
        cover = covered(samples, point, camera)[row[rim], col[rim]]
        way = np.clip(way + STEP * (cover - wanted), -OUTWARDS, INWARDS)
        goal = xy[rim] + way[:, None] * inwards
        point[rim] = geo.unproject(camera, goal[:, 0], goal[:, 1], depth[rim])
    return replace(samples, point=point)


def part_colors(foreground: Array, alpha: Array, label: Array, hidden: Array, enlarged: float) -> Array:
    """Colours (H, W, 3) in which the body beside what an arm covers is not mixed with the arm.

    In a photo that is much enlarged, neither are arms with what is beside them: their halo would show as a bright line
    along an arm that turns. The rim of an arm, and of everything in an enlarged photo, has the tint of what is further
    inside, because pictures keep less of tint than of brightness. Where the matte is off, un-mixed arms have colours
    that nothing has (purple skin before leaves); so they stay among those of the arm's opaque pixels near by.

    Args:
        foreground: (H, W, 3). alpha: (H, W). label: (H, W) part groups, -1 outside the person. hidden: (H, W) bool,
            where the body is painted.
        enlarged: size of a pixel of the photo in pixels of the picture.
    """
    width = int(np.clip(round(MIXED * enlarged), 1, WIDEST))
    arms = [label == group for group in (geo.LEFT_ARM, geo.RIGHT_ARM)]
    out = _from_inside(foreground, label == geo.BODY, arms[0] | arms[1] | hidden, width)
    for arm in arms:
        out = _at_home(out, arm, alpha)
        out = _from_inside(out, arm, ~arm, width) if enlarged > SOFT else out
        out = _inner_tint(out, arm, TINTED * enlarged, SHADES if enlarged > SOFT else ANY)
    return _inner_tint(out, label == geo.BODY, TINTED * enlarged, ANY) if enlarged > SOFT else out


def _inner_tint(colours: Array, mine: Array, width: float, shades: tuple[float, float]) -> Array:
    """``mine`` (H, W) bool with the tint that it has further inside, and about its own brightness.

    What is ``width`` pixels from the border keeps its own. Nearer to it, the neighbours count the more, the further
    inside they are; so a thin finger has the tint of its middle.

    Args:
        shades: least and most brightness relative to the inner one.
    """
    if not mine.any():
        return colours
    inside = np.minimum(depth_within(mine) / width, 1)[..., None]
    weight = np.where(mine[..., None], inside**4, 0) + 1e-9 * mine[..., None]
    total, amount = (cv2.GaussianBlur(x, (0, 0), width) for x in (colours * weight, weight[..., 0]))
    inner = total / np.maximum(amount, 1e-12)[..., None]
    light, inner_light = (np.maximum(c @ LUMA, 0.02)[..., None] for c in (colours, inner))
    tinted = np.clip(inner * np.clip(light / inner_light, *shades), 0, 1)
    return np.where(mine[..., None], tinted + (colours - tinted) * inside, colours).astype(colours.dtype)


def _at_home(colours: Array, mine: Array, alpha: Array) -> Array:
    """Half-transparent pixels of ``mine`` (H, W) bool within the range of colours of the opaque ones around them."""
    known, window = (mine & (alpha > SOLID))[..., None], np.ones((2 * round(AROUND * len(alpha)) + 1,) * 2)
    lowest = cv2.erode(np.where(known, colours, 1), window)
    highest = cv2.dilate(np.where(known, colours, 0), window)
    mixed = mine[..., None] & ~known & (lowest <= highest)
    return np.where(mixed, np.clip(colours, lowest - SLACK, highest + SLACK), colours)


def _from_inside(colours: Array, mine: Array, other: Array, width: int) -> Array:
    """``mine`` (H, W) bool within ``width`` pixels of ``other`` takes the nearest colour from further inside; where
    there is none near by, because the part is thin, it keeps its own."""
    if not mine.any() or not other.any():
        return colours
    pure = mine & (distance_to(other) > width)
    if not pure.any():
        return colours
    gap, rows, cols = nearest_of(pure)
    mixed = mine & ~pure & (gap <= 2 * width)
    return np.where(mixed[..., None], colours[rows, cols], colours)


def calmed(rgb: Array, samples: Samples, camera: Camera, label: Array, enlarged: float) -> Array:
    """Colours (N, 3) after a fit; what the border of a part has learnt in an enlarged photo is the neighbours' mean.

    Single splats there make up for what their neighbours cover too much or too little of, by turns too bright and too
    dark, and would be seen as a dotted line once an arm turns. A sharp photo has detail there, which stays.

    Args:
        rgb: (N, 3) learnt. samples: as they were before. camera: of the photo. label: (H, W) part groups.
        enlarged: size of a pixel of the photo in pixels of the picture.
    """
    if enlarged <= SOFT:
        return rgb
    xy, _ = camera.project(samples.point)
    row, col = (np.clip(xy[:, k].astype(int), 0, label.shape[1 - k] - 1) for k in (1, 0))
    front, out = np.isin(samples.kind, (TIGHT, LOOSE)), rgb.copy()
    count = round(CALMING * min(enlarged, WIDEST) ** 2)
    for group in (geo.BODY, geo.LEFT_ARM, geo.RIGHT_ARM):
        mine = np.flatnonzero(front & (samples.group == group))
        inside = depth_within(label == group)
        rim = mine[inside[row[mine], col[mine]] < BORDER]
        if len(rim) and len(mine) >= count:
            _, near = cKDTree(xy[mine]).query(xy[rim], k=[*range(1, count + 1)])
            out[rim] = samples.rgb[rim] + (rgb - samples.rgb)[mine][near].mean(1)
    return out.clip(0, 1).astype(np.float32)


def covered(samples: Samples, point: Array, camera: Camera) -> Array:
    """Opacity (H, W) of the samples with their middles at ``point`` (N, 3)."""
    from pipeline.render import rasterize_gaussians

    splats = (torch.from_numpy(np.ascontiguousarray(x, np.float32)) for x in (point, samples.scale, samples.rgb))
    with torch.no_grad():
        return rasterize_gaussians(*splats, camera).alpha.numpy()
