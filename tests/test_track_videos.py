"""Videos that are not as they should be, from the file to the clip, made of the astronaut."""

from __future__ import annotations

import json
import subprocess

import numpy as np
import pytest

from pipeline import api
from pipeline.__main__ import main
from pipeline.body import load_body
from pipeline.motion import load_clip
from pipeline.perceive import targets as T
from pipeline.perceive.photo import person_height_pixels
from pipeline.perceive.track import detect_video, track_video
from pipeline.types import PipelineError
from pipeline.video import VideoReader, VideoWriter, ffmpeg_path


@pytest.fixture(scope="module")
def small(astronaut):
    """The astronaut at half size, with a little room around."""
    import cv2

    return cv2.resize(astronaut, (256, 256), interpolation=cv2.INTER_AREA)


def write(path, frames, fps=10.0):
    with VideoWriter(path, fps, (frames[0].shape[1], frames[0].shape[0])) as writer:
        for frame in frames:
            writer.write(frame)
    return path


def test_nobody_and_several_people_are_refused(small, tmp_path):
    empty = write(tmp_path / "empty.mp4", [np.full((128, 128, 3), 0.4, np.float32)] * 3)
    with pytest.raises(PipelineError, match="found in only 0 of"):
        detect_video(empty)
    crowd = write(tmp_path / "crowd.mp4", [np.hstack([small[:, 30:200], small[:, 30:200]])] * 3)
    with pytest.raises(PipelineError, match="several people"):
        detect_video(crowd)


def test_cuts_fast_frames_and_rotation_marks(small, tmp_path):
    """120 frames a second are read at 60; a cut is found; a video marked as lying on its side is put upright."""
    other = np.ascontiguousarray(np.roll(small[:, ::-1], 30, axis=1) * [0.3, 0.7, 1.0]).astype(np.float32)
    plain = write(tmp_path / "plain.mp4", [np.rot90(small)] * 32 + [np.rot90(other)] * 32, fps=120.0)
    video = tmp_path / "turned.mp4"
    command = [ffmpeg_path(), "-v", "error", "-display_rotation:v:0", "270", "-i", str(plain), "-c", "copy", str(video)]
    subprocess.run(command, check=True)
    found = detect_video(video)
    assert found.fps == 60 and len(found.frames) == 32 and found.cuts == (16,)
    assert found.frames[0].face is not None and found.frames[0].pose[0, 1] < found.frames[0].pose[11, 1]


def test_a_short_video_gives_clip_overlay_and_plot(small, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(api, "MAX_TRACK_SECONDS", 0.7)
    wide = np.pad(small, ((0, 0), (80, 80), (0, 0)), mode="edge")
    video = write(tmp_path / "short.mp4", [np.roll(wide, k, axis=1) for k in range(6)], fps=5.0)
    names = {kind: str(tmp_path / f"out.{kind}") for kind in ("npz", "webm", "png")}
    arguments = ["--out", names["npz"], "--overlay", names["webm"], "--plot", names["png"], "--json"]
    assert main(["track", str(video), *arguments]) == 0
    result = json.loads(capsys.readouterr().out)
    clip = load_clip(names["npz"])
    assert result["frames"] == len(clip) == 4 and clip.fps == 5 and result["seen"]["face"] == 1.0
    assert "only the first" in result["notes"][0] and result["errors"]["face"] < 2.0 and result["cuts"] == []
    overlay = list(VideoReader(names["webm"]))
    assert len(overlay) == 4 and overlay[0].shape == (256, 416, 3)
    difference = np.abs(overlay[0].astype(float) - 255 * wide).mean(axis=-1)
    assert (difference > 60).sum() > 200, "something is drawn"


def test_a_seated_speaker_is_met_within_two_percent_with_hands_elbows_and_knees(shared):
    talk = shared / "media" / "videos" / "A_talk_woman_coat_garden.mp4"
    found = detect_video(talk, start=5.0, max_seconds=0.2, max_side=960)
    tracked = track_video(found, load_body(), dense=False)
    assert {"face", "left_hand", "body"} <= set(tracked.errors) and max(tracked.errors.values()) < 1.5
    gap = np.linalg.norm(tracked.registration.points - tracked.targets.points.numpy(), axis=-1)[:, T.POSE][:, 11:27]
    seen = tracked.targets.weights.numpy()[:, T.POSE][:, 11:27] > 0.25
    height = person_height_pixels(load_body(), tracked.registration, tracked.camera)[:, None]
    assert (100 * gap / height)[seen].max() < 4.0, "no joint is left behind"


def test_smoothing_is_checked_before_the_video_is_read(tmp_path):
    with pytest.raises(PipelineError, match="no smoothing 'much'"):
        api.track(tmp_path / "absent.mp4", smooth="much")
    with pytest.raises(SystemExit):
        main(["track", "a.mp4", "--out", "a.npz", "--smooth", "much"])
