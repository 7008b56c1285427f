"""From faces to head labels: the parts that need no weights, and the stage with a stand-in for the generator."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.labels.fusion import BODY_FACE_WEIGHT, body_label_weight, match_colours, seam_mask
from pipeline.labels.portrait4d import stage
from pipeline.labels.portrait4d.align import MEDIAPIPE_FIVE
from pipeline.labels.portrait4d.driving import AlignedFace, align_face, driving_faces, usable, varied
from pipeline.labels.portrait4d.faces import FaceFinder, check_source, pupil_distance, rough_yaw, wears_sunglasses
from pipeline.labels.portrait4d.head_camera import (
    HEAD_JOINT,
    head_in_camera,
    head_rotation,
    in_avatar_coordinates,
    label_camera,
    limited,
    place_head,
    posed,
    turned_by,
)
from pipeline.labels.portrait4d.quality import QualityLimits, colour_drift, expression_gap, judge, skin_colours
from pipeline.labels.portrait4d.retrack import Retracked, retrack
from pipeline.labels.portrait4d.stage import HeadLabelConfig, make_head_labels, sample_rotations
from pipeline.types import BodyParams, Camera, Detections, FitReport, Observation, PipelineError


@pytest.fixture(scope="module")
def body():
    from pipeline.body import load_body

    return load_body()


@pytest.fixture(scope="module")
def finder():
    with FaceFinder() as made:
        yield made


@pytest.fixture(scope="module")
def portrait(astronaut) -> np.ndarray:
    return np.rint(astronaut * 255).astype(np.uint8)


@pytest.fixture(scope="module")
def face(finder, portrait) -> np.ndarray:
    found = finder.find(portrait)
    assert len(found) == 1
    return found[0]


def home_pose(body) -> BodyParams:
    rest = BodyParams.zeros(body.n_betas, body.n_expression)
    pose = rest.body_pose.copy()
    pose[15, 2], pose[16, 2], pose[11] = -1.2, 1.2, (0.1, 0.2, 0.0)
    return rest.replace(
        body_pose=pose, global_orient=np.array([0.0, 0.1, 0.0], np.float32), transl=np.array([0, 0, -2.5], np.float32)
    )


# ------------------------------------------------------------------------------------------------------- faces


def test_aligned_portrait_has_the_framing_of_the_shipped_examples(portrait, face):
    aligned = align_face(portrait, face, "photo")
    assert aligned.image.shape == (512, 512, 3)
    expected = np.array([[193.8, 237.4], [302.1, 235.5], [243.5, 300.5], [197.6, 348.4], [298.3, 347.7]])
    assert np.abs(aligned.face[list(MEDIAPIPE_FIVE), :2] - expected).max() < 30
    assert 80 < pupil_distance(aligned.face) < 140
    assert aligned.landmarks68.shape == (68, 2)


def test_source_check_accepts_a_portrait(portrait, face):
    assert check_source(portrait, [face]) is face
    assert abs(rough_yaw(face)) < 15


def test_source_check_names_the_problem(portrait, face):
    with pytest.raises(PipelineError, match="No face"):
        check_source(portrait, [])
    with pytest.raises(PipelineError, match="more than one"):
        check_source(portrait, [face, face * 0.9])
    with pytest.raises(PipelineError, match="too small"):
        check_source(portrait, [face * 0.2])
    turn = np.radians(60)
    turned = face.copy()
    turned[:, 0] = np.cos(turn) * face[:, 0] - np.sin(turn) * face[:, 2]
    turned[:, 2] = np.sin(turn) * face[:, 0] + np.cos(turn) * face[:, 2]
    with pytest.raises(PipelineError, match="turned too far"):
        check_source(portrait, [turned])
    hand = np.tile(face[13], (21, 1))
    with pytest.raises(PipelineError, match="covers the mouth"):
        check_source(portrait, [face], [hand])
    assert check_source(portrait, [face], [hand + 200]) is face


def test_dark_glasses_are_seen(portrait, face):
    import cv2

    painted = portrait.copy()
    for iris in (468, 473):
        x, y = np.rint(face[iris, :2]).astype(int)
        cv2.circle(painted, (int(x), int(y)), round(0.42 * pupil_distance(face)), (25, 20, 20), -1)
    assert wears_sunglasses(painted, face)
    assert not wears_sunglasses(portrait, face)


def test_photos_with_and_without_dark_glasses(shared, finder):
    from PIL import Image

    for name, hidden in (("man_sunglasses_shirt.jpg", True), ("man_beard_grey_blazer.jpg", False)):
        picture = Image.open(shared / "media" / "photos" / name).convert("RGB")
        picture.thumbnail((1400, 1400))
        found = finder.find(np.asarray(picture))
        assert wears_sunglasses(np.asarray(picture), found[0]) is hidden
    glasses = np.asarray(Image.open(shared / "media" / "photos" / "pixabay_doctor.jpg").convert("RGB"))
    found = finder.find(glasses)
    assert check_source(glasses, found) is found[0], "clear glasses are no hindrance"


def test_finder_sees_two_faces_and_none(finder, portrait):
    assert finder.find(np.full((200, 300, 3), 90, np.uint8)) == []
    two = np.concatenate([portrait, portrait[:, ::-1]], 1)
    assert len(finder.find(two)) == 2
    assert finder.single(two) is None
    assert finder.single(portrait) is not None


# ------------------------------------------------------------------------------------------------------ driving


def open_mouth(face: np.ndarray, share: float) -> np.ndarray:
    moved = face.copy()
    moved[14, 1] += share * 0.6 * np.linalg.norm(face[168, :2] - face[2, :2])
    return moved


def test_varied_choice_starts_calm_and_takes_the_extremes(face):
    faces = [
        AlignedFace(np.zeros((1, 1, 3), np.uint8), open_mouth(face, s), str(s)) for s in (0.1, 0.0, 0.12, 1.0, 0.11)
    ]
    chosen = varied(faces, 3)
    assert len(set(chosen)) == 3 and chosen[1] == 3
    assert varied(faces, 99) != [] and sorted(varied(faces, 99)) == [0, 1, 2, 3, 4]
    assert varied([], 3) == []


def test_unusable_driving_faces(face):
    assert usable(face, 512, 512)
    assert not usable(face - face[:, :2].mean(0).tolist().__getitem__(0), 512, 512)
    assert not usable(face * 0.15, 512, 512)


def test_driving_video(shared, tmp_path):
    path = shared / "media" / "videos" / "C_head_lp_d0.mp4"
    found = driving_faces([path], fps=2, max_seconds=2)
    assert 2 <= len(found) <= 5
    assert all(f.image.shape == (512, 512, 3) and f.origin.startswith("C_head_lp_d0") for f in found)
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(path.read_bytes()[:2000])
    assert driving_faces([cut, path], fps=1, max_seconds=1)
    with pytest.raises(PipelineError):
        driving_faces([cut])


def test_driving_video_that_breaks_off_changes_or_shows_two(shared, portrait, tmp_path):
    """A cut in the middle, a transfer that ended early, a second person: what can be used is, the rest is skipped."""
    from pipeline.video import VideoWriter

    whole = (shared / "media" / "videos" / "A_asl_please.mkv").read_bytes()
    (tmp_path / "broken.mkv").write_bytes(whole[: len(whole) // 2])
    assert 1 <= len(driving_faces([tmp_path / "broken.mkv"], fps=3)) < 7
    one = portrait[:256, 100:356]
    pair = np.concatenate([one, one[:, ::-1]], 1)
    other = np.concatenate([one[:, ::-1], np.full_like(one, 90)], 1)
    with VideoWriter(tmp_path / "cut.mp4", 4, (512, 256)) as writer:
        for frame in [other] * 4 + [pair] * 4 + [np.full_like(pair, 60)] * 4:
            writer.write(frame)
    found = driving_faces([tmp_path / "cut.mp4"], fps=4)
    assert len(found) == 4 and {f.origin for f in found} == {f"cut.mp4:{k / 4:.2f}s" for k in range(4)}
    with VideoWriter(tmp_path / "pair.mp4", 4, (512, 256)) as writer:
        for _ in range(3):
            writer.write(pair)
    with pytest.raises(PipelineError, match="exactly one clear face"):
        driving_faces([tmp_path / "pair.mp4"])


def test_driving_video_without_a_face(tmp_path):
    from pipeline.video import VideoWriter

    with VideoWriter(tmp_path / "grey.mp4", 5, (64, 64)) as writer:
        for _ in range(3):
            writer.write(np.full((64, 64, 3), 90, np.uint8))
    with pytest.raises(PipelineError, match="exactly one clear face"):
        driving_faces([tmp_path / "grey.mp4"])


# ------------------------------------------------------------------------------------------------------ cameras


def test_placed_head_looks_and_stands_as_asked(body):
    rotation = turned_by(np.eye(3), 20.0, -8.0)
    placed = place_head(body, home_pose(body), rotation)
    assert np.allclose(head_rotation(body, placed, label_camera()), rotation, atol=1e-5)
    assert np.allclose(posed(body, placed).joints[0, HEAD_JOINT], head_in_camera(), atol=1e-5)


def test_moving_the_camera_equals_moving_the_body(body):
    import torch

    from pipeline.labels.portrait4d.head_camera import batch_of_one

    home = home_pose(body)
    placed = place_head(body, home, turned_by(np.eye(3), -15.0, 5.0))
    camera = in_avatar_coordinates(body, placed, home, label_camera())
    some = torch.arange(0, len(body.v_template), 997)
    seen = [
        cam.project(body(**batch_of_one(p), vertex_ids=some).vertices[0].numpy())[0]
        for cam, p in ((label_camera(), placed), (camera, home))
    ]
    assert np.abs(seen[0] - seen[1]).max() < 0.2
    assert np.allclose(camera.viewmat[:3, :3] @ camera.viewmat[:3, :3].T, np.eye(3), atol=1e-5)


def test_turning_directions():
    """Positive yaw turns the face to the picture's right, positive pitch downwards."""
    looking = turned_by(np.eye(3), 20.0, 0.0) @ [0, 0, 1]
    assert looking[0] > 0.3
    assert (turned_by(np.eye(3), 0.0, 20.0) @ [0, 0, 1])[1] < -0.3


