"""The two feature networks that LPIPS compares pictures with, as plain functions of named tensors.

Names and shapes are torchvision's (``features.N...`` of ``vgg16`` and ``squeezenet1_1``); classifiers are not needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Shapes = dict[str, tuple[int, ...]]

VGG_BLOCKS = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
"""Index of each 3x3 convolution in torchvision's ``vgg16().features``; a 2/2 pool lies between blocks."""
VGG_WIDTHS = (64, 128, 256, 512, 512)

FIRES = {
    3: (64, 16, 64), 4: (128, 16, 64), 6: (128, 32, 128), 7: (256, 32, 128),
    9: (256, 48, 192), 10: (384, 48, 192), 11: (384, 64, 256), 12: (512, 64, 256),
}  # fmt: skip
"""Index in torchvision's ``squeezenet1_1().features`` to (channels in, squeezed, of each expansion)."""
SQUEEZE_POOLS = (3, 6, 9)
"""A 3/2 pool (ceiling) lies before these."""
SQUEEZE_TAPS = (4, 7, 9, 10, 11, 12)
"""Fires whose output is compared, after the first ReLU."""


@dataclass(frozen=True)
class Network:
    """One feature network.

    Attributes:
        name: "vgg" or "squeeze".
        shapes: name to shape of every tensor it needs.
        channels: of each map that is compared.
        maps: (tensors by name, (B, 3, H, W) shifted and scaled pictures) -> the maps that are compared.
    """

    name: str
    shapes: Shapes
    channels: tuple[int, ...]
    maps: Callable[[Mapping[str, Tensor], Tensor], list[Tensor]]

    @property
    def head_shapes(self) -> Shapes:
        """Name to shape of the 1x1 heads that weigh the channels."""
        return {f"lin{i}.model.1.weight": (1, c, 1, 1) for i, c in enumerate(self.channels)}


def _conv(weights: Mapping[str, Tensor], name: str, x: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
    return F.relu(F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], stride, padding))


def _vgg_maps(weights: Mapping[str, Tensor], x: Tensor) -> list[Tensor]:
    """relu1_2, relu2_2, relu3_3, relu4_3, relu5_3."""
    maps = []
    for number, block in enumerate(VGG_BLOCKS):
        if number:
            x = F.max_pool2d(x, 2, 2)
        for index in block:
            x = _conv(weights, f"features.{index}", x, padding=1)
        maps.append(x)
    return maps


def _squeeze_maps(weights: Mapping[str, Tensor], x: Tensor) -> list[Tensor]:
    x = _conv(weights, "features.0", x, stride=2)
    maps = [x]
    for index in FIRES:
        if index in SQUEEZE_POOLS:
            x = F.max_pool2d(x, 3, 2, ceil_mode=True)
        x = _conv(weights, f"features.{index}.squeeze", x)
        wide = [_conv(weights, f"features.{index}.expand{k}x{k}", x, padding=k // 2) for k in (1, 3)]
        x = torch.cat(wide, 1)
        if index in SQUEEZE_TAPS:
            maps.append(x)
    return maps


def _named(name: str, outputs: int, inputs: int, size: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs, size, size), f"{name}.bias": (outputs,)}


def _vgg() -> Network:
    shapes: Shapes = {}
    before = 3
    for block, width in zip(VGG_BLOCKS, VGG_WIDTHS, strict=True):
        for index in block:
            shapes |= _named(f"features.{index}", width, before, 3)
            before = width
    return Network("vgg", shapes, VGG_WIDTHS, _vgg_maps)


def _squeeze() -> Network:
    shapes = _named("features.0", 64, 3, 3)
    for index, (inputs, squeezed, expanded) in FIRES.items():
        shapes |= _named(f"features.{index}.squeeze", squeezed, inputs, 1)
        for k in (1, 3):
            shapes |= _named(f"features.{index}.expand{k}x{k}", expanded, squeezed, k)
    channels = (64, *(2 * FIRES[index][2] for index in SQUEEZE_TAPS))
    return Network("squeeze", shapes, channels, _squeeze_maps)


VGG, SQUEEZE = _vgg(), _squeeze()
NETWORKS = {network.name: network for network in (VGG, SQUEEZE)}
