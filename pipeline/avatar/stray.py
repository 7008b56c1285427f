"""What hands must not take from the photo: pixels of what is beside them, and the black between curled fingers.

A hand is of one colour. A few pixels of trousers or wall along a finger come off as specks, or end up in the palm,
when the fingers open; and where folded fingers touch, the mesh is seldom right to the pixel, so that the dark line
between two of them lies in the middle of one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from pipeline.avatar import geometry as geo
from pipeline.avatar.arms import HAND, arm_segments, face_skin, nearest_fill
from pipeline.avatar.completion import commonest
from pipeline.pixels import distance_to, pieces_of

if TYPE_CHECKING:
    from pipeline.avatar.attach import Samples
    from pipeline.avatar.parts import Parts
    from pipeline.body import BodyModel
    from pipeline.types import Camera

Array = np.ndarray

SQUARE = np.ones((3, 3), bool)
"""A pixel and its eight neighbours."""
MARGIN = 40.0
"""Pixels, at 1024 rows, around the mesh of a hand in which it is looked for."""
INNER = 4.0
"""Pixels, at 1024 rows, from its border on which a hand shows its own colour."""
ENOUGH, SAMPLES, ONE_COLOUR = 150, 1500, 0.5
"""Inner pixels from which that colour is taken, how many of them at most, and the share that must be of it: gloves of
several colours are left alone."""
BARE = 0.25
"""Share of a hand that must be like the face to count as its skin, and the rest as a sleeve before it; a hand with less
wears a glove, or is not there."""
LIT = 0.45
"""Brightness relative to the face from which on something like it is taken for skin."""
UNLIKE = 0.3
"""Share of the pixels below the wrist that are not of its colour from which on the hand is not where the mesh says."""
DARKEST, LIGHTEST, TINT = 0.4, 1.35, 0.06
"""Brightness relative to the hand's own, and difference in the shares of red, green and blue, up to which a pixel is
the same skin in another light."""
SHADED, RUDDY = 0.3, 0.12
"""The same if it is redder, as skin is in shadow."""
REDDER = (0.2, -0.05, -0.15)
"""Change of red, green and blue of skin without light."""
NIGHT = 0.2
"""Brightness below which nobody knows whether it is skin."""
PALE = 0.45
"""Saturation, relative to the hand's own, below which it is not: white walls are close to light skin else."""
BLACK = 0.55
"""Brightness, relative to the skin around it, that the dark between two fingers keeps."""
NEIGHBOURS = 8
"""Splats of the surface layer that say what colour skin has somewhere."""
AROUND, AMONG = 9.0, 0.3
"""Width in pixels, at 1024 rows, of what is around a pixel, and the share of it that must be skin for it to be a gap
in the hand."""
FAR = 14.0
"""Pixels, at 1024 rows, from a hand's skin up to which something beside it is taken from it."""
RIM = 10.0
"""Width in pixels, at 1024 rows, by which the border of a bare arm may be wrong."""
STRIP = 2.4
"""The same in widths of the rim, where the skin beside an arm is no part of a broader area of skin."""
BLUR = 0.2
"""Standard deviation over which the colour of cloth is taken, in widths of the rim."""
NAIL, ENCLOSED = 0.03, 0.45
"""Size of a nail, as a share of the hand's, and the share of its border, or that of a gap, that may lie outside."""
DEVIATIONS = 2.0
"""Standard deviations of a splat that have to be within the outline."""
TAIL = 3.0
"""Half of the width in pixels, at 1024 rows, from which on something is no mere line; twice that, no halo."""
ALIKE = 0.15
"""Difference in every channel up to which what is beside a hand is the cloth next to it."""


def like_skin(rgb: Array, base: Array) -> Array:
    """Whether colours (..., 3) are ``base`` (3,) in more or less light, (...) bool."""
    light = rgb.mean(-1) / max(float(base.mean()), 1e-3)
    dark = light < np.where(_ruddy(rgb, base), SHADED, DARKEST)
    return in_any_light(rgb, base) & ~dark & (light < LIGHTEST)


def in_any_light(rgb: Array, base: Array) -> Array:
    """The same in deep shadow or glaring light too, down to black; (...) bool."""
    tint = np.abs(rgb / np.maximum(rgb.sum(-1, keepdims=True), 0.05) - base / base.sum()).max(-1)
    pale = saturation(rgb) < PALE * saturation(base)
    black = rgb.mean(-1) < NIGHT * base.mean()
    return (tint < np.where(_ruddy(rgb, base), RUDDY, TINT)) & ~pale & ~black


def _ruddy(rgb: Array, base: Array) -> Array:
    return (saturation(rgb) > saturation(base)) & (np.diff(rgb, axis=-1) <= 0).all(-1)


