"""Mesh rasteriser: which triangle a pixel sees, and pictures made from that.

Takes numpy arrays or torch tensors. Normals and interpolated attributes are of the kind that went in (torch:
differentiable), everything else is numpy. Triangles are seen from both sides. World to picture as in
:class:`pipeline.types.Camera`; near plane 0.01 m.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from pipeline.render import mesh_kernels as kernels
from pipeline.render.parallel import run, task_count
from pipeline.types import Array, Camera, PipelineError

ArrayOrTensor = TypeVar("ArrayOrTensor", Array, Tensor)

SKIN_GREY = (0.72, 0.66, 0.62)
AMBIENT = 0.25


class MeshFragments(NamedTuple):
    """What every pixel sees (numpy, no gradient).

    Attributes:
        face: (H, W) int64, the triangle, -1 where there is none.
        bary: (H, W, 3) float32 perspective-correct barycentrics of the pixel's centre, 0 where there is no triangle.
        depth: (H, W) float32 camera depth z in metres, inf where there is no triangle.
    """

    face: Array
    bary: Array
    depth: Array


def rasterize_mesh(vertices: Array | Tensor, faces: Array | Tensor, camera: Camera) -> MeshFragments:
    """Find the nearest triangle under every pixel centre.

    Triangles behind the near plane, off screen or with vertices that are not finite draw nothing; those that cross the
    near plane are cut there.

    Args:
        vertices: (V, 3) world, metres.
        faces: (F, 3) integers in 0..V-1.
        camera: pinhole camera.

    Raises:
        PipelineError: wrong shapes, or a face names a vertex that does not exist.
    """
    vertices, faces = mesh_arrays(vertices, faces)
    points = np.empty(vertices.shape)
    run(kernels.to_camera, vertices, camera.viewmat.astype(np.float64), points)
    K = camera.K.astype(np.float64)
    intrinsics = np.array([K[0, 0], K[1, 1], K[0, 2], K[1, 2]])
    planes, boxes = np.empty((len(faces), 3, 3)), np.empty((len(faces), 4), np.int32)
    run(kernels.setup, points, faces, intrinsics, camera.width, camera.height, planes, boxes)
    offsets, ids = kernels.bin_bands(boxes, -(-camera.height // kernels.BAND))
    face = np.empty((camera.height, camera.width), np.int64)
    bary = np.empty((camera.height, camera.width, 3), np.float32)
    depth = np.empty((camera.height, camera.width), np.float32)
    run(kernels.draw, points, faces, planes, boxes, offsets, ids, face, bary, depth, tasks=4 * task_count())
    return MeshFragments(face, bary, depth)


def _numpy(x: Array | Tensor, dtype: type) -> Array:
    """A C-contiguous numpy array without gradient."""
    return np.ascontiguousarray(x.detach().cpu().numpy() if isinstance(x, Tensor) else x, dtype=dtype)


def mesh_arrays(vertices: Array | Tensor, faces: Array | Tensor) -> tuple[Array, Array]:
    """Checked float32 vertices and int64 faces."""
    vertices, faces = _numpy(vertices, np.float32), _numpy(faces, np.int64)
    if vertices.ndim != 2 or vertices.shape[1] != 3 or faces.ndim != 2 or faces.shape[1] != 3:
        raise PipelineError(f"A mesh needs vertices (V, 3) and faces (F, 3); got {vertices.shape} and {faces.shape}.")
    if faces.size and (faces.min() < 0 or faces.max() >= len(vertices)):
        raise PipelineError(f"The faces name vertices up to {faces.max()}, but the mesh has only {len(vertices)}.")
    return vertices, faces


def interpolate(fragments: MeshFragments, faces: Array | Tensor, attributes: ArrayOrTensor) -> ArrayOrTensor:
    """Spread vertex attributes over the picture.

    Args:
        fragments: of :func:`rasterize_mesh`.
        faces: (F, 3), the ones that were drawn (or another index list of the same triangles, such as ``ft`` for UV).
        attributes: (V, C); a torch tensor gets gradients.

    Returns:
        (H, W, C) float32, 0 where there is no triangle.
    """
    height, width = fragments.face.shape
    if isinstance(attributes, Tensor):
        device, visible = attributes.device, fragments.face >= 0
        corners = torch.from_numpy(_numpy(faces, np.int64)[fragments.face[visible]]).to(device)
        bary = torch.from_numpy(fragments.bary[visible]).to(device)
        values = (attributes[corners] * bary[..., None]).sum(1)
        out = attributes.new_zeros(height, width, attributes.shape[1])
        return out.index_put((torch.from_numpy(visible).to(device),), values)
    out = np.empty((height * width, attributes.shape[1]), np.float32)
    face, bary = fragments.face.reshape(-1), fragments.bary.reshape(-1, 3)
    run(kernels.interpolate, face, bary, _numpy(faces, np.int64), _numpy(attributes, np.float32), out)
    return out.reshape(height, width, -1)


def face_normals(vertices: ArrayOrTensor, faces: Array | Tensor, *, unit: bool = True) -> ArrayOrTensor:
    """Right-handed normals (F, 3), of length 1, or twice the area when not ``unit``. Torch: differentiable."""
    if isinstance(vertices, Tensor):
        a, b, c = vertices[torch.as_tensor(faces, device=vertices.device).long()].unbind(1)
        normals = torch.linalg.cross(b - a, c - a)
        return torch.nn.functional.normalize(normals, dim=-1, eps=1e-20) if unit else normals
    a, b, c = (vertices[_numpy(faces, np.int64)[:, i]] for i in range(3))
    normals = np.cross(b - a, c - a)
    return normals / np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-20) if unit else normals


def vertex_normals(vertices: ArrayOrTensor, faces: Array | Tensor) -> ArrayOrTensor:
    """Area-weighted unit normals of vertices, (V, 3); 0 for a vertex without faces. Torch: differentiable."""
    if isinstance(vertices, Tensor):
        faces = torch.as_tensor(faces, device=vertices.device).long()
        weighted = face_normals(vertices, faces, unit=False)
        normals = torch.zeros_like(vertices)
        for corner in range(3):
            normals = normals.index_add(0, faces[:, corner], weighted)
        return torch.nn.functional.normalize(normals, dim=-1, eps=1e-20)
    return vertex_normals(torch.from_numpy(_numpy(vertices, np.float32)), faces).numpy()


def shaded(
    vertices: Array | Tensor,
    faces: Array | Tensor,
    camera: Camera,
    color: Array | Tensor | tuple[float, float, float] | None = None,
    *,
    background: tuple[float, float, float] | Array = (1.0, 1.0, 1.0),
    fragments: MeshFragments | None = None,
) -> Array:
    """A Lambert picture of a mesh, lit from the camera with some light from above, both sides.

    Args:
        vertices (V, 3), faces (F, 3), camera: as in :func:`rasterize_mesh`.
        color: one RGB, or (V, 3) per vertex, in 0..1; a neutral grey skin when None.
        background: RGB, or a picture (H, W, 3) to draw over.
        fragments: of the same mesh and camera, when they are known already.

    Returns:
        (H, W, 3) float32 numpy, 0..1.
    """
    vertices, faces = mesh_arrays(vertices, faces)
    fragments = rasterize_mesh(vertices, faces, camera) if fragments is None else fragments
    color = _numpy(SKIN_GREY if color is None else color, np.float32)
    tint = np.ascontiguousarray(np.broadcast_to(color, vertices.shape))
    image = np.broadcast_to(np.asarray(background, np.float32), (*fragments.face.shape, 3)).copy()
    surface = fragments.face, fragments.bary, faces, vertices, vertex_normals(vertices, faces), tint
    light = _numpy(camera.position, np.float32), _numpy(-camera.viewmat[1, :3], np.float32), np.float32(AMBIENT)
    run(kernels.shade, *surface, *light, image)
    return image
