"""Whole-body keypoints from one picture or from a video, with the models inside the MediaPipe wheel.

:class:`Detector` wraps MediaPipe Holistic 0.10.21 (pose, face mesh with irises, both hands). In a photo it looks a
second time, closer, at whatever the pose says is there but the first look missed. In a video it tracks over frames.
Left and right are the person's own. See :mod:`pipeline.perceive.people` for how many people a picture shows.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, NamedTuple

import cv2
import numpy as np

from pipeline.perceive.consensus import Look, consensus, further_looks
from pipeline.types import Array, Detections

STATIC_LONG_SIDE = 1120
"""Long side in pixels at which a photo is shown to Holistic; its hand crops are cut from this picture."""
VIDEO_LONG_SIDE = 960
"""Video frames larger than this are shrunk first; the models' own inputs are 192 to 256 pixels."""
SCORE_FIRST_LOOK = 0.9
"""Holistic does not output a hand score; hands that pass :func:`plausible_hand` get this one."""
POSE_WRIST, POSE_ELBOW = {"left": 15, "right": 16}, {"left": 13, "right": 14}
POSE_FINGERS = {"left": (17, 19, 21), "right": (18, 20, 22)}

_stderr_lock = threading.RLock()


@contextlib.contextmanager
def quiet_native_logs() -> Iterator[None]:
    """Silence what native libraries print on file descriptor 2 (MediaPipe cannot be asked to be quiet)."""
    with _stderr_lock:
        sys.stderr.flush()
        saved = os.dup(2)
        null = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(null, 2)
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            os.close(null)


def mediapipe_solutions() -> Any:
    """Import MediaPipe without its start-up chatter and return ``mediapipe.solutions``."""
    os.environ.setdefault("GLOG_minloglevel", "3")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet_native_logs():
        import mediapipe

    return mediapipe.solutions


def as_uint8(image: Array) -> Array:
    """(H, W, 3) uint8, or float in 0..1, to contiguous uint8 RGB."""
    if image.dtype != np.uint8:
        image = np.clip(np.rint(np.asarray(image, np.float32) * 255), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(image)


def resize_long_side(image: Array, long_side: int, enlarge: bool) -> tuple[Array, float]:
    """Scale ``image`` so that its longer side is ``long_side``; returns the picture and the factor used."""
    scale = long_side / max(image.shape[:2])
    if scale >= 1 and not enlarge or abs(scale - 1) < 1e-3:
        return image, 1.0
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC), scale


def landmarks_to_pixels(landmarks: Any, width: int, height: int, depth: bool) -> Array:
    """MediaPipe normalised landmarks to (n, 3) float32: pixels x, y and relative depth in pixels, or visibility."""
    third = [(p.z * width if depth else p.visibility) for p in landmarks.landmark]
    xy = [(p.x * width, p.y * height) for p in landmarks.landmark]
    return np.concatenate([np.array(xy, np.float32), np.array(third, np.float32)[:, None]], 1)


class QuietGraph:
    """A MediaPipe solution whose start-up chatter is silenced; it comes with the first few pictures."""

    CHATTY_CALLS = 3

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._graph: Any = None
        self._calls = 0

    def process(self, image: Array) -> Any:
        """Run the graph on an (H, W, 3) uint8 RGB picture."""
        self._calls += 1
        if self._calls > self.CHATTY_CALLS:
            return self._graph.process(image)
        with quiet_native_logs():
            if self._graph is None:
                self._graph = self._make()
            return self._graph.process(image)

    def close(self) -> None:
        """Free the native graph."""
        if self._graph is not None:
            self._graph.close()
            self._graph = None
            self._calls = 0


class Window(NamedTuple):
    """A square of the picture, in pixels: centre and side."""

    x: float
    y: float
    side: float

    def cut(self, image: Array, size: int) -> Array:
        """The square resampled to (size, size, 3); outside of the picture the edge is repeated."""
        inverse = self.side / size
        left, top = self.x - self.side / 2, self.y - self.side / 2
        half = 0.5 * inverse - 0.5  # pixel centres, not corners, are what OpenCV counts
        matrix = np.array([[inverse, 0, left + half], [0, inverse, top + half]], np.float32)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        if inverse > 2:
            image = cv2.blur(image, (int(inverse), int(inverse)))
        return cv2.warpAffine(image, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)

    def back(self, points: Array, size: int) -> Array:
        """Points (n, 3) of the cut-out (x, y, depth) to the picture's pixels."""
        scale = self.side / size
        offset = np.array([self.x - self.side / 2, self.y - self.side / 2, 0], np.float32)
        return (points * scale + offset).astype(np.float32)


