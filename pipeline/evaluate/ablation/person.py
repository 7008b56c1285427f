"""A synthetic person with ground truth: the open body in displaced clothes, with a shell of hair, lit from one side.

The truth has another layout, another density and (through the light) other colours in every pose than anything the fit
can represent exactly, and pictures are drawn at twice their size and averaged down.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from pipeline.avatar import geometry as geo
from pipeline.avatar import initial, model, surface
from pipeline.avatar.model import Avatar
from pipeline.evaluate.ablation.paint import noise, paint, strands
from pipeline.types import Array, BodyParams, Camera, Detections, FitReport, Observation

if TYPE_CHECKING:
    from pipeline.body import BodyModel

LIGHT = np.array([0.45, 0.55, 0.70], np.float32) / np.linalg.norm([0.45, 0.55, 0.70])
AMBIENT, DIFFUSE = 0.72, 0.36
DISTANCE = 2.2
"""Metres from the camera to the body's middle; the picture is 1.1 m high there."""
FINER = 2
"""Pictures are drawn so many times larger per side and averaged down."""


@dataclass(frozen=True)
class Person:
    """The truth.

    Attributes:
        avatar: its Gaussians; ``params`` and ``camera`` are the photo's.
        normals: (N, 3) canonical unit normals of the Gaussians, for the light.
    """

    avatar: Avatar
    normals: Array

    @property
    def body(self) -> BodyModel:
        """The body model."""
        return self.avatar.body

    def draw(self, params: BodyParams, camera: Camera, scale: int = FINER) -> tuple[Array, Array]:
        """A true picture: colour premultiplied by alpha (H, W, 3), alpha (H, W), float32 in 0..1."""
        from pipeline.render import rasterize_gaussians

        a = self.avatar
        with torch.no_grad():
            vertices, joints = model.canonical_mesh(a.body, params)
            transforms = model.skinning_transforms(a.body, params, joints)
            blended = model.blend(transforms, a.skin_index, a.skin_weight)
            rest = model.barycentric(vertices, a.corners, a.bary) + a.dX
            means = (blended[:, :, :3] @ rest[:, :, None])[:, :, 0] + blended[:, :, 3]
            turned = (blended[:, :, :3] @ torch.from_numpy(self.normals)[:, :, None])[:, :, 0].numpy()
            light = AMBIENT + DIFFUSE * np.clip(turned @ LIGHT, 0, None)
            colours = (a.rgb * torch.from_numpy(light.astype(np.float32))[:, None]).clamp(0, 1)
            large = camera.resized(camera.width * scale, camera.height * scale)
            out = rasterize_gaussians(means, a.scale, colours, large)
        size = (camera.width, camera.height)
        shrink = [cv2.resize(x.numpy(), size, interpolation=cv2.INTER_AREA) for x in (out.image, out.alpha)]
        return shrink[0], shrink[1]


