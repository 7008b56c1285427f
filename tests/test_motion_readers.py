"""Readers of foreign motion files, on small synthetic files in each layout."""

from __future__ import annotations

import pickle
from collections import OrderedDict

import numpy as np
import pytest

from pipeline.motion import get_motion, retarget
from pipeline.motion.edit import select
from pipeline.motion.readers import read_motion
from pipeline.motion.rotations import aa_to_matrix, axis_rotation, matrix_to_aa
from pipeline.types import BodyParams, PipelineError

F = 24


def walk(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """An upright motion in this project's axes: slight turns about y, steps along +z, bent moving fingers."""
    yaw = np.linspace(0, 0.4, F)
    hands = rng.normal(0, 0.05, (F, 2, 15, 3))
    hands[:, 0, :, 2] -= 0.4
    hands[:, 1, :, 2] += 0.4
    return {
        "root": matrix_to_aa(axis_rotation("y", yaw)),
        "body": rng.normal(0, 0.2, (F, 63)),
        "jaw": rng.normal(0, 0.02, (F, 3)),
        "eyes": rng.normal(0, 0.02, (F, 6)),
        "hands": hands.reshape(F, 90),
        "trans": np.stack([np.zeros(F), np.full(F, 0.9), np.linspace(0, 1, F)], axis=-1),
    }


def turned(motion: dict[str, np.ndarray], turn: np.ndarray) -> dict[str, np.ndarray]:
    """The same motion in other world axes."""
    root = matrix_to_aa(turn @ aa_to_matrix(motion["root"]))
    return {**motion, "root": root, "trans": motion["trans"] @ turn.T}


Z_UP = axis_rotation("z", 0.7) @ axis_rotation("x", np.pi / 2)
Y_DOWN = axis_rotation("x", np.pi)


def amass(m: dict[str, np.ndarray], split: bool = False) -> dict:
    common = {
        "trans": m["trans"], "betas": np.zeros(16), "num_betas": 16, "mocap_frame_rate": 120.0, "gender": "neutral",
        "surface_model_type": "smplx", "markers_latent_vids": np.array([{"a": 1}], dtype=object),
    }  # fmt: skip
    poses = np.concatenate([m["root"], m["body"], m["jaw"], m["eyes"], m["hands"]], axis=1)
    if not split:
        return {**common, "poses": poses}
    names = {"root_orient": "root", "pose_body": "body", "pose_jaw": "jaw", "pose_eye": "eyes", "pose_hand": "hands"}
    return {**common, **{k: m[v] for k, v in names.items()}}


def check_upright(clip, motion, atol: float = 2e-3) -> None:
    """The clip must be the original motion up to the heading at its start."""
    assert np.allclose(aa_to_matrix(clip.global_orient)[:, 1, 1], 1.0, atol=1e-3)
    steps = np.linalg.norm(np.diff(clip.transl, axis=0), axis=-1)
    assert np.allclose(steps, np.linalg.norm(np.diff(motion["trans"], axis=0), axis=-1), atol=1e-5)
    assert abs(clip.transl[-1, 1]) < atol and np.allclose(clip.transl[0], 0)
    assert clip.transl[-1, 2] > 0.95
    assert np.allclose(clip.body_pose.reshape(F, 63), motion["body"], atol=1e-5)


@pytest.mark.parametrize("split", [False, True])
def test_amass_smplx(tmp_path, split):
    motion = walk(np.random.default_rng(1))
    np.savez(tmp_path / "a.npz", **amass(turned(motion, Z_UP), split))
    clip = read_motion(tmp_path / "a.npz")
    check_upright(clip, motion)
    assert clip.fps == 120.0 and clip.meta["source"] == "AMASS"
    assert np.allclose(clip.jaw_pose, motion["jaw"], atol=1e-6)
    assert np.allclose(clip.reye_pose, motion["eyes"][:, 3:], atol=1e-6)
    assert np.allclose(clip.right_hand_pose.reshape(F, 45), motion["hands"][:, 45:], atol=1e-5)


def test_amass_smplh_with_bytes_and_the_other_spelling(tmp_path):
    motion = turned(walk(np.random.default_rng(2)), Z_UP)
    poses = np.concatenate([motion["root"], motion["body"], np.zeros((F, 90))], axis=1)
    np.savez(
        tmp_path / "h.npz", poses=poses, trans=motion["trans"], betas=np.zeros(16), dmpls=np.zeros((F, 8)),
        mocap_framerate=120.00004577636719, gender=b"female",
    )  # fmt: skip
    clip = read_motion(tmp_path / "h.npz")
    assert clip.fps == 120.0
    assert clip.left_hand_pose[:, 1, 2].max() < -0.2, "flat hands become relaxed ones"
    assert any("relaxed" in note for note in clip.meta["notes"])
    assert np.all(clip.jaw_pose == 0) and np.all(clip.leye_pose == 0)


def test_beat2(tmp_path):
    motion = walk(np.random.default_rng(3))
    poses = np.concatenate([motion[k] for k in ("root", "body", "jaw", "eyes", "hands")], axis=1)
    np.savez(
        tmp_path / "b.npz", poses=poses.astype(np.float32), expressions=np.ones((F, 100)), trans=motion["trans"],
        betas=np.zeros(300), model="smplx2020", gender="neutral", mocap_frame_rate=np.int64(30),
    )  # fmt: skip
    clip = get_motion(tmp_path / "b.npz")
    check_upright(clip, motion)
    assert clip.fps == 30 and clip.expression_space == "flame" and clip.expression.shape == (F, 100)


def show(motion: dict[str, np.ndarray], **changes) -> dict:
    n = len(motion["root"])
    return {
        "batch_size": n, "global_orient": motion["root"][:, None], "transl": motion["trans"],
        "body_pose_axis": motion["body"], "pose_embedding": np.zeros((n, 32)), "left_hand_pose": np.ones((n, 12)),
        "right_hand_pose": np.ones((n, 12)), "jaw_pose": motion["jaw"], "leye_pose": motion["eyes"][:, :3],
        "reye_pose": motion["eyes"][:, 3:], "expression": np.ones((n, 100)), "betas": np.zeros((1, 300)),
        "camera_transl": np.zeros(3), "focal_length": 5000, "center": np.zeros(2), "width": 1280, "height": 720,
        "speaker_name": "x", **changes,
    }  # fmt: skip


@pytest.mark.parametrize("turn", [np.eye(3), Y_DOWN], ids=["y up", "y down"])
def test_show(tmp_path, turn, monkeypatch):
    monkeypatch.delenv("SMPLX_MODEL", raising=False)
    motion = walk(np.random.default_rng(4))
    np.savez(tmp_path / "s.npz", **show(turned(motion, turn)))
    clip = read_motion(tmp_path / "s.npz")
    check_upright(clip, motion)
    assert clip.fps == 30 and clip.expression_space == "smplx"
    assert any("SMPLX_MODEL" in note for note in clip.meta["notes"])


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_show_pickles_are_read_without_unpickling(tmp_path, protocol):
    motion = walk(np.random.default_rng(4))
    content = {**show(motion), "width": np.int64(1280), "nested": {"a": [1]}, "names": np.array(["x"])}
    content["body_pose_axis"] = np.asfortranarray(content["body_pose_axis"].astype(np.float32))
    content["objects"] = np.array([{"a": 1}, None], dtype=object)
    content["jaw_pose"].flags.writeable = False
    content = content if protocol % 2 else OrderedDict(content)
    (tmp_path / "s.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
    clip = get_motion(tmp_path / "s.pkl")
    check_upright(clip, motion)
    assert clip.expression.shape == (F, 100)


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("the pickle was opened",))


def test_a_pickle_with_more_than_arrays_is_refused(tmp_path):
    (tmp_path / "t.pkl").write_bytes(pickle.dumps({**show(walk(np.random.default_rng(4))), "x": Trap()}))
    with pytest.raises(PipelineError, match="for safety"):
        read_motion(tmp_path / "t.pkl")
    good = pickle.dumps(show(walk(np.random.default_rng(4))), protocol=4)
    (tmp_path / "cut.pkl").write_bytes(good[: len(good) // 2])
    (tmp_path / "list.pkl").write_bytes(pickle.dumps([1, 2], protocol=4))
    for name in ("cut", "list", "absent"):
        with pytest.raises(PipelineError) as info:
            read_motion(tmp_path / f"{name}.pkl")
        assert "\n" not in str(info.value)


def test_show_hands_come_from_the_licensed_basis_where_there_is_one(tmp_path, monkeypatch):
    rng = np.random.default_rng(5)
    arrays = {}
    for side in "lr":
        arrays[f"hands_mean{side}"] = np.tile([0.0, 0.0, -0.5 if side == "l" else 0.5], 15)
        arrays[f"hands_components{side}"] = rng.normal(0, 0.01, (45, 45))
    np.savez(tmp_path / "SMPLX_NEUTRAL.npz", **arrays)
    monkeypatch.setenv("SMPLX_MODEL", str(tmp_path / "SMPLX_NEUTRAL.npz"))
    np.savez(tmp_path / "s.npz", **show(walk(rng)))
    clip = read_motion(tmp_path / "s.npz")
    expected = arrays["hands_meanl"] + arrays["hands_componentsl"][:12].sum(axis=0)
    assert np.allclose(clip.left_hand_pose[0].ravel(), expected, atol=1e-5)


@pytest.mark.parametrize("batched", [False, True])
def test_talkshow_output(tmp_path, batched):
    motion = walk(np.random.default_rng(6))
    columns = ("jaw", "eyes", "root", "body", "hands")
    values = np.concatenate([*(motion[k] for k in columns), np.ones((F, 100))], axis=1)
    np.save(tmp_path / "t.npy", values[None] if batched else values.astype(np.float32))
    clip = read_motion(tmp_path / "t.npy")
    assert clip.fps == 30 and len(clip) == F
    assert np.allclose(clip.body_pose.reshape(F, 63), motion["body"], atol=1e-6)


def test_hands_counted_from_a_relaxed_hand_are_told_apart(tmp_path):
    motion = walk(np.random.default_rng(7))
    motion["hands"] = np.random.default_rng(8).normal(0, 0.1, (F, 90))
    np.savez(tmp_path / "a.npz", **amass(turned(motion, Z_UP)))
    clip = read_motion(tmp_path / "a.npz")
    assert any("relaxed" in note for note in clip.meta["notes"])
    assert clip.left_hand_pose[:, 4, 2].mean() < -0.3


def test_a_long_recording_is_resampled(tmp_path):
    frames = 37_000
    poses = np.zeros((frames, 156), np.float32)
    np.savez(tmp_path / "long.npz", poses=poses, trans=np.zeros((frames, 3), np.float32), mocap_framerate=120.0)
    clip = read_motion(tmp_path / "long.npz")
    assert clip.fps == 30 and len(clip) == frames // 4


@pytest.fixture(scope="module")
def body():
    from pipeline.body import load_body

    return load_body()


def written(path, motion: dict[str, np.ndarray]) -> None:
    """The motion in the layout that the file's name says, in the world axes that are usual there."""
    family = path.name
    axes = Y_DOWN if "show" in family else np.eye(3) if family == "beat2.npz" else Z_UP
    m, n = turned(motion, axes), len(motion["root"])
    poses = np.concatenate([m[k] for k in ("root", "body", "jaw", "eyes", "hands")], axis=1)
    if family == "talkshow.npy":
        columns = [m[k] for k in ("jaw", "eyes", "root", "body", "hands")]
        np.save(path, np.concatenate([*columns, np.zeros((n, 100))], axis=1))
    elif family == "show.pkl":
        path.write_bytes(pickle.dumps(show(m)))
    elif family == "show.npz":
        np.savez(path, **show(m))
    elif family == "smplh.npz":
        np.savez(path, poses=np.delete(poses, np.s_[66:75], axis=1), trans=m["trans"], mocap_framerate=30.0)
    elif family == "beat2.npz":
        np.savez(path, poses=poses.astype("f4"), expressions=np.zeros((n, 100)), trans=m["trans"], mocap_frame_rate=30)
    else:
        np.savez(path, **amass(m, split=family == "split.npz"))


FAMILIES = ("amass.npz", "split.npz", "smplh.npz", "beat2.npz", "show.npz", "show.pkl", "talkshow.npy")


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_plays_as_its_own_motion_does(tmp_path, body, family):
    """A preset in each layout moves an avatar frame by frame as the preset itself, fingers where the file has them."""
    clip = select(get_motion("explaining"), slice(20, 50, 3))
    n = len(clip)
    hands = np.concatenate([clip.left_hand_pose, clip.right_hand_pose], axis=1).reshape(n, 90)
    motion = {"root": clip.global_orient, "body": clip.body_pose.reshape(n, 63), "jaw": clip.jaw_pose, "hands": hands}
    written(tmp_path / family, {**motion, "eyes": np.zeros((n, 6)), "trans": clip.transl})
    rest = BodyParams.zeros(body.n_betas, body.n_expression)
    wanted, played = (list(retarget(c, body, rest)) for c in (clip, read_motion(tmp_path / family)))
    assert len(played) == n
    for a, b in zip(wanted, played, strict=True):
        assert all(np.isfinite(value).all() for value in vars(b).values())
        assert np.abs(aa_to_matrix(a.body_pose[12:19]) - aa_to_matrix(b.body_pose[12:19])).max() < 0.05
        if "show." not in family:  # whose hands are coefficients of a basis that is not here
            assert np.abs(aa_to_matrix(a.right_hand_pose) - aa_to_matrix(b.right_hand_pose)).max() < 0.05


@pytest.mark.parametrize(
    "change",
    [
        {"poses": "float16"},
        {"poses": "big-endian"},
        {"poses": "by joint"},
        {"mocap_frame_rate": np.array([120], np.int32), "gender": np.array("male"), "betas": np.zeros(300)},
        {"gender": np.array(b"female"), "surface_model_type": np.array({}, dtype=object), "trans": np.zeros((1, 3))},
        {"labels": np.array([None, "x"], dtype=object), "dmpls": np.full((3, 8), np.nan), "marker_data": np.zeros(0)},
    ],
    ids=["half precision", "big-endian", "by joint", "rate as array", "held place", "fields of no use"],
)  # fmt: skip
def test_what_real_files_vary_in_is_read(tmp_path, change):
    arrays = amass(turned(walk(np.random.default_rng(10)), Z_UP))
    form = change.get("poses")
    kinds = {"float16": np.float16, "big-endian": ">f8"}
    if form:
        poses = arrays["poses"].astype(kinds.get(form, np.float64))
        change = {"poses": poses.reshape(F, 55, 3) if form == "by joint" else poses}
    np.savez_compressed(tmp_path / "a.npz", **{**arrays, **change})
    clip = read_motion(tmp_path / "a.npz")
    assert len(clip) == F and clip.fps == 120
    assert np.allclose(clip.body_pose.reshape(F, 63), arrays["poses"][:, 3:66], atol=2e-3)


def test_a_joint_that_is_wound_up_for_a_moment_is_read(tmp_path):
    arrays = amass(walk(np.random.default_rng(11)))
    poses = np.repeat(arrays["poses"], 10, axis=0)
    poses[5, 30:33] *= 1 + 4 * np.pi / np.linalg.norm(poses[5, 30:33])  # two turns more, the same rotation
    np.savez(tmp_path / "a.npz", **{**arrays, "poses": poses, "trans": np.zeros((len(poses), 3))})
    clip = read_motion(tmp_path / "a.npz")
    assert np.allclose(clip.body_pose[5, 9], clip.body_pose[4, 9], atol=1e-4)


def test_a_recording_faster_than_clips_may_be_is_resampled(tmp_path):
    np.savez(tmp_path / "a.npz", **{**amass(walk(np.random.default_rng(12))), "mocap_frame_rate": 480.0})
    assert read_motion(tmp_path / "a.npz").fps == 30


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"poses": np.zeros((F, 100))}, "165"),
        ({"poses": np.full((F, 165), 45.0)}, "degrees"),
        ({"poses": np.full((F, 165), np.nan)}, "NaN"),
        ({"poses": np.zeros((0, 165)), "trans": np.zeros((0, 3))}, "no frames"),
        ({"poses": np.array([{}] * F, dtype=object)}, "pickled"),
        ({"trans": np.zeros((F - 9, 3))}, "frames"),
        ({"mocap_frame_rate": 1e6}, "frame rate"),
        ({"mocap_frame_rate": "fast"}, "frame rate"),
    ],
)
def test_bad_files_end_in_one_sentence(tmp_path, change, words):
    arrays = {**amass(walk(np.random.default_rng(9))), **change}
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(PipelineError) as info:
        read_motion(tmp_path / "bad.npz")
    assert words in str(info.value) and "\n" not in str(info.value)


def test_unknown_layouts_are_named(tmp_path):
    np.savez(tmp_path / "x.npz", something=np.zeros(3))
    with pytest.raises(PipelineError, match="layouts"):
        read_motion(tmp_path / "x.npz")
    np.savez(tmp_path / "pose2d.npz", body=np.zeros((2, 18, 2)), hands=np.zeros(3), face68=np.zeros(3))
    with pytest.raises(PipelineError, match="2D keypoints"):
        read_motion(tmp_path / "pose2d.npz")
    (tmp_path / "y.pkl").write_bytes(b"\x80\x04.")
    with pytest.raises(PipelineError, match="not a readable motion"):
        read_motion(tmp_path / "y.pkl")
    np.save(tmp_path / "z.npy", np.zeros((4, 10)))
    with pytest.raises(PipelineError, match="265"):
        read_motion(tmp_path / "z.npy")
    with pytest.raises(PipelineError, match="does not exist"):
        get_motion(tmp_path / "absent.npz")
    with pytest.raises(PipelineError, match="choose one of"):
        get_motion("no_such_preset")
