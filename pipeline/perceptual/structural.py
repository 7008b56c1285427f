"""A perceptual distance that needs no weights: the embedded stand-in for LPIPS."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

PerceptualLoss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(render (H, W, 3), target (H, W, 3), weight (H, W)) -> scalar."""


def _pyramid(image: Tensor, levels: int) -> list[Tensor]:
    """(1, C, H, W) halved ``levels - 1`` times."""
    out = [image]
    for _ in range(levels - 1):
        if min(out[-1].shape[-2:]) < 16:
            break
        out.append(F.avg_pool2d(out[-1], 2))
    return out


def structural_loss(render: Tensor, target: Tensor, weight: Tensor, levels: int = 4) -> Tensor:
    """A perceptual loss without weights, the embedded stand-in for LPIPS in L_diff (Eq. 9).

    Per level of an image pyramid: L1 of the gradients plus one minus the local normalised correlation in 9x9 windows,
    both robust to the small shifts and tints that generated labels have; colour enters at the coarsest level only.

    Args:
        render, target: (H, W, 3). weight: (H, W), where to look. levels: of the pyramid.
    """
    x, y, w = render.permute(2, 0, 1)[None], target.permute(2, 0, 1)[None], weight[None, None]
    xs, ys, ws = _pyramid(x, levels), _pyramid(y, levels), _pyramid(w, levels)
    total = render.new_zeros(())
    for a, b, m in zip(xs, ys, ws, strict=True):
        norm = m.sum().clamp_min(1)
        gradient = ((a - b)[..., :, 1:] - (a - b)[..., :, :-1]).abs().mean(1, keepdim=True)
        total = total + (gradient * m[..., :, 1:]).sum() / norm
        total = total + ((1 - _correlation(a, b)) * m).sum() / norm * 0.1
    norm = ws[-1].sum().clamp_min(1)
    return total / len(xs) + ((xs[-1] - ys[-1]).abs().mean(1, keepdim=True) * ws[-1]).sum() / norm


def _correlation(a: Tensor, b: Tensor, size: int = 9) -> Tensor:
    """Local normalised correlation of the grey values, (1, 1, H, W) in -1..1."""
    a, b = a.mean(1, keepdim=True), b.mean(1, keepdim=True)

    def mean(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, size, 1, size // 2, count_include_pad=False)

    ma, mb = mean(a), mean(b)
    va, vb = mean(a * a) - ma * ma, mean(b * b) - mb * mb
    return (mean(a * b) - ma * mb + 1e-3) / torch.sqrt((va.clamp_min(0) + 1e-3) * (vb.clamp_min(0) + 1e-3))
