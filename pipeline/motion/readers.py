"""Readers of motion files made elsewhere: AMASS (SMPL-X, SMPL-H), BEAT2 / EMAGE, SHOW / TalkSHOW.

Each maps its fields onto :class:`MotionClip`: y up, the person facing +z at the start, axis-angle radians, metres.
Body shape and gender are dropped, and what was guessed is said in ``meta["notes"]``. Nothing is ever unpickled: arrays
that are not needed are not even decoded.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..types import Array, MotionClip, PipelineError
from .authoring.hands import hand_pose
from .clips import (
    MAX_ANGLE,
    MAX_FPS,
    MAX_FRAMES,
    N_ARKIT,
    check_fps,
    check_radians,
    clip_from_members,
    is_clip,
    numeric,
    open_npz,
    validate,
)
from .edit import resample
from .pickles import open_pickle
from .rotations import aa_to_matrix, axis_rotation, heading, matrix_to_aa, mean_rotation
from .skeleton import FINGERS

MAX_RAW_FRAMES = 160_000
"""Frames read before resampling: ten minutes and more of 240 frames per second."""
LONG_CLIP_FPS = 30.0
MAX_RAW_FPS = 2000.0
"""Fastest recording that is read; what is faster than a clip may be is resampled."""
MAX_NPY_BYTES = 256 * 2**20

Members = dict[str, Callable[[], Array]]

SPLIT_FIELDS = {
    "root_orient": "global_orient",
    "pose_body": "body_pose",
    "pose_jaw": "jaw_pose",
    "pose_eye": "eyes",
    "pose_hand": "hands",
}
UP_TO_Y = {
    (1, 1): ("x", 0.0), (1, -1): ("x", np.pi), (2, 1): ("x", -np.pi / 2),
    (2, -1): ("x", np.pi / 2), (0, 1): ("z", np.pi / 2), (0, -1): ("z", -np.pi / 2),
}  # fmt: skip
"""Turn that brings a signed axis to +y."""


@dataclass
class _Raw:
    """A motion as its file has it, before axes and hands are set right."""

    family: str
    fps: float
    up: tuple[int, int]
    fields: dict[str, Array]
    notes: list[str] = field(default_factory=list)
    expression: Array | None = None
    expression_space: str | None = None


def read_motion(path: str | Path) -> MotionClip:
    """Read a motion file of any known family.

    Args:
        path: ``.npz`` of this project, AMASS, BEAT2 or SHOW; ``.npy`` of TalkSHOW; ``.pkl`` of SHOW, whose arrays are
            read without unpickling.

    Returns:
        The checked clip, float32.

    Raises:
        PipelineError: one sentence on what is wrong.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in (".pkl", ".pickle"):
        return _finish(_recognise(open_pickle(path), path.name), path)
    if suffix == ".npy":
        return _finish(_talkshow_output(path), path)
    members = open_npz(path)
    if is_clip(members):
        return clip_from_members(members, path.name)
    return _finish(_recognise(members, path.name), path)


def _recognise(members: Members, where: str) -> _Raw:
    names = set(members)
    if "body_pose_axis" in names or {"global_orient", "camera_transl"} <= names:
        return _show(members, where)
    if "poses" in names or {"root_orient", "pose_body"} <= names:
        return _amass(members, where)
    if {"body", "hands", "face68"} <= names:
        raise PipelineError(
            f"{where} holds 2D keypoints, which do not move a body: give a 3D motion or the video itself."
        )
    raise PipelineError(
        f"{where} has none of the known motion layouts (this project, AMASS, BEAT2, TalkSHOW): convert it to one."
    )


def _amass(members: Members, where: str) -> _Raw:
    """AMASS and BEAT2 / EMAGE, which share their layout."""
    beat = "expressions" in members
    fields = _from_poses(members, where) if "poses" in members else _from_split(members, where)
    if "trans" in members:
        fields["transl"] = _rows(members["trans"](), "trans", 3, where)
    raw = _Raw("BEAT2" if beat else "AMASS", _rate(members, where), (1, 1) if beat else (2, 1), fields)
    if beat:
        raw.expression, raw.expression_space = _rows(members["expressions"](), "expressions", None, where), "flame"
    raw.notes.append("body shape and gender of the file are not used")
    return raw


