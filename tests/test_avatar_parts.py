"""The pieces of the fit: losses (Eq. 7-10), mesh stage, part labels, completion, inpainting, features."""

import numpy as np
import pytest
import torch
from toy_body import ToyBody, toy_observation

from pipeline.avatar import arms, completion, features, initial, losses, surface
from pipeline.avatar import geometry as geo
from pipeline.avatar.inpaint import fill_exemplar
from pipeline.avatar.model import axis_angle_matrix, sparse_weights
from pipeline.config import FitConfig
from pipeline.perceptual.structural import structural_loss


@pytest.fixture(scope="module")
def body():
    return ToyBody()


def tetrahedron():
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0.1], [0.1, 1, 0], [0, 0.2, 1]], dtype=torch.float64)
    faces = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]])
    return vertices, faces


def test_face_pairs_of_a_tetrahedron():
    pairs = losses.face_pairs(tetrahedron()[1])
    assert len(pairs) == 6
    assert {tuple(sorted(p)) for p in pairs.tolist()} == {(a, b) for a in range(4) for b in range(a + 1, 4)}


def test_normal_consistency_is_zero_on_a_plane_and_has_the_right_gradient():
    flat = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], dtype=torch.float64)
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    pairs = torch.from_numpy(losses.face_pairs(faces))
    assert float(losses.normal_consistency(flat, torch.from_numpy(faces), pairs)) < 1e-12
    vertices, faces = tetrahedron()
    pairs = torch.from_numpy(losses.face_pairs(faces))
    vertices.requires_grad_()
    assert torch.autograd.gradcheck(lambda v: losses.normal_consistency(v, torch.from_numpy(faces), pairs), (vertices,))


def test_neighbour_laplacian_against_a_dense_matrix():
    neighbours = np.array([[1, -1], [0, 2], [1, -1], [-1, -1]])
    values = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    dense = torch.tensor([[1.0, -1, 0, 0], [-0.5, 1, -0.5, 0], [0, -1, 1, 0], [0, 0, 0, 0]])
    expected = ((dense @ values) ** 2).sum(1).mean()
    assert torch.allclose(losses.NeighbourLaplacian(neighbours)(values), expected)


def test_ssim_of_equal_and_different_pictures():
    image = torch.rand(40, 30, 3, generator=torch.Generator().manual_seed(0))
    assert float(losses.ssim_map(image, image).min()) > 0.9999
    assert float(losses.ssim_map(image, 1 - image).mean()) < 0.3


def test_structural_loss_prefers_the_right_picture_and_has_gradients():
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 8, 8, generator=generator)
    target = torch.nn.functional.interpolate(coarse, size=(64, 64))[0].permute(1, 2, 0)
    near = (target * 0.95 + 0.02).requires_grad_()
    far = target.flip(0)
    weight = torch.ones(64, 64)
    loss = structural_loss(near, target, weight)
    assert loss.item() < 0.3 * float(structural_loss(far, target, weight))
    loss.backward()
    assert torch.isfinite(near.grad).all() and near.grad.abs().max() > 0


def test_consistency_is_an_l1():
    dX, bary = torch.ones(5, 3), torch.zeros(5, 3)
    assert float(losses.mesh_gaussian_consistency(dX, bary)) == 1
    assert float(losses.mesh_gaussian_consistency(dX, bary, torch.tensor([1.0, 0, 0, 0, 0]))) == pytest.approx(0.2)


def test_rotation_matrices():
    R = axis_angle_matrix(torch.tensor([[0, 0, np.pi / 2], [0.0, 0, 0]], dtype=torch.float32))
    assert torch.allclose(R[0] @ torch.tensor([1.0, 0, 0]), torch.tensor([0.0, 1, 0]), atol=1e-6)
    assert torch.allclose(R[1], torch.eye(3), atol=1e-6)


def test_sparse_weights_sum_to_one():
    index, weight = sparse_weights(torch.rand(7, 55, generator=torch.Generator().manual_seed(0)))
    assert index.shape == (7, 6)
    assert torch.allclose(weight.sum(1), torch.ones(7))


def test_adaptive_layout_is_even_and_deterministic(body):
    canonical = body.v_template.numpy()
    face, bary = surface.adaptive_layout(body, canonical, 5000)
    again, _ = surface.adaptive_layout(body, canonical, 5000)
    np.testing.assert_array_equal(face, again)
    assert abs(len(face) - 5000) < 5
    np.testing.assert_allclose(bary.sum(1), 1, atol=1e-5)
    assert bary.min() >= 0
    torso = np.asarray(body.regions["torso"])[np.asarray(body.faces)[face]].all(1)
    points = (canonical[np.asarray(body.faces)[face]] * bary[..., None]).sum(1)[torso]
    gap, _ = surface.spacing(points, np.zeros(len(points), int))
    assert gap.std() < 0.45 * gap.mean()


def test_uv_layout_lands_on_the_right_triangles(body):
    face, bary = surface.uv_layout(body, 64)
    uv = (body.vt.numpy()[body.ft.numpy()[face]] * bary[..., None]).sum(1) * 64
    np.testing.assert_allclose(uv % 1, 0.5, atol=2e-3)


