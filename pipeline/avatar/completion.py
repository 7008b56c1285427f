"""Colours of the surface that the photo does not show: mirror symmetry, then diffusion that respects materials.

Works on the vertices of the mesh (about 1 cm apart on the body, 3 mm in the face), which is as much detail as a guess
deserves; the Gaussians of the surface layer interpolate it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import factorized
from scipy.spatial import cKDTree

from pipeline.avatar import geometry as geo

if TYPE_CHECKING:
    from pipeline.body import BodyModel

Array = np.ndarray

CLOTH, FACE, HAIR, LEFT_HAND, RIGHT_HAND, LIPS, INSIDE, EYES, NECK = range(9)
"""Materials: colour hardly flows from one to another."""

LEAK = 0.02
"""Strength of an edge between two materials, relative to one within a material."""

DULL = 0.8
"""Least saturation of skin that does not shine, relative to the commonest of a face."""
DARKEST_HAND = 0.95
"""Least brightness of a guessed hand relative to the face: darker, what was seen of it lay in shadow."""
BARE = 0.15
"""A hand whose colour differs less from the face wears no glove: both have a say."""
SLEEVE_EDGE = 0.12
"""Difference per channel from which on two neighbours on an arm are sleeve and skin, and do not mix."""
STRETCH = 0.025
"""Length in metres of the stretches of an arm that get a colour each."""
ENOUGH_ARM, AROUND_SHOULDER = 20, 0.12
"""Seen vertices of an arm from which its colours are taken; with fewer, those within so many metres of its shoulder."""
ELSEWHERE = 1.0
"""Say of the rest of the arm, of the other arm and of the torso in a stretch's colour, relative to what is near."""
SEVERAL = 5
"""Vertices that say how far an arm is shown."""
ENOUGH_HAND, ENOUGH_LIT = 100, 40
"""Seen vertices of hands (of 1600 each) from which their colour is taken; fewer are often in shadow or wrong, unless
they are brighter than the face."""
PAIRS, BRIGHTEST = 15, 3.0
"""Vertices of an arm that are seen on both sides, from which the difference of their light is taken; and its limit."""


@dataclass(frozen=True)
class Completion:
    """Colour (V, 3) and guess (V,) 0..1 of every vertex, and the person's skin colour (3,)."""

    rgb: Array
    guessed: Array
    skin: Array


def materials(body: BodyModel) -> Array:
    """Material of every vertex, (V,) int8."""
    out = np.full(len(body.v_template), CLOTH, np.int8)
    out[geo.region(body, "neck")] = NECK
    out[geo.region(body, "scalp")] = HAIR
    out[geo.region(body, "face", "ears", "eyelids", "under_chin")] = FACE
    out[geo.region(body, "left_hand")] = LEFT_HAND
    out[geo.region(body, "right_hand")] = RIGHT_HAND
    out[geo.region(body, "lips")] = LIPS
    out[geo.mouth_interior(body) | geo.region(body, "eye_cavity")] = INSIDE
    out[geo.region(body, "eyeballs", "left_eyeball", "right_eyeball")] = EYES
    return out


def gather_colors(body: BodyModel, face: Array, bary: Array, rgb: Array, weight: Array) -> tuple[Array, Array]:
    """Mean colour of the samples around every vertex.

    Args:
        face (N,), bary (N, 3), rgb (N, 3), weight (N,): seen samples on the mesh.

    Returns:
        (V, 3) colours, (V,) total weight (0: unseen).
    """
    n = len(body.v_template)
    corners = np.asarray(body.faces)[face]
    share = bary * weight[:, None]
    total = np.bincount(corners.ravel(), share.ravel(), n)
    sums = np.stack([np.bincount(corners.ravel(), (share * rgb[:, c : c + 1]).ravel(), n) for c in range(3)], 1)
    return (sums / np.maximum(total, 1e-9)[:, None]).astype(np.float32), total.astype(np.float32)


def mirror_map(body: BodyModel, reach: float = 0.01) -> Array:
    """For every vertex the nearest vertex of the mirrored template, (V,) int64, -1 where the body is not symmetric."""
    template = np.asarray(body.v_template)
    distance, index = cKDTree(template).query(template * np.array([-1.0, 1.0, 1.0]))
    return np.where(distance < reach, index, -1)


def skin_color(body: BodyModel, rgb: Array, seen: Array) -> Array:
    """The person's skin (3,) where light falls on it; a middle tone if no face is seen.

    Of the brighter colours of the seen face without lips and lids, so without beard, hair and shadow, it lies halfway
    between the commonest, the more saturated ones first, and the middle of the lighter half that is no shine: a face's
    commonest colour is that of its flanks, darker and redder than hands beside it.
    """
    skin = seen & geo.region(body, "face") & ~geo.region(body, "lips", "eyelids", "eyeballs", "mouth_cavity")
    if skin.sum() < 20:
        skin = seen & geo.region(body, "left_hand", "right_hand")
    if skin.sum() < 20:
        return np.array([0.7, 0.53, 0.45], np.float32)
    colours = rgb[skin]
    luma = colours.mean(1)
    lit = colours[(luma >= np.quantile(luma, 0.4)) & (luma <= np.quantile(luma, 0.95))]
    saturation = 1 - lit.min(1) / np.maximum(lit.max(1), 1e-3)
    usual = commonest(lit, saturation + 1e-3)
    dull = saturation >= DULL * (1 - usual.min() / max(usual.max(), 1e-3))
    lighter = lit[dull & (lit.mean(1) >= np.median(lit.mean(1)))]
    return (0.5 * (usual + np.median(lighter, axis=0)) if len(lighter) else usual).astype(np.float32)


