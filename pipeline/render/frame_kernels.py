"""Numba kernels that draw the frames of an animation: no gradients, eight bits, and so fewer steps per splat.

The pictures are those of :mod:`pipeline.render.tile_kernels` but for what eight bits hardly show: depths within a tile
have 20 bits, opacity is at most ``OPACITY_MAX``, the exponential is right to 2e-4, the last splat of a pixel is blended
where the other kernels stop before it, and a block of 8x8 pixels is finished as soon as none of them lets through more
than ``rest``, which then counts as nothing.

Arrays (float32, C-contiguous):
    splats (N, 16), one line of cache each: mean x, mean y, conic a, b, c, opacity (alpha as in the other kernels),
        first and one-past-last column and row of pixels that it may touch, three colours from ``COLOR`` on, nothing
    rects (N, 4) int16: tile columns [0, 1) and rows [2, 3) that the splat may touch; empty when culled
    keys (N,) uint32: camera depth as ordered bits
    state: of a tile of 32x32 pixels, row after row; a row holds T and three colours, each with ``PAD`` spare pixels at
        both ends for splats that hang over
"""

from __future__ import annotations

import numpy as np

from pipeline.render.parallel import jit
from pipeline.render.project_kernels import BLOCK, FAR, NEAR, PLANES, screen_block
from pipeline.render.tile_kernels import HALF, ONE, ZERO
from pipeline.render.vector import LANES, add_columns, brightest, falls, fetch, skin

TILE = 32
PAD = LANES
PLANE = TILE + 2 * PAD
ROW = 4 * PLANE
BLOCKS = TILE // LANES
RECORD = 16
OPACITY = 5
COLOR = 10
CHECK = 64
"""Splats between two looks at which blocks are finished."""
AHEAD = 8
"""Splats that are fetched ahead of their use."""
DIGIT = 1024
"""Values of each of the two digits that splats of a tile are sorted by."""
DARKEST, BRIGHTEST, FACING, LIGHTEST = np.float32(0.5), np.float32(1.3), np.float32(2 / 3), np.float32(0.95)
"""As in lighting.py; numbers, because numba's disk cache does not see changes in other files."""
THIRD = np.float32(1 / 3)
OPACITY_MAX = np.float32(0.999)
ALPHA_MIN = np.float32(1.0 / 255.0)
FULL = np.float32(255.0)
LAST = np.uint32(0xFFFFFFFF)


@jit(inline=True)
def _span(task, tasks, n):
    """Slice ``task`` of ``tasks`` of range(n)."""
    return task * n // tasks, (task + 1) * n // tasks


@jit(fast=True)
def express(task, tasks, means, basis, steps, out):
    """out = means + sum over e of steps[e] basis[e], all flat; basis (E, n) int16. The rest of ``means`` stays."""
    start, stop = _span(task, tasks, basis.shape[1])
    sums = np.empty(1024, np.float32)
    for first in range(start, stop, 1024):
        many = min(1024, stop - first)
        sums[:many] = means[first : first + many]
        for e in range(steps.shape[0]):
            if steps[e] != ZERO:
                step, row = steps[e], basis[e, first : first + many]
                for j in range(many):
                    sums[j] += step * np.float32(row[j])
        out[first : first + many] = sums[:many]


@jit(fast=True)
def relight(task, tasks, lit, normals, shares, light, joints, weights, transforms, colors, splats):
    """Write the colours of Gaussians ``lit`` (S,) as their surfaces lie in this pose.

    Args:
        normals: (S, 3) canonical. shares: (S,). light: (3,). joints, weights: (N, K). transforms: (J, 16) by columns.
        colors: (N, 3).
    """
    start, stop = _span(task, tasks, lit.shape[0])
    for s in range(start, stop):
        i = lit[s]
        x, y, z = ZERO, ZERO, ZERO
        for k in range(joints.shape[1]):
            w = weights[i, k]
            if w != ZERO:
                A, a, b, c = transforms[joints[i, k]], normals[s, 0], normals[s, 1], normals[s, 2]
                x += w * (A[0] * a + A[4] * b + A[8] * c)
                y += w * (A[1] * a + A[5] * b + A[9] * c)
                z += w * (A[2] * a + A[6] * b + A[10] * c)
        length = max(np.sqrt(x * x + y * y + z * z), np.float32(1e-12))
        factor = (ONE + (x * light[0] + y * light[1] + z * light[2]) / length) / (ONE + FACING * light[2])
        factor = ONE + shares[s] * (min(max(factor, DARKEST), BRIGHTEST) - ONE)
        mean = min((colors[i, 0] + colors[i, 1] + colors[i, 2]) * THIRD, LIGHTEST)
        whiter = min(max((factor - ONE) * mean / (ONE - mean), ZERO), ONE)
        factor = min(factor, ONE) * (ONE - whiter)
        for c in range(3):
            splats[i, COLOR + c] = colors[i, c] * factor + whiter


