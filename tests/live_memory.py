"""Peak memory of a network without running it: fake tensors carry shapes only, and every storage is counted while it
lives."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of all storages that operations make, until they are freed; ``peak`` is the most at one time.

    Args:
        known: tensors that were there before and are not counted, such as weights (their views share the storage).
    """

    def __init__(self, known: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known = {t.untyped_storage()._cdata for t in known}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return result

    def _count(self, storage: Any) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self._known:
            self._known.add(key)
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._free, key, size)

    def _free(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def fake(network: nn.Module) -> nn.Module:
    """Give a network on the meta device fake tensors on the CPU, where attention is fused as on a card."""
    for module in network.modules():
        for table in (module._parameters, module._buffers):
            for name, tensor in table.items():
                if tensor is not None:
                    blank = torch.empty(tensor.shape, dtype=tensor.dtype)
                    table[name] = nn.Parameter(blank, False) if isinstance(tensor, nn.Parameter) else blank
    return network.eval()


def peak_gigabytes(network: nn.Module, call: Callable[[nn.Module], Any]) -> tuple[float, float]:
    """Peak of what a call makes, inputs included that ``call`` makes itself, and the weights, both in 1e9 bytes."""
    with FakeTensorMode(), torch.no_grad():
        network = fake(network)
        weights = [*network.parameters(), *network.buffers()]
        with LiveBytes(weights) as live:
            call(network)
    return live.peak / 1e9, sum(w.nbytes for w in weights) / 1e9
