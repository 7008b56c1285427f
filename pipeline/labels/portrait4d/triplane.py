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

    def __init__(self) -> None:
        super().__init__()
        self.convs1 = leaky_convs(192, 256, 128)
        self.patch_embed = PatchEmbed(128, 1024)
        self.trans_blocks = nn.ModuleList([Block(1024, heads=2, reduction=2)])
        self.convs2 = leaky_convs(352, 256, 128, 128)
        self.conv_last = nn.Conv2d(128, PLANES * PLANE_CHANNELS, 3, padding=1)

    def forward(self, expression: Tensor, detail: Tensor) -> Tensor:
        tokens = self.patch_embed(self.convs1(torch.cat([expression, detail], 1)))
        for block in self.trans_blocks:
            tokens = block(tokens, GRID)
        shuffled = F.pixel_shuffle(to_map(tokens, *GRID), 2)
        return self.conv_last(self.convs2(torch.cat([shuffled, expression], 1)))
