"""A tracked video drawn over: the landmarks of the registered body on the frames that they were found in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from pipeline.perceive import targets as T
from pipeline.perceive.track import TrackResult, VideoDetections
from pipeline.types import Array
from pipeline.video import VideoReader, VideoWriter

LEFT, RIGHT, MIDDLE, FACE = (255, 150, 40), (60, 200, 255), (240, 240, 240), (120, 255, 120)
"""RGB of the person's left and right side, of the trunk, and of the face."""
HEIGHT = 720
SEEN = 0.25
"""Detections with less weight than this are not drawn."""


def write_overlay(tracked: TrackResult, path: str | Path, progress: Callable[[str, float], None] | None = None) -> None:
    """Draw the registered body (lines) and the detections that it explains (dots) on the video's frames.

    Args:
        tracked: what :func:`pipeline.perceive.track_video` returned.
        path: ``.mp4`` or ``.webm``.
        progress: called with a stage name and the share done.

    Raises:
        PipelineError: the video is no longer there, or the file cannot be written.
    """
    source = tracked.source
    assert source is not None, "made by track_video"
    scale = min(1.0, HEIGHT / source.height)
    size = (round(source.width * scale), round(source.height * scale))
    body = tracked.window.from_crop(tracked.registration.points) * scale
    seen = tracked.window.from_crop(tracked.targets.points.numpy()) * scale
    weights = tracked.targets.weights.numpy()
    with _again(source) as reader, VideoWriter(path, source.fps, size) as writer:
        for index, frame in enumerate(reader):
            if index == len(tracked):
                break
            picture = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
            writer.write(draw(picture, body[index], seen[index], weights[index]))
            if progress is not None:
                progress("overlay", (index + 1) / len(tracked))


def _again(source: VideoDetections) -> VideoReader:
    seconds = (len(source.frames) + 0.5) / source.fps
    return VideoReader(source.path, max_seconds=seconds, max_side=source.max_side, fps=source.fps)


def draw(picture: Array, body: Array, seen: Array, weights: Array) -> Array:
    """One frame: registered landmarks (N_POINTS, 2) as lines over detections (N_POINTS, 2) as dots, pixels.

    Returns:
        (H, W, 3) uint8; a frame in which nobody was found is darkened.
    """
    if not (weights > SEEN).any():
        return picture // 3
    out = np.ascontiguousarray(picture)
    for x, y in seen[weights > SEEN]:
        cv2.circle(out, (round(float(x)), round(float(y))), 1, (255, 60, 60), -1, cv2.LINE_AA)
    pose = body[T.POSE]
    for a, b in T.BODY_BONES:
        if min(weights[T.POSE][a], weights[T.POSE][b]) > 0:
            colour = MIDDLE if a % 2 != b % 2 else (LEFT if a % 2 else RIGHT)
            _line(out, pose[a], pose[b], colour, 2)
    for where, colour in ((T.LEFT_HAND, LEFT), (T.RIGHT_HAND, RIGHT)):
        if weights[where].any():
            for a, b in T.HAND_BONES:
                _line(out, body[where][a], body[where][b], colour, 1)
    if weights[T.FACE].any():
        for ring in (T.FACE_CONTOUR, T.LIPS[:20], T.LIPS[20:], T.EYES[:16], T.EYES[16:]):
            points = np.rint(body[T.FACE][list(_around(ring))]).astype(np.int32)
            cv2.polylines(out, [points], ring is T.FACE_CONTOUR, FACE, 1, cv2.LINE_AA)
    return out


def _around(ring: tuple[int, ...]) -> tuple[int, ...]:
    """Lips and eyes are listed as a lower and an upper arc, both from the same corner; walk around instead."""
    if ring is T.FACE_CONTOUR:
        return ring
    half = 11 if len(ring) == 20 else 9
    return (*ring[:half], *reversed(ring[half:]), ring[0])


def _line(picture: Array, a: Array, b: Array, colour: tuple[int, int, int], width: int) -> None:
    if np.isfinite([*a, *b]).all() and np.abs([*a, *b]).max() < 1e5:
        ends = [(round(float(x)), round(float(y))) for x, y in (a, b)]
        cv2.line(picture, ends[0], ends[1], colour, width, cv2.LINE_AA)
