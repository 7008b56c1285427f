"""The sampler as users meet it: loading, settings, bad input, memory that runs out, stopping and continuing."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from mimicmotion_toys import write_tiny_weights

from pipeline.checkpoints import read_tensors
from pipeline.labels.mimicmotion import MimicMotionPipeline, plan_for
from pipeline.labels.mimicmotion.decoding import decode_chunk
from pipeline.labels.mimicmotion.memory import MemoryPlan, expectation
from pipeline.types import PipelineError


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ONESHOT_CACHE", str(folder / "cache"))
        yield write_tiny_weights(folder)


@pytest.fixture(scope="module")
def pipe(weights):
    pipe = MimicMotionPipeline.from_pretrained(*weights, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture
def photo():
    return np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)


def poses(count, height=64, width=64):
    return np.random.default_rng(1).integers(0, 256, (count, height, width, 3), np.uint8)


def run(pipe, photo, count=5, **options):
    settings = {"num_inference_steps": 2, "generator": torch.Generator().manual_seed(0), "output_type": "latent"}
    return pipe(photo, poses(count, *photo.shape[:2]), **{**settings, **options})


def test_loaded_networks_are_those_of_the_checkpoint(pipe, weights):
    tensors = read_tensors(weights[1])
    for name, network in (("unet", pipe.unet), ("pose_net", pipe.pose_net)):
        for key, value in network.state_dict().items():
            assert torch.equal(value, tensors[f"{name}.{key}"])
    assert not any(p.requires_grad for p in pipe.unet.parameters())


def test_a_checkpoint_of_another_model_is_explained(weights, tmp_path, caplog):
    base, checkpoint = weights
    caplog.set_level("INFO")
    tensors = read_tensors(checkpoint)
    del tensors["pose_net.scale"]
    tensors["unet.conv_in.weight"] = torch.zeros(32, 4, 3, 3)
    torch.save(tensors, tmp_path / "other.pth")
    with pytest.raises(PipelineError, match=r"other\.pth is not .* 1 of .* missing, such as pose_net\.scale; 1 have"):
        MimicMotionPipeline.from_pretrained(base, tmp_path / "other.pth", torch_dtype=torch.float32)
    assert "missing: pose_net.scale (1)" in caplog.text and "shape: unet.conv_in.weight [32, 4, 3, 3]" in caplog.text
    with pytest.raises(PipelineError, match="no complete Stable Video Diffusion folder"):
        MimicMotionPipeline.from_pretrained(tmp_path, checkpoint)
    with pytest.raises(PipelineError, match="weights fetch svd-xt-1.1"):
        MimicMotionPipeline.from_pretrained()


def test_damaged_base_file_is_named(weights, tmp_path):
    import shutil

    base, checkpoint = weights
    shutil.copytree(base, tmp_path / "svd")
    file = next((tmp_path / "svd" / "vae").glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(PipelineError, match="vae could not be loaded"):
        MimicMotionPipeline.from_pretrained(tmp_path / "svd", checkpoint, torch_dtype=torch.float32)


def test_save_pretrained_and_back(pipe, photo, tmp_path):
    pipe.save_pretrained(tmp_path / "all")
    again = MimicMotionPipeline.from_pretrained(tmp_path / "all", torch_dtype=torch.float32)
    again.set_progress_bar_config(disable=True)
    torch.testing.assert_close(run(again, photo, 2).frames, run(pipe, photo, 2).frames, rtol=1e-3, atol=1e-3)


def test_seed_and_formats(pipe, photo):
    a, b = run(pipe, photo).frames, run(pipe, photo).frames
    assert torch.equal(a, b) and a.shape == (5, 4, 8, 8)
    assert not torch.equal(a, run(pipe, photo, generator=torch.Generator().manual_seed(1)).frames)
    array = run(pipe, photo, 2, output_type="np", num_inference_steps=1).frames
    assert array.shape == (2, 64, 64, 3) and array.dtype == np.float32 and 0 <= array.min() <= array.max() <= 1
    pictures = run(pipe, array[0], 2, output_type="pil", num_inference_steps=1, return_dict=False)[0]
    assert len(pictures) == 2 and pictures[0].size == (64, 64)


def test_sides_that_are_no_multiples_of_64(pipe):
    photo = np.full((72, 40, 3), 90, np.uint8)
    assert run(pipe, photo, 2, output_type="pt", num_inference_steps=1).frames.shape == (2, 3, 72, 40)


def test_guidance_one_asks_once(pipe, photo, monkeypatch):
    rows = []
    real = pipe._call_unet
    monkeypatch.setattr(pipe, "_call_unet", lambda *a: rows.append(a[3]) or real(*a))
    run(pipe, photo, min_guidance_scale=1.0, num_inference_steps=1)
    assert rows == [(1,)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tile_size": 4, "tile_overlap": 0}, "overlap is 0; use 1 to 3"),
        ({"tile_size": 4, "tile_overlap": 4}, "overlap is 4"),
        ({"tile_size": 1}, "too few"),
        ({"min_guidance_scale": 0.5}, "guidance is 0.5"),
        ({"num_inference_steps": 0}, "use 1 step or more"),
        ({"start_step": 1}, "latents of all frames"),
    ],
)
def test_settings_that_do_not_work(pipe, photo, options, words):
    with pytest.raises(PipelineError, match=words):
        run(pipe, photo, **options)


def test_pictures_that_do_not_fit(pipe, photo):
    with pytest.raises(PipelineError, match="64x64 but the pose pictures are 32x64"):
        pipe(photo, poses(3, 64, 32))
    with pytest.raises(PipelineError, match="two or more"):
        pipe(photo, poses(1))
    with pytest.raises(PipelineError, match="uint8"):
        pipe(photo, np.zeros((3, 64, 64, 3)))
    with pytest.raises(PipelineError, match="RGB"):
        pipe(np.zeros((64, 64), np.uint8), poses(3))


def test_fewer_frames_than_a_window_is_one_window(pipe, photo):
    short = run(pipe, photo, 3, tile_size=3, tile_overlap=1, num_inference_steps=1)
    assert torch.equal(run(pipe, photo, 3, tile_size=72, num_inference_steps=1).frames, short.frames)


def test_stopped_run_continues_to_the_same_result(pipe, photo):
    seen = []

    def stop(pipeline, step, t, tensors):
        seen.append(tensors["latents"].clone())
        if step == 1:
            raise KeyboardInterrupt

    options = {"num_inference_steps": 3, "tile_size": 4, "tile_overlap": 2}
    whole = run(pipe, photo, **options).frames
    with pytest.raises(KeyboardInterrupt):
        run(pipe, photo, callback_on_step_end=stop, **options)
    rest = run(pipe, photo, latents=seen[-1], start_step=2, **options).frames
    torch.testing.assert_close(rest, whole)
    done = run(pipe, photo, latents=whole[None], start_step=3, **options).frames
    assert torch.equal(done, whole)


def test_callback_may_change_latents(pipe, photo):
    frames = run(pipe, photo, callback_on_step_end=lambda p, s, t, x: {"latents": torch.zeros_like(x["latents"])})
    assert not frames.frames.any()


def out_of_memory_when(pipe, monkeypatch, too_much):
    real, calls = pipe._call_unet, []
    errors = torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when")

    def limited(scaled, t, conditions, rows, pose):
        calls.append((len(rows), scaled.shape[1]))
        if too_much(len(rows), scaled.shape[1], pipe._plan):
            raise errors[len(calls) % 2]
        return real(scaled, t, conditions, rows, pose)

    monkeypatch.setattr(pipe, "_call_unet", limited)
    return calls


def test_out_of_memory_goes_on_with_a_smaller_plan(pipe, photo, monkeypatch):
    whole = run(pipe, photo, 9, tile_size=9).frames
    monkeypatch.setattr(pipe, "_plan", MemoryPlan("test", batched_guidance=True, offload=False))
    with monkeypatch.context() as patch:
        calls = out_of_memory_when(pipe, patch, lambda rows, frames, plan: not plan.chunked_feed_forward)
        result = run(pipe, photo, 9, tile_size=9)
    assert calls[:2] == [(2, 9), (1, 9)] and result.plan.chunked_feed_forward and not result.plan.batched_guidance
    torch.testing.assert_close(result.frames, whole, rtol=1e-3, atol=1e-3)
    assert pipe._plan.name == "test" and pipe._plan.batched_guidance, "the next call starts with the plan it was given"
    with monkeypatch.context() as patch:
        out_of_memory_when(pipe, patch, lambda rows, frames, plan: frames > 8)
        assert run(pipe, photo, 20, tile_size=16, num_inference_steps=1).plan.tile_size == 8
    with monkeypatch.context() as patch:
        out_of_memory_when(pipe, patch, lambda rows, frames, plan: True)
        with pytest.raises(PipelineError, match="ran out of memory with the smallest settings"):
            run(pipe, photo)


def test_other_errors_are_not_taken_for_a_full_card(pipe, photo, monkeypatch):
    def broken(*args):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(pipe, "_call_unet", broken)
    with pytest.raises(RuntimeError, match="illegal"):
        run(pipe, photo)


def test_out_of_memory_while_decoding(pipe, photo, monkeypatch):
    from pipeline.labels.mimicmotion import pipeline as module

    def limited(vae, latents, bands):
        if len(latents) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return decode_chunk(vae, latents, bands)

    monkeypatch.setattr(module, "decode_chunk", limited)
    result = run(pipe, photo, output_type="pt", num_inference_steps=1, decode_chunk_size=8)
    assert result.frames.shape == (5, 3, 64, 64) and result.plan.decode_chunk == 2


def test_decoding_in_bands_is_close_to_whole_frames(pipe):
    pattern = torch.randn(2, 4, 8, 4, generator=torch.Generator().manual_seed(0))
    latents = pattern.repeat(1, 1, 6, 1)  # every band has the statistics of the whole, which normalisation sees
    with torch.no_grad():
        whole, banded = decode_chunk(pipe.vae, latents), decode_chunk(pipe.vae, latents, 2)
    assert banded.shape == whole.shape == (2, 3, 384, 32)
    difference = (banded - whole).abs().mean((0, 1, 3))
    assert difference.mean() < 0.02 and difference[160:224].max() < 0.1, "no seam where the bands meet"


def test_plans_grow_with_the_card():
    plans = [plan_for(gb) for gb in (8, 16, 24, 48, 80)]
    assert [p.name for p in plans] == ["8 GB", "16 GB", "24 GB", "48 GB", "48 GB"]
    assert plan_for(23.6).name == "24 GB", "cards have a little less than their name says"
    with pytest.raises(PipelineError, match="8 GB"):
        plan_for(6)
    for plan in plans:
        steps = 0
        while plan is not None:
            assert 1 <= plan.tile_overlap < plan.tile_size
            plan, steps = plan.smaller_step(), steps + 1
        assert steps < 8
    assert dataclasses.replace(plans[0], decode_chunk=1, decode_bands=8).smaller_decode() is None


@pytest.mark.parametrize("vram", [8, 16, 24, 48])
def test_plans_are_expected_to_fit(vram):
    plan = plan_for(vram)
    expected = expectation(plan, 72, 25)
    assert 3 < expected.gigabytes < vram
    assert expectation(plan, 143, 25).minutes > 1.8 * expected.minutes > 0


def test_expectation_agrees_with_the_published_time():
    """35 s at 15 frames per second took the authors 20 minutes."""
    assert 18 < expectation(plan_for(24), 526, 25).minutes < 23


# ------------------------------------------------------------------------------- what users of diffusers are used to


def test_what_was_fetched_is_found_by_its_name(weights, monkeypatch, tmp_path):
    import json
    import shutil

    monkeypatch.setenv("ONESHOT_CACHE", str(tmp_path))
    base, checkpoint = weights
    parts = tmp_path / "weights"
    shutil.copytree(base, parts / "svd-xt-1.1")
    for kind, name in (("vae", "diffusion_pytorch_model"), ("image_encoder", "model")):
        file = parts / "svd-xt-1.1" / kind / f"{name}.safetensors"
        file.rename(file.with_name(f"{name}.fp16.safetensors"))
    (parts / "svd-xt-1.1" / "fetched.json").write_text(json.dumps({"repo": "x", "commit": "c" * 40, "files": {}}))
    (parts / "mimicmotion").mkdir()
    shutil.copy(checkpoint, parts / "mimicmotion" / "MimicMotion_1-1.pth")
    name = "stabilityai/stable-video-diffusion-img2vid-xt-1-1"
    pipe = MimicMotionPipeline.from_pretrained(name, revision="c" * 40, torch_dtype=torch.bfloat16)
    assert pipe.dtype == pipe.unet.dtype == pipe.pose_net.dtype == pipe.vae.dtype == torch.bfloat16
    with pytest.raises(PipelineError, match="is cccccccccccc and not bbbbbbbbbbbb"):
        MimicMotionPipeline.from_pretrained(name, revision="b" * 40)
    with pytest.raises(PipelineError, match="folder has no revision"):
        MimicMotionPipeline.from_pretrained(base, checkpoint, revision="c" * 40)
    with pytest.raises(PipelineError, match="Nothing is downloaded here; run"):
        MimicMotionPipeline.from_pretrained(local_files_only=False)


def test_parts_can_be_exchanged(pipe, weights):
    from diffusers import EulerDiscreteScheduler

    own = EulerDiscreteScheduler.from_config(pipe.scheduler.config)
    again = MimicMotionPipeline.from_pretrained(*weights, torch_dtype=torch.float32, scheduler=own, vae=pipe.vae)
    assert again.scheduler is own and again.vae is pipe.vae and set(again.components) == set(pipe.components)
    with pytest.raises(TypeError, match="knows nothing of safety_checker"):
        MimicMotionPipeline.from_pretrained(*weights, safety_checker=None)


def test_callbacks_of_diffusers(pipe, photo):
    from diffusers.callbacks import PipelineCallback

    seen = []

    class Watch(PipelineCallback):
        tensor_inputs = ["noise_pred"]

        def callback_fn(self, pipeline, step, t, tensors):
            seen.append((pipeline is pipe, step, sorted(tensors)))
            return tensors

    run(pipe, photo, 2, callback_on_step_end=Watch(cutoff_step_ratio=1.0))
    assert seen == [(True, 0, ["noise_pred"]), (True, 1, ["noise_pred"])]
    with pytest.raises(PipelineError, match="no tensor prompt_embeds"):
        run(pipe, photo, 2, callback_on_step_end_tensor_inputs=("prompt_embeds",))


def test_numbers_that_overflow_are_said(pipe, photo, monkeypatch):
    from pipeline.labels.mimicmotion import pipeline as module

    with monkeypatch.context() as patch:
        patch.setattr(pipe, "_predict", lambda scaled, *rest: torch.full_like(scaled, torch.inf))
        with pytest.raises(PipelineError, match="overflowed in half precision"):
            run(pipe, photo, 2)
    monkeypatch.setattr(module, "decode_chunk", lambda vae, latents, bands: torch.full((2, 3, 64, 64), torch.nan))
    with pytest.raises(PipelineError, match="overflowed in half precision"):
        run(pipe, photo, 2, output_type="pt")


def test_bfloat16_goes_on_where_float16_overflows(weights, photo, monkeypatch, tmp_path, caplog):
    """The label stage keeps the steps that were good."""
    from pipeline.labels.mimicmotion.sampling import MimicMotionFrames
    from pipeline.labels.mimicmotion.stage import BodyLabelConfig

    pipe = MimicMotionPipeline.from_pretrained(*weights, torch_dtype=torch.float16)
    frames = MimicMotionFrames(pipe, "tiny", MemoryPlan("test", offload=False), "cpu")
    asked = []

    def predict(scaled, t, conditions):
        asked.append((pipe.unet.dtype, pipe.scheduler.step_index))
        full = pipe.unet.dtype == torch.float16 and pipe.scheduler.step_index == 1
        return torch.full_like(scaled, torch.inf if full else 0.0)

    monkeypatch.setattr(pipe, "_predict", predict)
    config = BodyLabelConfig(frames=2, steps=3)
    made = frames.frames(
        photo / np.float32(255), poses(3), config, 0, tmp_path / "keep.safetensors", lambda share: None
    )
    half, wide = torch.float16, torch.bfloat16
    assert asked == [(half, 0), (half, 1), (wide, 1), (wide, 2)] and "bfloat16" in caplog.text
    assert made.shape == (2, 64, 64, 3) and pipe.vae.dtype == pipe.pose_net.dtype == wide


def test_photo_is_encoded_in_single_precision(weights, photo):
    """The encoder is known to overflow in half precision (``force_upcast``); what comes after it stays half."""
    pipe = MimicMotionPipeline.from_pretrained(*weights, torch_dtype=torch.float16)
    whole = MimicMotionPipeline.from_pretrained(*weights, torch_dtype=torch.float32)
    pixels = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        near, wanted = pipe._encode(pixels), whole._encode(pixels)
    assert near.dtype == torch.float32 and pipe.vae.dtype == torch.float16
    assert (near - wanted).abs().max() < 5e-3 * wanted.abs().max(), "the weights alone were rounded"


def test_memory_that_ends_before_the_first_step_is_said(pipe, photo, monkeypatch):
    def full(*args):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(pipe, "_encode", full)
        with pytest.raises(PipelineError, match="ran out of memory"):
            run(pipe, photo, 2)
    monkeypatch.setattr(pipe, "to", full)
    with pytest.raises(PipelineError, match="ran out of memory"):
        pipe.apply_plan(MemoryPlan("test", offload=False), "cpu")
