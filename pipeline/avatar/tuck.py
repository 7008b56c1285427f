"""Hands that the photo does not show (in pockets, behind the back, out of the picture).

The registration has to put them somewhere, often in front of the body, where they would be painted with the jacket that
the photo shows there. No pixel may be attached to such a hand, and at the photo's pose it has to be out of sight:
shoulder and elbow are turned until the hand lies inside the body, elbow and wrist still at their places in the picture.
A hand that moves out then appears in skin colour.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from pipeline.avatar import arms, model
from pipeline.avatar import geometry as geo
from pipeline.types import BodyParams, Camera, Detections

if TYPE_CHECKING:
    from pipeline.body import BodyModel

Array = np.ndarray

DEPTHS = (0.03, 0.06, 0.09, 0.12, 0.16)
"""How far below the surface of the body (metres) a hidden wrist is tried."""
ENOUGH = 0.04
TOLERATED = 0.25
"""Share of an unseen part's vertices in sight that ends the search, and up to which the pose is left alone."""
SUNKEN, EMERGED = 0.6, 0.85
"""Share of a shown forearm's vertices outside of the body, below which it is brought out, and which suffices."""
HEIGHTS = (0.03, 0.06, 0.09, 0.12)
"""How far before the surface of the body (metres) such a forearm's wrist is tried."""
EDGE = 0.06
"""Share of the picture's height: a wrist that is found this near to the photo's edge may as well be beyond it."""
SEEN, HALF_SEEN = 0.5, 0.35
"""Visibility above which a keypoint counts as seen, and from which on the picture decides."""
OF_SKIN = 0.38
"""Share of a hand's pixels with colours of the face from which on the picture shows it."""
SAME_SLEEVE = 0.65
"""Share of a forearm's pixels with colours of the upper arm from which on the picture shows it."""


@dataclass(frozen=True)
class Side:
    """One arm: its part group, SMPL-X shoulder, elbow and wrist joints, MediaPipe Pose elbow and wrist."""

    group: int
    shoulder: int
    elbow: int
    wrist: int
    pose_elbow: int
    pose_wrist: int


LEFT = Side(geo.LEFT_ARM, 16, 18, 20, 13, 15)
RIGHT = Side(geo.RIGHT_ARM, 17, 19, 21, 14, 16)


def unseen_faces(
    body: BodyModel, params: BodyParams, camera: Camera, image: Array, detections: Detections | None, valid: Array,
    tucked: bool = False,
) -> Array:  # fmt: skip
    """Triangles of hands, and of forearms, that the photo does not show, (F,) bool.

    A hand is seen when the hand detector found it or the pixels under it have the colour of the face; a forearm, when
    the hand is, when the wrist is visible, when it runs from an elbow that is visible, or as bare skin, to the edge of
    the photo or beyond, or when the wrist is half visible and the picture shows one sleeve from shoulder to wrist.

    Args:
        image: (H, W, 3). detections: in pixels of the picture; None counts everything as seen.
        valid: (H, W) bool, where there is a photo. tucked: ``params`` come from :func:`tuck`: what still shows of a
            hand goes on as the forearm does, and is also seen where it has a bare forearm's colours.
    """
    out = np.zeros(len(body.faces), bool)
    if detections is None or not np.any(detections.pose):
        return out
    groups, segments = geo.face_groups(body), arms.arm_segments(body)
    hits = geo.cast(_posed(body, params)[0], np.asarray(body.faces), camera)
    face = arms.face_skin(body, hits) & valid
    for side, hand in ((LEFT, detections.left_hand), (RIGHT, detections.right_hand)):
        parts = [(groups == side.group) & (segments == s) for s in (arms.HAND, arms.FOREARM, arms.UPPER)]
        shows = [(hits.face >= 0) & part[np.maximum(hits.face, 0)] & valid for part in parts]
        if hand is not None or looks_like(image, shows[arms.HAND], face, OF_SKIN):
            continue
        bare = looks_like(image, shows[arms.FOREARM], face)
        if bare and tucked and looks_like(image, shows[arms.HAND], face | shows[arms.FOREARM], OF_SKIN):
            continue
        out |= parts[arms.HAND]
        wrist, elbow = detections.pose[side.pose_wrist], detections.pose[side.pose_elbow]
        starts = elbow[2] > SEEN or bare
        leaves = not _inside(wrist, valid, EDGE * len(valid)) and _inside(elbow, valid) and starts
        sleeve = wrist[2] > HALF_SEEN and looks_like(image, shows[arms.FOREARM], shows[arms.UPPER], SAME_SLEEVE)
        if not leaves and not (_inside(wrist, valid) and (wrist[2] > SEEN or sleeve)):
            out |= parts[arms.FOREARM]
    return out


