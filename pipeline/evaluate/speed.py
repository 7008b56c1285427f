"""How long a fit takes here, and how many frames a second an animation makes.

``python -m pipeline.evaluate.speed PHOTO [--device auto|cpu|cuda] [--steps 2000 30000] [--sizes 576x1024 1080x1920]``
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from pipeline import api
from pipeline.animation import View, animate, draw_frames, pose_sequence
from pipeline.avatar import Avatar
from pipeline.avatar import fit as fit_avatar
from pipeline.config import FitConfig
from pipeline.render import choose_device
from pipeline.render.bench import picture_size
from pipeline.types import MotionClip, Observation, PipelineError

if TYPE_CHECKING:
    from pipeline.body import BodyModel


@dataclass(frozen=True)
class FitTime:
    """One fit: ``seconds`` in all and of the optimisation alone, and the most memory it took on a card (GB)."""

    steps: int
    seconds: float
    refining: float
    gigabytes: float
    gaussians: int
    rasteriser: str


@dataclass(frozen=True)
class Speed:
    """Frames per second at a size: drawn alone (ready in the host's memory), and drawn and encoded as H.264."""

    size: tuple[int, int]
    drawn: float
    encoded: float


def time_fit(
    observation: Observation, body: BodyModel, steps: int, device: str = "auto", seed: int = 0
) -> tuple[Avatar, FitTime]:
    """Fit the ``full`` quality with another number of steps."""
    card = choose_device(device).type == "cuda"
    if card:
        torch.cuda.reset_peak_memory_stats()
    begun: dict[str, float] = {}
    started = time.perf_counter()
    config = FitConfig.preset("full", seed).replace(steps=steps)
    avatar = fit_avatar(
        observation, body, config=config, device=device,
        progress=lambda stage, share: begun.setdefault(stage, time.perf_counter()),
    )  # fmt: skip
    seconds, refining = time.perf_counter() - started, begun["finishing"] - begun["refining"]
    memory = torch.cuda.max_memory_reserved() / 1e9 if card else 0.0
    return avatar, FitTime(steps, seconds, refining, memory, len(avatar), avatar.meta["rasteriser"])


def time_animation(avatar: Avatar, clip: MotionClip, size: tuple[int, int], device: str = "auto") -> Speed:
    """Draw a clip twice, without and with encoding; without, the first frame (which prepares all) does not count."""
    view = View(size=size)
    poses = pose_sequence(avatar, clip, view.fps)
    frames = draw_frames(avatar, poses, view, device)
    next(frames)
    started = time.perf_counter()
    count = sum(1 for _ in frames)
    drawn = count / (time.perf_counter() - started)
    with tempfile.TemporaryDirectory() as folder:
        encoded = animate(avatar, clip, Path(folder) / "clip.mp4", view=view, device=device).speed
    return Speed(size, drawn, encoded)


def main(argv: list[str] | None = None) -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.evaluate.speed", description=__doc__)
    parser.add_argument("photo", metavar="PHOTO")
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda")
    parser.add_argument("--steps", type=int, nargs="+", default=[2000, 30_000], metavar="N")
    parser.add_argument("--sizes", type=picture_size, nargs="+", default=[(576, 1024), (1080, 1920)], metavar="WxH")
    parser.add_argument("--motion", default="explaining", metavar="NAME|CLIP.npz")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    try:
        body = api.get_body()
        observation = api.observe(options.photo, body=body)
        fits = [time_fit(observation, body, steps, options.device) for steps in options.steps]
        avatar, clip = fits[-1][0], api.load_motion(options.motion, body=body)
        speeds = [time_animation(avatar, clip, size, options.device) for size in options.sizes]
    except PipelineError as error:
        parser.error(str(error))
    found = {"fits": [asdict(timing) for _, timing in fits], "animation": [asdict(speed) for speed in speeds]}
    if options.json:
        print(json.dumps(found))
        return 0
    for fit in found["fits"]:
        print(
            f"fit, {fit['steps']} steps: {fit['seconds']:.1f} s, of these {fit['refining']:.1f} s refining "
            f"({1e3 * fit['refining'] / fit['steps']:.2f} ms a step), {fit['gaussians']} Gaussians, "
            f"{fit['rasteriser']}, {fit['gigabytes']:.2f} GB"
        )
    for speed in found["animation"]:
        width, height = speed["size"]
        print(f"animation, {width}x{height}: {speed['drawn']:.1f} frames/s drawn, {speed['encoded']:.1f} with H.264")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
