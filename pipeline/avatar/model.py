"""The coupled 3DGS-mesh avatar (paper section 3.3, Eq. 3-5)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pipeline.avatar.shading import Shading, shading_of
from pipeline.types import BodyParams, Camera

if TYPE_CHECKING:
    from pipeline.body import BodyModel

SKIN_JOINTS = 6
"""Joints kept per Gaussian; the rest of its weight is handed to these."""


@dataclass(frozen=True, eq=False)
class Avatar:
    """Isotropic, opaque Gaussians on a canonical SMPL-X mesh, with two fields of offsets.

    A Gaussian lives on triangle ``face_ids`` at barycentrics ``bary`` (Eq. 3). With the canonical mesh
    ``T(betas, expression)`` of the body, the canonical positions are

    * Eq. 4, mesh:       ``V = T + dT``
    * Eq. 5, Gaussians:  ``X = Bary(T) + dX``

    and both are posed by linear blend skinning; a Gaussian's skinning weights are the barycentric mix of its vertices'
    (smoothed for Gaussians far from the surface: long hair, skirts).

    Attributes (N Gaussians, V vertices; metres; float32 unless stated):
        body: the body model, shared, not saved with the avatar.
        face_ids: (N,) int64. bary: (N, 3), sums to 1.
        dX: (N, 3) canonical offsets. dT: (V, 3) canonical vertex offsets.
        scale: (N,) standard deviation, > 0.
        rgb: (N, 3) in 0..1.
        guessed: (N,) 0 where the photo shows it .. 1 where it was completed.
        light: (3,) that guessed arms and hands are lit by (:mod:`pipeline.avatar.shading`), or None.
        skin_index: (N, K) int64 joints; skin_weight: (N, K), sums to 1.
        camera, params: the photo's camera and registered body.
        background: (H, W, 3) uint8, the photo without the person, or None.
        meta: plain JSON values (tiers, source hash, metrics, consent, settings).
    """

    body: BodyModel
    face_ids: Tensor
    bary: Tensor
    dX: Tensor
    dT: Tensor
    scale: Tensor
    rgb: Tensor
    guessed: Tensor
    skin_index: Tensor
    skin_weight: Tensor
    camera: Camera
    params: BodyParams
    light: Tensor | None = None
    background: np.ndarray | None = None
    meta: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.face_ids)

    def replace(self, **changes: Any) -> Avatar:
        """A copy with some fields exchanged."""
        return replace(self, **changes)

    @cached_property
    def corners(self) -> Tensor:
        """(N, 3) int64 vertices of each Gaussian's triangle."""
        return self.body.faces[self.face_ids]

    @cached_property
    def shading(self) -> Shading:
        """The Gaussians that are lit anew in every pose."""
        return shading_of(self)

    def canonical(self, params: BodyParams) -> Tensor:
        """Eq. 5 before skinning: ``Bary(T(betas, expression)) + dX``, (N, 3)."""
        vertices, _ = canonical_mesh(self.body, params)
        return barycentric(vertices, self.corners, self.bary) + self.dX

    def pose(self, params: BodyParams) -> tuple[Tensor, Tensor, Tensor]:
        """Pose the Gaussians.

        Args:
            params: body parameters of one frame; ``betas`` are normally the avatar's own.

        Returns:
            means (N, 3) in the world, scales (N,) in metres, colours (N, 3) in 0..1.
        """
        vertices, joints = canonical_mesh(self.body, params)
        points = barycentric(vertices, self.corners, self.bary) + self.dX
        A = skinning_transforms(self.body, params, joints)
        return skin(points, A, self.skin_index, self.skin_weight), self.scale, self.lit(A)

    def lit(self, A: Tensor) -> Tensor:
        """Colours (N, 3) in 0..1 with the light on guessed arms and hands; ``A`` from :func:`skinning_transforms`."""
        from pipeline.render.lighting import light_factors, relit

        s = self.shading
        if self.light is None or not len(s.rows):
            return self.rgb
        turned = blend(A, self.skin_index[s.rows], self.skin_weight[s.rows])[:, :, :3] @ s.normals[:, :, None]
        factor = light_factors(turned[:, :, 0], s.shares, self.light)
        return self.rgb.index_copy(0, s.rows, relit(self.rgb[s.rows], factor))

    def mesh(self, params: BodyParams) -> Tensor:
        """Eq. 4, posed: the deformed mesh ``LBS(T + dT)``, (V, 3) in the world."""
        vertices, joints = canonical_mesh(self.body, params)
        A = skinning_transforms(self.body, params, joints)
        return skin_dense(vertices + self.dT, A, self.body.lbs_weights)

    def save(self, path: str | Path) -> Path:
        """Write the avatar; see :func:`pipeline.avatar.store.save_avatar`."""
        from pipeline.avatar.store import save_avatar

        return save_avatar(self, path)

    @staticmethod
    def load(path: str | Path, body: BodyModel | None = None) -> Avatar:
        """Read an avatar; see :func:`pipeline.avatar.store.load_avatar`."""
        from pipeline.avatar.store import load_avatar

        return load_avatar(path, body)


