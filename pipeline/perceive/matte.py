"""The matte: how much of each pixel is the person, sharp to the hair.

The networks inside the MediaPipe wheel see 256x256 pixels. Several looks at the picture (whole, person, mirrored, upper
body, and the pose network's own mask) are fused into a probability; where they agree, away from the outline, pixels are
known; the band between is solved at full resolution from the picture's colours (:mod:`pipeline.perceive.matting`).
Avatars take their colours from inside the matte, so the outline matters more than anything else here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal, NamedTuple

import cv2
import numpy as np

from pipeline.perceive import matting
from pipeline.perceive.background import inpaint_background
from pipeline.perceive.crop import person_box
from pipeline.perceive.detect import QuietGraph, as_uint8, hand_span, mediapipe_solutions, shoulder_scale
from pipeline.perceive.matting import foreground_colors
from pipeline.types import Array, Detections

__all__ = ["Matter", "Quality", "foreground_colors", "inpaint_background", "make_trimap", "matte", "solve_band"]

Quality = Literal["fast", "default"]
WORKING_SIDE = 1152
"""Larger pictures are matted at this long side and the matte is enlarged along the picture's edges."""
FAST_SIDE = 512
NETWORK_SIDE = 256
DISTINCT = 0.25
"""Difference in a channel from which on the person stands out from the ground."""
SOLID = 0.85
"""Opacity from which on a wide piece is surely the person."""
UNDECIDED = 0.2
"""How far half-transparent pixels may reach where the two are alike, relative to where they are distinct."""
HAND_CHAINS = ((0, 1, 2, 3, 4), (0, 5, 6, 7, 8), (5, 9, 10, 11, 12), (9, 13, 14, 15, 16), (0, 17, 18, 19, 20, 17, 13))
LIMBS = ((11, 13), (13, 15), (12, 14), (14, 16), (23, 25), (25, 27), (27, 31), (24, 26), (26, 28), (28, 32))
FACE_OVAL = (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176)
FACE_OVAL += (149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109)


class Box(NamedTuple):
    """Rows y0..y1 and columns x0..x1 of a picture."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def rows_columns(self) -> tuple[slice, slice]:
        """For indexing."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    def grown(self, share: float, shape: tuple[int, ...]) -> Box:
        """Larger on every side by ``share`` of the longer side, inside a picture of ``shape``."""
        pad = int(share * max(self.x1 - self.x0, self.y1 - self.y0))
        x0, y0 = max(0, self.x0 - pad), max(0, self.y0 - pad)
        return Box(x0, y0, min(shape[1], self.x1 + pad), min(shape[0], self.y1 + pad))


