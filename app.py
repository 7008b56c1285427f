"""The Gradio app: photo, avatar, talk. Also a named API for ``gradio_client``, curl and MCP.

Long work is a generator, so that Stop really stops it. Nothing is kept beyond an hour, and no photo, name or result
goes into a log or a browser's history.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import spaces  # before anything that could touch CUDA

# isort: split
import gradio as gr

from pipeline import api, console, service
from pipeline.animation import View
from pipeline.provenance import CONSENT_BASES, require_consent
from pipeline.types import PipelineError

TITLE = "One photo, one talking avatar"
INTRO = """# One photo, one talking avatar
Make an avatar of a person from one photo, then let it talk and gesture. Everything runs on this machine. Photos and
results are deleted after an hour."""
PHOTO_HELP = (
    "JPEG, PNG or WebP, up to 50 MB. **One** real person, seen from the front, sharp, at least shoulders and chest in "
    "view. Hands that are visible look better than hands that must be guessed."
)
BACKGROUNDS = [("the photo's own", "photo"), ("a colour", "colour"), ("transparent (WebM)", "transparent")]
QUALITIES = [("fast", "fast"), ("default", "default"), ("full (slow)", "full")]
MAX_UPLOAD, QUEUE_SIZE = "50mb", 16
FIT_SECONDS = {"fast": 60, "default": 180, "full": 900}
ROOT = Path(__file__).resolve().parent
STILLS, EXAMPLE = ROOT / "motions" / "stills", ROOT / "docs" / "images" / "example_photo.jpg"
HEAVY = {"concurrency_id": "heavy", "concurrency_limit": 1}


@lru_cache(maxsize=1)
def store() -> service.Store:
    """Where this process keeps avatars and results; emptied when it ends."""
    kept = service.Store()
    atexit.register(kept.close)
    return kept


def _gpu_seconds_fit(photo: str, consent: str, quality: str = "default", *_: Any, **__: Any) -> int:
    return FIT_SECONDS.get(quality, 180)


def _gpu_seconds_animate(*_: Any, **__: Any) -> int:
    return 120


def _gpu_seconds_make(*_: Any, **__: Any) -> int:
    return 240


def _photo(path: str | None) -> str:
    if not path:
        raise PipelineError("Please give a photo first.")
    return path


def _report(avatar: Any) -> dict[str, Any]:
    report = dict(avatar.meta.get("report", {}))
    return {**report, "metrics": api.numbers(avatar), "tiers": avatar.meta.get("tiers", {})}


def _report_text(report: dict[str, Any]) -> str:
    """The fit report as Markdown, in words and then in numbers."""
    lines = [f"**{report.get('summary', '')}**"]
    if report.get("not_visible"):
        lines.append(f"Not in the photo and therefore guessed: {', '.join(report['not_visible'])}.")
    lines += [f"* {hint}" for hint in report.get("hints", [])]
    rows = [f"| {name} | {value:g} |" for name, value in report["metrics"].items()]
    return "\n\n".join(lines) + "\n\n| measure | value |\n|---|---|\n" + "\n".join(rows)


def _previews(avatar: Any) -> list[tuple[Any, str]]:
    """The avatar from three sides, in the photo's pose."""
    from pipeline.animation import draw_frames

    sides = ((-20.0, "from its right"), (0.0, "from the front"), (20.0, "from its left"))
    return [
        (next(draw_frames(avatar, [avatar.params], View(yaw=yaw, background="#e8e8ec", size=(288, 512)))), words)
        for yaw, words in sides
    ]


@spaces.GPU(duration=_gpu_seconds_fit)
def fit(
    photo: str, consent: str, quality: str = "default", seed: int = 0, progress: gr.Progress = gr.Progress()
) -> Iterator[tuple[Any, ...]]:
    """Make an avatar from one photo of a person.

    Args:
        photo: JPEG, PNG or WebP of one person seen from the front.
        consent: whose photo it is: own, permission or public-domain.
        quality: fast, default or full.
        seed: the same seed gives the same avatar.

    Returns:
        The avatar's id, good for an hour; the fit report as text, as pictures and as numbers.
    """
    try:
        require_consent(consent)
        steps = service.in_steps(
            lambda tell: api.fit(
                _photo(photo),
                body=api.get_body(),
                quality=quality,
                seed=int(seed),
                consent=consent,
                progress=tell,
            )
        )
        avatar = yield from _showing(steps, progress, 4)
        report = _report(avatar)
        yield store().add(avatar), _report_text(report), _previews(avatar), report
    except (PipelineError, OSError) as error:
        raise _shown(error) from None


