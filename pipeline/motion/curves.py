"""Curve shapes used by authoring and by blending."""

from __future__ import annotations

import numpy as np

from ..types import Array


def min_jerk(x: Array | float) -> Array:
    """The minimum-jerk course 10 x^3 - 15 x^4 + 6 x^5 with ``x`` clipped to 0..1."""
    x = np.clip(x, 0.0, 1.0)
    return x**3 * (10.0 - 15.0 * x + 6.0 * x**2)
