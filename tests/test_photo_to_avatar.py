"""The whole road of generated labels in one run: weights from a hub, photo, frames, labels on disk, fit, saved avatar.

The networks are narrow ones whose weights are built, not trained, so that their pictures show the photo that they are
given (:mod:`mimicmotion_mirror`, :mod:`portrait4d_mirror`). Everything else is what users run, with its own limits: the
frames are drawn by the samplers, and people and faces in them are found, tracked and judged.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import portrait4d_golden
import pytest
import torch
from loopback_hub import running_hub
from mimicmotion_mirror import write_mirror_weights
from portrait4d_mirror import as_official_pickle, mirror_portrait, narrow_portrait

from pipeline import api, weights
from pipeline.__main__ import main
from pipeline.labels import BodyLabelConfig, HeadLabelConfig, label, label_head
from pipeline.types import PipelineError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def patch():
    with pytest.MonkeyPatch.context() as made:
        yield made


@pytest.fixture(scope="module", autouse=True)
def cache(patch, tmp_path_factory):
    """An empty cache but for the body model, and small networks on one thread."""
    from pipeline.body import load_body

    load_body()
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("cache")
    patch.setenv("ONESHOT_CACHE", str(folder))
    for name in ("ONESHOT_SVD", "ONESHOT_MIMICMOTION", "ONESHOT_PORTRAIT4D", "ONESHOT_DWPOSE"):
        patch.delenv(name, raising=False)
    yield folder
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def observation(astronaut_path):
    return api.observe(astronaut_path)


@pytest.fixture(scope="module")
def fetched(patch, cache, observation, tmp_path_factory):
    """`weights fetch` brings the small networks from a hub on this machine, in the published layout."""
    files = write_mirror_weights(observation.image, tmp_path_factory.mktemp("published"))
    files["portrait4d-v2-vfhq512.pkl"] = as_official_pickle(mirror_portrait(), patch)
    motion = tmp_path_factory.mktemp("motion") / "motion_model.pth"
    from pipeline.labels.portrait4d import checkpoint

    torch.save(portrait4d_golden.filled(checkpoint.MotionEncoder()).state_dict(), motion)
    files["models/pdfgc/weights/motion_model.pth"] = motion.read_bytes()
    patch.setattr(checkpoint, "Portrait4D", narrow_portrait)
    parts = ("svd-xt-1.1", "mimicmotion", "portrait4d-v2")
    with pytest.raises(PipelineError, match="weights fetch svd-xt-1.1"):
        label(observation, ["presenting"], device="cpu")
    for name in parts:  # these stand-ins have other checksums and no history
        entry = weights.find(name)
        own = replace(entry, revision=None, files=tuple(weights.WeightFile(file.path) for file in entry.files))
        patch.setitem(weights.WEIGHTS, name, own)
    with running_hub(patch, files, *(weights.find(name).repo for name in parts)):
        assert main(["weights", "fetch", *parts]) == 0
    assert all(weights.find(name).state() == "ready" for name in parts)


def own_pose(observation, path):
    """A driving file of 2D keypoints: first the photo's own pose, then one with both arms elsewhere."""
    from pipeline.labels.mimicmotion.driving import reference_people
    from pipeline.labels.mimicmotion.keypoints import to_pose

    height, width = observation.image.shape[:2]
    pose = to_pose(reference_people(observation), width, height)
    body = np.concatenate([pose.body, pose.body])
    arms = [3, 4, 6, 7]
    body[1, arms] -= (0.0, 0.6)
    scores = np.concatenate([pose.body_score, pose.body_score])
    scores[:, arms] = 0.9
    np.savez(
        path, fps=15.0, canvas=[width, height], body=body, body_score=scores,
        hands=np.zeros((2, 2, 21, 2)), hands_score=np.zeros((2, 2, 21)),
        face68=np.concatenate([pose.faces] * 2), face_score=np.concatenate([pose.faces_score] * 2),
    )  # fmt: skip
    return path