@jit()
def skin_project(
    task, tasks, means, joints, weights, used, transforms, scales, reaches, cam, width, height,
    splats, rects, keys, counts,
):  # fmt: skip
    """Skin, project, and count the splats of every tile.

    Args:
        means: (N, 3). joints, weights: (N, K), of which ``used`` (N,) uint8 count. transforms: (J, 16) by columns.
        reaches: (N,) standard deviations up to which alpha is 1/255 or more; NaN where it never is.
        counts: (tasks, tiles) int64 out, zero on entry.
    """
    start, stop = _span(task, tasks, means.shape[0])
    block, point = np.empty(PLANES * BLOCK, np.float32), np.empty(4, np.float32)
    for first in range(start, stop, BLOCK):
        many = min(BLOCK, stop - first)
        for j in range(many):
            i = first + j
            x, y, z = means[i, 0], means[i, 1], means[i, 2]
            skin(joints, weights, i * joints.shape[1], np.int64(used[i]), transforms, x, y, z, point, 0)
            block[j], block[BLOCK + j], block[2 * BLOCK + j] = point[0], point[1], point[2]
            block[3 * BLOCK + j], block[4 * BLOCK + j] = scales[i], reaches[i]
        screen_block(cam, block)
        _place(task, first, many, width, height, block, splats, rects, keys, counts)


@jit()
def _place(task, first, many, width, height, block, splats, rects, keys, counts):
    """Write projected splats, their tiles and keys; count them."""
    tiles_x = (width + TILE - 1) // TILE
    for j in range(many):
        i = first + j
        mx, my, z = block[5 * BLOCK + j], block[6 * BLOCK + j], block[7 * BLOCK + j]
        rx, ry = block[11 * BLOCK + j], block[12 * BLOCK + j]
        rects[i, 0], rects[i, 1], rects[i, 2], rects[i, 3] = 0, 0, 0, 0
        on_screen = mx + rx > ZERO and mx - rx < width and my + ry > ZERO and my - ry < height
        if not (on_screen and z >= np.float32(NEAR) and z <= np.float32(FAR) and rx < np.inf and ry < np.inf):
            continue
        left, right = _pixels(mx, rx, width)
        top, bottom = _pixels(my, ry, height)
        if left >= right or top >= bottom:
            continue
        splats[i, 0], splats[i, 1] = mx, my
        splats[i, 2], splats[i, 3] = block[8 * BLOCK + j], block[9 * BLOCK + j]
        splats[i, 4] = block[10 * BLOCK + j]
        splats[i, 6], splats[i, 7], splats[i, 8], splats[i, 9] = left, right, top, bottom
        x0, x1 = int(left) // TILE, (int(right) - 1) // TILE + 1
        y0, y1 = int(top) // TILE, (int(bottom) - 1) // TILE + 1
        rects[i, 0], rects[i, 1], rects[i, 2], rects[i, 3] = x0, x1, y0, y1
        keys[i] = np.float32(z).view(np.uint32)
        for ty in range(y0, y1):
            for tx in range(x0, x1):
                counts[task, ty * tiles_x + tx] += 1


@jit(inline=True)
def _pixels(center, reach, size):
    """First and one-past-last pixel whose centre lies within ``reach``, with a little slack, as floats."""
    first = max(ZERO, np.ceil(center - reach - np.float32(0.501)))
    return first, min(np.float32(size), np.floor(center + reach - np.float32(0.499)) + ONE)


