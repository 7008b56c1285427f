"""Pose pictures, alignment and the DWPose detectors against the golden numbers, and on bad input."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from mimicmotion_golden import golden
from PIL import Image

from pipeline.labels.mimicmotion import align, dwpose
from pipeline.labels.mimicmotion.draw import draw_canvas, draw_pose
from pipeline.labels.mimicmotion.keypoints import People, Pose, to_openpose, to_pose
from pipeline.types import PipelineError


def sha(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


@pytest.mark.parametrize("name", ["pose_set1", "pose_set2", "pose_set3"])
def test_drawing_is_exact_to_the_pixel(shared, name):
    data = golden(shared, name)
    height, width = int(data["H"]), int(data["W"])
    pose = to_pose(People(data["keypoints133_px"], data["scores133"]), width, height)
    np.testing.assert_allclose(pose.body.reshape(-1, 2), data["body_candidate"], atol=1e-12)
    for ours, theirs in (("body_score", "body_score"), ("hands", "hands"), ("faces_score", "faces_score")):
        np.testing.assert_allclose(getattr(pose, ours), data[theirs], atol=1e-7)
    canvas = draw_canvas(pose, height, width)
    assert canvas.shape == tuple(data["canvas_shape"])
    assert canvas.reshape(-1, 3).sum(0, dtype=np.int64).tolist() == data["canvas_sum"].tolist()
    assert sha(canvas) == str(data["canvas_sha256"])
    picture = draw_pose(pose, height, width)
    assert sha(picture) == str(data["image_sha256"])
    png = np.asarray(Image.open(shared / "specs" / "mimicmotion_golden" / f"{name}.png").convert("RGB"))
    np.testing.assert_array_equal(picture, png)


@pytest.fixture(scope="module")
def alignment(request):
    shared = request.getfixturevalue("shared")
    data = golden(shared, "pose_align")
    (height, width), (fh, fw) = data["ref_hw"].tolist(), data["frame_hw"].tolist()
    reference = to_pose(People(data["ref_keypoints133_px"], data["ref_scores133"]), width, height)
    driving = [
        to_pose(People(points[:count], scores[:count]), fw, fh)
        for points, scores, count in zip(
            data["frame_keypoints133_px"], data["frame_scores133"], data["persons_per_frame"], strict=True
        )
    ]
    return data, reference, driving, (height, width), (fh, fw)


def test_alignment_and_drawing_of_a_driving_video(alignment):
    data, reference, driving, size, frame_size = alignment
    a, b = align.fit_alignment(reference, driving, size, frame_size)
    np.testing.assert_allclose(a, data["a"], rtol=0, atol=1e-8)
    np.testing.assert_allclose(b, data["b"], rtol=0, atol=1e-8)
    aligned = align.align_poses(reference, driving, size, frame_size)
    np.testing.assert_allclose(aligned[0].body[0], data["aligned_body_frame0"], atol=1e-8)
    np.testing.assert_allclose(aligned[0].hands, data["aligned_hands_frame0"], atol=1e-8)
    np.testing.assert_allclose(aligned[0].faces, data["aligned_faces_frame0"], atol=1e-8)
    np.testing.assert_array_equal(draw_pose(reference, *size).transpose(2, 0, 1), data["ref_pose_image"])
    pictures = [draw_pose(pose, *size).transpose(2, 0, 1) for pose in aligned]
    assert [sha(p) for p in pictures] == data["video_pose_sha256"].tolist()
    np.testing.assert_array_equal(pictures[4], data["video_pose_frame4"])
    frames = align.sampled_frames(int(data["video_len"]), float(data["video_fps"]), int(data["sample_stride"]))
    assert list(frames) == data["sampled_indices"].tolist()


def test_alignment_says_what_is_missing(alignment):
    _, reference, driving, size, frame_size = alignment
    crowd = [pose for pose in driving if len(pose) > 1]
    with pytest.raises(PipelineError, match="exactly one person"):
        align.fit_alignment(reference, crowd, size, frame_size)
    unseen = Pose(**{**vars(reference), "body_score": np.zeros_like(reference.body_score)})
    with pytest.raises(PipelineError, match="shows no head"):
        align.fit_alignment(unseen, driving, size, frame_size)


def test_a_person_without_visible_hands_is_drawn_without_them():
    nobody = People(np.full((1, 133, 2), 50.0), np.zeros((1, 133)))
    assert draw_pose(to_pose(nobody, 100, 100), 128, 128).max() == 0
    points = np.random.default_rng(0).uniform(5, 45, (1, 133, 2))
    points[:, 91:] += 50.0  # hands in the lower right quarter
    seen = np.ones((1, 133))
    seen[:, 91:] = 0.0
    without = draw_pose(to_pose(People(points, seen), 100, 100), 128, 128)
    both = draw_pose(to_pose(People(points, np.ones((1, 133))), 100, 100), 128, 128)
    assert without[70:, 70:].max() == 0 < both[70:, 70:].max() and without[:60, :60].max() > 0


class FixedSession:
    """A network that always answers the same."""

    def __init__(self, *outputs: np.ndarray) -> None:
        self.outputs, self.fed = list(outputs), []

    def get_inputs(self):
        return [type("Input", (), {"name": "input"})()]

    def run(self, names, feed):
        assert feed["input"].dtype == np.float32 and feed["input"].flags["C_CONTIGUOUS"]
        self.fed.append(feed["input"])
        return self.outputs


@pytest.fixture(scope="module")
def detector(request):
    import cv2

    data = golden(request.getfixturevalue("shared"), "detector")
    height, width = data["image_hw"].tolist()
    image = cv2.resize(data["image_small_u8"], (width, height), interpolation=cv2.INTER_NEAREST)
    raw = np.zeros((1, 8400, 85), np.float32)
    raw[0, data["yolox_raw_rows"]] = data["yolox_raw_values"]
    x = (np.random.default_rng(402).standard_normal((1, 133, 576)) * 0.2).astype(np.float32)
    y = (np.random.default_rng(403).standard_normal((1, 133, 768)) * 0.2).astype(np.float32)
    x[0, 7], y[0, 20] = -abs(x[0, 7]), -abs(y[0, 20])
    return data, image, raw, x, y


def test_detector_boxes_and_keypoints(detector):
    data, image, raw, x, y = detector
    boxes, points = FixedSession(raw), FixedSession(x, y)
    found = dwpose.DWPose(boxes, points).detect(image)
    assert sha(boxes.fed[0]) == str(data["letterbox_sha256"])
    np.testing.assert_allclose(dwpose.letterbox(image)[1], float(data["ratio"]))
    np.testing.assert_allclose(dwpose.person_boxes(raw[0], float(data["ratio"])), data["boxes_xyxy"], atol=1e-3)
    np.testing.assert_allclose(found.points, data["keypoints133"], atol=1e-3)
    np.testing.assert_array_equal(found.scores, data["scores133"])
    points134, scores134 = to_openpose(found)
    np.testing.assert_allclose(points134, data["keypoints134"], atol=1e-3)
    np.testing.assert_allclose(scores134, data["scores134"], atol=1e-7)


def test_detector_crop_within_what_opencv_versions_differ(detector):
    data, image, *_ = detector
    crop = dwpose.crop_person(image, *dwpose.enlarged_box(data["boxes_xyxy"][0]))
    small = crop.transpose(2, 0, 1)[:, ::16, ::16]
    assert np.abs(small.astype(int) - data["crop0_u8_ds"].astype(int)).max() <= 6
    np.testing.assert_allclose(
        dwpose.normalised(crop)[0, :, ::16, ::16], data["crop0_norm_ds"], atol=6 / dwpose.STD.min()
    )


def test_without_a_box_the_whole_picture_is_searched(detector):
    data, image, raw, x, y = detector
    found = dwpose.DWPose(FixedSession(np.zeros_like(raw)), FixedSession(x, y)).detect(image)
    np.testing.assert_allclose(found.points, data["keypoints133_nobox"], atol=1e-3)
    np.testing.assert_array_equal(found.scores, data["scores133_nobox"])


def test_damaged_or_missing_network_is_named(tmp_path):
    with pytest.raises(PipelineError, match="weights fetch dwpose"):
        dwpose.open_session(tmp_path / "yolox_l.onnx")
    (tmp_path / "broken.onnx").write_bytes(b"not a network")
    with pytest.raises(PipelineError, match=r"broken\.onnx is not a readable ONNX"):
        dwpose.open_session(tmp_path / "broken.onnx")
