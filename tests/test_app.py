"""The app for real: a server of its own, called by gradio_client and by a browser."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from bad_photos import unreadable_photos
from test_cli import write_clip

ROOT = Path(__file__).resolve().parent.parent
ENDPOINTS = {
    "/fit": ["photo", "consent", "quality", "seed"],
    "/animate": [
        "avatar_id", "motion", "motion_file", "background", "colour", "yaw", "pitch", "orbit", "amplitude",
    ],
    "/make_video": ["photo", "consent", "motion", "motion_file", "quality", "background", "seed"],
    "/list_motions": [],
}  # fmt: skip


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_until_ready(url: str, process: subprocess.Popen, seconds: float = 240) -> None:
    """Until the page answers."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            raise AssertionError(f"the app ended with {process.returncode}")
        with contextlib.suppress(OSError):
            with urllib.request.urlopen(url, timeout=5) as answer:
                if answer.status == 200:
                    return
        time.sleep(0.3)
    raise AssertionError("the app did not start")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """(url, temporary folder, log file) of a running app."""
    folder = tmp_path_factory.mktemp("app")
    port, log = free_port(), folder / "log.txt"
    (folder / "tmp").mkdir()
    env = {
        **os.environ,
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_SERVER_NAME": "127.0.0.1",
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_TEMP_DIR": str(folder / "tmp" / "gradio"),
        "TMPDIR": str(folder / "tmp"),
        "HF_HUB_OFFLINE": "1",
    }
    with open(log, "w") as out:
        process = subprocess.Popen(
            [sys.executable, "app.py"], cwd=ROOT, env=env, stdout=out, stderr=out,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background shell may have it ignored
        )  # fmt: skip
        try:
            wait_until_ready(f"http://127.0.0.1:{port}/", process)
            yield f"http://127.0.0.1:{port}", folder / "tmp", log
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(90)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
    leftovers = list((folder / "tmp").glob("one-photo-*"))
    assert leftovers == [], "the server left avatars behind"


@pytest.fixture(scope="module")
def client(server):
    from gradio_client import Client

    return Client(server[0], verbose=False)


@pytest.fixture(scope="module")
def short_motion(tmp_path_factory):
    """A motion of half a second: 15 frames."""
    frames = 15
    arkit = np.zeros((frames, 52))
    arkit[:, 24] = np.linspace(0, 0.5, frames)
    fields = {name: np.zeros((frames, 15, 3)) for name in ("left_hand_pose", "right_hand_pose")}
    fields |= {n: np.zeros((frames, 3)) for n in ("global_orient", "jaw_pose", "leye_pose", "reye_pose", "transl")}
    body = np.zeros((frames, 21, 3))
    body[:, 15, 2], body[:, 16, 2] = -1.2, 1.2  # arms down
    path = tmp_path_factory.mktemp("motion") / "short.npz"
    return write_clip(path, body_pose=body, arkit=arkit, **fields)


@pytest.fixture(scope="module")
def bad_files(tmp_path_factory, astronaut_path):
    return unreadable_photos(tmp_path_factory.mktemp("photos"), astronaut_path)


def error_of(client, *args, **kwargs) -> str:
    """The sentence with which a call fails."""
    from gradio_client.exceptions import AppError

    with pytest.raises(AppError) as error:
        client.predict(*args, **kwargs)
    return str(error.value)


def video_facts(path: str) -> tuple[int, int, int]:
    """Frames, width, height."""
    from pipeline.media import VideoReader

    with VideoReader(path) as reader:
        return sum(1 for _ in reader), reader.info.width, reader.info.height


def test_named_endpoints_are_stable(client):
    api = client.view_api(return_format="dict")["named_endpoints"]
    named = {name: [p["parameter_name"] for p in info["parameters"]] for name, info in api.items()}
    assert named == ENDPOINTS


def test_optional_parameters_have_defaults(client):
    api = client.view_api(return_format="dict")["named_endpoints"]
    needed = {p["parameter_name"] for p in api["/make_video"]["parameters"] if not p["parameter_has_default"]}
    assert needed <= {"photo", "consent", "motion"}


