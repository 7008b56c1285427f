"""Numba kernels on tiles of 16x16 pixels: sort splats by depth, bin them, blend them, and the way back.

Arrays are those of :mod:`pipeline.render.project_kernels`. Three channels are drawn at a time: the inner loops over the
16 pixels of a tile's row then become straight vector code. The state of a tile is one flat array of planes at constant
distances, for the same reason.
"""

from __future__ import annotations

import numpy as np

from pipeline.render.parallel import jit

TILE = 16
PLANE = TILE * TILE
CHANNELS = 3
ALPHA_MAX = np.float32(0.999)
ALPHA_MIN = np.float32(1.0 / 255.0)
T_MIN = np.float32(1e-4)
CULLED = np.uint32(0xFFFFFFFF)
RADIX_BITS = 11
RADIX = 1 << RADIX_BITS
MOMENTS = 6
BATCH = 64
ZERO, HALF, ONE, TWO = np.float32(0.0), np.float32(0.5), np.float32(1.0), np.float32(2.0)


@jit(inline=True)
def _span(task, tasks, n):
    """Slice ``task`` of ``tasks`` of range(n)."""
    return task * n // tasks, (task + 1) * n // tasks


@jit()
def pack_colors(task, tasks, colors, first, splats):
    """Copy colour channels [first, first + 3) into the splats, zero where there are fewer."""
    start, stop = _span(task, tasks, colors.shape[0])
    for i in range(start, stop):
        for c in range(CHANNELS):
            splats[i, 8 + c] = colors[i, first + c] if first + c < colors.shape[1] else ZERO


@jit()
def depth_order(keys):
    """Indices of the splats that are not culled, by ascending depth, ties by index (stable radix sort).

    Args:
        keys: (N,) uint32.

    Returns:
        (M,) int32.
    """
    n, low, high = 0, CULLED, np.uint32(0)
    for i in range(keys.shape[0]):
        if keys[i] != CULLED:
            n += 1
            low, high = min(low, keys[i]), max(high, keys[i])
    order, other = np.empty(n, np.int32), np.empty(n, np.int32)
    key, other_key = np.empty(n, np.uint32), np.empty(n, np.uint32)
    n = 0
    for i in range(keys.shape[0]):
        if keys[i] != CULLED:
            order[n], key[n] = i, keys[i] - low
            n += 1
    shift = np.uint32(0)
    while n > 0 and (np.uint32(high - low) >> shift) > 0:
        _radix_pass(key, order, other_key, other, shift)
        key, other_key = other_key, key
        order, other = other, order
        shift += np.uint32(RADIX_BITS)
        if shift >= 32:
            break
    return order


@jit()
def _radix_pass(key, order, out_key, out_order, shift):
    """One stable counting pass over ``RADIX_BITS`` bits."""
    place = np.zeros(RADIX + 1, np.int64)
    mask = np.uint32(RADIX - 1)
    for i in range(key.shape[0]):
        place[((key[i] >> shift) & mask) + 1] += 1
    for d in range(RADIX):
        place[d + 1] += place[d]
    for i in range(key.shape[0]):
        d = (key[i] >> shift) & mask
        j = place[d]
        out_key[j], out_order[j] = key[i], order[i]
        place[d] = j + 1


@jit(inline=True)
def _corners(rects, i, tiles_x):
    """Of a splat's tiles: the first one, and whether there is a second column and a second row (0 or 1)."""
    first = np.int64(rects[i, 2]) * tiles_x + rects[i, 0]
    return first, np.int64(rects[i, 1] - rects[i, 0] > 1), np.int64(rects[i, 3] - rects[i, 2] > 1)


@jit(inline=True)
def _is_large(rects, i):
    """Whether a splat has more than two columns or rows of tiles."""
    return rects[i, 1] - rects[i, 0] > 2 or rects[i, 3] - rects[i, 2] > 2


@jit()
def count_tiles(task, tasks, order, rects, tiles_x, counts):
    """How many splats of this slice of ``order`` fall into each tile: counts (tasks, tiles) int64, zero on entry.

    Most splats have one, two or four tiles; which, is a matter of chance, so it is not left to branches.
    """
    start, stop = _span(task, tasks, order.shape[0])
    for s in range(start, stop):
        i = order[s]
        if _is_large(rects, i):
            for ty in range(rects[i, 2], rects[i, 3]):
                for tx in range(rects[i, 0], rects[i, 1]):
                    counts[task, ty * tiles_x + tx] += 1
        else:
            t, right, down = _corners(rects, i, tiles_x)
            counts[task, t] += 1
            counts[task, t + right] += right
            counts[task, t + down * tiles_x] += down
            counts[task, t + down * tiles_x + right] += right & down


