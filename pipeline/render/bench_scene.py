"""Made-up scenes for measuring the rasterisers: a standing body of four ellipsoids with evenly spread splats."""

from __future__ import annotations

import numpy as np

from pipeline.types import Array, Camera

PARTS = (
    ((0.0, -0.25, 0.0), (0.22, 0.45, 0.13)),
    ((0.0, 0.42, 0.02), (0.10, 0.14, 0.11)),
    ((0.3, -0.2, 0.05), (0.06, 0.3, 0.06)),
    ((-0.3, -0.2, 0.05), (0.06, 0.3, 0.06)),
)
"""Centres and half axes of torso, head and arms in metres."""

HEAD_HEIGHT = 0.28
SPREAD = 0.6
"""Standard deviation of a splat over the distance between splats."""


def surface(n: int) -> tuple[Array, Array]:
    """About n points, evenly spread over the body, (N, 3) float32 metres, and splat scales (N,)."""
    rng = np.random.default_rng(0)
    power = 1.6075
    axes = np.array([part[1] for part in PARTS])
    pairs = (axes * np.roll(axes, 1, axis=1)) ** power
    areas = 4 * np.pi * (pairs.sum(1) / 3) ** (1 / power)
    points = []
    for (center, half), area in zip(PARTS, areas, strict=True):
        count = 3 * int(n * area / areas.sum())
        k = np.arange(count) + 0.5
        polar, turn = np.arccos(1 - 2 * k / count), np.pi * (1 + 5**0.5) * k
        unit = np.stack([np.cos(turn) * np.sin(polar), np.cos(polar), np.sin(turn) * np.sin(polar)], 1)
        stretch = 1 / np.linalg.norm(unit / half, axis=1)
        keep = np.sort(np.argsort(rng.uniform(size=count) * stretch)[: count // 3])
        points.append(unit[keep] * half + center)
    means = np.concatenate(points).astype(np.float32)
    return means, np.full(len(means), SPREAD * np.sqrt(areas.sum() / len(means)), np.float32)


def ellipsoid(rings: int = 88, segments: int = 160) -> tuple[Array, Array]:
    """A closed mesh the size of a torso: vertices (V, 3) float32 and faces (F, 3), about 14,000 and 28,000."""
    polar, turn = np.linspace(0.01, np.pi - 0.01, rings), np.arange(segments) * 2 * np.pi / segments
    v, u = np.meshgrid(polar, turn, indexing="ij")
    unit = np.stack([np.sin(v) * np.sin(u), np.cos(v), np.sin(v) * np.cos(u)], -1).reshape(-1, 3)
    a = (np.arange(rings - 1)[:, None] * segments + np.arange(segments)).ravel()
    b = (np.arange(rings - 1)[:, None] * segments + (np.arange(segments) + 1) % segments).ravel()
    faces = np.concatenate([np.stack([a, a + segments, b], 1), np.stack([b, a + segments, b + segments], 1)])
    return (unit * (0.3, 0.5, 0.2)).astype(np.float32), faces


def body_camera(width: int, height: int) -> Camera:
    """A view that the body fills to about the height of the picture."""
    return Camera.frontal(width, height, 1.17 * height, 1.6)