def make_person(body: BodyModel, seed: int, height: int, gaussians: int) -> Person:
    """Make up a person.

    Args:
        body: body model. seed: of shape, folds and colours. height: of the photo in pixels (9:16).
        gaussians: about so many on the surface; the hair comes on top.
    """
    rng = np.random.default_rng(seed)
    params = BodyParams.zeros(body.n_betas, body.n_expression)
    betas = params.betas.copy()
    betas[: min(6, len(betas))] = rng.normal(0, 0.4, min(6, len(betas)))
    params = params.replace(betas=betas)
    with torch.no_grad():
        canonical = model.canonical_mesh(body, params)[0].numpy()
    dT = _clothes(body, canonical, seed)
    template, faces = np.asarray(body.v_template), np.asarray(body.faces)
    blink = initial.posed_body(body, params).blink
    face, bary = surface.adaptive_layout(body, canonical, gaussians, widest=blink)
    offset = (dT[faces[face]] * bary[..., None]).sum(1)
    places = (template[faces[face]] * bary[..., None]).sum(1)
    rgb = paint(body, face, bary, places, np.linalg.norm(offset, axis=1), seed)
    spots = (canonical[faces[face]] * bary[..., None]).sum(1) + offset
    groups = geo.face_groups(body)[face]
    closed = (blink[faces[face]] * bary[..., None]).sum(1)
    gap = np.maximum(surface.spacing(spots, groups)[0], surface.spacing(closed, groups)[0])
    hair = _hair(body, canonical, places_per_hair=gaussians // 6, rng=rng, seed=seed)
    normal = geo.vertex_normals((canonical + dT).astype(np.float32), faces)
    normals = np.concatenate([(normal[faces[face]] * bary[..., None]).sum(1), hair.normal])
    face, bary = np.concatenate([face, hair.face]), np.concatenate([bary, hair.bary])
    index, weight = model.gaussian_weights(body, torch.from_numpy(face), torch.from_numpy(bary))
    avatar = Avatar(
        body=body, face_ids=torch.from_numpy(face), bary=torch.from_numpy(bary),
        dX=torch.from_numpy(np.concatenate([offset, hair.offset]).astype(np.float32)), dT=torch.from_numpy(dT),
        scale=torch.from_numpy(np.concatenate([np.clip(0.62 * gap, 2e-4, 0.01), hair.scale]).astype(np.float32)),
        rgb=torch.from_numpy(np.concatenate([rgb, hair.rgb]).astype(np.float32)),
        guessed=torch.zeros(len(face)), skin_index=index, skin_weight=weight,
        camera=Camera.frontal(9 * height // 16, height, 2.0 * height, DISTANCE), params=params,
    )  # fmt: skip
    length = np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    return Person(avatar, (normals / length).astype(np.float32))


def _clothes(body: BodyModel, canonical: Array, seed: int) -> Array:
    """dT (V, 3) metres: loose cloth with folds on torso, arms and legs, thinning out towards neck and hands."""
    faces = np.asarray(body.faces)
    dressed = geo.region(body, "torso", "left_arm", "right_arm", "legs").astype(np.float64)
    laplacian = geo.graph_laplacian(geo.edges_of(faces), len(canonical))
    degree = np.maximum(laplacian.diagonal(), 1)
    for _ in range(4):
        dressed = dressed - (laplacian @ dressed) / degree
    folds = 0.016 + 0.006 * noise(canonical * (1, 0.35, 1), 0.06, seed + 7) + 0.003 * noise(canonical, 0.03, seed + 8)
    normals = geo.vertex_normals(canonical.astype(np.float32), faces)
    return (normals * (np.clip(folds, 0.004, None) * np.clip(dressed, 0, 1))[:, None]).astype(np.float32)


@dataclass(frozen=True)
class _Hair:
    face: Array
    bary: Array
    offset: Array
    rgb: Array
    scale: Array
    normal: Array


def _hair(body: BodyModel, canonical: Array, places_per_hair: int, rng: np.random.Generator, seed: int) -> _Hair:
    """A shell of splats: a cap above the scalp, and longer hair that falls behind the ears to the neck."""
    template, faces = np.asarray(body.v_template), np.asarray(body.faces)
    scalp = np.flatnonzero(geo.region(body, "scalp")[faces].all(1))
    n = places_per_hair
    area = surface.areas(canonical, faces)[scalp]
    face = rng.choice(scalp, n, p=area / area.sum())
    bary = rng.dirichlet((1, 1, 1), n).astype(np.float32)
    normal = geo.vertex_normals(template, faces)
    out = (normal[faces[face]] * bary[..., None]).sum(1)
    up = 0.006 + 0.022 * rng.random(n) ** 0.5
    offset = out * up[:, None]
    places = (template[faces[face]] * bary[..., None]).sum(1)
    low = places[:, 1] < np.quantile(places[:, 1], 0.45)
    behind = places[:, 2] < np.median(template[geo.region(body, "ears"), 2]) + 0.01
    fall = low & behind
    offset[fall, 1] -= (0.15 * rng.random(n))[fall]
    offset[fall, 0] += (0.015 * np.sign(places[:, 0]))[fall]
    rgb = strands(places + offset, seed)
    return _Hair(face, bary, offset, rgb, np.full(n, 0.0026 * (10_000 / n) ** 0.5), out)


def photo(person: Person, params: BodyParams, camera: Camera, seed: int) -> Observation:
    """The observation that a perfect registration of the person's photo would give.

    The picture stands before a blurred coloured ground; landmarks of the face are those of the true mesh.
    """
    image, alpha = person.draw(params, camera)
    rng = np.random.default_rng(seed)
    ground = cv2.resize(rng.uniform(0.35, 0.8, (6, 4, 3)).astype(np.float32), (camera.width, camera.height),
                        interpolation=cv2.INTER_CUBIC)  # fmt: skip
    image = np.clip(image + (1 - alpha[..., None]) * ground, 0, 1)
    nothing = np.zeros((33, 3), np.float32)
    detections = Detections(np.zeros((133, 3), np.float32), nothing, nothing, face_landmarks(person, params, camera),
                            None, None)  # fmt: skip
    report = FitReport(True, "a synthetic person", (), {}, ())
    return Observation(image.astype(np.float32), alpha, camera, params, np.zeros(52, np.float32), detections, report,
                       source_hash=f"{seed:064x}")  # fmt: skip


def face_landmarks(person: Person, params: BodyParams, camera: Camera) -> Array | None:
    """(478, 3) pixels of the face mesh's points on the true mesh; None for a body without them."""
    if "mediapipe_face" not in person.body.landmarks:
        return None
    with torch.no_grad():
        points = person.body.landmark_points("mediapipe_face", person.avatar.mesh(params)[None])[0].numpy()
    xy, _ = camera.project(points)
    return np.pad(xy, ((0, 0), (0, 1))).astype(np.float32)
