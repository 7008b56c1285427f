"""Threads, compilation and the bench of the rasterisers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest

from pipeline.render import bench, gaussians, parallel
from pipeline.types import Camera, PipelineError


@parallel.jit()
def count_up(task, tasks, out):
    for i in range(task * len(out) // tasks, (task + 1) * len(out) // tasks):
        out[i] += i


@parallel.jit()
def fail(task, tasks, out):
    if task == tasks - 1:
        raise ValueError("broken")


@pytest.mark.parametrize("tasks", [1, 2, 7])
def test_run_does_every_task_once(tasks):
    out = np.zeros(100, np.int64)
    parallel.run(count_up, out, tasks=tasks)
    assert np.array_equal(out, np.arange(100))


def test_run_passes_errors_on():
    with pytest.raises(ValueError, match="broken"):
        parallel.run(fail, np.zeros(1), tasks=9)


def test_run_works_in_a_forked_child():
    parallel.run(count_up, np.zeros(10, np.int64), tasks=8)
    child = os.fork()
    if child == 0:
        out = np.zeros(100, np.int64)
        parallel.run(count_up, out, tasks=8)
        os._exit(0 if np.array_equal(out, np.arange(100)) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("wanted,expected", [("1", 1), ("0", 1), ("word", None)])
def test_thread_count_follows_the_environment(monkeypatch, wanted, expected):
    parallel.thread_count.cache_clear()
    monkeypatch.setenv("OMP_NUM_THREADS", wanted)
    count = parallel.thread_count()
    parallel.thread_count.cache_clear()
    assert count == (expected or count) and count >= 1


def test_thread_count_follows_the_container_quota(monkeypatch, tmp_path):
    quota = tmp_path / "cpu.max"
    monkeypatch.setattr(parallel, "CGROUP_CPU_LIMIT", quota)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    counts = []
    for text in ("max 100000\n", "200000 100000\n", "50000 100000\n"):
        quota.write_text(text)
        parallel.thread_count.cache_clear()
        counts.append(parallel.thread_count())
    parallel.thread_count.cache_clear()
    assert counts == [16, 2, 1]


def test_kernels_compile_without_a_place_for_the_cache(monkeypatch):
    compile_ = numba.njit

    def no_place(*args, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return compile_(*args, **options)

    monkeypatch.setattr(numba, "njit", no_place)

    @parallel.jit()
    def double(x):
        return 2 * x

    assert double(21) == 42


def test_absurdly_large_gaussians_are_refused(monkeypatch):
    monkeypatch.setattr(gaussians, "MAX_INTERSECTIONS", 50)
    n = 20
    ones = np.ones(n, np.float32)
    with pytest.raises(PipelineError, match="too large"):
        gaussians.bin_gaussians(np.zeros((n, 3), np.float32), ones, ones, Camera.frontal(64, 64, 50.0, 2.0))


def test_bench_reports_every_job(capsys):
    assert bench.main(["--splats", "3000", "--size", "64x96", "--repeats", "1", "--json"]) == 0
    timings = json.loads(capsys.readouterr().out)["timings"]
    assert len(timings) == 6 and all(t["wall"] > 0 for t in timings.values())
    with pytest.raises(SystemExit):
        bench.main(["--size", "wide"])


def test_importing_the_package_starts_no_thread():
    code = "import threading, pipeline.render; print(threading.active_count())"
    root = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
