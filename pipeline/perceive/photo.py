"""One photo in, one :class:`Observation` out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from pipeline.body import BodyModel
from pipeline.media import hash_pixels
from pipeline.perceive import targets as T
from pipeline.perceive.crop import CropWindow, crop_916
from pipeline.perceive.detect import Detector
from pipeline.perceive.drawn import is_drawn
from pipeline.perceive.matte import matte
from pipeline.perceive.people import count_people
from pipeline.perceive.register import RegisterConfig, Registration, register
from pipeline.perceive.report import check_detections, make_report, not_visible, part_errors
from pipeline.perceive.targets import Targets, build_targets
from pipeline.render import rasterize_mesh
from pipeline.types import Array, BodyParams, Camera, Detections, Observation, PipelineError

Progress = Callable[[str, float], None]

FACE_HEIGHT = 0.19
"""Height in metres of MediaPipe's face mesh, from forehead to chin, on most heads."""


def perceive(
    image: Array,
    body: BodyModel,
    *,
    size: tuple[int, int] = (576, 1024),
    config: RegisterConfig | None = None,
    progress: Progress | None = None,
    strict: bool = True,
) -> Observation:
    """Understand a photo of one person: crop, matte, keypoints, registered body, fit report.

    Args:
        image: (H, W, 3) float32 RGB in 0..1, upright (see :func:`pipeline.media.load_photo`).
        body: body model to register.
        size: (width, height) of the crop, 9:16 in the paper.
        config: weights of the registration.
        progress: called with a stage name and the share of it that is done.
        strict: raise when the report does not accept the photo.

    Raises:
        PipelineError: no person, several, too small, from behind, only a face, drawn; or, if ``strict``, a failed fit.
    """
    tell = progress or (lambda stage, share: None)
    tell("keypoints", 0.0)
    with Detector(static=True) as detector:
        found = detector.detect(image)
    found = check_detections(found, image.shape[1], image.shape[0], count_people(image, found))
    if found.face is not None and is_drawn(image, found.face):
        raise PipelineError("This looks like a drawing; use a photo of one real person seen from the front.")
    tell("matte", 0.0)
    alpha_full = matte(image, found)
    window = crop_916(image, found, alpha_full, out_width=size[0], out_height=size[1])
    crop, valid = window.apply(image)
    alpha, _ = window.apply(alpha_full, border="zero")
    detections = crop_detections(found, window)
    camera = photo_camera(size, config or RegisterConfig(), [detections])
    targets = build_targets([detections], *size)
    registration = register(
        targets, body, camera, config, alpha=alpha, progress=lambda share: tell("registration", share)
    )
    observation = observe(crop, alpha, valid, camera, detections, targets, registration, 0, body, hash_pixels(image))
    observation = dataclasses.replace(observation, window=(window.x, window.y, window.width, window.height))
    if strict and not observation.report.accepted:
        raise PipelineError(f"{observation.report.summary} {' '.join(observation.report.hints)}".strip())
    return observation


def photo_camera(size: tuple[int, int], config: RegisterConfig, found: Sequence[Detections | None] = ()) -> Camera:
    """The assumed camera of a crop: its focal length is not observable from one photo of an unknown body.

    Args:
        size: (width, height) of the crop.
        config: ``focal_over_height`` holds unless that puts the person nearer than ``nearest``: close portraits are
            taken with longer lenses, and a hand that reaches for a near camera would look like a giant's.
        found: what was detected in the crop's frames.
    """
    faces = [float(np.ptp(d.face[:, 1])) for d in found if d is not None and d.face is not None]
    near = config.nearest * float(np.median(faces)) / FACE_HEIGHT if faces else 0.0
    return Camera.frontal(size[0], size[1], max(config.focal_over_height * size[1], near))


def crop_detections(found: Detections, window: CropWindow) -> Detections:
    """Detections in the crop's pixels; relative depths scale with the picture."""

    def points(values: Array | None) -> Array | None:
        if values is None:
            return None
        mapped = window.to_crop(values)
        mapped[:, 2] *= window.scale[0]
        return mapped

    return dataclasses.replace(
        found,
        keypoints=window.to_crop(found.keypoints),
        pose=window.to_crop(found.pose),
        face=points(found.face),
        left_hand=points(found.left_hand),
        right_hand=points(found.right_hand),
    )


def person_height_pixels(body: BodyModel, registration: Registration, camera: Camera) -> Array:
    """(F,) height of the whole registered person in pixels, visible or not."""
    import torch

    with torch.no_grad():
        betas = torch.as_tensor(registration.betas)[None]
        shaped, _ = body.shaped(betas, torch.zeros(1, body.n_expression))
        height = float(shaped[0, :, 1].max() - shaped[0, :, 1].min())
    return height * float(camera.K[1, 1]) / np.maximum(-registration.state["transl"][:, 2], 0.1)


def posed_vertices(body: BodyModel, params: BodyParams) -> Array:
    """(V, 3) world vertices of one frame."""
    import torch

    fields = {f.name: torch.as_tensor(np.asarray(getattr(params, f.name)))[None] for f in dataclasses.fields(params)}
    with torch.no_grad():
        return body(**fields).vertices[0].numpy()


def torso_covered(body: BodyModel, vertices: Array, camera: Camera) -> float:
    """Share of the torso that arms hide from the camera; ``vertices`` (V, 3) are the posed mesh."""
    import torch

    def on(*names: str) -> Array:
        region = np.any([np.asarray(body.regions[name], bool) for name in names if name in body.regions], axis=0)
        return region[faces].all(1)

    def front(kept: Array) -> Array:
        return np.asarray(rasterize_mesh(torch.as_tensor(vertices), torch.as_tensor(faces[kept]), camera).face)

    faces = np.asarray(body.faces)
    torso, arms = on("torso"), on("left_arm", "right_arm", "left_hand", "right_hand")
    shown, kept = front(torso) >= 0, torso | arms
    hidden = shown & (arms & ~torso)[kept][np.maximum(front(kept), 0)]
    return float(hidden.sum() / max(shown.sum(), 1))


def observe(
    crop: Array, alpha: Array, valid: Array, camera: Camera, detections: Detections, targets: Targets,
    registration: Registration, index: int, body: BodyModel, source_hash: str,
) -> Observation:  # fmt: skip
    """Put one registered frame and its report together."""
    import torch

    params = registration.frame(index)
    vertices = posed_vertices(body, params)
    fragments = rasterize_mesh(torch.as_tensor(vertices), body.faces, camera)
    mask, person = np.asarray(fragments.face) >= 0, alpha > 0.5
    overlap = float((mask & person & valid).sum() / max(((mask | person) & valid).sum(), 1))
    frame = targets.select(slice(index, index + 1))
    single = Registration(
        {k: v[index : index + 1] for k, v in registration.state.items()}, registration.betas,
        {k: v[index : index + 1] for k, v in registration.face.items()}, registration.points[index : index + 1],
    )  # fmt: skip
    errors = part_errors(single, frame, person_height_pixels(body, single, camera))
    face_pixels = float(np.ptp(frame.points[0, T.FACE, 1].numpy()))
    covered = torso_covered(body, vertices, camera)
    report = make_report(errors, overlap, not_visible(frame), face_pixels, covered)
    return Observation(
        crop, alpha, camera, params, registration.state["arkit"][index], detections, report, source_hash, valid
    )
