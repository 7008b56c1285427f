"""Memory plans: which settings fit which graphics card, and the next smaller ones when memory runs out."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pipeline.labels.mimicmotion.tiles import frame_tiles
from pipeline.types import PipelineError

SMALLEST_TILE = 8

# Counted on the full-size architecture at 576x1024 in half precision (tests/test_mimicmotion_memory.py), not measured
# on a card: workspaces of convolutions and what the allocator wastes are in ALLOCATOR, an estimate.
UNET_GB, OTHERS_GB = 3.05, 1.46
FRAME_GB, CHUNKED_FRAME_GB = 0.165, 0.094
DECODE_FRAME_GB = 1.21
UNET_TFLOP, DECODE_TFLOP = 3.2, 6.9
"""Per frame and pass, and per frame."""
ALLOCATOR, CONTEXT_GB = 1.1, 0.5
CARD_TFLOPS = 77.0
"""What the authors' 20 minutes for 35 s of video on an RTX 4090 amount to."""


@dataclass(frozen=True)
class MemoryPlan:
    """How the sampler uses memory.

    Attributes:
        name: for messages.
        tile_size: frames per window; 72 is what the 1.1 checkpoint was trained with.
        tile_overlap: frames that neighbouring windows share.
        batched_guidance: conditional and unconditional pass in one call (faster, needs twice the activations).
        chunked_feed_forward: feed-forward layers one frame at a time (the same result, a little slower).
        offload: keep only the network at work on the card.
        decode_chunk: frames decoded together.
        decode_bands: horizontal bands that a frame is decoded in; 1 decodes it whole.
    """

    name: str
    tile_size: int = 72
    tile_overlap: int = 6
    batched_guidance: bool = False
    chunked_feed_forward: bool = False
    offload: bool = True
    decode_chunk: int = 8
    decode_bands: int = 1

    def smaller_step(self) -> MemoryPlan | None:
        """The next smaller way to denoise: first what leaves the result unchanged, then shorter windows."""
        if self.batched_guidance:
            return replace(self, batched_guidance=False)
        if not self.chunked_feed_forward:
            return replace(self, chunked_feed_forward=True)
        if self.tile_size > SMALLEST_TILE:
            size = max(self.tile_size // 2, SMALLEST_TILE)
            return replace(self, tile_size=size, tile_overlap=min(self.tile_overlap, size // 2))
        return None

    def smaller_decode(self) -> MemoryPlan | None:
        """The next smaller way to decode: fewer frames together, then in bands."""
        if self.decode_chunk > 1:
            return replace(self, decode_chunk=self.decode_chunk // 2)
        if self.decode_bands < 8:
            return replace(self, decode_bands=self.decode_bands * 2)
        return None


_PLANS = {
    8: MemoryPlan("8 GB", tile_size=16, chunked_feed_forward=True, decode_chunk=2),
    16: MemoryPlan("16 GB", tile_size=72, chunked_feed_forward=True, decode_chunk=4),
    24: MemoryPlan("24 GB", tile_size=72, decode_chunk=8),
    48: MemoryPlan("48 GB", tile_size=72, batched_guidance=True, offload=False, decode_chunk=8),
}


def plan_for(vram_gb: float) -> MemoryPlan:
    """The plan for a card with that much memory.

    Raises:
        PipelineError: less than 8 GB.
    """
    fitting = [size for size in _PLANS if size <= vram_gb + 0.75]
    if not fitting:
        raise PipelineError(
            f"Generated labels need a card with 8 GB of memory, this one has {vram_gb:g} GB; leave them out."
        )
    return _PLANS[max(fitting)]


@dataclass(frozen=True)
class Expectation:
    """What a video is expected to take at 576x1024: gigabytes at the peak, minutes on a card like an RTX 4090."""

    gigabytes: float
    minutes: float


def expectation(plan: MemoryPlan, frames: int, steps: int) -> Expectation:
    """Count memory and operations.

    Args:
        plan: memory plan. frames: of the video, with the photo's own pose. steps: denoising steps.

    Raises:
        PipelineError: fewer than two frames.
    """
    tiles = frame_tiles(frames, plan.tile_size, plan.tile_overlap)
    rows = 2 if plan.batched_guidance else 1
    per_frame = CHUNKED_FRAME_GB if plan.chunked_feed_forward else FRAME_GB
    sampling = UNET_GB + rows * len(tiles[0]) * per_frame
    decoding = DECODE_FRAME_GB * min(plan.decode_chunk, frames) / plan.decode_bands + 0.2
    peak = max(sampling, decoding) if plan.offload else max(sampling, decoding + UNET_GB) + OTHERS_GB
    passes = 2 * steps * sum(len(tile) for tile in tiles)
    seconds = (passes * UNET_TFLOP + frames * DECODE_TFLOP) / CARD_TFLOPS
    return Expectation(peak * ALLOCATOR + CONTEXT_GB, seconds / 60)
