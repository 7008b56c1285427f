"""Which part of the body each pixel shows: mesh layers, corrected by the photo's own edges and landmarks.

A registered mesh is off by some pixels. Where one part lies in front of another (hand before torso, lips before teeth,
lids before eyes) those pixels would be painted on the wrong part and come apart when the body moves. So every part
group gets its own depth layer, and a pixel's group comes from the picture: a watershed on colour between safe seeds
for arms, the landmark contours for mouth and eyes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from pipeline.avatar import geometry as geo
from pipeline.avatar.arms import (
    HAND,
    arm_segments,
    differs,
    face_skin,
    flood_arms,
    nearest_fill,
    recolor_arms,
    without_holes,
)
from pipeline.avatar.hair import hair_pixels
from pipeline.avatar.leaks import leaked
from pipeline.avatar.stray import thick, without_strays
from pipeline.config import FitConfig
from pipeline.pixels import distance_to, nearest_of, pieces_of
from pipeline.types import Camera, Detections

if TYPE_CHECKING:
    from pipeline.body import BodyModel

Array = np.ndarray

INNER_LIPS = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95)
RIGHT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
LEFT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
"""MediaPipe face mesh contours (the person's own left and right)."""

HAIR_GAP, BESIDE, ACROSS = 70.0, 5.0, 220.0
"""Pixels at 1024 rows: how far above and below a hand loose hair may be, how far beside an arm the body may be, and how
far on two opposite sides of it, to go on behind it."""
SLIT = 14
"""Half of the width in pixels, at 1024 rows, up to which what shows between two fingers is painted, not photographed.
"""
SCRAP = 3.0
"""Pixels, at 1024 rows, beside the mesh of a hand from which on a thin piece of it is left out."""
OPEN_PIXELS, OPEN_SHARE = 3.0, 0.05
"""Gap between the lips, in pixels and as a share of their width, from which on a mouth is open. In a lower one every
pixel is mixed with the lips, and teeth would be painted with them."""


@dataclass(frozen=True)
class Parts:
    """The photo, divided.

    Attributes:
        label: (H, W) int8 part group of each pixel of the person, -1 outside the matte.
        loose: (H, W) bool, pixels of the person beside every triangle of their group.
        layers: per group, what a ray meets when only that group is there (front faces only).
        hidden: (H, W) bool, body pixels covered by an arm, with hair above and below it.
        front: (H, W) int8 group that the mesh alone would show, -1 where there is none.
        unsure: (H, W) bool, pixels near an inner depth edge: right for the photo, too risky to colour others from.
        long_hair: (H, W) bool, body pixels below the head that show hair.
    """

    label: Array
    loose: Array
    layers: dict[int, geo.Hits]
    hidden: Array
    front: Array
    unsure: Array
    long_hair: Array


def divide(
    body: BodyModel, vertices: Array, camera: Camera, image: Array, alpha: Array, detections: Detections | None,
    unseen: Array, config: FitConfig, valid: Array,
) -> Parts:  # fmt: skip
    """Find the part group of every pixel of the person.

    Args:
        vertices: (V, 3) posed mesh after the mesh stage. image: (H, W, 3). alpha: (H, W).
        detections: face contours for mouth and eyes; without them the mesh decides.
        unseen: (F,) bool, triangles that no pixel shows (hands in pockets).
        valid: (H, W) bool, where there is a photo.
    """
    layers = cast_layers(body, vertices, camera, unseen)
    person = alpha > 0.5
    first = front_labels(layers)
    label = nearest_fill(first, first >= 0)
    arms = np.isin(label, (geo.LEFT_ARM, geo.RIGHT_ARM))
    coarse = np.where(arms, label, geo.BODY).astype(np.int8)
    radius = config.band_pixels * len(alpha) / 1024
    flooded, band = flood_arms(coarse, first >= 0, person, layers, image, radius)
    leak = leaked(np.where(person, flooded, -1).astype(np.int8), image, valid)
    flooded[leak] = geo.BODY  # or its colours would count as the arm's
    face = face_skin(body, layers[geo.BODY])
    refined, doubt = recolor_arms(body, flooded, person, layers, image, face, radius)
    band |= doubt
    refined = mixed_to_front(refined, band)
    label = join_islands(np.where(person, refined, -1).astype(np.int8), layers)
    leak = leaked(label, image, valid) | (leak & (label == geo.BODY))
    hair = hair_pixels(body, label, layers[geo.BODY], image)
    lock = hair & (label != geo.BODY)
    label = np.where(leak | lock, geo.BODY, label).astype(np.int8)
    adrift = leak & ~geo.carried(label == geo.BODY, ~leak & (layers[geo.BODY].face >= 0))
    label[adrift] = -1  # what the matte kept between fingers
    layers[geo.BODY] = taken_off(lay_before(layers, leak & ~adrift), lock)
    slit = between_fingers(body, label, layers, round(SLIT * len(alpha) / 1024))
    clean = without_holes(body, without_strays(body, label, layers, image), layers)
    stray = clean != label
    slit = (slit & ~geo.pieces_at(slit, stray & (clean == geo.BODY))) | (stray & (clean < 0))
    label = label_face(clean, first, detections)
    layers[geo.MOUTH] = smile_layer(body, vertices, camera, layers[geo.MOUTH], label == geo.MOUTH)
    on_body = layers[geo.BODY].face >= 0
    slit &= label <= geo.BODY  # but no eye and no mouth
    hidden = behind_arms(np.where(slit, geo.LEFT_ARM, label), on_body, len(alpha) / 1024)
    label = np.where(slit, -1, label).astype(np.int8)
    label = without_scraps(body, without_specks(label, on_body), layers, len(alpha) / 1024)
    loose = np.zeros_like(person)
    for group, hits in layers.items():
        loose |= (label == group) & (hits.face < 0)
    return Parts(label, loose, layers, hidden, first, (band & person) | leak | stray, hair & (label == geo.BODY))


def without_specks(label: Array, on_mesh: Array) -> Array:
    """Labels (H, W) int8 without pieces of the body that its mesh does not carry and that are nearer to an arm.

    They are what is left beside a hand (a line of wall, a shadow), and would hang in the air when it leaves; wisps of
    hair are nearer to the head.
    """
    body, arms = label == geo.BODY, np.isin(label, (geo.LEFT_ARM, geo.RIGHT_ARM))
    held = geo.carried(body, on_mesh)
    loose = body & ~held
    if not (loose.any() and held.any() and arms.any()):
        return label
    to_arm, to_body = (distance_to(mask) for mask in (arms, held))
    return np.where(loose & ~geo.pieces_at(loose, loose & (to_body < to_arm)), -1, label).astype(np.int8)


def without_scraps(body: BodyModel, label: Array, layers: dict[int, geo.Hits], unit: float) -> Array:
    """Labels (H, W) int8 without the pieces of a hand that lie away from its mesh and are thinner than a finger.

    Brown ground between thumb and finger, or the rim of a finger that is bent otherwise, would stand off the hand as
    dots when it turns.
    """
    segments, out = arm_segments(body), label.copy()
    for group in (geo.LEFT_ARM, geo.RIGHT_ARM):
        face = layers[group].face
        mine = label == group
        if not (face >= 0).any() or not mine.any():
            continue
        off = mine & (face < 0) & (segments[nearest_fill(face, face >= 0)] == HAND)
        far = off & (distance_to(face >= 0) > SCRAP * unit)
        out[far & ~geo.pieces_at(off, thick(off, 2 * unit))] = -1
    return out


def lay_before(layers: dict[int, geo.Hits], leak: Array, gap: float = 0.01) -> geo.Hits:
    """The body's layer with the pixels of ``leak`` (H, W) bool lying ``gap`` metres before the arms."""
    hits = layers[geo.BODY]
    if not leak.any() or not (hits.face >= 0).any():
        return hits
    _, rows, cols = nearest_of(hits.face >= 0)
    face, bary, depth = (values[rows, cols] for values in (hits.face, hits.bary, hits.depth))
    for group in (geo.LEFT_ARM, geo.RIGHT_ARM):
        arm = layers[group]
        depth = np.where(arm.face >= 0, np.minimum(depth, arm.depth - gap), depth)
    return geo.Hits(
        np.where(leak, face, hits.face), np.where(leak[..., None], bary, hits.bary),
        np.where(leak, depth, hits.depth).astype(np.float32),
    )  # fmt: skip


def taken_off(hits: geo.Hits, lock: Array) -> geo.Hits:
    """A layer without the pixels of ``lock`` (H, W) bool: hair lies on no mesh."""
    return replace(hits, face=np.where(lock, -1, hits.face))


def behind_arms(label: Array, on_mesh: Array, unit: float) -> Array:
    """Arm pixels (H, W) bool behind which the body goes on.

    There its mesh lies (``on_mesh``), and the picture shows it right beside, on two opposite sides, or around a dent
    that the arm makes in its outline. Behind an arm that hangs beside the body that outline is not known, and a mesh
    that is too wide there would come to light as a second arm. Loose hair has no mesh; it goes on behind a hand that
    has hair close above and below it.
    """
    body, arm = thick(label == geo.BODY, unit), np.isin(label, (geo.LEFT_ARM, geo.RIGHT_ARM))
    if not body.any():
        return arm & on_mesh
    square = ndimage.generate_binary_structure(2, 2)
    steps = max(round(BESIDE * unit), 1)
    near = ndimage.binary_dilation(body, square, iterations=steps, mask=body | arm)
    close = near & (distance_to(body) <= BESIDE * unit)
    reach = ACROSS * unit
    known = close | between(body, reach) | between(body.T, reach).T | dents(body, reach)
    behind = arm & ((on_mesh & known) | between(body, HAIR_GAP * unit))
    return behind & thick(behind | body, unit)


def dents(mask: Array, radius: float) -> Array:
    """Pixels (H, W) bool that a disc of that radius, rolled around ``mask`` (H, W) bool, does not reach."""
    pad = int(radius) + 2
    padded = np.pad(mask, pad, mode="edge")
    grown = distance_to(padded) <= radius
    closed = distance_to(~grown) > radius
    return closed[pad:-pad, pad:-pad] & ~mask


def between_fingers(body: BodyModel, label: Array, layers: dict[int, geo.Hits], half: int) -> Array:
    """Pixels (H, W) bool of the body or the ground in narrow gaps of a hand, up to 2 * ``half`` pixels wide.

    They are mixed with the fingers' colours, and a matte is seldom right there: left on the body they would stay behind
    as a hole or as specks when the hand moves.
    """
    segments, out = arm_segments(body), np.zeros(label.shape, bool)
    for group in (geo.LEFT_ARM, geo.RIGHT_ARM):
        face = layers[group].face
        if not (face >= 0).any() or half < 1:
            continue
        hand = (label == group) & (segments[nearest_fill(face, face >= 0)] == HAND)
        if hand.any():
            disc = np.hypot(*np.mgrid[-half : half + 1, -half : half + 1]) <= half
            out |= ndimage.binary_closing(np.pad(hand, half), disc)[half:-half, half:-half]
    return out & ((label == geo.BODY) | (label < 0))


def between(mask: Array, reach: float) -> Array:
    """Pixels (H, W) bool with ``mask`` both above and below in their column, each within ``reach`` pixels."""
    rows = np.arange(len(mask))[:, None]
    last = np.maximum.accumulate(np.where(mask, rows, -len(mask)), axis=0)
    following = np.minimum.accumulate(np.where(mask, rows, 2 * len(mask))[::-1], axis=0)[::-1]
    return (rows - last <= reach) & (following - rows <= reach) & ~mask


def cast_layers(body: BodyModel, vertices: Array, camera: Camera, unseen: Array) -> dict[int, geo.Hits]:
    """One depth layer per part group; back faces (seen through the cut at the shoulder) count as misses."""
    faces = np.asarray(body.faces)
    groups = geo.face_groups(body)
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    facing = (np.cross(b - a, c - a) * (camera.position - a)).sum(1) > 0
    layers = {}
    for group in range(7):
        hits = geo.cast(vertices, faces, camera, (groups == group) & ~unseen & (group != geo.SOCKET))
        if group != geo.MOUTH:
            seen = (hits.face >= 0) & facing[np.maximum(hits.face, 0)]
            hits = geo.Hits(np.where(seen, hits.face, -1), hits.bary, hits.depth)
        layers[group] = hits
    return layers


def front_labels(layers: dict[int, geo.Hits]) -> Array:
    """Group of the nearest layer, (H, W) int8, -1 where there is none."""
    depth = np.stack([np.where(layers[g].face >= 0, layers[g].depth, np.inf) for g in sorted(layers)])
    return np.where(np.isfinite(depth.min(0)), depth.argmin(0), -1).astype(np.int8)


def mixed_to_front(label: Array, band: Array) -> Array:
    """The mixed pixel on an edge between arm and body belongs to the arm, which lies in front."""
    edge = band & differs(label)
    for group in (geo.LEFT_ARM, geo.RIGHT_ARM):
        label = np.where(ndimage.binary_dilation(label == group) & edge & (label == geo.BODY), group, label)
    return label


def join_islands(label: Array, layers: dict[int, geo.Hits], smallest: int = 40) -> Array:
    """Give patches of a part that lie away from its mesh, or are tiny, to the part that they touch.

    Such a patch (a fingertip that fell to the body, a fleck of shirt between two fingers) would hang in the air when
    its surroundings move. Patches of the person that touch no other part are left alone.
    """
    islands = np.zeros(label.shape, bool)
    for group in (geo.BODY, geo.LEFT_ARM, geo.RIGHT_ARM):
        pieces, count = pieces_of(label == group)
        if count < 2:
            continue
        size = np.bincount(pieces.ravel(), minlength=count + 1)
        on_mesh = np.bincount(pieces[layers[group].face >= 0], minlength=count + 1)
        stray = (on_mesh < 0.02 * size) | (size < smallest)
        stray[[0, 1 + size[1:].argmax()]] = False
        islands |= stray[pieces]
    known = (label >= 0) & ~islands
    if not islands.any() or not known.any():
        return label
    gap, rows, cols = nearest_of(known)
    pieces, _ = pieces_of(islands)
    touching = np.unique(pieces[islands & (gap < 3)])
    take = islands & np.isin(pieces, touching)
    return np.where(take, label[rows, cols], label).astype(np.int8)


def label_face(label: Array, first: Array, detections: Detections | None) -> Array:
    """Mouth interior and eyeballs: from the landmark contours when a face was detected, else from the mesh."""
    out = label.copy()
    if detections is None or detections.face is None:
        inner = np.isin(first, (geo.MOUTH, geo.LEFT_EYE, geo.RIGHT_EYE)) & (label == geo.BODY)
        out[inner] = first[inner]
        return out
    face = detections.face
    for group, contour, shrink in (
        (geo.LEFT_EYE, LEFT_EYE, 0.94),
        (geo.RIGHT_EYE, RIGHT_EYE, 0.94),
        (geo.MOUTH, INNER_LIPS, 1.0),
    ):
        points = face[list(contour), :2]
        height = np.ptp(points[:, 1])
        gap = np.linalg.norm(face[13, :2] - face[14, :2])
        if group == geo.MOUTH and gap < max(OPEN_PIXELS, OPEN_SHARE * np.ptp(points[:, 0])):
            continue
        if height < 2:
            continue
        inside = fill_polygon(points, label.shape, shrink)
        out[inside & (label == geo.BODY)] = group
    return out


def smile_layer(body: BodyModel, vertices: Array, camera: Camera, hits: geo.Hits, mouth: Array) -> geo.Hits:
    """Bind what a smile shows to the upper teeth: all of a narrow opening, the upper part of a wide one.

    The registered jaw is seldom right to the millimetre, and teeth that hang on it would fall with the chin.
    """
    upper = geo.region(body, "upper_teeth")[np.asarray(body.faces)].all(1)
    if not mouth.any() or not upper.any():
        return hits
    teeth = geo.cast(vertices, np.asarray(body.faces), camera, upper)
    if not (teeth.face >= 0).any():
        return hits
    rows, cols = np.nonzero(mouth)
    top, bottom = np.full(mouth.shape[1], np.inf), np.full(mouth.shape[1], -np.inf)
    np.minimum.at(top, cols, rows)
    np.maximum.at(bottom, cols, rows)
    height = bottom[cols] - top[cols] + 1
    share = (rows - top[cols]) / np.maximum(height, 1)
    use = np.full(len(rows), np.median(height) < 0.22 * (np.ptp(cols) + 1)) | (share < 0.45)
    _, row, col = nearest_of(teeth.face >= 0)
    target, source = (rows[use], cols[use]), (row[rows[use], cols[use]], col[rows[use], cols[use]])
    face, bary, depth = hits.face.copy(), hits.bary.copy(), hits.depth.copy()
    face[target], bary[target] = teeth.face[source], teeth.bary[source]
    depth[target] = np.minimum(teeth.depth[source], hits.depth[target]) - 5e-4  # before tongue and lower teeth
    return geo.Hits(face, bary, depth)


def fill_polygon(points: Array, shape: tuple[int, ...], shrink: float = 1.0) -> Array:
    """Pixels (H, W) bool whose centres lie in the polygon ``points`` (n, 2), scaled about its middle by ``shrink``."""
    from skimage.draw import polygon2mask

    middle = points.mean(0)
    xy = middle + (points - middle) * shrink - 0.5
    return polygon2mask(shape[:2], xy[:, ::-1])
