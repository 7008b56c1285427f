"""``python -m pipeline ablate`` and ``python -m pipeline evaluate``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline import console


def add_parsers(commands: Any, options: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add the commands.

    Args:
        commands: subparsers of the main parser.
        options: adds what all commands that open a body have in common.
    """
    p = commands.add_parser("ablate", help="what each term of the fit is worth, on synthetic people with known truth")
    p.add_argument("--out", required=True, metavar="DIR", help="for ablation.md, ablation.json and ablation.png")
    p.add_argument("--quick", action="store_true", help="tiny, to see that it works; its numbers mean nothing")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--subjects", type=int, default=1, help="how many people are made up (default 1)")
    p.add_argument("--only", choices=("terms", "lost-weight", "head"), help="one of its three tables")
    options(p)
    p.set_defaults(run=ablate)
    p = commands.add_parser("evaluate", help="the paper's Table 1 on your subjects: self-driven, 9:16, 30 FPS")
    p.add_argument("manifest", metavar="MANIFEST", help=".yaml or .json list of subjects, or a data set's folder")
    p.add_argument("--out", required=True, metavar="DIR", help="for table.md and table.json")
    p.add_argument("--quality", choices=("fast", "default", "full"), default="default")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--max-seconds", type=float, default=30.0, help="use at most so much of each video (default 30)")
    options(p)
    p.set_defaults(run=evaluate)


def ablate(args: argparse.Namespace) -> None:
    """Run the ablation."""
    from pipeline import api
    from pipeline.evaluate.ablation import run_ablation
    from pipeline.evaluate.ablation.report import page
    from pipeline.types import PipelineError

    if args.subjects < 1:
        raise PipelineError("Give --subjects 1 or more.")
    console.check_writable(Path(args.out))
    with console.progress_bar(args.json) as progress:
        result = run_ablation(api.get_body(args.body), Path(args.out), quick=args.quick, seed=args.seed,
                              subjects=args.subjects, only=args.only, progress=progress)  # fmt: skip
    console.emit({"out": args.out, **result}, page(result), args.json)


def evaluate(args: argparse.Namespace) -> None:
    """Make the table."""
    from pipeline import api
    from pipeline.evaluate import manifest, table

    subjects = manifest.read_manifest(args.manifest)
    console.check_writable(Path(args.out))
    with console.progress_bar(args.json) as progress:
        result = table.evaluate(subjects, api.get_body(args.body), Path(args.out), quality=args.quality, seed=args.seed,
                                max_seconds=args.max_seconds, progress=progress)  # fmt: skip
    console.emit({"out": args.out, **result}, table.as_text(result), args.json)
