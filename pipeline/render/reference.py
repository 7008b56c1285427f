"""The rasterisers once more, slow and readable, in plain torch: what the fast ones are tested against.

Everything runs in the precision of the inputs, on whole pictures, one Gaussian, face or edge after the other: small
pictures only. Gradients come from autograd.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.types import Camera

NEAR, FAR, BLUR = 0.01, 1e10, 0.3
ALPHA_MIN, ALPHA_MAX, T_MIN = 1.0 / 255.0, 0.999, 1e-4


def rasterize_gaussians(
    means: Tensor, scales: Tensor, colors: Tensor, camera: Camera, opacities: Tensor, background: Tensor
) -> tuple[Tensor, Tensor]:
    """gsplat's classic mode for isotropic Gaussians; as the fast one. Returns image (H, W, C), alpha (H, W).

    The extent of a Gaussian in gsplat (3.33 standard deviations at opacity 1) never cuts more than the rule that skips
    alpha below 1/255, so it does not appear here.
    """
    center, cov, depth = _project(means, scales, camera)
    rows, columns = (torch.arange(n, dtype=means.dtype) + 0.5 for n in (camera.height, camera.width))
    py, px = torch.meshgrid(rows, columns, indexing="ij")
    light = torch.ones_like(px)
    image, running = light[..., None] * torch.zeros_like(background), torch.ones_like(px, dtype=torch.bool)
    usable = torch.isfinite(means).all(1) & torch.isfinite(scales) & (depth >= NEAR) & (depth <= FAR)
    for i in torch.argsort(depth, stable=True):
        if not usable[i]:
            continue
        d = torch.stack([px - center[i, 0], py - center[i, 1]], -1)
        sigma = 0.5 * torch.einsum("hwi,ij,hwj->hw", d, torch.linalg.inv(cov[i]), d)
        alpha = (opacities[i] * torch.exp(-sigma)).clamp(max=ALPHA_MAX)
        touched = running & (alpha >= ALPHA_MIN) & (sigma >= 0)
        left = light * (1 - alpha)
        running = running & ~(touched & (left <= T_MIN))
        touched = touched & running
        image = image + torch.where(touched, alpha * light, 0.0)[..., None] * colors[i]
        light = torch.where(touched, left, light)
    return image + light[..., None] * background, 1 - light


def _project(means: Tensor, scales: Tensor, camera: Camera) -> tuple[Tensor, Tensor, Tensor]:
    """Screen means (N, 2), blurred screen covariances (N, 2, 2) and depths (N,)."""
    viewmat, K = torch.from_numpy(camera.viewmat).to(means), torch.from_numpy(camera.K).to(means)
    focal, principal = K.diagonal()[:2], K[:2, 2]
    size = torch.tensor([camera.width, camera.height]).to(means)
    points = means @ viewmat[:3, :3].T + viewmat[:3, 3]
    z = points[:, 2]
    slope = points[:, :2] / z[:, None]
    slack = 0.3 * 0.5 * size / focal
    clamped = slope.clamp(min=-principal / focal - slack, max=(size - principal) / focal + slack)
    jacobian = torch.cat([torch.diag_embed(focal / z[:, None]), -(focal * clamped / z[:, None])[..., None]], -1)
    cov = scales[:, None, None] ** 2 * jacobian @ jacobian.mT + BLUR * torch.eye(2).to(means)
    return slope * focal + principal, cov, z


def rasterize_mesh(vertices: Tensor, faces: Tensor, camera: Camera) -> tuple[Tensor, Tensor, Tensor]:
    """Face ids (H, W), barycentrics (H, W, 3) and depth (H, W) by meeting every pixel's ray with every triangle."""
    viewmat, K = torch.from_numpy(camera.viewmat).to(vertices), torch.from_numpy(camera.K).to(vertices)
    points = vertices @ viewmat[:3, :3].T + viewmat[:3, 3]
    y, x = torch.meshgrid(torch.arange(camera.height) + 0.5, torch.arange(camera.width) + 0.5, indexing="ij")
    rays = torch.stack([(x - K[0, 2]) / K[0, 0], (y - K[1, 2]) / K[1, 1], torch.ones_like(x)], -1).to(vertices)
    face, depth = torch.full(x.shape, -1), torch.full_like(x, torch.inf).to(vertices)
    bary = torch.zeros_like(rays)
    for f, corners in enumerate(points[faces]):
        if not torch.isfinite(corners).all() or torch.linalg.det(corners) == 0:
            continue
        b = rays @ torch.linalg.inv(corners)  # rays = b @ corners / z
        z = 1 / b.sum(-1)
        b = b * z[..., None]
        hit = (b >= 0).all(-1) & (z >= NEAR) & (z < depth)
        face, depth = torch.where(hit, f, face), torch.where(hit, z, depth)
        bary = torch.where(hit[..., None], b, bary)
    return face, bary, depth


