"""Retargeting: anchored to the photo, contacts kept, hands out of the body, on several builds, fast."""

from __future__ import annotations

import time

import numpy as np
import pytest
from test_motion_clips import make_clip

from pipeline.motion import clip_to_params, get_motion, list_presets, retarget
from pipeline.motion.collision import body_solids
from pipeline.motion.contact import HAND_POINTS, _posed
from pipeline.motion.edit import repeat, select
from pipeline.motion.retarget import _params_local
from pipeline.motion.rotations import aa_to_matrix, axis_rotation, heading, matrix_to_aa
from pipeline.motion.skeleton import ARKIT, INDEX, NAMES, PARENTS, mean_joints
from pipeline.motion.statistics import local_rotations
from pipeline.types import BodyParams, PipelineError

SIDES = ("left", "right")


@pytest.fixture(scope="module")
def body():
    from pipeline.body import load_body

    return load_body()


@pytest.fixture(scope="module")
def builds(body) -> dict[str, np.ndarray]:
    """Shape coefficients of several people: the mean, tall, small, and the most and least bellied of random ones."""
    rng = np.random.default_rng(0)
    tries = rng.normal(0, 1.2, (12, body.n_betas)).astype(np.float32)
    depths = []
    for betas in tries:
        torso = body_solids(body, betas).torso
        depths.append(np.max(torso.front - torso.back))
    first = np.zeros(body.n_betas, np.float32)
    first[0] = 2.0
    zero = np.zeros(body.n_betas, np.float32)
    return {
        "mean": zero,
        "one": first,
        "other": -first,
        "wide": tries[np.argmax(depths)],
        "slim": tries[np.argmin(depths)],
    }


def person(body, betas=None, **pose) -> BodyParams:
    rest = BodyParams.zeros(body.n_betas, body.n_expression)
    angles = rest.body_pose.copy()
    angles[INDEX["left_shoulder"] - 1] = (0, 0, -1.2)
    angles[INDEX["right_shoulder"] - 1] = (0, 0, 1.2)
    angles[INDEX["spine2"] - 1] = (0.1, 0.15, 0)
    angles[INDEX["left_hip"] - 1] = (-1.4, 0, 0)
    angles[INDEX["left_knee"] - 1] = (1.4, 0, 0)
    return rest.replace(
        betas=rest.betas if betas is None else betas,
        body_pose=angles,
        global_orient=np.array([0.05, 0.4, 0.02], np.float32),
        transl=np.array([0.1, 0.3, -2.0], np.float32),
        expression=np.full(body.n_expression, 0.3, np.float32),
        **pose,
    )


def locals_of(motion) -> np.ndarray:
    return np.stack([_params_local(p) for p in motion])


def test_names_tree_and_mean_joints_are_those_of_the_body(body):
    import torch

    from pipeline.body import ARKIT_NAMES, JOINT_NAMES
    from pipeline.body import PARENTS as BODY_PARENTS

    assert tuple(ARKIT_NAMES) == ARKIT and tuple(BODY_PARENTS) == PARENTS
    assert [n.split("_smplhf")[0] for n in JOINT_NAMES] == list(NAMES)
    if body.name.startswith("open"):
        _, joints = body.shaped(torch.zeros(1, body.n_betas), torch.zeros(1, body.n_expression))
        joints = joints[0].numpy() - joints[0, 0].numpy()
        assert np.abs(joints - mean_joints()).max() < 0.01


def test_kinematics_equal_the_body_model(body, builds):
    import torch

    rng = np.random.default_rng(0)
    pose = rng.normal(0, 0.3, (3, 55, 3))
    betas = builds["wide"]
    solids = body_solids(body, betas)
    posed = _posed(aa_to_matrix(pose), solids.rest[0] + [0.1, 0.2, 0.3], solids.rest)
    _, joints = body.transforms(
        torch.as_tensor(pose).float(), torch.as_tensor(solids.rest).float()[None].expand(3, -1, -1)
    )
    assert np.allclose(joints.numpy() + [0.1, 0.2, 0.3], posed.joints, atol=1e-5)


def test_it_is_a_sequence_of_body_params(body):
    clip = get_motion("explaining")
    rest = person(body)
    motion = retarget(clip, body, rest)
    assert len(motion) == len(clip) and motion.fps == 30
    assert all(np.array_equal(p.betas, rest.betas) for p in (motion[0], motion[-1], *list(motion)[10:12]))
    assert motion[3].body_pose.shape == (21, 3) and motion[3].expression.shape == (body.n_expression,)
    assert len(motion[10:20]) == 10 and np.array_equal(motion[10:20][0].transl, motion[10].transl)
    for values in motion.arrays.values():
        assert values.dtype == np.float32 and np.isfinite(values).all()


