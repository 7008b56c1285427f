"""Authoring of the presets in ``motions/``: written performances, turned into clips by a readable generator.

``python -m pipeline.motion.authoring --out motions`` writes every preset again, byte for byte the same.
"""

from __future__ import annotations

from .body import perform
from .library import PRESETS, make_preset
from .performance import HandKey, HandScore, Performance

__all__ = ["PRESETS", "HandKey", "HandScore", "Performance", "make_preset", "perform"]
