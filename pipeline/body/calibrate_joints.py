"""Where MediaPipe's inner points (hand joints, shoulders, hips ...) lie in a body, measured on pictures of it.

Such a point is not on the skin. It is triangulated from many views of a posed body, carried back to the T-pose with
the transforms of its joint, averaged, and then written as a convex combination of skin vertices that follows it
through poses.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from pipeline.body import anatomy, studio
from pipeline.body.basis import fit_joint_regressor
from pipeline.body.kinematics import rotation_matrices, skinning_transforms
from pipeline.body.model import BodyModel, Landmarks
from pipeline.body.names import JOINT_INDEX, PARENTS

Array = np.ndarray
Detect = Callable[[studio.Shot], Array | None]
Carrier = tuple[str, bool]
_CARRIED = {name: "{side}_" + name for name in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")}
_CARRIED |= {"heel": "{side}_ankle", "foot_index": "{side}_foot", "ear": "head"}
POSE_JOINTS = {f"{s}_{name}": joint.format(side=s) for s in ("left", "right") for name, joint in _CARRIED.items()}
"""Points of MediaPipe Pose that are measured and the joint that carries each (its knuckles are too vague)."""


def triangulate(cameras: list[studio.Camera], points: list[Array], rounds: int = 6) -> tuple[Array, Array]:
    """Robust triangulation.

    Args:
        cameras: S views. points: S times (P, 2) pixels.

    Returns:
        Points (P, 3) world and their median reprojection error (P,) in metres at the point's depth.
    """
    xy = np.stack(points)
    origins = np.stack([c.position for c in cameras])
    rays = []
    for camera, view in zip(cameras, xy, strict=True):
        local = np.concatenate([view, np.ones((len(view), 1))], 1) @ np.linalg.inv(camera.K).T
        world = local @ camera.viewmat[:3, :3]
        rays.append(world / np.linalg.norm(world, axis=1, keepdims=True))
    ray = np.stack(rays)
    across = np.eye(3) - ray[..., :, None] * ray[..., None, :]
    weight = np.ones(xy.shape[:2])
    for _ in range(rounds):
        left = (across * weight[..., None, None]).sum(0)
        right = ((across @ origins[:, None, :, None])[..., 0] * weight[..., None]).sum(0)
        spot = np.linalg.solve(left, right[..., None])[..., 0]
        miss = np.linalg.norm((across @ (spot[None] - origins[:, None])[..., None])[..., 0], axis=-1)
        weight = 1 / np.maximum(miss, 1e-3)
    return spot, np.median(miss, 0)


def _carriers(body: BodyModel, fields: dict[str, Array]) -> Array:
    """Skinning transforms (55, 4, 4) of one pose of the mean body."""
    zero = np.zeros
    parts = [
        fields.get("global_orient", zero(3)), fields.get("body_pose", zero((21, 3))), zero(9),
        fields.get("left_hand_pose", zero((15, 3))), fields.get("right_hand_pose", zero((15, 3))),
    ]  # fmt: skip
    full = torch.as_tensor(np.concatenate([np.ravel(p) for p in parts]).reshape(1, 55, 3), dtype=torch.float32)
    joints = (body.J_regressor @ body.v_template)[None]
    return skinning_transforms(rotation_matrices(full), joints)[0][0].numpy()


def _carrier(A: Array, joint: str, alone: bool) -> Array:
    """Transform (..., 4, 4) of a joint ``alone``, or averaged with its parent's, as the skin around a joint moves."""
    j = JOINT_INDEX[joint]
    return A[..., j, :, :] if alone else (A[..., j, :, :] + A[..., PARENTS[j], :, :]) / 2


def skin_rows(body: BodyModel, spots: Array, carriers: list[Carrier], seed: int = 11) -> Array:
    """Convex rows (P, V) that follow T-pose points (P, 3) carried by joints through random poses of the mean body."""
    count = 24
    fields = anatomy.random_poses(count, seed)
    with torch.no_grad():
        out = body(torch.zeros(1, body.n_betas), torch.zeros(1, body.n_expression), **fields)
    A, targets = out.A.numpy(), []
    for spot, carrier in zip(spots, carriers, strict=True):
        targets.append((_carrier(A, *carrier) @ np.append(spot, 1.0))[:, :3])
    outer = ~body.regions["inner"].numpy() if "inner" in body.regions else np.ones(body.n_vertices, bool)
    vertices, wanted = out.vertices.numpy(), np.stack(targets, 1)
    tight = fit_joint_regressor(vertices, wanted, outer, anatomy.RING, 5 * anatomy.RING)
    wide = fit_joint_regressor(vertices, wanted, outer, 4 * anatomy.RING, 40 * anatomy.RING)
    return anatomy.better_rows(tight, wide, vertices, wanted)


