"""Registration: known bodies are found again from their own landmarks; confused hands are dropped; gaps are bridged."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from pipeline.body import ARKIT_NAMES, load_body
from pipeline.perceive import targets as T
from pipeline.perceive.initial import initial_state
from pipeline.perceive.photo import photo_camera, posed_vertices
from pipeline.perceive.reach import reach_for_hands
from pipeline.perceive.register import Energy, FaceRig, RegisterConfig, register
from pipeline.perceive.targets import Targets, build_targets, drop_confused_hand, phantom_wrists
from pipeline.perceive.track import PLAIN_GAINS, PLAIN_STAGES
from pipeline.types import BodyParams, Camera, Detections

SIZE = (576, 1024)


@pytest.fixture(scope="module")
def body():
    return load_body()


@pytest.fixture(scope="module")
def camera() -> Camera:
    return photo_camera(SIZE, RegisterConfig())


def known_params(body, lift: float = 0.0) -> BodyParams:
    """A person with bent arms, a turned head and an open mouth, 2.2 m away."""
    params = BodyParams.zeros(body.n_betas, body.n_expression)
    pose = params.body_pose.copy()
    pose[15] = (0.0, 0.1, -1.0)
    pose[16] = (0.0, -0.1, 1.0)
    pose[17, 1], pose[18, 1] = -1.3 - lift, 1.1
    pose[14] = (0.1, 0.25, 0.0)
    arkit = np.zeros((1, 52), np.float32)
    arkit[0, ARKIT_NAMES.index("jawOpen")] = 0.4
    face = {k: v[0] for k, v in body.arkit_to_params(arkit).items()}
    return params.replace(
        body_pose=pose, transl=np.float32([0.02, -0.15, -2.2]), global_orient=np.float32([0, 0.15, 0]), **face
    )


def synthetic_targets(body, camera: Camera, frames: list[BodyParams]) -> Targets:
    """Exact landmarks of known bodies, all of them seen; no directions."""
    blank = build_targets([None] * len(frames), *SIZE)
    points = np.zeros((len(frames), T.N_POINTS, 2), np.float32)
    for f, params in enumerate(frames):
        vertices = posed_vertices(body, params)
        names = ("mediapipe_face", "mediapipe_left_hand", "mediapipe_right_hand", "mediapipe_pose")
        marks = [body.landmarks[n] for n in names]
        world = np.concatenate(
            [(vertices[np.asarray(m.vertex_ids)] * np.asarray(m.weights)[..., None]).sum(1) for m in marks]
        )
        points[f] = camera.project(world)[0]
    weights = np.ones((len(frames), T.N_POINTS), np.float32)
    yes = torch.ones(len(frames), dtype=torch.bool)
    return dataclasses.replace(
        blank, points=torch.from_numpy(points), weights=torch.from_numpy(weights),
        has_face=yes, has_left_hand=yes, has_right_hand=yes,
    )  # fmt: skip


def test_known_body_is_found_again(body, camera):
    truth = known_params(body)
    targets = synthetic_targets(body, camera, [truth])
    result = register(targets, body, camera)
    gap = np.linalg.norm(result.points - targets.points.numpy(), axis=-1)[0]
    assert gap[T.FACE].mean() < 1.6
    assert gap[T.LEFT_HAND].mean() < 4 and gap[T.RIGHT_HAND].mean() < 4
    assert gap[T.POSE].mean() < 8
    jaw = result.state["arkit"][0, ARKIT_NAMES.index("jawOpen")]
    assert 0.15 < jaw < 0.7


def test_registration_is_deterministic(body, camera):
    targets = synthetic_targets(body, camera, [known_params(body)])
    quick = dataclasses.replace(RegisterConfig(), stages=RegisterConfig().stages[:1])
    first, second = (register(targets, body, camera, quick) for _ in range(2))
    assert np.array_equal(first.points, second.points)


def test_gap_in_a_video_is_bridged(body, camera):
    frames = [known_params(body, lift=0.02 * k) for k in range(9)]
    targets = synthetic_targets(body, camera, frames)
    targets.weights[4] = 0
    quick = dataclasses.replace(
        RegisterConfig(), stages=tuple(dataclasses.replace(s, iterations=60) for s in RegisterConfig().stages[:3])
    )
    result = register(targets, body, camera, quick, betas=np.zeros(body.n_betas, np.float32), fixed_shape=True)
    missing = np.linalg.norm(result.points[4] - targets.points[4].numpy(), axis=-1)
    assert missing[T.FACE].mean() < 6
    assert np.abs(result.betas).max() == 0


def test_energy_gradient_matches_finite_differences(body, camera):
    targets = synthetic_targets(body, camera, [known_params(body)])
    state = {
        "global_orient": torch.zeros(1, 3), "body_pose": torch.full((1, 21, 3), 0.05),
        "left_hand_pose": torch.zeros(1, 15, 3), "right_hand_pose": torch.zeros(1, 15, 3),
        "arkit": torch.full((1, 52), 0.1), "transl": torch.tensor([[0.0, -0.1, -2.3]]),
    }  # fmt: skip
    config = RegisterConfig()
    energy = Energy(targets, camera, body, state, config)
    betas = torch.zeros(body.n_betas)
    state["body_pose"].requires_grad_()
    energy(state, betas, config.stages[-1]).backward()
    for joint, axis in ((17, 1), (14, 1)):
        step, values = 2e-3, []
        for sign in (1, -1):
            moved = {k: v.detach().clone() for k, v in state.items()}
            moved["body_pose"][0, joint, axis] += sign * step
            values.append(float(energy(moved, betas, config.stages[-1])))
        numeric = (values[0] - values[1]) / (2 * step)
        assert float(state["body_pose"].grad[0, joint, axis]) == pytest.approx(numeric, rel=0.05, abs=2.0)


def test_face_rig_is_the_bodys_own_map(body):
    arkit = np.zeros((1, 52), np.float32)
    arkit[0, [ARKIT_NAMES.index(n) for n in ("jawOpen", "eyeBlinkLeft", "mouthSmileRight")]] = 0.5, 1.0, 0.3
    native, direct = FaceRig(body)(torch.from_numpy(arkit)), body.arkit_to_params(arkit)
    for name, value in direct.items():
        assert np.allclose(native[name].numpy(), value, atol=1e-5), name


def detections(**changes) -> Detections:
    pose = np.zeros((33, 3), np.float32)
    pose[15], pose[16] = (100, 100, 1), (300, 100, 1)
    base = Detections(np.zeros((133, 3), np.float32), pose, np.zeros((33, 3), np.float32), None, None, None)
    return dataclasses.replace(base, **changes)


def test_one_hand_seen_twice_is_kept_once():
    hand = np.random.default_rng(0).uniform(0, 60, (21, 3)).astype(np.float32) + (270, 80, 0)
    kept = drop_confused_hand(
        detections(left_hand=hand, right_hand=hand + 2, left_hand_score=0.9, right_hand_score=0.9)
    )
    assert kept.left_hand is None and kept.right_hand is not None


def test_two_separate_hands_are_both_kept():
    hand = np.random.default_rng(0).uniform(0, 60, (21, 3)).astype(np.float32)
    both = detections(left_hand=hand + (80, 80, 0), right_hand=hand + (280, 80, 0))
    assert drop_confused_hand(both) is both


def test_two_wrists_on_one_raised_hand_are_one():
    pose = detections().pose.copy()
    pose[11], pose[12] = (400, 500, 1), (200, 500, 1)
    pose[15], pose[16] = (290, 320, 1), (250, 330, 1)
    hand = np.random.default_rng(0).uniform(-40, 40, (21, 3)).astype(np.float32) + (250, 300, 0)
    raised = detections(pose=pose, right_hand=hand, right_hand_score=0.9)
    assert phantom_wrists(raised) == (True, False)
    weights = build_targets([raised], *SIZE).weights[0, T.POSE]
    assert weights[[13, 15, 17, 19, 21]].max() == 0 and weights[12] == 1
    assert phantom_wrists(dataclasses.replace(raised, left_hand=hand + 60)) == (False, False)
    elbow = pose.copy()
    elbow[13, 2] = 0.95
    assert phantom_wrists(dataclasses.replace(raised, pose=elbow)) == (False, False), "an arm that is seen is real"
    lowered = pose.copy()
    lowered[:, 1] -= 300
    assert phantom_wrists(dataclasses.replace(raised, pose=lowered)) == (False, False), "hands may meet in the lap"


def test_root_is_placed_without_arms(body, camera):
    """A hand that the pose does not reach yet must not drag the body along while only the root may move."""
    truth = known_params(body)
    targets = synthetic_targets(body, camera, [truth])
    pulled = targets.points.clone()
    pulled[:, T.RIGHT_HAND] += 150
    pulled[:, [T.POSE.start + p for p in T.ARM_POINTS[1]]] += 150
    root = dataclasses.replace(RegisterConfig(), stages=RegisterConfig().stages[:1])
    placed = [
        register(t, body, camera, root, betas=truth.betas, fixed_shape=True).state["transl"]
        for t in (targets, dataclasses.replace(targets, points=pulled))
    ]
    assert np.allclose(*placed, atol=1e-5)


def test_arm_reaches_for_a_hand_near_the_camera(body, camera):
    """The forearm points at a near camera; the directions of the detector say that it points past the hand."""
    params = known_params(body)
    pose = params.body_pose.copy()
    pose[16], pose[18] = (0.3, -0.9, 0.5), (0.0, 1.6, 0.0)
    truth = params.replace(body_pose=pose, transl=np.float32([0.02, -0.35, -0.95]))
    targets = synthetic_targets(body, camera, [truth])
    targets.weights[:, [T.POSE.start + p for p in (13, 14, 15, 16)]] = 0.0
    targets = dataclasses.replace(targets, has_left_hand=torch.zeros(1, dtype=torch.bool))
    targets.weights[:, T.LEFT_HAND] = 0.0
    wrist = T.RIGHT_HAND.start

    def gap(state):
        native = FaceRig(body)(torch.from_numpy(state["arkit"]))
        fields = {k: v[0] for k, v in state.items() if k != "arkit"} | {k: v[0].numpy() for k, v in native.items()}
        found = synthetic_targets(body, camera, [params.replace(**fields)])
        return float((found.points - targets.points)[0, wrist].norm())

    state = initial_state(targets, body, camera)
    state["transl"][:] = truth.transl
    before = gap(state)
    reach_for_hands(state, targets, body, truth.betas, camera)
    assert before > 300 and gap(state) < 60
    arms_seen = dataclasses.replace(targets, weights=torch.ones_like(targets.weights))
    kept = {k: v.copy() for k, v in state.items()}
    kept["body_pose"][:, 18] = 0.0
    turned = {k: v.copy() for k, v in kept.items()}
    reach_for_hands(turned, arms_seen, body, truth.betas, camera)
    assert np.array_equal(turned["body_pose"], kept["body_pose"]), "where the elbow is seen its directions are trusted"


@pytest.mark.parametrize("turn", [0.25, -0.25])
def test_narrow_shoulders_turn_to_the_side_that_the_bones_say(body, camera, turn):
    params = known_params(body).replace(global_orient=np.zeros(3, np.float32))
    targets = synthetic_targets(body, camera, [params])
    points, dirs, sure = targets.points.clone(), targets.body_dirs.clone(), targets.body_dir_weights.clone()
    shoulders = [T.POSE.start + 11, T.POSE.start + 12]
    middle = points[0, shoulders].mean(0)
    points[0, shoulders] = middle + (points[0, shoulders] - middle) * torch.tensor([float(np.cos(turn)), 1.0])
    bone = T.BODY_BONES.index((11, 12))
    dirs[0, bone] = torch.tensor([float(-np.cos(turn)), 0.0, float(np.sin(turn))])
    sure[0, bone] = 1.0
    targets = dataclasses.replace(targets, points=points, body_dirs=dirs, body_dir_weights=sure)
    config = RegisterConfig(stages=PLAIN_STAGES, **{k: g * getattr(RegisterConfig, k) for k, g in PLAIN_GAINS.items()})
    found = register(targets, body, camera, config, betas=params.betas, fixed_shape=True)
    pose = found.state["body_pose"][0]
    trunk = Rotation.from_rotvec(found.state["global_orient"][0])
    for spine in (2, 5, 8):
        trunk = trunk * Rotation.from_rotvec(pose[spine])
    yaw = np.arctan2(*trunk.as_matrix()[[0, 2], 2])
    assert 0.1 < yaw / turn < 1.2
