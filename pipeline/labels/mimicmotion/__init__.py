"""MimicMotion: a photo driven by pose pictures through a video diffusion model.

Written from a description of the method, on the stock classes of diffusers, transformers and onnxruntime; names are
loaded on first use, so that nobody pays for these libraries who does not ask for labels.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.labels.mimicmotion.dwpose import DWPose
    from pipeline.labels.mimicmotion.memory import MemoryPlan, plan_for
    from pipeline.labels.mimicmotion.pipeline import MimicMotionPipeline
    from pipeline.labels.mimicmotion.posenet import PoseNet
    from pipeline.labels.mimicmotion.unet import PoseGuidedUNet

_HOMES = {
    "DWPose": "dwpose",
    "MemoryPlan": "memory",
    "MimicMotionPipeline": "pipeline",
    "PoseGuidedUNet": "unet",
    "PoseNet": "posenet",
    "plan_for": "memory",
}

__all__ = ["DWPose", "MemoryPlan", "MimicMotionPipeline", "PoseGuidedUNet", "PoseNet", "plan_for"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
