"""Reading checkpoints without running what is in them.

safetensors files are read as they are. Pickled ``.pth``/``.pt``/``.ckpt``/``.bin`` files go through torch's restricted
unpickler, which admits tensors and plain containers only, and are converted once to safetensors in the cache.
"""

from __future__ import annotations

import hashlib
import pickle
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.body.cache import cache_dir, write_atomically
from pipeline.types import PipelineError

if TYPE_CHECKING:
    from torch import Tensor

PICKLED = {".pth", ".pt", ".ckpt", ".bin"}
WRAPPERS = ("state_dict", "model", "module")
"""Keys under which trainers like to hide the tensors."""
EDGE = 1 << 20
"""Bytes at either end of a weight file that tell it from others."""


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint, on the CPU and mapped from the file where possible.

    Args:
        path: ``.safetensors``, or a pickled state dict.

    Raises:
        PipelineError: missing, damaged or half-downloaded, another kind of file, or a pickle with code inside.
    """
    path = Path(path)
    if not path.is_file():
        raise PipelineError(f"The checkpoint {path} does not exist; see `python -m pipeline weights`.")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix in PICKLED:
        return _read_pickled(path)
    raise PipelineError(f"{path.name} is no checkpoint; use a .safetensors or .pth file.")


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, ValueError, OSError) as error:
        raise _damaged(path) from error


def _read_pickled(path: Path) -> dict[str, Tensor]:
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    except pickle.UnpicklingError as error:
        if "unsupported" in str(error).lower():
            raise PipelineError(
                f"{path.name} holds program code besides tensors and was refused; get it from its official source."
            ) from error
        raise _damaged(path) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError) as error:
        raise _damaged(path) from error
    for wrapper in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not content:
        raise PipelineError(f"{path.name} holds no named tensors; use the file from its official source.")
    return {str(k): v for k, v in content.items() if isinstance(v, torch.Tensor)}


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _damaged(path: Path) -> PipelineError:
    return PipelineError(f"{path} is damaged or was only half downloaded; delete it and fetch it again.")


def as_safetensors(path: str | Path, folder: Path | None = None) -> Path:
    """The safetensors twin of a checkpoint: itself, or a copy that is written to the cache once.

    Args:
        path: checkpoint.
        folder: where converted files are kept; the cache when None.

    Raises:
        PipelineError: as :func:`read_tensors`, or the disk is full.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        return path
    if not path.is_file():
        raise PipelineError(f"The checkpoint {path} does not exist; see `python -m pipeline weights`.")
    state = path.resolve().stat()
    digest = hashlib.sha256(f"{path.resolve()}|{state.st_size}|{state.st_mtime_ns}".encode()).hexdigest()[:16]
    twin = (folder or cache_dir() / "converted") / f"{path.stem}-{digest}.safetensors"
    if not twin.is_file():
        write_safetensors(twin, read_tensors(path))
    return twin


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write tensors to a file, whole or not at all; tensors that share memory become separate ones.

    Raises:
        PipelineError: the disk is full or the folder cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    seen: set[int] = set()
    separate = {}
    for name, tensor in tensors.items():
        start = tensor.untyped_storage().data_ptr()
        separate[name] = tensor.clone() if start in seen else tensor.contiguous()
        seen.add(start)

    def write(temporary: Path) -> None:
        try:
            save_file(separate, temporary, metadata)
        except SafetensorError as error:
            raise OSError(None, f"safetensors: {error}") from error

    write_atomically(path, write)


@dataclass(frozen=True)
class KeyReport:
    """How a checkpoint differs from what a model expects.

    Attributes:
        expected: number of expected tensors.
        missing, unexpected: names.
        misshapen: name, shape found, shape expected.
    """

    expected: int
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshapen: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]

    @property
    def ok(self) -> bool:
        """Nothing missing and every shape right; more than expected is allowed."""
        return not self.missing and not self.misshapen

    def sentence(self) -> str:
        """The differences in one line, without a full stop."""
        parts = []
        if self.missing:
            parts.append(f"{len(self.missing):,} of {self.expected:,} tensors are missing, such as {self.missing[0]}")
        if self.misshapen:
            name, found, wanted = self.misshapen[0]
            parts.append(
                f"{len(self.misshapen):,} have another shape, such as {name} with {list(found)} where {list(wanted)} "
                "is expected"
            )
        if self.unexpected:
            parts.append(f"{len(self.unexpected):,} are not part of the model, such as {self.unexpected[0]}")
        return "; ".join(parts) or f"all {self.expected:,} tensors are there"

    def text(self) -> str:
        """The differences by part of the model, several lines."""
        lines = [self.sentence() + "."]
        for title, names in (("missing", self.missing), ("not part of the model", self.unexpected)):
            lines += [f"  {title}: {part} ({count})" for part, count in _by_part(names)]
        lines += [
            f"  shape: {name} {list(found)}, expected {list(wanted)}" for name, found, wanted in self.misshapen[:20]
        ]
        return "\n".join(lines)


def _by_part(names: Iterable[str]) -> list[tuple[str, int]]:
    return sorted(Counter(".".join(name.split(".")[:3]) for name in names).items())


def compare_keys(found: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]) -> KeyReport:
    """Compare names and shapes.

    Args:
        found: name to shape of what a checkpoint holds.
        expected: of what the model needs.
    """
    misshapen = tuple(
        (name, tuple(found[name]), tuple(shape))
        for name, shape in sorted(expected.items())
        if name in found and tuple(found[name]) != tuple(shape)
    )
    return KeyReport(
        len(expected),
        tuple(sorted(expected.keys() - found.keys())),
        tuple(sorted(found.keys() - expected.keys())),
        misshapen,
    )


def fingerprint(*paths: Path) -> str:
    """12 hex digits that change with any file's size, beginning or end: enough to tell checkpoints apart quickly."""
    digest = hashlib.sha256()
    for path in paths:
        size = path.stat().st_size
        digest.update(f"{size}\n".encode())
        with path.open("rb") as file:
            digest.update(file.read(EDGE))
            file.seek(max(0, size - EDGE))
            digest.update(file.read(EDGE))
    return digest.hexdigest()[:12]
