"""What :mod:`pipeline.render.frame_kernels` reads and writes: Gaussians in the order and form that draw fast."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pipeline.render import frame_kernels as kernels
from pipeline.render.project_kernels import MAX_EXTENT
from pipeline.types import Array

if TYPE_CHECKING:
    from pipeline.render.skinned import Rig

LINE = 64
"""Bytes of a line of a processor's cache."""


class FrameData(NamedTuple):
    """N Gaussians on a skeleton, M of them moved by expressions.

    Attributes:
        order: (N,) which Gaussian of the rig each one is: the moved ones first, then by number of joints, so that what
            a loop does for one it does for the next.
        means: (N, 3) canonical positions. scales, reaches: (N,), see the kernels.
        joints, weights: (N, K) most weight first. used: (N,) uint8 how many have any.
        opacities: (N,). colors: (N, 3) in 0..1.
        basis: (E, 3 M) int16 how far expressions move, in steps of ``steps`` (E,) metres.
        lit: (S,) int64 in this order, with ``normals`` (S, 3) and ``shares`` (S,): see :class:`.skinned.Rig`.
    """

    order: Array
    means: Array
    scales: Array
    reaches: Array
    joints: Array
    weights: Array
    used: Array
    opacities: Array
    colors: Array
    basis: Array
    steps: Array
    lit: Array
    normals: Array
    shares: Array

    @staticmethod
    def of(rig: Rig) -> FrameData:
        """Sort and convert."""
        column = np.full(len(rig.means), -1)
        column[rig.rows] = np.arange(len(rig.rows))
        used = (rig.weights != 0).sum(1).astype(np.uint8)
        order = np.lexsort((used, column < 0))
        heavy = np.argsort(-np.abs(rig.weights[order]), axis=1, kind="stable")
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        basis, steps = _in_steps(rig.basis[:, column[order[: len(rig.rows)]]])
        return FrameData(
            order=order,
            means=rig.means[order],
            scales=rig.scales[order],
            reaches=_reaches(rig.opacities[order]),
            joints=np.take_along_axis(rig.joints[order], heavy, 1),
            weights=np.take_along_axis(rig.weights[order], heavy, 1),
            used=used[order],
            opacities=rig.opacities[order],
            colors=rig.colors[order],
            basis=basis,
            steps=steps,
            lit=place[rig.lit],
            normals=rig.normals,
            shares=rig.shares,
        )


class Room(NamedTuple):
    """Where one frame is drawn: ``points`` (N, 3), canonical and moved by an expression, and what the kernels write."""

    points: Array
    splats: Array
    rects: Array
    keys: Array

    @staticmethod
    def of(data: FrameData) -> Room:
        """Empty, but for what is the same in every frame."""
        n = len(data.means)
        splats = _splats(data.opacities, data.colors)
        return Room(data.means.copy(), splats, np.empty((n, 4), np.int16), np.empty(n, np.uint32))


def by_columns(transforms: Array) -> Array:
    """(J, 12) row by row to (J, 16) column by column, the last row zero."""
    columns = np.zeros((len(transforms), 4, 4), np.float32)
    columns[:, :, :3] = transforms.reshape(-1, 3, 4).transpose(0, 2, 1)
    return columns.reshape(-1, 16)


def places_of(counts: Array) -> tuple[Array, Array]:
    """Where tiles and slices start.

    Args:
        counts: (tasks, tiles) int64, splats of each slice in each tile.

    Returns:
        offsets (tiles + 1,) of the tiles, and (tasks, tiles) of the slices in them.
    """
    ends = np.cumsum(counts.T).reshape(counts.T.shape)
    return np.concatenate([[0], ends[:, -1]]), np.ascontiguousarray((ends - counts.T).T)


def _in_steps(basis: Array) -> tuple[Array, Array]:
    """(E, M, 3) float32 as (E, 3 M) int16 and the size of a step (E,), a 32,767th of the largest value."""
    flat = basis.reshape(len(basis), 3 * basis.shape[1])
    largest = np.abs(flat).max(1, initial=0.0)
    steps = (np.where(largest > 0, largest, 1) / np.iinfo(np.int16).max).astype(np.float32)
    return np.rint(flat / steps[:, None]).astype(np.int16), steps


def _reaches(opacities: Array) -> Array:
    """Standard deviations up to which alpha is 1/255 or more, at most ``MAX_EXTENT``; NaN where it never is."""
    seen = opacities >= kernels.ALPHA_MIN
    reach = np.sqrt(2 * np.log(np.where(seen, opacities, 1) * 255.0))
    return np.where(seen, np.minimum(reach, MAX_EXTENT), np.nan).astype(np.float32)


def _splats(opacities: Array, colors: Array) -> Array:
    """(N, 16) float32, each on a line of cache of its own, with what does not change from frame to frame."""
    n, line = len(opacities), LINE // 4
    room = np.zeros((n + 1) * line, np.float32)
    first = -(room.ctypes.data // 4) % line
    splats = room[first : first + n * line].reshape(n, line)
    splats[:, kernels.OPACITY] = np.minimum(opacities, kernels.OPACITY_MAX)
    splats[:, kernels.COLOR : kernels.COLOR + 3] = colors
    return splats
