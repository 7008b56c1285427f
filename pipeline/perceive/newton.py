"""Newton steps for the pose: what many short steps along the gradient cannot finish, a few of these do.

Distance from the camera, lean of the trunk and collars almost make up for each other in the picture; along such a
valley a gradient leads nowhere, and a track would end where its keypoints put it. The exact gradient of the energy is
combined with the Gauss-Newton curvature of its large terms (landmarks, anchors, priors, smoothness), whose frames only
meet their neighbours, so that one banded Cholesky solves all of them at once. Robust terms enter by their weights
(iteratively reweighted least squares); a step that does not lower the energy is shortened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.linalg import solveh_banded
from torch import Tensor

from pipeline.body.kinematics import rotation_matrices, skinning_transforms
from pipeline.body.names import PARENTS
from pipeline.perceive.points import PosedPoints
from pipeline.types import Array, Camera

if TYPE_CHECKING:
    from pipeline.perceive.register import Energy, Stage

BODY = 22
"""Joints that are moved: pelvis to wrists."""
SIZE = 3 + 3 * BODY
"""Unknowns of a frame: its place, then the joints' rotations."""
UNKNOWNS = ("transl", "global_orient", "body_pose")
DAMPING = 1e-3
"""Share of the mean curvature that is added to all directions."""
SHORTEST = 0.1
BATCH = 16
"""Frames whose derivatives are in memory at once."""


def newton_steps(energy: Energy, state: dict[str, Tensor], betas: Tensor, stage: Stage) -> None:
    """Lower the energy by ``stage.newton`` steps in place and pose of the body; ``state`` is changed in place.

    Hands, face and shape stay. Ends early where no step along the direction found lowers the energy.
    """
    unknowns = {name: state[name].detach().requires_grad_() for name in UNKNOWNS}
    now = {**{k: v.detach() for k, v in state.items()}, **unknowns}
    for _ in range(stage.newton):
        value = energy(now, betas, stage)
        gradient = torch.autograd.grad(value, list(unknowns.values()))
        flat = torch.cat([g.flatten(1) for g in gradient], 1).numpy().astype(np.float64)
        move = solve_frames(energy.curvature(now, betas, stage), energy.coupling(), flat)
        if not _descend(energy, now, betas, stage, unknowns, torch.from_numpy(move).float(), float(value.detach())):
            break
    with torch.no_grad():
        for name, value in unknowns.items():
            state[name].copy_(value)


def _descend(
    energy: Energy, now: dict[str, Tensor], betas: Tensor, stage: Stage, unknowns: dict[str, Tensor], move: Tensor,
    value: float,
) -> bool:  # fmt: skip
    """Go against ``move`` (F, SIZE) as far as the energy falls; whether it did."""
    start = {name: tensor.detach().clone() for name, tensor in unknowns.items()}
    parts = dict(zip(UNKNOWNS, move.split((3, 3, SIZE - 6), 1), strict=True))
    share = 1.0
    with torch.no_grad():
        while share > SHORTEST:
            for name, tensor in unknowns.items():
                tensor.copy_(start[name] - share * parts[name].view_as(tensor))
            if float(energy(now, betas, stage)) < value:
                return True
            share *= 0.5
        for name, tensor in unknowns.items():
            tensor.copy_(start[name])
    return False


def curvature(
    model: PosedPoints, betas: Tensor, expression: Tensor, pose: Tensor, rows: Tensor, which: Tensor
) -> Tensor:
    """Sum of outer products of the derivatives of ``rows . point``, (F, SIZE, SIZE).

    Args:
        model: the points. betas: (n_betas,). expression: (F, E). pose: (F, 55, 3) axis-angle.
        rows: (F, l, m, 3) world directions along which points are held, times the root of how strongly.
        which: (l,) the points.
    """
    levers, axes = levers_of(model, betas, expression, pose, which)
    turned = torch.linalg.cross(levers[:, :, None], rows[:, :, :, None].expand(-1, -1, -1, BODY, -1), dim=-1)
    moves = torch.cat([rows, turned.flatten(3)], -1).flatten(1, 2)
    world = moves.transpose(1, 2) @ moves
    basis = torch.eye(SIZE).repeat(len(pose), 1, 1)
    for joint in range(BODY):
        first = 3 + 3 * joint
        basis[:, first : first + 3, first : first + 3] = axes[:, joint]
    return basis.transpose(1, 2) @ world @ basis


