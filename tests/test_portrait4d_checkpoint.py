"""The restricted reader: what it recovers from a StyleGAN-style pickle, and that it refuses everything else."""

from __future__ import annotations

import collections
import io
import os
import pickle
import pickletools
import random
import struct
import subprocess
import sys
import types
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from pipeline.labels.portrait4d import checkpoint
from pipeline.labels.portrait4d.checkpoint import convert, load_generator, load_motion_encoder
from pipeline.labels.portrait4d.tensor_pickle import policy, read, tensors
from pipeline.restricted_pickle import (
    DamagedPickleError,
    Limits,
    Policy,
    Record,
    RefusedPickleError,
    plain,
    read_pickle,
)
from pipeline.types import PipelineError

SOURCE = "raise SystemExit('this text must never be executed')"
SETTINGS = {"img_resolution": 512, "mot_dims": 548, "rendering_kwargs": {"box_warp": 1.3, "depth_resolution": 48}}


class Persistent:
    """Pickles itself as the official decorator makes its classes do."""

    def __init__(self, name: str, state: dict) -> None:
        self.name, self.state = name, state

    def __reduce__(self):
        meta = {"type": "class", "version": 6, "module_src": SOURCE, "class_name": self.name, "state": self.state}
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (meta,)


@pytest.fixture
def official_names(monkeypatch):
    """Empty modules under the official names, so that Python's pickler will write those names."""

    def module(name: str, **content: object) -> None:
        made = types.ModuleType(name)
        for key, value in content.items():
            value.__module__, value.__qualname__ = name, key
            setattr(made, key, value)
        monkeypatch.setitem(sys.modules, name, made)

    def reconstruct(meta):
        raise AssertionError("the official loader must not be called")

    module("torch_utils")
    module("torch_utils.persistence", _reconstruct_persistent_obj=reconstruct)
    module("dnnlib")
    module("dnnlib.util", EasyDict=type("EasyDict", (dict,), {}))


def tiny_network() -> nn.Module:
    """Stands in for the 225 million parameters."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.Conv2d(2, 2, 3), nn.LayerNorm(4)))
    net.register_buffer("w_avg", torch.arange(5.0))
    net.register_buffer("turned", torch.arange(6.0).view(2, 3).T)
    return net


def official_pickle(net: nn.Module, name: str = "G_ema", **settings: object) -> bytes:
    easy = sys.modules["dnnlib.util"].EasyDict
    state = dict(net.__dict__)
    state["_init_kwargs"] = easy({**SETTINGS, **settings})
    state["neural_rendering_resolution"] = 128
    state["_modules"] = collections.OrderedDict(
        {"0": Persistent("Inner", dict(net[0].__dict__)), "1": net[1]}
        if isinstance(net, nn.Sequential)
        else net._modules
    )
    state["note"] = np.arange(3.0)
    state["scale"] = np.float64(1.5)
    top = {"training_set_kwargs": {"path": "x"}, name: Persistent("Generator", state), "D": None, "augment_pipe": None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pickle.dumps(top, protocol=4)


@pytest.fixture
def good(official_names) -> bytes:
    return official_pickle(tiny_network())


# ------------------------------------------------------------------------------------------------ what it recovers


def test_tensors_and_settings_come_back(good):
    module = read(good)["G_ema"]
    assert isinstance(module, Record) and module.kind == "Generator"
    found = {k: torch.from_numpy(t.array().copy()) for k, t in tensors(module)}
    wanted = tiny_network().state_dict()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[k], wanted[k]) for k in wanted)
    assert plain(module.state["_init_kwargs"])["rendering_kwargs"]["box_warp"] == 1.3
    assert module.state["scale"] == 1.5
    assert "module_src" not in str(vars(module))


def test_tensors_are_views_of_the_file(good):
    view = memoryview(good)
    one = dict(tensors(read(view)["G_ema"]))["0.weight"]
    start = np.frombuffer(view, np.uint8).__array_interface__["data"][0]
    place = one.array().__array_interface__["data"][0]
    assert start < place < start + len(good)
    assert not one.array().flags.writeable


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_protocols(protocol):
    value = {"a": [1, -2, 10**15, 2.5, None, True, ("x", False)], "c": collections.OrderedDict(z=1)}
    if protocol >= 4:
        value["b"] = {1, 2}
    data = pickle.dumps(value, protocol)
    content, end = read_pickle(data + b"more", policy())
    assert end == len(data)
    assert content == value


def test_no_more_names_than_the_published_files_have():
    admitted = policy()
    names = set(admitted.calls) | set(admitted.classes) | admitted.symbols
    assert len({n.replace("numpy._core", "numpy.core") for n in names}) == 45


def test_conversion_and_loading(official_names, good, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "Portrait4D", tiny_network)
    path = tmp_path / "net.pkl"
    path.write_bytes(good)
    generator = load_generator(path, folder=tmp_path / "cache")
    wanted = tiny_network().state_dict()
    assert all(torch.equal(v, wanted[k]) for k, v in generator.network.state_dict().items())
    assert generator.settings["box_warp"] == 1.3 and generator.settings["neural_rendering_resolution"] == 128
    twin = convert(path, tmp_path / "cache")
    before = twin.stat().st_mtime_ns
    assert load_file(twin).keys() == wanted.keys()
    assert SOURCE.encode() not in twin.read_bytes()
    load_generator(path, folder=tmp_path / "cache")
    assert twin.stat().st_mtime_ns == before
    assert load_generator(twin).network.state_dict().keys() == wanted.keys()
    kept = {p.suffix for p in (tmp_path / "cache").iterdir()}
    assert kept == {".safetensors", ".lock"} or kept == {".safetensors"}, "a lock file may stay, nothing half-written"


CONVERT = """
import sys, threading, time
import torch
from pathlib import Path
from torch import nn
from pipeline.labels.portrait4d import checkpoint

