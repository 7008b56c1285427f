"""LPIPS (Zhang et al. 2018), v0.1, in plain torch: a metric and the loss L_diff of the paper (Eq. 9).

Both pictures go through a feature network; the maps are normalised to unit length over channels, and their squared
differences are weighed by one 1x1 head per map, averaged over the picture and added up.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.checkpoints import compare_keys
from pipeline.perceptual.networks import Network
from pipeline.types import Array, PipelineError

SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
LEAST_SIDE = 32
"""Pictures with a shorter side are enlarged to this: the deepest maps need so much."""


class Lpips(torch.nn.Module):
    """The perceptual distance d(a, b) >= 0, 0 for equal pictures, differentiable in both.

    Args:
        network: which features.
        tensors: by name, as in :attr:`Network.shapes` and :attr:`Network.head_shapes`; more are ignored.

    Raises:
        PipelineError: one is missing or has another shape.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, network: Network, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        needed = network.shapes | network.head_shapes
        report = compare_keys({name: tuple(t.shape) for name, t in tensors.items()}, needed)
        if not report.ok:
            raise PipelineError(f"These are not the weights of LPIPS ({network.name}): {report.sentence()}.")
        self.network = network
        for name in needed:
            self.register_buffer(name.replace(".", "_"), tensors[name].detach().float().clone(), persistent=False)
        self.register_buffer("shift", torch.tensor(SHIFT).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(SCALE).view(1, 3, 1, 1), persistent=False)

    def _tensors(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
        return {name: getattr(self, name.replace(".", "_")) for name in shapes}

    def features(self, x: Tensor) -> list[Tensor]:
        """The unit-normalised feature maps of (B, 3, H, W) pictures in -1..1."""
        maps = self.network.maps(self._tensors(self.network.shapes), (x - self.shift) / self.scale)
        return [m / ((m * m).sum(1, keepdim=True).clamp_min(1e-20).sqrt() + 1e-10) for m in maps]

    def distance(self, a: list[Tensor], b: list[Tensor], weight: Tensor | None = None) -> Tensor:
        """(B,) distance of two stacks from :meth:`features`; ``weight`` (B, 1, H, W) in 0..1 says where to look."""
        total = a[0].new_zeros(a[0].shape[0])
        heads = self._tensors(self.network.head_shapes).values()
        for p, q, head in zip(a, b, heads, strict=True):
            gap = F.conv2d((p - q).square(), head)
            if weight is None:
                total = total + gap.mean((1, 2, 3))
            else:
                share = F.interpolate(weight, gap.shape[-2:], mode="area")
                total = total + (gap * share).sum((1, 2, 3)) / share.sum((1, 2, 3)).clamp_min(1e-6)
        return total

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """(B,) distance of pictures (B, 3, H, W) in -1..1."""
        return self.distance(self.features(a), self.features(b))

    def loss(self, render: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """The distance as L_diff (Eq. 9): a :data:`pipeline.perceptual.structural.PerceptualLoss`.

        Args:
            render, target: (H, W, 3) in 0..1; the target gets no gradient. weight: (H, W) in 0..1, where to look.
        """
        x, y, w = (_at_least(i, LEAST_SIDE) for i in (_batch(render), _batch(target), weight[None, None]))
        with torch.no_grad():
            wanted = self.features(y * 2 - 1)
        return self.distance(self.features(x * 2 - 1), wanted, w)[0]

    @torch.no_grad()
    def of_images(self, a: Array, b: Array, mask: Array | None = None) -> float:
        """Distance of two (H, W, 3) pictures in 0..1.

        With a mask (H, W), what lies outside is painted white in both and the pictures are cut to the mask's box
        (at least 64 pixels a side), so that empty ground does not dilute the number.
        """
        if mask is not None:
            a, b = _masked_box(a, mask), _masked_box(b, mask)
        x, y = (_batch(torch.from_numpy(np.ascontiguousarray(i, np.float32))) for i in (a, b))
        return float(self(_at_least(x, LEAST_SIDE) * 2 - 1, _at_least(y, LEAST_SIDE) * 2 - 1))


def _batch(image: Tensor) -> Tensor:
    return image.permute(2, 0, 1)[None]


def _at_least(image: Tensor, side: int) -> Tensor:
    """Enlarge (1, C, H, W) whose shorter side is below ``side``."""
    shortest = min(image.shape[-2:])
    if shortest >= side:
        return image
    size = [max(side, round(n * side / shortest)) for n in image.shape[-2:]]
    return F.interpolate(image, size, mode="bilinear", align_corners=False)


def _masked_box(image: Array, mask: Array) -> Array:
    weight = mask.astype(np.float32)[..., None]
    painted = image * weight + (1 - weight)
    rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return painted
    spans = []
    for first, last, size in ((rows[0], rows[-1] + 1, mask.shape[0]), (cols[0], cols[-1] + 1, mask.shape[1])):
        grow = max(0, 64 - (last - first))
        first = max(0, min(first - grow // 2, size - 64))
        spans.append(slice(first, max(last, min(first + 64, size))))
    return painted[spans[0], spans[1]]
