"""Painting the person away: exact outside, plausible inside."""

from __future__ import annotations

import numpy as np

from pipeline.perceive.background import _integrated, find_hole, inpaint_background, mirrored, spread
from pipeline.perceive.matte import inpaint_background as same_function


def scene(height: int = 256, width: int = 144) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sky over striped ground with a red person in front: picture, matte and the true background."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    sky = np.stack([0.4 + 0 * y, 0.6 + 0.2 * y / height, 0.9 + 0 * y], -1)
    ground = np.stack([0.3 + 0.1 * np.sign(np.sin(x / 3)), 0.5 + 0 * x, 0.2 + 0 * x], -1)
    true = np.where((y < 0.6 * height)[..., None], sky, ground).astype(np.float32)
    alpha = ((np.abs(x - width / 2) < 0.18 * width) & (y > 0.3 * height)).astype(np.float32)
    image = np.where(alpha[..., None] > 0, np.array([0.9, 0.1, 0.1], np.float32), true).astype(np.float32)
    return image, alpha, true


def test_person_is_gone() -> None:
    image, alpha, true = scene()
    filled = inpaint_background(image, alpha)
    assert filled.shape == image.shape and filled.dtype == np.float32
    assert filled.min() >= 0 and filled.max() <= 1
    inside = alpha > 0
    assert (filled[inside][:, 0] - filled[inside][:, 1]).max() < 0.25  # nothing red is left
    assert np.abs(filled - true)[inside].mean() < 0.08
    upper, lower = inside.copy(), inside.copy()
    upper[140:], lower[:180] = False, False
    assert filled[upper][:, 2].mean() > 0.8 > 0.4 > filled[lower][:, 2].mean()  # sky above, ground below


def test_nothing_else_changes_and_nothing_is_random() -> None:
    image, alpha, _ = scene()
    filled = inpaint_background(image, alpha)
    away = ~find_hole(alpha)
    assert np.array_equal(filled[away], image[away]) and away.mean() > 0.5
    assert np.array_equal(filled, inpaint_background(image, alpha))
    assert same_function is inpaint_background


def test_padding_is_filled_too() -> None:
    image, alpha, true = scene()
    valid = np.ones(alpha.shape, bool)
    valid[:60] = False
    striped = image.copy()
    striped[:60] = np.random.default_rng(0).random((1, 144, 3))
    filled = inpaint_background(striped, alpha, valid)
    assert np.abs(filled[:60] - true[:60]).mean() < 0.06
    assert filled.shape == image.shape and filled.min() >= 0 and filled.max() <= 1


def test_padding_mirrors_the_photo_and_loses_focus_with_the_distance() -> None:
    photo = np.random.default_rng(1).random((80, 60, 3)).astype(np.float32)
    box = (slice(40, 120), slice(0, 60))
    whole = mirrored(photo, box, (160, 60))
    assert np.array_equal(whole[box], photo)
    near, far = np.abs(whole[39] - photo[0]).mean(), np.abs(whole[0] - photo[39]).mean()
    assert near < 0.05 < far, "the first row is the mirror image, the last one a blur"
    assert whole[:8].std() < 0.3 * photo.std()
    assert np.allclose(whole[:30].mean(), photo.mean(), atol=0.05)


def test_padding_continues_the_sky_and_not_the_mountains_below_it() -> None:
    photo = np.full((100, 60, 3), 0.2, np.float32)
    photo[:20] = 0.8
    whole = mirrored(photo, (slice(100, 200), slice(0, 60)), (200, 60))
    assert whole[:100].min() > 0.75


def test_padding_continues_folds_of_a_curtain() -> None:
    folds = 0.5 + 0.4 * np.sin(np.arange(60) / 4)
    photo = np.repeat(np.broadcast_to(folds, (100, 60))[..., None], 3, -1).astype(np.float32)
    whole = mirrored(photo, (slice(60, 160), slice(0, 60)), (160, 60))
    assert np.corrcoef(whole[30, :, 0], folds)[0, 1] > 0.9 and whole[30].std() > 0.5 * photo.std()
    assert whole[0].std() < 0.25 * photo.std(), "and not as streaks up to the picture's edge"


