"""Optional neck mode: the head turns on a still torso, by a coarse FLAME mesh that carries space along.

Needed only when the torso of the generated picture must not turn with the head; head labels put the pose in the camera
instead (:mod:`pipeline.labels.portrait4d.rays`), which needs none of this.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.labels.portrait4d.field import BOX_WARP

PREFIX = "deformer.flame_deform."
FLAME_NAMES = ("v_template", "shapedirs", "posedirs", "J_regressor", "parents", "lbs_weights")
MESH_NAMES = ("simplify_idxs", "simplify_baris", "simplify_faces")
FINE, COARSE = 24, 8
MIN_AREA = 5e-3
"""Triangles smaller than this are treated as their three edges."""


def neck_keys() -> tuple[str, ...]:
    """The nine checkpoint tensors of this mode."""
    return tuple(f"{PREFIX}flame_model.{n}" for n in FLAME_NAMES) + tuple(PREFIX + n for n in MESH_NAMES)


@dataclass(frozen=True)
class FlamePose:
    """FLAME coefficients: shape (300,) of the source, expression (100,), neck (3,), jaw (3,), eyes (6,) axis-angle."""

    shape: Tensor
    expression: Tensor
    neck: Tensor
    jaw: Tensor
    eyes: Tensor


def rodrigues(vectors: Tensor) -> Tensor:
    """(J, 3) axis-angle -> (J, 3, 3), with the guard of the published model (1e-8 added to each component)."""
    angle = torch.linalg.vector_norm(vectors + 1e-8, dim=1)[:, None, None]
    axis = vectors[:, :, None] / angle
    x, y, z = axis[:, 0, 0], axis[:, 1, 0], axis[:, 2, 0]
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).view(-1, 3, 3)
    return torch.eye(3, dtype=vectors.dtype) + torch.sin(angle) * cross + (1 - torch.cos(angle)) * (cross @ cross)


def trilinear(grid: Tensor, points: Tensor) -> Tensor:
    """(C, n, n, n) node values indexed (x, y, z) -> (M, C) at points (M, 3); zero outside of the outer nodes."""
    n = grid.shape[-1]
    unit = points / (BOX_WARP / 2 * (1 - 1 / n))
    place = unit.flip(-1)[None, None, None]
    return F.grid_sample(grid[None], place, mode="bilinear", padding_mode="zeros", align_corners=True)[0, :, 0, 0].T


@dataclass(frozen=True)
class Deformation:
    """Offsets on voxel nodes, ready to be applied to any number of points.

    Attributes:
        offset: (3, 24, 24, 24) canonical minus posed position. squared_distance: (24, 24, 24) to the posed mesh.
        smooth: (3, 8, 8, 8) coarse offsets, box-filtered twice, used away from the mesh.
    """

    offset: Tensor
    squared_distance: Tensor
    smooth: Tensor

    @staticmethod
    def from_grids(offset: Tensor, squared_distance: Tensor, coarse_offset: Tensor) -> Deformation:
        """Filter the coarse grid and keep the rest."""
        for _ in range(2):
            coarse_offset = F.avg_pool3d(F.pad(coarse_offset[None], (1,) * 6, mode="replicate"), 3, stride=1)[0]
        return Deformation(offset, squared_distance, coarse_offset)

    def __call__(self, points: Tensor) -> Tensor:
        """Posed points (M, 3) -> canonical points (M, 3)."""
        near = trilinear(torch.cat([self.offset, self.squared_distance[None]]), points)
        weight = torch.exp(-1000 * (near[:, 3:] - 3e-3).clamp(min=0))
        return points + weight * near[:, :3] + (1 - weight) * trilinear(self.smooth, points)


class NeckDeformer:
    """Makes a :class:`Deformation` from FLAME coefficients with the model data inside the checkpoint."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        """Args: tensors: checkpoint tensors by key, at least :func:`neck_keys`."""
        self.flame = {name: tensors[f"{PREFIX}flame_model.{name}"] for name in FLAME_NAMES}
        self.mesh = {name: tensors[PREFIX + name] for name in MESH_NAMES}

    def deformation(self, pose: FlamePose) -> Deformation:
        """The deformation that undoes the neck rotation of ``pose``."""
        still = FlamePose(pose.shape, pose.expression, torch.zeros_like(pose.neck), pose.jaw, pose.eyes)
        posed, reference = (self.simplified(self.vertices(p)[0]) for p in (pose, still))
        fine, distance, _ = self.node_offsets(posed, reference, FINE)
        coarse, _, _ = self.node_offsets(posed, reference, COARSE)
        return Deformation.from_grids(fine, distance, coarse)

    def vertices(self, pose: FlamePose) -> tuple[Tensor, Tensor]:
        """Posed vertices (V, 3) and joints (5, 3)."""
        f = self.flame
        shaped = f["v_template"] + f["shapedirs"] @ torch.cat([pose.shape, pose.expression])
        joints = f["J_regressor"] @ shaped
        rotations = rodrigues(torch.cat([torch.zeros(3), pose.neck, pose.jaw, pose.eyes]).view(5, 3))
        correction = (rotations[1:] - torch.eye(3)).flatten() @ f["posedirs"]
        rest = shaped + correction.view(-1, 3)
        transforms, posed_joints = self._chain(rotations, joints)
        blended = (f["lbs_weights"] @ transforms.flatten(1)).view(-1, 4, 4)
        return (blended[:, :3, :3] @ rest[..., None])[..., 0] + blended[:, :3, 3], posed_joints

    def _chain(self, rotations: Tensor, joints: Tensor) -> tuple[Tensor, Tensor]:
        """Skinning transforms (5, 4, 4) relative to the rest pose, and posed joints (5, 3)."""
        parents = [int(p) for p in self.flame["parents"]]
        world: list[Tensor] = []
        for j, parent in enumerate(parents):
            local = torch.eye(4)
            local[:3, :3] = rotations[j]
            local[:3, 3] = joints[j] - (joints[parent] if j else 0)
            world.append(world[parent] @ local if j else local)
        chain = torch.stack(world)
        relative = chain.clone()
        relative[:, :3, 3] -= (chain[:, :3, :3] @ joints[..., None])[..., 0]
        return relative, chain[:, :3, 3]

    def simplified(self, vertices: Tensor) -> Tensor:
        """The coarse mesh: mixtures of three vertices each."""
        corners = vertices[self.mesh["simplify_idxs"].long()]
        return (self.mesh["simplify_baris"][..., None] * corners).sum(1)

    def node_offsets(self, posed: Tensor, reference: Tensor, n: int) -> tuple[Tensor, Tensor, Tensor]:
        """Offsets (3, n, n, n), squared distances and nearest triangles (n, n, n) of the voxel nodes."""
        axis = ((torch.arange(n) * (1.0 / n)) + 0.5 / n - 0.5) * BOX_WARP
        nodes = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).view(-1, 3)
        faces = self.mesh["simplify_faces"].long()
        distance, nearest = nearest_triangle(nodes, posed[faces])
        moved = carry(nodes, posed[faces[nearest]], reference[faces[nearest]])
        offset = (moved - nodes).T.reshape(3, n, n, n)
        return offset, distance.view(n, n, n), nearest.view(n, n, n)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Sum of products in x, y, z order with separate float32 roundings."""
    return a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1] + a[..., 2] * b[..., 2]


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return torch.stack(
        [
            a[..., 1] * b[..., 2] - a[..., 2] * b[..., 1],
            a[..., 2] * b[..., 0] - a[..., 0] * b[..., 2],
            a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0],
        ],
        -1,
    )


