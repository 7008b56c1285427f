"""A configured set of clips: from a folder, and as a Hub dataset from a loopback server, on demand and pinned."""

from __future__ import annotations

import json

import pytest
from test_motion_clips import make_clip
from test_weights import COMMIT, server  # noqa: F401 (a fixture)

from pipeline import api
from pipeline.motion import get_motion, list_presets, save_clip
from pipeline.motion.clipset import configured, list_clips, part
from pipeline.motion.ted.build import sha256_of
from pipeline.types import PipelineError


@pytest.fixture
def folder(tmp_path):
    """A set of two clips as ``ted build`` writes it."""
    root = tmp_path / "set"
    (root / "clips").mkdir(parents=True)
    clips = []
    for k in range(2):
        path = root / "clips" / f"talk-{k}.npz"
        save_clip(make_clip(12 + k, seed=k), path)
        clips.append({"name": path.stem, "file": f"clips/{path.name}", "sha256": sha256_of(path), "seconds": 0.4 + k,
                      "fps": 30, "video": "talk.mp4", "licence": "CC-BY-4.0", "source": "https://x.org"})  # fmt: skip
    (root / "manifest.json").write_text(json.dumps({"format": 1, "clips": clips}))
    return root


@pytest.fixture
def hub_set(server, folder, monkeypatch):  # noqa: F811
    """The same as a dataset on the loopback Hub."""
    server.files = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    monkeypatch.delenv("ONESHOT_TED_CLIPS", raising=False)
    monkeypatch.setenv("ONESHOT_TED_REPO", "own/repo")
    return server


def gets(server):  # noqa: F811
    return [path for method, path, *_ in server.seen if method == "GET" and "/resolve/" in path]


def test_nothing_is_configured_at_first(monkeypatch):
    for name in ("ONESHOT_TED_CLIPS", "ONESHOT_TED_REPO"):
        monkeypatch.delenv(name, raising=False)
    assert not configured() and list_clips() == [] and len(api.list_motions()) == len(list_presets())
    with pytest.raises(PipelineError, match="ONESHOT_TED_REPO"):
        get_motion("ted:talk-0")


def test_a_folder_of_clips(folder, monkeypatch):
    monkeypatch.setenv("ONESHOT_TED_CLIPS", str(folder))
    listed = {m["name"]: m for m in api.list_motions()}
    assert listed["ted:talk-1"]["seconds"] == 1.4 and listed["ted:talk-1"]["licence"] == "CC-BY-4.0"
    assert "explaining" in listed and len(get_motion("ted:talk-1")) == 13
    with pytest.raises(PipelineError, match="has no 'other'"):
        get_motion("ted:other")
    (folder / "clips" / "talk-0.npz").write_bytes(b"another")
    with pytest.raises(PipelineError, match="not what its manifest says"):
        get_motion("ted:talk-0")


def test_a_hub_dataset_is_fetched_on_demand_cached_and_pinned(hub_set):
    assert [info.name for info in list_clips()] == ["ted:talk-0", "ted:talk-1"]
    assert gets(hub_set) == ["/datasets/own/repo/resolve/main/manifest.json"], "the list alone"
    assert len(get_motion("ted:talk-1")) == 13
    assert gets(hub_set)[1:] == [f"/datasets/own/repo/resolve/{COMMIT}/clips/talk-1.npz"], "one clip, same commit"
    count = len(hub_set.seen)
    assert len(get_motion("ted:talk-1")) == 13 and list_clips() and len(hub_set.seen) == count, "cached"
    record = part().record()
    assert record["commit"] == COMMIT and set(record["files"]) == {"manifest.json", "clips/talk-1.npz"}


def test_an_altered_clip_is_thrown_away(hub_set):
    list_clips()
    hub_set.files["clips/talk-0.npz"] = hub_set.files["clips/talk-1.npz"]
    with pytest.raises(PipelineError, match="checksum"):
        get_motion("ted:talk-0")
    assert not (part().cache / "clips" / "talk-0.npz").exists()


def test_without_the_hub_the_presets_remain(hub_set, caplog):
    hub_set.fault = "busy"
    assert len(api.list_motions()) == len(list_presets()) and "status 503" in caplog.text
    with pytest.raises(PipelineError, match="503"):
        get_motion("ted:talk-0")


def test_another_dataset_is_not_mixed_in(hub_set, monkeypatch):
    list_clips()
    monkeypatch.setenv("ONESHOT_TED_REPO", "test/repo")
    with pytest.raises(PipelineError, match="holds the clips of own/repo"):
        list_clips()


@pytest.mark.parametrize(
    "bad",
    [
        "[]",
        "no",
        '{"clips": [{"name": "a"}]}',
        '{"clips": [{"name": "a", "file": "../a.npz", "sha256": "%s"}]}' % ("0" * 64),
    ],
)
def test_a_bad_manifest_is_refused(folder, monkeypatch, bad):
    monkeypatch.setenv("ONESHOT_TED_CLIPS", str(folder))
    (folder / "manifest.json").write_text(bad)
    with pytest.raises(PipelineError, match="not a manifest"):
        list_clips()
    (folder / "manifest.json").unlink()
    with pytest.raises(PipelineError, match="has no manifest"):
        list_clips()
