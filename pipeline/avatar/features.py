"""Eyes and mouth interior: small, always looked at, and mostly hidden in the photo."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pipeline.avatar import geometry as geo
from pipeline.avatar.completion import Completion
from pipeline.avatar.parts import Parts
from pipeline.types import Camera, Detections

if TYPE_CHECKING:
    from pipeline.body import BodyModel

Array = np.ndarray

TEETH = np.array([0.88, 0.84, 0.77], np.float32)
TONGUE = np.array([0.46, 0.23, 0.22], np.float32)
CAVITY = np.array([0.26, 0.09, 0.09], np.float32)
USUAL_SATURATION = 0.2
"""Saturation (as in HSV) from which on skin is as colourful as skin is; bluish light takes some away, never all."""
SCLERA = np.array([0.84, 0.80, 0.77], np.float32)
IRIS = np.array([0.27, 0.18, 0.12], np.float32)
PUPIL = np.array([0.04, 0.035, 0.035], np.float32)
IRIS_ANGLE, PUPIL_ANGLE = 0.49, 0.17
"""Half-angles in radians under which iris and pupil appear from the middle of the eyeball (5.9 mm on 12.5 mm)."""

IRIS_LANDMARKS = {geo.LEFT_EYE: (473, (474, 475, 476, 477)), geo.RIGHT_EYE: (468, (469, 470, 471, 472))}


def luminance(skin: Array) -> float:
    """How bright the photo is: the skin's brightness against a middle skin tone, 0.45..1.15."""
    return float(np.clip(skin.mean() / 0.58, 0.45, 1.15))


def toned(color: Array, skin: Array) -> Array:
    """Colours or factors (..., 3) as colourful as the photo: grey where the skin (3,) is grey, in black and white."""
    share = np.clip(np.ptp(skin) / max(float(skin.max()), 1e-3) / USUAL_SATURATION, 0, 1)
    grey = color.mean(-1, keepdims=True)
    return grey + share * (color - grey)


def mouth_colors(body: BodyModel, filled: Completion, seen: Array, tint: Array) -> Completion:
    """Teeth, tongue and cavity where the photo does not show them, lit like the face.

    Args:
        seen: (V,) bool, vertices coloured from the photo. tint: (3,) of the light, mean 1.
    """
    rgb, guessed = filled.rgb.copy(), filled.guessed.copy()
    light = luminance(filled.skin)
    template = np.asarray(body.v_template)
    inside = geo.mouth_interior(body)
    teeth, tongue = inside & geo.region(body, "teeth"), inside & geo.region(body, "tongue")
    base, cavity, tongue_color = (toned(c, filled.skin) * tint * light for c in (0.92 * TEETH, CAVITY, TONGUE))
    if (teeth & seen).sum() >= 12:
        colours = rgb[teeth & seen]
        bright = colours[colours.mean(1) >= np.quantile(colours.mean(1), 0.5)]
        base = np.median(bright, axis=0)
    socket = geo.region(body, "eye_cavity")
    rgb[socket], guessed[socket] = 0.35 * filled.skin, 1.0
    for mask, colour in ((inside & ~teeth & ~tongue, cavity), (tongue, tongue_color), (teeth, base)):
        todo = mask & ~seen
        if not todo.any():
            continue
        z = template[mask, 2]
        deep = (z.max() - template[todo, 2]) / max(np.ptp(z), 1e-6)
        rgb[todo] = colour * (1 - 0.55 * np.clip(deep, 0, 1))[:, None]
        guessed[todo] = 1.0
    return Completion(np.clip(rgb, 0, 1), guessed, filled.skin)


def eye_axis(body: BodyModel, canonical: Array, group: int) -> tuple[Array, Array]:
    """Middle of an eyeball (3,) and the canonical direction of its gaze (+z)."""
    ball = canonical[geo.region(body, "left_eyeball" if group == geo.LEFT_EYE else "right_eyeball")]
    if len(ball) == 0:
        return np.zeros(3, np.float32), np.array([0, 0, 1.0], np.float32)
    return 0.5 * (ball.max(0) + ball.min(0)), np.array([0, 0, 1.0], np.float32)


