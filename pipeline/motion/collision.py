"""A simple solid for torso and head, measured on a fitted body, that says how far a point is outside of it.

The solid is a stack of horizontal sections of the T-pose, each a rounded ellipse measured from the mesh, bent along
with the spine. It is much cheaper than the mesh and follows bellies, backs and faces.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..types import Array
from .rotations import normalize
from .skeleton import INDEX, SIDES

if TYPE_CHECKING:
    from ..body import BodyModel

SECTIONS = 40
ROUNDNESS = 2.3
"""Exponent of the sections' super-ellipse (2 is an ellipse, larger is boxier)."""
TORSO_JOINTS = tuple(INDEX[j] for j in ("pelvis", "spine1", "spine2", "spine3"))
HEAD_JOINTS = (INDEX["head"],)


@dataclass(frozen=True)
class Solid:
    """A stack of sections in the T-pose, carried by one or several joints.

    Attributes:
        joints: indices of the joints that carry it, bottom to top.
        rest: (J, 3) T-pose places of those joints.
        heights: (S,) rising.
        width, front, back: (S,) half-width, and the furthest z in front and behind, metres.
    """

    joints: tuple[int, ...]
    rest: Array
    heights: Array
    width: Array
    front: Array
    back: Array

    def distance(self, points: Array, world: Array, joints: Array) -> tuple[Array, Array]:
        """Signed distance of points to the posed solid.

        Args:
            points: (F, N, 3) world.
            world: (F, 55, 3, 3) world rotations of the joints.
            joints: (F, 55, 3) their posed places.

        Returns:
            Distance (F, N), metres, negative inside, and the unit direction (F, N, 3) in which it grows fastest.
        """
        local = self._to_rest(points, world, joints)
        weights = self._weights(local[-1][..., 1])
        mixed = sum(w[..., None] * p for w, p in zip(weights, local, strict=True))
        distance, direction = self._rest_distance(mixed)
        turned = [np.einsum("fij,fnj->fni", world[:, j], direction) for j in self.joints]
        return distance, normalize(sum(w[..., None] * d for w, d in zip(weights, turned, strict=True)))

    def _to_rest(self, points: Array, world: Array, joints: Array) -> list[Array]:
        return [
            np.einsum("fji,fnj->fni", world[:, j], points - joints[:, j, None]) + self.rest[i]
            for i, j in enumerate(self.joints)
        ]

    def _weights(self, height: Array) -> list[Array]:
        """Share (F, N) of each joint at a height in the T-pose: linear between the middles of its bones."""
        if len(self.joints) == 1:
            return [np.ones_like(height)]
        y = self.rest[:, 1]
        centres = np.append(0.5 * (y[:-1] + y[1:]), y[-1] + 0.08)
        position = np.interp(height, centres, np.arange(len(centres)))
        return [np.clip(1.0 - np.abs(position - i), 0.0, 1.0) for i in range(len(centres))]

    def _rest_distance(self, p: Array) -> tuple[Array, Array]:
        inside_y = np.clip(p[..., 1], self.heights[0], self.heights[-1])
        width, front, back = (np.interp(inside_y, self.heights, t) for t in (self.width, self.front, self.back))
        depth, middle = 0.5 * (front - back), 0.5 * (front + back)
        x, z = p[..., 0], p[..., 2] - middle
        u, v = np.abs(x) / width, np.abs(z) / depth
        level = np.maximum((u**ROUNDNESS + v**ROUNDNESS) ** (1.0 / ROUNDNESS), 1e-3)
        slope = np.stack(
            [np.sign(x) * u ** (ROUNDNESS - 1) / width, np.sign(z) * v ** (ROUNDNESS - 1) / depth], axis=-1
        )
        steep = np.linalg.norm(slope, axis=-1) / level ** (ROUNDNESS - 1)
        flat = (level - 1.0) / np.maximum(steep, 1e-3)
        over = p[..., 1] - inside_y
        direction = np.stack([slope[..., 0], np.zeros_like(x), slope[..., 1]], axis=-1)
        direction = normalize(direction) * np.maximum(flat, 1e-3)[..., None]
        direction[..., 1] = over
        distance = np.where(np.abs(over) > 0, np.hypot(np.maximum(flat, 0.0), over), flat)
        return distance, normalize(direction)


