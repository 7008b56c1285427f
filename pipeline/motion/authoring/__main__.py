"""Write the presets: ``python -m pipeline.motion.authoring --out motions``."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..clips import save_clip
from .library import PRESETS, make_preset


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.motion.authoring", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("motions"), help="folder for the .npz files")
    parser.add_argument("names", nargs="*", help="presets to write (default: all)")
    options = parser.parse_args(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.names or PRESETS:
        clip = make_preset(name)
        save_clip(clip, options.out / f"{name}.npz")
        print(f"{name}: {clip.duration:.1f} s, {len(clip)} frames")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
