"""A small photo studio for the body: plain Lambert pictures of it and what every pixel shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from pipeline.body.model import BodyModel
from pipeline.types import ROTATION_FIELDS, Camera

Array = np.ndarray
SKIN, IRIS, PUPIL = (0.80, 0.62, 0.53), (0.30, 0.20, 0.12), (0.03, 0.03, 0.03)
_TINTS = {
    "lips": (0.70, 0.40, 0.38),
    "eyeballs": (0.95, 0.95, 0.95),
    "teeth": (0.95, 0.93, 0.88),
    "tongue": (0.75, 0.35, 0.35),
    "mouth_cavity": (0.35, 0.12, 0.12),
    "eye_cavity": (0.75, 0.50, 0.45),
}


@dataclass(frozen=True)
class Shot:
    """A picture of the body.

    Attributes:
        image: (H, W, 3) uint8. camera: of the picture. vertices: (V, 3) posed.
        face: (H, W) triangle under each pixel, -1 none. bary: (H, W, 3).
    """

    image: Array
    camera: Camera
    vertices: Array
    face: Array
    bary: Array


def colours(body: BodyModel) -> Array:
    """Vertex colours (V, 3): skin, lips, eyes, mouth."""
    out = np.tile(np.array(SKIN, np.float32), (body.n_vertices, 1))
    for part, tint in _TINTS.items():
        if part in body.regions:
            out[body.regions[part].numpy()] = tint
    return out


def pose(body: BodyModel, **fields: Array) -> tuple[Array, Array]:
    """Vertices (V, 3) and joints (55, 3) of one body; fields of :class:`BodyParams` that are not given are zero."""
    full = {"betas": np.zeros(body.n_betas), "expression": np.zeros(body.n_expression), "transl": np.zeros(3)}
    full |= {name: np.zeros(shape) for name, shape in ROTATION_FIELDS.items()}
    batch = {
        name: torch.as_tensor(np.asarray(fields.get(name, value)), dtype=torch.float32) for name, value in full.items()
    }
    with torch.no_grad():
        out = body(**{name: value.reshape(1, *np.shape(full[name])) for name, value in batch.items()})
    return out.vertices[0].numpy(), out.joints[0].numpy()


def look_at(center: Array, direction: Array, up: Array, span: float, size: tuple[int, int]) -> Camera:
    """A camera that sees ``span`` metres of height around ``center``.

    Args:
        direction: (3,) from the centre towards the camera. up: (3,) what is up in the picture. size: (width, height).
    """
    distance = 6.0 * span
    back = direction / np.linalg.norm(direction)
    right = np.cross(up, back)
    right /= np.linalg.norm(right)
    viewmat = np.eye(4)
    viewmat[:3, :3] = np.stack([right, -np.cross(back, right), -back])
    viewmat[:3, 3] = -viewmat[:3, :3] @ (center + distance * back)
    width, height = size
    focal = height * distance / span
    K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    return Camera(viewmat.astype(np.float32), K.astype(np.float32), width, height)


def _paint_iris(body: BodyModel, image: Array, face: Array, bary: Array) -> None:
    """Draw iris and pupil on the eyeballs, per pixel (the mesh is too coarse there)."""
    rest, faces = body.v_template.numpy(), body.faces.numpy()
    for side in ("left", "right"):
        ball = body.regions[f"{side}_eyeball"].numpy()
        rows, columns = np.nonzero((face >= 0) & ball[faces[np.maximum(face, 0), 0]])
        if not len(rows):
            continue
        centre = rest[ball].mean(0)
        point = (rest[faces[face[rows, columns]]] * bary[rows, columns][..., None]).sum(1) - centre
        angle = np.degrees(np.arccos(np.clip(point[:, 2] / np.linalg.norm(point, axis=1), -1, 1)))
        shade = image[rows, columns].max(-1, keepdims=True) / 0.95
        tint = np.where((angle < 11)[:, None], PUPIL, IRIS) * shade
        image[rows, columns] = np.where((angle < 27)[:, None], tint, image[rows, columns])


def shoot(body: BodyModel, vertices: Array, camera: Camera, background: float = 0.75) -> Shot:
    """Photograph posed vertices (V, 3)."""
    from pipeline.render import rasterize_mesh, shaded

    faces = body.faces.numpy()
    fragments = rasterize_mesh(vertices, faces, camera)
    image = shaded(vertices, faces, camera, colours(body), background=(background,) * 3, fragments=fragments).copy()
    if "left_eyeball" in body.regions:
        _paint_iris(body, image, fragments.face, fragments.bary)
    picture = (np.clip(image, 0, 1) * 255).round().astype(np.uint8)
    return Shot(picture, camera, vertices, fragments.face, fragments.bary)
