"""What the app needs beyond the verbs: avatars behind ids that expire, work that can be stopped, bounded disk."""

from __future__ import annotations

import contextlib
import queue
import re
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.console import Progress
from pipeline.types import PipelineError

if TYPE_CHECKING:
    from pipeline.avatar import Avatar

T = TypeVar("T")

TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")
"""``secrets.token_urlsafe(32)``: 256 random bits, nothing that means anything in a path."""
EXPIRED = "This avatar is not here: the id is wrong, or it was forgotten after an hour; make it again from the photo."


class Stopped(BaseException):
    """Raised inside a worker whose result nobody waits for any more; no ``except Exception`` swallows it."""


class Store:
    """Avatars and finished files on disk, each behind an unguessable name, forgotten after ``seconds``.

    Args:
        folder: where; None makes a temporary folder.
        seconds: how long anything is kept after its last use.
        limit: how many avatars are kept; the longest unused goes first.
    """

    def __init__(self, folder: Path | None = None, seconds: float = 3600.0, limit: int = 100) -> None:
        self.folder = folder or Path(tempfile.mkdtemp(prefix="one-photo-"))
        self.seconds, self.limit = seconds, limit
        for name in ("avatars", "files"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)

    def add(self, avatar: Avatar) -> str:
        """Keep an avatar; returns its id."""
        self.sweep(room_for=1)
        token = secrets.token_urlsafe(32)
        avatar.save(self.folder / "avatars" / token)
        return token

    def get(self, token: str) -> Avatar:
        """The avatar behind an id.

        Raises:
            PipelineError: no such id, or no longer.
        """
        self.sweep()
        path = self.folder / "avatars" / token if TOKEN.fullmatch(token or "") else None
        if path is None or not path.is_dir():
            raise PipelineError(EXPIRED)
        with contextlib.suppress(OSError):
            path.touch()
        from pipeline.api import load_avatar

        return load_avatar(path)

    def new_file(self, suffix: str) -> Path:
        """A fresh path for a result; the caller writes it."""
        self.sweep()
        return self.folder / "files" / (secrets.token_urlsafe(32) + suffix)

    def sweep(self, room_for: int = 0) -> None:
        """Delete what is too old, and the longest unused avatars above the limit."""
        now = time.time()
        for kind in ("avatars", "files"):
            aged = []
            for path in (self.folder / kind).iterdir():
                with contextlib.suppress(FileNotFoundError):
                    aged.append((path.stat().st_mtime, path))
            aged.sort()
            surplus = max(0, len(aged) + room_for - self.limit) if kind == "avatars" else 0
            for i, (used, path) in enumerate(aged):
                if i < surplus or now - used > self.seconds:
                    _remove(path)

    def close(self) -> None:
        """Delete everything."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def in_steps(
    work: Callable[[Progress], T], deadline: float = 900.0, pause: float = 0.25
) -> Generator[tuple[str, float], None, T]:
    """Run ``work`` on a thread and yield its progress, so that a caller who goes away stops it.

    Args:
        work: a function of a progress callback; its return value is the generator's.
        deadline: seconds after which it is stopped.
        pause: least seconds between two yields.

    Yields:
        (stage, share), the newest.

    Raises:
        PipelineError: out of time; and whatever ``work`` raises.
    """
    news: queue.Queue[tuple[str, Any]] = queue.Queue()
    stop = threading.Event()

    def tell(stage: str, share: float) -> None:
        if stop.is_set():
            raise Stopped
        news.put(("step", (stage, float(share))))

    def run() -> None:
        try:
            news.put(("done", work(tell)))
        except Stopped:
            pass
        except BaseException as error:
            news.put(("error", error))

    thread = threading.Thread(target=run, name="work", daemon=True)
    thread.start()
    end = time.monotonic() + deadline
    try:
        while True:
            kind, value = _newest(news, end, pause)
            if kind == "done":
                return value
            if kind == "error":
                raise value
            yield value
    finally:
        stop.set()


def _newest(news: queue.Queue[tuple[str, Any]], end: float, pause: float) -> tuple[str, Any]:
    """The last step within ``pause`` seconds, or at once the end of the work."""
    latest: tuple[str, Any] | None = None
    until = time.monotonic() + pause
    while True:
        now = time.monotonic()
        if now > end:
            raise PipelineError("This took too long and was stopped; try a smaller quality or a shorter motion.")
        if latest is not None and now >= until:
            return latest
        with contextlib.suppress(queue.Empty):
            latest = news.get(timeout=max(0.01, min(until, end) - now) if now < until else min(1.0, end - now + 0.01))
            if latest[0] != "step":
                return latest
