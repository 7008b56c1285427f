"""The table of weights, and fetching them with the real Hub client from a loopback server that misbehaves on order."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import re
import subprocess
import sys

import pytest
from loopback_hub import COMMIT, running_hub, set_endpoint

from pipeline import hub, weights
from pipeline.types import PipelineError
from pipeline.weights import WEIGHTS, WeightFile

FILES = {"unet/config.json": b'{"a": 1}', "big.safetensors": bytes(range(256)) * 12_000}


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setenv("ONESHOT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    with running_hub(monkeypatch, FILES, "own/repo", "test/repo") as web:
        yield web


PART = dataclasses.replace(
    WEIGHTS["mimicmotion"], name="test", repo="test/repo", env=None, files=tuple(WeightFile(p) for p in FILES)
)


def test_every_entry_says_what_it_is():
    assert {"mimicmotion", "svd-xt-1.1", "dwpose", "birefnet", "lpips-vgg", "smplx", "portrait4d-v2"} <= set(WEIGHTS)
    for weight in WEIGHTS.values():
        assert weight.licence and weight.gives and weight.how()
        assert weight.revision is None or re.fullmatch(r"[0-9a-f]{40}", weight.revision)
        assert all(f.sha256 is None or re.fullmatch(r"[0-9a-f]{8}([0-9a-f]{56})?", f.sha256) for f in weight.files)
        json.dumps(weight.to_json())
    assert WEIGHTS["portrait4d-v2"].pin().startswith(("not pinned", "kept to"))
    assert WEIGHTS["mimicmotion"].pin() == WEIGHTS["lpips-vgg"].pin() == "pinned by checksum"
    assert WEIGHTS["dwpose"].pin().startswith("pinned to f7c16a3d") and WEIGHTS["smplx"].pin() == ""
    assert WEIGHTS["svd-xt-1.1"].pin() == "pinned to 043843887ccd51926e3efed36270444a838e7861"
    assert all(any(f.sha256 for f in WEIGHTS[name].files) for name in ("mimicmotion", "svd-xt-1.1", "dwpose"))
    assert WEIGHTS["svd-xt-1.1"].gated and WEIGHTS["smplx"].commercial is False


def test_the_doctor_shows_the_table(capsys):
    from pipeline.__main__ import main

    assert main(["doctor", "--weights", "--json"]) == 0
    table = json.loads(capsys.readouterr().out)["weights"]
    assert [row["name"] for row in table] == list(WEIGHTS) and all(row["licence"] and row["how"] for row in table)
    assert main(["doctor", "--weights"]) == 0
    words = capsys.readouterr().out
    assert "commercial use not clear" in words and "gated" in words and "weights fetch mimicmotion" in words


def test_fetch_then_nothing_is_asked_again(server):
    shares = []
    path = hub.fetch(PART, lambda name, share: shares.append((name, share)))
    assert {p: (path / p).read_bytes() for p in FILES} == FILES
    assert not list(path.rglob("*.part")) and not list(path.rglob("*.etag"))
    assert ("big.safetensors", 1.0) in shares
    assert PART.record()["commit"] == COMMIT
    assert PART.record()["files"]["big.safetensors"] == hashlib.sha256(FILES["big.safetensors"]).hexdigest()
    assert PART.state() == "ready" and PART.to_json()["pinned"] is False
    assert PART.pin() == f"kept to {COMMIT}, recorded by the first fetch"
    count = len(server.seen)
    assert hub.fetch(PART) == path and len(server.seen) == count
    assert any(COMMIT in url for _, url, _, _ in server.seen), "the second file is fetched from the first one's commit"


def test_stopped_download_is_continued(server):
    def stop(name, share):
        if name == "big.safetensors" and 0.5 < share < 1:
            raise KeyboardInterrupt

    server.files["big.safetensors"] = FILES["big.safetensors"] * 10  # more than one block of the client
    with pytest.raises(KeyboardInterrupt):
        hub.fetch(PART, stop)
    assert PART.state() == "partial" and PART.local_path() is None
    have = next(PART.cache.rglob("*.part")).stat().st_size
    assert have > 0
    hub.fetch(PART)
    assert ("GET", f"/test/repo/resolve/{COMMIT}/big.safetensors", f"bytes={have}-") in [s[:3] for s in server.seen]
    assert (PART.cache / "big.safetensors").read_bytes() == server.files["big.safetensors"]


def test_broken_transfer_keeps_what_came(server):
    server.fault = "cut"
    with pytest.raises(PipelineError, match="could not be reached.*it continues|only in part"):
        hub.fetch(PART)
    assert PART.state() == "partial"
    server.fault = None
    assert (hub.fetch(PART) / "big.safetensors").read_bytes() == FILES["big.safetensors"]


def test_remains_of_another_version_are_not_used(server):
    target = PART.cache / "big.safetensors.part"
    target.parent.mkdir(parents=True)
    target.write_bytes(b"older")
    target.with_suffix(".etag").write_text("another")
    assert (hub.fetch(PART) / "big.safetensors").read_bytes() == FILES["big.safetensors"]


@pytest.mark.parametrize(
    ("fault", "token", "words"),
    [
        ("gated", None, "set HF_TOKEN"),
        ("gated", "hf_x", "your account has not accepted"),
        ("private", None, "does not exist or is private"),
        ("token", "hf_x", "does not accept your token"),
        ("forbidden", "hf_x", "may not read"),
        ("busy", None, "status 503"),
    ],
)
def test_refusals_say_what_to_do(server, monkeypatch, fault, token, words):
    server.fault = fault
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(PipelineError, match=words):
        hub.fetch(PART)
    assert PART.local_path() is None


def test_token_is_sent(server, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.fetch(PART)
    assert all(authorization == "Bearer hf_secret" for *_, authorization in server.seen)


def test_revision_or_file_gone(server):
    with pytest.raises(PipelineError, match="no longer has the revision bbbbbbbbbbbb"):
        hub.fetch(dataclasses.replace(PART, revision="b" * 40))
    with pytest.raises(PipelineError, match="does not hold all of"):
        hub.fetch(dataclasses.replace(PART, files=(WeightFile("missing.pth"),)))


def test_wrong_checksum_is_thrown_away(server):
    server.fault = "altered"
    with pytest.raises(PipelineError, match="checksum"):
        hub.fetch(PART)
    assert PART.local_path() is None and not list(PART.cache.rglob("*.part"))
    server.fault = None
    pinned = dataclasses.replace(PART, files=(WeightFile("big.safetensors", "0" * 64),))
    with pytest.raises(PipelineError, match="not 000000000000"):
        hub.fetch(pinned)
    begins = hashlib.sha256(server.files["big.safetensors"]).hexdigest()[:8]
    hub.fetch(dataclasses.replace(PART, files=(WeightFile("big.safetensors", begins),)))
    assert PART.cache.joinpath("big.safetensors").is_file()


def test_files_that_change_on_the_hub_are_noticed(server):
    hub.fetch(PART)
    (PART.cache / "big.safetensors").unlink()
    server.files["big.safetensors"] = bytes(5000)
    with pytest.raises(PipelineError, match="checksum"):
        hub.fetch(PART)


def test_offline_and_unreachable(server, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(PipelineError, match="HF_HUB_OFFLINE"):
        hub.fetch(PART)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    set_endpoint(monkeypatch, "http://127.0.0.1:9")
    with pytest.raises(PipelineError, match="could not be reached"):
        hub.fetch(PART)


def test_full_disk(server, monkeypatch):
    usage = hub.shutil.disk_usage
    monkeypatch.setattr(hub.shutil, "disk_usage", lambda path: usage(path)._replace(free=1000))
    with pytest.raises(PipelineError, match="make room or set ONESHOT_CACHE"):
        hub.fetch(PART)
    monkeypatch.setattr(hub.shutil, "disk_usage", usage)

    def full(*args, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("huggingface_hub.file_download.http_get", full)
    with pytest.raises(PipelineError, match="the disk is full"):
        hub.fetch(PART)


def test_own_repository_and_local_files(server, monkeypatch, tmp_path):
    smplx = dataclasses.replace(WEIGHTS["smplx"], files=(WeightFile("big.safetensors"),))
    monkeypatch.delenv("SMPLX_MODEL", raising=False)
    with pytest.raises(PipelineError, match="set SMPLX_MODEL"):
        hub.fetch(smplx)
    monkeypatch.setenv("ONESHOT_SMPLX_REPO", "own/repo")
    assert hub.fetch(smplx).read_bytes() == FILES["big.safetensors"]
    monkeypatch.setenv("SMPLX_MODEL", str(tmp_path / "nothing.npz"))
    with pytest.raises(PipelineError, match="not a file"):
        smplx.local_path()
    assert smplx.state() == "wrong"
    monkeypatch.setenv("ONESHOT_SVD", str(tmp_path))
    assert weights.require("svd-xt-1.1") == tmp_path
    with pytest.raises(PipelineError, match="weights fetch mimicmotion"):
        weights.require("mimicmotion")
    with pytest.raises(PipelineError, match="there are smplx"):
        weights.require("unknown")


def test_command_line_with_hf_endpoint(server, tmp_path):
    environment = {
        **os.environ, "HF_ENDPOINT": server.url, "HF_HUB_OFFLINE": "0", "ONESHOT_CACHE": str(tmp_path / "cache"),
        "ONESHOT_SMPLX_REPO": "test/repo",
    }  # fmt: skip
    environment.pop("SMPLX_MODEL", None)
    server.files = {"SMPLX_NEUTRAL.npz": b"0" * 2000}

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "pipeline", "weights", *arguments], env=environment, capture_output=True, text=True
        )

    done = run("fetch", "smplx", "--json")
    assert done.returncode == 0, done.stderr
    path = json.loads(done.stdout)["fetched"]["smplx"]
    assert open(path, "rb").read() == b"0" * 2000
    server.fault = "gated"
    failed = run("fetch", "mimicmotion")
    assert failed.returncode == 1 and "terms to be accepted" in failed.stderr and "Traceback" not in failed.stderr
