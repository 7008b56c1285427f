"""Parts of the app that need no server: time left, rate limit, advice."""

import asyncio
from pathlib import Path

import numpy as np
import pytest
import torch
from test_service import FakeAvatar

from pipeline.web.limits import RateLimit
from pipeline.web.timing import FIT_STAGES, Clock


def test_the_clock_goes_forward_and_tells_what_is_left():
    now = [0.0]
    clock = Clock({"a": ("first", 1), "b": ("second", 3)}, now=lambda: now[0])
    assert clock.read("a", 0.5) == ("first", 0.125)
    now[0] = 10.0
    assert clock.read("b", 0.0) == ("second, about 30 s left", 0.25)
    assert clock.read("something else", 0.9) == ("something else, about 30 s left", 0.25)
    assert clock.read("a", 0.1)[1] == 0.25, "it never goes back"
    now[0] = 400.0
    assert clock.read("b", 1 / 3) == ("second, about 7 min left", 0.5)
    assert clock.read("b", 1.0) == ("second", 1.0)


def test_stage_weights_make_a_whole():
    assert sum(weight for _, weight in FIT_STAGES.values()) == pytest.approx(1.0)


def answer(limit, client="1.2.3.4", method="POST", headers=()):
    """The status that a request gets."""
    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": method, "client": (client, 1), "headers": list(headers)}
    asyncio.run(limit(scope, None, send))
    return sent


async def app(scope, receive, send):
    """An application that says yes."""
    await send({"type": "http.response.start", "status": 200, "headers": []})


def test_many_requests_are_refused_with_a_time_to_wait():
    limit = RateLimit(app, per_minute=3)
    assert [answer(limit)[0]["status"] for _ in range(4)] == [200, 200, 200, 429]
    refusal = answer(limit)
    assert b"try again in" in refusal[1]["body"] and dict(refusal[0]["headers"])[b"retry-after"].isdigit()
    assert answer(limit, client="5.6.7.8")[0]["status"] == 200, "others are not affected"
    assert answer(limit, method="GET")[0]["status"] == 200, "looking is free"


def test_tokens_come_back_and_visitors_are_forgotten(monkeypatch):
    monkeypatch.setattr("pipeline.web.limits.MAX_VISITORS", 2)
    limit = RateLimit(app, per_minute=60)
    for _ in range(60):
        assert limit.wait("a", 0.0) == 0
    assert limit.wait("a", 0.0) == pytest.approx(1.0) and limit.wait("a", 1.1) == 0
    for name in "bcd":
        limit.wait(name, 2.0)
    assert len(limit._buckets) == 2


def test_behind_a_proxy_the_first_hop_counts():
    limit = RateLimit(app, per_minute=1, behind_proxy=True)
    first, second = ([(b"x-forwarded-for", ip + b", 10.0.0.1")] for ip in (b"9.9.9.9", b"8.8.8.8"))
    assert [answer(limit, headers=h)[0]["status"] for h in (first, second, first)] == [200, 200, 429]
    assert RateLimit(app, per_minute=0).wait is not None
    unlimited = RateLimit(app, per_minute=0)
    assert {answer(unlimited)[0]["status"] for _ in range(500)} == {200}


def found(image, face_box):
    """Detections of a face in a box (x0, y0, x1, y1), hips out of sight, no hands."""
    from pipeline.types import Detections

    x0, y0, x1, y1 = face_box
    pose = np.zeros((33, 3), np.float32)
    face = np.array([[x0, y0, 0], [x1, y1, 0]], np.float32)
    return Detections(np.zeros((133, 3)), pose, np.zeros((33, 3)), face, None, None)


def test_advice(astronaut):
    import cv2

    from pipeline.web.advice import advise

    box = (172, 60, 276, 190)
    sharp = advise(astronaut, found(astronaut, box))
    assert not [s for s in sharp if "blurred" in s or "dark" in s or "bright" in s]
    assert sum("hand is not visible" in s for s in sharp) == 2 and any("above the hips" in s for s in sharp)
    blurred = cv2.GaussianBlur(astronaut, (0, 0), 5)
    assert any("blurred" in s for s in advise(blurred, found(blurred, box)))
    assert any("very dark" in s for s in advise(astronaut * 0.15, found(astronaut, box)))
    assert any("only" in s for s in advise(astronaut, found(astronaut, (200, 100, 240, 150))))


