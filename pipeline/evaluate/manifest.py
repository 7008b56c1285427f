"""Lists of subjects to evaluate: a JSON or YAML file, or the folder layout of a public data set."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.types import PipelineError

VIDEO_SUFFIXES = {".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v"}
IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
LAYOUTS = ("actorshq", "casual-conversations")
FIELDS = {"name", "photo", "driving", "fps", "labels"}
MAX_BYTES = 4 << 20


@dataclass(frozen=True)
class Subject:
    """One person of a table.

    Attributes:
        name: for people, unique.
        driving: a video, or a folder of frames in the order of their names.
        photo: a frame of the same camera; None takes the first frontal frame of ``driving``.
        fps: of a folder of frames; videos know theirs.
        labels: folders of labels of this photo, for the full method.
    """

    name: str
    driving: Path
    photo: Path | None = None
    fps: float = 30.0
    labels: tuple[Path, ...] = ()


def read_manifest(path: str | Path) -> list[Subject]:
    """Read a manifest: ``subjects``, a list of ``name``, ``driving`` and optionally ``photo``, ``fps``, ``labels``.

    Paths are taken from the manifest's own folder. A folder in place of a file is read as a data set, see
    :func:`import_layout`.

    Raises:
        PipelineError: not a readable list of subjects, an unknown field, or a file that is not there.
    """
    path = Path(path)
    if path.is_dir():
        return import_layout(path)
    content = _load(path)
    rows = content.get("subjects") if isinstance(content, Mapping) else None
    if not isinstance(rows, list) or not rows:
        raise PipelineError(f"{path.name} has no list of subjects; begin it with `subjects:` and one entry per person.")
    subjects = [_subject(row, i, path) for i, row in enumerate(rows)]
    names = [s.name for s in subjects]
    double = next((n for n in names if names.count(n) > 1), None)
    if double is not None:
        raise PipelineError(f"{path.name} names the subject '{double}' twice; give each one a name of its own.")
    return subjects


def _load(path: Path) -> Any:
    if path.suffix not in (".json", ".yaml", ".yml"):
        raise PipelineError(f"The manifest {path.name} is neither .json nor .yaml; see docs/evaluate.md.")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise PipelineError(f"The manifest {path.name} is larger than a list of subjects can be.")
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PipelineError(f"The manifest {path} cannot be read; check the path.") from error
    import yaml

    try:
        return json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        where = getattr(error, "problem_mark", None)
        line = getattr(error, "lineno", where.line + 1 if where else 1)
        raise PipelineError(f"The manifest {path.name} is not valid near line {line}; correct it.") from error


def _subject(row: Any, index: int, manifest: Path) -> Subject:
    where = f"Subject {index + 1} of {manifest.name}"
    if not isinstance(row, Mapping) or "name" not in row or "driving" not in row:
        raise PipelineError(f"{where} needs `name` and `driving`.")
    odd = sorted(str(key) for key in row if key not in FIELDS)
    if odd:
        raise PipelineError(f"{where} has the unknown field '{odd[0]}'; known are {', '.join(sorted(FIELDS))}.")
    fps, labels = row.get("fps", 30.0), row.get("labels", [])
    if isinstance(fps, bool) or not isinstance(fps, (int, float)) or not 1 <= fps <= 240:
        raise PipelineError(f"{where} has no usable `fps`; give a number from 1 to 240.")
    labels = [labels] if isinstance(labels, str) else labels
    if not isinstance(labels, list):
        raise PipelineError(f"{where}: `labels` is a folder or a list of folders.")
    photo = row.get("photo")
    return Subject(
        name=str(row["name"]),
        driving=_existing(manifest, row["driving"], where),
        photo=None if photo is None else _existing(manifest, photo, where),
        fps=float(fps),
        labels=tuple(_existing(manifest, label, where) for label in labels),
    )


def _existing(manifest: Path, name: Any, where: str) -> Path:
    path = manifest.parent / str(name)
    if "\0" in str(name) or not path.exists():
        raise PipelineError(f"{where} names {name}, which is not there; paths are taken from the manifest's folder.")
    return path


def import_layout(folder: Path) -> list[Subject]:
    """Subjects of a data set on disk, recognised by its layout.

    * ActorsHQ: ``ActorNN/SequenceN/<scale>/rgbs/CamNNN/*.jpg`` (one folder of frames per camera). Of each sequence the
      first camera, of the largest scale, at the data set's 25 frames per second.
    * Casual Conversations: videos below ``CasualConversations*/<subject>/`` (or ``<subject>/`` right below), the first
      of each subject.

    Raises:
        PipelineError: neither layout is there.
    """
    subjects = _actors_hq(folder) or _casual_conversations(folder)
    if not subjects:
        raise PipelineError(
            f"{folder} has neither the layout of ActorsHQ (Actor01/Sequence1/4x/rgbs/Cam001/...) nor that of Casual "
            "Conversations (a folder of videos per subject); write a manifest instead."
        )
    return subjects


ACTORS_HQ_FPS = 25.0


def _actors_hq(folder: Path) -> list[Subject]:
    out = []
    for sequence in sorted(p for p in folder.glob("Actor*/Sequence*") if p.is_dir()):
        scales = sorted((p for p in sequence.iterdir() if (p / "rgbs").is_dir()), key=_scale)
        cameras = sorted(p for p in (scales[0] / "rgbs").iterdir() if p.is_dir()) if scales else []
        usable = next((c for c in cameras if any(f.suffix.lower() in IMAGE_SUFFIXES for f in c.iterdir())), None)
        if usable is not None:
            out.append(Subject(f"{sequence.parent.name}-{sequence.name}", usable, fps=ACTORS_HQ_FPS))
    return out


def _scale(path: Path) -> float:
    """"1x" is full size, "4x" a quarter: smaller numbers first."""
    number = path.name.removesuffix("x")
    return float(number) if number.isdigit() else float("inf")


def _casual_conversations(folder: Path) -> list[Subject]:
    tops = sorted(p for p in folder.glob("CasualConversations*") if p.is_dir()) or [folder]
    out = []
    for person in sorted(p for top in tops for p in top.iterdir() if p.is_dir()):
        videos = sorted(p for p in person.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES and p.is_file())
        if videos:
            out.append(Subject(person.name, videos[0]))
    return out
