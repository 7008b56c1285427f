"""Small geometric helpers of the fit: ray casting through pixels, graphs on the mesh, part groups. NumPy only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
import torch
from scipy import ndimage

from pipeline.pixels import pieces_of
from pipeline.types import Camera

if TYPE_CHECKING:
    from pipeline.body import BodyModel

Array = np.ndarray

BODY, LEFT_ARM, RIGHT_ARM, MOUTH, LEFT_EYE, RIGHT_EYE, SOCKET = range(7)
"""Part groups: what may lie in front of one another in a portrait, and so needs its own depth layer. No pixel of a
photo is ever attached to a socket (the inside of the head behind an eyeball)."""

LEFT_ARM_JOINTS = (16, 18, 20, *range(25, 40))
RIGHT_ARM_JOINTS = (17, 19, 21, *range(40, 55))


@dataclass(frozen=True)
class Hits:
    """Where each pixel's ray meets a mesh.

    Attributes:
        face: (H, W) int64, -1 where it misses. bary: (H, W, 3). depth: (H, W) metres along the camera's z.
    """

    face: Array
    bary: Array
    depth: Array


def cast(vertices: Array, faces: Array, camera: Camera, keep: Array | None = None) -> Hits:
    """Cast a ray through every pixel centre.

    Args:
        vertices: (V, 3) world. faces: (F, 3) int64. keep: (F,) bool, triangles that may be hit; all if None.

    Returns:
        Hits; ``face`` indexes ``faces`` whether or not ``keep`` is given.
    """
    from pipeline.render import rasterize_mesh

    ids = np.arange(len(faces)) if keep is None else np.flatnonzero(keep)
    if len(ids) == 0:
        shape = (camera.height, camera.width)
        return Hits(np.full(shape, -1, np.int64), np.zeros((*shape, 3), np.float32), np.zeros(shape, np.float32))
    out = rasterize_mesh(
        torch.as_tensor(vertices, dtype=torch.float32), torch.as_tensor(np.ascontiguousarray(faces[ids])), camera
    )
    face = np.asarray(out.face, dtype=np.int64)
    return Hits(np.where(face >= 0, ids[np.maximum(face, 0)], -1), np.asarray(out.bary), np.asarray(out.depth))


def unproject(camera: Camera, x: Array, y: Array, depth: Array) -> Array:
    """World points (..., 3) at pixel coordinates ``x``, ``y`` and camera depth."""
    K = camera.K
    rays = np.stack([(x - K[0, 2]) / K[0, 0], (y - K[1, 2]) / K[1, 1], np.ones_like(x)], -1)
    return to_world(camera, rays * depth[..., None])


def to_world(camera: Camera, points: Array) -> Array:
    """Camera axes to world axes, (..., 3)."""
    R, t = camera.viewmat[:3, :3], camera.viewmat[:3, 3]
    return ((points - t) @ R).astype(np.float32)


def sample_image(image: Array, x: Array, y: Array) -> Array:
    """Bilinear samples of (H, W) or (H, W, C) at pixel coordinates (centres at + 0.5), clamped at the border."""
    h, w = image.shape[:2]
    fx, fy = np.clip(x - 0.5, 0, w - 1.001), np.clip(y - 0.5, 0, h - 1.001)
    x0, y0 = fx.astype(np.int64), fy.astype(np.int64)
    tx, ty = fx - x0, fy - y0
    if image.ndim == 3:
        tx, ty = tx[..., None], ty[..., None]
    top = image[y0, x0] * (1 - tx) + image[y0, x0 + 1] * tx
    bottom = image[y0 + 1, x0] * (1 - tx) + image[y0 + 1, x0 + 1] * tx
    return top * (1 - ty) + bottom * ty


def pieces_at(mask: Array, other: Array) -> Array:
    """The connected pieces of ``mask`` (H, W) bool that touch or overlap ``other`` (H, W) bool."""
    pieces, _ = pieces_of(mask)
    return mask & np.isin(pieces, np.unique(pieces[ndimage.binary_dilation(other, np.ones((3, 3), bool))]))


def carried(mask: Array, mesh: Array) -> Array:
    """The connected pieces of a part's pixels ``mask`` (H, W) bool of which some lie on its ``mesh`` (H, W) bool.

    Others would hang in the air when what is beside them leaves.
    """
    return pieces_at(mask, mask & mesh)


def edges_of(faces: Array) -> Array:
    """Unique undirected edges (E, 2) of triangles (F, 3)."""
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    return np.unique(edges, axis=0)


def graph_laplacian(edges: Array, n: int, weights: Array | float = 1.0) -> sp.csr_matrix:
    """``D - W`` of an undirected weighted graph, (n, n)."""
    w = np.broadcast_to(np.asarray(weights, np.float64), (len(edges),))
    i, j = edges[:, 0], edges[:, 1]
    W = sp.coo_matrix((np.r_[w, w], (np.r_[i, j], np.r_[j, i])), shape=(n, n)).tocsr()
    out: Any = (sp.diags(np.asarray(W.sum(1)).ravel()) - W).tocsr()
    return out


def knn_edges(points: Array, k: int) -> Array:
    """Undirected edges (E, 2) between each point (N, 3) and its ``k`` nearest."""
    from scipy.spatial import cKDTree

    k = min(k, len(points) - 1)
    _, index = cKDTree(points).query(points, k=k + 1)
    pairs = np.stack([np.repeat(np.arange(len(points)), k), index[:, 1:].ravel()], 1)
    return np.unique(np.sort(pairs, axis=1), axis=0)


def facing_camera(point: Array, normal: Array, camera: Camera) -> Array:
    """Cosine (N,) between normals (N, 3), of any length, and the way from points (N, 3) to the camera."""
    view = camera.position - point
    length = np.linalg.norm(view, axis=1) * np.linalg.norm(normal, axis=1)
    return (normal * view).sum(1) / np.maximum(length, 1e-9)


def vertex_normals(vertices: Array, faces: Array) -> Array:
    """Area-weighted unit normals (V, 3)."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    out = np.zeros_like(vertices)
    for k in range(3):
        for axis in range(3):
            out[:, axis] += np.bincount(faces[:, k], normal[:, axis], len(vertices)).astype(out.dtype)
    return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12)


