"""Guessed hands: nails, creases and palm lines are where a hand has them, and nowhere else."""

import numpy as np
import pytest

from pipeline.avatar import geometry as geo
from pipeline.avatar.hands import FINGERS, THUMB, hand_detail, lighter_palms, unroll_finger


@pytest.fixture(scope="module")
def body():
    from pipeline.body import load_body

    return load_body()


@pytest.fixture(scope="module")
def drawn(body):
    """Factors at the middles of all triangles, with their places and normals."""
    faces, template = np.asarray(body.faces), np.asarray(body.v_template)
    face = np.arange(len(faces))
    factor, _ = hand_detail(body, face, np.full((len(faces), 3), 1 / 3, np.float32))
    normal = geo.vertex_normals(template, faces)[faces].mean(1)
    return factor, template[faces].mean(1), normal


def test_only_hands_are_drawn(body, drawn):
    factor, _, _ = drawn
    hand = geo.region(body, "left_hand", "right_hand")[np.asarray(body.faces)].any(1)
    np.testing.assert_array_equal(factor[~hand], 1)
    assert factor.min() >= 0.6 and factor.max() <= 1.2 and np.isfinite(factor).all()
    assert factor[hand].std() > 0.03


def test_both_hands_look_alike(body):
    from pipeline.avatar.completion import mirror_map

    faces = np.asarray(body.faces)
    vertex = np.unique(faces[geo.region(body, "left_hand")[faces].all(1)])
    other = mirror_map(body, 1e-3)[vertex]
    vertex, other = vertex[other >= 0], other[other >= 0]
    assert len(vertex) > 1000

    def at(vertices: np.ndarray) -> np.ndarray:
        first = np.full(len(body.v_template), -1)
        first[faces.ravel()[::-1]] = np.arange(faces.size)[::-1]
        corner = first[vertices]
        return hand_detail(body, corner // 3, np.eye(3, dtype=np.float32)[corner % 3])[0]

    assert np.quantile(np.abs(at(vertex) - at(other)), 0.95) < 0.05


def test_finger_sides_are_darker_than_back_and_palm(body, drawn):
    factor, _, normal = drawn
    faces, weights = np.asarray(body.faces), np.asarray(body.lbs_weights)
    middle = weights[:, [28, 29, 30]].sum(1)[faces].min(1) > 0.9
    side = middle & (np.abs(normal[:, 1]) < 0.2)
    flat = middle & (np.abs(normal[:, 1]) > 0.9)
    assert side.sum() > 20 and factor[side].mean() < factor[flat].mean() - 0.05


def test_nails_lie_on_the_back_of_the_last_bone_and_creases_under_the_joints(body):
    joints = body.shaped(*(np_zeros(1, n) for n in (body.n_betas, body.n_expression)))[1][0].numpy()
    hand = joints[[20, *range(25, 40)]]
    for number, finger in enumerate(FINGERS):
        if number == THUMB:
            continue
        a, b, c = hand[[1 + j for j in finger]]
        along = np.linspace(0, 1.6, 81)[:, None]
        line = c + along * (c - b) / 1.6 * 0.9
        up = np.tile([0.0, 1.0, 0.0], (81, 1))
        tips = (c + (c - b))[None]
        back = unroll_finger(line, up, hand, number, tips)
        palm = unroll_finger(line, -up, hand, number, tips)
        assert (back.back > 0.8).all() and (palm.back < -0.8).all()
        assert (np.diff(back.along) > 0).all()
        np.testing.assert_allclose(back.joints[1], np.linalg.norm(b - a) + np.linalg.norm(c - b), rtol=1e-5)


def np_zeros(*shape):
    import torch

    return torch.zeros(*shape)


def test_palms_are_the_inside_of_hands(body):
    faces, weights = np.asarray(body.faces), np.asarray(body.lbs_weights)
    _, palm = hand_detail(body, np.arange(len(faces)), np.full((len(faces), 3), 1 / 3, np.float32))
    normal = geo.vertex_normals(np.asarray(body.v_template), faces)[faces].mean(1)
    hand = geo.region(body, "left_hand", "right_hand")[faces].all(1)
    fingers = weights[:, [*range(25, 37), *range(40, 52)]].sum(1)[faces].min(1) > 0.9
    assert palm[~geo.region(body, "left_hand", "right_hand")[faces].any(1)].max() == 0
    assert palm[fingers & (normal[:, 1] < -0.8)].min() > 0.8 and palm[fingers & (normal[:, 1] > 0.8)].max() < 0.2
    assert 0.25 < palm[hand].mean() < 0.55


def test_dark_hands_have_lighter_palms():
    palm = np.array([1.0, 1.0, 0.0], np.float32)

    def change(skin: list[float], hand: list[float]) -> np.ndarray:
        return lighter_palms(np.array([hand] * 3), palm, np.array(skin)) / np.array(hand)

    brown, fair, grey = [0.46, 0.30, 0.21], [0.85, 0.62, 0.53], [0.17, 0.15, 0.17]
    lighter = change(brown, brown)
    assert (lighter[0] > 1.2).all() and (np.diff(lighter[0]) > 0).all()  # and less saturated
    np.testing.assert_array_equal(lighter[2], 1)
    np.testing.assert_array_equal(change(fair, fair), 1)
    np.testing.assert_array_equal(change(grey, grey), 1)  # dark for want of light
    np.testing.assert_array_equal(change(brown, [0.75, 0.62, 0.50]), 1)  # the photo shows the palm
