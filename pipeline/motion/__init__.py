"""Motion: clip files, presets, editing, retargeting to a fitted body, and sampling of root views."""

from __future__ import annotations

from .clips import load_clip, save_clip, validate
from .edit import amplitude, crossfade, loop, mirror, repeat, resample, speed
from .idle import add_idle
from .playback import Playback, arrange
from .presets import PresetInfo, get_motion, list_presets
from .retarget import RetargetedMotion, clip_to_params, retarget
from .statistics import MotionStatistics, motion_statistics
from .views import sample_root_views

__all__ = [
    "MotionStatistics",
    "Playback",
    "PresetInfo",
    "RetargetedMotion",
    "add_idle",
    "amplitude",
    "arrange",
    "clip_to_params",
    "crossfade",
    "get_motion",
    "list_presets",
    "load_clip",
    "loop",
    "mirror",
    "motion_statistics",
    "repeat",
    "resample",
    "retarget",
    "sample_root_views",
    "save_clip",
    "speed",
    "validate",
]
