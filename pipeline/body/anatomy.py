"""Landmarks where anatomy says they are: a joint as a convex combination of the skin around it, finger tips, heels.

These stand in where a detector's own idea of a point has not been measured (see ``calibrate.py``).
"""

from __future__ import annotations

import numpy as np
import torch

from pipeline.body.basis import fit_joint_regressor
from pipeline.body.model import BodyModel, Landmarks
from pipeline.body.names import JOINT_INDEX

RING = 12
HAND_NAMES = ("wrist", *(f"{f}{k}" for f in ("thumb", "index", "middle", "ring", "pinky") for k in (1, 2, 3, 4)))
POSE_NAMES = (
    "nose", "left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye", "right_eye_outer",
    "left_ear", "right_ear", "mouth_left", "mouth_right", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_pinky", "right_pinky", "left_index", "right_index",
    "left_thumb", "right_thumb", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
    "left_heel", "right_heel", "left_foot_index", "right_foot_index",
)  # fmt: skip
"""MediaPipe Pose's 33 points; left is the person's own."""


def random_poses(count: int, seed: int) -> dict[str, torch.Tensor]:
    """Everyday poses: arms between hanging and raised forward, bent elbows and knees, half-closed hands."""
    rng = np.random.default_rng(seed)
    body = rng.normal(0, 0.08, (count, 21, 3))
    for side, sign in (("left", 1.0), ("right", -1.0)):
        lowered = np.radians(rng.uniform(-80, 10, count))
        body[:, JOINT_INDEX[f"{side}_shoulder"] - 1, 2] += sign * lowered
        body[:, JOINT_INDEX[f"{side}_shoulder"] - 1, 1] -= sign * np.radians(rng.uniform(-10, 60, count))
        body[:, JOINT_INDEX[f"{side}_elbow"] - 1, 1] -= sign * np.radians(rng.uniform(0, 110, count))
        body[:, JOINT_INDEX[f"{side}_knee"] - 1, 0] += np.radians(rng.uniform(0, 60, count))
        body[:, JOINT_INDEX[f"{side}_hip"] - 1, 0] -= np.radians(rng.uniform(0, 50, count))
    hands = {}
    for side, sign in (("left", 1.0), ("right", -1.0)):
        hand = rng.normal(0, 0.05, (count, 15, 3))
        hand[:, :12, 2] -= sign * np.radians(rng.uniform(0, 60, (count, 1)))
        hands[f"{side}_hand_pose"] = torch.as_tensor(hand, dtype=torch.float32)
    zero = torch.zeros(count, 3)
    still = dict.fromkeys(("global_orient", "transl", "jaw_pose", "leye_pose", "reye_pose"), zero)
    return {"body_pose": torch.as_tensor(body, dtype=torch.float32), **hands, **still}


