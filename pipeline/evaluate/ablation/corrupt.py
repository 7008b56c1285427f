"""Label frames as generators make them: pose off, identity drifting, flicker, blur, warped hands."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from pipeline.avatar import geometry as geo
from pipeline.evaluate.ablation.person import Person
from pipeline.labels.fusion import seam_mask
from pipeline.types import Array, BodyParams, Camera, PseudoLabel


@dataclass(frozen=True)
class Corruption:
    """How bad the frames are; the defaults are our estimate of a diffusion model's.

    Attributes:
        body_pose, hand_pose: degrees by which a generated pose misses the one that was asked for (per axis, sigma).
        tracked_body, tracked_hand: what is left of it after the frame was tracked again.
        tracked_face: sigma of the error of tracked expression coefficients, as a share of their value.
        shape: sigma of the change of the first shape coefficients (identity drift).
        warp: sigma of a smooth field over the picture, as a share of its height (identity drift).
        tint, flicker: sigma of the colour gain of the face, and of the whole frame.
        blur: sigma in pixels at 384 rows.
        hands: displacement of the warped hands as a share of their size.
    """

    body_pose: float = 2.5
    hand_pose: float = 8.0
    tracked_body: float = 0.7
    tracked_hand: float = 3.0
    tracked_face: float = 0.1
    shape: float = 0.15
    warp: float = 0.0025
    tint: float = 0.03
    flicker: float = 0.04
    blur: float = 0.9
    hands: float = 0.12


HEAD_PIXELS = 256
"""Side of a generated head frame."""
HEAD = Corruption(body_pose=1.0, tracked_body=0.4, shape=0.1, warp=0.0015, blur=0.7)
"""Head generators know the photo's face well and are tracked on 478 points."""


def body_label(
    person: Person, asked: BodyParams, camera: Camera, rng: np.random.Generator, how: Corruption, retrack: bool = True
) -> PseudoLabel:
    """One frame of a body generator.

    Args:
        asked: the driving pose. how: the damage. retrack: whether the frame was tracked again (else the label says
            that it shows the driving pose).
    """
    shown = jitter(asked, rng, how.body_pose, how.hand_pose)
    betas = asked.betas.copy()
    betas[:6] += rng.normal(0, how.shape, min(6, len(betas))).astype(np.float32)
    image, alpha = person.draw(shown.replace(betas=betas), camera)
    white = np.clip(image + (1 - alpha[..., None]), 0, 1)
    damaged = np.concatenate([white, alpha[..., None]], 2)
    damaged = warp_hands(person, shown, camera, damaged, rng, how.hands)
    damaged = smooth_warp(damaged, rng, how.warp * camera.height)
    if how.blur:
        damaged = cv2.GaussianBlur(damaged, (0, 0), how.blur * camera.height / 384)
    picture, alpha = damaged[..., :3], np.clip(damaged[..., 3], 0, 1)
    picture = tint_face(person, shown, camera, picture, rng, how.tint)
    picture = picture * (1 + rng.normal(0, how.flicker) + rng.normal(0, how.flicker / 3, 3))
    tracked = jitter(shown, rng, how.tracked_body, how.tracked_hand)
    face = 1 + rng.normal(0, how.tracked_face, asked.expression.shape)
    tracked = tracked.replace(expression=(tracked.expression * face).astype(np.float32))
    params = tracked if retrack else asked
    return PseudoLabel(np.clip(picture, 0, 1).astype(np.float32), alpha.astype(np.float32), camera,
                       params.replace(betas=asked.betas), "body", confidence=0.8)  # fmt: skip


def head_label(
    person: Person, asked: BodyParams, camera: Camera, rng: np.random.Generator, how: Corruption = HEAD
) -> PseudoLabel:
    """One frame of a head generator: cut around the head, tracked, with a soft seam at the neck."""
    near = head_camera(person, asked, camera)
    label = body_label(person, asked, near, rng, how)
    weight = seam_mask(person.body, label.params, near)
    return PseudoLabel(label.image, label.alpha, near, label.params, "head", 0.8, weight)


def head_camera(person: Person, params: BodyParams, camera: Camera, grow: float = 1.9) -> Camera:
    """The camera cut to a square around the head, :data:`HEAD_PIXELS` a side."""
    low, high = _head_box(person, params, camera)
    side = grow * (high - low).max() / 1.4
    x, y = (low + high) / 2 - side / 2
    return camera.cropped(x, y, side, side).resized(HEAD_PIXELS, HEAD_PIXELS)


