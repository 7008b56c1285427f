"""The authored presets: regenerated equal, looping, within human limits, in the visible zone, and clear to read."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from pipeline.motion import get_motion, list_presets
from pipeline.motion.authoring import PRESETS, make_preset
from pipeline.motion.authoring.speech import Phrase, speak
from pipeline.motion.authoring.timeline import Timeline
from pipeline.motion.clips import save_clip
from pipeline.motion.kinematics import joint_positions, local_to_global, two_bone
from pipeline.motion.presets import motions_folder
from pipeline.motion.rotations import matrix_to_aa
from pipeline.motion.skeleton import ARKIT, INDEX, mean_joints
from pipeline.motion.statistics import local_rotations, low_pass, motion_statistics, windows
from pipeline.types import MotionClip

NAMES = sorted(PRESETS)
LIMITS = {
    "wrist_speed_max": 1.6, "wrist_speed_95": 0.8, "wrist_jerk_95": 300.0, "wrist_jerk_max": 700.0, "arm_turn_max": 7.0,
    "finger_turn_max": 9.0, "head_turn_max": 3.0, "torso_turn_max": 1.2, "jaw_max": 0.7, "blinks_per_minute": 60.0,
}  # fmt: skip

FILMED = {
    "wrist_speed_95": (0.0494, 0.872), "wrist_jerk_95": (7.97, 112.0), "wrist_jerk_max": (9.83, 190.0),
    "arm_turn_max": (0.669, 9.73), "finger_turn_max": (0.583, 6.0), "head_turn_max": (0.218, 1.58),
    "torso_turn_max": (0.087, 0.652), "chest_turn_95": (0.207, 1.59), "head_range": (3.36, 37.6),
    "chest_range": (2.37, 22.3), "blinks_per_minute": (0.0, 96.3), "limit_max": (0.0, 21.7),
    "limit_share": (0.0, 0.0447),
}  # fmt: skip
"""Twenty people who talk or listen before a camera (of arms, the four whose hands are in view), in pieces of two
seconds, below 2 Hz, wrists as seen from the front: `motions stats CLIPS --below 2 --front`, docs/motion.md."""
SIGNED = {"wrist_speed_median": (0.0222, 0.391), "wrist_speed_max": (0.0705, 2.45), "hand_range": (0.017, 0.538)}
"""The same with nine signs as the upper end: a wave or a thumb comes up from hanging as a sign does."""


@lru_cache(maxsize=32)
def played(name: str) -> tuple[MotionClip, np.ndarray, np.ndarray]:
    """A preset, its world rotations and its joint places on an average adult."""
    clip = get_motion(name)
    world = local_to_global(local_rotations(clip))
    return clip, world, joint_positions(world, mean_joints(), clip.transl)


def test_there_are_the_promised_presets():
    presets = {p.name: p for p in list_presets()}
    wanted = {"listening", "explaining", "emphatic", "counting", "greeting", "shrug_laugh", "presenting", "thinking"}
    assert wanted <= set(presets) and set(presets) == set(PRESETS) and len(presets) >= 12
    for preset in presets.values():
        assert preset.source == "authored" and preset.licence == "CC0-1.0"
        assert preset.title and preset.description and preset.tags
        assert 6.0 <= preset.duration <= 10.0 and preset.fps == 30
        assert preset.path.stat().st_size < 300_000


@pytest.mark.parametrize("name", NAMES)
def test_the_generator_writes_the_same_file_again(name, tmp_path):
    clip, stored = make_preset(name), get_motion(name)
    for field in ("global_orient", "body_pose", "left_hand_pose", "right_hand_pose", "transl", "arkit"):
        assert np.abs(getattr(clip, field) - getattr(stored, field)).max() <= 2.0**-9, field
    assert clip.meta == stored.meta
    save_clip(clip, tmp_path / "a.npz")
    save_clip(make_preset(name), tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert (motions_folder() / f"{name}.npz").is_file()


@pytest.mark.parametrize("name", NAMES)
def test_motion_is_smooth_and_loops(name):
    clip, _, _ = played(name)
    measured = motion_statistics(clip).as_dict()
    for key, limit in LIMITS.items():
        assert measured[key] < limit, key
    face = np.abs(np.diff(clip.arkit, axis=0, append=clip.arkit[:1]))
    slow = [i for i, n in enumerate(ARKIT) if not n.startswith(("eyeBlink", "eyeLook"))]
    assert face[:, slow].max() < 0.2


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_moves_within_the_range_of_filmed_people(name):
    """Every two seconds of it, quiet ones too."""
    pieces = windows(low_pass(get_motion(name), 2.0), 2.0)
    measured = [motion_statistics(piece, depth=False).as_dict() for piece in pieces]
    for key, (low, high) in {**FILMED, **SIGNED}.items():
        values = [row[key] for row in measured]
        assert low <= min(values) and max(values) <= high, (key, min(values), max(values))


@pytest.mark.parametrize("name", NAMES)
def test_joints_stay_within_human_limits(name):
    from pipeline.body import joint_limits

    lower, upper = joint_limits()
    angles = matrix_to_aa(local_rotations(played(name)[0]))
    assert np.degrees(np.maximum(angles - upper, lower - angles).max()) < 6.0


@pytest.mark.parametrize("name", NAMES)
def test_hands_stay_in_the_visible_zone(name):
    clip, _, joints = played(name)
    shoulders = 0.5 * (joints[:, INDEX["left_shoulder"]] + joints[:, INDEX["right_shoulder"]])
    for side, sign in (("left", 1), ("right", -1)):
        wrist = joints[:, INDEX[f"{side}_wrist"]] - shoulders
        assert wrist[:, 1].max() < 0.15 and wrist[:, 1].min() > -0.52
        assert (sign * wrist[:, 0]).max() < 0.36 and (sign * wrist[:, 0]).min() > -0.12
        hanging = wrist[:, 1] < -0.40
        assert wrist[~hanging, 2].min(initial=1.0) > 0.05, "in front of the body"


@pytest.mark.parametrize("name", NAMES)
def test_presets_are_alive_and_asymmetric(name):
    clip, _, joints = played(name)
    blink = clip.arkit[:, ARKIT.index("eyeBlinkLeft")]
    assert 1 <= np.sum((blink[1:] > 0.5) & (blink[:-1] <= 0.5)) <= 8
    head = clip.body_pose[:, INDEX["head"] - 1]
    assert np.degrees(np.ptp(head, axis=0).max()) > 1.5
    left, right = joints[:, INDEX["left_wrist"]], joints[:, INDEX["right_wrist"]] * [-1, 1, 1]
    assert np.abs(left - right).max() > 0.02
    smile = clip.arkit[:, [ARKIT.index("mouthSmileLeft"), ARKIT.index("mouthSmileRight")]]
    assert np.abs(smile[:, 0] - smile[:, 1]).max() > 1e-3


def extension(clip: MotionClip, time: float) -> list[bool]:
    """Which fingers of the right hand are stretched: index, middle, ring, pinky, thumb."""
    pose = clip.right_hand_pose[round(time * clip.fps)].reshape(5, 3, 3)
    bend = np.degrees(np.linalg.norm(pose[:, 1], axis=-1))
    index, middle, pinky, ring, thumb = bend
    return [bool(b < 25) for b in (index, middle, ring, pinky)] + [bool(thumb < 15)]


def test_counting_shows_one_to_five():
    clip = get_motion("counting")
    for count, time in enumerate((1.1, 2.25, 3.35, 4.45, 5.6), start=1):
        shown = extension(clip, time)
        assert sum(shown) == count, (time, shown)
        assert shown[:count] == [True] * count


def test_speech_moves_the_mouth_and_laughter_smiles():
    jaw = played("explaining")[0].arkit[:, ARKIT.index("jawOpen")]
    assert 0.25 < jaw.max() < 0.7 and np.median(jaw[20:180]) > 0.05
    quiet = played("listening")[0].arkit[:, ARKIT.index("jawOpen")]
    assert quiet.max() < 0.1
    laugh = played("shrug_laugh")[0].arkit[round(4.4 * 30)]
    assert laugh[ARKIT.index("mouthSmileLeft")] > 0.6 and laugh[ARKIT.index("cheekSquintRight")] > 0.4


def test_lips_close_on_m_and_round_early_for_oo():
    timeline = Timeline(2.0, 120.0)
    speech = speak(timeline, [Phrase(0.4, "AA1 M AA1")])
    jaw = speech.mouth["jawOpen"]
    first = jaw.argmax()
    closed = jaw[48:110].copy()
    valley = 48 + closed[10:40].argmin() + 10
    assert jaw[valley] < 0.35 * jaw[first] and speech.mouth["mouthPress"].max() > 0.15
    rounded = speak(timeline, [Phrase(0.4, "S T UW1")]).mouth
    onset = np.argmax(rounded["mouthPucker"] > 0.1) / 120
    vowel = speak(timeline, [Phrase(0.4, "S T UW1")]).stresses[0]
    assert onset < vowel - 0.05


def test_two_bone_reaches_its_target_and_never_locks():
    start = np.zeros((3, 3))
    target = np.array([[0.3, -0.1, 0.2], [0.05, 0, 0.0], [2.0, 0, 0]])
    pole = np.tile([0.0, -1.0, 0.0], (3, 1))
    middle, end = two_bone(start, target, 0.26, 0.23, pole)
    assert np.allclose(end[0], target[0], atol=1e-9)
    assert np.allclose(np.linalg.norm(middle - start, axis=-1), 0.26)
    assert np.allclose(np.linalg.norm(end - middle, axis=-1), 0.23)
    assert np.linalg.norm(end[2]) < 0.985 * 0.49 + 1e-9
    assert np.all(middle[:, 1] < 0)


def test_timeline_curves_are_periodic():
    timeline = Timeline(5.0)
    rng = np.random.default_rng(0)
    noise = timeline.noise(rng)
    assert np.isclose(noise.std(), 1.0, atol=0.2) and abs(noise[0] - noise[-1]) < 0.2
    track = timeline.track([(0.0, 1.0), (2.0, 3.0), (4.0, -1.0)], travel=0.5)
    assert np.isclose(track[0], 1.0) and np.isclose(track[60], 3.0) and np.isclose(track[44], 1.0)
    assert np.isclose(track[-1], 1.0, atol=1e-2)
    assert np.allclose(timeline.lag(track, 1.0), np.roll(track, 30))