def hand_span(hand: Array) -> float:
    """Size of a hand in pixels: the longest side of its bounding box."""
    return float(np.ptp(hand[:, :2], axis=0).max())


def shoulder_scale(pose: Array) -> float:
    """A body length in pixels that survives turning: shoulder width or a part of the torso, whichever is longer."""
    shoulders = np.linalg.norm(pose[11, :2] - pose[12, :2])
    torso = np.linalg.norm(pose[11:13, :2].mean(0) - pose[23:25, :2].mean(0))
    return float(max(shoulders, 0.6 * torso, 1.0))


def hand_window(pose: Array, side: str, grow: float = 1.0) -> Window:
    """Where the pose says that a hand is."""
    wrist = pose[POSE_WRIST[side], :2]
    fingers = pose[list(POSE_FINGERS[side]), :2]
    forearm = wrist - pose[POSE_ELBOW[side], :2]
    reach = max(float(np.linalg.norm(fingers - wrist, axis=1).max()), 0.35 * float(np.linalg.norm(forearm)))
    centre = 0.5 * wrist + 0.5 * fingers.mean(0) + 0.1 * forearm
    width = max(3.2 * reach, 0.7 * shoulder_scale(pose)) * grow
    return Window(float(centre[0]), float(centre[1]), float(width))


def plausible_hand(hand: Array, pose: Array, side: str) -> bool:
    """Whether a hand starts near the pose's wrist of that side and has a sane size."""
    scale = shoulder_scale(pose)
    span = hand_span(hand)
    distance = float(np.linalg.norm(hand[0, :2] - pose[POSE_WRIST[side], :2]))
    return 0.08 * scale < span < 1.6 * scale and distance < max(0.75 * span, 0.3 * scale)


def same_hand(a: Array, b: Array) -> bool:
    """Whether two detections lie on one and the same hand."""
    gap = float(np.linalg.norm(a[:, :2] - b[:, :2], axis=1).mean())
    return gap < 0.35 * max(hand_span(a), hand_span(b))


class _Found(NamedTuple):
    """Raw result of one look, in the pixels of the picture that was looked at."""

    pose: Array
    world: Array
    face: Array | None
    hands: dict[str, tuple[Array, float]]


