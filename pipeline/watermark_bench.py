"""How well the invisible mark survives, and that it is not seen where it is not.

``python -m pipeline.watermark_bench survive AVATAR`` renders an avatar, marks it, and treats the video badly.
``python -m pipeline.watermark_bench unmarked FOLDER --clips 1000`` looks for the mark in clips cut from the videos of a
folder, and in made-up textures. Both print Markdown tables; the tables of ``docs/provenance.md`` are theirs.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pipeline.types import Array, PipelineError
from pipeline.video import VideoReader, VideoWriter, ffmpeg_path
from pipeline.watermark import PUBLIC_KEY, Detection, Marker, detect, spread

PAYLOAD = 0xBEEF
SMALLER = "scale=trunc(iw*0.375)*2:trunc(ih*0.375)*2"
CROP = "crop=trunc(iw*0.45)*2:trunc(ih*0.45)*2:iw*0.03:ih*0.07"
TREATMENTS: dict[str, tuple[str, ...]] = {
    "as written (crf 18)": (),
    "x264 crf 18": ("-crf", "18"),
    "x264 crf 23": ("-crf", "23"),
    "x264 crf 28": ("-crf", "28"),
    "x264 crf 33": ("-crf", "33"),
    "0.75x, crf 23": ("-vf", SMALLER, "-crf", "23"),
    "0.75x, crf 28": ("-vf", SMALLER, "-crf", "28"),
    "0.5x, crf 23": ("-vf", "scale=trunc(iw*0.25)*2:trunc(ih*0.25)*2", "-crf", "23"),
    "cropped by 10 % a side length, crf 23": ("-vf", CROP, "-crf", "23"),
    "cropped, 0.75x, crf 28": ("-vf", f"{CROP},{SMALLER}", "-crf", "28"),
    "15 frames per second, crf 23": ("-vf", "fps=15", "-crf", "23"),
    "mirrored, crf 23": ("-vf", "hflip", "-crf", "23"),
    "brighter, more contrast, crf 23": ("-vf", "eq=brightness=0.06:contrast=1.2", "-crf", "23"),
    "turned by 2 degrees, crf 23": ("-vf", "rotate=2*PI/180", "-crf", "23"),
}


def psnr(a: Array, b: Array) -> float:
    """Peak signal to noise ratio of two 8 bit pictures in dB."""
    return float(10 * np.log10(255**2 / np.mean((a.astype(np.float32) - b) ** 2)))


def look(path: Path) -> Detection:
    """Detect the bench's mark in a video file."""
    with VideoReader(path) as reader:
        return detect(spread(reader, reader.info.frames), PUBLIC_KEY)


def treat(video: Path, arguments: tuple[str, ...], out: Path) -> Path:
    """Encode a video anew with x264, as another program would."""
    command = [ffmpeg_path(), "-nostdin", "-v", "error", "-y", "-i", str(video), *arguments, "-preset", "medium"]
    subprocess.run([*command, "-c:v", "libx264", "-pix_fmt", "yuv420p", str(out)], check=True)
    return out


def survive(frames: Array, fps: float = 30.0) -> Iterator[tuple[str, Detection]]:
    """Mark (F, H, W, 3) uint8 frames and yield what is found after each treatment."""
    height, width = frames.shape[1:3]
    marker = Marker(PUBLIC_KEY, PAYLOAD, (width, height))
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "marked.mp4"
        with VideoWriter(video, fps, (width, height)) as writer:
            for frame in frames:
                writer.write(marker.mark(frame))
        for name, arguments in TREATMENTS.items():
            yield name, look(treat(video, arguments, Path(folder) / "treated.mp4") if arguments else video)


def cost(frames: Array) -> tuple[float, float]:
    """(PSNR in dB of marked against plain frames, milliseconds of CPU time per frame)."""
    marker = Marker(PUBLIC_KEY, PAYLOAD, (frames.shape[2], frames.shape[1]))
    marker.mark(frames[0])
    started = time.process_time()
    marked = [marker.mark(frame) for frame in frames]
    spent = time.process_time() - started
    quality = float(np.mean([psnr(a, b) for a, b in zip(frames[::10], marked[::10], strict=True)]))
    return quality, 1000 * spent / len(frames)


