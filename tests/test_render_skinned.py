"""Frames of an animation look as the differentiable path draws them; the backends are reported honestly."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from pipeline.render import Rig, SkinnedRenderer, available_backends, mesh_mask, rasterize_gaussians
from pipeline.render.bench_scene import body_camera, surface
from pipeline.render.lighting import light_factors, relit
from pipeline.types import Camera, PipelineError

JOINTS, EXPRESSIONS = 5, 4
CAMERA = Camera.frontal(75, 100, 110.0, 2.0)


@pytest.fixture(scope="module")
def puppet() -> dict[str, np.ndarray]:
    """A cloud on five joints, a fifth of it moved by four expressions."""
    rng = np.random.default_rng(0)
    n = 4000
    means = rng.normal(size=(n, 3))
    means *= 0.5 / np.linalg.norm(means, axis=1, keepdims=True)
    rows = np.flatnonzero(means[:, 1] > 0.3)
    weights = rng.uniform(size=(n, 3))
    return {
        "means": means.astype(np.float32),
        "joints": rng.integers(0, JOINTS, (n, 3)),
        "weights": (weights / weights.sum(1, keepdims=True)).astype(np.float32),
        "scales": rng.uniform(0.005, 0.03, n).astype(np.float32),
        "colors": rng.uniform(size=(n, 3)).astype(np.float32),
        "rows": rows,
        "basis": rng.normal(scale=0.03, size=(len(rows), 3, EXPRESSIONS)).astype(np.float32),
    }


@pytest.fixture(scope="module")
def transforms() -> np.ndarray:
    """Five mild rigid motions (5, 4, 4)."""
    from scipy.spatial.transform import Rotation

    rng = np.random.default_rng(1)
    A = np.tile(np.eye(4, dtype=np.float32), (JOINTS, 1, 1))
    A[:, :3, :3] = Rotation.from_rotvec(rng.normal(scale=0.3, size=(JOINTS, 3))).as_matrix()
    A[:, :3, 3] = rng.normal(scale=0.05, size=(JOINTS, 3))
    return A


def differentiable(puppet, transforms, expression, background):
    """The same frame, spelt out in torch."""
    means = torch.from_numpy(puppet["means"]).clone()
    means[puppet["rows"]] += torch.from_numpy(puppet["basis"]) @ torch.from_numpy(expression)
    A = torch.from_numpy(transforms)[torch.from_numpy(puppet["joints"])]
    mixed = (A * torch.from_numpy(puppet["weights"])[..., None, None]).sum(1)
    posed = (mixed[:, :3, :3] @ means[..., None])[..., 0] + mixed[:, :3, 3]
    scales, colors = torch.from_numpy(puppet["scales"]), torch.from_numpy(puppet["colors"])
    return rasterize_gaussians(posed, scales, colors, CAMERA, background=background)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10 * np.log10(max(np.mean((a - b) ** 2), 1e-12)))


def test_layers_equal_the_differentiable_path(puppet, transforms):
    expression = np.array([0.7, 0.0, -0.4, 1.0], np.float32)
    image, alpha = SkinnedRenderer(Rig.build(**puppet)).layers(transforms, CAMERA, expression=expression)
    expected = differentiable(puppet, transforms, expression, torch.zeros(3))
    assert psnr(image, expected.image.numpy()) > 55
    assert psnr(alpha, expected.alpha.numpy()) > 50  # the other path leaves out the last splat of a pixel
    still, _ = SkinnedRenderer(Rig.build(**puppet)).layers(transforms, CAMERA)
    assert psnr(still, image) < 40


def test_lit_gaussians_brighten_towards_the_light(puppet, transforms):
    """Colours by the surface's direction in this pose, as torch has them; in the next pose too."""
    lit, light = np.arange(0, 4000, 3), np.array([0.2, 0.4, 0.1], np.float32)
    normals = puppet["means"][lit] / np.linalg.norm(puppet["means"][lit], axis=1, keepdims=True)
    shares = np.linspace(0.3, 1, len(lit)).astype(np.float32)
    renderer = SkinnedRenderer(Rig.build(**puppet, lit=lit, normals=normals, shares=shares, light=light))
    none = np.zeros(EXPRESSIONS, np.float32)
    for A in (transforms, transforms[::-1].copy()):
        mixed = (A[puppet["joints"][lit], :3, :3] * puppet["weights"][lit][..., None, None]).sum(1)
        turned = torch.from_numpy((mixed @ normals[..., None])[..., 0])
        factor = light_factors(turned, torch.from_numpy(shares), torch.from_numpy(light))
        assert factor.min() < 0.8 and factor.max() > 1.2
        colors = puppet["colors"].copy()
        colors[lit] = relit(torch.from_numpy(colors[lit]), factor).numpy()
        expected = differentiable({**puppet, "colors": colors}, A, none, torch.zeros(3))
        image, _ = renderer.layers(A, CAMERA)
        assert psnr(image, expected.image.numpy()) > 55
    facing = light_factors(torch.tensor([[0.0, 0, 2]]), torch.ones(1), torch.from_numpy(light))
    assert facing == pytest.approx(1.1 / (1 + 0.2 / 3))


