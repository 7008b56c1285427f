"""An avatar made ready for drawing many frames: everything that does not change from frame to frame is done once."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch

from pipeline.types import Array, BodyParams, Camera

if TYPE_CHECKING:
    from pipeline.avatar import Avatar
    from pipeline.render.skinned import SkinnedRenderer
    from pipeline.render.skinned_triton import TritonRenderer

    Renderer = SkinnedRenderer | TritonRenderer

Drawn = TypeVar("Drawn")
MIN_EXPRESSION = 1e-6
"""Metres per unit of an expression coefficient below which a Gaussian does not follow it."""


class Puppet:
    """Draws one avatar, frame by frame, without gradients.

    The canonical Gaussians of the avatar's own shape are kept, with the few that expressions move and by how much, so
    that a frame costs a small matrix product, skinning and splatting. The shape (``betas``) is the avatar's own.

    Args:
        avatar: whom to draw.
        device: where to draw; see :func:`pipeline.render.choose_device`. When a card runs out of memory, the rest is
            drawn on the CPU, with a Python warning.
    """

    def __init__(self, avatar: Avatar, device: torch.device | str = "cpu") -> None:
        from pipeline.avatar.model import canonical_mesh
        from pipeline.render import Rig

        self._avatar = avatar
        body = avatar.body
        neutral = avatar.params.replace(expression=np.zeros_like(avatar.params.expression))
        with torch.no_grad():
            self._joints = canonical_mesh(body, neutral)[1]
            self._joint_basis = torch.einsum("jv,vce->jce", body.J_regressor, body.expr_dirs)
            points = avatar.canonical(neutral)
        self._corrected = body.posedirs is not None
        rows, basis = (None, None) if self._corrected else expression_basis(avatar)
        lit = avatar.shading
        self._rig = Rig.build(
            points, avatar.skin_index, avatar.skin_weight, avatar.scale, avatar.rgb, rows=rows, basis=basis,
            lit=lit.rows, normals=lit.normals, shares=lit.shares, light=avatar.light,
        )  # fmt: skip
        self._device, self._renderer = torch.device(device), None

    def _render(self, draw: Callable[[Renderer], Drawn]) -> Drawn:
        """``draw`` with the renderer, which is made at its first use."""
        from pipeline.render import skinned_renderer

        try:
            self._renderer = self._renderer or skinned_renderer(self._rig, self._device)
            return draw(self._renderer)
        except torch.OutOfMemoryError:
            if self._device.type == "cpu":
                raise
        warnings.warn("The CUDA card ran out of memory; the rest is drawn on the CPU.", stacklevel=3)
        self._device, self._renderer = torch.device("cpu"), None
        return self._render(draw)

    def _inputs(self, params: BodyParams) -> tuple[Array, dict[str, Array]]:
        """Transforms (55, 3, 4) of the joints, and what else the renderer needs for a pose."""
        from pipeline.avatar.model import skinning_transforms

        with torch.no_grad():
            expression = torch.as_tensor(params.expression, dtype=torch.float32)
            joints = self._joints + self._joint_basis @ expression
            transforms = skinning_transforms(self._avatar.body, params, joints).numpy()
            if self._corrected:  # pose-dependent corrections of a licensed SMPL-X move every vertex
                return transforms, {"means": self._avatar.canonical(params).numpy()}
        return transforms, {"expression": expression.numpy()}

    def draw(self, params: BodyParams, camera: Camera, background: Array | None) -> Array:
        """Draw one frame.

        Args:
            params: the pose; its ``betas`` are taken to be the avatar's.
            camera: from where.
            background: (H, W, 3) uint8 behind the person, or None.

        Returns:
            (H, W, 3) uint8, or without a background (H, W, 4) with straight alpha.
        """
        transforms, more = self._inputs(params)
        return self._render(lambda renderer: renderer.draw(transforms, camera, background, **more))

    def draw_all(self, views: Iterable[tuple[BodyParams, Camera]], background: Array | None) -> Iterator[Array]:
        """Draw many frames, on the CPU as many at once as there are cores: no core then waits for another.

        Args:
            views: pose and camera of each frame, as for :meth:`draw`; taken a few frames ahead.
            background: as for :meth:`draw`.

        Yields:
            What :meth:`draw` returns, in order.
        """
        from pipeline.render import skinned_renderer
        from pipeline.render.parallel import thread_count

        if self._device.type != "cpu":
            yield from (self.draw(*view, background) for view in views)
            return
        renderer = self._renderer = self._renderer or skinned_renderer(self._rig)

        def draw(params: BodyParams, camera: Camera) -> Array:
            transforms, more = self._inputs(params)
            return renderer.draw(transforms, camera, background, slices=1, **more)

        with ThreadPoolExecutor(thread_count(), thread_name_prefix="frames") as pool:
            ahead: deque[Future[Array]] = deque()
            for view in views:
                ahead.append(pool.submit(draw, *view))
                if len(ahead) > thread_count():
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()

    def layers(self, params: BodyParams, camera: Camera) -> tuple[Array, Array]:
        """Colour premultiplied by alpha (H, W, 3), and alpha (H, W), float32 in 0..1."""
        transforms, more = self._inputs(params)
        return self._render(lambda renderer: renderer.layers(transforms, camera, **more))


def expression_basis(avatar: Avatar) -> tuple[torch.Tensor, torch.Tensor]:
    """Which Gaussians expressions move, and how.

    Returns:
        rows (M,) int64, and basis (M, 3, E) in canonical metres: the barycentric mix of their vertices' directions.
    """
    moved = avatar.body.expr_dirs.abs().amax((1, 2)) > MIN_EXPRESSION
    rows = torch.nonzero(moved[avatar.corners].any(1))[:, 0]
    corners, bary = avatar.corners[rows], avatar.bary[rows]
    basis = torch.zeros(len(rows), *avatar.body.expr_dirs.shape[1:])
    with torch.no_grad():
        for k in range(3):
            basis += avatar.body.expr_dirs[corners[:, k]] * bary[:, k, None, None]
    return rows, basis
