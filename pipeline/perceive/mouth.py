"""Mouths in a video, frame by frame, as the face mesh has them.

A registration weighs all landmarks of a body at once, and a mouth is a small part of it: half of what it does is lost
to the priors, and a mouth that is only shaped otherwise than the model's is taken for a frown. Once head and body are
known, the coefficients of mouth, jaw and cheeks are a small linear problem.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy.optimize import lsq_linear

from pipeline.body import ARKIT_NAMES, BodyModel
from pipeline.perceive import targets as T
from pipeline.perceive.likeness import Likeness
from pipeline.perceive.lips import CHIN, JAW_OPEN, MIN_PIXELS, TOP, jaw_left
from pipeline.perceive.register import LandmarkModel, Registration, project
from pipeline.perceive.targets import Targets
from pipeline.types import Array, Camera

MOUTH = tuple(k for k, name in enumerate(ARKIT_NAMES) if name.startswith(("mouth", "jaw", "cheekPuff")))
"""ARKit coefficients that are solved for."""
LIP_WEIGHT = 2.5
"""Weight of the landmarks on the lips; of those along the outline of the face, which slide on it: 0.4."""
RIDGE = 0.016
"""What a coefficient that differs by 1 from the photo's costs, in squared heights of the face."""
STEP, ROUNDS = 0.3, 2
"""Change of a coefficient by which its effect is measured, and how often (the jaw turns, which is not quite linear)."""
SHOWN = tuple(k for k, name in enumerate(ARKIT_NAMES) if name.startswith(("mouthSmile", "jawOpen")))
"""Coefficients that somebody may well have all the time; what the others are on average is the shape of a mouth."""
LEAST_FRAMES = 8
"""Frames with a face from which its mouth at rest is learnt."""
CHUNK = 128
"""Frames that are solved at once, which bounds memory."""


def with_mouth(
    registration: Registration, targets: Targets, camera: Camera, likeness: Likeness, body: BodyModel
) -> Registration:
    """The same bodies with mouth, jaw and cheeks as their face mesh has them; unseen faces stay as they are.

    Least squares over the landmarks of the face in each frame, with coefficients in 0..1 and a ridge about the photo's
    own. How the head lies in the picture (place, size, turn) may differ a little, so that no mouth makes up for it.

    Args:
        registration: F bodies. targets: their detections. camera: of the crops.
        likeness: what the photo teaches about the person's landmarks.
    """
    landmarks = LandmarkModel(body)
    landmarks.move(likeness.offsets)
    return _acting(landmarks, registration, targets, camera, likeness.state["arkit"][0], body)


def with_own_mouth(registration: Registration, targets: Targets, camera: Camera, body: BodyModel) -> Registration:
    """The same for somebody of whom there is no photo; faces that are not seen get the mouth at rest.

    How the person's mouth differs from the model's is the median over all frames, in which it is at rest but for a
    smile and an open jaw.

    Args:
        registration: F bodies. targets: their detections. camera: of the crops.
    """
    faces, seen = targets.points[:, T.FACE].numpy(), _readable(targets)
    if seen.sum() < LEAST_FRAMES:
        return registration
    own, arkit = np.zeros(52, np.float32), np.array(registration.state["arkit"])
    arkit[:, JAW_OPEN] *= jaw_left(arkit, targets)
    own[list(SHOWN)] = np.median(arkit[seen], axis=0)[list(SHOWN)]
    arkit[:, MOUTH] = own[list(MOUTH)]
    landmarks, resting = LandmarkModel(body), registration.acting(arkit, body)
    basis = _upright(faces)
    beside = np.median(((faces - _drawn(landmarks, resting, camera)) @ np.linalg.inv(basis))[seen], axis=0)
    points = targets.points.clone()
    points[:, T.FACE] -= torch.from_numpy((beside @ basis).astype(np.float32))
    return _acting(landmarks, resting, replace(targets, points=points), camera, own, body)


def _upright(faces: Array) -> Array:
    """Right and down in faces (F, 478, 2), as long as they are high: rows of (F, 2, 2), in pixels."""
    down = faces[:, CHIN] - faces[:, TOP]
    down = np.where(np.linalg.norm(down, axis=-1, keepdims=True) > 1.0, down, (0.0, 1.0))
    return np.stack([np.stack([down[:, 1], -down[:, 0]], -1), down], 1)