def test_motions_are_listed(client):
    motions = client.predict(api_name="/list_motions")
    assert len(motions) >= 6 and {"name", "title", "seconds", "description"} <= set(motions[0])


def test_agents_see_the_same_tools(server):
    with urllib.request.urlopen(f"{server[0]}/gradio_api/mcp/schema", timeout=60) as answer:
        tools = {tool["name"]: tool for tool in json.load(answer)}
    assert {name.split("_", 1)[-1] if name.startswith("app_") else name for name in tools} == {
        name.removeprefix("/") for name in ENDPOINTS
    }
    assert all(tool["description"] for tool in tools.values())


def test_consent_is_required(client, astronaut_path):
    from gradio_client import handle_file

    photo = handle_file(astronaut_path)
    assert "whether this is a photo of you" in error_of(client, photo, None, api_name="/fit")
    assert "whether this is a photo of you" in error_of(client, photo, None, "explaining", api_name="/make_video")


@pytest.mark.parametrize(
    ("name", "words"), [("text.jpg", "not a picture"), ("bomb.png", "pixels"), ("drawing.svg", "not a photo")]
)
def test_bad_photos_end_in_their_sentence(client, bad_files, name, words):
    from gradio_client import handle_file

    assert words in error_of(client, handle_file(bad_files[name]), "own", api_name="/fit")


def test_no_photo(client):
    assert "give a photo" in error_of(client, None, "own", api_name="/fit")


@pytest.mark.parametrize("avatar_id", ["", "../../etc", "A" * 43])
def test_unknown_avatars(client, avatar_id):
    assert "not here" in error_of(client, avatar_id, "explaining", api_name="/animate")


def call_raw(url, endpoint, data) -> str:
    """The event stream of a call made without gradio_client, which would upload local files itself."""
    body = json.dumps({"data": data}).encode()
    request = urllib.request.Request(f"{url}/gradio_api/call/{endpoint}", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        event = json.load(answer)["event_id"]
    with urllib.request.urlopen(f"{url}/gradio_api/call/{endpoint}/{event}", timeout=240) as stream:
        return stream.read().decode()


@pytest.mark.parametrize("path", ["/etc/passwd", str(ROOT / "app.py"), "http://127.0.0.1:1/x.png"])
def test_forged_paths_and_urls_are_refused(server, path):
    forged = {"path": path, "meta": {"_type": "gradio.FileData"}}
    answer = call_raw(server[0], "fit", [forged, "own", "fast", 0])
    assert "event: error" in answer and "root:" not in answer and "not a picture" not in answer


def test_large_uploads_are_refused(client, tmp_path):
    from gradio_client import handle_file

    large = tmp_path / "large.png"
    with open(large, "wb") as file:
        file.truncate(51 * 2**20)
    with pytest.raises(Exception, match=r"(?i)size|413|large"):
        client.predict(handle_file(large), "own", api_name="/fit")


@pytest.fixture(scope="module")
def fitted(client, astronaut_path):
    """What /fit returns for the astronaut."""
    from gradio_client import handle_file

    return client.predict(handle_file(astronaut_path), "public-domain", "fast", api_name="/fit")


@pytest.mark.slow
def test_photo_to_avatar(fitted):
    avatar_id, text, pictures, report = fitted
    assert len(avatar_id) == 43 and "measure" in text and len(pictures) == 3
    assert report["accepted"] is True and report["metrics"]["gaussians"] > 50_000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "suffix"),
    [
        ({"background": "colour", "colour": "rgba(32, 48, 64, 1)", "yaw": 10}, ".mp4"),
        ({"background": "transparent"}, ".webm"),
    ],
)
def test_avatar_to_video(client, fitted, short_motion, options, suffix):
    from gradio_client import handle_file

    video = client.predict(avatar_id=fitted[0], motion="explaining", motion_file=handle_file(short_motion),
                           api_name="/animate", **options)  # fmt: skip
    path = video["video"] if isinstance(video, dict) else video
    assert path.endswith(suffix) and video_facts(path) == (15, 576, 1024)


