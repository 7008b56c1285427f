"""The self-driven test: a video's own motion drives an avatar made from one of its frames, and is compared with it.

The first usable frontal frame is the photo: crop, shape, appearance and background come from it alone. From all other
frames only the motion is taken (with the shape of the photo); they are what is scored, and nothing is fitted to them.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.console import Progress
from pipeline.evaluate import metrics
from pipeline.types import Array, Observation, PipelineError

if TYPE_CHECKING:
    from pipeline.avatar import Avatar
    from pipeline.body import BodyModel
    from pipeline.perceive.crop import CropWindow
    from pipeline.perceive.track import TrackResult, VideoDetections
    from pipeline.perceptual import Lpips

GROUPS = ("full", "mask", "baseline_full", "baseline_mask")
LPIPS_FRAMES = 16
"""LPIPS is taken on so many frames, evenly spread, because it costs a second each."""
CAMERA_STEP = 10
"""Every how many frames to look whether the camera has moved."""
TRIES, TRY_STEP = 8, 7
"""How many frames are tried as the photo, and how far apart, when the first is refused."""


@dataclass
class Scores:
    """Rows of metrics, one per scored frame."""

    lpips: Lpips | None
    every: int
    rows: list[dict[str, float]] = field(default_factory=list)

    def add(self, index: int, real: Layer, rendered: Layer, still: Layer) -> None:
        """Compare one real frame with the rendered one and with the still photo, all on white."""
        row: dict[str, float] = {"frame": index}
        with_lpips = self.lpips is not None and len(self.rows) % self.every == 0
        for prefix, other in (("", rendered), ("baseline_", still)):
            mask = (real.alpha > 0.5) | (other.alpha > 0.5)
            for name, region in ((f"{prefix}full", None), (f"{prefix}mask", mask)):
                for key, value in metrics.compare(other.white, real.white, region).items():
                    row[f"{name}_{key}"] = value
                if self.lpips is not None:
                    distance = self.lpips.of_images(other.white, real.white, region) if with_lpips else float("nan")
                    row[f"{name}_lpips"] = distance
        self.rows.append(row)

    def summary(self) -> dict[str, Any]:
        """Means over frames, in groups, and what is gained over the still photo.

        Raises:
            PipelineError: no frame was scored.
        """
        if not self.rows:
            raise PipelineError("No frame could be compared; use a longer video in which the person stays visible.")
        mean = metrics.average(self.rows)
        keys = ["mse", "l1", "psnr", "ssim"] + (["lpips"] if self.lpips is not None else [])
        groups: dict[str, Any] = {name: {key: mean[f"{name}_{key}"] for key in keys} for name in GROUPS}
        for region in ("full", "mask"):
            groups[f"gain_psnr_{region}"] = groups[region]["psnr"] - groups[f"baseline_{region}"]["psnr"]
        return groups


@dataclass(frozen=True)
class Layer:
    """A picture of a person: (H, W, 3) as it is, (H, W) alpha, and (H, W, 3) on white."""

    image: Array
    alpha: Array
    white: Array

    @staticmethod
    def of(image: Array, alpha: Array) -> Layer:
        """Put the person on white."""
        return Layer(image, alpha, metrics.on_background(image, alpha))

    @staticmethod
    def drawn(image: Array, cover: Array, valid: Array) -> Layer:
        """A drawing whose colours are multiplied by its opacity; nothing beside the video, where ``valid`` is False."""
        image, cover = image * valid[..., None], cover * valid
        return Layer(image, cover, image + 1 - cover[..., None])


def reenact(
    video: str | Path,
    out: str | Path,
    *,
    body: BodyModel,
    quality: str = "default",
    seed: int = 0,
    max_seconds: float = 30.0,
    progress: Progress,
) -> dict[str, Any]:
    """Run the test on a video and write ``comparison.mp4``, ``per_frame.csv`` and ``metrics.json``.

    Args:
        video: one person, camera at rest.
        out: folder for the three files; written only when all is done.
        body: body model.
        quality, seed: of the fit.
        max_seconds: how much of the video is used.
        progress: called with a stage and the share of it done.

    Returns:
        What ``metrics.json`` holds: ``full`` (on white), ``mask`` (inside the union of both persons' masks),
        ``baseline_full``, ``baseline_mask`` (the still photo in place of the rendered frame), each with mse, l1, psnr,
        ssim and, where its weights are there, lpips; ``gain_psnr_full``, ``gain_psnr_mask``; ``camera_at_rest``:
        whether most frames looked at show the photo's ground where it was; and how it was made.

    Raises:
        PipelineError: unreadable video, nobody in it, no usable frame, or a folder that cannot be written.
    """
    from pipeline.avatar import fit
    from pipeline.config import FitConfig
    from pipeline.perceive.track import detect_video

    clock = Clock()
    detections = detect_video(video, max_seconds=max_seconds, progress=progress)
    clock.lap("detect")
    source, observation, window = find_photo(video, detections, body, max_seconds)
    clock.lap("perceive")
    avatar = fit(observation, body, config=FitConfig.preset(quality, seed), progress=progress)  # type: ignore[arg-type]
    clock.lap("fit")
    tracked = driven(avatar, observation, window, detections, progress)
    clock.lap("track")
    made = {
        "video": Path(video).name,
        "frames": len(tracked),
        "fps": tracked.fps,
        "size": [observation.camera.width, observation.camera.height],
        "source_frame": source,
        "quality": quality,
        "seed": seed,
        "gaussians": len(avatar),
        "tracking_errors_percent": tracked.errors,
    }
    scene = Scene(avatar, observation, window, tracked, detections, source)
    return _write(Path(out), Path(video), made, scene, progress, clock)


def driven(
    avatar: Avatar, observation: Observation, window: CropWindow, detections: VideoDetections, progress: Progress
) -> TrackResult:
    """The video's motion: tracked with the photo's shape, then moved until the drawn avatar and the frames agree.

    Args:
        avatar: fitted to ``observation``, the photo. window: what was cut out for it. detections: of the video.
        progress: called with a stage and the share of it done.
    """
    from pipeline.labels.align import cut_outs, follow
    from pipeline.perceive.track import track_video

    photo, body = dataclasses.replace(observation, params=avatar.params), avatar.body
    tracked = track_video(
        detections, body, window=window, betas=photo.params.betas, reference=photo, dense=False, progress=progress
    )
    return follow(tracked, avatar, photo, cut_outs(detections, window, photo, progress), progress)


class Clock:
    """Seconds of each part of the work."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Book the time since the last call on ``name``."""
        now = time.perf_counter()
        self.seconds[name] = round(now - self._last, 2)
        self._last = now


@dataclass(frozen=True)
class Scene:
    """All that is needed to draw the test: the avatar, its photo, and the tracked video."""

    avatar: Avatar
    photo: Observation
    window: CropWindow
    tracked: TrackResult
    detections: VideoDetections
    source: int


def find_photo(
    video: str | Path, detections: VideoDetections, body: BodyModel, max_seconds: float
) -> tuple[int, Observation, CropWindow]:
    """The frame that serves as the photo, understood, and the 9:16 window that is fixed by it.

    Starts at the first frame that is about as frontal as the video gets; when the report refuses it, tries later ones.

    Raises:
        PipelineError: none of the frames tried will do; says why the first would not.
    """
    from pipeline.media import from_uint8
    from pipeline.perceive import perceive
    from pipeline.perceive.track import choose_reference

    first = choose_reference(detections)
    wanted = [first + k * TRY_STEP for k in range(TRIES) if first + k * TRY_STEP < len(detections.frames)]
    refused: PipelineError | None = None
    for index, frame in _frames(video, max_seconds, wanted):
        try:
            image = from_uint8(frame)
            observation = perceive(image, body)
            return index, observation, photo_window(observation)
        except PipelineError as error:
            refused = refused or error
    raise refused or PipelineError("The video ended before a usable frame; use a longer one.")


def photo_window(observation: Observation) -> CropWindow:
    """The window that :func:`pipeline.perceive.perceive` cut out of a photo."""
    from pipeline.perceive.crop import CropWindow

    if observation.window is None:
        raise ValueError("this observation was not cut out of a photo")
    return CropWindow(*observation.window, observation.camera.width, observation.camera.height)


def _frames(video: str | Path, max_seconds: float, wanted: list[int]) -> Iterator[tuple[int, Array]]:
    """Some frames of a video by number, uint8."""
    from pipeline.media import VideoReader

    numbers = set(wanted)
    with VideoReader(video, max_seconds=max_seconds) as reader:
        for index, frame in enumerate(reader):
            if index in numbers:
                yield index, frame
            if index >= max(wanted):
                return


def layers(scene: Scene, video: Path) -> Iterator[tuple[int, Layer, Layer, Array, Array]]:
    """Draw every frame.

    Yields:
        frame number, the real layer, the rendered layer, the rendered person on the photo's background, and where the
        window shows the video (H, W) bool. Beside it both layers are empty: nobody knows what is right there.
    """
    from pipeline.labels.steady import steady_matte
    from pipeline.media import VideoReader, from_uint8
    from pipeline.perceive.matte import Matter
    from pipeline.perceive.photo import crop_detections
    from pipeline.puppet import Puppet

    camera = scene.photo.camera
    backdrop = scene.avatar.background
    behind = np.ones(3, np.float32) if backdrop is None else from_uint8(np.asarray(backdrop))
    puppet = Puppet(scene.avatar)
    with VideoReader(video) as reader, Matter() as matter:
        for index, frame in enumerate(reader):
            if index >= len(scene.tracked):
                return
            crop, valid = scene.window.apply(frame)
            found = scene.detections.frames[index]
            seen = None if found is None else crop_detections(found, scene.window)
            alpha = steady_matte(matter.matte(crop, seen, "fast", valid), crop, scene.photo.image, scene.photo.alpha)
            image, cover = puppet.layers(scene.tracked.frame(index), camera)
            placed = image + (1 - cover[..., None]) * behind
            yield index, Layer.of(from_uint8(crop), alpha * valid), Layer.drawn(image, cover, valid), placed, valid


def _write(
    out: Path, video: Path, made: dict[str, Any], scene: Scene, progress: Progress, clock: Clock
) -> dict[str, Any]:
    """Draw, score and write; the files appear in ``out`` only when all three are done."""
    from pipeline.labels.steady import camera_moved
    from pipeline.media import VideoWriter, to_uint8
    from pipeline.perceptual import load_lpips
    from pipeline.provenance import Stamp

    scores = Scores(load_lpips(), max(1, len(scene.tracked) // LPIPS_FRAMES))
    still, moved = Layer.of(scene.photo.image, scene.photo.alpha), []
    width, height = scene.photo.camera.width, scene.photo.camera.height
    size = (2 * width, height)
    stamp = Stamp.of(scene.avatar.meta, size)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as name:
            folder = Path(name)
            with VideoWriter(folder / "comparison.mp4", scene.tracked.fps, size, seal=stamp.seal) as writer:
                for index, real, rendered, placed, _ in layers(scene, video):
                    writer.write(stamp.mark(to_uint8(np.concatenate([real.image, placed], axis=1))))
                    if index % CAMERA_STEP == 0:
                        moved.append(camera_moved(to_uint8(real.image), real.alpha, still.image, still.alpha))
                    if index != scene.source and scene.tracked.found[index]:
                        scores.add(index, real, rendered, still)
                    progress("comparing", (index + 1) / len(scene.tracked))
            clock.lap("compare")
            made["camera_at_rest"] = sum(moved) <= 0.5 * len(moved)
            result = {**made, "scored_frames": len(scores.rows), **scores.summary(), "seconds": clock.seconds}
            _write_tables(folder, scores.rows, result)
            out.mkdir(exist_ok=True)
            for path in sorted(folder.iterdir()):
                os.replace(path, out / path.name)
    except OSError as error:
        raise PipelineError(f"{out} cannot be written ({error.strerror}); choose another folder.") from error
    return result


def _write_tables(folder: Path, rows: list[dict[str, float]], result: dict[str, Any]) -> None:
    with open(folder / "per_frame.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows([{key: round(value, 6) for key, value in row.items()} for row in rows])
    (folder / "metrics.json").write_text(json.dumps(result, indent=1, allow_nan=False), encoding="utf-8")
