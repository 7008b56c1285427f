"""Building blocks shared by the encoders and the tri-plane decoder: token attention, Mix-FFN, patch embedding.

Attribute names equal those of the published checkpoint, so that its tensors load without a renaming table.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEAK = 0.01
"""Negative slope of every leaky ReLU of the encoders."""


def with_coordinates(image: Tensor) -> Tensor:
    """Append the column and the row coordinate, each from -1 to 1 between first and last pixel.

    Args:
        image: (N, 3, H, W) RGB in [-1, 1].

    Returns:
        (N, 5, H, W): R, G, B, x, y.
    """
    n, _, height, width = image.shape
    x = torch.linspace(-1, 1, width, dtype=image.dtype, device=image.device).view(1, 1, 1, width)
    y = torch.linspace(-1, 1, height, dtype=image.dtype, device=image.device).view(1, 1, height, 1)
    return torch.cat([image, x.expand(n, 1, height, width), y.expand(n, 1, height, width)], 1)


def to_map(tokens: Tensor, height: int, width: int) -> Tensor:
    """(N, height * width, C) row-major tokens -> (N, C, height, width)."""
    return tokens.transpose(1, 2).reshape(tokens.shape[0], -1, height, width)


def to_tokens(image: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, H * W, C)."""
    return image.flatten(2).transpose(1, 2)


def leaky_convs(*channels: int) -> nn.Sequential:
    """3x3 convolutions with bias, each followed by a leaky ReLU: ``channels`` = input, hidden ..., output."""
    layers: list[nn.Module] = []
    for a, b in zip(channels[:-1], channels[1:], strict=True):
        layers += [nn.Conv2d(a, b, 3, padding=1), nn.LeakyReLU(LEAK)]
    return nn.Sequential(*layers)


class PatchEmbed(nn.Module):
    """Stride-2 convolution and LayerNorm: (N, C, H, W) -> (N, H/2 * W/2, dim)."""

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, dim, 3, stride=2, padding=1)
        self.norm = nn.LayerNorm(dim)

    def forward(self, image: Tensor) -> Tensor:
        return self.norm(to_tokens(self.proj(image)))


class Attention(nn.Module):
    """Multi-head attention whose keys and values come from the tokens themselves, optionally at reduced resolution.

    Args:
        dim: token channels. heads: number of heads (consecutive channels share a head).
        reduction: side of the square of tokens merged into one key; 1 = none.
        context: channels of foreign tokens that give keys and values (cross-attention); 0 = self-attention.
    """

    def __init__(self, dim: int, heads: int, reduction: int = 1, context: int = 0) -> None:
        super().__init__()
        self.heads, self.reduction = heads, reduction
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(context or dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)
        if reduction > 1:
            self.sr = nn.Conv2d(dim, dim, reduction, stride=reduction)
            self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, size: tuple[int, int], context: Tensor | None = None) -> Tensor:
        """Args: x (N, T, dim); size of its map; context (N, M, C) or None. Returns (N, T, dim)."""
        source = x if context is None else context
        if self.reduction > 1:
            source = self.norm(to_tokens(self.sr(to_map(source, *size))))
        k, v = self.kv(source).chunk(2, dim=-1)
        mixed = F.scaled_dot_product_attention(self._split(self.q(x)), self._split(k), self._split(v))
        return self.proj(mixed.transpose(1, 2).flatten(2))

    def _split(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class DepthwiseConv(nn.Module):
    """3x3 depthwise convolution on the token map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        return to_tokens(self.dwconv(to_map(x, *size)))


class MixFFN(nn.Module):
    """Linear, depthwise convolution, exact GELU, Linear."""

    def __init__(self, dim: int, ratio: int = 2) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, ratio * dim)
        self.dwconv = DepthwiseConv(ratio * dim)
        self.fc2 = nn.Linear(ratio * dim, dim)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        return self.fc2(F.gelu(self.dwconv(self.fc1(x), size)))


class Block(nn.Module):
    """Pre-norm transformer block: self-attention, then Mix-FFN."""

    def __init__(self, dim: int, heads: int, reduction: int = 1) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = Attention(dim, heads, reduction)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MixFFN(dim)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        x = x + self.attn(self.norm1(x), size)
        return x + self.mlp(self.norm2(x), size)


class CrossBlock(nn.Module):
    """Cross-attention to the motion tokens first, then self-attention, then Mix-FFN."""

    def __init__(self, dim: int, heads: int, context: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn1 = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.attn2 = Attention(dim, heads, context=context)
        self.norm3 = nn.LayerNorm(dim)
        self.mlp = MixFFN(dim)

    def forward(self, x: Tensor, motion: Tensor, size: tuple[int, int], motion_scale: float = 1.0) -> Tensor:
        """Args: x (N, T, dim); motion (N, M, context); motion_scale weighs the cross-attention branch only."""
        x = x + motion_scale * self.attn2(self.norm2(x), size, motion)
        x = x + self.attn1(self.norm1(x), size)
        return x + self.mlp(self.norm3(x), size)
