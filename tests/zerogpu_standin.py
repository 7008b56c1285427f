"""The app on ZeroGPU's own code path, without a GPU: a stand-in for the device API, and the real fork and pickle.

Run as a program with the folder of an avatar and a temporary folder; prints one JSON object. It uses private names of
``spaces`` 0.51 and ends with code 77 where they are gone.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlparse

GONE = 77
TOKEN = "Z" * 43
calls: list[tuple[str, dict[str, str]]] = []


class DeviceApi(BaseHTTPRequestHandler):
    """Answers as the scheduler of ZeroGPU does when a GPU is free."""

    def do_POST(self) -> None:
        url = urlparse(self.path)
        calls.append((url.path, {k: v[0] for k, v in parse_qs(url.query).items()}))
        answer = {"idle": False, "nvidiaIndex": 0, "nvidiaUUID": "none", "allowToken": f"t{len(calls)}"}
        body = json.dumps(answer if url.path == "/schedule" else {}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


def nothing(*_: object, **__: object) -> None:
    """In place of what only a GPU has."""


def prepare(folder: Path) -> None:
    """The environment of a ZeroGPU Space, and a torch that says it was built for CUDA."""
    api = ThreadingHTTPServer(("127.0.0.1", 0), DeviceApi)
    threading.Thread(target=api.serve_forever, daemon=True).start()
    (folder / "cgroup").write_text("0::/here\n")
    os.environ |= {
        "SPACES_ZERO_GPU": "true",
        "SPACES_ZERO_DEVICE_API_URL": f"http://127.0.0.1:{api.server_port}",
        "ZEROGPU_OFFLOAD_DIR": str(folder / "offload"),
        "ZEROGPU_PROC_SELF_CGROUP_PATH": str(folder / "cgroup"),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "HF_HUB_OFFLINE": "1",
    }
    import torch

    torch.version.cuda = torch.version.cuda or "12.8"
    if not hasattr(torch._C, "_cuda_init"):  # a CPU build
        torch._C._cuda_init = nothing
        torch.cuda._is_in_bad_fork = nothing
    try:
        import spaces.zero.torch as zero_torch

        for name in ("init", "move", "size", "unpatch"):
            getattr(zero_torch, name)
    except (ImportError, AttributeError):
        sys.exit(GONE)
    zero_torch.init = nothing
    zero_torch.move = nothing
    zero_torch.size = lambda: 0


def seconds(path: str) -> list[int]:
    """The durations that were asked for."""
    return [int(query["durationSeconds"]) for called, query in calls if called == path]


def main(avatar: Path, folder: Path) -> dict[str, object]:
    """Launch the app, call it, stop a call; what happened."""
    prepare(folder)
    from gradio_client import Client
    from gradio_client.exceptions import AppError

    from pipeline.web import endpoints, page

    demo = page.build_demo()
    shutil.copytree(avatar, endpoints.store().folder / "avatars" / TOKEN)
    os.utime(endpoints.store().folder / "avatars" / TOKEN)
    _, url, _ = demo.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
    client, out = Client(url, verbose=False), {"startup": [c[0] for c in calls]}
    picture = client.predict(TOKEN, "png", None, 0, api_name="/export")
    out["picture"], out["export_seconds"] = Path(picture).stat().st_size, seconds("/schedule")
    out["files"] = client.predict(TOKEN, api_name="/status")["files"]
    try:
        client.predict(TOKEN, "gif", None, 0, api_name="/export")
    except AppError as error:
        out["error"] = str(error)
    job = client.submit(TOKEN, "explaining", api_name="/animate")
    while not job.outputs() and not job.done():
        time.sleep(0.1)
    started, released = time.monotonic(), sum(p == "/release" for p, _ in calls)
    out["updates"] = len(job.outputs())
    job.cancel()
    while sum(p == "/release" for p, _ in calls) == released and time.monotonic() - started < 60:
        time.sleep(0.05)
    out["stop_seconds"], out["animate_seconds"] = time.monotonic() - started, seconds("/schedule")[-1]
    out["still_there"] = client.predict(TOKEN, api_name="/status")["seconds_left"] > 0
    demo.close()
    return out


if __name__ == "__main__":
    code = 1
    try:
        print(json.dumps(main(Path(sys.argv[1]), Path(sys.argv[2]))), flush=True)
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    if "pipeline.web.endpoints" in sys.modules:
        sys.modules["pipeline.web.endpoints"].store().close()
    os._exit(code)  # the forked workers are daemons of this process, and a plain exit would wait for them