def test_the_photo_anchors_torso_head_and_legs(body):
    clip, rest = get_motion("explaining"), person(body)
    motion = retarget(clip, body, rest, idle=False)
    photo, moved = _params_local(rest), locals_of(motion)
    for joint in ("spine1", "spine2", "spine3", "neck", "head"):
        away = np.swapaxes(photo[None, INDEX[joint]], -1, -2) @ moved[:, INDEX[joint]]
        assert np.degrees(np.linalg.norm(matrix_to_aa(away).mean(axis=0))) < 2.0, joint
    for joint in ("left_hip", "right_knee", "pelvis"):
        assert np.allclose(moved[:, INDEX[joint]], photo[INDEX[joint]], atol=1e-5)
    assert np.allclose(motion.arrays["transl"], rest.transl)
    assert np.degrees(np.ptp(motion.arrays["body_pose"][:, INDEX["head"] - 1], axis=0).max()) > 3


def test_a_moving_root_starts_at_the_photos_heading_and_place(body):
    clip = get_motion("listening")
    frames = len(clip)
    yaw = 1.0 + np.linspace(0, 0.5, frames)
    clip = clip.replace(
        global_orient=matrix_to_aa(axis_rotation("y", yaw)).astype(np.float32),
        transl=np.stack([np.linspace(0, 1, frames) + 5, np.zeros(frames), np.zeros(frames)], -1).astype(np.float32),
    )
    rest = person(body).replace(global_orient=np.array([0, 0.4, 0], np.float32))
    motion = retarget(clip, body, rest, keep_lower_body=False)
    headings = heading(aa_to_matrix(motion.arrays["global_orient"]))
    assert np.isclose(headings[0], 0.4, atol=1e-4) and np.isclose(headings[-1], 0.9, atol=1e-4)
    assert np.allclose(motion[0].transl, rest.transl)
    moved = motion[-1].transl - rest.transl
    turn = 0.4 - 1.0
    assert np.allclose(moved, [np.cos(turn), 0, -np.sin(turn)], atol=1e-4)


def test_a_still_root_hands_its_turn_to_the_spine(body):
    clip = get_motion("listening")
    turned = clip.global_orient.copy()
    turned[:, 1] += 0.3 * np.sin(np.linspace(0, 2 * np.pi, len(clip)))
    motion = retarget(clip.replace(global_orient=turned), body, person(body))
    spine = motion.arrays["body_pose"][:, INDEX["spine1"] - 1]
    assert np.ptp(spine[:, 1]) > 0.4
    assert np.ptp(motion.arrays["global_orient"], axis=0).max() < 1e-6


def test_settling_starts_in_the_photo(body):
    rest = person(body)
    motion = retarget(get_motion("explaining"), body, rest, settle=0.5)
    for name in ("body_pose", "left_hand_pose", "expression", "jaw_pose", "transl"):
        assert np.allclose(getattr(motion[0], name), getattr(rest, name), atol=1e-5), name
    whole = retarget(get_motion("explaining"), body, rest)
    assert np.allclose(motion[20].body_pose, whole[20].body_pose, atol=1e-5)
    local = locals_of(motion[:20])
    step = np.linalg.norm(matrix_to_aa(np.swapaxes(local[:-1], -1, -2) @ local[1:]), axis=-1)
    assert step.max() < 0.5


def test_the_photos_expression_is_not_added(body):
    clip = get_motion("explaining")
    motion = retarget(clip, body, person(body), idle=False)
    expected = body.arkit_to_params(clip.arkit)
    assert np.allclose(motion.arrays["expression"], expected["expression"], atol=1e-6)
    quiet = retarget(clip, body, person(body), expression_gain=0.0, idle=False)
    assert np.abs(quiet.arrays["jaw_pose"]).max() < 1e-6
    blinking = clip.arkit.copy()
    keep = [i for i, n in enumerate(ARKIT) if n.startswith(("eyeBlink", "eyeLook"))]
    blinking[:, [i for i in range(52) if i not in keep]] = 0
    assert np.allclose(quiet.arrays["expression"], body.arkit_to_params(blinking)["expression"], atol=1e-6)


def test_a_clips_own_jaw_wins_and_foreign_expressions_are_left_out(body):
    clip = select(get_motion("explaining"), slice(0, 30))
    jaw = np.full((30, 3), 0.1, np.float32)
    motion = retarget(clip.replace(jaw_pose=jaw), body, person(body))
    assert np.allclose(motion.arrays["jaw_pose"], jaw)
    foreign = clip.replace(expression=np.ones((30, 9), np.float32), expression_space="elsewhere")
    plain = retarget(clip, body, person(body))
    assert np.array_equal(retarget(foreign, body, person(body)).arrays["expression"], plain.arrays["expression"])


