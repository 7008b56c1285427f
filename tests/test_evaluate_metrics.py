"""Picture metrics against skimage and by hand."""

import numpy as np
import pytest

from pipeline.evaluate import metrics


@pytest.fixture
def pair(astronaut):
    noisy = np.clip(astronaut + np.random.default_rng(0).normal(0, 0.1, astronaut.shape), 0, 1)
    return astronaut, noisy.astype(np.float32)


def test_ssim_and_psnr_equal_skimage(pair):
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    a, b = pair
    want = structural_similarity(
        a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1, channel_axis=2
    )
    assert metrics.ssim(a, b) == pytest.approx(want, abs=2e-5)
    assert metrics.psnr(a, b) == pytest.approx(peak_signal_noise_ratio(a, b, data_range=1), abs=1e-4)


def test_masked_metrics_see_only_the_mask(pair):
    a, _ = pair
    b, mask = a.copy(), np.zeros(a.shape[:2], bool)
    mask[100:200, 100:200] = True
    b[mask] += 0.5
    assert metrics.mse(a, b, mask) == pytest.approx(0.25)
    assert metrics.l1(a, b, mask) == pytest.approx(0.5)
    assert metrics.psnr(a, b, mask) == pytest.approx(-10 * np.log10(0.25))
    assert metrics.mse(a, b, ~mask) == 0
    assert metrics.psnr(a, b, ~mask) == metrics.MAX_PSNR
    assert metrics.ssim(a, b, mask) < metrics.ssim(a, b)


def test_equal_pictures_and_empty_masks(pair):
    a, _ = pair
    same = metrics.compare(a, a)
    assert same == {"mse": 0, "l1": 0, "psnr": metrics.MAX_PSNR, "ssim": pytest.approx(1)}
    assert np.isnan(metrics.mse(a, a, np.zeros(a.shape[:2])))


def test_shapes_are_checked(pair):
    a, b = pair
    with pytest.raises(ValueError, match="one size"):
        metrics.mse(a, b[:-1])
    with pytest.raises(ValueError, match="mask"):
        metrics.ssim(a, b, np.ones((3, 3)))


def test_on_background_and_average():
    image, alpha = np.zeros((2, 2, 3), np.float32), np.array([[0, 1], [0.5, 0]], np.float32)
    assert metrics.on_background(image, alpha)[..., 0].tolist() == [[1, 0], [0.5, 1]]
    assert metrics.average([{"x": 1.0}, {"x": 3.0}, {"x": float("nan")}]) == {"x": 2.0}
