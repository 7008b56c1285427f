"""The builder: every video apart from the others, what is done is not done again, and a manifest that says all."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.body.cache import write_atomically
from pipeline.types import MotionClip, PipelineError

from ..clips import save_clip
from ..edit import select
from .scan import Scan, Stretch, scan_video
from .score import TrackedPiece, calm_cuts, score

if TYPE_CHECKING:
    from pipeline.body import BodyModel

FORMAT = 1
MANIFEST, CLIPS, STATE = "manifest.json", "clips", ".state"
MAX_STRETCH = 60.0
"""Seconds tracked in one go; longer stretches are tracked in parts."""
FACTS = ("title", "speaker", "url", "licence")
MAX_FACT, MAX_META_BYTES = 500, 10_000_000
UNKNOWN = "unknown"

Progress = Callable[[str, float], None]
Scanner = Callable[[Path, float, "Progress | None"], Scan]
Tracker = Callable[[Path, Stretch], TrackedPiece]


@dataclass(frozen=True)
class BuildSettings:
    """Length of the clips in seconds, and the lowest score that is kept, 0..1."""

    min_seconds: float = 6.0
    max_seconds: float = 12.0
    min_score: float = 0.3

    def check(self) -> None:
        """Raises :class:`PipelineError` for lengths or a score that make no sense."""
        if not 0.5 <= self.min_seconds <= self.max_seconds / 2 <= MAX_STRETCH / 2:
            raise PipelineError(
                f"Clips of {self.min_seconds:g} to {self.max_seconds:g} seconds cannot be cut; the shortest goes from "
                f"0.5 s to half of the longest, and the longest to {MAX_STRETCH:g} s."
            )
        if not 0.0 <= self.min_score <= 1.0:
            raise PipelineError(f"The lowest score is {self.min_score:g}, it must be 0 to 1.")


@dataclass(frozen=True)
class BuildResult:
    """What :func:`build` made: the manifest's path, how many clips it lists, and why videos failed, by file name."""

    manifest: Path
    clips: int
    failures: dict[str, str]


def build(
    videos: Sequence[str | Path],
    out: str | Path,
    *,
    facts: str | Path | None = None,
    settings: BuildSettings | None = None,
    body: BodyModel | None = None,
    scan: Scanner = scan_video,
    track: Tracker | None = None,
    progress: Progress | None = None,
) -> BuildResult:
    """Turn videos of speakers into a folder of motion clips.

    A video that fails is listed with its reason and stops nothing. What was finished in an earlier run with the same
    settings is kept as long as the clips' checksums are right.

    Args:
        videos: files.
        out: folder: ``manifest.json``, ``clips/*.npz``, and ``.state/`` for going on after an interruption.
        facts: JSON file of ``{"file name": {"title": ..., "speaker": ..., "url": ..., "licence": ...}}``; the entry
            ``"*"`` holds for all. Without it source and licence are recorded as unknown.
        settings: lengths and lowest score.
        body: body model for tracking; the machine's default when absent.
        scan, track: the steps that look at pixels, here to be exchanged.
        progress: called with a stage name and the share done.

    Raises:
        PipelineError: bad settings or facts, no video, or a folder that cannot be written.
    """
    settings = settings or BuildSettings()
    settings.check()
    known = read_facts(facts)
    if not videos:
        raise PipelineError("No video was given; name one or more video files.")
    out, tell = Path(out), progress or (lambda stage, share: None)
    worker = _Worker(out, settings, known, scan, track or _tracker(body))
    records = []
    for i, video in enumerate(videos):
        name = Path(video).name
        tell(f"{i + 1}/{len(videos)} {name}"[:24], i / len(videos))
        records.append(worker.process(Path(video), tell))
    path = _write_manifest(out, settings, records)
    failures = {r["file"]: r["failed"] for r in records if r.get("failed")}
    return BuildResult(path, sum(len(r["clips"]) for r in records), failures)


