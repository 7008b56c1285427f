"""Expression swap in feature space: the source's own expression is taken off, the driving frame's is put on."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.labels.portrait4d.layers import LEAK, CrossBlock, PatchEmbed, to_map

MOTION_DIMS = 548
DIM, HEADS = 1024, 4
MOTION_TOKENS = 64
GRID = (32, 32)


def _mapping(dims: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(MOTION_DIMS, dims), nn.LeakyReLU(LEAK), nn.Linear(dims, dims), nn.LeakyReLU(LEAK))


class CanonicalEncoder(nn.Module):
    """Neutral and motion cross-attention over the global features.

    The neutral half depends on the photo alone: :meth:`neutralise` once per photo, :meth:`express` once per frame.
    """

    def __init__(self, neutral_blocks: int = 4, motion_blocks: int = 4, narrow: int = 1) -> None:
        super().__init__()
        dim, a, b, c, d = (n // narrow for n in (DIM, 512, 256, 128, 96))
        self.maps = _mapping(a)
        self.maps_neutral = _mapping(a)
        self.proj_y_neutral = nn.Linear(a, MOTION_TOKENS * dim)
        self.proj_y = nn.Linear(a, MOTION_TOKENS * dim)
        self.patch_embed = PatchEmbed(b, dim)
        self.trans_blocks_neutral = nn.ModuleList(CrossBlock(dim, HEADS, dim) for _ in range(neutral_blocks))
        self.trans_blocks_motion = nn.ModuleList(CrossBlock(dim, HEADS, dim) for _ in range(motion_blocks))
        up = nn.UpsamplingBilinear2d(scale_factor=2)
        self.convs = nn.Sequential(
            up, nn.Conv2d(b, c, 3, padding=1), nn.ReLU(),
            up, nn.Conv2d(c, c, 3, padding=1), nn.ReLU(),
            nn.Conv2d(c, d, 3, padding=1),
        )  # fmt: skip

    def neutralise(self, features: Tensor, motion: Tensor, motion_scale: float = 1.0) -> Tensor:
        """Take the source's expression off.

        Args:
            features: (N, 256, 64, 64) of the photo.
            motion: (N, 548) of the photo.

        Returns:
            (N, 1024, 1024) tokens.
        """
        keys = self.proj_y_neutral(self.maps_neutral(motion)).unflatten(-1, (MOTION_TOKENS, -1))
        tokens = self.patch_embed(features)
        for block in self.trans_blocks_neutral:
            tokens = block(tokens, keys, GRID, motion_scale)
        return tokens

    def express(self, tokens: Tensor, motion: Tensor, motion_scale: float = 1.0) -> Tensor:
        """Put the expression of a driving frame on.

        Args:
            tokens: from :meth:`neutralise`.
            motion: (N, 548) of the driving frame.

        Returns:
            (N, 96, 256, 256).
        """
        keys = self.proj_y(self.maps(motion)).unflatten(-1, (MOTION_TOKENS, -1))
        for block in self.trans_blocks_motion:
            tokens = block(tokens, keys, GRID, motion_scale)
        return self.convs(self.low_resolution(tokens))

    @staticmethod
    def low_resolution(tokens: Tensor) -> Tensor:
        """Tokens as a (N, 256, 64, 64) map."""
        return F.pixel_shuffle(to_map(tokens, *GRID), 2)
