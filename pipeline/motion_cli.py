"""``python -m pipeline motions`` and ``python -m pipeline ted``: the motion library, and clips made of talk videos."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline import console

Common = Callable[[argparse.ArgumentParser], None]


def add_parsers(commands: Any, common: Common, with_body: Common) -> None:
    """Add both commands.

    Args:
        commands: subparsers of the main parser.
        common: adds ``--json`` and ``--debug``; ``with_body``: these and ``--body``.
    """
    p = commands.add_parser("motions", help="the motions there are; `motions preview`, `motions stats`")
    common(p)
    p.set_defaults(run=_list)
    _ted_parser(commands, with_body)


def _ted_parser(commands: Any, with_body: Common) -> None:
    p = commands.add_parser("ted", help="talk videos to a set of motion clips: `ted build VIDEOS... --out DIR`")
    actions = p.add_subparsers(dest="action", required=True, metavar="ACTION")
    b = actions.add_parser("build", help="shots, one visible speaker, tracking, quality, clips, manifest; resumable")
    b.add_argument("videos", nargs="+", metavar="VIDEO", help="video files")
    b.add_argument("--out", required=True, metavar="DIR")
    b.add_argument("--manifest", metavar="META.json", help="title, speaker, url and licence by file name")
    b.add_argument("--min-seconds", type=float, default=6.0, help="shortest clip (default 6)")
    b.add_argument("--max-seconds", type=float, default=12.0, help="longest clip (default 12)")
    b.add_argument("--min-score", type=float, default=0.3, help="lowest quality that is kept, 0..1 (default 0.3)")
    with_body(b)
    b.set_defaults(run=_build)


def _list(args: argparse.Namespace) -> None:
    from pipeline import api

    motions = api.list_motions()
    lines = [f"{m['name']:<18} {m['seconds']:5.1f} s  {m['description']}" for m in motions]
    console.emit({"motions": motions}, "\n".join(lines), args.json)


def _build(args: argparse.Namespace) -> None:
    from pipeline import api
    from pipeline.motion.ted import BuildSettings, build

    settings = BuildSettings(args.min_seconds, args.max_seconds, args.min_score)
    settings.check()
    console.check_writable(Path(args.out))
    with console.progress_bar(args.json) as progress:
        body = api.get_body(args.body)
        result = build(args.videos, args.out, facts=args.manifest, settings=settings, body=body, progress=progress)
    lines = [f"{result.manifest}: {result.clips} clips from {len(args.videos)} videos."]
    lines += [f"  not used: {name}: {reason}" for name, reason in result.failures.items()]
    data = {"manifest": str(result.manifest), "clips": result.clips, "failures": result.failures}
    console.emit(data, "\n".join(lines), args.json)
