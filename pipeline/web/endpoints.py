"""What the app does: named functions for the page, ``gradio_client``, curl and MCP.

Long work is a generator, so that stopping it stops it. Errors that a visitor can do something about are one sentence;
of others they see only the kind. No photo, name or id goes into the log.
"""

from __future__ import annotations

import spaces  # before anything that could touch CUDA

# isort: split
import atexit
import contextlib
import errno
import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import gradio as gr
import gradio.mcp
from gradio.processing_utils import get_upload_folder

from pipeline import api, console, heap, service
from pipeline.animation import View
from pipeline.provenance import require_consent
from pipeline.types import PipelineError
from pipeline.web import limits
from pipeline.web.durations import (
    preset_seconds,
    seconds_to_animate,
    seconds_to_export,
    seconds_to_fit,
    seconds_to_make,
)
from pipeline.web.live import LivePictures
from pipeline.web.reports import SMALL, previews, report, report_text
from pipeline.web.timing import FIT_STAGES, VIDEO_STAGES, Clock

SIZES = {"portrait": (576, 1024), "square": (768, 768), "landscape": (1024, 576)}
EXPORTS = {"ply": ".ply", "avatar": ".avatar", "html": ".html", "png": ".png", "gif": ".gif", "webp": ".webp"}


@lru_cache(maxsize=1)
def store() -> service.Store:
    """Where this process keeps avatars, results and uploads; emptied when it ends. Made before any worker is forked."""
    kept = service.Store()
    atexit.register(kept.close)
    os.environ.setdefault("GRADIO_TEMP_DIR", str(kept.uploads))  # Gradio alone would leave them when it is killed
    gradio.mcp.DEFAULT_TEMP_DIR = os.environ["GRADIO_TEMP_DIR"]  # read before ours was known
    kept.keep_clean()
    return kept


# ---------------------------------------------------------------- endpoints


@spaces.GPU(duration=seconds_to_fit)
def fit(
    photo: str, consent: str, quality: str = "default", seed: int = 0, progress: gr.Progress = gr.Progress()
) -> Iterator[tuple[Any, ...]]:
    """Make an avatar from one photo of a person.

    Args:
        photo: JPEG, PNG or WebP of one person seen from the front, up to 50 MB and 40 million pixels.
        consent: whose photo it is: own, permission or public-domain.
        quality: fast (about 25 s on two free CPU cores), default (45 s) or full (many minutes).
        seed: the same seed gives the same avatar.

    Returns:
        The avatar's id, good for an hour after its last use; the fit report as text, as pictures and as numbers.
    """
    with in_a_sentence(), contextlib.closing(LivePictures(store())) as live:
        require_consent(consent)
        path = _photo(photo)

        def work(tell: service.Tell) -> Any:
            body = api.get_body()
            observation = api.observe(path, body=body, progress=tell)
            tell.show(live.understood(observation), "shaping the body", 0.0)
            return api.fit(
                observation, body=body, quality=quality, seed=int(seed), consent=consent, progress=tell,
                show=lambda picture, share: tell.show(live.add(picture), "refining", share),
            )  # fmt: skip

        steps = service.in_steps(work, limits.fit_deadline(quality))
        avatar = yield from _showing(
            steps, progress, FIT_STAGES, lambda picture: (gr.skip(), gr.skip(), picture, gr.skip())
        )
        token = store().add(avatar)
        _own(token, path)
        live.hand_over(token)
        pictures = previews(avatar, lambda: store().new_file(".jpg", token))
        yield token, report_text(avatar), pictures, report(avatar)


@spaces.GPU(duration=seconds_to_animate)
def animate(
    avatar_id: str,
    motion: str,
    motion_file: str | None = None,
    background: str = "photo",
    colour: str = "#ffffff",
    yaw: float = 0,
    pitch: float = 0,
    orbit: float = 0,
    amplitude: float = 1,
    framing: str = "portrait",
    speed: float = 1,
    label: bool = False,
    progress: gr.Progress = gr.Progress(),
) -> Iterator[Any]:
    """Make a video of an avatar that makes a motion.

    Args:
        avatar_id: what fit returned.
        motion: name of a motion, see list_motions; for example explaining.
        motion_file: a motion clip (.npz) or a video of somebody moving, instead of a named motion.
        background: photo, colour or transparent.
        colour: #rrggbb, for background colour.
        yaw: camera to the person's left, -30 to 30 degrees.
        pitch: camera up, -30 to 30 degrees.
        orbit: camera swing to both sides, 0 to 30 degrees.
        amplitude: size of the movement, 0 to 1.5.
        framing: portrait (576x1024), square (768x768) or landscape (1024x576).
        speed: of the movement, 0.25 to 4.
        label: write a visible label onto the video that it is synthetic.

    Returns:
        The video: MP4, or WebM when transparent.
    """
    with in_a_sentence():
        view = _view(background, colour, yaw, pitch, orbit, framing, label)
        avatar = store().get(avatar_id)
        out = store().new_file(_video_suffix(view), avatar_id)
        _own(avatar_id, motion_file)

        def work(tell: service.Tell) -> Any:
            clip = _motion(motion, motion_file, speed, tell)
            return api.animate(avatar, clip, out, view=view, amplitude=float(amplitude), progress=tell)

        steps = service.in_steps(work, limits.ANIMATE_DEADLINE)
        video = yield from _showing(steps, progress, VIDEO_STAGES)
        yield str(video.path)


