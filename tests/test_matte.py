"""The matte on the astronaut, and its parts on made-up pictures whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.perceive import matting
from pipeline.perceive.detect import Detector
from pipeline.perceive.matte import Matter, _decided, contrast, foreground_colors, make_trimap, matte
from pipeline.types import Detections

SKIN, WALL = np.array([0.9, 0.6, 0.3], np.float32), np.array([0.1, 0.3, 0.7], np.float32)


@pytest.fixture(scope="module")
def seen(astronaut: np.ndarray) -> Detections:
    with Detector(static=True) as detector:
        found = detector.detect(astronaut)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def alpha(astronaut: np.ndarray, seen: Detections) -> np.ndarray:
    return matte(astronaut, seen)


def soft_disc(side: int = 120, radius: float = 40, softness: float = 6) -> tuple[np.ndarray, np.ndarray]:
    """A disc of one colour on another with a soft edge: image and true alpha."""
    y, x = np.mgrid[:side, :side].astype(np.float32) - side / 2
    true = np.clip((radius - np.hypot(x, y)) / softness + 0.5, 0, 1)
    return true[..., None] * SKIN + (1 - true[..., None]) * WALL, true


def test_matte_of_the_astronaut(alpha: np.ndarray) -> None:
    assert alpha.shape == (512, 512) and alpha.dtype == np.float32
    assert alpha.min() >= 0 and alpha.max() <= 1
    assert alpha[100:160, 200:250].min() == 1  # face
    assert alpha[300:480, 130:250].min() > 0.99  # suit
    assert alpha[:150, 400:].max() == 0 and alpha[:250, :40].max() == 0  # shuttle and flag
    assert alpha[:3].max() < 0.1 and alpha[60, 226] == 1  # the hair ends in between
    assert 0.35 < alpha.mean() < 0.55
    assert ((alpha > 0.05) & (alpha < 0.95)).mean() < 0.05  # decided nearly everywhere


def test_matte_repeats(astronaut: np.ndarray, seen: Detections, alpha: np.ndarray) -> None:
    assert np.array_equal(matte(astronaut, seen), alpha)


def test_fast_matte_agrees(astronaut: np.ndarray, seen: Detections, alpha: np.ndarray) -> None:
    quick = matte(astronaut, seen, "fast")
    assert quick.shape == alpha.shape and quick.dtype == np.float32
    person, quickly = alpha[:300] > 0.5, quick[:300] > 0.5  # below, the networks cannot agree about the helmet
    assert (person & quickly).sum() / (person | quickly).sum() > 0.95


def test_padding_is_never_the_person(astronaut: np.ndarray, seen: Detections) -> None:
    from pipeline.perceive.crop import CropWindow
    from pipeline.perceive.photo import crop_detections

    window = CropWindow(-60, -300, 480, 812, 300, 508)
    crop, valid = window.apply(astronaut)
    found = matte(crop, crop_detections(seen, window), valid=valid)
    assert found[~valid].max() == 0
    x, y = (round(float(v)) for v in window.to_crop(seen.pose)[0, :2])
    assert found[y, x] == 1


def test_nobody_there() -> None:
    assert matte(np.full((200, 160, 3), 0.5, np.float32)).max() == 0


def test_large_picture(astronaut: np.ndarray, seen: Detections, alpha: np.ndarray) -> None:
    """A person in a corner of a large photo gets a matte of the photo's size."""
    canvas = np.full((1400, 1800, 3), 0.6, np.float32)
    canvas[888:, :512] = astronaut
    with Detector(static=True) as detector:
        found = detector.detect(canvas)
    assert found is not None
    large = matte(canvas, found)
    assert large.shape == (1400, 1800)
    person, again = alpha > 0.5, large[888:, :512] > 0.5
    assert (person & again).sum() / (person | again).sum() > 0.85
    assert large[:850].max() == 0 and large[:, 560:].max() == 0


def test_matter_serves_many_pictures(astronaut: np.ndarray) -> None:
    with Matter() as matter:
        for size in ((200, 100), (90, 160), (300, 300)):
            assert matter.matte(np.zeros((*size, 3), np.uint8), quality="fast").shape == size


def test_trimap_knows_inside_and_outside() -> None:
    _, true = soft_disc()
    trimap = make_trimap(true, None, 2.0)
    assert trimap[60, 60] == matting.FOREGROUND and trimap[2, 2] == matting.BACKGROUND
    edge = (true > 0.15) & (true < 0.85)
    assert (trimap[edge] == matting.UNKNOWN).all()
    assert (trimap[true == 0] != matting.FOREGROUND).all()


def test_alpha_is_recovered_from_colours() -> None:
    image, true = soft_disc()
    distance = np.hypot(*(np.mgrid[:120, :120] - 60))
    trimap = np.where(distance < 32, 2, np.where(distance > 48, 0, 1)).astype(np.uint8)
    sampled, confidence = matting.sample_alpha(image, trimap, np.full_like(true, 0.5))
    band = trimap == matting.UNKNOWN
    assert np.abs(sampled - true)[band].max() < 0.03 and confidence[band].min() > 0.8
    start = np.full_like(true, 0.5)
    weight = np.full_like(true, 1e-3)
    solved = matting.solve_alpha(image, trimap, start, weight, start, epsilon=1e-6, iterations=200)
    assert np.abs(solved - true)[band].mean() < 0.05  # colours alone, against a wrong data term
    assert np.array_equal(solved[~band], true[~band])


