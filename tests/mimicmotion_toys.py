"""A tiny Stable Video Diffusion folder with a MimicMotion checkpoint, and a photo that needs no detector."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from mimicmotion_golden import tiny_parts

from pipeline.types import BodyParams, Camera, Detections, FitReport, Observation


def write_tiny_weights(folder: Path) -> tuple[Path, Path]:
    """The tiny networks as files: (Stable Video Diffusion's layout, MimicMotion.pth)."""
    parts, base = tiny_parts(), folder / "svd"
    for name in ("vae", "image_encoder", "scheduler"):
        parts[name].save_pretrained(base / name)
    parts["unet"].save_config(base / "unet")
    state = {f"{p}.{k}": v for p in ("unet", "pose_net") for k, v in parts[p].state_dict().items()}
    torch.save(state, folder / "MimicMotion.pth")
    return base, folder / "MimicMotion.pth"


def mesh_observation(body, width: int = 64, height: int = 128) -> Observation:
    """The bare body, shaded, as if it were the person in a photo."""
    from pipeline.labels.mimicmotion.driving import keypoints
    from pipeline.perceive.photo import posed_vertices
    from pipeline.render import rasterize_mesh, shaded

    rest = BodyParams.zeros(body.n_betas, body.n_expression)
    pose = rest.body_pose.copy()
    pose[15, 2], pose[16, 2] = -1.0, 1.0
    params = rest.replace(body_pose=pose, transl=np.array([0, 0.35, -3.0], np.float32))
    camera = Camera.frontal(width, height, 1.5 * height)
    vertices = torch.as_tensor(posed_vertices(body, params))
    alpha = np.isfinite(np.asarray(rasterize_mesh(vertices, body.faces, camera).depth)).astype(np.float32)
    image = np.asarray(shaded(vertices, body.faces, camera), np.float32) * alpha[..., None]
    people = keypoints([params], body, camera)
    found = np.concatenate([people.points[0], people.scores[0][:, None]], axis=1).astype(np.float32)
    blank = np.zeros((33, 3), np.float32)
    detections = Detections(found, blank, blank, None, None, None)
    report = FitReport(True, "A toy.", (), {}, ())
    return Observation(image, alpha, camera, params, np.zeros(52, np.float32), detections, report, "0" * 64)
