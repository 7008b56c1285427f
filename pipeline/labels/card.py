"""A graphics card that is full: how it is noticed, and said."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from pipeline.types import PipelineError

LIBRARIES_FULL = ("CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED", "CUDA error: out of memory")


def out_of_memory(error: RuntimeError) -> bool:
    """Whether the card is full: torch has a class for it, the libraries beneath it say it in words."""
    import torch

    return isinstance(error, torch.OutOfMemoryError) or any(word in str(error) for word in LIBRARIES_FULL)


@contextlib.contextmanager
def memory_explained(sentence: str) -> Iterator[None]:
    """Say it in a sentence.

    Raises:
        PipelineError: the card ran out of memory inside; all other errors pass.
    """
    try:
        yield
    except RuntimeError as error:
        if out_of_memory(error):
            raise PipelineError(sentence) from error
        raise
