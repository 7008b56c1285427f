"""What is behind the person: the photo's own background with the person painted away.

The avatar moves, so the place where the person stood becomes visible at its edges, and the padding of the crop is shown
all the time. The fill need not be true, only plausible and quiet: patches of the surroundings are copied coarse to fine
(Wexler et al., "Space-Time Completion of Video", 2007, with the random search of Barnes et al., "PatchMatch", 2009),
preferring patches from the same height, and the finest grain of their sources is laid on top. The padding continues
what lies along the photo's edge, ever more blurred with the distance.
"""

from __future__ import annotations

import cv2
import numba
import numpy as np
from scipy import sparse
from scipy.sparse import linalg

from pipeline.pixels import distance_to
from pipeline.types import Array

SMALL_GAP = 0.004
"""Share of the picture below which a piece of ground between parts of the person is painted over."""
GROW = 0.012
"""How much the matte is grown before filling, in parts of the picture's height: hair wisps and soft edges go too."""
LEVELS = (48, 96, 192)
"""Long sides of the pyramid on which patches are searched."""
ROUNDS = (12, 8, 4)
HALF = 3
"""Patches are 2 * HALF + 1 pixels wide."""
RIM, FADE = 4, 0.05
"""Width in pixels of the strip along the hole in which the fill is compared with the ground, and over which share of
the picture's long side what it is shifted by wears off."""
EVEN, SOFT, BROAD = 0.12, 0.012, 0.05
"""Change of colour within which ground is the same as at the photo's edge, once blurred by these shares of its size
away from the edge and along it: leaves and stones are the same as other leaves and stones, mountains are not sky."""
TRIM = 3
"""Pixels at the photo's edge that are not trusted next to padding (resampling mixes them with what is outside)."""
DEFOCUS, SIDEWAYS, SOFTER = 0.25, 0.06, 0.3
"""Blur of the padding: standard deviation in pixels for each pixel of distance from the photo, along and across it; by
what the latter grows over a distance of the picture's long side, so that no streaks reach its edge."""
WIDE, STANDS_OUT = 0.15, 0.5
"""Small things up to about half of this share of the picture's long side, which differ from the median of their
surroundings by more than this in a channel, are not copied."""
ENOUGH = 0.1
"""Share of the picture that has to be left to copy from; else everything is copied."""
DRIFT = 0.06
"""Change of brightness up to which seams between patches are evened out; more would be a shadow of its own."""
SAME_HEIGHT = 0.6
"""Cost of taking a patch from another height, per squared part of the picture's height, against colour error."""


def inpaint_background(image: Array, alpha: Array, valid: Array | None = None, seed: int = 0) -> Array:
    """Remove the person.

    Args:
        image: (H, W, 3) float32 in 0..1.
        alpha: (H, W) matte in 0..1.
        valid: (H, W) bool, the rectangle that the photo fills; the padding around it is filled as well.
        seed: of the random search.

    Returns:
        (H, W, 3) float32 in 0..1; equal to ``image`` away from the person and the padding.
    """
    image, alpha = np.asarray(image, np.float32), np.asarray(alpha, np.float32)
    if valid is None or valid.all() or not valid.any():
        return _paint_over(image, alpha, seed)
    inner = _inner_box(valid)
    photo = _paint_over(np.ascontiguousarray(image[inner]), alpha[inner], seed)
    return mirrored(photo, inner, valid.shape)


