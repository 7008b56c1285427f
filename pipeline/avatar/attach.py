"""Gaussians where the photo looks: one per pixel (merged where it is flat), embedded in the surface it shows."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from pipeline.avatar import geometry as geo
from pipeline.avatar.arms import HAND, arm_segments, nearest_fill
from pipeline.avatar.hair import head_share, lifted
from pipeline.avatar.parts import Parts
from pipeline.config import FitConfig
from pipeline.pixels import nearest_of
from pipeline.types import Camera

if TYPE_CHECKING:
    from pipeline.body import BodyModel

Array = np.ndarray

TIGHT, LOOSE, HIDDEN, SURFACE, LID = range(5)
"""Kinds of Gaussians: on the mesh, beside it (hair, loose cloth), behind a front part, of the surface layer, and of the
surface layer where lids unfold: no photo-aligned Gaussians lie above these."""

OPAQUE = 0.95
"""Opacity of the matte from which on a pixel counts as wholly covered."""
FAINT = 0.7
"""Opacity of the matte below which splats beside the mesh of an arm are left out: as specks they would come off."""
HOLD = 14
"""Pixels, at 1024 rows, around cloth beside an arm in which nothing is left out."""
HEAD = 15
"""The joint of the head."""
STEEP = 0.25
"""Cosine to the line of sight below which the side of an arm counts as steep."""


@dataclass(frozen=True)
class Samples:
    """Gaussians before the fit (N of them).

    Attributes:
        face: (N,) int64. bary: (N, 3). point: (N, 3) world, at the photo's pose. rgb: (N, 3). scale: (N,) metres.
        group: (N,) int8 part group. kind: (N,) int8. guessed: (N,) 0..1.
        skin_index, skin_weight: (N, 6). neighbours: (N, 4) int64 indices within these samples, -1 for none.
    """

    face: Array
    bary: Array
    point: Array
    rgb: Array
    scale: Array
    group: Array
    kind: Array
    guessed: Array
    skin_index: Array
    skin_weight: Array
    neighbours: Array

    def __len__(self) -> int:
        return len(self.face)

    @staticmethod
    def concatenate(parts: list[Samples]) -> Samples:
        """Join samples; neighbour indices are shifted."""
        out = {f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Samples)}
        shift = np.repeat(np.cumsum([0, *[len(p) for p in parts[:-1]]]), [len(p) for p in parts])
        out["neighbours"] = np.where(out["neighbours"] >= 0, out["neighbours"] + shift[:, None], -1)
        return Samples(**out)

    def take(self, keep: Array) -> Samples:
        """Those that a mask (N,) bool keeps; neighbours that go become -1."""
        place = np.where(keep, np.cumsum(keep) - 1, -1)
        out = {f.name: getattr(self, f.name)[keep] for f in fields(Samples)}
        out["neighbours"] = np.where(out["neighbours"] >= 0, place[out["neighbours"]], -1)
        return Samples(**out)


@dataclass(frozen=True)
class PixelMap:
    """Per-pixel attachment of one layer: (H, W) face, (H, W, 3) bary, (H, W) depth, (H, W) bool valid."""

    face: Array
    bary: Array
    depth: Array
    valid: Array


def photo_samples(
    body: BodyModel, vertices: Array, camera: Camera, rgb: Array, alpha: Array, parts: Parts, unfolding: Array,
    config: FitConfig,
) -> Samples:  # fmt: skip
    """One Gaussian per pixel of the person.

    Args:
        vertices: (V, 3) posed mesh after the mesh stage. rgb: (H, W, 3) un-mixed foreground colours.
        alpha: (H, W) matte.
        unfolding: (F,) bool, triangles that get no photo-aligned Gaussians because they would be torn apart.
    """
    thin = (parts.label != geo.BODY) | parts.long_hair | about_head(body, parts)
    inner = inner_pixels(parts.label >= 0, alpha, thin)
    attached = attach_pixels(parts, inner, parts.label)
    attached = limit_slope(chin_to_head(body, attached, parts.label, rgb), parts.label, camera)
    attached = replace(attached, valid=attached.valid & ~unfolding[np.maximum(attached.face, 0)])
    attached = replace(attached, valid=attached.valid & ~frayed_arms(body, vertices, camera, attached, parts, alpha))
    sizes = merge_flat(rgb, parts, attached, config.max_pixels, alpha > OPAQUE)
    kind = np.where(parts.loose, LOOSE, TIGHT).astype(np.int8)
    on = on_head(body, np.where((parts.label == geo.BODY) & ~parts.loose, attached.face, -1))
    by_head = head_share(parts.long_hair, on, attached.depth, camera)
    return _emit(body, vertices, camera, rgb, attached, parts.label, kind, sizes, config, 0.0, by_head)


def frayed_arms(
    body: BodyModel, vertices: Array, camera: Camera, attached: PixelMap, parts: Parts, alpha: Array
) -> Array:
    """Pixels (H, W) bool of arms, not hands, whose splats come apart when the arm moves.

    The surface layer shows them instead: steep sides, drawn out to streaks by a turn, and the half-transparent edge of
    what lies beside the mesh. Steep pixels that join cloth beside the mesh to the rest stay, so that it does not hang
    in the air.
    """
    normal = geo.vertex_normals(vertices, np.asarray(body.faces))[np.asarray(body.faces)[np.maximum(attached.face, 0)]]
    normal = (normal * attached.bary[..., None]).sum(2)
    h, w = parts.label.shape
    cols, rows = np.meshgrid(np.arange(w) + 0.5, np.arange(h) + 0.5)
    point = geo.unproject(camera, cols.ravel(), rows.ravel(), attached.depth.ravel())
    facing = geo.facing_camera(point, normal.reshape(-1, 3), camera).reshape(h, w)
    hand = arm_segments(body)[np.maximum(attached.face, 0)] == HAND  # full of steep places, and seldom turned over
    arm = np.isin(parts.label, (geo.LEFT_ARM, geo.RIGHT_ARM)) & ~hand
    loose = arm & parts.loose & (alpha >= FAINT)
    held = ndimage.binary_dilation(loose, iterations=round(HOLD * h / 1024)) if loose.any() else loose
    return arm & np.where(parts.loose, alpha < FAINT, (facing < STEEP) & ~held)


def inner_pixels(mask: Array, alpha: Array, thin: Array, solid: float = 0.8) -> Array:
    """The mask (H, W) without the half-transparent part of its outermost ring, which the blur of the splats inside
    covers; solid pixels stay, and strands where something may be ``thin`` (H, W) bool (hair, fingers): elsewhere they
    are specks of a matte that cannot make up its mind."""
    inner = ndimage.binary_erosion(mask, border_value=1)
    strands = mask & ~ndimage.binary_opening(mask, np.ones((3, 3), bool))
    return inner | (strands & thin) | (mask & (alpha > solid))


def about_head(body: BodyModel, parts: Parts) -> Array:
    """Pixels (H, W) bool whose nearest part of the body is the head."""
    face = parts.layers[geo.BODY].face
    return on_head(body, nearest_fill(face, face >= 0))


def hidden_samples(
    body: BodyModel, vertices: Array, camera: Camera, painted: Array, parts: Parts, config: FitConfig
) -> Samples:
    """Gaussians for the body behind the arms, coloured from ``painted`` (H, W, 3), the photo with the arms removed."""
    label = np.where(parts.hidden, geo.BODY, -1).astype(np.int8)
    front = attach_pixels(parts, parts.label >= 0, parts.label)
    attached = attach_pixels(parts, parts.hidden, label)
    behind = np.where(front.valid, front.depth + 0.004, 0)  # wherever the two meshes cross
    attached = replace(attached, depth=np.maximum(attached.depth, behind).astype(np.float32))
    sizes = np.where(parts.hidden, 0, 0).astype(np.int8)
    sizes[::2, ::2][_all_blocks(parts.hidden)] = 2
    sizes = _cover_rest(sizes, parts.hidden)
    kind = np.full(label.shape, HIDDEN, np.int8)
    return _emit(body, vertices, camera, painted, attached, label, kind, sizes, config, guessed=1.0)


def attach_pixels(parts: Parts, where: Array, label: Array) -> PixelMap:
    """Face, barycentrics and depth of every pixel in ``where``; loose ones take the nearest pixel of their group."""
    shape = label.shape
    face, bary = np.full(shape, -1, np.int64), np.zeros((*shape, 3), np.float32)
    depth = np.zeros(shape, np.float32)
    for group, hits in parts.layers.items():
        mine = where & (label == group)
        known = hits.face >= 0
        if not mine.any() or not known.any():
            continue
        trusted = known & (parts.label == group) if (known & (parts.label == group)).any() else known
        source = known if group != geo.BODY else trusted | (known & mine)
        _, row, col = nearest_of(source)
        rows, cols = row[mine], col[mine]
        face[mine], bary[mine], depth[mine] = hits.face[rows, cols], hits.bary[rows, cols], hits.depth[rows, cols]
    return PixelMap(face, bary, depth, face >= 0)


JUMP = 0.012
"""Difference in depth, metres, between neighbouring pixels that makes an inner contour (chin over neck)."""
RIM = 4.0
"""Width in pixels, at 1024 rows, of the rim behind the contour of the head that belongs to the head."""
BEARD, CLEARLY = 20.0, 0.5
"""How far below that contour, in pixels at 1024 rows, what has the head's colours belongs to it (the end of a beard),
and how much nearer its colour must be to the head's than to that of what follows."""
SLOPE = 4.0
"""Steepest depth, metres per metre across the line of sight, of photo-aligned Gaussians."""


