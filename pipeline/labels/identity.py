"""Whether another picture shows the same person in the same clothes: colours on the body, and the shape of the face."""

from __future__ import annotations

import numpy as np

from pipeline.body import BodyModel
from pipeline.types import Array, BodyParams, Camera, Observation

TORSO_STRIDE = 23
"""Every so many vertices of torso and head are looked at for their colour."""
DEPTH_HEIGHT = 256
STABLE = (
    *(168, 6, 197, 195, 5, 4, 1, 33, 133, 362, 263, 10, 151, 9, 127, 356, 93, 323, 67, 297, 109, 338, 103, 332),
    *(54, 284, 21, 251, 162, 389, 234, 454, 98, 327, 2, 94, 116, 345, 123, 352, 50, 280, 132, 361, 58, 288, 172, 397),
    *(130, 359, 243, 463, 55, 285, 107, 336, 48, 278),
)
"""Face landmarks that expressions hardly move: nose, corners of the eyes, forehead, temples, cheekbones, jaw angles."""


def face_difference(first: Array, second: Array) -> float:
    """How differently two faces are built: distance of stable landmarks after the best similarity, in face radii.

    On six people of the development set, frames of the same person differ by 0.02 to 0.04 (median), of two people by
    0.025 to 0.07: large values tell people apart, small ones do not prove anything.

    Args:
        first, second: (478, 3) landmarks, any scale.
    """
    a, b = (_normalised(np.asarray(face, np.float64)[list(STABLE)]) for face in (first, second))
    u, _, vt = np.linalg.svd(a.T @ b)
    turn = u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt
    return float(np.sqrt(((a - b @ turn.T) ** 2).sum(1).mean()))


def _normalised(points: Array) -> Array:
    centred = points - points.mean(0)
    return centred / max(np.sqrt((centred**2).sum(1).mean()), 1e-9)


class ColourReference:
    """The photo's colours at points of torso and head, to tell whether another picture shows the same person.

    Args:
        observation: the photo, understood. body: its body model.
    """

    def __init__(self, observation: Observation, body: BodyModel) -> None:
        regions = [np.asarray(body.regions[name]) for name in ("torso", "face") if name in body.regions]
        chosen = np.flatnonzero(np.logical_or.reduce(regions)) if regions else np.arange(len(body.v_template))
        self._body, self._ids = body, chosen[::TORSO_STRIDE]
        self._colours, self._seen = self._look(observation.image, observation.params, observation.camera)
        alpha, _ = self._look(np.repeat(observation.alpha[..., None], 3, -1), observation.params, observation.camera)
        self._seen &= alpha[:, 0] > 0.9

    def drift(self, frame: Array, params: BodyParams, camera: Camera) -> float:
        """Median colour distance at the points that both pictures show, at equal mean brightness; NaN below 20 points.

        Args:
            frame: (H, W, 3) float 0..1. params, camera: its body and camera.
        """
        return colour_drift(*self._both(frame, params, camera))

    def likeness(self, frame: Array, params: BodyParams, camera: Camera) -> float:
        """Correlation of the colours at the points that both pictures show, -1..1; NaN below 20 points.

        Light and white balance hardly change it. On four people of the development set, frames of the same person had
        0.95 or more, of another one 0.71 at most.
        """
        here, photo = self._both(frame, params, camera)
        return float(np.corrcoef(here.ravel(), photo.ravel())[0, 1]) if len(here) >= 20 else float("nan")

    def _both(self, frame: Array, params: BodyParams, camera: Camera) -> tuple[Array, Array]:
        """Colours (n, 3) of the frame and of the photo where both show the person."""
        colours, seen = self._look(frame, params, camera)
        both = seen & self._seen
        return colours[both], self._colours[both]

    def _look(self, image: Array, params: BodyParams, camera: Camera) -> tuple[Array, Array]:
        """Smoothed colours (n, 3) at the points, and which of them face the camera inside the picture."""
        import cv2

        from pipeline.perceive.photo import posed_vertices
        from pipeline.render import rasterize_mesh

        vertices = posed_vertices(self._body, params)
        xy, depth = camera.project(vertices[self._ids])
        scale = min(1.0, DEPTH_HEIGHT / camera.height)
        small = camera.resized(max(1, round(camera.width * scale)), max(1, round(camera.height * scale)))
        surface = np.asarray(rasterize_mesh(vertices, self._body.faces, small).depth)
        column, row = (xy * scale).astype(int).T
        inside = (xy >= 0).all(1) & (column < small.width) & (row < small.height)
        nearest = surface[np.clip(row, 0, small.height - 1), np.clip(column, 0, small.width - 1)]
        seen = inside & np.isfinite(nearest) & (depth < nearest + 0.02)
        smooth = cv2.GaussianBlur(np.asarray(image, np.float32), (0, 0), max(camera.width / 150, 0.6))
        places = xy.astype(np.float32)[:, None] - 0.5
        colours = cv2.remap(smooth, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[:, 0]
        return colours, seen


def colour_drift(colours: Array, photo: Array) -> float:
    """Median distance of colours (n, 3) in 0..1 after matching their mean brightness; NaN below 20 points."""
    if len(colours) < 20:
        return float("nan")
    gain = np.clip(photo.mean() / max(float(colours.mean()), 1e-3), 0.5, 2.0)
    return float(np.median(np.linalg.norm(colours * gain - photo, axis=1)))