def hand_points(posed, side):
    return posed.joints[:, [INDEX[f"{side}_{n}"] for n in HAND_POINTS]]


@pytest.mark.parametrize("build", ["mean", "one", "other", "wide", "slim"])
def test_hands_stay_out_of_torso_and_head(body, builds, build):
    rest = person(body, builds[build])
    solids = body_solids(body, rest.betas)
    for name in ("listening", "thinking", "heartfelt", "shrug_laugh", "refusing"):
        motion = retarget(get_motion(name), body, rest)
        local = locals_of(motion)
        posed = _posed(local, motion.arrays["transl"] + solids.rest[0], solids.rest)
        for side in SIDES:
            for solid in (solids.torso, solids.head):
                distance, _ = solid.distance(hand_points(posed, side), posed.world, posed.joints)
                assert distance.min() > 0.0, (name, side)
        step = np.linalg.norm(matrix_to_aa(np.swapaxes(local[:-1], -1, -2) @ local[1:]), axis=-1) * 30
        assert step[:, :22].max() < 9.0, name


def test_a_hand_inside_the_belly_is_pushed_out_smoothly(body, builds):
    clip = get_motion("listening")
    pose = clip.body_pose.copy()
    for side in SIDES:
        column = INDEX[f"{side}_shoulder"] - 1
        pose[:, column] = matrix_to_aa(axis_rotation("x", 0.45) @ aa_to_matrix(pose[:, column]))
    rest = person(body, builds["wide"])
    bad = retarget(clip.replace(body_pose=pose), body, rest, fix_contacts=False)
    good = retarget(clip.replace(body_pose=pose), body, rest)
    solids = body_solids(body, rest.betas)
    depths = []
    for motion in (bad, good):
        posed = _posed(locals_of(motion), motion.arrays["transl"] + solids.rest[0], solids.rest)
        inside = [solids.torso.distance(hand_points(posed, s), posed.world, posed.joints)[0].min() for s in SIDES]
        depths.append(min(inside))
    assert depths[0] < -0.02 and depths[1] > -0.012
    assert good.fixes.largest_shift > 0.02 and good.notes


@pytest.mark.parametrize("build", ["one", "other", "wide"])
def test_hand_to_hand_contact_is_kept(body, builds, build):
    clip = get_motion("listening")
    mean = body_solids(body, np.zeros(body.n_betas))
    source = _posed(local_rotations(clip), np.zeros(3), mean.rest)
    rest = person(body, builds[build])
    solids = body_solids(body, rest.betas)
    motion = retarget(clip, body, rest)
    posed = _posed(locals_of(motion), motion.arrays["transl"] + solids.rest[0], solids.rest)

    def gap(p):
        left, right = hand_points(p, "left"), hand_points(p, "right")
        return np.linalg.norm(left[:, :, None] - right[:, None], axis=-1).min(axis=(1, 2))

    assert np.abs(gap(posed) - gap(source)).max() < 0.03


@pytest.mark.parametrize(("name", "part"), [("thinking", "head"), ("shrug_laugh", "torso")])
@pytest.mark.parametrize("build", ["one", "other", "wide", "slim"])
def test_hands_that_touch_face_and_chest_still_touch_them(body, builds, build, name, part):
    """As near as in the clip: 1.5 cm in the middle, 5 cm at the moments of coming and going; and nothing sinks in."""
    clip, betas = get_motion(name), builds[build]
    gaps = []
    for shape, local, root in ((np.zeros_like(betas), local_rotations(clip), None), (betas, None, None)):
        solids = body_solids(body, shape)
        solid = getattr(solids, part)
        if local is None:
            motion = retarget(clip, body, person(body, betas))
            local, root = locals_of(motion), motion.arrays["transl"] + solids.rest[0]
        posed = _posed(local, np.zeros(3) if root is None else root, solids.rest)
        gaps.append({s: solid.distance(posed.hand_points(s), posed.world, posed.joints)[0].min(1) for s in SIDES})
    touching = {s: gaps[0][s] < 0.03 for s in SIDES}
    assert max(t.sum() for t in touching.values()) > 10, "the clip touches for a third of a second"
    for side in SIDES:
        away = (gaps[1][side] - gaps[0][side])[touching[side]]
        if away.size:
            assert np.median(away) < 0.015 and away.max() < 0.055 and gaps[1][side][touching[side]].min() > 0.0, side


def test_every_preset_plays_on_another_build(body, builds):
    for i, preset in enumerate(list_presets()):
        motion = retarget(get_motion(preset.name), body, person(body, builds[("wide", "one", "slim")[i % 3]]))
        assert motion.fixes.deepest_left < 0.01 and motion.fixes.largest_shift < 0.2


