"""``python -m pipeline label``: body labels for a photo, on a CUDA card."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from pipeline import console

VRAM_CHOICES = (8, 16, 24, 48)


def add_parser(commands: Any, options: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add the command.

    Args:
        commands: subparsers of the main parser.
        options: adds what all commands that open a body have in common.
    """
    p = commands.add_parser("label", help="generated pictures of the person as further teaching material (CUDA card)")
    p.add_argument("photo", metavar="PHOTO", nargs="?", help="as for `fit`; not needed with --plan")
    p.add_argument("--motion", action="append", metavar="NAME|CLIP.npz|VIDEO", help="may be given several times")
    p.add_argument("--vram", type=int, choices=VRAM_CHOICES, help="gigabytes to plan for (default: what the card has)")
    p.add_argument("--plan", action="store_true", help="only say what it would take")
    p.add_argument("--frames", type=int, default=71, help="generated per motion (default 71)")
    p.add_argument("--steps", type=int, default=25, help="denoising steps (default 25)")
    p.add_argument("--seed", type=int, default=0)
    options(p)
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Say the plan, or make the labels."""
    from pipeline.types import PipelineError

    motions = args.motion or ["presenting", "thinking", "emphatic"]
    if args.frames < 2 or args.steps < 1:
        raise PipelineError("Give --frames 2 or more and --steps 1 or more.")
    if args.plan:
        return _show_plan(args, len(motions))
    if not args.photo:
        raise PipelineError("Name the photo, for example: python -m pipeline label photo.jpg --motion presenting.")
    from pipeline.labels import BodyLabelConfig, label

    config = BodyLabelConfig(frames=args.frames, steps=args.steps, seed=args.seed)
    with console.progress_bar(args.json) as progress:
        made = label(args.photo, motions, body=args.body, vram=args.vram, config=config, progress=progress)
    result = {"labels": len(made.labels), "folders": [str(f) for f in made.folders], "dropped": made.dropped}
    lines = [f"{len(made.labels)} labels in", *(f"  {folder}" for folder in made.folders)]
    lines += [f"dropped: {count} frames, {reason}" for reason, count in made.dropped.items()]
    console.emit(result, "\n".join(lines), args.json)


def _show_plan(args: argparse.Namespace, clips: int) -> None:
    from pipeline.labels.mimicmotion.memory import expectation, plan_for
    from pipeline.labels.verb import choose_plan

    plan = plan_for(args.vram) if args.vram else choose_plan(None)
    expected = expectation(plan, args.frames + 1, args.steps)
    text = (
        f"Plan for {plan.name}: windows of {plan.tile_size} frames that share {plan.tile_overlap}, "
        f"{'both guidance passes together' if plan.batched_guidance else 'guidance passes one after the other'}, "
        f"{'one network on the card at a time' if plan.offload else 'all networks on the card'}, "
        f"{plan.decode_chunk} frames decoded together.\n"
        f"Expected for {clips} motions of {args.frames} frames: {expected.gigabytes:.1f} GB at the peak, about "
        f"{clips * expected.minutes:.0f} minutes on a card like an RTX 4090 (counted from operations, not measured)."
    )
    result = {"plan": vars(plan), "gigabytes": expected.gigabytes, "minutes": clips * expected.minutes}
    console.emit(result, text, args.json)
