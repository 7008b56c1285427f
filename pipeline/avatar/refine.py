"""The Gaussian stage on the best device, and what happens when a card's memory is too small for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from pipeline.avatar.optimise import Fields, GaussianStage

OUT_OF_MEMORY = "The CUDA card ran out of memory; the rest was refined on the CPU."


@dataclass(frozen=True)
class Refined:
    """What came out: the ``fields``, the ``rasteriser`` that drew them last, and a ``remark`` for the user or None."""

    fields: Fields
    rasteriser: str
    remark: str | None = None


def refine(
    make: Callable[[torch.device], GaussianStage], device: torch.device, tell: Callable[[str, float], None]
) -> Refined:
    """Run the stage; where a card has too little memory, go on on the CPU from what was reached.

    Args:
        make: makes the stage on a device.
        device: where to begin.
        tell: hears of the stage's name and the share done; may raise to cancel.

    Raises:
        What ``tell`` raises.
    """
    stage, reached, done = None, None, 0
    try:
        stage = make(device)
        fields = stage.run(lambda share: tell("refining", share))
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
    fields = stage.run(lambda share: tell("refining on the CPU: the card is full", share))
    return Refined(fields, stage.rasteriser, OUT_OF_MEMORY)