def saturation(rgb: Array) -> Array:
    """Saturation 0..1 of colours (..., 3), as in HSV."""
    return 1 - rgb.min(-1) / np.maximum(rgb.max(-1), 0.02)


@dataclass(frozen=True)
class BareHand:
    """A hand of known colour in a picture, within a window.

    Attributes:
        window: (row, column) slices of the picture. arm, hand: (h, w) bool, pixels of its arm and of itself.
        base: (3,) colour. sleeve: (h, w) bool, what a sleeve, a bracelet or a watch at its wrist covers.
        image: (h, w, 3).
    """

    window: tuple[slice, slice]
    arm: Array
    hand: Array
    base: Array
    sleeve: Array
    image: Array


def bare_hands(body: BodyModel, label: Array, layers: dict[int, geo.Hits], image: Array) -> dict[int, BareHand]:
    """The hands, by the group of their arm, whose colour is known.

    Left out are hands of which too little is shown, of several colours, in gloves, and those that are not where the
    mesh says.

    Args:
        label: (H, W) int8 part groups, -1 outside the person. layers: of the mesh. image: (H, W, 3).
    """
    unit, out = len(label) / 1024, {}
    face = image[face_skin(body, layers[geo.BODY]) & (label == geo.BODY)]
    segments = arm_segments(body)
    for group in (geo.LEFT_ARM, geo.RIGHT_ARM):
        shown = np.where(layers[group].face >= 0, segments[layers[group].face], -1)
        if not (shown == HAND).any():
            continue
        window = _around(shown == HAND, round(MARGIN * unit))
        shown, arm, colours = shown[window], label[window] == group, image[window]
        hand = arm & (nearest_fill(shown, shown >= 0) == HAND)
        base = own_color(colours[hand & (distance_to(~arm) > INNER * unit)], face)
        if base is None:
            continue
        unlike = hand & ~like_skin(colours, base)
        fore = arm & ~hand
        sleeve = geo.pieces_at(thick(unlike | fore, unit) & unlike, fore)
        if (unlike & ~sleeve).sum() < UNLIKE * (hand & ~sleeve).sum():
            out[group] = BareHand(window, arm, hand, base, sleeve, colours)
    return out


def _around(mask: Array, margin: int) -> tuple[slice, slice]:
    rows, cols = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return tuple(slice(max(i[0] - margin, 0), i[-1] + margin + 1) for i in (rows, cols))  # type: ignore[return-value]


def own_color(rgb: Array, face: Array) -> Array | None:
    """The colour (3,) of a hand; None: too little of it is shown, or it has several.

    Args:
        rgb: (N, 3) its inner pixels. face: (M, 3) facial skin; what of the hand is somewhat like it is its bare part.
    """
    if len(face) >= ENOUGH:
        tint = _thinned(face).mean(0)
        shares = rgb / np.maximum(rgb.sum(1, keepdims=True), 0.05) - tint / tint.sum()
        bare = (np.abs(shares).max(1) < 2 * TINT) & (rgb.mean(1) > LIT * tint.mean())
        rgb = rgb[bare] if bare.sum() >= BARE * len(rgb) else rgb[:0]
    if len(rgb) < ENOUGH:
        return None
    some = _thinned(rgb)
    base = commonest(some, np.ones(len(some)))
    return base if like_skin(rgb, base).mean() >= ONE_COLOUR else None


def thick(mask: Array, unit: float) -> Array:
    """The mask (H, W) without thin lines and without thin ends."""
    tail = max(1, round(TAIL * unit))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * tail + 1,) * 2)
    opened = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, disc)
    return (cv2.dilate(opened, disc) > 0) & mask


