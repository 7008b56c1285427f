"""How far the mouth of a video is open, measured on the lips of the face mesh.

A registration explains a long face by an open jaw, and a mouth that never shuts is seen at once on somebody else. The
gap between the lips says how far the jaw can be open at most.
"""

from __future__ import annotations

import numpy as np

from pipeline.body import ARKIT_NAMES
from pipeline.perceive import targets as T
from pipeline.perceive.targets import Targets
from pipeline.types import Array

JAW_OPEN = ARKIT_NAMES.index("jawOpen")

UPPER, LOWER, TOP, CHIN = 13, 14, 10, 152
"""Face mesh points: inner edge of both lips, upper end of the face, chin."""
SHUT = 0.008
"""Gap over the height of the face when the lips touch."""
WIDE = 0.216
"""What an open jaw (coefficient 1) adds to it on the open body."""
MIN_PIXELS = 30.0
"""Height of a face under which nothing is read from it."""


def widest_jaw(faces: Array, seen: Array) -> Array:
    """Largest jaw coefficient (F,) in 0..1 that the lips allow; 1 where they are not seen well.

    Args:
        faces: (F, 478, 2) face mesh points in pixels.
        seen: (F,) bool, frames with a face.
    """
    height = np.linalg.norm(faces[:, CHIN] - faces[:, TOP], axis=-1)
    gap = np.linalg.norm(faces[:, LOWER] - faces[:, UPPER], axis=-1) / np.maximum(height, 1e-6)
    return np.where(seen & (height > MIN_PIXELS), np.clip((gap - SHUT) / WIDE, 0.0, 1.0), 1.0)


def jaw_left(arkit: Array, targets: Targets) -> Array:
    """(F,) share of the open jaw in ``arkit`` (F, 52) that the lips of the face mesh allow, 0..1."""
    widest = widest_jaw(targets.points[:, T.FACE].numpy(), targets.has_face.numpy())
    return np.minimum(1.0, widest / np.maximum(arkit[:, JAW_OPEN], 1e-6)).astype(np.float32)
