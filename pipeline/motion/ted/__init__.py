"""From talk videos to motion clips: shots, one visible speaker, tracking, quality, clips of 6 to 12 seconds, manifest.

This is what turns the videos of the TED Gesture Dataset (Yoon et al. 2019), or any others, into the driving motions of
the paper. ``python -m pipeline ted build VIDEOS... --out DIR`` is its door.
"""

from __future__ import annotations

from .build import BuildResult, BuildSettings, build

__all__ = ["BuildResult", "BuildSettings", "build"]
