"""``python -m pipeline label``: generated labels for a photo, of the whole body or, with ``--head``, of the head."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

from pipeline import console

VRAM_CHOICES = (8, 16, 24, 48)
DEFAULT_MOTIONS = ("presenting", "thinking", "emphatic")


def add_parser(commands: Any, options: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add the command.

    Args:
        commands: subparsers of the main parser.
        options: adds what all commands that open a body have in common.
    """
    p = commands.add_parser("label", help="generated pictures of the person as further teaching material")
    p.add_argument("photo", metavar="PHOTO", nargs="?", help="as for `fit`; not needed with --plan")
    p.add_argument("--seed", type=int, default=0)
    whole = p.add_argument_group("body labels (MimicMotion, on a CUDA card)")
    whole.add_argument("--motion", action="append", metavar="NAME|CLIP.npz|VIDEO",
                       help="drives the body; also a file of 2D keypoints; may be given several times")  # fmt: skip
    whole.add_argument("--vram", type=int, choices=VRAM_CHOICES, help="gigabytes to plan for (default: the card's)")
    whole.add_argument("--plan", action="store_true", help="only say what it would take")
    whole.add_argument("--frames", type=int, help="generated per motion (default 71)")
    whole.add_argument("--steps", type=int, help="denoising steps (default 25)")
    head = p.add_argument_group("head labels (Portrait4D-v2)")
    head.add_argument("--head", action="store_true", help="make head labels in place of body labels")
    head.add_argument("--driving", action="append", metavar="VIDEO",
                      help="somebody who talks to the camera and lends expressions; may be repeated")  # fmt: skip
    head.add_argument("--count", type=int, help="heads generated (default 48)")
    options(p)
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Say the plan, or make the labels."""
    from pipeline.types import PipelineError

    _check(args)
    if args.plan:
        return _show_plan(args, len(args.motion or DEFAULT_MOTIONS))
    if not args.photo:
        raise PipelineError("Name the photo, for example: python -m pipeline label photo.jpg --motion presenting.")
    with console.progress_bar(args.json) as progress:
        made, folders = (_heads if args.head else _bodies)(args, progress)
    result = {"labels": len(made.labels), "folders": [str(f) for f in folders], "dropped": made.dropped}
    lines = [f"{len(made.labels)} labels in", *(f"  {folder}" for folder in folders)]
    lines += [f"dropped: {count} frames, {reason}" for reason, count in made.dropped.items()]
    console.emit(result, "\n".join(lines), args.json)


def _check(args: argparse.Namespace) -> None:
    """Options that contradict each other.

    Raises:
        PipelineError: one of the other kind, or a number that cannot be.
    """
    from pipeline.types import PipelineError

    foreign = ("motion", "vram", "plan", "frames", "steps") if args.head else ("driving", "count")
    given = [f"--{name}" for name in foreign if getattr(args, name) not in (None, False)]
    if given:
        kind, other = ("head", "leave out --head") if args.head else ("body", "add --head")
        raise PipelineError(f"{', '.join(given)} cannot be used for {kind} labels; leave it out, or {other}.")
    if args.head and not args.driving:
        raise PipelineError("Head labels need --driving VIDEO, somebody who talks to the camera.")
    numbers = {"--frames": (args.frames, 2), "--steps": (args.steps, 1), "--count": (args.count, 1)}
    for name, (value, least) in numbers.items():
        if value is not None and value < least:
            raise PipelineError(f"Give {name} {least} or more.")


def _bodies(args: argparse.Namespace, progress: console.Progress) -> tuple[Any, list[Any]]:
    from pipeline.labels import BodyLabelConfig, label

    config = BodyLabelConfig(frames=args.frames or 71, steps=args.steps or 25, seed=args.seed)
    motions = args.motion or DEFAULT_MOTIONS
    if not args.json:
        print(_plan(args, len(motions))[1], file=sys.stderr)
    made = label(args.photo, motions, body=args.body, vram=args.vram, config=config, progress=progress)
    return made, list(made.folders)


def _heads(args: argparse.Namespace, progress: console.Progress) -> tuple[Any, list[Any]]:
    from pipeline.labels import HeadLabelConfig, label_head

    config = HeadLabelConfig(count=args.count or 48, seed=args.seed)
    made = label_head(args.photo, args.driving, body=args.body, config=config, progress=progress)
    return made, [made.folder]


def _show_plan(args: argparse.Namespace, clips: int) -> None:
    result, text = _plan(args, clips)
    console.emit(result, text, args.json)


def _plan(args: argparse.Namespace, clips: int) -> tuple[dict[str, Any], str]:
    """What was chosen for the card, and what it is expected to take: as values and in words."""
    from pipeline.labels.mimicmotion.memory import expectation, plan_for
    from pipeline.labels.verb import choose_plan

    frames = args.frames or 71
    plan = plan_for(args.vram) if args.plan and args.vram else choose_plan(args.vram)
    expected = expectation(plan, frames + 1, args.steps or 25)
    text = (
        f"Plan for {plan.name}: windows of {plan.tile_size} frames that share {plan.tile_overlap}, "
        f"{'both guidance passes together' if plan.batched_guidance else 'guidance passes one after the other'}, "
        f"{'one network on the card at a time' if plan.offload else 'all networks on the card'}, "
        f"{plan.decode_chunk} frames decoded together.\n"
        f"Expected for {clips} motions of {frames} frames: {expected.gigabytes:.1f} GB at the peak, about "
        f"{clips * expected.minutes:.0f} minutes on a card like an RTX 4090 (counted from operations, not measured)."
    )
    return {"plan": vars(plan), "gigabytes": expected.gigabytes, "minutes": clips * expected.minutes}, text
