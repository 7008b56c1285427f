"""Table 1: manifests, data set layouts, the protocol's arithmetic and what is printed."""

import json
from dataclasses import dataclass

import numpy as np
import pytest

from pipeline.__main__ import main
from pipeline.evaluate import table
from pipeline.evaluate.manifest import Subject, import_layout, read_manifest
from pipeline.evaluate.reenact import Layer
from pipeline.media import VideoReader, VideoWriter, save_image
from pipeline.types import PipelineError


def pictures(folder, count, shape=(96, 64, 3)):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        save_image(folder / f"{i:05d}.png", np.full(shape, i / 10, np.float32))
    return folder


def test_manifest_in_both_forms(tmp_path):
    pictures(tmp_path / "frames", 2)
    (tmp_path / "labels").mkdir()
    (tmp_path / "m.yaml").write_text("subjects:\n- name: Ada\n  driving: frames\n  fps: 25\n  labels: labels\n")
    row = {"name": "Ada", "driving": "frames", "fps": 25, "labels": ["labels"]}
    (tmp_path / "m.json").write_text(json.dumps({"subjects": [row]}))
    wanted = [Subject("Ada", tmp_path / "frames", None, 25.0, (tmp_path / "labels",))]
    assert read_manifest(tmp_path / "m.yaml") == wanted == read_manifest(tmp_path / "m.json")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("people: []", "no list of subjects"),
        ("subjects: [", "not valid near line 1"),
        ("subjects:\n- name: a\n", "Subject 1 .* needs `name` and `driving`"),
        ("subjects:\n- {name: a, driving: nowhere.mp4}", "which is not there"),
        ("subjects:\n- {name: a, driving: m.yaml, speed: 2}", "unknown field 'speed'"),
        ("subjects:\n- {name: a, driving: m.yaml, fps: fast}", "no usable `fps`"),
        ("subjects:\n- {name: a, driving: m.yaml}\n- {name: a, driving: m.yaml}", "'a' twice"),
        ("!!python/object/apply:os.getcwd []", "not valid"),
    ],
)
def test_bad_manifests_are_one_sentence(tmp_path, text, says):
    (tmp_path / "m.yaml").write_text(text)
    with pytest.raises(PipelineError, match=says) as caught:
        read_manifest(tmp_path / "m.yaml")
    assert "\n" not in str(caught.value)


def test_command_refuses_before_work(tmp_path, capsys):
    assert main(["evaluate", str(tmp_path / "none.yaml"), "--out", str(tmp_path / "o")]) == 1
    assert "cannot be read" in capsys.readouterr().err
    (tmp_path / "m.txt").write_text("x")
    assert main(["evaluate", str(tmp_path / "m.txt"), "--out", str(tmp_path / "o")]) == 1


def test_actors_hq_layout(tmp_path):
    for actor, scale, camera in (("Actor01", "4x", "Cam002"), ("Actor01", "1x", "Cam007"), ("Actor02", "4x", "Cam001")):
        pictures(tmp_path / actor / "Sequence1" / scale / "rgbs" / camera, 2)
    (tmp_path / "Actor01/Sequence1/1x/rgbs/Cam001").mkdir()
    (tmp_path / "Actor03/Sequence1").mkdir(parents=True)
    found = import_layout(tmp_path)
    assert [s.name for s in found] == ["Actor01-Sequence1", "Actor02-Sequence1"]
    assert found[0].driving == tmp_path / "Actor01/Sequence1/1x/rgbs/Cam007", "full size, a camera with pictures"
    assert found[0].fps == 25.0


@pytest.mark.parametrize("top", ["CasualConversationsA", "."])
def test_casual_conversations_layout(tmp_path, top):
    for person, names in (("1140", ("1140_01.MP4", "1140_00.MP4")), ("1141", ("1141_03.MP4",)), ("empty", ())):
        (tmp_path / top / person).mkdir(parents=True)
        for name in names:
            (tmp_path / top / person / name).write_bytes(b"x")
    found = read_manifest(tmp_path)
    assert [(s.name, s.driving.name) for s in found] == [("1140", "1140_00.MP4"), ("1141", "1141_03.MP4")]


def test_other_folders_are_refused(tmp_path):
    with pytest.raises(PipelineError, match="neither the layout"):
        import_layout(tmp_path)


