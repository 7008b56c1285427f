"""Avatars for other programs: PLY, pictures, animations, a web page, and the command that writes them."""

import json

import numpy as np
import pytest
from PIL import Image
from small_motion import short_clip

from pipeline.__main__ import main
from pipeline.animation import View
from pipeline.export import PLY_FIELDS, SH_C0, export
from pipeline.motion import get_motion
from pipeline.types import PipelineError

SMALL = View(size=(72, 128))


@pytest.fixture(scope="module")
def motion(tmp_path_factory):
    return get_motion(short_clip(tmp_path_factory.mktemp("motion")))


def read_ply(path):
    """A binary PLY of floats as (names, table), by its header alone."""
    head, _, data = path.read_bytes().partition(b"end_header\n")
    names = tuple(line.split()[-1].decode() for line in head.splitlines() if line.startswith(b"property float"))
    return names, np.frombuffer(data, "<f4").reshape(-1, len(names))


def test_ply_holds_the_posed_gaussians(doll, motion, tmp_path):
    """Read back by another program's reader, and by its header."""
    import trimesh

    still = export(doll, tmp_path / "still.ply")
    moved = export(doll, tmp_path / "moved.ply", motion=motion, frame=10)
    names, table = read_ply(still)
    means, scales, colors = (x.numpy() for x in doll.pose(doll.params))
    assert names == PLY_FIELDS and len(table) == len(doll)
    cloud = trimesh.load(still)
    assert np.allclose(cloud.vertices, means * [1, -1, -1], atol=1e-6)
    assert np.allclose(table[:, 6:9] * SH_C0 + 0.5, colors, atol=1e-6)
    assert np.allclose(np.exp(table[:, 10:13]), scales[:, None], rtol=1e-5)
    assert np.allclose(table[:, 13:], [1, 0, 0, 0]) and (1 / (1 + np.exp(-table[:, 9])) > 0.999).all()
    assert np.abs(read_ply(moved)[1][:, :3] - table[:, :3]).max() > 0.02


def test_pictures(doll, motion, tmp_path):
    transparent = View(size=SMALL.size, background="transparent")
    with Image.open(export(doll, tmp_path / "a.png", view=transparent)) as picture:
        assert picture.size == SMALL.size and picture.mode == "RGBA" and picture.getextrema()[3] == (0, 255)
    with Image.open(export(doll, tmp_path / "a.jpg", motion=motion, frame=3, view=SMALL)) as picture:
        assert picture.size == SMALL.size and picture.format == "JPEG"


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_animations(doll, motion, tmp_path, suffix):
    path = export(doll, tmp_path / f"a{suffix}", motion=motion, view=SMALL)
    with Image.open(path) as picture:
        assert picture.size == SMALL.size and picture.n_frames == 10 and picture.info["loop"] == 0
        first = np.asarray(picture.convert("RGB"), float)
        picture.seek(9)
        assert picture.info["duration"] == 50
        assert np.abs(np.asarray(picture.convert("RGB"), float) - first).max() > 20


def test_page_and_file(doll, motion, tmp_path):
    from pipeline.avatar import Avatar

    page = export(doll, tmp_path / "a.html", motion=motion).read_text()
    assert "class Player" in page and "http://" not in page and "https://" not in page
    assert len(Avatar.load(export(doll, tmp_path / "a.avatar"), doll.body)) == len(doll)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("a.exe", {}, "must end in"),
        ("a.ply", {"frame": 99}, "0 to 14"),
        ("a.gif", {"motion": None}, "needs a motion"),
        ("a.jpg", {"view": View(background="transparent")}, "JPEG cannot"),
        ("a.gif", {"view": View(background="transparent")}, "GIF cannot"),
        ("a.png", {"view": View(yaw=80)}, "30 degrees"),
    ],
)
def test_refusals_leave_nothing(doll, motion, tmp_path, name, options, words):
    with pytest.raises(PipelineError, match=words):
        export(doll, tmp_path / name, **{"motion": motion, **options})
    assert list(tmp_path.iterdir()) == []


def test_command(doll, tmp_path, capsys):
    doll.save(tmp_path / "doll")
    out = tmp_path / "out.ply"
    assert (
        main(["export", str(tmp_path / "doll"), "--ply", str(out), "--motion", "greeting", "--frame", "5", "--json"])
        == 0
    )
    result = json.loads(capsys.readouterr().out)
    assert result["exported"]["ply"] == {"path": str(out), "bytes": out.stat().st_size}
    assert main(["export", str(tmp_path / "doll")]) == 1 and "Nothing to export" in capsys.readouterr().err
    assert main(["export", str(tmp_path / "doll"), "--ply", "x.png"]) == 1 and "--ply takes" in capsys.readouterr().err
