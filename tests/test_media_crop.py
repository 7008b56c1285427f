"""The 9:16 window: where it goes, and that points and pixels agree."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.perceive.crop import CropWindow, crop_916, person_box
from pipeline.types import Detections, PipelineError


def person(height: int, width: int, box: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """An empty picture and a matte that is 1 in the box x0, y0, x1, y1."""
    alpha = np.zeros((height, width), np.float32)
    alpha[box[1] : box[3], box[0] : box[2]] = 1
    return np.zeros((height, width, 3), np.float32), alpha


def test_half_body_in_a_wide_photo() -> None:
    image, alpha = person(667, 1000, (400, 100, 640, 667))
    window = crop_916(image, alpha=alpha)
    assert (window.y, window.height) == (0, 667) and window.width == pytest.approx(667 * 9 / 16)
    assert window.x + window.width / 2 == pytest.approx(520)


def test_cut_body_ends_at_the_lower_edge() -> None:
    """A wide person in a square photo: the window is taller, the room is added above and never below."""
    image, alpha = person(512, 512, (120, 100, 420, 512))
    window = crop_916(image, alpha=alpha)
    assert window.y + window.height == pytest.approx(512) and window.y < 0
    assert window.x <= 120 and window.x + window.width >= 420
    _, valid = window.apply(image)
    assert valid[-1].any() and not valid[0].any()
    cut, _ = window.apply(alpha, border="zero")
    assert cut[-1].max() == 1  # no dark row under the body


def test_padding_is_bounded() -> None:
    image, alpha = person(512, 512, (0, 100, 512, 512))
    window = crop_916(image, alpha=alpha, max_padding=0.3)
    assert window.height == pytest.approx(512 / 0.7)
    assert window.width / window.height == pytest.approx(9 / 16)


def test_hands_are_kept_in() -> None:
    """Arms stretched out in a square photo: more padding, so that both hands stay in the picture."""
    image, alpha = person(512, 512, (0, 100, 512, 512))
    pose = np.ones((33, 3), np.float32)
    pose[:11, :2], pose[11:13, :2] = (256, 150), ((330, 220), (180, 220))
    left, right = np.ones((21, 3), np.float32) * (460, 300, 0), np.ones((21, 3), np.float32) * (40, 300, 0)
    nothing = np.zeros((133, 3), np.float32)
    seen = Detections(nothing, pose, np.zeros((33, 3), np.float32), None, left, right, 0.9, 0.9)
    window = crop_916(image, seen, alpha)
    assert window.x <= 40 and window.x + window.width >= 460 and 0.3 < 1 - 512 / window.height < 0.43
    plain = crop_916(image, None, alpha)
    assert plain.height < window.height


def test_small_person_fills_the_window() -> None:
    image, alpha = person(1000, 1500, (700, 300, 800, 700))
    window = crop_916(image, alpha=alpha)
    assert 400 < window.height < 600
    assert window.y < 300 and window.y + window.height > 700
    assert window.x < 700 and window.x + window.width > 800


def test_person_at_the_edge_keeps_the_window_inside() -> None:
    image, alpha = person(600, 900, (0, 50, 150, 600))
    window = crop_916(image, alpha=alpha)
    assert window.x == 0 and window.y == 0 and window.height == 600


def test_nobody() -> None:
    with pytest.raises(PipelineError, match="No person"):
        person_box(None, np.zeros((50, 50), np.float32))


@pytest.mark.parametrize("window", [CropWindow(30, -20, 90, 160, 45, 80), CropWindow(50.5, 22.25, 22.5, 40, 90, 160)])
def test_points_and_pixels_agree(window: CropWindow) -> None:
    image = np.zeros((120, 140, 3), np.float32)
    image[40:44, 60:64] = 1
    crop, _ = window.apply(image)
    weight = crop[..., 0]
    rows, columns = np.mgrid[: crop.shape[0], : crop.shape[1]] + 0.5
    centre = np.array([(columns * weight).sum(), (rows * weight).sum()]) / weight.sum()
    assert np.allclose(centre, window.to_crop(np.array([62.0, 42.0])), atol=0.2)
    back = window.paste(crop, 140, 120)
    assert back[41:43, 61:63].min() > 0.7 and back[:, :28].max() == 0 and back[:20].max() == 0


def test_round_trip_of_points() -> None:
    window = CropWindow(-12.5, 30, 300, 533.3)
    points = np.random.default_rng(0).random((7, 3)).astype(np.float32) * 500
    assert np.allclose(window.from_crop(window.to_crop(points)), points, atol=1e-3)
    assert np.array_equal(window.to_crop(points)[:, 2], points[:, 2])


def test_borders_and_valid_mask() -> None:
    window = CropWindow(-50, -50, 100, 100, 100, 100)
    image = np.full((60, 60, 3), 0.25, np.float32)
    crop, valid = window.apply(image)
    assert np.allclose(crop, 0.25) and valid[55:, 55:].all() and not valid[:49].any() and not valid[:, :49].any()
    zero, _ = window.apply(image[..., 0], border="zero")
    assert zero.shape == (100, 100) and zero[:49].max() == 0 and zero[60, 60] == pytest.approx(0.25)
    whole, _ = window.apply((image * 255).astype(np.uint8))
    assert whole.dtype == np.uint8
