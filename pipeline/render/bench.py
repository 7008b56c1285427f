"""How fast the rasterisers are here.

``python -m pipeline.render.bench [--device auto|cpu|cuda] [--splats N] [--size WxH] [--curve] [--json]``

Wall time is the best of several runs, until the device has finished. On the CPU there is also the time of all threads
together, which other work on the machine disturbs less (on idle cores the wall time is about that divided by the
threads); on a card, the most memory that a job took. ``--curve`` shows how the cost grows with splats and pixels.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from pipeline.render.backends import GAUSSIANS, MASKS, available_backends, choose_device, probe
from pipeline.render.bench_scene import HEAD_HEIGHT, body_camera, ellipsoid, surface
from pipeline.render.gaussians import bin_gaussians, rasterize_gaussians
from pipeline.render.mesh import rasterize_mesh, shaded
from pipeline.render.parallel import thread_count
from pipeline.render.silhouette import mesh_mask
from pipeline.render.skinned import Rig, skinned_renderer
from pipeline.types import Camera, PipelineError

CURVE_SPLATS = (75_000, 150_000, 300_000, 600_000)
CURVE_SIZES = ((288, 512), (432, 768), (576, 1024), (720, 1280), (1080, 1920))
CURVE_AT = 150_000
"""Splats of the curve over pixels."""
COPIED = 2**28
"""Bytes of the copy that the memory's speed is taken from."""


class Timing(NamedTuple):
    """Best of several runs in milliseconds, ``wall`` on the clock and ``cpu`` of all threads; ``peak`` MB on a card."""

    wall: float
    cpu: float
    peak: float


class Job(NamedTuple):
    """Something to measure: ``run`` does it once, ``moved`` is the least number of bytes it has to read and write."""

    run: Callable[[], object]
    moved: float


def measure(function: Callable[[], object], repeats: int, device: torch.device) -> Timing:
    """Best times of ``repeats`` calls after two to warm up."""
    card = device.type == "cuda"
    walls, cpus = [], []
    for turn in range(repeats + 2):
        if card:
            torch.cuda.synchronize(device)
            torch.cuda.reset_peak_memory_stats(device)
        wall, cpu = time.perf_counter(), time.process_time()
        function()
        if card:
            torch.cuda.synchronize(device)
        if turn >= 2:
            walls.append(time.perf_counter() - wall)
            cpus.append(time.process_time() - cpu)
    peak = torch.cuda.max_memory_allocated(device) / 1e6 if card else 0.0
    return Timing(1e3 * min(walls), 1e3 * min(cpus), peak)


def bandwidth(device: torch.device) -> float:
    """Bytes read and written per second by a large copy."""
    source = torch.ones(COPIED, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * COPIED / (1e-3 * measure(lambda: target.copy_(source), 8, device).wall)


def working(names: tuple[str, ...], device: torch.device) -> list[str]:
    """The rasterisers among ``names`` that work on a device."""
    return [name for name in names if probe(name).available] if device.type == "cuda" else ["cpu"]


def gaussian_jobs(n: int, camera: Camera, device: torch.device) -> dict[str, Job]:
    """What is measured about Gaussians, by name."""
    means, scales = surface(n)
    colors = (0.5 + 0.5 * np.sin(means * (31, 17, 23))).astype(np.float32)
    tensors = [torch.from_numpy(a).to(device).requires_grad_() for a in (means, scales, colors)]
    splats, pixels = 4.0 * 8 * len(means), 4.0 * 4 * camera.width * camera.height

    def forward(backend: str) -> None:
        with torch.no_grad():
            rasterize_gaussians(*tensors, camera, backend=backend)

    def both_ways(backend: str) -> None:
        for tensor in tensors:
            tensor.grad = None
        image, alpha = rasterize_gaussians(*tensors, camera, backend=backend)
        (image.square().mean() + alpha.mean()).backward()

    jobs = {}
    for name in working(GAUSSIANS, device):
        jobs[f"Gaussians, forward ({name})"] = Job(lambda name=name: forward(name), splats + pixels)
        both = 3 * splats + 3 * pixels  # inputs read twice, gradients written; picture written, read, its gradient read
        jobs[f"Gaussians, forward and backward ({name})"] = Job(lambda name=name: both_ways(name), both)
    if device.type == "cpu" or probe("triton").available:
        frame = splats + 4.0 * 8 * len(means) + 2 * 3 * camera.width * camera.height
        jobs["skinned frame, 8 bit, over a picture"] = Job(frame_job(means, scales, colors, camera, device), frame)
    return jobs


def frame_job(
    means: np.ndarray, scales: np.ndarray, colors: np.ndarray, camera: Camera, device: torch.device
) -> Callable[[], object]:
    """Draw a frame of an animation with an expression, down to the picture in the memory of the host."""
    rng = np.random.default_rng(1)
    joints = np.clip(means[:, 1:2] * 30 + 20, 0, 49).astype(int) + np.arange(6)
    weights = rng.dirichlet(np.ones(6), len(means))
    rows = np.flatnonzero(means[:, 1] > HEAD_HEIGHT)
    basis = rng.normal(scale=1e-3, size=(len(rows), 3, 52)).astype(np.float32)
    renderer = skinned_renderer(Rig.build(means, joints, weights, scales, colors, rows=rows, basis=basis), device)
    transforms = np.tile(np.eye(4, dtype=np.float32), (55, 1, 1))
    wall = np.full((camera.height, camera.width, 3), 200, np.uint8)
    expression = np.linspace(0, 0.5, 52, dtype=np.float32)
    return lambda: renderer.draw(transforms, camera, wall, expression=expression)


def mesh_jobs(camera: Camera, device: torch.device) -> dict[str, Job]:
    """What is measured about meshes, by name."""
    vertices, faces = ellipsoid()
    points = torch.from_numpy(vertices).to(device).requires_grad_()
    moved = 12.0 * (len(vertices) + len(faces)) + 4.0 * camera.width * camera.height

    def mask(backend: str) -> None:
        points.grad = None
        mesh_mask(points, faces, camera, backend=backend).square().mean().backward()

    jobs = {
        f"mesh mask, forward and backward ({name})": Job(lambda name=name: mask(name), 3 * moved)
        for name in working(MASKS, device)
    }
    if device.type == "cpu":
        jobs["mesh, fragments"] = Job(lambda: rasterize_mesh(vertices, faces, camera), 7 * moved)
        jobs["mesh, shaded picture"] = Job(lambda: shaded(vertices, faces, camera), 10 * moved)
    return jobs


class Curve(NamedTuple):
    """Cost over something: values of ``x``, milliseconds ``y``, and how much of y's variance a line explains."""

    name: str
    x: list[float]
    y: list[float]
    r2: float


def curves(device: torch.device, repeats: int) -> list[Curve]:
    """Forward and backward over the number of splats and over pixels; CPU time of all threads on the CPU."""

    def cost(splats: int, size: tuple[int, int]) -> float:
        jobs = gaussian_jobs(splats, body_camera(*size), device)
        job = next(job for name, job in jobs.items() if "backward" in name)
        timing = measure(job.run, repeats, device)
        return timing.cpu if device.type == "cpu" else timing.wall

    pixels = [float(w * h) for w, h in CURVE_SIZES]
    return [
        _curve("splats, 576x1024", [float(n) for n in CURVE_SPLATS], [cost(n, (576, 1024)) for n in CURVE_SPLATS]),
        _curve(f"pixels, {CURVE_AT} splats", pixels, [cost(CURVE_AT, size) for size in CURVE_SIZES]),
    ]


def _curve(name: str, x: list[float], y: list[float]) -> Curve:
    rest = np.asarray(y) - np.polyval(np.polyfit(x, y, 1), x)
    return Curve(name, x, y, 1 - float((rest**2).sum() / ((y - np.mean(y)) ** 2).sum()))


def picture_size(text: str) -> tuple[int, int]:
    """Parse "576x1024"; raises argparse.ArgumentTypeError."""
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) > 0 and int(height) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 576x1024")
    return int(width), int(height)


