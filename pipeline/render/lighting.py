"""Light on Gaussians that wear none in their colours: darker or lighter by the direction of their surface."""

from __future__ import annotations

import torch
from torch import Tensor

DARKEST, BRIGHTEST = 0.5, 1.3
"""Bounds of the factor on brightness."""
FACING = 2 / 3
"""Mean cosine to the camera over what is seen of a ball: a round thing keeps its colour on average."""
LIGHTEST = 0.95
"""Brightness from which on a colour is as good as white."""


def light_factors(normals: Tensor, shares: Tensor, light: Tensor) -> Tensor:
    """Factor (S,) on brightness: about 1 for what faces the photo's camera (world z), more towards the light.

    Args:
        normals: (S, 3) world, of any length. shares: (S,) how much of the light each one gets, 0..1.
        light: (3,) world, shorter than 1: brightness is proportional to ``1 + light . normal``.
    """
    cosine = torch.nn.functional.normalize(normals, dim=1) @ light
    factor = ((1 + cosine) / (1 + FACING * light[2])).clamp(DARKEST, BRIGHTEST)
    return 1 + shares * (factor - 1)


def relit(colors: Tensor, factors: Tensor) -> Tensor:
    """Colours (S, 3) in 0..1, darker or lighter on average by ``factors`` (S,).

    Less light multiplies a colour; more light takes it towards white, as shine and the tone curve of a photo do: lit
    skin is paler, not of a stronger red.
    """
    mean = colors.mean(1).clamp(max=LIGHTEST)
    whiter = ((factors - 1) * mean / (1 - mean)).clamp(0, 1)[:, None]
    return colors * factors.clamp(max=1)[:, None] * (1 - whiter) + whiter
