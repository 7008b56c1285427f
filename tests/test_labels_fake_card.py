"""Both generators on a CUDA card that is not there: fake tensors know their device and type and hold no numbers.

An operation between a tensor on the card and one beside it, or between half and single precision, fails here as it
would on a card; no kernel runs, so nothing is said about numbers, speed or memory.
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from live_memory import fake
from mimicmotion_golden import SCHEDULER, TINY_CLIP
from mimicmotion_mirror import UNET, VAE
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from pipeline.labels.mimicmotion.memory import MemoryPlan

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="the real tests run where there is a card")

CARD = torch.device("cuda", 0)


def contiguous(tensor, memory_format=torch.contiguous_format):
    """``Tensor.contiguous``, whose binding asks for the card's driver."""
    return tensor.clone(memory_format=memory_format)


def item(tensor, index):
    """``tensor[index]``, whose binding asks for the card's driver, in single steps."""
    index, dim, lists = index if isinstance(index, tuple) else (index,), 0, {}
    for k, step in enumerate(index):
        if step is None:
            tensor, dim = tensor.unsqueeze(dim), dim + 1
        elif step is Ellipsis:
            dim = tensor.ndim - sum(i is not None for i in index[k + 1 :])
        elif isinstance(step, slice):
            tensor, dim = torch.ops.aten.slice(tensor, dim, step.start, step.stop, step.step or 1), dim + 1
        elif isinstance(step, int):
            tensor = tensor.select(dim, step)
        else:
            lists[dim] = step if isinstance(step, torch.Tensor) else torch.tensor(step, device=tensor.device)
            dim += 1
    return torch.ops.aten.index.Tensor(tensor, [lists.get(d) for d in range(dim)]) if lists else tensor


def set_item(tensor, index, value):
    """``tensor[index] = value``, likewise."""
    torch.ops.aten.copy_(item(tensor, index), value)


def applied(module, change, recurse=True):
    """What moves and casts a module: the original cannot exchange fake parameters, so the tables are written."""
    for part in module.modules():
        for table in (part._parameters, part._buffers):
            for name, tensor in table.items():
                if tensor is not None:
                    new = change(tensor)
                    table[name] = torch.nn.Parameter(new, False) if isinstance(tensor, torch.nn.Parameter) else new
    return module


@pytest.fixture
def mode(monkeypatch):
    """Fake tensors everywhere; what would be handed to NumPy stays a tensor."""
    monkeypatch.setattr(torch.Tensor, "numpy", lambda self: self)
    monkeypatch.setattr(torch.Tensor, "contiguous", contiguous)
    monkeypatch.setattr(FakeTensor, "__getitem__", item, raising=False)
    monkeypatch.setattr(FakeTensor, "__setitem__", set_item, raising=False)
    monkeypatch.setattr(torch.nn.Module, "_apply", applied)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode, torch.no_grad():
        yield mode


@pytest.fixture
def scheduler():
    """The sampler's own, whose sigmas are plain numbers: it asks for their values, and fake ones have none."""
    from diffusers import EulerDiscreteScheduler

    real = EulerDiscreteScheduler(**SCHEDULER)
    real.set_timesteps(2)
    sigmas, times = real.sigmas.tolist(), real.timesteps.tolist()

    def set_timesteps(steps, device):
        assert steps == 2 and device == CARD
        real.sigmas, real.timesteps = sigmas, torch.tensor(times, device=device)

    real.set_timesteps = set_timesteps
    return real


@pytest.fixture
def build(scheduler, mode):
    """The tiny pipeline in a type, on the processor."""

    def made(dtype):
        from diffusers import AutoencoderKLTemporalDecoder
        from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

        from pipeline.labels.mimicmotion import MimicMotionPipeline, PoseGuidedUNet, PoseNet

        with torch.device("meta"):
            networks = {
                "unet": PoseGuidedUNet(**UNET), "pose_net": PoseNet(32),
                "vae": AutoencoderKLTemporalDecoder(**VAE),
                "image_encoder": CLIPVisionModelWithProjection(CLIPVisionConfig(**TINY_CLIP)),
            }  # fmt: skip
        networks = {name: fake(network.to(dtype)) for name, network in networks.items()}
        pipe = MimicMotionPipeline(**networks, scheduler=scheduler)
        pipe.set_progress_bar_config(disable=True)
        return pipe

    return made