@pytest.mark.slow
def test_photo_to_video_in_one_call(client, astronaut_path, short_motion):
    from gradio_client import handle_file

    video = client.predict(photo=handle_file(astronaut_path), consent="public-domain", motion="explaining",
                           motion_file=handle_file(short_motion), quality="fast", api_name="/make_video")  # fmt: skip
    path = video["video"] if isinstance(video, dict) else video
    assert path.endswith(".mp4") and video_facts(path) == (15, 576, 1024)


@pytest.mark.slow
def test_a_cancelled_fit_makes_room_at_once(client, astronaut_path, bad_files):
    from gradio_client import handle_file

    job = client.submit(handle_file(astronaut_path), "public-domain", "default", api_name="/fit")
    time.sleep(4)
    job.cancel()
    started = time.monotonic()
    assert "not a picture" in error_of(client, handle_file(bad_files["text.jpg"]), "own", api_name="/fit")
    assert time.monotonic() - started < 15


def test_the_log_names_no_photo(server):
    log = server[2].read_text()
    assert not [name for name in ("astronaut", "text.jpg", "bomb.png", "drawing.svg") if name in log]


@pytest.fixture(scope="module")
def page(server):
    """The app's page in headless chromium, with the page's errors and foreign requests collected."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the playwright package")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("needs a chromium on this machine: apt-get install chromium")
    options = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
               "--disable-component-update", "--disable-sync"]  # fmt: skip
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium, headless=True, args=options)
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.problems = []
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.on("request", lambda r: None if r.url.startswith((server[0], "blob:", "data:")) else
                page.problems.append(r.url))  # fmt: skip
        page.goto(server[0])
        page.wait_for_selector("#photo input[type=file]", state="attached", timeout=120_000)
        yield page
        browser.close()


@pytest.mark.browser
def test_page_asks_for_consent(page, astronaut_path):
    page.locator("#photo input[type=file]").set_input_files(str(astronaut_path))
    page.wait_for_selector("#photo img", timeout=60_000)
    page.click("#fit")
    page.wait_for_selector("text=whether this is a photo of you", timeout=60_000)


@pytest.mark.browser
def test_example_fills_photo_and_consent(page):
    page.reload()
    page.wait_for_selector("#photo input[type=file]", state="attached", timeout=60_000)
    page.locator("#examples tbody td").first.click()
    page.wait_for_selector("#photo img", timeout=60_000)
    assert page.locator("#consent input[type=radio]").nth(2).is_checked()


@pytest.mark.browser
@pytest.mark.slow
def test_page_stops_a_fit(page, astronaut_path, client, bad_files):
    from gradio_client import handle_file

    if not page.locator("#photo img").count():
        page.locator("#photo input[type=file]").set_input_files(str(astronaut_path))
        page.wait_for_selector("#photo img", timeout=60_000)
    page.locator("#consent input[type=radio]").nth(2).check()
    page.locator("#quality input[type=radio]").first.check()
    page.click("#fit")
    page.wait_for_selector("#previews .progress-text, #previews .progress-level", timeout=90_000)
    page.click("#stop")
    started = time.monotonic()
    assert "not a picture" in error_of(client, handle_file(bad_files["text.jpg"]), "own", api_name="/fit")
    assert time.monotonic() - started < 15
    assert page.locator("#avatar_id textarea, #avatar_id input").input_value() == ""


@pytest.mark.browser
@pytest.mark.slow
def test_page_makes_a_video(page, fitted, short_motion):
    """With an avatar that was made through the API: its id works on the page."""
    page.locator("#avatar_id textarea, #avatar_id input").fill(fitted[0])
    page.locator("#motions button").nth(2).click()
    page.locator("#motion_file input[type=file]").set_input_files(str(short_motion))
    page.wait_for_selector("#motion_file >> text=short", timeout=60_000)
    page.click("#animate")
    page.wait_for_selector("#video video, .toast-body.error", timeout=120_000)
    assert page.locator(".toast-body.error").all_inner_texts() == []
    page.wait_for_function("document.querySelector('#video video').readyState >= 2", timeout=60_000)
    if shot := os.environ.get("ONESHOT_SCREENSHOT"):
        page.screenshot(path=shot, full_page=True)
    assert page.problems == []
