"""From an observation to Gaussians in their places: mesh stage, parts, attachment, completion. No optimisation yet."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from pipeline.avatar import attach, features, model, surface
from pipeline.avatar import geometry as geo
from pipeline.avatar.arms import colored_alike, face_skin, nearest_fill
from pipeline.avatar.attach import LID, SURFACE, Samples
from pipeline.avatar.below import below_photo
from pipeline.avatar.completion import Completion, complete, gather_colors
from pipeline.avatar.cuffs import sharp_colors
from pipeline.avatar.hands import hand_detail, lighter_palms
from pipeline.avatar.inpaint import fill_exemplar
from pipeline.avatar.meshfit import pull_arm, pull_face, pull_mesh
from pipeline.avatar.parts import Parts, divide
from pipeline.avatar.rim import match_matte, part_colors
from pipeline.avatar.stray import TAIL, thick
from pipeline.avatar.teeth import light_tint, tooth_detail
from pipeline.avatar.texture import continue_texture
from pipeline.avatar.tuck import emerge, tuck, unseen_faces
from pipeline.config import FitConfig
from pipeline.perceive.background import matched
from pipeline.pixels import depth_within, distance_to
from pipeline.types import BodyParams, Camera, Detections, Observation

if TYPE_CHECKING:
    from pipeline.body import BodyModel

Array = np.ndarray

SURFACE_SCALE = 0.8
"""Scale of a surface Gaussian in units of the distance to its neighbours: enough that nothing shines through."""

BORDER, MATCH = 8.0, 0.18
"""Width in pixels, at 1024 rows, beside a border in which colours are compared, and the difference in a channel from
which on it is one between two materials."""
NEARBY = 45.0
"""Pixels, at 1024 rows, within which cloth counts as near a hole."""
MINOR, ENOUGH_FACE, BROAD = 0.4, 100, 6.0
"""Share of what is near a hole below which what has the colour of skin is skin, and no cloth; pixels of a face that say
which colour; and half the width in pixels, at 1024 rows, from which on it is no print."""
FRONTAL = 0.2
"""Cosine to the line of sight from which a surface takes its colour from the photo: more slanted, a pixel of error in
the mesh is a centimetre on the skin."""


@dataclass(frozen=True)
class Scene:
    """The photo at working size.

    Attributes:
        params: registered body, unseen hands tucked away. unseen: (F,) bool, triangles of these.
        image: (H, W, 3). foreground: (H, W, 3) un-mixed. alpha: (H, W), 0 outside the photo.
        valid: (H, W) bool, False where the crop reaches over the photo's edge. camera, detections: at this size.
        enlarged: size of a pixel of the photo in pixels at this size.
    """

    params: BodyParams
    unseen: Array
    image: Array
    foreground: Array
    alpha: Array
    valid: Array
    camera: Camera
    detections: Detections | None
    enlarged: float = 1.0


@dataclass(frozen=True)
class PosedBody:
    """The registered body at the photo's pose, as NumPy.

    Attributes:
        canonical: (V, 3) ``T(betas, expression)``. blink: the same with closed eyes.
        transforms: (55, 3, 4) rest to world. blended: (V, 3, 4) per vertex.
        vertices: (V, 3) world, without dT.
    """

    canonical: Array
    blink: Array
    transforms: Array
    blended: Array
    vertices: Array


def working_scene(body: BodyModel, observation: Observation, height: int) -> Scene:
    """Shrink the observation to at most ``height`` rows (never enlarge), un-mix its colours, tuck unseen hands away."""
    image, alpha = np.asarray(observation.image, np.float32), np.asarray(observation.alpha, np.float32)
    camera, detections = observation.camera, observation.detections
    h, w = alpha.shape
    valid = np.ones((h, w), bool) if observation.valid is None else np.asarray(observation.valid, bool)
    if h > height:
        import cv2

        size = (round(w * height / h), height)
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        alpha = cv2.resize(alpha, size, interpolation=cv2.INTER_AREA)
        valid = cv2.resize(valid.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.99
        camera = camera.resized(*size)
        detections = _scaled(detections, size[0] / w, size[1] / h)
    alpha = alpha * valid
    unseen = unseen_faces(body, observation.params, camera, image, detections, valid)
    params = tuck(body, observation.params, camera, unseen)
    if params is not observation.params:
        unseen &= unseen_faces(body, params, camera, image, detections, valid, tucked=True)
    if detections is not None and np.any(detections.pose):  # without, nobody says that a forearm is shown
        params = emerge(body, params, camera, unseen)
    foreground = attach.unmixed_colors(image, alpha)
    enlarged = 1.0 if observation.window is None else alpha.shape[1] / observation.window[2]
    return Scene(params, unseen, image, foreground, alpha, valid, camera, detections, enlarged)


def _scaled(detections: Detections | None, sx: float, sy: float) -> Detections | None:
    if detections is None:
        return None
    import dataclasses

    face = None if detections.face is None else detections.face * np.array([sx, sy, sx], np.float32)
    pose = detections.pose * np.array([sx, sy, 1], np.float32)
    return dataclasses.replace(detections, face=face, pose=pose)


def posed_body(body: BodyModel, params: BodyParams) -> PosedBody:
    """Evaluate the registered body once."""
    with torch.no_grad():
        canonical, joints = model.canonical_mesh(body, params)
        A = model.skinning_transforms(body, params, joints)
        blended = (body.lbs_weights @ A.reshape(len(A), 12)).reshape(-1, 3, 4)
        vertices = model.skin_dense(canonical, A, body.lbs_weights)
        blink, _ = model.canonical_mesh(body, blinking(body, params))
    return PosedBody(canonical.numpy(), blink.numpy(), A.numpy(), blended.numpy(), vertices.numpy())


def blinking(body: BodyModel, params: BodyParams) -> BodyParams:
    """The same person with both eyes closed."""
    from pipeline.body import ARKIT_NAMES

    arkit = np.zeros((1, len(ARKIT_NAMES)), np.float32)
    arkit[0, [ARKIT_NAMES.index("eyeBlinkLeft"), ARKIT_NAMES.index("eyeBlinkRight")]] = 1
    closed = body.arkit_to_params(arkit)["expression"][0]
    if body.expression_space == "arkit":
        return params.replace(expression=np.maximum(params.expression, closed))
    return params.replace(expression=(params.expression + closed).astype(np.float32))


def mesh_stage(body: BodyModel, posed: PosedBody, scene: Scene, config: FitConfig) -> Array:
    """dT (V, 3): silhouette pull, face pull, arm pull, and once more the silhouette beside the arms that the picture
    shows, taken back to the canonical pose."""
    offsets = pull_mesh(body, posed.vertices, scene.camera, scene.alpha, config, scene.valid)
    if scene.detections is not None and scene.detections.face is not None:
        for _ in range(2):
            moved = (posed.vertices + offsets).astype(np.float32)
            offsets = offsets + pull_face(body, moved, scene.camera, scene.detections.face)
    vertices = (posed.vertices + offsets).astype(np.float32)
    parts = divided(body, vertices, scene, config)
    for group in (geo.LEFT_ARM, geo.RIGHT_ARM):
        offsets = offsets + pull_arm(
            body, vertices, scene.camera, parts.front, parts.layers[group], parts.label, group
        )
    arms = np.isin(parts.label, (geo.LEFT_ARM, geo.RIGHT_ARM))
    vertices = (posed.vertices + offsets).astype(np.float32)
    offsets = offsets + pull_mesh(body, vertices, scene.camera, scene.alpha, config, scene.valid, arms, rounds=2)
    return solve_rotations(posed.blended[:, :, :3], offsets)


def divided(body: BodyModel, vertices: Array, scene: Scene, config: FitConfig) -> Parts:
    """The photo divided into parts, with the mesh at ``vertices`` (V, 3)."""
    return divide(
        body, vertices, scene.camera, scene.image, scene.alpha, scene.detections, scene.unseen, config, scene.valid
    )


def solve_rotations(matrices: Array, vectors: Array) -> Array:
    """``matrices^-1 @ vectors`` for (N, 3, 3) and (N, 3)."""
    solved = np.linalg.solve(matrices.astype(np.float64), vectors.astype(np.float64)[..., None])
    return solved[..., 0].astype(np.float32)


def deformed(posed: PosedBody, dT: Array) -> Array:
    """``LBS(T + dT)`` (V, 3)."""
    return (posed.vertices + np.einsum("vij,vj->vi", posed.blended[:, :, :3], dT)).astype(np.float32)


def canonical_offsets(body: BodyModel, posed: PosedBody, samples: Samples) -> Array:
    """dX (N, 3): world points pulled back through the skinning, minus ``Bary(T)``."""
    with torch.no_grad():
        M = model.blend(
            torch.from_numpy(posed.transforms),
            torch.from_numpy(samples.skin_index.astype(np.int64)),
            torch.from_numpy(samples.skin_weight),
        ).numpy()
    rest = solve_rotations(M[:, :, :3], samples.point - M[:, :, 3])
    corners = np.asarray(body.faces)[samples.face]
    return rest - (posed.canonical[corners] * samples.bary[..., None]).sum(1)


def place_gaussians(
    body: BodyModel, posed: PosedBody, dT: Array, scene: Scene, config: FitConfig
) -> tuple[Samples, Parts, Scene]:
    """All Gaussians of the avatar with their colours, the divided photo, and the scene with its colours not mixed."""
    vertices = deformed(posed, dT)
    parts = divided(body, vertices, scene, config)
    pure = part_colors(scene.foreground, scene.alpha, parts.label, parts.hidden, scene.enlarged)
    scene = replace(scene, foreground=pure)
    lids = surface.unfolding_lids(body, posed.canonical, posed.blink)
    photo = attach.photo_samples(body, vertices, scene.camera, scene.foreground, scene.alpha, parts, lids, config)
    filled = complete_vertices(body, vertices, photo, parts, scene)
    layers = [] if config.layout == "uv" else [photo]
    if config.layout == "adaptive" and config.fill_hidden and parts.hidden.any():
        painted = paint_hidden(body, scene, parts, config)
        layers.append(attach.hidden_samples(body, vertices, scene.camera, painted, parts, config))
    layers.append(surface_samples(body, posed, vertices, scene, parts, filled, photo, lids, config))
    return match_matte(Samples.concatenate(layers), scene.camera, scene.alpha), parts, scene


def safe_pixels(body: BodyModel, scene: Scene, parts: Parts, margin: float = 8.0, beside: float = 5.0) -> Array:
    """Pixels (H, W) bool whose colour is that of the surface on their ray.

    Well inside the matte (``margin`` pixels at 1024 rows), so free of light from behind, and off the contour of the
    head over neck and shoulders (``beside``), where a slightly wrong mesh takes its colour from the wrong side.
    """
    unit = len(scene.alpha) / 1024
    inside = depth_within(scene.alpha > 0.9) > margin * unit
    contour = attach.head_contour(body, parts.layers[geo.BODY])
    return inside & (distance_to(contour) > beside * unit) if contour.any() else inside


def complete_vertices(body: BodyModel, vertices: Array, photo: Samples, parts: Parts, scene: Scene) -> Completion:
    """Vertex colours: what the photo shows, then everything else."""
    xy, _ = scene.camera.project(photo.point)
    row = np.clip(xy[:, 1].astype(int), 0, parts.label.shape[0] - 1)
    col = np.clip(xy[:, 0].astype(int), 0, parts.label.shape[1] - 1)
    good = (photo.kind == attach.TIGHT) & ~parts.unsure[row, col] & safe_pixels(body, scene, parts)[row, col]
    normals = geo.vertex_normals(vertices, np.asarray(body.faces))[np.asarray(body.faces)[photo.face]]
    facing = geo.facing_camera(photo.point, (normals * photo.bary[..., None]).sum(1), scene.camera)
    weight = (good & (facing > FRONTAL)).astype(np.float32)
    rgb, total = gather_colors(body, photo.face, photo.bary, photo.rgb, weight)
    filled = complete(body, rgb, total)
    eyes = photo.rgb[np.isin(photo.group, (geo.LEFT_EYE, geo.RIGHT_EYE)) & (photo.kind == attach.TIGHT)]
    return features.mouth_colors(body, filled, total > 0.3, light_tint(eyes, filled.skin))


def paint_hidden(body: BodyModel, scene: Scene, parts: Parts, config: FitConfig) -> Array:
    """The photo with the arms taken off the body, (H, W, 3): what a moved hand uncovers.

    A head is painted from the head and clothes from clothes: no cheek on a chest, no hair, and no other hand unless
    much of what is near has the colour of skin; from what is near, where there is enough of it: no skirt on a shirt.
    """
    hits = parts.layers[geo.BODY]
    on_head = geo.region(body, "head", "neck")[np.asarray(body.faces)].any(1)
    head = on_head[nearest_fill(hits.face, hits.face >= 0)] & (hits.face >= 0).any()
    hole = parts.hidden | (parts.unsure & (parts.label == geo.BODY))
    source = (parts.label == geo.BODY) & (head | ~(parts.loose | parts.long_hair)) & ~hole
    source &= safe_pixels(body, scene, parts)
    painted, unit = scene.foreground, len(scene.alpha) / 1024
    skin = bare_skin(body, scene, parts) & ~head
    border = 2 * round(0.5 * BORDER * unit) + 1
    for region in (head, ~head):
        mine, usable = hole & region, source & region
        near = usable & (distance_to(mine) < NEARBY * unit)
        if (near & skin).sum() < MINOR * near.sum():
            near, usable = near & ~skin, usable & ~skin
        enough = near.sum() > max(0.4 * mine.sum(), 1500 * unit**2)
        painted = fill_exemplar(painted, mine, near if enough else usable, config.seed)
        painted = matched(painted, mine, usable, border, MATCH)
    return painted


def bare_skin(body: BodyModel, scene: Scene, parts: Parts) -> Array:
    """Broad pieces of the face's colours, (H, W) bool."""
    face = face_skin(body, parts.layers[geo.BODY]) & (parts.label == geo.BODY)
    if face.sum() < ENOUGH_FACE:
        return np.zeros_like(face)
    return thick(colored_alike(scene.image, face) & (parts.label >= 0), BROAD / TAIL * len(face) / 1024)