def on_head(body: BodyModel, face: Array) -> Array:
    """Pixels (H, W) bool whose triangle ``face`` (H, W), -1 for none, is on the head."""
    head = geo.region(body, "head")[np.asarray(body.faces)].all(1)
    return (face >= 0) & head[np.maximum(face, 0)]


def head_contour(body: BodyModel, hits: geo.Hits) -> Array:
    """Pixels (H, W) bool of the body's layer where the head ends in front of something further back."""
    on, head = hits.face >= 0, on_head(body, hits.face)
    low = ndimage.grey_erosion(np.where(on, hits.depth, np.inf), size=3)
    high = ndimage.grey_dilation(np.where(on, hits.depth, -np.inf), size=3)
    both = ndimage.binary_dilation(head, iterations=1) & ndimage.binary_dilation(on & ~head, iterations=1)
    return on & both & (high - low > JUMP)


def chin_to_head(body: BodyModel, found: PixelMap, label: Array, rgb: Array) -> PixelMap:
    """Give the pixels just behind the contour of the head to the head, and what is coloured as it is beyond them.

    The mesh's contour is a little off the picture's: left behind, the edge of a chin stays on the neck as a row of
    specks when the head turns, and the end of a beard as a fringe. A chin that takes along some shadow of the neck
    shows nothing.

    Args:
        label: (H, W) int8 part groups. rgb: (H, W, 3).
    """
    trunk = found.valid & (label == geo.BODY)
    head = trunk & on_head(body, found.face)
    if not head.any():
        return found
    unit = len(label) / 1024
    gap, rows, cols = nearest_of(head)
    behind = trunk & ~head & (found.depth[rows, cols] < found.depth - JUMP)
    rim = behind & (gap <= RIM * unit)
    rest = trunk & ~head & (gap > BEARD * unit) & (gap < 2 * BEARD * unit)
    if rest.any():
        _, r, c = nearest_of(rest)
        soft = ndimage.gaussian_filter(rgb, (2 * unit, 2 * unit, 0))
        to_head, to_rest = (np.linalg.norm(rgb - soft[i, j], axis=2) for i, j in ((rows, cols), (r, c)))
        alike = behind & (gap <= BEARD * unit) & (to_head < CLEARLY * to_rest)
        rim |= alike & geo.pieces_at(alike | rim, rim)
    return give_to(found, rim, head)


