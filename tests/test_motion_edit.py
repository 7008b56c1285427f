"""Editing of clips: rates, mirror, amplitude, speed, loops, cross-fades, the idle layer, root views."""

from __future__ import annotations

import numpy as np
import pytest
from test_motion_clips import make_clip

from pipeline.motion import (
    add_idle,
    amplitude,
    crossfade,
    get_motion,
    loop,
    mirror,
    repeat,
    resample,
    sample_root_views,
    speed,
)
from pipeline.motion.edit import select
from pipeline.motion.rotations import (
    aa_to_matrix,
    axis_rotation,
    heading,
    matrix_to_aa,
    matrix_to_quat,
    mean_rotation,
    quat_to_matrix,
    slerp_aa,
)
from pipeline.motion.skeleton import ARKIT
from pipeline.types import ROTATION_FIELDS, MotionClip, PipelineError


def step(clip: MotionClip) -> float:
    """Largest change of any rotation between neighbouring frames, radians."""
    changes = []
    for name in ROTATION_FIELDS:
        matrices = aa_to_matrix(getattr(clip, name))
        changes.append(np.linalg.norm(matrix_to_aa(np.swapaxes(matrices[:-1], -1, -2) @ matrices[1:]), axis=-1).max())
    return float(max(changes))


def swinging(frames: int = 60, fps: float = 30.0) -> MotionClip:
    """A smooth motion that does not end where it began."""
    t = np.arange(frames) / fps
    clip = make_clip(1, fps)
    clip = select(clip, np.zeros(frames, int))
    body = clip.body_pose.copy()
    body[:, 15, 2] = 0.5 * np.sin(2.0 * t)
    transl = np.stack([0.1 * t, 0 * t, 0.3 * t], axis=-1).astype(np.float32)
    orient = np.stack([0 * t, 0.3 * t, 0 * t], axis=-1).astype(np.float32)
    return clip.replace(body_pose=body, transl=transl, global_orient=orient)


def test_rotation_forms_agree_at_every_angle():
    rng = np.random.default_rng(0)
    axis = rng.normal(size=(500, 3))
    axis /= np.linalg.norm(axis, axis=-1, keepdims=True)
    aa = axis * np.concatenate([np.linspace(0, np.pi - 1e-6, 498), [1e-9, np.pi]])[:, None]
    matrices = aa_to_matrix(aa)
    assert np.allclose(matrices @ np.swapaxes(matrices, -1, -2), np.eye(3), atol=1e-12)
    assert np.allclose(aa_to_matrix(matrix_to_aa(matrices)), matrices, atol=1e-7)
    assert np.allclose(quat_to_matrix(matrix_to_quat(matrices)), matrices, atol=1e-9)


def test_slerp_takes_the_short_way_at_even_speed():
    a, b = np.array([0.0, 0, 3.0]), np.array([0.0, 0, -3.0])
    middle = slerp_aa(a, b, 0.5)
    assert np.isclose(np.linalg.norm(middle), np.pi, atol=1e-6)
    quarter = slerp_aa(np.zeros(3), np.array([0.8, 0, 0]), 0.25)
    assert np.allclose(quarter, [0.2, 0, 0])


def test_mean_rotation_ignores_the_sign_of_the_representation():
    aa = np.array([[0, 3.1, 0], [0, -3.1, 0]], float)
    assert np.isclose(np.linalg.norm(mean_rotation(aa)), np.pi, atol=1e-6)


@pytest.mark.parametrize("fps", [5.0, 24.0, 120.0])
def test_resampling_keeps_time(fps):
    clip = swinging()
    other = resample(clip, fps)
    assert abs(other.duration - clip.duration) <= 1 / fps
    index = round(1.0 * fps)
    when = index / fps
    assert abs(other.body_pose[index, 15, 2] - 0.5 * np.sin(2.0 * when)) < 0.02
    if fps > 30:
        back = resample(other, 30.0)
        inner = slice(2, len(clip) - 4)
        assert np.abs(back.body_pose[inner] - clip.body_pose[inner]).max() < 0.01


def test_resampling_one_frame_and_bad_rates():
    assert len(resample(make_clip(1), 60.0)) == 2
    with pytest.raises(PipelineError, match="1 to 240"):
        resample(make_clip(), 0.5)


def test_mirror_twice_is_the_same_and_once_swaps_sides():
    clip = make_clip()
    assert all(np.array_equal(getattr(mirror(mirror(clip)), n), getattr(clip, n)) for n in (*ROTATION_FIELDS, "arkit"))
    once = mirror(clip)
    left, right = ARKIT.index("mouthSmileLeft"), ARKIT.index("mouthSmileRight")
    assert np.array_equal(once.arkit[:, left], clip.arkit[:, right])
    assert np.allclose(once.left_hand_pose, clip.right_hand_pose * [1, -1, -1])