def surface_samples(
    body: BodyModel, posed: PosedBody, vertices: Array, scene: Scene, parts: Parts, filled: Completion, photo: Samples,
    lids: Array, config: FitConfig,
) -> Samples:  # fmt: skip
    """The layer over the whole surface (Eq. 3), inset below the photo-aligned Gaussians in the adaptive layout."""
    faces = np.asarray(body.faces)
    if config.layout == "uv":
        face, bary = surface.uv_layout(body, config.uv_size)
    else:
        visible = features.camera_visible(vertices, scene.camera, margin=40)
        face, bary = surface.adaptive_layout(body, posed.canonical, config.surface_samples, visible, posed.blink)
    corners = faces[face]
    normals = (geo.vertex_normals(vertices, faces)[corners] * bary[..., None]).sum(1)
    point = (vertices[corners] * bary[..., None]).sum(1)
    canonical = (posed.canonical[corners] * bary[..., None]).sum(1)
    group = geo.face_groups(body)[face]
    rgb = sharp_colors(body, filled.rgb, face, bary)
    guessed = (filled.guessed[corners] * bary).sum(1)
    on_lid = lids[face]
    seen, colour = photo_colors(body, point, normals, group, on_lid, scene, parts)
    smooth = rgb.copy()
    rgb[seen], guessed[seen] = colour[seen], 0.0
    rgb = continue_texture(body, canonical, group, face, rgb, smooth, seen)
    detail, palm = hand_detail(body, face, bary)
    rgb = lighter_palms(rgb, palm * guessed, filled.skin)
    rgb = rgb * (1 + guessed[:, None] * (features.toned(detail, filled.skin) - 1))
    rgb = rgb * (1 + guessed[:, None] * (features.toned(tooth_detail(body, face, bary), filled.skin) - 1))
    rgb = paint_eyes(body, posed, scene, parts, filled, photo, group, canonical, rgb)
    gap, neighbours = surface.spacing(canonical, group)
    spread = (posed.blink[corners[on_lid]] * bary[on_lid][..., None]).sum(1)
    gap[on_lid] = np.maximum(gap[on_lid], surface.spacing(spread, group[on_lid])[0])
    scale = np.clip(SURFACE_SCALE * gap, 2e-4, 0.012)
    kind = np.where(on_lid, LID, SURFACE).astype(np.int8)
    if config.layout == "adaptive":
        inset = (surface.per_vertex(body, surface.INSET, 2e-3)[corners] * bary).sum(1)
        point = point - normals * np.where(on_lid, 0, inset)[:, None]
        point, scale, covered = below_photo(body, scene, parts, corners, group, point, scale)
        kind[covered & ~on_lid] = attach.HIDDEN
    index, weight = attach.skin_weights(body, face, bary)
    return Samples(
        face=face, bary=bary, point=point.astype(np.float32), rgb=np.clip(rgb, 0, 1).astype(np.float32),
        scale=scale.astype(np.float32),
        group=group, kind=kind,
        guessed=guessed.astype(np.float32), skin_index=index, skin_weight=weight, neighbours=neighbours,
    )  # fmt: skip


