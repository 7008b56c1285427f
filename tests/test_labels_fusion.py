"""How labels join the fit: seams, exposure, colours of what the photo does not show. Numbers, on a toy body."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from toy_body import ToyBody, toy_observation

from pipeline.avatar import fit, initial, lessons
from pipeline.avatar import geometry as geo
from pipeline.avatar.optimise import GaussianStage
from pipeline.config import FitConfig
from pipeline.labels.fusion import BODY_FACE_WEIGHT, fuse
from pipeline.types import PseudoLabel

CONFIG = FitConfig(steps=12, surface_samples=5000, seed=3, label_start=0.25)
RED = np.array([0.9, 0.1, 0.1], np.float32)


@pytest.fixture(scope="module")
def body():
    return ToyBody()


@pytest.fixture(scope="module")
def observation(body):
    return toy_observation(body, width=72, height=128)


@pytest.fixture(scope="module")
def plain(body, observation):
    return fit(observation, body, config=CONFIG)


def placed(body, observation):
    """Gaussians before the fit: samples and dX."""
    scene = initial.working_scene(body, observation, CONFIG.working_height)
    posed = initial.posed_body(body, scene.params)
    dT = initial.mesh_stage(body, posed, scene, CONFIG)
    samples, *_ = initial.place_gaussians(body, posed, dT, scene, CONFIG)
    return samples, initial.canonical_offsets(body, posed, samples)


def colour_gradient(body, observation, label):
    """(N,) size of the gradient of L_diff on the colours before the first step, and where the splats are (N, 2)."""
    scene = initial.working_scene(body, observation, CONFIG.working_height)
    posed = initial.posed_body(body, scene.params)
    samples, dX = placed(body, observation)
    dT = np.zeros((len(posed.vertices), 3), np.float32)
    stage = GaussianStage(body, posed, samples, dX, dT, scene, scene.params, CONFIG, [label])
    stage.label_loss(0).backward()
    return stage.fields.rgb.grad.abs().amax(1).numpy(), observation.camera.project(samples.point)[0]


def rows_of(avatar, observation):
    """Picture row of every Gaussian at the photo's pose."""
    return observation.camera.project(avatar.pose(avatar.params)[0].numpy())[0][:, 1]


def test_a_head_label_teaches_the_head_and_nothing_below_its_seam(body, observation, plain):
    """The label shows a dark mouth and a torso in the wrong colour; only the mouth may get into the avatar."""
    neck, image = 44, observation.image.copy()
    mouth = np.s_[30:36, 32:40]
    image[mouth] = 0.02
    image[neck:] = RED
    weight = np.clip((neck - 2 - np.arange(128, dtype=np.float32)) / 4, 0, 1)[:, None].repeat(72, 1)
    label = PseudoLabel(image, observation.alpha, observation.camera, observation.params, "head", 1.0, weight)
    taught = fit(observation, body, (label,), CONFIG)
    row = rows_of(plain, observation)
    below = row > neck + 8
    assert below.sum() > 1000

    def redder(avatar):
        shift = (avatar.rgb - plain.rgb).numpy()[below]
        return float((shift[:, 0] - shift[:, 1]).mean())

    wrong = fit(observation, body, (dataclasses.replace(label, weight=None),), CONFIG)
    assert abs(redder(taught)) < 1e-3 and redder(wrong) > 10 * abs(redder(taught)), "without the seam it is spoilt"
    gradient, at = colour_gradient(body, observation, label)
    assert gradient[at[:, 1] > neck + 3].max() == 0 < gradient[at[:, 1] < neck - 8].max()
    at = observation.camera.project(plain.pose(plain.params)[0].numpy())[0]
    hit = (at[:, 0] > 32) & (at[:, 0] < 40) & (at[:, 1] > 30) & (at[:, 1] < 36) & (plain.guessed.numpy() < 0.5)
    darker = (plain.rgb - taught.rgb).mean(1).numpy()[hit].mean()
    assert darker > 0.01, "the mouth is taught"


def test_bodies_give_way_to_heads(monkeypatch, observation):
    ramp = np.zeros((128, 72), np.float32)
    ramp[:40] = 1
    monkeypatch.setattr("pipeline.labels.fusion.seam_mask", lambda body, params, camera: ramp)
    make = lambda region, **more: PseudoLabel(  # noqa: E731
        observation.image, observation.alpha, observation.camera, observation.params, region, **more
    )
    generated, filmed, head = make("body"), make("body", filmed=True), make("head", weight=ramp)
    alone = fuse(None, [generated, filmed])
    assert alone[0] is generated and alone[1] is filmed
    first, second, third = fuse(None, [generated, filmed, head])
    assert first.weight[0, 0] == pytest.approx(BODY_FACE_WEIGHT) and first.weight[100, 0] == 1
    assert second is filmed and third is head
    masked = fuse(None, [make("body", weight=1 - ramp), head])[0]
    assert masked.weight[0, 0] == 0 and masked.weight[100, 0] == 1


