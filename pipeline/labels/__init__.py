"""Pseudo-labels: further pictures of the person, filmed or made by generators, re-tracked and filtered.

Names are loaded on first use: nobody pays for the generators who does not ask for labels.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.labels.files import load_labels
    from pipeline.labels.footage import FootageConfig, FootageLabels, footage_labels, picture_labels
    from pipeline.labels.gather import gather_labels
    from pipeline.labels.mimicmotion.stage import BodyLabelConfig, BodyLabels, make_body_labels
    from pipeline.labels.portrait4d.stage import HeadLabelConfig, HeadLabels, make_head_labels
    from pipeline.labels.verb import label, label_head

_HOMES = {
    "BodyLabelConfig": "mimicmotion.stage",
    "BodyLabels": "mimicmotion.stage",
    "FootageConfig": "footage",
    "FootageLabels": "footage",
    "HeadLabelConfig": "portrait4d.stage",
    "HeadLabels": "portrait4d.stage",
    "footage_labels": "footage",
    "gather_labels": "gather",
    "label": "verb",
    "label_head": "verb",
    "load_labels": "files",
    "make_body_labels": "mimicmotion.stage",
    "make_head_labels": "portrait4d.stage",
    "picture_labels": "footage",
}

__all__ = [
    "BodyLabelConfig",
    "BodyLabels",
    "FootageConfig",
    "FootageLabels",
    "HeadLabelConfig",
    "HeadLabels",
    "footage_labels",
    "gather_labels",
    "label",
    "label_head",
    "load_labels",
    "make_body_labels",
    "make_head_labels",
    "picture_labels",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