def test_fake_tensors_notice_what_a_card_would():
    with FakeTensorMode():
        here, there = torch.zeros(3), torch.zeros(3, device=CARD)
        with pytest.raises(RuntimeError, match="device"):
            here + there
        with pytest.raises(RuntimeError):
            torch.nn.functional.linear(there[None], torch.zeros(3, 3, device=CARD, dtype=torch.float16))


PLANS = {
    "one network at a time": MemoryPlan("offload", tile_size=4, tile_overlap=2, chunked_feed_forward=True),
    "all on the card": MemoryPlan("whole", tile_size=4, tile_overlap=2, batched_guidance=True, offload=False),
}


@pytest.mark.parametrize(
    ("dtype", "plan"), [(torch.float16, "one network at a time"), (torch.bfloat16, "all on the card")]
)
def test_body_generator(build, monkeypatch, dtype, plan):
    """Photo to pictures, stopped after the first of two steps and continued from latents off the card."""
    from pipeline.labels.mimicmotion import pipeline as module

    monkeypatch.setattr(module, "_finite", lambda numbers: True)  # fake ones have no values to look at
    pipe = build(dtype).apply_plan(PLANS[plan], CARD)
    assert pipe._execution_device == CARD
    assert next(pipe.unet.parameters()).device.type == ("cpu" if pipe._plan.offload else "cuda")
    photo, poses = np.zeros((256, 64, 3), np.uint8), np.zeros((5, 256, 64, 3), np.uint8)
    kept, options = [], {"num_inference_steps": 2, "generator": torch.Generator("cpu").manual_seed(0)}

    def stop(pipeline, step, t, tensors):
        kept.append(tensors["latents"])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipe(photo, poses, callback_on_step_end=stop, **options)
    assert kept[0].device == CARD and kept[0].dtype == torch.float32
    done = pipe(photo, poses, latents=kept[0].cpu(), start_step=1, output_type="latent", **options).frames
    assert done.device == CARD and done.shape == (5, 4, 32, 8)
    pipe._use(replace(pipe._plan, decode_bands=2))
    frames = pipe(photo, poses, latents=done[None].cpu(), start_step=2, output_type="pt", **options).frames
    assert frames.device.type == "cpu" and frames.dtype == torch.float32 and frames.shape == (5, 3, 256, 64)
    assert pipe.vae.dtype == dtype, "single precision was for the photo alone"
    where = {next(network.parameters()).device.type for network in (pipe.unet, pipe.vae, pipe.image_encoder)}
    assert where == ({"cpu"} if pipe._plan.offload else {"cuda"}), "the card is given back"


def test_a_network_off_the_card_would_be_noticed(build):
    pipe = build(torch.float16).to(CARD)
    pipe.pose_net.to("cpu")
    pipe.pose_net.final_proj.to(CARD)
    with pytest.raises(RuntimeError, match="device"):
        pipe(np.zeros((64, 64, 3), np.uint8), np.zeros((2, 64, 64, 3), np.uint8), num_inference_steps=2)


def test_head_generator(mode, monkeypatch):
    """Photo and driving face to picture and matte, in the single precision that this network always runs in."""
    from pipeline.labels.portrait4d import rays, synthesis, volume
    from pipeline.labels.portrait4d.generator import Portrait4D
    from pipeline.labels.portrait4d.motion_encoder import MotionEncoder

    for part, value in ((rays, 4.2), (volume, 1.0)):  # the only numbers that must come back from the card
        monkeypatch.setattr(part, "float", lambda tensor, value=value: value, raising=False)
    monkeypatch.setattr(synthesis, "from_network", lambda picture: picture)
    monkeypatch.setattr(synthesis, "motion_crop", lambda *face: torch.zeros(1, 3, 224, 224))
    with torch.device("meta"):
        networks = Portrait4D(narrow=8), MotionEncoder()
    model = synthesis.Portrait4DModel(*map(fake, networks), "fake", str(CARD))
    face = SimpleNamespace(image=np.zeros((512, 512, 3), np.uint8), landmarks68=None)
    source = model.encode(face)
    assert {t.device for t in vars(source).values()} == {CARD}
    picture, matte = model.draw(source, face, np.eye(3))
    assert picture.device == CARD and picture.shape == (3, 512, 512) and picture.dtype == torch.float32
    assert matte.device.type == "cpu" and matte.shape == (512, 512)
