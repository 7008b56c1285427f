"""The losses of the fit (paper section 3.4, Eq. 7-10), each with its equation.

``L = L_SC + L_diff + L_S`` (Eq. 7). Constant matrices (Laplacians, edge pairs) are computed once and passed in.
Shapes: images (H, W, 3) in 0..1, masks (H, W) in 0..1, lengths in metres.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.avatar.model import take


def gaussian_window(size: int = 11, sigma: float = 1.5, device: torch.device | str = "cpu") -> Tensor:
    """The 1-D window of SSIM, (size,), sums to 1."""
    x = torch.arange(size, dtype=torch.float32, device=device) - size // 2
    w = torch.exp(-0.5 * (x / sigma) ** 2)
    return w / w.sum()


def _filter(image: Tensor, window: Tensor) -> Tensor:
    """Separable convolution of (1, C, H, W) with a 1-D window, same size, zero padding."""
    channels, k = image.shape[1], len(window)
    image = F.conv2d(image, window.reshape(1, 1, 1, k).expand(channels, 1, 1, k), padding=(0, k // 2), groups=channels)
    return F.conv2d(image, window.reshape(1, 1, k, 1).expand(channels, 1, k, 1), padding=(k // 2, 0), groups=channels)


def ssim_map(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity per pixel, averaged over channels, (H, W); window 11, sigma 1.5, as in 3DGS."""
    x, y = a.permute(2, 0, 1)[None], b.permute(2, 0, 1)[None]
    window = gaussian_window(device=a.device)
    stacked = _filter(torch.cat([x, y, x * x, y * y, x * y], 1), window)
    mx, my, xx, yy, xy = stacked.split(x.shape[1], 1)
    vx, vy, cov = xx - mx * mx, yy - my * my, xy - mx * my
    c1, c2 = 0.01**2, 0.03**2
    value = ((2 * mx * my + c1) * (2 * cov + c2)) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    return value[0].mean(0)


def photo_losses(image: Tensor, alpha: Tensor, target: Tensor, target_alpha: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The three terms of Eq. 10: ``L_S = lambda_RGB L1 + lambda_SSIM (1 - SSIM) + lambda_alpha L_alpha``.

    ``image`` and ``target`` lie on the same background.
    """
    l1 = (image - target).abs().mean()
    ssim = 1 - ssim_map(image, target).mean()
    return l1, ssim, (alpha - target_alpha).abs().mean()


def mask_loss(mask: Tensor, target: Tensor) -> Tensor:
    """L_M: L1 between the soft silhouette of the deformed mesh and the matte (Eq. 8, second term)."""
    return (mask - target).abs().mean()


def face_pairs(faces: np.ndarray) -> np.ndarray:
    """Pairs of triangles that share an edge, (P, 2) int64, each pair once. ``faces``: (F, 3) ints."""
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    owner = np.tile(np.arange(len(faces)), 3)
    order = np.lexsort((edges[:, 1], edges[:, 0]))
    edges, owner = edges[order], owner[order]
    same = (edges[1:] == edges[:-1]).all(1)
    return np.stack([owner[:-1][same], owner[1:][same]], 1).astype(np.int64)


def face_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Unit normals (F, 3)."""
    a, b, c = (take(vertices, faces[:, k]) for k in range(3))
    return F.normalize(torch.linalg.cross(b - a, c - a), dim=-1, eps=1e-12)


def normal_consistency(vertices: Tensor, faces: Tensor, pairs: Tensor, rest: Tensor | None = None) -> Tensor:
    """L_normal: mean of ``1 - n_i . n_j`` over neighbouring triangles (Eq. 8, first term).

    ``rest`` (P,) holds the value of each pair on the undeformed mesh: only creases sharper than there are punished.
    """
    n = face_normals(vertices, faces)
    value = 1 - (take(n, pairs[:, 0]) * take(n, pairs[:, 1])).sum(-1)
    return value.mean() if rest is None else (value - rest).clamp_min(0).mean()


def crease(vertices: Tensor, faces: Tensor, pairs: Tensor) -> Tensor:
    """``1 - n_i . n_j`` per pair of neighbouring triangles, (P,)."""
    n = face_normals(vertices, faces)
    return 1 - (take(n, pairs[:, 0]) * take(n, pairs[:, 1])).sum(-1)


def mesh_gaussian_consistency(dX: Tensor, bary_dT: Tensor, weight: Tensor | None = None) -> Tensor:
    """L_MGC = |dX - Bary(dT)|_1, mean over Gaussians and axes (Eq. 8, third term).

    ``weight`` (N,) releases Gaussians that are attached off the surface on purpose (hair, loose clothes).
    """
    gap = (dX - bary_dT).abs()
    return gap.mean() if weight is None else (gap * weight[:, None]).mean()


class NeighbourLaplacian:
    """L_lap: squared difference between a value and the mean of its neighbours on the initial connectivity (Eq. 8).

    Built once from neighbour lists (N, K) with -1 for "none"; the gather form is faster than a sparse product here.
    """

    def __init__(self, neighbours: np.ndarray, device: torch.device | str = "cpu"):
        self.valid = torch.from_numpy((neighbours >= 0).astype(np.float32)).to(device)
        own = np.arange(len(neighbours))[:, None]
        self.index = torch.from_numpy(np.where(neighbours >= 0, neighbours, own).astype(np.int64)).to(device)
        self.count = self.valid.sum(1).clamp_min(1)

    def __call__(self, values: Tensor, reference: Tensor | None = None) -> Tensor:
        """Mean squared Laplacian of ``values`` (N, C); with ``reference``, of ``values - reference``."""
        x = values if reference is None else values - reference
        total = sum(take(x, self.index[:, k]) * self.valid[:, k, None] for k in range(self.index.shape[1]))
        has = (self.valid.sum(1) > 0).float()
        return (((x - total / self.count[:, None]) ** 2).sum(-1) * has).mean()
