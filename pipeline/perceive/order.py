"""Depth order: a hand that is seen lies in front of the body, never inside of it.

Keypoints say nothing about depth, so a registered forearm easily sinks into the belly, and then the picture of the arm
is painted on the torso. The front of the body without its arms is drawn as a small depth map; visible hands and
forearms are pushed before it.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pipeline.body import BodyModel
from pipeline.perceive import targets as T
from pipeline.perceive.targets import Targets
from pipeline.render import rasterize_mesh
from pipeline.types import Array, Camera

SCALE = 8
"""The depth maps are this many times smaller than the picture."""
FAR = 20.0
FOREARM_MARGIN, HAND_MARGIN = 0.075, 0.04
"""Metres between the skin of the body and the middle of a forearm or hand in front of it; leaves room for cloth."""
TOLERANCE = 0.02


def armless_faces(body: BodyModel) -> Tensor:
    """Triangles that belong to neither arm nor hand, (F', 3)."""
    arms = np.zeros(len(body.v_template), bool)
    for name in ("left_arm", "right_arm", "left_hand", "right_hand"):
        arms |= np.asarray(body.regions[name])
    faces = np.asarray(body.faces)
    return torch.from_numpy(np.ascontiguousarray(faces[~arms[faces].any(1)]))


def front_depth(vertices: Array, faces: Tensor, camera: Camera) -> Tensor:
    """Camera depth of the nearest surface, (F, h, w) metres, :data:`FAR` where there is none; vertices (F, V, 3)."""
    small = camera.resized(max(camera.width // SCALE, 1), max(camera.height // SCALE, 1))
    maps = []
    for frame in vertices:
        fragments = rasterize_mesh(torch.from_numpy(frame), faces, small)
        maps.append(np.where(np.asarray(fragments.face) >= 0, np.asarray(fragments.depth), FAR))
    return torch.from_numpy(np.stack(maps).astype(np.float32))


def sunken(points: Tensor, pixels: Tensor, depth: Tensor, fronts: Tensor, targets: Targets) -> Tensor:
    """How far visible hands and forearms are inside the body: mean squared depth, in units of the tolerance, summed.

    Args:
        points: (F, N_POINTS, 3) landmarks; pixels: their projection (F, N_POINTS, 2); depth: their camera depth.
        fronts: (F, h, w) from :func:`front_depth`.
    """
    total = torch.zeros(())
    sides = ((T.LEFT_HAND, 13, 15, targets.has_left_hand), (T.RIGHT_HAND, 14, 16, targets.has_right_hand))
    for hand, elbow, wrist, seen in sides:
        if not bool(seen.any()):
            continue
        e, w = T.POSE.start + elbow, T.POSE.start + wrist
        shares = torch.tensor([0.35, 0.6, 0.85, 1.0])[:, None]
        arm_xy = pixels[:, e, None] * (1 - shares) + pixels[:, w, None] * shares
        arm_z = depth[:, e, None] * (1 - shares[:, 0]) + depth[:, w, None] * shares[:, 0]
        xy = torch.cat([arm_xy, pixels[:, hand]], 1)
        z = torch.cat([arm_z + FOREARM_MARGIN, depth[:, hand] + HAND_MARGIN], 1)
        front = _sample(fronts, xy, targets)
        inside = ((z - front).clamp(min=0, max=0.3) / TOLERANCE) ** 2
        total = total + (inside.mean(1) * seen).sum()
    return total


def _sample(maps: Tensor, pixels: Tensor, targets: Targets) -> Tensor:
    grid = (pixels / torch.tensor([targets.width, targets.height]) * 2 - 1).detach()
    sampled = torch.nn.functional.grid_sample(maps[:, None], grid[:, None], mode="nearest", align_corners=False)
    outside = (grid.abs() > 1).any(-1)
    return torch.where(outside, torch.full_like(sampled[:, 0, 0], FAR), sampled[:, 0, 0])
