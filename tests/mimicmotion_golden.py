"""Helpers for the MimicMotion parity tests: the golden files and the pseudo-random weights they were made with."""

from __future__ import annotations

import math
import zlib
from pathlib import Path

import numpy as np
import torch

TINY_UNET = {
    "block_out_channels": (32, 64, 64, 64), "num_attention_heads": (1, 2, 4, 4), "cross_attention_dim": 32,
    "addition_time_embed_dim": 32, "projection_class_embeddings_input_dim": 96, "num_frames": 6, "sample_size": 16,
    "layers_per_block": 2, "in_channels": 8, "out_channels": 4,
}  # fmt: skip
TINY_VAE = {
    "in_channels": 3, "out_channels": 3, "down_block_types": ("DownEncoderBlock2D",) * 4,
    "block_out_channels": (32, 32, 64, 64), "layers_per_block": 1, "latent_channels": 4,
    "sample_size": 64, "scaling_factor": 0.18215, "force_upcast": True,
}  # fmt: skip
TINY_CLIP = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "image_size": 224, "patch_size": 32, "projection_dim": 32, "hidden_act": "gelu", "layer_norm_eps": 1e-5,
}  # fmt: skip
SCHEDULER = {
    "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000,
    "prediction_type": "v_prediction", "timestep_type": "continuous", "timestep_spacing": "leading", "steps_offset": 1,
    "use_karras_sigmas": True, "sigma_min": 0.002, "sigma_max": 700.0, "interpolation_type": "linear",
}  # fmt: skip

FULL_UNET = {
    **TINY_UNET, "block_out_channels": (320, 640, 1280, 1280), "num_attention_heads": (5, 10, 20, 20),
    "cross_attention_dim": 1024, "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 768,
    "num_frames": 25, "sample_size": 96,
}  # fmt: skip
FULL_VAE = {**TINY_VAE, "block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "sample_size": 768}
FULL_CLIP = {
    **TINY_CLIP, "hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 16,
    "patch_size": 14, "projection_dim": 1024,
}  # fmt: skip


def golden(shared: Path, name: str) -> dict[str, np.ndarray]:
    """One golden file as arrays."""
    with np.load(shared / "specs" / "mimicmotion_golden" / f"{name}.npz", allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def filled(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """The weight that the goldens used for a key."""
    x = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape).astype(np.float32)
    if key == "pose_net.scale":
        return np.full(shape, 2.0, np.float32)
    if len(shape) >= 2:
        gain = 2.0 if key.startswith("pose_net.") else 1.0
        return x * (np.float32(gain) / np.float32(math.sqrt(math.prod(shape[1:]))))
    if key.endswith("mix_factor"):
        return x
    return 0.01 * x if key.endswith(".bias") else 1 + 0.1 * x


def fill(model: torch.nn.Module, prefix: str) -> torch.nn.Module:
    """Fill all parameters of a model in place."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(filled(f"{prefix}.{name}", tuple(parameter.shape))))
    return model.eval()


def tiny_parts() -> dict[str, torch.nn.Module]:
    """The tiny networks of the goldens."""
    from diffusers import AutoencoderKLTemporalDecoder, EulerDiscreteScheduler
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    from pipeline.labels.mimicmotion import PoseGuidedUNet, PoseNet

    return {
        "unet": fill(PoseGuidedUNet(**TINY_UNET), "unet"),
        "pose_net": fill(PoseNet(32), "pose_net"),
        "vae": fill(AutoencoderKLTemporalDecoder(**TINY_VAE), "vae"),
        "image_encoder": fill(CLIPVisionModelWithProjection(CLIPVisionConfig(**TINY_CLIP)), "image_encoder"),
        "scheduler": EulerDiscreteScheduler(**SCHEDULER),
    }
