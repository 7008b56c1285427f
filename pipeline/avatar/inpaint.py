"""Exemplar inpainting: fill a hole of the picture with patches from a given source area (PatchMatch, coarse to fine).

Barnes et al. 2009 (nearest-neighbour field by propagation and random search) with the voting of Wexler et al. 2007,
written for this project in numba; keeps stripes and folds of cloth where diffusion would leave a blur.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from scipy import ndimage

from pipeline.pixels import distance_to

Array = np.ndarray

RADIUS = 3
"""Patches are (2 * RADIUS + 1) squared."""


def fill_exemplar(image: Array, hole: Array, source: Array, seed: int = 0, iterations: int = 5) -> Array:
    """Fill ``hole`` from ``source``.

    Args:
        image: (H, W, 3) float32. hole: (H, W) bool, pixels to paint. source: (H, W) bool, pixels to learn from and
            to fit to; the rest of the picture shows something else.
        seed: of the random search. iterations: of search and vote per level.

    Returns:
        (H, W, 3): ``image`` with the hole filled; pixels of neither mask are left as they are.
    """
    if not hole.any() or source.sum() < 64:
        return image
    rows, cols = np.nonzero(hole)
    reach = 2 * int(max(np.ptp(rows), np.ptp(cols)) ** 0.5 * 4) + 24
    r0, r1 = max(rows.min() - reach, 0), min(rows.max() + reach, len(image))
    c0, c1 = max(cols.min() - reach, 0), min(cols.max() + reach, image.shape[1])
    window = (slice(r0, r1), slice(c0, c1))
    out = image.copy()
    out[window] = _fill(image[window], hole[window], source[window], seed, iterations)
    return out


def _fill(image: Array, hole: Array, source: Array, seed: int, iterations: int) -> Array:
    pyramid = [(image.astype(np.float32), hole, source & ~hole)]
    while min(pyramid[-1][0].shape[:2]) > 48 and len(pyramid) < 5:
        smaller = _halve(*pyramid[-1])
        if smaller[2].sum() < 64:
            break
        pyramid.append(smaller)
    picture: Array | None = None
    field: Array | None = None
    for level in range(len(pyramid) - 1, -1, -1):
        img, hol, src = pyramid[level]
        start = _diffuse(img, src, hol) if picture is None else _enlarge(picture, img.shape)
        picture = np.where(hol[..., None], start, img).astype(np.float32)
        centres = _patch_centres(src)
        if len(centres) == 0:
            continue
        field = _start_field(field, hol.shape, centres, seed + level)
        valid = np.zeros(hol.shape, np.bool_)
        valid[centres[:, 0], centres[:, 1]] = True
        weight = _confidence(hol, src)
        for i in range(iterations if level else 2):
            field = _search(picture, field, hol, hol | src, valid, centres, seed + 97 * level + i)
            picture = _vote(picture, field, hol, weight)
    return picture if picture is not None else image


def _halve(image: Array, hole: Array, source: Array) -> tuple[Array, Array, Array]:
    h, w = (image.shape[0] // 2) * 2, (image.shape[1] // 2) * 2

    def quads(x: Array) -> Array:
        return x[:h, :w].reshape(h // 2, 2, w // 2, 2, *x.shape[2:])

    weight = quads(source.astype(np.float32))
    total = weight.sum((1, 3))
    mean = (quads(image) * weight[..., None]).sum((1, 3)) / np.maximum(total, 1)[..., None]
    plain = quads(image).mean((1, 3))
    small = np.where(total[..., None] > 0, mean, plain)
    hole_small = quads(hole).any((1, 3))
    return small.astype(np.float32), hole_small, (total >= 3) & ~hole_small


def _enlarge(image: Array, shape: tuple[int, ...]) -> Array:
    import cv2

    return cv2.resize(image, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)


def _diffuse(image: Array, source: Array, hole: Array) -> Array:
    """Coarsest guess: normalised blurs of growing width."""
    out, filled = image.copy(), source.copy()
    todo = hole & ~filled
    sigma = 1.0
    while todo.any() and sigma < 256:
        weight = ndimage.gaussian_filter(source.astype(np.float32), sigma)
        blur = np.stack([ndimage.gaussian_filter(image[..., c] * source, sigma) for c in range(3)], -1)
        can = todo & (weight > 0.02)
        out[can] = blur[can] / weight[can][:, None]
        todo &= ~can
        sigma *= 2
    return out


def _patch_centres(source: Array) -> Array:
    """Pixels whose whole patch is source, (M, 2); smaller patches when there are none."""
    size = 2 * RADIUS + 1
    inner = ndimage.binary_erosion(source, np.ones((size, size)), border_value=0)
    return np.argwhere(inner).astype(np.int32)


def _confidence(hole: Array, source: Array) -> Array:
    """Weight of a patch in the vote: high near what is known, next to the hole or not."""
    depth = distance_to(source)
    depth -= depth[hole].min() - 1
    return (1.3 ** (-np.clip(depth, 0, 40))).astype(np.float32)


def _start_field(field: Array | None, shape: tuple[int, int], centres: Array, seed: int) -> Array:
    """Source centre of every pixel (H, W, 2): doubled from the coarser level, random where that is not valid."""
    rng = np.random.default_rng(seed)
    fresh = centres[rng.integers(0, len(centres), shape)]
    if field is None:
        return fresh.astype(np.int32)
    r = np.minimum(np.arange(shape[0]) // 2, field.shape[0] - 1)
    c = np.minimum(np.arange(shape[1]) // 2, field.shape[1] - 1)
    up = field[r][:, c] * 2
    up[..., 0] += (np.arange(shape[0]) % 2)[:, None]
    up[..., 1] += (np.arange(shape[1]) % 2)[None]
    ok = np.zeros(shape, bool)
    ok[centres[:, 0], centres[:, 1]] = True
    inside = (up[..., 0] < shape[0]) & (up[..., 1] < shape[1])
    good = inside & ok[np.minimum(up[..., 0], shape[0] - 1), np.minimum(up[..., 1], shape[1] - 1)]
    return np.where(good[..., None], up, fresh).astype(np.int32)


@njit(cache=True)
def _cost(picture: Array, mine: Array, r: int, c: int, sr: int, sc: int, best: float) -> float:
    """Sum of squared differences of two patches, where the first is ``mine``; given up once it exceeds ``best``."""
    h, w = picture.shape[:2]
    total = 0.0
    for dr in range(-RADIUS, RADIUS + 1):
        y = r + dr
        if y < 0 or y >= h:
            continue
        for dc in range(-RADIUS, RADIUS + 1):
            x = c + dc
            if x < 0 or x >= w or not mine[y, x]:
                continue
            for k in range(3):
                d = picture[y, x, k] - picture[sr + dr, sc + dc, k]
                total += d * d
        if total > best:
            return total
    return total


@njit(cache=True)
def _search(
    picture: Array, field: Array, hole: Array, mine: Array, valid: Array, centres: Array, seed: int
) -> Array:
    """One forward and one backward sweep of PatchMatch."""
    np.random.seed(seed)
    h, w = hole.shape
    out = field.copy()
    for sweep in range(2):
        step = 1 if sweep == 0 else -1
        for i in range(h):
            r = i if sweep == 0 else h - 1 - i
            for j in range(w):
                c = j if sweep == 0 else w - 1 - j
                if not hole[r, c]:
                    continue
                br, bc = out[r, c, 0], out[r, c, 1]
                best = _cost(picture, mine, r, c, br, bc, 1e30)
                for side in range(2):
                    nr, nc = (r - step, c) if side == 0 else (r, c - step)
                    if nr < 0 or nc < 0 or nr >= h or nc >= w or not hole[nr, nc]:
                        continue
                    sr, sc = out[nr, nc, 0] + (r - nr), out[nr, nc, 1] + (c - nc)
                    if sr < 0 or sc < 0 or sr >= h or sc >= w or not valid[sr, sc]:
                        continue
                    cost = _cost(picture, mine, r, c, sr, sc, best)
                    if cost < best:
                        best, br, bc = cost, sr, sc
                radius = max(h, w)
                while radius >= 1:
                    sr = br + np.random.randint(-radius, radius + 1)
                    sc = bc + np.random.randint(-radius, radius + 1)
                    if 0 <= sr < h and 0 <= sc < w and valid[sr, sc]:
                        cost = _cost(picture, mine, r, c, sr, sc, best)
                        if cost < best:
                            best, br, bc = cost, sr, sc
                    radius //= 2
                pick = centres[np.random.randint(0, len(centres))]
                cost = _cost(picture, mine, r, c, pick[0], pick[1], best)
                if cost < best:
                    best, br, bc = cost, pick[0], pick[1]
                out[r, c, 0], out[r, c, 1] = br, bc
    return out


@njit(cache=True)
def _vote(picture: Array, field: Array, hole: Array, weight: Array) -> Array:
    """Every hole pixel becomes the weighted mean of what the patches around it propose."""
    h, w = hole.shape
    out = picture.copy()
    for r in range(h):
        for c in range(w):
            if not hole[r, c]:
                continue
            total, a, b, d = 0.0, 0.0, 0.0, 0.0
            for dr in range(-RADIUS, RADIUS + 1):
                for dc in range(-RADIUS, RADIUS + 1):
                    y, x = r + dr, c + dc
                    if y < 0 or x < 0 or y >= h or x >= w or not hole[y, x]:
                        continue
                    sr, sc = field[y, x, 0] - dr, field[y, x, 1] - dc
                    if sr < 0 or sc < 0 or sr >= h or sc >= w:
                        continue
                    m = weight[y, x] / (1.0 + dr * dr + dc * dc)
                    total += m
                    a += m * picture[sr, sc, 0]
                    b += m * picture[sr, sc, 1]
                    d += m * picture[sr, sc, 2]
            if total > 0:
                out[r, c, 0], out[r, c, 1], out[r, c, 2] = a / total, b / total, d / total
    return out
