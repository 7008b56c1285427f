"""A body small enough for unit tests (torso, head, two arm balls) with the interface of BodyModel."""

from __future__ import annotations

import numpy as np
import torch

from pipeline.types import BodyParams, Camera, Detections, FitReport, Observation

N_JOINTS = 55


def _ball(center: tuple[float, ...], radii: tuple[float, ...], n: int) -> tuple[np.ndarray, np.ndarray]:
    """A closed latitude-longitude mesh."""
    u = np.linspace(0, np.pi, n)[1:-1]
    v = np.linspace(0, 2 * np.pi, 2 * n, endpoint=False)
    uu, vv = np.meshgrid(u, v, indexing="ij")
    rings = np.stack([np.sin(uu) * np.sin(vv), np.cos(uu), np.sin(uu) * np.cos(vv)], -1).reshape(-1, 3)
    points = np.concatenate([rings, [[0, 1, 0], [0, -1, 0]]])
    faces, w = [], len(v)
    for i in range(len(u) - 1):
        for j in range(w):
            a, b = i * w + j, i * w + (j + 1) % w
            faces += [[a, a + w, b], [b, a + w, b + w]]
    top, bottom = len(rings), len(rings) + 1
    for j in range(w):
        faces += [[top, j, (j + 1) % w]]
        last = (len(u) - 1) * w
        faces += [[bottom, last + (j + 1) % w, last + j]]
    return points * np.array(radii) + np.array(center), np.array(faces, np.int64)


class ToyBody:
    """Four balls moved rigidly by joints 0 (pelvis), 15 (head), 18 and 19 (elbows); one shape, one expression axis."""

    tier, name, expression_space, n_betas, n_expression = "embedded", "toy", "arkit", 1, 52
    posedirs = None

    def __init__(self, n: int = 16):
        pieces = [
            (0, _ball((0, 0, 0), (0.20, 0.30, 0.12), n)),
            (15, _ball((0, 0.42, 0), (0.10, 0.13, 0.10), n)),
            (18, _ball((0.38, 0.1, 0), (0.22, 0.05, 0.05), n)),
            (19, _ball((-0.38, 0.1, 0), (0.22, 0.05, 0.05), n)),
        ]
        vertices, faces, weights, start = [], [], [], 0
        for joint, (points, triangles) in pieces:
            vertices.append(points)
            faces.append(triangles + start)
            weights.append(np.eye(N_JOINTS)[[joint]].repeat(len(points), 0))
            start += len(points)
        self.v_template = torch.tensor(np.concatenate(vertices), dtype=torch.float32)
        self.faces = torch.tensor(np.concatenate(faces))
        self.lbs_weights = torch.tensor(np.concatenate(weights), dtype=torch.float32)
        spans = np.cumsum([0, *[len(v) for v in vertices]])
        names = ("torso", "head", "left_arm", "right_arm")
        self.regions = {}
        for i, name in enumerate(names):
            mask = torch.zeros(start, dtype=torch.bool)
            mask[spans[i] : spans[i + 1]] = True
            self.regions[name] = mask
        xy = (self.v_template[:, :2].numpy() + 0.7) / 1.4
        self.vt, self.ft = torch.tensor(xy, dtype=torch.float32), self.faces
        self.landmarks = {}
        self.J = torch.zeros(N_JOINTS, 3)
        self.J[15] = torch.tensor([0, 0.3, 0.0])
        self.J[18], self.J[19] = torch.tensor([0.18, 0.1, 0]), torch.tensor([-0.18, 0.1, 0])
        self.expr_dirs = torch.zeros(start, 3, 52)
        self.expr_dirs[spans[1] : spans[2], 2, 25] = 0.01

    def shaped(self, betas, expression):
        """See BodyModel.shaped; the shape axis widens everything."""
        v = self.v_template[None] * (1 + 0.1 * betas[:, :1, None])
        v = v + torch.einsum("vce,be->bvc", self.expr_dirs, expression)
        return v, self.J[None].expand(len(betas), -1, -1)

    def arkit_to_params(self, arkit):
        """See BodyModel.arkit_to_params."""
        zero = np.zeros((len(arkit), 3), np.float32)
        return {"expression": np.asarray(arkit, np.float32), "jaw_pose": zero, "leye_pose": zero, "reye_pose": zero}

    def transforms(self, full_pose, J):
        """See BodyModel.transforms: every joint hangs on the root."""
        from pipeline.avatar.model import axis_angle_matrix

        R = axis_angle_matrix(full_pose)
        R = torch.cat([R[:, :1], R[:, :1] @ R[:, 1:]], 1)
        root = (R[:, :1] @ J[..., None])[..., 0]
        t = root - (R @ J[..., None])[..., 0]
        A = torch.zeros(*R.shape[:2], 4, 4)
        A[..., :3, :3], A[..., :3, 3], A[..., 3, 3] = R, t, 1
        return A, root


def toy_params() -> BodyParams:
    """A slightly turned toy."""
    params = BodyParams.zeros(1, 52)
    pose = params.body_pose.copy()
    pose[17] = [0, -0.6, -0.5]
    return params.replace(global_orient=np.array([0, 0.15, 0], np.float32), body_pose=pose)


def texture(points: np.ndarray) -> np.ndarray:
    """A smooth procedural colour of canonical points (N, 3)."""
    phase = points @ np.array([[23.0, 9, 3], [5, 31, 7], [11, 3, 19]])
    return (0.5 + 0.35 * np.sin(phase)).astype(np.float32)


def toy_observation(body: ToyBody, puff: float = 0.02, width: int = 144, height: int = 256) -> Observation:
    """A picture of the toy, inflated by ``puff`` metres as if dressed, drawn by the mesh rasteriser."""
    from pipeline.avatar import geometry as geo
    from pipeline.avatar import model

    params = toy_params()
    canonical, joints = model.canonical_mesh(body, params)
    A = model.skinning_transforms(body, params, joints)
    normals = torch.tensor(geo.vertex_normals(canonical.numpy(), body.faces.numpy()))
    dressed = model.skin_dense(canonical + puff * normals, A, body.lbs_weights).numpy()
    camera = Camera.frontal(width, height, focal=float(height), distance=1.5)
    hits = geo.cast(dressed, body.faces.numpy(), camera)
    corners = body.faces.numpy()[np.maximum(hits.face, 0)]
    points = (canonical.numpy()[corners] * hits.bary[..., None]).sum(2)
    on = hits.face >= 0
    image = np.where(on[..., None], texture(points.reshape(-1, 3)).reshape(*on.shape, 3), 0.9).astype(np.float32)
    nothing = np.zeros((33, 3), np.float32)
    detections = Detections(np.zeros((133, 3), np.float32), nothing, nothing, None, None, None)
    report = FitReport(True, "a toy", (), {}, ())
    return Observation(
        image=image, alpha=on.astype(np.float32), camera=camera, params=params, arkit=np.zeros(52, np.float32),
        detections=detections, report=report, source_hash="0" * 64,
    )  # fmt: skip