def canonical_mesh(body: BodyModel, params: BodyParams) -> tuple[Tensor, Tensor]:
    """The undeformed canonical mesh ``T(betas, expression, pose)`` (V, 3) and its joints (55, 3).

    Pose-dependent corrections (``posedirs`` of a licensed SMPL-X) are included; the open body has none.
    """
    betas = torch.as_tensor(params.betas, dtype=torch.float32)[None]
    expression = torch.as_tensor(params.expression, dtype=torch.float32)[None]
    vertices, joints = body.shaped(betas, expression)
    if body.posedirs is not None:
        vertices = vertices + pose_corrections(body.posedirs, full_pose(params))
    return vertices[0], joints[0]


def pose_corrections(posedirs: Tensor, pose: Tensor) -> Tensor:
    """Pose blend shapes of SMPL-X, (1, V, 3); ``posedirs`` (V, 3, 486) or (486, V * 3), ``pose`` (55, 3)."""
    feature = (axis_angle_matrix(pose[1:]) - torch.eye(3)).reshape(-1)
    if posedirs.ndim == 3:
        return (posedirs @ feature)[None]
    return (feature @ posedirs).reshape(1, -1, 3)


def full_pose(params: BodyParams) -> Tensor:
    """(55, 3) axis-angle in SMPL-X joint order."""
    parts = (
        params.global_orient[None],
        params.body_pose,
        params.jaw_pose[None],
        params.leye_pose[None],
        params.reye_pose[None],
        params.left_hand_pose,
        params.right_hand_pose,
    )
    return torch.cat([torch.as_tensor(np.asarray(p), dtype=torch.float32).reshape(-1, 3) for p in parts])


def axis_angle_matrix(rotvec: Tensor) -> Tensor:
    """Rodrigues: (..., 3) to (..., 3, 3)."""
    angle = torch.sqrt((rotvec * rotvec).sum(-1) + 1e-16)
    x, y, z = (rotvec / angle[..., None]).unbind(-1)
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*rotvec.shape[:-1], 3, 3)
    s, c = angle.sin()[..., None, None], angle.cos()[..., None, None]
    return torch.eye(3).expand_as(skew) + s * skew + (1 - c) * (skew @ skew)


def skinning_transforms(body: BodyModel, params: BodyParams, joints: Tensor) -> Tensor:
    """Rest-to-world transforms of the joints, (55, 3, 4), translation included."""
    A, _ = body.transforms(full_pose(params)[None], joints[None])
    out = A[0, :, :3].clone()
    out[:, :, 3] += torch.as_tensor(params.transl, dtype=torch.float32)
    return out


def take(values: Tensor, index: Tensor) -> Tensor:
    """Rows ``index`` (N,) of ``values`` (V, C), with gradients that add up in the same order each time.

    On the CPU the backward pass of plain indexing adds in the order in which threads come, and is three times slower
    than that of ``index_select``; on CUDA it is the other way round.
    """
    return values[index] if values.is_cuda else values.index_select(0, index)


def barycentric(vertices: Tensor, corners: Tensor, bary: Tensor) -> Tensor:
    """``Bary(.)``: mix vertex attributes (V, C) at the corners (N, 3) by ``bary`` (N, 3) to (N, C)."""
    return sum(take(vertices, corners[:, k]) * bary[:, k, None] for k in range(3))  # type: ignore[return-value]


def blend(A: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """Blended transforms (N, 3, 4) from joint transforms (J, 3, 4) and sparse weights (N, K)."""
    flat = A.reshape(len(A), 12)
    out = sum(flat[index[:, k]] * weight[:, k, None] for k in range(index.shape[1]))
    return out.reshape(-1, 3, 4)  # type: ignore[union-attr]


def skin(points: Tensor, A: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """Linear blend skinning of points (N, 3) with sparse weights."""
    M = blend(A, index, weight)
    return (M[:, :, :3] @ points[:, :, None])[:, :, 0] + M[:, :, 3]


def skin_dense(points: Tensor, A: Tensor, weights: Tensor) -> Tensor:
    """Linear blend skinning of points (V, 3) with dense weights (V, J)."""
    M = (weights @ A.reshape(len(A), 12)).reshape(-1, 3, 4)
    return (M[:, :, :3] @ points[:, :, None])[:, :, 0] + M[:, :, 3]


def sparse_weights(dense: Tensor, k: int = SKIN_JOINTS) -> tuple[Tensor, Tensor]:
    """Keep the ``k`` largest of (N, J) weights, renormalised: index (N, k) int64, weight (N, k)."""
    weight, index = dense.topk(min(k, dense.shape[1]), dim=1)
    return index, weight / weight.sum(1, keepdim=True).clamp_min(1e-8)


def gaussian_weights(body: BodyModel, face_ids: Tensor, bary: Tensor, chunk: int = 65536) -> tuple[Tensor, Tensor]:
    """Skinning weights of points on the surface: the barycentric mix of vertex weights, sparse."""
    parts = []
    for start in range(0, max(len(face_ids), 1), chunk):
        corners = body.faces[face_ids[start : start + chunk]]
        parts.append(sparse_weights(barycentric(body.lbs_weights, corners, bary[start : start + chunk])))
    return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])
