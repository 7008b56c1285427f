"""Video tracking: reference frame, chunks, dense alignment, depth order; and the fit report's verdicts."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pipeline.body import load_body
from pipeline.perceive import targets as T
from pipeline.perceive.eyes import BLINK, read_eyes, with_blinks
from pipeline.perceive.flow import FlowAligner, cut_out
from pipeline.perceive.lips import widest_jaw
from pipeline.perceive.order import FAR, armless_faces, front_depth, sunken
from pipeline.perceive.photo import FACE_HEIGHT, photo_camera, posed_vertices
from pipeline.perceive.register import RegisterConfig, Registration
from pipeline.perceive.report import check_detections, crouches, make_report, part_errors
from pipeline.perceive.targets import build_targets
from pipeline.perceive.track import CHUNK, OVERLAP, VideoDetections, _crossfade, choose_reference, chunks_of
from pipeline.render import interpolate, rasterize_mesh
from pipeline.types import BodyParams, Detections, PipelineError

SIZE = (576, 1024)


@pytest.fixture(scope="module")
def body():
    return load_body()


def standing(body, x: float = 0.0) -> BodyParams:
    """Arms hanging, two metres away."""
    params = BodyParams.zeros(body.n_betas, body.n_expression)
    pose = params.body_pose.copy()
    pose[15, 2], pose[16, 2] = -1.1, 1.1
    return params.replace(body_pose=pose, transl=np.float32([x, -0.2, -2.0]))


def face_points(turn: float) -> np.ndarray:
    """A face mesh 100 pixels wide whose nose is off the middle by ``turn`` (-1..1)."""
    face = np.zeros((478, 3), np.float32)
    face[234, :2], face[454, :2], face[1, :2] = (250, 200), (350, 200), (300 + 50 * turn, 210)
    face[152, :2] = (300, 290)
    return face


def frame(turn: float | None) -> Detections:
    pose = np.zeros((33, 3), np.float32)
    pose[:, :2], pose[:, 2] = (300, 400), 1.0
    pose[28, 1], pose[27, 1] = 900, 900
    face = None if turn is None else face_points(turn)
    return Detections(np.zeros((133, 3), np.float32), pose, np.zeros((33, 3), np.float32), face, None, None)


def video(*turns: float | None) -> VideoDetections:
    return VideoDetections(Path("none.mp4"), tuple(frame(t) for t in turns), 25.0, 600, 1000)


def test_reference_is_the_first_frontal_frame():
    assert choose_reference(video(None, 0.9, 0.5, 0.03, 0.0, 0.4)) == 3


def test_reference_shows_the_chest():
    """A hand before the chest hides what an avatar would have to guess."""
    covered, free = frame(0.0), frame(0.1)
    for found in (covered, free):
        found.pose[[11, 12], :2], found.pose[[23, 24], :2] = [(380, 350), (220, 350)], [(350, 600), (250, 600)]
        found.pose[[15, 16], :2] = [(420, 650), (180, 650)]
    covered.pose[15, :2] = 300, 450
    assert choose_reference(VideoDetections(Path("none.mp4"), (covered, free), 25.0, 600, 1000)) == 1
    assert choose_reference(VideoDetections(Path("none.mp4"), (covered, covered), 25.0, 600, 1000)) == 0


def test_reference_is_at_rest():
    """A moving hand is blurred, and so would be the avatar's."""
    frames = [frame(0.0) for _ in range(6)]
    for k, found in enumerate(frames):
        found.pose[[11, 12], :2] = (380, 350), (220, 350)
        found.pose[[15, 16], :2] = (420 + max(0, 3 - k) * 40, 650), (180, 650)
    assert choose_reference(VideoDetections(Path("none.mp4"), tuple(frames), 25.0, 600, 1000)) == 4


def test_reference_may_have_hands_that_are_not_found():
    """Wrists at the picture's lower edge are guesses that jump about: better than hands before the face."""
    import dataclasses

    rng, frames = np.random.default_rng(0), []
    for k in range(8):
        found = frame(0.0)
        found.pose[[11, 12], :2], found.pose[[23, 24], :2] = [(380, 350), (220, 350)], [(350, 700), (250, 700)]
        found.pose[[15, 16], :2] = [(420, 960), (180, 960)] + rng.uniform(-6, 6, (2, 2)) * (k < 4)
        if k >= 4:
            found.pose[[15, 16], :2] = (310, 330), (290, 330)
            hand = np.tile(np.float32([300, 320, 0]), (21, 1))
            found = dataclasses.replace(found, left_hand=hand, right_hand=hand)
        frames.append(found)
    assert choose_reference(VideoDetections(Path("none.mp4"), tuple(frames), 25.0, 600, 1000)) < 4