def looks_like(image: Array, pixels: Array, sample: Array, share: float = 0.45) -> bool:
    """Whether at least ``share`` of ``pixels`` (H, W) bool have colours that are common in ``sample`` (H, W) bool."""
    if pixels.sum() < 30 or sample.sum() < 100:
        return False
    return bool(arms.colored_alike(image, sample)[pixels].mean() > share)


def _inside(keypoint: Array, valid: Array, margin: float = 0.0) -> bool:
    """Whether a keypoint (x, y, visibility) lies in the photo, more than ``margin`` pixels from its edges."""
    x, y, _ = keypoint
    h, w = valid.shape
    corners = [(x + dx, y + dy) for dx in (-margin, margin) for dy in (-margin, margin)]
    return all(0 <= x < w and 0 <= y < h and valid[int(y), int(x)] for x, y in corners)


def tuck(body: BodyModel, params: BodyParams, camera: Camera, unseen: Array) -> BodyParams:
    """Bend every arm with an unseen hand until the unseen part is behind what it covers; turn hands that still show.

    Args:
        unseen: (F,) bool, from :func:`unseen_faces`.

    Returns:
        Changed parameters; the same where nothing has to be done.
    """
    groups, segments, faces = geo.face_groups(body), arms.arm_segments(body), np.asarray(body.faces)
    for side in (LEFT, RIGHT):
        part = unseen & (groups == side.group)
        if part.any():
            params = _hide(body, params, camera, side, np.unique(faces[part]))
            params = _turn_away(body, params, camera, side, np.unique(faces[part & (segments == arms.HAND)]))
    return params


def emerge(body: BodyModel, params: BodyParams, camera: Camera, unseen: Array) -> BodyParams:
    """Bring every forearm that the photo shows, and that the registration sank into the body, out before it.

    A forearm that points at the camera looks short; its depth is the least certain thing about a pose.

    Args:
        unseen: (F,) bool, from :func:`unseen_faces`.

    Returns:
        Changed parameters; the same where nothing has to be done.
    """
    groups, segments = geo.face_groups(body), arms.arm_segments(body)
    for side in (LEFT, RIGHT):
        fore, hand = ((groups == side.group) & (segments == s) for s in (arms.FOREARM, arms.HAND))
        if (unseen & fore).any():
            continue
        before = params
        params = _bring_out(body, params, camera, side, np.unique(np.asarray(body.faces)[fore]))
        if params is not before and (unseen & hand).any():
            params = _turn_away(body, params, camera, side, np.unique(np.asarray(body.faces)[hand]))
    return params


def _turn_away(body: BodyModel, params: BodyParams, camera: Camera, side: Side, part: Array) -> BodyParams:
    """Turn an unseen hand about its wrist, away from the camera, until as little of it as possible is in sight."""
    posed, rotations, joints = _posed(body, params)
    hits = geo.cast(posed, np.asarray(body.faces), camera, geo.face_groups(body) != side.group)
    along = joints[side.wrist] - joints[side.elbow]  # a straight hand goes on as the forearm does
    whole = _turn(along, joints[side.wrist] - camera.position)
    best, least = params, exposed(posed[part], hits, camera)
    if least <= ENOUGH:
        return params
    for share in (0.5, 0.75, 1.0, 1.25):
        bent = _rotate(params, rotations, side.wrist, Rotation.from_rotvec(share * whole.as_rotvec()))
        shown = exposed(_posed(body, bent)[0][part], hits, camera)
        if shown < least - 0.01:
            best, least = bent, shown
    return best


def _rotate(params: BodyParams, rotations: Array, joint: int, turn: Rotation) -> BodyParams:
    """Turn one joint by a rotation of the world; ``rotations`` (55, 3, 3) are the joints' in the world."""
    pose = np.array(params.body_pose, np.float32)
    local = Rotation.from_rotvec(pose[joint - 1])
    parent = Rotation.from_matrix(rotations[joint]) * local.inv()
    pose[joint - 1] = (parent.inv() * turn * parent * local).as_rotvec()
    return params.replace(body_pose=pose)


def _bring_out(body: BodyModel, params: BodyParams, camera: Camera, side: Side, part: Array) -> BodyParams:
    """Move the wrist along its line of sight to before the body; the first try that shows enough of ``part``."""
    posed, _, joints = _posed(body, params)
    hits = geo.cast(posed, np.asarray(body.faces), camera, geo.face_groups(body) == geo.BODY)
    least = exposed(posed[part], hits, camera)
    (x, y), _ = camera.project(joints[side.wrist])
    inside = 0 <= x < camera.width and 0 <= y < camera.height
    if least >= SUNKEN or not inside or hits.face[int(y), int(x)] < 0:
        return params
    surface, best = float(hits.depth[int(y), int(x)]), params
    for before in HEIGHTS:
        bent = reach(body, params, camera, side, geo.unproject(camera, x, y, np.float32(surface - before)))
        shown = exposed(_posed(body, bent)[0][part], hits, camera)
        if shown > least + 0.01:
            best, least = bent, shown
        if least >= EMERGED:
            break
    return best


