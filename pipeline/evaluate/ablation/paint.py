"""Colours of the synthetic person: skin with features, a plaid shirt, trousers, strands of hair. All procedural."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

from pipeline.avatar import geometry as geo
from pipeline.types import Array

if TYPE_CHECKING:
    from pipeline.body import BodyModel

BROWS = ((336, 296, 334, 293, 300), (285, 295, 282, 283, 276), (107, 66, 105, 63, 70), (55, 65, 52, 53, 46))
"""Points of the face mesh along both edges of both eyebrows."""
IRIS, PUPIL = np.radians(27.0), np.radians(12.0)


def noise(points: Array, scale: float, seed: int) -> Array:
    """Smooth noise in about -1..1 at points (N, 3) metres; ``scale`` is the size of its blobs in metres."""
    rng = np.random.default_rng(seed)
    out = np.zeros(len(points))
    for _ in range(6):
        direction = rng.normal(size=3)
        direction *= 2 * np.pi / (scale * np.linalg.norm(direction)) * rng.uniform(0.6, 1.4)
        out += np.sin(points @ direction + rng.uniform(0, 2 * np.pi))
    return out / 3.0


def paint(body: BodyModel, face: Array, bary: Array, points: Array, folds: Array, seed: int) -> Array:
    """Colours of points on the body.

    Args:
        face: (N,) triangles. bary: (N, 3). points: (N, 3) metres on the template. folds: (N,) metres of cloth above
            the skin, whose valleys are darker.

    Returns:
        (N, 3) float32 in 0..1.
    """
    rgb = _skin(body, face, bary, points, seed)
    cloth = share(body, face, bary, "torso", "left_arm", "right_arm") > 0.5
    legs = share(body, face, bary, "legs", "feet") > 0.5
    shade = 0.82 + 0.18 * np.clip((folds - 0.012) / 0.012, -1, 1)
    rgb[cloth] = (_plaid(points, seed) * shade[:, None])[cloth]
    rgb[legs] = (np.array([0.16, 0.18, 0.26]) * (shade * (1 + 0.1 * noise(points, 0.01, seed + 5)))[:, None])[legs]
    return np.clip(rgb, 0, 1).astype(np.float32)


def share(body: BodyModel, face: Array, bary: Array, *regions: str) -> Array:
    """How much of each point (N,) lies in regions, 0..1."""
    inside = geo.region(body, *regions).astype(np.float32)
    return (inside[np.asarray(body.faces)[face]] * bary).sum(1)


def _plaid(points: Array, seed: int) -> Array:
    x, y, z = points.T
    around = x + 0.6 * z
    rgb = np.full((len(points), 3), (0.62, 0.20, 0.18))
    rgb = np.where((np.sin(2 * np.pi * y / 0.07) > 0.45)[:, None], rgb * 0.45 + (0.02, 0.05, 0.16), rgb)
    rgb = np.where((np.sin(2 * np.pi * around / 0.07) > 0.45)[:, None], rgb * 0.5 + (0.03, 0.07, 0.2), rgb)
    rgb = np.where((np.abs(np.sin(np.pi * y / 0.07)) < 0.05)[:, None], (0.85, 0.78, 0.62), rgb)
    button = (np.abs(x) < 0.007) & (np.abs((y + 0.02) % 0.09 - 0.045) < 0.007) & (z > 0)
    rgb = np.where(button[:, None], (0.93, 0.92, 0.88), rgb)
    return rgb * (1 + 0.07 * noise(points, 0.006, seed + 1))[:, None]


def _skin(body: BodyModel, face: Array, bary: Array, points: Array, seed: int) -> Array:
    spots = 1 + 0.05 * noise(points, 0.05, seed + 2) + 0.03 * noise(points, 0.008, seed)
    tone = np.array([0.80, 0.60, 0.49]) * spots[:, None]
    tone = _mix(tone, (0.72, 0.33, 0.35), share(body, face, bary, "lips"))
    tone = _mix(tone, (0.42, 0.32, 0.52), 0.8 * share(body, face, bary, "eyelids"))
    tone = _mix(tone, (0.82, 0.48, 0.44), 0.5 * share(body, face, bary, "nose", "ears"))
    if "mediapipe_face" in body.landmarks:
        tone = _mix(tone, (0.20, 0.13, 0.09), _brows(body, points) * (share(body, face, bary, "face") > 0.3))
    teeth = np.where(np.abs(np.sin(np.pi * points[:, 0] / 0.008)) < 0.12, 0.72, 1.0)[:, None] * (0.88, 0.84, 0.74)
    tone = _mix(tone, (0.33, 0.07, 0.08), share(body, face, bary, "mouth_cavity"))
    tone = _mix(tone, (0.78, 0.36, 0.38), share(body, face, bary, "tongue"))
    tone = _mix(tone, teeth, share(body, face, bary, "teeth"))
    return _eyes(body, face, bary, points, tone)


def _brows(body: BodyModel, points: Array) -> Array:
    """How much of each point (N,) is eyebrow, 0..1."""
    marks = body.landmark_points("mediapipe_face", body.v_template[None])[0].numpy()
    steps = np.linspace(0, 1, 9)[:, None, None]
    lines = [marks[list(edge)] for edge in BROWS]
    dense = np.concatenate([(line[:-1] * (1 - steps) + line[1:] * steps).reshape(-1, 3) for line in lines])
    return np.clip(1.6 - cKDTree(dense).query(points)[0] / 0.0032, 0, 1)


def _eyes(body: BodyModel, face: Array, bary: Array, points: Array, rgb: Array) -> Array:
    template = np.asarray(body.v_template)
    for name in ("left_eyeball", "right_eyeball"):
        ball = template[geo.region(body, name)]
        mine = share(body, face, bary, name) > 0.5
        if not len(ball) or not mine.any():
            continue
        out = points[mine] - ball.mean(0)
        angle = np.arccos(np.clip(out[:, 2] / np.maximum(np.linalg.norm(out, axis=1), 1e-9), -1, 1))
        colour = np.where((angle < IRIS)[:, None], (0.30, 0.42, 0.33), (0.90, 0.88, 0.86))
        rgb[mine] = np.where((angle < PUPIL)[:, None], 0.04, colour)
    return rgb


def strands(points: Array, seed: int) -> Array:
    """Hair colour (N, 3) of points around the head: light and dark strands that run downwards."""
    angle = np.arctan2(points[:, 0], points[:, 2] + 0.02)
    stripe = np.sin(70 * angle + 3 * noise(points, 0.05, seed + 3)) * 0.5 + 0.5 * np.sin(23 * angle)
    tone = np.array([0.34, 0.20, 0.11]) * (0.85 + 0.35 * stripe + 0.1 * noise(points, 0.01, seed + 4))[:, None]
    return np.clip(tone, 0, 1).astype(np.float32)


def _mix(rgb: Array, colour: Array | tuple[float, float, float], amount: Array) -> Array:
    a = np.clip(amount, 0, 1)[:, None]
    return rgb * (1 - a) + np.asarray(colour) * a
