"""Room for the pairs of splat and tile in a loop that draws nearly the same picture again and again."""

from __future__ import annotations

import torch
from torch import Tensor

CHECK_EVERY = 50
HEADROOM = 2.0
FULL = 0.75


class PairBudget:
    """How many pairs to make room for without asking the device each time, which would make the host wait for it.

    The first use waits and takes twice what was needed. Then the device keeps the largest number on its own, and every
    ``CHECK_EVERY`` uses it is looked at and the room grown when it is three quarters full. Splats of a fit change by
    a few per cent in that time; if the room were ever too small, the hindmost splats would be left out until then.
    """

    def __init__(self) -> None:
        self._capacity, self._uses = 0, 0
        self._most: Tensor | None = None

    def room(self, total: Tensor) -> int:
        """Pairs to make room for, given the number that is needed now (a scalar on the device, not read mostly)."""
        self._most = total if self._most is None else torch.maximum(self._most, total)
        if self._uses % CHECK_EVERY == 0:
            most = int(self._most)
            if most > FULL * self._capacity:
                self._capacity = max(1, int(HEADROOM * most))
        self._uses += 1
        return self._capacity
