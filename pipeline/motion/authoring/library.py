"""The list of authored presets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from ...types import MotionClip, PipelineError
from . import quiet, social, talking
from .body import perform
from .performance import Performance

PRESETS: Mapping[str, Callable[[], Performance]] = MappingProxyType(
    {
        "listening": quiet.listening,
        "thinking": quiet.thinking,
        "explaining": talking.explaining,
        "emphatic": talking.emphatic,
        "counting": talking.counting,
        "presenting": talking.presenting,
        "weighing": talking.weighing,
        "question": talking.question,
        "greeting": social.greeting,
        "shrug_laugh": social.shrug_laugh,
        "heartfelt": social.heartfelt,
        "refusing": social.refusing,
        "agreeing": social.agreeing,
    }
)


def make_preset(name: str) -> MotionClip:
    """Generate one preset.

    Args:
        name: a key of ``PRESETS``.

    Raises:
        PipelineError: unknown name.
    """
    if name not in PRESETS:
        raise PipelineError(f"There is no preset named {name}: choose one of {', '.join(PRESETS)}.")
    return perform(PRESETS[name]())
