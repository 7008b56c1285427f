"""Faces in pictures of any framing (MediaPipe's mesh behind its full-range detector), and whether they will do."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

import numpy as np

from pipeline.perceive.detect import QuietGraph, Window, as_uint8, landmarks_to_pixels, mediapipe_solutions
from pipeline.types import Array, PipelineError

MIN_PUPIL_PIXELS = 20.0
MAX_YAW = 40.0
MAX_OCCLUDED = 0.25
SUNGLASSES_RATIO = 0.40
"""Darkest lids against the cheeks that bare eyes reach is about 0.44, in hard side light; dark glasses gave 0.36."""
MESH_SIZE = 384
LIPS = (61, 40, 37, 0, 267, 270, 291, 321, 314, 17, 84, 91)
LIDS = ((230, 229, 231, 223, 222, 224), (450, 449, 451, 443, 442, 444))
"""Skin right below and above each eye: bare on every face without dark glasses."""
CHEEKS = (50, 280, 101, 330, 205, 425)


class FaceFinder:
    """Finds all faces; use as a context manager or :meth:`close` it."""

    def __init__(self) -> None:
        solutions = mediapipe_solutions()
        self._boxes = QuietGraph(
            lambda: solutions.face_detection.FaceDetection(model_selection=1, min_detection_confidence=0.5)
        )
        self._mesh = QuietGraph(
            lambda: solutions.face_mesh.FaceMesh(
                static_image_mode=True, max_num_faces=1, refine_landmarks=True, min_detection_confidence=0.4
            )
        )

    def __enter__(self) -> FaceFinder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the native graphs."""
        self._boxes.close()
        self._mesh.close()

    def find(self, image: Array) -> list[Array]:
        """All faces, the largest first.

        Args:
            image: (H, W, 3) RGB, uint8 or float in 0..1.

        Returns:
            (478, 3) arrays: x, y and relative depth in pixels.
        """
        picture = as_uint8(image)
        height, width = picture.shape[:2]
        found = []
        for detection in self._boxes.process(picture).detections or []:
            box = detection.location_data.relative_bounding_box
            centre = (box.xmin + box.width / 2) * width, (box.ymin + box.height / 2) * height
            window = Window(*centre, 2.0 * max(box.width * width, box.height * height))
            mesh = self._mesh.process(window.cut(picture, MESH_SIZE)).multi_face_landmarks
            if mesh:
                found.append(window.back(landmarks_to_pixels(mesh[0], MESH_SIZE, MESH_SIZE, depth=True), MESH_SIZE))
        return sorted(_distinct(found), key=_size, reverse=True)

    def single(self, image: Array) -> Array | None:
        """The only face, or None where there is none or more than one of comparable size."""
        faces = self.find(image)
        if not faces or (len(faces) > 1 and _size(faces[1]) > 0.4 * _size(faces[0])):
            return None
        return faces[0]


def _size(face: Array) -> float:
    return float(np.ptp(face[:, :2], axis=0).max())


def _distinct(faces: Sequence[Array]) -> list[Array]:
    """Drop meshes that were found twice."""
    kept: list[Array] = []
    for face in faces:
        centre = face[:, :2].mean(0)
        if all(np.linalg.norm(centre - other[:, :2].mean(0)) > 0.3 * _size(other) for other in kept):
            kept.append(face)
    return kept


def pupil_distance(face: Array) -> float:
    """Pixels between the irises of a (478, >= 2) face."""
    return float(np.linalg.norm(face[468, :2] - face[473, :2]))


def rough_yaw(face: Array) -> float:
    """Degrees of turn from the mesh's relative depths; positive turns the face to the picture's right."""
    across = face[454] - face[234]
    return float(np.degrees(np.arctan2(across[2], across[0])))


def rough_roll(face: Array) -> float:
    """Degrees of tilt in the picture, positive clockwise."""
    dx, dy = face[263, :2] - face[33, :2]
    return float(np.degrees(np.arctan2(dy, dx)))


def check_source(
    image: Array, faces: Sequence[Array], hands: Sequence[Array] = (), min_pupils: float = MIN_PUPIL_PIXELS
) -> Array:
    """The face of a photo from which head labels can be made.

    Args:
        image: (H, W, 3) uint8 RGB. faces: from :meth:`FaceFinder.find`. hands: (21, >= 2) in the same pixels.
        min_pupils: least distance between the pupils of a frontal face, pixels.

    Returns:
        (478, 3), the face.

    Raises:
        PipelineError: no face, several, too small, in profile, dark glasses, or a hand before the mouth.
    """
    if not faces:
        raise PipelineError(
            "No face is visible in the photo, so head labels cannot be made; use a photo with a clear face."
        )
    if len(faces) > 1 and _size(faces[1]) > 0.4 * _size(faces[0]):
        raise PipelineError("The photo shows more than one face; crop it to one person to make head labels.")
    face = faces[0]
    if pupil_distance(face) < min_pupils * np.cos(np.radians(min(abs(rough_yaw(face)), 60.0))):
        raise PipelineError("The face is too small for head labels; use a photo with more pixels on the face.")
    if abs(rough_yaw(face)) > MAX_YAW:
        raise PipelineError("The face is turned too far to the side for head labels; use a photo from the front.")
    if any(_covers_mouth(hand, face) for hand in hands):
        raise PipelineError("A hand covers the mouth, so head labels would keep it there; use a photo without.")
    if wears_sunglasses(image, face):
        raise PipelineError(
            "The eyes are hidden by dark glasses, so head labels cannot be made; use a photo without them."
        )
    return face


def _covers_mouth(hand: Array, face: Array) -> bool:
    """Whether a fair share of the hand's points lies on the lips."""
    import cv2

    hull = cv2.convexHull(face[list(LIPS), :2].astype(np.float32))
    reach = 0.15 * pupil_distance(face)
    inside = [cv2.pointPolygonTest(hull, (float(x), float(y)), True) > -reach for x, y in hand[:, :2]]
    return float(np.mean(inside)) > MAX_OCCLUDED * 0.4


def wears_sunglasses(image: Array, face: Array) -> bool:
    """Whether the skin around both eyes is far darker than the cheeks.

    Args:
        image: (H, W, 3) RGB. face: (478, >= 2) in its pixels.
    """
    grey = as_uint8(image).astype(np.float32).mean(-1) / 255
    cheeks = float(np.median([_brightness(grey, face, i, 0.12) for i in CHEEKS]))
    sides = [np.median([_brightness(grey, face, i, 0.08) for i in lids]) for lids in LIDS]
    return bool(max(sides) < SUNGLASSES_RATIO * max(cheeks, 0.05))


def _brightness(grey: Array, face: Array, point: int, radius: float) -> float:
    """Median of a square around a landmark; ``radius`` in pupil distances."""
    x, y = np.rint(face[point, :2]).astype(int)
    r = max(1, round(radius * pupil_distance(face)))
    values = grey[max(y - r, 0) : max(y + r + 1, 0), max(x - r, 0) : max(x + r + 1, 0)]
    return float(np.median(values)) if values.size else 0.5
