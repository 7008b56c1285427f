"""Avatar and motion to video: retarget, pose, draw, encode."""

from __future__ import annotations

import contextlib
import math
import queue
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.types import Array, BodyParams, Camera, MotionClip, PipelineError

if TYPE_CHECKING:
    from pipeline.avatar import Avatar
    from pipeline.media import VideoWriter

MAX_ANGLE = 30.0
"""Degrees of yaw and pitch for which one photo carries enough."""
MAX_SIDE, MIN_SIDE = 2048, 64
ORBIT_SECONDS = 8.0
HEADROOM = 0.08
"""Free space over the head, as a share of the picture's height, where the photo has to be cut to another shape."""
MAX_FRAMES = 36_000
SUFFIXES = {".mp4", ".webm", ""}


@dataclass(frozen=True)
class View:
    """How a video looks.

    Attributes:
        yaw, pitch: degrees in -30..30; positive moves the camera to the person's left, and up.
        orbit: degrees by which the camera swings slowly to both sides of ``yaw``.
        background: ``"photo"`` (the photo's own, with the person removed), ``"#rrggbb"`` or ``"transparent"``.
        size: (width, height) in pixels.
        fps: frames per second.
        label: write "AI-generated" into a corner.
    """

    yaw: float = 0.0
    pitch: float = 0.0
    orbit: float = 0.0
    background: str = "photo"
    size: tuple[int, int] = (576, 1024)
    fps: float = 30.0
    label: bool = False

    def check(self, out: str | Path) -> None:
        """Refuse what cannot be drawn or written.

        Raises:
            PipelineError: with the value, its range, and what to do.
        """
        if not abs(self.yaw) + abs(self.orbit) <= MAX_ANGLE:
            raise PipelineError(f"Yaw and orbit together go to 30 degrees, not {abs(self.yaw) + abs(self.orbit):g}.")
        if not abs(self.pitch) <= MAX_ANGLE:
            raise PipelineError(f"Pitch goes from -30 to 30 degrees; {self.pitch:g} is outside.")
        if not all(MIN_SIDE <= n <= MAX_SIDE for n in self.size):
            raise PipelineError(f"The size {self.size[0]}x{self.size[1]} is outside 64..2048 pixels a side.")
        if not 1 <= self.fps <= 60:
            raise PipelineError(f"The frame rate goes from 1 to 60 frames per second; {self.fps:g} is outside.")
        if self.background not in ("photo", "transparent"):
            parse_colour(self.background)
        suffix = Path(out).suffix.lower()
        if suffix not in SUFFIXES:
            raise PipelineError(f"A video is written as .mp4, .webm or a folder of PNG frames, not as {suffix}.")
        if self.background == "transparent" and suffix == ".mp4":
            raise PipelineError("MP4 cannot be transparent; give --out a name that ends in .webm, or a folder name.")

    def yaw_at(self, second: float) -> float:
        """Degrees of yaw at a time; the orbit starts and passes at ``yaw``."""
        return self.yaw + self.orbit * math.sin(2 * math.pi * second / ORBIT_SECONDS)


@dataclass(frozen=True)
class Video:
    """What :func:`animate` wrote: ``seconds`` it lasts, and the ``speed`` it was made at in frames per second."""

    path: Path
    frames: int
    fps: float
    seconds: float
    size: tuple[int, int]
    speed: float

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "video": str(self.path),
            "frames": self.frames,
            "fps": self.fps,
            "seconds": round(self.seconds, 3),
            "width": self.size[0],
            "height": self.size[1],
            "frames_per_second": round(self.speed, 2),
        }


def parse_colour(text: str) -> tuple[int, int, int]:
    """``#rrggbb`` to three numbers in 0..255.

    Raises:
        PipelineError: it is something else.
    """
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        raise PipelineError(f"There is no background '{text[:40]}'; use photo, transparent, or a colour like #1a2b3c.")
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


