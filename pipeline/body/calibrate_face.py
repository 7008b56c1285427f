"""Where MediaPipe's 478 face points lie on a body's mesh: measured on pictures of the body, not picked by hand."""

from __future__ import annotations

import numpy as np

from pipeline.body import studio
from pipeline.body.model import BodyModel, Landmarks
from pipeline.body.names import ARKIT_INDEX, JOINT_INDEX

Array = np.ndarray
IRIS_POINTS = np.arange(468, 478)
INNER_LIPS = np.array([78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95])
YAWS = (-35.0, -23.0, -10.0, 0.0, 10.0, 23.0, 35.0)
PITCHES = (-12.0, 0.0, 12.0)
SHAPES = 4
_SIZE = (640, 640)


def _nearest_allowed(allowed: Array, xy: Array, reach: int = 14) -> tuple[int, int] | None:
    """The allowed pixel (row, column) nearest to ``xy``, at most ``reach`` pixels away."""
    column, row = int(xy[0]), int(xy[1])
    top, left = max(row - reach, 0), max(column - reach, 0)
    rows, columns = np.nonzero(allowed[top : row + reach + 1, left : column + reach + 1])
    if not len(rows):
        return None
    best = ((rows + top + 0.5 - xy[1]) ** 2 + (columns + left + 0.5 - xy[0]) ** 2).argmin()
    return int(rows[best] + top), int(columns[best] + left)


def _facing(vertices: Array, triangles: Array, camera: studio.Camera) -> Array:
    a, b, c = vertices[triangles].transpose(1, 0, 2)
    normal = np.cross(b - a, c - a)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True) + 1e-12
    sight = camera.position - a
    return (normal * sight / np.linalg.norm(sight, axis=-1, keepdims=True)).sum(-1)


def _mouth(body: BodyModel, opening: float) -> dict[str, Array]:
    """Parameters of an open mouth; a body that does not know ARKit yet turns its jaw."""
    if not body.arkit_map:
        return {"jaw_pose": np.array([0.3 * opening, 0.0, 0.0])}
    arkit = np.zeros((1, 52))
    arkit[0, ARKIT_INDEX["jawOpen"]] = opening
    return {name: value[0] for name, value in body.arkit_to_params(arkit).items()}


def _shots(body: BodyModel, seed: int) -> list[tuple[studio.Shot, bool]]:
    """Pictures of heads, and whether the mouth is open in them."""
    rng = np.random.default_rng(seed)
    out = []
    for k in range(SHAPES):
        betas = rng.normal(0, 0.7, body.n_betas) * (k > 0)
        for is_open in (False, True):
            vertices, joints = studio.pose(body, betas=betas, **_mouth(body, 0.45 * is_open))
            head = vertices[body.regions["head"].numpy()]
            centre = np.array([0, (head[:, 1].min() + head[:, 1].max()) / 2, joints[JOINT_INDEX["head"], 2]])
            for yaw in YAWS:
                for pitch in PITCHES if abs(yaw) < 30 else (0.0,):
                    a, b = np.radians([yaw, pitch])
                    sight = np.array([np.sin(a) * np.cos(b), np.sin(b), np.cos(a) * np.cos(b)])
                    camera = studio.look_at(centre, sight, np.array([0.0, 1, 0]), 0.42, _SIZE)
                    out.append((studio.shoot(body, vertices, camera), is_open))
    return out


def _cast(body: BodyModel, shot: studio.Shot, points: Array, skin: Array, ball: Array) -> tuple[Array, Array]:
    """Template points (478, 3) under 2D points (478, 2) and their trust (478,), 0 where nothing was hit."""
    faces, rest = body.faces.numpy(), body.v_template.numpy()
    on_skin = (shot.face >= 0) & skin[np.maximum(shot.face, 0)]
    on_ball = (shot.face >= 0) & ball[np.maximum(shot.face, 0)]
    where, trust = np.zeros((len(points), 3)), np.zeros(len(points))
    for i, xy in enumerate(points):
        pixel = _nearest_allowed(on_ball if i >= 468 else on_skin, xy)
        if pixel is None:
            continue
        triangle = faces[shot.face[pixel]]
        where[i] = shot.bary[pixel] @ rest[triangle]
        gap = np.hypot(pixel[1] + 0.5 - xy[0], pixel[0] + 0.5 - xy[1])
        facing = max(_facing(shot.vertices, triangle[None], shot.camera)[0], 0.0)
        trust[i] = facing**2 / (1 + max(gap - 1, 0) ** 2 / 4)
    return where, trust


