"""Compiling and running the numba kernels on every core.

Kernels are ordinary serial ``nogil`` functions ``kernel(task, tasks, *arrays)`` that do slice ``task`` of ``tasks`` of
the work, and Python threads run them side by side. Against ``parallel=True`` this compiles faster, may be entered from
several Python threads at once (a web app does), survives ``fork`` and has no second OpenMP pool beside torch's. Every
output element is written by exactly one task, so the result does not depend on the number of threads.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numba

CGROUP_CPU_LIMIT = Path("/sys/fs/cgroup/cpu.max")
TASKS_PER_THREAD = 4
FAST = frozenset({"contract", "reassoc", "nsz", "arcp", "afn"})
"""Float rules of the blending kernels: everything but assuming that there are no NaN and infinities."""


def jit(fast: bool = False, inline: bool = False) -> Callable[[Callable], Callable]:
    """Decorator: compile without the GIL and keep the machine code on disk when any cache folder is writable.

    Args:
        fast: allow fused and reordered arithmetic (see ``FAST``).
        inline: for small helpers that are called in inner loops.
    """

    def decorate(function: Callable) -> Callable:
        options: dict[str, Any] = {
            "nogil": True,
            "fastmath": set(FAST) if fast else False,
            "error_model": "numpy",
            "inline": "always" if inline else "never",
        }
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError:  # numba found no place to write its cache: compile in memory
            return numba.njit(**options)(function)

    return decorate


@functools.lru_cache(maxsize=1)
def thread_count() -> int:
    """Cores that this process may use: CPU affinity, container quota and ``OMP_NUM_THREADS``, at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limits = [cores]
    if CGROUP_CPU_LIMIT.is_file():
        quota, _, period = CGROUP_CPU_LIMIT.read_text().strip().partition(" ")
        if quota.isdigit() and period.isdigit():
            limits.append(round(int(quota) / int(period)))
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdigit():
        limits.append(int(wanted))
    return max(1, min(limits))


@functools.lru_cache(maxsize=1)
def _pool(process_id: int) -> ThreadPoolExecutor:
    """The helper threads of this process (a forked child gets its own)."""
    return ThreadPoolExecutor(thread_count() - 1, thread_name_prefix=f"render-{process_id}")


def task_count() -> int:
    """Into how many slices to cut work whose slices differ in cost."""
    return 1 if thread_count() == 1 else thread_count() * TASKS_PER_THREAD


def run(kernel: Callable, *args: Any, tasks: int | None = None) -> None:
    """Call ``kernel(task, tasks, *args)`` for every task, on all threads; returns when all are done.

    Args:
        kernel: a function made by :func:`jit`.
        args: passed on.
        tasks: number of slices; :func:`task_count` when None.

    Raises:
        Whatever the kernel raises.
    """
    tasks = task_count() if tasks is None else tasks
    helpers = min(thread_count(), tasks) - 1
    pending = itertools.count()

    def work() -> None:
        while (task := next(pending)) < tasks:
            kernel(task, tasks, *args)

    futures = [_pool(os.getpid()).submit(work) for _ in range(helpers)]
    work()
    for future in futures:
        future.result()