def anonymous():
    line = next(l for l in open("/proc/self/status") if l.startswith("RssAnon"))
    return int(line.split()[1]) / 1e3

def watch():
    while True:
        seen.append(anonymous())
        time.sleep(0.002)

checkpoint.Portrait4D = lambda: nn.Sequential(*(nn.Linear(3600, 3600) for _ in range(12)))
before, seen = anonymous(), []
threading.Thread(target=watch, daemon=True).start()
checkpoint.convert(Path(sys.argv[1]), Path(sys.argv[2]))
print(max(seen) - before, len(seen))
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_large_file_is_never_held_in_memory(tmp_path, monkeypatch):
    """622 MB in twelve tensors: beside the mapped file the reader takes little more than one of them (52 MB)."""
    from portrait4d_mirror import as_official_pickle

    net = nn.Sequential(*(nn.Linear(3600, 3600) for _ in range(12)))
    path, folder = tmp_path / "large.pkl", tmp_path / "converted"
    path.write_bytes(as_official_pickle(net, monkeypatch))
    assert path.stat().st_size > 6e8
    root = str(Path(__file__).parent.parent)
    run = [sys.executable, "-c", CONVERT, str(path), str(folder)]
    done = subprocess.run(run, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": root})
    assert done.returncode == 0, done.stderr
    peak, samples = map(float, done.stdout.split())
    made = load_file(next(folder.glob("*.safetensors")))
    assert torch.equal(made["11.weight"], net[11].weight) and len(made) == 24
    path.unlink()
    assert samples > 20 and peak < 160, f"{peak:.0f} MB"


# ------------------------------------------------------------------------------------------------ wrong files


def _refused(tmp_path: Path, data: bytes, match: str) -> None:
    path = tmp_path / "bad.pkl"
    path.write_bytes(data)
    with pytest.raises(PipelineError, match=match):
        load_generator(path, folder=tmp_path / "cache")
    assert [p for p in (tmp_path / "cache").glob("*") if p.suffix != ".lock"] == []


def test_sibling_network(official_names, tmp_path, monkeypatch, good):
    other = tiny_network
    monkeypatch.setattr(checkpoint, "Portrait4D", lambda: nn.Sequential(other(), nn.Linear(2, 2)))
    _refused(tmp_path, good, "tensors are missing")


def test_tensor_of_another_shape(official_names, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "Portrait4D", tiny_network)
    net = tiny_network()
    net.w_avg = torch.zeros(7)
    _refused(tmp_path, official_pickle(net), "another shape")


def test_extra_tensors_are_ignored(official_names, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "Portrait4D", tiny_network)
    net = tiny_network()
    net.register_buffer("extra", torch.zeros(2))
    (tmp_path / "a.pkl").write_bytes(official_pickle(net))
    assert "extra" not in load_file(convert(tmp_path / "a.pkl", tmp_path / "cache"))


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"mot_dims": 100}, "mot_dims = 100"),
        ({"has_background": False}, "has_background"),
        ({"white_back": True}, "white"),
    ],
)
def test_other_settings(official_names, tmp_path, monkeypatch, settings, match):
    monkeypatch.setattr(checkpoint, "Portrait4D", tiny_network)
    _refused(tmp_path, official_pickle(tiny_network(), **settings), match)


