"""``python -m pipeline verify``: the content credentials and the watermark of a video, in words."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline import console
from pipeline.types import PipelineError

MAX_ANCHORS = 1 << 20


def add_parser(commands: Any, common: Callable[[argparse.ArgumentParser], Any]) -> None:
    """Add the command to ``python -m pipeline``; ``common`` adds what every command takes."""
    p = commands.add_parser(
        "verify",
        help="content credentials and watermark of a video",
        epilog="Exit codes: 0 marked or signed, 3 nothing found, 4 altered after signing, 1 unreadable.",
    )
    p.add_argument("video", metavar="VIDEO", help="a video, a picture or a folder of PNG frames")
    p.add_argument("--trust", metavar="ROOTS.pem", help="root certificates of signers that you trust")
    common(p)
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the verdict; returns the exit code of :mod:`pipeline.verify`.

    Raises:
        PipelineError: the video or the certificates cannot be read.
    """
    from pipeline.verify import as_text, verify

    anchors = b""
    if args.trust:
        try:
            with open(args.trust, "rb") as file:
                anchors = file.read(MAX_ANCHORS)
        except OSError as error:
            raise PipelineError(f"'{args.trust}' cannot be read ({error.strerror}); check the path.") from error
    verdict = verify(Path(args.video), anchors=anchors)
    console.emit(verdict.to_json(), as_text(verdict), args.json)
    return verdict.code
