"""How fast the rasterisers are here: ``python -m pipeline.render.bench [--splats N] [--size WxH] [--json]``.

Draws a made-up standing body of four ellipsoids with evenly spread splats. Besides the wall time it tells the CPU time
of all threads, which other work on the machine disturbs less: on idle cores the wall time is about that divided by the
threads.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from pipeline.render.backends import available_backends
from pipeline.render.gaussians import rasterize_gaussians
from pipeline.render.mesh import rasterize_mesh, shaded
from pipeline.render.parallel import thread_count
from pipeline.render.silhouette import mesh_mask
from pipeline.render.skinned import Rig, SkinnedRenderer
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


class Timing(NamedTuple):
    """Best of several runs, milliseconds: ``wall`` on the clock and ``cpu`` of all threads together."""

    wall: float
    cpu: float


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


def measure(function: Callable[[], object], repeats: int) -> Timing:
    """Best wall and CPU time of ``repeats`` calls after one to warm up."""
    function()
    walls, cpus = [], []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        function()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return Timing(1e3 * min(walls), 1e3 * min(cpus))


def gaussian_jobs(n: int, camera: Camera) -> dict[str, Callable[[], object]]:
    """What is measured about Gaussians, by name."""
    means, scales = surface(n)
    colors = (0.5 + 0.5 * np.sin(means * (31, 17, 23))).astype(np.float32)
    tensors = [torch.from_numpy(a).requires_grad_() for a in (means, scales, colors)]

    def forward() -> None:
        with torch.no_grad():
            rasterize_gaussians(*tensors, camera)

    def both_ways() -> None:
        image, alpha = rasterize_gaussians(*tensors, camera)
        (image.square().mean() + alpha.mean()).backward()

    rng = np.random.default_rng(1)
    joints = np.clip(means[:, 1:2] * 30 + 20, 0, 49).astype(int) + np.arange(6)
    weights = rng.dirichlet(np.ones(6), len(means))
    rows = np.flatnonzero(means[:, 1] > HEAD_HEIGHT)
    basis = rng.normal(scale=1e-3, size=(len(rows), 3, 52)).astype(np.float32)
    renderer = SkinnedRenderer(Rig.build(means, joints, weights, scales, colors, rows=rows, basis=basis))
    transforms = np.tile(np.eye(4, dtype=np.float32), (55, 1, 1))
    wall = np.full((camera.height, camera.width, 3), 200, np.uint8)
    expression = np.linspace(0, 0.5, 52, dtype=np.float32)
    return {
        "Gaussians, forward": forward,
        "Gaussians, forward and backward": both_ways,
        "skinned frame, 8 bit, over a picture": lambda: renderer.draw(transforms, camera, wall, expression=expression),
    }


def mesh_jobs(camera: Camera) -> dict[str, Callable[[], object]]:
    """What is measured about meshes, by name."""
    vertices, faces = ellipsoid()
    points = torch.from_numpy(vertices).requires_grad_()
    return {
        "mesh, fragments": lambda: rasterize_mesh(vertices, faces, camera),
        "mesh, shaded picture": lambda: shaded(vertices, faces, camera),
        "mesh mask, forward and backward": lambda: mesh_mask(points, faces, camera).square().mean().backward(),
    }


def picture_size(text: str) -> tuple[int, int]:
    """Parse "576x1024"; raises argparse.ArgumentTypeError."""
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) > 0 and int(height) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 576x1024")
    return int(width), int(height)


def main(argv: list[str] | None = None) -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.render.bench", description=__doc__)
    parser.add_argument("--splats", type=int, default=300_000)
    parser.add_argument("--size", type=picture_size, default=(576, 1024), metavar="WIDTHxHEIGHT")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    width, height = options.size
    camera = Camera.frontal(width, height, 1.17 * height, 1.6)
    jobs = gaussian_jobs(options.splats, camera) | mesh_jobs(camera)
    timings = {name: measure(job, options.repeats) for name, job in jobs.items()}
    if options.json:
        print(json.dumps({name: timing._asdict() for name, timing in timings.items()}))
        return 0
    print(f"{options.splats} splats, {width}x{height}, {thread_count()} threads; best of {options.repeats}, in ms")
    for name, timing in timings.items():
        print(f"{name:40s} wall {timing.wall:8.1f}   CPU {timing.cpu:8.1f}")
    for backend in available_backends():
        print(f"{backend.name:12s} {'yes' if backend.available else 'no':4s} {backend.reason}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
