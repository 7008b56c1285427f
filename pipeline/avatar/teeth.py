"""Teeth that the photo does not show: gaps between them, gums, and the colour of the light.

The body model's teeth are two plain bands. What tells teeth from a white bar is drawn onto them from the usual sizes of
crowns (Wheeler's Dental Anatomy), scaled to the model's arch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pipeline.avatar import geometry as geo
from pipeline.avatar.features import SCLERA
from pipeline.types import Array

if TYPE_CHECKING:
    from pipeline.body import BodyModel

WIDTHS = {"upper_teeth": (8.5, 6.5, 7.5, 7.0, 7.0, 10.0, 9.0), "lower_teeth": (5.0, 5.5, 7.0, 7.0, 7.0, 11.0, 10.5)}
"""Widths of the crowns of one side in millimetres, from the middle backwards."""
CROWN = {"upper_teeth": 0.0105, "lower_teeth": 0.009}
"""Heights of the front crowns in metres; gums beyond."""
GAP_WIDTH, GAP_DEPTH, ROUNDING = 0.0005, 0.4, 0.2
"""Half-width in metres and darkness of the line between two teeth; what the sides of a tooth lose of its brightness."""
GUM = np.array([0.80, 0.50, 0.52], np.float32)
"""Colour of gums over that of teeth."""
GUM_EDGE, SCALLOP = 0.0008, 0.0015
"""Metres over which teeth turn into gums; how much lower the gums reach between two teeth."""
LOWER_SHADE = 0.8
"""Brightness of lower teeth against upper ones: they stand further back, in the shadow of lip and upper teeth."""
WHITES = (0.6, 0.9)
"""Quantiles of brightness between which the colours of a shown eyeball are those of its white."""
LEAST_WHITES, LEAST_BRIGHT = 30, 0.7
"""Samples of an eyeball from which it is measured, and brightness over that of the skin (sunglasses have less)."""
TINT = (0.6, 1.5)


def arch_length(template: Array, band: Array, x: Array) -> Array:
    """Way along the front of a dental arch from its middle to points at ``x`` (N,), metres.

    Args:
        template: (V, 3) rest vertices. band: (V,) bool, one row of teeth.
    """
    across, ahead = np.abs(template[band, 0]), template[band, 2]
    order = np.argsort(across)
    across, ahead = across[order], ahead[order]
    outer = np.maximum.accumulate(ahead[::-1])[::-1]
    steps = np.hypot(np.diff(across, prepend=0.0), np.diff(outer, prepend=outer[0]))
    return np.interp(np.abs(x), across, np.cumsum(steps))


def tooth_detail(body: BodyModel, face: Array, bary: Array) -> Array:
    """Factor on the colour of surface points that turns plain bands into teeth and gums.

    Args:
        face: (N,) triangles. bary: (N, 3).

    Returns:
        (N, 3) factors, 0.3..1; 1 away from teeth.
    """
    template, corners = np.asarray(body.v_template, np.float64), np.asarray(body.faces)[face]
    out = np.ones((len(face), 3))
    for name, widths in WIDTHS.items():
        band = geo.region(body, name)
        mine = np.flatnonzero(band[corners].all(1))
        if len(mine) == 0:
            continue
        point = (template[corners[mine]] * bary[mine][..., None]).sum(1)
        edges = np.concatenate([[0.0], np.cumsum(widths)])
        edges *= arch_length(template, band, np.array([np.inf]))[0] / edges[-1]
        along = arch_length(template, band, point[:, 0])
        tooth = np.clip(np.searchsorted(edges, along, "right") - 1, 0, len(widths) - 1)
        place = 2 * np.clip((along - edges[tooth]) / (edges[tooth + 1] - edges[tooth]), 0, 1) - 1
        gap = np.min(np.abs(along[:, None] - edges), axis=1)
        shade = (1 - ROUNDING * place**4) * (1 - GAP_DEPTH * np.exp(-((gap / GAP_WIDTH) ** 2)))
        upper = name == "upper_teeth"
        front = template[band & (np.abs(template[:, 0]) < edges[1])]
        tip = front[:, 1].min() if upper else front[:, 1].max()
        height = np.abs(point[:, 1] - tip) + SCALLOP * place**2
        gum = np.clip((height - CROWN[name]) / GUM_EDGE + 0.5, 0, 1)[:, None]
        colour = (1 - gum) * shade[:, None] + gum * GUM
        out[mine] = colour if upper else LOWER_SHADE * colour
    return out


def light_tint(eyes: Array, skin: Array) -> Array:
    """Colour of the light by the whites of the eyes, (3,) with mean 1; ones where they are not seen.

    Skin does not tell: brown skin in white light is as red as pale skin in lamplight.

    Args:
        eyes: (N, 3) what the photo shows of the eyeballs. skin: (3,) colour of the face.
    """
    if len(eyes) < LEAST_WHITES:
        return np.ones(3)
    bright = eyes.mean(1)
    low, high = np.quantile(bright, WHITES)
    white = np.median(eyes[(bright >= low) & (bright <= high)], axis=0)
    if white.mean() < LEAST_BRIGHT * skin.mean():
        return np.ones(3)
    tint = white / SCLERA
    return np.clip(tint / tint.mean(), *TINT)