@jit()
def fill_tiles(task, tasks, rects, keys, tiles_x, places, ids, depths):
    """Write every splat's number and key into its tiles.

    Args:
        places: (tasks, tiles) where each slice starts in each tile; used up.
        ids, depths: (pairs,) int32 and uint32 out.
    """
    start, stop = _span(task, tasks, rects.shape[0])
    for i in range(start, stop):
        for ty in range(rects[i, 2], rects[i, 3]):
            for tx in range(rects[i, 0], rects[i, 1]):
                place = places[task, ty * tiles_x + tx]
                ids[place], depths[place] = i, keys[i]
                places[task, ty * tiles_x + tx] = place + 1


@jit()
def _sort(ids, depths, start, many, place, digits, half, order):
    """order[:many] = ids[start : start + many] by depth in 20 bits of the tile's own range, ties as they come.

    Args:
        place: (2, DIGIT + 1) int32, digits: (2, n) uint32, half: (n,) int32, to work with.
    """
    low, high = LAST, np.uint32(0)
    for j in range(many):
        low, high = min(low, depths[start + j]), max(high, depths[start + j])
    shift = np.uint32(0)
    while np.uint32(high - low) >> shift >= np.uint32(DIGIT * DIGIT):
        shift += np.uint32(1)
    place[:] = 0
    for j in range(many):
        digit = np.uint32(depths[start + j] - low) >> shift
        digits[0, j] = digit
        place[0, (digit & np.uint32(DIGIT - 1)) + 1] += 1
        place[1, digit // np.uint32(DIGIT) + 1] += 1
    for d in range(DIGIT - 1):
        place[0, d + 1] += place[0, d]
        place[1, d + 1] += place[1, d]
    for j in range(many):
        d = digits[0, j] & np.uint32(DIGIT - 1)
        to = place[0, d]
        place[0, d] = to + 1
        half[to], digits[1, to] = ids[start + j], digits[0, j] // np.uint32(DIGIT)
    for j in range(many):
        d = digits[1, j]
        to = place[1, d]
        place[1, d] = to + 1
        order[to] = half[j]


@jit()
def blend(task, tasks, splats, offsets, ids, depths, rest, picture, layers):
    """Sort and composite the rows of tiles task, task + tasks, ...

    Args:
        offsets: (tiles + 1,) int64 into ids and depths.
        rest: below this much light a pixel counts as opaque.
        picture: (H, W, 3) uint8 that is drawn over, or (H, W, 4) for straight alpha.
        layers: (H, W, 4) float32 out, premultiplied colour and alpha, instead of the picture; or (0, 0, 4).
    """
    tiles_x = (max(picture.shape[1], layers.shape[1]) + TILE - 1) // TILE
    most = 1
    for t in range(offsets.shape[0] - 1):
        most = max(most, offsets[t + 1] - offsets[t])
    state, profile = np.empty(TILE * ROW, np.float32), np.empty(TILE, np.float32)
    closed = np.empty((BLOCKS, BLOCKS), np.uint8)
    place, digits = np.empty((2, DIGIT + 1), np.int32), np.empty((2, most), np.uint32)
    half, order = np.empty(most, np.int32), np.empty(most, np.int32)
    for t in range(offsets.shape[0] - 1):
        many = offsets[t + 1] - offsets[t]
        if (t // tiles_x) % tasks != task or many == 0:
            continue
        left, top = (t % tiles_x) * TILE, (t // tiles_x) * TILE
        _sort(ids, depths, offsets[t], many, place, digits, half, order)
        state[:] = ZERO
        for y in range(TILE):
            state[y * ROW : y * ROW + PLANE] = ONE
        closed[:] = 0
        for s in range(many):
            if s % CHECK == CHECK - 1 and _all_closed(state, rest, closed):
                break
            fetch(splats, np.int64(order[min(s + AHEAD, many - 1)]) * RECORD)
            _add(splats, order[s], left, top, closed, profile, state)
        _write(state, left, top, rest, picture, layers)


@jit()
def _all_closed(state, rest, closed):
    """Mark the blocks that no longer let light through; whether these are all."""
    opened = 0
    for by in range(BLOCKS):
        for bx in range(BLOCKS):
            if closed[by, bx] == 0:
                closed[by, bx] = brightest(state, by * LANES * ROW + bx * LANES + PAD, ROW) < rest
                opened += closed[by, bx] == 0
    return opened == 0


@jit()
def _add(splats, i, left, top, closed, profile, state):
    """Blend a splat into a tile, where that is not closed.

    One of up to 8x8 pixels takes eight columns where they lie. A larger one goes by columns of blocks.
    """
    x0, x1 = int(splats[i, 6]) - left, int(splats[i, 7]) - left
    y0, y1 = int(splats[i, 8]) - top, int(splats[i, 9]) - top
    first, last = max(0, y0), min(TILE, y1)
    bx0, bx1 = max(0, x0) // LANES, (min(TILE, x1) - 1) // LANES
    by0, by1 = first // LANES, (last - 1) // LANES
    if x1 - x0 <= LANES and y1 - y0 <= LANES:
        if closed[by0, bx0] & closed[by0, bx1] & closed[by1, bx0] & closed[by1, bx1]:
            return
        falls(profile, 0, splats[i, 1] - np.float32(top + first) - HALF, splats[i, 4])
        _add_columns(splats, i, x0, left, top, first, last, profile, 0, state)
        return
    ready = False
    for bx in range(bx0, bx1 + 1):
        low, high = by0, by1
        while low <= high and closed[low, bx]:
            low += 1
        if low > high:
            continue
        while closed[high, bx]:
            high -= 1
        if not ready:
            for by in range(by0, by1 + 1):
                falls(profile, by * LANES, splats[i, 1] - np.float32(top + by * LANES) - HALF, splats[i, 4])
            ready = True
        upper, lower = max(first, low * LANES), min(last, (high + 1) * LANES)
        _add_columns(splats, i, bx * LANES, left, top, upper, lower, profile, upper, state)


@jit(inline=True)
def _add_columns(splats, i, x, left, top, first, last, profile, start, state):
    """Blend columns x .. x + 8 and rows first .. last of a splat; profile[start] belongs to row ``first``."""
    dx, dy = splats[i, 0] - np.float32(left + x) - HALF, splats[i, 1] - np.float32(top + first) - HALF
    red, green, blue = splats[i, COLOR], splats[i, COLOR + 1], splats[i, COLOR + 2]
    add_columns(
        state, first * ROW + x + PAD, ROW, PLANE, dx, dy, splats[i, 2], splats[i, 3], splats[i, OPACITY], ALPHA_MIN,
        profile, start, last - first, red, green, blue,
    )  # fmt: skip


@jit()
def _write(state, left, top, rest, picture, layers):
    """Put a tile where it belongs; light that is less than ``rest`` counts as none."""
    floats = layers.shape[0] > 0
    height, width = max(picture.shape[0], layers.shape[0]), max(picture.shape[1], layers.shape[1])
    for y in range(top, min(top + TILE, height)):
        for x in range(left, min(left + TILE, width)):
            k = (y - top) * ROW + x - left + PAD
            light, gain = state[k], ONE
            if light < rest:
                light, gain = ZERO, ONE / (ONE - light)
            red, green, blue = gain * state[k + PLANE], gain * state[k + 2 * PLANE], gain * state[k + 3 * PLANE]
            if floats:
                layers[y, x, 0], layers[y, x, 1], layers[y, x, 2], layers[y, x, 3] = red, green, blue, ONE - light
            elif picture.shape[2] == 4:
                straight = FULL / max(ONE - light, np.float32(1e-4))
                _put(picture, y, x, red * straight, green * straight, blue * straight)
                picture[y, x, 3] = np.uint8((ONE - light) * FULL + HALF)
            else:
                behind = picture[y, x]
                red, green, blue = red * FULL, green * FULL, blue * FULL
                _put(picture, y, x, red + light * behind[0], green + light * behind[1], blue + light * behind[2])


@jit(inline=True)
def _put(picture, y, x, red, green, blue):
    """Three rounded levels."""
    picture[y, x, 0] = np.uint8(min(FULL, max(ZERO, red + HALF)))
    picture[y, x, 1] = np.uint8(min(FULL, max(ZERO, green + HALF)))
    picture[y, x, 2] = np.uint8(min(FULL, max(ZERO, blue + HALF)))
