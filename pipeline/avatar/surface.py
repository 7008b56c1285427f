"""Gaussians spread over the whole surface (paper Eq. 3): the UV layout, and an adaptive one that spends by need."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

from pipeline.avatar import geometry as geo
from pipeline.types import Camera

if TYPE_CHECKING:
    from pipeline.body import BodyModel

Array = np.ndarray

DENSITY = {
    "legs": 0.5, "feet": 0.4, "torso": 1.2, "left_arm": 1.5, "right_arm": 1.5, "neck": 2.5, "scalp": 2.0, "face": 6.0,
    "ears": 5.0, "left_hand": 6.0, "right_hand": 6.0, "mouth_cavity": 2.0, "tongue": 5.0, "teeth": 9.0, "lips": 14.0,
    "eyelids": 20.0, "eyeballs": 14.0,
}  # fmt: skip
"""Relative Gaussians per area; later names win. Lids and lips stretch most, hands and face are looked at most."""
FRONT_TEETH, FRONT = 40.0, 0.018
"""The same for teeth up to so many metres from the middle: gaps between them are fine lines."""

INSET = {
    "legs": 4e-3, "feet": 2e-3, "torso": 4e-3, "left_arm": 3e-3, "right_arm": 3e-3, "neck": 3e-3, "scalp": 4e-3,
    "face": 1.5e-3, "ears": 0.5e-3, "left_hand": 1e-3, "right_hand": 1e-3, "mouth_cavity": 0.0, "tongue": 0.0,
    "teeth": 0.0, "lips": 0.5e-3, "eyelids": 0.3e-3, "eyeballs": 0.3e-3,
}  # fmt: skip
"""How far below the surface (metres) the layer lies where photo-aligned Gaussians lie on top of it."""


def uv_layout(body: BodyModel, size: int = 512) -> tuple[Array, Array]:
    """The paper's layout: every texel of a ``size`` x ``size`` UV map that falls on the body (Eq. 3).

    Returns:
        face (N,) int64, bary (N, 3) float32.
    """
    vt, ft = np.asarray(body.vt, np.float32), np.asarray(body.ft)
    flat = np.concatenate([vt * size, np.ones((len(vt), 1), np.float32)], 1)
    flatland = Camera(np.eye(4, dtype=np.float32), np.eye(3, dtype=np.float32), size, size)
    hits = geo.cast(flat.astype(np.float32), ft, flatland)
    on = hits.face >= 0
    return hits.face[on], hits.bary[on].astype(np.float32)


def per_vertex(body: BodyModel, table: dict[str, float], default: float) -> Array:
    """A value per vertex from a table of regions, later names winning, (V,)."""
    out = np.full(len(body.v_template), default, np.float32)
    for name, value in table.items():
        out[geo.region(body, name)] = value
    return out


def areas(vertices: Array, faces: Array) -> Array:
    """Triangle areas (F,) in square metres."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1)


def adaptive_layout(
    body: BodyModel, canonical: Array, count: int, visible: Array | None = None, widest: Array | None = None
) -> tuple[Array, Array]:
    """About ``count`` points, evenly spread within a region, denser where it matters (:data:`DENSITY`).

    Args:
        canonical: (V, 3) canonical mesh of this person. visible: (V,) bool, vertices inside the photo's frame; others
            get a third. widest: (V, 3) another state of the mesh; a triangle counts with its larger area.

    Returns:
        face (N,) int64, bary (N, 3) float32. Deterministic: a low-discrepancy sequence, no random numbers.
    """
    faces = np.asarray(body.faces)
    density = per_vertex(body, DENSITY, 1.0)
    front = geo.region(body, "teeth") & (np.abs(np.asarray(body.v_template)[:, 0]) < FRONT)
    density[front] = FRONT_TEETH
    if visible is not None:
        density = density * np.where(visible, 1.0, 0.35)
    area = areas(canonical, faces)
    if widest is not None:
        area = np.maximum(area, areas(widest, faces))
    need = area * density[faces].mean(1) * ~never_seen(body)
    total = np.cumsum(need / need.sum() * count)
    per_face = np.diff(np.floor(np.r_[0.0, total])).astype(np.int64)
    face = np.repeat(np.arange(len(faces)), per_face)
    sequence = np.arange(1, len(face) + 1)
    u, v = (sequence * 0.7548776662466927) % 1.0, (sequence * 0.5698402909980532) % 1.0
    fold = u + v > 1
    u, v = np.where(fold, 1 - u, u), np.where(fold, 1 - v, v)
    return face, np.stack([1 - u - v, u, v], 1).astype(np.float32)


def never_seen(body: BodyModel, depth: float = 0.006) -> Array:
    """Triangles that are only ever seen from behind, (F,) bool: the walls of mouth and eye sockets next to the skin.

    Gaussians have no back faces, so these would stand before teeth and eyes. What is ``depth`` metres behind the front
    of the teeth, or behind the middle of the eyes, stays.
    """
    template, faces = np.asarray(body.v_template), np.asarray(body.faces)
    z = template[faces, 2].max(1)
    teeth, balls = geo.region(body, "teeth"), geo.region(body, "eyeballs")
    out = np.zeros(len(faces), bool)
    if teeth.any():
        cavity = geo.region(body, "mouth_cavity")[faces].any(1)
        out |= cavity & (z > template[teeth, 2].max() - depth)
    if balls.any():
        middle = 0.5 * (template[balls, 2].max() + template[balls, 2].min())
        out |= geo.region(body, "eye_cavity")[faces].any(1) & (z > middle)
    return out


def unfolding_lids(body: BodyModel, canonical: Array, blink: Array, factor: float = 1.5) -> Array:
    """Triangles of the eyelids that a blink unfolds to more than ``factor`` times their area, (F,) bool.

    Args:
        canonical, blink: (V, 3) canonical mesh with the photo's expression, and with both eyes closed.
    """
    faces = np.asarray(body.faces)
    on_lid = geo.region(body, "eyelids")[faces].any(1) & ~geo.region(body, "eyeballs", "eye_cavity")[faces].any(1)
    return on_lid & (areas(blink, faces) > factor * areas(canonical, faces))


def spacing(points: Array, group: Array, k: int = 5) -> tuple[Array, Array]:
    """Mean distance to the ``k`` nearest points of the same group (N,), and their 4 nearest as neighbours (N, 4)."""
    gap = np.full(len(points), 5e-3, np.float32)
    neighbours = np.full((len(points), 4), -1, np.int64)
    for g in np.unique(group):
        mine = np.flatnonzero(group == g)
        if len(mine) <= k:
            continue
        distance, index = cKDTree(points[mine]).query(points[mine], k=k + 1)
        gap[mine] = distance[:, 1:].mean(1)
        neighbours[mine] = mine[index[:, 1:5]]
    return gap, neighbours