def test_it_is_fast(body):
    clip = repeat(get_motion("explaining"), 300)
    rest = person(body)
    retarget(clip, body, rest)
    started = time.process_time()
    retarget(clip, body, rest)
    assert time.process_time() - started < 3.0, "a second of an idle core"


def test_one_frame_and_bad_settings(body):
    assert len(retarget(make_clip(1), body, person(body))) == 1
    for setting in ({"settle": -1.0}, {"posture": 2.0}, {"expression_gain": 9.0}, {"amplitude": 3.0}):
        with pytest.raises(PipelineError, match="must be"):
            retarget(make_clip(3), body, person(body), **setting)


def test_a_clip_of_the_same_person_is_played_as_it_is(body):
    clip = get_motion("explaining")
    motion = clip_to_params(clip, body, person(body))
    assert np.array_equal(motion.arrays["body_pose"], clip.body_pose)
    assert np.array_equal(motion.arrays["transl"], clip.transl)


def test_raised_hands_are_drawn_back_into_the_picture(body):
    from pipeline.types import Camera

    clip, rest = get_motion("shrug_laugh"), BodyParams.zeros(body.n_betas, body.n_expression)
    solids = body_solids(body, rest.betas)
    view = Camera.frontal(180, 320, 2.6 * 320)
    viewmat = view.viewmat.copy()
    viewmat[:3, 3] = -viewmat[:3, :3] @ (solids.rest[INDEX["spine3"]] + [0, 0, 2.6])
    camera = Camera(viewmat, view.K, view.width, view.height)
    beyond = []
    for seen in (None, camera):
        motion = retarget(clip, body, rest, camera=seen)
        posed = _posed(locals_of(motion), motion.arrays["transl"] + solids.rest[0], solids.rest)
        frames = slice(35, 55)
        pixels = np.concatenate([camera.project(hand_points(posed, s)[frames])[0] for s in SIDES], axis=1)
        beyond.append(max(-pixels[..., 0].min(), pixels[..., 0].max() - camera.width))
    assert beyond[0] > 3 and beyond[1] < beyond[0] - 3


def test_hands_rest_on_thighs_and_not_in_them(body):
    clip = get_motion("agreeing")
    seated = person(body)
    pose = seated.body_pose.copy()
    for side, sign in (("left", 1), ("right", -1)):
        pose[INDEX[f"{side}_hip"] - 1] = (-1.5, 0.0, 0.25 * sign)
        pose[INDEX[f"{side}_knee"] - 1] = (1.5, 0, 0)
    seated = seated.replace(body_pose=pose)
    solids = body_solids(body, seated.betas)
    motion = retarget(clip, body, seated)
    posed = _posed(locals_of(motion), motion.arrays["transl"] + solids.rest[0], solids.rest)
    for side in SIDES:
        for thigh in (solids.left_thigh, solids.right_thigh):
            assert thigh.distance(hand_points(posed, side), posed.world, posed.joints)[0].min() > -0.03


def test_gestures_turn_towards_where_the_head_looks(body):
    clip = get_motion("explaining")
    rest = BodyParams.zeros(body.n_betas, body.n_expression)
    turned = rest.body_pose.copy()
    turned[INDEX["spine2"] - 1] = (0, 0.5, 0)
    turned[INDEX["neck"] - 1] = (0, -0.5, 0)
    solids = body_solids(body, rest.betas)
    yaws = []
    for photo in (rest, rest.replace(body_pose=turned)):
        motion = retarget(clip, body, photo)
        posed = _posed(locals_of(motion), motion.arrays["transl"] + solids.rest[0], solids.rest)
        hands = posed.joints[:, [INDEX["left_wrist"], INDEX["right_wrist"]]].mean(axis=1)
        middle = posed.joints[:, [INDEX["left_shoulder"], INDEX["right_shoulder"]]].mean(axis=1)
        ahead = (hands - middle).mean(axis=0)
        yaws.append(np.arctan2(ahead[0], ahead[2]))
    assert 0.05 < yaws[1] - yaws[0] < 0.35, "between the head (0) and the chest (0.5)"


def test_the_photos_gaze_is_the_base_of_the_clips(body):
    clip = get_motion("listening")
    clip = clip.replace(arkit=np.zeros_like(clip.arkit))
    side = np.array([0.0, 0.2, 0.0], np.float32)
    rest = person(body, leye_pose=side, reye_pose=side)
    motion = retarget(clip, body, rest, idle=False)
    assert np.allclose(motion.arrays["leye_pose"], motion.arrays["reye_pose"], atol=1e-6)
    assert 0.15 < motion.arrays["leye_pose"][0, 1] < 0.205