def posed_samples(body: BodyModel, count: int = 24, seed: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (count, V, 3) and joints (count, 55, 3) of random people in random poses."""
    generator = torch.Generator().manual_seed(seed)
    betas = 0.8 * torch.randn(count, body.n_betas, generator=generator)
    betas[0] = 0
    with torch.no_grad():
        out = body(betas, torch.zeros(count, body.n_expression), **random_poses(count, seed))
    return out.vertices.numpy(), out.joints.numpy()


def compact(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Dense rows (L, V) of few non-zeros as ``vertex_ids`` and ``weights`` (L, K), padded with zero weights."""
    k = max(3, int((rows != 0).sum(1).max()))
    ids = np.argsort(-np.abs(rows), axis=1, kind="stable")[:, :k]
    weights = np.take_along_axis(rows, ids, 1)
    return np.where(weights != 0, ids, ids[:, :1]).astype(np.int64), weights.astype(np.float32)


def joint_rows(body: BodyModel, vertices: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """Convex rows (55, V) that follow each joint through poses, each of a dozen vertices (deep ones more)."""
    outer = np.ones(body.n_vertices, bool)
    if "inner" in body.regions:
        outer &= ~body.regions["inner"].numpy()
    tight = fit_joint_regressor(vertices, joints, outer, RING, 4 * RING)
    wide = fit_joint_regressor(vertices, joints, outer, 4 * RING, 40 * RING)
    return better_rows(tight, wide, vertices, joints)


def better_rows(tight: np.ndarray, wide: np.ndarray, vertices: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Per point the row of ``wide`` (P, V) where it is clearly closer to ``wanted`` (N, P, 3) than ``tight``."""
    moved = [np.einsum("jv,nvc->njc", rows, vertices, optimize=True) for rows in (tight, wide)]
    errors = [np.linalg.norm(points - wanted, axis=-1).mean(0) for points in moved]
    return np.where((errors[1] < 0.7 * errors[0])[:, None], wide, tight)


def fingertip_row(body: BodyModel, side: str, finger: str) -> np.ndarray:
    """Row (V,) of a point inside the last third of a finger's end, where detectors put a tip."""
    v, J = body.v_template.numpy(), (body.J_regressor @ body.v_template).numpy()
    j = JOINT_INDEX[f"{side}_{finger}3"]
    own = np.flatnonzero(body.lbs_weights[:, j].numpy() > 0.5)
    along = J[j] - J[j - 1]
    reach = (v[own] - J[j]) @ (along / np.linalg.norm(along))
    row = np.zeros(body.n_vertices, np.float32)
    end = own[reach > 0.72 * reach.max()]
    chosen = end[np.linspace(0, len(end) - 1, min(RING, len(end))).astype(int)]
    row[chosen] = 1.0 / len(chosen)
    return row


def hand_landmarks(body: BodyModel, rows: np.ndarray, side: str) -> Landmarks:
    """MediaPipe's 21 hand points of one side from joint rows (55, V)."""
    out = [rows[JOINT_INDEX[f"{side}_wrist"]]]
    for finger in ("thumb", "index", "middle", "ring", "pinky"):
        out += [rows[JOINT_INDEX[f"{side}_{finger}{k}"]] for k in (1, 2, 3)]
        out.append(fingertip_row(body, side, finger))
    return Landmarks(HAND_NAMES, *compact(np.stack(out)))


def _extreme(v: np.ndarray, among: np.ndarray, direction: tuple[float, float, float]) -> np.ndarray:
    row = np.zeros(len(v), np.float32)
    ids = np.flatnonzero(among)
    row[ids[np.argsort(-(v[ids] @ np.array(direction)))[:3]]] = 1 / 3
    return row


def pose_rows(body: BodyModel, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Rows (V,) of MediaPipe Pose points that are joints, knuckles, ears, heels or toes."""
    v, weights = body.v_template.numpy(), body.lbs_weights.numpy()
    out = {n: rows[JOINT_INDEX[n]] for n in POSE_NAMES if n in JOINT_INDEX}
    for side, sign in (("left", 1.0), ("right", -1.0)):
        for finger, joint in (("pinky", "pinky1"), ("index", "index1"), ("thumb", "thumb2")):
            out[f"{side}_{finger}"] = rows[JOINT_INDEX[f"{side}_{joint}"]]
        foot = weights[:, [JOINT_INDEX[f"{side}_ankle"], JOINT_INDEX[f"{side}_foot"]]].sum(1) > 0.5
        out[f"{side}_heel"] = _extreme(v, foot, (0.0, -0.3, -1.0))
        out[f"{side}_foot_index"] = _extreme(v, foot, (-0.2 * sign, 0.0, 1.0))
        out[f"{side}_small_toe"] = _extreme(v, foot, (sign, 0.0, 0.45))
        if "ears" in body.regions:
            ear = body.regions["ears"].numpy() & (sign * v[:, 0] > 0)
            out[f"{side}_ear"] = _extreme(v, ear, (0.0, 0.0, 1.0))
    return out
