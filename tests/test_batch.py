"""Many photos and motions: manifests, names by content, resuming, failures, dying workers, Ray."""

import json
import os
import subprocess
import sys
from pathlib import Path

import batch_toys
import numpy as np
import pytest

from pipeline.batch import work
from pipeline.batch.manifest import read_manifest
from pipeline.batch.run import run_batch
from pipeline.batch.runners import LocalRunner, Outcome, RayRunner, Task
from pipeline.types import PipelineError


def written(path, value):
    path.write_text(value if isinstance(value, str) else json.dumps(value), "utf-8")
    return path


@pytest.fixture
def photos(tmp_path):
    """Three files; only their bytes matter here."""
    for name in "abc":
        (tmp_path / f"{name}.jpg").write_bytes(name.encode())
    return tmp_path


class Here:
    """A runner without processes that counts."""

    def __init__(self):
        self.begun = []

    def run(self, tasks):
        for task in tasks:
            self.begun.append(task.key)
            try:
                yield Outcome(task.key, task.function(*task.arguments()))
            except PipelineError as error:
                yield Outcome(task.key, error=str(error))


@pytest.fixture
def fake_work(monkeypatch):
    """Fits and videos that only say what they were made from."""

    def fit(photo, suffix, consent, settings):
        if photo == b"b":
            raise PipelineError("There is nobody in the photo; use another one.")
        return b"avatar of " + photo

    def animate(avatar, motion, suffix, settings):
        return avatar + b" " + str(motion).encode() + settings["format"].encode(), b"c2pa" * settings["label"]

    monkeypatch.setattr(work, "fit", fit)
    monkeypatch.setattr(work, "animate", animate)


def test_manifests_of_all_kinds(photos):
    table = written(photos / "m.csv", "photo,motion,consent,yaw,label\na.jpg,nodding,own,10,yes\nb.jpg,nodding,own,,\n")
    first, second = read_manifest(table)
    assert first.photo == photos / "a.jpg" and first.view().yaw == 10 and first.view().label
    assert second.settings["yaw"] == 0 and second.view().size == (576, 1024) and not second.view().label
    cross = {
        "defaults": {"consent": "permission", "fps": 25},
        "photos": ["a.jpg", {"photo": "b.jpg", "consent": "own", "quality": "fast"}],
        "motions": ["nodding", "c.jpg"],
        "jobs": [{"photo": "c.jpg", "motion": "waving"}],
    }
    jobs = read_manifest(written(photos / "m.json", cross))
    assert [(j.photo.name, Path(j.motion).name, j.consent) for j in jobs] == [
        ("c.jpg", "waving", "permission"), ("a.jpg", "nodding", "permission"), ("a.jpg", "c.jpg", "permission"),
        ("b.jpg", "nodding", "own"), ("b.jpg", "c.jpg", "own"),
    ]  # fmt: skip
    assert all(job.view().fps == 25 for job in jobs) and Path(jobs[2].motion).is_absolute()
    twice = [{"photo": "a.jpg", "motion": "m", "consent": "own"}] * 2
    assert len(read_manifest(written(photos / "m.json", twice))) == 1


