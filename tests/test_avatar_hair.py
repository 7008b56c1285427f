"""Long hair goes with the head: found before sleeves and on the chest, and handed over to the body further down."""

import numpy as np
import pytest

from pipeline.avatar import geometry as geo
from pipeline.avatar.attach import HEAD, _towards_head
from pipeline.avatar.hair import HANGS, LIFT, hair_pixels, head_share, lifted
from pipeline.body import load_body
from pipeline.types import Camera

SHAPE = (300, 200)
BROWN, BLUE = (0.25, 0.13, 0.08), (0.2, 0.3, 0.7)


@pytest.fixture(scope="module")
def body():
    return load_body()


def portrait(body, sleeve: tuple[float, float, float], lock: tuple[int, int] | None):
    """A head with brown hair over a trunk and an arm in ``sleeve``, and a lock down to row ``lock``: rows from, to."""
    rng = np.random.default_rng(0)
    faces = np.asarray(body.faces)
    scalp = np.flatnonzero(geo.region(body, "scalp")[faces].all(1))[0]
    torso = np.flatnonzero(geo.region(body, "torso")[faces].all(1))[0]
    label, face, image = np.full(SHAPE, -1, np.int8), np.full(SHAPE, -1, np.int64), np.ones((*SHAPE, 3))
    label[20:80, 60:140], face[20:80, 60:140], image[20:80, 60:140] = geo.BODY, scalp, BROWN
    label[80:300, 40:120], face[80:300, 40:120], image[80:300, 40:120] = geo.BODY, torso, sleeve
    label[90:300, 120:180], image[90:300, 120:180] = geo.LEFT_ARM, sleeve
    hangs = np.zeros(SHAPE, bool)
    if lock is not None:
        hangs[lock[0] : lock[1], 100:138] = True
        label[lock[0] : 90, 100:138] = geo.BODY
        image[hangs] = BROWN
    image = np.clip(image + rng.normal(0, 0.02, image.shape), 0, 1).astype(np.float32)
    return label, geo.Hits(face, np.zeros((*SHAPE, 3), np.float32), np.zeros(SHAPE, np.float32)), image, hangs


def test_a_lock_on_chest_and_sleeve_is_found(body):
    label, hits, image, hangs = portrait(body, BLUE, (80, 180))
    found = hair_pixels(body, label, hits, image)
    assert found[hangs].mean() > 0.9 and found[~hangs].mean() < 0.02
    assert found[label == geo.LEFT_ARM].any() and found[label == geo.BODY].any()


@pytest.mark.parametrize(
    ("sleeve", "lock"), [(BROWN, (80, 180)), (BLUE, None), (BLUE, (120, 180))], ids=["same cloth", "short", "apart"]
)
def test_cloth_of_the_colour_of_the_hair_is_no_hair(body, sleeve, lock):
    """Nor is what does not reach the head."""
    label, hits, image, _ = portrait(body, sleeve, lock)
    assert not hair_pixels(body, label, hits, image).any()


def test_hair_lets_go_of_the_head_further_down():
    camera = Camera.frontal(200, 300, 400.0)
    on_head, hair = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    on_head[:100], hair[:250, 90:110] = True, True
    share = head_share(hair, on_head, np.full(SHAPE, 2.0, np.float32), camera)
    assert share[~hair].max() == 0 == share[on_head].max()
    column = share[100:250, 100]
    assert column[0] > 0.95 and (np.diff(column) <= 0).all()
    np.testing.assert_allclose(np.flatnonzero(column == 0)[0] * 2.0 / 400, HANGS, atol=0.01)


def test_weights_are_handed_over_and_still_sum_to_one():
    index = np.array([[9, 12, 0], [9, HEAD, 0], [3, 0, 0]])
    weight = np.array([[0.6, 0.4, 0.0], [0.5, 0.5, 0.0], [1.0, 0.0, 0.0]], np.float32)
    joints, mixed = _towards_head(index, weight, np.array([0.5, 1.0, 0.0]))
    of_head = [float(mixed[row][joints[row] == HEAD].sum()) for row in range(3)]
    assert of_head == pytest.approx([0.5, 1.0, 0.0]) and mixed.sum(1) == pytest.approx(np.ones(3))
    assert float(mixed[0][joints[0] == 9].sum()) == pytest.approx(0.3)
    np.testing.assert_array_equal(joints[2], index[2])


def test_hair_leaves_the_head_without_a_step():
    away = np.linspace(0, HANGS, 200)
    lift = lifted(np.clip(1 - away / HANGS, 0, 1))
    assert lift[0] == 0 and lift[-1] == 0 and 0.7 * LIFT < lift.max() <= LIFT
    assert np.abs(np.diff(lift)).max() < 0.7 * np.diff(away).max()
