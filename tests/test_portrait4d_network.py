"""The whole head generator, full architecture and resolution, against the parity vectors made by the official code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import portrait4d_golden as golden
import pytest
import torch
from live_memory import LiveBytes
from portrait4d_golden import gap, stats, sub

from pipeline.labels.portrait4d.generator import HeadImage, Portrait4D, SourceFeatures
from pipeline.labels.portrait4d.layers import with_coordinates
from pipeline.labels.portrait4d.motion_encoder import UNUSED_PREFIXES, MotionEncoder
from pipeline.labels.portrait4d.neck import Deformation, neck_keys
from pipeline.labels.portrait4d.rays import camera_vector
from pipeline.labels.portrait4d.volume import Jitter


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "specs" / "portrait4d_golden"


@pytest.fixture(scope="module")
def net() -> Portrait4D:
    with torch.device("meta"):
        empty = Portrait4D()
    return golden.filled(empty)


@pytest.fixture(scope="module")
def global_features(net) -> torch.Tensor:
    with torch.inference_mode():
        return net.encoder_global(with_coordinates(golden.source_image()))


@pytest.fixture(scope="module")
def source(net) -> SourceFeatures:
    return net.encode_source(golden.source_image(), golden.motion(2))


@pytest.fixture(scope="module")
def expression(net, source) -> torch.Tensor:
    with torch.inference_mode():
        return net.encoder_canonical.express(source.neutral, golden.motion(3))


@pytest.fixture(scope="module")
def planes(net, source, expression) -> torch.Tensor:
    with torch.inference_mode():
        return net.generator_triplane(expression, source.detail)[0]


def test_key_lists(folder):
    lists = golden.load_keys(folder)
    with torch.device("meta"):
        nets = {"generator": Portrait4D(), "motion_encoder": MotionEncoder()}
    for name, module in nets.items():
        used = {k: v["shape"] for k, v in lists[name].items() if v["used"] and k not in neck_keys()}
        mine = {k: list(v.shape) for k, v in module.state_dict().items() if not k.endswith("num_batches_tracked")}
        assert mine == used
    unused = [k for k, v in lists["motion_encoder"].items() if not v["used"] and "num_batches" not in k]
    assert all(k.startswith(UNUSED_PREFIXES) for k in unused)


@pytest.mark.slow
def test_global_encoder(folder, net, global_features):
    want = np.load(folder / "g_encoders.npz")
    with torch.inference_mode():
        stages = net.encoder_global.encoder.stages(with_coordinates(golden.source_image()))
    rules = [(8, 3, 16), (8, 3, 8), (16, 1, 4), (16, 1, 4), (16, 1, 4)]
    for k, (stage, rule) in enumerate(zip(stages, rules, strict=True), 1):
        assert gap(sub(stage, *rule), want[f"enc_stage{k}"]) < 5e-5
    assert gap(sub(global_features, 8, 1, 4), want["features_global"]) < 5e-5
    assert np.allclose(stats(global_features), want["stats"][0], rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@torch.inference_mode()
def test_canonical_encoder_step_by_step(folder, net, global_features):
    want = np.load(folder / "g_encoders.npz")
    encoder = net.encoder_canonical
    keys = {}
    for tag, seed, maps, proj in (
        ("_neutral", 2, encoder.maps_neutral, encoder.proj_y_neutral), ("", 3, encoder.maps, encoder.proj_y),
    ):  # fmt: skip
        keys[tag] = proj(maps(golden.motion(seed)))
        assert gap(keys[tag][:, ::257], want[f"canon_proj_y{tag}"]) < 5e-5
    tokens = encoder.patch_embed(global_features)
    assert gap(tokens[:, ::32, ::32], want["canon_patch_embed"]) < 5e-5
    for name, tag in (("neutral", "_neutral"), ("motion", "")):
        for k, block in enumerate(getattr(encoder, f"trans_blocks_{name}")):
            tokens = block(tokens, keys[tag].view(1, 64, 1024), (32, 32))
            if k in (0, 3):
                assert gap(tokens[:, ::32, ::32], want[f"canon_{name}{k}"]) < 5e-5
    low = encoder.low_resolution(tokens)
    assert gap(sub(low, 8, 1, 4), want["canon_lr"]) < 5e-5
    assert np.allclose(stats(low), want["stats"][2], rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@torch.inference_mode()
def test_expression_features(folder, net, source, expression):
    want = np.load(folder / "g_encoders.npz")
    assert gap(sub(expression, 8, 3, 16), want["canon_sr"]) < 5e-5
    assert np.allclose(stats(expression), want["stats"][3], rtol=1e-4, atol=1e-4)
    swapped = net.encoder_canonical.express(source.neutral, golden.motion(2))
    assert float((swapped - expression).square().mean().sqrt()) > 0.02


@pytest.mark.slow
@torch.inference_mode()
def test_no_motion_at_scale_zero(folder, net, global_features):
    want = np.load(folder / "g_encoders.npz")
    encoder = net.encoder_canonical
    still = encoder.express(encoder.neutralise(global_features, golden.motion(2), 0.0), golden.motion(3), 0.0)
    assert gap(sub(still, 8, 3, 16), want["canon_sr_scale0"]) < 5e-5


@pytest.mark.slow
def test_planes(folder, planes):
    want = np.load(folder / "g_encoders.npz")
    assert gap(sub(planes[None], 4, 3, 16), want["planes"]) < 5e-5
    assert np.allclose(stats(planes), want["stats"][4], rtol=1e-4, atol=1e-4)


def _deformation(folder: Path, tag: str) -> Deformation | None:
    if tag == "cam":
        return None
    stored = np.load(folder / "g_deformer.npz")
    names = ("grid24_offset", "grid24_dist2", "grid8_offset")
    return Deformation.from_grids(*(torch.from_numpy(stored[n]) for n in names))


def _compare(picture: HeadImage, want, tag: str, tolerance: float) -> None:
    volume = picture.volume
    found = {
        "z_coarse": volume.coarse_depths[0],
        "w_coarse": volume.coarse_weights[::131],
        "z_fine": volume.fine_depths[::131],
        "all_depths": volume.all_depths[::131],
        "all_weights": volume.all_weights[::131],
        "T_bg": picture.transmittance[::2, ::2],
        "depth": picture.depth[::2, ::2],
        "feature_wobg": sub(picture.foreground[None], 4, 1, 8),
        "feature": sub(picture.features[None], 4, 1, 8),
        "rgb128": picture.features[:3, ::4, ::4],
        "sr_sub": picture.image[:, 2::8, 2::8],
        "sr_crop": picture.image[:, 200:248, 232:280],
    }
    errors = {name: gap(value, want[f"{tag}_{name}"]) for name, value in found.items()}
    loose = {name: 4 * tolerance if name in ("z_fine", "all_depths") else tolerance for name in errors}
    assert all(errors[name] < loose[name] for name in errors), errors
    tables = (picture.features, picture.transmittance, picture.depth, picture.image)
    assert np.allclose([stats(t) for t in tables], want[f"{tag}_stats"], rtol=20 * tolerance, atol=tolerance)


def _tables() -> Jitter:
    coarse = np.random.default_rng(101).random((1, 1, 48, 1)).astype(np.float32).reshape(48)
    fine = np.random.default_rng(102).random((16384, 48)).astype(np.float32)
    return Jitter(torch.from_numpy(coarse), torch.from_numpy(fine))


@pytest.mark.slow
@pytest.mark.parametrize("tag", ["cam"])
def test_picture_of_smooth_planes(folder, net, source, tag):
    """The neck mode on smooth planes is in test_portrait4d_blocks.py, ray by ray."""
    camera = camera_vector(golden.head_rotation(0.3))
    want = np.load(folder / "g_render.npz")
    assert gap(sub(source.background, 4, 1, 8), want["background_128"]) < 5e-5
    picture = net.render(
        golden.smooth_planes(), source.background, camera, jitter=_tables(), deform=_deformation(folder, tag),
        samples=True,
    )  # fmt: skip
    _compare(picture, want, tag, 5e-5)


@pytest.mark.slow
@pytest.mark.parametrize("tag", ["neck", "cam"])
def test_picture_from_photo_and_motion(folder, net, source, planes, tag):
    camera = camera_vector(torch.eye(3) if tag == "neck" else golden.head_rotation(0.3))
    weights = [*net.parameters(), *net.buffers()]
    with LiveBytes([planes, *weights]) as live:
        picture = net.render(
            planes, source.background, camera, jitter=_tables(), deform=_deformation(folder, tag), samples=True
        )
    _compare(picture, np.load(folder / "g_e2e.npz"), tag, 5e-3)
    held = sum(w.nbytes for w in weights) + planes.nbytes + live.peak
    assert held < 2.5e9, "6 GB is the limit on a card, workspaces included"


def test_wrong_shapes_are_refused():
    with torch.device("meta"):
        net = Portrait4D()
    with pytest.raises(ValueError, match="548"):
        net.encode_source(torch.zeros(1, 3, 256, 256), torch.zeros(1, 548))
