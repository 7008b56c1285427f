"""Which rasterisers work on this machine."""

from __future__ import annotations

import functools
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


def available_backends() -> list[Backend]:
    """All rasterisers that the project knows, for `doctor` and for choosing one.

    Returns:
        "cpu" (Gaussians and meshes, always there), "gsplat" (Gaussians on CUDA) and "nvdiffrast" (mesh masks on CUDA).
    """
    from pipeline.render.parallel import thread_count

    threads = thread_count()
    cpu = Backend("cpu", True, f"numba kernels on {threads} thread{'s' if threads > 1 else ''}")
    return [cpu, _probe("gsplat"), _probe("nvdiffrast")]


@functools.lru_cache(maxsize=4)
def _probe(name: str) -> Backend:
    """Import a CUDA backend and let it draw one small picture."""
    if not torch.cuda.is_available():
        return Backend(name, False, "no CUDA device that torch can use")
    if find_spec(name) is None:
        return Backend(name, False, f"the package {name} is not installed")
    from pipeline.render import cuda

    try:
        cuda.TRIALS[name]()
    except Exception as error:  # whatever a foreign build step throws is the reason that we report
        return Backend(name, False, f"the trial call failed: {error}".splitlines()[0])
    return Backend(name, True, f"trial call passed on {torch.cuda.get_device_name()}")


def pick_backend(wanted: str | None, like: Tensor, accelerator: str = "gsplat") -> str:
    """The rasteriser to use for tensors on the device of ``like``: "cpu" or the ``accelerator``.

    Args:
        wanted: a name, or None to choose: the accelerator for CUDA tensors where it works, else "cpu".
        like: tells the device.
        accelerator: "gsplat" for Gaussians, "nvdiffrast" for mesh masks.

    Raises:
        PipelineError: the wanted one does not exist or does not work here.
    """
    if wanted is None:
        return accelerator if like.is_cuda and _probe(accelerator).available else "cpu"
    if wanted not in ("cpu", accelerator):
        raise PipelineError(f'There is no rasteriser "{wanted}" for this; use "cpu" or "{accelerator}".')
    if wanted == accelerator and not _probe(wanted).available:
        raise PipelineError(f'The rasteriser "{wanted}" does not work here ({_probe(wanted).reason}); use "cpu".')
    return wanted