def test_video_without_a_face_is_refused():
    with pytest.raises(PipelineError, match="face"):
        choose_reference(video(None, None))


def test_chunks_that_agree_are_joined_without_a_trace():
    frames = 2 * CHUNK - OVERLAP
    whole = np.cumsum(np.random.default_rng(0).normal(size=(frames, 3)), 0).astype(np.float32)
    chunks = chunks_of((), frames)
    assert chunks == [(0, CHUNK), (CHUNK - OVERLAP, frames)]

    def piece(start: int, end: int) -> Registration:
        part = whole[start:end]
        return Registration(
            {"transl": part}, np.zeros(2, np.float32), {"jaw_pose": part}, np.repeat(part[:, None], 2, 1)
        )

    joined = _crossfade([piece(*chunk) for chunk in chunks], chunks)
    assert np.allclose(joined.state["transl"], whole, atol=1e-4)
    assert joined.points.shape == (frames, 2, 3)


def textured(body, params: BodyParams, camera) -> np.ndarray:
    """A small grey cut-out of the body with a texture that sticks to it, (512, 288) uint8."""
    small = camera.resized(288, 512)
    vertices = torch.as_tensor(posed_vertices(body, params))
    fragments = rasterize_mesh(vertices, body.faces, small)
    rest = body.v_template
    value = 0.5 + 0.25 * (torch.sin(rest[:, :1] * 90) + torch.sin(rest[:, 1:2] * 110 + 1))
    grey = np.asarray(interpolate(fragments, body.faces, value))[..., 0]
    alpha = (np.asarray(fragments.face) >= 0).astype(np.float32)
    return cut_out((grey * 200).astype(np.uint8), alpha)


def test_optical_flow_finds_where_the_body_went(body):
    camera = photo_camera(SIZE, RegisterConfig())
    here, there = standing(body), standing(body, x=0.012)
    aligner = FlowAligner(body, textured(body, here, camera), here, camera)
    points, weights = aligner.align(textured(body, there, camera), here)
    truth, _ = camera.project(posed_vertices(body, there)[aligner.anchors])
    before, _ = camera.project(posed_vertices(body, here)[aligner.anchors])
    sure = weights > 0.5
    assert sure.sum() > 100
    moved = np.linalg.norm(truth - before, axis=1)[sure].mean()
    left = np.median(np.linalg.norm(points - truth, axis=1)[sure])
    assert moved > 7 and left < 1.5


def test_hand_in_the_belly_costs_and_hand_before_it_does_not(body):
    camera = photo_camera(SIZE, RegisterConfig())
    vertices = posed_vertices(body, standing(body))
    fronts = front_depth(vertices[None], armless_faces(body), camera)
    assert fronts.shape == (1, 128, 72) and float(fronts.max()) == FAR and 1.5 < float(fronts.min()) < 2.0
    targets = dataclasses.replace(build_targets([None], *SIZE), has_left_hand=torch.tensor([True]))
    row, column = np.unravel_index(int(fronts[0].argmin()), fronts.shape[1:])
    pixels = torch.tensor([(column + 0.5) * 8.0, (row + 0.5) * 8.0], dtype=torch.float32).expand(1, T.N_POINTS, 2)
    points = torch.zeros(1, T.N_POINTS, 3)
    inside, before = (
        float(sunken(points, pixels, torch.full((1, T.N_POINTS), float(fronts.min()) + z), fronts, targets))
        for z in (0.05, -0.15)
    )
    assert inside > 1.0 and before == 0.0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"none": True}, "No person"),
        ({"people": 2}, "2 people"),
        ({"turn": None}, "No face"),
        ({"people": 0}, "No face"),
        ({"shoulders": 0.0}, "Only a face"),
        ({"small": True}, "pixels tall"),
        ({"hand": True}, "hand covers"),
        ({"chin": True}, "hand is at the face"),
        ({"low": True}, "about 20 pixels high"),
        ({"knee": True}, "crouches"),
    ],
)
def test_useless_pictures_are_refused_in_one_sentence(change, words):
    found = frame(change.get("turn", 0.0))
    if "shoulders" in change:
        found.pose[11:, 2] = 0
    if change.get("hand"):
        found = dataclasses.replace(found, left_hand=found.face[np.linspace(0, 477, 21).astype(int)])
    if change.get("chin"):
        below = np.c_[np.linspace(280, 320, 21), np.linspace(262, 400, 21), np.zeros(21)].astype(np.float32)
        face = np.tile(np.float32([300, 220, 0]), (478, 1))
        face[:2, 1] = 180, 280
        found = dataclasses.replace(found, face=face, right_hand=below)
    if change.get("low"):
        found = dataclasses.replace(found, face=(found.face - found.face[1]) * 0.2 / 0.9 * 0.31 + found.face[1])
    if change.get("knee"):
        found.pose[23:27, 2], found.pose[23:25, 1], found.pose[25:27, 1] = 1, 700, 650
    if change.get("small"):
        found = dataclasses.replace(found, pose=found.pose * (0.2, 0.2, 1), face=found.face * (0.2, 0.2, 1))
    with pytest.raises(PipelineError, match=words) as caught:
        check_detections(
            None if change.get("none") else found, 600, 200 if change.get("small") else 1000, change.get("people", 1)
        )
    assert str(caught.value).count(". ") == 0 and str(caught.value).endswith(".")


