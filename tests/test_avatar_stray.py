"""What hands do not take from the photo: trousers along a finger, and the black between two fingers."""

import numpy as np
import pytest

from pipeline.avatar import geometry as geo
from pipeline.avatar import stray
from pipeline.avatar.arms import FOREARM, HAND, arm_segments, without_holes
from pipeline.avatar.attach import Samples

SIZE = (1024, 96)
SKIN, SHADE = np.float32([0.8, 0.58, 0.48]), np.float32([0.56, 0.36, 0.27])
NAVY, WHITE, BLACK = np.float32([0.1, 0.1, 0.16]), np.float32([0.97, 0.97, 0.96]), np.float32([0.03, 0.02, 0.02])


@pytest.fixture(scope="module")
def body():
    from pipeline.body import load_body

    return load_body()


def hits(face: np.ndarray) -> geo.Hits:
    return geo.Hits(face, np.zeros((*face.shape, 3), np.float32), np.ones(face.shape, np.float32))


@pytest.fixture
def picture(body):
    """A left arm before trousers: rows 0..24 a navy sleeve, 24..80 the hand. Labels, layers and colours."""
    segments, groups = arm_segments(body), geo.face_groups(body)
    hand = np.flatnonzero((segments == HAND) & (groups == geo.LEFT_ARM))[0]
    fore = np.flatnonzero((segments == 1) & (groups == geo.LEFT_ARM))[0]
    label = np.full(SIZE, geo.BODY, np.int8)
    label[:80, 30:60] = geo.LEFT_ARM
    face = np.full(SIZE, -1)
    face[:24, 30:60], face[24:80, 30:60] = fore, hand
    layers = {group: hits(np.full(SIZE, -1)) for group in range(7)}
    layers[geo.LEFT_ARM] = hits(face)
    trunk = np.flatnonzero(geo.region(body, "torso")[np.asarray(body.faces)].all(1))[0]
    layers[geo.BODY] = hits(np.where(label == geo.BODY, trunk, -1))
    image = np.tile(NAVY, (*SIZE, 1))
    image[24:80, 30:60] = SKIN
    image[40:80, 50:58] = SHADE
    return label, layers, image


def test_shaded_skin_is_skin_and_cloth_walls_and_gaps_are_not():
    assert stray.like_skin(np.stack([SKIN, SHADE, 1.2 * SKIN]), SKIN).all()
    assert not stray.like_skin(np.stack([NAVY, WHITE, BLACK, np.float32([0.3, 0.6, 0.3])]), SKIN).any()
    light = np.float32([0.95, 0.82, 0.76])
    assert not stray.like_skin(WHITE, light)


def test_trousers_along_a_finger_go_back_to_the_body(body, picture):
    label, layers, image = picture
    image[50:80, 30:34] = NAVY
    out = stray.without_strays(body, label, layers, image)
    np.testing.assert_array_equal(out[50:80, 30:34], geo.BODY)
    assert (out != label).sum() == 30 * 4


def test_a_light_rim_and_a_gap_belong_to_nothing_and_a_held_thing_to_the_body(body, picture):
    label, layers, image = picture
    label[:, 60:] = -1
    image[40:80, 57:60] = WHITE
    image[66:80, 40:54] = NAVY
    out = stray.without_strays(body, label, layers, image)
    assert (out[40:77, 57:60] == -1).all()
    assert (out[66:80, 40:54] == -1).all()  # skin on three sides: a gap
    np.testing.assert_array_equal(out[:, :40], label[:, :40])
    image[66:80, 30:54] = NAVY
    out = stray.without_strays(body, label, layers, image)
    assert (out[66:80, 31:50] == geo.BODY).all()


def test_a_gap_between_fingers_that_the_picture_cuts_off_is_one(body, picture):
    label, layers, image = picture
    image[50:70, 40:47] = WHITE
    np.testing.assert_array_equal(stray.without_strays(body, label, layers, image), label)  # a plaster
    lower = [np.concatenate([a[80:], a[:70]]) for a in (label, image)]
    cut = {group: hits(np.concatenate([layer.face[80:], layer.face[:70]])) for group, layer in layers.items()}
    out = stray.without_strays(body, lower[0], cut, lower[1])
    assert (out[-20:, 40:47] == -1).all() and (out != lower[0]).sum() == 20 * 7


def test_the_bright_line_of_a_sharpened_photo_belongs_to_nothing(body, picture):
    label, layers, image = picture
    image[40:80, 30:36] = WHITE
    out = stray.without_strays(body, label, layers, image)
    assert (out[40:80, 30:36] == -1).all()
    np.testing.assert_array_equal(out[:, 36:], label[:, 36:])