def test_more_padding_than_photo() -> None:
    photo = np.random.default_rng(2).random((10, 60, 3)).astype(np.float32)
    whole = mirrored(photo, (slice(75, 85), slice(0, 60)), (160, 60))
    assert np.isfinite(whole).all() and np.array_equal(whole[75:85], photo)


def test_matte_is_grown_so_that_no_rim_stays() -> None:
    _, alpha, _ = scene()
    hole = find_hole(0.05 * alpha)
    rows, columns = np.nonzero(alpha)
    assert hole[rows.min() - 2, 72] and hole[200, columns.min() - 2] and not hole[10, 10]


def test_plain_ground_from_two_places_has_no_seam_and_a_line_of_its_source_stays() -> None:
    """A gap in plain ground of 0.6, filled from ground of 0.7 on its left and 0.5 on its right, with a line across."""
    image = np.full((60, 80, 3), 0.6, np.float32)
    image[:14, :40], image[:14, 40:] = 0.7, 0.5
    image[6, :] -= 0.2
    gap = np.zeros((60, 80), bool)
    gap[30:40, 20:60] = True
    offsets = np.zeros((60, 80, 2), np.int64)
    offsets[..., 0] = -28
    offsets[:, 20:40, 1], offsets[:, 40:60, 1] = -10, 10
    out = _integrated(image, gap, offsets)
    assert (out[33, 25:55] - out[34, 25:55] > 0.15).all()
    plain = np.delete(out[30:40], [3, 4, 5], 0)
    assert np.abs(plain[:, 39] - plain[:, 40]).max() < 0.01 and np.abs(plain - 0.6).max() < 0.06
    np.testing.assert_array_equal(out[~gap], image[~gap])


def test_extremes() -> None:
    image, alpha, _ = scene()
    assert np.array_equal(inpaint_background(image, 0 * alpha), image)
    everything = inpaint_background(image, np.ones_like(alpha))
    assert everything.shape == image.shape and np.isfinite(everything).all()
    corner = np.ones_like(alpha)
    corner[:6, :6] = 0
    assert np.isfinite(inpaint_background(image, corner)).all()


def test_spread_keeps_what_is_known() -> None:
    image, alpha, _ = scene()
    known = alpha == 0
    filled = spread(image, known)
    assert np.array_equal(filled[known], image[known])
    assert image[known].min() - 1e-3 <= filled.min() and filled.max() <= image[known].max() + 1e-3
    flat = spread(np.full((33, 57, 3), 0.3, np.float32), np.random.default_rng(0).random((33, 57)) > 0.9)
    assert np.allclose(flat, 0.3, atol=1e-4)


def test_small_gaps_are_painted_over_and_large_ones_kept() -> None:
    alpha = np.zeros((512, 288), np.float32)
    alpha[100:, 60:230] = 1
    alpha[300:316, 100:116] = alpha[300:400, 150:200] = 0
    hole = find_hole(alpha)
    assert hole[308, 108] and not hole[350, 175]
    assert not hole[:60].any()


def test_a_reflection_is_not_copied():
    """One small bright thing on a dark ground shows once, where it is, and not again where the person stood."""
    from pipeline.perceive.background import inpaint_background

    generator = np.random.default_rng(0)
    image = (0.08 + 0.04 * generator.random((240, 160, 1))).astype(np.float32).repeat(3, 2)
    image[200:215, 130:142] = 1.0
    alpha = np.zeros((240, 160), np.float32)
    alpha[60:240, 30:110] = 1.0
    filled = inpaint_background(image, alpha)
    assert filled[alpha > 0].max() < 0.5
    np.testing.assert_array_equal(filled[205:210, 132:140], image[205:210, 132:140])
