"""``python -m pipeline motions`` and ``python -m pipeline ted``: the motion library, and clips made of talk videos."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline import console
from pipeline.types import MotionClip, PipelineError

Common = Callable[[argparse.ArgumentParser], None]


def add_parsers(commands: Any, common: Common, with_body: Common) -> None:
    """Add both commands.

    Args:
        commands: subparsers of the main parser.
        common: adds ``--json`` and ``--debug``; ``with_body``: these and ``--body``.
    """
    _motions_parser(commands, common, with_body)
    _ted_parser(commands, with_body)


def _motions_parser(commands: Any, common: Common, with_body: Common) -> None:
    p = commands.add_parser("motions", help="list the motions; `motions preview`, `motions stats`, `motions sheet`")
    actions = p.add_subparsers(dest="action", metavar="ACTION")
    common(p)
    p.set_defaults(run=_list)
    show = actions.add_parser("preview", help="small looping figures of lines, one .webp for each motion")
    show.add_argument("names", nargs="*", metavar="NAME", help="preset or motion file")
    show.add_argument("--all", action="store_true", help="all motions that come with the package")
    show.add_argument("--out", required=True, metavar="DIR")
    common(show)
    show.set_defaults(run=_preview)
    stats = actions.add_parser("stats", help="speed, jerk, range and joint limits of the presets beside other clips")
    stats.add_argument("clips", nargs="*", metavar="CLIP.npz|VIDEO", help="to compare the presets with")
    stats.add_argument("--window", type=float, default=2.0, metavar="SECONDS",
                       help="measure pieces of this length (default 2)")  # fmt: skip
    stats.add_argument("--below", type=float, metavar="HZ",
                       help="leave out what is quicker in all clips, such as the tremor of tracking")  # fmt: skip
    stats.add_argument("--front", action="store_true",
                       help="wrists as seen from the front: depth tracked from one camera trembles most")  # fmt: skip
    with_body(stats)
    stats.set_defaults(run=_stats)
    sheet = actions.add_parser("sheet", help="one picture of an avatar in every preset")
    sheet.add_argument("avatar", metavar="AVATAR", help="what `fit` wrote")
    sheet.add_argument("--out", required=True, metavar="SHEET.jpg")
    with_body(sheet)
    sheet.set_defaults(run=_sheet)


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
    lines = [f"{m['name']:<18} {m['seconds']:5.1f} s  {m['description']} ({', '.join(m['tags'])})" for m in motions]
    console.emit({"motions": motions}, "\n".join(lines), args.json)


def _preview(args: argparse.Namespace) -> None:
    from pipeline.motion import get_motion, list_presets
    from pipeline.motion.preview import write_preview

    names = [*args.names, *(p.name for p in list_presets() if args.all and p.name not in args.names)]
    if not names:
        raise PipelineError("No motion was named; give names, or --all.")
    out = Path(args.out)
    console.check_writable(out)
    clips = [(Path(name).stem.removeprefix("ted:"), get_motion(name)) for name in names]
    files = {}
    with console.progress_bar(args.json) as progress:
        for i, (name, clip) in enumerate(clips):
            files[name] = str(write_preview(clip, out / f"{name}.webp"))
            progress("drawing", (i + 1) / len(clips))
    console.emit({"previews": files}, "\n".join(files.values()), args.json)


def _stats(args: argparse.Namespace) -> None:
    from pipeline import api
    from pipeline.motion import get_motion, list_presets
    from pipeline.motion.statistics import low_pass, motion_statistics, unseen_statistics, windows

    if not 0.5 <= args.window <= 600:
        raise PipelineError(f"Pieces of {args.window:g} s cannot be measured; --window goes from 0.5 to 600.")
    if args.below is not None and not 0.5 <= args.below <= 10:
        raise PipelineError(f"Clips cannot be cut off at {args.below:g} Hz; --below goes from 0.5 to 10.")
    with console.progress_bar(args.json) as progress:
        body = api.get_body(args.body) if args.clips else None
        others = {Path(c).name: api.load_motion(c, body=body, progress=progress) for c in args.clips}
    groups = {"presets": {p.name: get_motion(p.name) for p in list_presets()}, "compared with": others}

    def measure(clip: MotionClip) -> list[dict[str, float]]:
        slow = clip if args.below is None else low_pass(clip, args.below)
        rows = [motion_statistics(p, depth=not args.front).as_dict() for p in windows(slow, args.window)]
        unseen = unseen_statistics(clip)
        return [{name: value for name, value in row.items() if name not in unseen} for row in rows]

    result = {group: {name: measure(clip) for name, clip in clips.items()} for group, clips in groups.items()}
    console.emit(result, _stats_text(result), args.json)


def _stats_text(groups: dict[str, dict[str, list[dict[str, float]]]]) -> str:
    """Lowest, middle and highest value of every statistic; a star where the presets go beyond the others."""
    from statistics import median

    rows = {group: [r for pieces in clips.values() for r in pieces] for group, clips in groups.items() if clips}
    head = "".join(f"{f'{group} ({len(groups[group])})':>30}" for group in rows)
    lines = [f"{'':<20}{head}", f"{'':<20}" + f"{'low':>12}{'middle':>9}{'high':>9}" * len(rows)]
    for name in next(iter(rows.values()))[0]:
        values = [v for group in rows.values() if (v := [r[name] for r in group if name in r])]
        cells = "".join(f"{min(v):>12.3g}{median(v):>9.3g}{max(v):>9.3g}" for v in values)
        beyond = len(values) > 1 and not min(values[1]) <= min(values[0]) <= max(values[0]) <= max(values[1])
        lines.append(f"{name:<20}{cells}{' *' if beyond else ''}")
    return "\n".join(lines)


def _sheet(args: argparse.Namespace) -> None:
    from pipeline import api
    from pipeline.contact_sheet import write_presets

    if Path(args.out).suffix.lower() not in (".jpg", ".jpeg", ".png"):
        raise PipelineError(f"A contact sheet is written as .jpg or .png, not as '{Path(args.out).name}'.")
    console.check_writable(Path(args.out).absolute().parent)
    with console.progress_bar(args.json) as progress:
        write_presets(api.load_avatar(args.avatar, body=args.body), args.out, progress)
    console.emit({"sheet": args.out}, args.out, args.json)


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
