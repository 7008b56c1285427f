"""From tracked frames to a motion: bridged gaps, joined cuts, and smoothing that keeps beats."""

from __future__ import annotations

import numpy as np
import pytest
from test_motion_clips import make_clip

from pipeline.motion import get_motion
from pipeline.motion.edit import select
from pipeline.motion.rotations import aa_to_matrix, matrix_to_aa
from pipeline.motion.skeleton import INDEX
from pipeline.motion.tracked import SMOOTHING as KINDS
from pipeline.motion.tracked import Seen, bridge, compare, finish, join_cuts, one_euro, runs
from pipeline.types import PipelineError

ELBOW = INDEX["left_elbow"] - 1


def seen(frames: int, **missing: slice) -> Seen:
    """Everything is seen except the given frames of the given parts."""
    parts = {name: np.ones(frames, bool) for name in ("person", "face", "left_hand", "right_hand")}
    for name, where in missing.items():
        parts[name][where] = False
    return Seen(**parts)


def turn(a: np.ndarray, b: np.ndarray) -> float:
    """Largest angle between rotation vectors, radians."""
    return float(np.linalg.norm(matrix_to_aa(np.swapaxes(aa_to_matrix(a), -1, -2) @ aa_to_matrix(b)), axis=-1).max())


def step(values: np.ndarray) -> float:
    return turn(values[:-1], values[1:])


def test_runs():
    assert runs(np.array([1, 1, 0, 0, 1], bool)) == [(0, 2), (4, 5)] and runs(np.zeros(3, bool)) == []


def test_a_gap_is_bridged_from_edge_to_edge_and_told():
    clip = select(get_motion("explaining"), slice(0, 90))
    broken = clip.body_pose.copy()
    broken[30:45] = 0.0
    result = finish(clip.replace(body_pose=broken), seen(90, person=slice(30, 45)), smooth="off")
    assert step(result.body_pose) < 1.2 * step(clip.body_pose) + 0.05 < step(broken)
    assert np.array_equal(result.body_pose[:30], clip.body_pose[:30])
    assert result.meta["gaps"] == [[1.0, 1.5]] and result.meta["seen"]["person"] == round(75 / 90, 3)


def test_gaps_at_the_ends_hold_the_nearest_pose():
    clip = select(get_motion("explaining"), slice(0, 40))
    result = bridge(clip, seen(40, person=slice(0, 10)))
    assert np.abs(result.body_pose[:10] - clip.body_pose[10]).max() < 1e-5
    result = bridge(clip, seen(40, person=slice(30, 40)))
    assert np.abs(result.transl[30:] - clip.transl[29]).max() < 1e-6


def test_a_hidden_hand_is_bridged_briefly_and_then_rests():
    clip = select(make_clip(1), np.zeros(120, int))
    hand = np.zeros_like(clip.left_hand_pose)
    hand[:, :, 2] = -1.0
    lost = hand.copy()
    lost[40:50], hand[40:100] = 0.1, 0.1
    short = bridge(clip.replace(left_hand_pose=lost), seen(120, left_hand=slice(40, 50)))
    assert np.abs(short.left_hand_pose[40:50] - hand[0]).max() < 1e-5
    long = bridge(clip.replace(left_hand_pose=hand), seen(120, left_hand=slice(40, 100)))
    assert np.abs(long.left_hand_pose[60:80] - 0.1).max() < 1e-5 and step(long.left_hand_pose) < 0.5
    assert np.array_equal(long.right_hand_pose, clip.right_hand_pose)


def test_a_cut_is_joined_without_a_jump():
    a, b = select(get_motion("explaining"), slice(20, 50)), select(get_motion("greeting"), slice(60, 100))
    clip = select(get_motion("explaining"), slice(0, 70))
    names = ("body_pose", "left_hand_pose", "global_orient")
    clip = clip.replace(**{n: np.concatenate([getattr(a, n), getattr(b, n)]) for n in names})
    clip = clip.replace(transl=np.concatenate([a.transl, b.transl + 1.0]))
    joined = join_cuts(clip, (30,))
    assert step(clip.body_pose[29:31]) > 0.3 and step(joined.body_pose[29:31]) < 0.02
    assert np.abs(np.diff(joined.transl, axis=0)).max() < 0.05
    assert turn(joined.body_pose[45:], b.body_pose[15:]) < 1e-3


@pytest.mark.parametrize("kind", ["light", "strong"])
def test_smoothing_keeps_beats_and_takes_tremor_out(kind):
    clip = get_motion("emphatic")
    rng = np.random.default_rng(0)
    noisy = clip.replace(body_pose=(clip.body_pose + rng.normal(0, 0.004, clip.body_pose.shape)).astype(np.float32))
    smooth = one_euro(noisy, KINDS[kind])
    result = compare(clip, smooth)
    assert result["beats"] >= 4 and compare(noisy, smooth)["jerk_left"] < {"light": 0.5, "strong": 0.25}[kind]
    assert result["beats_kept"] > {"light": 0.9, "strong": 0.8}[kind]
    lag = [np.abs(smooth.body_pose[5 - k : 200 - k, ELBOW] - clip.body_pose[5:200, ELBOW]).mean() for k in (-2, 0, 2)]
    assert lag[1] < min(lag[0], lag[2]), "no delay"


def test_smoothing_keeps_blinks():
    clip = get_motion("listening")
    result = one_euro(clip, KINDS["light"])
    assert result.arkit.max(axis=0) == pytest.approx(clip.arkit.max(axis=0), abs=0.2)
    assert one_euro(clip, KINDS["off"]) is clip


def test_short_clips_and_wrong_names():
    for frames in (1, 2, 3):
        assert len(finish(make_clip(frames), seen(frames))) == frames
    nobody = seen(5, person=slice(0, 5), face=slice(0, 5))
    assert len(finish(make_clip(5), nobody)) == 5
    with pytest.raises(PipelineError, match="off, light, strong"):
        finish(make_clip(3), seen(3), smooth="much")