def levers_of(
    model: PosedPoints, betas: Tensor, expression: Tensor, pose: Tensor, which: Tensor
) -> tuple[Tensor, Tensor]:
    """How points ``which`` (l,) move when joints turn: ``axes @ change of axis-angle`` crossed with their lever.

    What the face's expression adds to a lever is left out.

    Returns:
        levers (F, l, BODY, 3) in metres, those of points that do not hang on a joint 0; axes (F, BODY, 3, 3).
    """
    A, pivots = skinning_transforms(rotation_matrices(pose), model.joints_of(betas, expression))
    template = model.template_of(betas).view(A.shape[1], 4, model.count)[..., which]
    below = _descendants()
    levers = (below @ (A[:, :, :3] @ template).flatten(2)).view(len(pose), BODY, 3, len(which))
    levers = levers - pivots[:, :BODY, :, None] * (below @ template[:, 3])[:, None]
    above = torch.tensor([max(p, 0) for p in PARENTS[:BODY]])
    frames = A[:, :, :3, :3].index_select(1, above)
    frames = torch.cat([torch.eye(3).expand(len(pose), 1, 3, 3), frames[:, 1:]], 1)
    return levers.permute(0, 3, 1, 2).contiguous(), frames @ left_jacobian(pose[:, :BODY])


def _descendants() -> Tensor:
    """(BODY, 55): 1 where a joint hangs on another, or is it."""
    out = torch.eye(len(PARENTS))
    for joint, parent in enumerate(PARENTS):
        if parent >= 0:
            out[:, joint] += out[:, parent]
    return out[:BODY]


def left_jacobian(axis_angle: Tensor) -> Tensor:
    """How a rotation turns, in the frame outside of it, when its axis-angle vector (..., 3) changes; (..., 3, 3)."""
    angle = axis_angle.norm(dim=-1)[..., None, None].clamp(min=1e-4)
    x, y, z = axis_angle.unbind(-1)
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*axis_angle.shape, 3)
    even, odd = (1 - torch.cos(angle)) / angle**2, (angle - torch.sin(angle)) / angle**3
    return torch.eye(3) + even * skew + odd * skew @ skew


def seen_rows(information: Tensor, points: Tensor, camera: Camera) -> Tensor:
    """Rows for :func:`curvature`, (F, l, 2, 3).

    Args:
        information: (F, l, 2, 2) how strongly points are held in the picture (a symmetric matrix, per pixel squared).
        points: (F, l, 3) world.
    """
    view = torch.from_numpy(camera.viewmat)
    at = points @ view[:3, :3].T + view[:3, 3]
    z, zero = at[..., 2].clamp(min=0.05), torch.zeros_like(at[..., 0])
    fx, fy = float(camera.K[0, 0]), float(camera.K[1, 1])
    lens = torch.stack([fx / z, zero, -fx * at[..., 0] / z**2, zero, fy / z, -fy * at[..., 1] / z**2], -1)
    first = information[..., 0, 0].clamp(min=1e-12).sqrt()
    mixed = information[..., 0, 1] / first
    second = (information[..., 1, 1] - mixed**2).clamp(min=0).sqrt()
    root = torch.stack([first, mixed, zero, second], -1).unflatten(-1, (2, 2))
    return root @ lens.unflatten(-1, (2, 3)) @ view[:3, :3]


def solve_frames(blocks: Array, coupling: Array, gradient: Array) -> Array:
    """``H^-1 g`` for all frames at once, (F, n).

    Args:
        blocks: (F, n, n) curvature within each frame. coupling: (n,) weights of squared second differences in time,
            and a fiftieth of them of first ones. gradient: (F, n).
    """
    frames, n, _ = blocks.shape
    steps = np.diff(np.eye(frames), axis=0)
    bends = np.diff(np.eye(frames), 2, axis=0)
    time = 2 * (bends.T @ bends + 0.02 * steps.T @ steps) if frames > 2 else np.zeros((frames, frames))
    inner = blocks + np.eye(n) * (coupling * np.diag(time)[:, None])[:, None]
    inner += np.eye(n) * (DAMPING * np.trace(inner, axis1=1, axis2=2) / n)[:, None, None]
    band = np.zeros((2 * n + 1, frames * n))
    flat = band.reshape(2 * n + 1, frames, n)
    for offset in range(n):
        flat[offset, :, : n - offset] = np.diagonal(inner, -offset, 1, 2)
    for gap in (1, 2):
        if frames > gap:
            flat[gap * n, : frames - gap] = np.diagonal(time, -gap)[:, None] * coupling
    return solveh_banded(band, gradient.ravel(), lower=True).reshape(frames, n)
