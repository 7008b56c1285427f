"""The Gaussian stage on the best device, and what happens when a card's memory is too small for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from pipeline.avatar.optimise import Fields, GaussianStage

Show = Callable[[np.ndarray, float], None]
"""Called with a picture of the avatar as it is, (h, w, 3) uint8, and the share of the stage that is done."""
SHOW_EVERY = 1.0
"""Seconds between two pictures."""
OUT_OF_MEMORY = "The CUDA card ran out of memory; the rest was refined on the CPU."


@dataclass(frozen=True)
class Refined:
    """What came out: the ``fields``, the ``rasteriser`` that drew them last, and a ``remark`` for the user or None."""

    fields: Fields
    rasteriser: str
    remark: str | None = None


def refine(
    make: Callable[[torch.device], GaussianStage],
    device: torch.device,
    tell: Callable[[str, float], None],
    show: Show | None = None,
) -> Refined:
    """Run the stage; where a card has too little memory, go on on the CPU from what was reached.

    Args:
        make: makes the stage on a device.
        device: where to begin.
        tell: hears of the stage's name and the share done; may raise to cancel.
        show: sees the avatar every ``SHOW_EVERY`` seconds; may raise to cancel.

    Raises:
        What ``tell`` or ``show`` raises.
    """
    stage, reached, done = None, None, 0
    try:
        stage = make(device)
        fields = stage.run(_ticking(stage, "refining", tell, show))
        return Refined(fields, stage.rasteriser)
    except torch.OutOfMemoryError:
        if device.type == "cpu":
            raise
        if stage is not None:
            reached, done = stage.reached(), stage.done
    stage = None  # frees the card's memory
    torch.cuda.empty_cache()
    stage = make(torch.device("cpu"))
    if reached is not None:
        stage.resume(reached, done)
    fields = stage.run(_ticking(stage, "refining on the CPU: the card is full", tell, show))
    return Refined(fields, stage.rasteriser, OUT_OF_MEMORY)


def _ticking(
    stage: GaussianStage, name: str, tell: Callable[[str, float], None], show: Show | None
) -> Callable[[float], None]:
    """What the stage calls at every step: tells how far it is, and now and then shows the avatar."""
    shown = time.monotonic() - SHOW_EVERY  # the first picture at once

    def tick(share: float) -> None:
        nonlocal shown
        tell(name, share)
        if show is not None and time.monotonic() - shown >= SHOW_EVERY and (picture := stage.picture()) is not None:
            show(picture, share)
            shown = time.monotonic()

    return tick
