"""The Gaussian rasteriser against the readable reference, finite differences and hostile input."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pipeline.render import rasterize_gaussians, reference
from pipeline.types import Camera, PipelineError


def scene(n: int, channels: int = 3, seed: int = 0, size: tuple[int, int] = (45, 37)):
    """A cloud of Gaussians of mixed size and opacity, partly off screen and behind the camera."""
    rng = np.random.default_rng(seed)
    width, height = size
    camera = Camera.frontal(width, height, 60.0, 2.0).orbited(20.0, -10.0, np.zeros(3, np.float32))
    means = torch.from_numpy(rng.normal(scale=(0.5, 0.5, 0.8), size=(n, 3)).astype(np.float32))
    scales = torch.from_numpy(rng.uniform(0.005, 0.15, n).astype(np.float32))
    colors = torch.from_numpy(rng.uniform(size=(n, channels)).astype(np.float32))
    opacities = torch.from_numpy(rng.uniform(0.1, 1.0, n).astype(np.float32))
    opacities[::3] = 1.0
    background = torch.from_numpy(rng.uniform(size=channels).astype(np.float32))
    return means, scales, colors, opacities, background, camera


def loss_of(image: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
    """A loss with a different weight for every output element."""
    weight = torch.sin(torch.arange(image.numel(), dtype=image.dtype) * 0.7).reshape(image.shape)
    return (image * weight).sum() + (alpha * torch.cos(3 * weight[..., 0])).sum()


def gradients(inputs, camera, draw):
    inputs = [t.clone().requires_grad_() for t in inputs]
    loss_of(*draw(inputs, camera)).backward()
    return [t.grad for t in inputs]


def draw_fast(inputs, camera):
    means, scales, colors, opacities = inputs[:4]
    background = inputs[4] if len(inputs) > 4 else torch.full((colors.shape[1],), 0.3)
    return rasterize_gaussians(means, scales, colors, camera, opacities=opacities, background=background)


def draw_slow(inputs, camera):
    means, scales, colors, opacities = inputs[:4]
    background = inputs[4] if len(inputs) > 4 else torch.full((colors.shape[1],), 0.3).to(means)
    return reference.rasterize_gaussians(means, scales, colors, camera, opacities, background)


@pytest.mark.parametrize(
    "n,channels,size", [(300, 3, (45, 37)), (60, 1, (16, 16)), (60, 8, (33, 1)), (900, 4, (50, 20))]
)
def test_image_equals_reference(n, channels, size):
    *inputs, camera = scene(n, channels, seed=n, size=size)
    image, alpha = draw_fast(inputs, camera)
    expected, expected_alpha = draw_slow([t.double() for t in inputs], camera)
    assert image.shape == (size[1], size[0], channels) and alpha.shape == (size[1], size[0])
    assert 0.2 < alpha.mean() < 1.0
    assert (image - expected).abs().max() < 1e-4
    assert (alpha - expected_alpha).abs().max() < 1e-4


def test_opaque_surface_stops_early_and_still_equals_reference():
    means, scales, colors, _, background, camera = scene(600, seed=3)
    inputs = [means, scales.clamp(min=0.05), colors, torch.ones(600), background]
    image, alpha = draw_fast(inputs, camera)
    expected, expected_alpha = draw_slow([t.double() for t in inputs], camera)
    assert alpha.max() > 0.999
    assert (image - expected).abs().max() < 1e-4
    assert (alpha - expected_alpha).abs().max() < 1e-4


@pytest.mark.parametrize("channels", [1, 3, 6])
def test_gradients_equal_autograd_of_reference(channels):
    *inputs, camera = scene(250, channels, seed=11 + channels)
    fast = gradients(inputs[:4], camera, draw_fast)
    slow = gradients([t.double() for t in inputs[:4]], camera, draw_slow)
    for name, got, expected in zip(("means", "scales", "colors", "opacities"), fast, slow, strict=True):
        error = (got - expected).abs().max() / expected.abs().max()
        assert error < 1e-3, f"{name}: relative error {error:.2e}"
        assert torch.nn.functional.cosine_similarity(got.double().flatten(), expected.flatten(), dim=0) > 0.99999


def test_gradients_equal_finite_differences():
    """Central differences of the fast rasteriser, where no threshold is near: few, large, transparent Gaussians."""
    n = 4
    camera = Camera.frontal(24, 20, 40.0, 2.0)
    means = torch.tensor([[0.05, 0.0, 0.3], [-0.1, 0.08, 0.1], [0.15, -0.1, -0.1], [-0.05, -0.12, -0.4]])
    inputs = [means, torch.tensor([0.5, 0.6, 0.7, 0.8]), torch.rand(n, 3), torch.tensor([0.4, 0.5, 0.45, 0.6])]
    exact = gradients(inputs, camera, draw_fast)
    for which, step in ((0, 2e-3), (1, 2e-3), (2, 1e-2), (3, 1e-2)):
        flat = inputs[which].view(-1)
        for k in range(len(flat)):
            value, losses = flat[k].item(), []
            for sign in (1, -1):
                flat[k] = value + sign * step
                image, alpha = draw_fast(inputs, camera)
                losses.append(loss_of(image.double(), alpha.double()).item())
            flat[k] = value
            numeric = (losses[0] - losses[1]) / (2 * step)
            assert exact[which].view(-1)[k].item() == pytest.approx(numeric, rel=2e-2, abs=5e-3)


def test_off_axis_jacobian_is_clamped_as_in_gsplat():
    """A wide Gaussian whose centre is far outside the view still reaches in; its shape uses the clamped slope."""
    camera = Camera.frontal(32, 32, 20.0, 1.0)
    inputs = [torch.tensor([[1.6, 0.1, 0.2]]), torch.tensor([0.5]), torch.ones(1, 3), torch.ones(1)]
    image, alpha = draw_fast(inputs, camera)
    expected, _ = draw_slow([t.double() for t in inputs], camera)
    assert alpha.max() > 0.05
    assert (image - expected).abs().max() < 1e-4
    for got, want in zip(
        gradients(inputs, camera, draw_fast),
        gradients([t.double() for t in inputs], camera, draw_slow),
        strict=True,
    ):
        assert torch.allclose(got.double(), want, rtol=1e-3, atol=1e-3 * float(want.abs().max()))


def test_one_centred_gaussian_in_closed_form():
    camera = Camera.frontal(17, 17, 100.0, 2.0)
    image, alpha = rasterize_gaussians(torch.zeros(1, 3), torch.tensor([0.04]), torch.ones(1, 1), camera)
    variance = (0.04 * 100 / 2) ** 2 + 0.3
    assert alpha[8, 8] == pytest.approx(0.999)
    assert alpha[8, 11] == pytest.approx(math.exp(-0.5 * 9 / variance), rel=1e-5)
    assert torch.equal(image[..., 0], alpha)


def test_order_is_by_depth_and_ties_by_index():
    camera = Camera.frontal(8, 8, 50.0, 2.0)
    colors = torch.tensor([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]])
    means = torch.tensor([[0.0, 0, 0], [0, 0, 0.2], [0, 0, 0.2]])
    image, _ = rasterize_gaussians(means, torch.full((3,), 0.3), colors, camera)
    assert image[4, 4].argmax() == 1 and image[4, 4, 1] > 0.99


def test_no_gaussians_gives_the_background():
    camera = Camera.frontal(20, 10, 50.0, 2.0)
    means = torch.zeros(0, 3, requires_grad=True)
    background = torch.tensor([0.1, 0.2, 0.3])
    out = rasterize_gaussians(means, torch.zeros(0), torch.zeros(0, 3), camera, background=background)
    assert torch.equal(out.image, background.expand(10, 20, 3))
    assert out.alpha.sum() == 0
    out.image.sum().backward()
    assert means.grad.shape == (0, 3)


def test_hostile_gaussians_are_skipped_and_get_no_gradient():
    """Behind the camera, at its centre, not finite, infinite scale, transparent: only the good ones are drawn."""
    *inputs, background, camera = scene(40, seed=5)
    inf, nan = math.inf, math.nan
    eye = torch.from_numpy(camera.position)
    wrong = ([nan, 0, 0], [0, inf, 0], [0, 0, -inf], [1e30, 0, 0])
    bad = torch.stack([*(torch.tensor(p) for p in wrong), eye, eye * 2])
    extra = [bad, torch.full((6,), 0.1), torch.ones(6, 3), torch.ones(6)]
    odd_scales, odd_opacities = torch.tensor([nan, inf, 0.1, 0.1]), torch.tensor([1, 1, 0.001, nan])
    more = [torch.zeros(4, 3), odd_scales, torch.ones(4, 3), odd_opacities]
    mixed = [torch.cat(parts) for parts in zip(extra, inputs, more, strict=True)]
    clean_image, _ = draw_fast(inputs, camera)
    image, _ = draw_fast(mixed, camera)
    assert torch.equal(image, clean_image)
    for got, expected in zip(gradients(mixed, camera, draw_fast), gradients(inputs, camera, draw_fast), strict=True):
        assert torch.equal(got[6:46], expected)
        assert got[:6].abs().sum() == 0 and got[46:].abs().sum() == 0


def test_huge_gaussian_covers_everything_and_single_pixel_image_works():
    camera = Camera.frontal(70, 50, 60.0, 2.0)
    image, alpha = rasterize_gaussians(torch.zeros(1, 3), torch.tensor([1e3]), torch.ones(1, 3), camera)
    assert alpha.min() == pytest.approx(0.999)
    tiny = Camera.frontal(1, 1, 60.0, 2.0)
    image, alpha = rasterize_gaussians(torch.zeros(1, 3), torch.tensor([0.1]), torch.ones(1, 3), tiny)
    assert image.shape == (1, 1, 3) and alpha.item() == pytest.approx(0.999)


def test_result_is_the_same_every_time_and_on_one_thread(monkeypatch):
    *inputs, camera = scene(2000, seed=9, size=(130, 90))
    first, first_grad = draw_fast(inputs, camera), gradients(inputs[:4], camera, draw_fast)
    second, second_grad = draw_fast(inputs, camera), gradients(inputs[:4], camera, draw_fast)
    monkeypatch.setattr("pipeline.render.parallel.thread_count", lambda: 1)
    serial, serial_grad = draw_fast(inputs, camera), gradients(inputs[:4], camera, draw_fast)
    for other, other_grad in ((second, second_grad), (serial, serial_grad)):
        assert torch.equal(first.image, other.image) and torch.equal(first.alpha, other.alpha)
        assert all(torch.equal(a, b) for a, b in zip(first_grad, other_grad, strict=True))


def test_inputs_may_be_float64_strided_and_frozen():
    *inputs, camera = scene(50, seed=1)
    expected = draw_fast(inputs, camera).image
    strided = [t.repeat_interleave(2, 0)[::2] for t in inputs[:4]]
    assert torch.equal(draw_fast([*strided, inputs[4]], camera).image, expected)
    means = inputs[0].double().requires_grad_()
    rasterize_gaussians(means, inputs[1], inputs[2], camera).image.sum().backward()
    assert means.grad.dtype == torch.float64 and means.grad.abs().sum() > 0


def test_bad_arguments_say_what_is_wrong():
    *inputs, camera = scene(5)
    means, scales, colors = inputs[:3]
    with pytest.raises(PipelineError, match="means"):
        rasterize_gaussians(means[:, :2], scales, colors, camera)
    with pytest.raises(PipelineError, match="channels"):
        rasterize_gaussians(means, scales, torch.zeros(5, 9), camera)
    with pytest.raises(PipelineError, match="background"):
        rasterize_gaussians(means, scales, colors, camera, background=torch.zeros(2))
    with pytest.raises(PipelineError, match="no rasteriser"):
        rasterize_gaussians(means, scales, colors, camera, backend="vulkan")
