"""Mirror, speed, loop and cross-fade as a user asks for them, in Python and on the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from test_motion_edit import step, swinging

from pipeline.__main__ import main
from pipeline.motion import Playback, arrange, get_motion, mirror
from pipeline.types import PipelineError


def test_as_it_is_and_mirrored_and_faster():
    clip = get_motion("counting")
    assert arrange([clip], Playback()) is clip
    assert np.array_equal(arrange([clip], Playback(mirror=True)).body_pose, mirror(clip).body_pose)
    assert len(arrange([clip], Playback(speed=2.0))) == len(clip) // 2


@pytest.mark.parametrize("seconds", [1.0, 7.0, 20.0])
def test_a_loop_lasts_as_asked_and_does_not_jump(seconds):
    for clip in (get_motion("explaining"), swinging(90)):
        played = arrange([clip], Playback(loop=seconds))
        assert len(played) == round(30 * seconds) and step(played) < 3 * step(clip)


def test_motions_follow_each_other_without_a_jump():
    clips = [get_motion(name) for name in ("greeting", "explaining", "agreeing")]
    joined = arrange(clips, Playback())
    assert len(joined) == sum(map(len, clips)) - 2 * 15
    assert step(joined) < 1.5 * max(step(c) for c in clips)


def test_values_out_of_range_are_refused():
    clip = swinging()
    for playback in (Playback(speed=9.0), Playback(loop=0.0), Playback(loop=5000.0)):
        with pytest.raises(PipelineError):
            arrange([clip], playback)
    with pytest.raises(PipelineError, match="No motion"):
        arrange([], Playback())


def test_the_command_line_reaches_them(doll, tmp_path, capsys):
    doll.save(tmp_path / "doll")
    out = tmp_path / "frames"
    command = [
        "animate",
        str(tmp_path / "doll"),
        "--motion",
        "agreeing",
        "--out",
        str(out),
        "--size",
        "72x128",
        "--json",
    ]
    assert main([*command, "--fps", "5", "--mirror", "--speed", "2", "--loop", "1.6", "--amplitude", "0.5"]) == 0
    assert json.loads(capsys.readouterr().out)["frames"] == 8 == len(list(out.glob("frame_*.png")))
    assert main([*command, "--fps", "2", "--speed", "4", "--then", "greeting"]) == 0
    lengths = [get_motion(n).duration / 4 for n in ("agreeing", "greeting")]
    assert json.loads(capsys.readouterr().out)["seconds"] == pytest.approx(sum(lengths) - 0.5, abs=0.5)
    for bad in (["--speed", "9"], ["--loop", "-1"], ["--then", "absent"]):
        assert main([*command, *bad]) == 1
