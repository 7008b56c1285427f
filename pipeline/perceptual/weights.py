"""Where LPIPS gets its weights: a local file, or the two parts of the Hub table. They are never made up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline.checkpoints import read_tensors
from pipeline.perceptual.lpips import Lpips
from pipeline.perceptual.networks import NETWORKS, SQUEEZE, VGG
from pipeline.types import PipelineError
from pipeline.weights import find

FILE_PART = "lpips-squeeze"
"""Entry of the table whose variable, ``ONESHOT_LPIPS``, names one file with features and heads of either network."""
VGG_PARTS = ("vgg16", "lpips-vgg")
"""Entries of the table that together make LPIPS-VGG: features and heads."""


def read_file(path: str | Path) -> Lpips:
    """LPIPS from one file that holds features and heads; the names in it tell which network it is.

    Args:
        path: ``.npz``, ``.safetensors`` or a pickled state dict of plain tensors.

    Raises:
        PipelineError: missing or damaged file, or not the weights of a known network.
    """
    path = Path(path)
    tensors = _read_npz(path) if path.suffix == ".npz" else read_tensors(path)
    for network in NETWORKS.values():
        last = list(network.shapes)[-1]
        if last in tensors:
            return _checked(path.name, network.name, tensors)
    names = " or ".join(f"{list(n.shapes)[-1]} ({n.name})" for n in NETWORKS.values())
    raise PipelineError(f"{path.name} holds no LPIPS weights: neither {names} is in it; fetch the file again.")


def _read_npz(path: Path) -> dict[str, Tensor]:
    try:
        with np.load(path, allow_pickle=False) as data:
            return {name: torch.from_numpy(np.array(data[name], np.float32)) for name in data.files}
    except Exception as error:  # a damaged zip fails in many ways
        raise PipelineError(f"The LPIPS weights {path} could not be read; fetch the file again.") from error


def _checked(source: str, network: str, tensors: dict[str, Tensor]) -> Lpips:
    try:
        return Lpips(NETWORKS[network], tensors).eval()
    except PipelineError as error:
        raise PipelineError(f"{source}: {error}") from error


def available(name: str) -> str | None:
    """Whether LPIPS with the network ``name`` ("vgg" or "squeeze") has weights here; where from, or None.

    A file that ``ONESHOT_LPIPS`` names counts for the network that is in it, which is found out by opening it.

    Raises:
        PipelineError: a variable points nowhere, or its file is damaged.
    """
    if name == VGG.name and all(find(part).local_path() for part in VGG_PARTS):
        return " and ".join(str(find(part).local_path().name) for part in VGG_PARTS)
    path = find(FILE_PART).local_path()
    return f"ONESHOT_LPIPS, {path.name}" if path and read_file(path).network.name == name else None


def load_lpips(name: str | None = None, path: str | Path | None = None) -> Lpips | None:
    """LPIPS with real weights, or None where there are none.

    Args:
        name: "vgg", "squeeze", or None for what ``path`` or ``ONESHOT_LPIPS`` holds.
        path: a file; None looks at ``ONESHOT_LPIPS`` and, for "vgg", at the cache of downloads.

    Raises:
        PipelineError: a named file is missing, damaged, or holds something else.
    """
    if path is not None:
        return _wanted(read_file(path), name)
    if name == VGG.name and all(find(part).local_path() for part in VGG_PARTS):
        tensors: dict[str, Tensor] = {}
        for part in VGG_PARTS:
            tensors |= read_tensors(find(part).local_path())  # type: ignore[arg-type]
        return _checked(" with ".join(VGG_PARTS), VGG.name, tensors)
    local = find(FILE_PART).local_path()
    if local is None:
        return None
    loaded = read_file(local)
    return loaded if name in (None, loaded.network.name) else None


def _wanted(loaded: Lpips, name: str | None) -> Lpips:
    if name not in (None, loaded.network.name):
        raise PipelineError(f"The file holds LPIPS ({loaded.network.name}), not LPIPS ({name}); name the other one.")
    return loaded


__all__ = ["SQUEEZE", "VGG", "available", "load_lpips", "read_file"]
