"""The correction of the shape that filmed labels teach to mesh and Gaussians together."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from toy_body import ToyBody, toy_observation

from pipeline.avatar import fit
from pipeline.avatar import geometry as geo
from pipeline.avatar.initial import posed_body
from pipeline.avatar.shape_field import ROUNDS, ShapeField
from pipeline.config import FitConfig
from pipeline.render import rasterize_gaussians
from pipeline.types import PseudoLabel


def grid(side: int) -> np.ndarray:
    """Triangles of a square sheet of side x side vertices, (F, 3)."""
    a = (np.arange(side - 1)[:, None] * side + np.arange(side - 1)).ravel()
    return np.concatenate([np.stack([a, a + 1, a + side], 1), np.stack([a + 1, a + side + 1, a + side], 1)])


def test_a_vertex_takes_its_surroundings_along():
    side = 15
    field, middle = ShapeField(grid(side), side * side), 7 * side + 7
    with torch.no_grad():
        field.raw[middle] = 1.0
    moved = field().detach()[:, 0].reshape(side, side)
    row = moved[7, 7:]
    assert (row[:-1] >= row[1:]).all() and 0 < row[1] < row[0] < 0.5, "less and less"
    assert row[ROUNDS] > 0 == row[ROUNDS + 1].item() and float(moved.sum()) == pytest.approx(1.0, abs=1e-5)
    with torch.no_grad():
        field.raw[:] = 2.0
    assert torch.allclose(field(), torch.tensor(2.0)), "what all share stays"


def test_footage_of_a_wider_body_widens_mesh_and_gaussians_alike():
    body, config = ToyBody(), FitConfig(steps=20, surface_samples=3000, seed=3, label_start=0.0)
    photo = toy_observation(body, width=72, height=128)
    params = photo.params.replace(global_orient=np.array([0, np.pi / 2, 0], np.float32))
    hits = geo.cast(posed_body(body, params).vertices, body.faces.numpy(), photo.camera)
    alpha = cv2.dilate((hits.face >= 0).astype(np.float32), np.ones((5, 5)))
    label = PseudoLabel(np.full((128, 72, 3), 0.5, np.float32), alpha, photo.camera, params, "body", filmed=True)
    still, taught = (fit(photo, body, (label,), config.replace(lr_shape=rate, lr_offsets=1e-5)) for rate in (0.0, 4e-3))

    def missed(avatar) -> float:
        with torch.no_grad():
            cover = rasterize_gaussians(*avatar.pose(params), photo.camera).alpha.numpy()
        return float(np.abs(cover - alpha).sum() / alpha.sum())

    assert missed(taught) < 0.7 * missed(still)
    carried = (taught.dT[taught.corners] * taught.bary[..., None]).sum(1) - taught.dX
    before = (still.dT[still.corners] * still.bary[..., None]).sum(1) - still.dX
    assert float((carried - before).abs().mean()) < 0.2 * float((taught.dX - still.dX).abs().mean())


def test_the_front_keeps_its_depth():
    side = 6
    front = np.arange(side * side) < 18
    field = ShapeField(grid(side), side * side, front=front)
    with torch.no_grad():
        field.raw += 0.01
    offsets = field().detach().numpy()
    np.testing.assert_array_equal(offsets[front, 2], 0)
    np.testing.assert_allclose(offsets[:, :2], 0.01, atol=1e-6)
    np.testing.assert_allclose(offsets[~front, 2], 0.01, atol=1e-6)
