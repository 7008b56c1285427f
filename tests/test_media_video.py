"""Videos in and out: sizes, rates, rotation, transparency, sound, and every way to fail cleanly."""

from __future__ import annotations

import errno
import subprocess
import wave
from pathlib import Path

import numpy as np
import pytest

from pipeline.media import VideoReader, VideoWriter, read_video
from pipeline.types import PipelineError
from pipeline.video import ffmpeg_path


def gradient(width: int, height: int, shade: float) -> np.ndarray:
    """A frame that is brighter to the right and whose blue is ``shade``."""
    frame = np.zeros((height, width, 3), np.float32)
    frame[..., 0] = np.linspace(0.1, 0.9, width)
    frame[..., 1] = 0.4
    frame[..., 2] = shade
    return frame


def make_video(path: Path, frames: int = 12, fps: float = 24, size: tuple[int, int] = (64, 48)) -> Path:
    with VideoWriter(path, fps, size) as writer:
        for k in range(frames):
            writer.write(gradient(*size, k / max(frames - 1, 1)))
    return path


def ffmpeg(*arguments: str) -> None:
    subprocess.run([ffmpeg_path(), "-nostdin", "-v", "error", "-y", *arguments], check=True, capture_output=True)


def make_sound(path: Path, seconds: float = 1.0) -> Path:
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16000)
        t = np.arange(int(16000 * seconds)) / 16000
        out.writeframes((8000 * np.sin(2 * np.pi * 440 * t)).astype("<i2").tobytes())
    return path


def fails(message: str, path: Path) -> None:
    with pytest.raises(PipelineError, match=message) as caught:
        list(VideoReader(path))
    assert str(caught.value).endswith(".")


def streams(path: Path) -> str:
    command = [ffmpeg_path(), "-hide_banner", "-i", str(path)]
    return subprocess.run(command, capture_output=True, check=False).stderr.decode()


