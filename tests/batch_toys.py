"""Work for the tests of batches, importable by worker processes."""

import os
import signal
from pathlib import Path

from pipeline.types import PipelineError


def double(number: int) -> int:
    """Twice the number, or the errors that users and programmers make."""
    if number == 13:
        raise PipelineError("Thirteen will not do; use another number.")
    if number == 14:
        raise ValueError("a mistake")
    return 2 * number


def die_once(marker: str, number: int) -> int:
    """Kill the own process the first time; the second time work."""
    if not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def die(number: int) -> int:
    """Kill the own process every time."""
    os.kill(os.getpid(), signal.SIGKILL)
    return number
