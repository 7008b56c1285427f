"""The person's outline: splats cover what the matte says, and learn no colour of what shines through."""

import numpy as np
import pytest
from scipy import ndimage

from pipeline.avatar import geometry as geo
from pipeline.avatar.attach import SURFACE, TIGHT, Samples, inner_pixels
from pipeline.avatar.optimise import SOLID, SOLID_ARM, solid_pixels
from pipeline.avatar.rim import LUMA, SOFT, calmed, covered, match_matte, part_colors
from pipeline.types import Camera

SIZE = 64


@pytest.fixture(scope="module")
def camera() -> Camera:
    return Camera.frontal(SIZE, SIZE, focal=200.0, distance=2.0)


def soft_disc() -> np.ndarray:
    """A matte whose edge is three pixels wide."""
    rows, cols = np.indices((SIZE, SIZE)) + 0.5
    distance = 20 - np.hypot(rows - SIZE / 2, cols - SIZE / 2)
    return np.clip(0.5 + distance / 3, 0, 1).astype(np.float32)


def one_splat_per_pixel(camera: Camera, mask: np.ndarray, group: int = geo.BODY) -> Samples:
    rows, cols = np.nonzero(mask)
    n = len(rows)
    point = geo.unproject(camera, cols + 0.5, rows + 0.5, np.full(n, 2.0))
    return Samples(
        face=np.zeros(n, np.int64), bary=np.tile(np.float32([1, 0, 0]), (n, 1)), point=point.astype(np.float32),
        rgb=np.full((n, 3), 0.5, np.float32), scale=np.full(n, 0.34 * 2 / 200, np.float32),
        group=np.full(n, group, np.int8), kind=np.full(n, TIGHT, np.int8), guessed=np.zeros(n, np.float32),
        skin_index=np.zeros((n, 6), np.int64), skin_weight=np.zeros((n, 6), np.float32),
        neighbours=np.full((n, 4), -1, np.int64),
    )  # fmt: skip


def test_splats_at_the_rim_cover_what_the_matte_says(camera):
    alpha = soft_disc()
    samples = one_splat_per_pixel(camera, alpha > 0.5)
    moved = match_matte(samples, camera, alpha)
    rim = (alpha > 0.5) & (alpha < 0.95)
    before, after = (np.abs(covered(s, s.point, camera) - alpha)[rim].mean() for s in (samples, moved))
    assert before > 0.2
    assert after < 0.6 * before
    row, col = np.nonzero(alpha > 0.5)
    still = alpha[row, col] > 0.96
    np.testing.assert_array_equal(moved.point[still], samples.point[still])
    xy, _ = camera.project(moved.point)
    assert np.linalg.norm(xy - np.stack([col + 0.5, row + 0.5], 1), axis=1).max() < 1.4


def test_only_photo_aligned_splats_are_moved(camera):
    alpha = soft_disc()
    samples = one_splat_per_pixel(camera, alpha > 0.5)
    samples.kind[:] = SURFACE
    np.testing.assert_array_equal(match_matte(samples, camera, alpha).point, samples.point)


def test_arms_learn_no_colour_from_half_transparent_pixels(camera):
    alpha = soft_disc()
    half = (alpha > SOLID) & (alpha < SOLID_ARM)
    assert half.any()
    body, arm = (
        solid_pixels(one_splat_per_pixel(camera, alpha > 0.5, group), camera, alpha)
        for group in (geo.BODY, geo.LEFT_ARM)
    )
    assert body[half].all() and not arm[half].any()
    np.testing.assert_array_equal(arm[alpha > SOLID_ARM], True)


@pytest.mark.parametrize("enlarged", [1.0, 2.2])
def test_shirt_beside_a_hand_has_no_colour_of_the_hand(enlarged):
    """A photo enlarged by bilinear interpolation: one pixel of it is mixed on either side of the border."""
    label = np.full((40, 60), geo.BODY, np.int8)
    label[:, 35:] = geo.LEFT_ARM
    shirt, skin = np.float32([0.1, 0.2, 0.6]), np.float32([0.9, 0.6, 0.5])
    share = np.clip((np.arange(60) + 0.5 - 35) / (2 * enlarged) + 0.5, 0, 1)[None, :, None]
    photo = np.broadcast_to(shirt + share * (skin - shirt), (40, 60, 3)).astype(np.float32)
    nothing = np.zeros(label.shape, bool)
    clean = part_colors(photo, np.ones(label.shape), label, nothing, enlarged)
    body = label == geo.BODY
    assert np.abs(photo - shirt)[body].max() > 0.1
    assert np.abs(clean - shirt)[body].max() < 0.01
    kept = enlarged < SOFT
    light = np.abs((clean - photo) @ LUMA)[~body].max()
    assert (light < 1e-3) == kept, "the arm of a sharp photo keeps its brightness"
    mixed, own = (c[~body] / (c[~body] @ LUMA)[:, None] - skin / (skin @ LUMA) for c in (photo, clean))
    assert np.abs(own).max() < 0.1 < np.abs(mixed).max(), "and has the skin's tint"
    assert (np.abs(clean - skin)[~body].max() < 0.01) != kept
    alone = part_colors(photo, np.ones(label.shape), np.zeros_like(label), nothing, enlarged)
    np.testing.assert_allclose(alone, photo, atol=1e-4)
    painted = label == geo.LEFT_ARM  # the same where what an arm covers was taken away from it
    taken = part_colors(photo, np.ones(label.shape), np.where(painted, -1, label).astype(np.int8), painted, enlarged)
    np.testing.assert_array_equal(taken[body], clean[body])


