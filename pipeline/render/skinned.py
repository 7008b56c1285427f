"""Drawing an avatar frame by frame: skinning, splatting and compositing without autograd, all buffers reused."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pipeline.render import frame_kernels
from pipeline.render.frame_data import FrameData, Room, by_columns, places_of
from pipeline.render.gaussians import MAX_INTERSECTIONS, TOO_LARGE, camera_array
from pipeline.render.parallel import run, task_count
from pipeline.types import Array, Camera, PipelineError

if TYPE_CHECKING:
    from pipeline.render.skinned_triton import TritonRenderer

REST_OF_FRAMES, REST_OF_LAYERS = np.float32(1 / 255), np.float32(1e-4)
"""Light that counts as none, in a frame of 8 bits and in layers of floats."""
NO_PICTURE, NO_LAYERS = np.empty((0, 0, 3), np.uint8), np.empty((0, 0, 4), np.float32)


@dataclass(frozen=True)
class Rig:
    """Gaussians on a skeleton, checked; float32, C-contiguous.

    Attributes:
        means: (N, 3) canonical positions, metres. scales: (N,). colors: (N, 3) in 0..1. opacities: (N,).
        joints: (N, K) uint8. weights: (N, K).
        rows: (M,) int64 Gaussians that expressions move. basis: (E, M, 3) how far.
        lit: (S,) int64 Gaussians whose colours change with the pose. normals: (S, 3) canonical, unit length.
        shares: (S,) how much of the ``light`` (3,) they get; see :func:`.lighting.light_factors`.
    """

    means: Array
    joints: Array
    weights: Array
    scales: Array
    colors: Array
    opacities: Array
    rows: Array
    basis: Array
    lit: Array
    normals: Array
    shares: Array
    light: Array

    @staticmethod
    def build(
        means: Array | Tensor,
        joints: Array | Tensor,
        weights: Array | Tensor,
        scales: Array | Tensor,
        colors: Array | Tensor,
        *,
        opacities: Array | Tensor | None = None,
        rows: Array | Tensor | None = None,
        basis: Array | Tensor | None = None,
        lit: Array | Tensor | None = None,
        normals: Array | Tensor | None = None,
        shares: Array | Tensor | None = None,
        light: Array | Tensor | None = None,
    ) -> Rig:
        """Check and convert.

        Args:
            means: (N, 3) canonical positions, metres.
            joints: (N, K) joints that move each Gaussian, below 256.
            weights: (N, K) skinning weights, rows sum to 1.
            scales: (N,) standard deviations, metres.
            colors: (N, 3) float in 0..1, or uint8.
            opacities: (N,); all 1 when None.
            rows: (M,) Gaussians that expressions move, or None.
            basis: (M, 3, E) how far a unit of every expression coefficient moves them, canonical metres, or None.
            lit: (S,) Gaussians whose colours change with the pose, with ``normals`` (S, 3), ``shares`` (S,) and the
                ``light`` (3,), or None.

        Raises:
            PipelineError: shapes do not fit, or ``rows`` names a Gaussian twice.
        """
        n, weights = len(means), _float(weights, len(means), None)
        joints = np.ascontiguousarray(_numpy(joints), np.uint8)
        if joints.shape != weights.shape:
            raise PipelineError(f"Skinning needs as many joints {joints.shape} as weights {weights.shape}.")
        colors = _numpy(colors)
        colors = _float(colors / np.float32(255.0) if colors.dtype == np.uint8 else colors, n, 3)
        rows = np.zeros(0, np.int64) if rows is None else np.ascontiguousarray(_numpy(rows), np.int64)
        basis = np.zeros((len(rows), 3, 0), np.float32) if basis is None else _numpy(basis)
        if basis.ndim != 3 or basis.shape[:2] != (len(rows), 3):
            raise PipelineError(f"The expression basis must be ({len(rows)}, 3, E), not {basis.shape}.")
        lit = np.zeros(0, np.int64) if lit is None else np.ascontiguousarray(_numpy(lit), np.int64)
        for named in (rows, lit):
            if len(np.unique(named)) != len(named):
                raise PipelineError("A Gaussian stands twice among those that move or are lit; name each one once.")
        return Rig(
            means=_float(means, n, 3),
            joints=joints,
            weights=weights,
            scales=_float(scales, n),
            colors=colors,
            opacities=np.ones(n, np.float32) if opacities is None else _float(opacities, n),
            rows=rows,
            basis=np.ascontiguousarray(basis.transpose(2, 0, 1), np.float32),
            lit=lit,
            normals=np.zeros((0, 3), np.float32) if normals is None else _float(normals, len(lit), 3),
            shares=np.zeros(0, np.float32) if shares is None else _float(shares, len(lit)),
            light=np.zeros(3, np.float32) if light is None else _float(light, 3),
        )

    def transforms(self, transforms: Array | Tensor) -> Array:
        """(J, 12) float32 of (J, 4, 4) or (J, 3, 4) transforms.

        Raises:
            PipelineError: too few joints.
        """
        A = np.ascontiguousarray(_numpy(transforms)[:, :3, :].reshape(-1, 12), np.float32)
        if len(self.joints) and self.joints.max() >= len(A):
            hung = self.joints.max() + 1
            raise PipelineError(f"The skeleton has {len(A)} joints, but the Gaussians hang on {hung}.")
        return A


class SkinnedRenderer:
    """Gaussians on a skeleton, ready to be drawn in many poses.

    The pictures are those of ``rasterize_gaussians`` but for a little that eight bits hardly show
    (:mod:`pipeline.render.frame_kernels`). Several threads may draw at once; each takes 90 bytes a Gaussian to do so.

    Args:
        rig: what :meth:`Rig.build` made.
    """

    def __init__(self, rig: Rig) -> None:
        self._rig, self._data = rig, FrameData.of(rig)
        self._rooms: list[Room] = []

    def layers(
        self,
        transforms: Array | Tensor,
        camera: Camera,
        *,
        expression: Array | Tensor | None = None,
        means: Array | Tensor | None = None,
    ) -> tuple[Array, Array]:
        """Draw the Gaussians alone.

        Args:
            transforms: (J, 4, 4) or (J, 3, 4), canonical to world, translation included.
            camera: from where.
            expression: (E,) coefficients for the basis; none when None.
            means: (N, 3) canonical positions of this frame instead of the usual ones; ``expression`` comes on top.

        Returns:
            Colour premultiplied by alpha (H, W, 3) in 0..1, and alpha (H, W), float32.

        Raises:
            PipelineError: shapes do not fit, or the Gaussians are absurdly large.
        """
        layers = np.zeros((camera.height, camera.width, 4), np.float32)
        self._draw(transforms, camera, expression, means, task_count(), REST_OF_LAYERS, layers=layers)
        return np.ascontiguousarray(layers[..., :3]), np.ascontiguousarray(layers[..., 3])

    def draw(
        self,
        transforms: Array | Tensor,
        camera: Camera,
        background: Array | tuple[int, int, int] | None = None,
        *,
        expression: Array | Tensor | None = None,
        means: Array | Tensor | None = None,
        slices: int | None = None,
    ) -> Array:
        """Draw one frame of a video.

        Args:
            transforms, camera, expression, means: as in :meth:`layers`.
            background: a colour (3,) or a picture (H, W, 3), uint8 0..255; transparent when None.
            slices: into how many parts the work is cut, for all cores when None; 1 keeps it on the calling thread.
                The picture is the same.

        Returns:
            (H, W, 3) uint8, or (H, W, 4) with straight alpha when there is no background.

        Raises:
            PipelineError: as :meth:`layers`.
        """
        picture = np.zeros((camera.height, camera.width, 4 if background is None else 3), np.uint8)
        if background is not None:
            picture[:] = np.asarray(background, np.uint8)
        slices = task_count() if slices is None else slices
        self._draw(transforms, camera, expression, means, slices, REST_OF_FRAMES, picture=picture)
        return picture

    def _draw(
        self,
        transforms: Array | Tensor,
        camera: Camera,
        expression: Array | Tensor | None,
        means: Array | Tensor | None,
        slices: int,
        rest: np.float32,
        picture: Array = NO_PICTURE,
        layers: Array = NO_LAYERS,
    ) -> None:
        """Draw into a picture (H, W, 3 or 4) uint8 or layers (H, W, 4) float32."""
        A, view = by_columns(self._rig.transforms(transforms)), (camera_array(camera), camera.width, camera.height)
        with self._room() as room:
            points = self._expressed(expression, means, room, slices)
            tiles = self._tiles(points, A, view, room, slices)
            data = self._data
            lit = data.lit, data.normals, data.shares, self._rig.light
            run(frame_kernels.relight, *lit, data.joints, data.weights, A, data.colors, room.splats, tasks=slices)
            parts = 1 if slices == 1 else 4 * slices
            run(frame_kernels.blend, room.splats, *tiles, rest, picture, layers, tasks=parts)

    @contextlib.contextmanager
    def _room(self) -> Iterator[Room]:
        """A room that no other thread is using."""
        try:
            room = self._rooms.pop()
        except IndexError:
            room = Room.of(self._data)
        try:
            yield room
        finally:
            self._rooms.append(room)

    def _tiles(self, points: Array, A: Array, view: tuple[Array, int, int], room: Room, slices: int) -> Sequence[Array]:
        """Project into ``room`` and bin: offsets of the tiles, and ids and depths of their splats."""
        data = self._data
        tiles_x, tiles_y = (-(-side // frame_kernels.TILE) for side in view[1:])
        counts = np.zeros((slices, tiles_x * tiles_y), np.int64)
        skin = points, data.joints, data.weights, data.used, A, data.scales, data.reaches
        run(frame_kernels.skin_project, *skin, *view, room.splats, room.rects, room.keys, counts, tasks=slices)
        offsets, places = places_of(counts)
        if offsets[-1] > MAX_INTERSECTIONS:
            raise PipelineError(TOO_LARGE)
        ids, depths = np.empty(offsets[-1], np.int32), np.empty(offsets[-1], np.uint32)
        run(frame_kernels.fill_tiles, room.rects, room.keys, tiles_x, places, ids, depths, tasks=slices)
        return offsets, ids, depths

    def _expressed(
        self, expression: Array | Tensor | None, means: Array | Tensor | None, room: Room, slices: int
    ) -> Array:
        """Canonical positions with an expression, in drawing order."""
        data = self._data
        still = data.means if means is None else _float(means, len(data.means), 3)[data.order]
        if expression is None or not data.basis.size:
            return still
        points = room.points if means is None else still
        steps = _float(expression, len(data.basis)) * data.steps
        run(frame_kernels.express, still.reshape(-1), data.basis, steps, points.reshape(-1), tasks=slices)
        return points


def skinned_renderer(rig: Rig, device: torch.device | str = "cpu") -> SkinnedRenderer | TritonRenderer:
    """The renderer for a device: "cpu", or a CUDA device on which Triton works."""
    if torch.device(device).type == "cpu":
        return SkinnedRenderer(rig)
    from pipeline.render.skinned_triton import TritonRenderer

    return TritonRenderer(rig, device)


def _numpy(x: Array | Tensor) -> Array:
    return x.detach().cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)


def _float(x: Array | Tensor, *shape: int | None) -> Array:
    """A float32 C-contiguous array of that shape (None: any size)."""
    x = np.ascontiguousarray(_numpy(x), np.float32)
    if x.ndim != len(shape) or any(want not in (None, got) for want, got in zip(shape, x.shape, strict=True)):
        raise PipelineError(f"Expected an array of shape {shape}, got {x.shape}.")
    return x
