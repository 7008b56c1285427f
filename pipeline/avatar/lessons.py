"""What labels say before the optimisation: their exposure against the photo, and colours of what it does not show.

Splats that the photo shows keep its colours; they place every label in the photo's light. Splats that were guessed and
that labels see take the median of what is seen there, and the remaining guesses are made again from that. Lids and the
inside of the mouth go by :mod:`pipeline.avatar.inside`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from pipeline.avatar import attach, model
from pipeline.avatar import geometry as geo
from pipeline.avatar.attach import Samples
from pipeline.avatar.completion import complete, gather_colors
from pipeline.avatar.inside import GUESSED, Glimpse, glimpse, inside_rows, teach_inside
from pipeline.types import Array, PseudoLabel

if TYPE_CHECKING:
    from pipeline.body import BodyModel

MIN_CONFIDENCE = 0.2
"""Labels below this paint nothing; they may still teach by L_diff."""
MIN_FACING = 0.25
"""Cosine between surface and view below which a colour is not taken."""
DEPTH_TOLERANCE, INNER_TOLERANCE = 0.012, 0.001
"""Metres that a splat may lie behind the picture's front; the second in eyes, close behind lids."""
GAIN_FILMED, GAIN_GENERATED = (0.5, 2.0), (0.8, 1.25)
"""Bounds of the gain per channel that brings a label into the photo's light."""


@dataclass(frozen=True)
class Sighting:
    """What one label shows: its gain (3,) per channel, which splats it shows (N,) bool, and their colours (N, 3);
    lids and the inside of the mouth apart."""

    gain: Array
    seen: Array
    rgb: Array
    inside: Glimpse


def take_lessons(
    body: BodyModel, samples: Samples, dX: Array, labels: Sequence[PseudoLabel]
) -> tuple[Samples, list[PseudoLabel], int]:
    """Bring labels into the photo's light, and colour guessed splats by what confident labels show.

    Args:
        body: body model. samples: Gaussians as placed from the photo (N). dX: (N, 3) their canonical offsets.
        labels: tracked pictures of the same person.

    Returns:
        Samples with new ``rgb`` and ``guessed``, the labels with matched colours, and how many guessed splats are
        now seen.
    """
    if not labels:
        return samples, [], 0
    sightings = [look(body, samples, dX, label) for label in labels]
    matched = [
        dataclasses.replace(label, image=np.clip(label.image * s.gain, 0, 1).astype(np.float32))
        for label, s in zip(labels, sightings, strict=True)
    ]
    sure = [s for s, label in zip(sightings, labels, strict=True) if label.confidence >= MIN_CONFIDENCE]
    guess = samples.guessed > GUESSED
    guess[inside_rows(samples)] = False
    taken, rgb = median_colours(sure, guess)
    known = dataclasses.replace(
        samples,
        rgb=np.where(taken[:, None], rgb, samples.rgb).astype(np.float32),
        guessed=np.where(taken, 0.0, samples.guessed).astype(np.float32),
    )
    known = guess_again(body, known, taken)
    taught, shown = teach_inside(body, known, [s.inside for s in sure])
    return taught, matched, int((taken | shown).sum())


