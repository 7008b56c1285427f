"""A motion of half a second, for tests."""

from pathlib import Path

import numpy as np
from test_cli import write_clip

FRAMES = 15


def short_clip(folder: Path) -> Path:
    """15 frames with the arms down, in which the jaw opens and the head turns."""
    arkit, body = np.zeros((FRAMES, 52)), np.zeros((FRAMES, 21, 3))
    arkit[:, 24] = np.linspace(0, 0.5, FRAMES)
    fields = {name: np.zeros((FRAMES, 15, 3)) for name in ("left_hand_pose", "right_hand_pose")}
    fields |= {n: np.zeros((FRAMES, 3)) for n in ("global_orient", "jaw_pose", "leye_pose", "reye_pose", "transl")}
    body[:, 15, 2], body[:, 16, 2] = -1.2, 1.2
    body[:, 11, 1] = np.linspace(-0.4, 0.4, FRAMES)
    return write_clip(folder / "short.npz", body_pose=body, arkit=arkit, **fields)
