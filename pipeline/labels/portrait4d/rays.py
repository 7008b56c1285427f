"""Cameras of the head renderer: 25 numbers in, rays out.

The camera vector is a row-major 4x4 camera-to-world matrix followed by a row-major 3x3 intrinsics matrix normalised to
an image of width and height 1. Camera axes: x right, y up, looking along -z. World: x to the right of a picture of a
frontal face, y up, z towards the viewer, origin at the neck joint, unit = a third of a metre.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

FOV_DEGREES = 12.0
HEAD_POSITION = (0.0, 0.01, 4.2)
"""Where the default camera stands."""
UNITS_PER_METRE = 3.0


class Rays(NamedTuple):
    """Rays of one image, row-major: origin (3,), unit directions (R, 3), depth of the world origin in the camera."""

    origin: Tensor
    directions: Tensor
    distance: float


def normalised_focal(fov_degrees: float = FOV_DEGREES) -> float:
    """Focal length as a share of the image width."""
    return 0.5 / math.tan(math.radians(fov_degrees) / 2)


def camera_vector(head_rotation: Tensor, position: tuple[float, float, float] = HEAD_POSITION) -> Tensor:
    """The camera that shows a head turned by ``head_rotation`` (3, 3): the head stays, the camera goes round it.

    Returns:
        (25,) float32.
    """
    rotation = head_rotation.to(torch.float64)
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = rotation.T
    pose[:3, 3] = rotation.T @ torch.tensor(position, dtype=torch.float64)
    focal = normalised_focal()
    intrinsics = torch.tensor([focal, 0, 0.5, 0, focal, 0.5, 0, 0, 1], dtype=torch.float64)
    return torch.cat([pose.flatten(), intrinsics]).float()


def make_rays(camera: Tensor, size: int) -> Rays:
    """Rays through the pixel centres of a size x size image.

    Args:
        camera: (25,) camera vector.
    """
    pose, k = camera[:16].view(4, 4), camera[16:].view(3, 3)
    centres = (torch.arange(size, dtype=camera.dtype, device=camera.device) + 0.5) / size
    v, u = torch.meshgrid(centres, centres, indexing="ij")
    fx, fy, skew, cx, cy = k[0, 0], k[1, 1], k[0, 1], k[0, 2], k[1, 2]
    x = (u - cx + cy * skew / fy - skew * v / fy) / fx
    y = -(v - cy) / fy
    local = torch.stack([x, y, -torch.ones_like(x)], -1).view(-1, 3)
    directions = torch.nn.functional.normalize(local @ pose[:3, :3].T, dim=-1)
    origin = pose[:3, 3]
    distance = float((pose[:3, 2] * origin).sum().abs())
    return Rays(origin, directions, distance)