def _from_poses(members: Members, where: str) -> dict[str, Array]:
    poses = numeric(members["poses"](), "poses", where)
    poses = _flat(poses) if poses.ndim in (2, 3) else poses
    if poses.ndim != 2 or poses.shape[1] not in (165, 156, 72, 66):
        raise PipelineError(
            f"The array poses of {where} has shape {poses.shape} and should have 165 (SMPL-X) or 156 (SMPL-H) columns."
        )
    fields = {"global_orient": poses[:, :3], "body_pose": poses[:, 3:66]}
    if poses.shape[1] == 165:
        fields |= {"jaw_pose": poses[:, 66:69], "eyes": poses[:, 69:75], "hands": poses[:, 75:]}
    elif poses.shape[1] == 156:
        fields["hands"] = poses[:, 66:]
    return fields


def _from_split(members: Members, where: str) -> dict[str, Array]:
    widths = {"global_orient": 3, "body_pose": 63, "jaw_pose": 3, "eyes": 6, "hands": 90}
    return {
        ours: _rows(members[theirs](), theirs, widths[ours], where)
        for theirs, ours in SPLIT_FIELDS.items()
        if theirs in members
    }


def _rate(members: Members, where: str) -> float:
    for name in ("mocap_frame_rate", "mocap_framerate", "fps"):
        if name in members:
            rate = check_fps(members[name](), where, MAX_RAW_FPS)
            return float(round(rate)) if abs(rate - round(rate)) < 0.01 else rate
    raise PipelineError(f"{where} does not say its frame rate: add mocap_frame_rate to the file.")


def _rows(array: Array, name: str, width: int | None, where: str) -> Array:
    """``array`` as finite (F, width), inner axes of size one or joints by three flattened."""
    array = numeric(array, name, where)
    flat = _flat(array) if array.ndim >= 2 else array
    if flat.ndim != 2 or (width is not None and flat.shape[1] != width) or not flat.shape[1]:
        wanted = "(frames, numbers)" if width is None else f"(frames, {width})"
        raise PipelineError(f"The array {name} of {where} has shape {array.shape} and should have {wanted}.")
    return flat


def _flat(array: Array) -> Array:
    """(F, ...) to (F, n)."""
    return array.reshape(len(array), math.prod(array.shape[1:]))


def _show(members: Members, where: str) -> _Raw:
    """SHOW / TalkSHOW fits: hands as coefficients of the SMPL-X hand basis."""
    missing = [k for k in ("global_orient", "body_pose_axis") if k not in members]
    if missing:
        raise PipelineError(f"{where} lacks the arrays {', '.join(missing)}: export the motion again.")
    fields = {
        "global_orient": _rows(members["global_orient"](), "global_orient", 3, where),
        "body_pose": _rows(members["body_pose_axis"](), "body_pose_axis", 63, where),
    }
    for name in ("transl", "jaw_pose", "leye_pose", "reye_pose"):
        if name in members:
            fields[name] = _rows(members[name](), name, 3, where)
    raw = _Raw("TalkSHOW", 30.0 if "fps" not in members else _rate(members, where), (1, -1), fields)
    if {"left_hand_pose", "right_hand_pose"} <= set(members):
        hands = [_rows(members[f"{s}_hand_pose"](), f"{s}_hand_pose", None, where) for s in ("left", "right")]
        fields["hands"] = _show_hands(hands, raw, where)
    if "expression" in members:
        raw.expression, raw.expression_space = _rows(members["expression"](), "expression", None, where), "smplx"
    return raw


def _show_hands(hands: list[Array], raw: _Raw, where: str) -> Array:
    """Both hands (F, 90) from PCA coefficients (needs the licensed model's basis) or plain rotations."""
    width = hands[0].shape[1]
    if hands[1].shape[1] != width or not (width == 45 or 1 <= width < 45):
        raise PipelineError(f"The hands of {where} have {width} columns and should have 45, or up to 44 coefficients.")
    if width == 45:
        return np.concatenate(hands, axis=1)
    basis = hand_basis()
    if basis is None:
        raw.notes.append("hand coefficients need the licensed SMPL-X file (SMPLX_MODEL): relaxed hands are used")
        return np.zeros((len(hands[0]), 90))
    parts = [mean + h @ components[:width] for h, (mean, components) in zip(hands, basis, strict=True)]
    return np.concatenate(parts, axis=1)


