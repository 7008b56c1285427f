"""Videos in and out through the ffmpeg program that the imageio-ffmpeg package carries.

Frames travel through pipes one by one, so that a long video never fills the memory. No shell is involved; the readers
that ffmpeg may use are limited to plain local container files.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

from pipeline.types import Array, PipelineError

MAX_BYTES = 2_000_000_000
MAX_SECONDS = 120.0
MAX_FPS = 60.0
CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,ogg,asf,m4v,gif,wav,mp3,aac,flac"
INPUT_OPTIONS = ("-protocol_whitelist", "file,pipe", "-format_whitelist", CONTAINERS)
SIDECAR = ".c2pa"
NO_VIDEO = "The file holds no video that can be read; use an MP4, MOV, MKV or WebM video."


@dataclass(frozen=True)
class VideoInfo:
    """What a video is.

    Attributes:
        fps: frames per second that are delivered (constant, whatever the file's own timing).
        width, height: of the delivered frames, upright.
        frames: expected number of delivered frames; the count in the file's header can be off by one or two.
        duration: seconds, after the bound on the length.
        source_fps: average rate of the file.
    """

    fps: float
    width: int
    height: int
    frames: int
    duration: float
    source_fps: float


def ffmpeg_path() -> str:
    """The ffmpeg program.

    Raises:
        PipelineError: when the imageio-ffmpeg package brings none for this platform, or ``IMAGEIO_FFMPEG_EXE`` names
            none.
    """
    import imageio_ffmpeg

    try:
        path = imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise PipelineError("No ffmpeg program was found; run 'pip install imageio-ffmpeg' again.") from error
    if shutil.which(path) is None:
        raise PipelineError("IMAGEIO_FFMPEG_EXE names no program; unset it or set it to the path of ffmpeg.")
    return path


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no message"


def _probe_text(path: Path) -> str:
    """What ffmpeg prints about a file, with the packets of its first real video stream counted."""
    command = [ffmpeg_path(), "-nostdin", "-hide_banner", *INPUT_OPTIONS, "-i", f"file:{path}"]
    command += ["-map", "0:V:0", "-c", "copy", "-t", str(MAX_SECONDS * 2), "-f", "null", "-"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    except subprocess.TimeoutExpired as error:
        raise PipelineError("The video takes too long to read; use a shorter or repaired one.") from error
    return done.stderr.decode("utf-8", "replace")


def _seconds(clock: str) -> float:
    hours, minutes, seconds = clock.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def _timing(text: str) -> tuple[float, float]:
    """(fps, duration in seconds) from ffmpeg's text; 0 where it does not say."""
    stream = re.search(r"Stream #0:\d+.*?: Video:.*", text)
    rate = re.search(r"([\d.]+)(k?) fps", stream[0]) if stream else None
    fps = float(rate[1]) * (1000 if rate[2] else 1) if rate else 0.0
    counted = re.findall(r"frame=\s*(\d+).*?time=([\d:.]+)", text)
    header = re.search(r"Duration: ([\d:.]+)", text)
    packets = int(counted[-1][0]) if counted else 0
    duration = _seconds(header[1]) if header else (_seconds(counted[-1][1]) if counted else 0.0)
    if not fps and duration:
        fps = packets / duration
    if fps and packets and duration > 3 * (packets + 1) / fps:  # a long sound track under a short picture
        duration = packets / fps
    return fps, duration


class VideoReader:
    """The frames of a video, upright, at a constant rate.

    Use as an iterator (each ``iter`` starts anew) inside a ``with`` block or not; ffmpeg stops when the loop is left.

    Args:
        path: a local video file.
        max_seconds: what comes later is not read.
        fps: rate of the delivered frames; None keeps the file's average rate (at most 60). Files with a variable rate
            are resampled.
        max_side: larger frames are shrunk to this long side.
        start: seconds that are skipped at the beginning.

    Raises:
        PipelineError: when there is no such file, or no readable frame in it.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_seconds: float = MAX_SECONDS,
        fps: float | None = None,
        max_side: int = 1920,
        start: float = 0.0,
    ) -> None:
        self.path = Path(path)
        self._max_side = max_side
        self._start = start
        self._max_seconds = max_seconds
        _check_file(self.path)
        text = _probe_text(self.path)
        source_fps, duration = _timing(text)
        self._rate = float(min(fps or source_fps or 25.0, MAX_FPS))
        first = next(iter(self._frames(limit=1)), None)
        if first is None:
            raise PipelineError(_why_no_frame(text))
        duration = min(max(duration - start, 0.0) or 1 / self._rate, max_seconds)
        self.info = VideoInfo(
            fps=self._rate,
            width=first.shape[1],
            height=first.shape[0],
            frames=max(1, round(duration * self._rate)),
            duration=duration,
            source_fps=source_fps or self._rate,
        )

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *exception: object) -> None:
        return None

    def __iter__(self) -> Iterator[Array]:
        return self._frames()

    def _command(self, limit: int | None) -> list[str]:
        side = self._max_side
        shrink = f"scale=w='min(iw,{side})':h='min(ih,{side})':force_original_aspect_ratio=decrease"
        command = [ffmpeg_path(), "-nostdin", "-v", "error", *INPUT_OPTIONS, "-threads", "2"]
        command += [*(["-ss", f"{self._start:.6f}"] if self._start else []), "-i", f"file:{self.path}"]
        command += ["-map", "0:V:0", "-t", f"{self._max_seconds:.3f}", "-vf", f"fps={self._rate:.6f},{shrink}"]
        if limit is not None:
            command += ["-frames:v", str(limit)]
        return [*command, "-f", "image2pipe", "-c:v", "ppm", "-pix_fmt", "rgb24", "pipe:1"]

    def _frames(self, limit: int | None = None) -> Iterator[Array]:
        """Yield (H, W, 3) uint8 RGB. Each frame carries its own size (PPM), so nothing is guessed."""
        with tempfile.TemporaryFile() as messages:
            process = subprocess.Popen(
                self._command(limit), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=messages
            )
            assert process.stdout is not None
            try:
                while (frame := _read_ppm(process.stdout)) is not None:
                    yield frame
            finally:
                process.stdout.close()
                process.kill()
                process.wait()


def read_video(
    path: str | os.PathLike[str], max_seconds: float = MAX_SECONDS, fps: float | None = None, max_side: int = 1920
) -> tuple[Iterator[Array], VideoInfo]:
    """Open a video: an iterator of (H, W, 3) uint8 RGB frames, and what it is. See :class:`VideoReader`."""
    reader = VideoReader(path, max_seconds=max_seconds, fps=fps, max_side=max_side)
    return iter(reader), reader.info


def _check_file(path: Path) -> None:
    if not path.exists():
        raise PipelineError(f"There is no file '{path}'; check the path of the video.")
    if not path.is_file():
        raise PipelineError(f"'{path}' is not a file; give the path of one video.")
    size = path.stat().st_size
    if size == 0:
        raise PipelineError("The video file is empty; record or download it again.")
    if size > MAX_BYTES:
        raise PipelineError(f"The video is larger than {MAX_BYTES // 10**9} GB; use a shorter one.")


def _why_no_frame(text: str) -> str:
    if "Permission denied" in text:
        return "The video cannot be read; check its permissions."
    pictures = re.findall(r"Stream #0:\d+.*?: Video:.*", text)
    moving = [line for line in pictures if "attached pic" not in line]
    if not moving and (pictures or re.search(r"Stream #0:\d+.*?: Audio:", text)):
        return "The file holds only sound and no video; use a video that shows the person."
    if moving:
        return "The video has no frames that can be decoded; record or download it again."
    return NO_VIDEO


def _read_exactly(stream: IO[bytes], size: int) -> bytearray | None:
    """``size`` bytes, or None at the end of the stream."""
    data = bytearray(size)
    view, filled = memoryview(data), 0
    while filled < size:
        count = stream.readinto(view[filled:])  # type: ignore[attr-defined]
        if not count:
            return None
        filled += count
    return data


def _read_ppm(stream: IO[bytes]) -> Array | None:
    """One binary PPM picture from a pipe, or None at its end."""
    if stream.readline(8).strip() != b"P6":
        return None
    width, height = (int(n) for n in stream.readline(64).split())
    if stream.readline(8).strip() != b"255":
        return None
    data = _read_exactly(stream, width * height * 3)
    return None if data is None else np.frombuffer(data, np.uint8).reshape(height, width, 3)


class VideoWriter:
    """Write frames one by one; the kind of file follows from the name.

    ``.mp4``: H.264, yuv420p, index in front (plays everywhere while loading). ``.webm``: VP9, with transparency when
    ``alpha``. No suffix: a folder of PNG pictures ``frame_00000.png`` ... Odd sizes are padded by repeating the last
    row or column. The file appears under its name only when all is written; on an error nothing is left behind.

    Args:
        path: where to. fps: frames per second. size: (width, height) of the frames.
        alpha: frames are (H, W, 4) and keep their transparency (WebM and PNG only).
        crf: quality of the encoder, smaller is better.
        audio: a sound file to go with it, cut to the length of the pictures (MP4 and WebM only).
        seal: called with the finished file or folder before it gets its name, to sign it; what it leaves beside a
            file as ``<file>.c2pa`` goes along.

    Raises:
        PipelineError: for a name or size that cannot be written, a full disk, a folder that is not writable.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        fps: float,
        size: tuple[int, int],
        *,
        alpha: bool = False,
        crf: int = 18,
        audio: str | os.PathLike[str] | None = None,
        seal: Callable[[Path], None] | None = None,
    ) -> None:
        self.path = Path(path)
        self._seal = seal
        self.frames = 0
        self._kind = {".mp4": "mp4", ".webm": "webm", "": "png"}.get(self.path.suffix.lower(), "")
        if not self._kind:
            raise PipelineError(f"Cannot write '{self.path.name}'; give a name that ends in .mp4 or .webm.")
        if alpha and self._kind == "mp4":
            raise PipelineError("An MP4 video cannot be transparent; give a name that ends in .webm.")
        if not (math.isfinite(fps) and 0 < fps <= 240) or min(size) < 2 or max(size) > 8192:
            raise PipelineError(f"Cannot write a video of {size[0]}x{size[1]} pixels at {fps:g} frames per second.")
        self._size, self._alpha, self._fps = size, alpha, fps
        if self._kind != "png":
            ffmpeg_path()  # before anything is reserved
        self._temporary = self._reserve()
        self._messages: IO[bytes] = tempfile.TemporaryFile()
        self._process: subprocess.Popen[bytes] | None = None
        if self._kind != "png":
            command = self._command(crf, None if audio is None else Path(audio))
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self._messages, start_new_session=True
            )

    def _reserve(self) -> Path:
        """A temporary sibling: a file for ffmpeg, a folder for pictures."""
        folder = self.path.absolute().parent
        if self._kind == "png" and self.path.is_dir() and any(not _is_frame(p) for p in self.path.iterdir()):
            raise PipelineError(f"The folder '{self.path}' holds other files; choose a new or empty folder.")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if self._kind == "png":
                return Path(tempfile.mkdtemp(prefix=f".{self.path.name}-", dir=folder))
            handle, name = tempfile.mkstemp(prefix=f".{self.path.stem}-", suffix=self.path.suffix, dir=folder)
            os.close(handle)
            return Path(name)
        except OSError as error:
            raise PipelineError(f"Cannot write to '{folder}': {error.strerror}; choose another folder.") from error

    def _command(self, crf: int, audio: Path | None) -> list[str]:
        width, height = self._size
        pixels = "rgba" if self._alpha else "rgb24"
        command = [ffmpeg_path(), "-nostdin", "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", pixels]
        command += ["-s", f"{width}x{height}", "-r", f"{self._fps:g}", "-i", "pipe:0"]
        if audio is not None:
            command += [*INPUT_OPTIONS, "-i", f"file:{audio.absolute()}", "-map", "0:v", "-map", "1:a:0", "-shortest"]
        command += ["-vf", f"{_pad_filter(width, height)}scale=out_color_matrix=bt709:out_range=tv"]
        command += ["-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv"]
        if self._kind == "mp4":
            command += ["-c:v", "libx264", "-preset", "veryfast", "-crf", str(crf), "-pix_fmt", "yuv420p"]
            command += ["-threads", "2", "-movflags", "+faststart", "-c:a", "aac", "-b:a", "160k", "-f", "mp4"]
        else:
            pixels = "yuva420p" if self._alpha else "yuv420p"
            command += ["-c:v", "libvpx-vp9", "-crf", str(crf + 6), "-b:v", "0", "-pix_fmt", pixels, "-threads", "2"]
            command += ["-deadline", "realtime", "-cpu-used", "6", "-row-mt", "1", "-auto-alt-ref", "0"]
            command += ["-c:a", "libopus", "-f", "webm"]
        return [*command, str(self._temporary)]

    def write(self, frame: Array) -> None:
        """Add one frame, (H, W, 3) or with ``alpha`` (H, W, 4), uint8 or float in 0..1.

        Raises:
            ValueError: for a frame of another shape.
            PipelineError: when it cannot be stored.
        """
        from pipeline.media import to_uint8

        expected = (self._size[1], self._size[0], 4 if self._alpha else 3)
        if frame.shape != expected:
            raise ValueError(f"The frame has shape {frame.shape}, expected {expected}.")
        pixels = np.ascontiguousarray(to_uint8(frame))
        try:
            if self._process is None:
                _write_png(self._temporary / f"frame_{self.frames:05d}.png", pixels)
            else:
                assert self._process.stdin is not None
                self._process.stdin.write(pixels.data)
        except OSError as error:
            raise self._failure(error) from error
        self.frames += 1

    def _failure(self, error: OSError | None = None) -> PipelineError:
        """Clean up and say why."""
        self.abort()
        self._messages.seek(0)
        said = self._messages.read().decode("utf-8", "replace")
        full = "No space left" in said or (error is not None and error.errno == errno.ENOSPC)
        if full or (not said.strip() and _is_full(self.path.absolute().parent)):
            return PipelineError(f"The disk is full; free some space and write '{self.path.name}' again.")
        if "matches no streams" in said or "Invalid data found" in said:
            return PipelineError("The sound file cannot be read; use a WAV, MP3, M4A or FLAC file.")
        reason = _last_line(said) if said.strip() else str(error or "the encoder failed")
        return PipelineError(f"The video '{self.path.name}' could not be written ({reason}); try another folder.")

    def close(self) -> None:
        """Finish the file and put it in its place.

        Raises:
            PipelineError: when no frame was written or the encoder failed.
        """
        if self.frames == 0:
            self.abort()
            raise PipelineError(f"No frame was written to '{self.path.name}'; the motion is empty, choose another one.")
        try:
            if self._process is not None and self._process.stdin is not None:
                self._process.stdin.close()
                if self._process.wait() != 0:
                    raise self._failure()
            if self._seal is not None:
                self._seal(self._temporary)
            self._publish()
        except OSError as error:
            raise self._failure(error) from error
        except PipelineError:
            self.abort()
            raise

    def _publish(self) -> None:
        os.chmod(self._temporary, 0o755 if self._kind == "png" else 0o644)
        if self._kind == "png" and self.path.is_dir():
            replaced = Path(tempfile.mkdtemp(prefix=f".{self.path.name}-old-", dir=self.path.absolute().parent))
            os.replace(self.path, replaced)
            os.replace(self._temporary, self.path)
            shutil.rmtree(replaced, ignore_errors=True)
        else:
            sidecar, beside = (p.with_name(p.name + SIDECAR) for p in (self._temporary, self.path))
            beside.unlink(missing_ok=True)  # it would be that of another video
            os.replace(self._temporary, self.path)
            if sidecar.exists():
                os.replace(sidecar, beside)

    def abort(self) -> None:
        """Stop and leave nothing behind; safe to call at any time."""
        if self._process is not None:
            self._process.kill()
            with contextlib.suppress(OSError):
                self._process.communicate()
        if self._temporary.is_dir():
            shutil.rmtree(self._temporary, ignore_errors=True)
        else:
            for path in (self._temporary, self._temporary.with_name(self._temporary.name + SIDECAR)):
                path.unlink(missing_ok=True)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.close()
            else:
                self.abort()
        finally:
            self._messages.close()


def _is_full(folder: Path) -> bool:
    """Too full for the encoder to say so: its messages may lie on the same disk."""
    with contextlib.suppress(OSError):
        return shutil.disk_usage(folder).free < 1 << 20
    return False


def _is_frame(path: Path) -> bool:
    return re.fullmatch(r"frame_\d{5,}\.png|SHA256SUMS(\.c2pa)?", path.name) is not None


def _pad_filter(width: int, height: int) -> str:
    """An ffmpeg filter that repeats the last column or row of odd sizes, or nothing."""
    if width % 2 == 0 and height % 2 == 0:
        return ""
    even = f"{width + width % 2}:{height + height % 2}"
    return f"pad={even},fillborders=right={width % 2}:bottom={height % 2}:mode=smear,"


def _write_png(path: Path, pixels: Array) -> None:
    import cv2

    code: Any = cv2.COLOR_RGBA2BGRA if pixels.shape[2] == 4 else cv2.COLOR_RGB2BGR
    ok, data = cv2.imencode(".png", cv2.cvtColor(pixels, code), [cv2.IMWRITE_PNG_COMPRESSION, 3])
    if not ok:
        raise OSError("the picture could not be encoded")
    path.write_bytes(data.tobytes())