def test_frames_become_thirty_a_second(tmp_path):
    assert table.resampled(25, 25.0)[:7] == [0, 1, 2, 3, 3, 4, 5] and len(table.resampled(25, 25.0)) == 30
    assert table.resampled(60, 60.0) == list(range(0, 60, 2))
    with table.driving_video(Subject("a", pictures(tmp_path / "f", 5), fps=15.0)) as video:
        with VideoReader(video) as reader:
            frames = list(reader)
        assert reader.info.fps == 30 and len(frames) == 10
        shown = [f.mean() / 255 for f in frames]
        assert np.allclose(shown, [0, 0.1, 0.1, 0.2, 0.2, 0.3, 0.3, 0.4, 0.4, 0.4], atol=0.02)
    assert not video.exists()
    with VideoWriter(tmp_path / "v.mp4", 30, (32, 48)) as writer:
        writer.write(np.zeros((48, 32, 3), np.uint8))
    with table.driving_video(Subject("a", tmp_path / "v.mp4")) as video:
        assert video == tmp_path / "v.mp4", "already 30 frames per second"
    with pytest.raises(PipelineError, match="fewer than two pictures"):
        with table.driving_video(Subject("a", pictures(tmp_path / "one", 1))):
            pass


@dataclass
class FakeScene:
    """What score_scene looks at."""

    source: int
    tracked: object


@dataclass
class FakeTrack:
    found: np.ndarray

    def __len__(self):
        return len(self.found)


def test_metrics_of_a_scene_by_hand(monkeypatch):
    one, half = np.ones((16, 16), np.float32), np.full((16, 16, 3), 0.5, np.float32)

    def layers(scene, video):
        for i, error in enumerate((0.0, 0.1, 0.2, 0.9)):
            yield i, Layer.of(half, one), Layer.of(half + np.float32(error), one), half

    monkeypatch.setattr("pipeline.evaluate.reenact.layers", layers)
    scene = FakeScene(0, FakeTrack(np.array([True, True, True, False])))
    row = table.score_scene(scene, None, None)
    assert row["l1"] == pytest.approx(0.15) and row["mse"] == pytest.approx((0.01 + 0.04) / 2)
    assert row["psnr"] == pytest.approx((20 + -10 * np.log10(0.04)) / 2) and np.isnan(row["lpips"])
    with pytest.raises(PipelineError, match="No frame could be compared"):
        table.score_scene(FakeScene(0, FakeTrack(np.zeros(4, bool))), None, None)


def test_the_papers_layout_and_units(tmp_path, monkeypatch):
    scores = {"mse": 0.00122, "l1": 0.0084, "psnr": 29.31, "ssim": 0.943, "lpips": float("nan")}

    def score(subject, *rest):
        if subject.name == "b":
            raise PipelineError("Nobody is in it.")
        return {table.OURS[1]: scores}

    monkeypatch.setattr(table, "score_subject", score)
    monkeypatch.delenv("ONESHOT_LPIPS", raising=False)
    subjects = [Subject(name, tmp_path) for name in "ab"]
    result = table.evaluate(subjects, None, tmp_path / "out", progress=lambda stage, share: None)
    text = (tmp_path / "out/table.md").read_text("utf-8")
    ours = next(line for line in text.splitlines() if line.startswith("| ours: one photo (1 subjects)"))
    paper = next(line for line in text.splitlines() if line.startswith("| One Shot"))
    assert [c.strip() for c in ours.split("|")[2:7]] == ["1.22", "0.84", "29.31", "9.43", "not at hand"]
    assert [c.strip() for c in paper.split("|")[2:6]] == ["1.22", "0.84", "29.31", "9.43"]
    assert "no subject has `labels`" in text and "Left out: b" in text and "LPIPS of our rows: not at hand" in text
    assert result["subjects"]["b"] == {"left out": "Nobody is in it."}
    assert json.loads((tmp_path / "out/table.json").read_text())["rows"][table.OURS[1]]["lpips"] is None
    with pytest.raises(PipelineError, match="No subject could be scored. b: Nobody"):
        table.evaluate(subjects[1:], None, tmp_path / "out", progress=lambda stage, share: None)