def clips_of_videos(folder: Path, count: int, rng: np.random.Generator) -> Iterator[tuple[str, list[Array]]]:
    """About ``count`` clips of 4 frames, cut at random in time and place and resized, evenly from all videos."""
    videos = sorted(p for p in folder.rglob("*") if p.suffix in {".mp4", ".mkv", ".webm", ".mov"})
    if not videos:
        raise PipelineError(f"There are no videos in {folder}; give a folder that holds some.")
    each = -(-count // len(videos))
    for video in videos:
        with VideoReader(video, max_seconds=8, fps=4, max_side=960) as reader:
            frames = list(reader)
        for _ in range(each):
            yield video.name, _cut(frames, rng)


def _cut(frames: list[Array], rng: np.random.Generator) -> list[Array]:
    import cv2

    first = int(rng.integers(0, max(1, len(frames) - 3)))
    height, width = frames[0].shape[:2]
    share = rng.uniform(0.5, 1.0)
    h, w = int(height * share), int(width * share)
    y, x = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
    factor = rng.uniform(0.6, 1.0) * min(1.0, 384 / max(h, w))
    size = (max(64, round(w * factor)), max(64, round(h * factor)))
    return [cv2.resize(f[y : y + h, x : x + w], size, interpolation=cv2.INTER_AREA) for f in frames[first : first + 4]]


def textures(count: int, rng: np.random.Generator) -> Iterator[tuple[str, list[Array]]]:
    """``count`` made-up clips: white noise, 1/f noise, gratings and chequers, also of the mark's periods."""
    for i in range(count):
        kind = ("white noise", "1/f noise", "grating", "chequers")[i % 4]
        yield kind, _texture(kind, rng)


def _texture(kind: str, rng: np.random.Generator) -> list[Array]:
    h, w = 320, 240
    y, x = np.mgrid[:h, :w]
    if kind == "white noise":
        plane = rng.normal(0, 1, (h, w))
    elif kind == "1/f noise":
        radius = np.hypot(np.fft.fftfreq(h)[:, None], np.fft.rfftfreq(w)[None]) + 1 / h
        plane = np.fft.irfft2(np.fft.rfft2(rng.normal(0, 1, (h, w))) / radius ** rng.uniform(0.5, 2), (h, w))
    else:
        period, angle = rng.choice([8, 16, 32, 64, 256, rng.uniform(6, 90)]), rng.uniform(0, np.pi)
        a, b = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        wave = np.sin(2 * np.pi * a / period)
        plane = wave if kind == "grating" else np.sign(wave * np.sin(2 * np.pi * b / period))
    plane = 128 + rng.uniform(5, 60) * (plane - plane.mean()) / plane.std()
    noise = rng.normal(0, rng.uniform(0, 4), (4, h, w))
    grey = np.clip(plane + noise, 0, 255).astype(np.uint8)
    return [np.repeat(frame[..., None], 3, axis=2) for frame in grey]


def _survive(args: argparse.Namespace) -> None:
    from pipeline import api
    from pipeline.animation import View, draw_frames, pose_sequence

    avatar = api.load_avatar(args.avatar)
    for background in args.background:
        view = View(background=background, size=(576, 1024))
        poses = pose_sequence(avatar, api.load_motion(args.motion), view.fps)[: args.frames]
        frames = np.stack(list(draw_frames(avatar, poses, view)))
        quality, spent = cost(frames)
        print(f"\nBackground {background}, {len(frames)} frames: PSNR {quality:.1f} dB, {spent:.2f} ms a frame.\n")
        print("| treatment | score | p-value | found | payload |\n|---|---|---|---|---|")
        for name, d in survive(frames):
            payload = "right" if d.payload == PAYLOAD else "not read" if d.payload is None else "WRONG"
            found = "yes" if d.found else "no"
            print(f"| {name} | {d.score:.1f} | {d.p_value:.0e} | {found} | {payload} |", flush=True)
        print(f"\nThreshold: score {d.threshold:.2f}.")


def _unmarked(args: argparse.Namespace) -> None:
    rng = np.random.default_rng(args.seed)
    made_up = args.clips // 5
    results: dict[str, list[Detection]] = {}
    for source, clips in (
        ("videos", clips_of_videos(args.folder, args.clips - made_up, rng)),
        ("textures", textures(made_up, rng)),
    ):
        for name, frames in clips:
            found = detect(frames, PUBLIC_KEY)
            results.setdefault(source, []).append(found)
            print(f"\r{sum(map(len, results.values()))} clips", end="", file=sys.stderr, flush=True)
            if found.found:
                print(f"false positive: {name}, score {found.score:.2f}", flush=True)
    print("| unmarked | clips | highest score | threshold | lowest p-value | found |\n|---|---|---|---|---|---|")
    for source, all_found in results.items():
        top = max(all_found, key=lambda d: d.score)
        lowest, found = min(d.p_value for d in all_found), sum(d.found for d in all_found)
        print(f"| {source} | {len(all_found)} | {top.score:.2f} | {top.threshold:.2f} | {lowest:.1g} | {found} |")


def main() -> int:
    """Run one of the two measurements."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.watermark_bench", description=__doc__)
    commands = parser.add_subparsers(required=True)
    p = commands.add_parser("survive")
    p.add_argument("avatar", type=Path)
    p.add_argument("--motion", default="explaining")
    p.add_argument("--frames", type=int, default=90)
    p.add_argument("--background", nargs="+", default=["photo", "#f4f4f6"])
    p.set_defaults(run=_survive)
    p = commands.add_parser("unmarked")
    p.add_argument("folder", type=Path)
    p.add_argument("--clips", type=int, default=1000)
    p.add_argument("--seed", type=int, default=0, help="of the cuts and textures; several runs may go side by side")
    p.set_defaults(run=_unmarked)
    args = parser.parse_args()
    args.run(args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