def look(body: BodyModel, samples: Samples, dX: Array, label: PseudoLabel) -> Sighting:
    """Project the splats into one label.

    Returns:
        Its sighting; colours are in the photo's light.
    """
    from pipeline.render import rasterize_gaussians

    points, facing = posed_splats(body, samples, dX, label)
    uv, depth = label.camera.project(points)
    shown = (samples.guessed <= GUESSED).astype(np.float32)
    channels = np.concatenate([samples.rgb * shown[:, None], shown[:, None], depth[:, None]], 1).astype(np.float32)
    with torch.no_grad():
        drawn = rasterize_gaussians(
            torch.from_numpy(points), torch.from_numpy(samples.scale), torch.from_numpy(channels), label.camera
        )
    picture, cover = drawn.image.numpy(), drawn.alpha.numpy()
    weight = np.ones_like(label.alpha) if label.weight is None else label.weight
    solid = cv2.erode(((label.alpha > 0.9) & (weight > 0.5)).astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    gain = exposure_gain(picture, label.image, solid, GAIN_FILMED if label.filmed else GAIN_GENERATED)
    col, row = np.floor(uv[:, 0]).astype(int), np.floor(uv[:, 1]).astype(int)
    inside = (col >= 0) & (row >= 0) & (col < label.camera.width) & (row < label.camera.height) & (depth > 0.01)
    col, row = np.where(inside, col, 0), np.where(inside, row, 0)
    front = picture[..., 4] / np.maximum(cover, 1e-3)
    seen = inside & (facing > MIN_FACING) & solid[row, col] & (cover[row, col] > 0.5)
    eyes = np.isin(samples.group, (geo.LEFT_EYE, geo.RIGHT_EYE))
    seen &= depth < front[row, col] + np.where(eyes, INNER_TOLERANCE, DEPTH_TOLERANCE)
    smooth = cv2.GaussianBlur(label.image, (0, 0), 0.8)
    rgb = np.clip(geo.sample_image(smooth, uv[:, 0], uv[:, 1]) * gain, 0, 1).astype(np.float32)
    return Sighting(gain, seen, rgb, glimpse(body, points, samples, label, solid, gain))


def posed_splats(body: BodyModel, samples: Samples, dX: Array, label: PseudoLabel) -> tuple[Array, Array]:
    """World means (N, 3) at the label's pose, and the cosine (N,) between their triangles' normals and the view."""
    with torch.no_grad():
        vertices, joints = model.canonical_mesh(body, label.params)
        transforms = model.skinning_transforms(body, label.params, joints)
        corners = torch.from_numpy(np.asarray(body.faces)[samples.face])
        rest = model.barycentric(vertices, corners, torch.from_numpy(samples.bary)) + torch.from_numpy(dX).float()
        index = torch.from_numpy(samples.skin_index.astype(np.int64))
        points = model.skin(rest, transforms, index, torch.from_numpy(samples.skin_weight)).numpy()
        mesh = model.skin_dense(vertices, transforms, body.lbs_weights).numpy()
    normal = (geo.vertex_normals(mesh, np.asarray(body.faces))[corners.numpy()] * samples.bary[..., None]).sum(1)
    view = label.camera.position - points
    length = np.linalg.norm(view, axis=1) * np.linalg.norm(normal, axis=1)
    return points.astype(np.float32), (normal * view).sum(1) / np.maximum(length, 1e-9)


def exposure_gain(picture: Array, image: Array, solid: Array, bounds: tuple[float, float]) -> Array:
    """One gain per channel from a label to the photo's light, (3,).

    Args:
        picture: (H, W, >= 4) drawn colours of splats that the photo shows, premultiplied, and their cover.
        image: (H, W, 3) the label. solid: (H, W) bool, where the label shows the person.
        bounds: of the gain. 1 where too little is seen in both.
    """
    both = solid & (picture[..., 3] > 0.95)
    if both.sum() < 200:
        return np.ones(3, np.float32)
    ours = cv2.GaussianBlur(picture[..., :3], (0, 0), 3.0)[both]
    theirs = cv2.GaussianBlur(image, (0, 0), 3.0)[both]
    bright = (theirs > 0.03).all(1) & (theirs < 0.97).all(1) & (ours < 0.97).all(1)
    if bright.sum() < 200:
        return np.ones(3, np.float32)
    return np.clip(np.median(ours[bright] / theirs[bright], axis=0), *bounds).astype(np.float32)


def median_colours(sightings: Sequence[Sighting], wanted: Array) -> tuple[Array, Array]:
    """Which of the wanted splats (N,) bool are seen in any sighting, and the median of their colours (N, 3)."""
    n = len(wanted)
    if not sightings:
        return np.zeros(n, bool), np.zeros((n, 3), np.float32)
    rows = np.flatnonzero(wanted)
    seen = np.stack([s.seen[rows] for s in sightings])
    values = np.stack([np.where(s.seen[rows, None], s.rgb[rows], np.nan) for s in sightings])
    some = seen.any(0)
    taken, rgb = np.zeros(n, bool), np.zeros((n, 3), np.float32)
    taken[rows[some]] = True
    if some.any():
        rgb[rows[some]] = np.nanmedian(values[:, some], axis=0)
    return taken, rgb


def guess_again(body: BodyModel, samples: Samples, taken: Array) -> Samples:
    """Colours of guessed surface splats, completed from the photo and from what was taken (N,) bool out of labels.

    Only vertices that had no colour before and have one now, and their surroundings, change.
    """
    before = (samples.guessed <= GUESSED) & ~taken & (samples.kind != attach.LOOSE)
    return samples if not taken.any() else _filled(body, samples, before, taken)


def _filled(body: BodyModel, samples: Samples, before: Array, taken: Array) -> Samples:
    def fill(known: Array) -> Array:
        weight = known.astype(np.float32)
        return complete(body, *gather_colors(body, samples.face, samples.bary, samples.rgb, weight)).rgb

    change = fill(before | taken) - fill(before)
    corners = np.asarray(body.faces)[samples.face]
    moved = (change[corners] * samples.bary[..., None]).sum(1)
    rest = (samples.guessed > GUESSED) & (samples.kind == attach.SURFACE)
    rgb = np.where(rest[:, None], np.clip(samples.rgb + moved, 0, 1), samples.rgb)
    return dataclasses.replace(samples, rgb=rgb.astype(np.float32))