def hand_basis(path: str | Path | None = None) -> list[tuple[Array, Array]] | None:
    """Mean (45,) and components (45, 45) of both hands from a licensed SMPL-X ``.npz``.

    Args:
        path: the model file; None takes the environment's ``SMPLX_MODEL``.

    Returns:
        Left and right, or None without such a file or when the file has no hand basis.
    """
    path = path or os.environ.get("SMPLX_MODEL")
    if not path or not Path(path).is_file() or Path(path).suffix.lower() != ".npz":
        return None
    members = open_npz(path)
    names = [(f"hands_mean{s}", f"hands_components{s}") for s in "lr"]
    if not all(n in members for pair in names for n in pair):
        return None
    where = Path(path).name
    basis = [tuple(numeric(members[n](), n, where) for n in pair) for pair in names]
    good = all(m.shape == (45,) and c.shape == (45, 45) for m, c in basis)
    return [(m, c) for m, c in basis] if good else None


def _talkshow_output(path: Path) -> _Raw:
    """TalkSHOW's generated motion: one array (F, 265) = jaw, eyes, root, body, hands, expression."""
    if not path.is_file():
        raise PipelineError(f"The motion file {path.name} does not exist: check the path.")
    if path.stat().st_size > MAX_NPY_BYTES:
        raise PipelineError(f"The motion file {path.name} is larger than 256 MB: cut it into shorter clips.")
    try:
        array = np.load(path, allow_pickle=False, mmap_mode="r")
    except (ValueError, OSError, EOFError, SyntaxError) as error:
        raise PipelineError(
            f"{path.name} is not a plain number array: save the motion as .npz or .npy arrays."
        ) from error
    if isinstance(array, np.ndarray) and array.ndim == 3 and len(array) == 1:
        array = array[0]
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.shape[1] != 265:
        raise PipelineError(f"{path.name} should have shape (frames, 265) as TalkSHOW writes it: use .npz otherwise.")
    values = numeric(np.array(array), "motion", path.name)
    fields = {
        "jaw_pose": values[:, :3],
        "leye_pose": values[:, 3:6],
        "reye_pose": values[:, 6:9],
        "global_orient": values[:, 9:12],
        "body_pose": values[:, 12:75],
        "hands": values[:, 75:165],
    }
    return _Raw("TalkSHOW", 30.0, (1, -1), fields, expression=values[:, 165:], expression_space="smplx")


def _finish(raw: _Raw, path: Path) -> MotionClip:
    """Common end of every reader: equal lengths, units, axes, hands, checks."""
    where = path.name
    frames = _common_length(raw, where)
    check_radians(((k, v.reshape(frames, -1, 3)) for k, v in raw.fields.items() if k != "transl"), where)
    if not 1 <= frames <= MAX_RAW_FRAMES:
        raise PipelineError(f"{where} has {frames} frames, a motion needs 1 to {MAX_RAW_FRAMES}: cut it.")
    raw.fields = {k: v if k == "transl" else _unwound(v) for k, v in raw.fields.items()}
    zeros = np.zeros((frames, 3))
    eyes = raw.fields.get("eyes", np.zeros((frames, 6)))
    orient, transl = _upright(raw, raw.fields["global_orient"], raw.fields.get("transl", zeros))
    left, right = _hands(raw, frames)
    clip = MotionClip(
        fps=raw.fps,
        global_orient=orient,
        body_pose=raw.fields["body_pose"].reshape(frames, 21, 3),
        left_hand_pose=left,
        right_hand_pose=right,
        jaw_pose=raw.fields.get("jaw_pose", zeros),
        leye_pose=raw.fields.get("leye_pose", eyes[:, :3]),
        reye_pose=raw.fields.get("reye_pose", eyes[:, 3:]),
        transl=transl,
        arkit=np.zeros((frames, N_ARKIT)),
        expression=raw.expression,
        expression_space=raw.expression_space,
        meta={"name": path.stem, "source": raw.family, "licence": "as the source's", "notes": raw.notes},
    )
    if frames > MAX_FRAMES or raw.fps > MAX_FPS:
        clip = resample(clip, LONG_CLIP_FPS)
        clip.meta["notes"].append(f"resampled to {LONG_CLIP_FPS:g} frames per second")
    return validate(clip, where)