@jit()
def fill_tiles(task, tasks, order, rects, tiles_x, places, ids):
    """Write the splats of this slice behind those of the slices before it.

    Args:
        places: (tasks, tiles) where each slice starts in each tile; used up.
        ids: (intersections + tasks,) int32 out; the last ``tasks`` places are spare.
    """
    start, stop = _span(task, tasks, order.shape[0])
    for s in range(start, stop):
        i = order[s]
        if _is_large(rects, i):
            for ty in range(rects[i, 2], rects[i, 3]):
                for tx in range(rects[i, 0], rects[i, 1]):
                    _put(task, ty * tiles_x + tx, i, 1, places, ids)
        else:
            t, right, down = _corners(rects, i, tiles_x)
            _put(task, t, i, 1, places, ids)
            _put(task, t + right, i, right, places, ids)
            _put(task, t + down * tiles_x, i, down, places, ids)
            _put(task, t + down * tiles_x + right, i, right & down, places, ids)


@jit(inline=True)
def _put(task, t, i, really, places, ids):
    """Append splat i to tile t of this task, or (``really`` 0) write it to the spare place at the end of ``ids``."""
    place = places[task, t]
    ids[place if really == 1 else ids.shape[0] - 1 - task] = i
    places[task, t] = place + really


@jit(fast=True, inline=True)
def _exp2(t):
    """2^t in float32 within 2e-7 relative, exact at 0, t <= 0; simple enough to become vector code."""
    t = max(t, np.float32(-126.0))
    n = np.floor(t + HALF)
    f = t - n
    p = np.float32(0.0013264727175820923)
    p = p * f + np.float32(0.00967151264993504)
    p = p * f + np.float32(0.05550733743311491)
    p = p * f + np.float32(0.2402224208515095)
    p = p * f + np.float32(0.693146977599145)
    p = p * f + ONE
    return p * np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)


@jit(inline=True)
def _rows(my, reach):
    """First and one-past-last row of a tile within ``reach`` of ``my``, which is relative to the tile's top."""
    first = max(ZERO, np.ceil(my - reach - np.float32(0.501)))
    last = min(np.float32(TILE), np.floor(my + reach - np.float32(0.499)) + ONE)
    return int(first), int(last)


