"""The label stage: photo and clips -> generated frames -> re-tracked -> filtered -> labels on disk.

Frames, and the sampler's state after every step, are kept on disk: a stopped run goes on where it was. A folder's name
is a digest of everything that its labels depend on, so the same question is never asked twice.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pipeline.body import BodyModel
from pipeline.body.cache import cache_dir
from pipeline.labels.files import (
    arrays_of,
    digest,
    load_frame,
    load_labels,
    load_report,
    row_of,
    save_frame,
    save_label,
    save_report,
)
from pipeline.labels.identity import ColourReference
from pipeline.labels.mimicmotion.draw import draw_pose
from pipeline.labels.mimicmotion.driving import Driving, drive, reference_people
from pipeline.labels.mimicmotion.dwpose import DWPose
from pipeline.labels.mimicmotion.keypoint_clip import KeypointClip, drive_keypoints
from pipeline.labels.mimicmotion.keypoints import People, to_pose
from pipeline.labels.mimicmotion.quality import BodyQualityLimits, judge
from pipeline.labels.mimicmotion.retrack import Retracked, retrack
from pipeline.types import Array, MotionClip, Observation, PipelineError, PseudoLabel

STAGE_VERSION = 2
Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class BodyLabelConfig:
    """How body labels are made.

    Attributes:
        frames: generated per clip; 71 and the photo's own pose fill one window of 72.
        fps: of the driving motion. steps: denoising steps. guidance: of all frames.
        pitch, yaw: ranges of the root's turn, degrees, one per clip (paper, section 3.3).
        seed: of the turns and the noise. limits: quality filter.
    """

    frames: int = 71
    fps: float = 15.0
    steps: int = 25
    guidance: float = 2.0
    pitch: tuple[float, float] = (-30.0, 30.0)
    yaw: tuple[float, float] = (-10.0, 10.0)
    seed: int = 0
    limits: BodyQualityLimits = BodyQualityLimits()


class FrameGenerator(Protocol):
    """Turns a photo and pose pictures into frames."""

    name: str
    """Says which weights and settings it works with; part of what labels depend on."""

    def frames(
        self, image: Array, poses: Array, config: BodyLabelConfig, seed: int, keep: Path, tell: Callable[[float], None]
    ) -> Array:
        """(F, H, W, 3) uint8 for (H, W, 3) float 0..1 and F + 1 uint8 pose pictures, the photo's own first; ``keep`` is
        a file name for what it needs to go on after a stop."""
        ...


@dataclass(frozen=True)
class BodyLabels:
    """The outcome.

    Attributes:
        labels: kept labels. folders: where they are, one per clip. dropped: reason -> number of frames.
    """

    labels: list[PseudoLabel]
    folders: tuple[Path, ...]
    dropped: dict[str, int]


Tracker = Callable[..., list[Retracked | None]]
Motion = MotionClip | KeypointClip


def make_body_labels(
    observation: Observation, clips: Sequence[Motion], body: BodyModel, generator: FrameGenerator, *,
    dwpose: DWPose | None = None, config: BodyLabelConfig | None = None, root: Path | None = None,
    tracker: Tracker = retrack, progress: Progress | None = None,
) -> BodyLabels:  # fmt: skip
    """Make body labels for a photo.

    Args:
        observation: the photo, understood.
        clips: driving motions; each is turned by a root view of its own, or laid on the person where it has keypoints
            only.
        body: the body model of the observation.
        generator: see :class:`.sampling.MimicMotionFrames`.
        dwpose: finds the photo's keypoints; those of the observation without it.
        config: settings. root: where label folders are kept; the cache by default.
        tracker: as :func:`.retrack.retrack`.
        progress: called with a stage name and the share done; may raise to stop.

    Raises:
        PipelineError: no clips, a clip that is too short, no frame survived the filter, or the generator's own.
    """
    from pipeline.motion.views import draw_root_views

    config, tell = config or BodyLabelConfig(), progress or (lambda stage, share: None)
    if not clips:
        raise PipelineError("Body labels need driving motions; name at least one.")
    views = draw_root_views(len(clips), config.seed, pitch=config.pitch, yaw=config.yaw)
    base = root or cache_dir() / "labels" / "body"
    first = reference_people(observation, dwpose)
    folders, dropped = [], Counter()
    for k, clip in enumerate(clips):
        view = (float(views[k, 0]), float(views[k, 1]))
        folder = base / _digest(observation, clip, view, first, body, generator, config, config.seed + k)
        if (report := load_report(folder)) is None:
            part = _part(tell, k, len(clips))
            report = _make(observation, clip, view, first, body, generator, config, k, folder, tracker, part)
        folders.append(folder)
        dropped.update(report["dropped"])
    labels = [label for folder in folders for label in load_labels(folder)]
    if not labels:
        worst = dropped.most_common(1)[0][0] if dropped else "unknown"
        raise PipelineError(
            f"No generated frame was good enough (mostly: {worst}); use another photo or other motions."
        )
    return BodyLabels(labels, tuple(folders), dict(dropped))


def _part(tell: Progress, index: int, count: int) -> Progress:
    return lambda stage, share: tell(f"{stage} {index + 1}/{count}" if count > 1 else stage, share)


def _make(
    observation: Observation, clip: Motion, view: tuple[float, float], first: People, body: BodyModel,
    generator: FrameGenerator, config: BodyLabelConfig, index: int, folder: Path, tracker: Tracker, tell: Progress,
) -> dict[str, Any]:  # fmt: skip
    """One clip from motion to labels; returns its report."""
    tell("driving poses", 0.0)
    if isinstance(clip, KeypointClip):
        driving = drive_keypoints(clip, observation, first, fps=config.fps, frames=config.frames)
    else:
        driving = drive(clip, observation, body, fps=config.fps, frames=config.frames, view=view)
    frames = _frames_on_disk(folder, len(driving))
    if frames is None:
        height, width = observation.image.shape[:2]
        own = draw_pose(to_pose(first, width, height), height, width)
        poses = np.concatenate([own[None], driving.pictures()])
        keep = folder / "sampler.safetensors"
        frames = generator.frames(
            observation.image, poses, config, config.seed + index, keep, lambda share: tell("generating", share)
        )
        for i, frame in enumerate(frames):
            save_frame(_frame_path(folder, i), frame, np.ones(frame.shape[:2], np.float32))
        keep.unlink(missing_ok=True)
    tracked = tracker(frames, driving, body, progress=lambda share: tell("re-tracking", share))
    return _finish(frames, tracked, driving, observation, body, folder, config)


def _frame_path(folder: Path, index: int) -> Path:
    return folder / "frames" / f"{index:04d}.png"


def _frames_on_disk(folder: Path, count: int) -> Array | None:
    loaded = []
    for i in range(count):
        frame = load_frame(_frame_path(folder, i))
        if frame is None:
            return None
        loaded.append(frame[0])
    return np.stack(loaded)


def _finish(
    frames: Array, tracked: Sequence[Retracked | None], driving: Driving, observation: Observation, body: BodyModel,
    folder: Path, config: BodyLabelConfig,
) -> dict[str, Any]:  # fmt: skip
    """Judge and save; returns the report."""
    reference = ColourReference(observation, body)
    dropped: Counter[str] = Counter()
    rows = []
    for i, result in enumerate(tracked):
        if result is None:
            dropped["nobody was found"] += 1
            continue
        image = frames[i].astype(np.float32) / 255
        asked, scores = driving.people.points[i], driving.people.scores[i]
        quality = judge(image, result, asked, scores, reference, driving.camera, config.limits)
        dropped.update(quality.reasons[:1])
        confidence = quality.confidence(config.limits)
        rows.append({"frame": i, "confidence": round(confidence, 4), **row_of(quality)})
        if not quality.reasons:
            label = PseudoLabel(image, result.alpha, driving.camera, result.params, "body", confidence)
            save_label(folder / f"{i:04d}.npz", label)
    report = {"version": STAGE_VERSION, "dropped": dict(dropped), "frames": rows}
    save_report(folder, report)
    return report


def _digest(
    observation: Observation, clip: Motion, view: tuple[float, float], first: People, body: BodyModel,
    generator: FrameGenerator, config: BodyLabelConfig, seed: int,
) -> str:  # fmt: skip
    """Name of a clip's folder: everything that its labels depend on."""
    settings = dataclasses.asdict(config) | {"seed": seed, "pitch": view[0], "yaw": view[1]}
    arrays = [observation.image, observation.alpha, observation.camera.viewmat, observation.camera.K]
    arrays += [*arrays_of(first), *arrays_of(observation.params), np.float64(clip.fps), *arrays_of(clip)]
    return digest([STAGE_VERSION, body.name, generator.name, settings], arrays)
