"""Natural image matting inside a trimap's unknown band, and un-mixing of foreground colours.

Three steps, all written out as loops for numba:

1. :func:`sample_alpha`: each unknown pixel shoots rays to the nearest known foreground and background and picks the
   pair of colours that explains it best (the idea of Gastal and Oliveira, "Shared Sampling for Real-Time Alpha
   Matting", 2010).
2. :func:`solve_alpha`: the matting Laplacian of Levin, Lischinski and Weiss ("A Closed-Form Solution to Natural Image
   Matting", 2008) over the band, with the sampled alpha as data term, by conjugate gradients.
3. :func:`foreground_colors`: multi-level estimation of the colours without background (Germer et al., "Fast Multi-Level
   Foreground Estimation", 2020).
"""

from __future__ import annotations

import cv2
import numba
import numpy as np

from pipeline.types import Array

UNKNOWN, BACKGROUND, FOREGROUND = 1, 0, 2
RAYS = 12
REACH = 160
"""Rays give up after this many pixels."""


@numba.njit(cache=True, fastmath=True)
def _first_hits(trimap, y, x, turn, reach, hits):
    """Fill ``hits`` (2, RAYS, 3) with (row, column, distance) of the first known pixels along each ray; -1: none."""
    height, width = trimap.shape
    rays = hits.shape[1]
    hits[:] = -1
    for r in range(rays):
        angle = turn + 2 * np.pi * r / rays
        dy, dx = np.sin(angle), np.cos(angle)
        found = 0
        step = 1.0
        while step < reach and found != 3:
            i, j = int(round(y + dy * step)), int(round(x + dx * step))
            if i < 0 or j < 0 or i >= height or j >= width:
                break
            kind = trimap[i, j]
            which = 0 if kind == 2 else 1
            if kind != 1 and not (found >> which) & 1:
                hits[which, r, 0], hits[which, r, 1], hits[which, r, 2] = i, j, step
                found |= 1 << which
            step += 1.0 if step < 24 else 2.0
    return hits


@numba.njit(cache=True, fastmath=True)
def _explain(color, fore, back):
    """Alpha and squared colour residual of ``color`` as a mix of two colours, and their squared distance."""
    numerator = 0.0
    denominator = 1e-6
    for c in range(3):
        d = fore[c] - back[c]
        numerator += (color[c] - back[c]) * d
        denominator += d * d
    alpha = min(max(numerator / denominator, 0.0), 1.0)
    residual = 0.0
    for c in range(3):
        e = color[c] - alpha * fore[c] - (1 - alpha) * back[c]
        residual += e * e
    return alpha, residual, denominator


@numba.njit(cache=True, parallel=True, fastmath=True)
def _sample(image, smooth, trimap, prior, rows, columns, rays, reach):
    count = len(rows)
    alpha = np.empty(count, np.float32)
    confidence = np.zeros(count, np.float32)
    for n in numba.prange(count):
        y, x = rows[n], columns[n]
        hits = np.empty((2, rays, 3), np.float32)
        turn = ((y * 7 + x * 13) % 16) * (2 * np.pi / (16 * rays))
        _first_hits(trimap, y, x, turn, reach, hits)
        near_f, near_b = np.float32(1e9), np.float32(1e9)
        for r in range(rays):
            if hits[0, r, 2] > 0:
                near_f = min(near_f, hits[0, r, 2])
            if hits[1, r, 2] > 0:
                near_b = min(near_b, hits[1, r, 2])
        best = np.float32(1e9)
        alpha[n] = prior[y, x]
        for a in range(rays):
            if hits[0, a, 2] < 0:
                continue
            fore = smooth[int(hits[0, a, 0]), int(hits[0, a, 1])]
            for b in range(rays):
                if hits[1, b, 2] < 0:
                    continue
                back = smooth[int(hits[1, b, 0]), int(hits[1, b, 1])]
                mix, residual, distance = _explain(image[y, x], fore, back)
                far = hits[0, a, 2] / near_f + hits[1, b, 2] / near_b - 2
                cost = residual * 400 + 0.03 * far + 0.35 * (mix - prior[y, x]) ** 2
                if cost < best:
                    best = cost
                    alpha[n] = mix
                    confidence[n] = np.exp(-residual * 150) * (1 - np.exp(-distance * 25))
    return alpha, confidence


