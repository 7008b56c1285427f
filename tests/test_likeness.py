"""What a registered photo teaches about the detectors and the person."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from pipeline.body import load_body
from pipeline.perceive import targets as T
from pipeline.perceive.likeness import REACH_BODY, Likeness
from pipeline.perceive.photo import photo_camera
from pipeline.perceive.register import LandmarkModel, RegisterConfig, project
from pipeline.perceive.targets import build_targets
from pipeline.types import BodyParams, Detections, FitReport, Observation

SIZE = (288, 512)


@pytest.fixture(scope="module")
def body():
    return load_body()


@pytest.fixture(scope="module")
def photo(body) -> Observation:
    """A registered photo whose detector sees every body point a little to the lower right of where the body has it."""
    params = BodyParams.zeros(body.n_betas, body.n_expression)
    pose = params.body_pose.copy()
    pose[15, 2], pose[16, 2], pose[17, 1] = -1.0, 1.0, -0.6
    params = params.replace(body_pose=pose, transl=np.float32([0, -0.2, -2.2]))
    camera = photo_camera(SIZE, RegisterConfig())
    names = ("global_orient", "body_pose", "left_hand_pose", "right_hand_pose", "transl")
    state = {k: torch.as_tensor(getattr(params, k))[None] for k in names} | {"arkit": torch.zeros(1, 52)}
    points = LandmarkModel(body)(state, torch.as_tensor(params.betas))[0][0, T.POSE]
    pixels = project(points, camera).numpy() + [3.0, 2.0]
    seen = np.c_[pixels, np.ones(33)].astype(np.float32)
    world = (points.numpy() * [1, -1, -1]).astype(np.float32)
    world[:, 2] += 0.1 * world[:, 1]  # the detector's idea of depth leans
    found = Detections(np.zeros((133, 3), np.float32), seen, world, None, None, None)
    report = FitReport(True, "", (), {}, ())
    alpha = np.ones(SIZE[::-1], np.float32)
    image, arkit = np.repeat(alpha[..., None], 3, 2), np.zeros(52, np.float32)
    return Observation(image, alpha, camera, params, arkit, found, report, "")


def test_the_photo_explains_its_own_detections(body, photo):
    known = Likeness.of(photo, body)
    assert np.abs(known.offsets).max() <= 1.5 * REACH_BODY and known.hands == (False, False)
    model = LandmarkModel(body)
    model.move(known.offsets)
    state = {k: torch.from_numpy(v) for k, v in known.state.items()}
    pixels = project(model(state, torch.as_tensor(photo.params.betas))[0], photo.camera)[0, T.POSE].numpy()
    seen = known.targets.weights[0, T.POSE].numpy() > 0.05
    assert np.abs(pixels - photo.detections.pose[:, :2])[seen].max() < 0.1
    body_points = model(state, torch.as_tensor(photo.params.betas))[0][0, T.POSE]
    assert torch.isfinite(body_points).all()


def test_bone_directions_are_corrected_near_the_photos(body, photo):
    known = Likeness.of(photo, body)
    targets = build_targets([photo.detections], *SIZE)
    corrected = known.corrected(targets).body_dirs[0].numpy()
    raw = targets.body_dirs[0].numpy()
    assert (1 - (corrected * raw).sum(1)).max() > 1e-4, "the leaning depth is taken back"
    opposite = dataclasses.replace(targets, body_dirs=-targets.body_dirs)
    assert np.allclose(known.corrected(opposite).body_dirs, opposite.body_dirs, atol=1e-6)


def test_a_video_starts_from_the_photo(body, photo):
    known = Likeness.of(photo, body)
    start = known.start(build_targets([photo.detections] * 3, *SIZE), body, photo.camera)
    assert np.allclose(start["transl"], photo.params.transl, atol=1e-4)
    legs = [0, 1, 3, 4]
    assert np.allclose(start["body_pose"][:, legs], photo.params.body_pose[legs])
    assert start["left_hand_pose"].shape == (3, 15, 3)
