"""The soft mesh mask on CUDA without nvdiffrast: the rules of :mod:`pipeline.render.silhouette`, dense and repeatable.

Nothing waits for the device, and gradients are added up in a fixed order. Imported only where Triton works.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pipeline.render import triton_mask_kernels as kernels
from pipeline.render.silhouette import MeshEdges, mesh_edges
from pipeline.render.triton_gaussians import on_device, plain
from pipeline.types import Array, Camera

NEAR, STEPS = kernels.NEAR.value, kernels.STEPS.value
TRIANGLE_BLOCK, LINE_BLOCK = 64, 32
NOTHING = torch.iinfo(torch.int64).max


class Topology(NamedTuple):
    """A mesh's connections on a device.

    Attributes:
        faces: (F, 3) int64. ends, opposite: (E, 2) int64 as in :class:`MeshEdges`.
        around: (V, K) int64: for each vertex the ends that meet there, as numbers 2 e + end, filled up with 2 E.
    """

    faces: Tensor
    ends: Tensor
    opposite: Tensor
    around: Tensor


class Outline(NamedTuple):
    """What the kernels need to know of every edge.

    Attributes:
        lines, spans: as in :mod:`pipeline.render.triton_mask_kernels`; no lines where an edge is no silhouette.
        axis: (E,) int64. swapped: (E,) bool, the edge is walked from its second end. slope: (E,) float64.
    """

    lines: Tensor
    spans: Tensor
    axis: Tensor
    swapped: Tensor
    slope: Tensor


def mesh_mask_triton(vertices: Tensor, faces: Array | Tensor, camera: Camera) -> Tensor:
    """Soft silhouette (H, W) float32; arguments as ``mesh_mask`` (faces as numpy spare a wait for the device)."""
    host = faces.detach().cpu().numpy() if isinstance(faces, Tensor) else np.asarray(faces)
    host, camera = np.ascontiguousarray(host, np.int64), plain(camera)
    topology = _topology(host.tobytes(), len(vertices), vertices.device)
    points, screen = _project(vertices, camera)
    inside = covered_pixels(points.detach(), topology.faces, camera)
    at = _Crossings.apply(screen, points[:, 2].detach(), inside, topology)
    return _assemble(inside.bool(), at).to(vertices.dtype)


@functools.lru_cache(maxsize=4)
def _topology(faces: bytes, vertices: int, device: torch.device) -> Topology:
    triangles = np.frombuffer(faces, np.int64).reshape(-1, 3)
    edges = mesh_edges(triangles)
    around = _ends_of_vertices(edges, vertices)
    arrays = (triangles.copy(), edges.ends, edges.opposite, around)
    return Topology(*(torch.from_numpy(np.ascontiguousarray(a)).to(device) for a in arrays))


def _ends_of_vertices(edges: MeshEdges, vertices: int) -> Array:
    """(V, K) numbers 2 e + end of the edge ends at each vertex, ascending, filled up with 2 E."""
    flat = edges.ends.reshape(-1)
    order = np.argsort(flat, kind="stable")
    count = np.bincount(flat, minlength=vertices)
    rank = np.arange(len(flat)) - np.repeat(np.cumsum(count) - count, count)
    table = np.full((vertices, max(1, count.max(initial=0))), len(flat))
    table[flat[order], rank] = order
    return table


def _project(vertices: Tensor, camera: Camera) -> tuple[Tensor, Tensor]:
    """Camera points (V, 3) and pixels (V, 2), float64, differentiable."""
    viewmat, focal, centre = _lens(camera, vertices.device)
    points = vertices.double() @ viewmat[:3, :3].T + viewmat[:3, 3]
    return points, points[:, :2] / points[:, 2:] * focal + centre


def _lens(camera: Camera, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Camera matrix (4, 4), focal lengths (2,) and principal point (2,), float64; the copies wait for nothing."""
    numbers = camera.viewmat, camera.K.diagonal()[:2], camera.K[:2, 2]
    viewmat, focal, centre = (torch.from_numpy(a.astype(np.float64)).to(device, non_blocking=True) for a in numbers)
    return viewmat, focal, centre


def covered_pixels(points: Tensor, faces: Tensor, camera: Camera) -> Tensor:
    """(H, W) int8: 1 where a triangle of camera points (V, 3) covers the pixel's centre."""
    _, focal, centre = _lens(camera, points.device)
    corners = points[faces]
    normals = torch.linalg.cross(corners.roll(-1, 1), corners.roll(-2, 1))
    slopes = normals[..., :2] / focal
    planes = torch.cat([slopes, normals[..., 2:] - (slopes * centre).sum(-1, keepdim=True)], -1).contiguous()
    boxes = _pixel_boxes(corners, focal, centre, camera.width, camera.height)
    inside = torch.zeros(camera.height, camera.width, dtype=torch.int8, device=points.device)
    if len(faces):
        depths = corners[..., 2].contiguous()
        with on_device(points):
            kernels.cover[(len(faces),)](planes, boxes, depths, camera.width, inside, BLOCK=TRIANGLE_BLOCK, num_warps=1)
    return inside


