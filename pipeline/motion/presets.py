"""The motions that come with the project, and the one door by which a motion is named."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..types import MotionClip, PipelineError
from .clips import load_clip

MAX_PRESETS = 500
PREFIX = "ted:"
"""Names of the configured set's clips begin with this (:mod:`pipeline.motion.clipset`)."""


@dataclass(frozen=True)
class PresetInfo:
    """One line of the preset list.

    Attributes:
        name: what :func:`get_motion` takes.
        title, description: for people.
        tags: words to search by.
        duration: seconds.
        fps: frames per second.
        source, licence: where it comes from ("authored", "CC0-1.0").
        path: its file.
    """

    name: str
    title: str
    description: str
    tags: tuple[str, ...]
    duration: float
    fps: float
    source: str
    licence: str
    path: Path


def motions_folder() -> Path:
    """The repository's top-level ``motions/`` folder."""
    return Path(__file__).resolve().parents[2] / "motions"


def list_presets(folder: Path | None = None) -> list[PresetInfo]:
    """All presets, by name.

    Args:
        folder: where the ``.npz`` files are; None takes the repository's ``motions/``.

    Raises:
        PipelineError: a file in the folder is not a valid clip.
    """
    folder = motions_folder() if folder is None else folder
    paths = sorted(folder.glob("*.npz"))[:MAX_PRESETS] if folder.is_dir() else []
    return [_info(path) for path in paths]


def _info(path: Path) -> PresetInfo:
    clip = load_clip(path)
    meta = clip.meta
    return PresetInfo(
        name=path.stem,
        title=str(meta.get("title", path.stem)),
        description=str(meta.get("description", "")),
        tags=tuple(str(t) for t in meta.get("tags", ()) if isinstance(t, str)),
        duration=clip.duration,
        fps=clip.fps,
        source=str(meta.get("source", "unknown")),
        licence=str(meta.get("licence", "unknown")),
        path=path,
    )


def get_motion(name_or_path: str | Path) -> MotionClip:
    """A motion by preset name or by file.

    Args:
        name_or_path: name of a preset (no folder, no ending); ``ted:NAME`` for a clip of the configured set
            (:mod:`pipeline.motion.clipset`); or a motion file: this project's ``.npz``, AMASS, BEAT2 or TalkSHOW (see
            :mod:`pipeline.motion.readers`).

    Returns:
        The checked clip.

    Raises:
        PipelineError: unknown name, or a file that cannot be used.
    """
    text = str(name_or_path)
    if not text or "\0" in text:
        raise PipelineError("No motion was given: name a preset or a motion file.")
    if text.startswith(PREFIX):
        from .clipset import get_clip

        return get_clip(text.removeprefix(PREFIX))
    preset = motions_folder() / f"{text}.npz"
    if Path(text).name == text and Path(text).suffix == "" and preset.is_file():
        return load_clip(preset)
    path = Path(text)
    if path.is_file():
        from .readers import read_motion

        return read_motion(path)
    if path.suffix.lower() in (".npz", ".npy") or len(path.parts) > 1:
        raise PipelineError(f"The motion file {path.name} does not exist: check the path.")
    known = ", ".join(p.stem for p in sorted(motions_folder().glob("*.npz")))
    raise PipelineError(f"There is no motion named {text}: choose one of {known}, or give a motion file.")
