"""A first guess of root and arms from detections alone, in closed form."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from pipeline.body import BodyModel
from pipeline.perceive import targets as T
from pipeline.perceive.targets import Targets
from pipeline.types import Array, Camera

LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_ELBOW, RIGHT_ELBOW, LEFT_WRIST, RIGHT_WRIST = 16, 17, 18, 19, 20, 21
HANGING = 1.15
"""Shoulder angle (radians) of an arm that hangs at rest, from the T-pose."""
MAX_HEADING = 1.3
LEG_SEEN, LEG_BENT = 0.1, 0.6
"""Weight from which a leg's direction is believed, and radians from hanging from which it counts as bent."""


def initial_state(targets: Targets, body: BodyModel, camera: Camera) -> dict[str, Array]:
    """Root by weak perspective, heading and arms from the detector's 3D directions.

    Returns:
        The unknowns of :mod:`pipeline.perceive.register`, each with a leading frame axis.
    """
    frames = len(targets)
    heading = _heading(targets)
    state = {
        "global_orient": np.zeros((frames, 3), np.float32),
        "body_pose": np.zeros((frames, 21, 3), np.float32),
        "left_hand_pose": np.zeros((frames, 15, 3), np.float32),
        "right_hand_pose": np.zeros((frames, 15, 3), np.float32),
        "arkit": np.zeros((frames, 52), np.float32),
        "transl": np.zeros((frames, 3), np.float32),
    }
    state["global_orient"][:, 1] = heading
    joints = _rest_joints(body)
    for f in range(frames):
        state["body_pose"][f] = _arms(targets, f, heading[f], joints)
    state["transl"] = _translation(targets, body, camera, heading)
    return state


def _rest_joints(body: BodyModel) -> Array:
    with torch.no_grad():
        return body.shaped(torch.zeros(1, body.n_betas), torch.zeros(1, body.n_expression))[1][0].numpy()


def _heading(targets: Targets) -> Array:
    """Angle about y, radians, from the shoulder and hip lines (world axes); 0 where they are unseen."""
    bones = [T.BODY_BONES.index((11, 12)), T.BODY_BONES.index((23, 24))]
    lines = targets.body_dirs[:, bones].numpy() * targets.body_dir_weights[:, bones, None].numpy()
    line = -lines.sum(1)
    angle = np.arctan2(-line[:, 2], line[:, 0])
    angle[np.linalg.norm(line, axis=1) < 0.2] = 0.0
    return np.clip(angle * 0.7, -MAX_HEADING, MAX_HEADING).astype(np.float32)


def smallest_turn(a: Array, b: Array) -> Rotation:
    """The smallest rotation that turns direction a into direction b."""
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    axis = np.cross(a, b)
    sine = np.linalg.norm(axis)
    if sine < 1e-6:
        return Rotation.identity()
    return Rotation.from_rotvec(axis / sine * np.arctan2(sine, a @ b))


def _arms(targets: Targets, f: int, heading: float, joints: Array) -> Array:
    pose = np.zeros((21, 3), np.float32)
    root = Rotation.from_rotvec([0, heading, 0])
    sides = (
        ((11, 13), (13, 15), LEFT_SHOULDER, LEFT_ELBOW, LEFT_WRIST, -HANGING),
        ((12, 14), (14, 16), RIGHT_SHOULDER, RIGHT_ELBOW, RIGHT_WRIST, HANGING),
    )
    for upper, lower, shoulder, elbow, wrist, hanging in sides:
        i, j = T.BODY_BONES.index(upper), T.BODY_BONES.index(lower)
        turn = Rotation.from_rotvec([0, 0, hanging])
        if targets.body_dir_weights[f, i] > 0.2:
            turn = smallest_turn(joints[elbow] - joints[shoulder], root.inv().apply(targets.body_dirs[f, i].numpy()))
        pose[shoulder - 1] = turn.as_rotvec()
        if targets.body_dir_weights[f, j] > 0.2:
            forearm = (root * turn).inv().apply(targets.body_dirs[f, j].numpy())
            pose[elbow - 1] = smallest_turn(joints[wrist] - joints[elbow], forearm).as_rotvec()
    return pose