class Matter:
    """The segmentation networks, kept open between pictures; a context manager. Not for two threads at once."""

    def __init__(self) -> None:
        solutions = mediapipe_solutions()
        self._selfie = QuietGraph(lambda: solutions.selfie_segmentation.SelfieSegmentation(model_selection=0))
        self._pose = QuietGraph(
            lambda: solutions.pose.Pose(
                static_image_mode=True, model_complexity=1, enable_segmentation=True, smooth_segmentation=False
            )
        )

    def __enter__(self) -> Matter:
        return self

    def __exit__(self, *exception: object) -> None:
        self._selfie.close()
        self._pose.close()

    def probability(self, image: Array) -> Array:
        """One look: (H, W, 3) uint8 RGB to (H, W) float32, how likely each pixel is a person."""
        return self._selfie.process(np.ascontiguousarray(image)).segmentation_mask.copy()

    def matte(
        self,
        image: Array,
        detections: Detections | None = None,
        quality: Quality = "default",
        valid: Array | None = None,
    ) -> Array:
        """See :func:`matte`."""
        if valid is not None and not valid.all():
            return self._valid_part(image, detections, quality, valid)
        picture = as_uint8(image)
        if quality == "fast":
            return self._fast(picture, detections)
        region = self._region(picture, detections)
        alpha = np.zeros(picture.shape[:2], np.float32)
        if region is None:
            return alpha
        part = picture[region.rows_columns]
        scale = min(1.0, WORKING_SIDE / max(part.shape[:2]))
        size = (max(8, round(part.shape[1] * scale)), max(8, round(part.shape[0] * scale)))
        small = cv2.resize(part, size, interpolation=cv2.INTER_AREA) if scale < 1 else part
        seen = None if detections is None else _scaled(_moved(detections, -region.x0, -region.y0), scale)
        found = self._full(small, seen)
        alpha[region.rows_columns] = found if scale == 1 else _enlarge(found, part)
        return alpha

    def _region(self, picture: Array, detections: Detections | None) -> Box | None:
        """Where the person is, with a lot of room: a small person in a large photo deserves all the resolution."""
        scale = min(1.0, FAST_SIDE / max(picture.shape[:2]))
        small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        shrunk = None if detections is None else _scaled(detections, scale)
        box = _box(shrunk, _main_body(self.probability(small), shrunk))
        if box is None:
            return None
        return Box(*(int(v / scale) for v in box)).grown(0.25, picture.shape)

    def _valid_part(self, image: Array, detections: Detections | None, quality: Quality, valid: Array) -> Array:
        """Look only at the rectangle that shows the photo; padding would be taken for clothes."""
        rows, columns = np.flatnonzero(valid.any(1)), np.flatnonzero(valid.any(0))
        box = Box(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
        moved = None if detections is None else _moved(detections, -box.x0, -box.y0)
        alpha = np.zeros(image.shape[:2], np.float32)
        alpha[box.rows_columns] = self.matte(image[box.rows_columns], moved, quality)
        return alpha

    def _fast(self, picture: Array, detections: Detections | None) -> Array:
        """For video frames: two looks and sampled colours at half the size."""
        height, width = picture.shape[:2]
        scale = min(1.0, FAST_SIDE / max(height, width))
        small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        prior = self.probability(small)
        shrunk = None if detections is None else _scaled(detections, scale)
        box = _box(shrunk, prior)
        if box is None:
            return np.zeros((height, width), np.float32)
        part = box.grown(0.08, small.shape).rows_columns
        prior[part] = 0.35 * prior[part] + 0.65 * self.probability(small[part])
        trimap = _eroded(prior > 0.9, 2).astype(np.uint8) + _dilated(prior > 0.1, 2).astype(np.uint8)
        sampled, sure = matting.sample_alpha(small.astype(np.float32) / 255, trimap, prior, rays=6)
        alpha = cv2.GaussianBlur(sure * sampled + (1 - sure) * prior, (0, 0), 0.7)
        alpha = np.clip((_main_body(alpha, shrunk) - 0.05) / 0.9, 0, 1)
        return cv2.resize(alpha, (width, height), interpolation=cv2.INTER_LINEAR)

    def _full(self, picture: Array, detections: Detections | None) -> Array:
        prior = self._fused(picture, detections)
        box = _box(detections, prior)
        if box is None:
            return np.zeros_like(prior)
        part = box.grown(0.06, prior.shape).rows_columns
        hair = _hair_zone(detections, prior.shape)
        trimap = make_trimap(prior, detections, _grain(box))
        alpha, colors = np.zeros_like(prior), picture.astype(np.float32) / 255
        alpha[part] = solve_band(colors[part], trimap[part], prior[part], hair[part], _grain(box))
        return _decided(_main_body(alpha, detections), colors, hair, _grain(box))

    def _fused(self, picture: Array, detections: Detections | None) -> Array:
        """Several looks, averaged."""
        whole = self.probability(picture)
        box = _box(detections, whole)
        if box is None:
            return whole
        total, weights = 0.2 * whole, np.full_like(whole, 0.2)
        pose = self._pose.process(picture).segmentation_mask
        if pose is not None:
            total += 0.2 * pose
            weights += 0.2
        looks = [(box.grown(0.06, picture.shape), 0.3)]
        if detections is not None:
            looks.append((_upper_body(detections, picture.shape), 0.4))
        for look, weight in looks:
            if min(look.x1 - look.x0, look.y1 - look.y0) < 32:
                continue
            cut = picture[look.rows_columns]
            seen = 0.5 * (self.probability(cut) + self.probability(cut[:, ::-1])[:, ::-1])
            fade = weight * _fade(look, picture.shape)
            total[look.rows_columns] += fade * seen
            weights[look.rows_columns] += fade
        return total / weights


def matte(
    image: Array, detections: Detections | None = None, quality: Quality = "default", valid: Array | None = None
) -> Array:
    """Alpha matte of the person.

    Args:
        image: (H, W, 3) RGB, uint8 or float in 0..1.
        detections: in pixels of ``image``; they tell which person, and where hands and face are.
        quality: "default" solves the outline from the picture's colours; "fast" is for video frames.
        valid: (H, W) bool from :meth:`pipeline.perceive.crop.CropWindow.apply`; padding is never the person.

    Returns:
        (H, W) float32 in 0..1; all 0 when there is no person.
    """
    with Matter() as matter:
        return matter.matte(image, detections, quality, valid)


def make_trimap(prior: Array, detections: Detections | None, grain: float) -> Array:
    """Which pixels are known.

    Args:
        prior: (H, W) probability of person in 0..1.
        detections: in the same pixels, or None.
        grain: size of one network pixel in picture pixels; the networks' outline is good to two or three of them.

    Returns:
        (H, W) uint8: 0 background, 1 unknown, 2 person.
    """
    inner = _eroded(prior > 0.9, 2.0 * grain) | _eroded(prior > 0.75, 6.0 * grain)
    outer = _dilated(prior > 0.12, 2.0 * grain)
    if detections is not None:
        hair = _hair_zone(detections, prior.shape)
        inner &= ~hair | _eroded(prior > 0.9, 3.5 * grain)
        outer |= hair & _dilated(prior > 0.2, 4.5 * grain)
        bones, flesh = _sure_limbs(detections, prior)
        inner |= bones
        outer |= flesh | bones
    inner |= _prints(inner, outer, prior)
    trimap = np.where(inner, 2, np.where(outer, 1, 0)).astype(np.uint8)
    return trimap


def _prints(inner: Array, outer: Array, prior: Array) -> Array:
    """Holes in the known person that are likely a print on the clothes: enclosed, without known background inside."""
    count, labels = cv2.connectedComponents((~inner).astype(np.uint8))
    holes = np.zeros_like(inner)
    for label in range(1, count):
        hole = labels == label
        if outer[hole].all() and np.quantile(prior[hole], 0.1) > 0.7:
            holes |= hole
    return holes


def solve_band(image: Array, trimap: Array, prior: Array, hair: Array, grain: float) -> Array:
    """Alpha of the unknown band from colours, with the networks' opinion as a gentle prior.

    Args:
        image: (H, W, 3) float32. trimap: (H, W) as :func:`make_trimap`. prior: (H, W) float32.
        hair: (H, W) bool, where hair may be.
        grain: as in :func:`make_trimap`.

    Returns:
        (H, W) float32 in 0..1.
    """
    sampled, confidence = matting.sample_alpha(image, trimap, prior)
    settled = settle_patches(trimap, sampled, hair, grain)
    if settled is not None:
        trimap = settled
        sampled, confidence = matting.sample_alpha(image, trimap, prior)
    target = confidence * sampled + (1 - confidence) * prior
    weight = 0.02 + 0.08 * confidence
    alpha = matting.solve_alpha(image, trimap, target, weight, target, epsilon=3e-5, iterations=50)
    return np.clip((alpha - 0.03) / 0.94, 0, 1)


def settle_patches(trimap: Array, alpha: Array, hair: Array, grain: float) -> Array | None:
    """Large unknown patches (a held helmet) that colours can only answer with a patchwork count as background.

    Args:
        trimap, grain: as in :func:`solve_band`. alpha: (H, W) what the colours say. hair: (H, W) bool, left alone.

    Returns:
        The trimap with those patches known, or None when there are none.
    """
    unknown = trimap == matting.UNKNOWN
    core = _eroded(unknown & ~hair, 5 * grain).astype(np.uint8)
    count, labels = cv2.connectedComponents(core)
    settled, beside_known = trimap.copy(), _dilated(trimap == matting.FOREGROUND, 2.5 * grain)
    for label in range(1, count):
        patch = labels == label
        if patch.sum() > 450 * grain**2 and 0.15 < alpha[patch].mean() < 0.8:
            settled[_dilated(patch, 6 * grain) & unknown & ~beside_known] = matting.BACKGROUND
    return settled if (settled != trimap).any() else None


def _box(detections: Detections | None, mask: Array) -> Box | None:
    """The person's box: what the detections say, together with the mask where it touches them."""
    if not (mask > 0.5).any() and detections is None:
        return None
    x0, y0, x1, y1 = person_box(detections, mask)
    height, width = mask.shape
    box = Box(max(0, int(x0)), max(0, int(y0)), min(width, int(x1) + 1), min(height, int(y1) + 1))
    return box if box.x1 - box.x0 > 8 and box.y1 - box.y0 > 8 else None


def _grain(box: Box) -> float:
    return max(1.0, 0.5 * (box.x1 - box.x0 + box.y1 - box.y0) / NETWORK_SIDE)


def _upper_body(detections: Detections, shape: tuple[int, ...]) -> Box:
    """Head and chest, where the outline matters most."""
    pose = detections.pose
    head, reach = pose[:11, :2].mean(0), 1.25 * shoulder_scale(pose)
    x0, y0, x1, y1 = head[0] - reach, head[1] - 0.8 * reach, head[0] + reach, head[1] + 1.2 * reach
    height, width = shape[:2]
    return Box(max(0, int(x0)), max(0, int(y0)), min(width, int(x1)), min(height, int(y1)))


def _fade(box: Box, shape: tuple[int, ...]) -> Array:
    """1 inside a cut-out, running to 0 at those of its sides that are not sides of the picture."""
    height, width = box.y1 - box.y0, box.x1 - box.x0
    y, x = np.arange(height, dtype=np.float32), np.arange(width, dtype=np.float32)
    soft = 0.15 * min(height, width)
    far = np.float32(1e6)
    vertical = np.minimum(y if box.y0 > 0 else y + far, y[::-1] if box.y1 < shape[0] else y + far)
    horizontal = np.minimum(x if box.x0 > 0 else x + far, x[::-1] if box.x1 < shape[1] else x + far)
    return np.clip(np.minimum(vertical[:, None], horizontal[None, :]) / soft, 0, 1).astype(np.float32)


def _disc(radius: float) -> Array:
    r = max(1, round(radius))
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * r + 1, 2 * r + 1))


