"""The still background: a U-Net that paints a 32-channel feature image behind the head."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.labels.portrait4d.layers import LEAK

BACKGROUND_SIZE = 128


class Downsample(nn.Module):
    """3x3 convolution with stride 2, no activation."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(a, b, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


class Upsample(nn.Module):
    """Nearest neighbour x2, then a 3x3 convolution, no activation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))


def _leaky(a: int, b: int, stride: int = 1) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(a, b, 3, stride=stride, padding=1), nn.LeakyReLU(LEAK)


class BackgroundNet(nn.Module):
    """(N, 5, 512, 512) RGB and coordinates -> logits (N, 32, 512, 512)."""

    def __init__(self, narrow: int = 1) -> None:
        super().__init__()
        a, b, c, d = (n // narrow for n in (64, 128, 256, 512))
        self.input_conv = nn.Sequential(*_leaky(5, a, stride=2))
        self.down_conv_1 = nn.Sequential(*_leaky(a, a), Downsample(a, b))
        self.down_conv_2 = nn.Sequential(*_leaky(b, b), Downsample(b, c))
        self.down_conv_3 = nn.Sequential(*_leaky(c, c), Downsample(c, d))
        self.middle = nn.Sequential(*_leaky(d, d))
        self.up_conv_1 = nn.Sequential(*_leaky(2 * d, c), Upsample(c))
        self.up_conv_2 = nn.Sequential(*_leaky(2 * c, b), Upsample(b))
        self.up_conv_3 = nn.Sequential(*_leaky(2 * b, a), Upsample(a))
        self.up_conv_4 = nn.Sequential(*_leaky(2 * a, a), Upsample(a))
        self.out_conv = nn.Conv2d(a, 32, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h1 = self.input_conv(x)
        h2 = self.down_conv_1(h1)
        h3 = self.down_conv_2(h2)
        h4 = self.down_conv_3(h3)
        x = self.up_conv_1(torch.cat([self.middle(h4), h4], 1))
        x = self.up_conv_2(torch.cat([x, h3], 1))
        x = self.up_conv_3(torch.cat([x, h2], 1))
        return self.out_conv(self.up_conv_4(torch.cat([x, h1], 1)))

    def features(self, x: Tensor) -> Tensor:
        """(N, 32, 128, 128) in (0, 1): what the renderer shows where no ray was stopped; the first three are RGB."""
        size = (BACKGROUND_SIZE, BACKGROUND_SIZE)
        return F.interpolate(torch.sigmoid(self(x)), size, mode="bilinear", align_corners=False)
