"""Posed landmarks without posing the mesh: the exact positions of a few hundred points, fast enough for an optimiser.

A landmark is a weighted sum of vertices, and a vertex a weighted sum of joint transforms. Changing the order of the two
sums gives one linear template per (landmark, joint) pair with a weight that is not zero, about three per landmark.
"""

from __future__ import annotations

from copy import copy

import numpy as np
import torch
from torch import Tensor

from pipeline.body import BodyModel
from pipeline.body.kinematics import rotation_matrices, skinning_transforms
from pipeline.types import Array

LEFT_OUT = 1e-4
"""Pairs with less weight than this are dropped and the rest is scaled up."""
NO_EXPRESSION = 1e-6
"""Metres; pairs that no facial action moves further than this are left out of it."""


class PosedPoints:
    """L points of a body, each a weighted sum of K vertices.

    Args:
        body: body model; pose-dependent corrections (``posedirs``) are not applied to the points.
        vertex_ids: (L, K) int. weights: (L, K), sum 1 per row.
    """

    def __init__(self, body: BodyModel, vertex_ids: Array, weights: Array) -> None:
        self.body = body
        ids, mix = np.asarray(vertex_ids), np.asarray(weights, np.float64)
        skin = np.asarray(body.lbs_weights, np.float64)
        points, joints, weight, template, dirs = [], [], [], [], []
        rest = np.asarray(body.v_template, np.float64)
        basis = np.concatenate([np.asarray(body.shapedirs), np.asarray(body.expr_dirs)], -1).astype(np.float64)
        for point, (row, w) in enumerate(zip(ids, mix, strict=True)):
            shares = skin[row] * w[:, None]
            total = shares.sum(0)
            used = np.flatnonzero(np.abs(total) > LEFT_OUT)
            scale = total.sum() / total[used].sum()
            points += [point] * len(used)
            joints += used.tolist()
            weight.append(total[used] * scale)
            template.append(shares[:, used].T @ rest[row] * scale)
            dirs.append(np.tensordot(shares[:, used].T, basis[row], 1) * scale)
        self.count = len(ids)
        self.point, self.joint = torch.tensor(points), torch.tensor(joints)
        self.weight = torch.from_numpy(np.concatenate(weight)).float()
        self.template = torch.from_numpy(np.concatenate(template)).float()
        flat = torch.from_numpy(np.concatenate(dirs)).float().flatten(0, 1)
        self.shape_dirs, self.expression_dirs = flat[:, : body.n_betas].T, flat[:, body.n_betas :].T
        self._expressive = _ExpressivePairs(self)
        self._known: tuple[bytes, Tensor] | None = None

    def __call__(self, betas: Tensor, expression: Tensor, pose: Tensor, transl: Tensor) -> Tensor:
        """World positions.

        Args:
            betas: (n_betas,) shared. expression: (F, E). pose: (F, 55, 3) axis-angle. transl: (F, 3).

        Returns:
            (F, L, 3) metres.
        """
        joints = self.joints_of(betas, expression)
        A, _ = skinning_transforms(rotation_matrices(pose), joints)
        if not betas.requires_grad:
            rows = A[:, :, :3].transpose(1, 2).flatten(2)
            fixed = (rows.flatten(0, 1) @ self.template_of(betas)).view(len(pose), 3, -1)
            return (fixed + self._expressive(A, expression)).transpose(1, 2) + transl[:, None]
        own = A[:, :, :3].index_select(1, self.joint)
        offsets = (betas @ self.shape_dirs + expression @ self.expression_dirs).view(len(pose), -1, 3)
        moved = (own[..., :3] * (self.template + offsets)[..., None, :]).sum(-1) + own[..., 3] * self.weight[:, None]
        out = torch.zeros(len(pose), self.count, 3).index_add(1, self.point, moved)
        return out + transl[:, None]

    def shifted(self, offsets: Tensor) -> PosedPoints:
        """The same points, each moved by ``offsets`` (L, 3) in canonical metres."""
        other = copy(self)
        other.template = self.template + self.weight[:, None] * offsets.index_select(0, self.point)
        other._known = None
        return other

    def rotations(self, betas: Tensor, expression: Tensor, pose: Tensor) -> Tensor:
        """Blended rotations (F, L, 3, 3) of the points; not orthogonal between bones."""
        A, _ = skinning_transforms(rotation_matrices(pose), self.joints_of(betas, expression))
        own = A[:, :, :3, :3].index_select(1, self.joint) * self.weight[:, None, None]
        return torch.zeros(len(pose), self.count, 3, 3).index_add(1, self.point, own)

    def template_of(self, betas: Tensor) -> Tensor:
        """All pairs of one shape as one matrix (55 * 4, L), so that posing is one matrix product; the last is kept."""
        key = betas.detach().numpy().tobytes()
        if self._known is None or self._known[0] != key:
            own = torch.cat([self.template + (betas.detach() @ self.shape_dirs).view(-1, 3), self.weight[:, None]], 1)
            dense = torch.zeros(self.body.lbs_weights.shape[1], self.count, 4)
            dense.index_put_((self.joint, self.point), own, accumulate=True)
            self._known = key, dense.transpose(1, 2).flatten(0, 1).contiguous()
        return self._known[1]

    def joints_of(self, betas: Tensor, expression: Tensor) -> Tensor:
        """Rest positions of the joints (F, 55, 3) of a shape (n_betas,) with expressions (F, E)."""
        rest, dirs = self.body._joint_template, self.body._joint_dirs
        n = self.body.n_betas
        shape = rest + dirs[..., :n] @ betas
        return shape + torch.einsum("fe,jce->fjc", expression, dirs[..., n:])


class _ExpressivePairs:
    """The pairs that the face moves, in runs of one joint each: (L) points' offsets by expression, posed."""

    def __init__(self, points: PosedPoints) -> None:
        size = points.expression_dirs.reshape(len(points.expression_dirs), -1, 3).abs().amax((0, 2))
        used = torch.nonzero(size > NO_EXPRESSION)[:, 0]
        used = used[torch.argsort(points.joint[used], stable=True)]
        joints, counts = torch.unique_consecutive(points.joint[used], return_counts=True)
        self.joints, self.counts = joints, counts.tolist()
        dirs = points.expression_dirs.reshape(len(points.expression_dirs), -1, 3)[:, used]
        self.dirs = dirs.transpose(1, 2).flatten(1).contiguous()
        self.point, self.total = points.point[used], points.count

    def __call__(self, A: Tensor, expression: Tensor) -> Tensor:
        """(F, 3, L) metres from joint transforms (F, 55, 4, 4) and coefficients (F, E)."""
        offsets = (expression @ self.dirs).view(len(expression), 3, -1).split(self.counts, 2)
        turned = [A[:, j, :3, :3] @ part for j, part in zip(self.joints.tolist(), offsets, strict=True)]
        return torch.zeros(len(expression), 3, self.total).index_add(2, self.point, torch.cat(turned, 2))
