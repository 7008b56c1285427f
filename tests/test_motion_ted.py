"""Talk videos to clips: stretches, filters, score, cutting, and a build that isolates failures and goes on."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.motion import get_motion, load_clip
from pipeline.motion.edit import repeat
from pipeline.motion.ted import BuildSettings, build
from pipeline.motion.ted.build import read_facts, sha256_of
from pipeline.motion.ted.scan import SEVERAL, Scan, Stretch, find_stretches, objection
from pipeline.motion.ted.score import TrackedPiece, calm_cuts, score
from pipeline.motion.tracked import Seen
from pipeline.perceive.shots import CutDetector, find_cuts, shots
from pipeline.types import Detections, PipelineError
from pipeline.video import VideoReader


def speaker(**changes) -> Detections:
    """A frontal speaker in a 640 x 480 picture, arms in view."""
    pose = np.zeros((33, 3), np.float32)
    pose[:, 2] = 1.0
    pose[[11, 12, 13, 14, 15, 16], :2] = [(400, 200), (240, 200), (420, 300), (220, 300), (400, 380), (240, 380)]
    face = np.zeros((478, 3), np.float32)
    face[234, :2], face[454, :2], face[1, :2], face[152, :2], face[10, :2] = (
        (280, 120), (360, 120), (320, 130), (320, 170), (320, 70),
    )  # fmt: skip
    face[face[:, 1] == 0, 1] = 120
    fields = {"pose": pose, "face": face} | changes
    return Detections(np.zeros((133, 3)), fields["pose"], np.zeros((33, 3)), fields["face"], None, None)


def moved(point: int, **place) -> Detections:
    found = speaker()
    found.pose[point] = place["to"]
    return found


def turned() -> Detections:
    found = speaker()
    found.face[1, 0] = 358
    return found


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (speaker(), ""),
        (None, "nobody"),
        (speaker(face=None), "no face"),
        (turned(), "turned away"),
        (moved(13, to=(700, 300, 1)), "elbows"),
        (moved(11, to=(400, 200, 0.1)), "shoulders"),
        (moved(15, to=(400, 500, 1)), ""),
    ],
)
def test_one_speaker_in_view(found, words):
    said = objection(found, 640, 480)
    assert (words in said) if words else said == ""


def test_small_speakers_are_left_out():
    assert objection(speaker(), 640, 480) == "" and objection(speaker(), 2800, 2400) == "too small"


def test_stretches_end_at_cuts_and_objections():
    looks = [(n, "") for n in range(0, 300, 15)]
    looks[3] = (45, "no face")  # a hiccup
    looks[15:] = [(n, "nobody") for n in range(225, 300, 15)]
    found = find_stretches(looks, [120], 300, 30.0, 2.0)
    assert found == [Stretch(0, 4.0), Stretch(4.0, 7.5), Stretch(7.5, 10.0, "nobody")]
    for share, reason in ((0.3, ""), (0.8, SEVERAL)):  # a print on a shirt, two people on a stage
        crowd = [(n, SEVERAL if n < 150 * share else "") for n in range(0, 150, 15)]
        assert find_stretches(crowd, [], 150, 30.0, 0.4) == [Stretch(0, 5.0, reason)]
    assert find_stretches([(0, "")], [], 30, 30.0, 6.0)[0].reason == "too short"


def scene(seed: int, shift: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    picture = np.kron(rng.integers(0, 256, (6, 8, 3)), np.ones((20, 20, 1))).astype(np.uint8)
    return np.roll(picture, shift, axis=1)


def test_cuts_are_told_from_motion():
    video = (
        [scene(0, k) for k in range(20)] + [scene(1, k) for k in range(20)] + [scene(1, 20 + 3 * k) for k in range(9)]
    )
    assert find_cuts(video, 25.0) == [20]
    assert shots([20], 49) == [(0, 20), (20, 49)] and shots([], 3) == [(0, 3)]


def test_a_flash_is_no_shot_and_a_jump_in_one_room_is_a_cut():
    room = scene(2)
    walls = room.copy()
    walls[30:90, 40:110] = 255 - walls[30:90, 40:110] // 2
    assert find_cuts([room, scene(3), room, *[room] * 20], 25.0) == []
    detector = CutDetector(25.0)
    calm = [np.clip(room.astype(int) + k % 2, 0, 255).astype(np.uint8) for k in range(30)]
    assert all(detector.new_shot(f) is None for f in calm)
    assert detector.new_shot(walls) == 0
    assert all(detector.new_shot(walls) is None for _ in range(10))
    turned = walls.copy()
    turned[:, :40] = walls[::-1, :40]
    assert [detector.new_shot(f) for f in (turned, turned)] == [None, 1], "known one frame later"


def speaking(seed: int, frames: int) -> list[np.ndarray]:
    """A still room in which a head-sized patch moves about."""
    room, rng = cv2.GaussianBlur(scene(seed), (0, 0), 3), np.random.default_rng(seed)
    places = 60 + np.cumsum(rng.normal(0, 1.5, (frames, 2)), axis=0)
    return [cv2.circle(room.copy(), tuple(map(int, p)), 18, (200, 150, 120), -1) for p in places]


def mixed(a: list[np.ndarray], b: list[np.ndarray], start: int, frames: int) -> list[np.ndarray]:
    """The first video dissolved into the second one."""
    shares = [min(max((i - start) / frames, 0.0), 1.0) for i in range(len(a))]
    return [cv2.addWeighted(x, 1 - t, y, t, 0) for x, y, t in zip(a, b, shares, strict=True)]


@pytest.mark.parametrize("frames", [8, 15, 30, 45])
def test_dissolves_are_cut_in_their_middle(frames):
    cuts = find_cuts(mixed(speaking(4, 100), speaking(5, 100), 30, frames), 25.0)
    assert len(cuts) == 1 and abs(cuts[0] - (30 + frames / 2)) <= 0.15 * frames + 1


def wiped(a: list[np.ndarray], b: list[np.ndarray], start: int, frames: int, turn: float) -> list[np.ndarray]:
    """The second video comes in behind a straight edge that goes in the direction ``turn`` (degrees)."""
    rows, columns = np.mgrid[: a[0].shape[0], : a[0].shape[1]]
    way = np.cos(np.radians(turn)) * columns + np.sin(np.radians(turn)) * rows
    way = (way - way.min()) / np.ptp(way)
    return [np.where((way < (i - start) / frames)[..., None], y, x) for i, (x, y) in enumerate(zip(a, b, strict=True))]


@pytest.mark.parametrize("turn", [0, 90, 180, 225])
@pytest.mark.parametrize("frames", [8, 20, 40])
def test_wipes_are_cut_in_their_middle(frames, turn):
    cuts = find_cuts(wiped(speaking(4, 100), speaking(5, 100), 30, frames, turn), 25.0)
    assert len(cuts) == 1 and abs(cuts[0] - (30 + frames / 2)) <= 0.15 * frames + 1


def test_what_crosses_the_room_is_no_wipe():
    room = speaking(4, 90)
    door = cv2.GaussianBlur(scene(8), (0, 0), 3)
    shut = [min(max(i - 30, 0), 70) for i in range(90)]  # comes in from the side and stays, over half of the picture
    assert find_cuts([np.hstack([door[:, 160 - w :], f[:, w:]]) for f, w in zip(room, shut, strict=True)], 25.0) == []
    for width in (50, 100):
        by = [cv2.rectangle(f.copy(), (6 * i - 260, 0), (6 * i - 260 + width, 119), (90, 60, 50), -1)
              for i, f in enumerate(room)]  # fmt: skip
        assert find_cuts(by, 25.0) == [], "a person who walks by the camera"


def test_a_fade_through_black_is_one_cut():
    dark = [np.zeros((120, 160, 3), np.uint8)] * 100
    first, second = mixed(speaking(4, 100), dark, 20, 15)[:45], mixed(dark, speaking(5, 100), 0, 15)[:50]
    cuts = find_cuts(first + second, 25.0)
    assert len(cuts) == 1 and 45 <= cuts[0] <= 50
    assert find_cuts(second, 25.0) == [], "a video that begins in black"


def test_pans_zooms_and_light_are_no_dissolves():
    wide = cv2.GaussianBlur(np.tile(scene(6), (3, 4, 1)), (0, 0), 4)
    ease = [0.5 - 0.5 * np.cos(np.pi * min(max((i - 20) / 25, 0), 1)) for i in range(70)]
    for reach in (15, 60, 200):
        pan = [wide[60:180, round(reach * t) : round(reach * t) + 160] for t in ease]
        assert find_cuts(pan, 25.0) == [], reach
    sides = [(160 - round(70 * t), 120 - round(52 * t)) for t in ease]
    zoom = [cv2.resize(wide[100 : 100 + h, 100 : 100 + w], (160, 120)) for w, h in sides]
    light = [(f * (1 - 0.6 * t) + 20 * t).astype(np.uint8) for f, t in zip(speaking(4, 70), ease, strict=True)]
    assert find_cuts(zoom, 25.0) == [] and find_cuts(light, 25.0) == []


def test_dissolves_and_wipes_between_real_videos_and_none_in_them(shared):
    def frames(name: str, count: int) -> list[np.ndarray]:
        with VideoReader(shared / "media/videos" / name, max_side=160) as reader:
            return [cv2.resize(frame, (96, 96), interpolation=cv2.INTER_AREA) for frame in islice(reader, count)]

    names = ["A_asl_please.mkv", "A_sign_woman_glasses_webcam.mp4", "A_seated_woman_coffee.mp4", "C_head_lp_d0.mp4"]
    videos = [frames(name, 58) for name in names]
    for video in videos:
        assert find_cuts(video, 30.0) == []
    for a, b in zip(videos, videos[1:] + videos[:1], strict=True):
        for joined in (mixed(a, b, 20, 18), wiped(a, b, 20, 18, 0.0)):
            cuts = find_cuts(joined, 30.0)
            assert len(cuts) == 1 and 24 <= cuts[0] <= 34


def piece(frames: int = 600, errors: float = 0.5, hands: float = 1.0) -> TrackedPiece:
    clip = repeat(get_motion("explaining"), frames)
    full = np.ones(frames, bool)
    some = np.arange(frames) < hands * frames
    return TrackedPiece(clip, Seen(full, full, some, some), np.full(frames, errors))


def test_score_falls_with_errors_lost_hands_and_jerk():
    good = score(piece(), slice(0, 300))
    assert 0.5 < good["score"] <= 1.0
    assert score(piece(errors=3.0), slice(0, 300))["score"] < 0.4 * good["score"]
    assert score(piece(hands=0.0), slice(0, 300))["hands"] == pytest.approx(0.4)
    shaky = piece()
    noise = np.random.default_rng(0).normal(0, 0.03, shaky.clip.body_pose.shape).astype(np.float32)
    shaky = TrackedPiece(shaky.clip.replace(body_pose=shaky.clip.body_pose + noise), shaky.seen, shaky.errors)
    assert score(shaky, slice(0, 300))["jerk"] < 0.2
    assert score(piece(errors=np.nan), slice(0, 300))["score"] == 0.0


@pytest.mark.parametrize("seconds", [5.0, 6.0, 12.0, 12.1, 13.0, 25.0, 59.9])
def test_clips_are_cut_within_their_lengths(seconds):
    clip = repeat(get_motion("explaining"), round(seconds * 30))
    parts = calm_cuts(clip, 6.0, 12.0)
    if seconds < 6:
        assert parts == []
        return
    assert parts[0].start == 0 and parts[-1].stop == len(clip)
    assert all(a.stop == b.start for a, b in zip(parts, parts[1:], strict=False))
    assert all(6.0 - 0.04 <= (p.stop - p.start) / 30 <= 12.0 + 0.04 for p in parts)


@pytest.fixture
def talks(tmp_path) -> list[Path]:
    paths = [tmp_path / f"Talk {k}.mp4" for k in range(3)]
    for k, path in enumerate(paths):
        path.write_bytes(b"video" * (k + 1))
    return paths


class Steps:
    """Stand-ins for the steps that look at pixels; the second video is broken."""

    def __init__(self) -> None:
        self.scanned: list[str] = []
        self.interrupt = False

    def scan(self, path, min_seconds, progress):
        self.scanned.append(path.name)
        if self.interrupt and path.name == "Talk 2.mp4":
            raise KeyboardInterrupt
        if path.name == "Talk 1.mp4":
            raise PipelineError("The video has no frames; use another video.")
        return Scan(70.0, (20.0,), (Stretch(0, 20), Stretch(20, 40, "turned away"), Stretch(40, 70)))

    def track(self, path, stretch):
        if stretch.start == 40:
            raise PipelineError("A person was found in only 1 of 900 frames; use another.")
        return piece(round(stretch.seconds * 30))


def test_a_build_isolates_failures_and_lists_everything(talks, tmp_path):
    facts = tmp_path / "facts.json"
    facts.write_text(
        json.dumps({"*": {"licence": "CC-BY-NC-ND-4.0"}, "Talk 0.mp4": {"url": "https://x.org/0", "n": 1}})
    )
    steps, out = Steps(), tmp_path / "set"
    result = build(talks, out, facts=facts, scan=steps.scan, track=steps.track)
    data = json.loads(result.manifest.read_text("utf-8"))
    assert result.clips == 4 == len(data["clips"]) and list(result.failures) == ["Talk 1.mp4"]
    first = data["clips"][0]
    assert (
        first["source"] == "https://x.org/0"
        and first["licence"] == "CC-BY-NC-ND-4.0"
        and first["video"] == "Talk 0.mp4"
    )
    assert sha256_of(out / first["file"]) == first["sha256"] and 6 <= first["seconds"] <= 12
    clip = load_clip(out / first["file"])
    assert clip.meta["licence"] == "CC-BY-NC-ND-4.0" and clip.meta["start"] == first["start"] == 0.0
    assert len(clip) == first["frames"] and not clip.transl[0].any()
    reasons = [r["reason"] for r in data["videos"][0]["rejected"]]
    assert any("turned away" in r for r in reasons) and any("1 of 900" in r for r in reasons)
    assert "failed" in data["videos"][1] and data["videos"][2]["clips"] == 2


def test_a_build_goes_on_where_it_was_stopped(talks, tmp_path):
    steps, out = Steps(), tmp_path / "set"
    steps.interrupt = True
    with pytest.raises(KeyboardInterrupt):
        build(talks, out, scan=steps.scan, track=steps.track)
    steps.interrupt = False
    steps.scanned.clear()
    result = build(talks, out, scan=steps.scan, track=steps.track)
    assert steps.scanned == ["Talk 1.mp4", "Talk 2.mp4"] and result.clips == 4
    next((out / "clips").glob("talk-0*")).write_bytes(b"damaged")
    steps.scanned.clear()
    build(talks, out, scan=steps.scan, track=steps.track)
    assert "Talk 0.mp4" in steps.scanned and "Talk 2.mp4" not in steps.scanned
    steps.scanned.clear()
    again = build(talks, out, settings=BuildSettings(min_score=0.99), scan=steps.scan, track=steps.track)
    assert len(steps.scanned) == 3 and again.clips == 0, "other settings, other clips"


def test_odd_errors_stop_only_their_video(talks, tmp_path):
    def scan(path, min_seconds, progress):
        raise ZeroDivisionError("odd")

    result = build([*talks, tmp_path / "absent.mp4"], tmp_path / "set", scan=scan, track=Steps().track)
    assert result.clips == 0 and "ZeroDivisionError" in result.failures["Talk 0.mp4"]
    assert "cannot be read" in result.failures["absent.mp4"]


@pytest.mark.parametrize("bad", ["[1]", "{", '{"a": "b"}'])
def test_bad_facts_and_settings_are_refused(tmp_path, bad):
    path = tmp_path / "facts.json"
    path.write_text(bad)
    with pytest.raises(PipelineError, match="facts.json"):
        read_facts(path)
    with pytest.raises(PipelineError, match="cannot be read"):
        read_facts(tmp_path / "absent.json")
    for settings in (BuildSettings(0.1, 12), BuildSettings(8, 12), BuildSettings(6, 600), BuildSettings(min_score=2)):
        with pytest.raises(PipelineError):
            settings.check()
    with pytest.raises(PipelineError, match="No video"):
        build([], tmp_path / "set")
