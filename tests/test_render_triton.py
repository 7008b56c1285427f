"""The Triton rasteriser against the CPU one: on a card where there is one, else through Triton's interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.render import Rig, SkinnedRenderer, mesh_mask, rasterize_gaussians
from pipeline.types import Camera, PipelineError

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="the Triton kernels need the package triton")


@pytest.fixture(scope="module")
def device() -> torch.device:
    """The card, or the CPU with Triton's interpreter, which conftest.py has switched on."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture(scope="module")
def draw(device):
    from pipeline.render.triton_gaussians import rasterize_gaussians_triton

    return rasterize_gaussians_triton


def cloud(n: int, channels: int = 3) -> list[torch.Tensor]:
    """Means, scales, colours and opacities; some far outside, behind the camera, opaque, or not finite."""
    rng = np.random.default_rng(0)
    means = rng.normal(scale=(0.3, 0.25, 0.3), size=(n, 3))
    means[0], means[1], means[2, 1] = (0, 0, 9), (7, 0, 0), np.nan
    scales = rng.uniform(0.01, 0.08, n)
    scales[3], scales[4] = 0.6, np.inf
    opacities = rng.uniform(0.2, 1, n)
    opacities[5:12], opacities[12] = 1, 0.003
    return [
        torch.from_numpy(a.astype(np.float32)) for a in (means, scales, rng.uniform(0, 1, (n, channels)), opacities)
    ]


CAMERA = Camera.frontal(19, 14, 20.0, 2.0).orbited(20, -10, np.zeros(3, np.float32))


@pytest.mark.filterwarnings("ignore:invalid value")
def test_picture_and_gradients_equal_the_cpu_ones(device, draw):
    channels = 4  # two launches
    inputs = cloud(32, channels)
    background = torch.linspace(0.2, 0.8, channels)
    shades = torch.rand(14, 19, channels, generator=torch.Generator().manual_seed(1))
    results = []
    for where in ("cpu", device):
        leaves = [t.to(where, copy=True).requires_grad_() for t in inputs]
        if where == "cpu":
            picture = rasterize_gaussians(
                *leaves[:3], CAMERA, opacities=leaves[3], background=background, backend="cpu"
            )
        else:
            picture = draw(*leaves, background.to(where), CAMERA)
        ((picture[0] * shades.to(where)).sum() + picture[1].square().sum()).backward()
        results.append([t.detach().cpu() for t in (*picture, *(leaf.grad for leaf in leaves))])
    for slow, fast in zip(*results, strict=True):
        assert torch.isfinite(slow).all()
        assert (slow - fast).abs().max() < 2e-4 * max(1.0, float(slow.abs().max()))


def test_nothing_to_draw(device, draw):
    leaves = [t.to(device).requires_grad_() for t in (torch.zeros(0, 3), torch.zeros(0), torch.zeros(0, 3))]
    image, alpha = draw(*leaves, torch.zeros(0, device=device), torch.tensor([1.0, 0.5, 0]).to(device), CAMERA)
    (image.sum() + alpha.sum()).backward()
    assert torch.equal(image[3, 5].cpu(), torch.tensor([1.0, 0.5, 0])) and not alpha.any()
    assert leaves[0].grad.shape == (0, 3)


@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_budget_asks_the_device_once_in_fifty_times_and_grows(device, draw):
    from pipeline.render.budget import CHECK_EVERY, PairBudget

    budget = PairBudget()
    assert budget.room(torch.tensor(100)) == 200
    assert [budget.room(torch.tensor(160)) for _ in range(CHECK_EVERY)][-2:] == [200, 320]
    inputs = [t.to(device) for t in cloud(30)]
    exact, roomy = draw(*inputs, torch.zeros(3), CAMERA), draw(*inputs, torch.zeros(3), CAMERA, PairBudget())
    assert all(torch.equal(a, b) for a, b in zip(exact, roomy, strict=True))


@pytest.mark.filterwarnings("ignore:invalid value")
def test_absurd_sizes_are_refused(device, draw, monkeypatch):
    monkeypatch.setattr("pipeline.render.triton_gaussians.MAX_INTERSECTIONS", 10)
    with pytest.raises(PipelineError, match="far too large"):
        draw(*(t.to(device) for t in cloud(30)), torch.zeros(3), CAMERA)


def rock() -> tuple[np.ndarray, np.ndarray]:
    """A closed mesh of 20 triangles with a dent, (12, 3) and (20, 3), and a hole in its back."""
    import trimesh

    mesh = trimesh.creation.icosahedron()
    vertices = np.array(mesh.vertices, np.float32) * np.float32([0.5, 0.7, 0.4])
    vertices[3] *= 0.4
    return vertices, np.array(mesh.faces)[:-1]


