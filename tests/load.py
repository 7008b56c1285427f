"""Figures of the app under load, for docs/app.md: ``python -m tests.load [--visitors 20] [--rounds 5] [--repeats 5]``.

Starts the app itself, as a stranger would, and prints one JSON object: start to ready and first load of the page (best
and median), how long stopping takes, and rounds in which 20 visitors at once queue for a real (short) video each: are
all results there and right, and how much memory and disk are in use after each round. Not part of the tests: it wants a
quiet machine.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from tests.running_app import App, running

TOKEN = "load" + "L" * 39
OBSERVER = """() => { window.shift = 0; new PerformanceObserver((list) => { for (const entry of list.getEntries())
  if (!entry.hadRecentInput) window.shift += entry.value; }).observe({ type: 'layout-shift', buffered: true }); }"""


def place_avatar(app: App, given: str | None) -> None:
    """An avatar in the running app's store: a given one, or one of the astronaut made with the fast quality."""
    import skimage

    from pipeline import api

    photo = Path(skimage.__file__).parent / "data" / "astronaut.png"
    avatar = api.load_avatar(given) if given else api.fit(photo, quality="fast", consent="public-domain")
    avatar.save(app.store / "avatars" / TOKEN)


def clips(folder: Path, count: int) -> list[Path]:
    """Short motions that differ: the n-th lasts 5 + n % 3 frames and turns the head by its own angle."""
    import numpy as np

    from pipeline.motion import get_motion, save_clip
    from pipeline.motion.edit import select

    paths, base = [], get_motion("greeting")
    for i in range(count):
        clip = select(base, slice(0, 5 + i % 3))
        pose = np.array(clip.body_pose)
        pose[:, 14, 1] += 0.02 * i
        paths.append(folder / f"clip{i}.npz")
        save_clip(clip.replace(body_pose=pose), paths[-1])
    return paths


def memory(pid: int) -> float:
    """Resident megabytes of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return round(int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024, 1)


def disk(folder: Path) -> float:
    """Megabytes of all files in a folder."""
    return round(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6, 1)


def frames_of(path: str) -> int:
    """How many frames a video has."""
    from pipeline.media import VideoReader

    with VideoReader(path) as reader:
        return sum(1 for _ in reader)


def page_load(url: str) -> dict[str, float]:
    """First load in a headless chromium that was just started, with an empty cache."""
    from tests.browser import chromium

    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.add_init_script(f"({OBSERVER})()")
        session = page.context.new_cdp_session(page)
        session.send("Network.enable")
        received = [0]
        session.on("Network.loadingFinished", lambda e: received.__setitem__(0, received[0] + e["encodedDataLength"]))
        page.wait_for_timeout(2000)  # the browser's own start
        started = time.monotonic()
        page.goto(url)
        page.wait_for_selector("body.page-ready", timeout=60_000)
        shown = time.monotonic() - started
        page.wait_for_load_state("networkidle")
        page.wait_for_timeout(1000)
        paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? -1")
        return {
            "first_paint_s": paint / 1000,
            "complete_s": shown,
            "received_mb": received[0] / 1e6,
            "layout_shift": page.evaluate("window.shift"),
        }


def best_and_median(values: list[float]) -> list[float]:
    """The least and the middle value."""
    return [round(min(values), 3), round(statistics.median(values), 3)]


def starting(folder: Path, repeats: int) -> dict[str, Any]:
    """Start to ready, and the first load of the page: best and median of some servers, one page load each."""
    ready, loads = [], []
    for i in range(repeats):
        with running(folder / f"start{i}") as app:
            ready.append(app.ready)
            time.sleep(5)  # the warm-up after the start
            loads.append(page_load(app.url))
    return {"ready_s": best_and_median(ready)} | {key: best_and_median([x[key] for x in loads]) for key in loads[0]}


def stopping(url: str) -> dict[str, float]:
    """How long after a stop the next visitor's job runs."""
    import skimage
    from gradio_client import Client, handle_file

    client = Client(url, verbose=False)
    photo = Path(skimage.__file__).parent / "data" / "astronaut.png"
    waits = []
    for wait in (3.0, 8.0, 15.0):
        job = client.submit(handle_file(photo), "public-domain", "default", api_name="/fit")
        time.sleep(wait)
        started = time.monotonic()
        job.cancel()
        with contextlib.suppress(Exception):  # an unknown avatar: refused at once when it is its turn
            client.predict("A" * 43, "greeting", api_name="/animate")
        waits.append(round(time.monotonic() - started, 2))
    return {"stop_to_next_job_s": max(waits)}


def queueing(url: str, paths: list[Path]) -> dict[str, Any]:
    """Everybody asks at once for a video of another length; are all results there, and each one's own?"""
    from gradio_client import Client, handle_file

    results: dict[int, Any] = {}

    def visit(i: int) -> None:
        try:
            video = Client(url, verbose=False).predict(
                avatar_id=TOKEN, motion="greeting", motion_file=handle_file(paths[i]), api_name="/animate"
            )
            results[i] = video["video"] if isinstance(video, dict) else video
        except Exception as error:
            results[i] = error

    started = time.monotonic()
    visitors = [threading.Thread(target=visit, args=(i,)) for i in range(len(paths))]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    files = {i: r for i, r in results.items() if isinstance(r, str)}
    right = sum(frames_of(path) == 5 + i % 3 for i, path in files.items())
    different = len({hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in files.values()})
    errors = sorted({str(r) for r in results.values() if not isinstance(r, str)})
    return {"visitors": len(paths), "results": len(files), "own_length": right, "different": different,
            "errors": errors, "seconds": round(time.monotonic() - started, 1)}  # fmt: skip


def lasting(app: App, paths: list[Path], rounds: int) -> dict[str, Any]:
    """Everybody comes again and again; the results of all rounds, and memory and disk before and after each."""

    def use() -> tuple[float, float]:
        time.sleep(1)
        return memory(app.process.pid), disk(app.folder)

    used, results = [use()], []
    for _ in range(rounds):
        results.append(queueing(app.url, paths))
        used.append(use())
    mb, files = zip(*used, strict=True)
    return {
        "visitors": len(paths), "requests": rounds * len(paths),
        **{key: sum(r[key] for r in results) for key in ("results", "own_length")},
        "different": [r["different"] for r in results], "errors": sorted({e for r in results for e in r["errors"]}),
        "round_s": best_and_median([r["seconds"] for r in results]),
        "memory_mb": mb, "memory_rise_after_first_round_percent": round(100 * (max(mb[1:]) / mb[1] - 1), 1),
        "disk_mb": files,
    }  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--visitors", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--avatar", help="what `fit` wrote; made anew otherwise")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="load-") as name:
        folder = Path(name) / "app"
        out: dict[str, Any] = {"load_average": os.getloadavg()[0]} | starting(Path(name), args.repeats)
        with running(folder, {"ONESHOT_RATE": "0"}) as app:
            place_avatar(app, args.avatar)
            out |= stopping(app.url) | lasting(app, clips(Path(name), args.visitors), args.rounds)
        out["left_behind_mb"] = disk(folder)
    print(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