def region(body: BodyModel, *names: str) -> Array:
    """Union of the body's vertex regions, (V,) bool; unknown names count as empty."""
    out = np.zeros(len(body.v_template), bool)
    for name in names:
        if name in body.regions:
            out |= np.asarray(body.regions[name], dtype=bool)
    return out


def mouth_interior(body: BodyModel) -> Array:
    """Vertices of teeth, tongue and mouth cavity, (V,) bool."""
    return region(body, "teeth", "tongue", "mouth_cavity") & ~region(body, "lips")


def vertex_groups(body: BodyModel) -> Array:
    """Part group of every vertex, (V,) int8."""
    weights = np.asarray(body.lbs_weights)
    out = np.full(len(weights), BODY, np.int8)
    out[weights[:, list(LEFT_ARM_JOINTS)].sum(1) > 0.5] = LEFT_ARM
    out[weights[:, list(RIGHT_ARM_JOINTS)].sum(1) > 0.5] = RIGHT_ARM
    out[mouth_interior(body)] = MOUTH
    out[region(body, "eye_cavity")] = SOCKET
    out[region(body, "left_eyeball")] = LEFT_EYE
    out[region(body, "right_eyeball")] = RIGHT_EYE
    return out


def face_groups(body: BodyModel) -> Array:
    """Part group of every triangle (F,) int8: that of most of its corners."""
    groups = vertex_groups(body)[np.asarray(body.faces)]
    return np.where(groups[:, 1] == groups[:, 2], groups[:, 1], groups[:, 0]).astype(np.int8)
