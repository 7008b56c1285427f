"""All labels that a user names for a fit: folders of generated labels, folders of plain pictures, footage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.body import BodyModel
from pipeline.labels.files import load_labels
from pipeline.labels.footage import FootageLabels, footage_labels, picture_labels
from pipeline.types import Observation, PipelineError, PseudoLabel

if TYPE_CHECKING:
    from pipeline.avatar import Avatar

Progress = Callable[[str, float], None]


@dataclass
class Gathered:
    """Labels, and by source name what became of the frames: ``labels`` kept and ``dropped`` by reason."""

    labels: list[PseudoLabel] = field(default_factory=list)
    sources: dict[str, Any] = field(default_factory=dict)

    def take(self, name: str, found: FootageLabels) -> None:
        """Add what was filmed."""
        self.labels += found.labels
        self.sources[name] = found.to_json()


def gather_labels(
    observation: Observation, body: BodyModel, *, folders: Sequence[str | Path] = (),
    footage: Sequence[str | Path] = (), progress: Progress | None = None, plain: Callable[[], Avatar] | None = None,
) -> Gathered:  # fmt: skip
    """Read, or track, everything that is to teach the avatar of a photo.

    Args:
        observation: the photo, understood. body: its body model.
        folders: of labels (what `label` made), or of plain pictures of the person, which are tracked first.
        footage: videos of the person.
        progress: called with a stage name and the share done.
        plain: makes the avatar of the photo alone, with which filmed frames are aligned; called once if there are any.

    Raises:
        PipelineError: a folder with neither labels nor pictures, labels of another photo or body model, or pictures and
            footage that will not do (see :func:`.footage.footage_labels`).
    """
    out = Gathered()
    avatar = cache(plain) if plain else lambda: None
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise PipelineError(f"{folder} is not a folder; name one that `label` made, or one with pictures.")
        if next(folder.glob("[0-9]*.npz"), None) is None:
            out.take(folder.name, picture_labels(folder, observation, body, progress=progress, avatar=avatar()))
        else:
            labels = _generated(folder, observation)
            out.labels += labels
            out.sources[folder.name] = {"labels": len(labels)}
    for video in map(Path, footage):
        out.take(video.name, footage_labels(video, observation, body, progress=progress, avatar=avatar()))
    return out


def open_labels(folders: Sequence[str | Path], observation: Observation) -> list[PseudoLabel]:
    """Read folders of generated labels for the fit of a photo.

    Raises:
        PipelineError: a folder without labels, or labels of another person or body model.
    """
    return [label for folder in folders for label in _generated(Path(folder), observation)]


def _generated(folder: Path, observation: Observation) -> list[PseudoLabel]:
    labels = load_labels(folder)
    if not labels:
        raise PipelineError(f"{folder} holds no labels; name a folder that `label` printed.")
    betas, own = labels[0].params.betas, observation.params.betas
    if betas.shape != own.shape or np.abs(betas - own).max() > 1e-3:
        raise PipelineError(f"The labels in {folder} are of another photo or body model; make them anew.")
    return labels