def test_amplitude_scales_around_the_mean():
    clip = swinging()
    assert amplitude(clip, 1.0) is clip
    still, half, large = (amplitude(clip, g) for g in (0.0, 0.5, 1.5))
    assert np.ptp(still.body_pose, axis=0).max() < 1e-6 and np.ptp(still.transl, axis=0).max() < 1e-6
    span = np.ptp(clip.body_pose[:, 15, 2])
    assert np.isclose(np.ptp(half.body_pose[:, 15, 2]), 0.5 * span, rtol=1e-3)
    assert np.isclose(np.ptp(large.body_pose[:, 15, 2]), 1.5 * span, rtol=1e-3)
    for bad in (-0.1, 1.6, float("nan")):
        with pytest.raises(PipelineError, match="0 to 1.5"):
            amplitude(clip, bad)


def test_amplitude_keeps_blinks():
    clip = get_motion("explaining")
    blink, jaw = ARKIT.index("eyeBlinkLeft"), ARKIT.index("jawOpen")
    quiet = amplitude(clip, 0.5)
    assert np.array_equal(quiet.arkit[:, blink], clip.arkit[:, blink])
    assert np.allclose(quiet.arkit[:, jaw], 0.5 * clip.arkit[:, jaw])


def test_speed():
    clip = swinging()
    assert len(speed(clip, 2.0)) == 30 and len(speed(clip, 0.5)) == 120
    assert np.allclose(speed(clip, 2.0).transl[10], clip.transl[20])
    with pytest.raises(PipelineError, match="0.25 to 4"):
        speed(clip, 10.0)


def test_a_loop_has_no_jump():
    clip = swinging(90)
    looped = loop(clip, 0.5)
    twice = repeat(looped, 2 * len(looped))
    assert len(looped) == 75 and len(twice) == 150
    assert step(twice) < 3 * step(clip)
    jumps = np.linalg.norm(np.diff(twice.transl, axis=0), axis=-1)
    assert jumps.max() < 0.02
    assert loop(looped) is looped


def test_crossfade_is_smooth_and_continues_in_place():
    a, b = swinging(60), swinging(60, 60.0)
    mixed = crossfade(a, b, 0.4)
    assert len(mixed) == 60 + 30 - 12 and mixed.fps == 30
    assert step(mixed) < 0.12
    assert np.linalg.norm(np.diff(mixed.transl, axis=0), axis=-1).max() < 0.03
    assert "loop" not in mixed.meta


def test_crossfade_of_single_frames():
    assert len(crossfade(make_clip(1), make_clip(1, seed=1), 0.5)) == 2


def test_idle_layer_fills_only_what_is_missing():
    preset = get_motion("explaining")
    same = add_idle(preset, 1)
    assert np.array_equal(same.arkit, preset.arkit) and np.abs(same.body_pose - preset.body_pose).max() < 1e-5
    frozen = select(preset, np.zeros(240, int))
    frozen = frozen.replace(arkit=np.zeros_like(frozen.arkit))
    alive = add_idle(frozen, 1)
    assert alive.arkit[:, ARKIT.index("eyeBlinkLeft")].max() > 0.9
    assert 0 < np.ptp(alive.body_pose[:, 8], axis=0).max() < np.radians(3)
    assert step(repeat(alive, 480)) < np.radians(1)
    assert np.array_equal(add_idle(frozen, 1).arkit, alive.arkit)
    assert add_idle(make_clip(1)).arkit.shape == (1, 52)


def test_root_views_are_seeded_and_in_range():
    clip = get_motion("listening")
    a, b, c = sample_root_views(clip, 1), sample_root_views(clip, 1), sample_root_views(clip, 2)
    assert np.array_equal(a.global_orient, b.global_orient) and not np.array_equal(a.global_orient, c.global_orient)
    views = np.array([sample_root_views(clip, s).meta["root_views"][0] for s in range(200)])
    assert np.abs(views[:, 0]).max() <= 30 and np.abs(views[:, 1]).max() <= 10
    assert views[:, 0].min() < -25 and views[:, 0].max() > 25 and views[:, 1].max() > 8
    pitch, yaw = np.radians(a.meta["root_views"][0])
    turn = axis_rotation("y", yaw) @ axis_rotation("x", pitch)
    assert np.allclose(aa_to_matrix(a.global_orient), turn @ aa_to_matrix(clip.global_orient), atol=1e-5)
    parts = sample_root_views(clip, 3, segment_seconds=2.0)
    assert len(parts.meta["root_views"]) == 5


def test_heading():
    assert np.isclose(heading(axis_rotation("y", 0.7) @ axis_rotation("x", 0.3)), 0.7)
