"""A varied choice among many."""

from __future__ import annotations

import numpy as np

from pipeline.types import Array


def farthest_points(features: Array, count: int) -> list[int]:
    """Indices of ``count`` rows as different as can be, farthest-point order, repeatable; nearest the median first.

    Args:
        features: (N, D), in units that make distances comparable.
    """
    if not len(features):
        return []
    features = features - np.median(features, 0)
    chosen = [int(np.linalg.norm(features, axis=1).argmin())]
    nearest = np.linalg.norm(features - features[chosen[0]], axis=1)
    while len(chosen) < min(count, len(features)):
        nearest[chosen] = -1
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, np.linalg.norm(features - features[chosen[-1]], axis=1))
    return chosen