def test_rotations_stay_in_the_good_range():
    from scipy.spatial.transform import Rotation

    config = HeadLabelConfig(count=20)
    own = turned_by(np.eye(3), 70.0, 0.0)
    rotations = sample_rotations(own, 20, config)
    yaws, pitches, _ = np.array([Rotation.from_matrix(r).as_euler("YXZ", degrees=True) for r in rotations]).T
    own_yaw = np.abs(yaws - config.max_yaw) < 1e-6
    assert own_yaw.sum() == 10, "half of them keep the photo's pose, brought into the range"
    assert np.abs(yaws[~own_yaw]).max() <= config.yaw < config.max_yaw and np.ptp(yaws[~own_yaw]) > config.yaw
    assert np.abs(pitches).max() <= config.pitch < config.max_pitch and np.ptp(pitches) > config.pitch
    bowed = sample_rotations(turned_by(np.eye(3), 0.0, 60.0), 2, config)
    looks = [np.degrees(np.arcsin(-(r @ [0, 0, 1])[1])) for r in bowed]
    assert max(looks) == pytest.approx(config.max_pitch)
    again = sample_rotations(own, 20, config)
    assert all(np.array_equal(a, b) for a, b in zip(rotations, again, strict=True))
    assert np.allclose(limited(np.eye(3), 10, 10), np.eye(3))


