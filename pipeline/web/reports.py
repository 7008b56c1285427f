"""What is told and shown of a finished avatar: the fit report and pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import api
from pipeline.animation import View

if TYPE_CHECKING:
    from pipeline.avatar import Avatar

SMALL = (288, 512)
"""Width and height of small pictures."""


def report(avatar: Avatar) -> dict[str, Any]:
    """The fit report of an avatar as plain values."""
    return {
        **avatar.meta.get("report", {}),
        "metrics": api.numbers(avatar),
        "tiers": avatar.meta.get("tiers", {}),
        "seconds": avatar.meta.get("seconds"),
    }


def report_text(avatar: Avatar) -> str:
    """The fit report as Markdown, in words and then in numbers."""
    values = report(avatar)
    lines = [f"**{values.get('summary', '')}**"]
    if values.get("not_visible"):
        lines.append(f"Not in the photo and therefore guessed: {', '.join(values['not_visible'])}.")
    hints = [hint for hint in values.get("hints", []) if "not visible" not in hint]  # said in the line before
    lines += [f"* {hint}" for hint in hints]
    rows = [f"| {name} | {value:g} |" for name, value in values["metrics"].items()]
    table = "\n".join(["| measure | value |", "|---|---|", *rows])
    return "\n\n".join([*lines, f"<details><summary>In numbers</summary>\n\n{table}\n\n</details>"])


def picture_of(avatar: Avatar, path: Path, yaw: float = 0.0) -> None:
    """Write a labelled, marked and signed JPEG of an avatar in its photo's pose.

    On the CPU, because the page's process has no GPU on ZeroGPU.
    """
    from pipeline.export import write_still

    view = View(yaw=yaw, background="#e8e8ec", size=SMALL, label=True)
    write_still(avatar, avatar.params, path, view, device="cpu")


def previews(avatar: Avatar, new_file: Callable[[], Path]) -> list[tuple[str, str]]:
    """The avatar from three sides, and once with the guessed parts tinted.

    Args:
        avatar: whom.
        new_file: gives a path for each picture, a JPEG.

    Returns:
        Path and caption of each picture.
    """
    import torch

    tint = torch.tensor([1.0, 0.42, 0.05])
    share = 0.65 * avatar.guessed[:, None]
    tinted = avatar.replace(rgb=avatar.rgb * (1 - share) + tint * share)
    pictures = [
        (avatar, 0.0, "from the front"),
        (tinted, 0.0, "orange: guessed"),
        (avatar, -20.0, "from its right"),
        (avatar, 20.0, "from its left"),
    ]
    out = []
    for who, yaw, words in pictures:
        path = new_file()
        picture_of(who, path, yaw)
        out.append((str(path), words))
    return out
