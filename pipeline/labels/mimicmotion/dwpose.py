"""DWPose: YOLOX finds people, a SimCC network finds their 133 keypoints, both through onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pipeline.labels.mimicmotion.keypoints import People
from pipeline.types import Array, PipelineError

BOX_SIDE = 640
GREY = 114
NMS_SCORE, NMS_IOU, PERSON_SCORE = 0.1, 0.45, 0.3
POSE_HEIGHT, POSE_WIDTH = 384, 288
BOX_MARGIN = 1.25
MEAN = np.array([123.675, 116.28, 103.53])
STD = np.array([58.395, 57.12, 57.375])
SPLIT = 2
"""Bins per pixel of the SimCC outputs."""


class Session(Protocol):
    """The part of ``onnxruntime.InferenceSession`` that is used here."""

    def get_inputs(self) -> list[Any]: ...
    def run(self, output_names: list[str] | None, input_feed: dict[str, Array]) -> list[Array]: ...


def open_session(path: str | Path, device: str = "cpu") -> Session:
    """Open an ONNX network.

    Args:
        path: the file.
        device: "cpu" or "cuda"; asks for exactly that provider.

    Raises:
        PipelineError: the file is missing or damaged, or onnxruntime has no CUDA provider here.
    """
    import onnxruntime

    path = Path(path)
    if not path.is_file():
        raise PipelineError(f"{path} is missing; fetch it with `python -m pipeline weights fetch dwpose`.")
    provider = "CUDAExecutionProvider" if device == "cuda" else "CPUExecutionProvider"
    if provider not in onnxruntime.get_available_providers():
        raise PipelineError("This onnxruntime has no CUDA provider; install onnxruntime-gpu or use the CPU.")
    try:
        session: Any = onnxruntime.InferenceSession(str(path), providers=[provider])
        return session
    except Exception as error:  # onnxruntime's own exceptions share no public base class
        raise PipelineError(f"{path} is not a readable ONNX network; delete it and fetch it again.") from error


class DWPose:
    """Finds everybody in a picture.

    Args:
        boxes: session of ``yolox_l.onnx``.
        points: session of ``dw-ll_ucoco_384.onnx``.
    """

    def __init__(self, boxes: Session, points: Session) -> None:
        self._boxes, self._points = boxes, points

    @staticmethod
    def open(boxes: str | Path, points: str | Path, device: str = "cpu") -> DWPose:
        """Open both networks from files; see :func:`open_session`."""
        return DWPose(open_session(boxes, device), open_session(points, device))

    def detect(self, image: Array) -> People:
        """Keypoints of everybody, the surest person first; of the whole picture where no person was found.

        Args:
            image: (H, W, 3) uint8 RGB.
        """
        boxes = self.find_boxes(image)
        if not len(boxes):
            boxes = np.array([[0.0, 0.0, image.shape[1], image.shape[0]]])
        found = [self.find_points(image, box) for box in boxes]
        return People(np.stack([p for p, _ in found]), np.stack([s for _, s in found]))

    def find_boxes(self, image: Array) -> Array:
        """(P, 4) boxes x0, y0, x1, y1 in pixels, surest first."""
        pixels, ratio = letterbox(image)
        (raw, *_) = self._boxes.run(None, {self._boxes.get_inputs()[0].name: pixels})
        return person_boxes(raw[0], ratio)

    def find_points(self, image: Array, box: Array) -> tuple[Array, Array]:
        """(133, 2) pixels and (133,) scores of the person in a box."""
        centre, size = enlarged_box(box)
        pixels = normalised(crop_person(image, centre, size))
        x, y = self._points.run(None, {self._points.get_inputs()[0].name: pixels})[:2]
        points, scores = decode_simcc(x[0], y[0])
        return points / (POSE_WIDTH, POSE_HEIGHT) * size + centre - size / 2, scores


def letterbox(image: Array) -> tuple[Array, float]:
    """(1, 3, 640, 640) float32 in 0..255 with the picture at the top left on grey, and the scale that was applied."""
    import cv2

    h, w = image.shape[:2]
    ratio = min(BOX_SIDE / h, BOX_SIDE / w)
    size = int(w * ratio), int(h * ratio)
    canvas = np.full((BOX_SIDE, BOX_SIDE, 3), GREY, np.uint8)
    canvas[: size[1], : size[0]] = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(canvas.transpose(2, 0, 1)[None], np.float32), ratio


def _anchors() -> tuple[Array, Array]:
    """Grid positions (8400, 2) and strides (8400, 1) of the three levels, rows first."""
    grids, strides = [], []
    for stride in (8, 16, 32):
        n = BOX_SIDE // stride
        y, x = np.mgrid[:n, :n]
        grids.append(np.stack([x, y], axis=-1).reshape(-1, 2))
        strides.append(np.full((n * n, 1), stride))
    return np.concatenate(grids), np.concatenate(strides)


def person_boxes(raw: Array, ratio: float) -> Array:
    """Boxes of people from the detector's output.

    Args:
        raw: (8400, 85) centre, size, objectness, 80 class scores, relative to the anchors.
        ratio: scale of the letterbox.

    Returns:
        (P, 4) x0, y0, x1, y1 in pixels of the picture, highest score first.
    """
    grid, stride = _anchors()
    centre = (raw[:, :2] + grid) * stride
    half = np.exp(raw[:, 2:4]) * stride / 2
    boxes = np.concatenate([centre - half, centre + half], axis=1) / ratio
    scores = raw[:, 4] * raw[:, 5]
    likely = np.flatnonzero(scores > NMS_SCORE)
    kept = likely[_suppress(boxes[likely], scores[likely])]
    return boxes[kept[scores[kept] > PERSON_SCORE]]


def _suppress(boxes: Array, scores: Array) -> list[int]:
    """Greedy non-maximum suppression where a box from 0 to 9 is 10 pixels wide; indices, highest score first."""
    area = (boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1)
    order, kept = scores.argsort()[::-1], []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(int(best))
        low = np.maximum(boxes[best, :2], boxes[rest, :2])
        high = np.minimum(boxes[best, 2:], boxes[rest, 2:])
        shared = np.maximum(high - low + 1, 0).prod(axis=1)
        order = rest[shared / (area[best] + area[rest] - shared) <= NMS_IOU]
    return kept


def enlarged_box(box: Array) -> tuple[Array, Array]:
    """Centre (2,) and size (2,) of a box with a margin, widened to the keypoint network's aspect."""
    centre = (box[:2] + box[2:]) / 2
    w, h = (box[2:] - box[:2]) * BOX_MARGIN
    aspect = POSE_WIDTH / POSE_HEIGHT
    size = (w, w / aspect) if w > h * aspect else (h * aspect, h)
    return centre, np.array(size)


