"""Super-resolution 128 -> 512 with modulated convolutions of one constant style (StyleGAN2 type), noise off."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STYLE_DIMS = 512
CLAMP = 256.0


def fir_filter() -> Tensor:
    """The separable [1, 3, 3, 1] low-pass filter, (4, 4), sum 1."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    return torch.outer(taps, taps) / 64


def upsample_rgb(image: Tensor, fir: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, 2H, 2W): zero insertion and low-pass."""
    channels = image.shape[1]
    kernel = (4 * fir).expand(channels, 1, 4, 4).to(image.dtype)
    return F.conv_transpose2d(image, kernel, stride=2, padding=1, groups=channels)


class Affine(nn.Module):
    """Equalised linear layer from the style vector to one scale per input channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, STYLE_DIMS))
        self.bias = nn.Parameter(torch.ones(channels))

    def forward(self, style: Tensor) -> Tensor:
        return F.linear(style, self.weight / math.sqrt(STYLE_DIMS), self.bias)


class SynthesisLayer(nn.Module):
    """Modulated and demodulated 3x3 convolution, optionally x2, bias, leaky ReLU and clamp."""

    resample_filter: Tensor

    def __init__(self, a: int, b: int, up: bool) -> None:
        super().__init__()
        self.up = up
        self.weight = nn.Parameter(torch.randn(b, a, 3, 3))
        self.bias = nn.Parameter(torch.zeros(b))
        self.affine = Affine(a)
        self.register_buffer("resample_filter", fir_filter())

    def modulated(self, style: Tensor) -> Tensor:
        """(b, a, 3, 3) kernel for a style (512,)."""
        weight = self.weight * self.affine(style)[None, :, None, None]
        return weight * (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).rsqrt()

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        weight = self.modulated(style).to(x.dtype)
        if self.up:
            x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
            kernel = (4 * self.resample_filter).expand(x.shape[1], 1, 4, 4).to(x.dtype)
            x = F.conv2d(x, kernel, padding=1, groups=x.shape[1])
        else:
            x = F.conv2d(x, weight, padding=1)
        x = F.leaky_relu(x + self.bias.to(x.dtype)[None, :, None, None], 0.2)
        return (x * math.sqrt(2)).clamp(-CLAMP, CLAMP)


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to colours, without demodulation or activation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(3))
        self.affine = Affine(channels)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        scale = self.affine(style) / math.sqrt(self.weight.shape[1])
        out = F.conv2d(x, (self.weight * scale[None, :, None, None]).to(x.dtype))
        return (out + self.bias.to(x.dtype)[None, :, None, None]).clamp(-CLAMP, CLAMP).float()


class SynthesisBlock(nn.Module):
    """(features, RGB) at size s -> the same at 2 s."""

    resample_filter: Tensor

    def __init__(self, a: int, b: int) -> None:
        super().__init__()
        self.register_buffer("resample_filter", fir_filter())
        self.conv0 = SynthesisLayer(a, b, up=True)
        self.conv1 = SynthesisLayer(b, b, up=False)
        self.torgb = ToRGB(b)

    def forward(self, x: Tensor, image: Tensor, style: Tensor) -> tuple[Tensor, Tensor]:
        x = self.conv1(self.conv0(x, style), style)
        return x, upsample_rgb(image, self.resample_filter) + self.torgb(x, style)


class SuperResolution(nn.Module):
    """32-channel 128^2 feature image -> RGB 512^2, nominally in [-1, 1]."""

    def __init__(self, narrow: int = 1) -> None:
        super().__init__()
        self.block0 = SynthesisBlock(32, 256 // narrow)
        self.block1 = SynthesisBlock(256 // narrow, 128 // narrow)

    def forward(self, features: Tensor, style: Tensor, image: Tensor | None = None) -> Tensor:
        """Args: features (N, 32, 128, 128); style (512,); image (N, 3, 128, 128), by default the first channels."""
        image = features[:, :3] if image is None else image
        x, image = self.block0(features, image, style)
        return self.block1(x, image, style)[1]