def give_to(found: PixelMap, take: Array, source: Array) -> PixelMap:
    """Pixels ``take`` (H, W) bool get the surface of their nearest pixel in ``source`` (H, W) bool."""
    if not take.any() or not source.any():
        return found
    _, rows, cols = nearest_of(source)
    row, col = rows[take], cols[take]
    face, bary, depth = found.face.copy(), found.bary.copy(), found.depth.copy()
    face[take], bary[take], depth[take] = face[row, col], bary[row, col], depth[row, col]
    return PixelMap(face, bary, depth, found.valid)


def limit_slope(found: PixelMap, label: Array, camera: Camera, passes: int = 2) -> PixelMap:
    """Bring steep rims of round parts forward, so that neighbouring pixels stay neighbours when the view changes.

    Works within a part and not across jumps in depth: those are contours. Each pass sweeps down, up, right and left.
    """
    depth = np.where(found.valid, found.depth, np.inf)
    step = SLOPE * found.depth / camera.K[0, 0]
    for _ in range(passes):
        for turned in (False, True):
            views = [x.T if turned else x for x in (depth, step, found.depth, found.valid, label)]
            _sweep(*views)
            _sweep(*(x[::-1] for x in views))
    return replace(found, depth=np.where(found.valid, depth, found.depth).astype(np.float32))


