"""Alignment of a driving video to the person in the photo, and the choice of its frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.labels.mimicmotion.keypoints import VISIBLE, Pose
from pipeline.types import Array, PipelineError

ANCHORS = (0, 1, 2, 5, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17)
"""OpenPose joints that carry the alignment: all but elbows and wrists."""


def sampled_frames(length: int, fps: float, sample_stride: int = 2) -> range:
    """Indices of the driving frames that are used: every ``sample_stride``-th at about 24 frames per second."""
    return range(0, length, sample_stride * max(1, int(fps / 24)))


def fit_alignment(
    reference: Pose, driving: Sequence[Pose], reference_size: tuple[int, int], driving_size: tuple[int, int]
) -> tuple[Array, Array]:
    """One scale and offset that lays a whole driving video on the person in the photo.

    The vertical fit is ordinary least squares over the anchors that the photo shows, in all frames with one person; the
    horizontal scale is the same in pixels.

    Args:
        reference: the photo's pose, its first person is meant.
        driving: poses of the driving frames.
        reference_size, driving_size: (height, width) in pixels.

    Returns:
        a (2,), b (2,): aligned = a * driving + b, in shares of the picture.

    Raises:
        PipelineError: no anchor is seen in the photo, or no driving frame shows exactly one person.
    """
    if not len(reference):
        raise PipelineError("No person was found in the photo; use a photo of one person seen from the front.")
    anchors = [j for j in ANCHORS if reference.body_score[0, j] > VISIBLE]
    single = [pose.body[0, anchors] for pose in driving if len(pose) == 1]
    if not anchors:
        raise PipelineError("The photo shows no head, shoulder or hip clearly; use one that shows more of the body.")
    if not single:
        raise PipelineError("No frame of the driving video shows exactly one person; use a video of one person.")
    source = np.concatenate(single)
    target = np.tile(reference.body[0, anchors], (len(single), 1))
    a_y, b_y = _line(source[:, 1], target[:, 1])
    (height, width), (frame_height, frame_width) = reference_size, driving_size
    a_x = a_y * (frame_width / frame_height) * (height / width)
    b_x = np.mean(target[:, 0] - a_x * source[:, 0])
    return np.array([a_x, a_y]), np.array([b_x, b_y])


def _line(x: Array, y: Array) -> tuple[float, float]:
    """Least-squares slope and intercept; slope 1 where all x are equal."""
    if np.ptp(x) < 1e-9:
        return 1.0, float(np.mean(y - x))
    slope, intercept = np.polyfit(x, y, 1)
    return float(slope), float(intercept)


def align_poses(
    reference: Pose, driving: Sequence[Pose], reference_size: tuple[int, int], driving_size: tuple[int, int]
) -> list[Pose]:
    """The driving poses laid on the person in the photo; see :func:`fit_alignment`."""
    a, b = fit_alignment(reference, driving, reference_size, driving_size)
    return [pose.moved(a, b) for pose in driving]
