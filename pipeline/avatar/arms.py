"""Where exactly arms and hands end in the picture: edges first (watershed), then the colours of each segment.

The mesh knows where a hand is to within a centimetre or two; the picture knows to the pixel. Both are combined per
segment (hand, forearm, upper arm of each side): colour histograms of the segment and of the body around it give a
log-likelihood ratio, which counts as much as the two histograms differ, so a sleeve of the torso's own cloth is left
to the edges.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from pipeline.avatar import geometry as geo
from pipeline.pixels import distance_to, nearest_of, pieces_of

if TYPE_CHECKING:
    from pipeline.body import BodyModel

Array = np.ndarray

HAND, FOREARM, UPPER = range(3)
CUFF = 4.0
"""How far from the forearm a sleeve may reach onto the hand, in radii of the band."""
COMMON = 0.7
"""Log-likelihood ratio up to which a colour is common to both, and says nothing."""
SMALL = 0.03
"""Share of an arm that a hole in it may measure to be none."""
BINS = 24
"""Colour histogram bins per Lab channel."""


def nearest_fill(values: Array, known: Array) -> Array:
    """Give every pixel the value (H, W, ...) of the nearest known one."""
    if not known.any():
        return values
    _, rows, cols = nearest_of(known)
    return values[rows, cols]


def flood_arms(
    label: Array, on_mesh: Array, person: Array, layers: dict[int, geo.Hits], image: Array, radius: float
) -> tuple[Array, Array]:
    """Move the borders of arms to edges of the picture, by a watershed between safe seeds.

    Only borders where depth jumps are loosened (not the seam at the shoulder), within ``radius`` pixels and less for
    thin parts (fingers); pixels beside the mesh are assigned by colour continuity as well.

    Args:
        label: (H, W) int8 BODY, LEFT_ARM or RIGHT_ARM by the mesh. on_mesh, person: (H, W) bool. image: (H, W, 3).

    Returns:
        Labels (H, W) int8 and the band in which they were decided, (H, W) bool.
    """
    import cv2

    jump = _jumps(label, on_mesh, layers)
    near_jump = distance_to(jump) <= radius if jump.any() else np.zeros_like(jump)
    seeds = np.zeros(label.shape, np.int32)
    for group in (geo.BODY, geo.LEFT_ARM, geo.RIGHT_ARM):
        inside = (label == group) & on_mesh
        thick = distance_to(~inside)
        local = ndimage.grey_dilation(thick, size=(int(2 * radius) | 1,) * 2)
        core = inside & (~near_jump | (thick > np.minimum(radius, 0.55 * local)))
        seeds[core & person] = group + 1
    far = distance_to(on_mesh) > 3 * radius
    seeds[far & person] = label[far & person] + 1
    seeds[~person] = 9
    flooded = cv2.watershed(lab_image(image, 1.0), seeds.copy())
    valid = (flooded > 0) & (flooded < 9)
    flooded = nearest_fill(np.where(valid, flooded - 1, 0).astype(np.int8), valid)
    return np.where(person, flooded, label).astype(np.int8), near_jump


def lab_image(image: Array, sigma: float) -> Array:
    """Lab colours (H, W, 3) uint8 of an image (H, W, 3) in 0..1, blurred by ``sigma`` pixels."""
    import cv2

    smooth = cv2.GaussianBlur((np.clip(image, 0, 1) * 255).astype(np.uint8), (0, 0), sigma)
    return np.ascontiguousarray(cv2.cvtColor(smooth, cv2.COLOR_RGB2LAB))


def differs(label: Array) -> Array:
    """Pixels with a 4-neighbour of another label."""
    out = np.zeros(label.shape, bool)
    for axis in (0, 1):
        change = np.diff(label, axis=axis) != 0
        pad = [(0, 0), (0, 0)]
        pad[axis] = (0, 1)
        out |= np.pad(change, pad)
        pad[axis] = (1, 0)
        out |= np.pad(change, pad)
    return out


def _jumps(label: Array, on_mesh: Array, layers: dict[int, geo.Hits], step: float = 0.015) -> Array:
    """Pixels on a border between groups across which the visible surface jumps in depth (or where there is none)."""
    depth = np.full(label.shape, np.nan, np.float32)
    for group in (geo.BODY, geo.LEFT_ARM, geo.RIGHT_ARM):
        hit = (label == group) & (layers[group].face >= 0)
        depth[hit] = layers[group].depth[hit]
    low = ndimage.grey_erosion(np.where(np.isnan(depth), np.inf, depth), size=3)
    high = ndimage.grey_dilation(np.where(np.isnan(depth), -np.inf, depth), size=3)
    return differs(label) & ((high - low > step) | ~on_mesh)


def face_skin(body: BodyModel, hits: geo.Hits) -> Array:
    """Pixels (H, W) bool on plain facial skin."""
    plain = geo.region(body, "face") & ~geo.region(body, "lips", "eyelids", "eyeballs", "mouth_cavity")
    inside = plain[np.asarray(body.faces)].all(1)
    return (hits.face >= 0) & inside[np.maximum(hits.face, 0)]


def arm_segments(body: BodyModel) -> Array:
    """Segment of every triangle, (F,) int8: HAND, FOREARM or UPPER (meaningful on arms only)."""
    weights = np.asarray(body.lbs_weights)
    hand = weights[:, [20, 21, *range(25, 55)]].sum(1)
    fore = weights[:, [18, 19]].sum(1)
    segment = np.where(hand > 0.5, HAND, np.where(fore > 0.5, FOREARM, UPPER)).astype(np.int8)
    return segment[np.asarray(body.faces)[:, 0]]


def recolor_arms(
    body: BodyModel, label: Array, person: Array, layers: dict[int, geo.Hits], image: Array, face: Array, radius: float,
) -> tuple[Array, Array]:  # fmt: skip
    """Correct the labels around every arm segment by its colours.

    Args:
        label: from :func:`flood_arms`. face: (H, W) bool, where the mesh has facial skin, in sight or not: a second
            sample of what a hand looks like, and a ground of its own for a hand before it.
        radius: of the band, twice that for hands.

    Returns:
        Labels (H, W) int8, and where they were in doubt, (H, W) bool.
    """
    lab = lab_image(image, 0.7)
    segments = arm_segments(body)
    out, doubt = label.copy(), np.zeros(label.shape, bool)
    for group in (geo.LEFT_ARM, geo.RIGHT_ARM):
        hits = layers[group]
        shown = np.where(hits.face >= 0, segments[np.maximum(hits.face, 0)], -1)
        for segment in (UPPER, FOREARM, HAND):
            mask = shown == segment
            if mask.sum() < 40 or not (mask & person).any():
                continue
            reach = radius * (1.8 if segment == HAND else 1.0)
            cuff = None
            if segment == HAND and (shown == FOREARM).sum() >= 40:
                cuff = distance_to(shown == FOREARM) <= CUFF * radius
            _recolor(out, doubt, lab, person, mask, group, face, segment == HAND, reach, cuff)
        far_from_skin(out, person, shown, group, 1.8 * radius)
    return out, doubt


def without_holes(body: BodyModel, label: Array, layers: dict[int, geo.Hits]) -> Array:
    """Labels (H, W) int8 in which arms, but for hands, have no holes.

    Something small that an arm surrounds is brighter or darker than the rest of it (a highlight, a tattoo); nothing
    shows through there. An arm that is bent to a ring surrounds more.
    """
    segments, out = arm_segments(body), label.copy()
    for group in (geo.LEFT_ARM, geo.RIGHT_ARM):
        face = layers[group].face
        pieces, count = pieces_of(ndimage.binary_fill_holes(label == group) & (label == geo.BODY))
        if count == 0 or not (face >= 0).any():
            continue
        hand = segments[nearest_fill(face, face >= 0)] == HAND
        small = np.bincount(pieces.ravel(), minlength=count + 1) < SMALL * (label == group).sum()
        small[np.unique(pieces[hand])] = small[0] = False
        out[small[pieces]] = group
    return out


def far_from_skin(out: Array, person: Array, shown: Array, group: int, reach: float) -> None:
    """Pixels of an arm that lie beside the mesh, nearest to a hand and not close to it, are no hand: give them back
    to the body where it is about as near.

    ``shown`` (H, W) is the segment that the arm's own layer shows, -1 where it has none. In place.
    """
    if not (shown >= 0).any():
        return
    gap, rows, cols = nearest_of(shown >= 0)
    by_hand = shown[rows, cols] == HAND
    to_body = distance_to(person & (out == geo.BODY))
    out[person & (out == group) & by_hand & (gap > reach) & (to_body < 1.5 * gap)] = geo.BODY


def _recolor(
    out: Array, doubt: Array, lab: Array, person: Array, mask: Array, group: int, face: Array, bare: bool, reach: float,
    cuff: Array | None = None,
) -> None:  # fmt: skip
    """Decide the pixels around one segment, in place; in ``cuff`` (H, W) colours of the body do not count against it,
    because a sleeve may reach further down than the mesh of the forearm."""
    pad = int(4 * reach) + 8
    rows, cols = np.nonzero(mask)
    window = (slice(max(rows.min() - pad, 0), rows.max() + pad), slice(max(cols.min() - pad, 0), cols.max() + pad))
    mine, here, seen = mask[window], out[window], person[window]
    colours = lab[window]
    outside = distance_to(mine)
    inside = distance_to(~mine)
    core = mine & (here == group) & (inside > min(reach, 0.4 * inside.max()))
    around = (here == geo.BODY) & seen & (outside > reach)
    if core.sum() < 30 or around.sum() < 60:
        return
    ground = face[window]
    front = color_histogram(colours[core])
    skin = face & (out == geo.BODY) & person
    if bare and skin.sum() > 100 and ground[around].mean() < 0.1:
        front = 0.5 * front + 0.5 * color_histogram(lab[skin])
    evidence = np.where(
        ground, _evidence(colours, front, around & ground), _evidence(colours, front, around & ~ground)
    )
    if cuff is not None:
        evidence = np.where(cuff[window], np.maximum(evidence, 0), evidence)
    arm = here == group
    edge = distance_to(~arm) - distance_to(arm)
    position = np.clip(edge / reach, -1, 1) + np.where(mine, 0.3, -0.3)
    score = guided_filter(colours[..., 0].astype(np.float32) / 255, evidence + position, 3, 4e-4)
    band = seen & (outside <= reach) & (inside <= np.maximum(reach, 0.6 * inside.max()))
    band &= (here == geo.BODY) | arm
    here[band] = np.where(score[band] > 0, group, geo.BODY)
    doubt[window] |= band & (np.abs(score) < 1.0)


def _evidence(colours: Array, front: Array, back_pixels: Array) -> Array:
    """Log-likelihood ratio (H, W) of front against back, in -4..4, scaled by how much the two differ."""
    if back_pixels.sum() < 60:
        return np.zeros(colours.shape[:2])
    back = color_histogram(colours[back_pixels])
    distinct = 1 - float(np.sqrt(front * back).sum())
    bins = color_bins(colours)
    ratio = np.clip(np.log((front[bins] + 2e-5) / (back[bins] + 2e-5)), -4, 4)
    ratio = np.sign(ratio) * np.maximum(np.abs(ratio) - COMMON, 0)
    return ratio * (distinct if distinct > 0.15 else 0.0)


def colored_alike(image: Array, sample: Array) -> Array:
    """Pixels (H, W) bool of an image (H, W, 3) in 0..1 with colours that are common in ``sample`` (H, W) bool."""
    lab = lab_image(image, 0.7)
    histogram = color_histogram(lab[sample])
    common = 0.5 * np.quantile(histogram[color_bins(lab[sample])], 0.2)
    return histogram[color_bins(lab)] >= common


def color_bins(lab: Array) -> tuple[Array, Array, Array]:
    """Histogram cell of Lab colours (..., 3) uint8."""
    q = (lab.astype(np.int64) * BINS) >> 8
    return q[..., 0], q[..., 1], q[..., 2]


def color_histogram(lab: Array) -> Array:
    """Smoothed, normalised colour histogram (BINS, BINS, BINS) of (N, 3) uint8 Lab colours."""
    flat = np.ravel_multi_index(color_bins(lab), (BINS,) * 3)
    counts = np.bincount(flat, minlength=BINS**3).reshape((BINS,) * 3).astype(np.float64)
    counts = ndimage.gaussian_filter(counts, 0.8, mode="constant")
    return counts / max(counts.sum(), 1e-9)


def guided_filter(guide: Array, value: Array, radius: int, eps: float) -> Array:
    """Edge-preserving smoothing of ``value`` (H, W) along ``guide`` (H, W) in 0..1 (He et al. 2010)."""
    import cv2

    size = (2 * radius + 1,) * 2

    def mean(x: Array) -> Array:
        return cv2.blur(x.astype(np.float64), size)

    mg, mv = mean(guide), mean(value)
    a = (mean(guide * value) - mg * mv) / (mean(guide * guide) - mg * mg + eps)
    b = mv - a * mg
    return mean(a) * guide + mean(b)
