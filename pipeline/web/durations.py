"""How many GPU seconds each endpoint asks ZeroGPU for. Every function takes its endpoint's own arguments."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from pipeline import api
from pipeline.web import limits


@lru_cache(maxsize=1)
def preset_seconds() -> dict[str, float]:
    """How long each motion lasts, by its name."""
    return {motion["name"]: motion["seconds"] for motion in api.list_motions()}


def _drawing_seconds(motion: str | None, motion_file: Any) -> int:
    """A second of video takes about two; a video file has to be tracked first."""
    return 90 if motion_file else 15 + round(2 * preset_seconds().get(motion or "", 10.0))


def seconds_to_fit(photo: Any, consent: Any, quality: str = "default", *_: Any, **__: Any) -> int:
    """GPU seconds of :func:`~pipeline.web.endpoints.fit`."""
    return limits.FIT_SECONDS.get(quality, limits.FIT_SECONDS["default"])


def seconds_to_animate(avatar_id: Any, motion: Any, motion_file: Any = None, *_: Any, **__: Any) -> int:
    """GPU seconds of :func:`~pipeline.web.endpoints.animate`."""
    return _drawing_seconds(motion, motion_file)


def seconds_to_make(
    photo: Any, consent: Any, motion: Any, motion_file: Any = None, quality: str = "default", *_: Any, **__: Any
) -> int:
    """GPU seconds of :func:`~pipeline.web.endpoints.make_video`."""
    return seconds_to_fit(photo, consent, quality) + _drawing_seconds(motion, motion_file)


def seconds_to_export(avatar_id: Any, form: str = "ply", motion: Any = None, *_: Any, **__: Any) -> int:
    """GPU seconds of :func:`~pipeline.web.endpoints.export`."""
    return 60 if form in ("gif", "webp") else 20
