"""The verbs behind every door: the command line, the app and a Python user call these.

A ``progress`` argument is called with the name of a stage and the share of it that is done, 0..1.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.console import Progress
from pipeline.types import Array, FitReport, MotionClip, Observation, PipelineError

if TYPE_CHECKING:
    from pipeline.animation import Video, View
    from pipeline.avatar import Avatar
    from pipeline.avatar.refine import Show
    from pipeline.body import BodyModel
    from pipeline.motion import Playback

VIDEO_SUFFIXES = {".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v"}
QUALITIES = ("fast", "default", "full")
MAX_TRACK_SECONDS = 600.0

__all__ = ["animate", "describe", "fit", "list_motions", "load_avatar", "load_motion", "observe", "reenact", "track"]


def _silent(stage: str, share: float) -> None:
    """The progress callback of somebody who does not want to know."""


def get_body(body: BodyModel | str | Path | None = None) -> BodyModel:
    """A body model from what a user gives: one, the path of one, or None for the machine's default.

    Raises:
        PipelineError: the file is missing or no SMPL-X model.
    """
    if body is None or isinstance(body, (str, Path)):
        return _loaded_body(None if body is None else str(body), os.environ.get("SMPLX_MODEL"))
    return body


@lru_cache(maxsize=2)
def _loaded_body(path: str | None, default: str | None) -> BodyModel:
    """A model is read once per process; ``default`` is here so that a change of SMPLX_MODEL is noticed."""
    from pipeline.body import load_body

    return load_body(path)


def observe(
    photo: str | Path | Array,
    *,
    body: BodyModel | str | Path | None = None,
    strict: bool = True,
    progress: Progress | None = None,
) -> Observation:
    """Read a photo and understand it: crop, matte, keypoints, registered body and report.

    Args:
        photo: path of a JPEG, PNG or WebP, or an (H, W, 3) array, uint8 or float in 0..1.
        body: body model or path of one.
        strict: raise when the report does not accept the photo.

    Raises:
        PipelineError: the photo cannot be read or will not do, with a hint.
    """
    return _observe(photo, body, strict, progress or _silent)[1]


def _observe(
    photo: str | Path | Array, body: BodyModel | str | Path | None, strict: bool, tell: Progress
) -> tuple[BodyModel, Observation]:
    """The photo is read first: what is wrong with it should not wait for the body model."""
    from pipeline.media import load_photo

    tell("reading the photo", 0.0)
    image = load_photo(photo)
    from pipeline.perceive import perceive

    tell("opening the body model", 0.0)
    model = get_body(body)
    return model, perceive(image, model, progress=tell, strict=strict)


def fit(
    photo: str | Path | Array | Observation,
    *,
    body: BodyModel | str | Path | None = None,
    quality: str = "default",
    seed: int = 0,
    consent: str | None = None,
    labels: Sequence[str | Path] = (),
    footage: str | Path | Sequence[str | Path] = (),
    device: str = "auto",
    progress: Progress | None = None,
    show: Show | None = None,
) -> Avatar:
    """Photo to avatar.

    Args:
        photo: path, array, or what :func:`observe` returned.
        body: body model or path of one; the machine's default when None.
        quality: "fast", "default" or "full".
        seed: the same seed gives the same avatar on the same machine.
        consent: "own", "permission" or "public-domain", recorded in the avatar; None records that nothing was said.
        labels: folders of generated labels of this photo (see :func:`pipeline.labels.label`), or of plain pictures.
        footage: one or several videos of the person in the same clothes; a few seconds each are used.
        device: "auto" (a CUDA card where one works, else the CPU), "cpu" or "cuda".
        show: called about once a second while the avatar is refined, with a picture of it as it is ((h, w, 3) uint8)
            and the share of that stage that is done.

    Raises:
        PipelineError: a photo that will not do, an unknown device, quality or consent, labels of another photo, or
            footage that cannot be used (another person, nobody in it, too short).
    """
    from pipeline.avatar import fit as fit_avatar
    from pipeline.config import FitConfig
    from pipeline.provenance import Consent
    from pipeline.render import choose_device

    if quality not in QUALITIES:
        raise PipelineError(f"The quality '{quality}' is not known; use fast, default or full.")
    record = Consent.state(consent)
    choose_device(device)  # a wrong one is told before the work begins
    tell = progress or _silent
    if isinstance(photo, Observation):
        model, observation = get_body(body), photo
    else:
        model, observation = _observe(photo, body, True, tell)
    config = FitConfig.preset(quality, seed)  # type: ignore[arg-type]
    further, sources = (), {}
    if labels or footage:
        from pipeline.labels import gather_labels

        videos = [footage] if isinstance(footage, (str, Path)) else footage
        quick = FitConfig.preset("fast", seed)
        gathered = gather_labels(
            observation, model, folders=labels, footage=videos, progress=tell,
            plain=lambda: fit_avatar(observation, model, config=quick, progress=tell, device=device),
        )  # fmt: skip
        further, sources = gathered.labels, gathered.sources
        config = config.for_footage(sum(label.filmed for label in further))
    avatar = fit_avatar(observation, model, labels=further, config=config, progress=tell, device=device, show=show)
    said = {"consent": record.to_json(), "report": report_json(observation.report), "label_sources": sources}
    return avatar.replace(meta={**avatar.meta, **said})


def report_json(report: FitReport) -> dict[str, Any]:
    """A fit report as plain values."""
    return {
        "accepted": report.accepted,
        "summary": report.summary,
        "hints": list(report.hints),
        "metrics": {k: float(v) for k, v in report.metrics.items()},
        "not_visible": list(report.not_visible),
    }


def describe(avatar: Avatar) -> str:
    """An avatar's fit report in a few lines of words and numbers."""
    report = avatar.meta.get("report", {})
    lines = [report.get("summary", "An avatar."), *report.get("hints", [])]
    lines += [_source_line(name, found) for name, found in avatar.meta.get("label_sources", {}).items()]
    if report.get("not_visible"):
        lines.append(f"Not in the photo, guessed: {', '.join(report['not_visible'])}.")
    if avatar.meta.get("remark"):
        lines.append(avatar.meta["remark"])
    return "\n".join([*lines, *(f"{name}: {value:g}" for name, value in numbers(avatar).items())])


