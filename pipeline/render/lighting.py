"""Light on Gaussians that wear none in their colours: a factor by the direction of their surface."""

from __future__ import annotations

import torch
from torch import Tensor

DARKEST, BRIGHTEST = 0.5, 1.1
"""Bounds of the factor."""
FACING = 2 / 3
"""Mean cosine to the camera over what is seen of a ball: a round thing keeps its colour on average."""


def light_factors(normals: Tensor, shares: Tensor, light: Tensor) -> Tensor:
    """Factor (S,) on colours: about 1 for what faces the photo's camera (world z), brighter towards the light.

    Args:
        normals: (S, 3) world, of any length. shares: (S,) how much of the light each one gets, 0..1.
        light: (3,) world, shorter than 1: brightness is proportional to ``1 + light . normal``.
    """
    cosine = torch.nn.functional.normalize(normals, dim=1) @ light
    factor = ((1 + cosine) / (1 + FACING * light[2])).clamp(DARKEST, BRIGHTEST)
    return 1 + shares * (factor - 1)
