"""The pipeline as the label stage's generator: chosen plan, seed, and a state on disk after every step."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.checkpoints import read_tensors, write_safetensors
from pipeline.labels.mimicmotion.memory import MemoryPlan
from pipeline.types import Array, PipelineError

if TYPE_CHECKING:
    from pipeline.labels.mimicmotion.pipeline import MimicMotionPipeline
    from pipeline.labels.mimicmotion.stage import BodyLabelConfig

LOG = logging.getLogger(__name__)


class MimicMotionFrames:
    """Generates with a :class:`MimicMotionPipeline`.

    Args:
        pipe: loaded pipeline.
        weights: name or digest of its weights.
        plan: memory plan, applied here. device: "cuda" or "cpu".
    """

    def __init__(self, pipe: MimicMotionPipeline, weights: str, plan: MemoryPlan, device: str = "cuda") -> None:
        self._pipe = pipe.apply_plan(plan, device)
        self._pipe.set_progress_bar_config(disable=True)
        self.name = f"MimicMotion {weights}, windows of {plan.tile_size} and {plan.tile_overlap}"

    def frames(
        self, image: Array, poses: Array, config: BodyLabelConfig, seed: int, keep: Path, tell: Callable[[float], None]
    ) -> Array:
        """See :class:`pipeline.labels.mimicmotion.stage.FrameGenerator`.

        Where float16 overflows, bfloat16 takes over: fewer digits, the range of float32.
        """
        import torch

        from pipeline.labels.mimicmotion.pipeline import NumbersOverflowedError

        try:
            return self._generate(image, poses, config, seed, keep, tell)
        except NumbersOverflowedError:
            if self._pipe.unet.dtype != torch.float16:
                raise
        LOG.warning("The numbers overflowed in float16; going on from the last good step in bfloat16.")
        for network in self._pipe.components.values():
            if isinstance(network, torch.nn.Module):
                network.to(torch.bfloat16)
        return self._generate(image, poses, config, seed, keep, tell)

    def _generate(
        self, image: Array, poses: Array, config: BodyLabelConfig, seed: int, keep: Path, tell: Callable[[float], None]
    ) -> Array:
        """One try, from where the state on disk says."""
        import torch

        start, latents = self._resume(keep, len(poses), config.steps)

        def after_step(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> None:
            write_safetensors(keep, {"latents": tensors["latents"].cpu()}, {"steps": str(step + 1)})
            tell((step + 1) / (config.steps + 1))

        frames = self._pipe(
            image, poses, num_inference_steps=config.steps, min_guidance_scale=config.guidance, latents=latents,
            start_step=start, generator=torch.Generator("cpu").manual_seed(seed), callback_on_step_end=after_step,
        ).frames  # fmt: skip
        tell(1.0)
        return (frames[1:] * 255).astype(np.uint8)

    @staticmethod
    def _resume(keep: Path, frames: int, steps: int) -> tuple[int, Any]:
        """Steps done and latents of a stopped run; (0, None) where there is none that fits."""
        from safetensors import safe_open

        try:
            latents = read_tensors(keep)["latents"]
            with safe_open(keep, "pt") as file:
                done = int((file.metadata() or {})["steps"])
        except (PipelineError, KeyError, ValueError):
            return 0, None
        if latents.shape[1] != frames or not 0 < done <= steps:
            return 0, None
        return done, latents