@pytest.mark.parametrize("distance", [2.0, 0.75])
def test_mask_and_gradients_equal_the_cpu_ones(device, distance):
    """Also from so near that triangles cross the near plane."""
    from pipeline.render.triton_mask import mesh_mask_triton

    vertices, faces = rock()
    camera = Camera.frontal(18, 22, 20.0, distance).orbited(20, -10, np.zeros(3, np.float32))
    weight = torch.rand(22, 18, generator=torch.Generator().manual_seed(0))
    results = []
    for where, draw in (("cpu", mesh_mask), (device, mesh_mask_triton)):
        leaf = torch.from_numpy(vertices).to(where, copy=True).requires_grad_()
        mask = draw(leaf, faces, camera)
        (mask * weight.to(where)).sum().backward()
        results.append([mask.detach().cpu(), leaf.grad.cpu()])
    (slow, slow_gradient), (fast, fast_gradient) = results
    assert 0.1 < slow.mean() < 1 and slow_gradient.abs().max() > 1
    assert (slow - fast).abs().max() < 1e-4
    assert (slow_gradient - fast_gradient).abs().max() < 1e-3 * slow_gradient.abs().max()


def test_no_mesh_no_mask(device):
    from pipeline.render.triton_mask import mesh_mask_triton

    mask = mesh_mask_triton(torch.zeros(3, 3, device=device), np.zeros((0, 3), np.int64), CAMERA)
    assert mask.shape == (14, 19) and not mask.any()


def test_skinned_frames_equal_the_cpu_ones(device):
    """Expression, means of one frame, another size, a picture, a colour and nothing behind."""
    from pipeline.render.skinned_triton import TritonRenderer

    rng, n = np.random.default_rng(3), 30
    weights = rng.uniform(size=(n, 2)).astype(np.float32)
    means = rng.normal(scale=0.3, size=(n, 3)).astype(np.float32)
    rig = Rig.build(
        means,
        rng.integers(0, 3, (n, 2)),
        weights / weights.sum(1, keepdims=True),
        rng.uniform(0.03, 0.08, n),
        rng.uniform(0, 1, (n, 3)),
        rows=np.arange(0, n, 3),
        basis=rng.normal(scale=0.1, size=(10, 3, 2)),
        lit=np.arange(1, n, 4),
        normals=np.tile(np.float32([0.6, 0.0, 0.8]), (8, 1)),
        shares=np.linspace(0.2, 1, 8),
        light=np.float32([-0.5, 0.2, 0.1]),
    )
    transforms = np.tile(np.eye(3, 4, dtype=np.float32), (3, 1, 1))
    transforms[1, :, 3], transforms[2, 0, 3] = 0.1, -0.2
    slow, fast = SkinnedRenderer(rig), TritonRenderer(rig, device)
    small, wall = Camera.frontal(11, 9, 11.0, 2.0), rng.integers(0, 256, (9, 11, 3), np.uint8)
    jobs = [
        (transforms, CAMERA, (20, 90, 200), {"expression": np.array([0.7, -0.4])}),
        (transforms, small, wall, {"expression": np.array([0.2, 0.4]), "means": means + np.float32(0.05)}),
        (transforms, small, None, {}),
    ]
    for A, camera, behind, more in jobs:
        a, b = (renderer.draw(A, camera, behind, **more) for renderer in (slow, fast))
        seen = a[..., 3:] > 8 if behind is None else np.ones_like(a[..., :1], bool)  # straight colours need some alpha
        assert a.shape == b.shape and b.dtype == np.uint8
        assert np.abs(a.astype(int) - b)[seen[..., 0]].max() <= 1
    with pytest.raises(PipelineError, match="skeleton"):
        fast.layers(transforms[:1], small)
    with pytest.raises(PipelineError, match="coefficients"):
        fast.layers(transforms, small, expression=np.zeros(3))


@pytest.mark.slow
def test_kernels_compile_for_cards_that_are_not_here(tmp_path):
    """Machine code for the cards of ZeroGPU, from the compiler inside Triton: no card, no nvcc."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment |= {"TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    program = [sys.executable, str(ROOT / "tests" / "triton_compile.py"), "120"]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line.split() for line in done.stdout.splitlines()]
    assert len(lines) == 9 and all(int(size) > 1000 for _, _, size in lines)
