"""What the app needs beyond the verbs: avatars behind ids that expire, work that can be stopped, bounded disk."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import queue
import re
import secrets
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TypeVar

from pipeline import heap
from pipeline.types import PipelineError

if TYPE_CHECKING:
    from pipeline.avatar import Avatar

T = TypeVar("T")

TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")
"""``secrets.token_urlsafe(32)``: 256 random bits, nothing that means anything in a path."""
PREFIX, OWNED, LOCK = "one-photo-", "owned.txt", "lock"
BUSY_SECONDS = 5.0
EXPIRED = "This avatar is not here: the id is wrong, or it was forgotten after an hour; make it again from the photo."


class Stopped(BaseException):
    """Raised inside a worker whose result nobody waits for any more; no ``except Exception`` swallows it."""


class Store:
    """Avatars and finished files on disk, each behind an unguessable name, forgotten after ``seconds``.

    Files can belong to an avatar and go with it. Only the process that made the store deletes it when it ends, not the
    workers that are forked from it. What a killed server left is taken over by the next one, so that ids stay good for
    the rest of their time; half-written files and uploads are not.

    Args:
        folder: where; None takes over a killed server's temporary folder, or makes one.
        seconds: how long anything is kept after its last use.
        limit: how many avatars are kept; the longest unused goes first.
        max_bytes: how much everything may take on disk; the longest unused goes first.
    """

    def __init__(
        self, folder: Path | None = None, seconds: float = 3600.0, limit: int = 100, max_bytes: int = 4 << 30
    ) -> None:
        self._lock: IO[bytes] | None = None
        if folder is None:
            folder, self._lock = _adopt() or _make()
        self.folder = folder
        self.seconds, self.limit, self.max_bytes, self._maker = seconds, limit, max_bytes, os.getpid()
        for name in ("avatars", "files", "uploads"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.sweep()

    @property
    def files(self) -> Path:
        """The folder of finished files, the only one that is served."""
        return self.folder / "files"

    @property
    def uploads(self) -> Path:
        """The folder of what visitors send."""
        return self.folder / "uploads"

    def add(self, avatar: Avatar) -> str:
        """Keep an avatar; returns its id.

        Raises:
            PipelineError: the disk is full.
        """
        self.sweep(room_for=1)
        token = secrets.token_urlsafe(32)
        avatar.save(self.folder / "avatars" / token)
        return token

    def place(self, token: str) -> Path:
        """The folder of an avatar.

        Raises:
            PipelineError: no such id, or no longer.
        """
        self.sweep()
        path = self.folder / "avatars" / token if isinstance(token, str) and TOKEN.fullmatch(token) else None
        if path is None or not path.is_dir():
            raise PipelineError(EXPIRED)
        return path

    def get(self, token: str) -> Avatar:
        """The avatar behind an id, which counts as a use of it.

        Raises:
            PipelineError: no such id, or no longer.
        """
        path = self.place(token)
        with contextlib.suppress(OSError):
            os.utime(path)
        from pipeline.api import load_avatar

        return load_avatar(path)

    def status(self, token: str) -> dict[str, Any]:
        """What is kept behind an id, without using it: seconds left, bytes, files, and what ``fit`` recorded.

        Raises:
            PipelineError: no such id, or no longer.
        """
        path = self.place(token)
        try:
            meta = json.loads((path / "avatar.json").read_text("utf-8")).get("meta", {})
            left = max(0, round(self.seconds - (time.time() - path.stat().st_mtime)))
        except (OSError, ValueError) as error:  # deleted in this moment
            raise PipelineError(EXPIRED) from error
        return {"seconds_left": left, "bytes": _size(path), "files": len(self._owned(path)), **meta}

    def new_file(self, suffix: str, owner: str | None = None) -> Path:
        """A fresh path for a result, which the caller writes; it goes when the avatar ``owner`` is forgotten."""
        self.sweep()
        path = self.files / (secrets.token_urlsafe(32) + suffix)
        if owner:
            self.attach(owner, path)
        return path

    def file_of(self, token: str, role: str, suffix: str) -> Path:
        """The one file of an avatar that has a role; the same path each time, which says nothing about the id.

        Raises:
            PipelineError: no such id, or no longer.
        """
        path = self.files / (hashlib.sha256(f"{token} {role}".encode()).hexdigest() + suffix)
        if path.exists():
            with contextlib.suppress(OSError):
                os.utime(path)
        else:
            self.attach(token, path)
        return path

    def attach(self, token: str, path: Path) -> None:
        """Let a file go when an avatar is forgotten.

        Raises:
            PipelineError: no such id, or no longer.
        """
        with open(self.place(token) / OWNED, "a", encoding="utf-8") as file:
            file.write(f"{path.resolve()}\n")

    def forget(self, token: str) -> None:
        """Delete an avatar and the files that belong to it.

        Raises:
            PipelineError: no such id, or no longer.
        """
        self._drop(self.place(token))

    def _drop(self, path: Path) -> None:
        for file in self._owned(path):
            _remove(file)
        _remove(path)

    def _owned(self, path: Path) -> list[Path]:
        """Files that belong to the avatar in a folder and still exist."""
        with contextlib.suppress(OSError):
            lines = (path / OWNED).read_text("utf-8").splitlines()
            return [file for line in lines if (file := Path(line)).is_file()]
        return []

    def sweep(self, room_for: int = 0) -> None:
        """Delete what is too old, and the longest unused above the limits of number and size."""
        now, kept = time.time(), []
        for path in (*(self.folder / "avatars").iterdir(), *self.files.iterdir(), *self.uploads.iterdir()):
            with contextlib.suppress(FileNotFoundError):
                used = path.stat().st_mtime
                if used > now:  # the clock was set back
                    os.utime(path)
                if now - used > self.seconds:
                    self._drop(path)
                else:
                    kept.append((used, path, _size(path)))
        kept.sort()
        avatars = [path for _, path, _ in kept if path.parent.name == "avatars"]
        for path in avatars[: max(0, len(avatars) + room_for - self.limit)]:
            self._drop(path)
        total = sum(size for _, _, size in kept)
        for used, path, size in kept:
            if total <= self.max_bytes:
                break
            if now - used > BUSY_SECONDS:  # what is being written is nobody's to delete
                self._drop(path)
                total -= size

    def keep_clean(self, every: float = 60.0) -> None:
        """Sweep for ever, on a thread of its own: things are forgotten in time when nobody comes, too."""

        def run() -> None:
            while self.folder.is_dir():
                with contextlib.suppress(OSError):
                    self.sweep()
                    remove_orphans(self.seconds)
                time.sleep(every)

        threading.Thread(target=run, name="sweeper", daemon=True).start()

    def close(self) -> None:
        """Delete everything, if this is the process that made the store."""
        if os.getpid() == self._maker:
            shutil.rmtree(self.folder, ignore_errors=True)


def remove_orphans(seconds: float) -> None:
    """Delete the temporary stores of servers that were killed, when all in them is older than ``seconds``."""
    for folder in _stores():
        used = max((path.stat().st_mtime for path in (folder, *folder.glob("*/*"))), default=0.0)
        if time.time() - used > seconds and (lock := _locked(folder)) is not None:
            with lock:
                shutil.rmtree(folder, ignore_errors=True)


def _stores() -> list[Path]:
    """The temporary stores of this user, the newest first."""
    found = []
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            facts = folder.lstat()
            if stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.getuid():
                found.append((facts.st_mtime, folder))
    return [folder for _, folder in sorted(found, reverse=True)]


def _locked(folder: Path) -> IO[bytes] | None:
    """The lock of a store whose server is gone (a dead process loses its locks), now ours; None where it lives."""
    with contextlib.suppress(OSError):
        file = open(folder / LOCK, "rb")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except OSError:
            file.close()
    return None


def _adopt() -> tuple[Path, IO[bytes]] | None:
    """Take over the newest store whose server was killed, without what was half-written and what was uploaded."""
    for folder in _stores():
        if (lock := _locked(folder)) is not None:
            shutil.rmtree(folder / "uploads", ignore_errors=True)
            whole = [path for path in folder.glob("avatars/*") if TOKEN.fullmatch(path.name)]
            for path in (*folder.glob("avatars/*"), *folder.glob("files/.*")):
                if path not in whole:
                    _remove(path)
            return folder, lock
    return None


def _make() -> tuple[Path, IO[bytes]]:
    """A new temporary store; its lock is ours before anybody can find it."""
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    file = open(folder / f"{LOCK}.new", "wb")
    fcntl.flock(file, fcntl.LOCK_EX)
    os.rename(folder / f"{LOCK}.new", folder / LOCK)
    return folder, file


def _size(path: Path) -> int:
    """Bytes of a file or of the files in a folder."""
    if path.is_dir():
        return sum(_size(inner) for inner in path.iterdir())
    with contextlib.suppress(OSError):
        return path.stat().st_size
    return 0


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        for file in (path, path.with_name(path.name + ".c2pa")):  # a WebM's credentials lie beside it
            file.unlink(missing_ok=True)


class Step(NamedTuple):
    """News of running work: its stage, the share of it that is done, and the newest picture of it."""

    stage: str
    share: float
    picture: Any = None


class Tell:
    """What running work calls to tell how far it is; a :data:`pipeline.console.Progress`."""

    def __init__(self, news: queue.Queue[tuple[str, Any]], stop: threading.Event) -> None:
        self._news, self._stop = news, stop

    def __call__(self, stage: str, share: float) -> None:
        """Tell, and find out whether somebody still waits for the result.

        Raises:
            Stopped: nobody does.
        """
        self._put(Step(stage, float(share)))

    def show(self, picture: Any, stage: str, share: float) -> None:
        """Tell with a picture."""
        self._put(Step(stage, float(share), picture))

    def _put(self, step: Step) -> None:
        if self._stop.is_set():
            raise Stopped
        self._news.put(("step", step))


def in_steps(
    work: Callable[[Tell], T], deadline: float = 900.0, pause: float = 0.25, patience: float = 0.5
) -> Generator[Step, None, T]:
    """Run ``work`` on a thread and yield its progress, so that a caller who goes away stops it.

    Args:
        work: a function of a progress callback; its return value is the generator's.
        deadline: seconds after which it is stopped.
        pause: least seconds between two yields.
        patience: most seconds between two yields; without news the last step is repeated, so that a caller can stop.

    Yields:
        The newest step, with the newest picture since the last yield.

    Raises:
        PipelineError: out of time; and whatever ``work`` raises.
    """
    news: queue.Queue[tuple[str, Any]] = queue.Queue()
    stop = threading.Event()

    def run() -> None:
        try:
            news.put(("done", work(Tell(news, stop))))
        except Stopped:
            pass
        except BaseException as error:
            news.put(("error", error))
        finally:
            heap.give_back()

    threading.Thread(target=run, name="work", daemon=True).start()
    end, step = time.monotonic() + deadline, Step("starting", 0.0)
    try:
        while True:
            if time.monotonic() > end:
                raise PipelineError("This took too long and was stopped; try a smaller quality or a shorter motion.")
            kind, value = _newest(news, step._replace(picture=None), pause, patience)
            if kind == "done":
                return value
            if kind == "error":
                raise value
            step = value
            yield step
    finally:
        stop.set()


def _newest(news: queue.Queue[tuple[str, Any]], step: Step, pause: float, patience: float) -> tuple[str, Any]:
    """The last step within ``pause`` seconds, at once the end of the work, or after ``patience`` what was."""
    started, fresh = time.monotonic(), False
    while True:
        left = (pause if fresh else patience) - (time.monotonic() - started)
        if left <= 0:
            return "step", step
        with contextlib.suppress(queue.Empty):
            kind, value = news.get(timeout=left)
            if kind != "step":
                return kind, value
            step, fresh = value._replace(picture=value.picture if value.picture is not None else step.picture), True