@pytest.fixture(scope="module")
def bodies(fetched, observation, tmp_path_factory):
    driving = own_pose(observation, tmp_path_factory.mktemp("driving") / "own.npz")
    told = []
    make = partial(
        label, observation, [driving], device="cpu", config=BodyLabelConfig(frames=2, steps=2),
        progress=lambda stage, share: told.append(stage),
    )  # fmt: skip
    return SimpleNamespace(made=make(), make=make, told=told)


@pytest.fixture(scope="module")
def heads(fetched, observation, astronaut, astronaut_path, tmp_path_factory):
    from pipeline.video import VideoWriter

    video = tmp_path_factory.mktemp("talk") / "talk.mp4"
    picture = np.rint(astronaut * 255).astype(np.uint8)
    with VideoWriter(video, 3, (512, 512)) as writer:
        for frame in (picture, np.full_like(picture, 90), picture[:, ::-1]):
            writer.write(np.ascontiguousarray(frame))
    make = partial(
        label_head, astronaut_path, [video], observation=observation, device="cpu", config=HeadLabelConfig(count=2)
    )
    return SimpleNamespace(made=make(), make=make)


def test_frames_are_tracked_and_judged(bodies, observation, cache):
    """With the filter's own limits: what shows the pose that was asked for teaches, what does not is counted."""
    made = bodies.made
    assert {"generating", "re-tracking"} <= set(bodies.told)
    assert len(made.labels) == 1 and made.dropped == {"the pose is not the one asked for": 1}
    kept = made.labels[0]
    assert kept.region == "body" and kept.confidence > 0.3 and kept.image.shape == (1024, 576, 3)
    np.testing.assert_array_equal(kept.params.betas, observation.params.betas)
    assert np.abs(kept.image - observation.image).mean() < 0.06, "the sampler shows the photo, blurred"
    assert not np.array_equal(kept.params.body_pose, observation.params.body_pose), "tracked anew"
    assert list((cache / "converted").glob("MimicMotion_1-1-*.safetensors")), "the .pth was converted once"


def test_the_second_time_costs_nothing(bodies, heads, monkeypatch):
    def never(*args, **options):
        raise AssertionError("this was done before")

    monkeypatch.setattr("pipeline.labels.mimicmotion.MimicMotionPipeline._call_unet", never)
    monkeypatch.setattr("pipeline.labels.mimicmotion.stage.retrack", never)
    monkeypatch.setattr("pipeline.labels.portrait4d.synthesis.Portrait4DModel.draw", never)
    monkeypatch.setattr("pipeline.labels.portrait4d.synthesis.Portrait4DModel.encode", never)
    assert bodies.make().folders == bodies.made.folders and heads.make().folder == heads.made.folder


def test_heads_are_tracked_and_judged(heads, observation):
    made = heads.made
    assert len(made.labels) == 2 and made.dropped == {}
    rows = json.loads((made.folder / "labels.json").read_text())["frames"]
    assert [row["driving"].split(":")[0] for row in rows] == ["talk.mp4", "talk.mp4"]
    for kept in made.labels:
        assert kept.region == "head" and kept.image.shape == (512, 512, 3) and kept.confidence > 0.3
        np.testing.assert_array_equal(kept.params.betas, observation.params.betas)
        assert kept.weight.max() == 1 and kept.weight.min() < 0.1, "a seam at the neck"


def test_photo_to_avatar(bodies, heads, observation, tmp_path, monkeypatch):
    """Both kinds of labels teach one avatar, which is saved and opened again; a short schedule, the rest as always."""
    from pipeline.avatar import Avatar
    from pipeline.config import FitConfig

    short = FitConfig.preset("fast").replace(steps=6, label_start=0.0, working_height=384, surface_samples=20_000)
    monkeypatch.setattr(FitConfig, "preset", staticmethod(lambda quality, seed: short))
    folders = [*bodies.made.folders, heads.made.folder]
    avatar = api.fit(observation, quality="fast", labels=folders, consent="public-domain")
    sources = avatar.meta["label_sources"]
    assert [sources[folder.name]["labels"] for folder in folders] == [1, 2]
    avatar.save(tmp_path / "me")
    again = Avatar.load(tmp_path / "me", api.get_body())
    assert len(again) == len(avatar) > 10_000 and again.meta["label_sources"] == sources
