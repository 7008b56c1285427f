"""The body label stage: driving, judging, stopping and continuing; the whole road is in test_photo_to_avatar.py."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from mimicmotion_toys import mesh_observation, write_tiny_weights

from pipeline.labels.identity import ColourReference
from pipeline.labels.mimicmotion.driving import drive, keypoints, reference_pose, turned
from pipeline.labels.mimicmotion.memory import MemoryPlan, plan_for
from pipeline.labels.mimicmotion.quality import BodyQualityLimits, judge
from pipeline.labels.mimicmotion.retrack import Retracked
from pipeline.labels.mimicmotion.stage import BodyLabelConfig, make_body_labels
from pipeline.types import Detections, MotionClip, PipelineError

CONFIG = BodyLabelConfig(frames=3, steps=2, limits=BodyQualityLimits(identity=9.0))


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def body():
    from pipeline.body import load_body

    return load_body()


@pytest.fixture(scope="module")
def photo(body):
    return mesh_observation(body)


@pytest.fixture(scope="module")
def clip():
    return wave()


def wave() -> MotionClip:
    frames = 8
    rotations = {
        "global_orient": (3,), "body_pose": (21, 3), "left_hand_pose": (15, 3), "right_hand_pose": (15, 3),
        "jaw_pose": (3,), "leye_pose": (3,), "reye_pose": (3,), "transl": (3,),
    }  # fmt: skip
    arrays = {k: np.zeros((frames, *s), np.float32) for k, s in rotations.items()}
    arrays["body_pose"][:, 15, 2] = np.linspace(-1.1, -0.4, frames)
    arrays["body_pose"][:, 16, 2] = 1.1
    return MotionClip(fps=15.0, arkit=np.zeros((frames, 52), np.float32), meta={"name": "wave"}, **arrays)


def seen_as_asked(driving, i, shape) -> Retracked:
    """A tracker's answer that agrees with what was asked for."""
    points = np.concatenate([driving.people.points[i], driving.people.scores[i][:, None]], 1).astype(np.float32)
    blank, hand = np.zeros((33, 3), np.float32), np.zeros((21, 3), np.float32)
    found = Detections(points, blank, blank, None, hand, hand)
    errors = {"body": 1.0, "face": float("nan"), "left_hand": 0.5, "right_hand": 0.5}
    return Retracked(driving.params[i], found, np.ones(shape, np.float32), errors, 100.0)


def trusting_tracker(frames, driving, body, progress=None):
    """Believes that the frames show what was asked for: generated noise has nobody to detect."""
    return [seen_as_asked(driving, i, frame.shape[:2]) for i, frame in enumerate(frames)]


class Copies:
    """A generator that shows the photo again and again."""

    name = "copies"

    def __init__(self):
        self.calls = 0

    def frames(self, image, poses, config, seed, keep, tell):
        self.calls += 1
        assert poses.shape == (config.frames + 1, *image.shape) and poses.dtype == np.uint8
        return np.repeat(np.rint(image * 255).astype(np.uint8)[None], len(poses) - 1, 0)


def test_keypoints_lie_on_the_person_and_know_what_is_hidden(body, photo):
    people = keypoints([photo.params], body, photo.camera)
    inside = (people.points[0] > 0).all(1) & (people.points[0] < (64, 128)).all(1)
    assert inside[:17].mean() > 0.9
    x, y = people.points[0, :17][inside[:17]].astype(int).T
    assert photo.alpha[y, x].mean() > 0.8
    shoulders = people.points[0, 5:7, 0]
    assert shoulders[0] > shoulders[1], "the person's left is on the right of the picture"
    behind = photo.params.replace(global_orient=np.array([0, np.pi, 0], np.float32))
    back = keypoints([behind], body, photo.camera)
    assert (people.scores[0, 23:91] > 0.9).mean() > 0.8 and (back.scores[0, 23:91] < 0.4).mean() > 0.8
    far = photo.params.replace(transl=photo.params.transl + np.array([9, 0, 0], np.float32))
    assert keypoints([far], body, photo.camera).scores.max() < 0.3


