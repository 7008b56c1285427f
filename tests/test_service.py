"""Avatars behind ids that expire, and work that can be stopped."""

import os
import signal
import threading
import time

import pytest

from pipeline.service import TOKEN, Store, in_steps, remove_orphans
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


def test_a_clock_that_was_set_back_keeps_nothing_longer(store):
    token = store.add(FakeAvatar())
    path = store.folder / "avatars" / token
    os.utime(path, (time.time() + 9e5, time.time() + 9e5))
    store.sweep()
    assert path.stat().st_mtime < time.time() + 1


def test_the_disk_is_bounded(tmp_path):
    store = Store(tmp_path / "store", max_bytes=2500)
    files = [store.new_file(".mp4") for _ in range(4)]
    for age, path in enumerate(files):
        path.write_bytes(b"x" * 1000)
        os.utime(path, (time.time() - 60 + age, time.time() - 60 + age))
    store.sweep()
    assert kept(store, "files") == sorted(path.name for path in files[2:])


def test_uploads_are_bounded_and_forgotten_too(tmp_path):
    store = Store(tmp_path / "store", seconds=100, max_bytes=2500)
    for age, name in ((101, "old"), (60, "unused"), (30, "used"), (20, "newest")):
        folder = store.uploads / name
        folder.mkdir()
        (folder / "photo.png").write_bytes(b"x" * 1000)
        os.utime(folder, (time.time() - age, time.time() - age))
    store.sweep()
    assert kept(store, "uploads") == ["newest", "used"]


def test_what_is_being_written_is_left_alone(tmp_path):
    store = Store(tmp_path / "store", max_bytes=10)
    path = store.new_file(".mp4")
    path.write_bytes(b"x" * 1000)
    store.sweep()
    assert path.exists()


def test_forgetting_an_avatar_takes_its_files_along(store, tmp_path):
    token, other = store.add(FakeAvatar()), store.add(FakeAvatar())
    photo = tmp_path / "upload.png"
    files = [store.new_file(".mp4", token), store.new_file(".jpg", token), photo]
    store.attach(token, photo)
    foreign = store.new_file(".mp4", other)
    for path in (*files, foreign):
        path.write_bytes(b"x")
    assert store.status(token)["files"] == 3
    store.forget(token)
    assert not any(path.exists() for path in files) and foreign.exists() and kept(store) == [other]
    for action in (store.forget, store.status, store.get):
        with pytest.raises(PipelineError, match="not here"):
            action(token)


def test_status_tells_how_long_it_is_kept(store):
    token = store.add(FakeAvatar())
    assert 95 <= store.status(token)["seconds_left"] <= 100


def test_a_forked_worker_does_not_empty_the_store(store):
    token = store.add(FakeAvatar())
    if (child := os.fork()) == 0:
        store.close()
        os._exit(0)
    os.waitpid(child, 0)
    assert kept(store) == [token]


def killed_server(work) -> None:
    """A process that makes a store, does something with it and is killed."""
    child = os.fork()
    if child == 0:
        try:
            work(Store())
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)


def test_the_next_server_takes_over_what_a_killed_one_left(tmp_path, monkeypatch):
    """Ids stay good for the rest of their time; half-written files and uploads go."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    living = Store()
    living.add(FakeAvatar())

    def work(store):
        (tmp_path / "id").write_text(store.add(FakeAvatar()))
        store.new_file(".mp4", (tmp_path / "id").read_text()).write_bytes(b"whole")
        (store.files / ".half.mp4").write_bytes(b"half")
        (store.folder / "avatars" / f".{'A' * 43}.xyz").mkdir()
        (store.uploads / "photo.png").write_bytes(b"a face")

    killed_server(work)
    token, mine = (tmp_path / "id").read_text(), Store()
    assert mine.folder != living.folder and kept(mine) == [token] and mine.status(token)["files"] == 1
    assert len(kept(mine, "files")) == 1 and kept(mine, "uploads") == []
    mine.forget(token)
    assert kept(mine, "files") == []
    assert len(kept(living)) == 1, "a store whose server lives is nobody else's"


def test_what_nobody_takes_over_is_deleted_in_time(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    killed_server(lambda store: store.add(FakeAvatar()))
    (orphan,) = tmp_path.glob("one-photo-*")
    remove_orphans(seconds=100)
    assert orphan.exists()
    for path in (orphan, *orphan.glob("*/*")):
        os.utime(path, (time.time() - 101, time.time() - 101))
    living = Store(seconds=100)
    assert living.folder == orphan and kept(living) == [], "taken over, but nothing in it is kept longer"
    os.utime(orphan, (time.time() - 101, time.time() - 101))
    remove_orphans(seconds=100)
    assert orphan.exists(), "its server lives"
    living._lock.close()
    remove_orphans(seconds=100)
    assert not orphan.exists()


def test_things_are_forgotten_when_nobody_comes(tmp_path):
    store = Store(tmp_path / "store", seconds=0.2)
    store.add(FakeAvatar())
    store.keep_clean(every=0.05)
    end = time.monotonic() + 5
    while kept(store) and time.monotonic() < end:
        time.sleep(0.05)
    assert kept(store) == []
    store.close()


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
    assert seen and all(step.stage == "drawing" and 0 <= step.share < 1 for step in seen)


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


def test_silent_work_can_be_stopped_too():
    """Without news the last step is repeated, so that whoever wants to stop gets a word in."""
    release = threading.Event()
    steps = in_steps(lambda tell: release.wait(10), patience=0.05)
    started = time.monotonic()
    assert next(steps).stage == "starting" and next(steps).stage == "starting"
    steps.close()
    assert time.monotonic() - started < 2
    release.set()


def test_pictures_of_the_work_arrive_once():
    def work(tell):
        tell.show("picture", "drawing", 0.5)
        time.sleep(0.1)
        tell("drawing", 0.6)
        time.sleep(0.1)

    seen, _ = drain(in_steps(work, pause=0.02))
    assert [step.picture for step in seen if step.picture] == ["picture"]