def _robust_mean(where: Array, trust: Array, rounds: int = 8) -> Array:
    """Weighted geometric median (P, 3) over views: where (S, P, 3), trust (S, P)."""
    centre = (where * trust[..., None]).sum(0) / np.maximum(trust.sum(0), 1e-9)[:, None]
    for _ in range(rounds):
        pull = trust / np.maximum(np.linalg.norm(where - centre, axis=-1), 5e-4)
        centre = (where * pull[..., None]).sum(0) / np.maximum(pull.sum(0), 1e-9)[:, None]
    return centre


def symmetrised(points: Array) -> tuple[Array, Array]:
    """Average points (P, 3) of a symmetric set with their mirror images in x.

    Returns:
        Points (P, 3), and a mask (P,) of those that had a mirror image (an unambiguous one); the others are unchanged.
    """
    from scipy.optimize import linear_sum_assignment

    mirrored = points * [-1, 1, 1]
    distance = np.linalg.norm(mirrored[:, None] - points[None], axis=-1)
    partner = linear_sum_assignment(np.minimum(distance, 0.02) ** 2)[1]
    index = np.arange(len(points))
    paired = (partner[partner] == index) & (distance[index, partner] < 0.006)
    return np.where(paired[:, None], (points + mirrored[partner]) / 2, points), paired


def closest_on_mesh(points: Array, vertices: Array, faces: Array) -> tuple[Array, Array]:
    """Nearest surface points.

    Args:
        points: (P, 3). vertices: (V, 3). faces: (F, 3), only these triangles.

    Returns:
        Vertex ids (P, 3) and barycentrics (P, 3).
    """
    from trimesh.triangles import closest_point, points_to_barycentric

    corners = vertices[faces]
    middle = corners.mean(1)
    ids, weights = np.empty((len(points), 3), np.int64), np.empty((len(points), 3))
    for i, point in enumerate(points):
        near = np.argsort(((middle - point) ** 2).sum(1))[:60]
        foot = closest_point(corners[near], np.repeat(point[None], len(near), 0))
        best = near[((foot - point) ** 2).sum(1).argmin()]
        hit = foot[((foot - point) ** 2).sum(1).argmin()]
        bary = np.clip(points_to_barycentric(corners[best][None], hit[None])[0], 0, 1)
        ids[i], weights[i] = faces[best], bary / bary.sum()
    return ids, weights


def calibrate_face(body: BodyModel, seed: int = 5) -> tuple[Landmarks, dict[str, float]]:
    """Measure ``mediapipe_face`` on pictures of the body (needs regions head, inner, eyeballs).

    Returns:
        The 478 landmarks as triangle + barycentrics, and statistics: pictures, pictures in which the face was found,
        median spread over views in millimetres, landmarks without any hit.
    """
    import mediapipe

    faces = body.faces.numpy()
    inner, eyes = body.regions["inner"].numpy(), body.regions["eyeballs"].numpy()
    skin, ball = ~inner[faces].any(1), eyes[faces].all(1)
    skin &= body.regions["head"].numpy()[faces].any(1) | body.regions["neck"].numpy()[faces].any(1)
    shots = _shots(body, seed)
    where, trust = [], []
    with mediapipe.solutions.face_mesh.FaceMesh(
        static_image_mode=True, refine_landmarks=True, min_detection_confidence=0.3
    ) as mesh:
        for shot, is_open in shots:
            found = mesh.process(shot.image).multi_face_landmarks
            if found:
                points = np.array([(p.x, p.y) for p in found[0].landmark]) * _SIZE
                spots, weight = _cast(body, shot, points, skin, ball)
                weight[INNER_LIPS] *= 1.0 if is_open else 0.0
                where.append(spots)
                trust.append(weight)
    places, weights = np.stack(where), np.stack(trust)
    centre = _robust_mean(places, weights)
    spread = (np.linalg.norm(places - centre, axis=-1) * weights).sum(0) / np.maximum(weights.sum(0), 1e-9)
    centre, paired = symmetrised(centre)
    rest = body.v_template.numpy()
    ids, bary = closest_on_mesh(centre, rest, faces[skin])
    ids[IRIS_POINTS], bary[IRIS_POINTS] = closest_on_mesh(centre[IRIS_POINTS], rest, faces[ball])
    stats = {
        "pictures": len(shots),
        "found": len(where),
        "median_spread_mm": float(1e3 * np.median(spread)),
        "missed": int((weights.sum(0) == 0).sum()),
        "paired": int(paired.sum()),
    }
    return Landmarks(tuple(f"face_{i}" for i in range(478)), ids, bary.astype(np.float32)), stats