def _readable(targets: Targets) -> Array:
    """Frames (F,) bool with a face that is large enough."""
    faces = targets.points[:, T.FACE].numpy()
    return targets.has_face.numpy() & (np.linalg.norm(faces[:, CHIN] - faces[:, TOP], axis=-1) > MIN_PIXELS)


def _acting(
    landmarks: LandmarkModel, registration: Registration, targets: Targets, camera: Camera, own: Array, body: BodyModel
) -> Registration:
    arkit = np.array(registration.state["arkit"])
    for start in range(0, len(registration), CHUNK):
        part = np.arange(start, min(start + CHUNK, len(registration)))
        for _ in range(ROUNDS):
            now = registration.select(part).acting(arkit[part], body)
            arkit[part] = _solved(landmarks, now, targets.select(part), camera, own)
    return registration.acting(arkit, body)


def _drawn(landmarks: LandmarkModel, registration: Registration, camera: Camera) -> Array:
    """Landmarks of the face in the picture, (F, 478, 2)."""
    state = {name: torch.from_numpy(values) for name, values in registration.state.items()}
    with torch.no_grad():
        points, _ = landmarks(state, torch.from_numpy(np.asarray(registration.betas)))
        return project(points[:, T.FACE], camera).numpy()


def _solved(
    landmarks: LandmarkModel, registration: Registration, targets: Targets, camera: Camera, own: Array
) -> Array:
    """ARKit coefficients (F, 52) after one linear solution per frame."""
    arkit = registration.state["arkit"]
    here, columns = _drawn(landmarks, registration, camera), []
    for k in MOUTH:
        moved, step = arkit.copy(), np.where(arkit[:, k] > 0.5, -STEP, STEP).astype(np.float32)
        moved[:, k] += step
        there = replace(registration, state={**registration.state, "arkit": moved})
        columns.append((_drawn(landmarks, there, camera) - here) / step[:, None, None])
    effect, out = np.stack(columns, -1), arkit.copy()
    seen = targets.points[:, T.FACE].numpy()
    weights = targets.weights[:, T.FACE].numpy() * _importance()
    height = np.linalg.norm(seen[:, CHIN] - seen[:, TOP], axis=-1)
    for f in np.flatnonzero(_readable(targets)):
        share = np.sqrt(weights[f])[:, None] / height[f]
        system = np.concatenate([effect[f], _placement(here[f])], -1) * share[..., None]
        change = _bounded(system.reshape(-1, system.shape[-1]), ((seen[f] - here[f]) * share).ravel(), arkit[f], own)
        out[f, MOUTH] = np.clip(arkit[f, MOUTH] + change, 0.0, 1.0)
    return out


def _importance() -> Array:
    weights = np.ones(T.N_FACE, np.float32)
    weights[list(T.LIPS)], weights[list(T.FACE_CONTOUR)] = LIP_WEIGHT, 0.4
    return weights


def _placement(points: Array) -> Array:
    """What moving, growing and turning does to points (n, 2), (n, 2, 4)."""
    away = points - points.mean(0)
    right, down = (np.broadcast_to(np.eye(2)[k], points.shape) for k in (0, 1))
    return np.stack([right, down, away, away[:, ::-1] * (-1, 1)], -1)


def _bounded(system: Array, wanted: Array, arkit: Array, own: Array) -> Array:
    """Change of the coefficients ``MOUTH`` that explains ``wanted`` (n,) best; ``system`` (n, len(MOUTH) + 4)."""
    count, (now, goal) = len(MOUTH), (values[list(MOUTH)] for values in (arkit, own))
    ridge = np.r_[np.full(count, RIDGE), np.full(4, 1e-9)]
    normal = system.T.astype(np.float64) @ system + np.diag(ridge)
    root = np.linalg.cholesky(normal)
    free = np.full(4, np.inf)
    limits = np.r_[-now - 1e-6, -free], np.r_[1 - now + 1e-6, free]
    right = np.linalg.solve(root, system.T @ wanted + ridge * np.r_[goal - now, np.zeros(4)])
    return lsq_linear(root.T, right, bounds=limits).x[:count]
