"""From the published files to loaded networks: read safely, checked key by key, converted once to safetensors."""

from __future__ import annotations

import hashlib
import json
import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.body.cache import cache_dir, only_one, write_atomically
from pipeline.checkpoints import as_safetensors, compare_keys, read_tensors
from pipeline.labels.portrait4d.generator import Portrait4D
from pipeline.labels.portrait4d.motion_encoder import MotionEncoder
from pipeline.labels.portrait4d.neck import neck_keys
from pipeline.labels.portrait4d.tensor_pickle import StoredTensor, read, tensors
from pipeline.restricted_pickle import Record, plain
from pipeline.types import PipelineError

NETWORK = "G_ema"
"""The averaged generator; the file also holds the raw one and the discriminator."""
CONVERTER_VERSION = 1

EXPECTED: dict[str, Any] = {
    "img_resolution": 512,
    "mot_dims": 548,
    "num_blocks_neutral": 4,
    "num_blocks_motion": 4,
    "motion_map_layers": 2,
    "has_background": True,
    "has_superresolution": True,
    "use_ws_ones": False,
    "neural_rendering_resolution": 128,
    "depth_resolution": 48,
    "depth_resolution_importance": 48,
    "ray_start": "auto-plane",
    "ray_end": "auto-plane",
    "box_warp": 1.3,
    "clamp_mode": "softplus",
    "disparity_space_sampling": False,
    "decoder_lr_mul": 1.0,
    "superresolution_noise_mode": "none",
    "white_back": False,
    "density_noise": 0,
}
"""Settings this implementation stands for. A file that states another value is refused; silence is consent."""

_SAFETENSORS_NAMES = {
    "<f4": "F32", "<f8": "F64", "<f2": "F16", "<i8": "I64", "<i4": "I32", "<i2": "I16", "|i1": "I8", "|u1": "U8",
    "|b1": "BOOL",
}  # fmt: skip


@dataclass(frozen=True)
class Generator:
    """A loaded generator.

    Attributes:
        network: the network, in eval mode. neck: FLAME tensors of the neck mode, empty where the file has none.
        settings: constructor settings found in the file.
    """

    network: Portrait4D
    neck: dict[str, Tensor]
    settings: dict[str, Any]


def expected_shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """Name to shape of every tensor that inference reads."""
    return {k: tuple(v.shape) for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}


def load_generator(path: str | Path, device: str | torch.device = "cpu", folder: Path | None = None) -> Generator:
    """Load ``portrait4d-v2-vfhq512.pkl`` or its converted twin.

    Args:
        path: the published pickle, or the safetensors file made of it.
        device: where the network goes.
        folder: where the converted file is kept; the cache by default.

    Raises:
        PipelineError: missing or damaged file, another network, other settings, or code that is not admitted.
    """
    twin = convert(path, folder)
    found = read_tensors(twin)
    with torch.device("meta"):
        network = Portrait4D()
    names = network.state_dict().keys()
    _check({k: tuple(v.shape) for k, v in found.items()}, expected_shapes(network), Path(path).name)
    network.load_state_dict({k: found[k].float() for k in names}, strict=True, assign=True)
    neck = {k: found[k] for k in neck_keys() if k in found}
    network = network.requires_grad_(False).eval().to(device)
    return Generator(network, neck, _settings_of(twin))


def load_motion_encoder(path: str | Path, device: str | torch.device = "cpu") -> MotionEncoder:
    """Load PD-FGC's ``motion_model.pth``; further tensors in it are ignored.

    Raises:
        PipelineError: as :func:`load_generator`.
    """
    found = read_tensors(as_safetensors(path))
    with torch.device("meta"):
        network = MotionEncoder()
    _check({k: tuple(v.shape) for k, v in found.items()}, expected_shapes(network), Path(path).name)
    counters = {k: torch.zeros((), dtype=torch.long) for k in network.state_dict() if k.endswith("num_batches_tracked")}
    network.load_state_dict(
        counters | {k: found[k].float() for k in expected_shapes(network)}, strict=True, assign=True
    )
    return network.requires_grad_(False).eval().to(device)


