"""Every light block of the head generator against the parity vectors made by the official code."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import portrait4d_golden as golden
import pytest
import torch
from portrait4d_golden import gap, sub

from pipeline.labels.portrait4d.align import align, motion_crop, motion_transform, warp
from pipeline.labels.portrait4d.background import BackgroundNet
from pipeline.labels.portrait4d.detail_encoder import DetailEncoder
from pipeline.labels.portrait4d.field import FieldDecoder, sample_planes
from pipeline.labels.portrait4d.layers import with_coordinates
from pipeline.labels.portrait4d.motion_encoder import MotionEncoder
from pipeline.labels.portrait4d.neck import PREFIX, Deformation, FlamePose, NeckDeformer
from pipeline.labels.portrait4d.rays import camera_vector, make_rays
from pipeline.labels.portrait4d.superres import SuperResolution, upsample_rgb
from pipeline.labels.portrait4d.volume import Jitter, VolumeRenderer

EVERY = slice(None, None, 131)
FIVE_OF_98 = [96, 97, 54, 76, 82]


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "specs" / "portrait4d_golden"


@pytest.fixture(scope="module", autouse=True)
def no_gradients():
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def jitter() -> Jitter:
    coarse = np.random.default_rng(101).random((1, 1, 48, 1)).astype(np.float32).reshape(48)
    fine = np.random.default_rng(102).random((16384, 48)).astype(np.float32)
    return Jitter(torch.from_numpy(coarse), torch.from_numpy(fine))


def test_super_resolution(folder):
    want = np.load(folder / "g_sr.npz")
    net = golden.filled(SuperResolution(), "superresolution.")
    style = torch.from_numpy(golden.fill_value("w_avg", (512,)))
    rgb = torch.from_numpy(np.random.default_rng(21).uniform(-1, 1, (1, 3, 128, 128)).astype(np.float32))
    features = torch.from_numpy(np.random.default_rng(22).uniform(-1, 1, (1, 32, 128, 128)).astype(np.float32))
    assert gap(net.block0.conv0.affine(style)[None], want["style_b0c0"]) < 2e-5
    enlarged = upsample_rgb(rgb, net.block0.resample_filter)[0]
    assert gap(enlarged[:, ::8, ::8], want["up_rgb"]) < 2e-6
    assert gap(enlarged[:, :6, :6], want["up_rgb_corner"]) < 2e-6
    x, image = net.block0(features, rgb, style)
    assert gap(sub(x, 16, 3, 16), want["block0_x"]) < 2e-5
    assert gap(image[0, :, 1::8, 1::8], want["block0_img"]) < 2e-5
    _, out = net.block1(x, image, style)
    assert gap(out[0, :, 2::8, 2::8], want["out_sub"]) < 2e-5
    assert gap(out[0, :, :32, :32], want["out_crop"]) < 2e-5
    assert np.allclose([golden.stats(t) for t in (x, image, out)], want["stats"], rtol=1e-5, atol=1e-5)


def test_detail_encoder_and_background(folder):
    want = np.load(folder / "g_encoders.npz")
    x = with_coordinates(golden.source_image())
    detail = golden.filled(DetailEncoder(), "encoder_detail.")(x)
    assert gap(sub(detail, 8, 3, 16), want["features_detail"]) < 5e-5
    logits = golden.filled(BackgroundNet(), "background.")(x)
    assert gap(sub(logits, 4, 5, 32), want["background_logits"]) < 5e-5
    assert np.allclose([golden.stats(detail), golden.stats(logits)], want["stats"][[1, 5]], rtol=1e-5, atol=1e-5)


def test_motion_encoder(folder):
    want = np.load(folder / "g_pdfgc.npz")
    net = golden.filled(MotionEncoder())
    crop = golden.face_crop()
    assert gap(net.model(crop), want["fan"]) < 5e-5
    vector = net(crop)
    assert gap(vector[:, :6], want["eye6"]) < 5e-5
    assert gap(vector[:, 6:36], want["emo30"]) < 5e-5
    assert gap(vector[:, 36:], want["mouth512"]) < 5e-5
    assert not net.train().training


def test_motion_crop_of_an_aligned_picture(folder):
    want = np.load(folder / "g_pdfgc.npz")
    image, landmarks = golden.source_image(), want["landmarks68"]
    matrix = motion_transform(landmarks)
    assert gap(matrix[None], want["affine2x3"]) < 1e-6
    assert gap(warp(image, matrix, 224)[0, :, ::8, ::8], want["warp224"]) < 2e-4
    crop = motion_crop(image, landmarks)
    assert gap(crop[0, :, ::8, ::8], want["crop_resized"]) < 2e-4
    assert gap(golden.filled(MotionEncoder())(crop), want["motion548"]) < 5e-5


def test_motion_transform_of_one_point_is_the_identity():
    assert np.array_equal(motion_transform(np.ones((68, 2))), np.eye(2, 3, dtype=np.float32))


@pytest.mark.parametrize("case", ["a", "b"])
def test_alignment(folder, case):
    want = np.load(folder / "g_align.npz")
    picture = np.kron(
        np.random.default_rng(41).integers(0, 256, (36, 48, 3)).astype(np.uint8), np.ones((20, 20, 1), np.uint8)
    )
    landmarks = want[f"{case}_landmarks98"]
    found = align(landmarks[FIVE_OF_98], 960, 720)
    assert gap([found.width, found.height, found.scale, found.tx, found.ty], want[f"{case}_trans_params"]) < 1e-6
    assert gap(found.to_aligned(landmarks), want[f"{case}_out98"]) < 1e-6
    assert gap(found.to_aligned(want[f"{case}_landmarks68"]), want[f"{case}_out68"]) < 1e-6
    assert gap(found.to_picture(found.to_aligned(landmarks)), landmarks) < 1e-9
    cut = found.apply(picture)
    assert np.array_equal(cut[::16, ::16], want[f"{case}_crop_sub"])
    assert int(cut.astype(np.int64).sum()) == int(want[f"{case}_crop_sum"][0])


def test_head_pose_in_the_camera(folder):
    from scipy.spatial.transform import Rotation

    want = np.load(folder / "g_pose.npz")
    offset = Rotation.from_euler("xyz", [0.08489475, 0.002882, 0.00353599])
    for angles, neck, camera in zip(want["bfm_angles"], want["flame_neck_pose"], want["c25"], strict=True):
        head = offset * Rotation.from_euler("xyz", angles)
        assert gap(head.as_rotvec(), neck) < 1e-6
        assert gap(camera_vector(torch.from_numpy(head.as_matrix())), camera) < 1e-6


# ---------------------------------------------------------------------------------------------- volume rendering


def test_field(folder):
    want = np.load(folder / "g_render.npz")
    points = np.random.default_rng(15).uniform(-0.75, 0.75, (1, 2000, 3)).astype(np.float32)[0]
    features = sample_planes(golden.smooth_planes(), torch.from_numpy(points))
    sigma, colours = golden.filled(FieldDecoder(), "decoder.")(features)
    assert gap(features[None, :, ::4], want["tri_feat"]) < 5e-6
    assert gap(sigma[None], want["dec_sigma"]) < 1e-3
    assert gap(colours[None, :, ::4], want["dec_rgb"]) < 5e-6


@pytest.mark.parametrize("tag", ["neck", "cam"])
def test_volume_renderer_on_a_sample_of_rays(folder, jitter, tag):
    want = np.load(folder / "g_render.npz")
    camera = camera_vector(torch.eye(3) if tag == "neck" else golden.head_rotation(0.3))
    rays = make_rays(camera, 128)
    suffix = "" if tag == "neck" else "_b"
    assert gap(rays.directions[::67], want[f"ray_d{suffix}"]) < 5e-7
    assert gap(rays.origin[None], want[f"ray_o{suffix}"]) < 1e-6
    decoder = golden.filled(FieldDecoder(), "decoder.")
    grid = torch.arange(16384).view(128, 128)[1::8, 1::8].flatten()
    chosen = torch.cat([torch.arange(16384)[EVERY], grid])
    some = rays._replace(directions=rays.directions[chosen])
    deform = _stored_deformation(folder) if tag == "neck" else None
    renderer = VolumeRenderer(decoder, rays_per_chunk=100)
    seen = renderer(golden.smooth_planes(), some, Jitter(jitter.coarse, jitter.fine[chosen]), deform, samples=True)
    n = len(chosen) - len(grid)
    assert gap(seen.coarse_depths[0], want[f"{tag}_z_coarse"]) < 5e-6
    assert gap(seen.coarse_weights[:n], want[f"{tag}_w_coarse"]) < 5e-5
    assert gap(seen.fine_depths[:n], want[f"{tag}_z_fine"]) < 2e-4
    assert gap(seen.all_depths[:n], want[f"{tag}_all_depths"]) < 2e-4
    assert gap(seen.all_weights[:n], want[f"{tag}_all_weights"]) < 5e-5
    foreground = 2 * seen.features[n:].T.reshape(32, 16, 16)[::4] - 1
    assert gap(foreground[None], want[f"{tag}_feature_wobg"]) < 5e-5


def test_chunks_do_not_change_the_picture(jitter):
    decoder = golden.filled(FieldDecoder(), "decoder.")
    rays = make_rays(camera_vector(torch.eye(3)), 12)
    planes = golden.smooth_planes()
    one, many = (VolumeRenderer(decoder, n)(planes, rays, Jitter.centred()) for n in (4096, 7))
    assert torch.allclose(one.features, many.features, atol=1e-6)
    assert torch.allclose(one.depth, many.depth, atol=1e-5)
    assert many.all_depths.numel() == 0


# ---------------------------------------------------------------------------------------------------- neck mode


def _stored_deformation(folder: Path) -> Deformation:
    want = np.load(folder / "g_deformer.npz")
    names = ("grid24_offset", "grid24_dist2", "grid8_offset")
    return Deformation.from_grids(*(torch.from_numpy(want[n]) for n in names))


def _deformer(want) -> NeckDeformer:
    flame = {"v_template": want["mesh_v"], "parents": np.array([-1, 0, 1, 1, 1])}
    flame |= {n: want[n] for n in ("lbs_weights", "J_regressor")}
    for name, shape in (("shapedirs", (482, 3, 400)), ("posedirs", (36, 1446))):
        seed = zlib.crc32(f"{PREFIX}flame_model.{name}".encode())
        flame[name] = np.float32(0.002) * np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    tensors = {f"{PREFIX}flame_model.{n}": torch.from_numpy(v) for n, v in flame.items()}
    tensors |= {PREFIX + n: torch.from_numpy(want[n]) for n in ("simplify_idxs", "simplify_baris", "simplify_faces")}
    return NeckDeformer(tensors)


def _pose(neck: tuple[float, float, float]) -> FlamePose:
    draw = lambda seed, n: torch.from_numpy(np.random.default_rng(seed).standard_normal((1, n))).float()[0]  # noqa: E731
    jaw = torch.tensor([0.10, 0.01, -0.02])
    return FlamePose(0.5 * draw(11, 300), 0.5 * draw(12, 100), torch.tensor(neck), jaw, 0.1 * draw(13, 6))


def test_flame_mesh_of_the_neck_mode(folder):
    want = np.load(folder / "g_deformer.npz")
    deformer = _deformer(want)
    for neck, tag in (((0.15, -0.35, 0.10), "posed"), ((0.0, 0.0, 0.0), "neutral_neck")):
        vertices, joints = deformer.vertices(_pose(neck))
        assert gap(vertices[None], want[f"verts_{tag}"]) < 1e-6
        assert gap(joints[None], want[f"joints_{tag}"]) < 1e-6
        assert gap(deformer.simplified(vertices)[None], want[f"simplified_{tag}"]) < 1e-6


def test_deformation_grids(folder):
    want = np.load(folder / "g_deformer.npz")
    posed, reference = (torch.from_numpy(want[n])[0] for n in ("simplified_posed", "simplified_neutral_neck"))
    deformer = _deformer(want)
    offset, squared, nearest = deformer.node_offsets(posed, reference, 24)
    assert np.array_equal(nearest.numpy(), want["grid24_face"])
    assert gap(squared, want["grid24_dist2"]) < 5e-6
    assert gap(offset, want["grid24_offset"]) < 5e-6
    coarse, squared, _ = deformer.node_offsets(posed, reference, 8)
    assert gap(coarse, want["grid8_offset"]) < 5e-6
    assert gap(squared, want["grid8_dist2"]) < 5e-6


def test_deformed_points(folder):
    want = np.load(folder / "g_deformer.npz")
    points = torch.from_numpy(np.random.default_rng(14).uniform(-0.72, 0.72, (1, 4000, 3)).astype(np.float32))[0]
    assert gap(points[None, :1000], want["x_t"]) == 0
    assert gap(_stored_deformation(folder)(points)[None, :1000], want["x_c"]) < 2e-5


def test_no_neck_rotation_is_no_deformation(folder):
    deformer = _deformer(np.load(folder / "g_deformer.npz"))
    mesh = deformer.simplified(deformer.vertices(_pose((0.0, 0.0, 0.0)))[0])
    offset, squared, _ = deformer.node_offsets(mesh, mesh, 8)
    points = torch.from_numpy(np.random.default_rng(14).uniform(-0.72, 0.72, (500, 3)).astype(np.float32))
    still = Deformation.from_grids(offset, squared, offset)
    assert float((still(points) - points).abs().max()) < 1e-6
