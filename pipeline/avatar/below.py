"""Keeping the layer over the surface below what the photo shows.

The mesh is never right to the pixel. Where it sticks out of the person's outline, or of a part's, its splats would
cover the photo's or take colours from beside it; so they are moved and shrunk until the photo's own view is left to
the photo.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from pipeline.avatar import attach
from pipeline.avatar import geometry as geo
from pipeline.avatar.arms import nearest_fill
from pipeline.avatar.parts import Parts
from pipeline.pixels import distance_to, nearest_of, pieces_of
from pipeline.types import Camera

if TYPE_CHECKING:
    from pipeline.avatar.initial import Scene
    from pipeline.body import BodyModel

Array = np.ndarray

OUTSIDE, OUTSIDE_HEAD = 14.0, 0.06
"""Pixels, at 1024 rows, and metres outside the person's outline from which on a part of a limb, or of the head, is
taken to be hidden somewhere, and not to be too wide."""
BEHIND = 0.01
"""How far (metres) behind an arm the trunk lies that its mesh puts before it."""
BLUR = 0.3
"""Variance in square pixels that the rasteriser adds to every splat."""


def below_photo(
    body: BodyModel, scene: Scene, parts: Parts, corners: Array, group: Array, point: Array, scale: Array
) -> tuple[Array, Array, Array]:
    """Move and shrink surface splats so that the photo's own view is left to what the photo shows.

    Args:
        corners: (N, 3) int64 vertices around each point. group: (N,). point: (N, 3) world. scale: (N,) metres.

    Returns:
        (N, 3) points, (N,) scales, and (N,) bool: parts of the trunk that an arm covers, whose colour the photo does
        not tell.
    """
    camera, reach = scene.camera, OUTSIDE * len(scene.alpha) / 1024
    point = clamp_to_photo(camera, parts.label, point, group, shown_depth(parts), reach)
    person = (scene.alpha > attach.OPAQUE) | ~scene.valid | parts.hidden
    arms = np.isin(parts.label, (geo.LEFT_ARM, geo.RIGHT_ARM)) | (parts.label < 0)  # and between fingers
    beside = beside_trunk(parts, person, reach)
    trunk, far = group == geo.BODY, outline_reach(body, scene, corners, point)
    far[trunk & at_pixels(camera, beside, point)] = np.inf  # nothing of it hides there
    nearer = trunk & before_arms(camera, point, parts)
    for mine, mask in ((~trunk, person), (trunk & ~nearer, person & ~beside), (nearer, person & ~arms)):
        point[mine], scale[mine] = keep_inside(camera, mask, point[mine], scale[mine], far[mine])
    return point, scale, trunk & at_pixels(camera, arms & (scene.alpha > attach.OPAQUE), point)


def outline_reach(body: BodyModel, scene: Scene, corners: Array, point: Array) -> Array:
    """How far outside the person's outline surface points (N, 3) are still drawn in, (N,) pixels: what is further off
    belongs to a limb that hides; but no part of a head does (ears that stick out less than the body model's)."""
    _, z = scene.camera.project(point)
    head = geo.region(body, "head")[corners].all(1)
    metres = np.where(head, OUTSIDE_HEAD, 0.0) * scene.camera.K[0, 0] / np.maximum(z, 0.1)
    return np.maximum(metres, OUTSIDE * len(scene.alpha) / 1024)


def beside_trunk(parts: Parts, person: Array, reach: float) -> Array:
    """Pixels (H, W) bool of arms (and between fingers) with no trunk behind them.

    They are off its mesh, or where the mesh sticks out by less than ``reach`` pixels, or sticks out of an outline that
    is known above and below. Where it sticks out more, nothing is known. The matte shows ``person`` (H, W) bool.
    """
    arms = person & ((parts.label < 0) | np.isin(parts.label, (geo.LEFT_ARM, geo.RIGHT_ARM))) & ~parts.hidden
    over = arms & (parts.layers[geo.BODY].face >= 0)
    body = parts.label == geo.BODY
    away = over & (distance_to(body | parts.hidden) > reach)
    pieces, _ = pieces_of(over, corners=False)
    unknown = np.zeros_like(over)
    for number in np.unique(pieces[away]):
        mine = pieces == number
        rows, columns = np.flatnonzero(mine.any(1)), np.flatnonzero(mine.any(0))
        side = body[:, max(columns[0] - round(reach), 0) : columns[-1] + round(reach)].any(1)
        if not (side[: rows[0]].any() and side[rows[-1] + 1 :].any()):
            unknown |= mine
    return arms & ~unknown


def before_arms(camera: Camera, point: Array, parts: Parts) -> Array:
    """Points (N, 3) that are nearer to the camera than the nearest pixel of an arm, (N,) bool."""
    depth = shown_depth(parts)
    arm = np.isin(parts.label, (geo.LEFT_ARM, geo.RIGHT_ARM)) & np.isfinite(depth)
    if not arm.any():
        return np.zeros(len(point), bool)
    return camera.project(point)[1] < at_pixels(camera, nearest_fill(depth, arm), point)


def at_pixels(camera: Camera, values: Array, point: Array) -> Array:
    """The values of an image (H, W) at points (N, 3), (N,); beside the picture those at its border."""
    xy = camera.project(point)[0]
    col, row = (np.clip(xy[:, i], 0, values.shape[1 - i] - 1).astype(int) for i in (0, 1))
    return values[row, col]


def shown_depth(parts: Parts) -> Array:
    """Depth of what the photo shows, (H, W); infinite where no mesh lies."""
    depth = np.full(parts.label.shape, np.inf, np.float32)
    for group, hits in parts.layers.items():
        mine = (parts.label == group) & (hits.face >= 0)
        depth[mine] = hits.depth[mine]
    return depth


def clamp_to_photo(camera: Camera, label: Array, point: Array, group: Array, depth: Array, reach: float) -> Array:
    """Move points that would show where the photo shows another part back to the nearest pixel of their own part.

    Those of the trunk before an arm go behind it (a hip that is too wide, before a thumb): they would take its colours,
    and stay when it leaves.

    Args:
        label: (H, W) int8 part groups, -1 outside the person. point: (N, 3) world. group: (N,) int8.
        depth: (H, W) depth of what the photo shows. reach: pixels; a point further off is left alone.

    Returns:
        (N, 3) points.
    """
    xy, z = camera.project(point)
    h, w = label.shape
    inside = (xy >= 0).all(1) & (xy[:, 0] < w) & (xy[:, 1] < h) & (z > 0)
    col, row = np.where(inside, xy[:, 0], 0).astype(int), np.where(inside, xy[:, 1], 0).astype(int)
    out = point.copy()
    shows = inside & ((label[row, col] < 0) | (z < depth[row, col] + 0.002))
    arm = np.isin(label[row, col], (geo.LEFT_ARM, geo.RIGHT_ARM)) & np.isfinite(depth[row, col])
    before = np.flatnonzero(shows & (group == geo.BODY) & arm)
    out[before] = geo.unproject(camera, *xy[before].T, depth[row[before], col[before]] + BEHIND)
    shows[before] = False
    for g in (geo.BODY, geo.LEFT_ARM, geo.RIGHT_ARM):
        if not (label == g).any():
            continue
        gap, rows, cols = nearest_of(label == g)
        stray = np.flatnonzero(shows & (group == g) & (gap[row, col] > 0.5) & (gap[row, col] < reach))
        x, y = (near[row[stray], col[stray]] + 0.5 for near in (cols, rows))
        out[stray] = geo.unproject(camera, x, y, z[stray])
    return out


def keep_inside(
    camera: Camera, mask: Array, point: Array, scale: Array, reach: Array, margin: float = 2.0
) -> tuple[Array, Array]:
    """Draw splats that would bulge over the person's outline inwards, and shrink those that still would.

    Args:
        mask: (H, W) bool, the person. point: (N, 3) world. scale: (N,) metres. reach: (N,) pixels; points further
            outside are left alone (hidden limbs). margin: wanted distance from the outline in standard deviations
            (several splats crowd there, and their opacities add up).

    Returns:
        (N, 3) points and (N,) scales.
    """
    h, w = mask.shape
    padded = np.pad(mask, 2, mode="edge")
    signed = (distance_to(~padded) - distance_to(padded))[2:-2, 2:-2]
    smooth = ndimage.gaussian_filter(signed, 1.0)
    down, right = np.gradient(smooth)
    point, scale = point.copy(), scale.copy()
    for _ in range(3):
        xy, z = camera.project(point)
        inside = (xy >= 0).all(1) & (xy[:, 0] < w) & (xy[:, 1] < h) & (z > 0)
        col, row = np.where(inside, xy[:, 0], 0).astype(int), np.where(inside, xy[:, 1], 0).astype(int)
        pixels = np.sqrt((scale * camera.K[0, 0] / np.maximum(z, 1e-6)) ** 2 + BLUR)
        missing = margin * pixels + 0.5 - smooth[row, col]
        move = np.flatnonzero(inside & (missing > 0) & (smooth[row, col] > -reach))
        slope = np.stack([right[row[move], col[move]], down[row[move], col[move]]], 1)
        slope /= np.maximum(np.linalg.norm(slope, axis=1, keepdims=True), 0.3)
        goal = xy[move] + slope * np.minimum(missing[move], reach[move])[:, None]
        point[move] = geo.unproject(camera, goal[:, 0], goal[:, 1], z[move])
    room = np.maximum(signed[row[move], col[move]] - 0.5, 0.5) / margin
    scale[move] *= np.minimum(1.0, room / pixels[move])
    return point, scale