def convert(path: str | Path, folder: Path | None = None) -> Path:
    """The safetensors twin of a published pickle, made on first use; a safetensors file is its own.

    Only what inference reads is kept: no second network, no discriminator, no source code. The pickle is mapped, not
    loaded, and copied tensor by tensor.

    Raises:
        PipelineError: see :func:`load_generator`; nothing is left behind.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        return path
    if not path.is_file() or path.stat().st_size == 0:
        raise PipelineError(f"The head generator {path} does not exist or is empty; fetch it again.")
    twin = (folder or cache_dir() / "converted") / f"{path.stem}-{_identity(path)}.safetensors"
    with only_one(twin):
        if not twin.is_file():
            with path.open("rb") as file:
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            _convert(memoryview(mapped), path.name, twin)
    return twin


def _convert(view: memoryview, name: str, twin: Path) -> None:
    content = read(view)
    module = content.get(NETWORK) if isinstance(content, dict) else None
    if not isinstance(module, Record) or not isinstance(module.state, dict):
        raise PipelineError(f"{name} holds no generator; use portrait4d-v2-vfhq512.pkl from its official source.")
    settings = _settings(module.state)
    check_settings(settings, name)
    found = dict(tensors(module))
    with torch.device("meta"):
        wanted = expected_shapes(Portrait4D())
    _check({k: t.shape for k, t in found.items()}, wanted, name)
    kept = {k: found[k] for k in (*wanted, *neck_keys()) if k in found}
    metadata = {"source": name, "settings": json.dumps(settings), "converter": str(CONVERTER_VERSION)}
    write_atomically(twin, lambda temporary: write_streamed(temporary, kept, metadata))


def write_streamed(path: Path, stored: Mapping[str, StoredTensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file tensor by tensor, holding one at a time."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    at = 0
    for name, tensor in stored.items():
        size = int(np.prod(tensor.shape, dtype=np.int64)) * np.dtype(tensor.dtype).itemsize
        header[name] = {
            "dtype": _SAFETENSORS_NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [at, at + size],
        }  # fmt: skip
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for tensor in stored.values():
            file.write(np.ascontiguousarray(tensor.array()).reshape(-1).view(np.uint8).data)


def _identity(path: Path) -> str:
    state = path.stat()
    text = f"{path.resolve()}|{state.st_size}|{state.st_mtime_ns}|{CONVERTER_VERSION}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _check(found: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]], name: str) -> None:
    report = compare_keys(found, wanted)
    if not report.ok:
        raise PipelineError(
            f"{name} is not a checkpoint of this network ({report.sentence()}); use the file that `weights` names."
        )


def _settings(state: dict) -> dict[str, Any]:
    """Constructor keywords, renderer settings and render size as one flat dictionary of plain values."""
    merged: dict[str, Any] = {}
    for name in ("_init_kwargs", "rendering_kwargs"):
        value = plain(state.get(name))
        merged |= value if isinstance(value, dict) else {}
    nested = merged.pop("rendering_kwargs", None)
    merged = (nested | merged) if isinstance(nested, dict) else merged
    if isinstance(size := state.get("neural_rendering_resolution"), int):
        merged["neural_rendering_resolution"] = size
    return merged


def check_settings(settings: Mapping[str, Any], name: str) -> None:
    """Refuse a file whose stated settings are not those implemented here.

    Raises:
        PipelineError: naming the first difference.
    """
    for key, value in EXPECTED.items():
        if key not in settings or settings[key] is None:
            continue
        stated = settings[key]
        same = bool(stated) == value if isinstance(value, bool) else stated == value
        if not same:
            raise PipelineError(
                f"{name} was trained with {key} = {str(stated)[:40]}, and only {value} is supported; use "
                "portrait4d-v2-vfhq512.pkl."
            )


def _settings_of(twin: Path) -> dict[str, Any]:
    from safetensors import safe_open

    with safe_open(twin, "pt") as file:
        metadata = file.metadata() or {}
    try:
        settings = json.loads(metadata.get("settings", "{}"))
    except ValueError:
        return {}
    return settings if isinstance(settings, dict) else {}
