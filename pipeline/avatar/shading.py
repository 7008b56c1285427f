"""Light on guessed arms and hands: what the photo did not show has no light painted on it, and looks flat as it turns.

The rest of an avatar wears the photo's own light as part of its colours. That light is read off the face, whose shape
is known, as brightness against the direction of the surface (the first two bands of spherical harmonics, Ramamoorthi
and Hanrahan, "An Efficient Representation for Irradiance Environment Maps", 2001), and laid on guessed skin and
sleeves, frame by frame, by the direction that their surface has then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pipeline.avatar import geometry as geo
from pipeline.types import Array

if TYPE_CHECKING:
    from pipeline.avatar.model import Avatar
    from pipeline.body import BodyModel

USUAL = (0.0, 0.22, 0.20)
"""A soft light from above and in front; what a face says is mixed with it."""
TRUST = 0.1
"""Weight of the usual light, as a share of the face's points."""
GAIN, STRONGEST = 1.7, 0.6
"""Brows, lips and make-up blur what a face says, so that its light comes out too weak; and the longest light."""
LEAST = 50
"""Points of a face from which its light is read."""
GUESSED = 0.5
"""Gaussians that are more of a guess than this are lit."""


@dataclass(frozen=True)
class Shading:
    """S Gaussians that are lit: ``rows`` (S,) int64, their canonical unit ``normals`` (S, 3) and the ``shares`` (S,)
    of the light that they get, 0..1."""

    rows: Tensor
    normals: Tensor
    shares: Tensor


def light_of_face(body: BodyModel, vertices: Array, rgb: Array, face_ids: Array, bary: Array) -> Array:
    """The light that a face shows.

    Args:
        body: body model. vertices: (V, 3) posed, world.
        rgb: (N, 3) colours of N points of the face and elsewhere that the photo shows; face_ids: (N,), bary: (N, 3).

    Returns:
        (3,) float32 ``light``, world: brightness is proportional to ``1 + light . normal``; at most STRONGEST long.
    """
    faces = np.asarray(body.faces)
    skin = geo.region(body, "face") & ~geo.region(body, "lips", "eyelids", "eyeballs", "mouth_cavity")
    corners = faces[face_ids]
    on = skin[corners].all(1)
    usual = np.array(USUAL)
    if on.sum() < LEAST:
        return bounded(usual)
    normal = (geo.vertex_normals(vertices, faces)[corners[on]] * bary[on][..., None]).sum(1)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    bright = rgb[on].mean(1)
    kept = (bright > np.quantile(bright, 0.15)) & (bright < np.quantile(bright, 0.98))  # no brows, beards, highlights
    normal, bright = normal[kept], bright[kept] / bright[kept].mean()
    system = np.c_[np.ones(len(bright)), normal]
    ridge = np.diag([0.0, 1.0, 1.0, 1.0]) * TRUST * len(bright)
    level, *slope = np.linalg.solve(system.T @ system + ridge, system.T @ bright + ridge @ np.r_[0.0, usual])
    return bounded(np.array(slope) / max(level, 0.3))


def bounded(light: Array) -> Array:
    """A light (3,) as it is used: stronger by GAIN, at most STRONGEST long."""
    light = GAIN * light
    return (light * min(1.0, STRONGEST / max(float(np.linalg.norm(light)), 1e-9))).astype(np.float32)


def shading_of(avatar: Avatar) -> Shading:
    """Which Gaussians of an avatar are lit: guessed ones on arms and hands; none where its light is not known."""
    body = avatar.body
    limbs = torch.from_numpy(geo.region(body, "left_arm", "right_arm", "left_hand", "right_hand"))
    lit = (avatar.guessed > GUESSED) & limbs[avatar.corners].all(1) & (avatar.light is not None)
    rows = torch.nonzero(lit)[:, 0]
    with torch.no_grad():
        vertices, _ = body.shaped(torch.as_tensor(avatar.params.betas)[None], torch.zeros(1, body.n_expression))
    normals = torch.from_numpy(geo.vertex_normals(vertices[0].numpy(), np.asarray(body.faces)).astype(np.float32))
    mixed = (normals[avatar.corners[rows]] * avatar.bary[rows][..., None]).sum(1)
    return Shading(rows, torch.nn.functional.normalize(mixed, dim=1), avatar.guessed[rows].clamp(0, 1))