def sample_alpha(image: Array, trimap: Array, prior: Array, rays: int = RAYS) -> tuple[Array, Array]:
    """Alpha of the unknown pixels from nearby known colours.

    Args:
        image: (H, W, 3) float32 in 0..1.
        trimap: (H, W) uint8: 0 background, 1 unknown, 2 foreground.
        prior: (H, W) float32: what another source thinks of alpha; settles ambiguous colours.
        rays: directions to look in; fewer is faster.

    Returns:
        alpha and confidence, (H, W) float32 in 0..1; known pixels have their own alpha and confidence 1.
    """
    rows, columns = np.nonzero(trimap == UNKNOWN)
    alpha = (trimap == FOREGROUND).astype(np.float32)
    confidence = np.ones_like(alpha)
    if len(rows):
        smooth = cv2.GaussianBlur(image, (0, 0), 1.0)
        found, sure = _sample(image, smooth, trimap, prior, rows, columns, rays, REACH)
        alpha[rows, columns] = found
        confidence[rows, columns] = sure
    return alpha, confidence


@numba.njit(cache=True, fastmath=True)
def _inverse(m):
    """Inverse of a symmetric 3x3 matrix."""
    a, b, c, d, e, f = m[0, 0], m[0, 1], m[0, 2], m[1, 1], m[1, 2], m[2, 2]
    out = np.empty((3, 3), np.float64)
    out[0, 0], out[0, 1], out[0, 2] = d * f - e * e, c * e - b * f, b * e - c * d
    out[1, 1], out[1, 2], out[2, 2] = a * f - c * c, b * c - a * e, a * d - b * b
    out[1, 0], out[2, 0], out[2, 1] = out[0, 1], out[0, 2], out[1, 2]
    return out / (a * out[0, 0] + b * out[0, 1] + c * out[0, 2])


