"""Gives memory that was freed back to the system, which glibc's allocator does not do by itself.

Every job runs on a thread of its own, and each thread's allocator keeps the gaps that a job leaves behind: after a few
fits a server held 2.4 GB, of which 1.4 GB were free; after 20 photo checks 1.2 GB, of which 0.6 GB.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Iterator
from functools import lru_cache

M_ARENA_MAX = -8
"""Of ``malloc.h``: into how many arenas threads are spread."""


@lru_cache(maxsize=2)
def _glibc(name: str) -> Callable[..., int] | None:
    """``malloc_trim`` or ``mallopt``; None on systems without them (macOS, musl)."""
    try:
        return getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError, TypeError):
        return None


def share_arenas(count: int = 2) -> None:
    """Let all threads that are started from now on share a few arenas, so that one job fills the gaps of another.

    For a server: with an arena for every thread, memory swung by 100 MB from job to job and stood 300 MB higher.
    """
    if (mallopt := _glibc("mallopt")) is not None:
        mallopt(M_ARENA_MAX, count)


def give_back() -> None:
    """Hand free pages to the system; takes about 5 ms."""
    if (trim := _glibc("malloc_trim")) is not None:
        trim(0)


@contextlib.contextmanager
def giving_back() -> Iterator[None]:
    """Do :func:`give_back` when the work inside ended, however it did."""
    try:
        yield
    finally:
        give_back()
