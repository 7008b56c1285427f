"""Labels and generated frames on disk."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pipeline.labels.files import (
    load_frame,
    load_label,
    load_labels,
    load_report,
    save_frame,
    save_label,
    save_report,
)
from pipeline.types import BodyParams, Camera, PipelineError, PseudoLabel


def a_label() -> PseudoLabel:
    rng = np.random.default_rng(0)
    image = np.rint(rng.random((8, 6, 3)) * 255).astype(np.float32) / 255
    alpha = np.rint(rng.random((8, 6)) * 255).astype(np.float32) / 255
    params = BodyParams.zeros(4, 52).replace(transl=np.array([1, 2, 3], np.float32))
    weight = np.rint(rng.random((8, 6)) * 255).astype(np.float32) / 255
    return PseudoLabel(image, alpha, Camera.frontal(6, 8, 9.0), params, "head", 0.4, weight, filmed=True)


def test_label_round_trip(tmp_path):
    label = a_label()
    save_label(tmp_path / "0003.npz", label)
    (found,) = load_labels(tmp_path)
    assert np.array_equal(found.image, label.image) and np.array_equal(found.alpha, label.alpha)
    assert np.array_equal(found.weight, label.weight) and found.filmed
    plain = dataclasses.replace(label, weight=None, filmed=False)
    save_label(tmp_path / "0003.npz", plain)
    assert load_label(tmp_path / "0003.npz").weight is None and not load_label(tmp_path / "0003.npz").filmed
    assert found.region == "head" and found.confidence == pytest.approx(0.4)
    assert np.array_equal(found.params.transl, label.params.transl)
    assert np.array_equal(found.camera.K, label.camera.K) and (found.camera.width, found.camera.height) == (6, 8)
    assert [p.name for p in tmp_path.iterdir()] == ["0003.npz"]


def test_damaged_files(tmp_path):
    save_label(tmp_path / "a.npz", a_label())
    data = (tmp_path / "a.npz").read_bytes()
    for bad in (b"", data[: len(data) // 2], b"PK\x03\x04nonsense"):
        (tmp_path / "a.npz").write_bytes(bad)
        with pytest.raises(PipelineError, match="make the labels again"):
            load_label(tmp_path / "a.npz")
    (tmp_path / "f.png").write_bytes(b"\x89PNG")
    assert load_frame(tmp_path / "f.png") is None and load_frame(tmp_path / "none.png") is None
    assert load_report(tmp_path) is None
    save_report(tmp_path, {"dropped": {}})
    assert load_report(tmp_path) == {"dropped": {}}


def test_frame_round_trip(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (5, 4, 3)).astype(np.uint8)
    save_frame(tmp_path / "sub" / "f.png", image, np.full((5, 4), 0.2, np.float32))
    again, alpha = load_frame(tmp_path / "sub" / "f.png")
    assert np.array_equal(again, image) and np.allclose(alpha, 0.2)
