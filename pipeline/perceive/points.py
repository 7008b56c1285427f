"""Posed landmarks without posing the mesh: the exact positions of a few hundred points, fast enough for an optimiser.

A landmark is a weighted sum of vertices, and a vertex a weighted sum of joint transforms. Changing the order of the two
sums gives one linear template per (landmark, joint) pair with a weight that is not zero, about three per landmark.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pipeline.body import BodyModel
from pipeline.body.kinematics import rotation_matrices, skinning_transforms
from pipeline.types import Array

LEFT_OUT = 1e-4
"""Pairs with less weight than this are dropped and the rest is scaled up."""


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

    def __call__(self, betas: Tensor, expression: Tensor, pose: Tensor, transl: Tensor) -> Tensor:
        """World positions.

        Args:
            betas: (n_betas,) shared. expression: (F, E). pose: (F, 55, 3) axis-angle. transl: (F, 3).

        Returns:
            (F, L, 3) metres.
        """
        frames = len(pose)
        joints = self._joints(betas, expression)
        A, _ = skinning_transforms(rotation_matrices(pose), joints)
        own = A[:, :, :3].index_select(1, self.joint)
        offsets = (betas @ self.shape_dirs + expression @ self.expression_dirs).view(frames, -1, 3)
        moved = (own[..., :3] * (self.template + offsets)[..., None, :]).sum(-1) + own[..., 3] * self.weight[:, None]
        out = torch.zeros(frames, self.count, 3).index_add(1, self.point, moved)
        return out + transl[:, None]

    def _joints(self, betas: Tensor, expression: Tensor) -> Tensor:
        rest, dirs = self.body._joint_template, self.body._joint_dirs
        n = self.body.n_betas
        shape = rest + dirs[..., :n] @ betas
        return shape + torch.einsum("fe,jce->fjc", expression, dirs[..., n:])