def bend_legs(state: dict[str, Array], targets: Targets, body: BodyModel) -> None:
    """Bend hips and knees of a first guess, in place, where the thighs are seen far from hanging (seated people).

    Knees that are far off saturate the robust reprojection and would never be reached from straight legs.
    """
    joints = _rest_joints(body)
    for hip, knee, ankle, upper, lower in ((1, 4, 7, (23, 25), (25, 27)), (2, 5, 8, (24, 26), (26, 28))):
        i, j = T.BODY_BONES.index(upper), T.BODY_BONES.index(lower)
        for f in np.flatnonzero(targets.body_dir_weights[:, i].numpy() > LEG_SEEN):
            root = Rotation.from_rotvec(state["global_orient"][f])
            thigh = smallest_turn(joints[knee] - joints[hip], root.inv().apply(targets.body_dirs[f, i].numpy()))
            if thigh.magnitude() < LEG_BENT:
                continue
            state["body_pose"][f, hip - 1] = thigh.as_rotvec()
            shin = np.array([0.0, -1.0, 0.0])
            if targets.body_dir_weights[f, j] > LEG_SEEN:
                shin = targets.body_dirs[f, j].numpy()
            bend = smallest_turn(joints[ankle] - joints[knee], (root * thigh).inv().apply(shin))
            state["body_pose"][f, knee - 1] = bend.as_rotvec()


def _translation(targets: Targets, body: BodyModel, camera: Camera, heading: Array) -> Array:
    """Weak perspective on face, shoulders and hips: scale and shift in closed form, then depth = focal / scale."""
    names = ("mediapipe_face", "mediapipe_pose")
    vertices = body.v_template
    face, pose = (body.landmarks[n] for n in names)
    points = [
        (vertices[torch.as_tensor(p.vertex_ids)] * torch.as_tensor(p.weights)[..., None]).sum(1).numpy()
        for p in (face, pose)
    ]
    weights = np.concatenate([targets.weights[:, T.FACE].numpy() * 0.02, targets.weights[:, T.POSE].numpy()], 1)
    torso = np.zeros(T.N_POSE, np.float32)
    torso[list(T.POSE_TORSO)] = (1.0, 1.0, 0.5, 0.5)
    torso[list(T.POSE_FACE)] = 0.3
    weights[:, T.N_FACE :] *= torso
    seen = np.concatenate([targets.points[:, T.FACE].numpy(), targets.points[:, T.POSE].numpy()], 1)
    world = np.concatenate(points)
    transl = np.zeros((len(targets), 3), np.float32)
    for f in range(len(targets)):
        if weights[f].sum() < 1e-3:
            transl[f] = np.nan
            continue
        local = Rotation.from_rotvec([0, heading[f], 0]).apply(world)
        transl[f] = _weak_perspective(local, seen[f], weights[f], camera)
    return _fill_gaps(transl)


def _weak_perspective(world: Array, pixels: Array, weights: Array, camera: Camera) -> Array:
    w = weights / weights.sum()
    flat = world[:, :2] * (1, -1)
    centre3, centre2 = w @ flat, w @ pixels
    a, b = flat - centre3, pixels - centre2
    spread = (w[:, None] * a * a).sum()
    scale = max((w[:, None] * a * b).sum() / max(spread, 1e-9), 1.0)
    focal = float(camera.K[0, 0])
    depth = focal / scale
    shift = (centre2 - camera.K[:2, 2]) / scale - centre3
    return np.array([shift[0], -shift[1], -depth - w @ world[:, 2]], np.float32)


def _fill_gaps(values: Array) -> Array:
    """Linear interpolation over frames without a person."""
    good = ~np.isnan(values[:, 0])
    if not good.any():
        return np.tile(np.float32([0, 0, -2.5]), (len(values), 1))
    index = np.arange(len(values))
    return np.stack([np.interp(index, index[good], values[good, k]) for k in range(3)], 1).astype(np.float32)