def test_close_portraits_are_taken_from_some_way_off():
    """A face that fills the crop is filmed with a longer lens; a smaller one with the usual lens."""
    config = RegisterConfig()
    usual = photo_camera(SIZE, config).K[0, 0]
    face = frame(0.0)
    small = dataclasses.replace(face, face=face.face * (1, 100 / np.ptp(face.face[:, 1]), 1))
    close = dataclasses.replace(face, face=face.face * (1, 320 / np.ptp(face.face[:, 1]), 1))
    assert photo_camera(SIZE, config, [None, small]).K[0, 0] == usual == config.focal_over_height * SIZE[1]
    focal = photo_camera(SIZE, config, [close, close, small]).K[0, 0]
    assert focal * FACE_HEIGHT / 320 == pytest.approx(config.nearest, rel=1e-4)


def test_report_says_what_to_do():
    errors = {
        "face": np.array([2.0]),
        "left_hand": np.array([np.nan]),
        "right_hand": np.array([0.2]),
        "body": np.array([1.0]),
    }
    bad = make_report(errors, 0.8, ("left hand",), 200.0)
    assert not bad.accepted and "face" in bad.summary and bad.hints
    assert "error_left_hand_percent" not in bad.metrics
    good = make_report({**errors, "face": np.array([0.2])}, 0.8, ("left hand",), 200.0)
    assert good.accepted and any("left hand" in hint for hint in good.hints)


def test_arms_before_the_chest_are_told():
    errors = {"face": np.array([0.2]), "body": np.array([1.0])}
    crossed = make_report(errors, 0.8, (), 200.0, torso_covered=0.3)
    assert crossed.accepted and "arms at the sides" in crossed.hints[0]
    assert make_report(errors, 0.8, (), 200.0, 0.1).hints == ()


def test_crouching_is_seen():
    pose = np.zeros((33, 3), np.float32)
    pose[[23, 24, 25, 26], 2], pose[23:25, 1], pose[25:27, 1] = 0.9, 500, 700
    assert not crouches(pose)
    pose[25, 1] = 480
    assert crouches(pose)
    pose[25, 2] = 0.3
    assert not crouches(pose)


def test_landmarks_behind_a_hand_count_little():
    square = np.array([[x, y, 0] for y in range(100, 125) for x in range(100, 120)], np.float32)[:478]
    hand = np.zeros((21, 3), np.float32)
    angle = np.linspace(0, 2 * np.pi, 21)
    hand[:, 0], hand[:, 1] = 104 + 4 * np.cos(angle), 105 + 5 * np.sin(angle)
    hidden = T.behind_hand(square, hand)
    gap = np.hypot((square[:, 0] - 104) / 4, (square[:, 1] - 105) / 5)
    assert hidden[gap < 1.1].all() and not hidden[gap > 1.6].any()
    assert not T.behind_hand(square, None).any()


def test_part_errors_are_percent_of_height_and_nan_where_unseen():
    targets = build_targets([frame(0.0)], *SIZE)
    points = targets.points.numpy().copy()
    points[:, T.FACE] += (3, 4)
    registration = Registration({"transl": np.zeros((1, 3))}, np.zeros(1), {}, points)
    errors = part_errors(registration, targets, np.array([1000.0]))
    assert errors["face"][0] == pytest.approx(0.5)
    assert errors["body"][0] == pytest.approx(0.0)
    assert np.isnan(errors["left_hand"][0])


