"""Analysis by synthesis: the tracked avatar is drawn, compared with each frame, and moved to where the frame has it.

Keypoints pin a body down to a few pixels, and on a white ground an outline that is two pixels off costs more than a
wrong face. Two things are measured between the drawing and the frame's cut-out: the optical flow, for whatever has
texture, and along the drawing's outline how far the frame's matte lies outside or inside. Both move *anchors*, points
of the avatar spread over its surface. Every frame is compared with the avatar, so nothing drifts; the avatar itself is
never changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from pipeline.avatar.model import canonical_mesh, skin, skinning_transforms
from pipeline.console import Progress
from pipeline.labels.steady import steady_matte
from pipeline.perceive.dense import Anchors, DenseTargets
from pipeline.perceive.eyes import with_blinks
from pipeline.perceive.likeness import Likeness
from pipeline.perceive.mouth import with_mouth
from pipeline.perceive.photo import crop_detections
from pipeline.perceive.register import RegisterConfig, Stage
from pipeline.perceive.track import ORDER_STEP, VIDEO_STAGES, chunks_of, register_chunks
from pipeline.puppet import Puppet
from pipeline.render import rasterize_mesh
from pipeline.types import Array, BodyParams, Camera, Observation

if TYPE_CHECKING:
    from pipeline.avatar import Avatar
    from pipeline.perceive.crop import CropWindow
    from pipeline.perceive.register import Registration
    from pipeline.perceive.targets import Targets
    from pipeline.perceive.track import TrackResult, VideoDetections

VOXEL, FINE_VOXEL = 0.022, 0.012
"""One anchor per cube of this size in metres; the finer ones are for the hands."""
MAX_RESIDUAL = 0.04
"""Longest believable flow, in parts of the picture's height."""
COLOUR_TOLERANCE = 0.07
DEPTH_TOLERANCE = 0.03
"""Metres within which an anchor counts as the front surface."""
NEAR_OUTLINE = 4.0
"""Anchors this near to the drawn outline, in small pixels, are moved by it."""
HEIGHT = 512
"""Height in pixels at which drawing and frames are compared."""
ALIGN_STAGE = Stage(12, 0.008, VIDEO_STAGES[3].free, prior=0.7, order=True, newton=5)
ROUNDS = ((20.0, 0.008), (12.0, 0.008), (8.0, 0.008), (8.0, 0.008), (8.0, 0.003), (8.0, 0.001))
"""How far the matte's edge is looked for, in small pixels, and Adam's step, round by round. Long steps bring hands to
their place, but leave a person who hardly moves a pixel off, another one in every frame; short ones settle that."""


@dataclass(frozen=True)
class CutOut:
    """A small picture of the person: grey on white (h, w) uint8, alpha (h, w) uint8, and valid (h, w) bool."""

    grey: Array
    alpha: Array
    valid: Array

    @staticmethod
    def of(crop: Array, alpha: Array, valid: Array) -> CutOut:
        """From an RGB crop (h, w, 3) uint8 and a matte (h, w) in 0..1."""
        grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
        white = np.clip(grey * alpha + 255 * (1 - alpha), 0, 255)
        return CutOut(white.astype(np.uint8), np.rint(alpha * 255).astype(np.uint8), valid)


