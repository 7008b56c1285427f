"""Pictures on their way into the networks: size of the reference, CLIP input, tensors in -1..1."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.types import Array, PipelineError

SIDE_MULTIPLE = 64
"""The UNet halves its latents three times."""
CLIP_SIDE = 224
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def target_size(height: int, width: int, resolution: int = 576) -> tuple[int, int]:
    """(height, width) that a photo is brought to: 9:16 with ``resolution`` on the short side, multiples of 64.

    Only a photo taller than wide becomes portrait.

    Raises:
        PipelineError: a resolution that is no positive multiple of 64.
    """
    if resolution <= 0 or resolution % SIDE_MULTIPLE:
        raise PipelineError(f"The resolution is {resolution}; use a multiple of {SIDE_MULTIPLE}, for example 576.")
    long_side = math.floor(resolution / (9 / 16) / SIDE_MULTIPLE) * SIDE_MULTIPLE
    return (long_side, resolution) if height > width else (resolution, long_side)


def fit_reference(image: Array, resolution: int = 576) -> Array:
    """Cover the target size and cut its middle out.

    Args:
        image: (H, W, 3) uint8 RGB.
        resolution: short side in pixels.

    Returns:
        (H', W', 3) uint8; bilinear without antialiasing, rounded half to even.
    """
    h, w = image.shape[:2]
    height, width = target_size(h, w, resolution)
    ratio = h / w
    size = (height, math.ceil(height / ratio)) if ratio < height / width else (math.ceil(width * ratio), width)
    if size != (h, w):
        pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float()
        pixels = torch.nn.functional.interpolate(pixels, size=size, mode="bilinear", align_corners=False)
        image = pixels[0].round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
    top, left = round((size[0] - height) / 2), round((size[1] - width) / 2)
    return np.ascontiguousarray(image[top : top + height, left : left + width])


def to_pixels(image: Any) -> Tensor:
    """(1, 3, H, W) float32 in -1..1 from a PIL picture, an (H, W, 3) array (uint8, or float 0..1) or a (1, 3, H, W)
    tensor in 0..1.

    Raises:
        PipelineError: anything else.
    """
    if isinstance(image, Tensor):
        pixels = image.float() if image.ndim == 4 else image[None].float()
    else:
        array = np.asarray(image.convert("RGB") if hasattr(image, "convert") else image)
        if array.ndim != 3 or array.shape[2] != 3:
            raise PipelineError(f"A picture of shape {array.shape} is not (height, width, 3); give an RGB picture.")
        array = array.astype(np.float32) / 255 if array.dtype == np.uint8 else array.astype(np.float32)
        pixels = torch.from_numpy(array).permute(2, 0, 1)[None]
    if pixels.shape[:2] != (1, 3):
        raise PipelineError(f"A picture tensor of shape {tuple(pixels.shape)} is not (1, 3, height, width).")
    return pixels * 2 - 1


def to_pose_pixels(poses: Any) -> Tensor:
    """(N, 3, H, W) float32 in -1..1 from (N, H, W, 3) uint8 pictures, or such a tensor as it is.

    Raises:
        PipelineError: another shape, or fewer than two frames.
    """
    if not isinstance(poses, Tensor):
        array = np.asarray(poses)
        if array.dtype != np.uint8 or array.ndim != 4 or array.shape[-1] != 3:
            raise PipelineError("Pose pictures are uint8 of shape (frames, height, width, 3), or a tensor in -1..1.")
        poses = torch.from_numpy(np.ascontiguousarray(array)).permute(0, 3, 1, 2).float() / 127.5 - 1
    if poses.ndim != 4 or poses.shape[1] != 3 or len(poses) < 2:
        raise PipelineError(
            f"Pose pictures of shape {tuple(poses.shape)}: needed are two or more, the photo's own pose first."
        )
    return poses.float()


def pad_to_multiple(pixels: Tensor, mode: str = "replicate") -> Tensor:
    """Extend (N, 3, H, W) at the right and the bottom to sides that are multiples of 64.

    Args:
        mode: "replicate", or "black" for pose pictures.
    """
    height, width = pixels.shape[-2:]
    extra = (0, -width % SIDE_MULTIPLE, 0, -height % SIDE_MULTIPLE)
    if not any(extra):
        return pixels
    if mode == "black":
        return torch.nn.functional.pad(pixels, extra, value=-1.0)
    return torch.nn.functional.pad(pixels, extra, mode="replicate")


def clip_input(pixels: Tensor) -> Tensor:
    """(1, 3, 224, 224) float32, the CLIP image encoder's input, squeezed without regard to aspect.

    Args:
        pixels: (1, 3, H, W) float32 in -1..1.
    """
    small = _smaller(pixels) / 2 + 0.5
    mean, std = (torch.tensor(v, device=pixels.device).view(1, 3, 1, 1) for v in (CLIP_MEAN, CLIP_STD))
    return (small - mean) / std


def _smaller(pixels: Tensor) -> Tensor:
    """Blur by how much each axis shrinks, then bicubic with aligned corners: Stable Video Diffusion's own resize."""
    for axis, side in ((3, pixels.shape[3]), (2, pixels.shape[2])):
        pixels = _blurred(pixels, axis, max((side / CLIP_SIDE - 1) / 2, 0.001))
    return torch.nn.functional.interpolate(pixels, size=(CLIP_SIDE, CLIP_SIDE), mode="bicubic", align_corners=True)


def _blurred(pixels: Tensor, axis: int, sigma: float) -> Tensor:
    """(1, 3, H, W) blurred along one axis by a Gaussian of about two deviations, reflected at the ends."""
    half = int(max(4 * sigma, 3)) // 2
    x = torch.arange(-half, half + 1, dtype=pixels.dtype, device=pixels.device)
    taps = torch.exp(-(x**2) / (2 * sigma**2))
    taps = taps / taps.sum()
    shape = (1, 1, 1, -1) if axis == 3 else (1, 1, -1, 1)
    pad = (half, half, 0, 0) if axis == 3 else (0, 0, half, half)
    padded = torch.nn.functional.pad(pixels, pad, mode="reflect")
    return torch.nn.functional.conv2d(padded, taps.view(shape).expand(3, -1, -1, -1), groups=3)
