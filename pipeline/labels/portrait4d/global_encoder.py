"""Appearance of the whole photo: a ResNet-34 without normalisation layers and a DeepLabV3 head, 512 -> 64."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def _conv(a: int, b: int, size: int, dilation: int = 1, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(a, b, size, stride=stride, padding=dilation * (size // 2), dilation=dilation, bias=False)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions (both with the stage's dilation) and a shortcut."""

    def __init__(self, a: int, b: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.conv1 = _conv(a, b, 3, dilation, stride)
        self.conv2 = _conv(b, b, 3, dilation)
        self.downsample = nn.Sequential(_conv(a, b, 1, stride=stride)) if a != b else None

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.relu(self.conv2(F.relu(self.conv1(x))) + shortcut)


def _stage(blocks: int, a: int, b: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    first = BasicBlock(a, b, stride, dilation)
    return nn.Sequential(first, *(BasicBlock(b, b, 1, dilation) for _ in range(blocks - 1)))


class ResNet34(nn.Module):
    """(N, 5, H, W) -> (N, 512 / narrow, H/8, W/8); the last two stages are dilated instead of strided."""

    def __init__(self, narrow: int = 1) -> None:
        super().__init__()
        a, b, c, d = (n // narrow for n in (64, 128, 256, 512))
        self.conv1 = nn.Conv2d(5, a, 7, stride=2, padding=3, bias=False)
        self.layer1 = _stage(3, a, a)
        self.layer2 = _stage(4, a, b, stride=2)
        self.layer3 = _stage(6, b, c, dilation=2)
        self.layer4 = _stage(3, c, d, dilation=4)

    def stages(self, x: Tensor) -> list[Tensor]:
        """Outputs of the stem and of the four layers."""
        out = [F.relu(self.conv1(x))]
        out.append(self.layer1(F.max_pool2d(out[0], 3, stride=2, padding=1)))
        for layer in (self.layer2, self.layer3, self.layer4):
            out.append(layer(out[-1]))
        return out

    def forward(self, x: Tensor) -> Tensor:
        return self.stages(x)[-1]


class AtrousPyramid(nn.Module):
    """Five parallel views of the same map (1x1, three dilations, global mean), fused to 256 / narrow channels."""

    def __init__(self, narrow: int = 1) -> None:
        super().__init__()
        a, b = 512 // narrow, 256 // narrow
        branches = [nn.Sequential(_conv(a, b, 1))]
        branches += [nn.Sequential(_conv(a, b, 3, dilation)) for dilation in (12, 24, 36)]
        branches.append(nn.Sequential(nn.AdaptiveAvgPool2d(1), _conv(a, b, 1)))
        self.convs = nn.ModuleList(branches)
        self.project = nn.Sequential(_conv(5 * b, b, 1))

    def forward(self, x: Tensor) -> Tensor:
        views = [F.relu(branch(x)).expand(-1, -1, *x.shape[2:]) for branch in self.convs]
        return F.relu(self.project(torch.cat(views, 1)))


class GlobalEncoder(nn.Module):
    """(N, 5, 512, 512) RGB and coordinates -> (N, 256 / narrow, 64, 64)."""

    def __init__(self, narrow: int = 1) -> None:
        super().__init__()
        self.encoder = ResNet34(narrow)
        self.decoder = nn.Sequential(AtrousPyramid(narrow), _conv(256 // narrow, 256 // narrow, 3))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.decoder(self.encoder(x)))
