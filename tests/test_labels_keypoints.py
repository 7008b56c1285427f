"""Driving by 2D keypoints, and the command line of labels."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from mimicmotion_toys import mesh_observation

from pipeline.labels.mimicmotion.driving import keypoints
from pipeline.labels.mimicmotion.keypoint_clip import drive_keypoints, is_keypoint_file, read_keypoints
from pipeline.labels.mimicmotion.keypoints import People, to_pose
from pipeline.types import PipelineError


@pytest.fixture(scope="module")
def body():
    from pipeline.body import load_body

    return load_body()


@pytest.fixture(scope="module")
def photo(body):
    return mesh_observation(body)


@pytest.fixture(scope="module")
def own(body, photo):
    """The photo's keypoints, as its body has them."""
    return keypoints([photo.params], body, photo.camera)


def write(path, people, width, height, **changes):
    """A file of 2D keypoints with the poses of P people as its frames."""
    pose = to_pose(people, width, height)
    frames = len(pose)
    data = {
        "body": pose.body, "body_score": pose.body_score, "face68": pose.faces, "face_score": pose.faces_score,
        "hands": np.stack([pose.hands[:frames], pose.hands[frames:]], 1),
        "hands_score": np.stack([pose.hands_score[:frames], pose.hands_score[frames:]], 1),
        "fps": np.int64(24), "canvas": np.array([width, height]),
    } | changes  # fmt: skip
    np.savez(path, **data)
    return path


def moving(own, frames=12):
    """The photo's person, smaller and elsewhere on the canvas, one wrist moving: (F, 133, 2)."""
    points = np.repeat(own.points, frames, 0) * 0.5 + (20.0, 10.0)
    points[:, 9, 1] -= np.linspace(0, 8, frames)
    return People(points, np.repeat(np.maximum(own.scores, 0.5), frames, 0))


def test_keypoints_survive_the_file_and_land_on_the_person(own, photo, tmp_path):
    people = moving(own)
    path = write(tmp_path / "wave.npz", people, 96, 96)
    assert is_keypoint_file(path)
    clip = read_keypoints(path)
    assert len(clip) == 12 and clip.fps == 24 and (clip.width, clip.height) == (96, 96)
    known = [i for i in range(133) if not 17 <= i < 23]
    np.testing.assert_allclose(clip.points[:, known], people.points[:, known], atol=1e-4)
    sure = People(own.points, np.ones_like(own.scores))
    driving = drive_keypoints(clip, photo, sure, fps=12, frames=5)
    assert len(driving) == 5 and not driving.posed and driving.pictures().shape == (5, *photo.image.shape)
    still = [5, 6, 0, 1, 2, 11, 12]
    np.testing.assert_allclose(driving.people.points[0, still], own.points[0, still], atol=0.5)
    climb = driving.people.points[0, 9, 1] - driving.people.points[-1, 9, 1]
    assert climb == pytest.approx(2 * 8 * 8 / 11, rel=0.1), "the wrist moves as far as on the canvas, scaled"
    again = drive_keypoints(clip, photo, sure, fps=24, frames=99)
    assert len(again) == 12
    with pytest.raises(PipelineError, match="wave is shorter than two frames"):
        drive_keypoints(clip, photo, sure, fps=1, frames=5)


def test_keypoint_files_that_will_not_do(own, tmp_path):
    people = moving(own)
    write(tmp_path / "shape.npz", people, 96, 96, hands=np.zeros((12, 21, 2)))
    with pytest.raises(PipelineError, match=r"shape.npz has arrays of unexpected shape \(hands\)"):
        read_keypoints(tmp_path / "shape.npz")
    write(tmp_path / "nan.npz", people, 96, 96, face68=np.full((12, 68, 2), np.nan))
    with pytest.raises(PipelineError, match="finite"):
        read_keypoints(tmp_path / "nan.npz")
    write(tmp_path / "fps.npz", people, 96, 96, fps=np.float64(0))
    with pytest.raises(PipelineError, match="impossible frame rate"):
        read_keypoints(tmp_path / "fps.npz")
    (tmp_path / "broken.npz").write_bytes(b"PK nothing")
    assert not is_keypoint_file(tmp_path / "broken.npz") and not is_keypoint_file(tmp_path / "none.npz")
    np.savez(tmp_path / "other.npz", fps=np.float64(30), body=np.zeros(3))
    assert not is_keypoint_file(tmp_path / "other.npz")


def test_a_clip_with_missing_points_is_drawn_without_them(own, photo, tmp_path):
    people = moving(own)
    hidden = people.scores.copy()
    hidden[4:8, [9, *range(91, 112)]] = 0.0  # the left wrist and hand, for some frames
    hidden[10] = 0.0  # a frame without anybody
    clip = read_keypoints(write(tmp_path / "holes.npz", People(people.points, hidden), 96, 96))
    sure = People(own.points, np.ones_like(own.scores))
    whole = read_keypoints(write(tmp_path / "whole.npz", people, 96, 96))
    holes, full = (drive_keypoints(c, photo, sure, fps=24, frames=12) for c in (clip, whole))
    np.testing.assert_allclose(holes.people.points[0], full.people.points[0], atol=0.5)
    pictures, complete = holes.pictures(), full.pictures()
    np.testing.assert_array_equal(pictures[0], complete[0])
    assert 0 < (pictures[5] > 0).sum() < (complete[5] > 0).sum() and pictures[10].max() == 0


