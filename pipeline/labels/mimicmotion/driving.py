"""What the generator is asked to show: a motion clip on the person's own body, as keypoints in the photo's camera.

The clip moves the very body that was registered to the photo, so its keypoints lie on the person without alignment
(that is for driving videos, see :mod:`.align`). The detectors' idea of every keypoint is calibrated on the body.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.body import BodyModel
from pipeline.labels.mimicmotion.draw import draw_pose
from pipeline.labels.mimicmotion.dwpose import DWPose
from pipeline.labels.mimicmotion.keypoints import People, Pose, to_pose
from pipeline.types import Array, BodyParams, Camera, MotionClip, Observation, PipelineError

SEEN, OUTSIDE = 0.95, 0.1
HIDDEN_BODY, HIDDEN_PART = 0.5, 0.35
"""Confidences that are drawn: DWPose is less sure of a joint behind the body, and least of hidden fingers and face."""
DEPTH_BODY, DEPTH_PART = 0.16, 0.035
"""Metres that a keypoint may lie behind the visible surface: body joints are inside the limbs."""
DEPTH_HEIGHT = 256


@dataclass(frozen=True)
class Driving:
    """F frames to be generated.

    Attributes:
        params: the body of every frame. arkit: (F, 52).
        people: (F, 133, 2) keypoints in pixels of the photo's crop, and (F, 133) confidences.
        camera: of the crop.
        posed: whether ``params`` are the motion; False where only keypoints are known and they are the photo's pose.
    """

    params: tuple[BodyParams, ...]
    arkit: Array
    people: People
    camera: Camera
    posed: bool = True

    def __len__(self) -> int:
        return len(self.params)

    def pictures(self) -> Array:
        """(F, H, W, 3) uint8 pose pictures."""
        width, height = self.camera.width, self.camera.height
        return np.stack([draw_pose(self.pose(i), height, width) for i in range(len(self))])

    def pose(self, index: int) -> Pose:
        """What is drawn of one frame."""
        frame = slice(index, index + 1)
        people = People(self.people.points[frame], self.people.scores[frame])
        return to_pose(people, self.camera.width, self.camera.height)


def reference_pose(observation: Observation, dwpose: DWPose | None = None) -> Array:
    """(H, W, 3) uint8 pose picture of the photo itself, the first frame of every video.

    Args:
        observation: the photo, understood.
        dwpose: finds the keypoints as the generator was trained with; without it those of the observation are drawn.
    """
    height, width = observation.image.shape[:2]
    return draw_pose(to_pose(reference_people(observation, dwpose), width, height), height, width)


def reference_people(observation: Observation, dwpose: DWPose | None = None) -> People:
    """The keypoints of the person in the photo; arguments as for :func:`reference_pose`."""
    if dwpose is None:
        found = observation.detections.keypoints
        return People(found[None, :, :2], found[None, :, 2])
    everybody = dwpose.detect(np.rint(np.clip(observation.image, 0, 1) * 255).astype(np.uint8))
    return People(everybody.points[:1], everybody.scores[:1])


def drive(
    clip: MotionClip, observation: Observation, body: BodyModel, *, fps: float, frames: int, view: tuple[float, float]
) -> Driving:
    """Play a clip on the photo's body and look at it with the photo's camera.

    Args:
        clip: any motion.
        observation: the photo, understood.
        body: the body model of the observation.
        fps: frames per second of the result; frames: at most so many.
        view: pitch and yaw in degrees by which the whole body is turned (see :mod:`pipeline.motion.views`).

    Raises:
        PipelineError: a clip shorter than two frames at this rate.
    """
    from pipeline.motion import resample, retarget

    clip = resample(clip, fps)
    if len(clip) < 2:
        name = clip.meta.get("name", "The clip")
        raise PipelineError(f"{name} is shorter than two frames at {fps:g} frames per second; use a longer motion.")
    moved = retarget(clip, body, observation.params)
    index = np.arange(min(frames, len(moved)))
    params = tuple(turned(moved[int(i)], view) for i in index)
    people = keypoints(params, body, observation.camera)
    return Driving(params, np.asarray(clip.arkit, np.float32)[index], people, observation.camera)


def turned(params: BodyParams, view: tuple[float, float]) -> BodyParams:
    """The body turned about its own pelvis: pitch bows it towards the camera, yaw turns it to its left; degrees."""
    from pipeline.motion.rotations import aa_to_matrix, axis_rotation, matrix_to_aa

    turn = axis_rotation("y", np.radians(view[1])) @ axis_rotation("x", np.radians(view[0]))
    orient = matrix_to_aa(turn @ aa_to_matrix(np.asarray(params.global_orient, np.float64)))
    return params.replace(global_orient=orient.astype(np.float32))


def keypoints(params: Sequence[BodyParams], body: BodyModel, camera: Camera) -> People:
    """COCO-WholeBody keypoints of F posed bodies: (F, 133, 2) pixels and (F, 133) confidences by visibility."""
    from pipeline.perceive.photo import posed_vertices

    points, scores = [], []
    for frame in params:
        vertices = posed_vertices(body, frame)
        world = _landmarks(body, vertices)
        xy, depth = camera.project(world)
        points.append(xy)
        scores.append(_visibility(xy, depth, vertices, body, camera))
    return People(np.stack(points).astype(np.float64), np.stack(scores))


def _landmarks(body: BodyModel, vertices: Array) -> Array:
    import torch

    return body.landmark_points("coco_wholebody", torch.as_tensor(vertices)[None])[0].numpy()


def _visibility(xy: Array, depth: Array, vertices: Array, body: BodyModel, camera: Camera) -> Array:
    """(133,) confidence: seen, hidden behind the body, or outside the picture."""
    from pipeline.render import rasterize_mesh

    scale = DEPTH_HEIGHT / camera.height
    small = camera.resized(max(1, round(camera.width * scale)), DEPTH_HEIGHT)
    surface = np.asarray(rasterize_mesh(vertices, body.faces, small).depth)
    column, row = (xy * (small.width / camera.width, small.height / camera.height)).astype(int).T
    inside = (xy >= 0).all(1) & (xy[:, 0] < camera.width) & (xy[:, 1] < camera.height)
    nearest = surface[np.clip(row, 0, small.height - 1), np.clip(column, 0, small.width - 1)]
    is_body = np.arange(len(xy)) < 23
    hidden = depth > nearest + np.where(is_body, DEPTH_BODY, DEPTH_PART)
    scores = np.where(hidden, np.where(is_body, HIDDEN_BODY, HIDDEN_PART), SEEN)
    return np.where(inside, scores, OUTSIDE)