def _hide(body: BodyModel, params: BodyParams, camera: Camera, side: Side, part: Array) -> BodyParams:
    """Push the wrist along its line of sight into the body, or to the middle of the body; the best of several tries."""
    posed, _, joints = _posed(body, params)
    hits = geo.cast(posed, np.asarray(body.faces), camera, geo.face_groups(body) == geo.BODY)
    rows, cols = np.nonzero(hits.face >= 0)
    best, least = params, exposed(posed[part], hits, camera)
    if least <= TOLERATED or len(rows) == 0:
        return params
    wrist, _ = camera.project(joints[side.wrist])
    pelvis, _ = camera.project(joints[0])
    for share in (0.0, 0.3, 0.6):
        x, y = (1 - share) * wrist + share * pelvis
        near = np.argmin((rows + 0.5 - y) ** 2 + (cols + 0.5 - x) ** 2)
        surface = float(hits.depth[rows[near], cols[near]])
        for inside in DEPTHS:
            target = geo.unproject(camera, np.float32(x), np.float32(y), np.float32(surface + inside))
            bent = reach(body, params, camera, side, target)
            shown = exposed(_posed(body, bent)[0][part], hits, camera)
            if shown < least - 0.01:
                best, least = bent, shown
            if least <= ENOUGH:
                return best
    return best


def exposed(points: Array, hits: geo.Hits, camera: Camera) -> float:
    """Share of the points (N, 3) that are in the picture and not behind the body (``hits``)."""
    xy, z = camera.project(points)
    inside = (xy >= 0).all(1) & (xy[:, 0] < camera.width) & (xy[:, 1] < camera.height) & (z > 0)
    col, row = np.where(inside, xy[:, 0], 0).astype(int), np.where(inside, xy[:, 1], 0).astype(int)
    behind = (hits.face[row, col] >= 0) & (z > hits.depth[row, col] + 0.005)
    return float((inside & ~behind).mean())


def reach(body: BodyModel, params: BodyParams, camera: Camera, side: Side, target: Array) -> BodyParams:
    """Two-bone inverse kinematics: the wrist goes to ``target`` (3,), the elbow stays where the picture shows it.

    Of two such elbows the one that is not in front of the shoulder is taken.
    """
    _, rotations, joints = _posed(body, params)
    shoulder, elbow, wrist = joints[side.shoulder], joints[side.elbow], joints[side.wrist]
    upper, fore = np.linalg.norm(elbow - shoulder), np.linalg.norm(wrist - elbow)
    line = target - shoulder
    distance = float(np.clip(np.linalg.norm(line), abs(upper - fore) + 1e-3, upper + fore - 1e-3))
    line = line / max(np.linalg.norm(line), 1e-9)
    along = (upper**2 - fore**2 + distance**2) / (2 * distance)
    radius = np.sqrt(max(upper**2 - along**2, 0.0))
    u = np.cross(line, [0.3, 0.5, 0.8])
    u /= np.linalg.norm(u)
    angles = np.linspace(0, 2 * np.pi, 73)[:-1, None]
    ring = shoulder + along * line + radius * (np.cos(angles) * u + np.sin(angles) * np.cross(line, u))
    wanted, _ = camera.project(elbow)
    pixels, depth = camera.project(ring)
    forward = np.maximum(camera.project(shoulder)[1] - depth, 0) * camera.K[0, 0] / depth
    new_elbow = ring[np.argmin(np.linalg.norm(pixels - wanted, axis=1) + 0.5 * forward)]
    new_wrist = shoulder + distance * line
    first = _turn(elbow - shoulder, new_elbow - shoulder)
    second = _turn(first.apply(wrist - elbow), new_wrist - new_elbow)
    for joint, turn in ((side.shoulder, first), (side.elbow, first.inv() * second * first)):
        params = _rotate(params, rotations, joint, turn)
    return params


def _turn(a: Array, b: Array) -> Rotation:
    """The shortest rotation from direction ``a`` to direction ``b``."""
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    axis = np.cross(a, b)
    length = np.linalg.norm(axis)
    return Rotation.from_rotvec(axis / max(length, 1e-9) * np.arctan2(length, a @ b))


def _posed(body: BodyModel, params: BodyParams) -> tuple[Array, Array, Array]:
    """Vertices (V, 3), joint rotations (55, 3, 3) and joints (55, 3) in the world."""
    with torch.no_grad():
        vertices, joints = model.canonical_mesh(body, params)
        A = model.skinning_transforms(body, params, joints)
        posed = model.skin_dense(vertices, A, body.lbs_weights).numpy()
    A = A.numpy()
    return posed, A[:, :, :3], np.einsum("jab,jb->ja", A[:, :, :3], joints.numpy()) + A[:, :, 3]
