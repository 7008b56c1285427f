"""Root views: the seeded turns of the root that pseudo-labels are rendered from (paper, section 3.3)."""

from __future__ import annotations

import numpy as np

from ..types import Array, MotionClip
from .rotations import aa_to_matrix, axis_rotation, matrix_to_aa

PITCH_RANGE = (-30.0, 30.0)
YAW_RANGE = (-10.0, 10.0)
"""Degrees, as printed in the paper."""


def draw_root_views(
    count: int, seed: int, *, pitch: tuple[float, float] = PITCH_RANGE, yaw: tuple[float, float] = YAW_RANGE
) -> Array:
    """Draw root turns, evenly spread over the ranges (stratified), the same for the same seed.

    Args:
        count: how many, at least 1.
        seed: of the generator.
        pitch, yaw: lowest and highest, degrees.

    Returns:
        (count, 2) pitch and yaw, degrees.
    """
    rng = np.random.default_rng(seed)
    strata = np.stack([rng.permutation(count) for _ in range(2)], axis=-1)
    share = (strata + rng.random((count, 2))) / count
    low, high = np.array([pitch[0], yaw[0]]), np.array([pitch[1], yaw[1]])
    return low + share * (high - low)


def sample_root_views(
    clip: MotionClip,
    seed: int,
    *,
    segment_seconds: float | None = None,
    pitch: tuple[float, float] = PITCH_RANGE,
    yaw: tuple[float, float] = YAW_RANGE,
) -> MotionClip:
    """The clip seen from sampled views: its root turned by a random pitch and yaw.

    Args:
        clip: any clip.
        seed: the same seed gives the same views.
        segment_seconds: length over which one view is held; None holds one view for the whole clip.
        pitch, yaw: ranges in degrees; positive pitch bows towards the camera, positive yaw turns to the person's left.

    Returns:
        The clip with ``global_orient`` and ``transl`` turned about the first frame's root and the views in
        ``meta["root_views"]`` as [pitch, yaw] pairs, degrees.
    """
    length = len(clip) if segment_seconds is None else max(1, round(segment_seconds * clip.fps))
    count = -(-len(clip) // length)
    views = draw_root_views(count, seed, pitch=pitch, yaw=yaw)
    index = np.arange(len(clip)) // length
    turn = axis_rotation("y", np.radians(views[:, 1])) @ axis_rotation("x", np.radians(views[:, 0]))
    turn = turn[index]
    orient = matrix_to_aa(turn @ aa_to_matrix(clip.global_orient)).astype(np.float32)
    start = clip.transl[0]
    transl = np.einsum("fij,fj->fi", turn, clip.transl - start) + start
    meta = {**clip.meta, "root_views": [[round(float(p), 3), round(float(y), 3)] for p, y in views]}
    return clip.replace(global_orient=orient, transl=transl.astype(np.float32), meta=meta)
