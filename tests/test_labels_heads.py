"""Head labels in the fit: moved to where the head is, and what they show of lids and mouth. On a synthetic person."""

import dataclasses

import cv2
import numpy as np
import pytest

from pipeline.avatar import geometry as geo
from pipeline.avatar import initial, inside, lessons, settle
from pipeline.avatar.attach import LID
from pipeline.body import load_body
from pipeline.config import FitConfig
from pipeline.evaluate.ablation import corrupt, person, scenes
from pipeline.types import BodyParams

CONFIG = FitConfig(steps=0, surface_samples=30_000, max_pixels=12_000, working_height=224)
CLEAN = corrupt.Corruption(*(0.0,) * 11)


@pytest.fixture(scope="module")
def truth():
    return person.make_person(load_body(), 0, 224, 40_000)


@pytest.fixture(scope="module")
def pose(truth):
    body = truth.body
    params = BodyParams.zeros(body.n_betas, body.n_expression).replace(betas=truth.avatar.params.betas)
    return params.replace(**scenes._neutral(body))


@pytest.fixture(scope="module")
def placed(truth, pose):
    """The photo's scene, dT, and Gaussians with their dX before the fit."""
    camera = corrupt.bust_camera(truth, pose, truth.avatar.camera)
    scene = initial.working_scene(truth.body, person.photo(truth, pose, camera, 0), CONFIG.working_height)
    posed = initial.posed_body(truth.body, scene.params)
    dT = initial.mesh_stage(truth.body, posed, scene, CONFIG)
    samples, _, scene = initial.place_gaussians(truth.body, posed, dT, scene, CONFIG)
    return scene, dT, samples, initial.canonical_offsets(truth.body, posed, samples)


def shown(truth, pose, **actions):
    """A head label without any damage."""
    asked = pose.replace(**scenes._acting(truth.body, actions))
    return corrupt.head_label(
        truth, asked, truth.avatar.camera.orbited(9, 4, np.zeros(3)), np.random.default_rng(0), CLEAN
    )


def colours_of(truth, samples, rows):
    """The true, unlit colours (n, 3) nearest to splats ``rows``, and those of the splats."""
    from scipy.spatial import cKDTree

    body, a = truth.body, truth.avatar
    template, faces = np.asarray(body.v_template), np.asarray(body.faces)
    there = (template[faces[a.face_ids.numpy()]] * a.bary.numpy()[..., None]).sum(1)
    here = (template[faces[samples.face[rows]]] * samples.bary[rows][..., None]).sum(1)
    return a.rgb.numpy()[cKDTree(there).query(here)[1]]


def test_a_head_that_lies_off_is_moved_back(truth, pose, placed):
    scene, dT, _, _ = placed
    label = shown(truth, pose, jawOpen=0.4)
    off = np.array([[1, 0, 7], [0, 1, -5]], np.float32)
    size = (label.camera.width, label.camera.height)
    wrong = dataclasses.replace(label, image=0.9 * cv2.warpAffine(label.image, off, size, borderValue=(1, 1, 1)))
    right = settle.settled(truth.body, wrong, dT, scene)
    face = np.s_[90:170, 90:170]
    before, after = (np.abs(x.image[face] - 0.9 * label.image[face]).mean() for x in (wrong, right))
    assert after < 0.3 * before
    assert right.weight.max() <= 1 and right.weight[:, -6:].max() < 0.5, "nothing is taught beyond the frame's edge"


def test_what_cannot_be_moved_stays(truth, pose, placed):
    scene, dT, _, _ = placed
    label = shown(truth, pose)
    noise = np.random.default_rng(0).random(label.image.shape).astype(np.float32)
    for other in (dataclasses.replace(label, image=noise), dataclasses.replace(label, region="body")):
        assert settle.settled(truth.body, other, dT, scene) is other
    far = np.roll(label.image, 60, 1)
    moved = settle.settled(truth.body, dataclasses.replace(label, image=far), dT, scene)
    assert np.array_equal(moved.image, far), "too far to be believed"


def test_lids_teeth_and_tongue_are_learnt(truth, pose, placed):
    _, _, samples, dX = placed
    labels = [shown(truth, pose, eyeBlinkLeft=1, eyeBlinkRight=1), shown(truth, pose, jawOpen=0.8)]
    taught, _, learnt = lessons.take_lessons(truth.body, samples, dX, labels)
    glimpses = [lessons.look(truth.body, samples, dX, label).inside for label in labels]
    rows = inside.inside_rows(samples)
    lids, mouth = samples.kind[rows] == LID, samples.group[rows] == geo.MOUTH
    closed, opened = (g.weight > 0 for g in glimpses)
    assert closed[lids].mean() > 2 * opened[lids].mean(), "open eyes show little of the lids"
    assert not closed[mouth].any() and opened[mouth].sum() > 10, "closed lips show no teeth"
    known = rows[closed | opened]
    assert learnt >= len(known) and (taught.guessed[known] == 0).all()
    wanted = colours_of(truth, samples, known)
    before, after = (np.abs(s.rgb[known] / s.rgb[known].max(1, keepdims=True)
                            - wanted / wanted.max(1, keepdims=True)).mean() for s in (samples, taught))  # fmt: skip
    assert after < 0.7 * before, "hues, because the truth is lit"
    other = np.setdiff1d(np.flatnonzero(samples.guessed <= 0.5), rows)
    assert np.array_equal(taught.rgb[other], samples.rgb[other])


def test_the_seams_teach_nothing():
    cover = np.zeros((12, 12, 5), np.float32)
    cover[2:10, 2:10, 3] = 1
    cover[2:5, 2:10, 3], cover[2:5, 2:10, 1] = 0, 1
    cover[0, :, 0] = 1
    teach = inside.teaching(cover)
    assert teach[7, 6] > 0.9 and teach[0].min() == 1
    assert teach[2:10, 2].max() == teach[9].max() == teach[4, 3:9].max() == teach[5, 3:9].max() == 0


def test_weighted_median():
    values = np.array([[[1.0]], [[9.0]], [[2.0]], [[3.0]]])
    median, total = inside.weighted_median(values, np.array([[[1.0]], [[0.0]], [[1.0]], [[1.0]]]))
    assert median[0, 0] == 2 and total[0, 0] == 3
    assert inside.weighted_median(values[:3], np.array([[[1.0]], [[0.0]], [[1.0]]]))[0][0, 0] == pytest.approx(1.5)
    assert inside.weighted_median(values, np.zeros((4, 1, 1)))[0][0, 0] == 0
    assert inside.weighted_median(values[:1], np.ones((1, 1, 1)))[0][0, 0] == 1
