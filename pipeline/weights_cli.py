"""``python -m pipeline weights``: what can be added, and fetching it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from pipeline import console
from pipeline.weights import WEIGHTS, Weight, find


def add_parser(commands: Any, common: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add the command and its subcommands.

    Args:
        commands: subparsers of the main parser.
        common: adds ``--json`` and ``--debug``.
    """
    p = commands.add_parser("weights", help="optional weights: list, or `weights fetch NAME`")
    actions = p.add_subparsers(dest="action", metavar="ACTION")
    common(p)
    p.set_defaults(run=show)
    for name, text, run in (
        ("list", "what there is, its licence, and whether it is here", show),
        ("fetch", "download by name; continues a stopped download", fetch),
    ):
        action = actions.add_parser(name, help=text)
        if run is fetch:
            action.add_argument("names", nargs="+", metavar="NAME", help=f"of {', '.join(WEIGHTS)}")
        common(action)
        action.set_defaults(run=run)


def show(args: argparse.Namespace) -> None:
    """Print the table."""
    console.emit({"weights": [w.to_json() for w in WEIGHTS.values()]}, as_text(), args.json)


def fetch(args: argparse.Namespace) -> None:
    """Fetch parts one after the other; all names are checked first."""
    from pipeline import hub

    wanted = [find(name) for name in args.names]
    lines, result = [], {}
    with console.progress_bar(args.json) as progress:
        for weight in wanted:
            path = hub.fetch(weight, progress)
            result[weight.name] = str(path)
            lines.append(f"{weight.name}: {path}\n  licence: {weight.licence}")
    console.emit({"fetched": result}, "\n".join(lines), args.json)


def as_text() -> str:
    """The table for people."""
    return "\n".join(_lines(weight) for weight in WEIGHTS.values())


def _lines(weight: Weight) -> str:
    size = "size not known" if weight.megabytes is None else f"{weight.megabytes:,.0f} MB"
    use = {True: "commercial use allowed", False: "no commercial use", None: "commercial use not clear"}
    state = weight.state() if weight.used else f"{weight.state()}, not used by this version"
    lines = [
        f"{weight.name:<14} {state}",
        f"    gives: {weight.gives}",
        f"    from: {weight.source or '(not on the Hub)'}  {weight.file}  ({size}{', gated' if weight.gated else ''})",
        f"    licence: {weight.licence} ({use[weight.commercial]})",
    ]
    if weight.pin():
        lines.insert(3, f"    version: {weight.pin()}")
    if weight.state() != "ready" and weight.used:
        lines.append(f"    -> {weight.how()}")
    return "\n".join(lines)
