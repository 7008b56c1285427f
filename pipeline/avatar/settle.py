"""Generated heads, moved to where the avatar's head stands: what their tracking is off by is found from the picture.

A generated head has proportions of its own and is tracked with the photo's, by landmarks: it can lie some pixels off,
and lids and lips are only a few pixels high. The photo is drawn through the mesh in the label's pose, and the move that
lays the label on it is found by enhanced correlation of the faces, which does not mind another exposure.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from pipeline.avatar import geometry as geo
from pipeline.avatar import model
from pipeline.types import Array, BodyParams, Camera, PseudoLabel

if TYPE_CHECKING:
    from pipeline.avatar.initial import Scene
    from pipeline.body import BodyModel

LEAST = 400
"""Pixels of the face that must be seen in both."""
ALIKE = 0.8
"""Correlation from which on the move is believed."""
FARTHEST, TURNED = 0.15, 0.1
"""Longest move as a share of the face's width, and largest turn in radians."""
PASSES = ((cv2.MOTION_TRANSLATION, 11), (cv2.MOTION_EUCLIDEAN, 5))
"""What is found, and the width in pixels of the blur under which both pictures are compared."""
STOP = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 60, 1e-5)
SAME = 0.004
"""Metres within which a place lies on what the photo shows."""


def settled(body: BodyModel, label: PseudoLabel, dT: Array, scene: Scene) -> PseudoLabel:
    """A generated head moved onto the avatar's; the label as it is where it cannot be told, and other kinds of labels.

    Args:
        dT: (V, 3) offsets of the mesh. scene: the photo.
    """
    if label.region != "head" or label.filmed:
        return label
    picture, known = photo_in(body, label.params, label.camera, dT, scene)
    rows, cols = np.nonzero(known)
    if len(rows) < LEAST:
        return label
    pictures = [cv2.cvtColor(np.ascontiguousarray(x, np.float32), cv2.COLOR_RGB2GRAY) for x in (picture, label.image)]
    warp = np.eye(2, 3, dtype=np.float32)
    try:
        for kind, blur in PASSES:
            alike, warp = cv2.findTransformECC(*pictures, warp, kind, STOP, known.astype(np.uint8), blur)
    except cv2.error:  # it found none
        return label
    middle = np.array([cols.mean(), rows.mean()])
    move = np.linalg.norm(warp[:, :2] @ middle + warp[:, 2] - middle)
    if alike < ALIKE or move > FARTHEST * np.ptp(cols) or abs(warp[1, 0]) > TURNED:
        return label
    return _moved(label, warp)


def photo_in(body: BodyModel, params: BodyParams, camera: Camera, dT: Array, scene: Scene) -> tuple[Array, Array]:
    """The photo's face as it looks in another pose: picture (H, W, 3), and where it is known (H, W) bool."""
    there, here = (_posed(body, p, dT) for p in (params, scene.params))
    faces = np.asarray(body.faces)
    wanted = geo.region(body, "face", "lips", "eyelids", "eyeballs")[faces].all(1)
    hits = geo.cast(there, faces, camera)
    corners = faces[np.maximum(hits.face, 0)]
    spots = (here[corners] * hits.bary[..., None]).sum(2)
    uv, depth = scene.camera.project(spots.reshape(-1, 3))
    x, y = (v.reshape(hits.face.shape).astype(np.float32) for v in uv.T)
    front = geo.cast(here, faces, scene.camera).depth
    h, w = front.shape
    inside = (x > 1) & (y > 1) & (x < w - 1) & (y < h - 1)
    col, row = (np.clip(v, 0, n - 1).astype(int) for v, n in ((x, w), (y, h)))
    known = (hits.face >= 0) & wanted[np.maximum(hits.face, 0)] & inside & (scene.alpha[row, col] > 0.9)
    known &= np.abs(front[row, col] - depth.reshape(x.shape)) < SAME
    return geo.sample_image(scene.foreground, x, y).astype(np.float32), known


def _posed(body: BodyModel, params: BodyParams, dT: Array) -> Array:
    """The deformed mesh, (V, 3) in the world."""
    with torch.no_grad():
        vertices, joints = model.canonical_mesh(body, params)
        transforms = model.skinning_transforms(body, params, joints)
        return model.skin_dense(vertices + torch.from_numpy(dT), transforms, body.lbs_weights).numpy()


def _moved(label: PseudoLabel, warp: Array) -> PseudoLabel:
    """The label with each pixel taken from where ``warp`` (2, 3) sends it; nothing is taught beyond its edge."""

    def take(picture: Array, border: int = cv2.BORDER_REPLICATE) -> Array:
        out = cv2.warpAffine(np.ascontiguousarray(picture, np.float32), warp, (label.camera.width, label.camera.height),
                             flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP, borderMode=border)  # fmt: skip
        return np.clip(out, 0, 1)

    weight = np.ones_like(label.alpha) if label.weight is None else label.weight
    weight = take(weight) * take(np.ones_like(label.alpha), cv2.BORDER_CONSTANT)
    return dataclasses.replace(label, image=take(label.image), alpha=take(label.alpha), weight=weight)
