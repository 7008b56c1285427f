"""Thumbnails of motions: a small figure of lines that plays the clip as a loop, in animated WebP.

:func:`thumbnails` gives the app's gallery one file per motion, made on first use and kept in the cache (13 presets take
a few seconds); :func:`write_preview` writes one of any clip.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from ..types import Array, Camera, MotionClip, PipelineError
from .edit import resample
from .presets import PresetInfo, get_motion, list_presets
from .skeleton import ARKIT, HAND_JOINTS, INDEX, PARENTS, mean_joints
from .statistics import joint_paths

SIZE = (120, 160)
FPS = 8.0
MAX_SECONDS = 12.0
VERSION = 1
"""Raise it when the drawing changes, so that kept thumbnails are made again."""
SCALE = 4
"""Drawn this many times larger, then shrunk."""
GROUND, TRUNK = (247, 247, 250), (90, 95, 110)
COLOURS = {"left": (230, 120, 40), "right": (40, 130, 210)}
"""The person's own left and right."""
FOCAL, DISTANCE = 2.5, 2.6
"""In picture heights, and metres."""
CHEST = np.array([0.0, 0.27, 0.0])
LIMBS = ("collar", "shoulder", "elbow", "wrist")
HEAD_RADIUS = 0.105
"""Metres."""


def preview_frames(clip: MotionClip) -> list[Array]:
    """A clip as pictures, (160, 120, 3) uint8, eight per second, the first twelve seconds; seen from the front."""
    clip = resample(clip, min(FPS, clip.fps)) if clip.fps > FPS else clip
    count = min(len(clip), round(MAX_SECONDS * clip.fps))
    joints = joint_paths(clip)[1][:count]
    joints = joints - joints[:, :1].mean(axis=0) + mean_joints()[0]
    camera = Camera.frontal(SIZE[0] * SCALE, SIZE[1] * SCALE, FOCAL * SIZE[1] * SCALE, distance=DISTANCE)
    pixels, _ = camera.project(joints - CHEST)
    unit = FOCAL * SIZE[1] * SCALE / DISTANCE
    return [_draw(pixels[f], joints[f, :, 2], clip.arkit[f], unit) for f in range(count)]


def _draw(pixels: Array, depth: Array, arkit: Array, unit: float) -> Array:
    """One figure; what is further away is drawn first, so that hands lie before the chest."""
    picture = np.full((SIZE[1] * SCALE, SIZE[0] * SCALE, 3), GROUND, np.uint8)

    def line(a: int, b: int, colour: tuple[int, int, int], width: float) -> None:
        ends = [tuple(int(round(v * 16)) for v in pixels[j]) for j in (a, b)]
        cv2.line(picture, ends[0], ends[1], colour, max(1, round(width * unit)), cv2.LINE_AA, 4)

    for chain in (("pelvis", "spine1", "spine2", "spine3", "neck", "head"), ("left_hip", "pelvis", "right_hip")):
        for a, b in zip(chain, chain[1:], strict=False):
            line(INDEX[a], INDEX[b], TRUNK, 0.045)
    _head(picture, pixels, arkit, unit)
    for side in sorted(COLOURS, key=lambda s: depth[INDEX[f"{s}_wrist"]]):
        ids = [INDEX["spine3"], *(INDEX[f"{side}_{j}"] for j in LIMBS)]
        for a, b in zip(ids, ids[1:], strict=False):
            line(a, b, COLOURS[side], 0.04)
        for name in HAND_JOINTS:
            joint = INDEX[f"{side}_{name}"]
            line(PARENTS[joint], joint, COLOURS[side], 0.012)
            if name.endswith("3"):
                tip = pixels[joint] + 0.8 * (pixels[joint] - pixels[PARENTS[joint]])
                ends = [tuple(int(round(v * 16)) for v in p) for p in (pixels[joint], tip)]
                cv2.line(picture, ends[0], ends[1], COLOURS[side], max(1, round(0.012 * unit)), cv2.LINE_AA, 4)
    return cv2.resize(picture, SIZE, interpolation=cv2.INTER_AREA)


def _head(picture: Array, pixels: Array, arkit: Array, unit: float) -> None:
    """A disc with two eyes that blink and a mouth that opens."""
    head, eyes = pixels[INDEX["head"]], pixels[[INDEX["left_eye"], INDEX["right_eye"]]]
    across = eyes[0] - eyes[1]
    up = eyes.mean(axis=0) - head
    centre = head + 0.55 * up

    def blob(at: Array, axes: tuple[float, float], colour: tuple[int, int, int]) -> None:
        sizes = tuple(max(1, round(a * unit)) for a in axes)
        cv2.ellipse(picture, tuple(int(round(v)) for v in at), sizes, 0, 0, 360, colour, -1, cv2.LINE_AA)

    blob(centre, (0.85 * HEAD_RADIUS, 1.15 * HEAD_RADIUS), (205, 208, 216))
    for eye, name in zip(eyes, ("eyeBlinkLeft", "eyeBlinkRight"), strict=True):
        blob(eye, (0.013, 0.013 * (1.0 - 0.9 * float(arkit[ARKIT.index(name)]))), TRUNK)
    mouth = eyes.mean(axis=0) - 1.35 * np.array([-across[1], across[0]]) * np.sign(across[0] or 1.0) * -1.0
    blob(mouth, (0.026, 0.004 + 0.03 * float(arkit[ARKIT.index("jawOpen")])), (150, 70, 70))


def write_preview(clip: MotionClip, path: str | Path) -> Path:
    """Write a clip's loop of lines as animated WebP (about 40 kB for eight seconds).

    Raises:
        PipelineError: another ending than ``.webp``, or a file that cannot be written.
    """
    from PIL import Image

    from pipeline.media import replacing

    path = Path(path)
    if path.suffix.lower() != ".webp":
        raise PipelineError(f"A preview is written as .webp, not as '{path.name}'.")
    frames = [Image.fromarray(f) for f in preview_frames(clip)]
    each = round(1000 / min(FPS, clip.fps))
    with replacing(path) as temporary:
        frames[0].save(
            temporary, format="WEBP", save_all=True, append_images=frames[1:], duration=each, loop=0, quality=25,
            method=4, minimize_size=True,
        )  # fmt: skip
    return path


def thumbnail_folder() -> Path:
    """Where thumbnails are kept."""
    from pipeline.body.cache import cache_dir

    return cache_dir() / "previews"


def thumbnail_path(preset: PresetInfo) -> Path:
    """Where the thumbnail of a preset is or will be kept; another clip of the same name has another one."""
    mark = hashlib.sha256(preset.path.read_bytes() + bytes([VERSION])).hexdigest()[:12]
    return thumbnail_folder() / f"{preset.name}-{mark}.webp"


def thumbnails(names: Sequence[str] | None = None) -> dict[str, Path]:
    """Animated thumbnails of presets by name, made where the cache has none of this very clip.

    Args:
        names: which presets; None takes all.

    Raises:
        PipelineError: an unknown name, or a cache that cannot be written.
    """
    paths = {}
    for preset in list_presets():
        if names is not None and preset.name not in names:
            continue
        path = thumbnail_path(preset)
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_preview(get_motion(preset.name), path)
        paths[preset.name] = path
    missing = set(names or ()) - set(paths)
    if missing:
        raise PipelineError(f"There is no motion named {sorted(missing)[0]}; `python -m pipeline motions` lists them.")
    return paths
