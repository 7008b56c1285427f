"""The full-size sampler on a CUDA card, with random weights: seconds per step and peak memory of every plan.

Skipped where there is no card. Run with ``-s`` to see the numbers.
"""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from mimicmotion_golden import FULL_CLIP, FULL_UNET, FULL_VAE, SCHEDULER

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA card"),
]


@pytest.fixture(scope="module")
def pipe():
    from diffusers import AutoencoderKLTemporalDecoder, EulerDiscreteScheduler
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    from pipeline.labels.mimicmotion import MimicMotionPipeline, PoseGuidedUNet, PoseNet

    torch.manual_seed(0)
    with torch.device("cuda"):
        networks = {
            "unet": PoseGuidedUNet(**FULL_UNET),
            "pose_net": PoseNet(320),
            "vae": AutoencoderKLTemporalDecoder(**FULL_VAE),
            "image_encoder": CLIPVisionModelWithProjection(CLIPVisionConfig(**FULL_CLIP)),
        }
    halves = {name: network.to("cuda", torch.float16).eval() for name, network in networks.items()}
    pipe = MimicMotionPipeline(**halves, scheduler=EulerDiscreteScheduler(**SCHEDULER))
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.mark.parametrize("vram", [8, 16, 24, 48])
def test_one_step_stays_within_the_plan(pipe, vram, capsys):
    from pipeline.labels.mimicmotion.memory import expectation, plan_for

    plan = plan_for(vram)
    if torch.cuda.get_device_properties(0).total_memory < (vram - 0.75) * 2**30:
        pytest.skip(f"the card has less than {vram} GB")
    pipe.remove_all_hooks()
    pipe.to("cpu").apply_plan(plan, "cuda")
    image = np.random.default_rng(0).integers(0, 256, (1024, 576, 3), np.uint8)
    poses = np.zeros((plan.tile_size, 1024, 576, 3), np.uint8)
    stamps = []

    def stamp(*args):
        torch.cuda.synchronize()
        stamps.append(time.perf_counter())

    torch.cuda.reset_peak_memory_stats()
    result = pipe(image, poses, num_inference_steps=3, output_type="np", callback_on_step_end=stamp)
    peak = torch.cuda.max_memory_reserved() / 1e9
    expected = expectation(plan, plan.tile_size, 3)
    with capsys.disabled():
        print(
            f"\n{plan.name}: {plan.tile_size} frames, {stamps[-1] - stamps[-2]:.2f} s per step, peak {peak:.1f} GB "
            f"(expected {expected.gigabytes:.1f}), on {torch.cuda.get_device_name()}"
        )
    assert result.frames.shape == (plan.tile_size, 1024, 576, 3) and np.isfinite(result.frames).all()
    assert result.plan == plan, "nothing had to be made smaller"
    assert peak < vram
