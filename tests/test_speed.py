"""The measuring programs: they run, they count what they say, and a straight line is told from a bent one."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pipeline import api
from pipeline.evaluate import frames, speed
from pipeline.render import bench


def test_rasteriser_bench_reports_every_job(capsys):
    arguments = ["--splats", "3000", "--size", "64x96", "--repeats", "1", "--device", "cpu"]
    assert bench.main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["timings"].keys() == found["floors"].keys() and found["pairs"] > 3000
    for name, timing in found["timings"].items():
        assert timing["cpu"] > 0 and timing["wall"] > 0 and found["floors"][name] > 0
    assert any("backward" in name for name in found["timings"])
    bench.main(arguments)
    assert "mesh mask, forward and backward (cpu)" in capsys.readouterr().out


def test_curves_tell_a_line_from_a_parabola():
    x = [1.0, 2.0, 3.0, 4.0]
    assert bench._curve("", x, [2.0, 4.0, 6.0, 8.0]).r2 == pytest.approx(1)
    assert bench._curve("", x, [1.0, 4.0, 9.0, 16.0]).r2 < 0.98


def test_wrong_device_is_wrong_usage(capsys):
    with pytest.raises(SystemExit) as stop:
        bench.main(["--device", "abacus"])
    assert stop.value.code == 2 and "abacus" in capsys.readouterr().err


def test_animation_is_timed_over_all_frames(doll, monkeypatch):
    clip = api.load_motion("explaining")
    short = clip.replace(**{name: value[:5] for name, value in vars(clip).items() if isinstance(value, np.ndarray)})
    drawn = []
    frames = speed.draw_frames
    monkeypatch.setattr(speed, "draw_frames", lambda *a: (drawn.append(1) or frame for frame in frames(*a)))
    found = speed.time_animation(doll, short, (64, 96), "cpu")
    assert found.size == (64, 96) and found.drawn > found.encoded > 0
    assert len(drawn) == 5


def test_speed_prints_what_was_measured(monkeypatch, capsys):
    fits, sizes = [], []
    monkeypatch.setattr(api, "observe", lambda photo, body: "observation")
    monkeypatch.setattr(api, "get_body", lambda: "body")
    monkeypatch.setattr(api, "load_motion", lambda name, body: name)

    def time_fit(observation, body, steps, device):
        fits.append((observation, body, steps, device))
        return f"avatar of {steps}", speed.FitTime(steps, 20.0, 5.0, 1.5, 260_000, "triton")

    def time_animation(avatar, clip, size, device):
        sizes.append((avatar, clip, size, device))
        return speed.Speed(size, 400.0, 350.0)

    monkeypatch.setattr(speed, "time_fit", time_fit)
    monkeypatch.setattr(speed, "time_animation", time_animation)
    arguments = ["a.jpg", "--device", "cuda", "--steps", "20", "500", "--sizes", "576x1024", "--motion", "talk"]
    assert speed.main(arguments) == 0
    assert fits == [("observation", "body", 20, "cuda"), ("observation", "body", 500, "cuda")]
    assert sizes == [("avatar of 500", "talk", (576, 1024), "cuda")]
    lines = capsys.readouterr().out.splitlines()
    assert "500 steps: 20.0 s" in lines[1] and "10.00 ms a step" in lines[1] and "triton, 1.50 GB" in lines[1]
    assert lines[2] == "animation, 576x1024: 400.0 frames/s drawn, 350.0 with H.264"
    assert speed.main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["fits"][0]["steps"] == 20 and found["animation"][0]["encoded"] == 350
    with pytest.raises(SystemExit):
        speed.main(["a.jpg", "--sizes", "wide"])


def test_cost_of_frames_is_counted_and_their_picture_compared(doll, monkeypatch, capsys, tmp_path):
    clip = api.load_motion("explaining")
    short = clip.replace(**{name: value[:4] for name, value in vars(clip).items() if isinstance(value, np.ndarray)})
    monkeypatch.setattr(api, "load_motion", lambda name, body: short)
    monkeypatch.setattr(frames, "POSES", 1)
    doll.save(tmp_path / "doll")
    assert frames.main([str(tmp_path / "doll"), "--size", "72x128", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["gaussians"] == len(doll) and found["frames"] == 4 and found["size"] == [72, 128]
    assert list(found["stages"]) == ["pose and draw", "watermark", "encode", "hand over"]
    assert found["stages"]["pose and draw"] > 0 and found["stages"]["encode"] > 0 and found["whole"] > 0
    assert 45 < found["worst"] <= found["mean"]


def test_a_worse_picture_scores_lower(doll, monkeypatch):
    still = [doll.params]
    good = frames.likeness(doll, still, (72, 128))
    draw = frames.draw_frames
    monkeypatch.setattr(frames, "draw_frames", lambda *a: (frame // 16 * 16 for frame in draw(*a)))
    assert len(good) == 2 and min(good) > 45 and max(frames.likeness(doll, still, (72, 128))) < 35