@spaces.GPU(duration=_gpu_seconds_animate)
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
    progress: gr.Progress = gr.Progress(),
) -> Iterator[Any]:
    """Make a video of an avatar that makes a motion.

    Args:
        avatar_id: what fit returned.
        motion: name of a motion, see list_motions.
        motion_file: a motion clip (.npz) or a video of somebody moving, instead of a named motion.
        background: photo, colour or transparent.
        colour: #rrggbb, for background colour.
        yaw: camera to the person's left, -30 to 30 degrees.
        pitch: camera up, -30 to 30 degrees.
        orbit: camera swing to both sides, 0 to 30 degrees.
        amplitude: size of the movement, 0 to 1.5.

    Returns:
        The video: MP4, or WebM when transparent.
    """
    try:
        view = View(float(yaw), float(pitch), float(orbit), _background(background, colour))
        out = store().new_file(".webm" if view.background == "transparent" else ".mp4")
        avatar = store().get(avatar_id)
        steps = service.in_steps(
            lambda tell: api.animate(
                avatar, motion_file or motion, out, view=view, amplitude=float(amplitude), progress=tell
            )
        )
        video = yield from _showing(steps, progress, 1)
        yield str(video.path)
    except (PipelineError, OSError) as error:
        raise _shown(error) from None


