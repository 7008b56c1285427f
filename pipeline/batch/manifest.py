"""The list of what is to be made: JSON or CSV."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.animation import View
from pipeline.provenance import require_consent
from pipeline.types import PipelineError

MAX_BYTES, MAX_JOBS = 16 << 20, 100_000
FORMATS = (".mp4", ".webm")
DEFAULTS: dict[str, Any] = {
    "quality": "default", "seed": 0, "amplitude": 1.0, "yaw": 0.0, "pitch": 0.0, "orbit": 0.0,
    "background": "photo", "size": "576x1024", "fps": 30.0, "label": False, "format": ".mp4",
}  # fmt: skip
"""Every setting of a job beside photo, motion and consent, and its type."""
FIT_SETTINGS = ("quality", "seed")


@dataclass(frozen=True)
class Job:
    """One video.

    Attributes:
        photo, motion: a file, and a preset's name or a file.
        consent: whose photo it is.
        settings: all of :data:`DEFAULTS`.
    """

    photo: Path
    motion: str
    consent: str
    settings: dict[str, Any] = field(default_factory=dict)

    def view(self) -> View:
        """How the video looks."""
        s = self.settings
        width, _, height = s["size"].partition("x")
        look = (s["yaw"], s["pitch"], s["orbit"], s["background"], (int(width), int(height)), s["fps"], s["label"])
        return View(*look)

    def avatar_id(self, version: str, body: str) -> str:
        """Name of the avatar: a hash of all that goes into it.

        Raises:
            OSError: the photo cannot be read.
        """
        fit = {k: self.settings[k] for k in FIT_SETTINGS}
        return _hash([version, body, file_hash(self.photo), self.consent, fit])

    def video_id(self, avatar: str, motion_hash: str) -> str:
        """Name of the video: a hash of the avatar, the motion and the settings."""
        return _hash([avatar, motion_hash, {k: v for k, v in self.settings.items() if k not in FIT_SETTINGS}])


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:20]


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_manifest(path: Path) -> list[Job]:
    """Read a manifest; relative paths are relative to it.

    CSV has one video per row and the columns photo, motion, consent and any of :data:`DEFAULTS`. JSON is a list of
    such rows, or an object: ``jobs`` (such rows), ``photos`` x ``motions`` (every photo, a row without motion, makes
    every motion), ``defaults`` (for all).

    Raises:
        PipelineError: not readable, a row that asks for something impossible, or no consent; names the row.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise PipelineError(f"The manifest '{path.name}' is larger than 16 MB; split it.")
        text = path.read_text("utf-8-sig")
        rows = list(csv.DictReader(io.StringIO(text))) if path.suffix.lower() == ".csv" else _json_rows(text)
    except OSError as error:
        raise PipelineError(f"The manifest '{path}' cannot be read ({error.strerror}); check the path.") from error
    except (ValueError, csv.Error, RecursionError) as error:
        raise PipelineError(f"The manifest '{path.name}' is not readable JSON or CSV ({error}); correct it.") from error
    if not 1 <= len(rows) <= MAX_JOBS:
        raise PipelineError(f"The manifest '{path.name}' asks for {len(rows)} videos; 1 to {MAX_JOBS} are possible.")
    return unique(_job(row, n, path.parent) for n, row in enumerate(rows, 1))


def _json_rows(text: str) -> list[dict[str, Any]]:
    value = json.loads(text)
    if isinstance(value, list):
        value = {"jobs": value}
    if not isinstance(value, dict) or set(value) - {"jobs", "photos", "motions", "defaults"}:
        raise ValueError("expected a list of jobs, or an object of jobs, photos, motions, defaults")
    parts = {name: value.get(name, []) for name in ("jobs", "photos", "motions")}
    defaults = value.get("defaults", {})
    if not all(isinstance(part, list) for part in parts.values()) or not isinstance(defaults, dict):
        raise ValueError("jobs, photos and motions are lists, defaults is an object")
    rows = [*parts["jobs"]]
    if len(parts["photos"]) * len(parts["motions"]) > MAX_JOBS:
        raise ValueError(f"photos times motions is more than {MAX_JOBS}")
    for photo in parts["photos"]:
        for motion in parts["motions"]:
            rows.append({**(photo if isinstance(photo, dict) else {"photo": photo}), "motion": motion})
    return [{**defaults, **row} if isinstance(row, dict) else row for row in rows]


def _job(row: Any, number: int, folder: Path) -> Job:
    """A checked job.

    Raises:
        PipelineError: with the number of the row.
    """
    try:
        if not isinstance(row, dict):
            raise PipelineError("a job is a set of named values")
        given = {k: v for k, v in row.items() if v not in (None, "")}
        unknown = sorted(str(k) for k in set(given) - {"photo", "motion", "consent", *DEFAULTS})
        if unknown:
            raise PipelineError(f"there is no setting '{unknown[0][:40]}'")
        for name in ("photo", "motion"):
            if not isinstance(given.get(name), str) or "\0" in given[name]:
                raise PipelineError(f"'{name}' is missing")
        consent = require_consent(str(given.get("consent", ""))).basis
        settings = {k: _as(given.get(k, default), default, k) for k, default in DEFAULTS.items()}
        motion = given["motion"]
        if (folder / motion).is_file() or Path(motion).suffix or len(Path(motion).parts) > 1:  # else a preset's name
            motion = str((folder / motion).resolve())
        job = Job((folder / given["photo"]).resolve(), motion, consent, settings)
        _check(job)
        return job
    except (PipelineError, OSError, ValueError) as error:
        raise PipelineError(f"Row {number} of the manifest: {error}") from error


def _as(value: Any, default: Any, name: str) -> Any:
    """A value as the type of its default; CSV has only text."""
    if isinstance(default, bool):
        known = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if str(value).strip().lower() in known:
            return known[str(value).strip().lower()]
    elif isinstance(value, (str, type(default))) or (isinstance(default, float) and type(value) is int):
        try:
            return type(default)(value)
        except ValueError:
            pass
    raise PipelineError(f"'{name}' cannot be {str(value)[:40]!r}")


def _check(job: Job) -> None:
    from pipeline.api import QUALITIES

    if job.settings["quality"] not in QUALITIES:
        raise PipelineError(f"the quality is one of {', '.join(QUALITIES)}")
    if job.settings["format"] not in FORMATS:
        raise PipelineError(f"the format is one of {', '.join(FORMATS)}")
    width, _, height = job.settings["size"].partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise PipelineError("the size is WIDTHxHEIGHT, for example 576x1024")
    if not 0 <= job.settings["amplitude"] <= 1.5:
        raise PipelineError("the amplitude goes from 0 to 1.5")
    job.view().check(f"video{job.settings['format']}")


def unique(jobs: Iterable[Job]) -> list[Job]:
    """Each job once, in order."""
    return list({json.dumps([str(j.photo), j.motion, j.consent, j.settings], sort_keys=True): j for j in jobs}.values())