@dataclass(frozen=True)
class Framing:
    """The photo's camera and background, cut to a size.

    Attributes:
        camera: same place and direction as the photo's, with ``size`` pixels.
        background: (H, W, 3) uint8, or None where the avatar has none.
    """

    camera: Camera
    background: Array | None


def frame_photo(avatar: Avatar, size: tuple[int, int], head_row: float | None = None) -> Framing:
    """Fill ``size`` with the photo's view: scaled, and cut without bars where the shape differs.

    Args:
        avatar: whose photo.
        size: (width, height).
        head_row: row of the photo that the top of the head is on; None looks at the avatar.
    """
    camera, (width, height) = avatar.camera, size
    scale = max(width / camera.width, height / camera.height)
    wide, high = round(camera.width * scale), round(camera.height * scale)
    if head_row is None and high > height:
        head_row = top_of_head(avatar)
    x = (wide - width) // 2
    y = 0 if high <= height else round(float(np.clip((head_row or 0) * scale - HEADROOM * height, 0, high - height)))
    background = None
    if avatar.background is not None:
        import cv2

        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        scaled = cv2.resize(np.asarray(avatar.background), (wide, high), interpolation=method)
        background = np.ascontiguousarray(scaled[y : y + height, x : x + width])
    return Framing(camera.resized(wide, high).cropped(x, y, width, height), background)


def top_of_head(avatar: Avatar) -> float:
    """Row of the photo, in pixels, above which only one in two hundred Gaussians lies."""
    means = avatar.pose(avatar.params)[0].detach().numpy()
    pixels, _ = avatar.camera.project(means)
    return float(np.percentile(pixels[:, 1], 0.5))


def person_center(avatar: Avatar) -> Array:
    """(3,) metres: the middle of the upper body in the photo's pose, which the camera turns about."""
    means = avatar.pose(avatar.params)[0].detach().numpy()
    pixels, _ = avatar.camera.project(means)
    inside = ((pixels >= 0) & (pixels <= (avatar.camera.width, avatar.camera.height))).all(1)
    return np.median(means[inside] if inside.any() else means, axis=0)


class Encoder:
    """Hands frames to a :class:`VideoWriter` on a thread of its own, so that drawing and encoding overlap.

    Args:
        writer: where the frames go. ahead: how many may wait.
        prepare: what is done to each frame first, on that thread.
    """

    def __init__(
        self, writer: VideoWriter, ahead: int = 8, prepare: Callable[[Array], Array] = lambda frame: frame
    ) -> None:
        self._writer, self._prepare = writer, prepare
        self._queue: queue.Queue[Array | None] = queue.Queue(maxsize=ahead)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="encoder", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while (frame := self._queue.get()) is not None:
            if self._error is None:
                try:
                    self._writer.write(self._prepare(frame))
                except BaseException as error:
                    self._error = error

    def write(self, frame: Array) -> None:
        """Queue one frame; raises what an earlier one raised."""
        if self._error is not None:
            raise self._error
        self._queue.put(frame)

    def finish(self) -> None:
        """Wait until everything queued is written; raises what went wrong."""
        self._queue.put(None)
        self._thread.join()
        if self._error is not None:
            raise self._error

    def __enter__(self) -> Encoder:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.finish()
            return
        with contextlib.suppress(queue.Empty):
            while True:
                self._queue.get_nowait()
        self._queue.put(None)
        self._thread.join()


