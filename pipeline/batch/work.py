"""The two kinds of work of a batch, as plain functions of bytes, so that they run in any process on any machine."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from pipeline.types import PipelineError


def fit(photo: bytes, suffix: str, consent: str, settings: dict[str, Any]) -> bytes:
    """Photo to avatar.

    Args:
        photo, suffix: the bytes of the photo and the ending of its name.
        consent: whose photo it is.
        settings: quality and seed.

    Returns:
        An ``.avatar`` file.

    Raises:
        PipelineError: the photo will not do.
    """
    from pipeline import api

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / f"photo{_ending(suffix)}"
        source.write_bytes(photo)
        avatar = api.fit(source, consent=consent, quality=settings["quality"], seed=settings["seed"])
        return avatar.save(Path(folder) / "a.avatar").read_bytes()


def animate(avatar: bytes, motion: str | bytes, suffix: str, settings: dict[str, Any]) -> tuple[bytes, bytes]:
    """Avatar and motion to video.

    Args:
        avatar: an ``.avatar`` file.
        motion, suffix: a preset's name, or the bytes of a motion file or video and the ending of its name.
        settings: of :class:`pipeline.batch.manifest.Job`.

    Returns:
        The video, and its sidecar of content credentials (empty where they are inside the video).

    Raises:
        PipelineError: the motion will not do, or something is out of range.
    """
    from pipeline import api
    from pipeline.batch.manifest import Job

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "a.avatar").write_bytes(avatar)
        if isinstance(motion, bytes):
            (place / f"motion{_ending(suffix)}").write_bytes(motion)
            motion = str(place / f"motion{_ending(suffix)}")
        out = place / f"video{settings['format']}"
        view = Job(Path(), "", "", settings).view()
        api.animate(place / "a.avatar", motion, out, view=view, amplitude=settings["amplitude"])
        sidecar = out.with_name(out.name + ".c2pa")
        return out.read_bytes(), sidecar.read_bytes() if sidecar.exists() else b""


def _ending(suffix: str) -> str:
    """A file's ending, harmless in a path."""
    if not suffix.removeprefix(".").isalnum() or len(suffix) > 8:
        raise PipelineError(f"A file whose name ends in '{suffix[:12]}' cannot be read; rename or convert it.")
    return suffix
