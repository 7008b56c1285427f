"""``python -m pipeline export``: an avatar as PLY, picture, animation, web page or ``.avatar`` file."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline import console
from pipeline.types import PipelineError

FORMS = {
    "ply": ("OUT.ply", "Gaussians in one pose, for splat viewers and editors", (".ply",)),
    "still": ("OUT.png", "a picture of one pose, .png or .jpg", (".png", ".jpg")),
    "moving": ("OUT.gif", "an animation of the motion, .gif or .webp", (".gif", ".webp")),
    "html": ("OUT.html", "the 3D view as one page that needs no server", (".html",)),
    "avatar-file": ("OUT.avatar", "the avatar itself as one file", (".avatar",)),
}


def add_parser(commands: Any, common: Callable[[argparse.ArgumentParser], Any]) -> None:
    """Add the command to ``python -m pipeline``; ``common`` adds what every command takes."""
    p = commands.add_parser("export", help="avatar to Gaussian PLY, picture, GIF/WebP or a 3D web page")
    p.add_argument("avatar", metavar="AVATAR", help="what `fit` wrote")
    for name, (metavar, text, _) in FORMS.items():
        p.add_argument(f"--{name}", metavar=metavar, help=text)
    p.add_argument("--motion", metavar="NAME|CLIP.npz|VIDEO", help="the pose or motion (default: the photo's pose)")
    p.add_argument("--frame", type=int, default=0, metavar="N", help="which frame of the motion, for one pose")
    p.add_argument("--background", default="photo", metavar="photo|#rrggbb|transparent")
    common(p)
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Write every form that was asked for.

    Raises:
        PipelineError: no form, or an ending that does not fit it.
    """
    asked = {name: Path(value) for name in FORMS if (value := getattr(args, name.replace("-", "_")))}
    if not asked:
        raise PipelineError("Nothing to export; give one or more of --ply, --still, --moving, --html, --avatar-file.")
    for name, out in asked.items():
        if out.suffix.lower() not in FORMS[name][2]:
            raise PipelineError(f"--{name} takes a name that ends in {' or '.join(FORMS[name][2])}, not '{out.name}'.")
        console.check_writable(out.absolute().parent)
    from pipeline import api
    from pipeline.animation import View
    from pipeline.export import export

    with console.progress_bar(args.json) as progress:
        progress("opening the avatar", 0.0)
        avatar = api.load_avatar(args.avatar, body=args.body)
        clip = api.load_motion(args.motion, body=avatar.body, progress=progress) if args.motion else None
        view = View(background=args.background)
        for out in asked.values():
            export(avatar, out, motion=clip, frame=args.frame, view=view, progress=progress)
    sizes = {name: {"path": str(out), "bytes": out.stat().st_size} for name, out in asked.items()}
    text = "\n".join(f"{entry['path']}: {entry['bytes'] / 1e6:.1f} MB" for entry in sizes.values())
    console.emit({"exported": sizes}, text, args.json)