@spaces.GPU(duration=seconds_to_make)
def make_video(
    photo: str,
    consent: str,
    motion: str,
    motion_file: str | None = None,
    quality: str = "default",
    background: str = "photo",
    seed: int = 0,
    progress: gr.Progress = gr.Progress(),
) -> Iterator[Any]:
    """Photo and motion to video in one call; nothing is kept but the video.

    Args:
        photo: JPEG, PNG or WebP of one person seen from the front, up to 50 MB and 40 million pixels.
        consent: whose photo it is: own, permission or public-domain.
        motion: name of a motion, see list_motions; for example explaining.
        motion_file: a motion clip (.npz) or a video of somebody moving, instead of a named motion.
        quality: fast, default or full.
        background: photo, transparent, or a colour like #1a2b3c.
        seed: the same seed gives the same avatar.

    Returns:
        The video: MP4, or WebM when transparent.
    """
    with in_a_sentence():
        require_consent(consent)
        view = View(background=_background(background, background))
        path, out = _photo(photo), store().new_file(_video_suffix(view))

        def work(tell: service.Tell) -> Any:
            clip = _motion(motion, motion_file, 1.0, tell)
            avatar = api.fit(path, quality=quality, seed=int(seed), consent=consent, progress=tell)
            return api.animate(avatar, clip, out, view=view, progress=tell)

        stages = {name: (words, 0.7 * weight) for name, (words, weight) in FIT_STAGES.items()}
        stages = {"tracking": VIDEO_STAGES["tracking"], **stages, "drawing": (VIDEO_STAGES["drawing"][0], 0.3)}
        deadline = limits.fit_deadline(quality) + limits.ANIMATE_DEADLINE
        video = yield from _showing(service.in_steps(work, deadline), progress, stages)
        yield str(video.path)


@spaces.GPU(duration=seconds_to_export)
def export(
    avatar_id: str, form: str = "ply", motion: str | None = None, frame: int = 0,
    progress: gr.Progress = gr.Progress(),
) -> Iterator[Any]:  # fmt: skip
    """An avatar as a file for other programs.

    Args:
        avatar_id: what fit returned.
        form: ply (3D Gaussians in one pose), avatar (the avatar itself), html (the 3D view as one page), png (a
            still), gif or webp (an animation of the motion).
        motion: name of a motion, see list_motions; without one the photo's own pose.
        frame: which frame of the motion, from 0, for ply and png.

    Returns:
        The file.
    """
    from pipeline.export import export as write

    with in_a_sentence():
        if form not in EXPORTS:
            raise PipelineError(f"There is no form '{str(form)[:40]}'; choose one of {', '.join(EXPORTS)}.")
        avatar = store().get(avatar_id)
        out = store().new_file(EXPORTS[form], avatar_id)
        size = SMALL if form in ("gif", "webp") else SIZES["portrait"]

        def work(tell: service.Tell) -> Any:
            clip = api.load_motion(named_motion(motion)) if motion else None
            return write(avatar, out, motion=clip, frame=int(frame), view=View(size=size), progress=tell)

        yield str((yield from _showing(service.in_steps(work, limits.ANIMATE_DEADLINE), progress, VIDEO_STAGES)))


def status(avatar_id: str) -> dict[str, Any]:
    """What is kept of an avatar and for how long; asking does not lengthen it.

    Args:
        avatar_id: what fit returned.

    Returns:
        seconds_left, bytes, files, and what fit recorded: quality, seed, tiers, metrics, report, consent.
    """
    with in_a_sentence():
        return store().status(avatar_id)


def delete(avatar_id: str) -> str:
    """Delete an avatar, its photo, and all videos and files made of it, at once.

    Args:
        avatar_id: what fit returned.

    Returns:
        A sentence that says so.
    """
    with in_a_sentence():
        store().forget(avatar_id)
    return "Deleted: the avatar, its photo and everything made of it."


