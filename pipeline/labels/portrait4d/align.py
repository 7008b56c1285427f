"""The two pictures the network sees: the aligned 512 photo, and the 224 face crop of the motion encoder.

Both are cut from face landmarks of any detector: five points (pupils, nose tip, mouth corners; image left first) for
the first, the 68 iBUG points for the second. :func:`mediapipe_points` takes them from MediaPipe's 478.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.body.landmarks import FACE68_FROM_MEDIAPIPE
from pipeline.labels.portrait4d.motion_encoder import CROP_SIZE
from pipeline.types import Array, PipelineError

ALIGNED_SIZE = 512
RESCALE = 180.0
MEDIAPIPE_FIVE = (468, 473, 4, 61, 291)
"""Pupils, nose tip and mouth corners in MediaPipe's refined face mesh, the picture's left first.

Of MediaPipe's two candidates for the tip, 4 puts portraits where the published examples have them; 1 lies lower.
"""
MAX_RESIZED_PIXELS = 80_000_000

_TEMPLATE = np.array(
    [
        [-0.31148657, 0.09036078, 0.13377953],
        [0.30979887, 0.08972035, 0.13179526],
        [0.0032535, -0.24617933, 0.55244243],
        [-0.25216928, -0.5813392, 0.22405732],
        [0.2484662, -0.5812824, 0.22235769],
    ]
) + np.array([0.0, 0.1, 0.4])
"""The five points on a mean head: x right, y up, z to the viewer."""
_CROP_TEMPLATE = np.array([[87.0, 59.0], [137.0, 59.0], [112.0, 120.0]])
_EYES_AND_MOUTH = (slice(36, 42), slice(42, 48), slice(60, 68))


@dataclass(frozen=True)
class Alignment:
    """How a picture was brought to 512 x 512.

    Attributes:
        width, height: of the picture, pixels.
        scale: picture pixels -> aligned pixels.
        tx, ty: where the head's origin lies, pixels of the picture, y counted upwards from its lowest row.
    """

    width: int
    height: int
    scale: float
    tx: float
    ty: float

    @property
    def resized(self) -> tuple[int, int]:
        """(width, height) of the whole picture after scaling."""
        return int(self.width * self.scale), int(self.height * self.scale)

    def to_aligned(self, points: Array) -> Array:
        """Points (n, 2) from the picture's pixels to the aligned ones."""
        half, (w, h) = ALIGNED_SIZE / 2, self.resized
        x = (points[:, 0] - self.tx + self.width / 2) * self.scale - (w / 2 - half)
        up = self.height - 1 - points[:, 1]
        y = (up - self.ty + self.height / 2) * self.scale - (h / 2 - half)
        return np.stack([x, ALIGNED_SIZE - y], 1)

    def to_picture(self, points: Array) -> Array:
        """The inverse of :meth:`to_aligned`."""
        half, (w, h) = ALIGNED_SIZE / 2, self.resized
        x = (points[:, 0] + w / 2 - half) / self.scale + self.tx - self.width / 2
        up = (ALIGNED_SIZE - points[:, 1] + h / 2 - half) / self.scale + self.ty - self.height / 2
        return np.stack([x, self.height - 1 - up], 1)

    def apply(self, image: Array) -> Array:
        """Cut the aligned picture out.

        Args:
            image: (H, W, 3) uint8 RGB of the size this alignment was made for.

        Returns:
            (512, 512, 3) uint8; beyond the edge of the picture its border is repeated.

        Raises:
            PipelineError: the face is so small that the enlarged picture would not fit in memory.
        """
        from PIL import Image

        w, h = self.resized
        if w * h > MAX_RESIZED_PIXELS or min(w, h) < 1:
            raise PipelineError(
                "The face is too small in this picture for head labels; crop the picture around the person first."
            )
        picture = np.asarray(Image.fromarray(image).resize((w, h), Image.Resampling.LANCZOS))
        half = ALIGNED_SIZE / 2
        left = math.trunc(w / 2 - half + (self.tx - self.width / 2) * self.scale)
        up = math.trunc(h / 2 - half + (self.height / 2 - self.ty) * self.scale)
        overhang = max(-left, -up, left + ALIGNED_SIZE - w, up + ALIGNED_SIZE - h, 0)
        if overhang:
            picture = np.pad(picture, ((overhang, overhang), (overhang, overhang), (0, 0)), mode="edge")
        rows = slice(up + overhang, up + overhang + ALIGNED_SIZE)
        return picture[rows, left + overhang : left + overhang + ALIGNED_SIZE]


