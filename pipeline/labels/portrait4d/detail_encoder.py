"""Fine appearance of the photo at half its resolution."""

from __future__ import annotations

from torch import Tensor, nn

from pipeline.labels.portrait4d.layers import LEAK, leaky_convs


class DetailEncoder(nn.Module):
    """(N, 5, 512, 512) RGB and coordinates -> (N, 96 / narrow, 256, 256)."""

    def __init__(self, narrow: int = 1) -> None:
        super().__init__()
        a, b = 64 // narrow, 96 // narrow
        stem = nn.Conv2d(5, a, 7, stride=2, padding=3)
        self.encoder = nn.Sequential(stem, nn.LeakyReLU(LEAK), *leaky_convs(a, b, b, b, b))

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder(x)