def _sweep(depth: Array, step: Array, before: Array, valid: Array, label: Array) -> None:
    """From row to row, ``depth`` (H, W) may fall off by ``step`` (H, W) only; in place."""
    joined = valid[:-1] & valid[1:] & (label[:-1] == label[1:]) & (np.abs(np.diff(before, axis=0)) < JUMP)
    for row in np.flatnonzero(joined.any(1)):
        limit = np.where(joined[row], depth[row] + step[row], np.inf)
        np.minimum(depth[row + 1], limit, out=depth[row + 1])


def merge_flat(rgb: Array, parts: Parts, attached: PixelMap, budget: int, opaque: Array) -> Array:
    """Choose 2x2 blocks that one Gaussian can stand for; at the rim, where not all is ``opaque`` (H, W) bool, none.

    Returns:
        (H, W) int8: 1 or 2 at the top-left pixel of each Gaussian, 0 elsewhere.
    """
    spread = np.zeros(rgb.shape[:2], np.float32)
    for channel in range(3):
        c = rgb[..., channel]
        spread = np.maximum(spread, ndimage.maximum_filter(c, 4) - ndimage.minimum_filter(c, 4))
    block = _all_blocks(attached.valid & ~parts.loose & opaque)
    h2, w2 = block.shape

    def span(image: Array) -> Array:
        quad = image[: 2 * h2, : 2 * w2].reshape(h2, 2, w2, 2)
        return quad.max((1, 3)) - quad.min((1, 3))

    smooth_depth = span(attached.depth) < 0.004
    block &= (span(parts.label) == 0) & smooth_depth
    block &= np.isin(parts.label[: 2 * h2 : 2, : 2 * w2 : 2], (geo.BODY, geo.LEFT_ARM, geo.RIGHT_ARM))
    value = spread[1 : 2 * h2 : 2, 1 : 2 * w2 : 2][:h2, :w2]
    threshold = 0.03
    excess = attached.valid.sum() - budget
    if excess > 0 and block.any():
        share = min(1.0, excess / 3 / block.sum())
        threshold = max(threshold, float(np.quantile(value[block], share)))
    sizes = np.zeros(rgb.shape[:2], np.int8)
    sizes[: 2 * h2 : 2, : 2 * w2 : 2][block & (value <= threshold)] = 2
    return _cover_rest(sizes, attached.valid)


def _all_blocks(mask: Array) -> Array:
    """(H // 2, W // 2) bool: aligned 2x2 blocks that lie wholly in ``mask``."""
    h2, w2 = mask.shape[0] // 2, mask.shape[1] // 2
    return mask[: 2 * h2, : 2 * w2].reshape(h2, 2, w2, 2).all((1, 3))