def align(five_points: Array, width: int, height: int) -> Alignment:
    """Fit the mean head to five points: an affine camera by least squares, of which scale and place are kept.

    Args:
        five_points: (5, 2) pupils, nose tip, mouth corners in pixels.
        width, height: size of the picture.
    """
    design = np.concatenate([_TEMPLATE, np.ones((5, 1))], 1)
    upright = np.stack([five_points[:, 0], height - 1 - five_points[:, 1]], 1).astype(np.float64)
    solution, *_ = np.linalg.lstsq(design, upright, rcond=None)
    mean_norm = np.linalg.norm(solution[:3], axis=0).mean()
    if not np.isfinite(mean_norm) or mean_norm < 1e-3:
        raise PipelineError("The face landmarks are degenerate; use a picture with a clearly visible face.")
    return Alignment(width, height, RESCALE / float(mean_norm), float(solution[3, 0]), float(solution[3, 1]))


def mediapipe_points(face: Array) -> tuple[Array, Array]:
    """Five alignment points (5, 2) and 68 iBUG points (68, 2) of a MediaPipe face (478, >= 2), in its pixels."""
    return face[list(MEDIAPIPE_FIVE), :2], face[list(FACE68_FROM_MEDIAPIPE), :2]


def similarity(source: Array, target: Array) -> Array:
    """Umeyama's rotation, uniform scale and translation from points to points (n, 2), as a (2, 3) matrix."""
    mean_a, mean_b = source.mean(0), target.mean(0)
    a, b = source - mean_a, target - mean_b
    u, singular, vt = np.linalg.svd(b.T @ a / len(a))
    if singular[0] < 1e-12:
        return np.eye(2, 3)
    sign = np.array([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = u @ np.diag(sign) @ vt
    scale = (singular * sign).sum() / (a**2).sum(1).mean()
    return np.concatenate([scale * rotation, (mean_b - scale * rotation @ mean_a)[:, None]], 1)


def motion_transform(landmarks68: Array) -> Array:
    """(2, 3) float32 map from the aligned picture to the 224 frame, from 68 points (68, 2) in the aligned picture."""
    points = np.stack([landmarks68[where].mean(0) for where in _EYES_AND_MOUTH]).astype(np.float64)
    return similarity(points, _CROP_TEMPLATE).astype(np.float32)


def warp(image: Tensor, matrix: Array, size: int) -> Tensor:
    """Resample (1, C, H, W) by a (2, 3) map in pixel indices to (1, C, size, size); zeros outside."""
    inverse = np.linalg.inv(np.concatenate([matrix.astype(np.float64), [[0, 0, 1]]]))[:2]
    height, width = image.shape[2:]
    v, u = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    places = np.stack([u, v, np.ones_like(u)], -1) @ inverse.T
    grid = places * (2 / np.array([width - 1, height - 1])) - 1
    return F.grid_sample(
        image, torch.from_numpy(grid).to(image)[None], mode="bilinear", padding_mode="zeros", align_corners=True
    )


def motion_crop(image: Tensor, landmarks68: Array) -> Tensor:
    """The picture that the motion encoder reads.

    Args:
        image: (1, 3, 512, 512) aligned picture in [-1, 1].
        landmarks68: (68, 2) in its pixels.

    Returns:
        (1, 3, 224, 224) in [-1, 1].
    """
    wide = warp(image, motion_transform(landmarks68), CROP_SIZE)
    inner = wide[:, :, :192, 16:208]
    return F.interpolate(inner, (CROP_SIZE, CROP_SIZE), mode="bilinear", align_corners=False).clamp(-1, 1)


def to_network(image: Array) -> Tensor:
    """(H, W, 3) uint8 -> (1, 3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(image.astype(np.float32) / 127.5 - 1).permute(2, 0, 1)[None].contiguous()


def from_network(image: Tensor) -> Array:
    """(3, H, W) in [-1, 1] -> (H, W, 3) uint8, truncated as the published code does."""
    return (image * 127.5 + 128).clamp(0, 255).to(torch.uint8).permute(1, 2, 0).cpu().numpy()