def test_solver_minimises_its_energy() -> None:
    """The answer of conjugate gradients against a dense solve of the same system."""
    rng = np.random.default_rng(0)
    image = rng.random((9, 9, 3)).astype(np.float32)
    trimap = np.ones((9, 9), np.uint8)
    trimap[:, :2], trimap[:, -2:] = 2, 0
    target, weight = rng.random((9, 9)).astype(np.float32), np.full((9, 9), 0.1, np.float32)
    found = matting.solve_alpha(image, trimap, target, weight, target, epsilon=1e-3, iterations=300)

    laplacian = np.zeros((81, 81))
    for y in range(1, 8):
        for x in range(1, 8):
            window = [(y + a) * 9 + x + b for a in (-1, 0, 1) for b in (-1, 0, 1)]
            colors = image.reshape(-1, 3)[window].astype(np.float64)
            centred = colors - colors.mean(0)
            inverse = np.linalg.inv(centred.T @ centred / 9 + 1e-3 / 9 * np.eye(3))
            laplacian[np.ix_(window, window)] += np.eye(9) - (1 + centred @ inverse @ centred.T) / 9
    free = (trimap == 1).ravel()
    known = (trimap / 2).ravel()
    system = laplacian[np.ix_(free, free)] + 0.1 * np.eye(free.sum())
    right = 0.1 * target.ravel()[free] - laplacian[np.ix_(free, ~free)] @ known[~free]
    expected = np.clip(np.linalg.solve(system, right), 0, 1)
    assert np.abs(found.ravel()[free] - expected).max() < 2e-3


def test_background_is_unmixed() -> None:
    image, true = soft_disc()
    colors = foreground_colors(image, true)
    assert colors.shape == image.shape and colors.dtype == np.float32
    assert np.array_equal(colors[true == 1], image[true == 1])
    edge = (true > 0.2) & (true < 1)
    before, after = np.abs(image - SKIN)[edge].mean(), np.abs(colors - SKIN)[edge].mean()
    assert after < 0.03 < 0.1 < before
    fore, back = matting.unmix(image, true)
    mixed = true[..., None] * fore + (1 - true[..., None]) * back
    assert np.abs(mixed - image).max() < 0.05


@pytest.mark.slow
def test_real_photos_have_clean_mattes(shared: object) -> None:
    """On every real photo: face inside, one piece, decided, and the top corners are background."""
    from pathlib import Path

    import cv2

    from pipeline.media import load_photo

    with Detector(static=True) as detector, Matter() as matter:
        for path in sorted((Path(str(shared)) / "media" / "photos").iterdir()):
            image = load_photo(path)
            found = detector.detect(image)
            assert found is not None and found.face is not None
            result = matter.matte(image, found)
            inside = np.clip(np.rint(found.face[:, :2]).astype(int), 0, np.array(image.shape[1::-1]) - 1)
            assert result[inside[:, 1], inside[:, 0]].mean() > 0.9, path.name
            count, _, stats, _ = cv2.connectedComponentsWithStats((result > 0.5).astype(np.uint8))
            assert count >= 2 and stats[1:, cv2.CC_STAT_AREA].max() > 0.97 * stats[1:, cv2.CC_STAT_AREA].sum(), (
                path.name
            )
            assert ((result > 0.1) & (result < 0.9)).sum() < 0.25 * (result > 0.5).sum(), path.name


def test_a_larger_bystander_is_left_out(seen: Detections) -> None:
    from pipeline.perceive.matte import _main_body

    alpha = np.zeros((512, 512), np.float32)
    alpha[60:400, 100:330], alpha[:, 350:] = 1, 1  # the detected person, and a larger piece at the edge
    assert _main_body(alpha, seen)[:, 350:].max() == 0 and _main_body(alpha, seen)[100, 200] == 1
    assert _main_body(alpha)[:, 360:].min() == 1 and _main_body(alpha)[:, :330].max() == 0


def test_half_transparent_means_undecided_where_person_and_ground_look_alike() -> None:
    image, true = soft_disc(softness=40)
    dark = np.full_like(image, 0.05) + 0.05 * true[..., None]
    assert contrast(true, image, 15.0)[60, 60] > 0.5 > 0.1 > contrast(true, dark, 15.0)[60, 60]
    hair = np.ones(true.shape, bool)
    distinct, alike = (_decided(true, colors, hair, 4.0) for colors in (image, dark))
    soft, hard = (((a > 0.1) & (a < 0.9)).sum() for a in (distinct, alike))
    assert hard < 0.5 * soft
    np.testing.assert_array_equal(alike > 0.5, true > 0.5)


def test_a_passer_by_who_is_half_taken_for_the_person_is_left_out() -> None:
    """A wide patch of middling opacity beside the person is nobody's; an opaque arm that reaches as far stays."""
    colors, hair = np.zeros((200, 200, 3), np.float32), np.zeros((200, 200), bool)
    alpha = np.zeros((200, 200), np.float32)
    alpha[40:, 20:80] = 1.0
    alpha[60:110, 80:170] = 0.6
    alpha[130:150, 80:170] = 1.0
    colors[alpha > 0] = 0.8
    found = _decided(alpha, colors, hair, 3.0)
    assert found[60:100, 110:170].max() == 0.0
    np.testing.assert_array_equal(found[alpha == 1], 1.0)