def turned_label(body, observation, angle, colour, gain=1.0, **more):
    """A picture of the toy's side in one colour, as a camera with another exposure shows it."""
    params = observation.params.replace(global_orient=np.array([0, angle, 0], np.float32))
    hits = geo.cast(initial.posed_body(body, params).vertices, body.faces.numpy(), observation.camera)
    alpha = (hits.face >= 0).astype(np.float32)
    image = np.zeros_like(observation.image) + colour * gain
    return PseudoLabel(image.astype(np.float32), alpha, observation.camera, params, "body", filmed=True, **more)


def test_guessed_splats_take_the_colours_that_labels_show(body, observation):
    samples, dX = placed(body, observation)
    red = [turned_label(body, observation, angle, RED) for angle in (2.4, 2.8, 3.14)]
    sightings = [lessons.look(body, samples, dX, label) for label in red]
    guessed = samples.guessed > lessons.GUESSED
    assert 0.1 < sightings[-1].seen[guessed].mean() < 0.95, "the back is seen, and not all of it"
    assert sightings[-1].seen[~guessed].mean() < 0.02, "the front is not"
    taken, _, count = lessons.take_lessons(body, samples, dX, red)
    now = (samples.guessed > 0.5) & (taken.guessed <= 0.5)
    assert count == now.sum() > 500
    assert np.abs(taken.rgb[now] - RED).max() < 0.02
    kept = samples.guessed <= 0.5
    assert np.array_equal(taken.rgb[kept], samples.rgb[kept])
    doubted = [dataclasses.replace(label, confidence=0.05) for label in red]
    assert lessons.take_lessons(body, samples, dX, doubted)[2] == 0
    outlier = turned_label(body, observation, 3.14, np.array([0.1, 0.9, 0.1], np.float32))
    robust, _, _ = lessons.take_lessons(body, samples, dX, [*red, outlier])
    assert np.median(np.abs(robust.rgb[now] - RED).max(1)) < 0.02, "one bad label of four does no harm"


def test_labels_are_brought_into_the_photo_s_light(body, observation):
    samples, dX = placed(body, observation)
    cast = np.array([0.7, 0.8, 0.95], np.float32)
    label = PseudoLabel(
        observation.image * cast, observation.alpha, observation.camera, observation.params, "body", filmed=True
    )
    _, (matched,), _ = lessons.take_lessons(body, samples, dX, [label])
    inside = observation.alpha > 0.9
    before = np.abs(label.image - observation.image)[inside].mean()
    after = np.abs(matched.image - observation.image)[inside].mean()
    assert after < 0.2 * before
    _, (bounded,), _ = lessons.take_lessons(body, samples, dX, [dataclasses.replace(label, filmed=False)])
    assert bounded.image[inside].mean() / label.image[inside].mean() < 1.26, "generated ones by a quarter at most"


def test_filmed_labels_teach_the_outline(body, observation, plain):
    """A frame that shows wider clothes than the photo: a filmed one lets the avatar grow, a generated one does not."""
    from pipeline.render import rasterize_gaussians

    wide = toy_observation(body, puff=0.035, width=72, height=128)
    label = PseudoLabel(wide.image, wide.alpha, wide.camera, wide.params, "body", filmed=True)
    side = dataclasses.replace(label, filmed=False)

    def area(avatar):
        means, scales, colors = avatar.pose(avatar.params)
        return float(rasterize_gaussians(means, scales, colors, observation.camera).alpha.sum())

    config = CONFIG.replace(steps=30, lr_offsets=5e-4)
    grown, same = (area(fit(observation, body, (x,), config)) for x in (label, side))
    assert grown > same + 0.04 * (wide.alpha.sum() - observation.alpha.sum())


def test_half_transparent_pixels_of_footage_teach_no_colour(body, observation):
    """A blurred hand's matte is half white: that white must not get into the splats."""
    alpha = observation.alpha.copy()
    box = np.s_[60:76, 30:42]
    assert alpha[box].min() == 1
    alpha[box] = 0.6
    label = PseudoLabel(observation.image, alpha, observation.camera, observation.params, "body", filmed=True)
    gradient, at = colour_gradient(body, observation, label)
    inside = (at[:, 0] > 34) & (at[:, 0] < 38) & (at[:, 1] > 64) & (at[:, 1] < 72)
    around = (at[:, 1] > 80) & (at[:, 1] < 90)
    assert inside.sum() > 30 and gradient[around].mean() > 0
    assert gradient[inside].mean() < 0.02 * gradient[around].mean()
