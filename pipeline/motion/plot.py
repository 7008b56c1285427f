"""Joint angles of a clip over time, as one picture: for judging a tracked motion at a glance."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np

from ..types import Array, MotionClip, PipelineError
from .skeleton import ARKIT, INDEX

SIDES = (("left", "tab:orange"), ("right", "tab:blue"))


def _rows(clip: MotionClip) -> list[tuple[str, list[tuple[str, str, Array]]]]:
    """Title and curves (label, colour, values) of every row; angles in degrees."""

    def both(joint: str) -> list[tuple[str, str, Array]]:
        return [(s, colour, _size(clip.body_pose[:, INDEX[f"{s}_{joint}"] - 1])) for s, colour in SIDES]

    head = np.degrees(clip.body_pose[:, INDEX["head"] - 1] + clip.body_pose[:, INDEX["neck"] - 1])
    eyes = np.degrees(0.5 * (clip.leye_pose + clip.reye_pose))
    hands = [(s, c, _size(getattr(clip, f"{s}_hand_pose")).mean(axis=1)) for s, c in SIDES]
    face = [(n, c, clip.arkit[:, ARKIT.index(n)]) for n, c in (("jawOpen", "tab:red"), ("eyeBlinkLeft", "tab:green"))]
    return [
        ("head (degrees)", [(n, c, head[:, i]) for i, (n, c) in enumerate(
            (("pitch", "tab:red"), ("yaw", "tab:green"), ("roll", "tab:purple")))]),
        ("shoulders (degrees)", both("shoulder")),
        ("elbows (degrees)", both("elbow")),
        ("wrists (degrees)", both("wrist")),
        ("fingers, mean (degrees)", hands),
        ("gaze (degrees)", [("down", "tab:red", eyes[:, 0]), ("left", "tab:green", eyes[:, 1])]),
        ("mouth and lids", face),
    ]  # fmt: skip


def _size(aa: Array) -> Array:
    return np.degrees(np.linalg.norm(aa, axis=-1))


def save_plot(clip: MotionClip, path: str | Path) -> None:
    """Write the curves of head, arms, hands, eyes and mouth to a PNG; gaps and cuts of the meta are marked.

    Args:
        clip: any clip.
        path: ends in ``.png``.

    Raises:
        PipelineError: another ending, or a folder that cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    path = Path(path)
    if path.suffix.lower() != ".png":
        raise PipelineError(f"A plot is written as .png, not as '{path.name}'.")
    rows, seconds = _rows(clip), np.arange(len(clip)) / clip.fps
    figure = Figure(figsize=(11, 1.55 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), 1, sharex=True)
    for axis, (title, curves) in zip(axes, rows, strict=True):
        for label, colour, values in curves:
            axis.plot(seconds, values, color=colour, linewidth=1, label=label)
        for begin, end in clip.meta.get("gaps", []):
            axis.axvspan(begin, end, color="0.85", zorder=0)
        for cut in clip.meta.get("cuts", []):
            axis.axvline(cut, color="k", linewidth=0.8, linestyle=":")
        axis.set_ylabel(title, fontsize=7)
        axis.legend(loc="upper right", fontsize=6, ncols=3, frameon=False)
        axis.tick_params(labelsize=7)
    axes[-1].set_xlabel("seconds (grey: nobody seen, bridged; dotted: a cut)", fontsize=8)
    try:
        handle, name = tempfile.mkstemp(dir=path.absolute().parent, prefix=f".{path.stem}-", suffix=".png")
        os.close(handle)
        try:
            FigureCanvasAgg(figure).print_png(name)
            os.chmod(name, 0o644)
            os.replace(name, path)
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError as error:
        raise PipelineError(f"'{path.name}' cannot be written ({error.strerror}); choose another folder.") from error
