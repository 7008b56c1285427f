"""The same picture with gsplat and nvdiffrast: golden projection, arguments, and the real thing where there is CUDA."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest
import torch

from pipeline.render import available_backends, backends, mesh_mask, rasterize_gaussians, trials
from pipeline.render.gaussians import bin_gaussians
from pipeline.render.project_kernels import QUAD
from pipeline.types import Camera, PipelineError

CAMERA = Camera.frontal(120, 90, 100.0, 2.0).orbited(20, -10, np.zeros(3, np.float32))
MEANS = np.array(
    [[0, 0, 0], [0.4, -0.3, 0.2], [-0.9, 0.1, -0.3], [0.1, 0.7, 0.5], [1.35, 0.2, 0.6], [-0.2, -1.1, 0.9]], np.float32
)
SCALES = np.array([0.01, 0.05, 0.002, 0.1, 0.3, 0.2], np.float32)

# Screen mean and conic of these Gaussians from the torch projection in gsplat 1.5.3; the fifth is beyond the limit.
GSPLAT = np.array(
    [
        [60.0, 45.0, 1.81818175, 0.0, 1.81818199],
        [78.885483, 59.682865, 0.09939346, -0.00261648, 0.10072462],
        [31.39801, 45.151031, 3.2635963, 2.731e-05, 3.2687676],
        [55.259502, -2.803969, 0.02615638, -0.00047939, 0.02136965],
        [163.767288, 8.401913, 0.00075921, 0.00019107, 0.00107677],
        [12.489923, 135.879669, 0.00232854, 0.00048188, 0.00212655],
    ]
)


def needs(name: str) -> None:
    """Skip, with the backend's own reason, where it does not work."""
    backend = next(b for b in available_backends() if b.name == name)
    if not backend.available:
        pytest.skip(f"{name}: {backend.reason}")


def test_projection_equals_gsplat():
    splats = bin_gaussians(MEANS, SCALES, np.ones(6, np.float32), CAMERA).splats
    conic = splats[:, 2:5] / (QUAD * np.array([1, 2, 1], np.float32))
    assert np.abs(splats[:, :2] - GSPLAT[:, :2]).max() < 2e-4
    assert np.allclose(conic, GSPLAT[:, 2:], rtol=2e-4, atol=2e-7)


def test_gsplat_is_called_as_the_paper_says(monkeypatch):
    """Unit quaternions, one scale three times, opacities as given, classic mode; the answer is unpacked."""
    seen = {}

    def rasterization(means, quats, scales, opacities, colors, viewmats, Ks, width, height, **options):
        seen.update(options, quats=quats, scales=scales, opacities=opacities, viewmats=viewmats, Ks=Ks)
        return torch.full((1, height, width, 3), 0.5), torch.full((1, height, width, 1), 0.25), {}

    monkeypatch.setitem(sys.modules, "gsplat", types.SimpleNamespace(rasterization=rasterization))
    monkeypatch.setattr("pipeline.render.gaussians.pick_backend", lambda wanted, like: "gsplat")
    monkeypatch.setattr(torch, "device", lambda name: "cpu")
    tensors = torch.from_numpy(MEANS), torch.from_numpy(SCALES), torch.rand(6, 3)
    image, alpha = rasterize_gaussians(*tensors, CAMERA, background=torch.ones(3))
    assert image.shape == (90, 120, 3) and alpha.shape == (90, 120) and alpha.max() == 0.25
    assert torch.equal(seen["quats"], torch.tensor([[1.0, 0, 0, 0]]).expand(6, 4))
    assert torch.equal(seen["scales"], tensors[1][:, None].expand(6, 3))
    assert torch.equal(seen["opacities"], torch.ones(6)) and torch.equal(seen["backgrounds"], torch.ones(1, 3))
    assert seen["near_plane"] == 0.01 and seen["eps2d"] == 0.3 and "rasterize_mode" not in seen
    assert np.array_equal(seen["viewmats"][0].numpy(), CAMERA.viewmat)