def test_what_no_body_carries_does_not_hang_in_the_air(body, picture):
    label, layers, image = picture
    label[:, :30] = label[:, 60:] = label[80:] = -1
    image[70:74, 30:60] = NAVY
    out = stray.without_strays(body, label, layers, image)
    assert (out[70:74, 30:60] == -1).all()
    image[58:80, 30:60] = NAVY  # as thick as a held thing: it goes with the hand
    np.testing.assert_array_equal(stray.without_strays(body, label, layers, image), label)


def test_crumbs_of_skin_among_strays_go_with_them(body, picture):
    label, layers, image = picture
    image[50:80, 30:42] = NAVY
    image[60:63, 32:36] = SKIN
    out = stray.without_strays(body, label, layers, image)
    assert (out[60:63, 32:36] == -1).all() and (out[50:80, 36:42] == geo.BODY).all()


def test_a_nail_at_the_border_stays(body, picture):
    label, layers, image = picture
    image[76:80, 40:50] = 0.5 + 0.5 * NAVY
    np.testing.assert_array_equal(stray.without_strays(body, label, layers, image), label)


def test_what_skin_surrounds_and_what_joins_the_sleeve_stays(body, picture):
    label, layers, image = picture
    image[60:64, 40:44] = BLACK
    image[24:36, 30:60] = NAVY
    np.testing.assert_array_equal(stray.without_strays(body, label, layers, image), label)


def test_a_thin_line_that_starts_at_the_sleeve_is_no_sleeve(body, picture):
    label, layers, image = picture
    image[24:36, 30:60] = NAVY
    image[36:80, 30:33] = NAVY
    out = stray.without_strays(body, label, layers, image)
    assert (out[42:80, 30:33] == geo.BODY).all() and (out[24:33, 30:60] == geo.LEFT_ARM).all()


def test_gloves_of_several_colours_are_left_alone(body, picture):
    label, layers, image = picture
    image[24:80, 30:60] = np.random.default_rng(0).random((56, 30, 3))
    np.testing.assert_array_equal(stray.without_strays(body, label, layers, image), label)


def test_a_sleeve_over_most_of_the_hand_is_not_its_colour():
    inner = np.concatenate([np.tile(NAVY, (600, 1)), np.tile(SKIN, (300, 1))])
    face = np.tile(1.1 * SKIN, (200, 1))
    np.testing.assert_allclose(stray.own_color(inner, face), SKIN, atol=0.01)
    assert stray.own_color(inner[:100], face) is None
    assert stray.own_color(inner[:700], face) is None, "next to nothing is bare"
    np.testing.assert_allclose(stray.own_color(inner[:700], face[:0]), NAVY, atol=0.01)
    brown = np.float32([0.19, 0.15, 0.16])
    assert stray.own_color(np.tile(brown, (600, 1)), face) is None, "a brown glove, and no skin in the dark"


def test_black_splats_at_the_border_of_a_hand_are_left_out_and_their_neighbours_know():
    rgb = np.stack([BLACK, SKIN, NAVY, WHITE, BLACK])
    hand = stray.SkinSplats(np.arange(0), SKIN, np.zeros(0), np.arange(4))
    rim = stray.black_rim(rgb, [hand])
    np.testing.assert_array_equal(rim, [True, False, True, False, False])
    near = np.array([[1, 2, -1, 4], [0, 2, 3, 4], [0, 1, 3, -1], [1, 4, -1, -1], [3, 0, 2, 1]])
    columns = {name: np.arange(5) for name in ("face", "scale", "group", "kind", "guessed")}
    shapes = {"bary": 3, "point": 3, "rgb": 3, "skin_index": 6, "skin_weight": 6}
    columns |= {name: np.repeat(np.arange(5)[:, None], n, 1) for name, n in shapes.items()}
    kept = Samples(**columns, neighbours=near).take(~rim)
    np.testing.assert_array_equal(kept.face, [1, 3, 4])
    np.testing.assert_array_equal(kept.neighbours, [[-1, -1, 1, 2], [0, 2, -1, -1], [1, -1, -1, 0]])