@jit()
def blend(task, tasks, splats, offsets, ids, background, first, image, alpha):
    """Front-to-back compositing of the rows of tiles task, task + tasks, ...

    Args:
        offsets: (tiles + 1,) int64 into ids.
        ids: splats of every tile in depth order, int32.
        background: (C,).
        first: the image channel of the splats' first colour.
        image: (H, W, C) out, channels [first, first + 3).
        alpha: (H, W) out, 1 - T.
    """
    tiles_x = (image.shape[1] + TILE - 1) // TILE
    state, live = np.empty(5 * PLANE, np.float32), np.empty(TILE, np.uint8)
    batch = np.empty((BATCH, 12), np.float32)
    for t in range(offsets.shape[0] - 1):
        if (t // tiles_x) % tasks != task:
            continue
        left, top = (t % tiles_x) * TILE, (t // tiles_x) * TILE
        state[:PLANE] = ONE
        state[PLANE:] = ZERO
        live[:] = 1
        rows = TILE
        s = offsets[t]
        while s < offsets[t + 1] and rows > 0:
            many = min(BATCH, offsets[t + 1] - s)
            _gather(splats, ids, s, many, batch)
            for j in range(many):
                rows -= _blend_splat(batch, j, np.float32(left), np.float32(top), state, live)
                if rows == 0:
                    break
            s += many
        _write_tile(state, background, first, left, top, image, alpha)


@jit()
def _gather(splats, ids, start, many, batch):
    """Fetch splats ids[start : start + many] ahead of their use, so that the waits for memory overlap."""
    for j in range(many):
        i = ids[start + j]
        for c in range(12):
            batch[j, c] = splats[i, c]


@jit(fast=True)
def _blend_splat(splats, i, left, top, state, live):
    """Add one splat to a tile whose planes are T (0 once a pixel has stopped), three colours and the sum of weights.

    Returns:
        In how many of the tile's rows it was the last to reach any pixel.
    """
    mx, my = splats[i, 0] - left - HALF, splats[i, 1] - top - HALF
    a, b, c, opacity = splats[i, 2], splats[i, 3], splats[i, 4], splats[i, 5]
    red, green, blue = splats[i, 8], splats[i, 9], splats[i, 10]
    first, last = _rows(splats[i, 1] - top, splats[i, 6])
    finished = 0
    for y in range(first, last):
        if live[y] == 0:
            continue
        dy = my - np.float32(y)
        linear, constant = b * dy, c * dy * dy
        still = ZERO
        for x in range(TILE):
            k = np.uint64(y) * np.uint64(TILE) + np.uint64(x)
            dx = mx - np.float32(x)
            alpha = min(ALPHA_MAX, opacity * _exp2((a * dx + linear) * dx + constant))
            alpha = alpha if alpha >= ALPHA_MIN else ZERO
            light = state[k] * (ONE - alpha)
            weight = state[k] * alpha if light > T_MIN else ZERO
            light = light if light > T_MIN else ZERO
            state[k] = light
            state[k + np.uint64(PLANE)] += weight * red
            state[k + np.uint64(2 * PLANE)] += weight * green
            state[k + np.uint64(3 * PLANE)] += weight * blue
            state[k + np.uint64(4 * PLANE)] += weight
            still += light
        if still == ZERO:
            live[y] = 0
            finished += 1
    return finished


@jit()
def _write_tile(state, background, first, left, top, image, alpha):
    height, width, channels = image.shape
    for y in range(top, min(top + TILE, height)):
        for x in range(left, min(left + TILE, width)):
            k = (y - top) * TILE + x - left
            opaque = state[4 * PLANE + k]
            alpha[y, x] = opaque
            for c in range(first, min(first + CHANNELS, channels)):
                image[y, x, c] = state[(1 + c - first) * PLANE + k] + (ONE - opaque) * background[c]


@jit()
def blend_backward(task, tasks, splats, offsets, ids, rects, slots, first, image, alpha, g_image, g_alpha, g_slots):
    """Gradients of :func:`blend`, front to back again, one row of ``g_slots`` per (splat, tile).

    With S = what lies behind splat i, seen through T_i: dL/dalpha_i = T_i c_i.g - S / (1 - alpha_i), and S starts as
    g.image - g_alpha (1 - alpha) and loses w_i c_i.g at every splat.

    Args:
        slots: (N,) int64, first row of every splat; its tiles follow row by row of its rectangle.
        first: the image channel of the splats' first colour; ``g_alpha`` counts only when it is 0.
        image, alpha: what blend made; g_image, g_alpha: loss gradients of the same shapes.
        g_slots: (intersections, 9) out, zero on entry: sums of v, v dx, v dy, v dx dx, v dx dy, v dy dy with
            v = dL/dsigma = -alpha dL/dalpha, then three colours.
    """
    tiles_x = (image.shape[1] + TILE - 1) // TILE
    state, lanes = np.empty(5 * PLANE, np.float32), np.empty(6 * TILE, np.float32)
    live, batch = np.empty(TILE, np.uint8), np.empty((BATCH, 12), np.float32)
    batch_slots = np.empty(BATCH, np.int64)
    for t in range(offsets.shape[0] - 1):
        if (t // tiles_x) % tasks != task or offsets[t + 1] == offsets[t]:
            continue
        tx, ty = t % tiles_x, t // tiles_x
        _read_tile(image, alpha, g_image, g_alpha, first, tx * TILE, ty * TILE, state)
        live[:] = 1
        rows = TILE
        left, top = np.float32(tx * TILE), np.float32(ty * TILE)
        s = offsets[t]
        while s < offsets[t + 1] and rows > 0:
            many = min(BATCH, offsets[t + 1] - s)
            _gather(splats, ids, s, many, batch)
            _gather_slots(slots, rects, ids, s, many, tx, ty, batch_slots)
            for j in range(many):
                lanes[:] = ZERO
                rows -= _blend_splat_backward(batch, j, left, top, state, live, lanes)
                _sum_lanes(lanes, batch[j, 0] - left - HALF, g_slots, batch_slots[j])
                if rows == 0:
                    break
            s += many


@jit()
def _gather_slots(slots, rects, ids, start, many, tx, ty, batch_slots):
    """Rows of ``g_slots`` that belong to splats ids[start : start + many] in tile (tx, ty)."""
    for j in range(many):
        i = ids[start + j]
        batch_slots[j] = slots[i] + (ty - rects[i, 2]) * (rects[i, 1] - rects[i, 0]) + tx - rects[i, 0]


@jit()
def _read_tile(image, alpha, g_image, g_alpha, first, left, top, state):
    """Planes of the way back: T, S, three colour gradients. Pixels outside the image have stopped already."""
    height, width, channels = g_image.shape
    state[:] = ZERO
    for y in range(top, min(top + TILE, height)):
        for x in range(left, min(left + TILE, width)):
            k = (y - top) * TILE + x - left
            state[k] = ONE
            behind = -g_alpha[y, x] * (ONE - alpha[y, x]) if first == 0 else ZERO
            for c in range(first, min(first + CHANNELS, channels)):
                behind += g_image[y, x, c] * image[y, x, c]
                state[(2 + c - first) * PLANE + k] = g_image[y, x, c]
            state[PLANE + k] = behind


@jit(fast=True)
def _blend_splat_backward(splats, i, left, top, state, live, lanes):
    """As :func:`_blend_splat`; per column of the tile, ``lanes`` gains v, v dy, v dy^2 and the colour gradients."""
    mx, my = splats[i, 0] - left - HALF, splats[i, 1] - top - HALF
    a, b, c, opacity = splats[i, 2], splats[i, 3], splats[i, 4], splats[i, 5]
    red, green, blue = splats[i, 8], splats[i, 9], splats[i, 10]
    first, last = _rows(splats[i, 1] - top, splats[i, 6])
    finished = 0
    for y in range(first, last):
        if live[y] == 0:
            continue
        dy = my - np.float32(y)
        linear, constant = b * dy, c * dy * dy
        still = ZERO
        for x in range(TILE):
            k = np.uint64(y) * np.uint64(TILE) + np.uint64(x)
            dx = mx - np.float32(x)
            full = opacity * _exp2((a * dx + linear) * dx + constant)
            alpha = min(ALPHA_MAX, full)
            alpha = alpha if alpha >= ALPHA_MIN else ZERO
            before = state[k]
            light = before * (ONE - alpha)
            weight = before * alpha if light > T_MIN else ZERO
            g_red, g_green = state[k + np.uint64(2 * PLANE)], state[k + np.uint64(3 * PLANE)]
            g_blue = state[k + np.uint64(4 * PLANE)]
            shade = red * g_red + green * g_green + blue * g_blue
            behind = state[k + np.uint64(PLANE)] - weight * shade
            v = alpha * (behind / (ONE - alpha) - before * shade)
            v = v if (light > T_MIN) & (full <= ALPHA_MAX) else ZERO
            light = light if light > T_MIN else ZERO
            state[k] = light
            state[k + np.uint64(PLANE)] = behind
            lanes[x] += v
            lanes[x + TILE] += v * dy
            lanes[x + 2 * TILE] += v * dy * dy
            lanes[x + 3 * TILE] += weight * g_red
            lanes[x + 4 * TILE] += weight * g_green
            lanes[x + 5 * TILE] += weight * g_blue
            still += light
        if still == ZERO:
            live[y] = 0
            finished += 1
    return finished


@jit(fast=True)
def _sum_lanes(lanes, mx, g_slots, slot):
    """The nine sums of a splat in a tile, from its sums per column."""
    s, sx, sy, sxx, sxy, syy = ZERO, ZERO, ZERO, ZERO, ZERO, ZERO
    red, green, blue = ZERO, ZERO, ZERO
    for x in range(TILE):
        dx, v, vy = mx - np.float32(x), lanes[x], lanes[x + TILE]
        s += v
        sx += v * dx
        sy += vy
        sxx += v * dx * dx
        sxy += vy * dx
        syy += lanes[x + 2 * TILE]
        red += lanes[x + 3 * TILE]
        green += lanes[x + 4 * TILE]
        blue += lanes[x + 5 * TILE]
    g_slots[slot, 0], g_slots[slot, 1], g_slots[slot, 2] = s, sx, sy
    g_slots[slot, 3], g_slots[slot, 4], g_slots[slot, 5] = sxx, sxy, syy
    g_slots[slot, 6], g_slots[slot, 7], g_slots[slot, 8] = red, green, blue
