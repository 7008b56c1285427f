"""The avatar on disk: a folder or a ``.avatar`` zip of ``avatar.json`` and ``avatar.safetensors``; never a pickle.

``avatar.json`` names the format version, the body, the tiers, the metrics and the SHA-256 of the tensor file, which is
checked on loading. Writing is atomic: everything goes to a temporary sibling that is moved into place.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pipeline.avatar.model import Avatar
from pipeline.types import ROTATION_FIELDS, BodyParams, Camera, PipelineError

if TYPE_CHECKING:
    from pipeline.body import BodyModel

FORMAT = "one-photo-avatar"
VERSION = 1
JSON_NAME, TENSOR_NAME = "avatar.json", "avatar.safetensors"
PASSING = {"seconds"}
"""Facts about the fit, not about the avatar: left out, so that the same seed gives the same file."""
MAX_BYTES = 2 << 30
"""An avatar file larger than this is refused before it is read."""


def body_fingerprint(body: BodyModel) -> str:
    """A short hash of the body's template and faces: an avatar only fits the body that it was made on."""
    digest = hashlib.sha256(np.ascontiguousarray(body.faces.cpu().numpy().astype(np.int64)).tobytes())
    digest.update(np.round(body.v_template.detach().cpu().numpy().astype(np.float64), 4).astype(np.float32).tobytes())
    return digest.hexdigest()[:16]


