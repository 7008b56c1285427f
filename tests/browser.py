"""Headless chromium for the tests of the page and of the 3D view."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

QUIET = ["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip
SOFTWARE_WEBGL = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]
FAKE_CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]


def film_for_camera(photo: Path, out: Path) -> str:
    """The option that makes chromium's camera show a photo, as a short film at ``out`` (640x480, .mjpeg)."""
    import imageio_ffmpeg

    fit = "scale=640:480:force_original_aspect_ratio=increase,crop=640:480:0:0"
    subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-loop", "1", "-i", str(photo), "-t", "1", "-r", "10",
         "-vf", fit, "-c:v", "mjpeg", "-q:v", "3", "-pix_fmt", "yuvj420p", str(out)],
        check=True,
    )  # fmt: skip
    return f"--use-file-for-fake-video-capture={out}"


@contextlib.contextmanager
def chromium(*options: str) -> Iterator[Any]:
    """A running browser; skips where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the playwright package")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not path:
        pytest.skip("needs a chromium on this machine: apt-get install chromium")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=path, headless=True, args=[*QUIET, *options])
        try:
            yield browser
        finally:
            browser.close()
