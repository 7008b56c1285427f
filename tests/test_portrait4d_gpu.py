"""The full-size head generator on a CUDA card, with made-up weights: frames per second and peak memory.

Skipped where there is no card. Run with ``-s`` to see the numbers.
"""

from __future__ import annotations

import time

import portrait4d_golden as golden
import pytest
import torch

from pipeline.labels.portrait4d.generator import Portrait4D
from pipeline.labels.portrait4d.motion_encoder import MotionEncoder
from pipeline.labels.portrait4d.rays import camera_vector

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA card"),
]
FRAMES = 20


@pytest.fixture(scope="module")
def networks() -> tuple[Portrait4D, MotionEncoder]:
    with torch.device("meta"):
        empty = Portrait4D(), MotionEncoder()
    generator, motion = (golden.filled(network) for network in empty)
    return generator, motion


def test_driven_frames_are_fast_and_small(networks):
    """Two driven frames a second in under 6 GB, once the photo has been encoded."""
    generator, encoder = (network.to("cuda") for network in networks)
    crop, camera = golden.face_crop().cuda(), camera_vector(golden.head_rotation(0.3)).cuda()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    with torch.inference_mode():
        source = generator.encode_source(golden.source_image().cuda(), encoder(crop))
        torch.cuda.synchronize()
        encoded = time.perf_counter() - started
        generator(source, encoder(crop), camera)  # the first frame also chooses kernels
        torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(FRAMES):
            head = generator(source, encoder(crop), camera).image.cpu()
    rate = FRAMES / (time.perf_counter() - started)
    peak = torch.cuda.max_memory_reserved() / 1e9
    print(
        f"\nPortrait4D-v2: source in {encoded:.2f} s (with warm-up), then {rate:.1f} driven frames/s, "
        f"peak {peak:.2f} GB, on {torch.cuda.get_device_name()}"
    )
    assert head.shape == (3, 512, 512) and torch.isfinite(head).all()
    assert rate >= 2 and peak < 6


def test_the_card_draws_the_same_head(networks):
    generator = networks[0]
    camera = camera_vector(golden.head_rotation(0.3))
    pictures = []
    for device in ("cuda", "cpu"):
        generator.to(device)
        source = generator.encode_source(golden.source_image().to(device), golden.motion(2).to(device))
        pictures.append(generator(source, golden.motion(3).to(device), camera.to(device)).image.cpu())
    fast, slow = pictures
    assert (fast - slow).norm() / slow.norm() < 1e-2  # the card's convolutions round to TF32