def iris_direction(
    body: BodyModel, canonical: Array, parts: Parts, detections: Detections | None, group: int
) -> tuple[Array, float]:
    """Where the photographed iris sits on the canonical eyeball, and its half-angle.

    The iris landmark is cast onto the eyeball's own layer, so an error of the registered gaze does no harm.
    """
    middle, axis = eye_axis(body, canonical, group)
    hits = parts.layers[group]
    if detections is None or detections.face is None or len(detections.face) < 478:
        return axis, IRIS_ANGLE
    centre, ring = IRIS_LANDMARKS[group]
    point = _canonical_hit(body, canonical, hits, detections.face[centre, :2])
    if point is None:
        return axis, IRIS_ANGLE
    axis = _unit(point - middle)
    angles = [_canonical_hit(body, canonical, hits, detections.face[i, :2]) for i in ring]
    spread = [float(np.arccos(np.clip(_unit(p - middle) @ axis, -1, 1))) for p in angles if p is not None]
    angle = float(np.median(spread)) if len(spread) >= 2 else IRIS_ANGLE
    return axis, float(np.clip(angle, 0.8 * IRIS_ANGLE, 1.25 * IRIS_ANGLE))


def _canonical_hit(body: BodyModel, canonical: Array, hits: geo.Hits, pixel: Array) -> Array | None:
    """Canonical point of the eyeball under a pixel, or None."""
    row, col = int(pixel[1]), int(pixel[0])
    if not (0 <= row < hits.face.shape[0] and 0 <= col < hits.face.shape[1]) or hits.face[row, col] < 0:
        return None
    corners = canonical[np.asarray(body.faces)[hits.face[row, col]]]
    return (corners * hits.bary[row, col][:, None]).sum(0)


def _unit(v: Array) -> Array:
    return v / max(float(np.linalg.norm(v)), 1e-9)


def eye_colors(
    points: Array, middle: Array, axis: Array, angle: float, seen_points: Array, seen_rgb: Array, light: float
) -> Array:
    """Colours of points on an eyeball by their angle from the gaze: a radial profile measured on the visible iris.

    Args:
        points: (N, 3) canonical. middle, axis, angle: eyeball, gaze, half-angle of the iris.
        seen_points (M, 3), seen_rgb (M, 3): what the photo shows of this eyeball. light: see :func:`luminance`.

    Returns:
        (N, 3): pupil, iris, sclera with a dark rim between them.
    """
    iris, sclera = IRIS * light, SCLERA * light * 0.9
    if len(seen_points) >= 8:
        at = _angles(seen_points, middle, axis) / angle
        ring = seen_rgb[(at > 0.4) & (at < 0.9)]
        white = seen_rgb[at > 1.15]
        if len(ring) >= 4:
            iris = np.median(ring, axis=0)
        if len(white) >= 6:
            bright = white[white.mean(1) >= np.quantile(white.mean(1), 0.5)]
            sclera = 0.3 * sclera + 0.7 * np.median(bright, axis=0)
    t = _angles(points, middle, axis) / angle
    pupil_edge = PUPIL_ANGLE / IRIS_ANGLE
    pupil = _smoothstep(pupil_edge + 0.08, pupil_edge - 0.08, t)[:, None]
    white = _smoothstep(0.93, 1.08, t)[:, None]
    rim = 1 - 0.35 * np.exp(-(((t - 0.92) / 0.1) ** 2))[:, None]
    back = 1 - 0.25 * np.clip((t - 1.6) / 1.5, 0, 1)[:, None]
    colour = (1 - white) * (iris * rim * (1 - pupil) + PUPIL * pupil) + white * sclera * back
    return np.clip(colour, 0, 1).astype(np.float32)


def _angles(points: Array, middle: Array, axis: Array) -> Array:
    d = points - middle
    return np.arccos(np.clip(d @ axis / np.maximum(np.linalg.norm(d, axis=1), 1e-9), -1, 1))


def _smoothstep(low: float, high: float, x: Array) -> Array:
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def camera_visible(vertices: Array, camera: Camera, margin: float = 0.0) -> Array:
    """Points (V, 3) that project into the picture, (V,) bool; ``margin`` in pixels."""
    xy, z = camera.project(vertices)
    inside = (xy > -margin).all(1) & (xy[:, 0] < camera.width + margin) & (xy[:, 1] < camera.height + margin)
    return inside & (z > 0)
