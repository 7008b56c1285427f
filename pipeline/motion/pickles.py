"""Pickled motion files (SHOW / TalkSHOW), read without unpickling: plain number arrays out, nothing is ever called."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..restricted_pickle import Buildable, DamagedPickleError, Policy, RefusedPickleError, Symbol, read_pickle
from ..types import Array, PipelineError

MAX_BYTES = 256 * 2**20
SIZES = {"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"}
"""Kinds of numbers that are read; arrays of anything else are left out."""


class _Number(Buildable):
    """A numpy dtype: its size code; the state only says the byte order."""

    def __init__(self, code: Any) -> None:
        self.code = code if isinstance(code, str) else ""
        self.order = "<"

    def build(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">", "|"):
            self.order = state[1]

    def dtype(self) -> np.dtype | None:
        """The number type, or None when it is no plain number."""
        return (
            np.dtype(self.code).newbyteorder("<" if self.order == "|" else self.order) if self.code in SIZES else None
        )


class _Array(Buildable):
    """A numpy array: None until its state comes, and when it holds no plain numbers."""

    def __init__(self) -> None:
        self.value: Array | None = None

    def build(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise DamagedPickleError("The motion file is damaged: export the motion again.")
        _, shape, number, fortran, raw = state
        self.value = _array(shape, number, bool(fortran), raw)


def _array(shape: Any, number: Any, fortran: bool, raw: Any) -> Array | None:
    dtype = number.dtype() if isinstance(number, _Number) else None
    if dtype is None or not isinstance(raw, (bytes, memoryview)):
        return None
    if not isinstance(shape, tuple) or not all(isinstance(n, int) and n >= 0 for n in shape):
        raise DamagedPickleError("The motion file is damaged: export the motion again.")
    if math.prod(shape) * dtype.itemsize != len(raw):
        raise DamagedPickleError("The motion file is damaged: export the motion again.")
    return np.frombuffer(raw, dtype).reshape(shape, order="F" if fortran else "C")


def _scalar(arguments: tuple) -> Any:
    number, raw = arguments if len(arguments) == 2 else (None, b"")
    array = _array((1,), number, False, raw)
    return None if array is None else array[0].item()


def _encode(arguments: tuple) -> bytes:
    text = arguments[0] if arguments else ""
    if not isinstance(text, str) or arguments[1:] not in ((), ("latin1",)):
        raise RefusedPickleError("The motion file encodes text in an unusual way and was refused.")
    return text.encode("latin1")


def _policy() -> Policy:
    calls: dict[str, Callable[[tuple], Any]] = {
        "numpy.dtype": lambda a: _Number(a[0] if a else None),
        "collections.OrderedDict": _ordered,
        "_codecs.encode": _encode,
    }
    for module in ("numpy.core", "numpy._core"):
        calls[f"{module}.multiarray._reconstruct"] = _reconstruct
        calls[f"{module}.multiarray.scalar"] = _scalar
        calls[f"{module}.numeric._frombuffer"] = _from_buffer
    return Policy(calls=calls, symbols=frozenset({"numpy.ndarray"}))


def _reconstruct(arguments: tuple) -> _Array:
    if not arguments or not (isinstance(arguments[0], Symbol) and arguments[0].name == "numpy.ndarray"):
        raise RefusedPickleError("The motion file makes something that is no array and was refused.")
    return _Array()


def _from_buffer(arguments: tuple) -> _Array:
    """An array as protocol 5 writes it: bytes, number type, shape, order."""
    if len(arguments) != 4:
        raise DamagedPickleError("The motion file is damaged: export the motion again.")
    raw, number, shape, order = arguments
    array = _Array()
    array.value = _array(shape, number, order == "F", raw)
    return array


def _ordered(arguments: tuple) -> dict:
    if arguments:
        raise RefusedPickleError("The motion file makes a dictionary in an unusual way and was refused.")
    return {}


def open_pickle(path: str | Path) -> dict[str, Callable[[], Array]]:
    """The number arrays of a pickled dictionary, as loaders by name (see :func:`pipeline.motion.clips.open_npz`).

    Args:
        path: ``.pkl`` holding one dictionary of numpy arrays and numbers.

    Raises:
        PipelineError: missing, too large, damaged, or mentioning anything but arrays and plain values.
    """
    path = Path(path)
    if not path.is_file():
        raise PipelineError(f"The motion file {path.name} does not exist: check the path.")
    if path.stat().st_size > MAX_BYTES:
        raise PipelineError(f"The motion file {path.name} is larger than 256 MB: cut it into shorter clips.")
    try:
        content, _ = read_pickle(path.read_bytes(), _policy())
    except RefusedPickleError as error:
        raise PipelineError(
            f"{path.name} is a pickle with more in it than plain arrays, which is not opened for safety: "
            "save the motion as .npz arrays."
        ) from error
    except DamagedPickleError as error:
        raise PipelineError(f"{path.name} is not a readable motion file: save the motion as .npz arrays.") from error
    if not isinstance(content, dict):
        raise PipelineError(f"{path.name} does not hold a dictionary of arrays: save the motion as .npz arrays.")
    return {name: _loader(_value(v)) for name, v in content.items() if isinstance(name, str) and _value(v) is not None}


def _value(value: Any) -> Array | None:
    """A plain array for arrays, numbers and texts; None for anything else."""
    if isinstance(value, _Array):
        return value.value
    return np.asarray(value) if isinstance(value, (bool, int, float, str)) else None


def _loader(array: Array | None) -> Callable[[], Array]:
    return lambda: np.asarray(array)
