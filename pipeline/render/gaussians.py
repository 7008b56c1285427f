"""Differentiable Gaussian splatting of isotropic Gaussians, the same picture on CPU and on CUDA (gsplat or Triton).

The maths is gsplat 1.5.3 in classic mode (pinhole, 16x16 tiles, blur 0.3 px^2). :mod:`pipeline.render.reference` says
the same thing slowly and readably.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pipeline.render import project_kernels, tile_kernels
from pipeline.render.backends import pick_backend
from pipeline.render.budget import PairBudget
from pipeline.render.parallel import run, task_count
from pipeline.types import Array, Camera, PipelineError

MAX_CHANNELS = 8
MAX_INTERSECTIONS = 100_000_000
"""Refuse to bin more (splat, tile) pairs than this: 0.4 GB of indices, about 200 times a usual avatar."""
TOO_LARGE = "The Gaussians are far too large for this picture; use smaller scales or a wider view."


class RenderOutput(NamedTuple):
    """A rendered picture: ``image`` (H, W, C) with the background blended in, and ``alpha`` (H, W) in 0..1."""

    image: Tensor
    alpha: Tensor


@dataclass(frozen=True)
class Binned:
    """Projected splats sorted into tiles; array layouts as in :mod:`pipeline.render.project_kernels`."""

    splats: Array
    rects: Array
    offsets: Array
    ids: Array


def rasterize_gaussians(
    means: Tensor,
    scales: Tensor,
    colors: Tensor,
    camera: Camera,
    *,
    opacities: Tensor | None = None,
    background: Tensor | Array | None = None,
    backend: str | None = None,
    budget: PairBudget | None = None,
) -> RenderOutput:
    """Draw isotropic Gaussians (quaternion (1, 0, 0, 0), one scale each); paper section 3.1.

    Differentiable with respect to means, scales, colors and opacities, first order only. Gaussians behind the camera,
    outside the image or with values that are not finite are skipped and get zero gradients.

    Args:
        means: (N, 3) float32, world, metres; N may be 0.
        scales: (N,) standard deviations in metres.
        colors: (N, C) any C in 1..8, usually RGB in 0..1.
        camera: pinhole camera.
        opacities: (N,) in 0..1; all 1 when None.
        background: (C,) colour behind everything; black when None.
        backend: "cpu", "gsplat", "triton", or None for the first of gsplat and triton that works where the tensors are
            on a CUDA device, and cpu elsewhere.
        budget: of a loop that draws nearly the same again and again; spares "triton" the wait for the device.

    Returns:
        Image (H, W, C) and alpha (H, W), float32, on the device of ``means``.

    Raises:
        PipelineError: shapes do not fit, the backend is not available, or the Gaussians are absurdly large.
    """
    n, channels = _check(means, scales, colors, opacities)
    if opacities is None:
        opacities = torch.ones(n, dtype=torch.float32, device=means.device)
    if background is None:
        background = torch.zeros(channels, device=means.device)
    background = torch.as_tensor(background, dtype=torch.float32, device=means.device)
    if background.shape != (channels,):
        raise PipelineError(f"The background has shape {tuple(background.shape)}, but the colors {channels} channels.")
    chosen = pick_backend(backend, means)
    if chosen == "gsplat":
        from pipeline.render.cuda import rasterize_gaussians_gsplat

        return RenderOutput(*rasterize_gaussians_gsplat(means, scales, colors, opacities, background, camera))
    if chosen == "triton":
        from pipeline.render.triton_gaussians import rasterize_gaussians_triton

        return RenderOutput(*rasterize_gaussians_triton(means, scales, colors, opacities, background, camera, budget))
    inputs = [t.to("cpu", torch.float32) for t in (means, scales, colors, opacities, background)]
    image, alpha = _Splat.apply(*inputs, camera)
    return RenderOutput(image.to(means.device), alpha.to(means.device))


def _check(means: Tensor, scales: Tensor, colors: Tensor, opacities: Tensor | None) -> tuple[int, int]:
    """N and C, or a PipelineError."""
    n = len(means)
    fits = means.shape == (n, 3) and scales.shape == (n,) and colors.dim() == 2 and len(colors) == n
    if not fits or (opacities is not None and opacities.shape != (n,)):
        raise PipelineError(
            f"Gaussians need means (N, 3), scales (N,), colors (N, C), opacities (N,); got {tuple(means.shape)}, "
            f"{tuple(scales.shape)}, {tuple(colors.shape)}, {None if opacities is None else tuple(opacities.shape)}."
        )
    if not 1 <= colors.shape[1] <= MAX_CHANNELS:
        raise PipelineError(f"Gaussians may have 1 to {MAX_CHANNELS} channels, not {colors.shape[1]}.")
    return n, colors.shape[1]


def camera_array(camera: Camera) -> Array:
    """The (20,) float32 camera of the kernels (see :mod:`pipeline.render.project_kernels`)."""
    fx, fy, cx, cy = camera.K[0, 0], camera.K[1, 1], camera.K[0, 2], camera.K[1, 2]
    slack_x, slack_y = 0.15 * camera.width / fx, 0.15 * camera.height / fy
    limits = ((camera.width - cx) / fx + slack_x, -cx / fx - slack_x)
    limits += ((camera.height - cy) / fy + slack_y, -cy / fy - slack_y)
    rotation, translation = camera.viewmat[:3, :3].ravel(), camera.viewmat[:3, 3]
    return np.concatenate([rotation, translation, [fx, fy, cx, cy], limits]).astype(np.float32)


def bin_gaussians(means: Array, scales: Array, opacities: Array, camera: Camera) -> Binned:
    """Project the Gaussians and sort them into tiles by depth.

    Args:
        means (N, 3), scales (N,), opacities (N,): float32, C-contiguous.
        camera: pinhole camera.

    Raises:
        PipelineError: more than ``MAX_INTERSECTIONS`` pairs of splat and tile.
    """
    splats, rects, keys = empty_splats(len(means))
    cam = camera_array(camera)
    run(project_kernels.project, means, scales, opacities, cam, camera.width, camera.height, splats, rects, keys)
    return bin_projected(splats, rects, keys, camera.width, camera.height)


def empty_splats(n: int) -> tuple[Array, Array, Array]:
    """Room for n projected splats: splats, rects and keys."""
    return np.empty((n, 12), np.float32), np.empty((n, 4), np.int16), np.empty(n, np.uint32)


def bin_projected(splats: Array, rects: Array, keys: Array, width: int, height: int) -> Binned:
    """The second half of :func:`bin_gaussians`, for splats that were projected already."""
    tiles_x, tiles_y = -(-width // tile_kernels.TILE), -(-height // tile_kernels.TILE)
    order = tile_kernels.depth_order(keys)
    tasks = task_count()
    counts = np.zeros((tasks, tiles_x * tiles_y), np.int64)
    run(tile_kernels.count_tiles, order, rects, tiles_x, counts, tasks=tasks)
    ends = np.cumsum(counts.T.ravel())
    if len(order) and ends[-1] > MAX_INTERSECTIONS:
        raise PipelineError(TOO_LARGE)
    offsets = np.concatenate([[0], ends[tasks - 1 :: tasks]])
    places = np.ascontiguousarray((ends - counts.T.ravel()).reshape(-1, tasks).T)
    ids = np.empty(ends[-1] + tasks, np.int32)
    run(tile_kernels.fill_tiles, order, rects, tiles_x, places, ids, tasks=tasks)
    return Binned(splats, rects, offsets, ids[: ends[-1]])


def blend(binned: Binned, colors: Array, background: Array, width: int, height: int) -> tuple[Array, Array]:
    """Composite sorted splats: image (H, W, C) and alpha (H, W), float32."""
    channels = colors.shape[1]
    image, alpha = np.empty((height, width, channels), np.float32), np.empty((height, width), np.float32)
    for first in range(0, channels, tile_kernels.CHANNELS):
        run(tile_kernels.pack_colors, colors, first, binned.splats)
        tiles = binned.splats, binned.offsets, binned.ids
        run(tile_kernels.blend, *tiles, background, first, image, alpha, tasks=4 * task_count())
    return image, alpha


class _Splat(torch.autograd.Function):
    """Forward and backward of the CPU rasteriser."""

    @staticmethod
    def forward(ctx, means, scales, colors, opacities, background, camera):
        arrays = [np.ascontiguousarray(t.detach().numpy()) for t in (means, scales, colors, opacities, background)]
        binned = bin_gaussians(arrays[0], arrays[1], arrays[3], camera)
        image, alpha = (torch.from_numpy(a) for a in blend(binned, arrays[2], arrays[4], camera.width, camera.height))
        ctx.save_for_backward(means, scales, colors, image, alpha)
        ctx.binned, ctx.camera = binned, camera
        return image, alpha

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g_image, g_alpha):
        tensors = (*ctx.saved_tensors, g_image, g_alpha)
        means, scales, colors, image, alpha, g_image, g_alpha = (np.ascontiguousarray(t.numpy()) for t in tensors)
        grads = _backward(ctx.binned, means, scales, colors, ctx.camera, image, alpha, g_image, g_alpha)
        return *(torch.from_numpy(g) for g in grads), None, None


def _backward(
    binned: Binned,
    means: Array,
    scales: Array,
    colors: Array,
    camera: Camera,
    image: Array,
    alpha: Array,
    g_image: Array,
    g_alpha: Array,
) -> tuple[Array, Array, Array, Array]:
    """Gradients of means, scales, colours and opacities."""
    splats, rects = binned.splats, binned.rects
    tiles = (rects[:, 1] - rects[:, 0]).astype(np.int64) * (rects[:, 3] - rects[:, 2])
    slots = np.cumsum(tiles) - tiles
    grads = np.zeros_like(means), np.zeros_like(scales), np.zeros_like(colors), np.zeros_like(scales)
    for first in range(0, colors.shape[1], tile_kernels.CHANNELS):
        run(tile_kernels.pack_colors, colors, first, splats)
        g_slots = np.zeros((len(binned.ids), tile_kernels.MOMENTS + tile_kernels.CHANNELS), np.float32)
        layout = splats, binned.offsets, binned.ids, rects, slots, first
        run(tile_kernels.blend_backward, *layout, image, alpha, g_image, g_alpha, g_slots, tasks=4 * task_count())
        points = means, scales, camera_array(camera)
        run(project_kernels.project_backward, *points, splats, rects, slots, first, g_slots, *grads)
    return grads
