"""The mesh rasteriser and the soft mask against the readable reference, finite differences and hostile input."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.render import (
    face_normals,
    interpolate,
    mesh_mask,
    rasterize_mesh,
    reference,
    shaded,
    vertex_normals,
)
from pipeline.types import Camera, PipelineError


def sphere(rings: int = 7, segments: int = 11) -> tuple[np.ndarray, np.ndarray]:
    """A closed sphere of radius 1 with outward triangles."""
    polar, turn = np.linspace(0, np.pi, rings + 1)[1:-1], np.arange(segments) * 2 * np.pi / segments
    v, u = np.meshgrid(polar, turn, indexing="ij")
    body = np.stack([np.sin(v) * np.sin(u), np.cos(v), np.sin(v) * np.cos(u)], -1).reshape(-1, 3)
    vertices = np.concatenate([body, [[0, 1, 0], [0, -1, 0]]]).astype(np.float32)
    top, bottom, faces = len(body), len(body) + 1, []
    for s in range(segments):
        n = (s + 1) % segments
        faces += [(top, s, n), (bottom, len(body) - segments + n, len(body) - segments + s)]
        for r in range(rings - 2):
            a, b, c, d = r * segments + s, r * segments + n, (r + 1) * segments + s, (r + 1) * segments + n
            faces += [(a, c, b), (b, c, d)]
    return vertices, np.array(faces, np.int64)


def two_blobs() -> tuple[np.ndarray, np.ndarray]:
    """Two overlapping spheres of different size, with an outline that is not round."""
    vertices, faces = sphere()
    return np.concatenate([vertices * 0.5, vertices * 0.31 + [0.42, 0.3, 0.3]]).astype(np.float32), np.concatenate(
        [faces, faces + len(vertices)]
    )


CAMERA = Camera.frontal(41, 35, 45.0, 2.0).orbited(12.0, 7.0, np.zeros(3, np.float32))


def test_fragments_equal_reference():
    vertices, faces = two_blobs()
    fragments = rasterize_mesh(vertices, faces, CAMERA)
    face, bary, depth = reference.rasterize_mesh(torch.from_numpy(vertices).double(), torch.from_numpy(faces), CAMERA)
    assert np.array_equal(fragments.face, face.numpy())
    assert np.abs(fragments.bary - bary.numpy()).max() < 1e-4
    hit = fragments.face >= 0
    assert hit.mean() > 0.2
    assert np.abs(fragments.depth[hit] - depth.numpy()[hit]).max() < 1e-5
    assert np.isinf(fragments.depth[~hit]).all()


def test_barycentrics_are_perspective_correct():
    """Interpolated world positions project back onto the centres of their pixels."""
    vertices, faces = two_blobs()
    fragments = rasterize_mesh(vertices, faces, CAMERA)
    position = interpolate(fragments, faces, vertices)
    y, x = np.nonzero(fragments.face >= 0)
    pixel, z = CAMERA.project(position[y, x])
    assert np.abs(pixel - np.stack([x + 0.5, y + 0.5], -1)).max() < 2e-3
    assert np.abs(z - fragments.depth[y, x]).max() < 1e-5


def test_triangles_through_the_near_plane_and_off_screen():
    """A floor that runs from far ahead to behind the camera fills exactly the picture below the horizon."""
    floor = np.array([[-500, -1, 500], [500, -1, 500], [500, -1, -500], [-500, -1, -500]], np.float32)
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    camera = Camera.frontal(40, 30, 30.0, 0.0)
    fragments = rasterize_mesh(floor, faces, camera)
    expected, _, depth = reference.rasterize_mesh(torch.from_numpy(floor).double(), torch.from_numpy(faces), camera)
    assert np.array_equal(fragments.face, expected.numpy())
    assert (fragments.face[16:] >= 0).all() and (fragments.face[:15] < 0).all()
    assert np.allclose(fragments.depth[16:], depth.numpy()[16:], rtol=1e-4)


def test_shared_edges_leave_no_holes():
    vertices, faces = sphere(60, 90)
    camera = Camera.frontal(300, 300, 700.0, 5.0).orbited(33.0, 21.0, np.zeros(3, np.float32))
    hit = rasterize_mesh(vertices, faces, camera).face >= 0
    from scipy.ndimage import binary_fill_holes

    assert np.array_equal(hit, binary_fill_holes(hit))


def test_hostile_meshes_draw_what_can_be_drawn():
    vertices, faces = sphere()
    empty = rasterize_mesh(vertices, np.zeros((0, 3), np.int64), CAMERA)
    assert (empty.face == -1).all() and (empty.bary == 0).all()
    broken = vertices.copy()
    broken[3] = np.nan
    broken[5] = np.inf
    good = ~np.isin(faces, (3, 5)).any(1)
    fragments = rasterize_mesh(broken, faces, CAMERA)
    assert np.array_equal(np.unique(fragments.face), np.unique(fragments.face[fragments.face < 0].tolist() + [
        f for f in np.unique(fragments.face) if f >= 0 and good[f]
    ]))  # fmt: skip
    assert (rasterize_mesh(vertices + [0, 0, 50], faces, CAMERA).face == -1).all()
    assert rasterize_mesh(vertices, faces, Camera.frontal(1, 1, 5.0, 3.0)).face.item() >= 0
    degenerate = np.array([[0, 0, 0], [1, 1, 1], [2, 3, 3]])
    rasterize_mesh(vertices, degenerate, CAMERA)
    assert mesh_mask(torch.from_numpy(broken), faces, CAMERA).isfinite().all()


def test_wrong_meshes_say_what_is_wrong():
    vertices, faces = sphere()
    with pytest.raises(PipelineError, match="only"):
        rasterize_mesh(vertices, faces + 100, CAMERA)
    with pytest.raises(PipelineError, match="faces"):
        rasterize_mesh(vertices, faces[:, :2], CAMERA)


def test_torch_in_torch_out_with_gradients():
    vertices, faces = two_blobs()
    fragments = rasterize_mesh(torch.from_numpy(vertices), torch.from_numpy(faces), CAMERA)
    attributes = torch.from_numpy(vertices).clone().requires_grad_()
    picture = interpolate(fragments, faces, attributes)
    assert np.allclose(picture.detach().numpy(), interpolate(fragments, faces, vertices), atol=1e-6)
    picture.sum().backward()
    assert attributes.grad.sum() == pytest.approx(3 * (fragments.face >= 0).sum(), rel=1e-5)


def test_normals_point_outwards_and_match_between_numpy_and_torch():
    vertices, faces = sphere(30, 40)
    normals = vertex_normals(vertices, faces)
    assert (normals * vertices).sum(-1).min() > 0.99
    assert np.allclose(vertex_normals(torch.from_numpy(vertices), faces).numpy(), normals, atol=1e-6)
    flat = face_normals(vertices, faces)
    assert np.allclose(np.linalg.norm(flat, axis=1), 1, atol=1e-5)
    assert np.allclose(face_normals(torch.from_numpy(vertices), faces).numpy(), flat, atol=1e-5)


def test_shaded_picture():
    vertices, faces = sphere(30, 40)
    image = shaded(vertices, faces, Camera.frontal(60, 50, 60.0, 3.0), (0.5, 0.25, 1.0), background=(0.0, 1.0, 0.0))
    assert image.dtype == np.float32 and image.shape == (50, 60, 3)
    assert np.array_equal(image[0, 0], [0, 1, 0])
    assert np.allclose(image[25, 30] / image[25, 30, 2], [0.5, 0.25, 1.0], atol=1e-5)
    assert image[25, 30, 2] > image[38, 30, 2] > 0.2  # lit from the camera and from above
    assert image[15, 30, 2] > image[35, 30, 2]
    per_vertex = shaded(vertices, faces, CAMERA, np.abs(vertices), background=np.zeros((35, 41, 3), np.float32))
    assert per_vertex.max() <= 1 and per_vertex.std() > 0.05


@pytest.mark.parametrize("seed", range(4))
def test_mask_equals_reference(seed):
    vertices, faces = two_blobs()
    vertices = vertices + np.random.default_rng(seed).normal(scale=0.03, size=vertices.shape).astype(np.float32)
    fast = mesh_mask(torch.from_numpy(vertices), faces, CAMERA)
    slow = reference.mesh_mask(torch.from_numpy(vertices).double(), torch.from_numpy(faces), CAMERA)
    assert ((fast > 0.01) & (fast < 0.99)).sum() > 30
    assert (fast - slow).abs().max() < 1e-3


def test_mask_of_a_square_is_its_exact_area():
    """Axis-aligned edges at fractional pixels: coverage is exact along the edges."""
    camera = Camera.frontal(20, 20, 10.0, 1.0)
    corners = np.array([[-0.63, -0.47, 0], [0.58, -0.47, 0], [0.58, 0.41, 0], [-0.63, 0.41, 0]], np.float32)
    mask = mesh_mask(torch.from_numpy(corners), np.array([[0, 1, 2], [0, 2, 3]]), camera)
    assert mask[10].sum() == pytest.approx(12.1, abs=1e-4)
    assert mask[:, 10].sum() == pytest.approx(8.8, abs=1e-4)
    assert mask[10, 3] == pytest.approx(0.3, abs=1e-4)


def test_mask_gradient_equals_reference_and_finite_differences():
    vertices, faces = two_blobs()
    vertices = vertices + np.random.default_rng(1).normal(scale=0.01, size=vertices.shape).astype(np.float32)
    weight = torch.sin(torch.arange(35 * 41) * 0.013).reshape(35, 41).double()

    def loss(points: torch.Tensor) -> torch.Tensor:
        return (mesh_mask(points, faces, CAMERA).double() * weight).sum()

    points = torch.from_numpy(vertices).requires_grad_()
    loss(points).backward()
    slow = torch.from_numpy(vertices).double().requires_grad_()
    (reference.mesh_mask(slow, torch.from_numpy(faces), CAMERA) * weight).sum().backward()
    assert (points.grad - slow.grad).abs().max() < 1e-3 * slow.grad.abs().max()

    rng, step, close = np.random.default_rng(0), 1e-4, 0
    for _ in range(8):
        direction = torch.from_numpy(rng.normal(size=vertices.shape).astype(np.float32))
        with torch.no_grad():
            numeric = (loss(points + step * direction) - loss(points - step * direction)).item() / (2 * step)
        close += (points.grad * direction).sum().item() == pytest.approx(numeric, rel=0.03, abs=1.0)
    assert close >= 7  # where a corner of the outline passes a row of pixel centres, the mask has kinks and small jumps


def test_mask_loss_moves_a_sphere_onto_its_target():
    vertices, faces = (torch.from_numpy(a) for a in sphere(12, 20))
    camera = Camera.frontal(64, 64, 60.0, 3.0)
    target = mesh_mask(vertices * 0.8 + torch.tensor([0.25, -0.15, 0.0]), faces, camera)
    shift, size = torch.zeros(3, requires_grad=True), torch.tensor(0.6, requires_grad=True)
    optimizer = torch.optim.Adam([shift, size], lr=0.02)
    for _ in range(80):
        optimizer.zero_grad()
        (mesh_mask(vertices * size + shift, faces, camera) - target).square().mean().backward()
        optimizer.step()
    with torch.no_grad():
        assert (mesh_mask(vertices * size + shift, faces, camera) - target).abs().mean() < 2e-3