def choose_anchors(avatar: Avatar) -> Anchors:
    """Gaussians evenly spread over the avatar, as points of the body; eyes and mouth left out."""
    body, params = avatar.body, avatar.params
    corners = avatar.corners.numpy()
    left_out = np.zeros(len(body.v_template), bool)
    for name in ("eyeballs", "teeth", "tongue", "mouth_cavity"):
        left_out |= np.asarray(body.regions.get(name, False))
    hands = np.asarray(body.regions["left_hand"]) | np.asarray(body.regions["right_hand"])
    with torch.no_grad():
        vertices, joints = canonical_mesh(body, params)
        A = skinning_transforms(body, params, joints)
        X = avatar.canonical(params)
        size = np.where(hands[corners[:, 0]], FINE_VOXEL, VOXEL)
        cells = np.floor(X.numpy() / size[:, None]).astype(np.int64)
        usable = np.flatnonzero(~left_out[corners].any(1))
        _, first = np.unique(np.c_[cells[usable], hands[corners[usable, 0]]], axis=0, return_index=True)
        pick = np.sort(usable[first])
        world = skin(X[pick], A, avatar.skin_index[pick], avatar.skin_weight[pick])
        mix = avatar.bary[pick]
        weights = (body.lbs_weights[avatar.corners[pick]] * mix[..., None]).sum(1)
        M = (weights @ A.reshape(len(A), 12)).reshape(-1, 3, 4)
        corner_points = (torch.einsum("nkj,jab->nkab", body.lbs_weights[avatar.corners[pick]], A))
        rest = vertices[avatar.corners[pick]]
        own = torch.einsum("nk,nkab,nkb->na", mix, corner_points[..., :3], rest)
        own = own + torch.einsum("nk,nka->na", mix, corner_points[..., 3])
        offsets = torch.linalg.solve(M[:, :, :3], (world - own)[..., None])[..., 0]
    return Anchors(corners[pick], mix.numpy(), offsets.numpy().astype(np.float32))


class Aligner:
    """Compares an avatar with pictures of its person.

    Args:
        avatar: whom. anchors: from :func:`choose_anchors`. camera: of the full crop. size: (width, height) of cut-outs.
    """

    def __init__(self, avatar: Avatar, anchors: Anchors, camera: Camera, size: tuple[int, int]) -> None:
        self.avatar, self.anchors, self.camera = avatar, anchors, camera.resized(*size)
        self.scale = camera.width / size[0]
        self.puppet = Puppet(avatar)
        self.flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def targets(
        self, frames: Sequence[CutOut], registration: Registration, reach: float, progress: Callable[[float], None]
    ) -> DenseTargets:
        """Compare all frames; ``reach`` as in :data:`ROUNDS`. Frames that could not be read have weight 0."""
        places = self.anchors.posed(self.avatar.body, registration)
        shape = places.shape[:2]
        points, normals = np.zeros((*shape, 2), np.float32), np.zeros((*shape, 2), np.float32)
        weights, edge_weights = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        edges = np.zeros(shape, np.float32)
        for f, frame in enumerate(frames[: len(registration)]):
            found = self._compare(frame, registration.frame(f), places[f], reach)
            points[f], weights[f], normals[f], edges[f], edge_weights[f] = found
            progress((f + 1) / len(registration))
        tensor = torch.from_numpy
        return DenseTargets(
            self.anchors, tensor(points), tensor(weights), tensor(normals), tensor(edges), tensor(edge_weights)
        )

    def _compare(
        self, frame: CutOut, params: BodyParams, places: Array, reach: float
    ) -> tuple[Array, Array, Array, Array, Array]:
        """See :class:`DenseTargets`; pixels of the full crop."""
        drawn, cover = self.puppet.layers(params, self.camera)
        grey = cv2.cvtColor(drawn, cv2.COLOR_RGB2GRAY) + 1 - cover
        predicted = np.clip(grey * 255, 0, 255).astype(np.uint8)
        uv, z = self.camera.project(places)
        h, w = frame.grey.shape
        inside = (uv >= 0).all(1) & (uv[:, 0] < w) & (uv[:, 1] < h)
        col, row = (np.where(inside, uv[:, k], 0).astype(int) for k in (0, 1))
        seen = inside & frame.valid[row, col] & self._in_front(params, row, col, z, cover)
        flow, sure_of_it = self._flow(predicted, frame)
        weight = sure_of_it[row, col] * seen
        normal, target, sure = outline(cover, frame, uv, row, col, reach)
        return (
            (uv + flow[row, col]) * self.scale, weight, normal, target * self.scale, sure * seen,
        )  # fmt: skip

    def _flow(self, predicted: Array, frame: CutOut) -> tuple[Array, Array]:
        """Where each pixel went (h, w, 2), and how far that can be believed (h, w): not at all beside the video.

        There the avatar goes on and the frame is empty, and flow would take the video's edge for one of the person's.
        """
        flow, sure = np.zeros((*frame.grey.shape, 2), np.float32), np.zeros(frame.grey.shape, np.float32)
        rows, cols = (np.flatnonzero(frame.valid.any(axis)) for axis in (1, 0))
        if len(rows):
            inner = slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1)
            here, there = (np.ascontiguousarray(picture[inner]) for picture in (predicted, frame.grey))
            flow[inner] = self.flow.calc(here, there, None)
            sure[inner] = confidence(here, there, flow[inner])
        return flow, sure

    def _in_front(self, params: BodyParams, row: Array, col: Array, z: Array, cover: Array) -> Array:
        """Whether anchors lie on the front surface, or beside the mesh where the drawing shows something."""
        with torch.no_grad():
            mesh = self.avatar.mesh(params)
        depth = np.asarray(rasterize_mesh(mesh, self.avatar.body.faces, self.camera).depth)[row, col]
        off = ~(np.isfinite(depth) & (depth > 0))
        return np.where(off, cover[row, col] > 0.5, z < depth + DEPTH_TOLERANCE)