@dataclass(frozen=True)
class Capsule:
    """A rounded bone: the thigh of somebody seated.

    Attributes:
        joints: indices of the joints at its ends.
        radius: metres.
    """

    joints: tuple[int, int]
    radius: float

    def distance(self, points: Array, world: Array, joints: Array) -> tuple[Array, Array]:
        """As :meth:`Solid.distance`."""
        start, end = joints[:, None, self.joints[0]], joints[:, None, self.joints[1]]
        bone = end - start
        share = np.sum((points - start) * bone, axis=-1, keepdims=True) / np.sum(bone**2, axis=-1, keepdims=True)
        away = points - start - np.clip(share, 0.0, 1.0) * bone
        return np.linalg.norm(away, axis=-1) - self.radius, normalize(away)


@dataclass(frozen=True)
class BodySolids:
    """Torso, head and thighs of one body, with the T-pose joints (55, 3) that they belong to."""

    torso: Solid
    head: Solid
    left_thigh: Capsule
    right_thigh: Capsule
    rest: Array


def body_solids(body: BodyModel, betas: Array) -> BodySolids:
    """Measure the solids on a body.

    Args:
        body: any body model of :mod:`pipeline.body`.
        betas: (B,) shape.
    """
    import torch

    with torch.no_grad():
        shape = torch.as_tensor(np.asarray(betas), dtype=torch.float32)[None]
        vertices, joints = body.shaped(shape, torch.zeros(1, body.n_expression))
    points, rest = vertices[0].cpu().double().numpy(), joints[0].cpu().double().numpy()
    carried = _carriers(body.lbs_weights.detach().cpu().numpy())
    thighs = (_thigh(points, carried, rest, side) for side in SIDES)
    return BodySolids(_torso(points, carried, rest), _head(points, carried, rest), *thighs, rest)


def _carriers(weights: Array) -> Array:
    """Index (V,) of the joint that moves each vertex most."""
    return weights.argmax(axis=1)


def _torso(points: Array, carried: Array, rest: Array) -> Solid:
    members = np.isin(carried, [*TORSO_JOINTS, INDEX["left_collar"], INDEX["right_collar"]])
    limit = 0.98 * np.abs(rest[INDEX["left_shoulder"], 0])
    members &= np.abs(points[:, 0]) < limit
    bottom, top = rest[INDEX["pelvis"], 1] - 0.10, rest[INDEX["neck"], 1]
    return _measure(points[members], TORSO_JOINTS, rest, bottom, top)


def _head(points: Array, carried: Array, rest: Array) -> Solid:
    members = np.isin(carried, [INDEX[j] for j in ("head", "jaw", "left_eye", "right_eye")])
    head = points[members]
    return _measure(head, HEAD_JOINTS, rest, head[:, 1].min(), head[:, 1].max())


def _thigh(points: Array, carried: Array, rest: Array, side: str) -> Capsule:
    hip, knee = INDEX[f"{side}_hip"], INDEX[f"{side}_knee"]
    own = points[carried == hip]
    bone = rest[knee] - rest[hip]
    share = (own - rest[hip]) @ bone / (bone @ bone)
    middle = (share > 0.3) & (share < 0.8)
    spread = np.linalg.norm(own - rest[hip] - share[:, None] * bone, axis=-1)
    return Capsule((hip, knee), float(np.median(spread[middle])) if middle.any() else 0.07)


def _measure(points: Array, joints: tuple[int, ...], rest: Array, bottom: float, top: float) -> Solid:
    heights = np.linspace(bottom, top, SECTIONS)
    half = 1.2 * (heights[1] - heights[0])
    rows: list[tuple[float, float, float]] = []
    for height in heights:
        near = points[np.abs(points[:, 1] - height) <= half]
        if len(near) < 6:
            rows.append((np.nan, np.nan, np.nan))
        else:
            rows.append((np.abs(near[:, 0]).max(), near[:, 2].max(), near[:, 2].min()))
    table = np.array(rows)
    good = ~np.isnan(table[:, 0])
    width, front, back = (np.interp(heights, heights[good], column[good]) for column in table.T)
    return Solid(joints, rest[list(joints)], heights, np.maximum(width, 0.02), front, np.minimum(back, front - 0.04))
