"""Several looks at one photo, at other sizes and in the mirror: where they agree is more trustworthy than any of them.

A pose network's answer for a limb in wide clothes or at the picture's edge can move by a quarter of the shoulders'
width when the picture is shown a little larger. The median of a few looks stays, and outvotes a first look far from it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

from pipeline.types import Array

SIZES = (384, 640, 1024)
"""Long sides in pixels at which the photo is shown again, each also mirrored."""
SAME_PERSON = 0.35
"""Median distance over all keypoints from the first look, in shoulder scales, beyond which a look saw somebody else."""
AGREE = 0.3
"""Median distance of the looks from their median, in shoulder scales, beyond which a keypoint has no consensus."""
OUTVOTED = 0.06
"""Distance of the first look from the median, in shoulder scales, beyond which the median takes its place."""
DOUBTED = 0.5
"""Factor on the visibility of such a keypoint."""
MIRRORED = (0, 4, 5, 6, 1, 2, 3, 8, 7, 10, 9, *(i + 1 if i % 2 else i - 1 for i in range(11, 33)))
"""Index in the mirrored picture of each of MediaPipe's 33 pose landmarks."""


class Look(NamedTuple):
    """One answer: ``pose`` (33, 3) x, y in pixels and visibility, ``world`` (33, 3) metres about the hips."""

    pose: Array
    world: Array


def further_looks(image: Array, look: Callable[[Array], Look | None]) -> list[Look]:
    """Answers of ``look`` for the picture (H, W, 3) at :data:`SIZES` and mirrored, in the picture's own pixels."""
    out = []
    for size in SIZES:
        scale = size / max(image.shape[:2])
        shown = cv2.resize(
            image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        )
        straight, mirrored = look(shown), look(np.ascontiguousarray(shown[:, ::-1]))
        if mirrored is not None:
            mirrored = unmirrored(mirrored, shown.shape[1])
        to_picture = np.array([image.shape[1] / shown.shape[1], image.shape[0] / shown.shape[0], 1], np.float32)
        out += [Look(found.pose * to_picture, found.world) for found in (straight, mirrored) if found is not None]
    return out


def unmirrored(found: Look, width: int) -> Look:
    """The answer for a picture of that width, from the answer for its mirror image."""
    order = list(MIRRORED)
    pose, world = found.pose[order], found.world[order] * np.array([-1, 1, 1], np.float32)
    return Look(np.concatenate([width - pose[:, :1], pose[:, 1:]], 1), world)


def consensus(first: Look, others: list[Look], scale: float) -> Look:
    """What most looks at the same person say, keypoint by keypoint: the first, or the median where that is far off.

    Args:
        first: the look that counts where there is no agreement. scale: a body length in pixels.

    Returns:
        Look, float32. Visibility comes with it, less where there is no agreement (:data:`DOUBTED`).
    """
    near = [
        other for other in others
        if np.median(np.linalg.norm(other.pose[:, :2] - first.pose[:, :2], axis=1)) < SAME_PERSON * scale
    ]  # fmt: skip
    if len(near) < 2:
        return first
    poses, worlds = (np.stack([getattr(look, name) for look in (first, *near)]) for name in ("pose", "world"))
    pose, world = np.median(poses, axis=0), np.median(worlds, axis=0)
    spread = np.median(np.linalg.norm(poses[..., :2] - pose[:, :2], axis=-1), axis=0)
    agreed = (spread < AGREE * scale)[:, None]
    gap = np.linalg.norm(first.pose[:, :2] - pose[:, :2], axis=1)
    close = (gap < OUTVOTED * scale)[:, None]  # video is seen by that first look alone: its small biases are to stay
    pose, world = np.where(close, first.pose, pose), np.where(close, first.world, world)
    doubted = first.pose * np.array([1, 1, DOUBTED], np.float32)
    pose, world = np.where(agreed, pose, doubted), np.where(agreed, world, first.world)
    return Look(pose.astype(np.float32), world.astype(np.float32))
