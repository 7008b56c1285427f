"""Rotations and the joint tree: linear blend skinning transforms as in SMPL-X (Pavlakos et al., CVPR 2019)."""

from __future__ import annotations

import torch

from pipeline.body.names import PARENTS

Tensor = torch.Tensor


def rotation_matrices(axis_angle: Tensor) -> Tensor:
    """Rodrigues' formula: (..., 3) radians to (..., 3, 3), with finite gradients at zero."""
    squared = (axis_angle**2).sum(-1, keepdim=True)
    small = squared < 1e-8
    angle = torch.where(small, torch.ones_like(squared), squared).sqrt()
    sine = torch.where(small, 1 - squared / 6, torch.sin(angle) / angle)[..., None]
    cosine = torch.where(small, 0.5 - squared / 24, (1 - torch.cos(angle)) / angle**2)[..., None]
    x, y, z = axis_angle.unbind(-1)
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*x.shape, 3, 3)
    outer = axis_angle[..., :, None] * axis_angle[..., None, :]
    eye = torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device)
    return eye * (1 - cosine * squared[..., None]) + sine * skew + cosine * outer


def _levels() -> list[list[int]]:
    depth: list[int] = []
    for parent in PARENTS:
        depth.append(0 if parent < 0 else depth[parent] + 1)
    return [[j for j, d in enumerate(depth) if d == level] for level in range(max(depth) + 1)]


LEVELS = _levels()
_ORDER = [j for level in LEVELS for j in level]
_PLACE = torch.tensor([_ORDER.index(j) for j in range(len(_ORDER))])
_PARENT_ROWS = [
    torch.tensor([above.index(PARENTS[j]) for j in level]) for above, level in zip(LEVELS, LEVELS[1:], strict=False)
]
_SIZES = [len(level) for level in LEVELS]
_ORDER_INDEX = torch.tensor(_ORDER)
_PARENT_INDEX = torch.tensor([max(p, 0) for p in PARENTS])
_LAST_ROW = torch.tensor([0.0, 0.0, 0.0, 1.0])


def chain_transforms(rotations: Tensor, joints: Tensor) -> Tensor:
    """Forward kinematics, one matrix product per level of the tree.

    Args:
        rotations: (B, 55, 3, 3) of each joint relative to its parent. joints: (B, 55, 3) rest positions, metres.

    Returns:
        (B, 55, 4, 4) frames of the posed joints; the root turns about its own joint.
    """
    device = joints.device
    above = joints.index_select(1, _PARENT_INDEX.to(device))
    bones = torch.cat([joints[:, :1], joints[:, 1:] - above[:, 1:]], 1)
    last = _LAST_ROW.to(joints).expand(*joints.shape[:2], 1, 4)
    local = torch.cat([torch.cat([rotations, bones[..., None]], -1), last], -2)
    levels = local.index_select(1, _ORDER_INDEX.to(device)).split(_SIZES, 1)
    frames = [levels[0]]
    for rows, own in zip(_PARENT_ROWS, levels[1:], strict=True):
        frames.append(frames[-1].index_select(1, rows.to(device)) @ own)
    return torch.cat(frames, 1).index_select(1, _PLACE.to(device))


def skinning_transforms(rotations: Tensor, joints: Tensor) -> tuple[Tensor, Tensor]:
    """Transforms (B, 55, 4, 4) that carry rest-pose points with a joint, and the posed joints (B, 55, 3)."""
    frames = chain_transforms(rotations, joints)
    moved = frames[..., :3, :3] @ joints[..., None]
    back = torch.cat([moved, torch.zeros_like(moved[..., :1, :])], -2)
    return torch.cat([frames[..., :3], frames[..., 3:] - back], -1), frames[..., :3, 3]
