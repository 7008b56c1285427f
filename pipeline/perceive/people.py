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
