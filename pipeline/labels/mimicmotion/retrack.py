"""Re-tracking of generated frames (paper, section 3.3): shape fixed, first only the place, then all (Eq. 6)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.body import BodyModel
from pipeline.labels.mimicmotion.driving import Driving
from pipeline.perceive.detect import Detector
from pipeline.perceive.matte import Matter
from pipeline.perceive.photo import person_height_pixels
from pipeline.perceive.register import STATE, RegisterConfig, Stage, register
from pipeline.perceive.report import part_errors
from pipeline.perceive.targets import build_targets
from pipeline.types import Array, BodyParams, Detections

STAGES = (
    Stage(50, 0.02, ("transl",)),
    Stage(140, 0.02, STATE, prior=0.7),
    Stage(60, 0.006, STATE, prior=0.7),
)


@dataclass(frozen=True)
class Retracked:
    """One generated frame, understood.

    Attributes:
        params: its body, with the photo's shape. detections: what was seen, in its pixels. alpha: (H, W) matte.
        errors: reprojection error per part, percent of the person's height; NaN where the part was not seen.
        height: of the whole person, pixels.
    """

    params: BodyParams
    detections: Detections
    alpha: Array
    errors: dict[str, float]
    height: float


def retrack(
    frames: Array, driving: Driving, body: BodyModel, *, progress: Callable[[float], None] | None = None
) -> list[Retracked | None]:
    """Explain generated frames by the photo's body.

    Args:
        frames: (F, H, W, 3) uint8, as large as the photo's crop.
        driving: what they were asked to show; the start of the search.
        body: body model.
        progress: called with the share done.

    Returns:
        One entry per frame, None where nobody was found.
    """
    tell = progress or (lambda share: None)
    found = []
    with Detector(static=False) as detector:
        for i, frame in enumerate(frames):
            found.append(detector.detect(frame))
            tell(0.4 * (i + 1) / len(frames))
    if all(d is None for d in found):
        return [None] * len(frames)
    camera = driving.camera
    targets = build_targets(found, camera.width, camera.height)
    start = _start(driving) if driving.posed else None
    registration = register(
        targets, body, camera, RegisterConfig(stages=STAGES), init=start, betas=driving.params[0].betas,
        fixed_shape=True, progress=lambda share: tell(0.4 + 0.4 * share),
    )  # fmt: skip
    heights = person_height_pixels(body, registration, camera)
    errors = part_errors(registration, targets, heights)
    out: list[Retracked | None] = []
    with Matter() as matter:
        for i, (frame, seen) in enumerate(zip(frames, found, strict=True)):
            tell(0.8 + 0.2 * i / len(frames))
            if seen is None:
                out.append(None)
                continue
            parts = {name: float(values[i]) for name, values in errors.items()}
            alpha = matter.matte(frame, seen, "fast")
            out.append(Retracked(registration.frame(i), seen, alpha, parts, float(heights[i])))
    return out


def _start(driving: Driving) -> dict[str, Array]:
    """The driving motion as the registration's first guess."""
    state = {k: np.stack([getattr(p, k) for p in driving.params]) for k in STATE if k != "arkit"}
    return {**state, "arkit": driving.arkit}