def test_driving_moves_and_turns_the_photo_s_body(body, photo, clip):
    still = drive(clip, photo, body, fps=15, frames=4, view=(0, 0))
    bowed = drive(clip, photo, body, fps=15, frames=4, view=(25, 8))
    assert len(still) == 4 and still.arkit.shape == (4, 52)
    assert np.abs(still.params[0].betas - photo.params.betas).max() == 0
    assert np.abs(np.diff(still.people.points[:, 9, 1])).max() > 0.2, "the wrist moves"
    assert np.abs(bowed.people.points[:, :11] - still.people.points[:, :11]).max() > 1
    assert still.pictures().shape == (4, 128, 64, 3) and still.pictures()[0].max() > 100
    assert reference_pose(photo).shape == (128, 64, 3)
    for view in ((25, 0), (0, 10)):
        orient = turned(photo.params, view).global_orient
        np.testing.assert_allclose(orient, np.radians([*view, 0]), atol=1e-6)
    with pytest.raises(PipelineError, match="wave is shorter than two frames"):
        drive(clip, photo, body, fps=1, frames=4, view=(0, 0))


def test_judge_names_what_is_wrong(body, photo, clip):
    driving = drive(clip, photo, body, fps=15, frames=2, view=(0, 0))
    reference, limits = ColourReference(photo, body), BodyQualityLimits()
    asked, scores = driving.people.points[0], driving.people.scores[0]
    good = dataclasses.replace(seen_as_asked(driving, 0, (128, 64)), params=photo.params)

    def check(tracked, image=photo.image):
        return judge(image, tracked, asked, scores, reference, photo.camera, limits)

    fine = check(good)
    assert fine.reasons == () and fine.identity < 0.02 and 0.5 < fine.confidence(limits) <= 1
    moved = good.detections.keypoints + np.array([20, 0, 0], np.float32)
    away = dataclasses.replace(good, detections=dataclasses.replace(good.detections, keypoints=moved))
    assert check(away).reasons == ("the pose is not the one asked for",) and check(away).confidence(limits) == 0
    crooked = dataclasses.replace(good, errors={**good.errors, "left_hand": 9.0, "body": 9.0})
    assert check(crooked).reasons == ("the body could not be aligned", "a hand could not be aligned")
    recoloured = photo.image * np.array([1.0, 0.3, 0.3], np.float32)
    assert "it no longer looks like the photo" in check(good, recoloured).reasons
    blind = dataclasses.replace(good, detections=dataclasses.replace(good.detections, keypoints=moved * 0))
    assert check(blind).reasons[0] == "the body is hardly seen"
    handless = dataclasses.replace(good.detections, left_hand=None)
    assert check(dataclasses.replace(good, detections=handless)).confidence(limits) <= fine.confidence(limits)


def test_labels_are_made_once(body, photo, clip, tmp_path):
    generator = Copies()
    made = make_body_labels(
        photo, [clip, clip], body, generator, config=CONFIG, root=tmp_path, tracker=trusting_tracker
    )
    assert generator.calls == 2 and len(made.labels) == 6 and len(set(made.folders)) == 2
    label = made.labels[0]
    assert label.region == "body" and 0 < label.confidence <= 1 and label.image.shape == (128, 64, 3)
    np.testing.assert_allclose(label.image, photo.image, atol=1 / 254)
    report = json.loads((made.folders[0] / "labels.json").read_text())
    assert len(report["frames"]) == 3 and report["dropped"] == {}
    again = make_body_labels(photo, [clip, clip], body, generator, config=CONFIG, root=tmp_path, tracker=None)
    assert generator.calls == 2 and again.folders == made.folders, "the second run costs nothing"
    np.testing.assert_array_equal(again.labels[5].image, made.labels[5].image)
    other = dataclasses.replace(CONFIG, seed=1)
    make_body_labels(photo, [clip], body, generator, config=other, root=tmp_path, tracker=trusting_tracker)
    assert generator.calls == 3, "another seed, other labels"


def test_frames_survive_a_stop_while_tracking(body, photo, clip, tmp_path):
    generator = Copies()

    def stop(*args, **options):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_body_labels(photo, [clip], body, generator, config=CONFIG, root=tmp_path, tracker=stop)
    make_body_labels(photo, [clip], body, generator, config=CONFIG, root=tmp_path, tracker=trusting_tracker)
    assert generator.calls == 1


def test_nothing_usable_is_said(body, photo, clip, tmp_path):
    nobody = lambda frames, *a, **k: [None] * len(frames)  # noqa: E731
    with pytest.raises(PipelineError, match="mostly: nobody was found"):
        make_body_labels(photo, [clip], body, Copies(), config=CONFIG, root=tmp_path, tracker=nobody)
    with pytest.raises(PipelineError, match="name at least one"):
        make_body_labels(photo, [], body, Copies(), config=CONFIG, root=tmp_path)


