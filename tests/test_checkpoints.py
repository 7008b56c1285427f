"""The restricted reader: what it reads, what it refuses, and how it explains a checkpoint of another model."""

from __future__ import annotations

import pickle

import pytest
import torch

from pipeline.checkpoints import EDGE, as_safetensors, compare_keys, fingerprint, read_tensors, write_safetensors
from pipeline.types import PipelineError

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "b.bias": torch.ones(4, dtype=torch.float16)}


class Trap:
    """Would run code when unpickled."""

    def __reduce__(self):
        return print, ("the trap was sprung",)


def same(found):
    assert found.keys() == TENSORS.keys()
    assert all(torch.equal(found[k], v) and found[k].dtype == v.dtype for k, v in TENSORS.items())


@pytest.mark.parametrize("wrap", [lambda t: t, lambda t: {"state_dict": t, "epoch": 3}])
@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_and_converted_once(tmp_path, wrap, zipped):
    path = tmp_path / "model.pth"
    torch.save(wrap(TENSORS), path, _use_new_zipfile_serialization=zipped)
    same(read_tensors(path))
    twin = as_safetensors(path, tmp_path / "cache")
    same(read_tensors(twin))
    written = twin.stat().st_mtime_ns
    assert as_safetensors(path, tmp_path / "cache") == twin and twin.stat().st_mtime_ns == written
    assert as_safetensors(twin) == twin


def test_tensors_that_share_memory_are_separated(tmp_path):
    base = torch.zeros(4)
    write_safetensors(tmp_path / "x.safetensors", {"a": base, "b": base[:2]})
    assert {k: v.shape for k, v in read_tensors(tmp_path / "x.safetensors").items()} == {"a": (4,), "b": (2,)}


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_code_inside_is_refused_by_name(tmp_path, capsys):
    torch.save({"a": torch.ones(1), "b": Trap()}, tmp_path / "evil.pth")
    with (tmp_path / "evil.pt").open("wb") as file:
        pickle.dump(Trap(), file)
    for name in ("evil.pth", "evil.pt"):
        with pytest.raises(PipelineError, match=rf"{name} holds program code besides tensors and was refused"):
            read_tensors(tmp_path / name)
    assert "trap" not in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_truncated_files_are_named(tmp_path, suffix):
    path = tmp_path / f"half{suffix}"
    torch.save(TENSORS, path) if suffix == ".pth" else write_safetensors(path, TENSORS)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(PipelineError, match="half.*damaged or was only half downloaded"):
        read_tensors(path)
    with pytest.raises(PipelineError, match="damaged"):
        read_tensors(as_safetensors(path, tmp_path / "cache"))
    path.write_bytes(b"")
    with pytest.raises(PipelineError, match="damaged"):
        read_tensors(path)


def test_other_files(tmp_path):
    with pytest.raises(PipelineError, match="does not exist"):
        read_tensors(tmp_path / "none.pth")
    (tmp_path / "x.txt").write_text("hello")
    with pytest.raises(PipelineError, match="no checkpoint"):
        read_tensors(tmp_path / "x.txt")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(PipelineError, match="no named tensors"):
        read_tensors(tmp_path / "list.pth")


def test_key_report_is_readable():
    expected = {"unet.down.0.weight": (2, 3), "unet.down.0.bias": (2,), "unet.up.weight": (4,)}
    report = compare_keys({"unet.down.0.weight": (2, 2), "unet.up.weight": (4,), "ema.x": (1,)}, expected)
    assert not report.ok
    assert report.sentence() == (
        "1 of 3 tensors are missing, such as unet.down.0.bias; 1 have another shape, such as unet.down.0.weight with "
        "[2, 2] where [2, 3] is expected; 1 are not part of the model, such as ema.x"
    )
    assert "missing: unet.down.0 (1)" in report.text()
    assert compare_keys({**expected, "ema.x": (1,)}, expected).ok


def test_a_fingerprint_tells_files_apart(tmp_path):
    first, second = tmp_path / "a.pth", tmp_path / "b.pth"
    content = bytearray(3 * EDGE)
    for path in (first, second):
        path.write_bytes(content)
    same = fingerprint(first)
    assert fingerprint(second) == same and len(same) == 12 and fingerprint(first, second) != same
    for at in (0, -1):
        changed = content.copy()
        changed[at] = 1
        second.write_bytes(changed)
        assert fingerprint(second) != same
    second.write_bytes(content[:-1])
    assert fingerprint(second) != same