def draw_frames(avatar: Avatar, poses: Sequence[BodyParams], view: View, device: str = "auto") -> Iterator[Array]:
    """Draw one frame per pose.

    Args:
        avatar: whom.
        poses: body parameters, one per frame, at ``view.fps``.
        view: camera and background.
        device: "auto" (a CUDA card where Triton works, else the CPU), "cpu" or "cuda".

    Yields:
        (H, W, 3) uint8, or (H, W, 4) with straight alpha where the background is transparent.

    Raises:
        PipelineError: there is no such device.
    """
    from pipeline.puppet import Puppet
    from pipeline.render import choose_device

    framing = frame_photo(avatar, view.size)
    center = person_center(avatar)
    transparent = view.background == "transparent"
    backdrop = None if transparent else _backdrop(view, framing)
    puppet = Puppet(avatar, choose_device(device, ("triton",)))
    cameras = (framing.camera.orbited(view.yaw_at(i / view.fps), view.pitch, center) for i in range(len(poses)))
    yield from puppet.draw_all(zip(poses, cameras, strict=True), backdrop)


def _backdrop(view: View, framing: Framing) -> Array:
    """(H, W, 3) uint8 behind the person."""
    if view.background == "photo":
        if framing.background is not None:
            return framing.background
        colour = (255, 255, 255)
    else:
        colour = parse_colour(view.background)
    return np.full((view.size[1], view.size[0], 3), colour, np.uint8)


def animate(
    avatar: Avatar,
    clip: MotionClip,
    out: str | Path,
    *,
    view: View | None = None,
    amplitude: float = 1.0,
    progress: Callable[[str, float], None] | None = None,
    device: str = "auto",
) -> Video:
    """Write a video of an avatar that makes a motion: marked, and signed last (:mod:`pipeline.provenance`).

    Args:
        avatar: whom.
        clip: what; resampled to ``view.fps`` and retargeted to the avatar's body.
        out: ``.mp4`` (H.264), ``.webm`` (VP9, may be transparent), or a folder for PNG frames.
        view: camera, background, size, rate.
        amplitude: 0..1.5, size of the movement about the clip's mean pose.
        progress: called with a stage and the share of it that is done.
        device: where to draw, as in :func:`draw_frames`.

    Raises:
        PipelineError: a value out of range, or a file that cannot be written; nothing is left behind.
    """
    steps = animate_steps(avatar, clip, out, view=view, amplitude=amplitude, device=device)
    while True:
        try:
            share = next(steps)
        except StopIteration as stop:
            return stop.value
        if progress:
            progress("drawing", share)


def animate_steps(
    avatar: Avatar, clip: MotionClip, out: str | Path, *, view: View | None = None, amplitude: float = 1.0,
    device: str = "auto",
) -> Iterator[float]:  # fmt: skip
    """:func:`animate` as a generator of the share done, so that it can be stopped between frames by closing it.

    Returns (as the generator's value): the :class:`Video`.
    """
    from pipeline.media import VideoWriter
    from pipeline.provenance import Stamp

    view = view or View()
    view.check(out)
    poses = pose_sequence(avatar, clip, view.fps, amplitude)
    started = time.perf_counter()
    alpha = view.background == "transparent"
    stamp = Stamp.of(avatar.meta, view.size, motion=clip, label=view.label)
    writing = VideoWriter(out, view.fps, view.size, alpha=alpha, seal=stamp.seal)
    with writing as writer, Encoder(writer, prepare=stamp.mark) as encoder:
        for i, frame in enumerate(draw_frames(avatar, poses, view, device)):
            encoder.write(frame)
            yield (i + 1) / len(poses)
    spent = time.perf_counter() - started
    return Video(Path(out), len(poses), view.fps, len(poses) / view.fps, view.size, len(poses) / spent)


def pose_sequence(avatar: Avatar, clip: MotionClip, fps: float, amplitude: float = 1.0) -> Sequence[BodyParams]:
    """Resample, scale and retarget a clip to an avatar's body.

    Raises:
        PipelineError: amplitude outside 0..1.5, or too long a video.
    """
    from pipeline.motion import resample, retarget

    if clip.duration * fps > MAX_FRAMES:
        raise PipelineError(f"The motion lasts {clip.duration:.0f} s; cut it to {MAX_FRAMES / fps:.0f} s.")
    return retarget(resample(clip, fps), avatar.body, avatar.params, amplitude=amplitude, camera=avatar.camera)
