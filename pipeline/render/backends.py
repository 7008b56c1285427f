"""Which rasterisers work on this machine."""

from __future__ import annotations

import functools
import os
import re
from importlib.util import find_spec
from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.types import PipelineError


class Backend(NamedTuple):
    """A rasteriser: its name, whether it works here, and why or why not in words."""

    name: str
    available: bool
    reason: str


GAUSSIANS, MASKS = ("gsplat", "triton"), ("nvdiffrast", "triton")
"""What draws on a CUDA device, best first."""
REPEATABLE, REPEATABLE_MASKS = ("triton", "gsplat"), ("triton", "nvdiffrast")
"""The same for a fit: Triton's kernels give the same bits each time and spare the host waiting for the device."""


def available_backends() -> list[Backend]:
    """All rasterisers that the project knows, for `doctor` and for choosing one.

    Returns:
        "cpu" (Gaussians and meshes, always there), "gsplat" (Gaussians on CUDA), "nvdiffrast" (mesh masks on CUDA) and
        "triton" (both on CUDA, with what a CUDA build of torch brings along).
    """
    from pipeline.render.parallel import thread_count

    threads = thread_count()
    cpu = Backend("cpu", True, f"numba kernels on {threads} thread{'s' if threads > 1 else ''}")
    return [cpu, *(probe(name) for name in ("gsplat", "nvdiffrast", "triton"))]


def probe(name: str) -> Backend:
    """Whether a CUDA backend can be imported and draws one small picture as it should; tried once per process."""
    if not torch.cuda.is_available():
        return Backend(name, False, "no CUDA device that torch can use")
    if find_spec(name) is None:
        return Backend(name, False, f"the package {name} is not installed")
    return _tried(name, os.getpid())  # a forked worker may have a card where its parent has none


@functools.lru_cache(maxsize=8)
def _tried(name: str, process_id: int) -> Backend:
    from pipeline.render import trials

    try:
        trials.TRIALS[name]()
    except Exception as error:  # whatever a foreign build step throws is the reason that we report
        return Backend(name, False, f"the trial call failed: {error}".splitlines()[0])
    return Backend(name, True, f"trial call passed on {torch.cuda.get_device_name()}")


def pick_backend(wanted: str | None, like: Tensor, accelerators: tuple[str, ...] = GAUSSIANS) -> str:
    """The rasteriser to use for tensors on the device of ``like``: "cpu" or one of the ``accelerators``.

    Args:
        wanted: a name, or None to choose: the first accelerator that works for CUDA tensors, else "cpu".
        like: tells the device.
        accelerators: ``GAUSSIANS``, ``MASKS``, ``REPEATABLE`` or ``REPEATABLE_MASKS``.

    Raises:
        PipelineError: the wanted one does not exist or does not work here.
    """
    if wanted is None:
        return next((name for name in accelerators if like.is_cuda and probe(name).available), "cpu")
    if wanted not in ("cpu", *accelerators):
        known = ", ".join(f'"{name}"' for name in ("cpu", *accelerators))
        raise PipelineError(f'There is no rasteriser "{wanted}" for this; use one of {known}.')
    if wanted != "cpu" and not probe(wanted).available:
        raise PipelineError(f'The rasteriser "{wanted}" does not work here ({probe(wanted).reason}); use "cpu".')
    return wanted


def choose_device(wanted: str = "auto", accelerators: tuple[str, ...] = REPEATABLE) -> torch.device:
    """Where to work: a CUDA card where one of the accelerators works, else the CPU.

    Args:
        wanted: "auto", "cpu", "cuda" or "cuda:N".
        accelerators: what is needed on the card.

    Raises:
        PipelineError: another name, or a card is wanted and nothing works there (with the reasons).
    """
    if wanted != "auto" and wanted != "cpu" and not re.fullmatch(r"cuda(:\d+)?", wanted):
        raise PipelineError(f"There is no device '{wanted[:40]}'; use auto, cpu or cuda.")
    if wanted == "cpu":
        return torch.device("cpu")
    if any(probe(name).available for name in accelerators):
        device = torch.device("cuda" if wanted == "auto" else wanted)
        if (device.index or 0) >= torch.cuda.device_count():
            raise PipelineError(
                f"There are {torch.cuda.device_count()} CUDA devices here, and {device} is not among them."
            )
        return device
    if wanted == "auto":
        return torch.device("cpu")
    reasons = "; ".join(f"{name}: {probe(name).reason}" for name in accelerators)
    raise PipelineError(f"The CUDA device cannot be used here ({reasons}); use the CPU.")