def _measure(body: BodyModel, fields: dict[str, Array], cameras: list[studio.Camera], detect: Detect) -> tuple:
    """Triangulated points (P, 3), errors (P,), number of views in which the detector answered."""
    vertices, _ = studio.pose(body, **fields)
    seen, points = [], []
    for camera in cameras:
        found = detect(studio.shoot(body, vertices, camera))
        if found is not None:
            seen.append(camera)
            points.append(found)
    if len(seen) < 4:
        return None, None, len(seen)
    return *triangulate(seen, points), len(seen)


def _to_rest(A: Array, spots: Array, carriers: list[Carrier]) -> Array:
    """Carry posed points (P, 3) back to the T-pose."""
    pairs = zip(spots, carriers, strict=True)
    return np.stack([np.linalg.solve(_carrier(A, *carrier), np.append(spot, 1.0))[:3] for spot, carrier in pairs])


def _pose_fields() -> list[dict[str, Array]]:
    """Poses for the body: A-pose, hanging arms, forearms raised, arms half forward."""
    out = []
    for down, forward, bend in ((45, 0, 15), (70, 0, 25), (60, 20, 95), (35, 45, 40)):
        pose = np.zeros((21, 3))
        for side, sign in (("left", 1.0), ("right", -1.0)):
            pose[JOINT_INDEX[f"{side}_shoulder"] - 1] = np.radians([0, -sign * forward, -sign * down])
            pose[JOINT_INDEX[f"{side}_elbow"] - 1] = np.radians([0, -sign * bend, 0])
        out.append({"body_pose": pose})
    return out


def calibrate_pose(body: BodyModel, seed: int = 5) -> tuple[dict[str, Array], dict]:
    """Measure MediaPipe Pose's body points.

    Returns:
        Rows (V,) by point name (left and right are mirror images of each other's average), and statistics.
    """
    import mediapipe

    size = (600, 900)
    names = list(POSE_JOINTS)
    index = [anatomy.POSE_NAMES.index(name) for name in names]
    carriers = [(POSE_JOINTS[name], name.endswith("ear")) for name in names]
    spots, errors, views = [], [], 0
    with mediapipe.solutions.pose.Pose(static_image_mode=True, model_complexity=1) as pose:

        def detect(shot: studio.Shot) -> Array | None:
            found = pose.process(shot.image).pose_landmarks
            return None if not found else np.array([(p.x, p.y) for p in found.landmark])[index] * size

        for fields in _pose_fields():
            cameras = []
            for yaw in (-50, -35, -20, -8, 8, 20, 35, 50):
                a = np.radians(yaw)
                sight = np.array([np.sin(a), 0.1, np.cos(a)])
                cameras.append(studio.look_at(np.array([0, -0.4, 0.0]), sight, np.array([0.0, 1, 0]), 2.1, size))
            spot, error, count = _measure(body, fields, cameras, detect)
            views += count
            if spot is not None:
                A = _carriers(body, fields)
                spots.append(_to_rest(A, spot, carriers))
                errors.append(error)
    if not spots:
        return {}, {"views": views}
    rest = _mirror_mean(names, np.median(spots, 0))
    rows = skin_rows(body, rest, carriers, seed)
    joints = (body.J_regressor @ body.v_template).numpy()[[JOINT_INDEX[joint] for joint, _ in carriers]]
    offset = dict(zip(names, (1e3 * (rest - joints)).round(1).tolist(), strict=True))
    spread = 1e3 * np.linalg.norm(np.stack(spots) - np.median(spots, 0), axis=-1).mean(0)
    stats = {
        "views": views,
        "poses": len(spots),
        "median_error_mm": float(1e3 * np.median(errors)),
        "offset_from_joint_mm": offset,
        "spread_over_poses_mm": {n: round(float(s), 1) for n, s in zip(names, spread, strict=True)},
    }
    return dict(zip(names, rows, strict=True)), stats