def test_colours_of_hands_are_those_of_the_skin_around():
    """A row of lit and a row of shaded skin, and among them what is none."""
    lit, shaded = (np.tile(colour, (20, 1)) for colour in (SKIN, SHADE))
    odd = np.stack([BLACK, WHITE, NAVY, BLACK, NAVY])
    rgb = np.concatenate([lit, shaded, odd]).astype(np.float32)
    point = np.zeros((45, 3), np.float32)
    point[:20, 0], point[20:40, 0], point[20:40, 1] = np.arange(20), np.arange(20), 100
    point[40:, 0], point[[40, 42], 1] = 10, 100
    surface = np.arange(45) != 43
    room = np.full(44, 0.004)
    hand = stray.SkinSplats(np.arange(44), SKIN, np.where(np.arange(44) == 40, 0.001, room), np.arange(0))
    out, scale = stray.tamed(rgb, np.full(45, 0.002, np.float32), point, [hand], surface)
    np.testing.assert_allclose(out[[40, 42]], [SHADE, SHADE], atol=1e-6)
    np.testing.assert_allclose(out[41], SKIN, atol=1e-6)
    assert out[43].mean() == pytest.approx(stray.BLACK * SKIN.mean(), rel=0.1) and out[43, 0] > 1.8 * out[43, 2]
    np.testing.assert_array_equal(out[:40], rgb[:40])
    np.testing.assert_array_equal(out[44], NAVY)
    np.testing.assert_allclose(scale, np.where(np.arange(45) == 40, 0.001, 0.002))
    assert out.dtype == np.float32


def test_skin_along_a_bare_arm_is_the_arms_and_a_neck_that_the_hand_touches_is_not():
    label = np.full((100, 110), geo.BODY, np.int8)
    label[20:80, 30:50] = geo.LEFT_ARM
    image = np.tile(NAVY, (100, 110, 1))
    image[20:80, 24:50] = SKIN  # 6 pixels beside the label
    image[30:70, 50:105] = SKIN  # other skin, on its other side
    out = stray.with_rims(label, {geo.LEFT_ARM: SKIN}, image, 10.0)
    assert (out[20:80, 24:50] == geo.LEFT_ARM).all()
    assert (out != label).sum() == 60 * 6
    image[30:70, 60:105] = 1.5 * SKIN  # brighter than the hand can be: still a neck
    np.testing.assert_array_equal(stray.with_rims(label, {geo.LEFT_ARM: SKIN}, image, 5.0), out)
    image[30:70, 60:105] = SKIN
    image[20:80, 6:24] = SKIN  # as wide as a label may be wrong where cloth ends the skin
    out = stray.with_rims(label, {geo.LEFT_ARM: SKIN}, image, 10.0)
    assert (out[20:80, 6:50] == geo.LEFT_ARM).all() and (out[:, 50:] == geo.BODY).all()


def test_cloth_that_is_somewhat_like_skin_stays_cloth():
    label = np.full((100, 80), geo.BODY, np.int8)
    label[20:80, 30:50] = geo.LEFT_ARM
    grey = np.float32([0.42, 0.37, 0.37])
    image = np.tile(grey, (100, 80, 1))
    image[:, 50:60] = grey * [1.06, 0.98, 0.95]  # reddish by what the arm throws back
    image[20:80, 30:50] = SKIN
    assert stray.like_skin(image[50, 50], SKIN)
    assert not stray.like_skin(image[50, 70], SKIN)
    out = stray.with_rims(label, {geo.LEFT_ARM: SKIN}, image, 10.0)
    np.testing.assert_array_equal(out, label)
    image[:, 50:60] = 0.8 * SKIN
    assert (stray.with_rims(label, {geo.LEFT_ARM: SKIN}, image, 10.0)[20:80, 50:60] == geo.LEFT_ARM).all()


def test_a_highlight_is_no_hole_in_an_arm_and_a_gap_between_fingers_is_one(body):
    segments, groups = arm_segments(body), geo.face_groups(body)
    left = groups == geo.LEFT_ARM
    fore, hand = (int(np.flatnonzero(left & (segments == s))[0]) for s in (FOREARM, HAND))
    label, face = np.full((200, 80), geo.BODY, np.int8), np.full((200, 80), -1)
    label[10:190, 20:60] = geo.LEFT_ARM
    face[10:110, 24:60], face[110:190, 24:60] = fore, hand
    whole = label.copy()
    label[40:50, 21:30] = label[150:160, 40:48] = geo.BODY
    found = without_holes(body, label, {geo.LEFT_ARM: hits(face), geo.RIGHT_ARM: hits(np.full((200, 80), -1))})
    assert (found[:110] == whole[:110]).all() and (found[110:] == label[110:]).all()
    label[20:100, 25:55] = geo.BODY  # an arm that is bent to a ring
    found = without_holes(body, label, {geo.LEFT_ARM: hits(face), geo.RIGHT_ARM: hits(np.full((200, 80), -1))})
    np.testing.assert_array_equal(found, label)
