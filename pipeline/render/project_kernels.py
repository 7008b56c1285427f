"""Numba kernels that take Gaussians from the world to the screen, and gradients back.

Helpers live in the file of their callers: numba's disk cache does not see changes in other files.

Arrays (float32, C-contiguous):
    means (N, 3), scales (N,), opacities (N,), colors (N, C)
    camera (20,): rotation row-major 0..8, translation 9..11, fx, fy, cx, cy 12..15, limits of x/z and y/z 16..19
    splats (N, 12): mean x, mean y, conic a, b, c times (QUAD, 2 QUAD, QUAD), opacity, half height in pixels, unused,
        three colours, unused; alpha = opacity 2^(a dx^2 + b dx dy + c dy^2)
    rects (N, 4) int16: tile columns [0, 1) and rows [2, 3) that the splat may touch; empty when culled
    keys (N,) uint32: camera depth as ordered bits; CULLED when culled
"""

from __future__ import annotations

import math

import numpy as np

from pipeline.render.parallel import jit
from pipeline.render.tile_kernels import ALPHA_MIN, CHANNELS, CULLED, HALF, MOMENTS, ONE, TILE, TWO, ZERO

NEAR = 0.01
FAR = 1e10
BLUR = 0.3
MAX_EXTENT = 3.33
BLOCK = 64
PLANES = 13
EXTENT_OPAQUE = np.float32(math.sqrt(2.0 * math.log(255.0)))
QUAD = np.float32(-0.5 * math.log2(math.e))


@jit(inline=True)
def _span(task, tasks, n):
    """Slice ``task`` of ``tasks`` of range(n)."""
    return task * n // tasks, (task + 1) * n // tasks


@jit(inline=True)
def _to_camera(x, y, z, cam):
    return (
        cam[0] * x + cam[1] * y + cam[2] * z + cam[9],
        cam[3] * x + cam[4] * y + cam[5] * z + cam[10],
        cam[6] * x + cam[7] * y + cam[8] * z + cam[11],
    )


@jit()
def project(task, tasks, means, scales, opacities, cam, width, height, splats, rects, keys):
    """World Gaussians to screen ellipses, their tiles and depth keys. Anything not finite is culled."""
    start, stop = _span(task, tasks, means.shape[0])
    block = np.empty(PLANES * BLOCK, np.float32)
    for first in range(start, stop, BLOCK):
        many = min(BLOCK, stop - first)
        for j in range(many):
            for c in range(3):
                block[c * BLOCK + j] = means[first + j, c]
        _project_block(first, many, scales, opacities, cam, width, height, block, splats, rects, keys)


@jit()
def _project_block(first, many, scales, opacities, cam, width, height, block, splats, rects, keys):
    """Project Gaussians first .. first + many, whose world means are the first three planes of ``block``.

    Their extent is where alpha falls under 1/255, up to 3.33 standard deviations.
    """
    for j in range(many):
        opacity = opacities[first + j]
        reach = EXTENT_OPAQUE if opacity == ONE else math.sqrt(TWO * math.log(np.float32(255.0) * opacity))
        block[3 * BLOCK + j] = scales[first + j]
        block[4 * BLOCK + j] = min(np.float32(MAX_EXTENT), reach) if opacity >= ALPHA_MIN else np.float32(np.nan)
    screen_block(cam, block)
    for j in range(many):
        i = first + j
        mx, my, z = block[5 * BLOCK + j], block[6 * BLOCK + j], block[7 * BLOCK + j]
        rx, ry = block[11 * BLOCK + j], block[12 * BLOCK + j]
        on_screen = mx + rx > ZERO and mx - rx < width and my + ry > ZERO and my - ry < height
        x0, x1, y0, y1 = 0, 0, 0, 0
        if on_screen and z >= np.float32(NEAR) and z <= np.float32(FAR) and rx < np.inf and ry < np.inf:
            x0, x1 = _tiles(mx, rx, width)
            y0, y1 = _tiles(my, ry, height)
        if x0 >= x1 or y0 >= y1:
            keys[i] = CULLED
            rects[i, 0], rects[i, 1], rects[i, 2], rects[i, 3] = 0, 0, 0, 0
            continue
        rects[i, 0], rects[i, 1], rects[i, 2], rects[i, 3] = x0, x1, y0, y1
        splats[i, 0], splats[i, 1] = mx, my
        splats[i, 2], splats[i, 3] = block[8 * BLOCK + j], block[9 * BLOCK + j]
        splats[i, 4], splats[i, 5], splats[i, 6] = block[10 * BLOCK + j], opacities[i], ry
        keys[i] = np.float32(z).view(np.uint32)