def _mirror_mean(names: list[str], spots: Array) -> Array:
    other = [names.index(n.replace("left", "#").replace("right", "left").replace("#", "right")) for n in names]
    return (spots + spots[other] * [-1, 1, 1]) / 2


def _hand_fields(side: str) -> list[dict[str, Array]]:
    """Hands: flat, slightly curled, half closed."""
    sign = 1.0 if side == "left" else -1.0
    out = []
    for curl in (0.0, 15.0, 35.0):
        hand = np.zeros((15, 3))
        hand[:12, 2] = -sign * np.radians(curl)
        out.append({f"{side}_hand_pose": hand})
    return out


def _hand_cameras(body: BodyModel, joints: Array, side: str) -> list[studio.Camera]:
    """Views of a T-pose hand, fingers up in the picture, around its palm and its back."""
    sign = 1.0 if side == "left" else -1.0
    middle = joints[JOINT_INDEX[f"{side}_middle1"]]
    up = np.array([sign, 0.0, 0.0])
    cameras = []
    for face in (-1.0, 1.0):
        for yaw in (-40, -25, -10, 0, 10, 25, 40):
            for tilt in (-15.0, 10.0):
                a, b = np.radians([yaw, tilt])
                sight = np.array([sign * np.sin(b), face * np.cos(a) * np.cos(b), np.sin(a) * np.cos(b)])
                cameras.append(studio.look_at(middle - 0.03 * up, sight, up, 0.42, (480, 480)))
    return cameras


def calibrate_hands(body: BodyModel, rows: Array, seed: int = 5) -> tuple[dict[str, Landmarks], dict]:
    """Measure MediaPipe's 21 hand points; joints and tips from anatomy where the hands are not found.

    Args:
        rows: (55, V) joint rows of :func:`anatomy.joint_rows`.
    """
    import mediapipe

    carriers = {side: _hand_joints(side) for side in ("left", "right")}
    measured: dict[str, list[Array]] = {"left": [], "right": []}
    errors, views = [], 0
    with mediapipe.solutions.hands.Hands(
        static_image_mode=True, max_num_hands=1, min_detection_confidence=0.4
    ) as hands:

        def detect(shot: studio.Shot) -> Array | None:
            found = hands.process(shot.image).multi_hand_landmarks
            return None if not found else np.array([(p.x, p.y) for p in found[0].landmark]) * 480

        for side in ("left", "right"):
            for fields in _hand_fields(side):
                _, joints = studio.pose(body, **fields)
                spot, error, count = _measure(body, fields, _hand_cameras(body, joints, side), detect)
                views += count
                if spot is not None:
                    measured[side].append(_to_rest(_carriers(body, fields), spot, carriers[side]))
                    errors.append(error)
    anatomical = {side: anatomy.hand_landmarks(body, rows, side) for side in ("left", "right")}
    if not measured["left"] or not measured["right"]:
        return anatomical, {"views": views, "measured": False}
    flip = np.array([-1, 1, 1])
    left = (np.median(measured["left"], 0) + np.median(measured["right"], 0) * flip) / 2
    out, rest = {}, {"left": left, "right": left * flip}
    for side in ("left", "right"):
        chosen = skin_rows(body, rest[side], carriers[side], seed)
        out[side] = Landmarks(anatomy.HAND_NAMES, *anatomy.compact(chosen))
    template = body.v_template.numpy()
    guess = (template[anatomical["left"].vertex_ids] * anatomical["left"].weights[..., None]).sum(1)
    offset = dict(zip(anatomy.HAND_NAMES, (1e3 * (left - guess)).round(1).tolist(), strict=True))
    stats = {"views": views, "measured": True, "median_error_mm": float(1e3 * np.median(errors)), "offset_mm": offset}
    return out, stats


def _hand_joints(side: str) -> list[Carrier]:
    """Carrying joint of each of the 21 points, and whether it moves with it alone (tips)."""
    out = [(f"{side}_wrist", False)]
    for finger in ("thumb", "index", "middle", "ring", "pinky"):
        out += [(f"{side}_{finger}{k}", False) for k in (1, 2, 3)] + [(f"{side}_{finger}3", True)]
    return out
