"""Guessed arms and hands wear the light that the face shows: in the avatar, in its file, in the frames of a video."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from pipeline.avatar import geometry as geo
from pipeline.avatar import load_avatar
from pipeline.avatar.shading import GAIN, STRONGEST, USUAL, bounded, light_of_face
from pipeline.puppet import Puppet
from pipeline.render import rasterize_gaussians
from pipeline.types import PipelineError


@pytest.fixture(scope="module")
def lit_doll(doll):
    """The doll with guessed limbs and a light from the upper left."""
    arms = geo.region(doll.body, "left_arm", "right_arm", "left_hand", "right_hand")[doll.corners.numpy()].all(1)
    guessed = torch.from_numpy(np.where(arms, 0.8, 0.0).astype(np.float32))
    return doll.replace(guessed=guessed, light=torch.tensor([-0.3, 0.3, 0.1]))


def face_of(body, light: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Points all over the body, lit: vertices, colours, triangles and barycentrics."""
    rng, vertices, faces = np.random.default_rng(seed), body.v_template.numpy(), body.faces.numpy()
    face = np.repeat(np.arange(len(faces)), 2)
    bary = rng.dirichlet((1, 1, 1), len(face)).astype(np.float32)
    normal = (geo.vertex_normals(vertices, faces)[faces[face]] * bary[..., None]).sum(1)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    bright = 0.6 * (1 + normal @ light) * rng.uniform(0.95, 1.05, len(face))
    front = normal[:, 2] > 0.2
    return vertices, bright[front, None] * np.array([1.0, 0.8, 0.7]), face[front], bary[front]


@pytest.mark.parametrize("light", [(-0.25, 0.1, 0.05), (0.25, 0.2, 0.1), (0.0, 0.3, 0.0)])
def test_light_is_read_off_the_face(doll, light):
    found = light_of_face(doll.body, *face_of(doll.body, np.array(light)))
    assert np.linalg.norm(found) <= STRONGEST + 1e-6
    sideways = found[:2] / np.linalg.norm(found[:2])
    assert sideways @ (np.array(light[:2]) / np.linalg.norm(light[:2])) > 0.9


def test_without_a_face_the_light_is_the_usual_one(doll):
    vertices, rgb, face, bary = face_of(doll.body, np.zeros(3))
    found = light_of_face(doll.body, vertices, rgb[:0], face[:0], bary[:0])
    assert np.allclose(found, bounded(np.array(USUAL))) and np.allclose(found, GAIN * np.array(USUAL))


def test_only_guessed_limbs_are_lit_and_change_with_the_pose(lit_doll):
    limbs = lit_doll.guessed > 0.5
    assert len(lit_doll.shading.rows) == int(limbs.sum()) > 1000
    raised = lit_doll.params.body_pose.copy()
    raised[16] = (0.0, -1.4, 0.3)
    colors = [lit_doll.pose(p)[2] for p in (lit_doll.params, lit_doll.params.replace(body_pose=raised))]
    moved = (colors[0] - colors[1]).abs().amax(1)
    assert moved[~limbs].max() == 0 and moved[limbs].max() > 0.05
    assert torch.equal(colors[0][~limbs], lit_doll.rgb[~limbs]) and float(torch.stack(colors).max()) <= 1
    assert torch.equal(lit_doll.replace(light=None).pose(lit_doll.params)[2], lit_doll.rgb)


def test_frames_show_the_light_of_the_avatar(lit_doll):
    with torch.no_grad():
        full = rasterize_gaussians(*lit_doll.pose(lit_doll.params), lit_doll.camera, background=torch.zeros(3))
    lit, dull = (
        Puppet(avatar).layers(lit_doll.params, lit_doll.camera)[0]
        for avatar in (lit_doll, lit_doll.replace(light=None))
    )
    error = [float(((image - full.image.numpy()) ** 2).mean()) for image in (lit, dull)]
    assert error[0] < 1e-5 and error[1] > 20 * error[0]


def test_light_is_kept_in_the_file(tmp_path, lit_doll):
    again = load_avatar(lit_doll.save(tmp_path / "lit"), lit_doll.body)
    assert torch.equal(again.light, lit_doll.light)
    assert load_avatar(lit_doll.replace(light=None).save(tmp_path / "dull"), lit_doll.body).light is None
    for wrong in (torch.tensor([0.0, float("nan"), 0.0]), torch.tensor([0.0, 3.0, 0.0]), torch.zeros(2)):
        path = dataclasses.replace(lit_doll, light=wrong).save(tmp_path / "wrong")
        with pytest.raises(PipelineError, match="light"):
            load_avatar(path, lit_doll.body)
