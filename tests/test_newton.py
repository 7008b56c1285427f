"""Newton steps for the pose: derivatives, the coupled solve, and an energy that gradients alone do not bring down."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.body import BodyModel, load_body
from pipeline.perceive import newton
from pipeline.perceive.dense import Anchors, DenseTargets
from pipeline.perceive.photo import photo_camera
from pipeline.perceive.points import PosedPoints
from pipeline.perceive.register import RegisterConfig, Stage, project, register
from pipeline.perceive.targets import build_targets
from pipeline.types import Camera

SIZE, FRAMES = (288, 512), 4


@pytest.fixture(scope="module")
def camera() -> Camera:
    return photo_camera(SIZE, RegisterConfig())


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return load_body()


def test_curvature_is_that_of_finite_rotations(body: BodyModel) -> None:
    draw = torch.Generator().manual_seed(0)
    ids = np.random.default_rng(0).integers(0, len(body.v_template), (30, 1))
    model = PosedPoints(body, ids, np.ones((30, 1)))
    betas = 0.5 * torch.randn(body.n_betas, generator=draw)
    expression = torch.zeros(2, body.n_expression)
    pose = 0.4 * torch.randn(2, 55, 3, generator=draw)
    place = torch.randn(2, 3, generator=draw)
    rows = torch.randn(2, 30, 2, 3, generator=draw)
    found = newton.curvature(model, betas, expression, pose, rows, torch.arange(30))
    for f in range(2):

        def held(x: torch.Tensor, f: int = f) -> torch.Tensor:
            own = torch.cat([x[3:].view(newton.BODY, 3), pose[f, newton.BODY :]])[None]
            points = model(betas, expression[:1], own, x[None, :3])[0]
            return (rows[f] @ points[..., None]).flatten()

        here = torch.cat([place[f], pose[f, : newton.BODY].flatten()])
        moves = torch.autograd.functional.jacobian(held, here)
        torch.testing.assert_close(found[f], moves.T @ moves, rtol=1e-3, atol=1e-3)


def test_rows_hold_points_in_the_picture(camera: Camera) -> None:
    draw = torch.Generator().manual_seed(1)
    points = torch.tensor([0.1, 0.2, -2.0]) + 0.3 * torch.randn(1, 5, 3, generator=draw)
    root = torch.randn(1, 5, 2, 2, generator=draw)
    information = root @ root.transpose(-1, -2)
    rows = newton.seen_rows(information, points, camera)
    for k in range(5):
        lens = torch.autograd.functional.jacobian(lambda p: project(p, camera), points[0, k])
        torch.testing.assert_close(rows[0, k].T @ rows[0, k], lens.T @ information[0, k] @ lens, rtol=1e-3, atol=1e-2)


def test_frames_are_solved_together() -> None:
    draw = np.random.default_rng(2)
    frames, n = 6, 4
    root = draw.normal(size=(frames, n, n))
    blocks = root @ root.transpose(0, 2, 1) + np.eye(n)
    coupling, gradient = draw.uniform(1, 9, n), draw.normal(size=(frames, n))
    steps, bends = np.diff(np.eye(frames), axis=0), np.diff(np.eye(frames), 2, axis=0)
    full = np.kron(2 * (bends.T @ bends + 0.02 * steps.T @ steps), np.diag(coupling))
    for f in range(frames):
        part = slice(f * n, (f + 1) * n)
        full[part, part] += blocks[f]
        own = full[part, part]
        own += np.eye(n) * newton.DAMPING * np.trace(own) / n
    wanted = np.linalg.solve(full, gradient.ravel()).reshape(frames, n)
    np.testing.assert_allclose(newton.solve_frames(blocks, coupling, gradient), wanted, rtol=1e-8)


def test_a_leaning_body_that_is_too_near_is_set_upright_where_gradients_stall(body: BodyModel, camera: Camera) -> None:
    trunk = np.flatnonzero(np.asarray(body.regions["torso"]) | np.asarray(body.regions["head"]))[::40]
    anchors, free = Anchors.of_vertices(trunk), ("global_orient", "transl", "body_pose")
    truth = {
        "global_orient": np.zeros((FRAMES, 3)), "body_pose": np.zeros((FRAMES, 21, 3)), "arkit": np.zeros((FRAMES, 52)),
        "left_hand_pose": np.zeros((FRAMES, 15, 3)), "right_hand_pose": np.zeros((FRAMES, 15, 3)),
        "transl": np.tile([0.0, -0.2, -1.6], (FRAMES, 1)),
    }  # fmt: skip
    truth = {k: v.astype(np.float32) for k, v in truth.items()}
    targets, betas = build_targets([None] * FRAMES, *SIZE), np.zeros(body.n_betas, np.float32)
    still = RegisterConfig(stages=(Stage(1, 0.0, free, prior=0.01),))
    there = register(targets, body, camera, still, init=truth, betas=betas, fixed_shape=True)
    places = torch.from_numpy(anchors.posed(body, there))
    dense = DenseTargets(anchors, project(places, camera), torch.ones(places.shape[:2]))
    start = {k: v.copy() for k, v in truth.items()}
    start["transl"] += np.float32([0.0, -0.015, 0.06])
    start["global_orient"][:, 0] -= 0.08

    def off(stage: Stage) -> float:
        config = RegisterConfig(stages=(stage,))
        found = register(targets, body, camera, config, init=start, betas=betas, fixed_shape=True, dense=dense)
        return float((project(torch.from_numpy(anchors.posed(body, found)), camera) - dense.points).norm(dim=-1).mean())

    before, adam = off(Stage(1, 0.0, free, prior=0.01)), off(Stage(45, 0.008, free, prior=0.01))
    after = off(Stage(0, 0.0, free, prior=0.01, newton=8))
    assert before > 4 and after < 0.1 < adam
