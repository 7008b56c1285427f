"""Motion clip files: the ``.npz`` format of this project, read with suspicion and written atomically.

Format (version 1): ``fps`` (scalar), ``global_orient (F, 3)``, ``body_pose (F, 21, 3)``, ``left_hand_pose (F, 15, 3)``,
``right_hand_pose (F, 15, 3)``, ``jaw_pose``, ``leye_pose``, ``reye_pose (F, 3)``, ``transl (F, 3)``, ``arkit (F, 52)``,
optional ``expression (F, E)`` with the string ``expression_space``, and ``meta``: a JSON object as a string array.
Axis-angle in radians, metres, SMPL-X joint order. Nothing is ever unpickled.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..types import ROTATION_FIELDS, Array, MotionClip, PipelineError

MAX_FRAMES = 36_000
MIN_FPS, MAX_FPS = 1.0, 240.0
MAX_FILE_BYTES = 512 * 2**20
MAX_MEMBER_BYTES = 256 * 2**20
MAX_MEMBERS = 64
N_ARKIT = 52
MAX_EXPRESSION = 300
MAX_META_CHARS = 20_000
MAX_ANGLE, MAX_WOUND, MANY = 2.2 * np.pi, 8.0 * np.pi, 0.03
"""Rotation vectors longer than the first are not radians when they are many (a rotation needs no more than pi, unrolled
ones reach 2 pi), or when one is longer than the second: solvers leave a joint wound up by some turns now and then.
Share of a joint's frames that is many."""
MAX_TRAVEL = 1_000.0
"""Metres; further from the origin than this is not metres."""

CLIP_FIELDS = (*ROTATION_FIELDS, "transl", "arkit")


def open_npz(path: str | Path) -> dict[str, Any]:
    """Open an ``.npz`` lazily after checking its directory.

    Args:
        path: file.

    Returns:
        Mapping of array name to a zero-argument loader of that array; loaders raise :class:`PipelineError` on pickles
        and damage, so fields that nobody asks for are never decoded.

    Raises:
        PipelineError: missing, not a zip archive, too large, or too many members.
    """
    path = Path(path)
    if not path.is_file():
        raise PipelineError(f"The motion file {path.name} does not exist: check the path.")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise PipelineError(f"The motion file {path.name} is larger than 512 MB: cut it into shorter clips.")
    try:
        with zipfile.ZipFile(path) as archive:
            infos = [i for i in archive.infolist() if i.filename.endswith(".npy")]
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError) as error:
        raise PipelineError(f"{path.name} is not a readable .npz motion file: export it again as .npz.") from error
    if not infos or len(infos) > MAX_MEMBERS:
        raise PipelineError(
            f"{path.name} holds {len(infos)} arrays, a motion file has 1 to {MAX_MEMBERS}: check the file."
        )
    return {i.filename[:-4]: _loader(path, i) for i in infos}


def _loader(path: Path, info: zipfile.ZipInfo):
    def load() -> Array:
        name = info.filename[:-4]
        if info.file_size > MAX_MEMBER_BYTES:
            raise PipelineError(
                f"The array {name} of {path.name} is larger than 256 MB: cut the clip into shorter ones."
            )
        try:
            with zipfile.ZipFile(path) as archive:
                with archive.open(info) as stream:
                    _check_header(stream, info.file_size)
                with archive.open(info) as stream:
                    return np.lib.format.read_array(stream, allow_pickle=False)
        except ValueError as error:
            if "allow_pickle" in str(error) or "Object arrays" in str(error):
                raise PipelineError(
                    f"The array {name} of {path.name} is a pickled object, which is not opened for safety: "
                    "save it as a plain number array."
                ) from error
            raise PipelineError(f"The array {name} of {path.name} is damaged: export the motion again.") from error
        except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, MemoryError, SyntaxError) as error:
            raise PipelineError(f"The array {name} of {path.name} is damaged: export the motion again.") from error

    return load


