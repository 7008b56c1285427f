"""From an avatar and a motion to a video: framing, posing, drawing, encoding."""

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from pipeline import animation
from pipeline.animation import Encoder, View, animate, animate_steps, draw_frames, frame_photo
from pipeline.media import VideoReader
from pipeline.motion import get_motion
from pipeline.motion.clips import save_clip
from pipeline.puppet import Puppet
from pipeline.types import PipelineError

ROOT = Path(__file__).resolve().parent.parent
SMALL = View(size=(144, 256), fps=10)


@pytest.fixture(scope="module")
def clip():
    """One second of an authored motion."""
    motion = get_motion("explaining")
    frames = slice(0, round(motion.fps))
    arrays = {k: v[frames] for k, v in vars(motion).items() if isinstance(v, np.ndarray)}
    return motion.replace(**arrays)


def shown(path):
    with VideoReader(path) as reader:
        return np.stack(list(reader)), reader.info


def moved_params(doll):
    """A pose in which everything moves, face included."""
    rng = np.random.default_rng(1)
    return doll.params.replace(
        expression=rng.uniform(0, 1, doll.params.expression.shape).astype(np.float32),
        body_pose=(doll.params.body_pose + rng.normal(0, 0.2, (21, 3))).astype(np.float32),
        jaw_pose=np.array([0.2, 0, 0], np.float32),
        transl=np.array([0.1, 0.0, -0.3], np.float32),
    )


@pytest.mark.parametrize("moved", [False, True])
def test_puppet_draws_as_the_rasteriser_does(doll, moved):
    import torch

    from pipeline.render import rasterize_gaussians

    params = moved_params(doll) if moved else doll.params
    drawn = Puppet(doll).draw(params, doll.camera, np.full((256, 144, 3), 255, np.uint8))
    out = rasterize_gaussians(*doll.pose(params), doll.camera, background=torch.ones(3))
    difference = np.abs(drawn / 255 - out.image.numpy())
    assert difference.mean() < 0.6 / 255 and np.percentile(difference, 99.5) < 3 / 255
    image, alpha = Puppet(doll).layers(params, doll.camera)
    assert np.abs(alpha - out.alpha.numpy()).mean() < 1e-3
    assert np.abs(image + 1 - alpha[..., None] - out.image.numpy()).mean() < 1e-3


def test_frames_drawn_side_by_side_are_those_drawn_one_by_one(doll):
    poses = [doll.params, moved_params(doll), doll.params.replace(transl=np.array([0.1, 0, 0], np.float32))] * 3
    views = [(params, doll.camera.orbited(5 * i, 0, np.zeros(3))) for i, params in enumerate(poses)]
    puppet, wall = Puppet(doll), np.full((256, 144, 3), 90, np.uint8)
    together = list(puppet.draw_all(iter(views), wall))
    assert len(together) == len(views)
    for view, frame in zip(views, together, strict=True):
        assert np.array_equal(puppet.draw(*view, wall), frame)
    begun = puppet.draw_all(iter(views), None)
    assert next(begun).shape == (256, 144, 4)
    begun.close()  # a video that is stopped between frames


def test_transparent_frames_are_straight(doll):
    puppet = Puppet(doll)
    rgba = puppet.draw(doll.params, doll.camera, None)
    green = puppet.draw(doll.params, doll.camera, np.full((256, 144, 3), (0, 255, 0), np.uint8))
    alpha = rgba[..., 3:] / 255
    assert rgba.shape == (256, 144, 4) and 0.05 < alpha.mean() < 0.9
    assert np.abs(rgba[..., :3] * alpha + (1 - alpha) * (0, 255, 0) - green).max() < 4


def test_video_has_the_motion_the_size_and_the_rate(doll, clip, tmp_path):
    stages = []
    video = animate(doll, clip, tmp_path / "o.mp4", view=SMALL, progress=lambda stage, share: stages.append(share))
    frames, info = shown(tmp_path / "o.mp4")
    assert frames.shape == (10, 256, 144, 3) and info.fps == pytest.approx(10)
    assert video.frames == 10 and video.seconds == 1 and video.size == (144, 256) and video.to_json()["frames"] == 10
    assert stages[-1] == 1 and stages == sorted(stages)
    assert np.abs(frames[0].astype(int) - frames[-1]).mean() > 0.1, "nothing moves"


def test_backgrounds(doll, clip, tmp_path):
    import dataclasses

    corners = {}
    for kind in ("photo", "#204080"):
        animate(doll, clip, tmp_path / "o.mp4", view=dataclasses.replace(SMALL, background=kind))
        corners[kind] = shown(tmp_path / "o.mp4")[0][0, :12, :12].astype(int)
    assert np.abs(corners["#204080"] - (0x20, 0x40, 0x80)).max() < 8
    assert corners["photo"].std() > 20, "the photo's background is noise in this test"
    video = animate(doll, clip, tmp_path / "frames", view=dataclasses.replace(SMALL, background="transparent"))
    assert len(list(video.path.glob("*.png"))) == 10


