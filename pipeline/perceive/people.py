"""How many people does a picture show? Counts faces of comparable size; distant passers-by do not count."""

from __future__ import annotations

import numpy as np

from pipeline.perceive.detect import as_uint8, mediapipe_solutions, quiet_native_logs
from pipeline.types import Array

COMPARABLE = 0.5
"""A face counts when it is at least this part of the largest face's width."""


def count_people(image: Array) -> int:
    """Best effort: the number of prominent faces, (H, W, 3) uint8 or float RGB; 0 when none is seen."""
    with quiet_native_logs(), mediapipe_solutions().face_detection.FaceDetection(1, 0.6) as detector:
        found = detector.process(as_uint8(image)).detections or []
    widths = np.array([d.location_data.relative_bounding_box.width for d in found])
    return int((widths >= COMPARABLE * widths.max()).sum()) if len(widths) else 0


def count_faces_closely(image: Array, confidence: float = 0.6) -> int:
    """As :func:`count_people`, but looking also at parts of the picture, so that small faces are found too.

    Args:
        image: (H, W, 3) uint8 or float RGB.
        confidence: 0..1, lowest score of a face.
    """
    picture = as_uint8(image)
    height, width = picture.shape[:2]
    faces: list[tuple[float, float, float]] = []
    with quiet_native_logs(), mediapipe_solutions().face_detection.FaceDetection(1, confidence) as detector:
        for share in (1.0, 0.5):
            side = round(share * max(height, width))
            for top in _starts(height, side):
                for left in _starts(width, side):
                    part = np.ascontiguousarray(picture[top : top + side, left : left + side])
                    for found in detector.process(part).detections or []:
                        box = found.location_data.relative_bounding_box
                        size = box.width * part.shape[1]
                        x, y = left + (box.xmin * part.shape[1]) + size / 2, top + box.ymin * part.shape[0] + size / 2
                        cut = _reaches(x, size, left, side, width) or _reaches(y, size, top, side, height)
                        if not cut and all(np.hypot(x - a, y - b) > 0.9 * max(size, s) for a, b, s in faces):
                            faces.append((x, y, size))
    largest = max((s for *_, s in faces), default=0.0)
    return sum(s >= COMPARABLE * largest for *_, s in faces)


def _reaches(place: float, size: float, begin: int, side: int, length: int) -> bool:
    """Whether a face reaches the edge of its window inside of the picture: another window shows it whole."""
    low, high = place - 0.6 * size, place + 0.6 * size
    return (begin > 0 and low < begin) or (begin + side < length and high > begin + side)


def _starts(length: int, side: int) -> range:
    """Where windows of a side begin so that they cover a length, half overlapping."""
    return range(0, max(length - side, 0) + 1, max(min(side // 2, length - side), 1))
