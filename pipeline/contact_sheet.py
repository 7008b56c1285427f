"""One avatar in every motion, side by side: for judging presets on a new photo at a glance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.types import Array, MotionClip

if TYPE_CHECKING:
    from pipeline.avatar import Avatar

TILE = (216, 384)
"""Width and height of one picture, pixels; drawn at twice that and shrunk."""
COLUMNS, TITLE, GAP = 7, 22, 4
STEP = 5
"""Every fifth frame is looked at for the most telling one."""


def telling_frame(clip: MotionClip) -> int:
    """The frame in which the hands are furthest up, judged on an average adult."""
    from pipeline.motion.skeleton import INDEX
    from pipeline.motion.statistics import joint_paths

    wrists = joint_paths(clip)[1][::STEP, [INDEX["left_wrist"], INDEX["right_wrist"]], 1]
    return STEP * int(np.argmax(wrists.max(axis=1) + 0.5 * wrists.min(axis=1)))


def contact_sheet(
    avatar: Avatar, clips: Sequence[tuple[str, MotionClip]], progress: Callable[[str, float], None] | None = None
) -> Array:
    """Draw one telling frame of every clip on an avatar.

    Args:
        avatar: whom.
        clips: title and motion of each tile.
        progress: called with a stage name and the share done.

    Returns:
        (H, W, 3) uint8, up to seven tiles in a row, titles underneath.
    """
    import cv2

    from pipeline.animation import View, draw_frames
    from pipeline.motion import retarget

    view = View(size=(2 * TILE[0], 2 * TILE[1]))
    rows = -(-len(clips) // COLUMNS)
    columns = min(COLUMNS, len(clips))
    sheet = np.full((rows * (TILE[1] + TITLE + GAP) + GAP, columns * (TILE[0] + GAP) + GAP, 3), 255, np.uint8)
    for i, (title, clip) in enumerate(clips):
        motion = retarget(clip, avatar.body, avatar.params, camera=avatar.camera)
        frame = telling_frame(clip)
        picture = next(draw_frames(avatar, motion[frame : frame + 1], view))
        x, y = GAP + (i % columns) * (TILE[0] + GAP), GAP + (i // columns) * (TILE[1] + TITLE + GAP)
        sheet[y : y + TILE[1], x : x + TILE[0]] = cv2.resize(picture, TILE, interpolation=cv2.INTER_AREA)
        place = (x + 3, y + TILE[1] + TITLE - 7)
        cv2.putText(sheet, title, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, (40, 40, 40), 1, cv2.LINE_AA)
        if progress:
            progress("drawing", (i + 1) / len(clips))
    return sheet


def write_presets(avatar: Avatar, path: str | Path, progress: Callable[[str, float], None] | None = None) -> None:
    """Write the contact sheet of all presets as ``.jpg`` or ``.png``.

    Raises:
        PipelineError: the file cannot be written.
    """
    from pipeline.media import save_image
    from pipeline.motion import get_motion, list_presets

    clips = [(preset.name, get_motion(preset.name)) for preset in list_presets()]
    save_image(path, contact_sheet(avatar, clips, progress), quality=85)