def _cover_rest(sizes: Array, mask: Array) -> Array:
    """Add a 1 for every pixel of ``mask`` that no block covers."""
    big = sizes == 2
    covered = big.copy()
    covered[1:] |= big[:-1]
    covered[:, 1:] |= big[:, :-1]
    covered[1:, 1:] |= big[:-1, :-1]
    return np.where(mask & ~covered, 1, sizes).astype(np.int8)


def _emit(
    body: BodyModel, vertices: Array, camera: Camera, rgb: Array, attached: PixelMap, label: Array, kind: Array,
    sizes: Array, config: FitConfig, guessed: float, by_head: Array | None = None,
) -> Samples:  # fmt: skip
    """Turn the chosen pixels and blocks into samples; ``by_head`` (H, W) is how much each one follows the head."""
    rows, cols = np.nonzero((sizes > 0) & attached.valid)
    size = sizes[rows, cols].astype(np.int64)
    r2, c2 = rows + size - 1, cols + size - 1
    depth = 0.25 * sum(attached.depth[r, c] for r in (rows, r2) for c in (cols, c2))
    colour = 0.25 * sum(rgb[r, c] for r in (rows, r2) for c in (cols, c2))
    face, bary = attached.face[rows, cols], attached.bary[rows, cols]
    kind_ = kind[rows, cols]
    index, weight = skin_weights(body, face, bary)
    loose = np.flatnonzero(kind_ == LOOSE)
    depth, index, weight = _smooth_loose(loose, rows, cols, depth, index, weight, label, kind, attached, body)
    if by_head is not None:
        index, weight = _towards_head(index, weight, by_head[rows, cols])
        depth = depth - lifted(by_head[rows, cols])
    point = geo.unproject(camera, cols + 0.5 * size, rows + 0.5 * size, depth)
    scale = config.splat_pixels * size * depth / camera.K[0, 0] * _slant(vertices, body, camera, face, point)
    order = _grid_neighbours(rows, cols, size, sizes, depth, label)
    return Samples(
        face=face, bary=bary, point=point, rgb=np.clip(colour, 0, 1).astype(np.float32),
        scale=scale.astype(np.float32), group=label[rows, cols], kind=kind_,
        guessed=np.full(len(rows), guessed, np.float32), skin_index=index, skin_weight=weight, neighbours=order,
    )  # fmt: skip


def skin_weights(body: BodyModel, face: Array, bary: Array) -> tuple[Array, Array]:
    """NumPy front of :func:`pipeline.avatar.model.gaussian_weights`."""
    import torch

    from pipeline.avatar.model import gaussian_weights

    index, weight = gaussian_weights(body, torch.from_numpy(face), torch.from_numpy(np.ascontiguousarray(bary)))
    return index.numpy(), weight.numpy()


