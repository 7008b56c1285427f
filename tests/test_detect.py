"""The whole-body detector on the astronaut, and its geometry on made-up points."""

from __future__ import annotations

import os

import cv2
import numpy as np
import pytest

from pipeline.perceive import people
from pipeline.perceive.detect import (
    Detector,
    QuietGraph,
    Window,
    coco_wholebody,
    plausible_hand,
    quiet_native_logs,
    resize_long_side,
    same_hand,
)
from pipeline.perceive.drawn import is_drawn
from pipeline.perceive.people import count_people
from pipeline.types import Detections


@pytest.fixture(scope="module")
def seen(astronaut: np.ndarray) -> Detections:
    with Detector(static=True) as detector:
        found = detector.detect(astronaut)
    assert found is not None
    return found


def upright_pose() -> np.ndarray:
    """A standing person, 400 pixels high, arms hanging: (33, 3) with visibility 1."""
    pose = np.ones((33, 3), np.float32)
    pose[:11, :2] = (200, 60)
    pose[11:13, :2] = (240, 120), (160, 120)  # shoulders: the person's left is on the picture's right
    pose[13:15, :2] = (250, 180), (150, 180)
    pose[15:17, :2] = (255, 240), (145, 240)
    pose[17:23, :2] = (258, 262), (142, 262), (256, 264), (144, 264), (252, 258), (148, 258)
    pose[23:25, :2] = (225, 250), (175, 250)
    pose[25:33, :2] = [(225, 340), (175, 340), (225, 430), (175, 430)] * 2
    return pose


def hand_at(x: float, y: float, size: float = 30.0) -> np.ndarray:
    """A flat made-up hand whose wrist is at (x, y) and whose fingers point down."""
    hand = np.zeros((21, 3), np.float32)
    for k in range(1, 21):
        finger, joint = divmod(k - 1, 4)
        hand[k, :2] = (finger - 2) * size / 6, (joint + 1) * size / 4
    hand[:, :2] += (x, y)
    return hand


def test_astronaut_is_found(seen: Detections) -> None:
    assert seen.keypoints.shape == (133, 3) and seen.pose.shape == (33, 3) and seen.pose_world.shape == (33, 3)
    assert seen.face is not None and seen.face.shape == (478, 3)
    nose, left_eye, right_eye = seen.keypoints[:3, :2]
    assert np.allclose(nose, (222, 118), atol=12)
    assert left_eye[0] > right_eye[0]  # the person's own left is on the right of the picture
    assert np.linalg.norm(seen.face[1, :2] - nose) < 15
    assert np.linalg.norm(seen.face[468:478, :2].mean(0) - (left_eye + right_eye) / 2) < 10  # irises
    assert seen.keypoints[23:91, 2].min() == 1
    assert 90 < np.ptp(seen.face[:, 1]) < 135


def test_pixels_are_those_of_the_picture_given(astronaut: np.ndarray, seen: Detections) -> None:
    small = astronaut[::2, ::2]
    with Detector(static=True) as detector:
        again = detector.detect(np.ascontiguousarray(small))
    assert again is not None and again.face is not None and seen.face is not None
    assert np.abs(again.face[:, :2] * 2 - seen.face[:, :2]).mean() < 3
    assert np.abs(again.face[:, 2] * 2 - seen.face[:, 2]).mean() < 5


def test_small_person_in_a_large_picture(astronaut: np.ndarray, seen: Detections) -> None:
    """The first look fails on such a picture; the face leads to the body."""
    import cv2

    size, x, y = 170, 900, 500
    canvas = np.full((800, 1400, 3), 0.5, np.float32)
    canvas[y : y + size, x : x + size] = cv2.resize(astronaut, (size, size), interpolation=cv2.INTER_AREA)
    with Detector(static=True) as detector:
        found = detector.detect(canvas)
    assert found is not None and found.face is not None and seen.face is not None
    expected = seen.face[:, :2] * size / 512 + (x, y)
    assert np.abs(found.face[:, :2] - expected).mean() < 4