@pytest.mark.parametrize(
    ("row", "match"),
    [
        ({"photo": "a.jpg", "motion": "m"}, "Row 1.*say first"),
        ({"photo": "a.jpg", "motion": "m", "consent": "sure"}, "not known"),
        ({"photo": "a.jpg", "consent": "own"}, "'motion' is missing"),
        ({"motion": "m", "consent": "own"}, "'photo' is missing"),
        ({"photo": "a.jpg", "motion": "m", "consent": "own", "zoom": 2}, "no setting 'zoom'"),
        ({"photo": "a.jpg", "motion": "m", "consent": "own", "yaw": "left"}, "'yaw' cannot be"),
        ({"photo": "a.jpg", "motion": "m", "consent": "own", "yaw": 40}, "30 degrees"),
        ({"photo": "a.jpg", "motion": "m", "consent": "own", "fps": float("nan")}, "frame rate"),
        ({"photo": "a.jpg", "motion": "m", "consent": "own", "amplitude": 9}, "amplitude"),
        ({"photo": "a.jpg", "motion": "m", "consent": "own", "format": ".avi"}, "format"),
        ({"photo": "a.jpg", "motion": "m", "consent": "own", "size": "big"}, "WIDTHxHEIGHT"),
        ({"photo": "a.jpg", "motion": "m", "consent": "own", "background": "transparent"}, "transparent"),
        ({"photo": "a\0.jpg", "motion": "m", "consent": "own"}, "photo"),
        ("a.jpg", "named values"),
    ],
)
def test_wrong_rows_are_named(photos, row, match):
    with pytest.raises(PipelineError, match=match):
        read_manifest(written(photos / "m.json", [row]))


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, '{"videos": []}', '{"photos": 3}', "\x00\xff"])
def test_wrong_manifests(tmp_path, text):
    with pytest.raises(PipelineError, match="manifest"):
        read_manifest(written(tmp_path / "m.json", text))
    with pytest.raises(PipelineError, match="cannot be read"):
        read_manifest(tmp_path / "missing.csv")


def test_a_batch_resumes_and_isolates_failures(photos, fake_work, tmp_path):
    manifest = {"defaults": {"consent": "own", "format": ".webm", "label": True}, "photos": ["a.jpg", "b.jpg", "d.jpg"],
                "motions": ["nodding", "waving", "gone.npz"]}  # fmt: skip
    jobs = read_manifest(written(photos / "m.json", manifest))
    runner, out = Here(), tmp_path / "out"
    summary = run_batch(jobs, out, runner)
    assert summary.counts == {"done": 2, "skipped": 0, "failed": 7}
    by_photo = {}
    for entry in summary.entries:
        by_photo.setdefault(entry.job.photo.name, []).append(entry)
    assert [e.status for e in by_photo["a.jpg"]] == ["done", "done", "failed"]
    assert "gone.npz" in by_photo["a.jpg"][2].error and "d.jpg" in by_photo["d.jpg"][0].error
    assert "nobody in the photo" in by_photo["b.jpg"][0].error
    for entry in by_photo["a.jpg"][:2]:
        assert (out / "videos" / entry.video).read_bytes().startswith(b"avatar of a ")
        assert (out / "videos" / f"{entry.video}.c2pa").read_bytes() == b"c2pa"
    listed = json.loads((out / "summary.json").read_text())
    assert listed["failed"] == 7 and len(listed["jobs"]) == 9
    assert len(runner.begun) == 4, "one fit for each of two photos, and two videos"

    (photos / "d.jpg").write_bytes(b"d")
    again = Here()
    summary = run_batch(jobs, out, again)
    assert summary.counts == {"done": 2, "skipped": 2, "failed": 5}
    assert len(again.begun) == 4, "b fails anew, d is fitted and makes two videos"
    (photos / "a.jpg").write_bytes(b"other person")
    summary = run_batch(jobs, out, Here())
    assert [e.status for e in summary.entries[:2]] == ["done", "done"], "another photo under the old name"


def tasks_of(numbers):
    return [Task(str(n), batch_toys.double, lambda n=n: (n,)) for n in numbers]


def test_local_processes_fail_and_die_alone(tmp_path):
    tasks = [
        *tasks_of([1, 13, 14]),
        Task("dies", batch_toys.die, lambda: (1,)),
        Task("once", batch_toys.die_once, lambda: (str(tmp_path / "marker"), 7)),
        Task("unreadable", batch_toys.double, lambda: (Path("/no/such/file").read_bytes(),)),
        *tasks_of([2, 3]),
    ]
    with LocalRunner(2) as runner:
        outcomes = {o.key: o for o in runner.run(tasks)}
    assert len(outcomes) == len(tasks)
    assert {k: o.value for k, o in outcomes.items() if not o.error} == {"1": 2, "2": 4, "3": 6, "once": 7}
    assert outcomes["13"].error.startswith("Thirteen") and "ValueError" in outcomes["14"].error
    assert "died 3 times" in outcomes["dies"].error and "unexpected" in outcomes["unreadable"].error