@pytest.mark.parametrize(
    ("kind", "colour", "expected"),
    [
        ("photo", "x", "photo"),
        ("colour", "#102030", "#102030"),
        ("colour", "rgba(16, 32.4, 48, 0.5)", "#102030"),
        ("colour", "rgb(999, -5, 0)", "#ff0000"),
        ("colour", "rgb(a)", "rgb(a)"),
        ("colour", "rgb", "rgb"),
    ],
)
def test_colours_of_the_picker(kind, colour, expected):
    from pipeline.web.endpoints import _background

    assert _background(kind, colour) == expected


def bright(corner) -> bool:
    """White letters on a dark ground."""
    return (corner.min(2) > 200).mean() > 0.02 and (corner.max(2) < 80).mean() > 0.2


def test_pictures_of_a_running_fit_are_marked_and_go_with_it(tmp_path, monkeypatch):
    from PIL import Image

    from pipeline import watermark
    from pipeline.service import Store
    from pipeline.web import live

    monkeypatch.setattr(live, "KEPT", 2)
    kept = Store(tmp_path / "store")
    pictures = live.LivePictures(kept)
    grey = np.full((480, 320, 3), 150, np.uint8)
    for _ in range(4):
        captioned = pictures.add(grey)
    assert [words for _, words in captioned] == ["the avatar so far"] and len(list(kept.files.iterdir())) == 2
    with Image.open(captioned[0][0]) as picture:
        shown = np.asarray(picture)
    assert bright(shown[-30:, -100:]) and watermark.detect([shown], watermark.PUBLIC_KEY).found
    token = kept.add(FakeAvatar())
    pictures.hand_over(token)
    pictures.close()
    assert kept.status(token)["files"] == 2
    kept.forget(token)
    assert list(kept.files.iterdir()) == []
    pictures.add(grey)
    pictures.close()
    assert list(kept.files.iterdir()) == [], "a stopped fit leaves none"


def test_the_motions_are_shown_by_pictures_that_exist(tmp_path, monkeypatch):
    """Moving ones with a still one for who wants calm; still ones until they are made."""
    from pipeline.motion import list_presets
    from pipeline.web import picker

    monkeypatch.setenv("ONESHOT_CACHE", str(tmp_path))
    names = [preset.name for preset in list_presets()]
    before = picker.pictures(names[1])
    assert before.count("<input") == before.count(".jpg") == len(names) and ".webp" not in before
    assert f'value="{names[1]}" checked' in before and before.count("checked") == 1
    moving = picker.thumbnail_path(list_presets()[0])
    moving.parent.mkdir(parents=True)
    moving.write_bytes(b"")
    after = picker.pictures(None)
    assert after.count(".webp") == 1 and after.count('media="(prefers-reduced-motion: reduce)"') == 1
    assert "checked" not in after


def test_what_was_guessed_is_tinted(doll, tmp_path):
    """The report's overlay: a second picture that differs where Gaussians were guessed."""
    from PIL import Image

    from pipeline.credentials import read
    from pipeline.service import Store
    from pipeline.web.reports import previews

    kept = Store(tmp_path / "store")
    token = kept.add(doll)
    guessed = doll.replace(
        guessed=(doll.canonical(doll.params)[:, 1] > 0.2).float(), rgb=torch.full((len(doll), 3), 0.5)
    )
    pictures = previews(guessed, lambda: kept.new_file(".jpg", token))
    assert [words for _, words in pictures][1].startswith("orange")
    plain, tinted = (np.asarray(Image.open(path), float) for path, _ in pictures[:2])
    redder = (tinted - plain)[..., 0]
    assert redder[: len(redder) // 3].max() > 30 and np.abs(redder[-len(redder) // 5 :]).max() < 12
    assert kept.status(token)["files"] == 4
    for path, _ in pictures:
        with Image.open(path) as picture:
            assert bright(np.asarray(picture)[-30:, -90:]), "the visible label"
        assert read(Path(path)).intact
