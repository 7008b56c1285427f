"""The edge between a sleeve and a hand that the photo does not show."""

import numpy as np
import pytest

from pipeline.avatar import geometry as geo
from pipeline.avatar.cuffs import sharp_colors, wrist_side

SLEEVE, SKIN = np.float32([0.1, 0.1, 0.3]), np.float32([0.8, 0.6, 0.5])


@pytest.fixture(scope="module")
def body():
    from pipeline.body import load_body

    return load_body()


@pytest.fixture(scope="module")
def wrist(body):
    """Vertex colours, and points all over the triangles near the left wrist."""
    faces, template = np.asarray(body.faces), np.asarray(body.v_template)
    hand = geo.region(body, "left_hand", "right_hand")
    rgb = np.where(hand[:, None], SKIN, SLEEVE)
    edge = template[faces[hand[faces].any(1) & ~hand[faces].all(1)].ravel()]
    middle = edge[edge[:, 0] > 0].mean(0)
    near = np.flatnonzero(np.linalg.norm(template[faces].mean(1) - middle, axis=1) < 0.06)
    share = np.random.default_rng(0).dirichlet(np.ones(3), (len(near), 30)).astype(np.float32)
    return rgb, np.repeat(near, 30), share.reshape(-1, 3)


def test_no_point_is_of_a_mixed_colour(body, wrist):
    rgb, face, bary = wrist
    out = sharp_colors(body, rgb, face, bary)
    gap = np.minimum(*(np.abs(out - colour).max(1) for colour in (SLEEVE, SKIN)))
    mixed = (rgb[np.asarray(body.faces)[face]] * bary[..., None]).sum(1)
    before = np.minimum(*(np.abs(mixed - colour).max(1) for colour in (SLEEVE, SKIN)))
    assert gap.max() < 1e-5 < 0.1 < before.max()


def test_the_edge_is_straighter_than_the_triangles(body, wrist):
    """How far the edge wanders along the forearm, in a narrow strip of the wrist's back."""
    rgb, face, bary = wrist
    faces, template = np.asarray(body.faces), np.asarray(body.v_template)
    point = (template[faces[face]] * bary[..., None]).sum(1)
    hand = geo.region(body, "left_hand", "right_hand")
    raw = (np.where(hand, 1.0, -1.0)[faces[face]] * bary).sum(1) > 0
    skin = np.abs(sharp_colors(body, rgb, face, bary) - SKIN).max(1) < 1e-5
    assert 0.9 < (raw == skin).mean() < 1

    def spread(mine: np.ndarray) -> float:
        """Millimetres of overlap between sleeve and hand along the arm, mean over strips."""
        strips = np.round(point[:, 2] / 0.004).astype(int)
        top = point[:, 1] > np.median(point[:, 1])
        overlaps = []
        for strip in np.unique(strips):
            here = top & (strips == strip)
            if mine[here].sum() > 20 and (~mine[here]).sum() > 20:
                overlaps.append(point[here & ~mine, 0].max() - point[here & mine, 0].min())
        return 1000 * float(np.mean(overlaps))

    assert spread(skin) < 0.7 * spread(raw)


def test_away_from_wrists_nothing_changes(body):
    faces = np.asarray(body.faces)
    hand = geo.region(body, "left_hand", "right_hand")
    far = np.flatnonzero((np.abs(wrist_side(faces, hand)) > 1 - 1e-9)[faces].all(1))
    rgb = np.random.default_rng(1).random((len(hand), 3)).astype(np.float32)
    bary = np.full((len(far), 3), 1 / 3, np.float32)
    np.testing.assert_allclose(sharp_colors(body, rgb, far, bary), rgb[faces[far]].mean(1), atol=1e-6)
    assert len(far) > 0.8 * len(faces)
