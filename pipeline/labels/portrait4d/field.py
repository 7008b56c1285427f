"""The radiance field: features looked up in three planes, and the small network that reads them."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.labels.portrait4d.triplane import PLANE_CHANNELS, PLANES

BOX_WARP = 1.3
"""Side of the cube that the planes cover."""
_AXES = ((0, 1), (1, 2), (2, 0))
"""Horizontal and vertical world axis of each plane."""


def sample_planes(planes: Tensor, points: Tensor) -> Tensor:
    """Mean of the three bilinear look-ups, zero outside of the planes.

    Args:
        planes: (96, H, W) or (3, 32, H, W).
        points: (M, 3) in world units.

    Returns:
        (M, 32).
    """
    planes = planes.reshape(PLANES, PLANE_CHANNELS, *planes.shape[-2:])
    unit = points * (2 / BOX_WARP)
    grid = torch.stack([unit[:, list(axes)] for axes in _AXES])[:, None]
    looked_up = F.grid_sample(planes, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return looked_up.mean(0)[:, 0].T


class EqualLinear(nn.Module):
    """Linear layer whose stored weights are scaled by 1/sqrt(inputs) when used."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(b, a))
        self.bias = nn.Parameter(torch.zeros(b))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight / math.sqrt(self.weight.shape[1]), self.bias)


class FieldDecoder(nn.Module):
    """Features (M, 32) -> raw density (M, 1) and colour features (M, 32) in [-0.001, 1.001]."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(EqualLinear(PLANE_CHANNELS, 64), nn.Softplus())
        self.out_sigma = EqualLinear(64, 1)
        self.out_rgb = EqualLinear(64, 32)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.net(features)
        return self.out_sigma(hidden), torch.sigmoid(self.out_rgb(hidden)) * 1.002 - 0.001
