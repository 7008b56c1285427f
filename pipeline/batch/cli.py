"""``python -m pipeline batch``: many photos, many motions."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline import console
from pipeline.types import PipelineError

MAX_WORKERS, MOST_LISTED = 256, 20


def add_parser(commands: Any, common: Callable[[argparse.ArgumentParser], Any]) -> None:
    """Add the command to ``python -m pipeline``; ``common`` adds what every command takes."""
    p = commands.add_parser("batch", help="many photos and motions to videos, on this machine or a Ray cluster")
    p.add_argument(
        "manifest", metavar="MANIFEST", help="JSON or CSV: photo, motion, consent and settings of each video"
    )
    p.add_argument(
        "--out", required=True, metavar="DIR", help="videos, avatars and summary.json; what is there is kept"
    )
    p.add_argument("--workers", type=int, default=1, metavar="N", help="processes on this machine (default 1)")
    p.add_argument("--ray", metavar="ADDRESS", help="a Ray cluster instead: auto, HOST:PORT or ray://HOST:PORT")
    common(p)
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run a batch; returns 1 if any video failed.

    Raises:
        PipelineError: the manifest is wrong, the folder is not writable, or there is no such cluster.
    """
    from pipeline.batch.manifest import read_manifest
    from pipeline.batch.run import run_batch
    from pipeline.batch.runners import LocalRunner, RayRunner

    if not 1 <= args.workers <= MAX_WORKERS:
        raise PipelineError(f"The number of workers goes from 1 to {MAX_WORKERS}; {args.workers} is outside.")
    jobs, out = read_manifest(Path(args.manifest)), Path(args.out)
    console.check_writable(out)
    with RayRunner(args.ray) if args.ray else LocalRunner(args.workers) as runner:
        with console.progress_bar(args.json) as progress:
            summary = run_batch(jobs, out, runner, progress)
    counts = summary.counts
    lines = [
        ", ".join(f"{number} {status}" for status, number in counts.items()) + f"; the list is {out}/summary.json."
    ]
    failed = [e for e in summary.entries if e.error]
    lines += [f"failed: {e.job.photo.name}, {e.job.motion}: {e.error}" for e in failed[:MOST_LISTED]]
    lines += [f"and {len(failed) - MOST_LISTED} more"] if len(failed) > MOST_LISTED else []
    console.emit({"out": str(out), **summary.to_json()}, "\n".join(lines), args.json)
    return console.EXIT_FAILED if counts["failed"] else console.EXIT_OK