def read_facts(path: str | Path | None) -> dict[str, dict[str, str]]:
    """What is known about the videos, by file name.

    Raises:
        PipelineError: no such file, or not of that form.
    """
    if path is None:
        return {}
    path = Path(path)
    try:
        if path.stat().st_size > MAX_META_BYTES:
            raise PipelineError(f"{path.name} is larger than 10 MB; give a JSON file of titles and licences.")
        data = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise PipelineError(f"{path.name} cannot be read ({error.strerror}); check the path of --manifest.") from error
    except (ValueError, RecursionError) as error:
        raise PipelineError(f"{path.name} is not valid JSON; correct it.") from error
    if not isinstance(data, dict) or not all(isinstance(v, dict) for v in data.values()):
        raise PipelineError(f'{path.name} must hold {{"file name": {{"title": ..., "url": ..., "licence": ...}}}}.')
    return {
        str(name): {k: str(v)[:MAX_FACT] for k, v in entry.items() if k in FACTS and isinstance(v, str)}
        for name, entry in data.items()
    }


class _Worker:
    """Processes one video after the other into a folder."""

    def __init__(
        self, out: Path, settings: BuildSettings, known: dict[str, dict[str, str]], scan: Scanner, track: Tracker
    ) -> None:
        self.out, self.settings, self.known, self.scan, self.track = out, settings, known, scan, track

    def process(self, video: Path, tell: Progress) -> dict[str, Any]:
        """The video's record for the manifest; ``failed`` in it says why it could not be used."""
        record: dict[str, Any] = {"file": video.name, "clips": []}
        try:
            digest = sha256_of(video)
            state = self.out / STATE / f"{digest[:24]}.json"
            earlier = self._finished(state, video)
            if earlier is not None:
                return earlier
            record |= {"sha256": digest, "source": self._source(video)}
            self._make(video, record, tell)
            write_atomically(state, lambda p: p.write_text(json.dumps(self._stamped(record)), "utf-8") and None)
        except PipelineError as error:
            record["failed"] = str(error)
        except OSError as error:
            record["failed"] = f"It cannot be read or its clips cannot be written ({error.strerror})."
        except Exception as error:  # one odd video must not cost a night's work on the others
            record["failed"] = f"Something unexpected went wrong ({type(error).__name__}: {error})."
        return record

    def _source(self, video: Path) -> dict[str, str]:
        return {"licence": UNKNOWN, **self.known.get("*", {}), **self.known.get(video.name, {})}

    def _stamped(self, record: dict[str, Any]) -> dict[str, Any]:
        return {"format": FORMAT, "settings": asdict(self.settings), "record": record}

    def _finished(self, state: Path, video: Path) -> dict[str, Any] | None:
        """The record of an earlier run, if it was made in the same way and its clips are still whole."""
        try:
            data = json.loads(state.read_text("utf-8"))
            record = data["record"]
            same = {**data, "record": None} == {**self._stamped({}), "record": None}
            whole = all(sha256_of(self.out / c["file"]) == c["sha256"] for c in record["clips"])
            same = same and record["file"] == video.name and record["source"] == self._source(video)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return record if same and whole else None

    def _make(self, video: Path, record: dict[str, Any], tell: Progress) -> None:
        scan = self.scan(video, self.settings.min_seconds, tell)
        record |= {"seconds": round(scan.seconds, 3), "cuts": len(scan.cuts), "rejected": []}
        for stretch in scan.stretches:
            if stretch.reason:
                _reject(record, stretch, stretch.reason)
        good = [part for stretch in scan.good() for part in _parts(stretch)]
        for k, stretch in enumerate(good):
            tell("tracking", k / len(good))
            try:
                piece = self.track(video, stretch)
            except PipelineError as error:
                _reject(record, stretch, str(error))
                continue
            self._cut(video, stretch, piece, record)

    def _cut(self, video: Path, stretch: Stretch, piece: TrackedPiece, record: dict[str, Any]) -> None:
        for part in calm_cuts(piece.clip, self.settings.min_seconds, self.settings.max_seconds):
            start, end = (stretch.start + f / piece.clip.fps for f in (part.start, part.stop))
            marks = score(piece, part)
            if marks["score"] < self.settings.min_score:
                _reject(record, Stretch(start, end), f"score {marks['score']:.2f}")
                continue
            name = f"{_slug(video.stem)}-{record['sha256'][:6]}-{round(start * 10):05d}"
            clip = select(piece.clip, part)
            clip = clip.replace(transl=clip.transl - clip.transl[0], meta=_meta(name, record, start, end, marks))
            path = self.out / CLIPS / f"{name}.npz"
            path.parent.mkdir(parents=True, exist_ok=True)
            save_clip(clip, path)
            record["clips"].append(_entry(path, clip, start, end, marks))


