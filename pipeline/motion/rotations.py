"""Rotation arithmetic on arrays of any leading shape: axis-angle, matrices and unit quaternions (w, x, y, z).

Radians, right-handed, float64 inside. All functions are pure and vectorised; none raises on valid shapes.
"""

from __future__ import annotations

import numpy as np

from ..types import Array

EPS = 1e-9


def aa_to_quat(aa: Array) -> Array:
    """Axis-angle (..., 3) to unit quaternions (..., 4), w >= 0 for angles up to pi."""
    aa = np.asarray(aa, np.float64)
    angle = np.linalg.norm(aa, axis=-1, keepdims=True)
    half = 0.5 * angle
    scale = np.where(angle > 1e-6, np.sin(half) / np.maximum(angle, EPS), 0.5 - angle**2 / 48.0)
    return np.concatenate([np.cos(half), aa * scale], axis=-1)


def quat_to_aa(q: Array) -> Array:
    """Unit quaternions (..., 4) to axis-angle (..., 3) with angle in 0..pi."""
    q = np.where(q[..., :1] < 0, -q, q)
    norm = np.linalg.norm(q[..., 1:], axis=-1, keepdims=True)
    angle = 2.0 * np.arctan2(norm, q[..., :1])
    scale = np.where(norm > 1e-9, angle / np.maximum(norm, EPS), 2.0)
    return q[..., 1:] * scale


def quat_multiply(a: Array, b: Array) -> Array:
    """Hamilton product of (..., 4) and (..., 4)."""
    aw, av, bw, bv = a[..., :1], a[..., 1:], b[..., :1], b[..., 1:]
    w = aw * bw - np.sum(av * bv, axis=-1, keepdims=True)
    return np.concatenate([w, aw * bv + bw * av + np.cross(av, bv)], axis=-1)


def quat_conjugate(q: Array) -> Array:
    """The inverse of unit quaternions (..., 4)."""
    return q * np.array([1.0, -1.0, -1.0, -1.0])


def slerp(a: Array, b: Array, t: Array | float) -> Array:
    """Spherical interpolation of unit quaternions along the short arc.

    Args:
        a, b: (..., 4).
        t: scalar or array broadcastable to (...,); 0 gives ``a``, 1 gives ``b``.

    Returns:
        (..., 4) unit quaternions.
    """
    t = np.asarray(t, np.float64)[..., None]
    dot = np.sum(a * b, axis=-1, keepdims=True)
    b = np.where(dot < 0, -b, b)
    dot = np.clip(np.abs(dot), 0.0, 1.0)
    theta = np.arccos(dot)
    sin = np.sin(theta)
    near = sin < 1e-6
    safe = np.where(near, 1.0, sin)
    wa = np.where(near, 1.0 - t, np.sin((1.0 - t) * theta) / safe)
    wb = np.where(near, t, np.sin(t * theta) / safe)
    q = wa * a + wb * b
    return q / np.linalg.norm(q, axis=-1, keepdims=True)


def slerp_aa(a: Array, b: Array, t: Array | float) -> Array:
    """:func:`slerp` between axis-angles (..., 3)."""
    return quat_to_aa(slerp(aa_to_quat(a), aa_to_quat(b), t))


def aa_to_matrix(aa: Array) -> Array:
    """Axis-angle (..., 3) to matrices (..., 3, 3)."""
    return quat_to_matrix(aa_to_quat(aa))


def quat_to_matrix(q: Array) -> Array:
    """Unit quaternions (..., 4) to matrices (..., 3, 3)."""
    w, x, y, z = np.moveaxis(q, -1, 0)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return np.stack(rows, axis=-1).reshape(*q.shape[:-1], 3, 3)


def matrix_to_quat(m: Array) -> Array:
    """Rotation matrices (..., 3, 3) to unit quaternions (..., 4) with w >= 0, stable at every angle."""
    m = np.asarray(m, np.float64)
    d0, d1, d2 = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    squares = np.stack([1 + d0 + d1 + d2, 1 + d0 - d1 - d2, 1 - d0 + d1 - d2, 1 - d0 - d1 + d2], axis=-1)
    size = np.sqrt(np.maximum(squares, 0.0))
    s21, s02, s10 = m[..., 2, 1], m[..., 0, 2], m[..., 1, 0]
    s12, s20, s01 = m[..., 1, 2], m[..., 2, 0], m[..., 0, 1]
    candidates = np.stack(
        [
            np.stack([squares[..., 0], s21 - s12, s02 - s20, s10 - s01], axis=-1),
            np.stack([s21 - s12, squares[..., 1], s10 + s01, s02 + s20], axis=-1),
            np.stack([s02 - s20, s10 + s01, squares[..., 2], s12 + s21], axis=-1),
            np.stack([s10 - s01, s20 + s02, s21 + s12, squares[..., 3]], axis=-1),
        ],
        axis=-2,
    )
    best = np.argmax(size, axis=-1)[..., None, None]
    q = np.take_along_axis(candidates, best, axis=-2)[..., 0, :]
    q = q / np.linalg.norm(q, axis=-1, keepdims=True)
    return np.where(q[..., :1] < 0, -q, q)


def matrix_to_aa(m: Array) -> Array:
    """Rotation matrices (..., 3, 3) to axis-angle (..., 3) with angle in 0..pi."""
    return quat_to_aa(matrix_to_quat(m))


def axis_rotation(axis: str, angle: Array | float) -> Array:
    """Rotation matrices (..., 3, 3) by ``angle`` (...,) radians about the axis "x", "y" or "z"."""
    aa = np.zeros((*np.shape(angle), 3))
    aa[..., "xyz".index(axis)] = angle
    return aa_to_matrix(aa)


def normalize(v: Array, eps: float = 1e-9) -> Array:
    """Vectors (..., n) scaled to unit length."""
    return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), eps)


def twist_angle(m: Array, axis: Array) -> Array:
    """The part of rotations (..., 3, 3) about the unit ``axis`` (3,): swing-twist angle in -pi..pi, (...,)."""
    q = matrix_to_quat(m)
    return 2.0 * np.arctan2(np.sum(q[..., 1:] * axis, axis=-1), q[..., 0])


def heading(m: Array) -> Array:
    """Yaw about +y, (...,) radians, of rotations (..., 3, 3): where the z axis points on the floor."""
    return np.arctan2(m[..., 0, 2], m[..., 2, 2])


def unroll(aa: Array) -> Array:
    """Axis-angle (F, ..., 3) with jumps of the representation removed: each frame is the equivalent nearest its past.

    Rotations are unchanged; angles may exceed pi. Needed before filtering or averaging along time.
    """
    q = aa_to_quat(aa)
    flips = np.where(np.sum(q[1:] * q[:-1], axis=-1) < 0, -1.0, 1.0)
    sign = np.concatenate([np.ones_like(flips[:1]), np.cumprod(flips, axis=0)], axis=0) if len(q) > 1 else 1.0
    q = q * (sign[..., None] if len(q) > 1 else 1.0)
    norm = np.linalg.norm(q[..., 1:], axis=-1, keepdims=True)
    angle = 2.0 * np.arctan2(norm, q[..., :1])
    return q[..., 1:] * np.where(norm > 1e-9, angle / np.maximum(norm, EPS), 2.0)


def mean_rotation(aa: Array) -> Array:
    """The average rotation (..., 3) over the first axis of axis-angles (F, ..., 3) (chordal mean of quaternions)."""
    q = aa_to_quat(aa)
    outer = np.einsum("f...i,f...j->...ij", q, q) / len(q)
    _, vectors = np.linalg.eigh(outer)
    return quat_to_aa(vectors[..., -1])
