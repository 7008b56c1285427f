"""The self-driven test: what it writes and whether its numbers mean what they say."""

import csv
import json
from dataclasses import dataclass, replace

import numpy as np
import pytest

from pipeline.evaluate import metrics
from pipeline.evaluate.reenact import GROUPS, Clock, Layer, Scene, Scores, _write
from pipeline.media import VideoReader, VideoWriter, from_uint8
from pipeline.perceive.crop import CropWindow
from pipeline.puppet import Puppet
from pipeline.types import PipelineError

FRAMES, SOURCE = 6, 0


@dataclass(frozen=True)
class Tracked:
    """A track that is known exactly."""

    poses: list
    found: np.ndarray
    fps: float = 10.0

    def __len__(self):
        return len(self.poses)

    def frame(self, index):
        return self.poses[index]


@dataclass(frozen=True)
class Known:
    """Detections and photo as far as the test looks at them."""

    frames: tuple = (None,) * FRAMES
    image: np.ndarray | None = None
    alpha: np.ndarray | None = None
    camera: object = None


class WhiteMatter:
    """The matte of a person on white ground."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def matte(self, image, detections, quality, valid=None):
        return (image.min(2) < 245).astype(np.float32)


@pytest.fixture
def filmed(doll, tmp_path, monkeypatch):
    """A scene whose video was made by the avatar itself: (scene, video)."""
    monkeypatch.setattr("pipeline.perceive.matte.Matter", WhiteMatter)
    white = np.full((256, 144, 3), 255, np.uint8)
    poses = []
    for i in range(FRAMES):
        body_pose = doll.params.body_pose.copy()
        body_pose[16, 2] += 0.15 * i
        body_pose[17, 1] -= 0.2 * i
        poses.append(doll.params.replace(body_pose=body_pose))
    puppet = Puppet(doll)
    with VideoWriter(tmp_path / "film.mp4", 10, (144, 256), crf=4) as writer:
        for pose in poses:
            writer.write(puppet.draw(pose, doll.camera, white))
    photo = from_uint8(puppet.draw(poses[SOURCE], doll.camera, white))
    known = Known(image=photo, alpha=WhiteMatter().matte((photo * 255), None, ""), camera=doll.camera)
    found = np.ones(FRAMES, bool)
    found[3] = False
    window = CropWindow(0, 0, 144, 256, 144, 256)
    avatar = doll.replace(background=white)
    return Scene(avatar, known, window, Tracked(poses, found), known, SOURCE), tmp_path / "film.mp4"


def written(filmed, out):
    scene, video = filmed
    return _write(out, video, {"frames": FRAMES}, scene, lambda stage, share: None, Clock())


def test_a_perfect_avatar_beats_the_still_photo(filmed, tmp_path):
    result = written(filmed, tmp_path / "out")
    assert result["scored_frames"] == FRAMES - 2, "the photo itself and frames without a person are not scored"
    assert result["mask"]["psnr"] > 25 and result["full"]["ssim"] > 0.9
    assert result["gain_psnr_mask"] > 3 and result["gain_psnr_full"] > 3 and result["camera_at_rest"] is True
    for region in ("full", "mask"):
        gain = result[region]["psnr"] - result[f"baseline_{region}"]["psnr"]
        assert result[f"gain_psnr_{region}"] == pytest.approx(gain)


def test_files_hold_what_they_should(filmed, tmp_path, monkeypatch):
    monkeypatch.delenv("ONESHOT_LPIPS", raising=False)
    out = tmp_path / "new" / "out"
    result = written(filmed, out)
    assert sorted(path.name for path in out.iterdir()) == ["comparison.mp4", "metrics.json", "per_frame.csv"]
    assert json.loads((out / "metrics.json").read_text()) == result
    rows = list(csv.DictReader((out / "per_frame.csv").open()))
    assert [int(row["frame"]) for row in rows] == [1, 2, 4, 5]
    for group in GROUPS:
        assert set(result[group]) == {"mse", "l1", "psnr", "ssim"}, "no lpips without its weights"
        for key, value in result[group].items():
            assert np.mean([float(row[f"{group}_{key}"]) for row in rows]) == pytest.approx(value, abs=1e-4)
    with VideoReader(out / "comparison.mp4") as reader:
        frames = list(reader)
    assert len(frames) == FRAMES and frames[0].shape == (256, 288, 3)
    halves = frames[2].astype(int)
    assert np.abs(halves[:, :144] - halves[:, 144:]).mean() < 12


def test_lpips_appears_with_its_weights(filmed, tmp_path, shared, monkeypatch):
    monkeypatch.setenv("ONESHOT_LPIPS", str(shared / "media/weights/lpips_squeeze_v0.1.npz"))
    result = written(filmed, tmp_path / "out")
    assert 0 <= result["mask"]["lpips"] < result["baseline_mask"]["lpips"]


def test_nothing_is_left_when_it_fails(filmed, tmp_path):
    scene, video = filmed
    nobody = replace(scene, tracked=replace(scene.tracked, found=np.zeros(FRAMES, bool)))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(PipelineError, match="No frame could be compared"):
        written((nobody, video), tmp_path / "out")
    assert sorted(tmp_path.iterdir()) == before
    (tmp_path / "file").touch()
    with pytest.raises(PipelineError, match="cannot be written"):
        written(filmed, tmp_path / "file" / "out")


def test_union_of_both_masks():
    ground = np.ones((64, 64, 3), np.float32)
    alphas = [np.zeros((64, 64), np.float32) for _ in range(2)]
    alphas[0][10:20, 10:20] = alphas[1][40:50, 40:50] = 1
    black = np.zeros_like(ground)
    real, other = (Layer.of(black, alpha) for alpha in alphas)
    scores = Scores(None, 1)
    scores.add(1, real, other, real)
    summary = scores.summary()
    assert summary["mask"]["mse"] == pytest.approx(1), "both persons are black where the other is white"
    assert summary["full"]["mse"] == pytest.approx(200 / 64**2)
    assert summary["baseline_mask"]["psnr"] == metrics.MAX_PSNR


@pytest.mark.slow
def test_reenact_on_a_real_video(shared, tmp_path):
    import pipeline

    video = shared / "media/videos/A_asl_thanks.mkv"
    result = pipeline.reenact(video, tmp_path / "out", quality="fast", max_seconds=0.6)
    assert result["frames"] >= 15 and result["scored_frames"] >= 12
    assert result["mask"]["psnr"] > 15 and result["full"]["ssim"] > 0.8


def test_what_is_drawn_beside_the_video_does_not_count():
    """A window wider than the video: a guessed sleeve there is neither right nor wrong."""
    colours, cover = np.full((4, 6, 3), 0.25, np.float32), np.full((4, 6), 0.5, np.float32)
    valid = np.ones((4, 6), bool)
    valid[:, 4:] = False
    layer = Layer.drawn(colours, cover, valid)
    assert (layer.white[:, 4:] == 1).all() and (layer.alpha[:, 4:] == 0).all()
    np.testing.assert_allclose(layer.white[:, :4], 0.75)