def _reject(record: dict[str, Any], stretch: Stretch, reason: str) -> None:
    record["rejected"].append({"start": round(stretch.start, 2), "end": round(stretch.end, 2), "reason": reason})


def _parts(stretch: Stretch) -> list[Stretch]:
    """A long stretch in equal parts of at most a minute."""
    count = max(1, -(-int(stretch.seconds * 1000) // int(MAX_STRETCH * 1000)))
    step = stretch.seconds / count
    return [Stretch(stretch.start + k * step, stretch.start + (k + 1) * step) for k in range(count)]


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40] or "video"


def _meta(name: str, record: dict[str, Any], start: float, end: float, marks: dict[str, float]) -> dict[str, Any]:
    source = record["source"]
    return {
        "name": name, "title": source.get("title", name), "description": "tracked from a talk", "tags": ["talk"],
        "source": source.get("url", record["file"]), "speaker": source.get("speaker", UNKNOWN),
        "licence": source["licence"], "video": record["file"], "start": round(start, 3), "end": round(end, 3),
        "score": marks["score"],
    }  # fmt: skip


def _entry(path: Path, clip: MotionClip, start: float, end: float, marks: dict[str, float]) -> dict[str, Any]:
    return {
        "name": path.stem, "file": f"{CLIPS}/{path.name}", "sha256": sha256_of(path), "title": clip.meta["title"],
        "frames": len(clip), "fps": clip.fps, "seconds": round(clip.duration, 3), "start": round(start, 3),
        "end": round(end, 3), **marks, "source": clip.meta["source"], "licence": clip.meta["licence"],
    }  # fmt: skip


def _write_manifest(out: Path, settings: BuildSettings, records: list[dict[str, Any]]) -> Path:
    """All clips in one list, and the videos with what became of them."""
    clips = [{**clip, "video": r["file"]} for r in records for clip in r["clips"]]
    videos = [{k: v for k, v in r.items() if k != "clips"} | {"clips": len(r["clips"])} for r in records]
    data = {"format": FORMAT, "settings": asdict(settings), "clips": clips, "videos": videos}
    path = out / MANIFEST
    write_atomically(path, lambda p: p.write_text(json.dumps(data, indent=1, ensure_ascii=False), "utf-8") and None)
    return path


def sha256_of(path: Path) -> str:
    """Checksum of a file, hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _tracker(body: BodyModel | None) -> Tracker:
    """The real tracking of a stretch."""

    def track(video: Path, stretch: Stretch) -> TrackedPiece:
        import numpy as np

        from pipeline.body import load_body
        from pipeline.perceive.photo import person_height_pixels
        from pipeline.perceive.report import part_errors
        from pipeline.perceive.track import PLAIN_SIDE, detect_video, track_video

        from ..tracked import Seen, finish

        nonlocal body
        body = body or load_body()
        found = detect_video(video, start=stretch.start, max_seconds=stretch.seconds, max_side=PLAIN_SIDE)
        tracked = track_video(found, body, dense=False)
        seen = Seen(**tracked.seen())
        height = person_height_pixels(body, tracked.registration, tracked.camera)
        errors = np.stack(list(part_errors(tracked.registration, tracked.targets, height).values()))
        filled = np.nan_to_num(errors).sum(0) / np.maximum(np.isfinite(errors).sum(0), 1)
        errors = np.where(np.isfinite(errors).any(0), filled, np.nan)
        return TrackedPiece(finish(tracked.clip(video.stem), seen, tracked.cuts), seen, errors)

    return track
