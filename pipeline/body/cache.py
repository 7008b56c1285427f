"""Where built files live and how they get there whole."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.types import PipelineError


def cache_dir() -> Path:
    """The user's cache folder: ``$ONESHOT_CACHE``, else ``oneshot-avatar`` in the platform's cache folder."""
    if os.environ.get("ONESHOT_CACHE"):
        return Path(os.environ["ONESHOT_CACHE"]).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return base / "oneshot-avatar"


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` fill a temporary sibling of ``path``, then move it into place.

    Raises:
        PipelineError: the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=path.suffix)
        os.close(handle)
    except OSError as error:
        raise PipelineError(
            f"The cache folder {path.parent} cannot be written ({error.strerror}); set ONESHOT_CACHE to another folder."
        ) from error
    temporary = Path(name)
    try:
        write(temporary)
        temporary.chmod(0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise PipelineError(f"Could not write {path} ({error.strerror}); free some space there.") from error
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Keep other processes from building the same ``path`` at the same time, by a lock on ``<path>.lock``.

    The system drops the lock when its holder ends, however it ends. Without ``fcntl`` (Windows) or a writable
    folder, nothing is locked: files are replaced whole, so that only work would be done twice.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            path.parent.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context(path.with_suffix(path.suffix + ".lock").open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