def confidence(predicted: Array, frame: Array, flow: Array) -> Array:
    """How far a flow (h, w, 2) between two grey pictures (h, w) uint8 can be believed, (h, w) in 0..1.15."""
    rows, cols = np.indices(frame.shape, dtype=np.float32)
    found = cv2.remap(frame, cols + flow[..., 0], rows + flow[..., 1], cv2.INTER_LINEAR)
    error = cv2.blur(np.abs(found.astype(np.float32) - predicted) / 255, (5, 5))
    texture = cv2.blur(np.abs(cv2.Laplacian(predicted, cv2.CV_32F)), (9, 9)) / 255
    short = np.linalg.norm(flow, axis=-1) < MAX_RESIDUAL * frame.shape[0]
    return np.exp(-((error / COLOUR_TOLERANCE) ** 2)) * (0.15 + np.clip(texture / 0.05, 0, 1)) * short


def outline(
    cover: Array, frame: CutOut, uv: Array, row: Array, col: Array, reach: float
) -> tuple[Array, Array, Array]:
    """How the frame's matte wants anchors near the drawn outline to move along its normal.

    The drawn and the seen opacity are summed along the normal, ``reach`` pixels to both sides; where both run from
    full to empty, the difference of the sums is the distance between the two edges, to a fraction of a pixel.

    Args:
        cover: (h, w) drawn opacity. uv: (D, 2) anchors; row, col: their pixels.

    Returns:
        normals (D, 2) outwards, ``normal . point`` wanted (D,), and weights (D,) 0 or 1.
    """
    solid = (cover > 0.5).astype(np.uint8)
    inwards = cv2.distanceTransform(solid, cv2.DIST_L2, 5) - cv2.distanceTransform(1 - solid, cv2.DIST_L2, 5)
    signed = cv2.GaussianBlur(inwards, (0, 0), 1.5)
    gy, gx = np.gradient(signed)
    normal = -np.stack([gx[row, col], gy[row, col]], 1)
    length = np.linalg.norm(normal, axis=1)
    normal /= np.maximum(length, 1e-6)[:, None]
    depth = inwards[row, col]
    near = (np.abs(depth) < NEAR_OUTLINE) & (length > 0.5)
    middle = uv + normal * depth[:, None]
    steps = np.arange(-reach, reach + 0.25, 0.5, dtype=np.float32)
    x = (middle[:, :1] + steps * normal[:, :1] - 0.5).astype(np.float32)
    y = (middle[:, 1:] + steps * normal[:, 1:] - 0.5).astype(np.float32)

    def along(image: Array) -> Array:
        return cv2.remap(image.astype(np.float32), x, y, cv2.INTER_LINEAR, borderValue=0)

    drawn, seen, known = along(cover), along(frame.alpha) / 255, along(frame.valid)
    ends = (drawn[:, 0] > 0.9) & (seen[:, 0] > 0.9) & (drawn[:, -1] < 0.1) & (seen[:, -1] < 0.1)
    gap = (seen - drawn).sum(1) * 0.5
    sure = near & ends & (known > 0.9).all(1)
    return normal.astype(np.float32), ((uv * normal).sum(1) + gap).astype(np.float32), sure.astype(np.float32)


