"""Gives memory that was freed back to the system, which the C library's allocator does not do by itself.

Every job runs on a thread of its own, and each thread's allocator keeps the gaps that a job leaves behind: after a few
fits a server held 2.4 GB, of which 1.4 GB were free; after 20 photo checks 1.2 GB, of which 0.6 GB.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Iterator
from functools import lru_cache


@lru_cache(maxsize=1)
def _trim() -> Callable[[int], int] | None:
    """glibc's ``malloc_trim``; None on systems without it (macOS, musl), whose allocators give memory back."""
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        return None


def give_back() -> None:
    """Hand free pages to the system; takes about 5 ms."""
    if (trim := _trim()) is not None:
        trim(0)


@contextlib.contextmanager
def giving_back() -> Iterator[None]:
    """Do :func:`give_back` when the work inside ended, however it did."""
    try:
        yield
    finally:
        give_back()
