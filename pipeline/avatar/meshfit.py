"""The mesh stage: pull the canonical mesh to the photo (dT of Eq. 4) before any Gaussian is attached.

Two linear problems, each a few sparse solves, in place of thousands of gradient steps:

1. *Silhouette.* Every pixel of the mesh's outline looks along its normal for the edge of the matte; the offsets
   ``s`` along the vertex normals follow under a membrane energy, so sleeves, skirts and hair volume become round
   instead of flat. Hands, the face, eyes and teeth do not move.
2. *Face.* The dense face landmarks are drawn onto their detections by a smooth field in the image plane.

The same energies are then kept alive during the Gaussian stage by L_normal and L_M (:mod:`pipeline.avatar.losses`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
from scipy import ndimage
from scipy.sparse.linalg import factorized

from pipeline.avatar import geometry as geo
from pipeline.config import FitConfig
from pipeline.types import Camera

if TYPE_CHECKING:
    from pipeline.body import BodyModel

Array = np.ndarray

PROTECTED = (
    "face", "left_hand", "right_hand", "eyeballs", "left_eyeball", "right_eyeball", "teeth", "tongue",
    "mouth_cavity", "lips", "eyelids", "ears",
)  # fmt: skip


BEHIND = 0.012
"""Metres that the torso reaches behind an arm, at least, where the two meet in the picture."""
BESIDE = 0.1
"""Metres of arm between the torso's outline and what is seen of the torso, up to which the arm runs along it."""
REMEMBER = 0.15
"""How much of the smoothing applies to what earlier rounds found; with all of it the mesh stops short of the edge."""
NECK_REACH, HELD_REACH = 0.02, 0.004
"""Bounds in metres of what the outline may do to the neck (collars and long hair are not neck) and to held parts."""


@dataclass(frozen=True)
class Pull:
    """Constraints from the outline: ``weight * (slope * s[corner mix] - offset)^2``.

    Attributes:
        face: (C,) triangle of each outline pixel. bary: (C, 3). slope: (C,) cosine between normal and pull.
        offset: (C,) metres along the outline's normal, outwards positive.
        weight: (C,), 1 per millimetre of outline.
    """

    face: Array
    bary: Array
    slope: Array
    offset: Array
    weight: Array


def pull_mesh(
    body: BodyModel, vertices: Array, camera: Camera, alpha: Array, config: FitConfig, valid: Array | None = None,
    arms: Array | None = None, rounds: int = 4,
) -> Array:  # fmt: skip
    """Offsets that bring the posed mesh to the matte.

    Args:
        body: body model. vertices: (V, 3) posed, world. camera: of the photo. alpha: (H, W) matte.
        valid: (H, W) bool, where there is a photo; the matte's end at its edge says nothing about the body.
        arms: (H, W) bool, where the picture shows arms; where the mesh has them if None.

    Returns:
        (V, 3) float32 offsets in the world, at most ``config.max_dT`` long.
    """
    faces = np.asarray(body.faces)
    valid = np.ones(alpha.shape, bool) if valid is None else ndimage.binary_erosion(valid, iterations=2, border_value=0)
    normals = geo.vertex_normals(vertices, faces)
    regularizer = _membrane(body, faces)
    offsets = np.zeros(len(vertices))
    movable = ~geo.region(body, *PROTECTED)
    bound = np.full(len(vertices), config.max_dT)
    bound[geo.region(body, "neck")] = min(NECK_REACH, config.max_dT)
    bound[~movable] = HELD_REACH
    for _ in range(rounds):
        moved = (vertices + offsets[:, None] * normals).astype(np.float32)
        pull = _outline(body, moved, normals, camera, alpha, valid, arms, movable, config.max_dT)
        if len(pull.face) < 16:
            break
        offsets = np.clip(_solve_offsets(pull, offsets, faces, regularizer), -0.5 * bound, bound)
    return (offsets[:, None] * normals).astype(np.float32)


def _membrane(body: BodyModel, faces: Array, smooth: float = 12.0, rest: float = 0.15) -> sp.csr_matrix:
    """Membrane plus rest energy; protected vertices are held by a strong rest energy, fading over two rings."""
    n = len(body.v_template)
    laplacian = geo.graph_laplacian(geo.edges_of(faces), n)
    held = np.where(geo.region(body, *PROTECTED), 2000.0, rest)
    bending = 0.3 * (laplacian.T @ laplacian)
    return (smooth * laplacian + bending + sp.diags(held)).tocsr()