def report(options: argparse.Namespace, device: torch.device) -> dict[str, object]:
    """Measure: ``timings`` and ``floors`` (ms) by job, ``bandwidth``, ``pairs`` (of 16-pixel tiles); or ``curves``."""
    if options.curve:
        return {"curves": [curve._asdict() for curve in curves(device, options.repeats)]}
    camera, speed = body_camera(*options.size), bandwidth(device)
    jobs = gaussian_jobs(options.splats, camera, device) | mesh_jobs(camera, device)
    means, scales = surface(options.splats)
    return {
        "timings": {name: measure(job.run, options.repeats, device)._asdict() for name, job in jobs.items()},
        "floors": {name: 1e3 * job.moved / speed for name, job in jobs.items()},
        "bandwidth": speed,
        "pairs": len(bin_gaussians(means, scales, np.ones(len(means), np.float32), camera).ids),
    }


def as_text(found: dict, options: argparse.Namespace, device: torch.device) -> str:
    """The report for people."""
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {thread_count()} threads"
    if options.curve:
        lines = [f"{where}; forward and backward, ms"]
        for curve in found["curves"]:
            points = ", ".join(f"{x:,.0f}: {y:.2f}" for x, y in zip(curve["x"], curve["y"], strict=True))
            lines.append(f"{curve['name']}: {points}; a line explains {100 * curve['r2']:.1f} %")
        return "\n".join(lines)
    width, height = options.size
    lines = [
        f"{options.splats} splats, {found['pairs']} pairs of splat and tile, {width}x{height}, {where}; "
        f"best of {options.repeats}, in ms; floor: least bytes at {found['bandwidth'] / 1e9:.0f} GB/s"
    ]
    for name, timing in found["timings"].items():
        last = f"peak {timing['peak']:8.0f} MB" if device.type == "cuda" else f"CPU {timing['cpu']:8.1f}"
        lines.append(f"{name:46s} wall {timing['wall']:8.2f}   {last}   floor {found['floors'][name]:7.3f}")
    for backend in available_backends():
        lines.append(f"{backend.name:12s} {'yes' if backend.available else 'no':4s} {backend.reason}")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.render.bench", description=__doc__)
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda")
    parser.add_argument("--splats", type=int, default=300_000)
    parser.add_argument("--size", type=picture_size, default=(576, 1024), metavar="WIDTHxHEIGHT")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--curve", action="store_true", help="the cost over splats and pixels instead")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    try:
        device = choose_device(options.device, GAUSSIANS)
    except PipelineError as error:
        parser.error(str(error))
    found = report(options, device)
    print(json.dumps(found) if options.json else as_text(found, options, device))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
