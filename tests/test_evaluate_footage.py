"""The measure of footage: only what comes after it is scored, with and without it."""

import csv
import dataclasses
import json

import pytest
import torch
from test_evaluate_reenact import FRAMES, filmed  # noqa: F401  (a fixture)

from pipeline.evaluate import footage
from pipeline.evaluate.reenact import Clock
from pipeline.media import VideoReader
from pipeline.perceive.track import VideoDetections
from pipeline.types import PipelineError

FIRST = 2


def measured(scene, video, out, taught):
    made = {"footage_frames": FIRST}
    taught = dataclasses.replace(scene, avatar=taught)
    return footage._write(out, video, made, scene, taught, FIRST, lambda stage, share: None, Clock())


def test_a_better_avatar_shows_as_gain_on_the_rest(filmed, tmp_path):  # noqa: F811
    scene, video = filmed
    taught = scene.avatar
    worse = taught.replace(rgb=(taught.rgb * torch.tensor([0.5, 1.0, 1.0])))
    out = tmp_path / "out"
    result = measured(scene.__class__(**{**vars(scene), "avatar": worse}), video, out, taught)
    assert result["scored_frames"] == FRAMES - FIRST - 1, "the footage and the frame without a person are not scored"
    assert result["footage_gain_psnr_mask"] > 3
    gain = result["footage"]["mask"]["psnr"] - result["photo"]["mask"]["psnr"]
    assert result["footage_gain_psnr_mask"] == pytest.approx(gain)
    assert result["photo"]["baseline_mask"] == result["footage"]["baseline_mask"]
    assert json.loads((out / "metrics.json").read_text())["footage_frames"] == FIRST
    rows = list(csv.DictReader((out / "per_frame.csv").open()))
    assert [int(row["frame"]) for row in rows] == [2, 4, 5]
    with VideoReader(out / "comparison.mp4") as reader:
        assert reader.info.frames == FRAMES - FIRST and reader.info.width == 3 * 144
    same = measured(scene, video, tmp_path / "same", taught)
    assert same["footage_gain_psnr_mask"] == pytest.approx(0, abs=1e-6), "no gain where nothing was learnt"


def test_too_little_is_left(monkeypatch, tmp_path):
    found = VideoDetections(tmp_path / "v.mp4", (None,) * 30, 10.0, 64, 64)
    monkeypatch.setattr("pipeline.perceive.track.detect_video", lambda *a, **k: found)
    for seconds, words in (
        (2.5, "fewer than 10 of 30 frames are left"),
        (9.0, "use a longer video"),
        (0.0, "more than 0"),
    ):
        with pytest.raises(PipelineError, match=words):
            footage.reenact_with_footage(
                "v.mp4", tmp_path / "out", body=None, footage_seconds=seconds, progress=lambda stage, share: None
            )
    assert not (tmp_path / "out").exists()
