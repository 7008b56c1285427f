"""The command line: ``python -m pipeline fit | animate | export | track | reenact | label | motions | ...``.

Results go to standard output (one JSON object with ``--json``), progress and errors to standard error. Exit codes:
0 done, 1 a problem that the message explains, 2 wrong usage, 130 stopped with Ctrl-C.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline import console, export_cli, motion_cli, verify_cli, weights_cli
from pipeline.batch import cli as batch_cli
from pipeline.evaluate import cli as evaluate_cli
from pipeline.labels import cli as labels_cli
from pipeline.provenance import CONSENT_BASES
from pipeline.stages import StageTable
from pipeline.types import PipelineError


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise argparse.ArgumentTypeError(f"'{text}' is not WIDTHxHEIGHT, for example 576x1024")
    return int(width), int(height)


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of words")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an unexpected error")


def _body(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--body", metavar="PATH", help="SMPLX_NEUTRAL.npz (default: $SMPLX_MODEL, else the open body)")


def _device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device", default="auto", metavar="auto|cpu|cuda", help="default auto: a CUDA card where one works"
    )


def _fit_parser(commands: Any) -> None:
    p = commands.add_parser("fit", help="photo to avatar")
    p.add_argument("photo", metavar="PHOTO", help="JPEG, PNG or WebP of one person seen from the front")
    p.add_argument("--out", required=True, metavar="DIR", help="folder, or file name ending in .avatar")
    p.add_argument("--quality", choices=("fast", "default", "full"), default="default")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--consent", choices=tuple(CONSENT_BASES), help="recorded in the avatar: whose photo it is")
    p.add_argument("--labels", action="append", default=[], metavar="DIR",
                   help="what `label` made, or a folder of pictures of the person; may be repeated")  # fmt: skip
    p.add_argument("--footage", action="append", default=[], metavar="VIDEO",
                   help="a few seconds of the person in the same clothes; may be repeated")  # fmt: skip
    p.add_argument("--profile", action="store_true", help="print seconds and memory of every stage")
    _device(p)
    _body(p)
    _common(p)
    p.set_defaults(run=_fit)


def _animate_parser(commands: Any) -> None:
    p = commands.add_parser("animate", help="avatar and motion to video")
    p.add_argument("avatar", metavar="AVATAR", help="what `fit` wrote")
    p.add_argument("--motion", required=True, metavar="NAME|CLIP.npz|VIDEO", help="see `python -m pipeline motions`")
    p.add_argument("--out", required=True, metavar="OUT.mp4", help=".mp4, .webm, or a folder for PNG frames")
    p.add_argument("--yaw", type=float, default=0.0, help="camera to the person's left, -30..30 degrees")
    p.add_argument("--pitch", type=float, default=0.0, help="camera up, -30..30 degrees")
    p.add_argument("--orbit", type=float, default=0.0, help="swing the camera slowly by so many degrees to each side")
    p.add_argument("--background", default="photo", metavar="photo|#rrggbb|transparent")
    p.add_argument("--fps", type=float, default=30.0, help="frames per second (default 30)")
    p.add_argument("--size", type=_size, default=(576, 1024), metavar="WxH", help="default 576x1024")
    p.add_argument("--amplitude", type=float, default=1.0, help="size of the movement, 0..1.5 (default 1)")
    p.add_argument("--label", action="store_true", help='write "AI-generated" into a corner')
    p.add_argument("--mirror", action="store_true", help="exchange left and right")
    p.add_argument("--speed", type=float, default=1.0, help="0.25..4 times as fast (default 1)")
    p.add_argument("--loop", type=float, metavar="SECONDS", help="repeat the motion without a jump for so long")
    p.add_argument("--then", action="append", default=[], metavar="MOTION", help="fade into another; may be repeated")
    _device(p)
    _body(p)
    _common(p)
    p.set_defaults(run=_animate)


def _video_parsers(commands: Any) -> None:
    track = commands.add_parser("track", help="video of a person to motion clip")
    track.add_argument("video", metavar="VIDEO")
    track.add_argument("--out", required=True, metavar="CLIP.npz")
    track.add_argument("--smooth", choices=("off", "light", "strong"), default="light", help="default light")
    track.add_argument("--overlay", metavar="OVERLAY.mp4", help="also write the video with the tracked body on it")
    track.add_argument("--plot", metavar="PLOT.png", help="also write the joint angles over time")
    track.set_defaults(run=_track)
    reenact = commands.add_parser("reenact", help="self-driven test: a video's own motion drives its first good frame")
    reenact.add_argument("video", metavar="VIDEO")
    reenact.add_argument("--out", required=True, metavar="DIR")
    reenact.add_argument("--quality", choices=("fast", "default", "full"), default="default")
    reenact.add_argument("--seed", type=int, default=0)
    reenact.add_argument(
        "--max-seconds", type=float, default=30.0, help="use at most so much of the video (default 30)"
    )
    reenact.add_argument("--footage-seconds", type=float, metavar="S",
                         help="score with and without the first S seconds as footage, on the rest")  # fmt: skip
    reenact.set_defaults(run=_reenact)
    for p in (track, reenact):
        _body(p)
        _common(p)


def build_parser() -> argparse.ArgumentParser:
    """The argument parser of all commands."""
    parser = argparse.ArgumentParser(prog="python -m pipeline", description=(__doc__ or "").split("\n\n")[0])
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _fit_parser(commands)
    _animate_parser(commands)
    export_cli.add_parser(commands, lambda p: (_body(p), _common(p)))
    _video_parsers(commands)
    motion_cli.add_parsers(commands, _common, lambda p: (_body(p), _common(p)))
    p = commands.add_parser("doctor", help="what runs on which tier on this machine, why, and how to raise it")
    _common(p)
    p.set_defaults(run=_doctor)
    p.add_argument("--weights", action="store_true", help="the table of optional weights instead")
    weights_cli.add_parser(commands, _common)
    verify_cli.add_parser(commands, _common)
    batch_cli.add_parser(commands, _common)
    labels_cli.add_parser(commands, lambda p: (_body(p), _common(p)))
    evaluate_cli.add_parsers(commands, lambda p: (_body(p), _common(p)))
    return parser


def _fit(args: argparse.Namespace) -> None:
    from pipeline import api

    out = Path(args.out)
    console.check_writable(out.parent if out.suffix == ".avatar" else out)
    with console.progress_bar(args.json) as progress:
        table = StageTable(progress)
        avatar = api.fit(args.photo, body=args.body, quality=args.quality, seed=args.seed, consent=args.consent,
                         labels=args.labels, footage=args.footage, device=args.device, progress=table)  # fmt: skip
        table("writing the avatar", 0.0)
        avatar.save(out)
        table.stop()
    result = {"avatar": str(out), "gaussian_count": len(avatar), **avatar.meta, "seconds": round(table.seconds, 2)}
    text = f"{api.describe(avatar)}\nThe avatar is in {out}."
    if args.profile:
        result, text = {**result, "profile": table.to_json()}, f"{text}\n\n{table.as_text()}"
    console.emit(result, text, args.json)


def _animate(args: argparse.Namespace) -> None:
    from pipeline import api
    from pipeline.animation import View
    from pipeline.motion import Playback

    view = View(args.yaw, args.pitch, args.orbit, args.background, args.size, args.fps, args.label)
    view.check(args.out)
    console.check_writable(Path(args.out).absolute().parent)
    with console.progress_bar(args.json) as progress:
        progress("opening the avatar", 0.0)
        avatar = api.load_avatar(args.avatar, body=args.body)
        video = api.animate(avatar, args.motion, args.out, view=view, amplitude=args.amplitude, then=args.then,
                            playback=Playback(args.mirror, args.speed, args.loop), device=args.device,
                            progress=progress)  # fmt: skip
    text = f"{video.path}: {video.frames} frames, {video.size[0]}x{video.size[1]}, {video.speed:.1f} frames per second."
    console.emit(video.to_json(), text, args.json)


def _track(args: argparse.Namespace) -> None:
    from pipeline import api
    from pipeline.motion import save_clip
    from pipeline.motion.plot import save_plot

    out = Path(args.out)
    if out.suffix != ".npz":
        raise PipelineError(f"A motion clip is an .npz file; give --out a name that ends in .npz, not '{out.name}'.")
    for path in (args.out, args.overlay, args.plot):
        if path:
            console.check_writable(Path(path).absolute().parent)
    with console.progress_bar(args.json) as progress:
        clip = api.track(args.video, body=args.body, smooth=args.smooth, overlay=args.overlay, progress=progress)
        save_clip(clip, out)
        if args.plot:
            save_plot(clip, args.plot)
    result = {"clip": str(out), "frames": len(clip), "fps": clip.fps, "seconds": round(clip.duration, 3), **clip.meta}
    lines = [f"{out}: {len(clip)} frames, {clip.duration:.1f} s of motion.", *clip.meta.get("notes", [])]
    gaps, cuts = clip.meta["gaps"], clip.meta["cuts"]
    if gaps:
        lines.append(f"Nobody was seen for {sum(b - a for a, b in gaps):.1f} s in {len(gaps)} gaps; they were bridged.")
    if cuts:
        lines.append(f"The video has {len(cuts)} cuts; the motion was joined over them.")
    console.emit(result, "\n".join(lines), args.json)


def _reenact(args: argparse.Namespace) -> None:
    from pipeline import api

    console.check_writable(Path(args.out))
    with console.progress_bar(args.json) as progress:
        result = api.reenact(args.video, args.out, body=args.body, quality=args.quality, seed=args.seed,
                             max_seconds=args.max_seconds, footage_seconds=args.footage_seconds,
                             progress=progress)  # fmt: skip
    if args.footage_seconds is not None:
        without, taught = (result[k]["mask"]["psnr"] for k in ("photo", "footage"))
        text = (f"Inside the mask, on {result['scored_frames']} frames after the footage: {without:.2f} dB from the "
                f"photo alone, {taught:.2f} dB with footage ({result['footage_gain_psnr_mask']:+.2f} dB).")  # fmt: skip
        return console.emit(result, text, args.json)
    gain = f"{result['gain_psnr_mask']:+.2f} dB inside the mask, {result['gain_psnr_full']:+.2f} dB on white"
    text = f"{args.out}/comparison.mp4: {result['frames']} frames; against the still photo {gain}."
    if not result["camera_at_rest"]:
        text += "\nThe camera moves in this video: the avatar moves with it, and the frames' mattes are less steady."
    console.emit(result, text, args.json)


def _doctor(args: argparse.Namespace) -> None:
    from pipeline import doctor

    if args.weights:
        return weights_cli.show(args)
    checkup = doctor.checkup()
    console.emit(checkup, doctor.as_text(checkup), args.json)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: arguments without the program's name; None takes them from the command line.

    Returns:
        The exit code (see the module text); wrong usage leaves by ``SystemExit(2)`` as argparse does.
    """
    args = build_parser().parse_args(argv)
    return console.run(lambda: args.run(args), as_json=args.json, debug=args.debug)


if __name__ == "__main__":
    sys.exit(main())
