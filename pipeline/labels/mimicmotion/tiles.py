"""Long videos: overlapping windows of frames, blended at every denoising step (progressive latent fusion)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.types import PipelineError


def frame_tiles(frames: int, tile_size: int, overlap: int) -> list[list[int]]:
    """Windows that cover a video; frame 0, the photo's own pose, opens every one of them.

    Args:
        frames: at least 2.
        tile_size: frames per window, cut to ``frames``.
        overlap: 1 up to ``tile_size`` - 1; of no meaning where one window is enough.

    Returns:
        Lists of ``tile_size`` frame indices each.

    Raises:
        PipelineError: too few frames, or an overlap that would leave frames uncovered.
    """
    if frames < 2 or tile_size < 2:
        raise PipelineError(f"{min(frames, tile_size)} frames are too few; needed are the photo's pose and one more.")
    size = min(tile_size, frames)
    if frames > size and not 1 <= overlap < size:
        raise PipelineError(f"The tile overlap is {overlap}; use 1 to {size - 1} for tiles of {size} frames.")
    starts = list(range(0, frames - size + 1, size - overlap)) if frames > size else [0]
    if starts[-1] + size < frames:
        starts.append(frames - size)
    return [[0, *range(start + 1, start + size)] for start in starts]


def tile_weights(size: int) -> Tensor:
    """(size,) float32 triangular weights, highest in the middle."""
    rising = (torch.arange(size, dtype=torch.float32) + 0.5) * 2 / size
    return torch.minimum(rising, 2 - rising)


@dataclass
class Fusion:
    """Weighted mean of overlapping predictions, kept in float32.

    Attributes:
        total: (R, N, C, h, w); weight: (N,).
    """

    total: Tensor
    weight: Tensor

    @staticmethod
    def empty(shape: tuple[int, ...], device: torch.device) -> Fusion:
        """For predictions of shape (rows, frames, channels, height, width)."""
        return Fusion(torch.zeros(shape, device=device), torch.zeros(shape[1], device=device))

    def add(self, prediction: Tensor, tile: list[int]) -> None:
        """Add (R, T, C, h, w) at the frames of a tile."""
        index = torch.tensor(tile, device=self.total.device)
        weights = tile_weights(len(tile)).to(self.total.device)
        self.total.index_add_(1, index, prediction.float() * weights[None, :, None, None, None])
        self.weight.index_add_(0, index, weights)

    def mean(self) -> Tensor:
        """(R, N, C, h, w)."""
        return self.total / self.weight[None, :, None, None, None]
