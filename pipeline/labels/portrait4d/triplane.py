"""Features of photo and expression -> three axis-aligned feature planes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.labels.portrait4d.layers import Block, PatchEmbed, leaky_convs, to_map

GRID = (128, 128)
PLANES, PLANE_CHANNELS = 3, 32


class TriplaneDecoder(nn.Module):
    """(N, 96, 256, 256) expression features and (N, 96, 256, 256) details -> (N, 96, 256, 256) planes."""

    def __init__(self, narrow: int = 1) -> None:
        super().__init__()
        dim, a, b, c = (n // narrow for n in (1024, 256, 128, 96))
        self.convs1 = leaky_convs(2 * c, a, b)
        self.patch_embed = PatchEmbed(b, dim)
        self.trans_blocks = nn.ModuleList([Block(dim, heads=2, reduction=2)])
        self.convs2 = leaky_convs(a + c, a, b, b)
        self.conv_last = nn.Conv2d(b, PLANES * PLANE_CHANNELS, 3, padding=1)

    def forward(self, expression: Tensor, detail: Tensor) -> Tensor:
        tokens = self.patch_embed(self.convs1(torch.cat([expression, detail], 1)))
        for block in self.trans_blocks:
            tokens = block(tokens, GRID)
        shuffled = F.pixel_shuffle(to_map(tokens, *GRID), 2)
        return self.conv_last(self.convs2(torch.cat([shuffled, expression], 1)))
