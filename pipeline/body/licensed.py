"""A licensed ``SMPLX_*.npz`` as a :class:`BodyModel`, without ever loading a pickle.

The official file carries a few pickled dictionaries beside its arrays, and the ``smplx`` package opens files with
pickles allowed. So the numeric arrays that are needed are copied once into a clean file in the user's cache, keyed
by the content, and ``smplx`` opens that one.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from pathlib import Path

import numpy as np
import torch

from pipeline.body import regions
from pipeline.body.cache import cache_dir, only_one, write_atomically
from pipeline.body.model import BodyModel, load_open_body, unpack_landmarks
from pipeline.body.names import ARKIT_INDEX, ARKIT_NAMES, JOINT_INDEX
from pipeline.types import PipelineError

Array = np.ndarray
N_BETAS = N_EXPRESSION = 100
_NEEDED = (
    "v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "f", "vt", "ft", "lmk_faces_idx",
    "lmk_bary_coords", "hands_componentsl", "hands_componentsr", "hands_meanl", "hands_meanr",
)  # fmt: skip
_OPTIONAL = ("dynamic_lmk_faces_idx", "dynamic_lmk_bary_coords")
_RIDGE = 1e-3


def clean_copy(path: Path) -> Path:
    """Copy the needed arrays of a licensed file into the cache (once per content).

    Raises:
        PipelineError: the file is missing, is no ``.npz``, lacks an array or stores a needed one as a pickle.
    """
    if not path.is_file():
        raise PipelineError(
            f"There is no SMPL-X model at {path}; correct SMPLX_MODEL or unset it to use the open body."
        )
    if path.suffix != ".npz":
        raise PipelineError(f"{path.name} is not an .npz; give the SMPLX_NEUTRAL.npz of the SMPL-X download (no .pkl).")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    target = cache_dir() / f"smplx_{digest}.npz"
    if not target.exists():
        arrays = _read_numeric(path)
        write_atomically(target, lambda temporary: np.savez(temporary, **arrays))
    return target


def _read_numeric(path: Path) -> dict[str, Array]:
    try:
        file = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise PipelineError(f"{path.name} cannot be read as an .npz; download it again.") from error
    arrays = {}
    with file:
        for key in (*_NEEDED, *_OPTIONAL):
            if key not in file.files:
                if key in _OPTIONAL:
                    continue
                raise PipelineError(f"{path.name} has no array '{key}', so it is not an SMPL-X model (v1.1) as .npz.")
            try:
                arrays[key] = file[key]
            except ValueError as error:
                raise PipelineError(f"{path.name} stores '{key}' as a pickle, which is never loaded.") from error
    _check_shapes(path.name, arrays)
    return arrays


def _check_shapes(name: str, arrays: dict[str, Array]) -> None:
    count = len(arrays["v_template"])
    wanted = {
        "v_template": (count, 3),
        "weights": (count, 55),
        "J_regressor": (55, count),
        "kintree_table": (2, 55),
        "posedirs": (count, 3, 486),
    }
    for key, shape in wanted.items():
        if arrays[key].shape != shape:
            raise PipelineError(
                f"{name}: '{key}' has shape {arrays[key].shape}, SMPL-X has {shape}; is it SMPL or SMPL-H?"
            )
    if arrays["shapedirs"].shape[:2] != (count, 3) or arrays["shapedirs"].shape[-1] < 20:
        raise PipelineError(f"{name}: 'shapedirs' has shape {arrays['shapedirs'].shape}; SMPL-X has (V, 3, 20 or 400).")


def load_licensed(path: Path) -> BodyModel:
    """Load a licensed SMPL-X file; regions and landmarks are worked out on first use and cached.

    Raises:
        PipelineError: see :func:`clean_copy`.
    """
    clean = clean_copy(path)
    body = _wrap_smplx(clean)
    body.regions = {k: torch.as_tensor(v) for k, v in _guess_regions(body).items()}
    body.landmarks = unpack_landmarks(_measured_landmarks(body, clean))
    points = body.landmark_points("mediapipe_face", body.v_template[None])[0].numpy()
    head, inner, ears = (body.regions[name].numpy() for name in ("head", "inner", "ears"))
    parts = regions.head_parts(body.v_template.numpy(), points, head, inner, ears)
    body.regions |= {k: torch.as_tensor(v) for k, v in parts.items()}
    body.regions["neck"] = body.regions["neck"] | body.regions["under_chin"]
    from pipeline.body.build import open_body_path

    body.arkit_map = fit_arkit_map(body, load_open_body(open_body_path()))
    return body


def _wrap_smplx(clean: Path) -> BodyModel:
    """A BodyModel with the buffers of ``smplx.SMPLX`` (full hand poses, flat mean)."""
    import smplx

    with contextlib.redirect_stdout(io.StringIO()):
        model = smplx.SMPLX(
            str(clean),
            ext="npz",
            use_pca=False,
            flat_hand_mean=True,
            num_betas=N_BETAS,
            num_expression_coeffs=N_EXPRESSION,
        )
    with np.load(clean, allow_pickle=False) as file:
        vt, ft = file["vt"], file["ft"]
    posedirs = model.posedirs.numpy()
    arrays = {
        "faces": model.faces_tensor.numpy(),
        "ft": ft,
        "vt": vt,
        "v_template": model.v_template.numpy(),
        "shapedirs": model.shapedirs.numpy(),
        "expr_dirs": model.expr_dirs.numpy(),
        "J_regressor": model.J_regressor.numpy(),
        "lbs_weights": model.lbs_weights.numpy(),
    }
    if np.abs(posedirs).max() > 0:
        arrays["posedirs"] = posedirs
    body = BodyModel(arrays, "full", f"SMPL-X ({clean.stem})")
    body.meta = {"licence": "SMPL-X model licence (non-commercial research)", "clean_copy": str(clean)}
    return body


def _guess_regions(body: BodyModel) -> regions.Masks:
    """Regions from skinning weights and geometry; the parts that SMPL-X lacks (teeth, tongue) are empty."""
    weights, v = body.lbs_weights.numpy(), body.v_template.numpy()
    masks = regions.limb_regions(weights)
    for side in ("left", "right"):
        masks[f"{side}_eyeball"] = weights[:, JOINT_INDEX[f"{side}_eye_smplhf"]] > 0.5
    masks["eyeballs"] = masks["left_eyeball"] | masks["right_eyeball"]
    none = np.zeros(len(v), bool)
    for part in ("teeth", "upper_teeth", "lower_teeth", "tongue", "mouth_cavity", "eye_cavity"):
        masks[part] = none
    masks["inner"] = masks["eyeballs"]
    skin = masks["head"] & ~masks["eyeballs"]
    head = v[skin]
    wide = np.abs(v[:, 0]) > np.quantile(np.abs(head[:, 0]), 0.9)
    eye_height = v[masks["eyeballs"]].mean(0)[1] if masks["eyeballs"].any() else head[:, 1].mean()
    masks["ears"] = skin & wide & (np.abs(v[:, 1] - eye_height + 0.02) < 0.045)
    return masks


def _measured_landmarks(body: BodyModel, clean: Path) -> dict[str, Array]:
    """Landmarks measured on pictures of this body, cached beside the clean copy (a minute or two, once)."""
    target = clean.with_name(f"{clean.stem}_landmarks.npz")
    if not target.exists():
        from pipeline.body.calibrate import calibrate

        with only_one(target):
            if not target.exists():
                arrays, _ = calibrate(body)
                write_atomically(target, lambda temporary: np.savez_compressed(temporary, **arrays))
    with np.load(target, allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def _face_points(body: BodyModel, expression: Array, jaw: Array) -> Array:
    """Face points (N, 468, 3) for expressions (N, E) and jaw poses (N, 3), head upright."""
    ids, local = body.subset("mediapipe_face")
    count = len(expression)
    zero = torch.zeros(count, 3)
    with torch.no_grad():
        out = body(
            torch.zeros(1, body.n_betas),
            torch.as_tensor(expression, dtype=torch.float32),
            global_orient=zero,
            body_pose=torch.zeros(count, 21, 3),
            left_hand_pose=torch.zeros(count, 15, 3),
            right_hand_pose=torch.zeros(count, 15, 3),
            jaw_pose=torch.as_tensor(jaw, dtype=torch.float32),
            leye_pose=zero,
            reye_pose=zero,
            transl=zero,
            vertex_ids=ids,
        )
    return local["mediapipe_face"].points(out.vertices).numpy()[:, :468]


def fit_arkit_map(body: BodyModel, source: BodyModel) -> dict[str, Array]:
    """Linear map from ARKit actions to the parameters of ``body``, by least squares on the face points.

    For each action the displacement of the 468 face points of ``source`` (the open body, whose expression basis *is*
    ARKit) is matched by ``body``'s expression and jaw, scaled by the size of the face; a ridge keeps coefficients
    small. Eye rotations are taken over.

    Returns:
        ``expression`` (52, n_expression), ``jaw``, ``leye``, ``reye`` (52, 3).
    """
    actions = np.eye(len(ARKIT_NAMES), dtype=np.float32)
    close, opened = ARKIT_INDEX["mouthClose"], ARKIT_INDEX["jawOpen"]
    actions[close, opened] = 1.0  # mouthClose means nothing without an open jaw
    driven = source.arkit_to_params(actions)
    rest = _face_points(source, np.zeros((1, source.n_expression)), np.zeros((1, 3)))
    wanted = _face_points(source, driven["expression"], driven["jaw_pose"]) - rest
    wanted[close] -= wanted[opened]
    own = _face_points(body, np.zeros((1, body.n_expression)), np.zeros((1, 3)))
    wanted *= np.ptp(own[0], axis=0).mean() / np.ptp(rest[0], axis=0).mean()

    count, step = body.n_expression, 0.15
    basis = _face_points(body, np.eye(count), np.zeros((count, 3))) - own
    turn = _face_points(body, np.zeros((3, count)), step * np.eye(3)) - own
    columns = np.concatenate([basis, turn / step]).reshape(count + 3, -1).astype(np.float64)
    gram = columns @ columns.T
    ridge = _RIDGE * np.trace(gram[:count, :count]) / count * np.ones(count + 3)
    ridge[count:] *= 0.1
    gram += np.diag(ridge)
    right = columns @ wanted.reshape(len(actions), -1).T.astype(np.float64)
    moves_jaw = np.array([name.startswith("jaw") for name in ARKIT_NAMES])
    solved = np.zeros((len(actions), count + 3))
    solved[moves_jaw] = np.linalg.solve(gram, right[:, moves_jaw]).T
    solved[~moves_jaw, :count] = np.linalg.solve(gram[:count, :count], right[:count, ~moves_jaw]).T
    return {
        "expression": solved[:, :count].astype(np.float32),
        "jaw": solved[:, count:].astype(np.float32),
        "leye": driven["leye_pose"],
        "reye": driven["reye_pose"],
    }
