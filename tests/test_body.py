"""The open body: layout, parity with smplx, joints, face, landmarks, speed of the cache."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from pipeline.body import ARKIT_NAMES, JOINT_NAMES, PARENTS, joint_limits, load_body
from pipeline.body.build import open_body_path, version_key
from pipeline.body.names import ARKIT_INDEX, JOINT_INDEX
from pipeline.types import ROTATION_FIELDS, PipelineError


@pytest.fixture(scope="module")
def body():
    return load_body()


def params(body, batch: int = 1, seed: int | None = None, size: float = 0.3) -> dict[str, torch.Tensor]:
    """Parameters of ``batch`` bodies: zeros, or random when there is a seed."""
    shapes = {"betas": (body.n_betas,), "expression": (body.n_expression,), "transl": (3,), **ROTATION_FIELDS}
    if seed is None:
        return {name: torch.zeros(batch, *shape) for name, shape in shapes.items()}
    generator = torch.Generator().manual_seed(seed)
    return {name: size * torch.randn(batch, *shape, generator=generator) for name, shape in shapes.items()}


def acted(body, **actions: float) -> np.ndarray:
    """Vertices (V, 3) of the mean body with some ARKit actions."""
    arkit = np.zeros((1, 52))
    for name, value in actions.items():
        arkit[0, ARKIT_INDEX[name]] = value
    p = params(body) | {k: torch.as_tensor(v) for k, v in body.arkit_to_params(arkit).items()}
    return body(**p).vertices[0].numpy()


def test_names_match_their_sources():
    from anny.models.facial_actions import FACIAL_ACTION_LABELS
    from smplx.joint_names import JOINT_NAMES as SMPLX_NAMES

    assert tuple(FACIAL_ACTION_LABELS) == ARKIT_NAMES
    assert tuple(SMPLX_NAMES[:55]) == JOINT_NAMES
    assert all(p < j for j, p in enumerate(PARENTS))


def test_layout(body):
    V = body.n_vertices
    assert body.tier == "embedded" and body.expression_space == "arkit" and body.n_expression == 52
    assert body.shapedirs.shape == (V, 3, body.n_betas) and body.expr_dirs.shape == (V, 3, 52)
    assert body.posedirs is None
    assert body.faces.min() == 0 and body.faces.max() == V - 1 and body.ft.max() < len(body.vt)
    assert body.vt.min() >= 0 and body.vt.max() <= 1
    torch.testing.assert_close(body.lbs_weights.sum(1), torch.ones(V))
    torch.testing.assert_close(body.J_regressor.sum(1), torch.ones(55), atol=1e-4, rtol=0)


def test_quality_of_the_build_is_recorded(body):
    assert body.meta["explained_variance"][-1] > 0.99
    assert body.meta["residual_mm"]["face"] < 1.5
    assert body.meta["joint_error_mm"]["worst"] < 2.0


def test_parity_with_smplx(body):
    import smplx

    model = smplx.SMPLX(
        str(open_body_path()), ext="npz", use_pca=False, flat_hand_mean=True, use_face_contour=True,
        num_betas=body.n_betas, num_expression_coeffs=52,
    )  # fmt: skip
    p = params(body, batch=2, seed=0)
    ours = body(**p)
    with torch.no_grad():
        theirs = model(**{name: value.reshape(2, -1) for name, value in p.items()})
    torch.testing.assert_close(ours.vertices, theirs.vertices, atol=1e-5, rtol=0)
    torch.testing.assert_close(ours.joints, theirs.joints[:, :55], atol=1e-5, rtol=0)


def test_subset_equals_full_and_has_gradients(body):
    p = params(body, batch=3, seed=1)
    ids = torch.tensor([5, 700, 13000, 13800])
    full = body(**p).vertices[:, ids]
    inputs = {name: value.clone().requires_grad_() for name, value in p.items()}
    part = body(**inputs, vertex_ids=ids).vertices
    torch.testing.assert_close(part, full, atol=1e-6, rtol=0)
    part.square().sum().backward()
    assert all(torch.isfinite(value.grad).all() for value in inputs.values())


def test_gradient_at_rest_is_finite_and_right(body):
    ids = torch.tensor([4000, 9000])
    pose = torch.zeros(1, 21, 3, requires_grad=True)
    p = params(body) | {"body_pose": pose}
    body(**p, vertex_ids=ids).vertices.sum().backward()
    step = torch.zeros(1, 21, 3)
    step[0, 2, 1] = 1e-3
    with torch.no_grad():
        ahead, behind = (body(**(p | {"body_pose": s * step}), vertex_ids=ids).vertices.sum() for s in (1, -1))
    assert pose.grad[0, 2, 1].item() == pytest.approx(((ahead - behind) / 2e-3).item(), abs=5e-3)


def test_t_pose(body):
    _, joints = body.shaped(torch.zeros(1, body.n_betas), torch.zeros(1, 52))
    at = {name: joints[0, JOINT_INDEX[name]].numpy() for name in JOINT_NAMES}
    for side, sign in (("left", 1), ("right", -1)):
        arm = at[f"{side}_wrist"] - at[f"{side}_shoulder"]
        assert sign * arm[0] > 0.4 and abs(arm[1]) < 0.02 and abs(arm[2]) < 0.02
        assert at[f"{side}_index1"][2] > at[f"{side}_pinky1"][2], "palms face down"
        assert abs(at[f"{side}_middle3"][1] - at[f"{side}_middle1"][1]) < 0.01, "fingers are straight"
        assert at[f"{side}_ankle"][1] < at[f"{side}_knee"][1] < at[f"{side}_hip"][1]
    assert at["head"][1] > at["neck"][1] > at["spine3"][1] > at["spine1"][1] > at["pelvis"][1]
    assert at["left_eye_smplhf"][2] > at["head"][2]
    np.testing.assert_allclose(at["pelvis"], [0, -0.35, 0], atol=2e-3)


def test_shape_changes_build_and_stays_a_body(body):
    heights = []
    generator = torch.Generator().manual_seed(3)
    for _ in range(8):
        v, _ = body.shaped(torch.randn(1, body.n_betas, generator=generator), torch.zeros(1, 52))
        heights.append(float(v[0, :, 1].max() - v[0, :, 1].min()))
    assert min(heights) > 1.0 and max(heights) < 2.3 and max(heights) - min(heights) > 0.05


def test_jaw_opens_the_mouth_rigidly(body):
    rest, opened = body.v_template.numpy(), acted(body, jawOpen=1.0)
    teeth = body.regions["lower_teeth"].numpy()
    assert 0.02 < (rest[teeth] - opened[teeth])[:, 1].max() < 0.05
    spread = np.linalg.norm(opened[teeth] - opened[teeth].mean(0), axis=1)
    np.testing.assert_allclose(spread, np.linalg.norm(rest[teeth] - rest[teeth].mean(0), axis=1), atol=2e-3)
    upper = body.regions["upper_teeth"].numpy()
    np.testing.assert_allclose(opened[upper], rest[upper], atol=1e-3)
    face = body.landmark_points("mediapipe_face", torch.as_tensor(opened)[None])[0]
    assert float(face[13, 1] - face[14, 1]) > 0.025, "inner lips part"


def test_mouth_close_shuts_an_open_jaw_and_does_nothing_alone(body):
    rest = body.v_template.numpy()
    np.testing.assert_allclose(acted(body, mouthClose=1.0), rest, atol=1e-6)
    face = [body.landmark_points("mediapipe_face", torch.as_tensor(acted(body, **a))[None])[0] for a in (
        {"jawOpen": 0.6}, {"jawOpen": 0.6, "mouthClose": 0.6})]  # fmt: skip
    gaps = [float(points[13, 1] - points[14, 1]) for points in face]
    assert gaps[1] < 0.5 * gaps[0]


def test_blink_closes_the_lids(body):
    rest = body.landmark_points("mediapipe_face", body.v_template[None])[0].numpy()
    blink = acted(body, eyeBlinkLeft=1, eyeBlinkRight=1)
    shut = body.landmark_points("mediapipe_face", torch.as_tensor(blink)[None])[0].numpy()
    for upper, lower in ((159, 145), (386, 374)):
        assert shut[upper, 1] - shut[lower, 1] < 0.25 * (rest[upper, 1] - rest[lower, 1])


def test_eyes_turn_rigidly(body):
    looks = {"eyeLookOutLeft": (0, 1), "eyeLookUpLeft": (1, 1), "eyeLookInLeft": (0, -1), "eyeLookDownLeft": (1, -1)}
    iris = body.landmarks["mediapipe_face"]
    for name, (axis, sign) in looks.items():
        v = torch.as_tensor(acted(body, **{name: 1.0}))[None]
        moved = (iris.points(v) - iris.points(body.v_template[None]))[0, 473]
        assert sign * float(moved[axis]) > 1e-3, name


@pytest.mark.parametrize("name", ARKIT_NAMES)
def test_every_action_moves_the_face_only(body, name):
    jaw = {"jawOpen": 0.8} if name == "mouthClose" else {}
    before = acted(body, **jaw)
    move = np.linalg.norm(acted(body, **(jaw | {name: 1.0})) - before, axis=1)
    assert move.max() > 1e-3
    away = (body.regions["torso"] | body.regions["legs"] | body.regions["left_hand"]).numpy()
    assert move[away].max() < 2e-3


def test_landmarks(body):
    sizes = {"mediapipe_face": 478, "mediapipe_left_hand": 21, "mediapipe_right_hand": 21, "mediapipe_pose": 33}
    for name, count in {**sizes, "coco_wholebody": 133}.items():
        marks = body.landmarks[name]
        assert len(marks.names) == len(marks.weights) == count and marks.vertex_ids.shape[1] >= 3
        np.testing.assert_allclose(marks.weights.sum(1), 1, atol=1e-4)
    face = body.landmark_points("mediapipe_face", body.v_template[None])[0].numpy()
    mirror = np.linalg.norm(face[33] * [-1, 1, 1] - face[263])
    assert mirror < 1e-3 and face[1, 2] > face[234, 2] and face[10, 1] > face[152, 1]
    coco = body.landmark_points("coco_wholebody", body.v_template[None])[0].numpy()
    assert coco[5, 0] > 0 > coco[6, 0] and coco[91, 0] > 0.5 and coco[112, 0] < -0.5
    assert coco[17:23, 1].max() < -1.0
    np.testing.assert_allclose(coco[0], face[1], atol=1e-6)


def test_landmark_subset(body):
    ids, local = body.subset("coco_wholebody", "mediapipe_face")
    p = params(body, seed=4)
    part, full = body(**p, vertex_ids=ids).vertices, body(**p).vertices
    for name, marks in local.items():
        torch.testing.assert_close(marks.points(part), body.landmark_points(name, full), atol=1e-5, rtol=0)


def test_regions(body):
    r = {name: mask.numpy() for name, mask in body.regions.items()}
    for name in (
        "head",
        "face",
        "scalp",
        "neck",
        "torso",
        "left_arm",
        "right_arm",
        "legs",
        "feet",
        "eyeballs",
        "teeth",
    ):
        assert r[name].any(), name
    for name in ("upper_teeth", "lower_teeth", "tongue", "mouth_cavity", "lips", "eyelids", "ears", "nose"):
        assert r[name].any() and not (r[name] & ~r["head"]).any(), name
    v = body.v_template.numpy()
    assert v[r["left_hand"], 0].min() > 0.5 and v[r["right_hand"], 0].max() < -0.5
    assert v[r["left_eyeball"], 0].min() > 0 and not (r["face"] & r["scalp"]).any()
    assert v[r["face"], 2].mean() > v[r["scalp"], 2].mean()


def test_joint_limits_hold_the_rest_pose():
    lower, upper = joint_limits()
    assert lower.shape == upper.shape == (55, 3) and (lower <= 0).all() and (upper >= 0).all()
    left, right = JOINT_INDEX["left_elbow"], JOINT_INDEX["right_elbow"]
    assert lower[left, 1] < -2 and upper[right, 1] > 2 and upper[left, 1] < 0.5


def test_build_is_deterministic_and_versioned(monkeypatch):
    from pipeline.body import build

    before = version_key()
    assert before in open_body_path().name
    monkeypatch.setattr(build, "BUILDER_VERSION", -1)
    assert version_key() != before


@pytest.mark.slow
def test_rebuild_is_the_same(body):
    from pipeline.body.build import build_open_body

    again = build_open_body()
    np.testing.assert_allclose(again["v_template"], body.v_template.numpy(), atol=1e-6)
    np.testing.assert_allclose(again["shapedirs"][..., :10], body.shapedirs[..., :10].numpy(), atol=1e-5)
    assert json.loads(str(again["meta"]))["people"] == body.meta["people"]


def test_damaged_cache_is_one_sentence(tmp_path):
    from pipeline.body.model import load_open_body

    broken = tmp_path / "open_body.npz"
    broken.write_bytes(b"not a zip")
    with pytest.raises(PipelineError, match="damaged"):
        load_open_body(broken)