def _eroded(mask: Array, radius: float) -> Array:
    """Shrink; the picture's own edges do not eat into the mask."""
    return cv2.erode(mask.astype(np.uint8), _disc(radius), borderType=cv2.BORDER_CONSTANT, borderValue=1) > 0


def _dilated(mask: Array, radius: float) -> Array:
    return cv2.dilate(mask.astype(np.uint8), _disc(radius)) > 0


def _hair_zone(detections: Detections | None, shape: tuple[int, ...]) -> Array:
    """A generous disc around the head without the face: where hair may be."""
    canvas = np.zeros(shape[:2], np.uint8)
    if detections is None:
        return canvas > 0
    centre = detections.pose[:11, :2].mean(0)
    radius = 0.95 * shoulder_scale(detections.pose)
    if detections.face is not None:
        radius = min(radius, 1.5 * float(np.ptp(detections.face[:, 1])))
    cv2.circle(canvas, (round(float(centre[0])), round(float(centre[1]))), round(radius), 1, -1)
    if detections.face is not None:
        cv2.fillPoly(canvas, [np.rint(detections.face[list(FACE_OVAL), :2]).astype(np.int32)], 0)
    return canvas > 0


def _decided(alpha: Array, colors: Array, hair: Array, grain: float) -> Array:
    """No ghosts: half-transparent pixels are allowed near the outline only, and a little further out in the hair; less
    so where person and ground look alike (dark hair before a dark wall): there, half-transparent means undecided."""
    reach = cv2.blur(np.where(hair, 7.0, 2.5).astype(np.float32) * grain, (31, 31))
    person = ((alpha > 0.5) & (_away_from(_solid(alpha, grain)) < 2 * reach)).astype(np.uint8)
    if not person.any() or person.all():
        return alpha
    outside = cv2.distanceTransform(1 - person, cv2.DIST_L2, 5)
    inside = cv2.distanceTransform(person, cv2.DIST_L2, 5)
    alike = np.clip(2 - 2 * contrast(alpha, colors, 14 * grain) / DISTINCT, 0, 1)
    reach *= 1 - (1 - UNDECIDED) * alike
    highest = np.clip(2 - 2 * outside / reach, 0, 1)
    lowest = np.clip(2 * inside / reach - 1, 0, 1)
    return np.clip(alpha, lowest, highest)


