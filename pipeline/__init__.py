"""One photo of a person in, an animatable whole-body talking avatar out.

The doors of the package, loaded on first use so that ``import pipeline`` costs nothing:

* :func:`fit`: photo to :class:`Avatar`; :func:`load_avatar` opens a saved one;
* :func:`animate`: avatar and motion to video;
* :func:`track`: video to :class:`MotionClip`;
* :func:`reenact`: video to a measured comparison of real and rendered;
* :func:`list_motions`: the motions that come with the package.

The rooms behind them (``perceive``, ``motion``, ``labels``, ``avatar``, ``render``, ``evaluate``) are packages of
their own.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.api import animate, fit, list_motions, load_avatar, reenact, track
    from pipeline.avatar import Avatar
    from pipeline.types import (
        BodyParams,
        Camera,
        Detections,
        FitReport,
        MotionClip,
        Observation,
        PipelineError,
        PseudoLabel,
    )

__version__ = "0.1.0"

__all__ = [
    "Avatar",
    "BodyParams",
    "Camera",
    "Detections",
    "FitReport",
    "MotionClip",
    "Observation",
    "PipelineError",
    "PseudoLabel",
    "animate",
    "fit",
    "list_motions",
    "load_avatar",
    "reenact",
    "track",
]

_VERBS = ("animate", "fit", "list_motions", "load_avatar", "reenact", "track")


def __getattr__(name: str) -> Any:
    """Load a public name on first use (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    room = "pipeline.api" if name in _VERBS else "pipeline.avatar" if name == "Avatar" else "pipeline.types"
    return getattr(importlib.import_module(room), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
