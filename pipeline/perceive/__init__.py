"""Photo or video in, registered body out. Names are loaded on first use, so that a detector alone needs no body."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.perceive.photo import perceive
    from pipeline.perceive.register import RegisterConfig, Registration, register
    from pipeline.perceive.track import TrackResult, detect_video, track_video

_HOMES = {
    "perceive": "photo",
    "RegisterConfig": "register",
    "Registration": "register",
    "register": "register",
    "TrackResult": "track",
    "detect_video": "track",
    "track_video": "track",
}

__all__ = ["RegisterConfig", "Registration", "TrackResult", "detect_video", "perceive", "register", "track_video"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
