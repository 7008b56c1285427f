"""Numba kernels of the mesh rasteriser: homogeneous edge functions, so that no triangle needs clipping.

A pixel with viewing ray d = ((x - cx) / fx, (y - cy) / fy, 1) sees the triangle (p0, p1, p2) in camera space where the
numbers e_i = d . (p_j x p_k) have one sign; e_i / sum(e) are its perspective-correct barycentrics (Olano, Greer 1997).
They are affine in the pixel: e_i = planes[f, i] . (x, y, 1). Float64, because the cross products of small triangles
far away cancel. Every edge is computed alike from both of its sides, so that shared edges leave no holes.
"""

from __future__ import annotations

import math

import numpy as np

from pipeline.render.parallel import jit

BAND = 16
NEAR = 0.01
OVERHEAD = 0.4


@jit()
def to_camera(task, tasks, vertices, viewmat, points):
    """points (V, 3) float64 = vertices (V, 3) in camera axes."""
    for i in range(task * len(vertices) // tasks, (task + 1) * len(vertices) // tasks):
        for r in range(3):
            total = viewmat[r, 3]
            for c in range(3):
                total += viewmat[r, c] * vertices[i, c]
            points[i, r] = total


@jit()
def _bounds(points, face, fx, fy, cx, cy, width, height):
    """Pixel box (x0, x1, y0, y1), ends exclusive, of what a triangle has in front of the near plane."""
    x0, x1, y0, y1 = np.inf, -np.inf, np.inf, -np.inf
    for i in range(3):
        p, q = points[face[i]], points[face[(i + 1) % 3]]
        if not (math.isfinite(p[0]) and math.isfinite(p[1]) and math.isfinite(p[2])):
            return 0, 0, 0, 0
        if p[2] >= NEAR:
            x, y = p[0] / p[2] * fx + cx, p[1] / p[2] * fy + cy
            x0, x1, y0, y1 = min(x0, x), max(x1, x), min(y0, y), max(y1, y)
        if (p[2] >= NEAR) != (q[2] >= NEAR):
            t = (NEAR - p[2]) / (q[2] - p[2])
            x = (p[0] + t * (q[0] - p[0])) / NEAR * fx + cx
            y = (p[1] + t * (q[1] - p[1])) / NEAR * fy + cy
            x0, x1, y0, y1 = min(x0, x), max(x1, x), min(y0, y), max(y1, y)
    if not (x1 >= 0.0 and y1 >= 0.0 and x0 <= width and y0 <= height):
        return 0, 0, 0, 0
    left, right = math.ceil(max(x0, 0.0) - 0.5), math.floor(min(x1, float(width)) - 0.5) + 1
    top, bottom = math.ceil(max(y0, 0.0) - 0.5), math.floor(min(y1, float(height)) - 0.5) + 1
    return max(left, 0), min(right, width), max(top, 0), min(bottom, height)


@jit()
def _edge(p, q, fx, fy, cx, cy, plane):
    """plane (3,) such that plane . (x, y, 1) = d . (p x q); exactly its negative when p and q change places."""
    nx, ny, nz = p[1] * q[2] - p[2] * q[1], p[2] * q[0] - p[0] * q[2], p[0] * q[1] - p[1] * q[0]
    plane[0], plane[1] = nx / fx, ny / fy
    plane[2] = nz - plane[0] * cx - plane[1] * cy


@jit()
def setup(task, tasks, points, faces, intrinsics, width, height, planes, boxes):
    """Edge planes (F, 3, 3) and pixel boxes (F, 4) int32 of this slice of the triangles; empty: all 0."""
    fx, fy, cx, cy = intrinsics[0], intrinsics[1], intrinsics[2], intrinsics[3]
    for f in range(task * len(faces) // tasks, (task + 1) * len(faces) // tasks):
        x0, x1, y0, y1 = _bounds(points, faces[f], fx, fy, cx, cy, width, height)
        if x0 >= x1 or y0 >= y1:
            boxes[f, :] = 0
            continue
        boxes[f, 0], boxes[f, 1], boxes[f, 2], boxes[f, 3] = x0, x1, y0, y1
        for i in range(3):
            _edge(points[faces[f, (i + 1) % 3]], points[faces[f, (i + 2) % 3]], fx, fy, cx, cy, planes[f, i])


@jit()
def bin_bands(boxes, bands):
    """Triangles of every band of ``BAND`` pixel rows, ascending: offsets (bands + 1,) int64 and ids int32."""
    offsets = np.zeros(bands + 1, np.int64)
    for f in range(len(boxes)):
        if boxes[f, 3] > boxes[f, 2]:
            for b in range(boxes[f, 2] // BAND, (boxes[f, 3] - 1) // BAND + 1):
                offsets[b + 1] += 1
    for b in range(bands):
        offsets[b + 1] += offsets[b]
    place, ids = offsets[:-1].copy(), np.empty(offsets[-1], np.int32)
    for f in range(len(boxes)):
        if boxes[f, 3] > boxes[f, 2]:
            for b in range(boxes[f, 2] // BAND, (boxes[f, 3] - 1) // BAND + 1):
                ids[place[b]] = f
                place[b] += 1
    return offsets, ids


@jit()
def draw(task, tasks, points, faces, planes, boxes, offsets, ids, face, bary, depth):
    """Depth-tested drawing of the bands task, task + tasks, ... ; the nearer triangle wins, at equal depth the first.

    Args:
        face (H, W) int64 (-1: none), bary (H, W, 3) float32, depth (H, W) float32 (inf: none): out.
    """
    height = face.shape[0]
    for band in range(task, offsets.shape[0] - 1, tasks):
        top, bottom = band * BAND, min(height, band * BAND + BAND)
        face[top:bottom] = -1
        bary[top:bottom] = np.float32(0.0)
        depth[top:bottom] = np.float32(np.inf)
        for s in range(offsets[band], offsets[band + 1]):
            f = ids[s]
            y0, y1 = max(top, boxes[f, 2]), min(bottom, boxes[f, 3])
            z0, z1, z2 = points[faces[f, 0], 2], points[faces[f, 1], 2], points[faces[f, 2], 2]
            _draw_triangle(f, planes[f], z0, z1, z2, boxes[f, 0], boxes[f, 1], y0, y1, face, bary, depth)


@jit()
def _draw_triangle(f, plane, z0, z1, z2, x0, x1, y0, y1, face, bary, depth):
    for y in range(y0, y1):
        row0 = plane[0, 1] * (y + 0.5) + plane[0, 2]
        row1 = plane[1, 1] * (y + 0.5) + plane[1, 2]
        row2 = plane[2, 1] * (y + 0.5) + plane[2, 2]
        for x in range(x0, x1):
            e0 = plane[0, 0] * (x + 0.5) + row0
            e1 = plane[1, 0] * (x + 0.5) + row1
            e2 = plane[2, 0] * (x + 0.5) + row2
            if not ((e0 >= 0.0 and e1 >= 0.0 and e2 >= 0.0) or (e0 <= 0.0 and e1 <= 0.0 and e2 <= 0.0)):
                continue
            total = e0 + e1 + e2
            if total == 0.0:
                continue
            b0, b1, b2 = e0 / total, e1 / total, e2 / total
            z = np.float32(b0 * z0 + b1 * z1 + b2 * z2)
            if z >= NEAR and z < depth[y, x]:
                depth[y, x], face[y, x] = z, f
                bary[y, x, 0], bary[y, x, 1], bary[y, x, 2] = b0, b1, b2


@jit()
def interpolate(task, tasks, face, bary, faces, attributes, out):
    """out (P, C) = barycentric mix of attributes (V, C) at pixels face (P,), bary (P, 3); 0 where no face."""
    for p in range(task * len(face) // tasks, (task + 1) * len(face) // tasks):
        f = face[p]
        for c in range(attributes.shape[1]):
            value = np.float32(0.0)
            if f >= 0:
                for i in range(3):
                    value += bary[p, i] * attributes[faces[f, i], c]
            out[p, c] = value


@jit()
def shade(task, tasks, face, bary, faces, vertices, normals, tint, eye, up, ambient, image):
    """Lambert shading of both sides into image (H, W, 3), which holds the background, for this slice of its rows.

    Args:
        vertices, normals, tint: (V, 3) float32; eye, up: (3,) float32: the camera's place and the direction up.
        ambient: share of light that comes from everywhere, float32.
    """
    normal, ray, color = np.empty(3, np.float32), np.empty(3, np.float32), np.empty(3, np.float32)
    for y in range(task * len(face) // tasks, (task + 1) * len(face) // tasks):
        for x in range(face.shape[1]):
            f = face[y, x]
            if f < 0:
                continue
            normal[:], color[:], ray[:] = np.float32(0.0), np.float32(0.0), eye
            for i in range(3):
                b, v = bary[y, x, i], faces[f, i]
                for c in range(3):
                    normal[c] += b * normals[v, c]
                    color[c] += b * tint[v, c]
                    ray[c] -= b * vertices[v, c]
            lambert = _lambert(normal, ray, up)
            for c in range(3):
                value = color[c] * (ambient + (np.float32(1.0) - ambient) * lambert)
                image[y, x, c] = min(np.float32(1.0), max(np.float32(0.0), value))


@jit()
def _lambert(normal, ray, up):
    """Cosine between a surface seen along ``ray`` (from it to the eye) and light from the eye and a bit above."""
    distance = math.sqrt(ray[0] * ray[0] + ray[1] * ray[1] + ray[2] * ray[2])
    facing, lit, power, size = 0.0, 0.0, 0.0, 0.0
    for c in range(3):
        toward = ray[c] / distance
        light = toward + OVERHEAD * up[c]
        facing += normal[c] * toward
        lit += normal[c] * light
        power += light * light
        size += normal[c] * normal[c]
    if facing < 0.0:
        lit = -lit
    return np.float32(min(1.0, max(0.0, lit / math.sqrt(max(power * size, 1e-24)))))


@jit()
def silhouette_crossings(ends, opposite, screen, depth, inside, edge_of, at):
    """Where silhouette edges pass between a covered and an uncovered pixel centre.

    An edge that runs more upright than flat is looked at along rows (axis 0: pixels (y, x) and (y, x + 1)), the others
    along columns (axis 1: (y, x), (y + 1, x)). Of several edges between the same two centres the outermost counts.

    Args:
        ends: (E, 2) vertex ids of all edges; opposite: (E, 2) third vertices of the two faces, -1 where there is none.
        screen: (V, 2) float64 pixels; depth: (V,) float64 camera z.
        inside: (H, W) bool.
        edge_of: (2, H, W) int32 out, -1 on entry: edge of the pair whose first pixel is here, per axis.
        at: (2, H, W) float64 scratch: where it crosses, along the axis.
    """
    for e in range(len(ends)):
        i, j, k = ends[e, 0], ends[e, 1], opposite[e, 0]
        side = _side(screen, i, j, k)
        if not (depth[i] >= NEAR and depth[j] >= NEAR and depth[k] >= NEAR) or side == 0.0:
            continue
        if opposite[e, 1] >= 0 and side * _side(screen, i, j, opposite[e, 1]) < 0.0:
            continue
        axis = 0 if abs(screen[j, 1] - screen[i, 1]) >= abs(screen[j, 0] - screen[i, 0]) else 1
        if screen[i, 1 - axis] > screen[j, 1 - axis]:
            i, j, side = j, i, -side
        if axis == 1:
            side = -side
        _walk(e, axis, side, screen[i], screen[j], inside, edge_of[axis], at[axis])


@jit()
def _side(screen, i, j, k):
    """On which side of the line i-j vertex k lies: positive at larger x when j is below i."""
    ux, uy = screen[j, 0] - screen[i, 0], screen[j, 1] - screen[i, 1]
    return uy * (screen[k, 0] - screen[i, 0]) - ux * (screen[k, 1] - screen[i, 1])


@jit()
def _walk(e, axis, side, p, q, inside, edge_of, at):
    """Visit the crossings of edge p-q (p comes first); ``side`` > 0: the mesh lies towards larger coordinates."""
    across, along = (inside.shape[1], inside.shape[0]) if axis == 0 else inside.shape
    length = q[1 - axis] - p[1 - axis]
    if not (length > 0.0 and length < np.inf):
        return
    slope = (q[axis] - p[axis]) / length
    first = max(0, math.ceil(max(p[1 - axis], 0.0) - 0.5))
    last = min(along, math.ceil(min(q[1 - axis], float(along)) - 0.5))
    for line in range(first, last):
        x = p[axis] + (line + 0.5 - p[1 - axis]) * slope - 0.5
        if not (x >= 0.0 and x < across - 1):
            continue
        cell = int(x)
        y0, x0 = (line, cell) if axis == 0 else (cell, line)
        y1, x1 = (line, cell + 1) if axis == 0 else (cell + 1, line)
        if inside[y0, x0] == inside[y1, x1] or inside[y1, x1] != (side > 0.0):
            continue
        if edge_of[y0, x0] < 0 or (x < at[y0, x0]) == (side > 0.0):
            edge_of[y0, x0], at[y0, x0] = e, x