def _outline(
    body: BodyModel, vertices: Array, normals: Array, camera: Camera, alpha: Array, valid: Array,
    shown: Array | None, movable: Array, reach: float,
) -> Pull:  # fmt: skip
    """Constraints from the outline of the mesh: that of arms as seen, that of the body as if there were no arms."""
    faces = np.asarray(body.faces)
    arm = np.isin(geo.face_groups(body), (geo.LEFT_ARM, geo.RIGHT_ARM))
    whole, trunk = geo.cast(vertices, faces, camera), geo.cast(vertices, faces, camera, ~arm)
    arms = geo.cast(vertices, faces, camera, arm).face >= 0 if shown is None else shown
    pulls = []
    for hits, other in ((whole, None), (trunk, arms)):
        mask = hits.face >= 0
        edge = mask & ~ndimage.binary_erosion(mask, border_value=1) & valid
        edge &= arm[np.maximum(hits.face, 0)] == (other is None)
        pulls.append(_constraints(hits, edge, other, faces, vertices, normals, camera, alpha, valid, movable, reach))
    return Pull(*(np.concatenate([getattr(p, f.name) for p in pulls]) for f in fields(Pull)))


def _constraints(
    hits: geo.Hits, edge: Array, arms: Array | None, faces: Array, vertices: Array, normals: Array, camera: Camera,
    alpha: Array, valid: Array, movable: Array, reach: float,
) -> Pull:  # fmt: skip
    """Constraints from some outline pixels ``edge`` (H, W) bool of ``hits``; ``arms`` (H, W) bool may hide the rest."""
    mask = hits.face >= 0
    rows, cols = np.nonzero(edge)
    face, bary = hits.face[rows, cols], hits.bary[rows, cols]
    soft = ndimage.gaussian_filter(mask.astype(np.float32), 2.0)
    gy, gx = np.gradient(soft)
    normal = -np.stack([gx[rows, cols], gy[rows, cols]], 1)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
    metres = hits.depth[rows, cols] / camera.K[0, 0]
    distance, found = _search(mask, alpha, valid, rows, cols, normal, metres, reach, arms)
    direction = np.pad(normal, ((0, 0), (0, 1))) @ camera.viewmat[:3, :3]
    surface = (normals[faces[face]] * bary[..., None]).sum(1)
    slope = (surface * direction).sum(1)
    ok = found & (slope > 0.35) & movable[faces[face]].all(1)
    offset = np.clip(distance * metres, -0.5 * reach, reach)
    unsure = np.abs(distance * metres) > reach
    if arms is not None:
        unsure |= arms[rows, cols]
    weight = np.where(unsure, 0.3, 1.0) * metres / 1e-3
    return Pull(face[ok], bary[ok], slope[ok], offset[ok], weight[ok])


def _search(
    mask: Array, alpha: Array, valid: Array, rows: Array, cols: Array, normal: Array, metres: Array, reach: float,
    arms: Array | None,
) -> tuple[Array, Array]:  # fmt: skip
    """Signed distance in pixels from each outline pixel to the edge of the matte along its normal, and if one is near.

    Outwards the walk stops where it meets the mesh again (arm against torso, leg against leg): half of the gap. With
    ``arms`` (H, W) bool, it stops where these begin: all of the gap and a little more, since cloth between arm and
    torso cannot be nothing. An outline behind an arm that runs along it is drawn in to its inner edge and that little
    more, or to where the body begins beyond a gap: nothing in the picture says that the body is wider. Behind an arm
    that crosses it, it stays.
    """
    limit = float(np.clip(1.8 * reach / np.median(metres), 8, 160)) if len(metres) else 8.0
    steps = np.arange(1.0, limit, 1.0)

    def along(image: Array, sign: float) -> Array:
        x = cols[:, None] + 0.5 + sign * steps * normal[:, :1]
        y = rows[:, None] + 0.5 + sign * steps * normal[:, 1:]
        return geo.sample_image(image.astype(np.float32), x, y)

    own = alpha[rows, cols] > 0.5
    out_alpha, out_inside = along(alpha, 1.0), along(valid, 1.0) > 0.9
    out_mesh = along(mask, 1.0) > 0.5
    left = np.cumsum(~out_mesh, 1) > 2
    ends, meets = out_alpha < 0.5, out_mesh & left
    first_end, first_meet = _first(ends), _first(meets)
    outward = np.where(first_meet < first_end, 0.5 * first_meet, first_end).astype(np.float64)
    stop = np.minimum(first_end, first_meet)
    if arms is not None:
        first_arm = _first(along(arms, 1.0) > 0.5)
        outward = np.where(first_arm < stop, first_arm + BEHIND / metres, outward)
        stop = np.minimum(stop, first_arm)
    last = np.minimum(stop, len(steps) - 1)
    found_out = (stop < len(steps)) & out_inside[np.arange(len(rows)), last]
    first_in = _first(along(alpha, -1.0) > 0.5)
    distance = np.where(own, outward, -(first_in + 1.0))
    found = np.where(own, found_out, first_in < len(steps))
    if arms is None:
        return distance, found
    hidden = arms[rows, cols]
    off_arm, on_person = along(arms, -1.0) < 0.5, along(alpha, -1.0) > 0.5
    inside, gap = _first(off_arm & on_person), _first(off_arm & ~on_person)
    covered = np.minimum(0.0, np.where(gap < inside, 0.0, BEHIND / metres) - inside)
    covered = np.where(inside * metres < BESIDE, covered, 0.0)
    return np.where(hidden, covered, distance), found | hidden


