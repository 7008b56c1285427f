"""The mouth of a known person, solved from the face mesh."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from pipeline.body import ARKIT_NAMES, load_body
from pipeline.perceive import targets as T
from pipeline.perceive.likeness import Likeness
from pipeline.perceive.mouth import MOUTH, with_mouth, with_own_mouth
from pipeline.perceive.photo import photo_camera
from pipeline.perceive.register import LandmarkModel, RegisterConfig, Registration, project
from pipeline.perceive.targets import build_targets
from pipeline.types import BodyParams, Detections, FitReport, Observation

SIZE = (576, 1024)
PARTS = ("global_orient", "body_pose", "left_hand_pose", "right_hand_pose", "transl")


@pytest.fixture(scope="module")
def body():
    return load_body()


def acting(**coefficients: float) -> np.ndarray:
    out = np.zeros(52, np.float32)
    for name, value in coefficients.items():
        out[ARKIT_NAMES.index(name)] = value
    return out


PARAMS_AT = np.float32([0, -0.35, -1.1])
OWN = acting(mouthSmileLeft=0.2, mouthSmileRight=0.2)


def registered(body, arkit: np.ndarray) -> Registration:
    """Frames (F) of somebody close to the camera who does nothing but act."""
    params = BodyParams.zeros(body.n_betas, body.n_expression).replace(transl=PARAMS_AT)
    state = {k: np.repeat(getattr(params, k)[None], len(arkit), 0) for k in PARTS}
    still = Registration({**state, "arkit": arkit}, params.betas, {}, np.zeros((len(arkit), T.N_POINTS, 2), np.float32))
    return still.acting(arkit, body)


def detections(body, camera, arkit: np.ndarray, beside: np.ndarray) -> Detections:
    """What a detector sees that takes every landmark of the face for a point ``beside`` it (478, 2), in pixels."""
    state = {k: torch.from_numpy(v) for k, v in registered(body, arkit[None]).state.items()}
    with torch.no_grad():
        points, _ = LandmarkModel(body)(state, torch.zeros(body.n_betas))
        pixels = project(points, camera)[0].numpy()
    face = np.c_[pixels[T.FACE] + beside, np.zeros(478)].astype(np.float32)
    pose = np.c_[pixels[T.POSE], np.ones(33)].astype(np.float32)
    world = points[0, T.POSE].numpy() * np.float32([1, -1, -1])
    return Detections(np.zeros((133, 3), np.float32), pose, world, face, None, None)


@pytest.fixture(scope="module")
def person(body):
    """Camera, likeness, and what makes a detector's view of a face."""
    camera = photo_camera(SIZE, RegisterConfig())
    beside = np.random.default_rng(0).normal(0, 1.0, (478, 2))
    found = detections(body, camera, OWN, beside)
    own = registered(body, OWN[None])
    image = np.ones((*SIZE[::-1], 3), np.float32)
    report = FitReport(True, "", (), {}, ())
    photo = Observation(image, image[..., 0], camera, own.frame(0), OWN, found, report, "")
    return camera, Likeness.of(photo, body), lambda arkit: detections(body, camera, arkit, beside)


def test_mouths_that_a_registration_lost_half_of_are_found(body, person):
    camera, likeness, see = person
    acted = [
        OWN, acting(jawOpen=0.8), acting(mouthPucker=0.9), acting(mouthSmileLeft=0.9, mouthSmileRight=0.3, jawOpen=0.2)
    ]  # fmt: skip
    truth = np.stack(acted)
    targets = build_targets([see(a) for a in truth], *SIZE)
    half = registered(body, (0.5 * (truth + OWN)).astype(np.float32))
    out = with_mouth(half, targets, camera, likeness, body)
    before, after = (pixels(body, camera, likeness, r.state["arkit"]) for r in (half, out))
    seen = targets.points[:, T.FACE].numpy()[:, list(T.LIPS)]
    lost, left = (np.linalg.norm(p - seen, axis=-1).mean(1) for p in (before, after))
    assert lost[1:].min() > 2.0, "pixels"
    assert (left[1:] < 0.3 * lost[1:]).all()
    np.testing.assert_allclose(out.state["arkit"][0], OWN, atol=0.02)
    rest = np.setdiff1d(np.arange(52), MOUTH)
    np.testing.assert_array_equal(out.state["arkit"][:, rest], half.state["arkit"][:, rest])
    assert np.abs(out.face["jaw_pose"][1]).max() > 1.3 * np.abs(half.face["jaw_pose"][1]).max()