def photo_colors(
    body: BodyModel, point: Array, normal: Array, group: Array, soft: Array, scene: Scene, parts: Parts,
    tolerance: float = 0.012,
) -> tuple[Array, Array]:  # fmt: skip
    """Which surface points the photo shows, (N,) bool, and their colours (N, 3); blurred where ``soft`` (N,)."""
    import cv2

    h, w = parts.label.shape
    xy, depth = scene.camera.project(point)
    inside = (xy > 1).all(1) & (xy[:, 0] < w - 1) & (xy[:, 1] < h - 1) & (depth > 0.01)
    col, row = np.where(inside, xy[:, 0], 0).astype(int), np.where(inside, xy[:, 1], 0).astype(int)
    seen = inside & (geo.facing_camera(point, normal, scene.camera) > FRONTAL)
    seen &= (parts.label[row, col] == group) & ~parts.unsure[row, col] & safe_pixels(body, scene, parts)[row, col]
    layer_depth = np.stack([parts.layers[g].depth for g in range(7)])[group, row, col]
    seen &= np.abs(layer_depth - depth) < tolerance
    colour, blurred = (
        geo.sample_image(cv2.GaussianBlur(scene.foreground, (0, 0), sigma), xy[:, 0], xy[:, 1])
        for sigma in (0.8, 2.0 * h / 1024)
    )
    return seen, np.where(soft[:, None], blurred, colour).astype(np.float32)


def paint_eyes(
    body: BodyModel, posed: PosedBody, scene: Scene, parts: Parts, filled: Completion, photo: Samples, group: Array,
    canonical: Array, rgb: Array,
) -> Array:  # fmt: skip
    """Exchange the colours of surface points on eyeballs by the person's own radial profile."""
    rgb = rgb.copy()
    light = features.luminance(filled.skin)
    faces = np.asarray(body.faces)
    for eye in (geo.LEFT_EYE, geo.RIGHT_EYE):
        mine = group == eye
        if not mine.any():
            continue
        middle, _ = features.eye_axis(body, posed.canonical, eye)
        axis, angle = features.iris_direction(body, posed.canonical, parts, scene.detections, eye)
        shown = (photo.group == eye) & (photo.kind == attach.TIGHT)
        spots = (posed.canonical[faces[photo.face[shown]]] * photo.bary[shown][..., None]).sum(1)
        rgb[mine] = features.eye_colors(canonical[mine], middle, axis, angle, spots, photo.rgb[shown], light)
    return rgb
