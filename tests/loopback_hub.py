"""A loopback server that speaks as much of the Hugging Face Hub as its real client needs, and misbehaves on order."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "a" * 40
REFUSALS = {
    "gated": (403, "GatedRepo"),
    "private": (401, "RepoNotFound"),
    "token": (401, "", "Invalid credentials in Authorization header"),
    "forbidden": (403, "", "no"),
    "busy": (503,),
}


class HubHandler(BaseHTTPRequestHandler):
    """As much of the Hub as its client needs to resolve and download files."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def refuse(self, status, code="", message="", **headers):
        self.send_response(status)
        self.send_header("Content-Length", "0")
        for key, value in (("X-Error-Code", code), ("X-Error-Message", message), *headers.items()):
            if value:
                self.send_header(key, value)
        self.end_headers()

    def respond(self, body):
        server = self.server
        server.seen.append((self.command, self.path, self.headers.get("Range"), self.headers.get("Authorization")))
        match = re.fullmatch(r"(?:/datasets)?/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.path)
        fault = server.fault
        if fault in REFUSALS:
            return self.refuse(*REFUSALS[fault])
        if match is None or match[1] not in server.repos:
            return self.refuse(404, "RepoNotFound")
        if match[2] not in ("main", COMMIT):
            return self.refuse(404, "RevisionNotFound")
        if match[3] not in server.files:
            return self.refuse(404, "EntryNotFound")
        content = server.files[match[3]]
        start = int((re.match(r"bytes=(\d+)-", self.headers.get("Range") or "") or [0, 0])[1])
        self.send_response(206 if start else 200)
        self.send_header("X-Repo-Commit", COMMIT)
        git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest() if len(content) > 999 else git}"')
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if not body:
            return None
        if fault == "altered":
            content = content[:-1] + b"?"
        if fault == "cut":
            self.wfile.write(content[start : len(content) // 2])
            self.close_connection = True
            return self.connection.close()
        return self.wfile.write(content[start:])

    def do_HEAD(self):
        self.respond(False)

    def do_GET(self):
        self.respond(True)


def set_endpoint(monkeypatch, url):
    """What HF_ENDPOINT does, for a client that is imported already."""
    from huggingface_hub import constants

    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("huggingface_hub.file_download.HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)


@contextmanager
def running_hub(monkeypatch: Any, files: Mapping[str, bytes], *repos: str) -> Iterator[Any]:
    """Serve files, by their path, under the names of some repositories, and point the Hub's client here.

    The server has ``url``, ``seen`` (the requests), ``files``, and ``fault``: None, a key of :data:`REFUSALS`, "cut"
    (the transfer breaks off) or "altered" (another last byte).
    """
    from huggingface_hub import constants

    web: Any = ThreadingHTTPServer(("127.0.0.1", 0), HubHandler)
    web.daemon_threads = True
    web.handle_error = lambda *args: None
    web.seen, web.fault, web.files, web.repos = [], None, dict(files), set(repos)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    web.url = f"http://127.0.0.1:{web.server_port}"
    set_endpoint(monkeypatch, web.url)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    try:
        yield web
    finally:
        web.shutdown()
        web.server_close()