def follow(
    tracked: TrackResult, avatar: Avatar, photo: Observation, frames: Sequence[CutOut], progress: Progress
) -> TrackResult:
    """Refine a track until drawing and frames agree; the shape and the avatar stay as they are.

    Args:
        tracked: from :func:`pipeline.perceive.track.track_video` with ``reference=photo``.
        avatar: fitted to ``photo``. frames: small cut-outs of the video (:func:`cut_outs`), in order.
        progress: called with a stage name and the share done.
    """
    parts = chunks_of(tracked.cuts, len(tracked))
    registration = agree(
        tracked.registration, tracked.targets, tracked.camera, parts, RegisterConfig(), avatar, photo, frames, progress
    )
    return replace(tracked, registration=registration)


def agree(
    registration: Registration, targets: Targets, camera: Camera, chunks: Sequence[tuple[int, int]],
    config: RegisterConfig, avatar: Avatar, photo: Observation, frames: Sequence[CutOut], progress: Progress,
) -> Registration:  # fmt: skip
    """Move registered bodies until the drawn avatar and the frames agree; then mouths and eyes each by themselves.

    Args:
        registration: F bodies with the photo's shape. targets: their detections. camera: of the crops.
        chunks: first and end of the pieces that are registered at once. config: weights; its stages do not count.
        avatar, photo, frames, progress: as in :func:`follow`.
    """
    config = replace(config, order_step=ORDER_STEP)
    likeness = Likeness.of(photo, avatar.body)
    height, width = frames[0].grey.shape
    aligner = Aligner(avatar, choose_anchors(avatar), camera, (width, height))
    for k, (reach, step) in enumerate(ROUNDS):
        config = replace(config, stages=(replace(ALIGN_STAGE, learning_rate=step),))
        seen = aligner.targets(frames, registration, reach, lambda share, k=k: progress(f"comparing {k + 1}", share))
        registration = register_chunks(
            targets, avatar.body, camera, config, registration.betas, chunks,
            lambda share, k=k: progress(f"alignment {k + 1}", share), registration, seen, likeness,
        )  # fmt: skip
    registration = with_mouth(registration, targets, camera, likeness, avatar.body)
    return with_blinks(registration, targets, avatar.body, photo)


def cut_outs(video: VideoDetections, window: CropWindow, photo: Observation, progress: Progress) -> list[CutOut]:
    """Small cut-outs of all frames of a video, 0.4 MB each."""
    from pipeline.perceive.matte import Matter
    from pipeline.video import VideoReader

    width = round(HEIGHT * window.out_width / window.out_height)
    small = replace(window, out_width=width, out_height=HEIGHT)
    image, alpha0 = (cv2.resize(x, (width, HEIGHT), interpolation=cv2.INTER_AREA) for x in (photo.image, photo.alpha))
    frames: list[CutOut] = []
    seconds = (len(video.frames) + 1) / video.fps
    with VideoReader(video.path, max_seconds=seconds, max_side=video.max_side) as reader, Matter() as matter:
        for found, frame in zip(video.frames, reader, strict=False):
            crop, valid = small.apply(frame)
            alpha = matter.matte(crop, None if found is None else crop_detections(found, small), "fast", valid)
            frames.append(CutOut.of(crop, steady_matte(alpha, crop, image, alpha0), valid))
            progress("matte", len(frames) / len(video.frames))
    return frames
