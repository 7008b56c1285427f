"""The 9:16 window around the person (paper, section 4.1: photos and videos are cropped to 9:16).

A window may reach over the edge of the photo. What lies outside is filled with something quiet and marked as not
valid: it is shown, never learnt from. Where the photo's lower edge cuts the body, the window ends there too, so that
there is no invented band under a cut body.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.types import Array, Detections, PipelineError

OUTPUT_WIDTH, OUTPUT_HEIGHT = 576, 1024
SIDE_MARGIN = 0.06
"""Room left and right of the person, in parts of the person's width."""
TOP_MARGIN = 0.10
"""Room above the head and under the feet, in parts of the person's height."""
HANDS_PADDING = 0.42
"""Up to this part of the window's height may be padding when it keeps a hand in the picture."""
EDGE = 0.015
"""A body that comes this near to the photo's edge (in parts of the photo's height) is taken as cut by it."""


@dataclass(frozen=True)
class CropWindow:
    """A window in a source picture and the size at which it is shown.

    Attributes:
        x, y: left upper corner in source pixels; negative when the window reaches over the edge.
        width, height: size in source pixels.
        out_width, out_height: size of the crop in pixels.
    """

    x: float
    y: float
    width: float
    height: float
    out_width: int = OUTPUT_WIDTH
    out_height: int = OUTPUT_HEIGHT

    @property
    def scale(self) -> tuple[float, float]:
        """Crop pixels per source pixel, in x and y."""
        return self.out_width / self.width, self.out_height / self.height

    def to_crop(self, points: Array) -> Array:
        """Source pixels to crop pixels.

        Args:
            points: (..., 2) or (..., 3); a third column (depth or confidence) is kept as it is.
        """
        return self._map(points, np.array(self.scale), -np.array([self.x, self.y]) * self.scale)

    def from_crop(self, points: Array) -> Array:
        """Crop pixels to source pixels; the inverse of :meth:`to_crop`."""
        return self._map(points, 1 / np.array(self.scale), np.array([self.x, self.y]))

    @staticmethod
    def _map(points: Array, scale: Array, offset: Array) -> Array:
        mapped = np.array(points, np.float32)
        mapped[..., :2] = mapped[..., :2] * scale + offset
        return mapped

    def apply(self, image: Array, border: str = "replicate") -> tuple[Array, Array]:
        """Cut the window out and resample it (area-averaged when shrinking, cubic when enlarging).

        Args:
            image: (H, W) or (H, W, C), any dtype that OpenCV resizes.
            border: "replicate" repeats the picture's edge outside; "zero" fills with 0 (for mattes).

        Returns:
            The crop, (out_height, out_width[, C]), same dtype, and the valid mask, (out_height, out_width) bool, True
            where a pixel's centre lies inside the picture.
        """
        valid = self._valid(image.shape[1], image.shape[0])
        crop = self._warp(image, (self.out_width, self.out_height))
        if np.issubdtype(image.dtype, np.floating):
            crop = np.clip(crop, 0, 1)
        if border == "zero":
            crop[~valid] = 0
        return crop, valid

    def _valid(self, width: int, height: int) -> Array:
        x = self.x + (np.arange(self.out_width) + 0.5) / self.scale[0]
        y = self.y + (np.arange(self.out_height) + 0.5) / self.scale[1]
        return ((y >= 0) & (y <= height))[:, None] & ((x >= 0) & (x <= width))[None, :]

    def _warp(self, image: Array, size: tuple[int, int]) -> Array:
        sx, sy = self.scale
        if min(sx, sy) < 1:  # shrink the whole picture by area first, so that the warp never skips pixels
            small = (max(1, round(image.shape[1] * sx)), max(1, round(image.shape[0] * sy)))
            ratio = (small[0] / image.shape[1], small[1] / image.shape[0])
            image = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
            sx, sy = sx / ratio[0], sy / ratio[1]
        else:
            ratio = (1.0, 1.0)
        matrix = np.array(
            [
                [1 / sx, 0, self.x * ratio[0] + 0.5 / sx - 0.5],
                [0, 1 / sy, self.y * ratio[1] + 0.5 / sy - 0.5],
            ]
        )
        interpolation = cv2.INTER_CUBIC if max(sx, sy) > 1.05 else cv2.INTER_LINEAR
        flags = interpolation | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(image, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)

    def paste(self, crop: Array, width: int, height: int) -> Array:
        """The inverse of :meth:`apply`: a crop seen in the source picture's frame, 0 outside of the window."""
        sx, sy = self.scale
        matrix = np.array([[sx, 0, (0.5 - self.x) * sx - 0.5], [0, sy, (0.5 - self.y) * sy - 0.5]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(crop, matrix, (width, height), flags=flags, borderValue=0)


def person_box(detections: Detections | None, alpha: Array | None) -> tuple[float, float, float, float]:
    """The person's extent in pixels: x0, y0, x1, y1.

    Taken from the matte (its main bulk) and the clearly seen landmarks; at least one of the two must be given.

    Raises:
        PipelineError: when both are empty.
    """
    boxes = []
    if alpha is not None:
        rows = np.flatnonzero((alpha > 0.5).sum(1) > 2)
        columns = np.flatnonzero((alpha > 0.5).sum(0) > 2)
        if len(rows) and len(columns):
            boxes.append((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
    if detections is not None:
        sure = [detections.keypoints[detections.keypoints[:, 2] > 0.5, :2]]
        sure += [p[:, :2] for p in (detections.face, detections.left_hand, detections.right_hand) if p is not None]
        points = np.concatenate(sure)
        if len(points):
            boxes.append((*points.min(0), *points.max(0)))
    if not boxes:
        raise PipelineError("No person was found in the picture; use a photo that shows one person clearly.")
    box = np.array(boxes, np.float64)
    x0, y0 = box[:, :2].min(0)
    x1, y1 = box[:, 2:].max(0)
    return float(x0), float(y0), float(x1), float(y1)


def crop_916(
    image: Array,
    detections: Detections | None = None,
    alpha: Array | None = None,
    *,
    out_width: int = OUTPUT_WIDTH,
    out_height: int = OUTPUT_HEIGHT,
    max_padding: float = 0.3,
) -> CropWindow:
    """Choose the window around the person.

    It holds the whole person with some room, is as high as the photo when the person fills most of it, ends at the
    photo's lower edge when that edge cuts the body, and stays inside the photo otherwise where it can.

    Args:
        image: (H, W, 3), only its size is used.
        detections: in pixels of ``image``.
        alpha: (H, W) matte in 0..1.
        out_width, out_height: size of the crop; their ratio is the window's.
        max_padding: a person too wide for the window makes it taller than the photo, by at most this part of the
            window's height; beyond it, the sides of the person are cut off rather than the head made small.

    Raises:
        PipelineError: when neither matte nor detections show a person.
    """
    rows, columns = image.shape[:2]
    x0, y0, x1, y1 = person_box(detections, alpha)
    x0, y0, x1, y1 = max(x0, 0), max(y0, 0), min(x1, columns), min(y1, rows)
    ratio = out_width / out_height
    cut_below = y1 > rows * (1 - EDGE)
    tall = (y1 - y0) * (1 + TOP_MARGIN * (1 if cut_below else 2))
    wide = (x1 - x0) * (1 + 2 * SIDE_MARGIN)
    height = max(tall, wide / ratio)
    if height > rows:  # taller than the photo: only for a wide person, and only so far
        height = rows if wide / ratio <= rows else min(wide / ratio, rows / (1 - max_padding))
        height = max(height, min(_needed_width(detections) / ratio, rows / (1 - HANDS_PADDING)))
    elif height > 0.7 * rows:
        height = float(rows)
    width = height * ratio
    y = rows - height if cut_below else (y0 + y1) / 2 - height / 2
    y = _inside(y, height, rows, low_first=not cut_below)
    x = _inside(_centre(detections, x0, x1, width) - width / 2, width, columns, low_first=True)
    return CropWindow(float(x), float(y), float(width), float(height), out_width, out_height)


def _must_see(detections: Detections | None) -> list[Array]:
    """x of what should not be cut off, the most important last: hands, shoulders, face."""
    if detections is None:
        return []
    shoulders = detections.pose[11:13]
    parts = (detections.left_hand, detections.right_hand, shoulders[shoulders[:, 2] > 0.5], detections.face)
    return [p[:, 0] for p in parts if p is not None and len(p)]


def _needed_width(detections: Detections | None) -> float:
    """Width in pixels that holds the hands, the shoulders and the face."""
    parts = _must_see(detections)
    return 1.05 * float(np.ptp(np.concatenate(parts))) if parts else 0.0


def _centre(detections: Detections | None, x0: float, x1: float, width: float) -> float:
    """Where the window's middle goes: the person's, pulled to the head when the person does not fit."""
    middle = (x0 + x1) / 2
    if detections is None or x1 - x0 <= width:
        return middle
    head = float(detections.pose[:11, 0].mean())
    lowest, highest = x0 + width / 2, x1 - width / 2
    middle = float(np.clip(0.5 * (head + middle), min(lowest, highest), max(lowest, highest)))
    for xs in _must_see(detections):  # then just so far aside that the hands and, above all, the face are in
        if np.ptp(xs) < width:
            middle = float(np.clip(middle, xs.max() - width / 2, xs.min() + width / 2))
    return middle


def _inside(start: float, size: float, limit: float, low_first: bool) -> float:
    """Shift an interval into 0..limit where it fits; where it does not, keep it centred or at the far end."""
    if size <= limit:
        return min(max(start, 0.0), limit - size)
    return (limit - size) / 2 if low_first else limit - size
