"""A licensed SMPL-X file: no pickle is loaded, the clean copy is used, facial actions are mapped.

The licensed file cannot be here; a stand-in with the same keys (pickled ones too) is made from the open body.
"""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

from pipeline.body import licensed, load_body
from pipeline.body.build import open_body_path
from pipeline.body.model import load_open_body, pack_landmarks
from pipeline.body.names import ARKIT_INDEX
from pipeline.types import PipelineError


class Bomb:
    """Leaves a trace when it is unpickled."""

    trace = ""

    def __reduce__(self):
        return (os.mkdir, (Bomb.trace,))


@pytest.fixture(scope="module")
def open_body():
    return load_open_body(open_body_path())


@pytest.fixture()
def fake(tmp_path, monkeypatch):
    """A licensed-looking file, with a pickle that must never be loaded, and an empty cache."""
    Bomb.trace = str(tmp_path / "exploded")
    source = open_body_path()
    monkeypatch.setenv("ONESHOT_CACHE", str(tmp_path / "cache"))
    with np.load(source, allow_pickle=False) as file:
        arrays = {
            key: file[key] for key in file.files if not key.startswith(("region_", "landmark_", "arkit_", "meta"))
        }
    rng = np.random.default_rng(0)
    arrays["posedirs"] = rng.normal(0, 1e-4, arrays["posedirs"].shape).astype(np.float32)
    arrays["joint2num"] = np.array([Bomb()], dtype=object)
    path = tmp_path / "SMPLX_NEUTRAL.npz"
    np.savez(path, **arrays)
    return path


def test_licensed_file_is_loaded_without_pickles(fake, open_body, tmp_path, monkeypatch):
    import smplx

    marks = pack_landmarks(open_body.landmarks)
    monkeypatch.setattr(licensed, "_measured_landmarks", lambda body, clean: marks)
    monkeypatch.setattr("pipeline.body.build.open_body_path", lambda: fake)
    monkeypatch.setattr(licensed, "load_open_body", lambda path: open_body)
    monkeypatch.setenv("SMPLX_MODEL", str(fake))
    body = load_body()
    assert not (tmp_path / "exploded").exists()
    assert body.tier == "full" and body.expression_space == "smplx" and body.posedirs is not None

    clean = licensed.clean_copy(fake)
    with np.load(clean, allow_pickle=False) as file:
        assert "joint2num" not in file.files and all(file[key].dtype != object for key in file.files)
    model = smplx.SMPLX(
        str(clean), ext="npz", use_pca=False, flat_hand_mean=True, num_betas=body.n_betas,
        num_expression_coeffs=body.n_expression,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    shapes = {
        "betas": (body.n_betas,), "expression": (body.n_expression,), "global_orient": (3,), "body_pose": (63,),
        "left_hand_pose": (45,), "right_hand_pose": (45,), "jaw_pose": (3,), "leye_pose": (3,), "reye_pose": (3,),
        "transl": (3,),
    }  # fmt: skip
    p = {name: 0.3 * torch.randn(2, *shape, generator=generator) for name, shape in shapes.items()}
    ids = torch.tensor([3, 5000, 9999])
    with torch.no_grad():
        ours, theirs = body(**p), model(**p)
        torch.testing.assert_close(ours.vertices, theirs.vertices, atol=1e-5, rtol=0)
        torch.testing.assert_close(ours.joints, theirs.joints[:, :55], atol=1e-5, rtol=0)
        torch.testing.assert_close(body(**p, vertex_ids=ids).vertices, ours.vertices[:, ids], atol=1e-5, rtol=0)

    arkit = np.zeros((2, 52))
    arkit[0, ARKIT_INDEX["jawOpen"]] = 1
    arkit[1, ARKIT_INDEX["mouthSmileLeft"]] = 1
    moved = [_points(b, b.arkit_to_params(arkit)) for b in (body, open_body)]
    rest = _points(open_body, open_body.arkit_to_params(np.zeros((2, 52))))
    error = np.linalg.norm(moved[0] - moved[1], axis=-1).mean(1)
    size = np.linalg.norm(moved[1] - rest, axis=-1).mean(1)
    assert (error < 0.35 * size).all()
    assert body.arkit_to_params(arkit)["jaw_pose"][0, 0] > 0.1


def _points(body, p):
    return licensed._face_points(body, p["expression"], p["jaw_pose"])


def test_missing_array_pickle_and_wrong_kind(fake, tmp_path):
    with np.load(fake, allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files if key != "joint2num"}
    pickled = tmp_path / "pickled.npz"
    np.savez(pickled, **(arrays | {"J_regressor": np.array([Bomb()], dtype=object)}))
    with pytest.raises(PipelineError, match="pickle"):
        licensed.clean_copy(pickled)
    without = tmp_path / "without.npz"
    np.savez(without, **{key: value for key, value in arrays.items() if key != "weights"})
    with pytest.raises(PipelineError, match="weights"):
        licensed.clean_copy(without)
    smpl = tmp_path / "smpl.npz"
    np.savez(smpl, **(arrays | {"weights": arrays["weights"][:, :24]}))
    with pytest.raises(PipelineError, match="SMPL"):
        licensed.clean_copy(smpl)
    (tmp_path / "model.pkl").write_bytes(b"x")
    for path, word in ((tmp_path / "model.pkl", "npz"), (tmp_path / "nowhere.npz", "no SMPL-X model")):
        with pytest.raises(PipelineError, match=word):
            licensed.clean_copy(path)
    text = tmp_path / "text.npz"
    text.write_bytes(b"hello")
    with pytest.raises(PipelineError, match="cannot be read"):
        licensed.clean_copy(text)
    assert not (tmp_path / "exploded").exists()
    assert not list((tmp_path / "cache").glob("smplx_*"))