def mesh_mask(vertices: Tensor, faces: Tensor, camera: Camera) -> Tensor:
    """The soft silhouette (H, W): for every covered pixel and empty neighbour, where the outline passes."""
    inside = rasterize_mesh(vertices.detach(), faces, camera)[0] >= 0
    viewmat, K = torch.from_numpy(camera.viewmat).to(vertices), torch.from_numpy(camera.K).to(vertices)
    points = vertices @ viewmat[:3, :3].T + viewmat[:3, 3]
    screen = points[:, :2] / points[:, 2:] * K.diagonal()[:2] + K[:2, 2]
    edges = _silhouette_edges(screen.detach(), faces)
    change = torch.zeros(inside.shape, dtype=vertices.dtype)
    for y, x in inside.nonzero().tolist():
        for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            y1, x1 = y + dy, x + dx
            if not (0 <= y1 < camera.height and 0 <= x1 < camera.width) or inside[y1, x1]:
                continue
            t = _outermost_crossing(screen, edges, (x + 0.5, y + 0.5), (dx, dy))
            if t is not None:
                here, there = torch.zeros_like(change), torch.zeros_like(change)
                here[y, x], there[y1, x1] = 1, 1
                change = change - here * (0.5 - t).clamp(min=0) + there * (t - 0.5).clamp(min=0)
    return (inside + change).clamp(0, 1)


def _silhouette_edges(screen: Tensor, faces: Tensor) -> list[tuple[int, int, int]]:
    """(i, j, k): edge i-j, all of whose faces lie on the side of vertex k."""
    thirds: dict[tuple[int, int], list[int]] = {}
    for a, b, c in faces.tolist():
        for i, j, k in ((a, b, c), (b, c, a), (c, a, b)):
            thirds.setdefault((min(i, j), max(i, j)), []).append(k)
    found = []
    for (i, j), around in thirds.items():
        sides = [_cross(screen[j] - screen[i], screen[k] - screen[i]) for k in around]
        if len(around) != 2 or sides[0] * sides[1] >= 0:
            found.append((i, j, around[0]))
    return found


def _cross(u: Tensor, v: Tensor) -> Tensor:
    return u[0] * v[1] - u[1] * v[0]


def _outermost_crossing(
    screen: Tensor, edges: list[tuple[int, int, int]], center: tuple[float, float], step: tuple[int, int]
) -> Tensor | None:
    """How far from ``center`` towards ``center + step`` the last edge with the mesh behind it is passed, in 0..1."""
    axis = 0 if step[0] else 1
    sign, best, row = step[axis], None, center[1 - axis]
    for i, j, k in edges:
        p, q = screen[i], screen[j]
        run, rise = q[axis] - p[axis], q[1 - axis] - p[1 - axis]
        if abs(rise) < abs(run) or (axis == 1 and abs(rise) == abs(run)) or rise == 0:
            continue
        if not min(p[1 - axis], q[1 - axis]) <= row < max(p[1 - axis], q[1 - axis]):
            continue
        behind = p[axis] + (screen[k][1 - axis] - p[1 - axis]) / rise * run - screen[k][axis]
        t = (p[axis] + (row - p[1 - axis]) / rise * run - center[axis]) * sign
        if behind * sign > 0 and 0 <= t < 1 and (best is None or t > best):
            best = t
    return best