def _first(flags: Array) -> Array:
    """Index of the first True of each row (C, S), S when there is none."""
    return np.where(flags.any(1), flags.argmax(1), flags.shape[1])


def _solve_offsets(pull: Pull, offsets: Array, faces: Array, regularizer: sp.csr_matrix) -> Array:
    corners = faces[pull.face]
    rows = np.repeat(np.arange(len(corners)), 3)
    values = (pull.bary * pull.slope[:, None]).ravel()
    A = sp.coo_matrix((values, (rows, corners.ravel())), shape=(len(corners), len(offsets))).tocsr()
    W = sp.diags(pull.weight)
    wanted = A.T @ (pull.weight * pull.offset) - REMEMBER * (regularizer @ offsets)
    return offsets + factorized((A.T @ W @ A + regularizer).tocsc())(wanted)


def pull_face(body: BodyModel, vertices: Array, camera: Camera, landmarks: Array, reach: float = 0.012) -> Array:
    """Draw the face onto its dense landmarks by a smooth field in the image plane.

    Args:
        vertices: (V, 3) posed, world. landmarks: (478, 3) MediaPipe face mesh, pixels (third column unused).
        reach: bound of the field in metres.

    Returns:
        (V, 3) float32 offsets in the world; zero outside the head.
    """
    spots = body.landmarks["mediapipe_face"]
    ids, mix = np.asarray(spots.vertex_ids), np.asarray(spots.weights)
    points = (vertices[ids] * mix[..., None]).sum(1)
    pixels, depth = camera.project(points)
    gap = (landmarks[: len(points), :2] - pixels) * (depth / camera.K[0, 0])[:, None]
    trust = 1.0 / (1.0 + (np.linalg.norm(gap, axis=1) / 0.008) ** 2)
    normals = geo.vertex_normals(vertices, np.asarray(body.faces))
    facing = ((normals[ids] * mix[..., None]).sum(1) * (camera.position - points)).sum(1)
    trust = trust * (facing > 0.15 * np.linalg.norm(camera.position - points, axis=1))
    head = np.flatnonzero(geo.region(body, "head", "face", "eyeballs", "teeth", "tongue", "mouth_cavity"))
    field = _head_field(body, head, ids, mix * trust[:, None], gap * trust[:, None])
    length = np.linalg.norm(field, axis=1, keepdims=True)
    field *= np.minimum(1, reach / np.maximum(length, 1e-9))
    out = np.zeros_like(vertices, dtype=np.float32)
    out[head] = np.pad(field, ((0, 0), (0, 1))) @ camera.viewmat[:3, :3]
    return out


def _head_field(body: BodyModel, head: Array, ids: Array, mix: Array, gap: Array) -> Array:
    """Solve for the (n, 2) field on head vertices: landmark rows, bending energy and rest energy."""
    template = np.asarray(body.v_template)[head]
    laplacian = geo.graph_laplacian(geo.knn_edges(template, 8), len(head))
    local = np.full(len(body.v_template), -1)
    local[head] = np.arange(len(head))
    columns = local[ids]
    values = np.where(columns >= 0, mix, 0)
    rows = np.repeat(np.arange(len(ids)), ids.shape[1])
    A = sp.coo_matrix((values.ravel(), (rows, np.maximum(columns, 0).ravel())), shape=(len(ids), len(head))).tocsr()
    near = np.asarray(A.sum(0)).ravel() > 0
    reach = np.sqrt(((template - template[near].mean(0)) ** 2).sum(1)) if near.any() else np.zeros(len(head))
    rest = np.where(reach > 0.11, 0.5, 2e-3)
    system = (A.T @ A + 0.002 * (laplacian.T @ laplacian) + 0.005 * laplacian + sp.diags(rest)).tocsc()
    solve = factorized(system)
    return np.stack([solve(A.T @ gap[:, k]) for k in range(2)], 1)