@pytest.mark.slow
def test_retracking_recovers_expression_and_camera(body):
    from pipeline.body import ARKIT_NAMES
    from pipeline.labels.portrait4d.head_camera import batch_of_one

    home = home_pose(body)
    arkit = np.zeros(52, np.float32)
    arkit[ARKIT_NAMES.index("jawOpen")] = 0.6
    native = {k: v[0] for k, v in body.arkit_to_params(arkit[None]).items()}
    rotation = turned_by(np.eye(3), 12.0, 4.0)
    truth = place_head(body, home.replace(**native), rotation)
    points = body.landmark_points("mediapipe_face", body(**batch_of_one(truth)).vertices)[0].numpy()
    pixels, depth = label_camera().project(points)
    seen = np.concatenate([pixels, depth[:, None]], 1).astype(np.float32)
    (found,) = retrack([seen], [turned_by(np.eye(3), 5.0, 0.0)], home, body)
    assert found.error < 0.03
    assert abs(found.arkit[ARKIT_NAMES.index("jawOpen")] - 0.6) < 0.2
    assert np.array_equal(found.params.body_pose, home.body_pose) and np.array_equal(found.params.transl, home.transl)
    again = body.landmark_points("mediapipe_face", body(**batch_of_one(found.params)).vertices)[0].numpy()
    assert np.abs(found.camera.project(again)[0] - found.points).max() < 1.0
    assert np.linalg.norm(found.camera.project(again)[0] - pixels, axis=1).mean() < 4.0


