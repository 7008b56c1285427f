"""Triton kernels of the Gaussian rasteriser: project, bin, blend, and the way back. CUDA builds of torch bring Triton.

One warp draws a tile of 8x8 pixels, front to back. The tile's size does not change the picture, because a splat ends
where its alpha falls under 1/255; small tiles waste fewer pixels on splats of two or three pixels. The way back writes
one row of sums per (splat, tile), and each splat adds up its own rows in a fixed order: no atomics, the same bits each
time. A launch draws three channels.

Arrays (float32, contiguous):
    means (N, 3), scales (N,), opacities (N,), colors (N, C) with C a multiple of 3
    camera (20,): as in :mod:`pipeline.render.project_kernels`
    splats (N, 8): mean x, mean y, conic a, b, c times (QUAD, 2 QUAD, QUAD), opacity, two unused;
        alpha = opacity 2^(a dx^2 + b dx dy + c dy^2)
    rects (N, 4) int32: tile columns [0, 1) and rows [2, 3) that the splat may touch
    counts (N,) int32: number of these tiles, 0 when culled; depths (N,): camera z, infinite when culled
    order (N,) int64: splats by depth; starts (N,) int32: first pair of each splat of ``order``
"""

from __future__ import annotations

import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]

TILE = tl.constexpr(8)
PIXELS = tl.constexpr(64)
NEAR, FAR, BLUR = tl.constexpr(0.01), tl.constexpr(1e10), tl.constexpr(0.3)
MAX_EXTENT = tl.constexpr(3.33)
ALPHA_MIN, ALPHA_MAX, T_MIN = tl.constexpr(1.0 / 255.0), tl.constexpr(0.999), tl.constexpr(1e-4)
QUAD = tl.constexpr(-0.7213475204444817)
"""-log2(e) / 2."""
SPLAT = tl.constexpr(8)
SUMS = tl.constexpr(9)
UNROLL = tl.constexpr(4)


@triton.jit
def _tile_range(center, reach, size):
    """First and one-past-last tile that has a pixel centre within ``reach`` of ``center``, with a little slack."""
    low = tl.maximum(0.0, tl.ceil(center - reach - 0.501)).to(tl.int32)
    high = tl.minimum(size - 1.0, tl.floor(center + reach - 0.499)).to(tl.int32)
    return low // TILE, tl.where(high < 0, 0, high // TILE + 1)


@triton.jit
def _project_block(i, valid, wx, wy, wz, scale, opacity, cam, width, height, splats, rects, depths, counts):
    """Splats, tiles, depth of Gaussians ``i`` with world means (wx, wy, wz). What is not finite is culled."""
    x = tl.load(cam) * wx + tl.load(cam + 1) * wy + tl.load(cam + 2) * wz + tl.load(cam + 9)
    y = tl.load(cam + 3) * wx + tl.load(cam + 4) * wy + tl.load(cam + 5) * wz + tl.load(cam + 10)
    z = tl.load(cam + 6) * wx + tl.load(cam + 7) * wy + tl.load(cam + 8) * wz + tl.load(cam + 11)
    fx, fy = tl.load(cam + 12), tl.load(cam + 13)
    u = tl.minimum(tl.load(cam + 16), tl.maximum(tl.load(cam + 17), x / z))
    v = tl.minimum(tl.load(cam + 18), tl.maximum(tl.load(cam + 19), y / z))
    sx, sy = scale * fx / z, scale * fy / z
    xx, xy, yy = sx * sx * (1.0 + u * u) + BLUR, sx * sy * u * v, sy * sy * (1.0 + v * v) + BLUR
    scaled = QUAD / (xx * yy - xy * xy)
    mx, my = fx * x / z + tl.load(cam + 14), fy * y / z + tl.load(cam + 15)
    extent = tl.minimum(MAX_EXTENT, tl.sqrt(2.0 * tl.log(255.0 * tl.maximum(opacity, ALPHA_MIN))))
    rx, ry = extent * tl.sqrt(xx), extent * tl.sqrt(yy)
    seen = (mx + rx > 0.0) & (mx - rx < width) & (my + ry > 0.0) & (my - ry < height)
    seen &= (z >= NEAR) & (z <= FAR) & (rx < float("inf")) & (ry < float("inf")) & (opacity >= ALPHA_MIN) & valid
    x0, x1 = _tile_range(tl.where(seen, mx, 0.0), tl.where(seen, rx, 0.0), width)
    y0, y1 = _tile_range(tl.where(seen, my, 0.0), tl.where(seen, ry, 0.0), height)
    count = tl.where(seen & (x1 > x0) & (y1 > y0), (x1 - x0) * (y1 - y0), 0)
    tl.store(counts + i, count, mask=valid)
    tl.store(depths + i, tl.where(count > 0, z, float("inf")), mask=valid)
    tl.store(rects + 4 * i, x0, mask=valid)
    tl.store(rects + 4 * i + 1, x1, mask=valid)
    tl.store(rects + 4 * i + 2, y0, mask=valid)
    tl.store(rects + 4 * i + 3, y1, mask=valid)
    tl.store(splats + SPLAT * i, mx, mask=valid)
    tl.store(splats + SPLAT * i + 1, my, mask=valid)
    tl.store(splats + SPLAT * i + 2, yy * scaled, mask=valid)
    tl.store(splats + SPLAT * i + 3, -2.0 * xy * scaled, mask=valid)
    tl.store(splats + SPLAT * i + 4, xx * scaled, mask=valid)
    tl.store(splats + SPLAT * i + 5, opacity, mask=valid)


