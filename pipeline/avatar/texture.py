"""Cloth of arms and hair that the photo does not show: the folds, prints and strands of the shown part, continued.

A guessed sleeve in one smooth colour looks like plastic beside a photographed one, and the back of a head like a cap.
The shown part is unrolled (an arm in the canonical pose is a cylinder along x, a head about a ball), and a hidden place
takes its detail from where it falls when the unrolled part is folded back and forth about the rims of what is shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

from pipeline.avatar import completion
from pipeline.avatar import geometry as geo

if TYPE_CHECKING:
    from pipeline.body import BodyModel

Array = np.ndarray

ENOUGH = 300
"""Shown Gaussians of a part below which there is nothing to continue."""
LENGTH = 0.03
"""Shortest shown stretch, metres, that is continued."""
STRONGEST = 0.25
"""Largest difference per channel from the smooth colour that is carried over, and between the smooth colours of two
places of one cloth: badges and skin stay where they are."""
FOLDS, SAME, COLOURFUL = 0.07, 0.04, 0.3
"""The same for folds of sleeves, which are stripes when they are repeated all around an arm; the difference in the
shares of red, green and blue up to which something is a fold and no print; and the saturation below which nobody can
tell."""


def continue_texture(
    body: BodyModel, canonical: Array, group: Array, face: Array, rgb: Array, smooth: Array, seen: Array
) -> Array:
    """Give guessed sleeves and hair the detail of the shown ones.

    Args:
        canonical: (N, 3) points of the surface layer at the T-pose. group: (N,) int8. face: (N,) triangles.
        rgb: (N, 3) colours, from the photo where ``seen`` (N,) bool, else smooth.
        smooth: (N, 3) completed vertex colours at all points: what the detail is relative to.

    Returns:
        (N, 3) colours; those of seen points and of all other parts are unchanged.
    """
    material = completion.materials(body)[np.asarray(body.faces)[face]]
    cloth, hair = ((material == m).all(1) for m in (completion.CLOTH, completion.HAIR))
    rgb = rgb.copy()
    for part, unroll in (
        (cloth & (group == geo.LEFT_ARM), unroll_arm),
        (cloth & (group == geo.RIGHT_ARM), unroll_arm),
        (hair, unroll_head),
    ):
        todo = np.flatnonzero(part & ~seen)
        if len(todo) == 0:
            continue
        known = np.flatnonzero(part & seen & (np.abs(rgb - smooth).max(1) < STRONGEST))
        if len(known) < ENOUGH:
            continue
        place = unroll(canonical, part)
        low, high = np.quantile(place[known], (0.03, 0.97), axis=0)
        if (high - low).min() < LENGTH:
            continue
        _, near = cKDTree(place[known]).query(fold(place[todo], low, high))
        source = known[near]
        alike = np.abs(smooth[source] - smooth[todo]).max(1) < STRONGEST
        detail = rgb[source] - smooth[source]
        shade = shaded(rgb[source], smooth[source]) & ~hair[todo]
        detail[shade] = np.clip(detail[shade], -FOLDS, FOLDS)
        rgb[todo] = np.clip(rgb[todo] + detail * alike[:, None], 0, 1)
    return rgb


def shaded(rgb: Array, smooth: Array) -> Array:
    """Whether colours (N, 3) are the ``smooth`` ones (N, 3) in another light, (N,) bool; unknown without colour."""
    tints = [c / np.maximum(c.sum(1, keepdims=True), 0.05) for c in (rgb, smooth)]
    colourful = 1 - smooth.min(1) / np.maximum(smooth.max(1), 0.02) > COLOURFUL
    return colourful & (np.abs(tints[0] - tints[1]).max(1) < SAME)


def unroll_arm(points: Array, arm: Array) -> Array:
    """(N, 2) metres along the arm and around it, 0 in front, of points (N, 3); ``arm`` (N,) bool gives the axis."""
    y, z = (points[:, 1:] - np.median(points[arm][:, 1:], axis=0)).T
    return np.stack([np.abs(points[:, 0]), np.arctan2(y, z) * np.median(np.hypot(y, z)[arm])], 1)


def unroll_head(points: Array, head: Array) -> Array:
    """(N, 2) metres from the front over the top to the back, and sideways, of points (N, 3) on a head (N,) bool."""
    x, y, z = (points - 0.5 * (points[head].min(0) + points[head].max(0))).T
    radius = np.median(np.sqrt(x**2 + y**2 + z**2)[head])
    return radius * np.stack([np.arctan2(y, z), np.arctan2(x, np.hypot(y, z))], 1)


def fold(value: Array, low: Array, high: Array) -> Array:
    """Reflect values into ``low``..``high`` as often as it takes (a triangle wave)."""
    span = high - low
    t = np.mod(value - low, 2 * span)
    return low + np.minimum(t, 2 * span - t)
