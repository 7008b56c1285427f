"""Where sleeve and hand meet: a line around the wrist, and not the zigzag of the mesh's triangles.

The colours of what the photo does not show are those of vertices a centimetre apart. Mixed within the triangles that
join sleeve and hand, they would fade into each other along a zigzag.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

from pipeline.avatar import geometry as geo

if TYPE_CHECKING:
    from pipeline.body import BodyModel

Array = np.ndarray

ROUNDS = 8
"""Averages over neighbouring vertices that straighten the line."""
NEAREST = 3
"""Vertices of a material that say what colour it has beyond its edge."""


def sharp_colors(body: BodyModel, rgb: Array, face: Array, bary: Array) -> Array:
    """Colours of points on the body, with a sharp edge between hands and arms.

    Args:
        rgb: (V, 3) of the vertices. face: (N,), bary: (N, 3) of the points.

    Returns:
        (N, 3): mixed within triangles, and next to the wrist within one material.
    """
    faces = np.asarray(body.faces)
    hand = geo.region(body, "left_hand", "right_hand")
    side = wrist_side(faces, hand)
    corners = faces[face]
    out = (rgb[corners] * bary[..., None]).sum(1)
    near = np.flatnonzero((np.abs(side[corners]) < 1 - 1e-6).any(1))
    if len(near) == 0:
        return out
    vertex, where = np.unique(corners[near], return_inverse=True)
    both = np.stack([beyond_edge(body, rgb, vertex, mine) for mine in (~hand, hand)])
    on_hand = (side[corners[near]] * bary[near]).sum(1) > 0
    own = both[on_hand.astype(int)[:, None], where.reshape(-1, 3)]
    out[near] = (own * bary[near][..., None]).sum(1)
    return out


def wrist_side(faces: Array, hand: Array) -> Array:
    """1 on hands, -1 elsewhere, and smooth between them: 0 is the line around the wrist. (V,)."""
    laplacian = geo.graph_laplacian(geo.edges_of(faces), len(hand))
    around = laplacian.diagonal() + 1
    side = np.where(hand, 1.0, -1.0)
    for _ in range(ROUNDS):
        side = side - (laplacian @ side) / around
    return side


def beyond_edge(body: BodyModel, rgb: Array, vertex: Array, material: Array) -> Array:
    """Colours (n, 3) that ``vertex`` (n,) would have if they were of a ``material`` (V,) bool: their own if they are,
    else those of the nearest that are."""
    template = np.asarray(body.v_template)
    mine = np.flatnonzero(material)
    out = rgb[vertex].copy()
    others = ~material[vertex]
    out[others] = rgb[mine][cKDTree(template[mine]).query(template[vertex[others]], k=NEAREST)[1]].mean(1)
    return out