def test_a_backend_that_fails_its_trial_is_reported_with_the_reason(monkeypatch):
    def broken() -> None:
        raise RuntimeError("no compiler here\nand a long story")

    backends._tried.cache_clear()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a card")
    monkeypatch.setattr(backends, "find_spec", lambda name: object())
    monkeypatch.setattr("pipeline.render.trials.TRIALS", {"gsplat": broken, "triton": lambda: None})
    probe, on_card = backends.probe("gsplat"), types.SimpleNamespace(is_cuda=True)
    picked = [backends.pick_backend(None, like) for like in (on_card, torch.zeros(1))]
    with pytest.raises(PipelineError, match="gsplat.*no compiler here"):
        backends.pick_backend("gsplat", on_card)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert [str(backends.choose_device(name)) for name in ("auto", "cuda", "cuda:0", "cpu")] == [
        "cuda", "cuda", "cuda:0", "cpu"
    ]  # fmt: skip
    assert str(backends.choose_device("auto", ("gsplat",))) == "cpu"
    for wanted, needed, answer in (
        ("cuda:1", ("triton",), "1 CUDA devices"),
        ("cuda", ("gsplat",), "gsplat: .*no compiler here"),
        ("tpu", ("triton",), "auto, cpu or cuda"),
    ):
        with pytest.raises(PipelineError, match=answer):
            backends.choose_device(wanted, needed)
    backends._tried.cache_clear()
    assert not probe.available and probe.reason == "the trial call failed: no compiler here"
    assert picked == ["triton", "cpu"]


def test_a_trial_notices_a_wrong_picture(monkeypatch):
    """Here the trials run on the CPU: the numba rasteriser passes, and one that draws too dark does not."""
    monkeypatch.setattr(torch.Tensor, "to", lambda self, *a, **k: self.clone() if k.get("copy") else self)
    monkeypatch.setattr(torch, "full", lambda size, value, device: torch.ones(size) * value)

    def right(means, scales, colors, opacities, background, camera):
        return rasterize_gaussians(means, scales, colors, camera, opacities=opacities, background=background)

    def dark(*args):
        image, alpha = right(*args)
        return 0.99 * image, alpha

    trials._gaussians(right)
    with pytest.raises(ArithmeticError, match=r"wrong by 0\.01"):
        trials._gaussians(dark)


@pytest.mark.parametrize("name", ["gsplat", "triton"])
def test_the_card_draws_the_same_picture_and_gradients(name):
    needs(name)
    rng = np.random.default_rng(0)
    means = torch.from_numpy(rng.normal(scale=0.4, size=(3000, 3)).astype(np.float32))
    inputs = [means, torch.full((3000,), 0.02), torch.rand(3000, 3)]
    results = []
    for device, backend in (("cpu", "cpu"), ("cuda", name)):
        leaves = [t.to(device).requires_grad_() for t in inputs]
        image, alpha = rasterize_gaussians(*leaves, CAMERA, backend=backend)
        (image.square().mean() + alpha.mean()).backward()
        results.append([image.detach().cpu(), alpha.detach().cpu(), *(t.grad.cpu() for t in leaves)])
    for slow, fast in zip(*results, strict=True):
        assert (slow - fast).abs().max() < 5e-3 * max(1e-2, slow.abs().max())


@pytest.mark.parametrize("name", ["nvdiffrast", "triton"])
def test_the_card_masks_the_same_pixels(name):
    needs(name)
    corners = torch.tensor([[-0.4, -0.3, 0], [0.5, -0.2, 0.1], [0.1, 0.45, 0]], device="cuda")
    faces = np.array([[0, 1, 2]])
    fast, slow = mesh_mask(corners, faces, CAMERA, backend=name), mesh_mask(corners.cpu(), faces, CAMERA)
    assert (fast.cpu() - slow).abs().mean() < 2e-3


def test_doctor_tells_what_draws_and_why_the_others_do_not(monkeypatch):
    from pipeline import doctor
    from pipeline.render.backends import Backend

    found = [
        Backend("cpu", True, "numba"),
        Backend("gsplat", False, "the trial call failed: no nvcc"),
        Backend("nvdiffrast", False, "the package nvdiffrast is not installed"),
        Backend("triton", True, "trial call passed on a card"),
    ]
    monkeypatch.setattr("pipeline.render.available_backends", lambda: found)
    rows = {row["part"]: row for row in (doctor._gaussians(), doctor._mesh_mask())}
    assert all(row["tier"] == "full" and row["why"].startswith("triton: trial") for row in rows.values())
    assert "no nvcc" in rows["Gaussians"]["raise"] and "nvdiffrast is not installed" in rows["mesh mask"]["raise"]
    found[3] = Backend("triton", False, "the trial call failed: wrong by 1")
    row = doctor._gaussians()
    assert row["tier"] == "embedded" and row["why"] == "numba"
    assert "no nvcc" in row["raise"] and "wrong by 1" in row["raise"]
