"""Drawing an avatar frame by frame: skinning, splatting and compositing without autograd, all buffers reused."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pipeline.render import project_kernels, tile_kernels
from pipeline.render.gaussians import bin_projected, camera_array, empty_splats
from pipeline.render.parallel import run, task_count
from pipeline.types import Array, Camera, PipelineError

if TYPE_CHECKING:
    from pipeline.render.skinned_triton import TritonRenderer


@dataclass(frozen=True)
class Rig:
    """Gaussians on a skeleton, checked; float32, C-contiguous.

    Attributes:
        means: (N, 3) canonical positions, metres. scales: (N,). colors: (N, 3) in 0..1. opacities: (N,).
        joints: (N, K) uint8. weights: (N, K).
        rows: (M,) int64 Gaussians that expressions move. basis: (E, M, 3) how far.
    """

    means: Array
    joints: Array
    weights: Array
    scales: Array
    colors: Array
    opacities: Array
    rows: Array
    basis: Array

    @staticmethod
    def build(
        means: Array | Tensor,
        joints: Array | Tensor,
        weights: Array | Tensor,
        scales: Array | Tensor,
        colors: Array | Tensor,
        *,
        opacities: Array | Tensor | None = None,
        rows: Array | Tensor | None = None,
        basis: Array | Tensor | None = None,
    ) -> Rig:
        """Check and convert.

        Args:
            means: (N, 3) canonical positions, metres.
            joints: (N, K) joints that move each Gaussian, below 256.
            weights: (N, K) skinning weights, rows sum to 1.
            scales: (N,) standard deviations, metres.
            colors: (N, 3) float in 0..1, or uint8.
            opacities: (N,); all 1 when None.
            rows: (M,) Gaussians that expressions move, or None.
            basis: (M, 3, E) how far a unit of every expression coefficient moves them, canonical metres, or None.

        Raises:
            PipelineError: shapes do not fit.
        """
        n, weights = len(means), _float(weights, len(means), None)
        joints = np.ascontiguousarray(_numpy(joints), np.uint8)
        if joints.shape != weights.shape:
            raise PipelineError(f"Skinning needs as many joints {joints.shape} as weights {weights.shape}.")
        colors = _numpy(colors)
        colors = _float(colors / np.float32(255.0) if colors.dtype == np.uint8 else colors, n, 3)
        rows = np.zeros(0, np.int64) if rows is None else np.ascontiguousarray(_numpy(rows), np.int64)
        basis = np.zeros((len(rows), 3, 0), np.float32) if basis is None else _numpy(basis)
        if basis.ndim != 3 or basis.shape[:2] != (len(rows), 3):
            raise PipelineError(f"The expression basis must be ({len(rows)}, 3, E), not {basis.shape}.")
        return Rig(
            means=_float(means, n, 3),
            joints=joints,
            weights=weights,
            scales=_float(scales, n),
            colors=colors,
            opacities=np.ones(n, np.float32) if opacities is None else _float(opacities, n),
            rows=rows,
            basis=np.ascontiguousarray(basis.transpose(2, 0, 1), np.float32),
        )

    def transforms(self, transforms: Array | Tensor) -> Array:
        """(J, 12) float32 of (J, 4, 4) or (J, 3, 4) transforms.

        Raises:
            PipelineError: too few joints.
        """
        A = np.ascontiguousarray(_numpy(transforms)[:, :3, :].reshape(-1, 12), np.float32)
        if len(self.joints) and self.joints.max() >= len(A):
            hung = self.joints.max() + 1
            raise PipelineError(f"The skeleton has {len(A)} joints, but the Gaussians hang on {hung}.")
        return A


class SkinnedRenderer:
    """Gaussians on a skeleton, ready to be drawn in many poses; the same pictures as ``rasterize_gaussians``.

    Safe to call from several threads (calls wait for each other).

    Args:
        rig: what :meth:`Rig.build` made.
    """

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._moved = rig.means.copy()
        self._splats = empty_splats(len(rig.means))
        self._lock = threading.Lock()
        run(tile_kernels.pack_colors, rig.colors, 0, self._splats[0])

    def layers(
        self,
        transforms: Array | Tensor,
        camera: Camera,
        *,
        expression: Array | Tensor | None = None,
        means: Array | Tensor | None = None,
    ) -> tuple[Array, Array]:
        """Draw the Gaussians alone.

        Args:
            transforms: (J, 4, 4) or (J, 3, 4), canonical to world, translation included.
            camera: from where.
            expression: (E,) coefficients for the basis; none when None.
            means: (N, 3) canonical positions of this frame instead of the usual ones; ``expression`` comes on top.

        Returns:
            Colour premultiplied by alpha (H, W, 3) in 0..1, and alpha (H, W), float32.

        Raises:
            PipelineError: shapes do not fit, or the Gaussians are absurdly large.
        """
        rig, A = self._rig, self._rig.transforms(transforms)
        with self._lock:
            points = self._expressed(expression, rig.means if means is None else _float(means, len(rig.means), 3))
            size = camera.width, camera.height
            skin = points, rig.joints, rig.weights, A, rig.scales, rig.opacities
            run(project_kernels.skin_project, *skin, camera_array(camera), *size, *self._splats)
            binned = bin_projected(*self._splats, *size)
            image, alpha = np.empty((*size[::-1], 3), np.float32), np.empty(size[::-1], np.float32)
            tiles = binned.splats, binned.offsets, binned.ids, np.zeros(3, np.float32), 0
            run(tile_kernels.blend, *tiles, image, alpha, tasks=4 * task_count())
        return image, alpha

    def draw(
        self,
        transforms: Array | Tensor,
        camera: Camera,
        background: Array | tuple[int, int, int] | None = None,
        *,
        expression: Array | Tensor | None = None,
        means: Array | Tensor | None = None,
    ) -> Array:
        """Draw one frame of a video.

        Args:
            transforms, camera, expression, means: as in :meth:`layers`.
            background: a colour (3,) or a picture (H, W, 3), uint8 0..255; transparent when None.

        Returns:
            (H, W, 3) uint8, or (H, W, 4) with straight alpha when there is no background.
        """
        image, alpha = self.layers(transforms, camera, expression=expression, means=means)
        if background is None:
            out = np.empty((*alpha.shape, 4), np.uint8)
            run(tile_kernels.straight_alpha, image, alpha, out)
            return out
        out = np.empty(image.shape, np.uint8)
        behind = np.ascontiguousarray(np.broadcast_to(np.asarray(background, np.uint8), image.shape))
        run(tile_kernels.compose, image, alpha, behind, out)
        return out

    def _expressed(self, expression: Array | Tensor | None, means: Array) -> Array:
        """Canonical positions with an expression."""
        rig = self._rig
        if expression is None or not len(rig.rows):
            return means
        coefficients = _float(expression, len(rig.basis))
        out = self._moved if means is rig.means else means.copy()
        run(project_kernels.express, means, rig.rows, rig.basis, coefficients, out)
        return out


def skinned_renderer(rig: Rig, device: torch.device | str = "cpu") -> SkinnedRenderer | TritonRenderer:
    """The renderer for a device: "cpu", or a CUDA device on which Triton works."""
    if torch.device(device).type == "cpu":
        return SkinnedRenderer(rig)
    from pipeline.render.skinned_triton import TritonRenderer

    return TritonRenderer(rig, device)


def _numpy(x: Array | Tensor) -> Array:
    return x.detach().cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)


def _float(x: Array | Tensor, *shape: int | None) -> Array:
    """A float32 C-contiguous array of that shape (None: any size)."""
    x = np.ascontiguousarray(_numpy(x), np.float32)
    if x.ndim != len(shape) or any(want not in (None, got) for want, got in zip(shape, x.shape, strict=True)):
        raise PipelineError(f"Expected an array of shape {shape}, got {x.shape}.")
    return x