@numba.njit(cache=True, fastmath=True)
def _laplacian(image, index, count, epsilon):
    """Matting Laplacian rows of the unknown pixels, as (count, 25) weights over their 5x5 neighbourhoods."""
    height, width = index.shape
    weights = np.zeros((count, 25), np.float32)
    window = np.empty((9, 3), np.float64)
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            touched = False
            for k in range(9):
                touched |= index[y + k // 3 - 1, x + k % 3 - 1] >= 0
            if not touched:
                continue
            mean = np.zeros(3)
            for k in range(9):
                for c in range(3):
                    window[k, c] = image[y + k // 3 - 1, x + k % 3 - 1, c]
                    mean[c] += window[k, c] / 9
            for k in range(9):
                for c in range(3):
                    window[k, c] -= mean[c]
            cov = np.zeros((3, 3))
            for a in range(3):
                for b in range(3):
                    for k in range(9):
                        cov[a, b] += window[k, a] * window[k, b] / 9
                cov[a, a] += epsilon / 9
            inverse = _inverse(cov)
            for p in range(9):
                row = index[y + p // 3 - 1, x + p % 3 - 1]
                if row < 0:
                    continue
                for q in range(9):
                    dot = 0.0
                    for a in range(3):
                        for b in range(3):
                            dot += window[p, a] * inverse[a, b] * window[q, b]
                    offset = (q // 3 - p // 3 + 2) * 5 + (q % 3 - p % 3 + 2)
                    weights[row, offset] += (1.0 if p == q else 0.0) - (1 + dot) / 9
    return weights


@numba.njit(cache=True, parallel=True, fastmath=True)
def _multiply(weights, data, index, rows, columns, alpha, out):
    """out = (L + diag(data)) alpha on the unknown pixels; ``alpha`` is a full picture."""
    height, width = index.shape
    for n in numba.prange(len(rows)):
        y, x = rows[n], columns[n]
        total = data[n] * alpha[y, x]
        for k in range(25):
            i, j = y + k // 5 - 2, x + k % 5 - 2
            if weights[n, k] != 0 and 0 <= i < height and 0 <= j < width:
                total += weights[n, k] * alpha[i, j]
        out[n] = total


def solve_alpha(
    image: Array, trimap: Array, target: Array, weight: Array, start: Array, *, epsilon: float, iterations: int
) -> Array:
    """Smooth alpha along the picture's own structures inside the unknown band.

    Minimises alpha^T L alpha + sum(weight * (alpha - target)^2) with alpha fixed to 0 and 1 on the known pixels.

    Args:
        image: (H, W, 3) float32 in 0..1. trimap: (H, W) as in :func:`sample_alpha`.
        target, weight, start: (H, W) float32: data term, its weight, first guess.
        epsilon: regulariser of the colour line model; larger is smoother.
        iterations: of conjugate gradients.

    Returns:
        (H, W) float32 in 0..1.
    """
    rows, columns = np.nonzero(trimap == UNKNOWN)
    alpha = np.where(trimap == UNKNOWN, start, trimap / 2).astype(np.float32)
    if not len(rows):
        return alpha
    index = np.full(trimap.shape, -1, np.int32)
    index[rows, columns] = np.arange(len(rows), dtype=np.int32)
    weights = _laplacian(image, index, len(rows), epsilon)
    data = weight[rows, columns].astype(np.float32)
    product = np.empty(len(rows), np.float32)
    _multiply(weights, data, index, rows, columns, alpha, product)
    residual = data * target[rows, columns] - product
    scale = 1 / (weights[:, 12] + data + 1e-6)
    picture = np.zeros_like(alpha)
    step = scale * residual
    direction = step.copy()
    energy = float(residual @ step)
    found = alpha[rows, columns]
    for _ in range(iterations):
        picture[rows, columns] = direction
        _multiply(weights, data, index, rows, columns, picture, product)
        length = energy / max(float(direction @ product), 1e-12)
        found += length * direction
        residual -= length * product
        step = scale * residual
        following = float(residual @ step)
        if following < 1e-7 * len(rows):
            break
        direction = step + (following / max(energy, 1e-12)) * direction
        energy = following
    alpha[rows, columns] = found
    return np.clip(alpha, 0, 1)


@numba.njit(cache=True, fastmath=True)
def _unmix_sweep(image, alpha, fore, back):
    """One Gauss-Seidel pass over all pixels: per pixel the 2x2 normal equations of F and B."""
    height, width = alpha.shape
    for y in range(height):
        for x in range(width):
            a = alpha[y, x]
            a00, a01, a11 = a * a + 1e-5, a * (1 - a), (1 - a) * (1 - a) + 1e-5
            b = np.zeros((2, 3))
            for c in range(3):
                b[0, c] = a * image[y, x, c] + 1e-5 * fore[y, x, c]
                b[1, c] = (1 - a) * image[y, x, c] + 1e-5 * back[y, x, c]
            for k in range(4):
                i = min(max(y + (k == 0) - (k == 1), 0), height - 1)
                j = min(max(x + (k == 2) - (k == 3), 0), width - 1)
                w = 1e-5 + abs(a - alpha[i, j]) * 1.0 + 5e-3
                a00 += w
                a11 += w
                for c in range(3):
                    b[0, c] += w * fore[i, j, c]
                    b[1, c] += w * back[i, j, c]
            det = a00 * a11 - a01 * a01
            for c in range(3):
                fore[y, x, c] = min(max((a11 * b[0, c] - a01 * b[1, c]) / det, 0.0), 1.0)
                back[y, x, c] = min(max((a00 * b[1, c] - a01 * b[0, c]) / det, 0.0), 1.0)


def unmix(image: Array, alpha: Array) -> tuple[Array, Array]:
    """Foreground and background colours F, B with image = alpha F + (1 - alpha) B, smooth where alpha changes.

    Args:
        image: (H, W, 3) float32 in 0..1. alpha: (H, W) in 0..1.

    Returns:
        F and B, (H, W, 3) float32 in 0..1, defined everywhere (also where alpha is 0 or 1).
    """
    levels = max(1, int(np.ceil(np.log2(max(alpha.shape)))))
    mean = image.reshape(-1, 3).mean(0)
    fore = np.full((1, 1, 3), mean, np.float32)
    back = fore.copy()
    for level in range(levels + 1):
        factor = 2 ** (levels - level)
        size = (max(1, round(alpha.shape[1] / factor)), max(1, round(alpha.shape[0] / factor)))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        thin = cv2.resize(alpha, size, interpolation=cv2.INTER_AREA)
        fore = cv2.resize(fore, size, interpolation=cv2.INTER_NEAREST).reshape(size[1], size[0], 3)
        back = cv2.resize(back, size, interpolation=cv2.INTER_NEAREST).reshape(size[1], size[0], 3)
        for _ in range(10 if max(size) <= 32 else 3):
            _unmix_sweep(small, thin, fore, back)
    return fore, back


def foreground_colors(image: Array, alpha: Array) -> Array:
    """The person's own colours with the background un-mixed.

    Args:
        image: (H, W, 3) float32 in 0..1. alpha: (H, W) in 0..1.

    Returns:
        (H, W, 3) float32 in 0..1; equals ``image`` where alpha is 1, and runs on outside of the person.
    """
    fore, _ = unmix(np.asarray(image, np.float32), np.asarray(alpha, np.float32))
    solid = np.clip((alpha - 0.95) / 0.05, 0, 1)[..., None]
    return (solid * image + (1 - solid) * fore).astype(np.float32)