def list_motions() -> list[dict[str, Any]]:
    """The motions that come with the app.

    Returns:
        For each: name, title, seconds, description, tags, licence.
    """
    return api.list_motions()


def check_photo(photo: str) -> dict[str, Any]:
    """Say within a second or two whether a photo will do, and what would make a better one.

    Args:
        photo: JPEG, PNG or WebP of one person seen from the front, up to 50 MB and 40 million pixels.

    Returns:
        accepted: true or false; advice: sentences.
    """
    from pipeline.web.advice import check_photo as check

    with in_a_sentence(), heap.giving_back():
        try:
            return {"accepted": True, "advice": check(_photo(photo))}
        except PipelineError as error:
            return {"accepted": False, "advice": [str(error)]}


# ---------------------------------------------------------------- what they share


@contextlib.contextmanager
def in_a_sentence() -> Iterator[None]:
    """Turn what goes wrong inside into what a visitor sees.

    Raises:
        gr.Error: in place of a PipelineError or an OSError.
    """
    try:
        yield
    except (PipelineError, OSError) as error:
        raise shown(error) from None


def shown(error: PipelineError | OSError) -> gr.Error:
    """The one sentence that a visitor sees; of the server's own trouble only its kind, never a path."""
    text, cause = str(error), error if isinstance(error, OSError) else error.__cause__
    if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT) or "disk is full" in text:
        text = "The server's disk is full; try again later."
    elif isinstance(error, OSError) or str(store().folder) in text:
        text = f"The server has a problem: {console.explain(cause) if isinstance(cause, OSError) else 'its disk'}."
    return gr.Error(text, title="That did not work", print_exception=False)


def _showing(steps: Any, progress: gr.Progress, stages: dict[str, tuple[str, float]], outputs: Any = None) -> Any:
    """Pass a job's progress to the page, yielding so that it can be stopped; returns the job's result.

    ``outputs`` turns a picture of the work (or None) into what is yielded.
    """
    clock = Clock(stages)
    try:
        while True:
            step = next(steps)
            words, share = clock.read(step.stage, step.share)
            progress(share, desc=words)
            yield gr.skip() if outputs is None else outputs(gr.skip() if step.picture is None else step.picture)
    except StopIteration as end:
        return end.value
    finally:
        steps.close()


def _photo(path: str | None) -> str:
    if not path:
        raise PipelineError("Please give a photo first.")
    return path


def named_motion(motion: str) -> str:
    """A motion's name, never a path on this machine.

    Raises:
        PipelineError: there is no such motion.
    """
    if motion not in preset_seconds():
        raise PipelineError(f"There is no motion '{str(motion)[:40]}'; choose one of {', '.join(preset_seconds())}.")
    return motion


def _motion(motion: str, motion_file: str | None, speed: float, tell: Any) -> Any:
    from pipeline.motion import speed as at_speed

    return at_speed(api.load_motion(motion_file or named_motion(motion), progress=tell), float(speed))


def is_upload(path: str) -> bool:
    """Whether a file is a visitor's; the example photo is the app's own and is never deleted."""
    return Path(path).resolve().is_relative_to(Path(get_upload_folder()).resolve())


def _own(avatar_id: str, upload: str | None) -> None:
    """An uploaded photo or motion is deleted with the avatar that it was used for."""
    if upload and is_upload(upload):
        store().attach(avatar_id, Path(upload))


def _view(background: str, colour: str, yaw: float, pitch: float, orbit: float, framing: str, label: bool) -> View:
    """The view of a video.

    Raises:
        PipelineError: an unknown framing; other values are checked when they are used.
    """
    if framing not in SIZES:
        raise PipelineError(f"There is no framing '{str(framing)[:40]}'; choose one of {', '.join(SIZES)}.")
    kind = _background(background, colour)
    return View(float(yaw), float(pitch), float(orbit), kind, size=SIZES[framing], label=bool(label))


def _background(kind: str, colour: str) -> str:
    """What :class:`View` takes, from a kind of background and a colour as a colour picker writes it."""
    if kind in ("photo", "transparent"):
        return kind
    if colour.startswith("rgb"):
        try:
            numbers = [min(255, max(0, round(float(n)))) for n in colour[colour.index("(") + 1 : -1].split(",")[:3]]
            return "#{:02x}{:02x}{:02x}".format(*numbers)
        except (ValueError, IndexError):
            return colour
    return colour


def _video_suffix(view: View) -> str:
    return ".webm" if view.background == "transparent" else ".mp4"
