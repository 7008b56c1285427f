"""Other projects' CUDA rasterisers behind the interface of the CPU ones: gsplat for Gaussians, nvdiffrast for masks.

Imported only where :mod:`pipeline.render.backends` has found a CUDA device and the package.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.types import Array, Camera

NEAR, FAR = 0.01, 1e10


def rasterize_gaussians_gsplat(
    means: Tensor, scales: Tensor, colors: Tensor, opacities: Tensor, background: Tensor, camera: Camera
) -> tuple[Tensor, Tensor]:
    """gsplat 1.5 in classic mode; arguments and results as ``rasterize_gaussians``, on a CUDA device."""
    from gsplat import rasterization  # pyright: ignore[reportMissingImports]

    device = torch.device("cuda") if not means.is_cuda else means.device
    means, scales, colors, opacities, background = (
        t.to(device, torch.float32) for t in (means, scales, colors, opacities, background)
    )
    quats = torch.zeros(len(means), 4, device=device)
    quats[:, 0] = 1.0
    image, alpha, _ = rasterization(
        means,
        quats,
        scales[:, None].expand(-1, 3).contiguous(),
        opacities,
        colors,
        torch.from_numpy(camera.viewmat)[None].to(device),
        torch.from_numpy(camera.K)[None].to(device),
        camera.width,
        camera.height,
        near_plane=NEAR,
        far_plane=FAR,
        eps2d=0.3,
        backgrounds=background[None],
        packed=False,
    )
    return image[0], alpha[0, ..., 0]


def mesh_mask_nvdiffrast(vertices: Tensor, faces: Array | Tensor, camera: Camera) -> Tensor:
    """Soft silhouette (H, W) by nvdiffrast's rasterize and antialias; vertices on a CUDA device."""
    import nvdiffrast.torch as dr  # pyright: ignore[reportMissingImports]

    triangles = torch.as_tensor(faces).to(vertices.device, torch.int32).contiguous()
    points = torch.cat([vertices, torch.ones_like(vertices[:, :1])], 1) @ _clip_matrix(camera).to(vertices).T
    points = points[None].contiguous()
    hits, _ = dr.rasterize(_context(vertices.device), points, triangles, (camera.height, camera.width))
    covered = (hits[..., 3:] > 0).to(vertices.dtype)
    return dr.antialias(covered, hits, points, triangles)[0, ..., 0]


@functools.lru_cache(maxsize=4)
def _context(device: torch.device) -> Any:
    import nvdiffrast.torch as dr  # pyright: ignore[reportMissingImports]

    return dr.RasterizeCudaContext(device)


def _clip_matrix(camera: Camera) -> Tensor:
    """World to OpenGL clip space such that row 0 of nvdiffrast's picture (clip y = -1) is the top of ours."""
    far = 100.0
    K, w, h = camera.K, camera.width, camera.height
    projection = np.array(
        [
            [2 * K[0, 0] / w, 0, 2 * K[0, 2] / w - 1, 0],
            [0, 2 * K[1, 1] / h, 2 * K[1, 2] / h - 1, 0],
            [0, 0, (far + NEAR) / (far - NEAR), -2 * far * NEAR / (far - NEAR)],
            [0, 0, 1, 0],
        ],
        np.float32,
    )
    return torch.from_numpy(projection @ camera.viewmat)
