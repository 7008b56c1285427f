"""Motion clip files: exact round trips, and every bad file ends in one sentence."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import pytest

from pipeline.motion.clips import load_clip, save_clip, validate
from pipeline.types import ROTATION_FIELDS, MotionClip, PipelineError


def make_clip(frames: int = 12, fps: float = 30.0, seed: int = 0) -> MotionClip:
    rng = np.random.default_rng(seed)
    rotations = {k: rng.normal(0, 0.3, (frames, *s)).astype(np.float32) for k, s in ROTATION_FIELDS.items()}
    return MotionClip(
        fps=fps,
        transl=rng.normal(0, 0.1, (frames, 3)).astype(np.float32),
        arkit=rng.random((frames, 52)).astype(np.float32),
        meta={"name": "toy", "source": "test", "licence": "CC0-1.0", "tags": ["ä", "b"]},
        **rotations,
    )


def arrays_of(clip: MotionClip) -> dict:
    names = [*ROTATION_FIELDS, "transl", "arkit"]
    return {
        **{n: getattr(clip, n) for n in names},
        "fps": np.float64(clip.fps),
        "meta": np.array(json.dumps(clip.meta)),
    }


def test_round_trip_is_exact_and_equal_clips_are_equal_files(tmp_path):
    clip = make_clip().replace(expression=np.ones((12, 7), np.float32), expression_space="flame")
    save_clip(clip, tmp_path / "a.npz")
    save_clip(clip, tmp_path / "b.npz")
    again = load_clip(tmp_path / "a.npz")
    for name in (*ROTATION_FIELDS, "transl", "arkit", "expression"):
        assert np.array_equal(getattr(again, name), getattr(clip, name))
        assert getattr(again, name).dtype == np.float32
    assert (again.fps, again.meta, again.expression_space) == (30.0, clip.meta, "flame")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.npz", "b.npz"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"body_pose": np.zeros((12, 20, 3))}, "shape"),
        ({"body_pose": np.zeros((12, 63))}, "shape"),
        ({"arkit": np.zeros((11, 52))}, "shape"),
        ({"transl": np.full((12, 3), np.nan)}, "NaN"),
        ({"jaw_pose": np.full((12, 3), np.inf)}, "NaN"),
        ({"body_pose": np.full((12, 21, 3), 30.0)}, "degrees"),
        ({"transl": np.full((12, 3), 5000.0)}, "metres"),
        ({"fps": np.float64(0)}, "frame rate"),
        ({"fps": np.float64(1000)}, "frame rate"),
        ({"fps": np.float64(np.nan)}, "frame rate"),
        ({"fps": np.array([30, 30])}, "frame rate"),
        ({"left_hand_pose": np.zeros((12, 15, 3), complex)}, "numbers"),
        ({"global_orient": np.array(["a"] * 12)}, "numbers"),
        ({"expression": np.zeros((12, 5))}, "expression_space"),
        ({"meta": np.array("not json")}, "JSON"),
        ({"meta": np.array("[1]")}, "JSON object"),
        ({"meta": np.array("x" * 30_000)}, "JSON"),
    ],
)
def test_bad_arrays_are_refused_in_one_sentence(tmp_path, change, words):
    path = tmp_path / "bad.npz"
    np.savez(path, **{**arrays_of(make_clip()), **change})
    with pytest.raises(PipelineError) as info:
        load_clip(path)
    message = str(info.value)
    assert words in message and "bad.npz" in message and message.count("\n") == 0


@pytest.mark.parametrize("missing", ["fps", "body_pose", "arkit"])
def test_missing_arrays_are_named(tmp_path, missing):
    arrays = arrays_of(make_clip())
    del arrays[missing]
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(PipelineError, match=missing):
        load_clip(tmp_path / "bad.npz")


@pytest.mark.parametrize("frames", [0, 36_001])
def test_frame_count_is_bounded(frames):
    one = make_clip(1)
    many = {k: np.repeat(getattr(one, k), frames, axis=0) for k in (*ROTATION_FIELDS, "transl", "arkit")}
    with pytest.raises(PipelineError, match="1 to 36000"):
        validate(one.replace(**many))
    assert len(validate(one)) == 1


def test_a_pickle_inside_is_never_opened(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("the pickle was opened",))

    arrays = arrays_of(make_clip())
    bait = np.empty(1, object)
    bait[0] = Trap()
    np.savez(tmp_path / "needed.npz", **{**arrays, "body_pose": bait})
    with pytest.raises(PipelineError, match="pickled object"):
        load_clip(tmp_path / "needed.npz")
    np.savez(tmp_path / "unused.npz", **{**arrays, "something_else": bait})
    assert len(load_clip(tmp_path / "unused.npz")) == 12


def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "c.npz"
    save_clip(make_clip(), path)
    whole = path.read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.npz").write_bytes(b"hello")
    (tmp_path / "empty.npz").write_bytes(b"")
    flipped = bytearray(whole)
    flipped[200:400] = bytes(200)
    (tmp_path / "flipped.npz").write_bytes(bytes(flipped))
    for name in ("cut", "text", "empty", "flipped", "absent"):
        with pytest.raises(PipelineError):
            load_clip(tmp_path / f"{name}.npz")


def test_a_header_that_promises_too_much_is_refused(tmp_path):
    clip = make_clip()
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w") as archive:
        for name, array in arrays_of(clip).items():
            stream = io.BytesIO()
            np.lib.format.write_array(stream, np.asarray(array))
            data = stream.getvalue()
            if name == "body_pose":
                data = data.replace(b"(12, 21, 3), }", b"(99999999999,)}")[: len(data)]
            archive.writestr(f"{name}.npy", data)
    with pytest.raises(PipelineError, match="damaged"):
        load_clip(tmp_path / "bomb.npz")


def test_nothing_is_left_where_writing_fails(tmp_path):
    with pytest.raises(PipelineError, match="cannot be written"):
        save_clip(make_clip(), tmp_path / "no_such_folder" / "a.npz")
    with pytest.raises(PipelineError, match="NaN"):
        save_clip(make_clip().replace(transl=np.full((12, 3), np.nan)), tmp_path / "a.npz")
    assert list(tmp_path.iterdir()) == []