def _segment(points: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Squared distance to segments; a segment of no length counts as its end."""
    along = b - a
    squared = _dot(along, along)
    t = (_dot(along, points - a) / squared).clamp(0, 1)
    gap = points - (a + t[..., None] * along)
    end = points - b
    return torch.where(squared <= 1e-8, _dot(end, end), _dot(gap, gap))


def barycentric(points: Tensor, triangles: Tensor, epsilon: float | None) -> Tensor:
    """(..., 3) barycentric coordinates; ``epsilon`` is added to the denominator, None clamps it at 1e-12 instead."""
    a, b, c = triangles.unbind(-2)
    p0, p1, p2 = b - a, c - a, points - a
    d00, d01, d11, d20, d21 = _dot(p0, p0), _dot(p0, p1), _dot(p1, p1), _dot(p2, p0), _dot(p2, p1)
    denominator = d00 * d11 - d01 * d01
    denominator = denominator.clamp(min=1e-12) if epsilon is None else denominator + epsilon
    v = (d11 * d20 - d01 * d21) / denominator
    w = (d00 * d21 - d01 * d20) / denominator
    return torch.stack([1 - v - w, v, w], -1)


def triangle_distance(points: Tensor, triangles: Tensor) -> Tensor:
    """Squared distances (M, T) of points (M, 3) to triangles (T, 3, 3)."""
    a, b, c = triangles.unbind(1)
    normal = _cross(c - a, b - a)
    length = torch.linalg.vector_norm(normal, dim=-1)
    unit = normal / (length + 1e-8)[:, None]
    points = points[:, None]
    t = _dot(a - points, unit)
    foot = points + t[..., None] * unit
    inside = ((bary := barycentric(foot, triangles, 1e-8)) >= 0).all(-1) & (bary <= 1).all(-1)
    inside &= (length / 2 >= MIN_AREA) & (length > 1e-8)
    to_plane = foot - points
    edges = torch.minimum(torch.minimum(_segment(points, a, b), _segment(points, a, c)), _segment(points, b, c))
    return torch.where(inside, _dot(to_plane, to_plane), edges)


def nearest_triangle(points: Tensor, triangles: Tensor, chunk: int = 1024) -> tuple[Tensor, Tensor]:
    """Squared distance (M,) and index (M,) of the nearest triangle, the last one among equals."""
    distances, indices = [], []
    for some in points.split(chunk):
        squared = triangle_distance(some, triangles)
        best = squared.min(1).values
        last = squared.shape[1] - 1 - (squared == best[:, None]).flip(1).int().argmax(1)
        distances.append(best)
        indices.append(last)
    return torch.cat(distances), torch.cat(indices)


def carry(points: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """Move points (M, 3) with their triangles (M, 3, 3): same barycentrics, same height over the plane."""
    weights = barycentric(points, source, None)[..., None]

    def unit_normal(triangles: Tensor) -> Tensor:
        a, b, c = triangles.unbind(1)
        return F.normalize(_cross(b - a, c - a), dim=-1)

    height = _dot(points - (weights * source).sum(1), unit_normal(source))
    return (weights * target).sum(1) + height[:, None] * unit_normal(target)
