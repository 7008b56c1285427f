"""Files in the cache arrive whole or not at all."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from pipeline.body.cache import cache_dir, only_one, write_atomically
from pipeline.types import PipelineError


def test_cache_dir_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("ONESHOT_CACHE", str(tmp_path / "here"))
    assert cache_dir() == tmp_path / "here"
    monkeypatch.delenv("ONESHOT_CACHE")
    assert cache_dir().name == "oneshot-avatar"


def test_nothing_is_left_when_writing_fails(tmp_path):
    def fail(path: Path) -> None:
        path.write_text("half")
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        write_atomically(tmp_path / "model.npz", fail)
    assert list(tmp_path.iterdir()) == []
    write_atomically(tmp_path / "model.npz", lambda path: path.write_text("whole"))
    assert [path.name for path in tmp_path.iterdir()] == ["model.npz"]


def test_full_disk_is_one_sentence(tmp_path):
    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(PipelineError, match="No space left"):
        write_atomically(tmp_path / "model.npz", full)
    assert list(tmp_path.iterdir()) == []


def test_folder_that_is_a_file_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PipelineError, match="ONESHOT_CACHE"):
        write_atomically(tmp_path / "file" / "model.npz", lambda path: None)


def test_only_one_at_a_time(tmp_path):
    pytest.importorskip("fcntl")
    inside, most = [], []

    def work() -> None:
        with only_one(tmp_path / "model.npz"):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.05)
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1]
