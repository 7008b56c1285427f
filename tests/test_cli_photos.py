"""Photos through the command line: what will not do is refused in one sentence, what is merely odd works."""

import json

import numpy as np
import pytest
from bad_photos import dressed_body, odd_photos, unusable_pictures
from test_cli import run_failing

from pipeline.__main__ import main
from pipeline.media import load_photo


@pytest.fixture(scope="module")
def unusable(tmp_path_factory, astronaut_path):
    return unusable_pictures(tmp_path_factory.mktemp("unusable"), astronaut_path)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nobody", "No person"),
        ("two people", "2 people"),
        ("too small", "pixels tall"),
        ("only a face", "shoulders"),
        ("cartoon", "real person|No person|No face"),
        ("poster", "drawing"),
        ("from behind", "No face|No person"),
    ],
)
def test_pictures_that_will_not_do(name, words, unusable, tmp_path, capsys):
    sentence = run_failing(["fit", str(unusable[name]), "--out", str(tmp_path / "me")], capsys)
    assert any(word in sentence for word in words.split("|")), sentence
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["cmyk", "palette", "16 bit", "turned"])
def test_odd_photos_are_read_as_the_same_picture(kind, astronaut, astronaut_path, tmp_path):
    image = load_photo(odd_photos(tmp_path, astronaut_path)[kind])
    assert image.shape == astronaut.shape
    assert np.abs(image - astronaut).mean() < 0.04


def test_the_same_body_from_the_front_is_no_bad_photo():
    """So that the one from behind is refused for its back, not for being a rendering."""
    from pipeline.perceive.detect import Detector
    from pipeline.perceive.report import check_detections

    picture = dressed_body(behind=False)
    with Detector(static=True) as detector:
        found = detector.detect(picture)
    assert check_detections(found, picture.shape[1], picture.shape[0], people=1).face is not None


@pytest.mark.slow
def test_arms_cut_off_are_accepted_and_named(astronaut):
    """A bust: the arms are not in the picture, which the report says, and the avatar guesses."""
    from pipeline.api import observe

    report = observe(astronaut[:270, 90:400]).report
    assert report.accepted
    assert {"left hand", "right hand", "left elbow", "right elbow"} <= set(report.not_visible)
    assert sum("will be guessed" in hint for hint in report.hints) == 2


@pytest.mark.slow
def test_turned_photo_to_video(astronaut_path, tmp_path, capsys):
    """The whole way on the command line, with a photo that lies on its side."""
    photo = odd_photos(tmp_path, astronaut_path)["turned"]
    assert (
        main(["fit", str(photo), "--out", str(tmp_path / "me"), "--quality", "fast", "--consent", "own", "--json"]) == 0
    )
    fitted = json.loads(capsys.readouterr().out)
    assert fitted["report"]["accepted"] and fitted["consent"]["basis"] == "own"
    assert fitted["metrics"]["psnr_mask"] > 25
    argv = ["animate", str(tmp_path / "me"), "--motion", "listening", "--out", str(tmp_path / "o.mp4"), "--fps", "2"]
    assert main([*argv, "--size", "288x512", "--json"]) == 0
    video = json.loads(capsys.readouterr().out)
    assert video["frames"] == round(video["seconds"] * 2) >= 12 and (video["width"], video["height"]) == (288, 512)
    altered = tmp_path / "me" / "avatar.safetensors"
    altered.write_bytes(altered.read_bytes()[:-8] + b"12345678")
    assert "altered" in run_failing(argv, capsys)
    altered.unlink()
    assert "missing" in run_failing(argv, capsys)
