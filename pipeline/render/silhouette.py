"""A soft mesh mask whose edges carry gradients: the analytic edge antialiasing of Laine et al. 2020 (nvdiffrast).

Where a silhouette edge passes between the centres of a covered and an uncovered pixel, the pixel that it cuts is
covered in proportion to where it passes. That place depends on the two ends of the edge, and so the mask depends on the
vertices. Unlike nvdiffrast we look for the edge among all silhouette edges and not only in the triangle of the covered
pixel, so that meshes with triangles smaller than a pixel lose no gradient.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pipeline.render import mesh_kernels as kernels
from pipeline.render.backends import MASKS, pick_backend
from pipeline.render.mesh import MeshFragments, mesh_arrays, rasterize_mesh
from pipeline.types import Array, Camera


class MeshEdges(NamedTuple):
    """Edges of a mesh: ``ends`` (E, 2) vertices, ``opposite`` (E, 2) third vertices of its faces.

    The second is -1 on a border, and where more than two faces meet.
    """

    ends: Array
    opposite: Array


class Crossings(NamedTuple):
    """Flat indices of the ``covered`` and the ``empty`` pixel, ``axis`` (0: along x), ``ends`` (P, 2) of the edge."""

    covered: Array
    empty: Array
    axis: Array
    ends: Array


def mesh_mask(
    vertices: Tensor,
    faces: Array | Tensor,
    camera: Camera,
    *,
    fragments: MeshFragments | None = None,
    backend: str | None = None,
) -> Tensor:
    """The silhouette of a mesh with soft edges, differentiable with respect to its vertices.

    Args:
        vertices: (V, 3) world, metres.
        faces: (F, 3).
        camera: pinhole camera.
        fragments: of :func:`rasterize_mesh` for the same mesh and camera, when they are known already.
        backend: "cpu", "nvdiffrast", "triton", or None for the first of nvdiffrast and triton that works where the
            vertices are on a CUDA device, and cpu elsewhere.

    Returns:
        (H, W) float32 coverage in 0..1.

    Raises:
        PipelineError: as :func:`rasterize_mesh`, or the backend is not available.
    """
    chosen = pick_backend(backend, vertices, MASKS)
    if chosen == "nvdiffrast":
        from pipeline.render.cuda import mesh_mask_nvdiffrast

        return mesh_mask_nvdiffrast(vertices, faces, camera)
    if chosen == "triton":
        from pipeline.render.triton_mask import mesh_mask_triton

        return mesh_mask_triton(vertices, faces, camera)
    _, faces = mesh_arrays(vertices, faces)
    if fragments is None:
        fragments = rasterize_mesh(vertices, faces, camera)
    inside = fragments.face >= 0
    crossings = _find_crossings(vertices, faces, camera, inside)
    return _cover(vertices, camera, inside, crossings)


def mesh_edges(faces: Array) -> MeshEdges:
    """The edges of triangles (F, 3) int64; the last few meshes are remembered."""
    return _mesh_edges(faces.tobytes())


@functools.lru_cache(maxsize=4)
def _mesh_edges(data: bytes) -> MeshEdges:
    faces = np.frombuffer(data, np.int64).reshape(-1, 3)
    half = np.concatenate([faces[:, [0, 1, 2]], faces[:, [1, 2, 0]], faces[:, [2, 0, 1]]])
    low, high = half[:, :2].min(1), half[:, :2].max(1)
    order = np.lexsort((high, low))
    low, high, third = low[order], high[order], half[order, 2]
    new = np.ones(len(order), bool)
    new[1:] = (low[1:] != low[:-1]) | (high[1:] != high[:-1])
    first = np.flatnonzero(new)
    count = np.diff(np.append(first, len(order)))
    second = np.where(count == 2, third[np.minimum(first + 1, len(order) - 1)], -1)
    return MeshEdges(np.stack([low[first], high[first]], 1), np.stack([third[first], second], 1))


def _find_crossings(vertices: Tensor, faces: Array, camera: Camera, inside: Array) -> Crossings:
    """All pairs of pixels whose coverage a silhouette edge decides, in scan order."""
    points = vertices.detach().cpu().numpy().astype(np.float64)
    with np.errstate(all="ignore"):
        points = points @ camera.viewmat[:3, :3].T.astype(np.float64) + camera.viewmat[:3, 3]
        depth = points[:, 2]
        screen = points[:, :2] / depth[:, None] * camera.K[[0, 1], [0, 1]] + camera.K[:2, 2]
    edges = mesh_edges(faces)
    edge_of, at = np.full((2, *inside.shape), -1, np.int32), np.empty((2, *inside.shape))
    kernels.silhouette_crossings(edges.ends, edges.opposite, screen, depth, inside, edge_of, at)
    axis, y, x = np.nonzero(edge_of >= 0)
    width = inside.shape[1]
    first = y * width + x
    other = first + np.where(axis == 0, 1, width)
    covered_first = inside[y, x]
    ends = edges.ends[edge_of[axis, y, x]]
    return Crossings(np.where(covered_first, first, other), np.where(covered_first, other, first), axis, ends)


def _cover(vertices: Tensor, camera: Camera, inside: Array, crossings: Crossings) -> Tensor:
    """The mask: 1 inside, 0 outside, and in between what the crossings say."""
    device, (height, width) = vertices.device, inside.shape
    covered, empty, axis, ends = (torch.from_numpy(a).to(device) for a in crossings)
    viewmat, K = torch.from_numpy(camera.viewmat).to(vertices), torch.from_numpy(camera.K).to(vertices)
    points = vertices[ends.reshape(-1)] @ viewmat[:3, :3].T + viewmat[:3, 3]
    screen = points[:, :2] / points[:, 2:] * torch.diagonal(K)[:2] + K[:2, 2]
    p, q = screen.reshape(-1, 2, 2).unbind(1)
    pick, other = axis[:, None], 1 - axis[:, None]
    center = torch.stack([covered % width, covered // width], -1) + 0.5
    direction = torch.stack([empty % width, empty // width], -1) + 0.5 - center
    slope = (q - p).gather(1, pick) / (q - p).gather(1, other)
    crossing = p.gather(1, pick) + (center.gather(1, other) - p.gather(1, other)) * slope
    t = ((crossing - center.gather(1, pick)) * direction.gather(1, pick))[:, 0]
    mask = torch.from_numpy(inside).to(device, vertices.dtype).reshape(-1)
    mask = mask.index_add(0, covered, -(0.5 - t).clamp(0.0, 0.5)).index_add(0, empty, (t - 0.5).clamp(0.0, 0.5))
    return mask.clamp(0.0, 1.0).reshape(height, width)
