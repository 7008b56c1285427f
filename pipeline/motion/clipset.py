"""Further motions: a set of clips made by ``ted build``, in a folder of the user or as a dataset on the Hub.

Nothing is configured at first. ``ONESHOT_TED_CLIPS`` names a folder, ``ONESHOT_TED_REPO`` a Hub dataset; its manifest
is fetched when motions are listed, a clip when it is asked for. Both are kept in the cache and stay at the commit that
was met first; a clip is compared with its checksum every time.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.types import MotionClip, PipelineError
from pipeline.weights import WEIGHTS, Weight, WeightFile

from .clips import load_clip
from .presets import PREFIX, PresetInfo

MANIFEST = "manifest.json"
MAX_BYTES, MAX_CLIPS = 50_000_000, 50_000
NAME, FILE, SHA256 = r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}", r"clips/[A-Za-z0-9][A-Za-z0-9_-]{0,99}\.npz", r"[0-9a-f]{64}"

Progress = Callable[[str, float], None]


def part() -> Weight:
    """The entry of the table of weights that names the set."""
    return WEIGHTS["ted-clips"]


def configured() -> bool:
    """Whether the settings name a set of clips."""
    weight = part()
    return bool(weight.source or (weight.env and os.environ.get(weight.env)))


def list_clips(progress: Progress | None = None) -> list[PresetInfo]:
    """The clips of the configured set, none without one; a Hub set's manifest is fetched the first time.

    Raises:
        PipelineError: the set cannot be reached or its manifest is damaged.
    """
    if not configured():
        return []
    root = _root(progress)
    return [_info(root, entry) for entry in _entries(root)]


def get_clip(name: str, progress: Progress | None = None) -> MotionClip:
    """A clip of the configured set, fetched where it is not here yet.

    Args:
        name: as in the manifest.
        progress: called with a file name and the share of it that is there.

    Raises:
        PipelineError: no set is configured, no such clip, it cannot be fetched, or it is not what the manifest says.
    """
    from .ted.build import sha256_of

    weight = part()
    if not configured():
        raise PipelineError(
            f"No set of clips is configured; set {weight.env} to a folder or {weight.repo_env} to a dataset."
        )
    root = _root(progress)
    entry = next((e for e in _entries(root) if e["name"] == name), None)
    if entry is None:
        raise PipelineError(
            f"The set of clips has no '{name[:100]}'; `python -m pipeline motions` lists what there is."
        )
    path = root / entry["file"]
    if not path.is_file():
        path = _fetch(dataclasses.replace(weight, files=(WeightFile(entry["file"], entry["sha256"]),)), progress)
    if sha256_of(path) != entry["sha256"]:
        raise PipelineError(f"The clip {path.name} is not what its manifest says; delete {path} and take it again.")
    return load_clip(path)


def _root(progress: Progress | None) -> Path:
    """The folder with the manifest."""
    weight = part()
    if weight.env and os.environ.get(weight.env):
        root = weight.local_path()
        assert root is not None
        if not (root / MANIFEST).is_file():
            raise PipelineError(f"{weight.env} names {root}, which has no {MANIFEST}; name what `ted build` made.")
        return root
    kept = weight.record().get("repo", weight.source)
    if kept != weight.source:
        raise PipelineError(f"The cache holds the clips of {kept}; delete {weight.cache} to use {weight.source}.")
    return _fetch(weight, progress).parent


def _fetch(weight: Weight, progress: Progress | None) -> Path:
    """The single file of a part, from the cache or the Hub."""
    from pipeline.hub import fetch

    return fetch(dataclasses.replace(weight, env=None, folder=False), progress)


def _entries(root: Path) -> list[dict[str, Any]]:
    """The clips of a manifest, each with checked ``name``, ``file`` and ``sha256``."""
    path = root / MANIFEST
    damaged = PipelineError(f"{path} is not a manifest of clips; make it again with `ted build`.")
    if path.stat().st_size > MAX_BYTES:
        raise damaged
    try:
        clips = json.loads(path.read_text("utf-8"))["clips"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise damaged from error
    if not isinstance(clips, list) or len(clips) > MAX_CLIPS or not all(_valid(entry) for entry in clips):
        raise damaged
    return clips


def _valid(entry: Any) -> bool:
    patterns = {"name": NAME, "file": FILE, "sha256": SHA256}
    return isinstance(entry, dict) and all(
        isinstance(entry.get(key), str) and re.fullmatch(pattern, entry[key]) for key, pattern in patterns.items()
    )


def _info(root: Path, entry: dict[str, Any]) -> PresetInfo:
    def words(key: str, otherwise: str) -> str:
        return str(entry.get(key, otherwise))[:500]

    def number(key: str) -> float:
        value = entry.get(key)
        return float(value) if isinstance(value, (int, float)) and 0 <= value < 1e6 else 0.0

    return PresetInfo(
        name=PREFIX + entry["name"],
        title=words("title", entry["name"]),
        description=f"Tracked from {words('video', 'a video')}.",
        tags=("talk",),
        duration=number("seconds"),
        fps=number("fps"),
        source=words("source", "unknown"),
        licence=words("licence", "unknown"),
        path=root / entry["file"],
    )