def _solid(alpha: Array, grain: float) -> Array:
    """Pieces (H, W) bool of nearly opaque pixels that are wide enough to be part of a person: a passer-by whom the
    networks half take for them has at most specks."""
    opaque = (alpha > SOLID).astype(np.uint8)
    return opaque.astype(bool) & _dilated(_eroded(opaque.astype(bool), grain), 12 * grain)


def _away_from(mask: Array) -> Array:
    """Distance (H, W) in pixels to a mask; infinite where there is none."""
    if not mask.any():
        return np.full(mask.shape, np.inf, np.float32)
    return cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)


def contrast(alpha: Array, colors: Array, sigma: float) -> Array:
    """How much the person and the ground differ around every pixel.

    Args:
        alpha: (H, W) matte. colors: (H, W, 3) in 0..1. sigma: how far around, in pixels.

    Returns:
        (H, W) largest difference per channel, 0..1.
    """
    means = []
    for known in (alpha > 0.95, alpha < 0.05):
        weight = known.astype(np.float32)[..., None]
        total = cv2.GaussianBlur(colors * weight, (0, 0), sigma)
        means.append(total / np.maximum(cv2.GaussianBlur(weight, (0, 0), sigma)[..., None], 1e-4))
    return np.abs(means[0] - means[1]).max(-1)


