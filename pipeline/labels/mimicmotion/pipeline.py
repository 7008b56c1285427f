"""The sampler as a diffusers pipeline."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from diffusers import AutoencoderKLTemporalDecoder, DiffusionPipeline, EulerDiscreteScheduler
from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from pipeline.labels.card import memory_explained, out_of_memory
from pipeline.labels.mimicmotion import images
from pipeline.labels.mimicmotion.decoding import decode_chunk
from pipeline.labels.mimicmotion.loading import base_folder, load_components
from pipeline.labels.mimicmotion.memory import MemoryPlan
from pipeline.labels.mimicmotion.posenet import PoseNet
from pipeline.labels.mimicmotion.tiles import Fusion, frame_tiles
from pipeline.labels.mimicmotion.unet import PoseGuidedUNet
from pipeline.types import PipelineError

OutputType = Literal["pt", "np", "pil", "latent"]
OUT_OF_MEMORY = (
    "The graphics card ran out of memory with the smallest settings; close other programs or use a smaller resolution."
)
FETCH = "run `python -m pipeline weights fetch svd-xt-1.1 mimicmotion`"
OVERFLOW = "The generator's numbers overflowed in half precision; load it with torch_dtype=torch.bfloat16."


class NumbersOverflowedError(PipelineError):
    """Half precision was not enough; the latents of the last step that was finished are still good."""


@dataclass
class MimicMotionOutput(BaseOutput):
    """What the pipeline returns.

    Attributes:
        frames: N frames, the first one in the photo's own pose: "pt" (N, 3, H, W) and "np" (N, H, W, 3) float32 in
            0..1, "pil" a list of pictures, "latent" (N, 4, H/8, W/8).
        plan: the memory plan that was in use at the end.
    """

    frames: Any
    plan: MemoryPlan


@dataclass(frozen=True)
class _Conditions:
    """What every UNet call is given; row 0 unconditional, row 1 conditional.

    Attributes:
        embeddings: (2, 1, D). image_latents: (2, 4, h, w). time_ids: (2, 3). poses: (N, 3, H, W) on the CPU.
        guidance: (N,) or None where the conditional row is all that counts.
    """

    embeddings: Tensor
    image_latents: Tensor
    time_ids: Tensor
    poses: Tensor
    guidance: Tensor | None


class MimicMotionPipeline(DiffusionPipeline):
    """A photo and pose pictures in, frames of the person in these poses out.

    Args:
        vae, image_encoder, unet, scheduler: Stable Video Diffusion's components (the UNet with MimicMotion's weights).
        pose_net: turns pose pictures into what is added to the UNet's first features.
    """

    model_cpu_offload_seq = "image_encoder->unet->vae"
    _exclude_from_cpu_offload = ["pose_net"]
    _callback_tensor_inputs = ["latents", "noise_pred"]

    def __init__(
        self,
        vae: AutoencoderKLTemporalDecoder,
        image_encoder: Any,
        unet: PoseGuidedUNet,
        scheduler: EulerDiscreteScheduler,
        pose_net: PoseNet,
    ) -> None:
        super().__init__()
        self.register_modules(vae=vae, image_encoder=image_encoder, unet=unet, scheduler=scheduler, pose_net=pose_net)
        self.vae_scale_factor = 2 ** (len(self.vae.config.block_out_channels) - 1)
        self._plan = MemoryPlan("default", offload=False)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str] | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        *,
        torch_dtype: torch.dtype = torch.float16,
        variant: str | None = "fp16",
        revision: str | None = None,
        local_files_only: bool = True,
        **components: Any,
    ) -> MimicMotionPipeline:
        """Load from local files; nothing is downloaded here.

        Args:
            pretrained_model_name_or_path: folder with Stable Video Diffusion 1.1, or what ``save_pretrained`` wrote;
                None, or the repository's name on the Hub, takes what ``python -m pipeline weights fetch svd-xt-1.1``
                brought.
            checkpoint: ``MimicMotion_1-1.pth`` or its safetensors twin; None takes what ``weights fetch mimicmotion``
                brought, unless the folder holds all networks itself.
            torch_dtype: of all networks; float16 or bfloat16 on a GPU, float32 on the CPU.
            variant: of Stable Video Diffusion's files.
            revision: commit of Stable Video Diffusion that must have been fetched; None takes any.
            local_files_only: as it is always; False is refused, because ``weights fetch`` is where downloads are asked
                for.
            components: ready ones in place of those of the files, such as ``scheduler=...``.

        Raises:
            PipelineError: something was not fetched, is damaged, or belongs to another model or revision.
            TypeError: a component that this pipeline does not have.
        """
        from pipeline.weights import require

        if not local_files_only:
            raise PipelineError(f"Nothing is downloaded here; {FETCH} first, then leave local_files_only alone.")
        if foreign := components.keys() - cls._get_signature_keys(cls)[0]:
            raise TypeError(f"{cls.__name__}.from_pretrained knows nothing of {', '.join(sorted(foreign))}")
        base = base_folder(pretrained_model_name_or_path, revision)
        if checkpoint is None and not (base / "pose_net").is_dir():
            checkpoint = require("mimicmotion")
        loaded = load_components(base, Path(checkpoint) if checkpoint else None, torch_dtype, variant)
        return cls(**{**loaded, **components})

    def apply_plan(self, plan: MemoryPlan, device: torch.device | str) -> MimicMotionPipeline:
        """Place the networks for a memory plan; returns itself.

        Raises:
            PipelineError: the card has too little room for the networks.
        """
        device = torch.device(device)
        with memory_explained(OUT_OF_MEMORY):
            if plan.offload and device.type != "cpu":
                self.enable_model_cpu_offload(device=device)
            else:
                self.to(device)
        self._use(plan)
        return self

    def _use(self, plan: MemoryPlan) -> None:
        chunk = 1 if plan.chunked_feed_forward else None
        for module in self.unet.modules():
            if hasattr(module, "set_chunk_feed_forward"):
                module.set_chunk_feed_forward(chunk, dim=0)  # one frame at a time, in space and in time
        self._plan = plan

    @torch.no_grad()
    def __call__(
        self,
        image: Any,
        image_pose: Any,
        *,
        tile_size: int | None = None,
        tile_overlap: int | None = None,
        num_inference_steps: int = 25,
        min_guidance_scale: float = 2.0,
        max_guidance_scale: float | None = None,
        fps: int = 7,
        motion_bucket_id: int = 127,
        noise_aug_strength: float = 0.0,
        decode_chunk_size: int | None = None,
        generator: torch.Generator | None = None,
        latents: Tensor | None = None,
        start_step: int = 0,
        output_type: OutputType = "np",
        callback_on_step_end: Callable[[Any, int, Any, dict[str, Any]], dict[str, Any] | None] | None = None,
        callback_on_step_end_tensor_inputs: tuple[str, ...] = ("latents",),
        return_dict: bool = True,
    ) -> MimicMotionOutput | tuple[Any]:
        """Generate.

        Args:
            image: the photo: PIL, (H, W, 3) uint8 or float 0..1, or a (1, 3, H, W) tensor in 0..1. Sides that are no
                multiples of 64 are padded and cut off again.
            image_pose: (N, H, W, 3) uint8 pose pictures of the same size, the photo's own pose first, or a tensor
                (N, 3, H, W) in -1..1; N >= 2.
            tile_size, tile_overlap: frames per window and shared by neighbours; the memory plan's when None. A video
                shorter than a window is one window.
            num_inference_steps: denoising steps.
            min_guidance_scale, max_guidance_scale: guidance of the first and last frame, at least 1; equal when the
                latter is None. Guidance 1 leaves the unconditional pass out.
            fps, motion_bucket_id, noise_aug_strength: conditions of Stable Video Diffusion.
            decode_chunk_size: frames decoded together; the memory plan's when None.
            generator: makes the noise reproducible; one on the CPU gives the same noise on every device.
            latents: (1, T or N, 4, H/8, W/8) unit noise in place of the generator's; with ``start_step``, the latents
                after so many steps, as the callback saw them, to continue a stopped run.
            start_step: steps already done; all of them leaves only the decoding.
            output_type: see :class:`MimicMotionOutput`.
            callback_on_step_end: called as ``callback(pipeline, step, timestep, tensors)`` after each step; what it
                returns under "latents" is used on. It may raise to stop.
            callback_on_step_end_tensor_inputs: "latents" and "noise_pred" are to be had; a callback with an attribute
                ``tensor_inputs``, as diffusers' own have, says it itself.
            return_dict: False returns a tuple.

        Raises:
            PipelineError: sizes, tiles, guidance or names of tensors that do not work, not enough memory for the
                smallest settings, or numbers that overflowed (:class:`NumbersOverflowedError`).
        """
        pixels, poses = images.to_pixels(image), images.to_pose_pixels(image_pose)
        size = _check_sizes(pixels, poses, num_inference_steps, start_step, latents)
        plan = _with(self._plan, tile_size, tile_overlap, decode_chunk_size)
        frame_tiles(len(poses), plan.tile_size, plan.tile_overlap)
        guidance = _guidance(min_guidance_scale, max_guidance_scale, len(poses))
        pixels, poses = images.pad_to_multiple(pixels), images.pad_to_multiple(poses, "black")
        wanted = tuple(getattr(callback_on_step_end, "tensor_inputs", callback_on_step_end_tensor_inputs))
        if foreign := [name for name in wanted if name not in self._callback_tensor_inputs]:
            raise PipelineError(f"There is no tensor {foreign[0]}; a callback can have latents and noise_pred.")
        before = self._plan
        try:
            self._use(plan)
            conditions = self._conditions(
                pixels, poses, guidance, (fps - 1, motion_bucket_id, noise_aug_strength), generator
            )
            self.scheduler.set_timesteps(num_inference_steps, device=self._execution_device)
            state = self._start(latents, len(poses), conditions, generator, start_step)
            state = self._denoise(state, conditions, start_step, callback_on_step_end, wanted)
            frames = state[0] if output_type == "latent" else self._decode(state[0], size, output_type)
            used = self._plan
        except RuntimeError as error:
            if out_of_memory(error):  # where nothing can be made smaller: encoding the photo
                raise PipelineError(OUT_OF_MEMORY) from error
            raise
        finally:
            self._use(before)
            self.maybe_free_model_hooks()
        return MimicMotionOutput(frames, used) if return_dict else (frames,)

    def _conditions(
        self, pixels: Tensor, poses: Tensor, guidance: Tensor | None, ids: tuple[float, ...], generator: Any
    ) -> _Conditions:
        """Encode the photo twice: for its meaning and for its looks."""
        device = self._execution_device
        pixels = pixels.to(device)
        encoder_type = next(self.image_encoder.parameters()).dtype
        meaning = self.image_encoder(images.clip_input(pixels).to(encoder_type)).image_embeds[:, None]
        noise = randn_tensor(pixels.shape, generator=generator, device=device, dtype=pixels.dtype)
        looks = self._encode(pixels + ids[2] * noise).to(self.vae.dtype)
        return _Conditions(
            torch.cat([torch.zeros_like(meaning), meaning]),
            torch.cat([torch.zeros_like(looks), looks]),
            torch.tensor([ids, ids], dtype=meaning.dtype, device=device),
            poses,
            None if guidance is None else guidance.to(device),
        )

    def _encode(self, pixels: Tensor) -> Tensor:
        """(1, 4, h, w) latents of the photo, in single precision where half would overflow (``force_upcast``)."""
        upcast = self.vae.dtype == torch.float16 and self.vae.config.force_upcast
        if not upcast:
            return self.vae.encode(pixels.to(self.vae.dtype)).latent_dist.mode()
        try:
            return self.vae.float().encode(pixels.float()).latent_dist.mode()
        finally:
            self.vae.half()

    def _start(
        self, latents: Tensor | None, frames: int, conditions: _Conditions, generator: Any, start_step: int
    ) -> Tensor:
        """(1, N, 4, h, w) float32 latents before the first step."""
        device = self._execution_device
        if start_step:
            self.scheduler.set_begin_index(start_step)
            return latents.to(device, torch.float32)  # type: ignore[union-attr]
        self.scheduler.set_begin_index(0)
        if latents is None:
            shape = (1, min(self._plan.tile_size, frames), *conditions.image_latents.shape[1:])
            latents = randn_tensor(shape, generator=generator, device=device, dtype=conditions.embeddings.dtype)
        noise = latents.to(device, torch.float32) * self.scheduler.init_noise_sigma
        return noise.repeat(1, frames // noise.shape[1] + 1, 1, 1, 1)[:, :frames]

    def _denoise(
        self, latents: Tensor, conditions: _Conditions, start_step: int, callback: Any, wanted: tuple[str, ...]
    ) -> Tensor:
        timesteps = self.scheduler.timesteps
        with self.progress_bar(total=len(timesteps) - start_step) as bar:
            for step, t in enumerate(timesteps[start_step:], start_step):
                scaled = self.scheduler.scale_model_input(latents, t)
                noise_pred = self._shrinking(MemoryPlan.smaller_step, self._predict, scaled, t, conditions)
                latents = self.scheduler.step(noise_pred, t, latents, return_dict=False)[0]
                if not _finite(latents):
                    raise NumbersOverflowedError(OVERFLOW)
                if callback is not None:
                    tensors = {"latents": latents, "noise_pred": noise_pred}
                    changed = callback(self, step, t, {name: tensors[name] for name in wanted})
                    latents = (changed or {}).get("latents", latents)
                bar.update()
        return latents

    def _shrinking(self, smaller: Callable[[MemoryPlan], MemoryPlan | None], work: Any, *inputs: Any) -> Any:
        """Do the work; when memory runs out, do it again with a smaller plan, and keep that plan."""
        while True:
            try:
                return work(*inputs)
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
                plan = smaller(self._plan)
            if plan is None:
                raise PipelineError(OUT_OF_MEMORY)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            self._use(plan)

    def _predict(self, scaled: Tensor, t: Tensor, conditions: _Conditions) -> Tensor:
        """(1, N, 4, h, w) float32: all tiles, fused and guided."""
        frames = scaled.shape[1]
        rows = (1,) if conditions.guidance is None else (0, 1)
        fusion = Fusion.empty((len(rows), *scaled.shape[1:]), scaled.device)
        for tile in frame_tiles(frames, self._plan.tile_size, self._plan.tile_overlap):
            pose = self.pose_net.in_chunks(conditions.poses[tile]).to(scaled.device)
            groups = [rows] if self._plan.batched_guidance else [(row,) for row in rows]
            parts = [self._call_unet(scaled[:, tile], t, conditions, group, pose) for group in groups]
            fusion.add(torch.cat(parts), tile)
        fused = fusion.mean()
        if conditions.guidance is None:
            return fused
        return fused[:1] + conditions.guidance[None, :, None, None, None] * (fused[1:] - fused[:1])

    def _call_unet(
        self, scaled: Tensor, t: Tensor, conditions: _Conditions, rows: tuple[int, ...], pose: Tensor
    ) -> Tensor:
        """(len(rows), T, 4, h, w): the conditional row, 1, always comes last and alone sees the pose."""
        index = list(rows)
        looks = conditions.image_latents[index][:, None].expand(-1, scaled.shape[1], -1, -1, -1)
        noisy = scaled.expand(len(index), -1, -1, -1, -1).to(looks.dtype)
        return self.unet(
            torch.cat([noisy, looks], dim=2).to(self.unet.dtype),
            t,
            encoder_hidden_states=conditions.embeddings[index].to(self.unet.dtype),
            added_time_ids=conditions.time_ids[index],
            pose_latents=pose if 1 in rows else None,
            return_dict=False,
        )[0]

    def _decode(self, latents: Tensor, size: tuple[int, int], output_type: OutputType) -> Any:
        latents = latents / self.vae.config.scaling_factor
        chunks, start = [], 0
        while start < len(latents):
            chunks.append(self._shrinking(MemoryPlan.smaller_decode, self._decode_at, latents, start))
            start += len(chunks[-1])
        frames = torch.cat(chunks)[:, :, : size[0], : size[1]]
        if output_type == "pt":
            return frames
        array = np.ascontiguousarray(frames.permute(0, 2, 3, 1).numpy())
        return self.numpy_to_pil(array) if output_type == "pil" else array

    def _decode_at(self, latents: Tensor, start: int) -> Tensor:
        chunk = latents[start : start + self._plan.decode_chunk]
        frames = decode_chunk(self.vae, chunk, self._plan.decode_bands)
        if not _finite(frames):
            raise NumbersOverflowedError(OVERFLOW)
        return frames


def _finite(numbers: Tensor) -> bool:
    return bool(torch.isfinite(numbers).all())


def _with(plan: MemoryPlan, tile_size: int | None, overlap: int | None, decode: int | None) -> MemoryPlan:
    return replace(
        plan,
        tile_size=plan.tile_size if tile_size is None else tile_size,
        tile_overlap=plan.tile_overlap if overlap is None else overlap,
        decode_chunk=max(1, plan.decode_chunk if decode is None else decode),
    )


def _check_sizes(pixels: Tensor, poses: Tensor, steps: int, start_step: int, latents: Tensor | None) -> tuple[int, int]:
    """(height, width) of the pictures."""
    height, width = pixels.shape[-2:]
    if poses.shape[-2:] != pixels.shape[-2:]:
        raise PipelineError(
            f"The photo is {width}x{height} but the pose pictures are {poses.shape[-1]}x{poses.shape[-2]}; draw them "
            "in the photo's size."
        )
    if steps < 1 or not 0 <= start_step <= steps:
        raise PipelineError(f"{start_step} of {steps} denoising steps cannot be done; use 1 step or more.")
    if start_step and (latents is None or latents.shape[1] != len(poses)):
        raise PipelineError("To continue a stopped run, give the latents of all frames after its last step.")
    return height, width


def _guidance(low: float, high: float | None, frames: int) -> Tensor | None:
    """(N,) guidance per frame, or None where it is 1 throughout."""
    high = low if high is None else high
    if min(low, high) < 1:
        raise PipelineError(f"The guidance is {min(low, high):g}; use 1 (none) or more.")
    return None if low == high == 1 else torch.linspace(low, high, frames)