def crop_person(image: Array, centre: Array, size: Array) -> Array:
    """(384, 288, 3) uint8 cut of a box; black beyond the picture."""
    import cv2

    half = size[0] / 2
    source = np.array([centre, centre + (0, -half), centre + (-half, -half)], np.float32)
    target = np.array([(144, 192), (144, 48), (0, 48)], np.float32)
    warp = cv2.getAffineTransform(source, target)
    return cv2.warpAffine(image, warp, (POSE_WIDTH, POSE_HEIGHT), flags=cv2.INTER_LINEAR)


def normalised(crop: Array) -> Array:
    """(1, 3, 384, 288) float32."""
    return np.ascontiguousarray(((crop - MEAN) / STD).transpose(2, 0, 1)[None], np.float32)


def decode_simcc(x: Array, y: Array) -> tuple[Array, Array]:
    """Positions and scores from the two one-dimensional classifications.

    Args:
        x: (133, 576), y: (133, 768).

    Returns:
        (133, 2) in pixels of the network's input, and (133,) the lower of both maxima; a point without a positive
        score lies half a pixel outside the top left corner.
    """
    place = np.stack([x.argmax(axis=1), y.argmax(axis=1)], axis=-1).astype(np.float64)
    scores = np.minimum(x.max(axis=1), y.max(axis=1))
    place[scores <= 0] = -1
    return place / SPLIT, scores
