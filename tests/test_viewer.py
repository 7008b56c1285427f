"""The 3D view: what its files hold, and that the browser draws the same pictures as the renderer."""

import base64
import io

import numpy as np
import pytest
import torch
from browser import SOFTWARE_WEBGL, chromium
from PIL import Image

from pipeline.types import PipelineError
from pipeline.viewer import pack_motion, pack_scene, standalone_page, unpack
from pipeline.viewer.pack import joint_transforms

SIZE = (144, 256)


@pytest.fixture(scope="module")
def poses(doll):
    """Three poses: an arm, the neck and the jaw turn, and the face smiles."""
    out = []
    for i in range(3):
        body_pose, expression = doll.params.body_pose.copy(), doll.params.expression.copy()
        body_pose[17, 1] += 0.4 * i
        body_pose[11, 1] += 0.25 * i
        expression[43], expression[44], expression[24] = 0.4 * i, 0.4 * i, 0.3 * i
        jaw = np.array([0.1 * i, 0, 0], np.float32)
        out.append(doll.params.replace(body_pose=body_pose, expression=expression, jaw_pose=jaw))
    return out


@pytest.fixture(scope="module")
def textured(doll):
    """The doll with colours that vary slowly, so that pictures can be compared, and guessed arms that are lit."""
    points = doll.canonical(doll.params)
    guessed = (points[:, 0].abs() > 0.2).float()
    rgb = 0.5 + 0.4 * torch.sin(points * torch.tensor([9.0, 13.0, 7.0]))
    return doll.replace(rgb=rgb, guessed=guessed, light=torch.tensor([-0.4, 0.3, 0.1]))


@pytest.fixture(scope="module")
def scene(textured):
    return pack_scene(textured)


def test_scene_repeats_the_avatar(textured, scene):
    header, arrays = unpack(scene)
    assert header["splats"] == len(textured) and arrays["weight"].sum(1).min() == arrays["weight"].sum(1).max() == 255
    low, high = np.array(header["low"]), np.array(header["high"])
    packed = arrays["position"] / 65535 * (high - low) + low
    neutral = textured.params.replace(expression=np.zeros_like(textured.params.expression))
    points = textured.canonical(neutral).numpy()
    order = np.lexsort(np.round(packed, 3).T), np.lexsort(np.round(points, 3).T)
    assert np.abs(np.sort(packed, 0) - np.sort(points, 0)).max() < 1e-4
    assert np.allclose(np.sort(arrays["color"], 0) / 255, np.sort(textured.rgb.numpy(), 0), atol=0.003)
    assert len(order[0]) == len(order[1])


def test_packed_numbers_pose_the_avatar(textured, poses, scene):
    """Skinning with the packed numbers, in plain numpy, lands where the avatar does."""
    header, a = unpack(scene)
    _, m = unpack(pack_motion(textured, poses, 30))
    low, high = np.array(header["low"]), np.array(header["high"])
    points, n = a["position"] / 65535 * (high - low) + low, header["faceSplats"]
    basis = a["faceBasis"] * np.array(header["faceStep"])[:, None, None]
    bary = np.concatenate([a["faceBary"] / 255, 1 - a["faceBary"].sum(1, keepdims=True) / 255], 1)
    from scipy.spatial.transform import Rotation

    for frame, params in enumerate(poses):
        moved = points.copy()
        offsets = np.einsum("e,evc->vc", m["expression"][frame], basis)
        moved[:n] += (offsets[a["faceCorner"]] * bary[..., None]).sum(1)
        R = Rotation.from_quat(m["turn"][frame] / 32767).as_matrix()
        per_joint = np.einsum("nkij,nj->nki", R[a["joint"]], moved) + m["shift"][frame][a["joint"]]
        world = (per_joint * (a["weight"] / 255)[..., None]).sum(1)
        means = textured.pose(params)[0].numpy()
        centre = np.median(means, 0)
        assert np.abs(np.sort(world, 0) - np.sort(means, 0)).max() < 0.01
        assert np.abs(np.median(world, 0) - centre).max() < 2e-4


