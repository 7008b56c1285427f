"""The avatar: model (Eq. 3-5), placing, fit, file."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from toy_body import ToyBody, toy_observation, toy_params

from pipeline.avatar import Avatar, PipelineCancelled, fit, initial, load_avatar, model
from pipeline.avatar import geometry as geo
from pipeline.avatar.attach import SURFACE, TIGHT
from pipeline.avatar.meshfit import pull_mesh
from pipeline.config import FitConfig
from pipeline.types import PipelineError, PseudoLabel

CONFIG = FitConfig(steps=6, surface_samples=6000, seed=3)


@pytest.fixture(scope="module")
def body():
    return ToyBody()


@pytest.fixture(scope="module")
def observation(body):
    return toy_observation(body)


@pytest.fixture(scope="module")
def avatar(body, observation) -> Avatar:
    return fit(observation, body, config=CONFIG)


def test_own_view_is_faithful(avatar):
    metrics = avatar.meta["metrics"]
    assert metrics["psnr_mask"] > 28
    assert metrics["ssim"] > 0.9


def test_mesh_stage_follows_the_clothes(body, observation):
    posed = initial.posed_body(body, observation.params)
    offsets = pull_mesh(body, posed.vertices, observation.camera, observation.alpha, CONFIG)
    before = geo.cast(posed.vertices, body.faces.numpy(), observation.camera).face >= 0
    after = geo.cast(posed.vertices + offsets, body.faces.numpy(), observation.camera).face >= 0
    wanted = observation.alpha > 0.5

    def overlap(mask):
        return (mask & wanted).sum() / (mask | wanted).sum()

    assert overlap(after) > 0.97 > overlap(before) + 0.05
    assert np.linalg.norm(offsets, axis=1).max() <= CONFIG.max_dT + 1e-6


def test_offsets_bring_gaussians_back_to_where_they_were_seen(body, observation):
    posed = initial.posed_body(body, observation.params)
    dT = initial.mesh_stage(body, posed, initial.working_scene(body, observation, 1024), CONFIG)
    scene = initial.working_scene(body, observation, 1024)
    samples, parts, _ = initial.place_gaussians(body, posed, dT, scene, CONFIG)
    dX = initial.canonical_offsets(body, posed, samples)
    corners = body.faces[torch.from_numpy(samples.face)]
    canonical, joints = model.canonical_mesh(body, observation.params)
    rest = model.barycentric(canonical, corners, torch.from_numpy(samples.bary)) + torch.from_numpy(dX)
    A = model.skinning_transforms(body, observation.params, joints)
    means = model.skin(rest, A, torch.from_numpy(samples.skin_index), torch.from_numpy(samples.skin_weight))
    np.testing.assert_allclose(means.numpy(), samples.point, atol=2e-5)
    tight = samples.kind == TIGHT
    pixels, _ = scene.camera.project(samples.point[tight])
    fraction = np.abs(pixels * 2 - np.round(pixels * 2))
    assert fraction.max() < 0.01, "one Gaussian per pixel or 2x2 block, at its centre"
    assert (parts.label >= 0).sum() == (observation.alpha > 0.5).sum()


def test_pose_equals_dense_skinning_of_the_surface(body, avatar):
    params = toy_params().replace(transl=np.array([0.1, -0.2, 0.3], np.float32))
    bare = avatar.replace(dX=torch.zeros_like(avatar.dX), dT=torch.zeros_like(avatar.dT))
    mesh = bare.mesh(params)
    expected = model.barycentric(mesh, bare.corners, bare.bary)
    surface = torch.as_tensor(avatar.meta["gaussians"]["surface"])
    means, scales, colors = bare.pose(params)
    assert torch.allclose(means[-surface:], expected[-surface:], atol=1e-5)
    assert (scales > 0).all() and colors.min() >= 0 and colors.max() <= 1


def test_expression_moves_only_the_head(body, avatar):
    neutral = avatar.params
    raised = neutral.replace(expression=np.eye(52, dtype=np.float32)[25])
    shift = (avatar.canonical(raised) - avatar.canonical(neutral)).norm(dim=1)
    head = body.regions["head"][avatar.corners].all(1)
    assert torch.allclose(shift[head], torch.tensor(0.01), atol=1e-6)
    assert (shift[~head] < 1e-6).all()


def test_unseen_surface_is_marked_and_coloured(body, avatar):
    surface = avatar.meta["gaussians"]["surface"]
    guessed = avatar.guessed[-surface:]
    assert 0.2 < (guessed > 0.5).float().mean() < 0.8
    assert torch.isfinite(avatar.rgb).all()


def test_same_seed_same_file(body, observation, avatar, tmp_path):
    again = fit(observation, body, config=CONFIG)
    first, second = (a.save(tmp_path / name) for a, name in ((avatar, "1.avatar"), (again, "2.avatar")))
    assert first.read_bytes() == second.read_bytes()
    other = fit(observation, body, config=CONFIG.replace(steps=CONFIG.steps + 1))
    assert other.save(tmp_path / "3.avatar").read_bytes() != first.read_bytes()


def test_photo_rules_where_it_sees(body, observation):
    """A generated label changes what the photo shows less than a label that may teach everything."""
    red = np.zeros_like(observation.image) + np.array([0.9, 0.1, 0.1], np.float32)
    label = PseudoLabel(red, observation.alpha, observation.camera, observation.params, "body")
    config = CONFIG.replace(steps=8, label_start=0.0, lambda_LPIPS=1.0)
    held, free = (fit(observation, body, (label,), config.replace(label_seen=s)) for s in (0.02, 1.0))
    plain = fit(observation, body, (), config)
    shown = plain.guessed < 0.01

    def change(result):
        return float((result.rgb - plain.rgb)[shown].abs().mean())

    assert change(free) > 0.02 and change(held) < 0.8 * change(free)


def test_uv_layout_is_the_papers(body, observation):
    result = fit(observation, body, config=CONFIG.replace(layout="uv", uv_size=96, steps=0))
    assert {k for k, v in result.meta["gaussians"].items() if v} == {"surface"}
    assert result.meta["metrics"]["psnr_mask"] > 12


@pytest.mark.parametrize("name", ["someone.avatar", "folder"])
def test_save_and_load(tmp_path, body, avatar, name):
    path = avatar.save(tmp_path / name)
    again = load_avatar(path, body)
    for field in ("face_ids", "bary", "dX", "dT", "scale", "rgb", "guessed", "skin_index", "skin_weight"):
        assert torch.equal(getattr(again, field), getattr(avatar, field)), field
    assert again.meta == {k: v for k, v in json.loads(json.dumps(avatar.meta)).items() if k != "seconds"}
    assert dataclasses.asdict(again.params).keys() == dataclasses.asdict(avatar.params).keys()
    np.testing.assert_array_equal(again.params.body_pose, avatar.params.body_pose)
    assert [p.name for p in tmp_path.iterdir()] == [name], "nothing else is left"
    avatar.save(path)  # replaced, not refused


def test_altered_file_is_refused(tmp_path, body, avatar):
    path = avatar.save(tmp_path / "a")
    data = bytearray((path / "avatar.safetensors").read_bytes())
    data[-1] ^= 1
    (path / "avatar.safetensors").write_bytes(bytes(data))
    with pytest.raises(PipelineError, match="altered"):
        load_avatar(path, body)


def test_missing_and_foreign_files_are_refused(tmp_path, body, avatar):
    with pytest.raises(PipelineError, match="no avatar"):
        load_avatar(tmp_path / "nowhere", body)
    path = avatar.save(tmp_path / "a")
    (path / "avatar.safetensors").unlink()
    with pytest.raises(PipelineError, match="missing"):
        load_avatar(path, body)
    (tmp_path / "x.avatar").write_bytes(b"not a zip")
    with pytest.raises(PipelineError, match="not an avatar"):
        load_avatar(tmp_path / "x.avatar", body)


def test_other_body_is_refused(tmp_path, avatar):
    path = avatar.save(tmp_path / "a")
    with pytest.raises(PipelineError, match="body model"):
        load_avatar(path, ToyBody(n=10))


def test_unwritable_place(tmp_path, avatar):
    (tmp_path / "file").write_text("x")
    with pytest.raises(PipelineError, match="could not be written"):
        avatar.save(tmp_path / "file" / "a")


def test_cancel(body, observation):
    seen = []

    def progress(stage, share):
        seen.append(stage)
        return not (stage == "refining" and share > 0.3)

    with pytest.raises(PipelineCancelled):
        fit(observation, body, config=CONFIG, progress=progress)
    assert "placing Gaussians" in seen


def test_labels_teach_what_the_photo_does_not_show(body, observation):
    """L_diff: a tracked picture from the side brings the render closer to it (Eq. 9)."""
    from pipeline.render import rasterize_gaussians
    side = observation.params.replace(global_orient=np.array([0, 0.9, 0], np.float32))
    red = np.zeros_like(observation.image) + np.array([0.9, 0.1, 0.1], np.float32)
    posed = initial.posed_body(body, side).vertices
    alpha = (geo.cast(posed, body.faces.numpy(), observation.camera).face >= 0).astype(np.float32)
    label = PseudoLabel(image=red, alpha=alpha, camera=observation.camera, params=side, region="body")
    config = CONFIG.replace(steps=8, label_start=0.25)

    def redness(result: Avatar) -> float:
        means, scales, colors = result.pose(side)
        picture = rasterize_gaussians(means, scales, colors, observation.camera).image.numpy()
        return float((picture[..., 0] - picture[..., 1])[alpha > 0].mean())

    assert redness(fit(observation, body, (label,), config)) > redness(fit(observation, body, (), config)) + 0.005


def test_empty_matte(body, observation):
    with pytest.raises(PipelineError, match="person"):
        fit(dataclasses.replace(observation, alpha=np.zeros_like(observation.alpha)), body, config=CONFIG)


def test_surface_kind_counts(avatar):
    counts = avatar.meta["gaussians"]
    assert sum(counts.values()) == len(avatar)
    assert counts["on_mesh"] > 3000 and SURFACE == 3