def bust_camera(person: Person, params: BodyParams, camera: Camera) -> Camera:
    """The camera cut to head and shoulders, with as many pixels as before."""
    low, high = _head_box(person, params, camera)
    height = 2.6 * (high - low).max()
    width = height * camera.width / camera.height
    x, y = (low[0] + high[0] - width) / 2, low[1] - 0.2 * (high - low).max()
    return camera.cropped(x, y, width, height).resized(camera.width, camera.height)


def _head_box(person: Person, params: BodyParams, camera: Camera) -> tuple[Array, Array]:
    """Corners in pixels of the box around the head."""
    with torch.no_grad():
        mesh = person.avatar.mesh(params).numpy()
    xy, _ = camera.project(mesh[geo.region(person.body, "head")])
    return xy.min(0), xy.max(0)


def jitter(params: BodyParams, rng: np.random.Generator, body: float, hands: float) -> BodyParams:
    """Add noise to the joints that show (degrees, sigma per axis); the legs stay."""
    pose = params.body_pose.copy()
    upper = [i for i in range(21) if i not in (0, 1, 3, 4, 6, 7, 9, 10)]
    pose[upper] += np.radians(rng.normal(0, body, (len(upper), 3)))
    return params.replace(
        body_pose=pose.astype(np.float32),
        left_hand_pose=(params.left_hand_pose + np.radians(rng.normal(0, hands, (15, 3)))).astype(np.float32),
        right_hand_pose=(params.right_hand_pose + np.radians(rng.normal(0, hands, (15, 3)))).astype(np.float32),
    )


def smooth_warp(picture: Array, rng: np.random.Generator, pixels: float) -> Array:
    """Move the picture (H, W, C) by a smooth random field of ``pixels`` sigma."""
    h, w = picture.shape[:2]
    coarse = rng.normal(0, pixels, (6, 4, 2)).astype(np.float32)
    return _moved(picture, cv2.resize(coarse, (w, h), interpolation=cv2.INTER_CUBIC))


def warp_hands(
    person: Person, params: BodyParams, camera: Camera, picture: Array, rng: np.random.Generator, share: float
) -> Array:
    """Bend the picture around both hands by ``share`` of their size."""
    h, w = picture.shape[:2]
    with torch.no_grad():
        mesh = person.avatar.mesh(params).numpy()
    y, x = np.mgrid[:h, :w].astype(np.float32)
    field = np.zeros((h, w, 2), np.float32)
    for name in ("left_hand", "right_hand"):
        xy, _ = camera.project(mesh[geo.region(person.body, name)])
        middle, size = xy.mean(0), float(np.ptp(xy, axis=0).max())
        near = np.exp(-((x - middle[0]) ** 2 + (y - middle[1]) ** 2) / (0.6 * size) ** 2)
        waves = sum(
            rng.normal(0, 1, 2) * np.sin((x * a + y * b) * 2 * np.pi / (0.7 * size) + c)[..., None]
            for a, b, c in rng.uniform(-1, 1, (3, 3)) * (1, 1, np.pi)
        )
        field += (near[..., None] * waves * share * size / 2).astype(np.float32)
    return _moved(picture, field)


def tint_face(
    person: Person, params: BodyParams, camera: Camera, picture: Array, rng: np.random.Generator, sigma: float
) -> Array:
    """Change the colours of the face by a gain per channel that fades out around it."""
    with torch.no_grad():
        mesh = person.avatar.mesh(params).numpy()
    xy, _ = camera.project(mesh[geo.region(person.body, "face")])
    middle, size = xy.mean(0), float(np.ptp(xy, axis=0).max())
    y, x = np.mgrid[: picture.shape[0], : picture.shape[1]]
    near = np.exp(-((((x - middle[0]) ** 2 + (y - middle[1]) ** 2) / (0.7 * size) ** 2) ** 2))
    return picture * (1 + near[..., None] * rng.normal(0, sigma, 3))


def _moved(picture: Array, field: Array) -> Array:
    h, w = picture.shape[:2]
    y, x = np.mgrid[:h, :w].astype(np.float32)
    moved = cv2.remap(picture.astype(np.float32), x + field[..., 0], y + field[..., 1], cv2.INTER_LINEAR,
                      borderMode=cv2.BORDER_REPLICATE)  # fmt: skip
    return moved
