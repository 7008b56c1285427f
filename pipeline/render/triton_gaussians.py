"""Gaussian splatting on CUDA without a compiler on the machine and without prebuilt wheels: the host side in torch.

Imported only where :mod:`pipeline.render.backends` has found that Triton works. Everything runs on the device of the
tensors; with a :class:`PairBudget` nothing waits for the device.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.render import triton_kernels as kernels
from pipeline.render.budget import PairBudget
from pipeline.render.gaussians import MAX_INTERSECTIONS, camera_array
from pipeline.types import Camera, PipelineError

BLOCK = 128
TILE, SPLAT, SUMS = kernels.TILE.value, kernels.SPLAT.value, kernels.SUMS.value
CHANNELS = 3
FEW_TILES = 32_767
"""Tile numbers up to here are sorted as 16-bit numbers, in half the time of 32-bit ones."""


@dataclass(frozen=True)
class Projected:
    """Splats on the screen; layouts as in :mod:`pipeline.render.triton_kernels`."""

    splats: Tensor
    rects: Tensor
    depths: Tensor
    counts: Tensor


@dataclass(frozen=True)
class Sorted:
    """Splats by depth and pairs of splat and tile by tile.

    Attributes:
        order: (N,) int64 splats by depth. starts: (N,) int32 first pair of each of these.
        offsets: (tiles + 1,) int64. ids: (pairs,) int32 splat of each pair. slots: (pairs,) int64 its place before it
            was sorted by tile. Pairs beyond the last offset are spare room.
    """

    order: Tensor
    starts: Tensor
    offsets: Tensor
    ids: Tensor
    slots: Tensor


def rasterize_gaussians_triton(
    means: Tensor, scales: Tensor, colors: Tensor, opacities: Tensor, background: Tensor, camera: Camera,
    budget: PairBudget | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Arguments and results as ``rasterize_gaussians``; ``budget`` spares the wait for the number of pairs."""
    channels, camera = colors.shape[1], plain(camera)
    spare = -channels % CHANNELS
    tensors = (t.to(means.device, torch.float32) for t in (means, scales, colors, opacities, background))
    means, scales, colors, opacities, background = tensors
    if spare:
        colors, background = functional.pad(colors, (0, spare)), functional.pad(background, (0, spare))
    image, alpha = _Splat.apply(means, scales, colors, opacities, background, camera, budget)
    return image[..., :channels], alpha


def plain(camera: Camera) -> Camera:
    """The camera with Python integers as its size, the only ones that Triton takes."""
    return replace(camera, width=int(camera.width), height=int(camera.height))


def on_device(like: Tensor) -> contextlib.AbstractContextManager[Any]:
    """Triton launches on the current device: make it the one of ``like``."""
    return torch.cuda.device(like.device) if like.is_cuda else contextlib.nullcontext()


def camera_tensor(camera: Camera, device: torch.device) -> Tensor:
    """The (20,) camera of the kernels; the copy does not wait for the device."""
    return torch.from_numpy(camera_array(camera)).to(device, non_blocking=True)


