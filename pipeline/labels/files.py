"""Labels on disk: one ``.npz`` of plain arrays each, and a report beside them. Whole files or none."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.body.cache import write_atomically
from pipeline.types import Array, BodyParams, Camera, PipelineError, PseudoLabel

FORMAT = 2
REPORT = "labels.json"
_FIELDS = tuple(f.name for f in dataclasses.fields(BodyParams))


def save_label(path: Path, label: PseudoLabel) -> None:
    """Write one label; its picture, matte and weight are kept with 8 bits.

    Raises:
        PipelineError: the folder cannot be written.
    """
    content: dict[str, Any] = {name: getattr(label.params, name) for name in _FIELDS}
    content |= {
        "format": np.int64(FORMAT),
        "image": _to_bytes(label.image),
        "alpha": _to_bytes(label.alpha),
        "viewmat": label.camera.viewmat,
        "K": label.camera.K,
        "confidence": np.float32(label.confidence),
        "head_only": np.bool_(label.region == "head"),
        "filmed": np.bool_(label.filmed),
    }
    if label.weight is not None:
        content["weight"] = _to_bytes(label.weight)

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez_compressed(file, **content)

    write_atomically(path, write)


def load_label(path: Path) -> PseudoLabel:
    """Read one label.

    Raises:
        PipelineError: the file is damaged or of another version.
    """
    try:
        with np.load(path, allow_pickle=False) as content:
            data = {name: content[name] for name in content.files}
        if int(data["format"]) != FORMAT:
            raise ValueError("another version")
        height, width = data["alpha"].shape
        return PseudoLabel(
            image=data["image"].astype(np.float32) / 255,
            alpha=data["alpha"].astype(np.float32) / 255,
            camera=Camera(data["viewmat"], data["K"], width, height),
            params=BodyParams(**{name: data[name] for name in _FIELDS}),
            region="head" if bool(data["head_only"]) else "body",
            confidence=float(data["confidence"]),
            weight=data["weight"].astype(np.float32) / 255 if "weight" in data else None,
            filmed=bool(data["filmed"]),
        )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise PipelineError(f"The label {path} cannot be read; delete its folder and make the labels again.") from error


def load_labels(folder: Path) -> list[PseudoLabel]:
    """All labels of a folder, in order.

    Raises:
        PipelineError: see :func:`load_label`.
    """
    return [load_label(path) for path in sorted(folder.glob("[0-9]*.npz"))]


def save_report(folder: Path, report: dict[str, Any]) -> None:
    """Write what was made and what was dropped; its presence says that the folder is complete."""
    text = json.dumps(report, indent=1)
    write_atomically(folder / REPORT, lambda temporary: temporary.write_text(text, "utf-8") and None)


def load_report(folder: Path) -> dict[str, Any] | None:
    """The report, or None where the labels are not complete."""
    try:
        return json.loads((folder / REPORT).read_text("utf-8"))
    except (OSError, ValueError):
        return None


def digest(settings: Any, arrays: Iterable[Array]) -> str:
    """24 hex digits that name a label folder: they change with the settings (plain JSON values) and every array."""
    out = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for array in arrays:
        out.update(np.ascontiguousarray(array).tobytes())
    return out.hexdigest()[:24]


def arrays_of(record: Any) -> list[Array]:
    """The fields of a dataclass that are arrays, in order."""
    values = (getattr(record, f.name) for f in dataclasses.fields(record))
    return [value for value in values if isinstance(value, np.ndarray)]


def row_of(quality: Any) -> dict[str, Any]:
    """A frame's measurements (a dataclass) as plain values for the report; NaN becomes None."""
    values = dataclasses.asdict(quality)
    return {k: (None if v != v else round(v, 4)) if isinstance(v, float) else v for k, v in values.items()}


def save_frame(path: Path, image: Array, alpha: Array) -> None:
    """Keep a generated frame as a PNG with alpha. Args: image (H, W, 3) uint8; alpha (H, W) in 0..1."""
    from PIL import Image

    picture = Image.fromarray(np.dstack([image, _to_bytes(alpha)]))
    write_atomically(path, lambda temporary: picture.save(temporary, "PNG"))


def load_frame(path: Path) -> tuple[Array, Array] | None:
    """A frame of :func:`save_frame`, or None where there is none or it is damaged."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGBA"))
    except (OSError, ValueError):
        return None
    return pixels[..., :3].copy(), pixels[..., 3].astype(np.float32) / 255


def _to_bytes(values: Array) -> Array:
    return np.clip(np.rint(np.asarray(values, np.float32) * 255), 0, 255).astype(np.uint8)
