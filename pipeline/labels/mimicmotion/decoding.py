"""Latents to pictures, a few frames at a time and, where memory is short, in horizontal bands."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

BAND_OVERLAP = 16
"""Latent rows (8 pixels each) that neighbouring bands share and are cross-faded over."""


def decode_chunk(vae: Any, latents: Tensor, bands: int = 1) -> Tensor:
    """Decode consecutive frames together.

    Args:
        vae: ``AutoencoderKLTemporalDecoder``.
        latents: (F, 4, h, w), already divided by the scaling factor.
        bands: 1 decodes whole frames; more need less memory and differ slightly, as normalisation sees a band only.

    Returns:
        (F, 3, 8h, 8w) float32 in 0..1, on the CPU.
    """
    height = latents.shape[-2]
    if bands <= 1 or height < 2 * BAND_OVERLAP:
        pictures = _decode(vae, latents)
    else:
        pictures = _decode_bands(vae, latents, min(bands, height // BAND_OVERLAP))
    return (pictures / 2 + 0.5).clamp(0, 1)


def _decode(vae: Any, latents: Tensor) -> Tensor:
    return vae.decode(latents.to(vae.dtype), num_frames=len(latents)).sample.float().cpu()


def _decode_bands(vae: Any, latents: Tensor, bands: int) -> Tensor:
    frames, _, height, width = latents.shape
    up = 2 ** (len(vae.config.block_out_channels) - 1)
    total = torch.zeros(frames, 3, height * up, width * up)
    weight = torch.zeros(height * up, 1)
    margin = BAND_OVERLAP // 2
    for band in range(bands):
        start = max(height * band // bands - margin, 0)
        stop = min(height * (band + 1) // bands + margin, height)
        ramp = _ramp((stop - start) * up, start > 0, stop < height, 2 * margin * up)
        total[:, :, start * up : stop * up] += _decode(vae, latents[:, :, start:stop]) * ramp
        weight[start * up : stop * up] += ramp
    return total / weight


def _ramp(rows: int, fade_in: bool, fade_out: bool, length: int) -> Tensor:
    """(rows, 1) weights that rise and fall linearly over ``length`` rows at the ends that are shared."""
    ramp = torch.ones(rows)
    rise = (torch.arange(min(length, rows)) + 0.5) / length
    if fade_in:
        ramp[: len(rise)] *= rise
    if fade_out:
        ramp[rows - len(rise) :] *= rise.flip(0)
    return ramp[:, None]
