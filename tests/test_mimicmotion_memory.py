"""The memory plans rest on counts of the full-size networks at 576x1024 in half precision; here they are counted."""

from __future__ import annotations

import pytest
import torch
from live_memory import LiveBytes, peak_gigabytes
from mimicmotion_golden import FULL_UNET, FULL_VAE

from pipeline.labels.mimicmotion import memory
from pipeline.labels.mimicmotion.decoding import decode_chunk
from pipeline.labels.mimicmotion.loading import empty_networks

HALF = torch.float16


def count_unet(frames: int, rows: int, chunked: bool) -> tuple[float, float]:
    """Peak and weights, GB, of one call as the sampler makes it."""
    unet = empty_networks(FULL_UNET)["unet"].to(HALF)
    for module in unet.modules():
        if hasattr(module, "set_chunk_feed_forward"):
            module.set_chunk_feed_forward(1 if chunked else None, dim=0)

    def call(network):
        sample = torch.empty(rows, frames, 8, 128, 72, dtype=HALF)
        embedding, ids = torch.empty(rows, 1, 1024, dtype=HALF), torch.empty(rows, 3, dtype=HALF)
        pose = torch.empty(frames, 320, 128, 72, dtype=HALF)
        return network(sample, torch.empty(()), embedding, ids, pose_latents=pose, return_dict=False)

    return peak_gigabytes(unet, call)


def test_the_count_is_right_where_it_is_known():
    with LiveBytes() as live:
        a = torch.zeros(1000, dtype=torch.float32)
        b = a.view(10, 100) + 1
        del a
        c = torch.cat([b, b])
    assert live.peak == 4000 + 4000 + 8000 - 4000 and live.now == 12000 and len(c) == 20


@pytest.mark.parametrize(("frames", "rows", "chunked"), [(72, 2, False), (8, 1, True)])
def test_the_unet_takes_what_the_plans_expect(frames, rows, chunked):
    peak, weights = count_unet(frames, rows, chunked)
    per_frame = memory.CHUNKED_FRAME_GB if chunked else memory.FRAME_GB
    assert weights == pytest.approx(memory.UNET_GB, rel=0.01)
    assert peak == pytest.approx(rows * frames * per_frame, rel=0.05)


@pytest.mark.parametrize("frames", [1, 4])
def test_the_decoder_takes_what_the_plans_expect(frames):
    from diffusers import AutoencoderKLTemporalDecoder

    with torch.device("meta"):
        vae = AutoencoderKLTemporalDecoder(**FULL_VAE).to(HALF)
    peak, _ = peak_gigabytes(vae, lambda network: decode_chunk(network, torch.empty(frames, 4, 128, 72, dtype=HALF)))
    assert peak == pytest.approx(frames * memory.DECODE_FRAME_GB, rel=0.1)
