"""What a frame of a video costs here, stage by stage, and how much of the picture the fast way of drawing it loses.

``python -m pipeline.evaluate.frames AVATAR [--motion explaining] [--size 576x1024] [--frames 48] [--json]``

Costs are processor time of all threads and processes, which other work on the machine disturbs less than the clock; the
clock on idle cores shows about that divided by their number. The picture is compared with the one that
:func:`pipeline.render.rasterize_gaussians` makes of all the avatar's Gaussians.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from pipeline import api
from pipeline.animation import View, animate, draw_frames, frame_photo, person_center, pose_sequence
from pipeline.avatar import Avatar
from pipeline.evaluate.metrics import psnr
from pipeline.media import VideoWriter
from pipeline.provenance import Stamp
from pipeline.puppet import Puppet
from pipeline.render import rasterize_gaussians
from pipeline.render.bench import picture_size
from pipeline.render.parallel import thread_count
from pipeline.types import Array, BodyParams, MotionClip, PipelineError

YAWS, POSES = (0.0, 25.0), 8
"""Views in degrees, and evenly spaced poses, that are compared."""
GREY = 200


@dataclass(frozen=True)
class FrameCost:
    """What was measured over a clip.

    Attributes:
        gaussians, frames: how many. size: (width, height).
        stages: milliseconds of processor time per frame by stage, in order.
        whole: the same for a whole ``animate`` with all that comes before the first frame and after the last.
        speed: frames per second of that on the clock.
        worst, mean: PSNR in decibels over ``YAWS`` and ``POSES`` poses.
    """

    gaussians: int
    frames: int
    size: tuple[int, int]
    stages: dict[str, float]
    whole: float
    speed: float
    worst: float
    mean: float


def processor_seconds() -> float:
    """Processor time of this process so far, all threads, and of its children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def cost_of_stages(avatar: Avatar, clip: MotionClip, poses: Sequence[BodyParams], view: View) -> dict[str, float]:
    """Milliseconds of processor time per frame, one stage after the other, once all is prepared."""
    framing, puppet = frame_photo(avatar, view.size), Puppet(avatar)
    views, behind = [(params, framing.camera) for params in poses], framing.background
    behind = np.full((view.size[1], view.size[0], 3), GREY, np.uint8) if behind is None else behind
    stamp = Stamp.of(avatar.meta, view.size, motion=clip)
    for frame in puppet.draw_all(views[:1] * thread_count(), behind):  # the first use compiles and makes room
        stamp.mark(frame)
    stages: dict[str, float] = {}

    def spend(stage: str, work: Callable[[], list[Array]]) -> list[Array]:
        started = processor_seconds()
        done = work()
        stages[stage] = 1e3 * (processor_seconds() - started) / len(poses)
        return done

    frames = spend("pose and draw", lambda: list(puppet.draw_all(views, behind)))
    frames = spend("watermark", lambda: [stamp.mark(frame) for frame in frames])
    with tempfile.TemporaryDirectory() as folder:
        started = time.process_time()
        spend("encode", lambda: _written(frames, Path(folder) / "clip.mp4", view))
        stages["hand over"] = 1e3 * (time.process_time() - started) / len(poses)
    stages["encode"] -= stages["hand over"]
    return stages


def _written(frames: list[Array], path: Path, view: View) -> list[Array]:
    with VideoWriter(path, view.fps, view.size) as writer:
        for frame in frames:
            writer.write(frame)
    return frames


def likeness(avatar: Avatar, poses: Sequence[BodyParams], size: tuple[int, int]) -> list[float]:
    """PSNR in decibels of drawn frames against all Gaussians drawn in full, for every view and pose."""
    camera, center, found = frame_photo(avatar, size).camera, person_center(avatar), []
    colour = torch.full((3,), GREY / 255)
    for yaw in YAWS:
        view = View(yaw=yaw, size=size, background="#" + 3 * f"{GREY:02x}")
        for params, frame in zip(poses, draw_frames(avatar, poses, view, "cpu"), strict=True):
            with torch.no_grad():
                full = rasterize_gaussians(*avatar.pose(params), camera.orbited(yaw, 0, center), background=colour)
            found.append(psnr(frame / np.float32(255), full.image.clamp(0, 1).numpy()))
    return found


def measure(avatar: Avatar, clip: MotionClip, size: tuple[int, int] = (576, 1024), frames: int = 48) -> FrameCost:
    """Measure the first ``frames`` of a clip; the whole of it through ``animate``."""
    view = View(size=size)
    poses = pose_sequence(avatar, clip, view.fps)
    chosen = [poses[i] for i in np.linspace(0, len(poses) - 1, POSES).astype(int)]
    stages = cost_of_stages(avatar, clip, poses[: min(frames, len(poses))], view)
    started = processor_seconds()
    with tempfile.TemporaryDirectory() as folder:
        video = animate(avatar, clip, Path(folder) / "clip.mp4", view=view, device="cpu")
    whole, like = 1e3 * (processor_seconds() - started) / video.frames, likeness(avatar, chosen, size)
    return FrameCost(
        len(avatar), video.frames, size, stages, whole, video.speed, float(min(like)), float(np.mean(like))
    )


def as_text(found: FrameCost) -> str:
    """The report for people."""
    width, height = found.size
    lines = [f"{found.gaussians} Gaussians, {width}x{height}, processor time of all threads and processes per frame:"]
    lines += [f"{stage:16s} {spent:6.1f} ms" for stage, spent in found.stages.items()]
    lines.append(f"{'together':16s} {sum(found.stages.values()):6.1f} ms")
    lines.append(
        f"animate, {found.frames} frames: {found.whole:.1f} ms of processor time and {found.speed:.1f} frames/s"
    )
    lines.append(f"against all Gaussians in full: PSNR {found.worst:.1f} dB at worst, {found.mean:.1f} dB on average")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.evaluate.frames", description=__doc__)
    parser.add_argument("avatar", metavar="AVATAR")
    parser.add_argument("--motion", default="explaining", metavar="NAME|CLIP.npz")
    parser.add_argument("--size", type=picture_size, default=(576, 1024), metavar="WIDTHxHEIGHT")
    parser.add_argument("--frames", type=int, default=48, metavar="N")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    try:
        avatar = Avatar.load(options.avatar)
        found = measure(avatar, api.load_motion(options.motion, body=avatar.body), options.size, max(1, options.frames))
    except PipelineError as error:
        parser.error(str(error))
    print(json.dumps(asdict(found)) if options.json else as_text(found))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
