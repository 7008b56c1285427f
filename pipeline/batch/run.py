"""A batch from manifest to files: what is there already is skipped, what fails is listed."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.batch import work
from pipeline.batch.manifest import Job, file_hash
from pipeline.batch.runners import Outcome, Runner, Task
from pipeline.media import replacing
from pipeline.types import PipelineError

DONE, SKIPPED, FAILED = "done", "skipped", "failed"
SUMMARY = "summary.json"


@dataclass
class Entry:
    """One line of the summary: a job, what became of it, its video below the batch's folder, and why it failed."""

    job: Job
    avatar: str = ""
    video: str = ""
    status: str = ""
    error: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "photo": str(self.job.photo), "motion": self.job.motion, "settings": self.job.settings,
            "status": self.status, "video": f"videos/{self.video}" if self.video else "",
            "avatar": f"avatars/{self.avatar}.avatar" if self.avatar else "", "error": self.error,
        }  # fmt: skip

    def fail(self, error: str) -> None:
        """Put it on the list of failures."""
        self.status, self.error = FAILED, error


@dataclass(frozen=True)
class Summary:
    """What became of a batch."""

    entries: list[Entry] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        """Number of videos done, skipped and failed."""
        count = Counter(entry.status for entry in self.entries)
        return {status: count[status] for status in (DONE, SKIPPED, FAILED)}

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**self.counts, "jobs": [entry.to_json() for entry in self.entries]}


def run_batch(
    jobs: list[Job], out: Path, runner: Runner, progress: Callable[[str, float], None] | None = None
) -> Summary:
    """Make every video that is not there yet, and write ``summary.json``.

    Args:
        jobs: what to make.
        out: folder; ``videos/`` and ``avatars/`` below it hold files that are named by what went into them.
        runner: where the work is done.
        progress: called with a stage and the share of it that is done.

    Raises:
        PipelineError: ``out`` cannot be written.
    """
    tell = progress or (lambda stage, share: None)
    try:
        for name in ("avatars", "videos"):
            (out / name).mkdir(parents=True, exist_ok=True)
        entries = _entries(jobs, out)
        _fit_all(entries, out, runner, tell)
        _animate_all(entries, out, runner, tell)
        summary = Summary(entries)
        with replacing(out / SUMMARY) as temporary:
            temporary.write_text(json.dumps(summary.to_json(), indent=1), "utf-8")
    except OSError as error:
        raise PipelineError(f"'{out}' cannot be written ({error.strerror}); choose another folder.") from error
    return summary


def _entries(jobs: list[Job], out: Path) -> list[Entry]:
    """The jobs with the names of their files; what is there is skipped, what cannot be read has failed."""
    import pipeline

    body, entries = _body(), []
    for job in jobs:
        entry = Entry(job)
        entries.append(entry)
        try:
            entry.avatar = job.avatar_id(pipeline.__version__, body)
            entry.video = job.video_id(entry.avatar, _motion_hash(job.motion)) + job.settings["format"]
        except OSError as error:
            entry.fail(f"'{error.filename}' cannot be read ({error.strerror}); check the path.")
            continue
        if (out / "videos" / entry.video).is_file():
            entry.status = SKIPPED
    return entries


def _body() -> str:
    """What tells the body models of this project apart: the licensed file, or the open body."""
    path = os.environ.get("SMPLX_MODEL")
    return file_hash(Path(path)) if path and Path(path).is_file() else "open"


def _motion_hash(motion: str) -> str:
    """Of the file's bytes; of a preset's too, as a preset may be improved under its name."""
    from pipeline.motion.presets import motions_folder

    path = Path(motion)
    if path.is_absolute():
        return file_hash(path)
    preset = motions_folder() / f"{path.name}.npz"
    return file_hash(preset) if preset.is_file() else hashlib.sha256(motion.encode()).hexdigest()


def _fit_all(entries: list[Entry], out: Path, runner: Runner, tell: Callable[[str, float], None]) -> None:
    """Make the avatars that some video still needs."""
    by_avatar: dict[str, list[Entry]] = {}
    for entry in entries:
        if not entry.status:
            by_avatar.setdefault(entry.avatar, []).append(entry)
    missing = {k: v for k, v in by_avatar.items() if not _avatar_path(out, k).is_file()}

    def take(outcome: Outcome) -> None:
        if outcome.error:
            for entry in missing[outcome.key]:
                entry.fail(outcome.error)
        else:
            _write(_avatar_path(out, outcome.key), outcome.value)

    tasks = [Task(key, work.fit, _fit_arguments(group[0].job)) for key, group in missing.items()]
    _run(tasks, runner, take, lambda share: tell("making avatars", share))


def _animate_all(entries: list[Entry], out: Path, runner: Runner, tell: Callable[[str, float], None]) -> None:
    """Make the videos; two jobs with the same outcome share one."""
    by_video: dict[str, list[Entry]] = {}
    for entry in entries:
        if not entry.status:
            by_video.setdefault(entry.video, []).append(entry)

    def take(outcome: Outcome) -> None:
        for entry in by_video[outcome.key]:
            if outcome.error:
                entry.fail(outcome.error)
            else:
                entry.status = DONE
        if not outcome.error:
            video, sidecar = outcome.value
            if sidecar:
                _write(out / "videos" / f"{outcome.key}.c2pa", sidecar)
            _write(out / "videos" / outcome.key, video)

    tasks = [Task(key, work.animate, _animate_arguments(group[0], out)) for key, group in by_video.items()]
    _run(tasks, runner, take, lambda share: tell("making videos", share))


def _run(tasks: list[Task], runner: Runner, take: Callable[[Outcome], None], tell: Callable[[float], None]) -> None:
    for i, outcome in enumerate(runner.run(tasks), 1):
        take(outcome)
        tell(i / len(tasks))


def _fit_arguments(job: Job) -> Callable[[], tuple[Any, ...]]:
    settings = {k: job.settings[k] for k in ("quality", "seed")}
    return lambda: (job.photo.read_bytes(), job.photo.suffix.lower(), job.consent, settings)


def _animate_arguments(entry: Entry, out: Path) -> Callable[[], tuple[Any, ...]]:
    def read() -> tuple[Any, ...]:
        path = Path(entry.job.motion)
        motion = path.read_bytes() if path.is_absolute() and path.is_file() else entry.job.motion
        suffix = path.suffix.lower() if isinstance(motion, bytes) else ""
        return _avatar_path(out, entry.avatar).read_bytes(), motion, suffix, entry.job.settings

    return read


def _avatar_path(out: Path, name: str) -> Path:
    return out / "avatars" / f"{name}.avatar"


def _write(path: Path, data: bytes) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(data)
