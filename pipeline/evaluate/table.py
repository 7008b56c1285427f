"""Table 1 of the paper: self-driven animation, several subjects, in the paper's units and beside its numbers."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.config import FitConfig
from pipeline.console import Progress
from pipeline.evaluate import metrics
from pipeline.evaluate.manifest import IMAGE_SUFFIXES, Subject
from pipeline.types import PipelineError

if TYPE_CHECKING:
    from pipeline.body import BodyModel
    from pipeline.evaluate.reenact import Layer, Scene
    from pipeline.perceive.crop import CropWindow
    from pipeline.perceive.track import VideoDetections
    from pipeline.perceptual import Lpips
    from pipeline.types import Observation

FPS = 30.0
"""Frames per second of the protocol (section 4.1)."""
COLUMNS = (("mse", "MSE x1e-3", 1e3), ("l1", "L1 x1e-2", 1e2), ("psnr", "PSNR", 1.0), ("ssim", "SSIM x1e-1", 10.0),
           ("lpips", "LPIPS x1e-2", 1e2))  # fmt: skip
"""Metric, heading and factor, in the paper's order and units."""
PUBLISHED = {
    "ELICIT (paper)": (5.65, 1.65, 22.56, 9.21, 6.60),
    "ExAvatar, 40 shots (paper)": (3.93, 1.24, 24.22, 9.24, 4.09),
    "MimicMotion (paper)": (2.69, 1.41, 25.84, 9.18, 3.89),
    "One Shot, One Talk (paper)": (1.22, 0.84, 29.31, 9.43, 2.99),
}
"""Table 1 of arXiv 2412.01106, on ActorsHQ and Casual Conversations."""
NO_SOFT = {"lambda_normal": 0.0, "lambda_M": 0.0, "lambda_MGC": 0.0}
OURS = ("one photo, no soft constraints, no labels", "one photo", "one photo and labels (full)")
PROTOCOL = (
    "Self-driven: one frame makes the avatar, the video's own tracked motion drives it (shape fixed, pose and "
    "expression from the frames, aligned with the avatar of one photo, the same for all rows; no appearance is fitted "
    "to what is scored), every other frame is compared. 9:16 window "
    f"around the person, {FPS:.0f} FPS, person on white in both pictures, whole frame; means over frames, then over "
    "subjects. The published rows are on ActorsHQ and Casual Conversations, whose subjects and frames the paper does "
    "not list: compare orders of magnitude unless yours are the same."
)


def evaluate(
    subjects: Sequence[Subject], body: BodyModel, out: Path, *, quality: str = "default", seed: int = 0,
    max_seconds: float = 30.0, progress: Progress,
) -> dict[str, Any]:  # fmt: skip
    """Run the protocol and write ``table.json`` and ``table.md``.

    Args:
        subjects: see :mod:`pipeline.evaluate.manifest`. body: body model. out: folder for the two files.
        quality, seed: of the fits. max_seconds: how much of each video is used. progress: stage and share done.

    Returns:
        What the JSON holds: ``rows`` (row to mean metrics), ``subjects`` (name to rows, or to the reason why it was
        left out), ``protocol``.

    Raises:
        PipelineError: no subject could be scored, or the folder cannot be written.
    """
    from pipeline.perceptual import load_lpips

    lpips = load_lpips("vgg") or load_lpips()
    each: dict[str, Any] = {}
    reasons: list[str] = []
    for subject in subjects:
        try:
            each[subject.name] = score_subject(subject, body, quality, seed, max_seconds, lpips, progress)
        except PipelineError as error:
            each[subject.name] = {"left out": str(error)}
            reasons.append(f"{subject.name}: {error}")
    scored = {name: rows for name, rows in each.items() if "left out" not in rows}
    if not scored:
        raise PipelineError(f"No subject could be scored. {reasons[0]}" if reasons else "There is no subject to score.")
    result = {
        "rows": mean_rows(scored), "subjects": each, "quality": quality, "seed": seed, "protocol": PROTOCOL,
        "lpips": f"LPIPS-{lpips.network.name}" if lpips else None,
    }  # fmt: skip
    _write(out, result)
    return result


def mean_rows(scored: Mapping[str, Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, float]]:
    """Mean over subjects of each row; a row that some subjects lack says over how many it is."""
    out = {}
    for row in OURS:
        have = [dict(rows[row]) for rows in scored.values() if row in rows]
        if have:
            out[row] = metrics.average(have) | {"subjects": float(len(have))}
    return out


def score_subject(
    subject: Subject, body: BodyModel, quality: str, seed: int, max_seconds: float, lpips: Lpips | None,
    progress: Progress,
) -> dict[str, dict[str, float]]:  # fmt: skip
    """Every row of one subject: row name to ``mse``, ``l1``, ``psnr``, ``ssim`` and, with weights, ``lpips``.

    Raises:
        PipelineError: unreadable video, nobody in it, or no usable frame.
    """
    from dataclasses import replace

    from pipeline.avatar import fit
    from pipeline.evaluate.reenact import Scene, driven
    from pipeline.labels.gather import open_labels

    with driving_video(subject) as video:
        detections, source, photo, window = prepare(subject, video, body, max_seconds, progress)
        config = FitConfig.preset(quality, seed)  # type: ignore[arg-type]
        plain = fit(photo, body, config=config, progress=progress)
        scene = Scene(plain, photo, window, driven(plain, photo, window, detections, progress), detections, source)
        out = {OURS[1]: score_scene(scene, video, lpips)}
        plans: list[tuple[str, FitConfig, list[Any]]] = [(OURS[0], config.replace(**NO_SOFT), [])]
        if subject.labels:
            plans.append((OURS[2], config, open_labels(subject.labels, photo)))
        for name, settings, labels in plans:
            avatar = fit(photo, body, labels, settings, progress)
            out[name] = score_scene(replace(scene, avatar=avatar), video, lpips)
    return out