def test_the_command_says_what_failed(photos, fake_work, tmp_path, capsys, monkeypatch):
    from pipeline.__main__ import main
    from pipeline.batch import runners

    class InProcess(Here):
        def __init__(self, workers):
            super().__init__()

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

    monkeypatch.setattr(runners, "LocalRunner", InProcess)
    rows = "photo,motion,consent\na.jpg,nodding,own\nb.jpg,nodding,own\n"
    arguments = ["batch", str(written(photos / "m.csv", rows)), "--out", str(tmp_path / "out")]
    assert main(arguments) == 1
    assert "1 done, 0 skipped, 1 failed" in (said := capsys.readouterr().out) and "failed: b.jpg, nodding" in said
    written(photos / "m.csv", rows.rpartition("b.jpg")[0])
    assert main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["skipped"] == 1
    assert main([*arguments, "--workers", "0"]) == 1


def test_the_work_makes_a_marked_video(doll, tmp_path):
    from pipeline import credentials
    from pipeline.motion import get_motion, save_clip

    motion = get_motion("explaining")
    clip = motion.replace(**{k: v[:6] for k, v in vars(motion).items() if isinstance(v, np.ndarray)})
    save_clip(clip, tmp_path / "m.npz")
    [job] = read_manifest(
        written(tmp_path / "m.json", [{"photo": "p", "motion": "m.npz", "consent": "own", "size": "144x256"}])
    )
    avatar = doll.save(tmp_path / "d.avatar").read_bytes()
    video, sidecar = work.animate(avatar, (tmp_path / "m.npz").read_bytes(), ".npz", job.settings)
    (tmp_path / "v.mp4").write_bytes(video)
    assert credentials.read(tmp_path / "v.mp4").intact and sidecar == b""
    with pytest.raises(PipelineError, match="ends in"):
        work.animate(avatar, b"", "./../x", job.settings)


def test_without_a_cluster_ray_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(PipelineError, match="Ray is not installed"):
        RayRunner("auto")


@pytest.mark.slow
def test_two_ray_processes(tmp_path):
    """A real cluster of this machine: failures are isolated, and a killed worker's task is done again."""
    pytest.importorskip("ray", reason="needs Ray (requirements-dev.txt)")
    program = tmp_path / "drive.py"
    program.write_text(
        "import json, sys\n"
        "import batch_toys, ray\n"
        "from pipeline.batch.runners import RayRunner, Task\n"
        "from pipeline.types import PipelineError\n"
        "try:\n"
        "    RayRunner('127.0.0.1:1')\n"
        "except PipelineError as error:\n"
        "    print('refused', error, file=sys.stderr)\n"
        "from ray.cluster_utils import Cluster\n"
        "cluster = Cluster(initialize_head=True, head_node_args={'num_cpus': 1, 'include_dashboard': False})\n"
        "cluster.add_node(num_cpus=1)\n"
        f"tasks = [Task(str(n), batch_toys.double, lambda n=n: (n,)) for n in (1, 2, 13, 14)]\n"
        f"tasks.insert(1, Task('once', batch_toys.die_once, lambda: ({str(tmp_path / 'marker')!r}, 7)))\n"
        "tasks.insert(2, Task('dies', batch_toys.die, lambda: (1,)))\n"
        "with RayRunner(cluster.address) as runner:\n"
        "    print(json.dumps({o.key: [o.value, o.error] for o in runner.run(tasks)}))\n"
        "cluster.shutdown()\n"
    )
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": f"{here}{os.pathsep}{here.parent}"}
    done = subprocess.run(
        [sys.executable, str(program)], env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    outcomes = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))  # Ray prints too
    assert outcomes["1"] == [2, ""] and outcomes["2"] == [4, ""] and outcomes["once"] == [7, ""]
    assert outcomes["13"][1].startswith("Thirteen") and "ValueError" in outcomes["14"][1]
    assert "died 3 times" in outcomes["dies"][1] and "refused There is no Ray cluster" in done.stderr