def pixels(body, camera, likeness, arkit: np.ndarray) -> np.ndarray:
    landmarks = LandmarkModel(body)
    landmarks.move(likeness.offsets)
    state = {k: torch.from_numpy(v) for k, v in registered(body, arkit).state.items()}
    with torch.no_grad():
        points, _ = landmarks(state, torch.zeros(body.n_betas))
        return project(points[:, T.FACE], camera).numpy()[:, list(T.LIPS)]


def test_a_head_that_is_a_little_off_does_not_move_the_mouth(body, person):
    camera, likeness, see = person
    found = see(OWN)
    middle = found.face[:, :2].mean(0)
    moved = found.face.copy()
    moved[:, :2] = middle + 1.03 * (moved[:, :2] - middle) + [4.0, -3.0]
    targets = build_targets([dataclasses.replace(found, face=moved)], *SIZE)
    out = with_mouth(registered(body, OWN[None]), targets, camera, likeness, body)
    np.testing.assert_allclose(out.state["arkit"][0], OWN, atol=0.05)


def test_a_face_that_is_not_seen_keeps_its_mouth(body, person):
    camera, likeness, see = person
    given = acting(jawOpen=0.6)
    targets = build_targets([dataclasses.replace(see(OWN), face=None), see(given)], *SIZE)
    out = with_mouth(registered(body, np.stack([given, OWN])), targets, camera, likeness, body)
    np.testing.assert_array_equal(out.state["arkit"][0], given)
    assert abs(out.state["arkit"][1] - given).max() < 0.1


def test_without_a_photo_the_shape_of_a_mouth_is_no_frown(body, person):
    """Somebody whose mouth is wider and hangs at its corners talks; nobody sees them in two frames."""
    camera, _, see = person
    talk = [acting(jawOpen=max(0.0, 0.7 * np.sin(0.9 * k)), mouthPucker=0.8 * (k % 7 == 3)) for k in range(30)]
    found = [see(a) for a in talk]
    for one in found:
        middle = one.face[list(T.LIPS), 0].mean()
        aside = (one.face[list(T.LIPS), 0] - middle) / 40
        one.face[list(T.LIPS), 0] += 5 * aside
        one.face[list(T.LIPS), 1] += 4 * aside**2
    found[10] = found[11] = dataclasses.replace(found[10], face=None)
    targets = build_targets(found, *SIZE)
    biased = np.stack(talk) * 0.5 + acting(mouthFrownLeft=0.3, mouthFrownRight=0.3, mouthStretchLeft=0.4)
    out = with_own_mouth(registered(body, biased.astype(np.float32)), targets, camera, body).state["arkit"]
    names = ("mouthFrownLeft", "mouthFrownRight", "mouthStretchLeft", "mouthRollUpper")
    assert np.median(out, 0)[[ARKIT_NAMES.index(n) for n in names]].max() < 0.1
    seen = np.setdiff1d(np.arange(30), (10, 11))
    for name in ("jawOpen", "mouthPucker"):
        k = ARKIT_NAMES.index(name)
        assert np.corrcoef(out[seen, k], np.stack(talk)[seen, k])[0, 1] > 0.9, name
    np.testing.assert_array_equal(out[10], out[11])
    assert out[10, list(MOUTH)].max() < 0.5, "at rest"
    few = build_targets(found[:5], *SIZE)
    short = registered(body, biased[:5].astype(np.float32))
    np.testing.assert_array_equal(with_own_mouth(short, few, camera, body).state["arkit"], short.state["arkit"])