def prepare(
    subject: Subject, video: Path, body: BodyModel, max_seconds: float, progress: Progress
) -> tuple[VideoDetections, int, Observation, CropWindow]:
    """Detect, find or open the photo: the video's detections, the photo's frame number (-1 if it is none), the photo
    understood, and its window."""
    from pipeline.evaluate.reenact import find_photo, photo_window
    from pipeline.media import load_photo
    from pipeline.perceive import perceive
    from pipeline.perceive.track import detect_video

    detections = detect_video(video, max_seconds=max_seconds, progress=progress)
    if subject.photo is None:
        return detections, *find_photo(video, detections, body, max_seconds)
    image = load_photo(subject.photo)
    if image.shape[:2] != (detections.height, detections.width):
        raise PipelineError(
            f"The photo of {subject.name} is {image.shape[1]}x{image.shape[0]}, its driving frames are "
            f"{detections.width}x{detections.height}; use a frame of the same camera as the photo."
        )
    observation = perceive(image, body)
    return detections, -1, observation, photo_window(observation)


def score_scene(scene: Scene, video: Path, lpips: Lpips | None, every: int = 1) -> dict[str, float]:
    """Mean metrics over the frames of a scene, person on white, whole frame; the photo's own frame does not count."""
    from pipeline.evaluate.reenact import LPIPS_FRAMES, layers

    rows = []
    gap = max(every, len(scene.tracked) // LPIPS_FRAMES)
    for index, real, rendered, *_ in layers(scene, video):
        if index != scene.source and scene.tracked.found[index]:
            rows.append(compare(real, rendered, lpips if len(rows) % gap == 0 else None))
    if not rows:
        raise PipelineError("No frame could be compared; use a longer video in which the person stays visible.")
    return metrics.average(rows)


def compare(real: Layer, rendered: Layer, lpips: Lpips | None) -> dict[str, float]:
    """Metrics of one frame; ``lpips`` is NaN where it is not taken."""
    row = metrics.compare(rendered.white, real.white)
    return row | {"lpips": lpips.of_images(rendered.white, real.white) if lpips else float("nan")}


@contextmanager
def driving_video(subject: Subject) -> Iterator[Path]:
    """The driving frames as one video of 30 frames per second; a temporary one unless it is that already."""
    from pipeline.media import VideoReader, VideoWriter, load_photo

    if subject.driving.is_file():
        with VideoReader(subject.driving) as reader:
            if abs(reader.info.fps - FPS) < 0.5:
                yield subject.driving
                return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "driving.mp4"
        if subject.driving.is_file():
            with VideoReader(subject.driving, fps=FPS) as reader:
                _copy(reader, path, reader.info.width, reader.info.height)
        else:
            files = sorted(p for p in subject.driving.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
            if len(files) < 2:
                raise PipelineError(f"{subject.driving} holds fewer than two pictures; name a folder of frames.")
            files = [files[i] for i in resampled(len(files), subject.fps)]
            first = load_photo(files[0])
            with VideoWriter(path, FPS, (first.shape[1], first.shape[0]), crf=4) as writer:
                for file in files:
                    writer.write(load_photo(file))
        yield path


def _copy(frames: Any, path: Path, width: int, height: int) -> None:
    from pipeline.media import VideoWriter

    with VideoWriter(path, FPS, (width, height), crf=4) as writer:
        for frame in frames:
            writer.write(frame)


def resampled(count: int, fps: float) -> list[int]:
    """Which of ``count`` frames at ``fps`` stand for each frame at 30 frames per second."""
    times = np.arange(max(1, round(count * FPS / fps))) / FPS
    return [int(i) for i in np.minimum(np.floor(times * fps + 0.5), count - 1)]


def as_text(result: dict[str, Any]) -> str:
    """The table in Markdown."""
    lines = ["| | " + " | ".join(title for _, title, _ in COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for name, values in PUBLISHED.items():
        lines.append(f"| {name} | " + " | ".join(f"{v:.2f}" for v in values) + " |")
    for name, row in result["rows"].items():
        cells = [_cell(row.get(key), factor) for key, _, factor in COLUMNS]
        lines.append(f"| ours: {name} ({row['subjects']:.0f} subjects) | " + " | ".join(cells) + " |")
    if OURS[2] not in result["rows"]:
        lines.append("\nThe full row is missing: no subject has `labels`.")
    measure = result["lpips"] or "not at hand: no weights were given"
    out = [name for name, rows in result["subjects"].items() if "left out" in rows]
    left = f" Left out: {', '.join(out)}." if out else ""
    return "\n".join([*lines, "", f"{result['protocol']} LPIPS of our rows: {measure}.{left}"])


def _cell(value: float | None, factor: float) -> str:
    return "not at hand" if value is None or not np.isfinite(value) else f"{value * factor:.2f}"


def _write(out: Path, result: dict[str, Any]) -> None:
    plain = json.loads(json.dumps(result), parse_constant=lambda name: None)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".table.", dir=out) as name:
            (Path(name) / "table.json").write_text(json.dumps(plain, indent=1, allow_nan=False), "utf-8")
            (Path(name) / "table.md").write_text(as_text(result) + "\n", "utf-8")
            for file in ("table.json", "table.md"):
                os.replace(Path(name) / file, out / file)
    except OSError as error:
        raise PipelineError(f"{out} cannot be written ({error.strerror}); choose another folder.") from error