def test_mp4_round_trip(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4")
    reader = VideoReader(path)
    assert (reader.info.width, reader.info.height, reader.info.fps) == (64, 48, 24)
    frames = list(reader)
    assert len(frames) == reader.info.frames == 12 and reader.info.duration == pytest.approx(0.5, abs=0.05)
    assert frames[0].dtype == np.uint8 and frames[0].shape == (48, 64, 3)
    for k in (0, 6, 11):
        assert np.abs(frames[k] / 255 - gradient(64, 48, k / 11)).mean() < 0.02
    assert len(list(reader)) == 12  # a second look starts anew


def test_mp4_plays_everywhere(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4")
    text, data = streams(path), path.read_bytes()
    assert "h264" in text and "yuv420p" in text and "bt709" in text
    assert data.index(b"moov") < data.index(b"mdat")  # index in front


@pytest.mark.parametrize("size", [(65, 48), (64, 47), (33, 35)])
def test_odd_sizes_are_padded(tmp_path: Path, size: tuple[int, int]) -> None:
    info = VideoReader(make_video(tmp_path / "a.mp4", frames=2, size=size)).info
    assert (info.width, info.height) == (size[0] + size[0] % 2, size[1] + size[1] % 2)
    last = next(iter(VideoReader(tmp_path / "a.mp4")))
    assert last[:, -1].mean() > 60  # the last column is repeated, not black


def test_resampling_and_bounds(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", frames=24, fps=24, size=(128, 64))
    frames, info = read_video(path, max_seconds=0.5, fps=12, max_side=64)
    assert (info.fps, info.width, info.height, info.frames, info.source_fps) == (12, 64, 32, 6, 24)
    shades = [f[..., 2].mean() / 255 for f in frames]
    assert len(shades) == 6 and np.all(np.diff(shades) > 0)


def test_variable_rate_becomes_constant(tmp_path: Path) -> None:
    """A slow half and a fast half: frames must come at even times."""
    slow, fast, path = tmp_path / "s.mp4", tmp_path / "f.mp4", tmp_path / "v.mkv"
    make_video(slow, frames=5, fps=5)
    make_video(fast, frames=30, fps=30)
    graph = "[0:v][1:v]concat=n=2:v=1[v]"
    ffmpeg("-i", str(slow), "-i", str(fast), "-filter_complex", graph, "-map", "[v]", "-fps_mode", "vfr", str(path))
    frames = list(VideoReader(path, fps=30))
    assert abs(len(frames) - 60) <= 2
    held = [np.abs(a.astype(int) - b).mean() for a, b in zip(frames, frames[1:], strict=False)]
    assert np.count_nonzero(np.array(held[:28]) > 1) <= 5 < np.count_nonzero(np.array(held[31:]) > 0.5)


def test_rotation_is_honoured(tmp_path: Path) -> None:
    source, turned = make_video(tmp_path / "a.mp4", frames=3), tmp_path / "r.mp4"
    ffmpeg("-display_rotation", "90", "-i", str(source), "-c", "copy", str(turned))
    reader = VideoReader(turned)
    assert (reader.info.width, reader.info.height) == (48, 64)
    first = next(iter(reader))[..., 0].astype(float)
    assert abs(first[:8].mean() - first[-8:].mean()) > 100 and abs(first[:, :8].mean() - first[:, -8:].mean()) < 20


def test_leaving_early_stops_ffmpeg(tmp_path: Path) -> None:
    frames = iter(VideoReader(make_video(tmp_path / "a.mp4", frames=40)))
    next(frames)
    frames.close()  # must neither hang nor raise


def test_bad_videos(tmp_path: Path) -> None:
    fails("no file", tmp_path / "absent.mp4")
    fails("not a file", tmp_path)
    empty = tmp_path / "e.mp4"
    empty.touch()
    fails("empty", empty)
    text = tmp_path / "t.mp4"
    text.write_text("no video at all")
    fails("no video", text)
    fails("only sound", make_sound(tmp_path / "s.wav"))
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(make_video(tmp_path / "a.mp4").read_bytes()[:600])
    fails("video", cut)


def test_zero_frames(tmp_path: Path) -> None:
    path = tmp_path / "z.mp4"
    ffmpeg("-f", "lavfi", "-i", "color=s=64x64:d=1", "-frames:v", "0", "-c:v", "libx264", str(path))
    fails("frames|video", path)


def test_cover_picture_is_no_video(tmp_path: Path) -> None:
    sound, path = make_sound(tmp_path / "s.wav"), tmp_path / "m.m4a"
    cover = ("-f", "lavfi", "-i", "color=s=64x64", "-frames:v", "1")
    ffmpeg(
        "-i", str(sound), *cover, "-map", "0", "-map", "1", "-c:v", "mjpeg", "-disposition:v", "attached_pic", str(path)
    )
    fails("only sound", path)


def test_playlists_cannot_reach_other_files(tmp_path: Path) -> None:
    make_video(tmp_path / "secret.mp4")
    for name, text in (
        ("a.mp4", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.mp4\n#EXT-X-ENDLIST\n"),
        ("b.mp4", "ffconcat version 1.0\nfile secret.mp4\n"),
    ):
        (tmp_path / name).write_text(text)
        fails("no video", tmp_path / name)


def test_odd_file_names(tmp_path: Path) -> None:
    for name in ("-y a;b.mp4", "concat:x|y.mp4", "ü %03d 'q'.mp4"):
        assert len(list(VideoReader(make_video(tmp_path / name, frames=2)))) == 2


def test_transparent_webm(tmp_path: Path) -> None:
    path = tmp_path / "a.webm"
    frame = np.zeros((48, 64, 4), np.uint8)
    frame[:, 32:] = (250, 120, 10, 255)
    with VideoWriter(path, 10, (64, 48), alpha=True) as writer:
        for _ in range(3):
            writer.write(frame)
    assert "vp9" in streams(path) and "alpha_mode" in streams(path)
    raw = tmp_path / "a.rgba"
    ffmpeg("-c:v", "libvpx-vp9", "-i", str(path), "-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "rgba", str(raw))
    back = np.frombuffer(raw.read_bytes(), np.uint8).reshape(48, 64, 4)
    assert back[:, :28, 3].max() < 20 and back[:, 36:, 3].min() > 235
    assert np.abs(back[:, 40:, :3].astype(int) - (250, 120, 10)).mean() < 12


def test_png_folder(tmp_path: Path) -> None:
    from PIL import Image

    folder = tmp_path / "frames"
    for count in (3, 2):  # the second time replaces the first
        with VideoWriter(folder, 10, (8, 6), alpha=True) as writer:
            for k in range(count):
                writer.write(np.full((6, 8, 4), 50 * k, np.uint8))
        assert sorted(p.name for p in folder.iterdir()) == [f"frame_{k:05d}.png" for k in range(count)]
    assert np.array_equal(np.asarray(Image.open(folder / "frame_00001.png")), np.full((6, 8, 4), 50))
    assert [p.name for p in tmp_path.iterdir()] == ["frames"]


def test_png_folder_never_replaces_other_files(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary.txt").write_text("x")
    with pytest.raises(PipelineError, match="other files"):
        VideoWriter(tmp_path / "mine", 10, (8, 6))
    assert (tmp_path / "mine" / "diary.txt").exists()


def test_sound_is_added_and_cut(tmp_path: Path) -> None:
    path, sound = tmp_path / "a.mp4", make_sound(tmp_path / "s.wav", 3.0)
    with VideoWriter(path, 10, (64, 48), audio=sound) as writer:
        for _ in range(10):
            writer.write(np.zeros((48, 64, 3), np.uint8))
    text = streams(path)
    assert "Audio: aac" in text and len(list(VideoReader(path))) == 10
    assert VideoReader(path).info.duration == pytest.approx(1.0, abs=0.15)


def test_bad_sound(tmp_path: Path) -> None:
    (tmp_path / "s.wav").write_text("not sound")
    with (
        pytest.raises(PipelineError, match="sound"),
        VideoWriter(tmp_path / "a.mp4", 10, (64, 48), audio=tmp_path / "s.wav") as w,
    ):
        for _ in range(300):
            w.write(np.zeros((48, 64, 3), np.uint8))
    assert [p.name for p in tmp_path.iterdir()] == ["s.wav"]


@pytest.mark.parametrize("name", ["a.mp4", "a.webm", "frames"])
def test_nothing_stays_after_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(KeyboardInterrupt), VideoWriter(tmp_path / name, 10, (64, 48)) as writer:
        writer.write(np.zeros((48, 64, 3), np.uint8))
        raise KeyboardInterrupt
    with pytest.raises(ValueError, match="shape"), VideoWriter(tmp_path / name, 10, (64, 48)) as writer:
        writer.write(np.zeros((48, 65, 3), np.uint8))
    with pytest.raises(PipelineError, match="No frame"), VideoWriter(tmp_path / name, 10, (64, 48)):
        pass
    assert list(tmp_path.iterdir()) == []


def test_earlier_video_survives_a_failure(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4")
    before = path.read_bytes()
    with pytest.raises(RuntimeError), VideoWriter(path, 10, (64, 48)) as writer:
        writer.write(np.zeros((48, 64, 3), np.uint8))
        raise RuntimeError
    assert path.read_bytes() == before


def test_disk_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pipeline.video as video

    def full(path: Path, pixels: np.ndarray) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(video, "_write_png", full)
    with pytest.raises(PipelineError, match="disk is full"), VideoWriter(tmp_path / "frames", 10, (8, 6)) as writer:
        writer.write(np.zeros((6, 8, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_encoder_dies(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="could not be written"):
        with VideoWriter(tmp_path / "a.mp4", 10, (640, 480)) as writer:
            assert writer._process is not None
            writer._process.kill()
            for _ in range(20):
                writer.write(np.zeros((480, 640, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_refused_targets(tmp_path: Path) -> None:
    for name, options, message in (
        ("a.avi", {}, "ends in .mp4"),
        ("a.mp4", {"alpha": True}, "transparent"),
        ("a.mp4", {"fps": 0}, "per second"),
        ("a.mp4", {"size": (1, 1)}, "1x1"),
    ):
        arguments = {"fps": 10, "size": (64, 48), **options}
        with pytest.raises(PipelineError, match=message):
            VideoWriter(tmp_path / name, **arguments)
    (tmp_path / "file").touch()
    with pytest.raises(PipelineError, match="another folder"):
        VideoWriter(tmp_path / "file" / "a.mp4", 10, (64, 48))
