"""What a few seconds of footage are worth: the self-driven test with and without them, on the rest of the video.

The photo is taken from the first seconds, which then serve as footage; only what comes after them is scored. The video
is tracked once, with the photo's shape, and either avatar is then aligned with it, as in the test without footage;
beside the motion, nothing of the scored part is used.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.console import Progress
from pipeline.evaluate.reenact import Clock, Layer, Scene, Scores, find_photo, layers
from pipeline.types import PipelineError

if TYPE_CHECKING:
    from pipeline.body import BodyModel

LEAST_SCORED = 10
"""Frames that must be left after the footage."""


def reenact_with_footage(
    video: str | Path, out: str | Path, *, body: BodyModel, footage_seconds: float, quality: str = "default",
    seed: int = 0, max_seconds: float = 30.0, progress: Progress,
) -> dict[str, Any]:  # fmt: skip
    """Run the test twice, write ``comparison.mp4`` (real, photo only, with footage) and ``metrics.json``.

    Args:
        video: one person, camera at rest. out: folder for the files; written only when all is done.
        body: body model. footage_seconds: how much of the beginning is footage. quality, seed: of the fits.
        max_seconds: how much of the video is used. progress: called with a stage and the share done.

    Returns:
        What ``metrics.json`` holds: ``photo`` and ``footage``, each as :func:`pipeline.evaluate.reenact.reenact` gives
        them, ``footage_gain_psnr_mask`` and ``_full`` (dB), ``labels`` (what became of the footage's frames).

    Raises:
        PipelineError: as :func:`.reenact.reenact`; too little is left to score; footage that cannot be used.
    """
    from pipeline.avatar import fit
    from pipeline.config import FitConfig
    from pipeline.labels.align import cut_outs, follow
    from pipeline.labels.footage import FootageConfig, judge
    from pipeline.labels.sightings import Known, sightings_of
    from pipeline.perceive.track import detect_video, track_video

    if not footage_seconds > 0:
        raise PipelineError("Give more than 0 seconds of footage.")
    clock = Clock()
    found = detect_video(video, max_seconds=max_seconds, progress=progress)
    count = round(footage_seconds * found.fps)
    if len(found.frames) - count < LEAST_SCORED:
        raise PipelineError(
            f"After {footage_seconds:g} s of footage fewer than {LEAST_SCORED} of {len(found.frames)} frames are left "
            "to score; use a longer video or less footage."
        )
    first = dataclasses.replace(found, frames=found.frames[:count], cuts=tuple(c for c in found.cuts if c < count))
    source, photo, window = find_photo(video, first, body, footage_seconds)
    clock.lap("detect and perceive")
    betas = photo.params.betas
    config = FitConfig.preset(quality, seed)  # type: ignore[arg-type]
    plain = fit(photo, body, config=config, progress=progress)
    clock.lap("fit the photo")
    known = dataclasses.replace(photo, params=plain.params)
    tracked = track_video(found, body, window=window, betas=betas, reference=known, dense=False, progress=progress)
    seen = sightings_of(tracked, found, body, count, Known(plain, photo), progress)
    frames = cut_outs(found, window, known, progress)
    followed = follow(tracked, plain, known, frames, progress)
    clock.lap("track")
    labels = judge(seen, photo, body, FootageConfig(), Path(video).name)
    taught = fit(photo, body, labels.labels, config.for_footage(len(labels.labels)), progress=progress)
    clock.lap("fit photo and footage")
    better = follow(tracked, taught, dataclasses.replace(photo, params=taught.params), frames, progress)
    clock.lap("track with footage")
    made = {
        "video": Path(video).name, "frames": len(tracked), "fps": tracked.fps, "source_frame": source,
        "footage_frames": count, "quality": quality, "seed": seed, "labels": labels.to_json(),
        "learnt_from_labels": taught.meta["learnt_from_labels"],
    }  # fmt: skip
    scene = Scene(plain, photo, window, followed, found, source)
    return _write(Path(out), Path(video), made, scene, dataclasses.replace(scene, avatar=taught, tracked=better), count,
                  progress, clock)  # fmt: skip


def _write(
    out: Path, video: Path, made: dict[str, Any], scene: Scene, taught: Scene, first: int, progress: Progress,
    clock: Clock,
) -> dict[str, Any]:  # fmt: skip
    """Draw, score and write; the files appear in ``out`` only when all are done."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as name:
            folder = Path(name)
            scores = _score(folder / "comparison.mp4", video, scene, taught, first, progress)
            clock.lap("compare")
            groups = {key: value.summary() for key, value in scores.items()}
            gains = {
                f"footage_gain_psnr_{region}": groups["footage"][region]["psnr"] - groups["photo"][region]["psnr"]
                for region in ("mask", "full")
            }
            result = {**made, "scored_frames": len(scores["photo"].rows), **groups, **gains, "seconds": clock.seconds}
            _write_rows(folder / "per_frame.csv", scores)
            (folder / "metrics.json").write_text(json.dumps(result, indent=1, allow_nan=False), encoding="utf-8")
            out.mkdir(exist_ok=True)
            for path in sorted(folder.iterdir()):
                os.replace(path, out / path.name)
    except OSError as error:
        raise PipelineError(f"{out} cannot be written ({error.strerror}); choose another folder.") from error
    return result


def _score(
    target: Path, video: Path, scene: Scene, taught: Scene, first: int, progress: Progress
) -> dict[str, Scores]:
    """Draw both avatars beside every frame after the footage."""
    from pipeline.media import VideoWriter, to_uint8
    from pipeline.provenance import Stamp
    from pipeline.puppet import Puppet

    scores = {"photo": Scores(None, 1), "footage": Scores(None, 1)}
    still, camera = Layer.of(scene.photo.image, scene.photo.alpha), scene.photo.camera
    puppet, size = Puppet(taught.avatar), (3 * camera.width, camera.height)
    stamp = Stamp.of(scene.avatar.meta, size)
    with VideoWriter(target, scene.tracked.fps, size, seal=stamp.seal) as writer:
        for index, real, plain, _, valid in layers(scene, video):
            progress("comparing", (index + 1) / len(scene.tracked))
            if index < first:
                continue
            better = Layer.drawn(*puppet.layers(taught.tracked.frame(index), camera), valid)
            writer.write(stamp.mark(to_uint8(np.concatenate([real.white, plain.white, better.white], axis=1))))
            if scene.tracked.found[index]:
                scores["photo"].add(index, real, plain, still)
                scores["footage"].add(index, real, better, still)
    return scores


def _write_rows(path: Path, scores: dict[str, Scores]) -> None:
    rows = [
        {"frame": a["frame"], **{f"{name}_{k}": round(v, 6) for name, r in (("photo", a), ("footage", b))
                                 for k, v in r.items() if k != "frame"}}
        for a, b in zip(scores["photo"].rows, scores["footage"].rows, strict=True)
    ]  # fmt: skip
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