def _thinned(rgb: Array) -> Array:
    return rgb[:: -(-len(rgb) // SAMPLES)]


def without_strays(body: BodyModel, label: Array, layers: dict[int, geo.Hits], image: Array) -> Array:
    """Labels (H, W) int8 in which hands end where their colour ends, and reach as far as it does (:func:`with_rims`).

    Pixels at a hand's border that are not of its colour belong to the body. There they stay where they are when the
    hand leaves: cloth, and what it held on to. A gap between fingers, and a thin rim that is unlike the cloth next to
    it (ground, shadow, the bright line of a sharpened photo), belong to nothing, and so do thin pieces that nothing of
    the body touches. What skin surrounds (a ring, a nail) and what belongs to the sleeve stays with the hand.

    Args:
        label, layers, image: see :func:`bare_hands`.
    """
    unit, bare = len(label) / 1024, bare_hands(body, label, layers, image)
    out = with_rims(label, {group: found.base for group, found in bare.items()}, image, RIM * unit)
    for found in bare.values():
        own = out[found.window]
        unlike = found.hand & ~found.sleeve & ~in_any_light(found.image, found.base)
        stray, gap = _at_border(unlike, found.arm, found.hand & like_skin(found.image, found.base), unit)
        stray |= _crumbs(found.arm & ~stray, stray, NAIL * found.hand.sum())
        own[stray] = geo.BODY
        rim = stray & ~_like_beside(found.image, label[found.window] == geo.BODY)
        own[gap | (rim & ~thick(rim, 2 * unit))] = -1
    body = out == geo.BODY
    adrift = body & (label != geo.BODY) & ~geo.carried(body, (label == geo.BODY) & (layers[geo.BODY].face >= 0))
    return np.where(adrift, np.where(thick(adrift, unit), label, -1), out).astype(np.int8)


def with_rims(label: Array, bases: dict[int, Array], image: Array, width: float) -> Array:
    """Labels (H, W) int8 in which skin along a bare arm, up to ``width`` pixels wide, is the arm's and not the body's.

    So is what is up to STRIP times as wide and belongs to nothing wider. What is wider is other skin that the hand
    touches, and what is even more like the cloth beside it is cloth.

    Args:
        label: (H, W) int8. bases: the colour (3,) of the skin of each arm's group. image: (H, W, 3).
    """
    out, reach = label.copy(), round(2 * STRIP * width)
    for group, base in bases.items():
        window = _around(label == group, reach)
        here, colours = label[window], image[window]
        skin, body = like_skin(colours, base), here == geo.BODY
        cloth = body & ~skin & (distance_to(here == group) > width)
        if cloth.any():
            skin &= ~more_like(colours, nearest_fill(cv2.GaussianBlur(colours, (0, 0), BLUR * width), cloth), base)
        mine = (here == group) & skin
        rim = geo.pieces_at(body & skin, mine)
        away = distance_to(mine)
        broad = thick(body & in_any_light(colours, base), STRIP * width / (2 * TAIL))
        strip = (away <= STRIP * width) & ~geo.pieces_at(rim, broad)
        narrow = ~thick(rim, width / (2 * TAIL)) | ~geo.pieces_at(rim, rim & (away > width))
        out[window][geo.pieces_at(rim & ((narrow & (away <= width)) | strip), mine)] = group
    return out


def more_like(image: Array, cloth: Array, base: Array) -> Array:
    """Pixels (H, W) bool whose colour is about ``cloth`` (H, W, 3), and whose tint is nearer to it than to ``base``."""

    def tint(rgb: Array) -> Array:
        return rgb / np.maximum(rgb.sum(-1, keepdims=True), 0.05)

    here = tint(image)
    nearer = np.abs(here - tint(cloth)).max(-1) < np.abs(here - tint(base)).max(-1)
    return nearer & (np.abs(image - cloth).max(-1) < ALIKE)


def _like_beside(image: Array, body: Array) -> Array:
    """Which pixels (H, W) bool are about as the nearest of the body, ``body`` (H, W) bool."""
    if not body.any():
        return np.zeros(body.shape, bool)
    return np.abs(image - nearest_fill(image, body)).max(-1) < ALIKE


def _crumbs(rest: Array, stray: Array, size: float) -> Array:
    """Pieces of ``rest`` (H, W) bool up to ``size`` pixels that hang on to the arm by nothing but strays."""
    pieces, count = pieces_of(rest, corners=False)
    touching = np.bincount(pieces[ndimage.binary_dilation(stray, SQUARE)], minlength=count + 1) > 0
    small = touching & (np.bincount(pieces.ravel(), minlength=count + 1) < size)
    small[0] = False
    return small[pieces]


def _at_border(unlike: Array, arm: Array, skin: Array, unit: float) -> tuple[Array, Array]:
    """Pieces of ``unlike`` (H, W) bool that reach the border of the arm; and of these the gaps between fingers.

    Left out are small ones that are mostly surrounded by skin (nails), and those that reach far from it: there the
    hand's mesh is wrong, and would stand before what is given to the body.
    """
    unlike, arm, skin = (np.pad(mask, 1) for mask in (unlike, arm, skin))  # the arm ends where the picture does
    pieces, count = pieces_of(unlike)
    edge = ndimage.binary_dilation(unlike, SQUARE) & ~unlike
    near = ndimage.grey_dilation(pieces, size=3)
    inner, outer = (np.bincount(near[edge & side], minlength=count + 1) for side in (skin, ~arm))
    size = np.bincount(pieces.ravel(), minlength=count + 1)
    away = distance_to(skin) > FAR * unit
    far = np.bincount(pieces[away], minlength=count + 1) > 0
    enclosed = outer < ENCLOSED * (inner + outer)
    stray = (outer > 0) & ~(enclosed & (size < NAIL * skin.sum())) & ~far
    stray[0] = False
    pieces = pieces[1:-1, 1:-1]
    return stray[pieces], (stray & enclosed)[pieces]


@dataclass(frozen=True)
class SkinSplats:
    """Splats of a bare hand, without what covers the wrist.

    Attributes:
        index: (n,) which. base: (3,) the hand's colour.
        room: (n,) scale in metres that a splat may have to stay within the arm's outline.
        rim: (m,) which photo-aligned splats lie at its border, with little skin around.
    """

    index: Array
    base: Array
    room: Array
    rim: Array


def skin_splats(
    body: BodyModel, samples: Samples, parts: Parts, image: Array, camera: Camera, surface: Array
) -> list[SkinSplats]:
    """The splats of each hand of known colour, where it shows skin.

    Args:
        samples: all Gaussians. parts: the divided photo. image: (H, W, 3) its colours. camera: of the photo.
        surface: (N,) bool, splats of the surface layer; others are taken only where there is skin around them.
    """
    xy, depth = camera.project(samples.point)
    h, w = parts.label.shape
    row, col = np.clip(xy[:, 1].astype(int), 0, h - 1), np.clip(xy[:, 0].astype(int), 0, w - 1)
    on_hand, out = arm_segments(body)[samples.face] == HAND, []
    for group, found in bare_hands(body, parts.label, parts.layers, image).items():
        skin = (found.hand & like_skin(found.image, found.base)).astype(np.float32)
        among, here, inside = np.zeros((h, w), bool), np.zeros((h, w), bool), np.zeros((h, w))
        among[found.window] = ndimage.uniform_filter(skin, max(1, round(AROUND * h / 1024))) > AMONG
        beside = distance_to(skin > 0) > INNER * h / 1024
        here[found.window] = found.hand & ~found.sleeve & ~beside
        inside[found.window] = distance_to(~found.arm)
        mine = on_hand & (samples.group == group) & here[row, col]
        inner = surface | among[row, col]
        index = np.flatnonzero(mine & inner)
        pixels = np.maximum(inside[row[index], col[index]] - 0.5, 0.5) / DEVIATIONS
        room = pixels * depth[index] / camera.K[0, 0]
        out.append(SkinSplats(index, found.base, room, np.flatnonzero(mine & ~inner)))
    return out


def black_rim(rgb: Array, hands: list[SkinSplats]) -> Array:
    """Which splats (N,) bool at the border of a hand ended up black: they explain a shadow or trousers beside it, and
    would fly about as specks when the fingers open.

    Args:
        rgb: (N, 3). hands: from :func:`skin_splats`.
    """
    out = np.zeros(len(rgb), bool)
    for hand in hands:
        out[hand.rim[rgb[hand.rim].mean(1) < BLACK * hand.base.mean()]] = True
    return out


def tamed(rgb: Array, scale: Array, point: Array, hands: list[SkinSplats], surface: Array) -> tuple[Array, Array]:
    """Colours in which hands are no darker than skin can be in the photo's light.

    Splats of the surface layer take the colour of the skin around them; others may be rings and nails, and keep their
    own unless they are black. A splat of the surface layer that had to explain something else is too large, too: it
    shrinks until it is within the outline.

    Args:
        rgb: (N, 3). scale: (N,) metres. point: (N, 3) where the splats are. hands: from :func:`skin_splats`.
        surface: (N,) bool, splats of the surface layer.

    Returns:
        (N, 3) colours and (N,) scales.
    """
    out, small = rgb.copy(), scale.copy()
    for hand in hands:
        index, base = hand.index, hand.base
        skin = like_skin(rgb[index], base)
        known = index[surface[index] & skin]
        if len(known) < NEIGHBOURS:
            continue
        tree = cKDTree(point[known])
        odd = surface[index] & ~skin
        out[index[odd]] = rgb[known][tree.query(point[index[odd]], k=NEIGHBOURS)[1]].mean(1)
        small[index[odd]] = np.minimum(scale[index[odd]], hand.room[odd])
        dark = index[~surface[index] & (rgb[index].mean(1) < BLACK * LIGHTEST * base.mean())]
        around = rgb[known][tree.query(point[dark], k=NEIGHBOURS)[1]].mean(1)
        black = rgb[dark].mean(1) < BLACK * around.mean(1)
        out[dark[black]] = BLACK * around[black] * (1 + (1 - BLACK) * np.array(REDDER))
    return out.clip(0, 1).astype(np.float32), small.astype(np.float32)