class Detector:
    """MediaPipe Holistic as a context manager.

    Args:
        static: True for unrelated photos (each picture is searched anew, twice where needed); False for the consecutive
            frames of one video (tracked, one look per frame).
        complexity: MediaPipe's pose model; only 1 is inside the wheel.

    Raises:
        ValueError: for another ``complexity``, which MediaPipe would try to download.
    """

    def __init__(self, static: bool, complexity: int = 1) -> None:
        if complexity != 1:
            raise ValueError("Only pose complexity 1 is part of the MediaPipe wheel.")
        self.static = static
        self._solutions = mediapipe_solutions()
        self._graphs: dict[str, QuietGraph] = {}

    def __enter__(self) -> Detector:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the native graphs."""
        for graph in self._graphs.values():
            graph.close()
        self._graphs.clear()

    def detect(self, image: Array) -> Detections | None:
        """Find the person.

        Args:
            image: (H, W, 3) RGB, uint8 or float in 0..1.

        Returns:
            Detections in pixels of ``image``, or None when there is no person.
        """
        picture = as_uint8(image)
        limit = STATIC_LONG_SIDE if self.static else VIDEO_LONG_SIDE
        shown, scale = resize_long_side(picture, limit, enlarge=self.static)
        found = self._look(shown)
        if found is None and self.static:
            found = self._look_around_face(shown)
        if found is None:
            return None
        found = _rescaled(found, 1 / scale)
        if self.static:
            found = self._second_look(picture, self._agreed_pose(picture, found), found.pose)
        return _to_detections(found, picture.shape[1], picture.shape[0])

    def _run(self, name: str, image: Array) -> Any:
        """Send a uint8 picture through one of the graphs, made on first use."""
        if name not in self._graphs:
            self._graphs[name] = QuietGraph(lambda: self._make(name))
        return self._graphs[name].process(image)

    def _make(self, name: str) -> Any:
        s = self._solutions
        if name == "holistic":
            return s.holistic.Holistic(
                static_image_mode=self.static,
                model_complexity=1,
                smooth_landmarks=False,
                refine_face_landmarks=True,
                min_detection_confidence=0.5,
            )
        if name == "pose":
            return s.pose.Pose(static_image_mode=True, model_complexity=1, min_detection_confidence=0.5)
        if name == "hands":
            return s.hands.Hands(static_image_mode=True, max_num_hands=2, min_detection_confidence=0.3)
        if name == "face_mesh":
            return s.face_mesh.FaceMesh(
                static_image_mode=True, max_num_faces=1, refine_landmarks=True, min_detection_confidence=0.3
            )
        return s.face_detection.FaceDetection(model_selection=1, min_detection_confidence=0.5)

    def _look(self, image: Array) -> _Found | None:
        height, width = image.shape[:2]
        result = self._run("holistic", image)
        if result.pose_landmarks is None or result.pose_world_landmarks is None:
            return None
        pose, world = _pose_arrays(result, width, height)
        face = result.face_landmarks and landmarks_to_pixels(result.face_landmarks, width, height, depth=True)
        hands = {}
        for side, landmarks in (("left", result.left_hand_landmarks), ("right", result.right_hand_landmarks)):
            if landmarks is not None:
                hand = landmarks_to_pixels(landmarks, width, height, depth=True)
                if plausible_hand(hand, pose, side):
                    hands[side] = (hand, SCORE_FIRST_LOOK)
        return _Found(pose, world, face, _without_doubles(hands, pose))

    def _agreed_pose(self, image: Array, found: _Found) -> _Found:
        """The pose on which several looks agree, and the hands that still fit it."""

        def look(picture: Array) -> Look | None:
            result = self._run("pose", picture)
            if result.pose_landmarks is None or result.pose_world_landmarks is None:
                return None
            return Look(*_pose_arrays(result, picture.shape[1], picture.shape[0]))

        first = Look(found.pose, found.world)
        pose, world = consensus(first, further_looks(image, look), shoulder_scale(found.pose))
        hands = {side: hand for side, hand in found.hands.items() if plausible_hand(hand[0], pose, side)}
        return found._replace(pose=pose, world=world, hands=hands)

    def _look_around_face(self, image: Array) -> _Found | None:
        """Small or oddly framed people: find the face first, then look for the body around it."""
        for x, y, size in sorted(self._faces(image), key=lambda face: -face[2])[:3]:
            for extent in (5.0, 6.0, 9.0):
                window = Window(x, y + 0.3 * extent * size, extent * size)
                found = self._look(window.cut(image, 768))
                if found is not None:
                    return _moved(found, window, 768)
        return None

    def _faces(self, image: Array) -> list[tuple[float, float, float]]:
        """Faces as (x, y, size) in pixels: in the whole picture or, when there is none, in parts of it."""
        height, width = image.shape[:2]
        for share in (1.0, 0.5, 0.3):
            side, faces = share * max(height, width), []
            rows = np.arange(min(side, height) / 2, height, side / 2)
            columns = np.arange(min(side, width) / 2, width, side / 2)
            for window in [Window(float(x), float(y), side) for y in rows for x in columns]:
                for detection in self._run("face_detection", window.cut(image, 384)).detections or []:
                    box = detection.location_data.relative_bounding_box
                    x, y = box.xmin + box.width / 2 - 0.5, box.ymin + box.height / 2 - 0.5
                    size = max(box.width, box.height) * side
                    faces.append((window.x + x * side, window.y + y * side, size))
            if faces:
                return faces
        return []

    def _second_look(self, image: Array, found: _Found, first: Array) -> _Found:
        """Look closer at the face and the hands that the first look missed; ``first`` (33, 3) is another pose that
        says where hands may be, since a few pixels decide whether one is found."""
        face = found.face if found.face is not None else self._closer_face(image, found.pose)
        hands = dict(found.hands)
        for side in ("left", "right"):
            if side not in hands and _worth_a_look(found.pose, side, image):
                closer = self._closer_hand(image, found.pose, side) or self._closer_hand(image, first, side)
                if closer is not None:
                    hands[side] = closer
        return found._replace(face=face, hands=_without_doubles(hands, found.pose))

    def _closer_face(self, image: Array, pose: Array) -> Array | None:
        centre = pose[:11, :2].mean(0)
        width = max(3.0 * float(np.ptp(pose[:11, :2], axis=0).max()), 0.6 * shoulder_scale(pose))
        if pose[:11, 2].max() < 0.3:
            return None
        for grow in (1.0, 1.6):
            window = Window(float(centre[0]), float(centre[1]), width * grow)
            result = self._run("face_mesh", window.cut(image, 512)).multi_face_landmarks
            if result:
                return window.back(landmarks_to_pixels(result[0], 512, 512, depth=True), 512)
        return None

    def _closer_hand(self, image: Array, pose: Array, side: str) -> tuple[Array, float] | None:
        """The best-scored plausible hand in a few cut-outs around the wrist."""
        best: tuple[Array, float] | None = None
        for grow in (1.0, 1.5, 0.75):
            window = hand_window(pose, side, grow)
            result = self._run("hands", window.cut(image, 512))
            for landmarks, handedness in zip(
                result.multi_hand_landmarks or [], result.multi_handedness or [], strict=True
            ):
                hand = window.back(landmarks_to_pixels(landmarks, 512, 512, depth=True), 512)
                score = _side_score(handedness, side)
                if score > 0.4 and plausible_hand(hand, pose, side) and (best is None or score > best[1]):
                    best = (hand, score)
            if best is not None and best[1] > 0.8:
                break
        return best


def _pose_arrays(result: Any, width: int, height: int) -> tuple[Array, Array]:
    """Pose (33, 3) in pixels with visibility and (33, 3) in metres, of one of MediaPipe's results."""
    pose = landmarks_to_pixels(result.pose_landmarks, width, height, depth=False)
    return pose, np.array([(p.x, p.y, p.z) for p in result.pose_world_landmarks.landmark], np.float32)


