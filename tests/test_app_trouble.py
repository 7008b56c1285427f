"""The app in trouble: killed and started again, a full disk, no ffmpeg. Each on a server of its own."""

import contextlib
import json
import shutil
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
from running_app import running
from small_motion import short_clip

TOKEN = "trouble" + "T" * 36
pytestmark = pytest.mark.slow


def connect(app):
    from gradio_client import Client

    return Client(app.url, verbose=False)


def start(app, name: str, arguments: dict) -> None:
    """Begin a call and do not wait for it."""
    body, kind = json.dumps(arguments).encode(), {"Content-Type": "application/json"}
    urllib.request.urlopen(urllib.request.Request(f"{app.url}/gradio_api/call/v2/{name}", body, kind), timeout=60)


def sentence(client, *args, **kwargs) -> str:
    """With which a call fails."""
    from gradio_client.exceptions import AppError

    with pytest.raises(AppError) as error:
        client.predict(*args, **kwargs)
    return str(error.value)


def hidden(store: Path) -> list[str]:
    """Half-written files and folders."""
    return [path.name for kind in ("avatars", "files") for path in (store / kind).glob(".*")]


def finished(store: Path) -> list[str]:
    """Results."""
    return sorted(path.name for path in (store / "files").iterdir())


def wait_for(condition, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def no_ffmpeg(tmp_path_factory):
    """Environment in which neither the package nor the system has the program."""
    import imageio_ffmpeg

    source, bare = Path(imageio_ffmpeg.__file__).parent, tmp_path_factory.mktemp("bare")
    shutil.copytree(source, bare / "imageio_ffmpeg", ignore=shutil.ignore_patterns("ffmpeg-*", "__pycache__"))
    return {"PYTHONPATH": str(bare), "PATH": str(bare), "ONESHOT_MCP": "0"}


@pytest.fixture(scope="module")
def again(tmp_path_factory, doll, no_ffmpeg):
    """The app, started again (without ffmpeg this time) after it was killed while it made a video."""
    folder = tmp_path_factory.mktemp("killed") / "tmp"
    with running(folder, {"ONESHOT_MCP": "0"}) as app:
        doll.save(app.store / "avatars" / TOKEN)
        (app.store / "uploads" / "photo.png").write_bytes(b"a face")
        before = app.store
        start(app, "animate", {"avatar_id": TOKEN, "motion": "explaining"})
        wait_for(lambda: hidden(before))
        app.process.send_signal(signal.SIGKILL)
        app.process.wait()
    assert hidden(before) != [], "it was killed in the middle"
    with running(folder, no_ffmpeg, end=signal.SIGTERM) as app:
        assert app.store == before
        yield app
    assert list(folder.glob("one-photo-*")) == [], "ended by SIGTERM it leaves nothing"


def test_ids_outlive_a_killed_server(again):
    client = connect(again)
    assert 3000 < client.predict(TOKEN, api_name="/status")["seconds_left"] <= 3600
    assert Path(client.predict(TOKEN, "ply", "greeting", 3, api_name="/export")).read_bytes().startswith(b"ply\n")


def test_nothing_half_written_outlives_it(again):
    assert hidden(again.store) == [] and not list((again.store / "uploads").rglob("photo.png"))
    assert [path.name for path in (again.store / "avatars").iterdir()] == [TOKEN]


def test_without_ffmpeg_there_is_one_sentence(again, tmp_path):
    client, files = connect(again), finished(again.store)
    said = sentence(client, TOKEN, "greeting", api_name="/animate")
    assert said == "No ffmpeg program was found; run 'pip install imageio-ffmpeg' again."
    assert sentence(client, TOKEN, "greeting", None, "transparent", api_name="/animate") == said
    assert finished(again.store) == files, "nothing is left of the attempts"
    assert "Traceback" not in again.log.read_text()


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory, doll):
    """The app on a disk of 24 MB that only it sees; (app, the disk as seen from here)."""
    alone = ["unshare", "--map-root-user", "--mount"]
    folder = tmp_path_factory.mktemp("disk") / "tmp"
    folder.mkdir()
    mount = f"mount -t tmpfs -o size=24m tmpfs '{folder}'"
    with contextlib.suppress(OSError):
        if subprocess.run([*alone, "sh", "-c", mount], capture_output=True).returncode == 0:
            with running(folder, {"ONESHOT_MCP": "0"}, [*alone, "sh", "-c", f'{mount} && exec "$@"', "sh"]) as app:
                app.folder = Path(f"/proc/{app.process.pid}/root{folder}")
                doll.save(app.store / "avatars" / TOKEN)
                yield app
                return
    pytest.skip("needs the right to mount a small disk (unshare)")


def test_a_full_disk_is_said_and_survived(small_disk, tmp_path):
    from gradio_client import handle_file

    client, clip = connect(small_disk), handle_file(short_clip(tmp_path))
    make = {"avatar_id": TOKEN, "motion": "greeting", "motion_file": clip, "speed": 3, "api_name": "/animate"}
    client.predict(**make)  # fills Gradio's cache with the upload
    kept = finished(small_disk.store)
    filler, free = small_disk.folder / "filler", shutil.disk_usage(small_disk.folder).free
    filler.write_bytes(bytes(free - 40_000))
    for answer in (sentence(client, **make), sentence(client, TOKEN, "avatar", api_name="/export")):
        assert answer == "The server's disk is full; try again later."
    assert finished(small_disk.store) == kept and hidden(small_disk.store) == []
    assert client.predict(TOKEN, api_name="/status")["bytes"] > 1e6
    filler.unlink()
    assert Path(client.predict(**make)).stat().st_size > 1000
    assert "Traceback" not in small_disk.log.read_text()