def _source_line(name: str, found: dict[str, Any]) -> str:
    dropped = "; ".join(f"{count} dropped, {reason}" for reason, count in found.get("dropped", {}).items())
    return f"{name}: {found['labels']} frames teach the avatar{f' ({dropped})' if dropped else ''}."


def numbers(avatar: Avatar) -> dict[str, float]:
    """The figures of an avatar: how well the body was registered, and how well the avatar repeats the photo."""
    figures = {**avatar.meta.get("report", {}).get("metrics", {}), **avatar.meta.get("metrics", {})}
    return {"gaussians": len(avatar), **{name.replace("_", " "): float(value) for name, value in figures.items()}}


def load_avatar(path: str | Path, *, body: BodyModel | str | Path | None = None) -> Avatar:
    """Open a saved avatar.

    Raises:
        PipelineError: it is missing, altered, or was made on another body model.
    """
    from pipeline.avatar import Avatar

    return Avatar.load(path, get_body(body))


def list_motions() -> list[dict[str, Any]]:
    """The motions there are: name, title, seconds, description, tags, licence.

    Those that come with the package, then the clips of the set that the settings name (:mod:`pipeline.motion.clipset`);
    when that set cannot be read, a warning is logged and it is left out.
    """
    from pipeline.motion import list_presets
    from pipeline.motion.clipset import list_clips

    motions = list_presets()
    try:
        motions += list_clips()
    except PipelineError as error:
        logging.getLogger(__name__).warning("The configured set of clips is left out: %s", error)
    return [
        {
            "name": preset.name,
            "title": preset.title,
            "seconds": round(preset.duration, 2),
            "description": preset.description,
            "tags": list(preset.tags),
            "licence": preset.licence,
        }
        for preset in motions
    ]


def load_motion(
    motion: str | Path | MotionClip, *, body: BodyModel | str | Path | None = None, progress: Progress | None = None
) -> MotionClip:
    """A motion from what a user gives: a preset's name, a clip file, a video that is tracked first, or a clip.

    Raises:
        PipelineError: unknown name, or a file that is no motion.
    """
    from pipeline.motion import get_motion

    if isinstance(motion, MotionClip):
        return motion
    if Path(motion).suffix.lower() in VIDEO_SUFFIXES:
        return track(motion, body=body, progress=progress)
    return get_motion(motion)


