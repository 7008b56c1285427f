"""The trial that a CUDA rasteriser must pass before it is used: a small picture and its gradients must be right."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from pipeline.render import reference
from pipeline.types import Camera

TOLERANCE = 2e-3
"""Largest difference from the reference, relative to its largest value."""


def _gaussians(draw: Callable[..., tuple[Tensor, Tensor]]) -> None:
    """Draw a few Gaussians forward and backward; raises where the result is wrong, or what ``draw`` raises."""
    rng = np.random.default_rng(0)
    n, camera = 12, Camera.frontal(24, 20, 24.0, 2.0)
    values = rng.normal(scale=0.3, size=(n, 3)), rng.uniform(0.05, 0.2, n), rng.uniform(0, 1, (n, 3)), np.ones(n)
    inputs = [torch.from_numpy(np.asarray(v, np.float32)) for v in values]
    shades = torch.from_numpy(rng.uniform(0, 1, (20, 24, 3)).astype(np.float32))
    results = []
    for device, call in (("cuda", draw), ("cpu", _reference)):
        leaves = [t.to(device, copy=True).requires_grad_() for t in inputs[:3]]
        background = torch.full((3,), 0.25, device=device)
        image, alpha = call(*leaves, inputs[3].to(device), background, camera)
        ((image * shades.to(device)).sum() + alpha.square().sum()).backward()
        results.append([t.detach().cpu() for t in (image, alpha, *(leaf.grad for leaf in leaves))])  # type: ignore[union-attr]
    _compare(*results)


def _reference(
    means: Tensor, scales: Tensor, colors: Tensor, opacities: Tensor, background: Tensor, camera: Camera
) -> tuple[Tensor, Tensor]:
    return reference.rasterize_gaussians(means, scales, colors, camera, opacities, background)


def _mask(draw: Callable[..., Tensor]) -> None:
    """Draw one triangle's mask forward and backward; raises where the result is wrong, or what ``draw`` raises.

    The gradients are not compared: nvdiffrast looks for edges in fewer places.
    """
    corners = torch.tensor([[-0.62, -0.5, 0.0], [0.71, -0.43, 0.1], [0.1, 0.66, 0.0]])
    faces, camera = np.array([[0, 1, 2]]), Camera.frontal(20, 18, 20.0, 2.0)
    results = []
    for device in ("cuda", "cpu"):
        leaf = corners.to(device, copy=True).requires_grad_()
        if device == "cuda":
            mask = draw(leaf, faces, camera)
        else:
            mask = reference.mesh_mask(leaf, torch.from_numpy(faces), camera)
        mask.square().sum().backward()
        results.append([mask.detach().cpu()])
    _compare(*results)


def _compare(got: list[Tensor], wanted: list[Tensor]) -> None:
    for a, b in zip(got, wanted, strict=True):
        gap = float((a - b).abs().max() / b.abs().max())
        if not gap < TOLERANCE:
            raise ArithmeticError(f"the picture or its gradients are wrong by {gap:.2g}")


def _try_gsplat() -> None:
    from pipeline.render.cuda import rasterize_gaussians_gsplat

    _gaussians(rasterize_gaussians_gsplat)


def _try_nvdiffrast() -> None:
    from pipeline.render.cuda import mesh_mask_nvdiffrast

    _mask(mesh_mask_nvdiffrast)


def _try_triton() -> None:
    from pipeline.render.triton_gaussians import rasterize_gaussians_triton
    from pipeline.render.triton_mask import mesh_mask_triton

    _gaussians(rasterize_gaussians_triton)
    _mask(mesh_mask_triton)


TRIALS = {"gsplat": _try_gsplat, "nvdiffrast": _try_nvdiffrast, "triton": _try_triton}