def complete(body: BodyModel, rgb: Array, weight: Array) -> Completion:
    """Fill every unseen vertex.

    Args:
        rgb (V, 3), weight (V,): from :func:`gather_colors`.

    Returns:
        Completion. Order of trust: the photo, the mirrored vertex, diffusion within the material, skin for hands.
    """
    material = materials(body)
    seen = weight > 0.3
    skin = skin_color(body, rgb, seen)
    data, target = np.where(seen, 8.0, 1e-5), np.where(seen[:, None], rgb, skin)
    mirror = mirror_map(body)
    paired = (mirror >= 0) & seen[mirror] & (material == material[mirror])
    light = _other_light(body, paired & seen, rgb, mirror)
    _hands(body, material, seen, rgb, skin, data, target)
    _arms(body, material, seen, rgb, light, data, target)
    _hair(material, seen, rgb, data, target)
    _neck(material, seen, rgb, skin, data, target)
    mirrored = paired & ~seen
    data[mirrored], target[mirrored] = 0.4, np.clip(rgb[mirror] * light, 0, 1)[mirrored]
    edges = geo.edges_of(np.asarray(body.faces))
    strength = np.where(material[edges[:, 0]] == material[edges[:, 1]], 1.0, LEAK)
    sharp = np.isin(material[edges], (LEFT_HAND, RIGHT_HAND)).sum(1) == 1  # a cuff does not fade into the hand
    strength[sharp] = 0.0
    arm = geo.region(body, "left_arm", "right_arm") & (material == CLOTH)
    unlike = np.abs(target[edges[:, 0]] - target[edges[:, 1]]).max(1) > SLEEVE_EDGE
    strength[arm[edges].all(1) & unlike] *= LEAK  # nor does a sleeve into a bare forearm
    laplacian = geo.graph_laplacian(edges, len(rgb), strength)
    solve = factorized((laplacian + sp.diags(data)).tocsc())
    filled = np.stack([solve(data * target[:, c]) for c in range(3)], 1)
    filled = np.where(seen[:, None], rgb, np.clip(filled, 0, 1))
    guessed = np.where(seen, 0.0, np.where(mirrored, 0.6, 1.0))
    return Completion(filled.astype(np.float32), guessed.astype(np.float32), skin)


def _other_light(body: BodyModel, pairs: Array, rgb: Array, mirror: Array) -> Array:
    """Brightness of every vertex relative to its mirror image, (V, 1): one arm may lie in shadow.

    Args:
        pairs: (V,) bool, seen on both sides. rgb: (V, 3). mirror: (V,).
    """
    out = np.ones((len(rgb), 1), np.float32)
    for side in ("left", "right"):
        limb = geo.region(body, f"{side}_arm", f"{side}_hand")
        known = limb & pairs
        if known.sum() >= PAIRS:
            ratio = rgb[known].mean(1) / np.maximum(rgb[mirror[known]].mean(1), 0.02)
            out[limb] = np.clip(np.median(ratio), 1 / BRIGHTEST, BRIGHTEST)
    return out


def _hands(
    body: BodyModel, material: Array, seen: Array, rgb: Array, skin: Array, data: Array, target: Array
) -> None:
    """Unseen hand vertices: skin of the seen hand part, else of the face; light comes with the pose."""
    shade = _creases(body)
    both = seen & np.isin(material, (LEFT_HAND, RIGHT_HAND))
    for hand in (LEFT_HAND, RIGHT_HAND):
        mine = material == hand
        own = seen & mine
        base = skin
        for candidates in (own, both):
            lit = candidates.sum() >= ENOUGH_LIT and np.median(rgb[candidates].mean(1)) > skin.mean()
            if candidates.sum() >= ENOUGH_HAND or lit:
                base = commonest(rgb[candidates], rgb[candidates].mean(1))
                base = base * max(1.0, DARKEST_HAND * skin.mean() / max(base.mean(), 1e-3))
                bare = np.abs(base - skin).max() < BARE
                base = 0.5 * (base + skin) if bare else base
                break
        todo = mine & ~seen
        data[todo], target[todo] = 0.15, np.clip(base * shade[todo, None], 0, 1)


