"""Tensors and module trees in a StyleGAN-style pickle, read without running what is in it.

Such a file holds whole networks as objects, each with the Python source of its class, which the official loader runs.
Here a network is a :class:`pipeline.restricted_pickle.Record`, its source text is dropped, and a tensor is a
:class:`StoredTensor`: a view of the file with a shape.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.restricted_pickle import (
    Buffer,
    Buildable,
    DamagedPickleError,
    Limits,
    Policy,
    Record,
    RefusedPickleError,
    Symbol,
    read_pickle,
)
from pipeline.types import Array

STORAGES = {
    "torch.FloatStorage": "<f4",
    "torch.DoubleStorage": "<f8",
    "torch.HalfStorage": "<f2",
    "torch.LongStorage": "<i8",
    "torch.IntStorage": "<i4",
    "torch.ShortStorage": "<i2",
    "torch.CharStorage": "|i1",
    "torch.ByteStorage": "|u1",
    "torch.BoolStorage": "|b1",
}
LEGACY_MAGIC, LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
MAX_MODULE_DEPTH, MAX_MODULES = 32, 20_000
_SMALL = Limits(operations=20_000, stack=2_000, text=10_000, all_text=100_000)

_NN = "torch.nn.modules."
_INERT = (
    "models.FLAME.DecaFLAME.FLAME",
    *(f"models.deeplabv3.decoder.{n}" for n in ("ASPP", "ASPPConv", "ASPPPooling", "DeepLabV3Decoder")),
    *(
        f"models.mix_transformer.mix_transformer.{n}"
        for n in ("Attention", "Block", "BlockCross", "CrossAttention", "DWConv", "Mlp", "OverlapPatchEmbed")
    ),
    "models.unet.openaimodel.Downsample",
    "models.unet.openaimodel.Upsample",
    "pytorch3d.renderer.mesh.rasterizer.MeshRasterizer",
    "pytorch3d.renderer.mesh.rasterizer.RasterizationSettings",
    "segmentation_models_pytorch.encoders.resnet.ResNetEncoder",
    *(
        _NN + n
        for n in (
            "activation.GELU", "activation.LeakyReLU", "activation.ReLU", "activation.Softplus",
            "container.ModuleList", "container.Sequential", "conv.Conv2d", "dropout.Dropout", "linear.Identity",
            "linear.Linear", "normalization.LayerNorm", "pixelshuffle.PixelShuffle", "pooling.AdaptiveAvgPool2d",
            "pooling.MaxPool2d", "upsampling.UpsamplingBilinear2d",
        )
    ),
    "torchvision.models.resnet.BasicBlock",
    "training.deformer.mesh_renderer.MeshRenderer",
)  # fmt: skip


@dataclass(frozen=True)
class Storage:
    """Flat numbers of one dtype: a view of the file."""

    dtype: str
    data: memoryview

    def __len__(self) -> int:
        return len(self.data) // np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class StoredTensor:
    """A tensor that is still in the file.

    Attributes:
        storage: its numbers. offset: first element. shape, stride: in elements.
    """

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def dtype(self) -> str:
        """NumPy name of the element type."""
        return self.storage.dtype

    def array(self) -> Array:
        """A read-only NumPy view of the file; valid as long as the file is mapped."""
        flat = np.frombuffer(self.storage.data, self.dtype)[self.offset :]
        step = flat.dtype.itemsize
        strides = tuple(s * step for s in self.stride)
        return np.lib.stride_tricks.as_strided(flat, self.shape, strides, writeable=False)


class _NumpyDtype(Buildable):
    """Remembers the letter code only; the byte order arrives later and must be little."""

    def __init__(self, code: str) -> None:
        self.code = code

    def build(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", "|", "="):
            raise RefusedPickleError("The file holds an array of an unknown kind and was refused.")


class _NumpyArray(Buildable):
    """Arrays are settings of no importance here: their content is dropped."""

    def build(self, state: Any) -> None:
        del state


def _ordered_dict(arguments: tuple) -> dict:
    if arguments:
        raise RefusedPickleError("The file fills a dictionary in an unknown way and was refused.")
    return {}


def _dtype(arguments: tuple) -> _NumpyDtype:
    return _NumpyDtype(_expect(arguments[0], str))


def _scalar(arguments: tuple) -> Any:
    kind, data = arguments
    code = _expect(kind, _NumpyDtype).code
    forms = {"f8": "<f8", "f4": "<f4", "i8": "<i8", "i4": "<i4", "b1": "|b1"}
    if code not in forms or len(data) != np.dtype(forms[code]).itemsize:
        return None
    return np.frombuffer(data, forms[code])[0].item()


def _expect(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise DamagedPickleError("The file is damaged: an object is not what it should be.")
    return value


def _persistent_object(arguments: tuple) -> Record:
    """A network of the repository: class name and state are kept, the source code is not even looked at."""
    (meta,) = arguments
    meta = _expect(meta, dict)
    if meta.get("type") != "class":
        raise RefusedPickleError("The file holds an object of an unknown kind and was refused.")
    return Record(_expect(meta.get("class_name"), str), meta.get("state"))


def _rebuild_tensor(arguments: tuple) -> StoredTensor:
    storage, offset, shape, stride = arguments[:4]
    return checked_tensor(_expect(storage, Storage), offset, shape, stride)


def _rebuild_parameter(arguments: tuple) -> StoredTensor:
    return _expect(arguments[0], StoredTensor)


def checked_tensor(storage: Storage, offset: Any, shape: Any, stride: Any) -> StoredTensor:
    """A tensor that lies inside of its storage and is no larger than it (a stride of 0 could inflate it)."""
    whole = lambda values: isinstance(values, tuple) and all(type(v) is int and v >= 0 for v in values)  # noqa: E731
    if not whole((offset,)) or not whole(shape) or not whole(stride) or len(shape) != len(stride) or len(shape) > 8:
        raise DamagedPickleError("The file is damaged: a tensor has an impossible shape.")
    count = math.prod(shape)
    last = offset + sum((n - 1) * s for n, s in zip(shape, stride, strict=True)) if count else offset - 1
    if count > len(storage) or last >= len(storage):
        raise DamagedPickleError("The file is damaged: a tensor reaches beyond its data.")
    return StoredTensor(storage, offset, shape, stride)


def load_storage(arguments: tuple) -> Storage:
    """The nested stream of one storage, in torch's format before 1.6, parsed by hand.

    Raises:
        DamagedPickleError, RefusedPickleError: anything unexpected in it.
    """
    (data,) = arguments
    view = _expect(data, memoryview)
    names = frozenset(STORAGES)
    header = Policy()
    magic, at = read_pickle(view, header, _SMALL)
    protocol, at = read_pickle(view, header, _SMALL, at)
    if magic != LEGACY_MAGIC or protocol != LEGACY_PROTOCOL:
        raise RefusedPickleError("The file holds tensors in an unknown format; use the file from its official source.")
    system, at = read_pickle(view, header, _SMALL, at)
    if isinstance(system, dict) and system.get("little_endian") is False:
        raise RefusedPickleError("The file was written on a big-endian machine, which is not supported.")
    reference, at = read_pickle(view, Policy(symbols=names, persistent=lambda pid: pid), _SMALL, at)
    keys, at = read_pickle(view, header, _SMALL, at)
    kind, key, count = _reference(reference)
    if keys != [key]:
        raise DamagedPickleError("The file is damaged: a storage has no data.")
    stored = int.from_bytes(view[at : at + 8], "little", signed=True)
    content = view[at + 8 :]
    dtype = STORAGES[kind]
    if stored != count or len(content) != count * np.dtype(dtype).itemsize:
        raise DamagedPickleError("The file is damaged or was only half downloaded; delete it and fetch it again.")
    return Storage(dtype, content)


def _reference(value: Any) -> tuple[str, str, int]:
    """Kind, key and number of elements of ``("storage", kind, key, device, count, view)``."""
    if not isinstance(value, tuple) or len(value) not in (5, 6) or value[0] != "storage":
        raise DamagedPickleError("The file is damaged: a storage is not described.")
    _, kind, key, _, count, *view = value
    if any(v is not None for v in view) or not isinstance(kind, Symbol) or type(count) is not int or count < 0:
        raise RefusedPickleError("The file holds tensors in an unknown format; use the file from its official source.")
    return kind.name, _expect(key, str), count


def policy() -> Policy:
    """The 45 names of the published checkpoints (both spellings of NumPy's core module), and nothing else."""
    calls: dict[str, Any] = {
        "collections.OrderedDict": _ordered_dict,
        "numpy.dtype": _dtype,
        "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
        "torch._utils._rebuild_parameter": _rebuild_parameter,
        "torch.storage._load_from_bytes": load_storage,
        "torch_utils.persistence._reconstruct_persistent_obj": _persistent_object,
    }
    for core in ("numpy.core", "numpy._core"):
        calls[f"{core}.multiarray._reconstruct"] = lambda arguments: _NumpyArray()
        calls[f"{core}.multiarray.scalar"] = _scalar
    classes: dict[str, Any] = dict.fromkeys(_INERT)
    classes["dnnlib.util.EasyDict"] = dict
    return Policy(calls, classes, frozenset({"numpy.ndarray", "torch.float32"}))


def read(data: Buffer) -> Any:
    """Content of a StyleGAN-style pickle: dicts, lists, scalars, :class:`Record` and :class:`StoredTensor`.

    Raises:
        DamagedPickleError, RefusedPickleError: see :func:`pipeline.restricted_pickle.read_pickle`.
    """
    return read_pickle(data, policy())[0]


def tensors(module: Record) -> Iterator[tuple[str, StoredTensor]]:
    """Parameters and buffers of a module tree, named as in its state dict.

    Raises:
        RefusedPickleError: the tree is deeper or larger than any network.
    """
    waiting: list[tuple[str, Any, int]] = [("", module, 0)]
    seen = 0
    while waiting:
        prefix, current, depth = waiting.pop()
        seen += 1
        if depth > MAX_MODULE_DEPTH or seen > MAX_MODULES:
            raise RefusedPickleError("The file holds a network nested beyond all reason and was refused.")
        state = current.state if isinstance(current, Record) else None
        if not isinstance(state, dict):
            continue
        for kind in ("_parameters", "_buffers"):
            for name, value in _named(state.get(kind)):
                if isinstance(value, StoredTensor):
                    yield prefix + name, value
        children = [(f"{prefix}{name}.", child, depth + 1) for name, child in _named(state.get("_modules"))]
        waiting += reversed(children)


def _named(value: Any) -> list[tuple[str, Any]]:
    return [(k, v) for k, v in value.items() if isinstance(k, str)] if isinstance(value, dict) else []
