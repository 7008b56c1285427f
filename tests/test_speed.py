"""The measuring programs: they run, they count what they say, and a straight line is told from a bent one."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pipeline import api
from pipeline.evaluate import speed
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
    assert found.size == (64, 96) and found.drawn > 1 and found.encoded > 1
    assert len(drawn) == 5