def test_amplitude_zero_stands_still(doll, clip):
    poses = animation.pose_sequence(doll, clip, 10, amplitude=0.0)
    arms = np.stack([p.body_pose for p in poses])
    assert np.abs(arms - arms[0]).max() < 0.02


@pytest.mark.parametrize("size", [(144, 256), (288, 512), (256, 256), (320, 180), (100, 300)])
def test_framing_fills_every_shape_without_bars(doll, size):
    framing = frame_photo(doll, size)
    assert (framing.camera.width, framing.camera.height) == size
    assert framing.background.shape == (size[1], size[0], 3)
    fx, fy = framing.camera.K[0, 0], framing.camera.K[1, 1]
    assert fx == pytest.approx(fy, rel=0.01), "the picture is stretched"
    assert 0 <= framing.camera.K[0, 2] <= size[0]
    head = doll.pose(doll.params)[0].numpy()
    pixels, _ = framing.camera.project(head[head[:, 1] > np.percentile(head[:, 1], 99.5)])
    if size[0] / size[1] >= 9 / 16:
        assert pixels[:, 1].min() > -0.02 * size[1], "the head is cut off"


def test_same_shape_is_the_photos_own_view(doll):
    framing = frame_photo(doll, (144, 256))
    assert np.allclose(framing.camera.K, doll.camera.K) and np.array_equal(framing.background, doll.background)


def test_yaw_shows_the_other_side(doll):
    frames = {yaw: next(draw_frames(doll, [doll.params], View(yaw=yaw, background="#000000", size=(144, 256))))
              for yaw in (-30.0, 0.0, 30.0)}  # fmt: skip
    assert np.abs(frames[30.0].astype(int) - frames[-30.0]).mean() > 2
    centers = {yaw: np.argwhere(frame.max(2) > 40).mean(0) for yaw, frame in frames.items()}
    assert abs(centers[30.0] - centers[0.0]).max() < 12, "the person leaves the middle"


def test_orbit_swings_about_yaw():
    view = View(yaw=5, orbit=20)
    angles = [view.yaw_at(t / 10) for t in range(81)]
    assert angles[0] == 5 and max(angles) == pytest.approx(25) and min(angles) == pytest.approx(-15)


def test_stopping_leaves_nothing(doll, clip, tmp_path):
    steps = animate_steps(doll, clip, tmp_path / "o.mp4", view=SMALL)
    next(steps)
    steps.close()
    assert list(tmp_path.iterdir()) == []
    assert not [t for t in threading.enumerate() if t.name == "encoder"]


FULL_DISK = """
import resource, sys
from pathlib import Path

from pipeline.animation import View, animate
from pipeline.api import load_avatar
from pipeline.motion.clips import load_clip
from pipeline.types import PipelineError

kept, clip, out = (Path(argument) for argument in sys.argv[1:])
avatar, motion = load_avatar(kept), load_clip(clip)
animate(avatar, motion, out.parent / "compiled.mp4", view=View(size=(144, 256), fps=10))
resource.setrlimit(resource.RLIMIT_FSIZE, (8192, resource.RLIM_INFINITY))
for work in (
    lambda: animate(avatar, motion, out / "o.mp4", view=View(size=(144, 256), fps=10)),
    lambda: animate(avatar, motion, out / "frames", view=View(size=(144, 256), fps=10)),
    lambda: avatar.save(out / "me"),
):
    try:
        work()
        print("written")
    except PipelineError as error:
        print(error, "| left:", [path.name for path in out.iterdir()])
"""


def test_a_full_disk_ends_in_a_sentence_and_leaves_nothing(doll, clip, tmp_path):
    """In a process of its own, where no file may grow beyond 8 kB: the limit would hit the test runner's log too."""
    pytest.importorskip("resource", reason="needs limits on file sizes")
    (out := tmp_path / "out").mkdir()
    doll.save(tmp_path / "doll.avatar")
    save_clip(clip, tmp_path / "clip.npz")
    argv = [sys.executable, "-c", FULL_DISK, str(tmp_path / "doll.avatar"), str(tmp_path / "clip.npz"), str(out)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=240)
    lines = done.stdout.splitlines()
    assert len(lines) == 3, done.stdout + done.stderr
    assert all(line.endswith("| left: []") for line in lines)
    assert all("could not be written" in line or "disk is full" in line for line in lines), lines


class BrokenWriter:
    """A writer whose disk is full from the third frame on."""

    def __init__(self):
        self.frames = 0

    def write(self, frame):
        self.frames += 1
        if self.frames > 2:
            raise PipelineError("The disk is full.")


def test_errors_of_the_encoder_arrive():
    with pytest.raises(PipelineError, match="disk is full"), Encoder(BrokenWriter(), ahead=2) as encoder:
        for _ in range(50):
            encoder.write(np.zeros((2, 2, 3), np.uint8))
    assert not [t for t in threading.enumerate() if t.name == "encoder"]