@triton.jit
def project(
    means, scales, opacities, cam, n, width, height, splats, rects, depths, counts, BLOCK: tl.constexpr
):  # fmt: skip
    """World Gaussians to screen ellipses, their tiles and depths."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    valid = i < n
    x, y = tl.load(means + 3 * i, mask=valid, other=0.0), tl.load(means + 3 * i + 1, mask=valid, other=0.0)
    z, scale = tl.load(means + 3 * i + 2, mask=valid, other=0.0), tl.load(scales + i, mask=valid, other=0.0)
    opacity = tl.load(opacities + i, mask=valid, other=0.0)
    _project_block(i, valid, x, y, z, scale, opacity, cam, width, height, splats, rects, depths, counts)


@triton.jit
def skin_project(
    means, joints, weights, transforms, scales, opacities, cam, n, width, height, splats, rects, depths, counts,
    JOINTS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The same after skinning by joints (N, JOINTS) uint8, weights (N, JOINTS) and transforms (J, 12)."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    valid = i < n
    x, y = tl.load(means + 3 * i, mask=valid, other=0.0), tl.load(means + 3 * i + 1, mask=valid, other=0.0)
    z = tl.load(means + 3 * i + 2, mask=valid, other=0.0)
    wx, wy, wz = x * 0.0, x * 0.0, x * 0.0
    for k in tl.static_range(JOINTS):
        weight = tl.load(weights + JOINTS * i + k, mask=valid, other=0.0)
        A = transforms + 12 * tl.load(joints + JOINTS * i + k, mask=valid, other=0).to(tl.int32)
        wx += weight * (tl.load(A) * x + tl.load(A + 1) * y + tl.load(A + 2) * z + tl.load(A + 3))
        wy += weight * (tl.load(A + 4) * x + tl.load(A + 5) * y + tl.load(A + 6) * z + tl.load(A + 7))
        wz += weight * (tl.load(A + 8) * x + tl.load(A + 9) * y + tl.load(A + 10) * z + tl.load(A + 11))
    scale = tl.load(scales + i, mask=valid, other=0.0)
    opacity = tl.load(opacities + i, mask=valid, other=0.0)
    _project_block(i, valid, wx, wy, wz, scale, opacity, cam, width, height, splats, rects, depths, counts)


@triton.jit
def emit_pairs(order, starts, counts, rects, n, capacity, tiles_x, tiles, owners, BLOCK: tl.constexpr):
    """Write the pairs (tile, splat) of all splats in order of depth; those beyond ``capacity`` are left out."""
    rank = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    valid = rank < n
    i = tl.load(order + rank, mask=valid, other=0)
    start, count = tl.load(starts + rank, mask=valid, other=0), tl.load(counts + i, mask=valid, other=0)
    x0, x1 = tl.load(rects + 4 * i, mask=valid, other=0), tl.load(rects + 4 * i + 1, mask=valid, other=1)
    y0, wide = tl.load(rects + 4 * i + 2, mask=valid, other=0), tl.maximum(x1 - x0, 1)
    for k in range(tl.max(count, 0)):
        put = (k < count) & (start + k < capacity)
        tile = (y0 + k // wide) * tiles_x + x0 + k % wide
        tl.store(tiles + start + k, tile.to(tiles.dtype.element_ty), mask=put)
        tl.store(owners + start + k, i.to(tl.int32), mask=put)


@triton.jit
def _pixels(tiles_x):
    """Column and row (64,) of the pixels of this program's tile."""
    tile, p = tl.program_id(0), tl.arange(0, PIXELS)
    return (tile % tiles_x) * TILE + p % TILE, (tile // tiles_x) * TILE + p // TILE


@triton.jit
def _alpha(splat, x, y):
    """Unclamped alpha of a splat at pixel centres, and their distance dx, dy from its centre."""
    dx, dy = tl.load(splat) - x - 0.5, tl.load(splat + 1) - y - 0.5
    a, b, c = tl.load(splat + 2), tl.load(splat + 3), tl.load(splat + 4)
    return tl.load(splat + 5) * tl.exp2((a * dx + b * dy) * dx + c * dy * dy), dx, dy


@triton.jit
def _three(values, where, mask):
    """Three channels that lie side by side."""
    v0, v1 = tl.load(values + where, mask=mask, other=0.0), tl.load(values + where + 1, mask=mask, other=0.0)
    return v0, v1, tl.load(values + where + 2, mask=mask, other=0.0)


@triton.jit
def blend(
    splats, colors, offsets, ids, background, first, channels, tiles_x, width, height, image, alpha
):  # fmt: skip
    """Front-to-back compositing of one tile, image channels [first, first + 3).

    Args:
        offsets: (tiles + 1,) int64 into ids (pairs,) int32, the splats of every tile in order of depth.
        background: (channels,).
        image: (H, W, channels) out. alpha: (H, W) out, 1 - T.
    """
    x, y = _pixels(tiles_x)
    light = tl.full((PIXELS,), 1.0, tl.float32)
    red, green, blue = light * 0.0, light * 0.0, light * 0.0
    opaque = light * 0.0
    s, end = tl.load(offsets + tl.program_id(0)), tl.load(offsets + tl.program_id(0) + 1)
    going = s < end
    while going:
        for j in tl.static_range(UNROLL):
            ok = s + j < end
            i = tl.load(ids + s + j, mask=ok, other=0).to(tl.int64)
            full, _, _ = _alpha(splats + SPLAT * i, x, y)
            a = tl.minimum(ALPHA_MAX, full)
            a = tl.where((a >= ALPHA_MIN) & ok, a, 0.0)
            left = light * (1.0 - a)
            weight = tl.where(left > T_MIN, light * a, 0.0)
            light = tl.where(left > T_MIN, left, 0.0)
            c_red, c_green, c_blue = _three(colors, i * channels + first, ok)
            red += weight * c_red
            green += weight * c_green
            blue += weight * c_blue
            opaque += weight
        s += UNROLL
        going = (s < end) & (tl.max(light, 0) > 0.0)
    inside = (x < width) & (y < height)
    here = y * width + x
    tl.store(alpha + here, opaque, mask=inside)
    out = image + here * channels + first
    tl.store(out, red + (1.0 - opaque) * tl.load(background + first), mask=inside)
    tl.store(out + 1, green + (1.0 - opaque) * tl.load(background + first + 1), mask=inside)
    tl.store(out + 2, blue + (1.0 - opaque) * tl.load(background + first + 2), mask=inside)


@triton.jit
def blend_backward(
    splats, colors, offsets, ids, slots, first, channels, tiles_x, width, height, image, alpha, g_image, g_alpha, rows
):  # fmt: skip
    """Gradients of :func:`blend`, front to back again; see the numba kernel of the same name for the formula.

    Args:
        slots: (pairs,) int64, where each pair stood before it was sorted: its row in ``rows``.
        rows: (pairs, 9) out, zero on entry: sums of v, v dx, v dy, v dx dx, v dx dy, v dy dy with v = dL/dsigma, and
            of the gradients of three colours.
    """
    x, y = _pixels(tiles_x)
    inside = (x < width) & (y < height)
    here = y * width + x
    g_red, g_green, g_blue = _three(g_image, here * channels + first, inside)
    red, green, blue = _three(image, here * channels + first, inside)
    behind = red * g_red + green * g_green + blue * g_blue
    opaque = tl.load(alpha + here, mask=inside, other=0.0)
    behind -= tl.where(first == 0, tl.load(g_alpha + here, mask=inside, other=0.0) * (1.0 - opaque), 0.0)
    light = tl.where(inside, 1.0, 0.0)
    s, end = tl.load(offsets + tl.program_id(0)), tl.load(offsets + tl.program_id(0) + 1)
    going = s < end
    while going:
        for j in tl.static_range(UNROLL):
            ok = s + j < end
            i = tl.load(ids + s + j, mask=ok, other=0).to(tl.int64)
            full, dx, dy = _alpha(splats + SPLAT * i, x, y)
            a = tl.minimum(ALPHA_MAX, full)
            a = tl.where((a >= ALPHA_MIN) & ok, a, 0.0)
            left = light * (1.0 - a)
            counts = left > T_MIN
            weight = tl.where(counts, light * a, 0.0)
            c_red, c_green, c_blue = _three(colors, i * channels + first, ok)
            shade = c_red * g_red + c_green * g_green + c_blue * g_blue
            behind -= weight * shade
            v = tl.where(counts & (full <= ALPHA_MAX), a * (behind / (1.0 - a) - light * shade), 0.0)
            light = tl.where(counts, left, 0.0)
            row = rows + SUMS * tl.load(slots + s + j, mask=ok, other=0)
            tl.store(row, tl.sum(v, 0), mask=ok)
            tl.store(row + 1, tl.sum(v * dx, 0), mask=ok)
            tl.store(row + 2, tl.sum(v * dy, 0), mask=ok)
            tl.store(row + 3, tl.sum(v * dx * dx, 0), mask=ok)
            tl.store(row + 4, tl.sum(v * dx * dy, 0), mask=ok)
            tl.store(row + 5, tl.sum(v * dy * dy, 0), mask=ok)
            tl.store(row + 6, tl.sum(weight * g_red, 0), mask=ok)
            tl.store(row + 7, tl.sum(weight * g_green, 0), mask=ok)
            tl.store(row + 8, tl.sum(weight * g_blue, 0), mask=ok)
        s += UNROLL
        going = (s < end) & (tl.max(light, 0) > 0.0)


@triton.jit
def _add(out, value, mask):
    """out += value; every element belongs to one lane of one program."""
    tl.store(out, tl.load(out, mask=mask, other=0.0) + value, mask=mask)


@triton.jit
def project_backward(
    order, starts, counts, n, capacity, means, scales, cam, splats, first, channels, rows,
    g_means, g_scales, g_colors, g_opacities, BLOCK: tl.constexpr,
):  # fmt: skip
    """Sum the rows of every splat, carry them back to the world and add them to the outputs."""
    rank = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    i = tl.load(order + rank, mask=rank < n, other=0)
    start, count = tl.load(starts + rank, mask=rank < n, other=0), tl.load(counts + i, mask=rank < n, other=0)
    s = tl.zeros((BLOCK,), tl.float32)
    s_x, s_y, s_xx, s_xy, s_yy, red, green, blue = s, s, s, s, s, s, s, s
    for k in range(tl.max(count, 0)):
        there = (k < count) & (start + k < capacity)
        row = rows + SUMS * (start + k).to(tl.int64)
        s += tl.load(row, mask=there, other=0.0)
        s_x += tl.load(row + 1, mask=there, other=0.0)
        s_y += tl.load(row + 2, mask=there, other=0.0)
        s_xx += tl.load(row + 3, mask=there, other=0.0)
        s_xy += tl.load(row + 4, mask=there, other=0.0)
        s_yy += tl.load(row + 5, mask=there, other=0.0)
        red += tl.load(row + 6, mask=there, other=0.0)
        green += tl.load(row + 7, mask=there, other=0.0)
        blue += tl.load(row + 8, mask=there, other=0.0)
    drawn = count > 0
    _add(g_colors + i * channels + first, red, drawn)
    _add(g_colors + i * channels + first + 1, green, drawn)
    _add(g_colors + i * channels + first + 2, blue, drawn)
    _add(g_opacities + i, -s / tl.load(splats + SPLAT * i + 5, mask=drawn, other=1.0), drawn)
    _to_world(i, drawn, s_x, s_y, s_xx, s_xy, s_yy, means, scales, cam, splats, g_means, g_scales)


@triton.jit
def _to_world(i, drawn, s_x, s_y, s_xx, s_xy, s_yy, means, scales, cam, splats, g_means, g_scales):
    """From the moments of v = dL/dsigma, sigma = (a dx^2 + c dy^2) / 2 + b dx dy, to the mean and the scale."""
    a = tl.load(splats + SPLAT * i + 2, mask=drawn, other=0.0) / QUAD
    b = tl.load(splats + SPLAT * i + 3, mask=drawn, other=0.0) / (2.0 * QUAD)
    c = tl.load(splats + SPLAT * i + 4, mask=drawn, other=0.0) / QUAD
    # conic = cov^-1: dL/dcov = -conic (dL/dconic) conic
    v_a, v_b, v_c = 0.5 * s_xx, 0.5 * s_xy, 0.5 * s_yy
    p, q, r, t = a * v_a + b * v_b, a * v_b + b * v_c, b * v_a + c * v_b, b * v_b + c * v_c
    g_xx, g_xy, g_yy = -(p * a + q * b), -2.0 * (p * b + q * c), -(r * b + t * c)
    wx, wy = tl.load(means + 3 * i, mask=drawn, other=0.0), tl.load(means + 3 * i + 1, mask=drawn, other=0.0)
    wz, scale = tl.load(means + 3 * i + 2, mask=drawn, other=0.0), tl.load(scales + i, mask=drawn, other=0.0)
    x = tl.load(cam) * wx + tl.load(cam + 1) * wy + tl.load(cam + 2) * wz + tl.load(cam + 9)
    y = tl.load(cam + 3) * wx + tl.load(cam + 4) * wy + tl.load(cam + 5) * wz + tl.load(cam + 10)
    z = tl.load(cam + 6) * wx + tl.load(cam + 7) * wy + tl.load(cam + 8) * wz + tl.load(cam + 11)
    z = tl.where(drawn, z, 1.0)
    u = tl.minimum(tl.load(cam + 16), tl.maximum(tl.load(cam + 17), x / z))
    v = tl.minimum(tl.load(cam + 18), tl.maximum(tl.load(cam + 19), y / z))
    fxz, fyz, s2 = tl.load(cam + 12) / z, tl.load(cam + 13) / z, scale * scale
    unit = g_xx * fxz * fxz * (1.0 + u * u) + g_xy * fxz * fyz * u * v + g_yy * fyz * fyz * (1.0 + v * v)
    g_u = s2 * (2.0 * g_xx * fxz * fxz * u + g_xy * fxz * fyz * v)
    g_v = s2 * (2.0 * g_yy * fyz * fyz * v + g_xy * fxz * fyz * u)
    g_x, g_y = (a * s_x + b * s_y) * fxz, (b * s_x + c * s_y) * fyz
    g_z = -(g_x * x + g_y * y) / z - 2.0 * s2 * unit / z
    g_u, g_v = tl.where(u == x / z, g_u, 0.0), tl.where(v == y / z, g_v, 0.0)
    g_x, g_y, g_z = g_x + g_u / z, g_y + g_v / z, g_z - (g_u * u + g_v * v) / z
    _add(g_scales + i, 2.0 * scale * unit, drawn)
    _add(g_means + 3 * i, tl.load(cam) * g_x + tl.load(cam + 3) * g_y + tl.load(cam + 6) * g_z, drawn)
    _add(g_means + 3 * i + 1, tl.load(cam + 1) * g_x + tl.load(cam + 4) * g_y + tl.load(cam + 7) * g_z, drawn)
    _add(g_means + 3 * i + 2, tl.load(cam + 2) * g_x + tl.load(cam + 5) * g_y + tl.load(cam + 8) * g_z, drawn)