@spaces.GPU(duration=_gpu_seconds_make)
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
        photo: JPEG, PNG or WebP of one person seen from the front.
        consent: whose photo it is: own, permission or public-domain.
        motion: name of a motion, see list_motions.
        motion_file: a motion clip (.npz) or a video of somebody moving, instead of a named motion.
        quality: fast, default or full.
        background: photo, transparent, or a colour like #1a2b3c.
        seed: the same seed gives the same avatar.

    Returns:
        The video: MP4, or WebM when transparent.
    """
    try:
        require_consent(consent)
        view = View(background=_background(background, background))
        out = store().new_file(".webm" if view.background == "transparent" else ".mp4")

        def work(tell: Any) -> Any:
            clip = api.load_motion(motion_file or motion, progress=tell)
            avatar = api.fit(_photo(photo), quality=quality, seed=int(seed), consent=consent, progress=tell)
            return api.animate(avatar, clip, out, view=view, progress=tell)

        video = yield from _showing(service.in_steps(work), progress, 1)
        yield str(video.path)
    except (PipelineError, OSError) as error:
        raise _shown(error) from None


def _shown(error: PipelineError | OSError) -> gr.Error:
    """The one sentence that a visitor sees; of an operating system error only its kind, never a path."""
    text = str(error) if isinstance(error, PipelineError) else f"The server has a problem: {console.explain(error)}."
    return gr.Error(text, title="That did not work", print_exception=False)


def list_motions() -> list[dict[str, Any]]:
    """The motions that come with the app.

    Returns:
        For each: name, title, seconds, description, tags, licence.
    """
    return api.list_motions()


def _showing(steps: Any, progress: gr.Progress, outputs: int) -> Any:
    """Pass a job's progress to the page, yielding so that it can be stopped; returns the job's result."""
    unchanged = gr.skip() if outputs == 1 else tuple(gr.skip() for _ in range(outputs))
    try:
        while True:
            stage, share = next(steps)
            progress(share, desc=stage)
            yield unchanged
    except StopIteration as end:
        return end.value
    finally:
        steps.close()


def _background(kind: str, colour: str) -> str:
    """What :class:`View` takes, from a kind of background and a colour as a colour picker writes it."""
    if kind in ("photo", "transparent"):
        return kind
    if colour.startswith("rgb"):
        numbers = [min(255, max(0, round(float(n)))) for n in colour[colour.index("(") + 1 : -1].split(",")[:3]]
        return "#{:02x}{:02x}{:02x}".format(*numbers)
    return colour


def _uploaded_path(payload: Any) -> str | None:
    """In place of ``gr.Image.preprocess``, which decodes even for ``type="filepath"`` and ends without a reason.

    So that every photo is read by :func:`pipeline.media.load_photo`, which looks before it decodes, and no file name
    comes into the log.
    """
    return None if payload is None else payload.path


def _photo_column() -> tuple[Any, Any, Any]:
    gr.Markdown(f"## 1. Photo\n{PHOTO_HELP}")
    photo = gr.Image(
        label="Photo of one person", type="filepath", image_mode=None, sources=["upload", "webcam", "clipboard"],
        height=360, elem_id="photo",
    )  # fmt: skip
    photo.preprocess = _uploaded_path
    consent = gr.Radio(
        choices=[(sentence, basis) for basis, sentence in CONSENT_BASES.items()], label="Whose photo is it? (needed)",
        elem_id="consent",
    )  # fmt: skip
    if EXAMPLE.is_file():
        gr.Examples(
            [[str(EXAMPLE), "public-domain"]], [photo, consent], label="Or try this one (NASA, public domain)",
            cache_examples=False, api_visibility="private", elem_id="examples",
        )  # fmt: skip
    with gr.Row():
        quality = gr.Radio(QUALITIES, value="default", label="Quality", elem_id="quality")
        seed = gr.Number(value=0, precision=0, label="Seed", minimum=0, elem_id="seed")
    return photo, consent, (quality, seed)


def _motion_picker() -> Any:
    """A gallery of the motions that come with the app, and a menu that it sets; returns the menu."""
    motions = api.list_motions()
    choices = [(f"{m['title']} ({m['seconds']:.0f} s)", m["name"]) for m in motions]
    stills = [(path, m["title"], m["name"]) for m in motions if (path := STILLS / f"{m['name']}.jpg").is_file()]
    gallery = gr.Gallery(
        [(str(path), title) for path, title, _ in stills], label="Motions", columns=3, height=330, allow_preview=False,
        interactive=False, elem_id="motions", buttons=[], visible=bool(stills),
    )  # fmt: skip
    motion = gr.Dropdown(choices, value=choices[0][1] if choices else None, label="Motion", elem_id="motion")

    def chosen(event: gr.SelectData) -> str:
        return stills[int(event.index)][2]

    gallery.select(chosen, None, motion, queue=False, show_progress="hidden", api_visibility="private")
    return motion


def _talk_column() -> list[Any]:
    gr.Markdown("## 3. Talk\nChoose a motion, or bring your own: a clip (.npz) or a video of somebody moving.")
    motion = _motion_picker()
    own = gr.File(label="Own motion (instead)", file_types=[".npz", "video"], height=150, elem_id="motion_file")
    background = gr.Radio(BACKGROUNDS, value="photo", label="Background", elem_id="background")
    colour = gr.ColorPicker("#ffffff", label="Background colour", elem_id="colour", visible=False)
    background.change(
        lambda kind: gr.ColorPicker(visible=kind == "colour"), background, colour, queue=False,
        show_progress="hidden", api_visibility="private",
    )  # fmt: skip
    with gr.Accordion("Camera and movement", open=False):
        yaw = gr.Slider(-30, 30, 0, step=1, label="Camera to the side (degrees)", elem_id="yaw")
        pitch = gr.Slider(-30, 30, 0, step=1, label="Camera up (degrees)", elem_id="pitch")
        orbit = gr.Slider(0, 30, 0, step=1, label="Camera swing (degrees)", elem_id="orbit")
        amplitude = gr.Slider(0, 1.5, 1, step=0.1, label="Size of the movement", elem_id="amplitude")
    return [motion, own, background, colour, yaw, pitch, orbit, amplitude]


def build_demo() -> gr.Blocks:
    """The page and its endpoints; nothing heavy is loaded yet."""
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(600, 3600)) as demo:
        gr.Markdown(INTRO)
        with gr.Row(equal_height=False):
            with gr.Column(min_width=300):
                photo, consent, settings = _photo_column()
            with gr.Column(min_width=300):
                gr.Markdown("## 2. Avatar")
                with gr.Row():
                    fit_button = gr.Button("Make the avatar", variant="primary", elem_id="fit")
                    stop = gr.Button("Stop", variant="stop", elem_id="stop")
                previews = gr.Gallery(label="The avatar", columns=3, height=260, elem_id="previews", buttons=[])
                report = gr.Markdown(label="Fit report", elem_id="report")
                avatar_id = gr.Textbox(label="Avatar id (for the API, good for an hour)", elem_id="avatar_id")
                numbers = gr.JSON(visible=False)
            with gr.Column(min_width=300):
                talk = _talk_column()
                animate_button = gr.Button("Make the video", variant="primary", elem_id="animate")
                video = gr.Video(
                    label="Video", autoplay=True, loop=True, height=480, elem_id="video", buttons=["download"]
                )
        fitting = fit_button.click(
            fit, [photo, consent, *settings], [avatar_id, report, previews, numbers], api_name="fit",
            show_progress_on=[previews], **HEAVY,
        )  # fmt: skip
        animating = animate_button.click(animate, [avatar_id, *talk], video, api_name="animate", **HEAVY)
        stop.click(None, cancels=[fitting, animating], api_visibility="private")
        _api_only([photo, consent, talk[0], talk[1], *settings], video)
    return demo.queue(max_size=QUEUE_SIZE)


def _api_only(shared: list[Any], video: Any) -> None:
    """Endpoints without a place on the page; they share components with it for their types and defaults."""
    background = gr.Textbox("photo", label="background: photo, transparent or #rrggbb", visible=False)
    inputs = [*shared[:5], background, shared[5]]
    gr.Button(visible=False).click(make_video, inputs, video, api_name="make_video", **HEAVY)
    gr.Button(visible=False).click(list_motions, None, gr.JSON(visible=False), api_name="list_motions", queue=False)


def warm_up() -> None:
    """Build or load the body model beforehand, so that the first visitor does not wait for it."""
    try:
        api.get_body()
    except Exception as error:  # the first visitor will see it; a server must not die of it
        print(f"warm-up: {error}")


def main() -> None:
    """Serve the app on ``GRADIO_SERVER_NAME``:``GRADIO_SERVER_PORT``, by default this machine only."""
    demo = build_demo()
    threading.Thread(target=warm_up, daemon=True).start()
    demo.launch(
        max_file_size=MAX_UPLOAD,
        run_history=False,
        show_error=False,
        footer_links=["api"],
        mcp_server=os.environ.get("ONESHOT_MCP", "1") == "1",
        theme=gr.themes.Soft(),
    )


if __name__ == "__main__":
    main()