def _inner_box(valid: Array) -> tuple[slice, slice]:
    """The photo's rows and columns, trimmed where there is padding beside them."""
    sides = []
    for axis in (1, 0):
        used = np.flatnonzero(valid.any(axis))
        first, last, size = int(used[0]), int(used[-1]) + 1, valid.shape[1 - axis]
        trim = min(TRIM, (last - first - 1) // 2)
        sides.append(slice(first + trim * (first > 0), last - trim * (last < size)))
    return sides[0], sides[1]


def mirrored(photo: Array, box: tuple[slice, slice], shape: tuple[int, ...]) -> Array:
    """Continue a photo beyond its edges by the mirror image of what lies along them, ever more blurred.

    Only the strip along an edge in which the photo looks much the same is mirrored (to and fro): the sky, and not the
    mountains below it. Blur grows with the distance, mostly in its own direction, so that folds of a curtain go on.

    Args:
        photo: (h, w, 3) float32, which fills ``box`` of the result. shape: (H, W) of the result.
    """
    depths = [_even_depths(photo), _even_depths(photo.transpose(1, 0, 2))]
    axes = [_reflect(side, size, depth) for side, size, depth in zip(box, shape, depths, strict=True)]
    (rows, row_gap), (columns, column_gap) = axes
    out = photo[rows][:, columns]
    row_side, column_side = (gap * (SIDEWAYS + SOFTER * gap / max(shape[:2])) for gap in (row_gap, column_gap))
    down = DEFOCUS * row_gap[:, None] + column_side[None]
    across = DEFOCUS * column_gap[None] + row_side[:, None]
    out = _blurred_down(out, down)
    return _blurred_down(out.transpose(1, 0, 2), across.T).transpose(1, 0, 2)


def _even_depths(photo: Array) -> tuple[int, int]:
    """How many rows from the first and from the last look like these, (2,)."""
    size = max(photo.shape)
    soft = cv2.GaussianBlur(photo, (0, 0), BROAD * size, sigmaY=SOFT * size)
    found = []
    for rows in (soft, soft[::-1]):
        change = np.abs(rows - rows[:1]).max(-1) > EVEN
        first = np.where(change.any(0), change.argmax(0), len(rows))
        found.append(max(int(np.quantile(first, 0.2)), min(len(rows), round(0.03 * size))))
    return found[0], found[1]


def _reflect(side: slice, size: int, depths: tuple[int, int]) -> tuple[Array, Array]:
    """Mirror pixel within ``side``, from its start, and distance from it, of each of ``size`` pixels on an axis."""
    position = np.arange(size)
    length = side.stop - side.start
    before, after = side.start - position, position - side.stop + 1

    def fold(distance: Array, depth: int) -> Array:
        turn = np.mod(distance - 1, 2 * depth)
        return np.where(turn < depth, turn, 2 * depth - 1 - turn)

    source = np.where(before > 0, fold(before, depths[0]), position - side.start)
    source = np.where(after > 0, length - 1 - fold(after, depths[1]), source)
    return source, np.maximum(np.maximum(before, after), 0).astype(np.float32)


def _blurred_down(image: Array, sigma: Array) -> Array:
    """Blur along the columns, by another standard deviation at each pixel: (H, W, 3), (H, W) in pixels."""
    level = np.log2(np.maximum(sigma, 0.5)) + 1
    out, blurred = image, image
    for step in range(1, int(np.ceil(level.max())) + 1):
        width = 0.5 * 2.0**step
        previous = blurred
        blurred = cv2.GaussianBlur(image, (1, 0), sigmaX=width, sigmaY=width, borderType=cv2.BORDER_REFLECT)
        share = np.clip(level - (step - 1), 0, 1)[..., None]
        out = np.where(share > 0, previous + share * (blurred - previous), out)
    return out


def _paint_over(image: Array, alpha: Array, seed: int) -> Array:
    """Fill the hole that the person leaves, (H, W, 3)."""
    hole = find_hole(alpha)
    if not hole.any():
        return image.copy()
    smooth = spread(image, ~hole)
    small, offsets = _complete(smooth, hole, seed)
    filled = smooth if offsets is None else _with_grain(image, hole, small, offsets)
    filled = np.where(hole[..., None], filled, image)
    filled = matched(filled, hole, ~hole, RIM, fade=FADE * max(hole.shape))
    rim = np.clip(cv2.distanceTransform(hole.astype(np.uint8), cv2.DIST_L2, 5) / 12, 0, 1)[..., None]
    filled = rim * filled + (1 - rim) * smooth
    return np.where(hole[..., None], np.clip(filled, 0, 1), image).astype(np.float32)


def matched(
    image: Array, hole: Array, source: Array, width: int, unlike: float = np.inf, fade: float = np.inf
) -> Array:
    """The fill of a hole shifted so that it meets the colours beside it, (H, W, 3): else it is seen as a slab.

    The difference along the border runs smoothly into the hole, as in seamless cloning (Perez et al. 2003).

    Args:
        image: (H, W, 3) float32, already filled. hole, source: (H, W) bool, what was filled, and what counts beside it.
        width: of the strip, in pixels, on either side of the border in which colours are compared.
        unlike: difference in a channel from which on two materials meet there, and stay as they are.
        fade: pixels into the hole over which the shift wears off.
    """

    def mean(mask: Array) -> Array:
        weight = mask.astype(np.float32)
        share = cv2.blur(weight, (2 * width + 1,) * 2)[..., None]
        return cv2.blur(image * weight[..., None], (2 * width + 1,) * 2) / np.maximum(share, 1e-3)

    shift = mean(source) - mean(hole)
    rim = hole & (distance_to(source) <= width) & (np.abs(shift).max(-1) < unlike)
    if not rim.any():
        return image
    inwards = spread(np.where(rim[..., None], shift, 0).astype(np.float32), rim)
    inwards *= np.exp(-distance_to(~hole) / fade)[..., None]
    return np.where(hole[..., None], np.clip(image + inwards, 0, 1), image).astype(np.float32)


def find_hole(alpha: Array) -> Array:
    """Where to paint, (H, W) bool: the matte, well grown, and its small gaps (often fingers)."""
    radius = max(2, round(GROW * alpha.shape[0]))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    hole = cv2.dilate((alpha > 0.02).astype(np.uint8), disc)
    hole = cv2.morphologyEx(hole, cv2.MORPH_CLOSE, disc)
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(1 - hole)
    small = stats[:, cv2.CC_STAT_AREA] < SMALL_GAP * hole.size
    return (hole > 0) | (small[pieces] if count > 2 else False)


def spread(image: Array, known: Array) -> Array:
    """Push-pull: known colours run smoothly into the unknown pixels.

    Args:
        image: (H, W, 3) float32. known: (H, W) bool.

    Returns:
        (H, W, 3) float32, equal to ``image`` where known; mid grey when nothing is known.
    """
    weight = known.astype(np.float32)
    levels = [(image * weight[..., None], weight)]
    while max(weight.shape) > 1:
        size = ((weight.shape[1] + 1) // 2, (weight.shape[0] + 1) // 2)
        color = cv2.resize(levels[-1][0], size, interpolation=cv2.INTER_AREA).reshape(size[1], size[0], 3)
        share = cv2.resize(levels[-1][1], size, interpolation=cv2.INTER_AREA).reshape(size[1], size[0])
        weight = np.minimum(4 * share, 1)  # one known child makes its parent known
        levels.append((color * (weight / np.maximum(share, 1e-6))[..., None], weight))
    filled = np.full((1, 1, 3), 0.5, np.float32)
    for color, weight in reversed(levels):
        size = (weight.shape[1], weight.shape[0])
        coarse = cv2.resize(filled, size, interpolation=cv2.INTER_LINEAR).reshape(size[1], size[0], 3)
        filled = color + (1 - weight[..., None]) * coarse
    return np.where(known[..., None], image, filled).astype(np.float32)


def _complete(smooth: Array, hole: Array, seed: int) -> tuple[Array, Array | None]:
    """Fill on a small pyramid; returns the finest level's picture and, per pixel, (dy, dx) to its source there."""
    picture: Array | None = None
    offsets: Array | None = None
    last: tuple[Array, Array] = smooth, hole
    for side, rounds in zip(LEVELS, ROUNDS, strict=True):
        factor = side / max(hole.shape)
        size = (max(8, round(hole.shape[1] * factor)), max(8, round(hole.shape[0] * factor)))
        exact = cv2.resize(smooth, size, interpolation=cv2.INTER_AREA)
        gap = cv2.resize(hole.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.02
        quiet = ~gap & ~_conspicuous(exact)
        quiet = quiet if quiet.mean() > ENOUGH else ~gap
        source = cv2.erode(quiet.astype(np.uint8), np.ones((2 * HALF + 1,) * 2, np.uint8), borderValue=1) > 0
        source[:HALF], source[-HALF:], source[:, :HALF], source[:, -HALF:] = False, False, False, False
        if source.sum() < 40:
            continue
        picture = exact if picture is None else np.where(gap[..., None], _grown(picture, size), exact)
        picture = np.ascontiguousarray(picture, np.float32)
        rows, columns = np.nonzero(source)
        matches = _first_matches(gap, rows, columns, offsets, seed)
        _search_and_vote(picture, gap, source, matches, rounds, SAME_HEIGHT, seed)
        offsets = matches - np.stack(np.mgrid[: size[1], : size[0]], -1)
        last = exact, gap
    if picture is None or offsets is None:
        return smooth, None
    drift = (_integrated(*last, offsets) - picture).mean(-1, keepdims=True)
    return np.clip(picture + DRIFT * np.tanh(drift / DRIFT), 0, 1), offsets


def _integrated(image: Array, gap: Array, offsets: Array) -> Array:
    """The gap filled so that neighbours differ as they do in their sources, not with the colours of these.

    Where two neighbours come from different places, plain ground of slightly another brightness would end in a line
    that the picture has nowhere; the differences of either source know nothing of it. Solves Poisson's equation with
    the surroundings as its boundary (Perez et al., "Poisson Image Editing", 2003).

    Args:
        image: (h, w, 3), known outside the gap. gap: (h, w) bool. offsets: (h, w, 2) int64, from a pixel to its source.
    """
    height, width = gap.shape
    number = np.full(gap.shape, -1)
    number[gap] = np.arange(gap.sum())
    rows, columns, right = [], [], np.zeros((gap.sum(), 3))
    weight = np.zeros(gap.sum())
    for step in ((0, 1), (1, 0), (0, -1), (-1, 0)):
        y, x = np.nonzero(gap)
        q, p = y + step[0], x + step[1]
        inside = (q >= 0) & (q < height) & (p >= 0) & (p < width)
        y, x, q, p = y[inside], x[inside], q[inside], p[inside]
        here = np.stack([y, x], -1) + offsets[y, x]
        change = image[tuple((here + step).T)] - image[tuple(here.T)]
        both = gap[q, p]
        there = np.stack([q, p], -1)[both] + offsets[q, p][both]
        change[both] = 0.5 * (change[both] + image[tuple(there.T)] - image[tuple((there - step).T)])
        mine = number[y, x]
        weight[mine] += 1
        right[mine] -= change
        right[mine[~both]] += image[q[~both], p[~both]]
        rows.append(mine[both])
        columns.append(number[q, p][both])
    count = len(weight)
    joined = sparse.coo_matrix((np.ones(sum(map(len, rows))), (np.concatenate(rows), np.concatenate(columns))),
                               shape=(count, count))  # fmt: skip
    out = image.copy()
    out[gap] = linalg.splu((sparse.diags(weight) - joined).tocsc()).solve(right)
    return out


def _conspicuous(image: Array) -> Array:
    """Small things that differ much from all around them, (h, w) bool: one reflection is enough."""
    size = 2 * round(0.5 * WIDE * max(image.shape)) + 1
    around = cv2.medianBlur((np.clip(image, 0, 1) * 255).astype(np.uint8), size).astype(np.float32) / 255
    return np.abs(image - around).max(-1) > STANDS_OUT


def _grown(image: Array, size: tuple[int, int]) -> Array:
    return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)


def _first_matches(gap: Array, rows: Array, columns: Array, coarser: Array | None, seed: int) -> Array:
    """Where each pixel's patch may come from: twice the coarser answer, or random; (h, w, 2) int64 row, column."""
    generator = np.random.default_rng(seed)
    pick = generator.integers(0, len(rows), gap.shape)
    matches = np.stack([rows[pick], columns[pick]], -1)
    if coarser is None:
        return matches
    size = (gap.shape[1], gap.shape[0])
    scale = (gap.shape[0] / coarser.shape[0], gap.shape[1] / coarser.shape[1])
    moved = cv2.resize(coarser.astype(np.float32), size, interpolation=cv2.INTER_NEAREST) * np.array(scale, np.float32)
    guess = np.rint(moved).astype(np.int64) + np.stack(np.mgrid[: gap.shape[0], : gap.shape[1]], -1)
    allowed = np.zeros(gap.shape, bool)
    allowed[rows, columns] = True
    inside = (guess >= 0).all(-1) & (guess < np.array(gap.shape)).all(-1)
    guess = np.where(inside[..., None], guess, 0)
    good = inside & allowed[guess[..., 0], guess[..., 1]]
    return np.where(good[..., None], guess, matches)


# Without fastmath: with it, code just compiled rounds otherwise than the same code from the cache.
@numba.njit(cache=True, nogil=True)
def _cost(image, y, x, i, j, limit, same_height):
    """Mean squared colour difference of the patches at (y, x) and (i, j), plus the price of another height."""
    height, width = image.shape[:2]
    total = same_height * ((y - i) / height) ** 2
    share = 1.0 / (3 * (2 * HALF + 1) ** 2)
    for a in range(-HALF, HALF + 1):
        p = min(max(y + a, 0), height - 1)
        for b in range(-HALF, HALF + 1):
            q = min(max(x + b, 0), width - 1)
            for c in range(3):
                d = image[p, q, c] - image[i + a, j + b, c]
                total += d * d * share
        if total > limit:
            return total
    return total


@numba.njit(cache=True, nogil=True)
def _improve(image, source, y, x, matches, best, same_height, forward):
    """Propagation from two neighbours and a shrinking random search around the best match."""
    height, width = source.shape
    step = -1 if forward else 1
    for k in range(2):
        p, q = y + (step if k == 0 else 0), x + (step if k == 1 else 0)
        if 0 <= p < height and 0 <= q < width:
            i, j = matches[p, q, 0] + y - p, matches[p, q, 1] + x - q
            if 0 <= i < height and 0 <= j < width and source[i, j]:
                cost = _cost(image, y, x, i, j, best, same_height)
                if cost < best:
                    best, matches[y, x, 0], matches[y, x, 1] = cost, i, j
    radius = max(height, width)
    while radius >= 1:
        i = matches[y, x, 0] + np.random.randint(-radius, radius + 1)
        j = matches[y, x, 1] + np.random.randint(-radius, radius + 1)
        if 0 <= i < height and 0 <= j < width and source[i, j]:
            cost = _cost(image, y, x, i, j, best, same_height)
            if cost < best:
                best, matches[y, x, 0], matches[y, x, 1] = cost, i, j
        radius //= 2
    return best


@numba.njit(cache=True, nogil=True)
def _search_and_vote(image, gap, source, matches, rounds, same_height, seed):
    """Alternate between finding the best source of every patch and repainting the gap from those sources; in place."""
    np.random.seed(seed)
    height, width = gap.shape
    best = np.empty((height, width), np.float32)
    total = np.empty((height, width, 4), np.float32)
    for _ in range(rounds):
        for y in range(height):
            for x in range(width):
                best[y, x] = _cost(image, y, x, matches[y, x, 0], matches[y, x, 1], 1e9, same_height)
        for sweep in range(2):
            forward = sweep == 0
            for yy in range(height):
                for xx in range(width):
                    y, x = (yy, xx) if forward else (height - 1 - yy, width - 1 - xx)
                    if not _near_gap(gap, y, x):
                        continue
                    best[y, x] = _improve(image, source, y, x, matches, best[y, x], same_height, forward)
        total[:] = 0
        for y in range(height):
            for x in range(width):
                if not _near_gap(gap, y, x):
                    continue
                weight = np.exp(-best[y, x] / 0.004) + 1e-4
                for a in range(-HALF, HALF + 1):
                    for b in range(-HALF, HALF + 1):
                        p, q = y + a, x + b
                        if 0 <= p < height and 0 <= q < width and gap[p, q]:
                            i, j = matches[y, x, 0] + a, matches[y, x, 1] + b
                            for c in range(3):
                                total[p, q, c] += weight * image[i, j, c]
                            total[p, q, 3] += weight
        for y in range(height):
            for x in range(width):
                if gap[y, x] and total[y, x, 3] > 0:
                    for c in range(3):
                        image[y, x, c] = total[y, x, c] / total[y, x, 3]


@numba.njit(cache=True, nogil=True)
def _near_gap(gap, y, x):
    """Whether the patch at (y, x) touches the gap."""
    height, width = gap.shape
    for p in range(max(0, y - HALF), min(height, y + HALF + 1)):
        for q in range(max(0, x - HALF), min(width, x + HALF + 1)):
            if gap[p, q]:
                return True
    return False


def _with_grain(image: Array, hole: Array, small: Array, offsets: Array) -> Array:
    """The small fill enlarged, with the fine detail of the places that it was copied from."""
    height, width = hole.shape
    factor = height / small.shape[0]
    large = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    known = spread(image, ~hole)
    detail = known - cv2.resize(
        cv2.resize(known, small.shape[1::-1], interpolation=cv2.INTER_AREA),
        (width, height),
        interpolation=cv2.INTER_CUBIC,
    )
    moves = cv2.resize(offsets.astype(np.float32) * factor, (width, height), interpolation=cv2.INTER_NEAREST)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    copied = cv2.remap(detail, x + np.rint(moves[..., 1]), y + np.rint(moves[..., 0]), cv2.INTER_NEAREST)
    return large + copied
