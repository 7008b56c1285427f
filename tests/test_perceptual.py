"""LPIPS: golden numbers, a slow reference for VGG, loading, refusals, and its use as the loss on labels."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from pipeline import doctor
from pipeline.config import LABEL_STEP, STEPS, FitConfig
from pipeline.perceptual import Lpips, choose_measure, load_lpips
from pipeline.perceptual.networks import SQUEEZE, VGG
from pipeline.perceptual.weights import available, read_file
from pipeline.types import PipelineError
from pipeline.weights import WEIGHTS

TORCHVISION_VGG16 = "64 64 M 128 128 M 256 256 256 M 512 512 512 M 512 512 512 M"
"""Configuration D of the VGG paper: each width is a 3x3 convolution and a ReLU (two entries of ``features``)."""


def stand_in(network, seed=0) -> dict[str, torch.Tensor]:
    """Weights for tests of the code: nobody may take numbers from these for LPIPS."""
    g = torch.Generator().manual_seed(seed)
    shapes = network.shapes | network.head_shapes
    return {
        name: torch.randn(shape, generator=g).abs() / shape[1]
        if name.startswith("lin")
        else torch.randn(shape, generator=g) * (0.05 if len(shape) == 1 else (2 / np.prod(shape[1:])) ** 0.5)
        for name, shape in shapes.items()
    }


@pytest.fixture(scope="module")
def vgg_tensors():
    return stand_in(VGG)


@pytest.fixture(autouse=True)
def nothing_local(monkeypatch, tmp_path):
    """No weights but those that a test names."""
    for name in ("ONESHOT_LPIPS", "ONESHOT_LPIPS_VGG", "ONESHOT_VGG16"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ONESHOT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def squeeze_path(shared):
    return shared / "media/weights/lpips_squeeze_v0.1.npz"


def pictures(*seeds, shape=(1, 3, 96, 64)):
    return [torch.from_numpy(np.random.default_rng(s).uniform(-1, 1, shape).astype(np.float32)) for s in seeds]


def slow_vgg(tensors, x):
    """VGG16 layer by layer from the textbook table; LPIPS compares what goes into each pool."""
    taps, index = [], 0
    for entry in TORCHVISION_VGG16.split():
        if entry == "M":
            taps.append(x)
            x, index = F.max_pool2d(x, kernel_size=2, stride=2), index + 1
        else:
            weight = tensors[f"features.{index}.weight"]
            assert weight.shape[0] == int(entry)
            x, index = F.relu(F.conv2d(x, weight, tensors[f"features.{index}.bias"], padding=1)), index + 2
    return taps


def test_vgg_equals_a_slow_reference(vgg_tensors):
    a, b = pictures(0, 1, shape=(2, 3, 48, 40))
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    expected = torch.zeros(2)
    stacks = [slow_vgg(vgg_tensors, (x - shift[:, None, None]) / scale[:, None, None]) for x in (a, b)]
    for i, (p, q) in enumerate(zip(*stacks, strict=True)):
        p, q = (x / (x.pow(2).sum(1, keepdim=True).sqrt() + 1e-10) for x in (p, q))
        head = vgg_tensors[f"lin{i}.model.1.weight"][0, :, 0, 0]
        expected += ((p - q) ** 2 * head[None, :, None, None]).sum(1).mean((1, 2))
    lpips = Lpips(VGG, vgg_tensors)
    torch.testing.assert_close(lpips(a, b), expected, rtol=1e-4, atol=1e-7)
    assert float(lpips(a, a).abs().max()) == 0
    assert sum(np.prod(s) for n, s in VGG.shapes.items()) == 14_714_688, "the published size of VGG16's features"


def test_squeeze_golden_numbers(squeeze_path):
    lpips = load_lpips("squeeze", squeeze_path)
    a, b = pictures(0, 1)
    with torch.no_grad():
        assert float(lpips(a, b)) == pytest.approx(0.0972803, abs=2e-6)
        assert float(lpips(a, 0.5 * a)) == pytest.approx(0.0703754, abs=2e-6)
        assert float(lpips(a, a)) == 0


def test_inside_a_mask_ignores_the_rest(squeeze_path, astronaut):
    lpips, a = load_lpips(path=squeeze_path), astronaut
    b = np.clip(a + np.random.default_rng(0).normal(0, 0.1, a.shape), 0, 1).astype(np.float32)
    mask = np.zeros(a.shape[:2], bool)
    mask[200:230, 200:300] = True
    inside = np.where(mask[..., None], b, a)
    assert lpips.of_images(a, inside, mask) == pytest.approx(lpips.of_images(a, b, mask))
    assert lpips.of_images(a, np.where(mask[..., None], a, b), mask) == 0


def test_loss_looks_where_it_is_told_and_can_be_descended(squeeze_path, astronaut):
    loss = load_lpips(path=squeeze_path).loss
    target = torch.from_numpy(astronaut[100:228, 180:276])
    blurred = F.avg_pool2d(target.permute(2, 0, 1)[None], 5, 1, 2)[0].permute(1, 2, 0)
    top = torch.zeros(128, 96)
    top[:32] = 1
    half = torch.cat([target[:64], blurred[64:]])
    assert float(loss(half, target, top)) < 0.1 * float(loss(half, target, 1 - top))
    assert float(loss(target, target, top)) == 0
    x = blurred.clone().requires_grad_()
    values = []
    optimizer = torch.optim.Adam([x], lr=0.01)
    for _ in range(4):
        optimizer.zero_grad()
        value = loss(x, target, torch.ones(128, 96))
        value.backward()
        values.append(float(value.detach()))
        optimizer.step()
    assert np.isfinite(x.grad).all() and values[-1] < 0.9 * values[0]


def test_gradient_of_equal_and_of_flat_pictures_is_finite(vgg_tensors):
    flat = torch.zeros(20, 24, 3, requires_grad=True)
    Lpips(VGG, vgg_tensors).loss(flat, torch.zeros(20, 24, 3), torch.ones(20, 24)).backward()
    assert torch.isfinite(flat.grad).all()


def test_parts_of_the_table_make_lpips_vgg(vgg_tensors, tmp_path, monkeypatch):
    features = {n: t for n, t in vgg_tensors.items() if n.startswith("features")}
    save_file(features | {"head.fc.weight": torch.zeros(3, 3)}, tmp_path / "model.safetensors")
    torch.save({n: t for n, t in vgg_tensors.items() if n.startswith("lin")}, tmp_path / "heads.pth")
    assert load_lpips("vgg") is None and available("vgg") is None
    monkeypatch.setenv("ONESHOT_VGG16", str(tmp_path / "model.safetensors"))
    assert load_lpips("vgg") is None, "features without heads are no LPIPS"
    monkeypatch.setenv("ONESHOT_LPIPS_VGG", str(tmp_path / "heads.pth"))
    a, b = pictures(0, 1, shape=(1, 3, 32, 32))
    assert torch.equal(load_lpips("vgg")(a, b), Lpips(VGG, vgg_tensors)(a, b))
    assert choose_measure().name == "lpips-vgg" and choose_measure().tier == "full"
    row = next(r for r in doctor.checkup()["parts"] if r["part"] == "perceptual loss")
    assert row["tier"] == "full" and "model.safetensors" in row["why"]


def test_one_file_may_hold_either_network(vgg_tensors, tmp_path, monkeypatch):
    save_file(vgg_tensors, tmp_path / "vgg.safetensors")
    monkeypatch.setenv("ONESHOT_LPIPS", str(tmp_path / "vgg.safetensors"))
    assert load_lpips().network is VGG and load_lpips("squeeze") is None
    assert choose_measure().name == "lpips-vgg"
    with pytest.raises(PipelineError, match=r"not LPIPS \(squeeze\)"):
        load_lpips("squeeze", tmp_path / "vgg.safetensors")


def test_no_weights_no_number(tmp_path, monkeypatch):
    assert load_lpips() is None and choose_measure().name == "structural"
    assert choose_measure("structural").tier == "embedded"
    with pytest.raises(PipelineError, match="no weights on this machine"):
        choose_measure("vgg")
    monkeypatch.setenv("ONESHOT_LPIPS", str(tmp_path / "none.npz"))
    with pytest.raises(PipelineError, match="not a file"):
        load_lpips()
    row = next(r for r in doctor.checkup()["parts"] if r["part"] == "perceptual loss")
    assert row["tier"] == "absent" and "ONESHOT_LPIPS" in row["why"]


@pytest.mark.parametrize("name", ["a.npz", "a.safetensors", "a.pth"])
def test_corrupt_files_are_one_sentence(tmp_path, name):
    (tmp_path / name).write_bytes(b"PK\x03\x04 half a file")
    with pytest.raises(PipelineError, match="fetch (it|the file) again") as caught:
        read_file(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_truncated_zip(tmp_path):
    np.savez(tmp_path / "whole.npz", **{n: t.numpy() for n, t in stand_in(SQUEEZE).items()})
    data = (tmp_path / "whole.npz").read_bytes()
    (tmp_path / "half.npz").write_bytes(data[: len(data) // 2])
    with pytest.raises(PipelineError, match="could not be read"):
        read_file(tmp_path / "half.npz")


def test_keys_and_shapes_are_checked(tmp_path):
    tensors = stand_in(SQUEEZE)
    tensors["lin3.model.1.weight"] = torch.zeros(1, 7, 1, 1)
    np.savez(tmp_path / "odd.npz", **{n: t.numpy() for n, t in tensors.items()})
    with pytest.raises(PipelineError, match=r"odd.npz.*lin3.model.1.weight"):
        read_file(tmp_path / "odd.npz")
    del tensors["lin3.model.1.weight"]
    with pytest.raises(PipelineError, match="1 of 57 tensors are missing"):
        Lpips(SQUEEZE, tensors)
    save_file({"weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(PipelineError, match="holds no LPIPS weights"):
        read_file(tmp_path / "other.safetensors")


def test_labels_enter_at_step_2000_of_the_full_schedule():
    assert FitConfig.preset("full").label_start * STEPS["full"] == pytest.approx(LABEL_STEP) == 2000
    assert {"vgg16", "lpips-vgg", "lpips-squeeze"} <= set(WEIGHTS) and all(
        WEIGHTS[name].used for name in ("vgg16", "lpips-vgg", "lpips-squeeze")
    )