# ------------------------------------------------------------------------------------------------------ quality


def test_judgement(portrait, face):
    aligned = align_face(portrait, face, "photo")
    image = aligned.image / np.float32(255)
    colours = skin_colours(image, aligned.face)
    good = judge(aligned.face, aligned.face, colours, colours, 0.02)
    assert good.accepted and good.confidence > 0.9
    shouting = open_mouth(aligned.face, 1.2)
    assert judge(aligned.face, shouting, colours, colours, 0.02).reasons[0].startswith("the expression")
    assert (
        judge(aligned.face, aligned.face, colours[:, ::-1], colours, 0.02).reasons[0].startswith("the face no longer")
    )
    assert judge(aligned.face, aligned.face, colours, colours, 0.5).reasons[0].startswith("the body model")
    moved = aligned.face + np.array([200, 0, 0], np.float32)
    assert judge(moved, moved, colours, colours, 0.0).reasons[0] == "the head leaves the frame"
    tiny = (aligned.face - 256) * 0.4 + 256
    bad = judge(tiny, tiny, colours, colours, 0.0)
    assert "wrong size" in bad.reasons[0] and bad.confidence == 0


def test_expression_gap_ignores_size_and_roll(face):
    turn = np.array([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]])
    assert expression_gap(face[:, :2] @ turn.T * 2.5, face) < 1e-4
    assert expression_gap(open_mouth(face, 0.6), face) > 0.5


def test_colour_drift_forgives_exposure_only():
    rng = np.random.default_rng(0)
    colours = rng.uniform(0.3, 0.7, (40, 3))
    assert colour_drift(colours * 0.8, colours) < 1e-6
    assert colour_drift(colours * [1.2, 1.0, 0.6], colours) > 0.1


# ------------------------------------------------------------------------------------------------------- fusion


def test_seam_is_soft_and_at_the_neck(body):
    home = home_pose(body)
    placed = place_head(body, home, np.eye(3))
    mask = seam_mask(body, placed, label_camera())
    joints = posed(body, placed).joints[0].numpy()
    (neck, head), _ = label_camera().project(joints[[12, HEAD_JOINT]])
    column = mask[:, round(float(neck[0]))]
    assert mask.shape == (512, 512) and mask.dtype == np.float32
    assert column[: round(float(head[1])) - 2].min() == 1.0
    assert column[min(round(float(neck[1])) + 1, 511) :].max() < 0.2
    assert np.all(np.diff(column) <= 1e-6) and ((column > 0.1) & (column < 0.9)).sum() > 5
    weight = body_label_weight(body, placed, label_camera())
    assert weight.min() == pytest.approx(BODY_FACE_WEIGHT) and weight.max() > 0.9