def blocks(n: int) -> tuple[int]:
    """The grid for n elements in blocks."""
    return (max(1, -(-n // BLOCK)),)


def empty_projected(n: int, device: torch.device) -> Projected:
    """Room for n projected splats."""
    return Projected(
        splats=torch.empty(n, SPLAT, device=device),
        rects=torch.empty(n, 4, dtype=torch.int32, device=device),
        depths=torch.empty(n, device=device),
        counts=torch.empty(n, dtype=torch.int32, device=device),
    )


def project(means: Tensor, scales: Tensor, opacities: Tensor, camera: Camera) -> Projected:
    """Project Gaussians (contiguous float32) to the screen."""
    n = len(means)
    out = empty_projected(n, means.device)
    lens = camera_tensor(camera, means.device), n, camera.width, camera.height
    with on_device(means):
        kernels.project[blocks(n)](
            means, scales, opacities, *lens, out.splats, out.rects, out.depths, out.counts, BLOCK=BLOCK
        )
    return out


def tile_grid(camera: Camera) -> tuple[int, int]:
    """Columns and rows of tiles."""
    return -(-camera.width // TILE), -(-camera.height // TILE)


def sort_pairs(projected: Projected, camera: Camera, budget: PairBudget | None) -> Sorted:
    """Sort splats by depth and their pairs by tile; equal depths keep the order of the Gaussians.

    Raises:
        PipelineError: the Gaussians cover more tiles than fit in memory.
    """
    n, device = len(projected.depths), projected.depths.device
    columns, rows = tile_grid(camera)
    order = torch.sort(projected.depths, stable=True).indices
    counts = projected.counts[order]
    ends = torch.cumsum(counts, 0, dtype=torch.int64)
    room = _room(ends, budget)
    starts = (ends - counts).clamp_(max=room).to(torch.int32)
    kind = torch.int16 if columns * rows <= FEW_TILES - 1 else torch.int32
    tiles = torch.full((room,), columns * rows, dtype=kind, device=device)
    owners = torch.zeros(room, dtype=torch.int32, device=device)
    with on_device(order):
        kernels.emit_pairs[blocks(n)](
            order, starts, projected.counts, projected.rects, n, room, columns, tiles, owners, BLOCK=BLOCK
        )
    tiles, slots = torch.sort(tiles, stable=True)
    bounds = torch.arange(columns * rows + 1, dtype=kind, device=device)
    return Sorted(order, starts, torch.searchsorted(tiles, bounds), owners[slots], slots)


def _room(ends: Tensor, budget: PairBudget | None) -> int:
    """How many pairs to make room for, at least 1."""
    total = ends[-1] if len(ends) else ends.new_zeros(())
    room = int(total) if budget is None else budget.room(total)
    if room > MAX_INTERSECTIONS:
        raise PipelineError("The Gaussians are far too large for this picture; use smaller scales or a wider view.")
    return max(room, 1)


def blend(
    projected: Projected, pairs: Sorted, colors: Tensor, background: Tensor, camera: Camera
) -> tuple[Tensor, Tensor]:
    """Composite: image (H, W, C) and alpha (H, W)."""
    columns, rows = tile_grid(camera)
    channels, size = colors.shape[1], (camera.height, camera.width)
    image, alpha = (torch.empty(*size, *more, device=colors.device) for more in ((channels,), ()))
    with on_device(colors):
        for first in range(0, channels, CHANNELS):
            kernels.blend[(columns * rows,)](
                projected.splats, colors, pairs.offsets, pairs.ids, background, first, channels, columns,
                camera.width, camera.height, image, alpha, num_warps=1,
            )  # fmt: skip
    return image, alpha


class _Splat(torch.autograd.Function):
    """Forward and backward on the device."""

    @staticmethod
    def forward(ctx, means, scales, colors, opacities, background, camera, budget):
        inputs = [t.detach().contiguous() for t in (means, scales, colors, opacities, background)]
        projected = project(inputs[0], inputs[1], inputs[3], camera)
        pairs = sort_pairs(projected, camera, budget)
        image, alpha = blend(projected, pairs, inputs[2], inputs[4], camera)
        ctx.save_for_backward(*inputs[:3], image, alpha)
        ctx.projected, ctx.pairs, ctx.camera = projected, pairs, camera
        return image, alpha

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g_image, g_alpha):
        means, scales, colors, image, alpha = ctx.saved_tensors
        projected, pairs, camera = ctx.projected, ctx.pairs, ctx.camera
        outputs = image, alpha, g_image.contiguous(), g_alpha.contiguous()
        grads = [torch.zeros_like(t) for t in (means, scales, colors, scales)]
        columns, rows = tile_grid(camera)
        n, room, channels = len(means), len(pairs.slots), colors.shape[1]
        lens = camera_tensor(camera, means.device)
        with on_device(means):
            for first in range(0, channels, CHANNELS):
                sums = torch.zeros(room, SUMS, device=means.device)
                kernels.blend_backward[(columns * rows,)](
                    projected.splats, colors, pairs.offsets, pairs.ids, pairs.slots, first, channels, columns,
                    camera.width, camera.height, *outputs, sums, num_warps=1,
                )  # fmt: skip
                kernels.project_backward[blocks(n)](
                    pairs.order, pairs.starts, projected.counts, n, room, means, scales, lens, projected.splats,
                    first, channels, sums, *grads, BLOCK=BLOCK,
                )  # fmt: skip
        return *grads, None, None, None