def test_no_generator_inside(official_names, tmp_path):
    _refused(tmp_path, official_pickle(tiny_network(), name="G_other"), "no generator")
    _refused(tmp_path, pickle.dumps([1, 2]), "no generator")
    with pytest.raises(PipelineError, match="does not exist"):
        load_generator(tmp_path / "nowhere.pkl")
    (tmp_path / "empty.pkl").touch()
    with pytest.raises(PipelineError, match="empty"):
        load_generator(tmp_path / "empty.pkl")


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.99, 0.9999])
def test_truncated_file(good, tmp_path, share):
    _refused(tmp_path, good[: int(len(good) * share)], "damaged")


# ------------------------------------------------------------------------------------------------ hostile files


class Attack:
    """Pickles as a call of anything."""

    def __init__(self, function, *arguments) -> None:
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def _attacks(flag: Path) -> dict[str, bytes]:
    import os

    touch = f"import pathlib; pathlib.Path({str(flag)!r}).touch()"
    nested = io.BytesIO()
    torch.save(Attack(exec, touch), nested, _use_new_zipfile_serialization=False)
    line = lambda *parts: b"".join(parts) + b"."  # noqa: E731
    os_name = b"cos\nsystem\n"
    return {
        "exec": pickle.dumps(Attack(exec, touch)),
        "exec protocol 2": pickle.dumps(Attack(exec, touch), 2),
        "system": pickle.dumps({"G_ema": Attack(os.system, f"touch {flag}")}),
        "open": pickle.dumps(Attack(open, str(flag), "w")),
        "import": pickle.dumps(Attack(__import__, "antigravity")),
        "getattr": pickle.dumps(Attack(getattr, "", "join")),
        "in a storage": pickle.dumps(Attack(torch.storage._load_from_bytes, nested.getvalue())),
        "class call": line(b"(", b"ios\nsystem\n"),
        "object": line(b"(", os_name, b"o"),
        "new object": line(b"\x80\x02", os_name, b")\x81"),
        "admitted name called": line(b"\x80\x02ctorch\nfloat32\n)R"),
        "admitted class called": line(b"\x80\x02ctorch.nn.modules.conv\nConv2d\n)R"),
        "call of a tuple": line(b"\x80\x02))R"),
        "extension registry": line(b"\x80\x02\x82\x01"),
        "text persistent id": line(b"Pabc\n"),
        "persistent id": line(b"\x80\x02NQ"),
        "dotted name": pickle.dumps(Attack(Path.touch, flag)),
        "name from parts": line(b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R"),
        "name is a number": line(b"\x80\x04K\x01\x8c\x06system\x93"),
        "buffer out of band": line(b"\x80\x05\x97"),
    }


@pytest.mark.parametrize("name", list(_attacks(Path("x"))))
def test_attacks_are_refused_and_nothing_runs(official_names, tmp_path, name):
    flag = tmp_path / "flag"
    data = _attacks(flag)[name]
    modules = set(sys.modules)
    with pytest.raises(PipelineError):
        read(data)
    assert not flag.exists()
    assert set(sys.modules) == modules


def test_attack_behind_a_good_network(official_names, tmp_path):
    import os

    flag = tmp_path / "flag"
    net = tiny_network()
    net.hook = Attack(os.system, f"touch {flag}")
    _refused(tmp_path, official_pickle(net), "not admitted")
    assert not flag.exists()


def test_source_code_is_never_executed(good):
    assert SOURCE.encode() in good
    assert isinstance(read(good)["G_ema"], Record)


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x04" + b"]" * 150_000 + b".",
        b"\x80\x04]" + b"\x94" * 150_000 + b".",
        b"\x80\x02N" + b"\x85" * 150_000 + b".",
        b"\x80\x04\x8b\xff\xff\xff\x7f" + b"\x01" * 100 + b".",
        b"\x80\x04\x8a\xff" + b"\x01" * 255 + b".",
        b"\x80\x04X\xff\xff\xff\x01" + b"a" * 33_554_431 + b".",
        b"\x80\x04\x8d" + b"\xff" * 8 + b"aaa.",
        b"\x80\x04\x8e" + b"\xff" * 8 + b"aaa.",
        b"\x80\x04\x95" + b"\xff" * 8 + b"N.",
        b"\x80\x04}))s.",
        b"\x80\x02}N" + b"\x85" * 40_000 + b"Ns.",
        b"\x80\x04((e.",
        b"\x80\x04.",
        b"",
        b"\x80\x09N.",
        b"\x80\x04h\x05.",
        b"c" + b"a" * 1000,
    ],
    ids=range(17),
)
def test_bombs_end_in_a_refusal(data):
    try:
        content, _ = read_pickle(data, policy(), Limits(operations=100_000))
    except PipelineError:
        return
    assert plain(content) is not None or content == {(): ()}