def save_avatar(avatar: Avatar, path: str | Path) -> Path:
    """Write an avatar.

    Args:
        avatar: what to write.
        path: a folder, or a file name ending in ``.avatar`` (zip); replaced if it exists.

    Returns:
        The path written.

    Raises:
        PipelineError: the place is not writable or the disk is full; nothing is left behind.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as temporary:
            folder = Path(temporary) / "avatar"
            folder.mkdir()
            _write_folder(avatar, folder)
            if path.suffix == ".avatar":
                _replace_with_zip(folder, path)
            else:
                _replace_with_folder(folder, path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise PipelineError(
            f"The avatar could not be written to {path} ({reason}); choose a writable folder with free space."
        ) from error
    return path


def _write_folder(avatar: Avatar, folder: Path) -> None:
    from safetensors.numpy import save

    data = save(_tensors(avatar))
    (folder / TENSOR_NAME).write_bytes(data)
    (folder / JSON_NAME).write_text(json.dumps(_header(avatar, data), indent=1, allow_nan=False), encoding="utf-8")


def _replace_with_zip(folder: Path, path: Path) -> None:
    archive = folder.with_name("packed")
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as out:
        for name in (JSON_NAME, TENSOR_NAME):  # no date: the same avatar is the same file
            entry = zipfile.ZipInfo(name)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            out.writestr(entry, (folder / name).read_bytes(), compresslevel=1)
    os.replace(archive, path)


def _replace_with_folder(folder: Path, path: Path) -> None:
    if path.is_dir():
        foreign = {p.name for p in path.iterdir()} - {JSON_NAME, TENSOR_NAME}
        if foreign:  # somebody's folder: put our two files in, leave the rest alone
            for name in (TENSOR_NAME, JSON_NAME):
                os.replace(folder / name, path / name)
            return
        shutil.rmtree(path)
    os.replace(folder, path)


def _tensors(avatar: Avatar) -> dict[str, np.ndarray]:
    def array(x: torch.Tensor, kind: Any) -> np.ndarray:
        return np.ascontiguousarray(x.detach().cpu().numpy().astype(kind))

    out = {
        "face_ids": array(avatar.face_ids, np.int32),
        "bary": array(avatar.bary, np.float32),
        "dX": array(avatar.dX, np.float32),
        "dT": array(avatar.dT, np.float32),
        "scale": array(avatar.scale, np.float32),
        "rgb": array(avatar.rgb, np.float32),
        "guessed": array(avatar.guessed, np.float32),
        "skin_index": array(avatar.skin_index, np.uint8),
        "skin_weight": array(avatar.skin_weight, np.float32),
        "camera.viewmat": np.ascontiguousarray(avatar.camera.viewmat, dtype=np.float32),
        "camera.K": np.ascontiguousarray(avatar.camera.K, dtype=np.float32),
    }
    for name in PARAM_NAMES:
        out[f"params.{name}"] = np.ascontiguousarray(getattr(avatar.params, name), dtype=np.float32)
    if avatar.light is not None:
        out["light"] = array(avatar.light, np.float32)
    if avatar.background is not None:
        out["background"] = np.ascontiguousarray(avatar.background, dtype=np.uint8)
    return out


PARAM_NAMES = ("betas", "expression", "transl", *ROTATION_FIELDS)


def _header(avatar: Avatar, data: bytes) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "body": {"name": avatar.body.name, "fingerprint": body_fingerprint(avatar.body)},
        "camera": {"width": int(avatar.camera.width), "height": int(avatar.camera.height)},
        "sha256": hashlib.sha256(data).hexdigest(),
        "meta": {name: value for name, value in avatar.meta.items() if name not in PASSING},
    }


def load_avatar(path: str | Path, body: BodyModel | None = None) -> Avatar:
    """Read an avatar written by :func:`save_avatar`.

    Args:
        path: the folder or the ``.avatar`` file.
        body: the body it was made on; loaded if None.

    Raises:
        PipelineError: missing, altered or foreign file, or an avatar of another body.
    """
    header, data = _read(Path(path))
    _check(header, data, path)
    from safetensors.numpy import load

    try:
        arrays = load(data)
    except Exception as error:
        raise PipelineError(f"The avatar {path} is damaged; make it again from the photo.") from error
    if body is None:
        from pipeline.body import load_body

        body = load_body()
    if body_fingerprint(body) != header["body"]["fingerprint"]:
        raise PipelineError(
            f"The avatar {path} was made on the body model {header['body']['name']!r}, not on {body.name!r}; "
            "load that body or make the avatar again from the photo."
        )
    try:
        return _assemble(header, arrays, body)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise PipelineError(f"The avatar {path} is incomplete ({error}); make it again from the photo.") from error


def _read(path: Path) -> tuple[dict[str, Any], bytes]:
    try:
        if path.is_dir():
            sizes = sum((path / n).stat().st_size for n in (JSON_NAME, TENSOR_NAME))
            _refuse_huge(sizes, path)
            return json.loads((path / JSON_NAME).read_text("utf-8")), (path / TENSOR_NAME).read_bytes()
        with zipfile.ZipFile(path) as archive:
            _refuse_huge(sum(archive.getinfo(n).file_size for n in (JSON_NAME, TENSOR_NAME)), path)
            return json.loads(archive.read(JSON_NAME)), archive.read(TENSOR_NAME)
    except FileNotFoundError as error:
        missing = Path(error.filename).name if error.filename else path.name
        raise PipelineError(
            f"There is no avatar at {path} ({missing} is missing); give the folder that `fit` wrote."
        ) from error
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise PipelineError(f"{path} is not an avatar that `fit` wrote, or it is damaged; make it again.") from error


def _refuse_huge(size: int, path: Path) -> None:
    if size > MAX_BYTES:
        raise PipelineError(f"{path} is larger than any avatar ({size >> 20} MB) and was not read.")


def _check(header: Any, data: bytes, path: str | Path) -> None:
    if not isinstance(header, dict) or header.get("format") != FORMAT or "body" not in header:
        raise PipelineError(f"{path} is not an avatar; give the folder or .avatar file that `fit` wrote.")
    if header.get("version") != VERSION:
        raise PipelineError(
            f"The avatar {path} has format version {header.get('version')}, this software reads {VERSION}; "
            "make it again."
        )
    if hashlib.sha256(data).hexdigest() != header.get("sha256"):
        raise PipelineError(f"The avatar {path} was altered after it was written (checksum differs); make it again.")


def _assemble(header: dict[str, Any], arrays: dict[str, np.ndarray], body: BodyModel) -> Avatar:
    tensors = {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in arrays.items() if "." not in k}
    n, v = len(tensors["face_ids"]), len(body.v_template)
    shapes = {"bary": (n, 3), "dX": (n, 3), "dT": (v, 3), "scale": (n,), "rgb": (n, 3), "guessed": (n,)}
    for name, shape in shapes.items():
        if tuple(tensors[name].shape) != shape or not torch.isfinite(tensors[name]).all():
            raise ValueError(f"{name} has the wrong shape or values")
    light = tensors.get("light")
    if light is not None and (light.shape != (3,) or not bool(light.norm() < 1)):  # also where it is not finite
        raise ValueError("light has the wrong shape or values")
    if int(tensors["face_ids"].max()) >= len(body.faces) or int(tensors["face_ids"].min()) < 0:
        raise ValueError("face_ids out of range")
    if int(tensors["skin_index"].max()) >= body.lbs_weights.shape[1]:
        raise ValueError("skin_index out of range")
    camera = Camera(arrays["camera.viewmat"], arrays["camera.K"], **header["camera"])
    params = BodyParams(**{name: arrays[f"params.{name}"] for name in PARAM_NAMES})
    return Avatar(
        body=body,
        face_ids=tensors["face_ids"].long(),
        skin_index=tensors["skin_index"].long(),
        skin_weight=tensors["skin_weight"],
        camera=camera,
        params=params,
        light=light,
        background=arrays.get("background"),
        meta=dict(header.get("meta") or {}),
        **{name: tensors[name] for name in shapes},
    )