def test_more_light_is_paler_and_less_is_darker():
    """Brightness follows the factor; hue stays; saturation falls with light, as in photos, and stays in shadow."""
    skin = torch.tensor([[0.83, 0.56, 0.46]]).expand(4, 3)
    factors = torch.tensor([0.6, 1.0, 1.1, 1.3])
    out = relit(skin, factors)
    assert torch.allclose(out.mean(1), skin.mean(1) * factors, atol=1e-6)
    saturation = 1 - out.amin(1) / out.amax(1)
    assert saturation[0] == pytest.approx(float(saturation[1])) and torch.all(saturation[1:].diff() < -0.03)
    assert torch.equal(out.argsort(1), skin.argsort(1)) and torch.allclose(out[1], skin[1])
    assert relit(torch.ones(1, 3), torch.tensor([1.3])).max() == 1


def test_draw_composites_over_colour_picture_and_nothing(puppet, transforms):
    renderer, none = SkinnedRenderer(Rig.build(**puppet)), np.zeros(EXPRESSIONS, np.float32)
    expected = differentiable(puppet, transforms, none, torch.tensor([0.2, 0.4, 0.6])).image.numpy()
    flat = renderer.draw(transforms, CAMERA, (51, 102, 153))
    assert flat.dtype == np.uint8
    assert psnr(flat / 255, expected) > 45
    wall = np.tile(np.array([51, 102, 153], np.uint8), (100, 75, 1))
    assert np.array_equal(renderer.draw(transforms, CAMERA, wall), flat)
    rgba = renderer.draw(transforms[:, :3], CAMERA)
    alpha = rgba[..., 3:] / 255.0
    assert rgba.shape == (100, 75, 4)
    assert np.abs(rgba[..., :3] * alpha + (1 - alpha) * wall - flat).max() < 3


@pytest.mark.parametrize("yaw", [0, 25])
@pytest.mark.parametrize("turn", [0.0, 1.2])
def test_frames_of_a_body_with_crossed_arms_equal_the_full_picture(yaw, turn):
    """Hidden layers (a back behind a chest behind two arms) and outlines; ``turn`` swings the arms over the chest."""
    from scipy.spatial.transform import Rotation

    means, scales = surface(30_000)
    joints = np.where(np.abs(means[:, :1]) > 0.235, np.where(means[:, :1] > 0, 1, 2), 0)
    stripes = 0.5 + 0.4 * np.sin(means * (40, 25, 60))
    colors = (stripes * np.array([(0.3, 0.5, 0.9), (1, 0.7, 0.5), (1, 0.8, 0.6)])[joints[:, 0]]).astype(np.float32)
    A = np.tile(np.eye(4, dtype=np.float32), (3, 1, 1))
    for joint, side in ((1, 1), (2, -1)):
        A[joint, :3, :3] = Rotation.from_euler("z", -side * turn).as_matrix()
        shoulder = np.array([0.3 * side, 0.1, 0.05])
        A[joint, :3, 3] = shoulder - A[joint, :3, :3] @ shoulder + (0, 0, 0.2 * turn)
    camera = body_camera(144, 256).orbited(yaw, 0, np.zeros(3))
    rig = Rig.build(means, joints, np.ones((len(means), 1)), scales, colors)
    drawn = SkinnedRenderer(rig).draw(A, camera, (9, 9, 9))
    posed = (A[joints[:, 0], :3, :3] @ means[..., None])[..., 0] + A[joints[:, 0], :3, 3]
    splats, behind = [torch.from_numpy(a) for a in (posed, scales, colors)], torch.full((3,), 9 / 255)
    full = rasterize_gaussians(*splats, camera, background=behind)
    assert psnr(drawn / 255, full.image.numpy()) > 45
    assert 0.1 < full.alpha.mean() < 0.6