def _check_header(stream: IO[bytes], size: int) -> None:
    """Raise ValueError when an array's header promises more data than its member holds."""
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError("unknown array version")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    if dtype.hasobject:
        raise ValueError("Object arrays cannot be loaded")
    if math.prod(shape) * dtype.itemsize > size:
        raise ValueError("array data is cut short")


def numeric(array: Array, name: str, where: str) -> Array:
    """``array`` as finite float64.

    Raises:
        PipelineError: not numbers, or NaN or infinity inside.
    """
    if array.dtype.kind not in "fiub":
        raise PipelineError(
            f"The array {name} of {where} holds {array.dtype} and not numbers: export the motion again."
        )
    array = np.asarray(array, np.float64)
    if not np.isfinite(array).all():
        raise PipelineError(f"The array {name} of {where} has NaN or infinite values: repair or cut those frames.")
    return array


def check_frames(frames: int, where: str) -> None:
    """Raise :class:`PipelineError` unless ``frames`` is in 1..36000."""
    if not 1 <= frames <= MAX_FRAMES:
        raise PipelineError(f"{where} has {frames} frames, a motion needs 1 to {MAX_FRAMES}: cut or export it again.")


def check_fps(fps: Any, where: str, highest: float = MAX_FPS) -> float:
    """``fps`` as a float, or :class:`PipelineError` unless it is one number in 1..``highest``."""
    value = np.asarray(fps)
    if value.size != 1 or value.dtype.kind not in "fiu":
        raise PipelineError(f"The frame rate of {where} is not one number: set it to the frames per second.")
    rate = float(value.reshape(()))
    if not (np.isfinite(rate) and MIN_FPS <= rate <= highest):
        raise PipelineError(f"The frame rate of {where} is {rate:g}, it must be 1 to {highest:g} frames per second.")
    return rate


def check_radians(rotations: Iterable[tuple[str, Array]], where: str) -> None:
    """Refuse rotation vectors that are plainly degrees.

    Args:
        rotations: pairs of name and (F, ..., 3) rotation vectors.
        where: file name for the message.

    Raises:
        PipelineError: rotations longer than 2.2 pi in more than 3 % of a joint's frames, or one longer than 8 pi.
    """
    for name, array in rotations:
        angles = np.linalg.norm(array, axis=-1)
        largest = float(angles.max(initial=0.0))
        if largest > MAX_WOUND or (largest > MAX_ANGLE and float((angles > MAX_ANGLE).mean(axis=0).max()) > MANY):
            raise PipelineError(
                f"The rotations {name} of {where} reach {largest:.0f}, which looks like degrees: "
                "convert them to radians."
            )


def validate(clip: MotionClip, where: str = "the clip") -> MotionClip:
    """Check every array of a clip and return it as contiguous float32.

    Raises:
        PipelineError: wrong shapes, NaN, degrees, frame count or rate out of range, positions beyond a kilometre.
    """
    frames = int(np.shape(clip.transl)[0]) if np.ndim(clip.transl) else 0
    check_frames(frames, where)
    shapes = {**ROTATION_FIELDS, "transl": (3,), "arkit": (N_ARKIT,)}
    arrays: dict[str, Any] = {}
    for name, shape in shapes.items():
        array = numeric(np.asarray(getattr(clip, name)), name, where)
        if array.shape != (frames, *shape):
            raise PipelineError(
                f"The array {name} of {where} has shape {array.shape} and should have {(frames, *shape)}: "
                "export it again."
            )
        arrays[name] = array.astype(np.float32)
    check_radians(((k, arrays[k]) for k in ROTATION_FIELDS), where)
    if np.abs(arrays["transl"]).max() > MAX_TRAVEL:
        raise PipelineError(f"The positions transl of {where} go beyond a kilometre: give them in metres.")
    if clip.expression is not None:
        arrays["expression"] = _check_expression(np.asarray(clip.expression), frames, where)
    return clip.replace(fps=check_fps(clip.fps, where), **arrays)


