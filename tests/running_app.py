"""The app as a process of its own, for the tests and the figures."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class App:
    """A running app.

    Attributes:
        url: where it listens. folder: its temporary folder. log: what it printed. process: itself. ready: seconds from
            start to the first answer.
    """

    url: str
    folder: Path
    log: Path
    process: subprocess.Popen
    ready: float

    @property
    def store(self) -> Path:
        """Where it keeps avatars, files and uploads."""
        (store,) = self.folder.glob("one-photo-*")
        return store


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextlib.contextmanager
def running(
    folder: Path, env: Mapping[str, str] | None = None, before: Sequence[str] = (), end: int = signal.SIGINT
) -> Iterator[App]:
    """The app with its temporary files in ``folder``, ended by a signal unless it ended before.

    Args:
        folder: made if missing; the log lies beside it.
        env: further environment variables.
        before: a program that starts the app with the arguments that follow.
        end: the signal that ends it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port, log, started = free_port(), folder.with_name(folder.name + ".log"), time.monotonic()
    fixed = {"GRADIO_SERVER_PORT": str(port), "GRADIO_SERVER_NAME": "127.0.0.1", "GRADIO_ANALYTICS_ENABLED": "False",
             "TMPDIR": str(folder), "HF_HUB_OFFLINE": "1"}  # fmt: skip
    inherited = {name: value for name, value in os.environ.items() if name != "GRADIO_TEMP_DIR"}
    with open(log, "a") as out:
        process = subprocess.Popen(
            [*before, sys.executable, "app.py"], cwd=ROOT, env={**inherited, **fixed, **(env or {})}, stdout=out,
            stderr=out,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background shell may have it ignored
        )  # fmt: skip
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_until_ready(url, process, log)
            yield App(url, folder, log, process, time.monotonic() - started)
        finally:
            if process.poll() is None:
                process.send_signal(end)
            try:
                process.wait(90)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


def _wait_until_ready(url: str, process: subprocess.Popen, log: Path, seconds: float = 240) -> None:
    """Until the page answers."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            raise AssertionError(f"the app ended with {process.returncode}: {log.read_text()[-2000:]}")
        with contextlib.suppress(OSError):
            with urllib.request.urlopen(url, timeout=5) as answer:
                if answer.status == 200:
                    return
        time.sleep(0.2)
    raise AssertionError("the app did not start")
