"""The small shared vocabulary: frozen dataclasses of arrays that every room of the pipeline speaks.

Conventions (everywhere, unless a name says otherwise)
------------------------------------------------------
* Metres, seconds, radians. Rotations are axis-angle in SMPL-X joint order.
* World: x to the person's left, y up, z out of the chest (SMPL-X axes). A body with ``global_orient = 0`` looks
  along +z, that is, at the camera made by :meth:`Camera.frontal`.
* Camera: OpenCV axes (x right, y down, z forward); pixel (row i, column j) has its centre at (j + 0.5, i + 0.5).
* Images: float32 RGB in 0..1, shape (H, W, 3); alpha apart, (H, W) in 0..1.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

Array = np.ndarray

ROTATION_FIELDS = {
    "global_orient": (3,),
    "body_pose": (21, 3),
    "left_hand_pose": (15, 3),
    "right_hand_pose": (15, 3),
    "jaw_pose": (3,),
    "leye_pose": (3,),
    "reye_pose": (3,),
}
"""Rotation fields shared by :class:`BodyParams` and :class:`MotionClip`, with their shape per frame."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera.

    Attributes:
        viewmat: (4, 4) float32, world to camera, rigid.
        K: (3, 3) float32, intrinsics in pixels.
        width, height: image size in pixels.
    """

    viewmat: Array
    K: Array
    width: int
    height: int

    @staticmethod
    def frontal(width: int, height: int, focal: float, distance: float = 0.0) -> Camera:
        """On the +z axis, looking along -z, y up in the world; ``focal`` in pixels, ``distance`` in metres."""
        viewmat = np.diag([1.0, -1.0, -1.0, 1.0]).astype(np.float32)
        viewmat[2, 3] = distance
        K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], np.float32)
        return Camera(viewmat, K, width, height)

    @property
    def position(self) -> Array:
        """Camera centre in the world, (3,) metres."""
        R, t = self.viewmat[:3, :3], self.viewmat[:3, 3]
        return -R.T @ t

    def project(self, points: Array) -> tuple[Array, Array]:
        """Project world points.

        Args:
            points: (..., 3) metres.

        Returns:
            Pixels (..., 2) and camera depth z (...,).
        """
        cam = points @ self.viewmat[:3, :3].T + self.viewmat[:3, 3]
        z = cam[..., 2]
        xy = cam[..., :2] / np.maximum(z, 1e-6)[..., None]
        return xy @ self.K[:2, :2].T + self.K[:2, 2], z

    def resized(self, width: int, height: int) -> Camera:
        """The same view on an image of another size (pixel scale per axis)."""
        scale = np.array([width / self.width, height / self.height, 1.0], np.float32)
        return Camera(self.viewmat, (self.K * scale[:, None]).astype(np.float32), width, height)

    def cropped(self, x: float, y: float, width: int, height: int) -> Camera:
        """The same view seen through a window whose top-left corner is at pixel (x, y)."""
        K = self.K.copy()
        K[0, 2] -= x
        K[1, 2] -= y
        return Camera(self.viewmat, K, width, height)

    def orbited(self, yaw: float, pitch: float, center: Array) -> Camera:
        """Move the camera around ``center`` (3,), keeping it in view at the same place.

        Args:
            yaw: degrees; positive moves the camera to the person's left (the picture shows more of that side).
            pitch: degrees; positive moves the camera up.
        """
        a, b = math.radians(yaw), math.radians(pitch)
        Ry = np.array([[math.cos(a), 0, math.sin(a)], [0, 1, 0], [-math.sin(a), 0, math.cos(a)]])
        Rx = np.array([[1, 0, 0], [0, math.cos(b), math.sin(b)], [0, -math.sin(b), math.cos(b)]])
        turn = np.eye(4)
        turn[:3, :3] = Rx.T @ Ry.T
        turn[:3, 3] = center - turn[:3, :3] @ center
        return Camera((self.viewmat @ turn).astype(np.float32), self.K, self.width, self.height)


@dataclass(frozen=True)
class BodyParams:
    """SMPL-X parameters of one frame.

    Attributes:
        betas: (B,) shape coefficients of the body model in use.
        expression: (E,) expression coefficients; for the open body these are the 52 ARKit actions.
        global_orient (3,), body_pose (21, 3), left_hand_pose (15, 3), right_hand_pose (15, 3), jaw_pose (3,),
        leye_pose (3,), reye_pose (3,): axis-angle, radians (hands: full axis-angle, flat mean).
        transl: (3,) metres.
    """

    betas: Array
    expression: Array
    global_orient: Array
    body_pose: Array
    left_hand_pose: Array
    right_hand_pose: Array
    jaw_pose: Array
    leye_pose: Array
    reye_pose: Array
    transl: Array

    @staticmethod
    def zeros(n_betas: int, n_expression: int) -> BodyParams:
        """The T-pose with mean shape and neutral face."""
        rotations = {k: np.zeros(s, np.float32) for k, s in ROTATION_FIELDS.items()}
        return BodyParams(
            betas=np.zeros(n_betas, np.float32),
            expression=np.zeros(n_expression, np.float32),
            transl=np.zeros(3, np.float32),
            **rotations,
        )

    def replace(self, **changes: Array) -> BodyParams:
        """A copy with some fields exchanged."""
        return dataclasses.replace(self, **changes)


@dataclass(frozen=True)
class MotionClip:
    """A motion without a body: rotations, root path and face, F frames.

    Attributes:
        fps: frames per second.
        global_orient (F, 3) .. reye_pose (F, 3): axis-angle, radians, as in :class:`BodyParams`.
        transl: (F, 3) metres; only its change over time matters to an avatar.
        arkit: (F, 52) ARKit coefficients in 0..1, in the order of ``pipeline.body.ARKIT_NAMES``.
        expression: (F, E) native coefficients or None; ``expression_space`` names them ("flame").
        meta: name, source, licence, tags: plain JSON values.
    """

    fps: float
    global_orient: Array
    body_pose: Array
    left_hand_pose: Array
    right_hand_pose: Array
    jaw_pose: Array
    leye_pose: Array
    reye_pose: Array
    transl: Array
    arkit: Array
    expression: Array | None = None
    expression_space: str | None = None
    meta: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.transl)

    @property
    def duration(self) -> float:
        """Seconds."""
        return len(self) / self.fps

    def replace(self, **changes: Any) -> MotionClip:
        """A copy with some fields exchanged."""
        return dataclasses.replace(self, **changes)


@dataclass(frozen=True)
class Detections:
    """What the 2D detectors say about one frame, in pixels of the image given to them.

    Attributes:
        keypoints: (133, 3) COCO-WholeBody x, y, confidence (0 where not seen).
        pose: (33, 3) MediaPipe Pose x, y, visibility.
        pose_world: (33, 3) MediaPipe world landmarks in metres, camera axes (x right, y down, z forward), hip centred.
        face: (478, 3) MediaPipe face mesh x, y and relative depth in pixels, or None when no face is seen.
        left_hand, right_hand: (21, 3) MediaPipe hands (the person's own left and right), as ``face``, or None.
        left_hand_score, right_hand_score: confidence in 0..1.
    """

    keypoints: Array
    pose: Array
    pose_world: Array
    face: Array | None
    left_hand: Array | None
    right_hand: Array | None
    left_hand_score: float = 0.0
    right_hand_score: float = 0.0


@dataclass(frozen=True)
class FitReport:
    """How well the body was registered to the picture, for people and for programs.

    Attributes:
        accepted: whether an avatar should be made from this picture.
        summary: one sentence.
        hints: what to do to get a better one; empty when all is well.
        metrics: reprojection error per part in percent of the person's height, matte overlap (IoU), visibility ...
        not_visible: parts that the picture does not show and that will be guessed.
    """

    accepted: bool
    summary: str
    hints: tuple[str, ...]
    metrics: dict[str, float]
    not_visible: tuple[str, ...]


@dataclass(frozen=True)
class Observation:
    """A photo, understood: the input of the fit.

    Attributes:
        image: (H, W, 3) the 9:16 crop.
        alpha: (H, W) matte of the person.
        camera: the camera of the crop.
        params: registered body.
        arkit: (52,) facial actions in 0..1.
        detections: 2D detections in the crop's pixels.
        report: how well it went.
        source_hash: SHA-256 of the photo's pixels (hex).
        valid: (H, W) bool, False where the crop reaches over the photo's edge: shown, never learnt from; None = all.
        window: x, y, width, height of the crop in the photo's pixels (:class:`pipeline.perceive.crop.CropWindow`).
    """

    image: Array
    alpha: Array
    camera: Camera
    params: BodyParams
    arkit: Array
    detections: Detections
    report: FitReport
    source_hash: str
    valid: Array | None = None
    window: tuple[float, float, float, float] | None = None


@dataclass(frozen=True)
class PseudoLabel:
    """A further picture of the person, imperfect: a generated or filmed frame with its tracked body.

    Attributes:
        image (H, W, 3), alpha (H, W), camera, params: as in :class:`Observation`.
        region: where it may teach: the whole body or only the head.
        confidence: 0..1, scales its loss.
        weight: (H, W) in 0..1, how much each pixel may teach, apart from the matte (a seam); None = 1 everywhere.
        filmed: a real picture, whose colours and outline are the person's own; a generated one teaches structure only.
    """

    image: Array
    alpha: Array
    camera: Camera
    params: BodyParams
    region: Literal["body", "head"]
    confidence: float = 1.0
    weight: Array | None = None
    filmed: bool = False


class PipelineError(Exception):
    """A problem that the user can solve; its message is one sentence that says what is wrong and what to do."""