def test_landmarks_of_a_fixed_shape_are_those_of_a_free_one(body):
    """The fast way (one matrix product) and the way that has gradients for the shape agree, gradients included."""
    from pipeline.perceive.dense import Anchors
    from pipeline.perceive.register import LandmarkModel

    points = LandmarkModel(body, Anchors.of_vertices(np.arange(0, 200, 50))).points
    torch.manual_seed(0)
    betas, pose = 0.5 * torch.randn(body.n_betas), 0.2 * torch.randn(2, 55, 3)
    face, transl = 0.3 * torch.rand(2, body.n_expression), torch.randn(2, 3)
    results = []
    for free in (True, False):
        unknowns = [x.clone().requires_grad_() for x in (face, pose, transl)]
        placed = points(betas.clone().requires_grad_(free), *unknowns)
        results.append([placed, *torch.autograd.grad((placed**2).sum(), unknowns)])
    for slow, fast in zip(*results, strict=True):
        assert torch.allclose(slow, fast, atol=1e-4, rtol=1e-4)


def test_lips_that_touch_shut_the_jaw():
    faces = np.zeros((4, 478, 2), np.float32)
    faces[:, 10], faces[:, 152], faces[:, 13], faces[:, 14] = (300, 100), (300, 300), (300, 240), (300, 240)
    faces[1, 14, 1], faces[2, 14, 1] = 260, 320
    jaw = widest_jaw(faces, np.array([True, True, True, False]))
    assert jaw[0] == 0 and 0.35 < jaw[1] < 0.5 and jaw[2] == jaw[3] == 1
    assert widest_jaw(0.1 * faces, np.ones(4, bool)).min() == 1, "too small to be read"


def open_eyes(frames: int) -> np.ndarray:
    """Face meshes whose eyes are 40 pixels wide and 12 high, irises in the middle."""
    faces = np.zeros((frames, 478, 2), np.float32)
    for right, left, upper, lower, iris, x in ((362, 263, 386, 374, 473, 360), (33, 133, 159, 145, 468, 260)):
        faces[:, right], faces[:, left], faces[:, iris] = (x - 20, 200), (x + 20, 200), (x, 200)
        faces[:, upper], faces[:, lower] = (x, 194), (x, 206)
    return faces


def test_lids_shut_as_measured_and_open_as_in_the_photo(body):
    mesh = open_eyes(12)
    mesh[5:7, [386, 374, 159, 145], 1] = 200
    found = [
        dataclasses.replace(frame(0.0), face=np.concatenate([m, np.zeros((478, 1), np.float32)], axis=1)) for m in mesh
    ]
    targets = build_targets(found, *SIZE)
    lids = np.isin(np.arange(52), BLINK)
    arkit = np.tile(0.4 * lids.astype(np.float32), (12, 1))  # as a smooth registration has it
    face = body.arkit_to_params(arkit)
    registration = Registration({"arkit": arkit}, np.zeros(body.n_betas), face, np.zeros((12, T.N_POINTS, 2)))
    out = with_blinks(registration, targets, body, SimpleNamespace(arkit=0.1 * lids))
    shut = out.state["arkit"][:, BLINK]
    np.testing.assert_allclose(np.delete(shut, [5, 6], axis=0), 0.1, atol=1e-6)
    assert shut[5:7].min() > 0.95 and not out.state["arkit"][:, ~lids].any()
    open_, closed = (np.abs(out.face["expression"][i]).max() for i in (0, 5))
    assert closed > 5 * open_


def test_blinks_and_gaze_are_read_from_lids_and_irises():
    faces = open_eyes(60)
    faces[10:13, [386, 374, 159, 145], 1] = 200  # lids meet
    faces[10:13, [473, 468], 0] += 15  # and the iris is lost meanwhile
    faces[30:40, [473, 468], 0] += 5  # to the picture's right: to the person's left
    faces[45:50, [473, 468], 1] += 3
    tilt = np.radians(20)
    faces = (faces - 300) @ np.array([[np.cos(tilt), np.sin(tilt)], [-np.sin(tilt), np.cos(tilt)]], np.float32) + 300
    eyes = read_eyes(faces, np.ones(60, bool))
    assert eyes.blink[11].min() > 0.95 and eyes.blink[[5, 20, 50]].max() == 0 and eyes.sure.all()
    left, down = np.degrees(eyes.gaze).T
    assert 12 < left[35] < 20 and abs(left[11]) < 1 and abs(down[35]) < 1 and 6 < down[47] < 12 and abs(left[47]) < 1
    hidden = read_eyes(faces, np.arange(60) < 30)
    assert np.abs(hidden.gaze[30:]).max() < 0.02 and not hidden.sure[40]
    assert (
        not read_eyes(0.1 * faces, np.ones(60, bool)).sure.any() and not read_eyes(faces, np.zeros(60, bool)).sure.any()
    )
