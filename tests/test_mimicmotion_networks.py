"""Networks, scheduler, tiles and the whole sampler against the golden numbers."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from mimicmotion_golden import FULL_UNET, SCHEDULER, fill, filled, golden, tiny_parts

from pipeline.labels.mimicmotion import MimicMotionPipeline, PoseNet, images
from pipeline.labels.mimicmotion import pipeline as sampler
from pipeline.labels.mimicmotion.loading import empty_networks, expected_shapes
from pipeline.labels.mimicmotion.memory import MemoryPlan
from pipeline.labels.mimicmotion.tiles import frame_tiles, tile_weights


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Networks this small lose more by waiting for a second thread than they gain."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def parts():
    return tiny_parts()


@pytest.fixture(scope="module")
def pipe(parts):
    pipe = MimicMotionPipeline(**parts)
    pipe.set_progress_bar_config(disable=True)
    return pipe


ORDER = 1 if torch.backends.cpu.get_cpu_capability() == "AVX512" else 5
"""The goldens were computed with AVX-512; other CPUs add up float32 in another order, and values go up to 25."""


def near(ours, theirs, tolerance):
    ours = ours.detach().numpy() if isinstance(ours, torch.Tensor) else np.asarray(ours)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=ORDER * tolerance)


def test_the_fill_rule_is_the_goldens(parts):
    near(parts["unet"].conv_in.weight.flatten()[:3], [-0.0465433151, -0.00488031749, -0.0700442493], 1e-9)
    near(filled("pose_net.final_proj.weight", (320, 128, 1, 1)).ravel()[:2], [-0.0734842718, -0.00111051276], 1e-9)
    near(parts["vae"].quant_conv.weight.flatten()[:2], [0.16929774, -0.06297075], 1e-8)


def test_posenet(shared):
    data = golden(shared, "posenet")
    network = fill(PoseNet(320), "pose_net")
    x = torch.from_numpy(data["input_u8"]).float() / 127.5 - 1
    with torch.no_grad():
        near(network(x), data["output"], 1e-5)
        near(network.in_chunks(x, 1), data["output"], 5e-5)  # up to 25; another order of the sums
        near(network.conv_layers(x)[:, ::16], data["act15"], 1e-5)
        for k in (1, 7):
            layer = network.conv_layers[: k + 1](x)
            near([layer.mean(), layer.std()], data[f"act{k}_mean_std"], 1e-5)
    assert sum(p.numel() for p in network.parameters()) == 205_557


def test_unet_with_and_without_pose(shared, parts):
    data = golden(shared, "unet_tiny")
    sample, hidden = (torch.from_numpy(data[k][:1]) for k in ("sample", "encoder_hidden_states"))
    pose, ids = torch.from_numpy(data["pose_latents"]), torch.from_numpy(data["added_time_ids"])
    for k in (0, 1):
        t = torch.tensor(data["timesteps"][k])
        with torch.no_grad():
            plain = parts["unet"](sample, t, hidden, ids).sample
            posed = parts["unet"](sample, t, hidden, ids, pose_latents=pose).sample
            both = parts["unet"](
                sample.repeat(2, 1, 1, 1, 1), t, hidden.repeat(2, 1, 1), ids.repeat(2, 1), pose_latents=pose
            ).sample
        near(plain[0], data[f"out_t{k}_nopose"][0], 1e-5)
        near(posed[0], data[f"out_t{k}_pose"][0], 1e-5)
        near(both[0], plain[0], 1e-5)
        near(both[1], posed[0], 1e-5)


def test_every_block_of_the_unet(shared, parts):
    """Mean, spread and largest magnitude of what each block hands on; two of them number by number."""
    data, unet, found = golden(shared, "unet_tiny"), parts["unet"], {}
    blocks = {"time_emb": unet.time_embedding, "add_emb": unet.add_embedding, "conv_in": unet.conv_in}
    blocks |= {f"down{k}": block for k, block in enumerate(unet.down_blocks)} | {"mid": unet.mid_block}
    blocks |= {f"up{k}": block for k, block in enumerate(unet.up_blocks)}

    def keep(name):
        def hook(module, inputs, output):  # copied: the pose is added in place behind conv_in
            found[name] = (output[0] if isinstance(output, tuple) else output).clone()

        return hook

    handles = [block.register_forward_hook(keep(name)) for name, block in blocks.items()]
    inputs = (torch.from_numpy(data[k][:1]) for k in ("sample", "encoder_hidden_states", "added_time_ids"))
    sample, hidden, ids = inputs
    with torch.no_grad():
        unet(
            sample, torch.tensor(data["timesteps"][0]), hidden, ids, pose_latents=torch.from_numpy(data["pose_latents"])
        )
    for handle in handles:
        handle.remove()
    for name, tensor in found.items():
        x = tensor.double()
        near([x.mean(), x.std(), x.abs().max()], data[f"stat_t0_pose_{name}"], 1e-4)
    near(found["time_emb"] + found["add_emb"], data["emb_t0"], 1e-5)
    near(found["mid"], data["mid_t0_pose"], 1e-5)


def test_scheduler(shared):
    from diffusers import EulerDiscreteScheduler

    data = golden(shared, "scheduler")
    scheduler = EulerDiscreteScheduler(**SCHEDULER)
    for steps in (1, 2, 3, 10, 25, 50):
        scheduler.set_timesteps(steps)
        near(scheduler.timesteps, data[f"timesteps_{steps}"], 1e-5)
        near(scheduler.sigmas, data[f"sigmas_{steps}"], 1e-5)
        near(scheduler.init_noise_sigma, data[f"init_noise_sigma_{steps}"], 1e-3)
    scheduler.set_timesteps(3)
    x = torch.from_numpy(data["step_x"])
    for k, t in enumerate(scheduler.timesteps):
        near(scheduler.scale_model_input(x, t), data["step_scaled_inputs"][k], 1e-5)
        x = scheduler.step(torch.from_numpy(data["step_v"][k]), t, x, return_dict=False)[0]
        near(x, data["step_outputs"][k], 1e-5 * max(1, np.abs(data["step_outputs"][k]).max()))
    near(tile_weights(72), data["tile_weight_72_fp32"], 1e-7)


def test_tiles(shared):
    cases = json.loads((shared / "specs/mimicmotion_golden/tiles.json").read_text("utf-8"))["tiles"]
    assert len(cases) == 13
    for case, wanted in cases.items():
        tiles = frame_tiles(*map(int, case.split(",")))
        assert [[t[0], t[1], t[-1]] for t in tiles] == wanted, case
        assert all(t[1:] == list(range(t[1], t[-1] + 1)) for t in tiles)


@pytest.mark.parametrize("frames", [2, 5, 17, 40])
def test_tiles_cover_every_frame(frames):
    for overlap in (1, 3, 5):
        assert {f for tile in frame_tiles(frames, 6, overlap) for f in tile} == set(range(frames))


def test_image_preparation(shared):
    data = golden(shared, "image_prep")
    torch.set_num_threads(2)  # with one thread torch rounds one pixel of the four pictures the other way
    for k in range(4):
        np.testing.assert_array_equal(images.fit_reference(data[f"in{k}"], int(data[f"res{k}"])), data[f"out{k}"])
    torch.set_num_threads(1)
    assert images.target_size(1920, 1080) == (1024, 576) and images.target_size(500, 500) == (576, 1024)


def test_clip_input_and_embedding(shared, parts):
    data = golden(shared, "clip_preprocess")
    rng = np.random.default_rng(602)
    coarse = rng.integers(0, 128, (64, 36, 3)).repeat(16, 0).repeat(16, 1)
    picture = (coarse + rng.integers(0, 128, (1024, 576, 3))).astype(np.uint8)
    pixels = images.clip_input(images.to_pixels(picture))
    near(pixels[:, :, ::4, ::4], data["pixel_values_stride4"], 1e-5)
    near(pixels[0, :, 100], data["pixel_values_row100"], 1e-5)
    with torch.no_grad():
        near(parts["image_encoder"](pixels).image_embeds, data["image_embeddings"][1], 1e-5)
    near([pixels.mean(), pixels.std()], data["mean_std"], 1e-5)


@pytest.mark.parametrize(("name", "batched"), [("pipeline_A", True), ("pipeline_B", False)])
def test_whole_sampler(shared, pipe, monkeypatch, name, batched):
    data = golden(shared, name)
    draws = iter([torch.from_numpy(data["aug_noise"])] if "aug_noise" in data else [torch.zeros(1)])
    monkeypatch.setattr(sampler, "randn_tensor", lambda *a, **k: next(draws))
    rows, latents, predictions, posed = [], [], [], []
    real = pipe.unet.forward

    def record(sample, *rest, pose_latents=None, **options):
        out = real(sample, *rest, pose_latents=pose_latents, **options)
        rows.extend(zip(sample, out[0], strict=True))
        poses.append(pose_latents)
        return out

    poses = []
    monkeypatch.setattr(pipe.unet, "forward", record)
    encode, encoded = pipe._encode, []
    monkeypatch.setattr(pipe, "_encode", lambda pixels: encoded.append(pixels) or encode(pixels))
    begin = pipe._start
    monkeypatch.setattr(pipe, "_start", lambda *a: latents.append(begin(*a)) or latents[-1])
    conditions = pipe._conditions
    monkeypatch.setattr(pipe, "_conditions", lambda *a: posed.append(conditions(*a)) or posed[-1])

    def after_step(pipeline, step, t, tensors):
        latents.append(tensors["latents"].clone())
        predictions.append(tensors["noise_pred"].clone())

    pipe._use(MemoryPlan("test", batched_guidance=batched, offload=False))
    frames = pipe(
        data["image_u8"], data["pose_u8"].transpose(0, 2, 3, 1), tile_size=int(data["tile_size"]),
        tile_overlap=int(data["tile_overlap"]), num_inference_steps=int(data["num_inference_steps"]),
        min_guidance_scale=float(data["min_guidance_scale"]), max_guidance_scale=float(data["max_guidance_scale"]),
        noise_aug_strength=float(data["noise_aug_strength"]), decode_chunk_size=int(data["decode_chunk_size"]),
        latents=torch.from_numpy(data["latent_noise"]), output_type="pt", callback_on_step_end=after_step,
        callback_on_step_end_tensor_inputs=("latents", "noise_pred"),
    ).frames  # fmt: skip
    near(posed[0].embeddings, data["image_embeddings"], 1e-5)
    near(posed[0].image_latents, data["image_latents"], 1e-4)
    near(posed[0].time_ids, data["added_time_ids"], 1e-6)
    compared = [n for n in range(1, 5) if f"unet_call{n}_out" in data]
    for n in compared:  # without and with condition, tile by tile, whether in one call or two
        sample, out = rows[n - 1]
        near(sample, data[f"unet_call{n}_sample"][0], 1e-4)
        near(out, data[f"unet_call{n}_out"][0], 5e-4)
    given = [pose for pose in poses if pose is not None]
    assert len(compared) >= 2 and len(rows) == len(data["unet_calls"])
    for n in compared[1::2]:
        near(given[n // 2 - 1], data[f"unet_call{n}_pose_latents"], 1e-4)  # up to 25
    near(pipe.scheduler.timesteps, data["timesteps"], 1e-5)
    near(pipe.scheduler.sigmas, data["sigmas"], 1e-4)
    near(latents.pop(0), data["latents_init"], 1e-3)
    if "vae_input" in data:
        near(encoded[0], data["vae_input"], 1e-5)
    pixels = images.clip_input(images.to_pixels(data["image_u8"]))
    near(pixels[:, :, ::4, ::4], data["clip_pixel_values_stride4"], 1e-5)
    near(torch.stack(predictions), data["noise_pred"], 5e-4)
    near(torch.stack(latents), data["latents"], 2e-3)
    near(frames[data["frames_sel_index"]], data["frames_pt_sel"][0], 1e-4)
    near(frames.mean((1, 2, 3)), data["frames_mean_std"][0], 1e-4)
    video = (frames[1:] * 255).to(torch.uint8).numpy().astype(int)
    assert np.abs(video - data["video_u8"].astype(int)).max() <= 1


def test_architecture_has_the_1447_tensors_of_the_checkpoint(shared):
    wanted = json.loads((shared / "specs/mimicmotion_golden/keys.json").read_text("utf-8"))
    ours = expected_shapes(empty_networks(FULL_UNET))
    assert len(ours) == 1447
    assert ours == {key: tuple(entry["shape"]) for key, entry in wanted.items()}
    assert sum(int(np.prod(shape)) for shape in ours.values()) == 1_524_828_639