def test_edge_of_an_arm_moves_to_the_edge_of_the_picture():
    """The mesh says the arm ends at column 40; the colours say 45."""
    image = np.full((80, 100, 3), 0.2, np.float32)
    image[:, :45] = [0.9, 0.6, 0.5]
    label = np.where(np.arange(100) < 40, geo.LEFT_ARM, geo.BODY)[None].repeat(80, 0).astype(np.int8)
    person, on_mesh = np.ones((80, 100), bool), np.ones((80, 100), bool)
    ones = np.ones((80, 100, 3), np.float32) / 3
    layers = {
        geo.BODY: geo.Hits(np.zeros((80, 100), np.int64), ones, np.full((80, 100), 2.0, np.float32)),
        geo.LEFT_ARM: geo.Hits(np.where(label == geo.LEFT_ARM, 0, -1), ones, np.full((80, 100), 1.7, np.float32)),
        geo.RIGHT_ARM: geo.Hits(np.full((80, 100), -1), ones, np.full((80, 100), np.inf, np.float32)),
    }
    refined, band = arms.flood_arms(label, on_mesh, person, layers, image, 8.0)
    arm = (refined == geo.LEFT_ARM).sum(1)
    assert 44 <= np.median(arm) <= 47
    assert band[:, 36:44].all() and not band[:, :25].any()


def test_a_sleeve_over_the_hand_stays_with_the_arm():
    """The mesh has hand where the picture still has sleeve, of the torso's own cloth."""
    image = np.full((120, 120, 3), [0.1, 0.2, 0.6], np.float32)
    hand = np.zeros((120, 120), bool)
    hand[40:100, 45:75] = True
    image[50:100, 45:75] = [0.9, 0.6, 0.5]
    person, face = np.ones((120, 120), bool), np.zeros((120, 120), bool)
    cuff = np.zeros((120, 120), bool)
    cuff[:60] = True
    sleeve = np.s_[42:49, 48:72]
    for near, kept in ((None, False), (cuff, True)):
        label = np.where(hand, geo.LEFT_ARM, geo.BODY).astype(np.int8)
        doubt = np.zeros((120, 120), bool)
        arms._recolor(label, doubt, arms.lab_image(image, 0.7), person, hand, geo.LEFT_ARM, face, True, 14.0, near)
        assert ((label[sleeve] == geo.LEFT_ARM).mean() > 0.9) == kept
        assert (label[56:96, 48:72] == geo.LEFT_ARM).mean() > 0.95


def test_completion_mirrors_and_fills(body):
    rgb = np.zeros((len(body.v_template), 3), np.float32)
    left = np.asarray(body.regions["left_arm"])
    rgb[left] = [0.8, 0.2, 0.1]
    head = np.asarray(body.regions["head"])
    front = head & (body.v_template[:, 2].numpy() > 0)
    rgb[front] = [0.5, 0.4, 0.3]
    filled = completion.complete(body, rgb, (left | front).astype(np.float32) * 5)
    right = np.asarray(body.regions["right_arm"])
    np.testing.assert_allclose(filled.rgb[right].mean(0), [0.8, 0.2, 0.1], atol=0.05)
    np.testing.assert_allclose(filled.rgb[head & ~front].mean(0), [0.5, 0.4, 0.3], atol=0.05)
    assert filled.guessed[left].max() == 0 and filled.guessed[right].min() > 0.5


def test_inpainting_continues_stripes():
    rows, cols = np.mgrid[0:96, 0:96]
    stripes = np.repeat((np.sin(cols * 2 * np.pi / 8) > 0).astype(np.float32)[..., None], 3, -1)
    hole = (np.abs(rows - 48) < 14) & (np.abs(cols - 48) < 14)
    broken = stripes.copy()
    broken[hole] = [1, 0, 0]
    out = fill_exemplar(broken, hole, ~hole, seed=1)
    assert np.abs(out - stripes)[hole].mean() < 0.1
    np.testing.assert_array_equal(out[~hole], stripes[~hole])
    np.testing.assert_array_equal(out, fill_exemplar(broken, hole, ~hole, seed=1))


def test_inpainting_does_not_fit_to_what_covers_the_hole():
    """Blue cloth with a little beige in it, half of it behind a beige hand: what that hides is blue all the same."""
    rows, cols = np.mgrid[0:96, 0:96]
    blue, beige = np.float32([0.1, 0.2, 0.6]), np.float32([0.9, 0.7, 0.6])
    patch = (np.abs(rows - 20) < 8) & (np.abs(cols - 20) < 8)
    hand = cols >= 48
    image = np.where((hand | patch)[..., None], beige, blue)
    out = fill_exemplar(image, hand & (cols < 60), ~hand, seed=1)
    np.testing.assert_allclose(out[:, 48:60], np.broadcast_to(blue, (96, 12, 3)), atol=0.02)
    np.testing.assert_array_equal(out[:, 60:], image[:, 60:])


def test_eye_has_pupil_iris_and_white():
    angles = np.array([0.0, 0.35, 1.0])
    points = np.stack([np.sin(angles), 0 * angles, np.cos(angles)], 1)
    nothing = np.zeros((0, 3))
    rgb = features.eye_colors(points, np.zeros(3), np.array([0, 0, 1.0]), features.IRIS_ANGLE, nothing, nothing, 1.0)
    np.testing.assert_allclose(rgb[0], features.PUPIL, atol=0.02)
    assert rgb[1].mean() < 0.35 and rgb[2].mean() > 0.6


def test_photo_edge_is_not_the_end_of_the_body(body):
    """A crop that reaches over the photo must not pull the mesh to the photo's edge."""
    import dataclasses

    observation = toy_observation(body)
    alpha, valid = observation.alpha.copy(), np.ones(observation.alpha.shape, bool)
    valid[150:] = False
    alpha[150:] = 0
    cut = dataclasses.replace(observation, alpha=alpha, valid=valid)
    scene = initial.working_scene(body, cut, 1024)
    posed = initial.posed_body(body, cut.params)
    dT = initial.mesh_stage(body, posed, scene, FitConfig())
    whole = initial.mesh_stage(body, posed, initial.working_scene(body, observation, 1024), FitConfig())
    assert np.linalg.norm(dT, axis=1).max() < 1.3 * np.linalg.norm(whole, axis=1).max()
