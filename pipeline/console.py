"""What the command line says and how it ends: progress bars, JSON, one-sentence errors, exit codes."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipeline.types import PipelineError

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130

Progress = Callable[[str, float], None]
"""Called with the name of a stage and the share of it that is done, 0..1."""


@contextlib.contextmanager
def progress_bar(quiet: bool) -> Iterator[Progress]:
    """A bar on standard error that starts anew with every stage, in a terminal only; yields a :data:`Progress`."""
    from tqdm import tqdm

    form = "{desc:<24} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
    with tqdm(total=100, disable=True if quiet else None, bar_format=form, file=sys.stderr, leave=False) as bar:
        current = ""

        def update(stage: str, share: float) -> None:
            nonlocal current
            if stage != current:
                current = stage
                bar.reset()
                bar.set_description_str(stage)
            bar.update(max(0.0, min(1.0, share) * 100 - bar.n))

        yield update


def check_writable(folder: Path) -> None:
    """Find out before minutes of work whether files can be written below ``folder``, which need not exist yet.

    Raises:
        PipelineError: it cannot be written, with the reason.
    """
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise PipelineError(f"{folder} cannot be written ({explain(error)}); choose another place.") from error


def explain(error: OSError) -> str:
    """A few words for an operating system error."""
    words = {
        errno.ENOSPC: "the disk is full",
        errno.EDQUOT: "the disk quota is used up",
        errno.EACCES: "permission is denied",
        errno.EPERM: "permission is denied",
        errno.EROFS: "the disk is read-only",
        errno.ENOTDIR: "it is inside a file, not a folder",
    }
    return words.get(error.errno or 0, error.strerror or str(error))


def emit(result: dict[str, Any], text: str, as_json: bool) -> None:
    """Print a command's result: one JSON object, or words."""
    print(json.dumps(result, allow_nan=False, default=str) if as_json else text, flush=True)


def run(command: Callable[[], int | None], *, as_json: bool, debug: bool) -> int:
    """Run a command and turn how it ended into an exit code.

    A :class:`PipelineError` is one sentence on standard error (with ``--json`` also ``{"error": ...}`` on standard
    output), exit code 1. Ctrl-C is 130. A command may return a code of its own. Anything unexpected is reported in one
    line, with a traceback only when asked.
    """
    try:
        return command() or EXIT_OK
    except KeyboardInterrupt:
        return _fail("Stopped; nothing was written.", EXIT_INTERRUPTED, as_json)
    except BrokenPipeError:  # the reader of our output went away
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except PipelineError as error:
        return _fail(str(error), EXIT_FAILED, as_json)
    except OSError as error:
        if debug:
            raise
        where = f" {error.filename}" if error.filename else ""
        return _fail(f"A file{where} could not be read or written: {explain(error)}.", EXIT_FAILED, as_json)
    except Exception as error:
        if debug:
            raise
        name = type(error).__name__
        return _fail(f"Something unexpected went wrong ({name}: {error}); run again with --debug and report it.",
                     EXIT_FAILED, as_json)  # fmt: skip


def _fail(sentence: str, code: int, as_json: bool) -> int:
    print(f"error: {sentence}" if code == EXIT_FAILED else sentence, file=sys.stderr, flush=True)
    if as_json:
        print(json.dumps({"error": sentence}), flush=True)
    return code