def _sure_limbs(detections: Detections, prior: Array) -> tuple[Array, Array]:
    """Thin lines along well-seen bones (person for sure) and the zone around the hands (at least unknown)."""
    bones, flesh = np.zeros(prior.shape, np.uint8), np.zeros(prior.shape, np.uint8)
    shoulder = shoulder_scale(detections.pose)
    for a, b in LIMBS:
        if min(detections.pose[a, 2], detections.pose[b, 2]) > 0.8:
            ends = np.rint(detections.pose[[a, b], :2]).astype(int)
            cv2.line(bones, tuple(ends[0]), tuple(ends[1]), 1, max(1, round(0.04 * shoulder)))
    bones[prior < 0.3] = 0
    hands = ((detections.left_hand, detections.left_hand_score), (detections.right_hand, detections.right_hand_score))
    for hand, score in hands:
        if hand is None or score < 0.7:
            continue
        span = hand_span(hand)
        points = np.rint(hand[:, :2]).astype(np.int32)
        fingers = np.zeros(prior.shape, np.uint8)
        for chain in HAND_CHAINS:
            cv2.polylines(fingers, [points[list(chain)]], False, 1, max(1, round(0.05 * span)))
        fingers[prior < 0.1] = 0
        bones |= fingers
        for chain in HAND_CHAINS:
            cv2.polylines(flesh, [points[list(chain)]], False, 1, max(1, round(0.3 * span)))
    return bones > 0, flesh > 0


def _main_body(alpha: Array, detections: Detections | None = None) -> Array:
    """Drop islands that do not hang together with the person: the piece under nose and shoulders, or the largest."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats((alpha > 0.25).astype(np.uint8), connectivity=8)
    if count <= 2:
        return alpha.astype(np.float32)
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    if detections is not None:
        corner = np.array(alpha.shape[::-1]) - 1
        x, y = np.clip(np.rint(detections.pose[[0, 11, 12], :2]).astype(int), 0, corner).T
        votes = labels[y, x][labels[y, x] > 0]
        largest = int(np.bincount(votes).argmax()) if len(votes) else largest
    islands = (labels != largest) & (labels > 0)
    keep = ~_dilated(islands, 2) | (labels == largest)
    reach = _dilated(labels == largest, 12)
    return np.where(keep & (reach | (alpha > 0.25)), alpha, 0).astype(np.float32)


def _scaled(detections: Detections, factor: float) -> Detections:
    """The same detections in a resized picture."""
    flat = np.array([factor, factor, 1], np.float32)
    return _changed(detections, lambda p: p * flat, lambda p: p * np.float32(factor))


def _moved(detections: Detections, x: float, y: float) -> Detections:
    """The same detections in a shifted picture."""
    shift = np.array([x, y, 0], np.float32)
    return _changed(detections, lambda p: p + shift, lambda p: p + shift)


def _changed(detections: Detections, scored: Callable[[Array], Array], deep: Callable[[Array], Array]) -> Detections:
    """Map the points with a confidence column and the points with a depth column."""
    return replace(
        detections,
        keypoints=scored(detections.keypoints),
        pose=scored(detections.pose),
        face=None if detections.face is None else deep(detections.face),
        left_hand=None if detections.left_hand is None else deep(detections.left_hand),
        right_hand=None if detections.right_hand is None else deep(detections.right_hand),
    )


def _enlarge(alpha: Array, picture: Array) -> Array:
    """A small matte to the picture's size, following its edges."""
    height, width = picture.shape[:2]
    factor = height / alpha.shape[0]
    large = cv2.resize(alpha, (width, height), interpolation=cv2.INTER_LINEAR)
    guide = picture.astype(np.float32) / 255
    refined = cv2.ximgproc.guidedFilter(guide, large, max(2, round(2 * factor)), 1e-4)
    return np.clip(np.where((large > 0.005) & (large < 0.995), refined, large), 0, 1).astype(np.float32)
