"""Which perceptual distance the fit uses for L_diff."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from pipeline.perceptual.structural import PerceptualLoss, structural_loss
from pipeline.perceptual.weights import load_lpips
from pipeline.types import PipelineError

Wanted = Literal["auto", "structural", "squeeze", "vgg"]


@dataclass(frozen=True)
class Measure:
    """A perceptual distance with its name.

    Attributes:
        name: "lpips-vgg", "lpips-squeeze" or "structural".
        loss: (render (H, W, 3), target (H, W, 3), weight (H, W)) -> scalar.
        network: what the loss computes with, if anything.
    """

    name: str
    loss: PerceptualLoss
    network: nn.Module | None = None

    def to(self, device: torch.device) -> Measure:
        """The same for pictures on a device (moves the network, in place)."""
        if self.network is not None:
            self.network.to(device)
        return self

    @property
    def tier(self) -> str:
        """ "full" for LPIPS, "embedded" for the weight-free one."""
        return "embedded" if self.name == "structural" else "full"


def choose_measure(wanted: Wanted = "auto") -> Measure:
    """The distance of L_diff (Eq. 9).

    Args:
        wanted: "vgg" or "squeeze" (LPIPS), "structural" (needs no weights), or "auto": vgg where its weights are,
            else structural, which teaches better than squeeze (docs/ablation.md).

    Raises:
        PipelineError: LPIPS is asked for and its weights are not here, or they are damaged.
    """
    for name in ("vgg",) if wanted == "auto" else (wanted,):
        if name == "structural":
            break
        lpips = load_lpips(name)
        if lpips is not None:
            return Measure(f"lpips-{name}", lpips.loss, lpips)
        if wanted != "auto":
            raise PipelineError(
                f"LPIPS ({name}) has no weights on this machine; see `python -m pipeline weights`, or use the "
                "structural loss."
            )
    return Measure("structural", structural_loss)
