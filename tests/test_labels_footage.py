"""Labels from real pictures: what is kept, what is dropped and said, and the whole road on the astronaut."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from pipeline.labels import footage
from pipeline.labels.choice import farthest_points
from pipeline.labels.footage import FootageConfig, footage_labels, picture_labels
from pipeline.labels.gather import gather_labels
from pipeline.labels.identity import STABLE, face_difference
from pipeline.labels.sightings import Sighting
from pipeline.types import PipelineError

GOOD = {"body": 1.0, "face": 0.3, "left_hand": 1.0}


@pytest.fixture(scope="module")
def body():
    from pipeline.body import load_body

    return load_body()


@pytest.fixture(scope="module")
def photo(body, astronaut):
    from pipeline.perceive import perceive

    return perceive(astronaut, body)


def sighting(photo, shift=0.0, image=None, errors=None, face=None):
    """The photo itself as a tracked frame, the arm moved by ``shift``."""
    crop = np.rint(np.clip(photo.image if image is None else image, 0, 1) * 255).astype(np.uint8)
    pose = photo.params.body_pose.copy()
    pose[15, 2] += shift
    found = photo.detections if face is None else dataclasses.replace(photo.detections, face=face)
    return Sighting(
        crop, photo.valid, photo.camera, photo.params.replace(body_pose=pose), found, GOOD if errors is None else errors
    )


def judged(seen, photo, body, **changes):
    return footage.judge(seen, photo, body, FootageConfig(**changes), "clip.mp4")


def test_choice_is_varied_and_repeatable():
    rng = np.random.default_rng(0)
    cloud = np.concatenate([rng.normal(0, 0.01, (50, 2)), [[5, 0], [0, 5], [-5, 0]]])
    assert set(farthest_points(cloud, 4)[1:]) == {50, 51, 52}
    assert farthest_points(cloud, 9) == farthest_points(cloud, 9) and farthest_points(cloud[:0], 3) == []
    assert sorted(farthest_points(cloud[:3], 9)) == [0, 1, 2]


def test_faces_are_compared_by_build_and_not_by_view(photo):
    face = photo.detections.face.astype(np.float64)
    turn = np.array([[0.8, 0, 0.6], [0, 1, 0], [-0.6, 0, 0.8]])
    assert face_difference(face, (face * 1.7) @ turn.T + 40) < 1e-6
    other = face.copy()
    other[list(STABLE), 1] *= 1.15
    assert face_difference(face, other) > 0.03


def test_good_frames_become_filmed_labels_and_bad_ones_are_counted(photo, body):
    blurred = np.full_like(photo.image, 0.5) * 0.05 + photo.image * 0.95
    import cv2

    blurred = cv2.GaussianBlur(photo.image, (0, 0), 6.0)
    red = photo.image * np.array([1.0, 0.2, 0.2], np.float32)
    good = [sighting(photo, 0.1 * k) for k in range(5)]
    bad = [
        None,
        sighting(photo, -0.1, errors={**GOOD, "body": 9.0}),
        sighting(photo, -0.2, errors={**GOOD, "left_hand": 9.0}),
        sighting(photo, -0.3, image=red),
        sighting(photo, -0.4, image=blurred),
    ]
    made = judged([*good, *bad], photo, body)
    assert made.frames == 10 and made.face_difference < 0.01
    assert made.dropped == {
        "nobody was found": 1, "the body could not be aligned": 1, "a hand could not be aligned": 1,
        "it does not look like the photo": 1, "it is blurred": 1,
    }  # fmt: skip
    assert len(made.labels) == 5 and all(x.filmed and x.region == "body" for x in made.labels)
    assert all(0.5 < x.confidence <= 1 and x.alpha.max() > 0.9 for x in made.labels)
    if not photo.valid.all():
        assert np.array_equal(made.labels[0].weight > 0.5, photo.valid), "nothing is taught beyond the frame's edge"
    assert len(judged(good, photo, body, count=2).labels) == 2


def test_another_person_is_told(photo, body):
    face = photo.detections.face.copy()
    face[:, 1] *= 1.3
    with pytest.raises(PipelineError, match="clip.mp4 does not seem to show the person in the photo"):
        judged([sighting(photo, 0.1 * k, face=face) for k in range(4)], photo, body)
    clothes = [sighting(photo, 0.1 * k, image=photo.image[..., ::-1] * [0.3, 1, 1]) for k in range(6)]
    with pytest.raises(PipelineError, match="in 6 of 6 frames; use footage of the same person in the same clothes"):
        judged(clothes, photo, body)
    with pytest.raises(PipelineError, match="could not be aligned with the body in any frame"):
        judged([sighting(photo, errors={"body": 50.0})], photo, body)


def write_video(path, frames, fps=25):
    from pipeline.media import VideoWriter

    with VideoWriter(path, fps, frames[0].shape[1::-1]) as writer:
        for frame in frames:
            writer.write(frame)


def test_footage_without_the_person_and_too_short(photo, body, astronaut, tmp_path):
    write_video(tmp_path / "empty.mp4", [np.full((256, 256, 3), 0.4, np.float32)] * 15)
    with pytest.raises(PipelineError, match="The footage empty.mp4 cannot be used: .*person"):
        footage_labels(tmp_path / "empty.mp4", photo, body)
    write_video(tmp_path / "short.mp4", [astronaut] * 4)
    with pytest.raises(PipelineError, match="short.mp4 has only 4 frames"):
        footage_labels(tmp_path / "short.mp4", photo, body)
    (tmp_path / "no.mp4").write_bytes(b"no video")
    with pytest.raises(PipelineError):
        footage_labels(tmp_path / "no.mp4", photo, body)


def test_folders_without_anything(photo, body, tmp_path):
    with pytest.raises(PipelineError, match="holds no pictures and no labels"):
        gather_labels(photo, body, folders=[tmp_path])
    with pytest.raises(PipelineError, match="is not a folder"):
        gather_labels(photo, body, folders=[tmp_path / "none"])


def test_fit_reports_what_the_footage_gave(monkeypatch):
    from toy_body import ToyBody, toy_observation

    from pipeline import api
    from pipeline.config import STEPS
    from pipeline.labels.footage import FootageLabels
    from pipeline.types import PseudoLabel

    toy = ToyBody()
    seen = toy_observation(toy, width=72, height=128)
    label = PseudoLabel(seen.image, seen.alpha, seen.camera, seen.params, "body", 0.8, filmed=True)
    made = FootageLabels([label], 64, 32, {"it is blurred": 3}, 0.02)
    monkeypatch.setattr("pipeline.labels.gather.footage_labels", lambda video, *a, **k: made)
    monkeypatch.setitem(STEPS, "fast", 4)
    avatar = api.fit(seen, body=toy, quality="fast", footage="clip.mp4")
    assert avatar.meta["labels"] == 1 and avatar.meta["tiers"]["labels"] == "footage"
    assert avatar.meta["label_sources"]["clip.mp4"] == made.to_json()
    assert "clip.mp4: 1 frames teach the avatar (3 dropped, it is blurred)." in api.describe(avatar)
    assert api.fit(seen, body=toy, quality="fast").meta["label_sources"] == {}


@pytest.mark.slow
def test_pictures_of_mixed_sizes_become_labels(photo, body, astronaut, tmp_path):
    """Plain frames without poses, of three sizes, one of them without anybody: tracked with the photo's shape."""
    from PIL import Image

    torch.set_num_threads(1)
    picture = Image.fromarray(np.rint(astronaut * 255).astype(np.uint8))
    picture.save(tmp_path / "a.png")
    picture.resize((384, 384)).crop((0, 0, 360, 384)).save(tmp_path / "b.jpg", quality=95)
    Image.new("RGB", (300, 200), (90, 120, 90)).save(tmp_path / "c.png")
    made = picture_labels(tmp_path, photo, body)
    assert made.frames == 3 and made.dropped == {"nobody was found": 1} and len(made.labels) == 2
    for label in made.labels:
        assert label.image.shape == photo.image.shape and np.array_equal(label.params.betas, photo.params.betas)
    first = made.labels[0]
    overlap = ((first.alpha > 0.5) & (photo.alpha > 0.5)).sum() / ((first.alpha > 0.5) | (photo.alpha > 0.5)).sum()
    assert overlap > 0.8 and np.abs(first.params.transl - photo.params.transl).max() < 0.1
    gathered = gather_labels(photo, body, folders=[tmp_path])
    assert len(gathered.labels) == 2 and gathered.sources[tmp_path.name]["dropped"] == {"nobody was found": 1}