def _common_length(raw: _Raw, where: str) -> int:
    """Number of frames; arrays that differ by a frame or two are cut to the shortest, single rows hold throughout."""
    whole = len(raw.fields.get("body_pose", ()))
    raw.fields = {k: _held(v, whole) for k, v in raw.fields.items()}
    raw.expression = None if raw.expression is None else _held(raw.expression, whole)
    lengths = [len(v) for v in raw.fields.values()] + ([] if raw.expression is None else [len(raw.expression)])
    frames = min(lengths)
    if frames == 0 or "global_orient" not in raw.fields or "body_pose" not in raw.fields:
        raise PipelineError(f"{where} has no frames of body motion: export the motion again.")
    if max(lengths) - frames > 2:
        raise PipelineError(
            f"The arrays of {where} have from {frames} to {max(lengths)} frames: export the motion again."
        )
    raw.fields = {k: v[:frames] for k, v in raw.fields.items()}
    raw.expression = None if raw.expression is None else raw.expression[:frames]
    return frames


def _unwound(rotations: Array) -> Array:
    """Rotation vectors (F, 3 n) without the turns that a solver left in single frames."""
    vectors = rotations.reshape(len(rotations), -1, 3)
    wound = np.linalg.norm(vectors, axis=-1) > MAX_ANGLE
    if not wound.any():
        return rotations
    vectors = vectors.copy()
    vectors[wound] = matrix_to_aa(aa_to_matrix(vectors[wound]))
    return vectors.reshape(rotations.shape)


def _held(rows: Array, frames: int) -> Array:
    """A single row for every frame; anything else as it is."""
    return np.repeat(rows, frames, axis=0) if len(rows) == 1 else rows


def _upright(raw: _Raw, orient: Array, transl: Array) -> tuple[Array, Array]:
    """Root rotations and path with y up, facing +z and at the origin at the start.

    Which axis is up is told from the pelvis' mean up direction where that is clear, else from the family.
    """
    world = aa_to_matrix(orient)
    mean_up = world[:, :, 1].mean(axis=0)
    axis = int(np.abs(mean_up).argmax())
    up = (axis, int(np.sign(mean_up[axis]))) if np.abs(mean_up[axis]) > 0.75 else raw.up
    name, angle = UP_TO_Y[up]
    turn = axis_rotation(name, angle)
    begin = turn @ aa_to_matrix(mean_rotation(orient[: max(1, round(0.2 * raw.fps))]))
    turn = axis_rotation("y", -heading(begin)) @ turn
    return matrix_to_aa(turn @ world), (transl - transl[0]) @ turn.T


def _hands(raw: _Raw, frames: int) -> tuple[Array, Array]:
    """Both hands (F, 15, 3). Absent or all-zero hands become relaxed ones.

    Some files count finger rotations from a relaxed hand, others from a flat one, and do not say which. Real hands
    are bent on average, so fingers that move but are straight on average were counted from the relaxed hand.
    """
    hands = raw.fields.get("hands", np.zeros((frames, 90))).reshape(frames, 2, 15, 3)
    relaxed = np.stack([hand_pose("relaxed", s) for s in ("left", "right")])
    if np.abs(hands).max() < 1e-4:
        raw.notes.append("the file has no finger motion: relaxed hands are used")
        hands = np.broadcast_to(relaxed, hands.shape)
    elif _mean_bend(hands) < np.radians(6.0):
        raw.notes.append("finger rotations look counted from a relaxed hand, which was added")
        hands = matrix_to_aa(aa_to_matrix(relaxed) @ aa_to_matrix(hands))
    return np.array(hands[:, 0]), np.array(hands[:, 1])


def _mean_bend(hands: Array) -> float:
    """Average bend of the middle finger joints over both hands, radians, positive towards the palm."""
    middles = [3 * FINGERS.index(f) + 1 for f in ("index", "middle", "ring", "pinky")]
    bend = hands[:, :, middles, 2] * np.array([-1.0, 1.0])[:, None]
    return float(bend.mean())