def track(
    video: str | Path,
    *,
    body: BodyModel | str | Path | None = None,
    smooth: str = "light",
    overlay: str | Path | None = None,
    progress: Progress | None = None,
) -> MotionClip:
    """Video of one person to motion clip.

    Args:
        video: any length; what comes after ten minutes is left out, and the clip's ``meta["notes"]`` says so.
        body: body model or path of one.
        smooth: "off", "light" or "strong" (:mod:`pipeline.motion.tracked`).
        overlay: where to write the video with the tracked body drawn over it, ``.mp4`` or ``.webm``.

    Raises:
        PipelineError: no readable video, nobody or several people in it, or an unknown kind of smoothing.
    """
    from pipeline.motion.tracked import SMOOTHING, Seen, finish

    if smooth not in SMOOTHING:
        raise PipelineError(f"There is no smoothing '{smooth}'; use {', '.join(SMOOTHING)}.")
    check_video(video)
    from pipeline.perceive import track_video

    tell = progress or _silent
    tracked = track_video(video, get_body(body), dense=False, max_seconds=MAX_TRACK_SECONDS, progress=tell)
    clip = finish(tracked.clip(Path(video).stem), Seen(**tracked.seen()), tracked.cuts, smooth)
    if clip.duration > MAX_TRACK_SECONDS - 0.5:
        clip.meta["notes"] = [f"only the first {MAX_TRACK_SECONDS / 60:.0f} minutes of the video were used"]
    if overlay is not None:
        from pipeline.perceive.overlay import write_overlay

        write_overlay(tracked, overlay, tell)
    return clip


def check_video(video: str | Path) -> None:
    """Find out whether a video can be read before anything else is loaded.

    Raises:
        PipelineError: it cannot, and why.
    """
    from pipeline.video import VideoReader

    with VideoReader(video, max_seconds=1.0):
        pass


def animate(
    avatar: Avatar | str | Path,
    motion: str | Path | MotionClip,
    out: str | Path,
    *,
    view: View | None = None,
    amplitude: float = 1.0,
    playback: Playback | None = None,
    then: Sequence[str | Path | MotionClip] = (),
    device: str = "auto",
    progress: Progress | None = None,
) -> Video:
    """Avatar and motion to video.

    Args:
        avatar: an avatar or where it was saved.
        motion: a preset's name, a clip file, a video, or a clip; ``then``: further ones, faded into.
        playback: mirror, speed, loop (:class:`pipeline.motion.Playback`).
        out: ``.mp4``, ``.webm``, or a folder for PNG frames.
        view: camera, background, size, rate.
        amplitude: size of the movement, 0..1.5.
        device: "auto" (a CUDA card where one works, else the CPU), "cpu" or "cuda".

    Raises:
        PipelineError: anything that the user can put right; nothing is left behind.
    """
    from pipeline import animation
    from pipeline.motion import Playback, arrange

    view = view or animation.View()
    view.check(out)
    if isinstance(avatar, (str, os.PathLike)):
        avatar = load_avatar(avatar)
    clips = [load_motion(m, body=avatar.body, progress=progress) for m in (motion, *then)]
    clip = arrange(clips, playback or Playback())
    return animation.animate(
        avatar, clip, out, view=view, amplitude=amplitude, progress=progress, device=device
    )


def reenact(
    video: str | Path,
    out: str | Path,
    *,
    body: BodyModel | str | Path | None = None,
    quality: str = "default",
    seed: int = 0,
    max_seconds: float = 30.0,
    footage_seconds: float | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The self-driven test on a video; see :func:`pipeline.evaluate.reenact.reenact`.

    With ``footage_seconds`` the beginning of the video serves as footage, and the rest is scored with and without it;
    see :func:`pipeline.evaluate.footage.reenact_with_footage`.
    """
    check_video(video)
    if footage_seconds is not None:
        from pipeline.evaluate.footage import reenact_with_footage

        return reenact_with_footage(
            video, out, body=get_body(body), footage_seconds=footage_seconds, quality=quality, seed=seed,
            max_seconds=max_seconds, progress=progress or _silent,
        )  # fmt: skip
    from pipeline.evaluate.reenact import reenact as run

    return run(video, out, body=get_body(body), quality=quality, seed=seed, max_seconds=max_seconds,
               progress=progress or _silent)  # fmt: skip
