"""The layout of the page: photo, avatar, talk; and which endpoint each button calls."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import gradio as gr

from pipeline import api
from pipeline.provenance import CONSENT_BASES
from pipeline.viewer import PLAYER
from pipeline.web import endpoints, limits, looks, picker
from pipeline.web.view import ON_LOAD, TEMPLATE, view_files

TITLE = "One photo, one talking avatar"
INTRO = """# One photo, one talking avatar
Make an avatar of a person from one photo, then let it talk and gesture. Everything runs on this machine. Photos and
results are deleted after an hour, or at once with *Delete my data*."""
PHOTO_HELP = (
    "JPEG, PNG or WebP, up to 50 MB. **One** real person, seen from the front, sharp, at least shoulders and chest in "
    "view. Hands that are visible look better than hands that must be guessed."
)
BACKGROUNDS = [("the photo's own", "photo"), ("a colour", "colour"), ("transparent (WebM)", "transparent")]
QUALITIES = [("fast", "fast"), ("default", "default"), ("full", "full")]
FRAMINGS = [("portrait 9:16", "portrait"), ("square", "square"), ("landscape 16:9", "landscape")]
TIERS = "What runs on this machine"
FORMS = [
    ("Gaussian PLY", "ply"), ("avatar file", "avatar"), ("3D web page", "html"), ("poster", "png"), ("GIF", "gif"),
    ("WebP", "webp"),
]  # fmt: skip
ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "docs" / "images" / "example_photo.jpg"
DELETED = "**Everything that was kept of you here is deleted.**"
QUICK = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
"""Events that only change the page."""
LOOK = {"show_progress": "hidden", "concurrency_id": "look", "concurrency_limit": 2, "api_visibility": "private"}
"""Events of a second or two, beside the heavy ones."""


def build_demo() -> gr.Blocks:
    """The page and its endpoints; nothing heavy is loaded yet."""
    # The example is served from where it lies: a copy among the uploads would be deleted with them.
    gr.set_static_paths([PLAYER.parent, EXAMPLE, endpoints.store().files, *picker.folders()])
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(600, 3600)) as demo:
        gr.Markdown(INTRO)
        with gr.Row(equal_height=False):
            with gr.Column(min_width=300):
                photo, consent, settings, advice = _photo_column()
            with gr.Column(min_width=300):
                avatar = _avatar_column()
            with gr.Column(min_width=300):
                talk = _talk_column(demo)
        delete = gr.Button("Delete my data", elem_id="delete")
        deleted = gr.Markdown("", elem_id="deleted", container=False)
        _tiers(demo)
        running = _connect(photo, consent, settings, advice, avatar, talk)
        _connect_stop(running, avatar, talk)
        _connect_delete(running, delete, deleted, photo, advice, avatar, talk)
    return demo.queue(max_size=limits.QUEUE_SIZE)


def _uploaded_path(payload: Any) -> str | None:
    """In place of ``gr.Image.preprocess``, which decodes even for ``type="filepath"`` and ends without a reason.

    So that every photo is read by :func:`pipeline.media.load_photo`, which looks before it decodes, and no file name
    comes into the log.
    """
    return None if payload is None else payload.path


def _photo_column() -> tuple[Any, Any, list[Any], Any]:
    gr.Markdown(f"## 1. Photo\n{PHOTO_HELP}")
    photo = gr.Image(
        label="Photo of one person", type="filepath", image_mode=None, sources=["upload", "webcam", "clipboard"],
        height=360, elem_id="photo",
        webcam_options=gr.WebcamOptions(mirror=False),  # it would mirror the photo, not only what one sees
    )  # fmt: skip
    photo.preprocess = _uploaded_path
    consent = gr.Radio(
        choices=[(sentence, basis) for basis, sentence in CONSENT_BASES.items()], label="Whose photo is it? (needed)",
        elem_id="consent", render=False,
    )  # fmt: skip
    if EXAMPLE.is_file():
        gr.Examples(
            [[str(EXAMPLE)]], [photo], consent, lambda path: "public-domain",
            label="Or try this one (NASA, public domain)", cache_examples=False,
            run_on_click=True, api_visibility="private", elem_id="examples",
        )  # fmt: skip
    advice = gr.Markdown("", elem_id="advice", container=False)
    consent.render()
    quality = gr.Radio(
        QUALITIES, value="default", label="Quality", elem_id="quality",
        info="On two free CPU cores fast takes about 25 seconds, default 45, full many minutes.",
    )  # fmt: skip
    seed = gr.Number(
        value=0, precision=0, label="Seed", minimum=0, elem_id="seed",
        info="The guessed parts depend on it; the same seed gives the same avatar.",
    )  # fmt: skip
    return photo, consent, [quality, seed], advice


def _avatar_column() -> dict[str, Any]:
    gr.Markdown("## 2. Avatar")
    with gr.Row():
        fit = gr.Button("Make the avatar", variant="primary", elem_id="fit", min_width=120, scale=2)
        stop = gr.Button("Stop", variant="stop", elem_id="stop", min_width=80, scale=1)
    with gr.Column(elem_id="stage"):  # pictures of the running fit are seen where the avatar will be
        view = gr.HTML(None, html_template=TEMPLATE, js_on_load=ON_LOAD, elem_id="view", label="The avatar in 3D")
        previews = gr.Gallery(
            label="Pictures of the avatar", show_label=False, columns=4, height=440, elem_id="previews", buttons=[],
            object_fit="contain", interactive=False,
        )  # fmt: skip
    report = gr.Markdown(label="Fit report", elem_id="report")
    avatar_id = gr.Textbox(
        label="Avatar id", elem_id="avatar_id", max_lines=1,
        info="Good for an hour after its last use. Paste it here, or give it to a program, to go on with this avatar.",
    )  # fmt: skip
    with gr.Accordion("Export: 3D files, web page, pictures", open=False):
        form = gr.Radio(FORMS, value="ply", label="Kind of file", elem_id="form")
        frame = gr.Number(
            0, precision=0, minimum=0, label="Frame of the motion, from 0 (for PLY and poster)", elem_id="frame"
        )
        export = gr.Button("Export", elem_id="export")
        file = gr.File(label="Exported file", elem_id="exported", interactive=False)
    numbers = gr.JSON(visible=False)
    return {
        "fit": fit, "stop": stop, "view": view, "previews": previews, "report": report, "id": avatar_id, "form": form,
        "frame": frame, "export": export, "file": file, "numbers": numbers,
    }  # fmt: skip


def _motion_picker(demo: gr.Blocks) -> Any:
    """The motions as pictures, and a menu that they set and that sets them; returns the menu."""
    motions = api.list_motions()
    choices = [(f"{m['title']} ({m['seconds']:.0f} s)", m["name"]) for m in motions]
    first = choices[0][1] if choices else None
    gallery = gr.HTML(picker.pictures(first), js_on_load=picker.ON_LOAD, elem_id="motions", label="Motions")
    motion = gr.Dropdown(choices, value=first, label="Motion", elem_id="motion")

    def chosen(event: gr.EventData) -> str:
        return endpoints.named_motion(event.value)

    gallery.select(chosen, None, motion, **QUICK)
    motion.change(None, motion, None, js=picker.FOLLOW, **QUICK)
    demo.load(lambda: picker.pictures(first), None, gallery, **QUICK)  # moving ones may have been made since the start
    return motion


def _talk_column(demo: gr.Blocks) -> dict[str, Any]:
    gr.Markdown("## 3. Talk\nChoose a motion, or bring your own: a clip (.npz) or a video of somebody moving.")
    motion = _motion_picker(demo)
    own = gr.File(
        label="Or your own motion", file_types=[".npz", "video"], height=180,
        elem_id="motion_file",
    )  # fmt: skip
    framing = gr.Radio(FRAMINGS, value="portrait", label="Framing", elem_id="framing")
    background = gr.Radio(BACKGROUNDS, value="photo", label="Background", elem_id="background")
    colour = gr.ColorPicker("#ffffff", label="Background colour", elem_id="colour", visible=False)
    background.change(lambda kind: gr.ColorPicker(visible=kind == "colour"), background, colour, **QUICK)
    with gr.Accordion("Camera and movement", open=False):
        yaw = gr.Slider(-30, 30, 0, step=1, label="Camera to the side (degrees)", elem_id="yaw")
        pitch = gr.Slider(-30, 30, 0, step=1, label="Camera up (degrees)", elem_id="pitch")
        orbit = gr.Slider(0, 30, 0, step=1, label="Camera swing (degrees)", elem_id="orbit")
        amplitude = gr.Slider(0, 1.5, 1, step=0.1, label="Size of the movement", elem_id="amplitude")
        speed = gr.Slider(0.25, 4, 1, step=0.05, label="Speed of the movement", elem_id="speed")
    label = gr.Checkbox(False, label="Write “AI-generated” into a corner of the video", elem_id="label")
    with gr.Row():
        animate = gr.Button("Make the video", variant="primary", elem_id="animate", min_width=120, scale=2)
        stop = gr.Button("Stop", variant="stop", elem_id="stop_video", min_width=80, scale=1)
    video = gr.Video(
        label="Video", autoplay=True, loop=True, height=480, elem_id="video", interactive=False, buttons=["download"]
    )
    share = gr.Button("Share the video, or save it", elem_id="share", size="sm", interactive=False)
    share.click(None, video, None, js=looks.SHARE, api_visibility="private")
    inputs = [motion, own, background, colour, yaw, pitch, orbit, amplitude, framing, speed, label]
    return {"inputs": inputs, "motion": motion, "own": own, "amplitude": amplitude, "speed": speed,
            "animate": animate, "stop": stop, "video": video, "share": share}  # fmt: skip


def _tiers(demo: gr.Blocks) -> None:
    with gr.Accordion(TIERS, open=False, elem_id="tiers_box") as box:
        tiers = gr.Markdown("", elem_id="tiers")
    demo.load(lambda: (gr.Accordion(label=f"{TIERS} ({tiers_summary()})"), tiers_text()), None, [box, tiers], **QUICK)


def _connect(
    photo: Any, consent: Any, settings: list[Any], advice: Any, avatar: dict[str, Any], talk: dict[str, Any]
) -> list[Any]:
    """The events that make something. The first heavy one sets how many heavy jobs run at a time.

    Returns:
        The heavy events, which can be stopped.
    """
    token, video = avatar["id"], talk["video"]
    fitting = avatar["fit"].click(
        endpoints.fit, [photo, consent, *settings], [token, avatar["report"], avatar["previews"], avatar["numbers"]],
        api_name="fit", show_progress_on=[avatar["report"]], **limits.HEAVY,
    )  # fmt: skip
    animating = talk["animate"].click(
        endpoints.animate, [token, *talk["inputs"]], video, api_name="animate", **limits.HEAVY
    )
    exporting = avatar["export"].click(
        endpoints.export, [token, avatar["form"], talk["motion"], avatar["frame"]], avatar["file"], api_name="export",
        **limits.HEAVY,
    )  # fmt: skip
    animating.success(lambda: gr.Button(interactive=True), None, talk["share"], **QUICK)
    looking = [token, talk["motion"], talk["own"], talk["amplitude"], talk["speed"]]
    drawn = {"fn": view_files, "inputs": looking, "outputs": avatar["view"], **LOOK}
    fitting.success(**drawn)
    changes = [talk[name].change for name in ("motion", "own", "amplitude", "speed")]
    gr.on([*changes, token.submit], trigger_mode="always_last", **drawn)
    photo.change(advice_text, photo, advice, trigger_mode="always_last", **LOOK)
    _api_only(photo, consent, settings, talk, token)
    return [fitting, animating, exporting]


def _connect_stop(running: list[Any], avatar: dict[str, Any], talk: dict[str, Any]) -> None:
    pictures = [avatar["report"], avatar["previews"]]
    for stop in (avatar["stop"], talk["stop"]):
        stop.click(None, cancels=running, api_visibility="private")
        stop.click(None, pictures, pictures, js=looks.STOPPED, api_visibility="private")


def _connect_delete(
    running: list[Any], delete: Any, deleted: Any, photo: Any, advice: Any, avatar: dict[str, Any], talk: dict[str, Any]
) -> None:
    """Deleting also stops what runs, and is not queued: it works however many wait."""
    cleared = [
        photo, talk["own"], avatar["id"], avatar["report"], avatar["previews"], avatar["view"], avatar["file"],
        talk["video"], advice, talk["share"], deleted,
    ]  # fmt: skip
    given = [avatar["id"], photo, talk["own"]]
    delete.click(delete_everything, given, cleared, cancels=running, **QUICK)
    no_longer = "(photo, words) => photo ? '' : words"  # with a new photo something is kept again
    photo.change(None, [photo, deleted], deleted, js=no_longer, api_visibility="private")


def _api_only(photo: Any, consent: Any, settings: list[Any], talk: dict[str, Any], token: Any) -> None:
    """Endpoints without a place on the page; they share components with it for their types and defaults."""
    background = gr.Textbox("photo", label="background: photo, transparent or #rrggbb", visible=False)
    answer, sentence = gr.JSON(visible=False), gr.Textbox(visible=False)
    make = [photo, consent, talk["motion"], talk["own"], settings[0], background, settings[1]]
    gr.Button(visible=False).click(endpoints.make_video, make, talk["video"], api_name="make_video", **limits.HEAVY)
    gr.Button(visible=False).click(endpoints.status, token, answer, api_name="status", queue=False)
    gr.Button(visible=False).click(endpoints.delete, token, sentence, api_name="delete", queue=False)
    gr.Button(visible=False).click(endpoints.list_motions, None, answer, api_name="list_motions", queue=False)
    gr.Button(visible=False).click(
        endpoints.check_photo, photo, answer, api_name="check_photo", concurrency_id="look", concurrency_limit=2
    )


def advice_text(photo: str | None) -> str:
    """What the page says about a photo as soon as it is there."""
    if not photo:
        return ""
    checked = endpoints.check_photo(photo)
    if not checked["accepted"]:
        return f"**This photo will not do.** {checked['advice'][0]}"
    return "\n".join(["**This photo will do.**", "", *(f"* {sentence}" for sentence in checked["advice"])])


def delete_everything(token: str, photo: str | None, own: str | None) -> tuple[Any, ...]:
    """The page's *Delete my data*: the avatar with all that was made of it, and the uploads; the page is emptied."""
    if token:
        endpoints.delete(token)
    for upload in (photo, own):
        if upload and endpoints.is_upload(upload):
            Path(upload).unlink(missing_ok=True)
    return None, None, "", "", None, None, None, None, "", gr.Button(interactive=False), DELETED


@lru_cache(maxsize=1)
def _tiers_here() -> list[dict[str, str]]:
    from pipeline import doctor

    return doctor.checkup()["parts"]


def tiers_summary() -> str:
    """Which tier runs here, in a few words."""
    from pipeline import doctor

    full = sum(row["tier"] == doctor.FULL for row in _tiers_here())
    return f"{full} of {len(_tiers_here())} parts on their full tier" if full else "embedded: no GPU, no downloads"


def tiers_text() -> str:
    """Which tier every part runs on here, and why, as a Markdown table."""
    rows = [f"| {row['part']} | {row['tier']} | {row['why']} |" for row in _tiers_here()]
    return "\n".join(["| part | tier | why |", "|---|---|---|", *rows])