def test_large_splats_far_off_the_axis_are_slanted():
    """A wide lens, splats of up to two tiles, some over the picture's edge and some hardly there."""
    rng, n = np.random.default_rng(5), 25
    camera = Camera.frontal(90, 120, 60.0, 1.0)
    means = (rng.uniform(-1, 1, (n, 3)) * (0.8, 1, 0.2)).astype(np.float32)
    scales, colors = rng.uniform(0.02, 0.3, n).astype(np.float32), rng.uniform(size=(n, 3)).astype(np.float32)
    opacities = np.linspace(0.003, 0.9, n, dtype=np.float32)
    rig = Rig.build(means, np.zeros((n, 1)), np.ones((n, 1)), scales, colors, opacities=opacities)
    image, alpha = SkinnedRenderer(rig).layers(np.eye(4, dtype=np.float32)[None], camera)
    tensors = [torch.from_numpy(a) for a in (means, scales, colors)]
    full = rasterize_gaussians(*tensors, camera, opacities=torch.from_numpy(opacities))
    for fast, slow in ((image, full.image), (alpha, full.alpha)):  # an edge pixel may be in or out: one level
        error = np.abs(fast - slow.numpy())
        assert error.max() < 1 / 200 and error.mean() < 1e-4
    assert 0.1 < full.alpha.mean() < 0.95


def test_frames_do_not_depend_on_each_other_and_threads_may_share_a_renderer(puppet, transforms):
    renderer = SkinnedRenderer(Rig.build(**puppet))
    poses = [transforms, transforms[::-1].copy()] * 4
    expressions = [np.full(EXPRESSIONS, 0.1 * k, np.float32) for k in range(8)]

    def draw(job):
        return renderer.draw(job[0], CAMERA, (0, 0, 0), expression=job[1])

    one_by_one = [draw(job) for job in zip(poses, expressions, strict=True)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(draw, zip(poses, expressions, strict=True)))
    assert all(np.array_equal(a, b) for a, b in zip(one_by_one, together, strict=True))
    assert not np.array_equal(one_by_one[0], one_by_one[2])


def test_means_of_one_frame_and_uint8_colours(puppet, transforms):
    moved = puppet["means"] + np.float32(0.05)
    other = SkinnedRenderer(Rig.build(**{**puppet, "means": moved})).draw(transforms, CAMERA, (0, 0, 0))
    renderer = SkinnedRenderer(Rig.build(**puppet))
    before = renderer.draw(transforms, CAMERA, (0, 0, 0))
    expression = np.zeros(EXPRESSIONS, np.float32)
    assert np.array_equal(renderer.draw(transforms, CAMERA, (0, 0, 0), means=moved, expression=expression), other)
    assert np.array_equal(renderer.draw(transforms, CAMERA, (0, 0, 0)), before)
    bytes_ = SkinnedRenderer(Rig.build(**{**puppet, "colors": (puppet["colors"] * 255 + 0.5).astype(np.uint8)}))
    assert np.abs(bytes_.draw(transforms, CAMERA, (0, 0, 0)).astype(int) - before).max() <= 1


def test_wrong_shapes_say_what_is_wrong(puppet, transforms):
    with pytest.raises(PipelineError, match="shape"):
        SkinnedRenderer(Rig.build(**{**puppet, "scales": puppet["scales"][:-1]}))
    with pytest.raises(PipelineError, match="joints"):
        SkinnedRenderer(Rig.build(**{**puppet, "joints": puppet["joints"][:, :2]}))
    with pytest.raises(PipelineError, match="basis"):
        SkinnedRenderer(Rig.build(**{**puppet, "basis": puppet["basis"][:-1]}))
    with pytest.raises(PipelineError, match="twice"):
        SkinnedRenderer(Rig.build(**{**puppet, "rows": np.r_[puppet["rows"][:-1], puppet["rows"][0]]}))
    with pytest.raises(PipelineError, match="skeleton"):
        SkinnedRenderer(Rig.build(**puppet)).layers(transforms[:2], CAMERA)


def test_backends_are_reported_with_reasons():
    backends = {b.name: b for b in available_backends()}
    assert list(backends) == ["cpu", "gsplat", "nvdiffrast", "triton"]
    assert backends["cpu"].available and "thread" in backends["cpu"].reason
    if not torch.cuda.is_available():
        assert not backends["gsplat"].available and "CUDA" in backends["gsplat"].reason
        with pytest.raises(PipelineError, match="CUDA"):
            rasterize_gaussians(torch.zeros(1, 3), torch.ones(1), torch.ones(1, 3), CAMERA, backend="gsplat")
        with pytest.raises(PipelineError, match="CUDA"):
            mesh_mask(torch.zeros(3, 3), np.zeros((1, 3), np.int64), CAMERA, backend="nvdiffrast")
