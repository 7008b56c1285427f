"""The label stage: photo and driving faces -> generated heads -> re-tracked -> filtered -> labels on disk.

Every generated frame is kept, so an interrupted run goes on where it stopped; the folder's name is a digest of
everything that the labels depend on, so the same question is never asked twice.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from pipeline.labels.fusion import match_colours, seam_mask
from pipeline.labels.portrait4d.driving import AlignedFace, align_face, varied
from pipeline.labels.portrait4d.faces import FaceFinder, check_source
from pipeline.labels.portrait4d.head_camera import head_rotation, limited, turned_by
from pipeline.labels.portrait4d.quality import Quality, QualityLimits, judge, skin_colours
from pipeline.labels.portrait4d.retrack import Retracked, retrack
from pipeline.labels.portrait4d.synthesis import HeadModel
from pipeline.types import Array, Observation, PipelineError, PseudoLabel

STAGE_VERSION = 2
Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class HeadLabelConfig:
    """How head labels are made.

    Attributes:
        count: frames generated. yaw, pitch: degrees, half-width of the sampled views around the front.
        own_pose: share of frames that keep the photo's head pose. seed: of the sampling.
        max_yaw, max_pitch: the generator's good range, degrees. limits: quality filter.
    """

    count: int = 48
    yaw: float = 22.0
    pitch: float = 12.0
    own_pose: float = 0.5
    seed: int = 0
    max_yaw: float = 35.0
    max_pitch: float = 22.0
    limits: QualityLimits = QualityLimits()


@dataclass(frozen=True)
class HeadLabels:
    """The outcome.

    Attributes:
        labels: kept labels. folder: where they are. dropped: reason -> number of frames.
    """

    labels: list[PseudoLabel]
    folder: Path
    dropped: dict[str, int]


def make_head_labels(
    photo: Array, observation: Observation, body: BodyModel, driving: Sequence[AlignedFace], model: HeadModel, *,
    config: HeadLabelConfig | None = None, root: Path | None = None, progress: Progress | None = None,
) -> HeadLabels:  # fmt: skip
    """Make head labels for a photo.

    Args:
        photo: (H, W, 3) the whole photo, uint8 or float in 0..1; more pixels of the face than the observation's crop.
        observation: the photo, understood; its body and camera are the coordinates of the labels.
        driving: faces whose expressions are borrowed, see :func:`.driving.driving_faces`.
        model: the generator. root: where label folders are kept; the cache by default.
        progress: called with a stage name and the share done.

    Raises:
        PipelineError: no usable face in the photo, no driving faces, or no frame survived the filter.
    """
    config, tell = config or HeadLabelConfig(), progress or (lambda stage, share: None)
    if not driving:
        raise PipelineError("Head labels need driving faces; give a video of a person talking to the camera.")
    with FaceFinder() as finder:
        source = _source(photo, observation, finder)
        chosen = varied(driving, config.count)
        faces = [driving[i] for i in chosen]
        rotations = sample_rotations(head_rotation(body, observation.params, observation.camera), len(faces), config)
        folder = (root or cache_dir() / "labels" / "head") / _digest(source, observation, body, faces, model, config)
        if (report := load_report(folder)) is None:
            frames = _generate(source, faces, rotations, model, folder, lambda share: tell("heads", share))
            found = [finder.single(image) for image, _ in frames]
            report = _finish(source, frames, found, faces, rotations, observation, body, folder, config, tell)
    labels = load_labels(folder)
    if not labels:
        worst = max(report["dropped"], key=report["dropped"].get, default="unknown")
        raise PipelineError(f"No generated head was good enough (mostly: {worst}); use another photo or driving video.")
    return HeadLabels(labels, folder, dict(report["dropped"]))


def _source(photo: Array, observation: Observation, finder: FaceFinder) -> AlignedFace:
    """The photo's face; hands are looked up in the observation's crop, where they were detected."""
    from pipeline.perceive.detect import as_uint8

    picture = as_uint8(photo)
    found = observation.detections
    if found.face is not None:
        hands = [h for h in (found.left_hand, found.right_hand) if h is not None]
        check_source(as_uint8(observation.image), [found.face], hands, min_pupils=0.0)
    return align_face(picture, check_source(picture, finder.find(picture)), "photo")


def sample_rotations(own: Array, count: int, config: HeadLabelConfig) -> list[Array]:
    """Head rotations: the photo's own for some frames, random ones around the front for the others.

    Args:
        own: (3, 3) head rotation of the photo.
    """
    rng = np.random.default_rng(config.seed)
    own = limited(own, config.max_yaw, config.max_pitch)
    out = []
    for k in range(count):
        yaw, pitch = rng.uniform(-config.yaw, config.yaw), rng.uniform(-config.pitch, config.pitch)
        keep = (k + 1) * config.own_pose % 1 < config.own_pose or config.own_pose >= 1
        out.append(own if keep else turned_by(np.eye(3), yaw, pitch))
    return out


def _generate(
    source: AlignedFace, driving: Sequence[AlignedFace], rotations: Sequence[Array], model: HeadModel, folder: Path,
    tell: Callable[[float], None],
) -> list[tuple[Array, Array]]:  # fmt: skip
    """All frames, (512, 512, 3) uint8 and (512, 512) matte; those on disk are not made again."""
    encoded: Any = None
    frames = []
    for k, (face, rotation) in enumerate(zip(driving, rotations, strict=True)):
        path = folder / "frames" / f"{k:04d}.png"
        frame = load_frame(path)
        if frame is None:
            encoded = model.encode(source) if encoded is None else encoded
            save_frame(path, *model.draw(encoded, face, rotation))
            frame = load_frame(path)
        if frame is None:
            raise PipelineError(f"{path} cannot be read back; check the disk.")
        frames.append(frame)
        tell((k + 1) / len(driving))
    return frames


def _finish(
    source: AlignedFace, frames: Sequence[tuple[Array, Array]], found: Sequence[Array | None],
    driving: Sequence[AlignedFace], rotations: Sequence[Array], observation: Observation, body: BodyModel,
    folder: Path, config: HeadLabelConfig, tell: Progress,
) -> dict[str, Any]:  # fmt: skip
    """Re-track, judge and save; returns the report."""
    seen = [(k, face) for k, face in enumerate(found) if face is not None]
    tracked = retrack(
        [face for _, face in seen], [rotations[k] for k, _ in seen], observation.params, body,
        progress=lambda share: tell("expressions", share),
    )  # fmt: skip
    photo_colours = skin_colours(source.image / np.float32(255), source.face)
    dropped = Counter({"no single face was found": len(frames) - len(seen)})
    rows = []
    for (k, face), result in zip(seen, tracked, strict=True):
        image = frames[k][0].astype(np.float32) / 255
        colours = skin_colours(image, face)
        quality = judge(face, driving[k].face, colours, photo_colours, result.error, limits=config.limits)
        dropped.update(quality.reasons[:1])
        confidence = round(quality.confidence, 4)
        rows.append({"frame": k, "driving": driving[k].origin, "confidence": confidence, **row_of(quality)})
        if quality.accepted:
            matched = match_colours(image, colours, photo_colours)
            save_label(folder / f"{k:04d}.npz", _label(matched, frames[k][1], result, quality, body))
    report = {"version": STAGE_VERSION, "dropped": {k: n for k, n in dropped.items() if n}, "frames": rows}
    save_report(folder, report)
    return report


def _label(image: Array, matte: Array, result: Retracked, quality: Quality, body: BodyModel) -> PseudoLabel:
    """The weight fades out at the neck, so that the label says nothing about the torso; the matte stays whole."""
    seam = seam_mask(body, result.params, result.camera)
    return PseudoLabel(image, matte, result.camera, result.params, "head", quality.confidence, seam)


def _digest(
    source: AlignedFace, observation: Observation, body: BodyModel, driving: Sequence[AlignedFace], model: HeadModel,
    config: HeadLabelConfig,
) -> str:  # fmt: skip
    """Name of the folder: everything that the labels depend on."""
    arrays = [source.image, observation.camera.viewmat, observation.camera.K, *arrays_of(observation.params)]
    arrays += [a for face in driving for a in (face.image, face.face)]
    return digest([STAGE_VERSION, body.name, model.name, dataclasses.asdict(config)], arrays)
