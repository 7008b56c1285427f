"""Picture metrics, each defined once: MSE, L1, PSNR, SSIM, over a whole picture or inside a mask.

All pictures are float32 RGB in 0..1, (H, W, 3). A mask is (H, W), boolean or weights in 0..1; without one every pixel
counts the same. PSNR uses a peak of 1 and is capped at :data:`MAX_PSNR`, so that equal pictures give a number that
JSON can hold and that a mean survives.

SSIM is Wang et al. 2004 with the settings of the avatar literature (Gaussian window, sigma 1.5, 11 x 11, K1 = 0.01,
K2 = 0.03, population covariance), mean over channels: ``skimage.metrics.structural_similarity(gaussian_weights=True,
sigma=1.5, use_sample_covariance=False, data_range=1)`` gives the same numbers (tested) and takes ten times longer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Array = np.ndarray

MAX_PSNR = 100.0
SSIM_SIGMA, SSIM_RADIUS, SSIM_C1, SSIM_C2 = 1.5, 5, 0.01**2, 0.03**2


def _check(a: Array, b: Array, mask: Array | None) -> None:
    if a.shape != b.shape or a.ndim != 3 or a.shape[2] != 3:
        raise ValueError(f"two RGB pictures of one size are needed, not {a.shape} and {b.shape}")
    if mask is not None and mask.shape != a.shape[:2]:
        raise ValueError(f"the mask is {mask.shape}, the pictures are {a.shape[:2]}")


def _mean(values: Array, mask: Array | None) -> float:
    """Mean of (H, W) ``values``, weighted by the mask; NaN where the mask is empty."""
    if mask is None:
        return float(values.mean(dtype=np.float64))
    weights = mask.astype(np.float64)
    total = weights.sum()
    return float((values * weights).sum() / total) if total > 0 else float("nan")


def mse(a: Array, b: Array, mask: Array | None = None) -> float:
    """Mean squared error over pixels and channels."""
    _check(a, b, mask)
    return _mean(np.square(a - b).mean(axis=2), mask)


def l1(a: Array, b: Array, mask: Array | None = None) -> float:
    """Mean absolute error over pixels and channels."""
    _check(a, b, mask)
    return _mean(np.abs(a - b).mean(axis=2), mask)


def psnr_of(error: float) -> float:
    """Decibels of a mean squared error, peak 1, at most :data:`MAX_PSNR`."""
    return float(min(MAX_PSNR, -10.0 * np.log10(max(error, 1e-300))))


def psnr(a: Array, b: Array, mask: Array | None = None) -> float:
    """Peak signal-to-noise ratio in decibels; inside a mask, of the mean squared error inside it."""
    return psnr_of(mse(a, b, mask))


def ssim_map(a: Array, b: Array) -> Array:
    """Structural similarity of every pixel, (H, W), mean over channels; borders reflected."""
    import cv2

    _check(a, b, None)
    a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
    window = (2 * SSIM_RADIUS + 1,) * 2

    def blur(image: Array) -> Array:
        return cv2.GaussianBlur(image, window, SSIM_SIGMA, borderType=cv2.BORDER_REFLECT)

    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    cov = blur(a * b) - mean_a * mean_b
    top = (2 * mean_a * mean_b + SSIM_C1) * (2 * cov + SSIM_C2)
    bottom = (mean_a**2 + mean_b**2 + SSIM_C1) * (var_a + var_b + SSIM_C2)
    return (top / bottom).mean(axis=2)


def ssim(a: Array, b: Array, mask: Array | None = None) -> float:
    """Mean structural similarity; inside a mask, the mean of the similarity map over it.

    As in skimage, pixels whose window leaves the picture do not count.
    """
    _check(a, b, mask)
    inner = (slice(SSIM_RADIUS, -SSIM_RADIUS),) * 2
    return _mean(ssim_map(a, b)[inner], None if mask is None else mask[inner])


def compare(a: Array, b: Array, mask: Array | None = None) -> dict[str, float]:
    """``mse``, ``l1``, ``psnr`` and ``ssim`` of two pictures."""
    error = mse(a, b, mask)
    return {"mse": error, "l1": l1(a, b, mask), "psnr": psnr_of(error), "ssim": ssim(a, b, mask)}


def on_background(image: Array, alpha: Array, background: Sequence[float] | Array = (1.0, 1.0, 1.0)) -> Array:
    """Put a picture (H, W, 3) with matte (H, W) on a colour (3,) or another picture, float32."""
    a = np.asarray(alpha, np.float32)[..., None]
    return image * a + np.asarray(background, np.float32) * (1 - a)


def average(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Mean of each key over frames, leaving out NaN; keys of the first row."""
    if not rows:
        return {}
    out = {}
    for key in rows[0]:
        values = [row[key] for row in rows if not np.isnan(row[key])]
        out[key] = float(np.mean(values)) if values else float("nan")
    return out
