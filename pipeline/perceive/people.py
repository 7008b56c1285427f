"""How many people does a picture show? Counts faces of comparable size; distant passers-by do not count."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from pipeline.perceive.detect import as_uint8, mediapipe_solutions, quiet_native_logs
from pipeline.types import Array, Detections

COMPARABLE = 0.5
"""A face counts when it is at least this part of the width of the person's face, or of the largest one's."""
CONFIDENCE, CONFIRMED = 0.6, 0.65
"""Lowest score of a face when the picture is searched, and when the place is looked at again, closer. Measured on 100
photos: second faces score 0.68 to 0.98, walls and hands at most 0.6."""
SURE = 0.8
"""Lowest score of a face before the person's own trunk and arms, where a hand at a collar can look like one."""
OWN = [11, 12, 13, 14, 15, 16, 23, 24]
"""Shoulders, elbows, wrists and hips in MediaPipe's pose."""
MARGIN = 1.2
"""The second look reaches so many widths of the face to all sides."""


class Face(NamedTuple):
    """Centre and width in pixels, score in 0..1."""

    x: float
    y: float
    width: float
    score: float


def count_people(image: Array, person: Detections | None = None, confidence: float = CONFIDENCE) -> int:
    """Best effort: the number of prominent faces; 0 when none is seen.

    Args:
        image: (H, W, 3) uint8 or float RGB.
        person: the one whom the picture should show; faces are then compared with theirs.
        confidence: 0..1, lowest score of a face.
    """
    if person is None or person.face is None:
        faces = find_faces(image, confidence)
        smallest = COMPARABLE * max((face.width for face in faces), default=0.0)
        return sum(face.width >= smallest for face in faces)
    width, middle = float(np.ptp(person.face[:, 0])), person.face[:, :2].mean(0)
    faces = find_faces(image, confidence, [Face(float(middle[0]), float(middle[1]), width, 0.0)])
    smallest = COMPARABLE * width
    return sum(face.width >= smallest and (face.score >= SURE or not _before(face, person.pose)) for face in faces)


def find_faces(image: Array, confidence: float = CONFIDENCE, expected: Sequence[Face] = ()) -> list[Face]:
    """Faces in a picture (H, W, 3), in windows of half its side and where they are ``expected``, each confirmed by a
    second, closer look.

    The detector sees 192 pixels of its picture: small faces are lost in the whole, and a row of them looks like one.
    """
    picture = as_uint8(image)
    faces: list[Face] = []
    face_detection = mediapipe_solutions().face_detection.FaceDetection
    with quiet_native_logs(), face_detection(1, confidence) as far, face_detection(0, confidence) as near:
        for candidate in (*expected, *_candidates(picture, far)):
            seen = _look_again(picture, candidate, near)
            if seen is not None and not any(_same(seen, face) for face in faces):
                faces.append(seen)
    return [face for face in faces if face.score >= CONFIRMED or any(_same(face, known) for known in expected)]


def _same(a: Face, b: Face) -> bool:
    return bool(np.hypot(a.x - b.x, a.y - b.y) <= 0.9 * max(a.width, b.width))


def _candidates(picture: Array, detector: Any) -> Iterator[Face]:
    height, width = picture.shape[:2]
    for share in (1.0, 0.5):
        side = round(share * max(height, width))
        for top in _starts(height, side):
            for left in _starts(width, side):
                for face in _detect(picture, (left, top, left + side, top + side), detector):
                    cut = _reaches(face.x, face.width, left, side, width) or _reaches(
                        face.y, face.width, top, side, height
                    )
                    if not cut:
                        yield face


def _look_again(picture: Array, face: Face, detector: Any) -> Face | None:
    reach = MARGIN * face.width
    window = tuple(round(v) for v in (face.x - reach, face.y - reach, face.x + reach, face.y + reach))
    near = [f for f in _detect(picture, window, detector) if np.hypot(f.x - face.x, f.y - face.y) < face.width / 2]
    return max(near, key=lambda f: f.score, default=None)


def _detect(picture: Array, window: tuple[int, ...], detector: Any) -> list[Face]:
    """Faces in a window (left, top, right, bottom), in pixels of the picture."""
    left, top = max(window[0], 0), max(window[1], 0)
    part = np.ascontiguousarray(picture[top : window[3], left : window[2]])
    faces = []
    for found in detector.process(part).detections or []:
        box = found.location_data.relative_bounding_box
        width, height = box.width * part.shape[1], box.height * part.shape[0]
        x, y = left + box.xmin * part.shape[1] + width / 2, top + box.ymin * part.shape[0] + height / 2
        faces.append(Face(x, y, width, float(found.score[0])))
    return faces


def _before(face: Face, pose: Array) -> bool:
    """Whether a face reaches into the box around the person's own trunk and arms; MediaPipe's pose (33, 3)."""
    low, high = pose[OWN, :2].min(0), pose[OWN, :2].max(0)
    return bool(low[0] < face.x < high[0] and low[1] - face.width / 2 < face.y < high[1])


def _reaches(place: float, size: float, begin: int, side: int, length: int) -> bool:
    """Whether a face reaches the edge of its window inside of the picture: another window shows it whole."""
    low, high = place - 0.6 * size, place + 0.6 * size
    return (begin > 0 and low < begin) or (begin + side < length and high > begin + side)


def _starts(length: int, side: int) -> range:
    """Where windows of a side begin so that they cover a length, half overlapping."""
    return range(0, max(length - side, 0) + 1, max(min(side // 2, length - side), 1))
