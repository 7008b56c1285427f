"""LPIPS (Zhang et al. 2018), SqueezeNet variant, v0.1, in plain torch.

The weights are never made up: without a file there is no number. The file is an ``.npz`` with torchvision's key names
(``features.0.weight`` ...) for SqueezeNet 1.1 and ``linI.model.1.weight`` for the seven heads.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from pipeline.types import PipelineError

ENV_VAR = "ONESHOT_LPIPS"
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
FIRES = (3, 4, 6, 7, 9, 10, 11, 12)
POOL_BEFORE = (3, 6, 9)
TAPS = (1, 4, 7, 9, 10, 11, 12)
"""Index in torchvision's ``features`` after which a feature map is compared; 1 is the first ReLU."""


class LpipsSqueeze(torch.nn.Module):
    """The perceptual distance d(a, b) >= 0, 0 for equal pictures.

    Args:
        weights: name to array, as in the file; missing or odd ones raise :class:`PipelineError`.
    """

    shift: torch.Tensor
    scale: torch.Tensor

    def __init__(self, weights: dict[str, np.ndarray]) -> None:
        super().__init__()
        needed = ["features.0.weight", "features.0.bias"]
        for i in FIRES:
            needed += [f"features.{i}.{part}.{kind}" for part in ("squeeze", "expand1x1", "expand3x3")
                       for kind in ("weight", "bias")]  # fmt: skip
        needed += [f"lin{i}.model.1.weight" for i in range(len(TAPS))]
        missing = [name for name in needed if name not in weights]
        if missing:
            raise PipelineError(
                f"The LPIPS weights lack {missing[0]} and {len(missing) - 1} more; fetch the file again."
            )
        for name in needed:
            self.register_buffer(name.replace(".", "_"), torch.from_numpy(np.array(weights[name], np.float32)))
        self.register_buffer("shift", torch.tensor(SHIFT).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor(SCALE).view(1, 3, 1, 1))

    def _conv(self, x: torch.Tensor, name: str, **kwargs: int) -> torch.Tensor:
        w, b = getattr(self, f"{name}_weight"), getattr(self, f"{name}_bias")
        return F.relu(F.conv2d(x, w, b, **kwargs))

    def features(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The seven unit-normalised feature maps of (B, 3, H, W) pictures in -1..1."""
        x = self._conv((x - self.shift) / self.scale, "features_0", stride=2)
        maps = [x]
        for i in FIRES:
            if i in POOL_BEFORE:
                x = F.max_pool2d(x, 3, 2, ceil_mode=True)
            x = self._conv(x, f"features_{i}_squeeze")
            wide = [self._conv(x, f"features_{i}_expand1x1"), self._conv(x, f"features_{i}_expand3x3", padding=1)]
            x = torch.cat(wide, 1)
            if i in TAPS:
                maps.append(x)
        return [m / (m.square().sum(1, keepdim=True).sqrt() + 1e-10) for m in maps]

    def distance(self, a: list[torch.Tensor], b: list[torch.Tensor]) -> torch.Tensor:
        """(B,) distance of two feature stacks from :meth:`features`."""
        total = torch.zeros(a[0].shape[0], device=a[0].device)
        for i, (p, q) in enumerate(zip(a, b, strict=True)):
            total = total + F.conv2d((p - q).square(), getattr(self, f"lin{i}_model_1_weight")).mean((1, 2, 3))
        return total

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """(B,) distance of pictures (B, 3, H, W) in -1..1; differentiable."""
        return self.distance(self.features(a), self.features(b))

    @torch.no_grad()
    def of_images(self, a: np.ndarray, b: np.ndarray, mask: np.ndarray | None = None) -> float:
        """Distance of two (H, W, 3) pictures in 0..1.

        With a mask (H, W), what lies outside is painted white in both and the pictures are cut to the mask's box
        (at least 64 pixels a side), so that empty ground does not dilute the number.
        """
        if mask is not None:
            a, b = _masked_box(a, mask), _masked_box(b, mask)
        tensors = [torch.from_numpy(np.ascontiguousarray(x, np.float32)).permute(2, 0, 1)[None] * 2 - 1 for x in (a, b)]
        return float(self(*tensors))


def _masked_box(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    weight = mask.astype(np.float32)[..., None]
    painted = image * weight + (1 - weight)
    rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return painted
    spans = []
    for first, last, size in ((rows[0], rows[-1] + 1, mask.shape[0]), (cols[0], cols[-1] + 1, mask.shape[1])):
        grow = max(0, 64 - (last - first))
        first = max(0, min(first - grow // 2, size - 64))
        spans.append(slice(first, max(last, min(first + 64, size))))
    return painted[spans[0], spans[1]]


def load_lpips(path: str | Path | None = None) -> LpipsSqueeze | None:
    """The metric with real weights, or None where there are none.

    Args:
        path: an ``.npz``; None reads the path from the environment variable ``ONESHOT_LPIPS``.

    Raises:
        PipelineError: a path was given and the file is missing or not a plain ``.npz``.
    """
    path = path or os.environ.get(ENV_VAR)
    if not path:
        return None
    try:
        with np.load(path, allow_pickle=False) as data:
            weights = {name: data[name] for name in data.files}
    except (OSError, ValueError) as e:
        raise PipelineError(f"The LPIPS weights {path} could not be read; unset {ENV_VAR} or fetch them.") from e
    return LpipsSqueeze(weights).eval()
