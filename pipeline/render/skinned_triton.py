"""Drawing an avatar frame by frame on a CUDA card: skinning, splatting, compositing there, one download per frame."""

from __future__ import annotations

import threading

import numpy as np
import torch
from torch import Tensor

from pipeline.render import triton_kernels as kernels
from pipeline.render.lighting import light_factors, relit
from pipeline.render.skinned import Rig
from pipeline.render.triton_gaussians import (
    BLOCK,
    blend,
    blocks,
    camera_tensor,
    empty_projected,
    on_device,
    plain,
    sort_pairs,
)
from pipeline.types import Array, Camera, PipelineError


class TritonRenderer:
    """The interface and the pictures of :class:`pipeline.render.SkinnedRenderer`, on a CUDA device.

    Safe to call from several threads (calls wait for each other). A background picture is uploaded once for as long as
    the same array is passed; do not change it in place.

    Args:
        rig: what :meth:`Rig.build` made.
        device: where to draw.
    """

    def __init__(self, rig: Rig, device: torch.device | str = "cuda") -> None:
        self._rig, self._device = rig, torch.device(device)
        self._on = {name: torch.from_numpy(value).to(self._device) for name, value in vars(rig).items()}
        self._directions = self._on.pop("basis").flatten(1).T.contiguous()
        self._projected = empty_projected(len(rig.means), self._device)
        self._black = torch.zeros(3, device=self._device)
        self._lock = threading.Lock()
        self._behind: tuple[Array | tuple[int, int, int] | None, Tensor] = None, self._black

    def layers(
        self,
        transforms: Array | Tensor,
        camera: Camera,
        *,
        expression: Array | Tensor | None = None,
        means: Array | Tensor | None = None,
    ) -> tuple[Array, Array]:
        """As :meth:`pipeline.render.SkinnedRenderer.layers`."""
        with self._lock:
            image, alpha = self._draw(transforms, camera, expression, means)
            return image.cpu().numpy(), alpha.cpu().numpy()

    def draw(
        self,
        transforms: Array | Tensor,
        camera: Camera,
        background: Array | tuple[int, int, int] | None = None,
        *,
        expression: Array | Tensor | None = None,
        means: Array | Tensor | None = None,
    ) -> Array:
        """As :meth:`pipeline.render.SkinnedRenderer.draw`."""
        with self._lock:
            image, alpha = self._draw(transforms, camera, expression, means)
            if background is None:
                straight = image / alpha.clamp(min=1e-4)[..., None]
                picture = torch.cat([straight, alpha[..., None]], -1) * 255 + 0.5
            else:
                picture = image * 255 + (1 - alpha)[..., None] * self._uploaded(background) + 0.5
            return self._download(picture.clamp_(0, 255).to(torch.uint8))

    def _draw(
        self, transforms: Array | Tensor, camera: Camera, expression: Array | Tensor | None,
        means: Array | Tensor | None,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Premultiplied colour and alpha on the device."""
        on, n, camera = self._on, len(self._rig.means), plain(camera)
        A = self._put(self._rig.transforms(transforms))
        points, p = self._expressed(expression, means), self._projected
        lens = camera_tensor(camera, self._device), n, camera.width, camera.height
        with on_device(points):
            kernels.skin_project[blocks(n)](
                points, on["joints"], on["weights"], A, on["scales"], on["opacities"], *lens, p.splats, p.rects,
                p.depths, p.counts, JOINTS=on["joints"].shape[1], BLOCK=BLOCK,
            )  # fmt: skip
        return blend(p, sort_pairs(p, camera, None), self._lit(A), self._black, camera)

    def _lit(self, A: Tensor) -> Tensor:
        """Colours with the light of this pose; ``A`` (J, 12)."""
        on = self._on
        if not len(on["lit"]):
            return on["colors"]
        joints, weights = on["joints"][on["lit"]].long(), on["weights"][on["lit"]]
        turns = (A[joints].view(*joints.shape, 3, 4)[..., :3] * weights[..., None, None]).sum(1)
        factor = light_factors((turns @ on["normals"][:, :, None])[:, :, 0], on["shares"], on["light"])
        return on["colors"].index_copy(0, on["lit"], relit(on["colors"][on["lit"]], factor))

    def _expressed(self, expression: Array | Tensor | None, means: Array | Tensor | None) -> Tensor:
        """Canonical positions with an expression."""
        on = self._on
        points = on["means"] if means is None else self._put(means)
        if points.shape != on["means"].shape:
            raise PipelineError(f"Expected means of shape {tuple(on['means'].shape)}, got {tuple(points.shape)}.")
        if expression is None or not len(on["rows"]):
            return points
        coefficients = self._put(expression)
        if coefficients.shape != self._directions.shape[1:]:
            wanted = self._directions.shape[1]
            raise PipelineError(f"Expected {wanted} expression coefficients, got {len(coefficients)}.")
        moved = points[on["rows"]] + (self._directions @ coefficients).view(-1, 3)
        return points.index_copy(0, on["rows"], moved)

    def _put(self, values: Array | Tensor) -> Tensor:
        """float32 on the device; a small copy does not wait for it."""
        tensor = values if isinstance(values, Tensor) else torch.from_numpy(np.ascontiguousarray(values))
        return tensor.to(self._device, torch.float32, non_blocking=True).contiguous()

    def _uploaded(self, background: Array | tuple[int, int, int]) -> Tensor:
        """The background (3,) or (H, W, 3) in 0..255 on the device."""
        if self._behind[0] is not background:
            self._behind = background, self._put(np.asarray(background, np.float32))
        return self._behind[1]

    def _download(self, picture: Tensor) -> Array:
        """To host memory that the card can write to directly; waits for this frame alone."""
        if not picture.is_cuda:
            return picture.numpy()
        host = torch.empty(picture.shape, dtype=picture.dtype, pin_memory=True)
        host.copy_(picture, non_blocking=True)
        torch.cuda.current_stream(self._device).synchronize()
        return host.numpy()
