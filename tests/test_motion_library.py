"""The motion library from the command line: previews, statistics, and the flags that change a motion."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from test_motion_clips import make_clip

from pipeline.__main__ import main
from pipeline.motion import get_motion, list_presets, save_clip
from pipeline.motion.edit import select
from pipeline.motion.preview import SIZE, preview_frames, thumbnails, write_preview
from pipeline.motion.statistics import low_pass, motion_statistics, unseen_statistics, windows
from pipeline.types import PipelineError


def test_a_preview_is_a_small_loop_that_moves(tmp_path):
    path = write_preview(get_motion("greeting"), tmp_path / "greeting.webp")
    assert path.stat().st_size < 60_000
    with Image.open(path) as picture:
        assert picture.size == SIZE and picture.n_frames >= 45 and picture.info.get("loop") == 0
    frames = preview_frames(get_motion("greeting"))
    still = np.abs(frames[0].astype(int) - frames[20]).mean()
    assert still > 1 and frames[0].shape == (160, 120, 3)
    hands = np.array([[(f == c).all(-1).sum() for c in ((230, 120, 40), (40, 130, 210))] for f in frames])
    assert hands.min() > 30, "both arms are seen in every frame"


def test_single_frames_and_bad_names(tmp_path):
    write_preview(make_clip(1), tmp_path / "one.webp")
    with pytest.raises(PipelineError, match=".webp"):
        write_preview(make_clip(1), tmp_path / "one.gif")


def test_thumbnails_are_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("ONESHOT_CACHE", str(tmp_path))
    path = thumbnails(["agreeing"])["agreeing"]
    made = path.stat().st_mtime_ns
    assert thumbnails(["agreeing"])["agreeing"] == path and path.stat().st_mtime_ns == made
    with pytest.raises(PipelineError, match="no motion named absent"):
        thumbnails(["absent"])


def test_previews_from_the_command_line(tmp_path, capsys):
    clip = tmp_path / "mine.npz"
    save_clip(make_clip(8), clip)
    assert main(["motions", "preview", "agreeing", str(clip), "--out", str(tmp_path / "out"), "--json"]) == 0
    files = json.loads(capsys.readouterr().out)["previews"]
    assert sorted(files) == ["agreeing", "mine"] and (tmp_path / "out" / "mine.webp").is_file()
    assert main(["motions", "preview", "--out", str(tmp_path)]) == 1
    assert main(["motions", "preview", "absent", "--out", str(tmp_path)]) == 1
    assert "absent" in capsys.readouterr().err


def test_statistics_from_the_command_line(tmp_path, capsys):
    clip = tmp_path / "mine.npz"
    save_clip(get_motion("explaining"), clip)
    assert main(["motions", "stats", str(clip), "--front", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert len(result["presets"]) == len(list_presets())
    assert result["compared with"]["mine.npz"] == result["presets"]["explaining"]
    assert main(["motions", "stats", str(clip)]) == 0
    table = capsys.readouterr().out.splitlines()
    assert any(line.startswith("wrist_jerk_95") and line.endswith("*") for line in table), "others jerk more"
    assert len(table) == 2 + len(result["presets"]["explaining"][0]) and "presets (13)" in table[0]
    assert main(["motions", "stats", "--window", "0.1"]) == 1
    assert main(["motions", "stats", "--below", "0.1"]) == 1


def test_arms_that_no_camera_saw_are_not_measured():
    clip = select(get_motion("explaining"), slice(0, 60))
    assert not unseen_statistics(clip)
    for left, right, measured in ((0.9, 0.1, True), (0.2, 0.4, False)):
        tracked = clip.replace(meta={"seen": {"left_hand": left, "right_hand": right}})
        assert ("wrist_jerk_95" not in unseen_statistics(tracked)) is measured
    flat, whole = (motion_statistics(clip, depth=depth).as_dict() for depth in (False, True))
    assert flat["wrist_speed_95"] < whole["wrist_speed_95"] and flat["arm_turn_max"] == whole["arm_turn_max"]


def test_windows_cover_a_clip():
    clip = get_motion("explaining")
    parts = windows(clip, 2.0)
    assert sum(map(len, parts)) == len(clip) and all(55 <= len(p) <= 65 for p in parts)
    assert windows(clip, 100.0)[0] is not None and len(windows(make_clip(1), 2.0)) == 1


def test_statistics_know_jerk_and_limits():
    clip = get_motion("explaining")
    calm = motion_statistics(clip)
    bent = clip.body_pose.copy()
    bent[:, 3, 0] = -2.0  # a knee bent forwards
    broken = motion_statistics(clip.replace(body_pose=bent))
    assert broken.limit_max > 50 > calm.limit_max and broken.limit_share > calm.limit_share
    with pytest.raises(PipelineError, match="four frames"):
        motion_statistics(make_clip(3))


def test_a_low_pass_takes_tremor_and_leaves_gestures():
    clip = get_motion("weighing")
    tremor = np.random.default_rng(0).normal(0, 0.01, clip.body_pose.shape).astype(np.float32)
    shaken = clip.replace(body_pose=clip.body_pose + tremor)
    slow, noisy, plain = (motion_statistics(c) for c in (low_pass(shaken, 2.0), shaken, clip))
    assert noisy.chest_turn_95 > 2 * plain.chest_turn_95 and noisy.wrist_jerk_95 > 3 * plain.wrist_jerk_95
    assert slow.chest_turn_95 < 1.2 * plain.chest_turn_95 and slow.wrist_jerk_95 < plain.wrist_jerk_95
    assert slow.hand_range > 0.9 * plain.hand_range and slow.chest_range > 0.85 * plain.chest_range