def test_same_picture_same_answer(astronaut: np.ndarray, seen: Detections) -> None:
    with Detector(static=True) as detector:
        again = detector.detect(astronaut)
    assert again is not None and np.array_equal(again.keypoints, seen.keypoints)


def test_video_tracking_is_deterministic(astronaut: np.ndarray) -> None:
    frames = [np.roll(astronaut, 2 * k, axis=1) for k in range(4)]
    runs = []
    for _ in range(2):
        with Detector(static=False) as detector:
            runs.append([detector.detect(f) for f in frames])
    for a, b in zip(*runs, strict=True):
        assert a is not None and b is not None and np.array_equal(a.keypoints, b.keypoints)
    first, last = runs[0][0], runs[0][-1]
    assert first is not None and last is not None
    assert last.face is not None and first.face is not None
    assert np.allclose((last.face - first.face)[:, 0].mean(), 6, atol=2)  # no lag behind the motion


def test_nobody(astronaut: np.ndarray) -> None:
    import skimage.data

    with Detector(static=True) as detector:
        assert detector.detect(np.full((300, 300, 3), 0.5, np.float32)) is None
        assert detector.detect(skimage.data.coffee()) is None
    assert count_people(skimage.data.coffee()) == 0


def test_count_people(astronaut: np.ndarray) -> None:
    upper = astronaut[:, 60:400]
    assert count_people(astronaut) == 1
    assert count_people(np.hstack([upper, upper])) == 2


def test_people_are_counted_by_the_size_of_the_person(monkeypatch: pytest.MonkeyPatch, seen: Detections) -> None:
    """Passers-by are smaller, and a hand at the collar that looks like a face a little is none."""
    assert seen.face is not None
    width, (x, y) = float(np.ptp(seen.face[:, 0])), seen.face[:, :2].mean(0)
    chest = seen.pose[[11, 12, 23, 24], :2].mean(0)
    own = people.Face(x, y, width, 0.95)
    for other, count in (
        (people.Face(x + 3 * width, y, 0.4 * width, 0.9), 1),
        (people.Face(x + 3 * width, y, 0.8 * width, 0.7), 2),
        (people.Face(*chest, 0.8 * width, 0.7), 1),
        (people.Face(*chest, 0.8 * width, 0.9), 2),
    ):
        monkeypatch.setattr(people, "find_faces", lambda *_, other=other: [own, other])
        assert count_people(np.zeros((8, 8, 3), np.uint8), seen) == count


def test_a_row_of_faces_is_no_large_face(astronaut: np.ndarray) -> None:
    head = astronaut[:150, 150:300]
    row = np.hstack([head] * 5)
    faces = people.find_faces(row)
    assert len(faces) == 5 == count_people(row)
    assert max(f.width for f in faces) < 1.3 * min(f.width for f in faces)


def test_black_shadow_is_not_drawn(astronaut: np.ndarray, seen: Detections) -> None:
    """A photo whose dark half is clipped is a photo; one filled with a middle colour is not."""
    assert seen.face is not None
    middle = int(seen.face[:, 0].mean())
    dark, flat = astronaut.copy(), astronaut.copy()
    dark[:, middle:], flat[:, middle:] = 0.0, 0.6
    assert not is_drawn(dark, seen.face) and is_drawn(flat, seen.face)


def test_smooth_skin_is_not_drawn(astronaut: np.ndarray, seen: Detections) -> None:
    """Beauty filters and compression flatten skin, but its shades remain; a few flat colours are a drawing."""
    assert seen.face is not None
    smooth = np.clip(cv2.GaussianBlur(astronaut, (0, 0), 14), 0, 1)
    (x0, y0), (x1, y1) = seen.face[:, :2].min(0).astype(int), seen.face[:, :2].max(0).astype(int)
    part = (smooth[y0:y1, x0:x1] * 255).astype(np.uint8)
    kernel = np.ones((3, 3), np.uint8)
    flat = ((cv2.dilate(part, kernel) - cv2.erode(part, kernel)).max(2) <= 2).mean()
    assert flat > 0.2 and not is_drawn(smooth, seen.face)
    assert is_drawn(np.round(smooth * 5) / 5, seen.face)