@jit(fast=True)
def screen_block(cam, block):
    """From planes x, y, z, scale, extent to mean x, y, depth, conic a, b, c, reach x, y; vector code, no branches."""
    r0, r1, r2, r3, r4, r5, r6, r7, r8 = cam[0], cam[1], cam[2], cam[3], cam[4], cam[5], cam[6], cam[7], cam[8]
    t0, t1, t2, fx, fy, cx, cy = cam[9], cam[10], cam[11], cam[12], cam[13], cam[14], cam[15]
    u_max, u_min, v_max, v_min = cam[16], cam[17], cam[18], cam[19]
    for j in range(BLOCK):
        wx, wy, wz = block[j], block[BLOCK + j], block[2 * BLOCK + j]
        scale, extent = block[3 * BLOCK + j], block[4 * BLOCK + j]
        x = r0 * wx + r1 * wy + r2 * wz + t0
        y = r3 * wx + r4 * wy + r5 * wz + t1
        z = r6 * wx + r7 * wy + r8 * wz + t2
        rz = ONE / z
        u, v = min(u_max, max(u_min, x * rz)), min(v_max, max(v_min, y * rz))
        sx, sy = scale * fx * rz, scale * fy * rz
        cov_a = sx * sx * (ONE + u * u) + np.float32(BLUR)
        cov_b = sx * sy * u * v
        cov_c = sy * sy * (ONE + v * v) + np.float32(BLUR)
        scaled = QUAD / (cov_a * cov_c - cov_b * cov_b)
        block[5 * BLOCK + j], block[6 * BLOCK + j], block[7 * BLOCK + j] = fx * x * rz + cx, fy * y * rz + cy, z
        block[8 * BLOCK + j], block[9 * BLOCK + j] = cov_c * scaled, -TWO * cov_b * scaled
        block[10 * BLOCK + j] = cov_a * scaled
        block[11 * BLOCK + j], block[12 * BLOCK + j] = extent * math.sqrt(cov_a), extent * math.sqrt(cov_c)


@jit(inline=True)
def _tiles(center, reach, size):
    """First and one-past-last tile that has a pixel centre within ``reach`` of ``center``, with a little slack."""
    low = int(max(ZERO, np.ceil(center - reach - np.float32(0.501))))
    high = int(min(np.float32(size - 1), np.floor(center + reach - np.float32(0.499))))
    return low // TILE, high // TILE + 1


@jit()
def project_backward(
    task, tasks, means, scales, cam, splats, rects, slots, first, g_slots, g_means, g_scales, g_colors, g_opacities
):
    """Sum the rows of every splat in a fixed order, carry them back to the world and add them to the outputs."""
    start, stop = _span(task, tasks, means.shape[0])
    sums = np.empty(MOMENTS + CHANNELS, np.float32)
    for i in range(start, stop):
        rows = (rects[i, 1] - rects[i, 0]) * (rects[i, 3] - rects[i, 2])
        if rows == 0:
            continue
        sums[:] = ZERO
        for r in range(slots[i], slots[i] + rows):
            for m in range(MOMENTS + CHANNELS):
                sums[m] += g_slots[r, m]
        for c in range(first, min(first + CHANNELS, g_colors.shape[1])):
            g_colors[i, c] += sums[MOMENTS + c - first]
        g_opacities[i] -= sums[0] / splats[i, 5]
        _project_one_backward(i, means, scales, cam, splats, sums, g_means, g_scales)


@jit()
def _project_one_backward(i, means, scales, cam, splats, sums, g_means, g_scales):
    """From the six moments of v = dL/dsigma, sigma = (a dx^2 + c dy^2) / 2 + b dx dy, to the mean and the scale."""
    a, b, c = splats[i, 2] / QUAD, splats[i, 3] / (TWO * QUAD), splats[i, 4] / QUAD
    g_mx, g_my = a * sums[1] + b * sums[2], b * sums[1] + c * sums[2]
    # conic = cov^-1: dL/dcov = -conic (dL/dconic) conic
    v_a, v_b, v_c = HALF * sums[3], HALF * sums[4], HALF * sums[5]
    p, q, r, s = a * v_a + b * v_b, a * v_b + b * v_c, b * v_a + c * v_b, b * v_b + c * v_c
    g_xx, g_xy, g_yy = -(p * a + q * b), -TWO * (p * b + q * c), -(r * b + s * c)
    x, y, z = _to_camera(means[i, 0], means[i, 1], means[i, 2], cam)
    rz = ONE / z
    u = min(cam[16], max(cam[17], x * rz))
    v = min(cam[18], max(cam[19], y * rz))
    fxz, fyz, s2 = cam[12] * rz, cam[13] * rz, scales[i] * scales[i]
    unit = (g_xx * fxz * fxz * (ONE + u * u) + g_xy * fxz * fyz * u * v) + g_yy * fyz * fyz * (ONE + v * v)
    g_scales[i] += TWO * scales[i] * unit
    g_u = s2 * (TWO * g_xx * fxz * fxz * u + g_xy * fxz * fyz * v)
    g_v = s2 * (TWO * g_yy * fyz * fyz * v + g_xy * fxz * fyz * u)
    g_x, g_y = g_mx * fxz, g_my * fyz
    g_z = -(g_x * x + g_y * y) * rz - TWO * s2 * unit * rz
    if u == x * rz:
        g_x += g_u * rz
        g_z -= g_u * u * rz
    if v == y * rz:
        g_y += g_v * rz
        g_z -= g_v * v * rz
    g_means[i, 0] += cam[0] * g_x + cam[3] * g_y + cam[6] * g_z
    g_means[i, 1] += cam[1] * g_x + cam[4] * g_y + cam[7] * g_z
    g_means[i, 2] += cam[2] * g_x + cam[5] * g_y + cam[8] * g_z