def pull_arm(
    body: BodyModel, vertices: Array, camera: Camera, front: Array, hits: geo.Hits, label: Array, group: int,
    reach: float = 0.02,
) -> Array:  # fmt: skip
    """Draw one arm and its hand onto the pixels that show them, by a stiff field in the image plane.

    Args:
        vertices: (V, 3) posed, world. front: (H, W) int8 group that the mesh shows. hits: the arm's own layer.
        label: (H, W) int8 group that the picture shows. group: LEFT_ARM or RIGHT_ARM. reach: bound in metres.

    Returns:
        (V, 3) float32 offsets in the world; zero outside the arm.
    """
    out = np.zeros_like(vertices, dtype=np.float32)
    mesh, wanted = front == group, (label == group).astype(np.float32)
    inner = np.zeros_like(mesh)
    inner[3:-3, 3:-3] = True
    rows, cols = np.nonzero(mesh & ~ndimage.binary_erosion(mesh, border_value=1) & inner & (hits.face >= 0))
    if len(rows) < 30 or wanted.sum() < 60:
        return out
    gy, gx = np.gradient(ndimage.gaussian_filter(mesh.astype(np.float32), 1.5))
    normal = -np.stack([gx[rows, cols], gy[rows, cols]], 1)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
    metres = hits.depth[rows, cols] / camera.K[0, 0]
    distance, found = _nearest_edge(wanted, rows, cols, normal, float(1.2 * reach / np.median(metres)))
    face, bary = hits.face[rows[found], cols[found]], hits.bary[rows[found], cols[found]]
    if len(face) < 30:
        return out
    arm = np.flatnonzero(geo.vertex_groups(body) == group)
    field = _plane_field(body, arm, face, bary, normal[found], (distance * metres)[found], metres[found] / 1e-3)
    length = np.linalg.norm(field, axis=1, keepdims=True)
    field *= np.minimum(1, reach / np.maximum(length, 1e-9))
    out[arm] = np.pad(field, ((0, 0), (0, 1))) @ camera.viewmat[:3, :3]
    return out


def _nearest_edge(wanted: Array, rows: Array, cols: Array, normal: Array, limit: float) -> tuple[Array, Array]:
    """Signed pixels along the normal to the edge of ``wanted``, and whether it is within ``limit``."""
    steps = np.arange(1.0, max(limit, 3.0), 0.5)

    def along(sign: float) -> Array:
        x = cols[:, None] + 0.5 + sign * steps * normal[:, :1]
        y = rows[:, None] + 0.5 + sign * steps * normal[:, 1:]
        return geo.sample_image(wanted, x, y) > 0.5

    own = wanted[rows, cols] > 0.5
    first_out, first_in = _first(~along(1.0)), _first(along(-1.0))
    found = np.where(own, first_out, first_in) < len(steps)
    return np.where(own, 0.5 * first_out, -0.5 * (first_in + 1)), found


def _plane_field(
    body: BodyModel, part: Array, face: Array, bary: Array, normal: Array, offset: Array, weight: Array
) -> Array:
    """Solve for a (n, 2) field on the vertices ``part``: ``normal . field = offset`` at outline points, else stiff."""
    faces = np.asarray(body.faces)
    local = np.full(len(body.v_template), -1)
    local[part] = np.arange(len(part))
    columns = local[faces[face]]
    keep = (columns >= 0).all(1)
    columns, n, m = columns[keep], len(part), int(keep.sum())
    rows = np.repeat(np.arange(m), 3)
    mix = [(bary[keep] * normal[keep, k : k + 1]).ravel() for k in range(2)]
    A = sp.hstack([sp.coo_matrix((v, (rows, columns.ravel())), shape=(m, n)) for v in mix]).tocsr()
    edges = local[geo.edges_of(faces)]
    laplacian = geo.graph_laplacian(edges[(edges >= 0).all(1)], n)
    stiff = 12.0 * laplacian + 3.0 * (laplacian.T @ laplacian) + 0.02 * sp.eye(n)
    system = A.T @ sp.diags(weight[keep]) @ A + sp.block_diag([stiff, stiff])
    solved = factorized(system.tocsc())(A.T @ (weight[keep] * offset[keep]))
    return np.stack([solved[:n], solved[n:]], 1)