def _side_score(handedness: Any, side: str) -> float:
    """Probability that a hand is the person's own ``side``; MediaPipe Hands names them as in a mirror."""
    label = handedness.classification[0]
    mirrored = {"left": "Right", "right": "Left"}[side]
    return float(label.score if label.label == mirrored else 1 - label.score)


def _worth_a_look(pose: Array, side: str, image: Array) -> bool:
    x, y, visibility = pose[POSE_WRIST[side]]
    return bool(visibility > 0.1 and -20 < x < image.shape[1] + 20 and -20 < y < image.shape[0] + 20)


def _without_doubles(hands: dict[str, tuple[Array, float]], pose: Array) -> dict[str, tuple[Array, float]]:
    """When both sides were placed on one hand, keep the side whose wrist is nearer."""
    if len(hands) < 2 or not same_hand(hands["left"][0], hands["right"][0]):
        return hands
    distance = {s: np.linalg.norm(hands[s][0][0, :2] - pose[POSE_WRIST[s], :2]) for s in hands}
    keep = min(distance, key=lambda s: float(distance[s]))
    return {keep: hands[keep]}


def _rescaled(found: _Found, factor: float) -> _Found:
    pose = found.pose * np.array([factor, factor, 1], np.float32)
    face = None if found.face is None else found.face * factor
    return _Found(pose, found.world, face, {s: (h * factor, c) for s, (h, c) in found.hands.items()})


def _moved(found: _Found, window: Window, size: int) -> _Found:
    pose = found.pose.copy()
    pose[:, :2] = window.back(np.concatenate([pose[:, :2], np.zeros((33, 1), np.float32)], 1), size)[:, :2]
    face = None if found.face is None else window.back(found.face, size)
    return _Found(pose, found.world, face, {s: (window.back(h, size), c) for s, (h, c) in found.hands.items()})


def _to_detections(found: _Found, width: int, height: int) -> Detections:
    left, right = found.hands.get("left"), found.hands.get("right")
    parts = (found.pose, found.face, left and left[0], right and right[0])
    return Detections(
        keypoints=coco_wholebody(*parts, width=width, height=height),
        pose=found.pose.astype(np.float32),
        pose_world=found.world,
        face=None if found.face is None else found.face.astype(np.float32),
        left_hand=left and left[0].astype(np.float32),
        right_hand=right and right[0].astype(np.float32),
        left_hand_score=left[1] if left else 0.0,
        right_hand_score=right[1] if right else 0.0,
    )


def coco_wholebody(
    pose: Array, face: Array | None, left_hand: Array | None, right_hand: Array | None, *, width: int, height: int
) -> Array:
    """The 133 COCO-WholeBody keypoints (133, 3) of a picture of that size; points outside get confidence 0."""
    from pipeline.body.landmarks import coco_wholebody_from_mediapipe

    keypoints = coco_wholebody_from_mediapipe(pose, face, left_hand, right_hand)
    x, y = keypoints[:, 0], keypoints[:, 1]
    keypoints[(x < 0) | (y < 0) | (x >= width) | (y >= height), 2] = 0
    return keypoints