def test_only_the_model_in_the_wheel() -> None:
    with pytest.raises(ValueError, match="complexity"):
        Detector(static=True, complexity=2)


def test_window_there_and_back() -> None:
    window = Window(50.0, 40.0, 20.0)
    image = np.zeros((80, 100, 3), np.uint8)
    image[40:42, 50:52] = 255
    cut = window.cut(image, 200)
    rows, columns = np.nonzero(cut[..., 0] > 128)
    middle = np.array([[columns.mean() + 0.5, rows.mean() + 0.5, 10]], np.float32)
    assert np.allclose(window.back(middle, 200), (51, 41, 1), atol=0.15)


def test_hand_plausibility() -> None:
    pose = upright_pose()
    assert plausible_hand(hand_at(255, 240), pose, "left")
    assert not plausible_hand(hand_at(145, 240), pose, "left")  # at the other wrist
    assert not plausible_hand(hand_at(255, 240, 200), pose, "left")  # a giant's hand
    assert not plausible_hand(hand_at(255, 240, 2), pose, "left")
    assert same_hand(hand_at(100, 100), hand_at(102, 101)) and not same_hand(hand_at(100, 100), hand_at(150, 100))


def test_coco_order_and_confidence() -> None:
    pose = upright_pose()
    pose[16, :2] = (-5, 240)
    left = hand_at(255, 240)
    keypoints = coco_wholebody(pose, None, left, None, width=400, height=500)
    assert np.allclose(keypoints[5, :2], pose[11, :2]) and np.allclose(keypoints[9, :2], pose[15, :2])
    assert np.allclose(keypoints[91:112, :2], left[:, :2]) and keypoints[91:112, 2].min() == 1
    assert keypoints[10, 2] == 0  # outside of the picture
    assert not keypoints[23:91].any() and not keypoints[112:].any()  # unseen face and right hand


def test_resize_long_side() -> None:
    image = np.zeros((100, 200, 3), np.uint8)
    assert resize_long_side(image, 100, enlarge=False)[0].shape == (50, 100, 3)
    assert resize_long_side(image, 400, enlarge=False)[1] == 1.0
    assert resize_long_side(image, 400, enlarge=True)[0].shape == (200, 400, 3)


def test_quiet_logs_give_the_channel_back(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet_native_logs(), quiet_native_logs():
        os.write(2, b"native noise\n")
    os.write(2, b"real message\n")
    assert capfd.readouterr().err == "real message\n"


def test_quiet_graph_is_made_once_and_closed() -> None:
    made, closed = [], []

    class Graph:
        def process(self, image: np.ndarray) -> int:
            return len(image)

        def close(self) -> None:
            closed.append(self)

    graph = QuietGraph(lambda: made.append(1) or Graph())
    assert [graph.process(np.zeros(k)) for k in range(5)] == [0, 1, 2, 3, 4] and made == [1]
    graph.close()
    graph.close()
    assert len(closed) == 1


@pytest.mark.slow
def test_real_photos(shared: object) -> None:
    """Every real photo shows one person with a face; most of the visible hands are found."""
    from pathlib import Path

    from pipeline.media import load_photo

    hands = 0
    photos = sorted((Path(str(shared)) / "media" / "photos").iterdir())
    with Detector(static=True) as detector:
        for path in photos:
            image = load_photo(path)
            found = detector.detect(image)
            assert found is not None and found.face is not None, path.name
            assert count_people(image, found) <= 1, path.name  # a face can be overlooked, none is counted twice
            hands += (found.left_hand is not None) + (found.right_hand is not None)
    assert hands >= 30