def _check_expression(expression: Array, frames: int, where: str) -> Array:
    expression = numeric(expression, "expression", where)
    if expression.ndim != 2 or len(expression) != frames or not 1 <= expression.shape[1] <= MAX_EXPRESSION:
        raise PipelineError(
            f"The array expression of {where} has shape {expression.shape} and should have "
            f"({frames}, 1..{MAX_EXPRESSION}): export it again."
        )
    return expression.astype(np.float32)


def is_clip(members: Iterable[str]) -> bool:
    """Whether these array names are those of our own clip format."""
    return {"body_pose", "arkit", "fps", "transl"} <= set(members)


def load_clip(path: str | Path) -> MotionClip:
    """Read a clip of this project's format.

    Args:
        path: ``.npz`` file.

    Returns:
        The checked clip, float32.

    Raises:
        PipelineError: one sentence on what is wrong; see :func:`validate`.
    """
    return clip_from_members(open_npz(path), Path(path).name)


def clip_from_members(members: dict[str, Any], where: str) -> MotionClip:
    """Build a clip from the loaders of :func:`open_npz`.

    Raises:
        PipelineError: as :func:`load_clip`.
    """
    missing = [k for k in ("fps", *CLIP_FIELDS) if k not in members]
    if missing:
        raise PipelineError(f"{where} lacks the arrays {', '.join(missing)}: export the motion again.")
    arrays = {k: members[k]() for k in CLIP_FIELDS}
    expression = members["expression"]() if "expression" in members else None
    space = _text(members["expression_space"](), 64) if "expression_space" in members else None
    if expression is not None and not space:
        raise PipelineError(
            f"{where} has an expression without expression_space: name its space (arkit, flame or smplx)."
        )
    meta = _read_meta(members["meta"](), where) if "meta" in members else {}
    clip = MotionClip(fps=members["fps"](), expression=expression, expression_space=space, meta=meta, **arrays)  # type: ignore[arg-type]
    return validate(clip, where)


def _text(array: Array, limit: int) -> str:
    if array.dtype.kind not in "US" or array.size != 1:
        return ""
    value = array.reshape(())[()]
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text[: limit + 1]


def _read_meta(array: Array, where: str) -> dict[str, Any]:
    text = _text(array, MAX_META_CHARS)
    if not text or len(text) > MAX_META_CHARS:
        raise PipelineError(f"The meta of {where} is not a short JSON text: export the motion again.")
    try:
        meta = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise PipelineError(f"The meta of {where} is not valid JSON: export the motion again.") from error
    if not isinstance(meta, dict):
        raise PipelineError(f"The meta of {where} is not a JSON object: export the motion again.")
    return meta


def save_clip(clip: MotionClip, path: str | Path) -> None:
    """Write a clip atomically; the same clip gives the same bytes.

    Args:
        clip: checked before anything is written.
        path: ``.npz`` file; its folder must exist.

    Raises:
        PipelineError: invalid clip or folder that cannot be written.
    """
    path = Path(path)
    clip = validate(clip, path.name)
    arrays: dict[str, Array] = {k: getattr(clip, k) for k in CLIP_FIELDS}
    arrays["fps"] = np.float64(clip.fps)
    if clip.expression is not None:
        arrays["expression"] = clip.expression
        arrays["expression_space"] = np.array(clip.expression_space or "unknown")
    arrays["meta"] = np.array(json.dumps(clip.meta, ensure_ascii=False, sort_keys=True))
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=".tmp")
    except OSError as error:
        raise PipelineError(f"The folder {path.parent} cannot be written: choose another one.") from error
    try:
        with os.fdopen(handle, "wb") as stream:
            _write_npz(stream, arrays)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise PipelineError(
            f"The motion {path.name} could not be written ({error.strerror}): free some space."
        ) from error
    finally:
        Path(temporary).unlink(missing_ok=True)


def _write_npz(stream: Any, arrays: dict[str, Array]) -> None:
    """``np.savez_compressed`` with fixed order and dates, so that equal clips are equal files."""
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(arrays):
            info = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(info, "w") as member:
                np.lib.format.write_array(member, np.asanyarray(arrays[name]), allow_pickle=False)
