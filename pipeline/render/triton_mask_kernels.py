"""Triton kernels of the mesh mask: which pixels a mesh covers, and where its outline passes between pixel centres.

One program per triangle or edge. Float64 where cross products of small triangles would cancel, as on the CPU.
"""

from __future__ import annotations

import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]

NEAR = tl.constexpr(0.01)
STEPS = tl.constexpr(1 << 30)
"""Steps from one pixel centre to the next in a key; the edge's number stands in the lower 32 bits."""


@triton.jit
def cover(planes, boxes, depths, width, inside, BLOCK: tl.constexpr):
    """Set ``inside`` (H, W) int8 to 1 where a triangle covers a pixel centre.

    Args:
        planes: (F, 9) float64 edge planes, boxes: (F, 4) int32 pixels x0, x1, y0, y1 (ends exclusive), depths: (F, 3)
            float64, as in :mod:`pipeline.render.mesh_kernels`.
    """
    f = tl.program_id(0)
    x0, x1 = tl.load(boxes + 4 * f), tl.load(boxes + 4 * f + 1)
    y0, y1 = tl.load(boxes + 4 * f + 2), tl.load(boxes + 4 * f + 3)
    wide, plane, depth = tl.maximum(x1 - x0, 1), planes + 9 * f, depths + 3 * f
    for start in range(0, (x1 - x0) * (y1 - y0), BLOCK):
        k = start + tl.arange(0, BLOCK)
        x, y = x0 + k % wide, y0 + k // wide
        px, py = x.to(tl.float64) + 0.5, y.to(tl.float64) + 0.5
        e0 = tl.load(plane) * px + tl.load(plane + 1) * py + tl.load(plane + 2)
        e1 = tl.load(plane + 3) * px + tl.load(plane + 4) * py + tl.load(plane + 5)
        e2 = tl.load(plane + 6) * px + tl.load(plane + 7) * py + tl.load(plane + 8)
        total = e0 + e1 + e2
        hit = ((e0 >= 0) & (e1 >= 0) & (e2 >= 0)) | ((e0 <= 0) & (e1 <= 0) & (e2 <= 0))
        hit &= (y < y1) & (total != 0)
        z = (e0 * tl.load(depth) + e1 * tl.load(depth + 1) + e2 * tl.load(depth + 2)) / tl.where(hit, total, 1.0)
        tl.store(inside + y * width + x, tl.full((BLOCK,), 1, tl.int8), mask=hit & (z.to(tl.float32) >= NEAR))


@triton.jit
def _along(lines, spans, e, line, width, height):
    """Where edge ``e`` passes these lines of pixels.

    Args:
        lines: (E, 4) float64: start along the edge and across it, slope, length; spans: (E, 4) int32: first and
            one-past-last line, axis (0: lines are rows), 1 where the mesh lies towards larger coordinates.

    Returns:
        Flat index of the pixel before the crossing, distance of the crossing from its centre in 0..1, share of the
        edge's length that lies before it, and whether there is such a pixel.
    """
    axis = tl.load(spans + 4 * e + 2)
    ahead = line.to(tl.float64) + 0.5 - tl.load(lines + 4 * e)
    x = tl.load(lines + 4 * e + 1) + ahead * tl.load(lines + 4 * e + 2) - 0.5
    across = tl.where(axis == 0, width, height)
    valid = (line < tl.load(spans + 4 * e + 1)) & (x >= 0) & (x < across - 1)
    x = tl.where(valid, x, 0.0)
    cell = x.to(tl.int32)
    here = tl.where(axis == 0, line * width + cell, cell * width + line)
    return here, x - cell.to(tl.float64), ahead / tl.load(lines + 4 * e + 3), valid


@triton.jit
def cross(lines, spans, inside, width, height, keys, BLOCK: tl.constexpr):
    """For every covered pixel and empty neighbour, the outermost silhouette edge between their centres.

    Args:
        keys: (2, H, W) int64, the largest int64 on entry: how far inside the empty centre the edge passes, in
            ``STEPS``, and the edge's number. The smallest key wins, whatever the order of the programs.
    """
    e = tl.program_id(0)
    axis, toward = tl.load(spans + 4 * e + 2), tl.load(spans + 4 * e + 3)
    for start in range(tl.load(spans + 4 * e), tl.load(spans + 4 * e + 1), BLOCK):
        here, at, _, valid = _along(lines, spans, e, start + tl.arange(0, BLOCK), width, height)
        before = tl.load(inside + here, mask=valid, other=0)
        after = tl.load(inside + here + tl.where(axis == 0, 1, width), mask=valid, other=0)
        rank = tl.where(toward == 1, at, 1.0 - at)
        key = ((rank * STEPS).to(tl.int64) << 32) | e.to(tl.int64)
        place = keys + axis * width * height + here
        tl.atomic_min(place, key, mask=valid & (before != after) & (after.to(tl.int32) == toward))


@triton.jit
def cross_backward(lines, spans, width, height, keys, g_at, sums, BLOCK: tl.constexpr):
    """Sums (E, 2) of gradients ``g_at`` (2, H, W) float64 of an edge's crossings, by closeness to its two ends."""
    e = tl.program_id(0)
    axis, toward = tl.load(spans + 4 * e + 2), tl.load(spans + 4 * e + 3)
    first, second = tl.zeros((BLOCK,), tl.float64), tl.zeros((BLOCK,), tl.float64)
    for start in range(tl.load(spans + 4 * e), tl.load(spans + 4 * e + 1), BLOCK):
        here, _, share, valid = _along(lines, spans, e, start + tl.arange(0, BLOCK), width, height)
        place = axis * width * height + here
        mine = valid & ((tl.load(keys + place, mask=valid, other=-1) & 0xFFFFFFFF) == e)
        g = tl.load(g_at + place, mask=mine, other=0.0)
        g = tl.where(toward == 1, -g, g)
        first += tl.where(mine, g * (1.0 - share), 0.0)
        second += tl.where(mine, g * share, 0.0)
    tl.store(sums + 2 * e, tl.sum(first, 0))
    tl.store(sums + 2 * e + 1, tl.sum(second, 0))