def tiny_generator(folder):
    from pipeline.labels.mimicmotion import MimicMotionPipeline
    from pipeline.labels.mimicmotion.sampling import MimicMotionFrames

    pipe = MimicMotionPipeline.from_pretrained(*write_tiny_weights(folder), torch_dtype=torch.float32)
    return MimicMotionFrames(pipe, "tiny", MemoryPlan("tiny", tile_size=8, tile_overlap=2, offload=False), "cpu")


def work_until_killed(folder):
    """What the process does that :func:`test_whole_stage_killed_and_continued` kills after the first of two steps."""
    from pipeline.body import load_body

    def wait_for_the_end(stage, share):
        if stage == "generating" and share > 0.3:
            print("first step done", flush=True)
            time.sleep(600)

    model = load_body()
    os.environ["ONESHOT_CACHE"] = str(folder / "cache")
    make_body_labels(
        mesh_observation(model), [wave()], model, tiny_generator(folder), config=CONFIG, root=folder / "labels",
        tracker=trusting_tracker, progress=wait_for_the_end,
    )  # fmt: skip


def test_whole_stage_killed_and_continued(body, photo, clip, tmp_path, monkeypatch):
    """Another process is killed (-9) while it generates; this one goes on at the step where that one was."""
    code = f"from pathlib import Path; import test_labels_body as t; t.work_until_killed(Path({str(tmp_path)!r}))"
    root = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(root.parent)]), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout.readline() == "first step done\n"
        process.kill()
    labels = tmp_path / "labels"
    assert process.returncode == -signal.SIGKILL and list(labels.rglob("sampler.safetensors"))
    assert not list(labels.rglob("labels.json")) and not list(labels.rglob("*.npz"))
    monkeypatch.setenv("ONESHOT_CACHE", str(tmp_path / "cache"))
    generator, calls = tiny_generator(tmp_path), []
    real = generator._pipe._call_unet
    monkeypatch.setattr(generator._pipe, "_call_unet", lambda *a: calls.append(1) or real(*a))
    options = {"config": CONFIG, "tracker": trusting_tracker}
    continued = make_body_labels(photo, [clip], body, generator, root=labels, **options)
    assert len(calls) == 2, "the second step alone was left"
    whole = make_body_labels(photo, [clip], body, generator, root=tmp_path / "whole", **options)
    assert len(calls) == 6 and len(continued.labels) == len(whole.labels) == 3
    for a, b in zip(continued.labels, whole.labels, strict=True):
        assert np.abs(a.image - b.image).max() <= 1.01 / 255
    assert not list(labels.rglob("sampler.safetensors"))


def test_labels_of_another_photo_are_not_taken(body, photo, clip, tmp_path):
    from pipeline.labels.gather import open_labels

    made = make_body_labels(photo, [clip], body, Copies(), config=CONFIG, root=tmp_path, tracker=trusting_tracker)
    assert len(open_labels(made.folders, photo)) == 3
    other = dataclasses.replace(photo, params=photo.params.replace(betas=photo.params.betas + 1))
    with pytest.raises(PipelineError, match="another photo"):
        open_labels(made.folders, other)
    with pytest.raises(PipelineError, match="holds no labels"):
        open_labels([tmp_path], photo)


def test_command_line_says_the_plan_and_what_is_missing(capsys, monkeypatch, tmp_path):
    from pipeline.__main__ import main

    assert main(["label", "--plan", "--vram", "16", "--motion", "wave", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["plan"]["tile_size"] == 72 and 8 < plan["gigabytes"] < 16 and plan["minutes"] > 1
    assert main(["label", "--plan", "--vram", "8"]) == 0
    assert "windows of 16 frames" in capsys.readouterr().out
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["label", "photo.jpg"]) == 1
    assert "need a CUDA card" in capsys.readouterr().err
    monkeypatch.setenv("ONESHOT_CACHE", str(tmp_path))
    monkeypatch.setattr("pipeline.labels.verb.choose_plan", lambda *a: plan_for(24))
    assert main(["label", "photo.jpg"]) == 1
    said = capsys.readouterr().err
    assert "weights fetch svd-xt-1.1" in said and "16.9 GB at the peak" in said, "what it would take comes first"
    assert main(["label", "photo.jpg", "--frames", "1"]) == 1