def test_an_arm_has_no_colours_that_a_wrong_matte_made_up():
    """Half-transparent pixels before leaves, un-mixed to purple: they stay near the skin beside them."""
    label = np.full((400, 60), -1, np.int8)
    label[:, :30] = geo.LEFT_ARM
    alpha = np.where(np.arange(60) < 27, 1.0, np.where(np.arange(60) < 30, 0.6, 0.0))[None].repeat(400, 0)
    skin, purple = np.float32([0.4, 0.3, 0.3]), np.float32([0.4, 0.0, 0.3])
    colours = np.where((alpha < 1)[..., None], purple, skin)
    out = part_colors(colours, alpha, label, np.zeros(label.shape, bool), 1.0)
    assert np.abs(out - skin)[:, :30].max() <= 0.06 + 1e-6
    np.testing.assert_array_equal(out[:, 30:], colours[:, 30:])


def disc_of(radius: float, size: int = SIZE) -> np.ndarray:
    """(size, size) int8 labels: a left arm in the middle, nobody around."""
    away = np.hypot(*(np.mgrid[:size, :size] + 0.5 - size / 2))
    return np.where(away < radius, geo.LEFT_ARM, -1).astype(np.int8)


def test_a_halo_along_an_arm_goes_in_an_enlarged_photo_only():
    skin = np.float32([0.8, 0.6, 0.5])
    label = disc_of(20)
    inside = ndimage.distance_transform_edt(label >= 0)
    photo = np.where((inside < 5.5)[..., None], 0.5 * skin, skin).astype(np.float32)
    for enlarged in (1.0, 2.2):
        out = part_colors(photo, np.ones(label.shape), label, np.zeros(label.shape, bool), enlarged)
        darkest = (out[(label >= 0) & (inside < 1.1)] @ LUMA).min() / (skin @ LUMA)
        assert (darkest > 0.7) == (enlarged > SOFT)
        np.testing.assert_allclose(out[inside > 8], photo[inside > 8], atol=0.02)


@pytest.mark.parametrize("enlarged", [1.0, 2.0])
def test_a_border_that_learnt_bright_and_dark_by_turns_is_even(camera, enlarged):
    """Only there: what the middle of an arm has learnt stays."""
    label = disc_of(20)
    samples = one_splat_per_pixel(camera, label >= 0, geo.LEFT_ARM)
    xy, _ = camera.project(samples.point)
    row, col = xy[:, 1].astype(int), xy[:, 0].astype(int)
    noise = np.where((row + col) % 2, 0.1, -0.1)[:, None]
    learnt = (samples.rgb + 0.05 + noise).astype(np.float32)
    out = calmed(learnt, samples, camera, label, enlarged)
    inside = ndimage.distance_transform_edt(label >= 0)[row, col]
    assert np.array_equal(out[inside > 8], learnt[inside > 8].clip(0, 1))
    wild = np.abs(out - samples.rgb - 0.05)[inside < 4]
    assert wild.mean() < 0.03 if enlarged > SOFT else np.array_equal(out, learnt)
    assert np.abs((out - samples.rgb)[inside < 4].mean() - 0.05) < 0.01, "the mean is what it was"


def test_specks_of_an_undecided_matte_are_left_out_and_strands_of_hair_stay():
    alpha = np.zeros((60, 60), np.float32)
    alpha[20:, 10:50] = 1.0
    alpha[10, 12:48:3] = 0.55
    mask = alpha > 0.5
    cloth, hair = (inner_pixels(mask, alpha, np.full(mask.shape, hairy)) for hairy in (False, True))
    assert not cloth[:20].any() and hair[10, 12:48:3].all()
    np.testing.assert_array_equal(cloth[20:], mask[20:])
