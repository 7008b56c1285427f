"""Many visitors: a full queue, memory over many requests, a browser without WebGL. On a server of its own."""

import json
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from browser import chromium
from gradio_client.utils import QueueError, Status
from running_app import running
from small_motion import short_clip

from pipeline.web.limits import QUEUE_SIZE

TOKEN = "crowd" + "C" * 38
WARM, MEASURED, GROWTH_MB = 4, 12, 12.0
"""Videos before memory is compared, videos compared, and how much it may grow from the first four to the last four of
them. It stays the same to 1 MB; it grows by 34 MB when the avatar of each video stays behind."""


@pytest.fixture(scope="module")
def app(tmp_path_factory, doll):
    with running(tmp_path_factory.mktemp("crowd") / "tmp", {"ONESHOT_MCP": "0", "ONESHOT_RATE": "0"}) as running_app:
        doll.save(running_app.store / "avatars" / TOKEN)
        yield running_app


@pytest.fixture(scope="module")
def client(app):
    from gradio_client import Client

    return Client(app.url, verbose=False)


def test_freed_memory_goes_back_to_the_system():
    """Small pieces below one that stays are kept by the allocator until it is asked."""
    import ctypes

    from pipeline import heap

    if heap._glibc("malloc_trim") is None:
        pytest.skip("needs glibc, whose allocator keeps freed memory")

    def resident() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20

    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    pieces = [libc.malloc(60_000) for _ in range(2000)]
    for piece in pieces:
        ctypes.memset(piece, 1, 60_000)
    for piece in pieces[:-1]:
        libc.free(piece)
    before = resident()
    heap.give_back()
    after = resident()
    libc.free(pieces[-1])
    assert after < before - 80, "most of 114 MB"


@pytest.mark.slow
def test_memory_stays_flat(app, client, tmp_path):
    """Over a dozen videos, after a few that fill caches."""
    from gradio_client import handle_file

    clip = handle_file(short_clip(tmp_path))

    def after(videos: int) -> float:
        """Make videos; the least megabytes of its own that the process has after one of them."""
        seen = []
        for _ in range(videos):
            client.predict(avatar_id=TOKEN, motion="greeting", motion_file=clip, speed=3, api_name="/animate")
            time.sleep(0.3)
            lines = Path(f"/proc/{app.process.pid}/status").read_text().splitlines()
            seen.append(int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 1024)
        return min(seen)

    after(WARM)
    first, _, last = (after(MEASURED // 3) for _ in range(3))
    assert last < first + GROWTH_MB


def post(app, path: str, data: list) -> dict:
    """What curl would get."""
    body, kind = json.dumps({"data": data}).encode(), {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{app.url}/gradio_api/{path}", body, kind)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


BUSY = {"avatar_id": "A" * 43, "motion": "greeting", "api_name": "/animate"}
"""A call that takes its place in the queue and no time when it is its turn."""


@pytest.fixture(scope="module")
def page(app):
    """The page in a browser that cannot draw in 3D."""
    with chromium("--disable-3d-apis", "--disable-gpu") as browser:
        page = browser.new_page()
        page.goto(app.url)
        page.wait_for_selector("body.page-ready", timeout=120_000)
        yield page


def test_without_webgl_the_page_shows_a_still_picture(page):
    page.fill("#avatar_id input, #avatar_id textarea", TOKEN)
    page.keyboard.press("Enter")
    page.wait_for_selector("#view img:not([hidden])", timeout=120_000)
    page.wait_for_selector("#view [role=status] >> text=no WebGL2")
    page.wait_for_function("document.querySelector('#view img').naturalWidth > 100")
    assert not page.is_visible("#view canvas")


def test_html_in_a_text_field_stays_text(page):
    page.fill("#avatar_id input, #avatar_id textarea", "<img src=x onerror=document.title='broken'><b id=bold>")
    page.click("#animate")
    page.wait_for_selector(".toast-body >> text=This avatar is not here", timeout=60_000)
    assert page.locator("#bold").count() == 0 and page.title() != "broken"
    page.locator(".toast-close").first.click()
    page.wait_for_selector(".toast-body", state="detached")
    page.fill("#avatar_id input, #avatar_id textarea", "")


@pytest.fixture(scope="module")
def full(app, client, page):
    """The app while somebody works and as many wait as may."""
    long = client.submit(avatar_id=TOKEN, motion="explaining", speed=0.25, api_name="/animate")
    while long.status().code is not Status.PROCESSING:
        time.sleep(0.05)
    waiting = [client.submit(**BUSY) for _ in range(QUEUE_SIZE)]
    while sum(job.status().code is Status.IN_QUEUE for job in waiting) < QUEUE_SIZE:
        time.sleep(0.05)
    yield app
    assert not long.done(), "the queue was no longer full"
    long.cancel()
    for job in waiting:
        assert "not here" in str(job.exception(timeout=120)), "those who waited get their own answer"


def test_a_full_queue_is_told_in_a_sentence(full, client, page):
    """To a program, to curl, and on the page; what needs no queue goes on."""
    with pytest.raises(QueueError, match="^Queue is full! Please try again.$"):
        client.predict(**BUSY)
    with pytest.raises(urllib.error.HTTPError) as refused:
        post(full, "call/animate", [TOKEN])
    assert refused.value.code == 503 and "Queue is full" in json.load(refused.value)["detail"]
    page.click("#animate")
    page.wait_for_selector(".toast-body >> text=This application is currently busy. Please try again.", timeout=60_000)
    assert post(full, "run/status", [TOKEN])["data"][0]["seconds_left"] > 3000
    page.click("#delete")
    page.wait_for_selector("#deleted >> text=is deleted", timeout=60_000)