def _slant(vertices: Array, body: BodyModel, camera: Camera, face: Array, point: Array) -> Array:
    """Widening of Gaussians on slanted surface, 1..1.4: neighbours in the picture are far apart there."""
    corners = np.asarray(body.faces)[face]
    a, b, c = (vertices[corners[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    view = camera.position - point
    cosine = (normal * view).sum(1) / np.maximum(np.linalg.norm(normal, axis=1) * np.linalg.norm(view, axis=1), 1e-9)
    return np.clip(np.clip(cosine, 0.2, 1) ** -0.35, 1.0, 1.4)


def _smooth_loose(
    loose: Array, rows: Array, cols: Array, depth: Array, index: Array, weight: Array, label: Array, kind: Array,
    attached: PixelMap, body: BodyModel, count: int = 16, stride: int = 4,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Depth and skinning weights of loose pixels: a distance-weighted mean over the outline of their group."""
    if len(loose) == 0:
        return depth, index, weight
    depth, index, weight = depth.copy(), index.copy(), weight.copy()
    near_loose = ndimage.binary_dilation(kind == LOOSE, iterations=2)
    for group in np.unique(label[rows[loose], cols[loose]]):
        mine = loose[label[rows[loose], cols[loose]] == group]
        ring = np.argwhere((label == group) & (kind == TIGHT) & near_loose & attached.valid)[::stride]
        if len(ring) < 4:
            continue
        k = min(count, len(ring))
        gap, pick = cKDTree(ring).query(np.stack([rows[mine], cols[mine]], 1), k=k)
        ring_depth = attached.depth[ring[:, 0], ring[:, 1]]
        share = 1.0 / (gap**2 + 4.0)
        reach = 0.03 + 8.0 / len(label) * gap[:, :1]  # a thin rim keeps to its side of a jump in depth, hair bridges it
        share *= np.exp(-(((ring_depth[pick] - ring_depth[pick[:, :1]]) / reach) ** 2))
        share /= share.sum(1, keepdims=True)
        depth[mine] = (ring_depth[pick] * share).sum(1)
        dense = _dense_weights(body, attached.face[ring[:, 0], ring[:, 1]], attached.bary[ring[:, 0], ring[:, 1]])
        index[mine], weight[mine] = _mix_weights(dense, pick, share)
    return depth, index, weight


def _towards_head(index: Array, weight: Array, share: Array) -> tuple[Array, Array]:
    """Skinning (N, K) with ``share`` (N,) of each weight handed over to the head."""
    rows = np.flatnonzero(share > 0)
    if len(rows) == 0:
        return index, weight
    index, weight = index.copy(), weight.copy()
    dense = np.zeros((len(rows), int(max(index.max(initial=0), HEAD)) + 1))
    np.add.at(dense, (np.arange(len(rows))[:, None], index[rows]), weight[rows] * (1 - share[rows, None]))
    dense[:, HEAD] += share[rows]
    every = np.arange(len(rows))[:, None]
    index[rows], weight[rows] = _mix_weights(dense, every, np.ones((len(rows), 1)), index.shape[1])
    return index, weight


def _dense_weights(body: BodyModel, face: Array, bary: Array) -> Array:
    weights = np.asarray(body.lbs_weights)
    return (weights[np.asarray(body.faces)[face]] * bary[..., None]).sum(1)


def _mix_weights(dense: Array, pick: Array, share: Array, keep: int = 6, chunk: int = 16384) -> tuple[Array, Array]:
    """Mix rows of dense (R, 55) weights by ``share`` over ``pick`` (N, k); keep the largest."""
    index, weight = [], []
    for s in range(0, len(pick), chunk):
        mixed = np.einsum("nkj,nk->nj", dense[pick[s : s + chunk]], share[s : s + chunk])
        top = np.argsort(-mixed, axis=1)[:, :keep]
        value = np.take_along_axis(mixed, top, 1)
        index.append(top)
        weight.append((value / value.sum(1, keepdims=True)).astype(np.float32))
    return np.concatenate(index), np.concatenate(weight)


def _grid_neighbours(rows: Array, cols: Array, size: Array, sizes: Array, depth: Array, label: Array) -> Array:
    """Neighbours in the picture (N, 4): left, right, up, down, of the same group and without a jump in depth."""
    h, w = sizes.shape
    owner = np.full((h + 2, w + 2), -1, np.int64)
    ids = np.arange(len(rows))
    for dr in (0, 1):
        for dc in (0, 1):
            inside = (size > dr) & (size > dc)
            owner[rows[inside] + dr + 1, cols[inside] + dc + 1] = ids[inside]
    r, c = rows + 1, cols + 1
    out = np.stack([owner[r, c - 1], owner[r, c + size], owner[r - 1, c], owner[r + size, c]], 1)
    group = label[rows, cols]
    close = (np.abs(depth[out] - depth[:, None]) < 0.02) & (group[out] == group[:, None])
    return np.where((out >= 0) & close, out, -1)


def unmixed_colors(image: Array, alpha: Array) -> Array:
    """Foreground colours free of background at the matte's edge, (H, W, 3)."""
    from pipeline.perceive.matte import foreground_colors

    return np.asarray(foreground_colors(image, alpha), np.float32)