def _arms(
    body: BodyModel, material: Array, seen: Array, rgb: Array, light: Array, data: Array, target: Array
) -> None:
    """Unseen sleeves and forearms lean towards the commonest colour that the same arm shows at that height.

    So a short sleeve stays a sleeve and the arm below it skin. Beyond what is shown its last stretch counts; where that
    is of several colours (a badge), the rest of the arm, the other arm and the torso have a say.
    """
    template = np.asarray(body.v_template)
    normals = geo.vertex_normals(template, np.asarray(body.faces))
    shade, along = 0.92 + 0.08 * normals[:, 1], np.abs(template[:, 0])
    torso = seen & geo.region(body, "torso") & (material == CLOTH)
    arms = {name: geo.region(body, name) & (material == CLOTH) for name in ("left_arm", "right_arm")}
    shoulder = template[arms["left_arm"]][along[arms["left_arm"]].argmin()]
    around = np.linalg.norm(np.c_[along, template[:, 1:]] - (abs(shoulder[0]), *shoulder[1:]), axis=1)
    for name, other in (("left_arm", "right_arm"), ("right_arm", "left_arm")):
        shown, across = seen & arms[name], seen & arms[other]
        few = shown.sum() < ENOUGH_ARM
        if few:
            shown = shown | across | (torso & (around < AROUND_SHOULDER))
        if not shown.any():
            continue
        known = np.flatnonzero(shown | across | torso)
        starts = np.arange(0.0, along[arms[name]].max(), STRETCH)
        gap = np.abs(along[known] - starts[:, None] - 0.5 * STRETCH)
        if few:  # at every height the same; what is on an arm says more than what is beside it
            weight = np.broadcast_to(np.where(torso[known], 1.0, 5.0) * shown[known], gap.shape)
        else:
            near = _nearest(gap, shown[known], across[known])
            anywhere = np.where(shown[known], 0.1, np.where(torso[known], 0.02, 0.05))
            weight = near / near.sum(1, keepdims=True) + ELSEWHERE * anywhere / anywhere.sum()
        shining = rgb[known] * np.where(across[known, None], light[arms[name]][0], 1.0)
        for start, base in zip(starts, commonest(shining, weight), strict=True):
            todo = arms[name] & ~seen & (along >= start) & (along < start + STRETCH)
            data[todo], target[todo] = 0.1, np.clip(base * shade[todo, None], 0, 1)


def _nearest(gap: Array, own: Array, other: Array) -> Array:
    """Weights (M, N) of what is nearest to M heights on an arm; of the other arm where only that one is shown there.

    Several vertices must be near, since a single one may be a mistake.

    Args:
        gap: (M, N) distance of N known vertices along the arm, metres. own, other: (N,) bool, on which arm they are.
    """
    least = [np.sort(np.where(arm, gap, np.inf), axis=1)[:, SEVERAL - 1 : SEVERAL] for arm in (own, other)]
    across = least[1] + STRETCH < least[0]
    mine = np.where(across, other, own)
    nearest = np.where(across, least[1], least[0])
    return mine * np.exp(np.minimum(nearest**2 - gap**2, 0.0) / STRETCH**2)


def commonest(rgb: Array, weight: Array, width: float = 0.08) -> Array:
    """The colour around which most of the weight lies: a mode, not a mix.

    Args:
        rgb: (N, 3). weight: (N,), or (M, N) for M answers.
        width: standard deviation of what counts as the same colour.

    Returns:
        (3,) or (M, 3).
    """
    from scipy.spatial.distance import cdist

    alike = np.exp(-cdist(rgb, rgb, "sqeuclidean") / (2 * width**2))
    around = alike[(weight @ alike).argmax(-1)] * weight
    return (around @ rgb) / around.sum(-1, keepdims=True)


def _neck(material: Array, seen: Array, rgb: Array, skin: Array, data: Array, target: Array) -> None:
    """The unseen neck leans towards its seen part, else towards shaded skin: bare or collared, but no mix of both."""
    neck, shown = material == NECK, seen & (material == NECK)
    base = commonest(rgb[shown], np.ones(shown.sum())) if shown.sum() >= 15 else 0.8 * skin
    todo = neck & ~seen
    data[todo], target[todo] = 0.1, base


def _creases(body: BodyModel) -> Array:
    """Darkening of concave places (between fingers, in the palm's lines), (V,) 0.8..1.05."""
    template = np.asarray(body.v_template)
    faces = np.asarray(body.faces)
    laplacian = geo.graph_laplacian(geo.edges_of(faces), len(template))
    degree = np.maximum(laplacian.diagonal(), 1)
    bump = ((laplacian @ template) / degree[:, None] * geo.vertex_normals(template, faces)).sum(1)
    return np.clip(1 + 60.0 * bump, 0.8, 1.05)


def _hair(material: Array, seen: Array, rgb: Array, data: Array, target: Array) -> None:
    """The back of the head leans towards the commonest colour of the seen scalp."""
    hair = seen & (material == HAIR)
    if hair.sum() >= 15:
        todo = (material == HAIR) & ~seen
        data[todo], target[todo] = 0.02, commonest(rgb[hair], np.ones(hair.sum()))