def _pixel_boxes(corners: Tensor, focal: Tensor, centre: Tensor, width: int, height: int) -> Tensor:
    """(F, 4) int32 x0, x1, y0, y1, ends exclusive, of what a triangle (F, 3, 3) has before the near plane; or zeros."""
    z, following = corners[..., 2:], corners.roll(-1, 1)
    front = z >= NEAR
    cut = front != (following[..., 2:] >= NEAR)
    share = (NEAR - z) / (following[..., 2:] - z)
    on_plane = (corners + share * (following - corners))[..., :2] / NEAR * focal + centre
    pixels, shown = torch.cat([corners[..., :2] / z * focal + centre, on_plane], 1), torch.cat([front, cut], 1)
    low, high = torch.where(shown, pixels, torch.inf).amin(1), torch.where(shown, pixels, -torch.inf).amax(1)
    size = torch.stack([torch.full_like(low[:, 0], width), torch.full_like(low[:, 0], height)], 1)
    usable = corners.isfinite().flatten(1).all(1) & ((high >= 0) & (low <= size)).all(1)
    first = torch.ceil(low.clamp(min=0) - 0.5)
    last = torch.floor(torch.minimum(high, size) - 0.5) + 1
    usable &= (last > first).all(1)
    boxes = torch.stack([first, last], -1).flatten(1)
    return torch.where(usable[:, None], boxes, 0.0).to(torch.int32)


def _outline(screen: Tensor, depth: Tensor, topology: Topology, camera_size: tuple[int, int]) -> Outline:
    """Silhouette edges, ready to be walked; ``camera_size`` is (width, height)."""
    i, j = topology.ends.unbind(1)
    k, other = topology.opposite[:, 0], topology.opposite[:, 1].clamp(min=0)
    along = screen[j] - screen[i]
    side, far_side = (_side(along, screen[third] - screen[i]) for third in (k, other))
    edge = (depth[i] >= NEAR) & (depth[j] >= NEAR) & (depth[k] >= NEAR) & (side != 0)
    edge &= (topology.opposite[:, 1] < 0) | (side * far_side >= 0)
    axis = (along[:, 1].abs() < along[:, 0].abs()).long()
    start = screen[i].gather(1, 1 - axis[:, None])[:, 0]
    swapped = start > screen[j].gather(1, 1 - axis[:, None])[:, 0]
    p = torch.where(swapped[:, None], screen[j], screen[i])
    q = torch.where(swapped[:, None], screen[i], screen[j])
    toward = (side > 0) ^ swapped ^ (axis == 1)
    start, end = p.gather(1, 1 - axis[:, None])[:, 0], q.gather(1, 1 - axis[:, None])[:, 0]
    across = p.gather(1, axis[:, None])[:, 0]
    length = end - start
    edge &= (length > 0) & (length < torch.inf)
    slope = torch.where(edge, (q.gather(1, axis[:, None])[:, 0] - across) / length, 0.0)
    lines_in_picture = torch.where(axis == 0, float(camera_size[1]), float(camera_size[0])).to(start)
    first = torch.ceil(start.clamp(min=0) - 0.5).clamp(min=0)
    last = torch.minimum(torch.ceil(torch.minimum(end, lines_in_picture) - 0.5), lines_in_picture)
    span = torch.where(edge[:, None], torch.stack([first, last], 1), 0.0)
    spans = torch.cat([span.to(torch.int32), torch.stack([axis, toward], 1).to(torch.int32)], 1).contiguous()
    return Outline(torch.stack([start, across, slope, length], 1).contiguous(), spans, axis, swapped, slope)


def _side(u: Tensor, v: Tensor) -> Tensor:
    """On which side of a line along u the point v lies: positive at larger x when u points down."""
    return u[:, 1] * v[:, 0] - u[:, 0] * v[:, 1]


class _Crossings(torch.autograd.Function):
    """How far from the covered towards the empty pixel the outline passes, (2, H, W) float64; 0.5 where it does not."""

    @staticmethod
    def forward(ctx, screen, depth, inside, topology):
        height, width = inside.shape
        outline = _outline(screen.detach(), depth, topology, (width, height))
        keys = torch.full((2, height, width), NOTHING, dtype=torch.int64, device=screen.device)
        edges = len(outline.axis)
        if edges:
            with on_device(screen):
                kernels.cross[(edges,)](
                    outline.lines, outline.spans, inside, width, height, keys, BLOCK=LINE_BLOCK, num_warps=1
                )
        ctx.keys, ctx.outline, ctx.topology = keys, outline, topology
        return torch.where(keys == NOTHING, 0.5, 1 - (keys >> 32).double() / STEPS)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g_at):
        outline, (_, height, width) = ctx.outline, ctx.keys.shape
        edges = len(outline.axis)
        sums = torch.zeros(edges, 2, dtype=torch.float64, device=g_at.device)
        if edges:
            with on_device(g_at):
                kernels.cross_backward[(edges,)](
                    outline.lines, outline.spans, width, height, ctx.keys, g_at.double().contiguous(), sums,
                    BLOCK=LINE_BLOCK, num_warps=1,
                )  # fmt: skip
        sums = torch.where(outline.swapped[:, None], sums.flip(1), sums)
        sideways = -outline.slope[:, None] * sums
        upright = (outline.axis == 0)[:, None]
        g_ends = torch.stack([torch.where(upright, sums, sideways), torch.where(upright, sideways, sums)], -1)
        rows = torch.cat([g_ends.reshape(-1, 2), g_ends.new_zeros(1, 2)])
        return rows[ctx.topology.around].sum(1), None, None, None


def _assemble(inside: Tensor, at: Tensor) -> Tensor:
    """The mask (H, W): 1 inside, 0 outside, and in between what the crossings say."""
    lost, won = (0.5 - at).clamp(0.0, 0.5), (at - 0.5).clamp(0.0, 0.5)
    first, second = torch.where(inside, -lost, won), torch.where(inside, won, -lost)
    mask = inside.to(at.dtype) + first[0] + first[1]
    mask = (
        mask
        + torch.nn.functional.pad(second[0, :, :-1], (1, 0))
        + torch.nn.functional.pad(second[1, :-1], (0, 0, 1, 0))
    )
    return mask.clamp(0.0, 1.0)