def test_shared_and_cyclic_content_is_walked_with_a_limit():
    laughs: list = ["ha"]
    for _ in range(60):
        laughs = [laughs] * 10
    content, _ = read_pickle(pickle.dumps(laughs), Policy())
    assert len(str(plain(content, budget=1000))) < 100_000
    cycle: list = []
    cycle.append(cycle)
    assert plain(read_pickle(pickle.dumps(cycle), Policy())[0], depth=3) == [[[None]]]


def test_network_that_contains_itself(official_names):
    state: dict = {"_parameters": {}, "_buffers": {}}
    module = Record("A", state)
    state["_modules"] = {"a": module, "b": module}
    with pytest.raises(RefusedPickleError, match="nested"):
        list(tensors(module))


@pytest.mark.parametrize(
    ("offset", "shape", "stride"),
    [
        (0, (10**12,), (0,)),
        (5, (6,), (1,)),
        (-1, (2,), (1,)),
        (0, (2, 2), (-1, 1)),
        (0, (2,), (1, 1)),
        (0, (True,), (1,)),
    ],
)
def test_impossible_tensors(offset, shape, stride):
    def build(tensor: torch.Tensor) -> bytes:
        storage = tensor.untyped_storage()
        typed = torch.storage.TypedStorage(wrap_storage=storage, dtype=tensor.dtype, _internal=True)
        call = Attack(torch._utils._rebuild_tensor_v2, typed, offset, shape, stride, False, collections.OrderedDict())
        return pickle.dumps(call)

    with pytest.raises(DamagedPickleError):
        read(build(torch.zeros(10)))


def test_storage_with_wrong_count():
    stream = io.BytesIO()
    typed = torch.storage.TypedStorage(
        wrap_storage=torch.zeros(4).untyped_storage(), dtype=torch.float32, _internal=True
    )
    torch.save(typed, stream, _use_new_zipfile_serialization=False)
    data = stream.getvalue()
    lying = data[:-24] + struct.pack("<q", 9) + data[-16:]
    for changed in (lying, data[:-1], data + b"0", b"PK\x03\x04" + data):
        with pytest.raises(PipelineError):
            read(pickle.dumps(Attack(torch.storage._load_from_bytes, changed)))
    assert isinstance(read(pickle.dumps(Attack(torch.storage._load_from_bytes, data))).dtype, str)


def test_fuzzed_files_end_in_content_or_in_a_sentence(good):
    """2,000 random mutations of the structural bytes: never another exception, never an import."""
    rng = random.Random(0)
    modules = set(sys.modules)
    places = [position for _, _, position in pickletools.genops(good)]
    refused = 0
    for _ in range(2000):
        data = bytearray(good)
        for _ in range(rng.randint(1, 4)):
            kind, at = rng.random(), rng.choice(places)
            if kind < 0.6:
                data[min(at + rng.randint(0, 3), len(data) - 1)] = rng.randrange(256)
            elif kind < 0.8:
                del data[at : at + rng.randint(1, 6)]
            else:
                data[at:at] = rng.randbytes(rng.randint(1, 4))
        try:
            content = read(bytes(data))
            module = content.get("G_ema") if isinstance(content, dict) else None
            if isinstance(module, Record):
                for _, tensor in tensors(module):
                    tensor.array()
        except PipelineError:
            refused += 1
    assert refused > 500
    assert set(sys.modules) == modules


# ------------------------------------------------------------------------------------------------ motion encoder


def test_motion_encoder_file(tmp_path, monkeypatch):
    monkeypatch.setenv("ONESHOT_CACHE", str(tmp_path / "cache"))
    net = checkpoint.MotionEncoder()
    content = {**net.state_dict(), "classifier.weight": torch.zeros(3)}
    torch.save(content, tmp_path / "motion_model.pth")
    loaded = load_motion_encoder(tmp_path / "motion_model.pth")
    assert torch.equal(loaded.model.fc.weight, net.model.fc.weight)
    del content["to_eye.0.weight"]
    torch.save(content, tmp_path / "less.pth")
    with pytest.raises(PipelineError, match=r"to_eye\.0\.weight"):
        load_motion_encoder(tmp_path / "less.pth")