def test_colours_are_matched_by_bounded_gains():
    rng = np.random.default_rng(0)
    photo = rng.uniform(0.3, 0.6, (50, 3))
    tinted = photo * [0.9, 1.0, 1.1]
    assert np.allclose(match_colours(tinted[None], tinted, photo)[0], photo, atol=1e-5)
    extreme = match_colours(np.full((1, 1, 3), 0.4), photo * 0.2, photo)
    assert np.allclose(extreme, 0.5)


# ---------------------------------------------------------------------------------------------------- synthesis


def test_synthesis_wiring(portrait, face):
    """What goes where, with an empty generator: source motion, driving motion, camera, matte."""
    import torch

    from pipeline.labels.portrait4d.rays import camera_vector
    from pipeline.labels.portrait4d.synthesis import Portrait4DModel

    calls = []

    class Empty(torch.nn.Module):
        def encode_source(self, image, motion):
            calls.append((image, motion))
            return "features"

        def forward(self, source, motion, camera):
            calls.append((source, motion, camera))
            head = type("Head", (), {})()
            head.image, head.transmittance = torch.full((3, 512, 512), 2.0), torch.zeros(128, 128)
            head.transmittance[:64] = 1.0
            return head

    class Crop(torch.nn.Module):
        def forward(self, crop):
            assert crop.shape == (1, 3, 224, 224) and float(crop.abs().max()) <= 1
            return crop.mean().expand(1, 548)

    model = Portrait4DModel(Empty(), Crop(), "empty")
    photo, driving = align_face(portrait, face, "p"), align_face(portrait[:, ::-1] // 2, face, "d")
    rotation = turned_by(np.eye(3), 10.0, 0.0)
    image, matte = model.draw(model.encode(photo), driving, rotation)
    assert image.dtype == np.uint8 and image.min() == 255
    assert matte.shape == (512, 512) and matte[:240].max() == 0 and matte[-200:].min() == 1
    (source, source_motion), (features, driving_motion, camera) = calls
    assert features == "features" and source.shape == (1, 3, 512, 512)
    assert torch.equal(source_motion, model.motion(photo)) and torch.equal(driving_motion, model.motion(driving))
    assert not torch.equal(source_motion, driving_motion)
    assert torch.equal(camera, camera_vector(torch.from_numpy(rotation)))


def test_a_full_card_is_said(portrait, face, monkeypatch):
    import torch

    from pipeline.labels.portrait4d.synthesis import Portrait4DModel

    def full(*args):
        raise torch.OutOfMemoryError("CUDA out of memory")

    empty = torch.nn.Identity()
    empty.encode_source = lambda *args: None
    model = Portrait4DModel(empty, torch.nn.Identity(), "empty")
    monkeypatch.setattr(model, "motion", full)
    aligned = align_face(portrait, face, "p")
    for work in (lambda: model.draw(None, aligned, np.eye(3)), lambda: model.encode(aligned)):
        with pytest.raises(PipelineError, match="card ran out of memory"):
            work()


def test_missing_weights_are_named(tmp_path, monkeypatch):
    from pipeline.labels.portrait4d.synthesis import Portrait4DModel

    monkeypatch.setenv("ONESHOT_CACHE", str(tmp_path))
    monkeypatch.delenv("ONESHOT_PORTRAIT4D", raising=False)
    with pytest.raises(PipelineError, match="portrait4d"):
        Portrait4DModel.from_weights()


# -------------------------------------------------------------------------------------------------------- stage


class Mirror:
    """A stand-in for the generator that shows the driving face itself."""

    def __init__(self, fail_at: int | None = None) -> None:
        self.name, self.encoded, self.drawn, self.fail_at = "mirror", 0, 0, fail_at

    def encode(self, photo: AlignedFace) -> AlignedFace:
        self.encoded += 1
        return photo

    def draw(self, source, driving, rotation):
        if self.drawn == self.fail_at:
            raise RuntimeError("power cut")
        self.drawn += 1
        return driving.image, np.ones((512, 512), np.float32)


@pytest.fixture
def scene(body, portrait, face, monkeypatch):
    """An observation of the portrait, three driving faces (one of them blank), and instant re-tracking."""
    blank = np.zeros((33, 3), np.float32)
    found = Detections(np.zeros((133, 3), np.float32), blank, blank, face, None, None)
    report = FitReport(True, "", (), {}, ())
    observation = Observation(
        portrait / np.float32(255), np.ones((512, 512), np.float32), Camera.frontal(512, 512, 800.0), home_pose(body),
        np.zeros(52, np.float32), found, report, "hash",
    )  # fmt: skip
    same = align_face(portrait, face, "a")
    mirrored = AlignedFace(same.image, open_mouth(same.face, 0.05), "b")
    driving = [same, mirrored, AlignedFace(np.zeros_like(same.image), same.face, "blank")]

    def instant(faces, rotations, home, body, progress=None):
        camera = in_avatar_coordinates(body, place_head(body, home, rotations[0]), home, label_camera())
        return [Retracked(home, camera, np.zeros(52, np.float32), f[:, :2], 0.03) for f in faces]

    monkeypatch.setattr(stage, "retrack", instant)
    return observation, driving


def test_stage(scene, body, portrait, tmp_path):
    observation, driving = scene
    model, told = Mirror(), []
    config = HeadLabelConfig(count=3)
    tell = lambda name, share: told.append(name)  # noqa: E731
    made = make_head_labels(portrait, observation, body, driving, model, config=config, root=tmp_path, progress=tell)
    assert len(made.labels) == 2 and model.encoded == 1 and model.drawn == 3
    assert made.dropped == {"no single face was found": 1}
    label = made.labels[0]
    assert label.region == "head" and label.image.shape == (512, 512, 3) and 0 < label.confidence <= 1
    assert label.alpha.min() > 0.99, "the matte is whole"
    assert label.weight[:200].min() > 0.99 and label.weight[-1].max() < 0.5, "the seam is apart from it"
    assert "heads" in told
    rows = json.loads((made.folder / "labels.json").read_text())["frames"]
    assert {r["driving"] for r in rows} == {"a", "b"}
    again = make_head_labels(portrait, observation, body, driving, model, config=config, root=tmp_path)
    assert model.drawn == 3 and len(again.labels) == 2 and again.folder == made.folder
    other = make_head_labels(
        portrait, observation, body, driving, model, config=HeadLabelConfig(count=1), root=tmp_path
    )
    assert other.folder != made.folder


def test_stage_goes_on_after_an_interruption(scene, body, portrait, tmp_path):
    observation, driving = scene
    config = HeadLabelConfig(count=3)
    with pytest.raises(RuntimeError):
        make_head_labels(portrait, observation, body, driving, Mirror(fail_at=2), config=config, root=tmp_path)
    assert not list(Path(tmp_path).rglob("*.npz"))
    model = Mirror()
    made = make_head_labels(portrait, observation, body, driving, model, config=config, root=tmp_path)
    assert model.drawn == 1 and len(made.labels) == 2


def test_stage_refuses(scene, body, portrait, tmp_path):
    observation, driving = scene
    with pytest.raises(PipelineError, match="driving faces"):
        make_head_labels(portrait, observation, body, [], Mirror(), root=tmp_path)
    with pytest.raises(PipelineError, match="No face"):
        make_head_labels(np.zeros((64, 64, 3), np.uint8), observation, body, driving, Mirror(), root=tmp_path)
    strict = HeadLabelConfig(count=2, limits=QualityLimits(pupils=(1.0, 2.0)))
    with pytest.raises(PipelineError, match="wrong size"):
        make_head_labels(portrait, observation, body, driving, Mirror(), config=strict, root=tmp_path)
