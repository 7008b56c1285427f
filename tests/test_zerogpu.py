"""ZeroGPU without a GPU: the app's functions really run in forked workers and are stopped there."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from zerogpu_standin import GONE

HERE = Path(__file__).resolve().parent


@pytest.mark.slow
def test_the_app_in_forked_workers(doll, tmp_path):
    doll.save(tmp_path / "doll")
    (tmp_path / "tmp").mkdir()
    env = {**os.environ, "PYTHONPATH": str(HERE.parent), "TMPDIR": str(tmp_path / "tmp")}
    command = [sys.executable, str(HERE / "zerogpu_standin.py"), str(tmp_path / "doll"), str(tmp_path)]
    with open(tmp_path / "out", "w") as out, open(tmp_path / "log", "w") as log:
        # Files and a session of its own: the forked workers outlive the program and would hold a pipe open.
        run = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=out, stderr=log, start_new_session=True)
        try:
            code = run.wait(400)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(run.pid, signal.SIGKILL)
    if code == GONE:
        pytest.skip("this version of spaces has other private names")
    assert code == 0, (tmp_path / "log").read_text()[-2000:]
    result = json.loads((tmp_path / "out").read_text().strip().splitlines()[-1])
    assert result["startup"] == ["/startup-report"]
    assert result["picture"] > 1000 and result["files"] == 1, "the worker's file is in the page's store"
    assert "needs a motion" in result["error"], "a sentence survives the way back from the worker"
    assert result["stop_seconds"] < 10 and result["still_there"]


@pytest.mark.parametrize(
    ("function", "arguments", "expected"),
    [
        ("seconds_to_fit", ("p", "own", "fast"), 60),
        ("seconds_to_fit", ("p", "own"), 150),
        ("seconds_to_animate", ("id", None, "some.mp4"), 90),
        ("seconds_to_make", ("p", "own", None, "some.mp4", "full"), 690),
        ("seconds_to_export", ("id", "gif"), 60),
    ],
)
def test_durations_follow_the_work(function, arguments, expected):
    """ZeroGPU hands the function's own arguments over, the progress bar included."""
    from pipeline.web import endpoints

    assert getattr(endpoints, function)(*arguments) == expected
    progress_last = (*arguments, *range(12))
    if function != "seconds_to_fit" or len(arguments) == 3:
        assert getattr(endpoints, function)(*progress_last[: len(arguments)], progress=None) == expected


def test_longer_motions_ask_for_more():
    from pipeline.api import list_motions
    from pipeline.web.endpoints import seconds_to_animate

    by_length = sorted(list_motions(), key=lambda m: m["seconds"])
    shortest, longest = (seconds_to_animate("id", m["name"]) for m in (by_length[0], by_length[-1]))
    assert 15 < shortest < longest < 120