def test_joint_transforms_are_those_of_the_avatar(textured, poses):
    from pipeline.avatar.model import canonical_mesh, skinning_transforms

    batch = joint_transforms(textured, poses)
    for params, A in zip(poses, batch, strict=True):
        one = skinning_transforms(textured.body, params, canonical_mesh(textured.body, params)[1])
        assert np.abs(one.numpy() - A).max() < 1e-5


def test_size_is_bounded(textured):
    header, arrays = unpack(pack_scene(textured, max_splats=5000))
    assert header["splats"] == 5000 and len(arrays["position"]) == 5000
    wider = np.exp(header["logScale"][1])
    assert 1.5 * 0.006 < wider < 4 * 0.006  # fewer, therefore larger


def test_long_and_empty_motions_are_refused(textured, poses):
    with pytest.raises(PipelineError, match="up to 60 s"):
        pack_motion(textured, poses * 30, 1.0)
    with pytest.raises(PipelineError, match="no frames"):
        pack_motion(textured, [], 30.0)


@pytest.mark.parametrize("data", [b"", b"x" * 40, b"\x1f\x8b" + b"x" * 40])
def test_damaged_files_are_refused(data):
    with pytest.raises(PipelineError, match="damaged"):
        unpack(data)


@pytest.fixture(scope="module")
def view_page(textured, scene, poses, tmp_path_factory):
    """The standalone page on disk, with a still in plain green."""
    still = io.BytesIO()
    Image.new("RGB", SIZE, (0, 160, 0)).save(still, "JPEG")
    path = tmp_path_factory.mktemp("view") / "view.html"
    path.write_text(standalone_page(scene, pack_motion(textured, poses, 30), still=still.getvalue(), title="<b>A & B"))
    return path


DRAW = """([frame, yaw, pitch]) => {
  player.toggle(false); Object.assign(player.look, { yaw, pitch });
  player.renderer.resize(144, 256); player.renderer.draw(player.motion, frame, player.look);
  return player.canvas.toDataURL(); }"""


@pytest.mark.browser
def test_browser_draws_what_the_renderer_draws(textured, poses, view_page):
    from pipeline.animation import person_center
    from pipeline.puppet import Puppet

    puppet, centre = Puppet(textured), person_center(textured)
    dull = Puppet(textured.replace(light=None))
    with chromium(*SOFTWARE_WEBGL) as browser:
        page = browser.new_page(viewport={"width": 400, "height": 700})
        problems = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda r: None if r.url.startswith(("file:", "blob:", "data:")) else problems.append(r.url))
        page.goto(view_page.as_uri())
        page.evaluate("window.shown")
        assert page.title() == "<b>A & B"
        for frame, yaw, pitch in ((0, 0, 0), (2, 25, 10), (1, -25, -20)):
            url = page.evaluate(DRAW, [frame, yaw, pitch])
            drawn = np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).convert("RGBA"), float) / 255
            camera = textured.camera.orbited(yaw, pitch, centre)
            color, alpha = puppet.layers(poses[frame], camera)
            difference = drawn[..., :3] * drawn[..., 3:] - color
            assert -10 * np.log10((difference**2).mean()) > 24
            unlit = drawn[..., :3] * drawn[..., 3:] - dull.layers(poses[frame], camera)[0]
            assert (unlit**2).mean() > 1.15 * (difference**2).mean(), "arms are lit as in videos"
            assert np.abs(drawn[..., 3] - alpha).mean() < 0.01
        page.focus("canvas")
        page.keyboard.press("ArrowRight")
        assert page.evaluate("player.look.yaw") == -20  # from -25, five degrees to the right
        page.check("text=show what was guessed")
        page.click("text=Play")
        page.wait_for_function("player.time > 0 && player.look.tint === 1")
        assert problems == []


@pytest.mark.browser
def test_without_webgl_there_is_a_still_picture(view_page):
    with chromium("--disable-3d-apis", "--disable-gpu") as browser:
        page = browser.new_page(viewport={"width": 400, "height": 700})
        page.goto(view_page.as_uri())
        page.evaluate("window.shown")
        assert page.is_visible("img") and not page.is_visible("canvas") and not page.is_visible(".osv-bar")
        assert "no WebGL2" in page.inner_text("[role=status]")
