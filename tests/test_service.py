"""Avatars behind ids that expire, and work that can be stopped."""

import os
import threading
import time

import pytest

from pipeline.service import TOKEN, Store, in_steps
from pipeline.types import PipelineError


class FakeAvatar:
    """Saves a folder, as an avatar does."""

    def save(self, path):
        path.mkdir()
        (path / "avatar.json").write_text("{}")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store", seconds=100, limit=3)


def kept(store, kind="avatars"):
    return sorted(path.name for path in (store.folder / kind).iterdir())


def test_ids_are_long_and_different(store):
    ids = {store.add(FakeAvatar()) for _ in range(3)}
    assert len(ids) == 3 and all(TOKEN.fullmatch(token) for token in ids)
    assert kept(store) == sorted(ids)


@pytest.mark.parametrize("token", ["", "x", "../../etc/passwd", "a" * 43, "." * 43, "a" * 42 + "/", None])
def test_unknown_and_hostile_ids_are_refused(store, token):
    with pytest.raises(PipelineError, match="not here"):
        store.get(token)


def test_the_longest_unused_goes_first(store):
    ids = [store.add(FakeAvatar()) for _ in range(3)]
    for age, token in enumerate(reversed(ids)):
        os.utime(store.folder / "avatars" / token, (time.time() - age, time.time() - age))
    newest = store.add(FakeAvatar())
    assert kept(store) == sorted([*ids[1:], newest])


def test_old_things_are_deleted(store):
    token, file = store.add(FakeAvatar()), store.new_file(".mp4")
    file.write_bytes(b"x")
    for path in (store.folder / "avatars" / token, file):
        os.utime(path, (time.time() - 101, time.time() - 101))
    store.sweep()
    assert kept(store) == kept(store, "files") == []


def test_close_leaves_nothing(store):
    store.add(FakeAvatar())
    store.close()
    assert not store.folder.exists()


def drain(steps):
    """Yields and return value of a generator."""
    seen = []
    while True:
        try:
            seen.append(next(steps))
        except StopIteration as end:
            return seen, end.value


def test_steps_bring_progress_and_result():
    def work(tell):
        for i in range(3):
            tell("drawing", i / 3)
            time.sleep(0.06)
        return 42

    seen, value = drain(in_steps(work, pause=0.05))
    assert value == 42
    assert seen and all(stage == "drawing" and 0 <= share < 1 for stage, share in seen)


def test_errors_of_the_work_arrive():
    def work(tell):
        raise PipelineError("No person was found.")

    with pytest.raises(PipelineError, match="No person"):
        drain(in_steps(work))


def test_closing_the_generator_stops_the_work():
    stopped = threading.Event()

    def work(tell):
        try:
            while True:
                tell("drawing", 0.5)
                time.sleep(0.01)
        finally:
            stopped.set()

    steps = in_steps(work, pause=0.02)
    next(steps)
    steps.close()
    assert stopped.wait(2)


def test_work_has_a_deadline():
    def work(tell):
        while True:
            tell("drawing", 0.5)
            time.sleep(0.01)

    with pytest.raises(PipelineError, match="too long"):
        drain(in_steps(work, deadline=0.3, pause=0.02))
