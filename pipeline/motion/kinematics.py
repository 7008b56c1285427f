"""Forward kinematics of the SMPL-X tree and two-bone inverse kinematics, vectorised over frames, in numpy."""

from __future__ import annotations

import numpy as np

from ..types import Array
from .rotations import normalize
from .skeleton import PARENTS


def local_to_global(local: Array, parents: tuple[int, ...] = PARENTS) -> Array:
    """Chain local joint rotations.

    Args:
        local: (F, J, 3, 3) rotation of each joint relative to its parent.
        parents: parent index per joint, parents first.

    Returns:
        (F, J, 3, 3) rotations relative to the world.
    """
    out = np.empty_like(local)
    for joint, parent in enumerate(parents[: local.shape[1]]):
        out[:, joint] = local[:, joint] if parent < 0 else out[:, parent] @ local[:, joint]
    return out


def joint_positions(rotations: Array, rest: Array, root: Array, parents: tuple[int, ...] = PARENTS) -> Array:
    """Positions of joints for given world rotations.

    Args:
        rotations: (F, J, 3, 3) world rotations.
        rest: (J, 3) joint positions in the T-pose.
        root: (F, 3) or (3,) position of the pelvis.
        parents: as :func:`local_to_global`.

    Returns:
        (F, J, 3) metres.
    """
    out = np.empty((*rotations.shape[:2], 3))
    for joint, parent in enumerate(parents[: rotations.shape[1]]):
        if parent < 0:
            out[:, joint] = root
        else:
            out[:, joint] = out[:, parent] + rotations[:, parent] @ (rest[joint] - rest[parent])
    return out


def frame_from(primary: Array, secondary: Array) -> Array:
    """Matrices (..., 3, 3) with the columns: primary, secondary made orthogonal to it, their cross product."""
    x = normalize(primary)
    y = normalize(secondary - np.sum(secondary * x, axis=-1, keepdims=True) * x)
    return np.stack([x, y, np.cross(x, y)], axis=-1)


def two_bone(
    start: Array,
    target: Array,
    upper: float,
    lower: float,
    pole: Array,
    *,
    max_reach: float = 0.985,
    min_angle: float = 0.6,
) -> tuple[Array, Array]:
    """Place the middle joint of a two-bone limb.

    Args:
        start: (F, 3) first joint (shoulder, hip).
        target: (F, 3) wanted place of the last joint; pulled in smoothly where out of reach.
        upper, lower: bone lengths, metres.
        pole: (F, 3) direction, from the limb's line, in which the middle joint should go.
        max_reach: largest share of the full length that the limb stretches to, so that it never locks.
        min_angle: smallest inner angle at the middle joint, radians.

    Returns:
        middle (F, 3) and end (F, 3): the joint positions reached.
    """
    to_target = target - start
    distance = np.linalg.norm(to_target, axis=-1)
    reach = (upper + lower) * max_reach
    nearest = np.sqrt(upper**2 + lower**2 - 2 * upper * lower * np.cos(min_angle))
    distance = np.maximum(_soft_limit(distance, reach), nearest)
    axis = normalize(to_target)
    cosine = np.clip((upper**2 + distance**2 - lower**2) / (2 * upper * distance), -1.0, 1.0)
    side = normalize(pole - np.sum(pole * axis, axis=-1, keepdims=True) * axis)
    along, across = upper * cosine, upper * np.sqrt(1.0 - cosine**2)
    middle = start + along[..., None] * axis + across[..., None] * side
    return middle, start + distance[..., None] * axis


def _soft_limit(value: Array, limit: float, knee: float = 0.94) -> Array:
    """Identity up to ``knee * limit``, then bending smoothly so that ``limit`` is never passed."""
    begin = knee * limit
    room = limit - begin
    return np.where(value > begin, begin + room * np.tanh((value - begin) / room), value)


def limb_rotations(
    start: Array, middle: Array, end: Array, rest_upper: Array, rest_lower: Array, hinge: Array, fallback: Array
) -> tuple[Array, Array]:
    """World rotations of a limb's two bones from its joint positions, the middle joint bending only about its hinge.

    Args:
        start, middle, end: (F, 3) joint positions.
        rest_upper, rest_lower: (3,) bone vectors in the T-pose.
        hinge: (3,) axis in the T-pose about which the middle joint bends by a positive angle.
        fallback: (F, 3) hinge direction in the world where the limb is straight.

    Returns:
        Two (F, 3, 3) world rotations, of the first and of the middle joint.
    """
    a, b = normalize(middle - start), normalize(end - middle)
    bend = np.cross(a, b)
    strength = np.clip(np.linalg.norm(bend, axis=-1, keepdims=True) / 0.15, 0.0, 1.0)
    axis = normalize(strength * normalize(bend) + (1.0 - strength) * normalize(fallback))
    upper = frame_from(a, axis) @ frame_from(rest_upper, hinge).T
    lower = frame_from(b, axis) @ frame_from(rest_lower, hinge).T
    return upper, lower