def test_real_keypoint_files(shared, own, photo):
    sure = People(own.points, np.ones_like(own.scores))
    for path in sorted((shared / "media" / "motions").glob("dwpose2d_*.npz")):
        clip = read_keypoints(path)
        left, right = clip.points[:, 91], clip.points[:, 112]
        wrists = clip.points[:, 9], clip.points[:, 10]
        good = (clip.scores[:, 9:11] > 0.5).all(1)
        near = np.linalg.norm(left - wrists[0], axis=1) + np.linalg.norm(right - wrists[1], axis=1)
        far = np.linalg.norm(left - wrists[1], axis=1) + np.linalg.norm(right - wrists[0], axis=1)
        assert (near < far)[good].mean() > 0.9, "the first hand is the left one"
        driving = drive_keypoints(clip, photo, sure, fps=15, frames=8)
        gap = np.linalg.norm(driving.people.points[:, 5:7] - own.points[:, 5:7], axis=-1)
        assert gap.max() < 0.25 * photo.camera.height, "the shoulders lie on the person's"


def test_body_labels_from_keypoints(body, own, photo, tmp_path):
    from pipeline.labels.mimicmotion.quality import BodyQualityLimits
    from pipeline.labels.mimicmotion.retrack import Retracked
    from pipeline.labels.mimicmotion.stage import BodyLabelConfig, make_body_labels
    from pipeline.types import Detections

    clip = read_keypoints(write(tmp_path / "wave.npz", moving(own), 96, 96))
    seen = dataclasses.replace(photo.detections, keypoints=np.concatenate([own.points[0], own.scores[0][:, None]], 1))
    photo = dataclasses.replace(photo, detections=seen)
    asked = []

    class Copies:
        name = "copies"

        def frames(self, image, poses, config, seed, keep, tell):
            asked.append(poses)
            return np.repeat(np.rint(image * 255).astype(np.uint8)[None], len(poses) - 1, 0)

    def trusting(frames, driving, body, progress=None):
        out, blank, hand = [], np.zeros((33, 3), np.float32), np.zeros((21, 3), np.float32)
        for i, frame in enumerate(frames):
            points = np.concatenate([driving.people.points[i], driving.people.scores[i][:, None]], 1)
            found = Detections(points.astype(np.float32), blank, blank, None, hand, hand)
            errors = {"body": 1.0, "face": float("nan"), "left_hand": 0.5, "right_hand": 0.5}
            out.append(Retracked(driving.params[i], found, np.ones(frame.shape[:2], np.float32), errors, 100.0))
        return out

    config = BodyLabelConfig(frames=3, steps=1, limits=BodyQualityLimits(identity=9.0))
    made = make_body_labels(photo, [clip], body, Copies(), config=config, root=tmp_path / "out", tracker=trusting)
    assert len(made.labels) == 3 and made.labels[0].region == "body" and not made.labels[0].filmed
    assert asked[0].shape == (4, *photo.image.shape) and np.abs(np.diff(asked[0][1:].astype(int), axis=0)).max() > 50
    make_body_labels(photo, [clip], body, Copies(), config=config, root=tmp_path / "out", tracker=None)
    assert len(asked) == 1, "the second run costs nothing"


@pytest.mark.parametrize(
    "options, words",
    [
        (["photo.jpg", "--head"], "need --driving VIDEO"),
        (["photo.jpg", "--head", "--driving", "a.mp4", "--motion", "wave"], "--motion cannot be used for head labels"),
        (["photo.jpg", "--driving", "a.mp4"], "--driving cannot be used for body labels; leave it out, or add --head"),
        (["photo.jpg", "--head", "--driving", "a.mp4", "--count", "0"], "Give --count 1 or more"),
        (["photo.jpg", "--head", "--driving", "a.mp4"], "weights fetch portrait4d-v2"),
    ],
)
def test_head_labels_on_the_command_line(options, words, capsys, monkeypatch, tmp_path):
    from pipeline.__main__ import main

    monkeypatch.setenv("ONESHOT_CACHE", str(tmp_path))
    monkeypatch.delenv("ONESHOT_PORTRAIT4D", raising=False)
    assert main(["label", *options]) == 1
    assert words in capsys.readouterr().err


def test_head_labels_from_files_to_labels(body, astronaut, monkeypatch, tmp_path, capsys):
    """The whole command with a stand-in for the network that shows the driving face itself."""
    import json

    from pipeline import weights
    from pipeline.__main__ import main
    from pipeline.labels.portrait4d import synthesis
    from pipeline.media import VideoWriter

    class Mirror:
        name = "mirror"

        def encode(self, photo):
            return photo

        def draw(self, source, driving, rotation):
            return driving.image, np.ones((512, 512), np.float32)

    monkeypatch.setenv("ONESHOT_CACHE", str(tmp_path))
    monkeypatch.setattr(weights, "require", lambda name: tmp_path)
    monkeypatch.setattr(synthesis.Portrait4DModel, "from_weights", staticmethod(lambda device: Mirror()))
    with VideoWriter(tmp_path / "talk.mp4", 3, (512, 512)) as writer:
        for _ in range(2):
            writer.write(astronaut)
    monkeypatch.setattr("pipeline.api.get_body", lambda given=None: body)
    import skimage

    path = f"{skimage.__path__[0]}/data/astronaut.png"
    assert main(["label", path, "--head", "--driving", str(tmp_path / "talk.mp4"), "--count", "2", "--json"]) == 0
    made = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert made["labels"] + sum(made["dropped"].values()) == 2 and made["labels"] >= 1
    from pipeline.labels import load_labels

    label = load_labels(__import__("pathlib").Path(made["folders"][0]))[0]
    assert label.region == "head" and label.weight is not None
