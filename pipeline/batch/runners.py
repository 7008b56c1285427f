"""Where the work of a batch is done: in processes of this machine, or on a Ray cluster."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pipeline.types import PipelineError

TRIES = 3
"""How often work is begun whose worker dies."""
AHEAD = 2
"""Pieces of work that are handed out per worker, so that none waits for the next."""


@dataclass(frozen=True)
class Task:
    """One piece of work.

    Attributes:
        key: tells it apart.
        function: of :mod:`pipeline.batch.work`; importable by name.
        arguments: gives its arguments when it is begun, so that files are read only then.
    """

    key: str
    function: Callable[..., Any]
    arguments: Callable[[], tuple[Any, ...]]


@dataclass(frozen=True)
class Outcome:
    """What became of a task: its ``value``, or a sentence in ``error``."""

    key: str
    value: Any = None
    error: str = ""


class Runner(Protocol):
    """Runs tasks, in any order, and yields what becomes of each; never raises for one that fails."""

    def run(self, tasks: list[Task]) -> Iterator[Outcome]:
        """Yield one outcome per task."""
        ...


def sentence(error: BaseException) -> str:
    """What is put on the list for a failed task."""
    if isinstance(error, PipelineError):
        return str(error)
    return f"Something unexpected went wrong ({type(error).__name__}: {str(error)[:300]})."


NO_CLUSTER = "There is no Ray cluster at '{}'; start one with `ray start --head`, or leave out --ray."
DIED = f"Its worker process died {TRIES} times; the machine may be short of memory."


class LocalRunner(AbstractContextManager["LocalRunner"]):
    """Processes of this machine.

    When a worker dies, what was under way is begun again one by one, each alone in a process of its own, so that a
    task that kills its worker takes no other with it.

    Args:
        workers: how many at once.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def __exit__(self, *_: object) -> None:
        return None

    def _pool(self, workers: int) -> ProcessPoolExecutor:
        cores = max(1, (os.cpu_count() or 1) // self.workers)
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(workers, mp_context=context, initializer=_limit_threads, initargs=(cores,))

    def run(self, tasks: list[Task]) -> Iterator[Outcome]:
        """See :class:`Runner`."""
        waiting = list(reversed(tasks))
        while waiting:
            suspects: list[Task] = []
            with self._pool(self.workers) as pool:
                yield from self._run_in(pool, waiting, suspects)
            for task in suspects:
                yield self._run_alone(task)

    def _run_in(self, pool: ProcessPoolExecutor, waiting: list[Task], suspects: list[Task]) -> Iterator[Outcome]:
        """Take from ``waiting`` until it is empty, or the pool breaks; what was under way then goes to ``suspects``."""
        under_way: dict[Future[Any], Task] = {}
        try:
            while waiting or under_way:
                while waiting and len(under_way) < AHEAD * self.workers and not suspects:
                    task = waiting.pop()
                    try:
                        under_way[pool.submit(task.function, *task.arguments())] = task
                    except BrokenProcessPool:
                        suspects.append(task)
                    except Exception as error:
                        yield Outcome(task.key, error=sentence(error))
                if not under_way:
                    return
                done, _ = wait(under_way, return_when=FIRST_COMPLETED)
                for future in done:
                    outcome = _outcome(future, task := under_way.pop(future))
                    if outcome is None:
                        suspects.append(task)
                    else:
                        yield outcome
        finally:
            pool.shutdown(wait=not under_way, cancel_futures=True)

    def _run_alone(self, task: Task) -> Outcome:
        for _ in range(TRIES - 1):
            with self._pool(1) as pool:
                outcome = _outcome(pool.submit(task.function, *task.arguments()), task)
            if outcome is not None:
                return outcome
        return Outcome(task.key, error=DIED)


def _outcome(future: Future[Any], task: Task) -> Outcome | None:
    """What a finished future holds; None when its worker died."""
    try:
        return Outcome(task.key, future.result())
    except BrokenProcessPool:
        return None
    except Exception as error:
        return Outcome(task.key, error=sentence(error))


def _limit_threads(cores: int) -> None:
    """Share the cores between the workers; before anything that reads this is imported."""
    os.environ["OMP_NUM_THREADS"] = str(cores)


def _check_reachable(address: str) -> None:
    """Ray itself tries for minutes before it gives up on an address where nobody is.

    Raises:
        PipelineError: nobody is there.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise PipelineError(NO_CLUSTER.format(address[:80])) from error


class RayRunner(AbstractContextManager["RayRunner"]):
    """A Ray cluster whose nodes have this software installed. Ray begins a task again whose worker or node dies.

    Args:
        address: of the cluster, as ``ray.init`` takes it: "auto", "host:port" or "ray://host:port".

    Raises:
        PipelineError: Ray is not installed, or there is no cluster.
    """

    def __init__(self, address: str) -> None:
        try:
            import ray
        except ImportError as error:
            raise PipelineError("Ray is not installed; run 'pip install ray', or leave out --ray.") from error
        self._ray = ray
        _check_reachable(address)
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        path = [str(Path(__file__).resolve().parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
        try:
            ray.init(address=address, log_to_driver=False, logging_level="ERROR",
                     runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join(path)}})  # fmt: skip
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise PipelineError(NO_CLUSTER.format(address[:80])) from error

    def __exit__(self, *_: object) -> None:
        self._ray.shutdown()

    def run(self, tasks: list[Task]) -> Iterator[Outcome]:
        """See :class:`Runner`."""
        ray, waiting, under_way = self._ray, list(reversed(tasks)), {}
        while waiting or under_way:
            room = AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)))
            while waiting and len(under_way) < room:
                task = waiting.pop()
                try:
                    remote = ray.remote(num_cpus=1, max_retries=TRIES - 1)(task.function)
                    under_way[remote.remote(*task.arguments())] = task
                except Exception as error:
                    yield Outcome(task.key, error=sentence(error))
            if not under_way:
                return
            done, _ = ray.wait(list(under_way), num_returns=1)
            for reference in done:
                yield self._outcome(reference, under_way.pop(reference))

    def _outcome(self, reference: Any, task: Task) -> Outcome:
        errors = self._ray.exceptions
        try:
            return Outcome(task.key, self._ray.get(reference))
        except (errors.WorkerCrashedError, errors.NodeDiedError, errors.OutOfMemoryError):
            return Outcome(task.key, error=DIED)
        except errors.RayTaskError as error:
            return Outcome(task.key, error=sentence(error.cause))
        except errors.RayError as error:
            return Outcome(task.key, error=sentence(error))
