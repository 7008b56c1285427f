"""Dense alignment of a tracked video: where did each piece of skin and cloth really go?

Keypoints pin a body down to a few pixels. Here the reference frame, carried along by the tracked mesh, is compared with
each frame by optical flow; what is left over moves a set of mesh vertices (anchors) to where they are truly seen. Each
frame is compared with the reference directly, so nothing drifts. Both are cut out first, so that a plain sleeve, which
has no texture of its own, is held by its outline.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch

from pipeline.body import BodyModel
from pipeline.pixels import nearest_of
from pipeline.render import interpolate, rasterize_mesh
from pipeline.types import Array, BodyParams, Camera

MAX_RESIDUAL = 0.04
"""Longest believable leftover motion, in parts of the picture's height."""
COLOUR_TOLERANCE = 0.07
DEPTH_TOLERANCE = 0.03
"""Metres within which two surfaces count as the same in the visibility test."""


def choose_anchors(body: BodyModel, vertices: Array, camera: Camera, spacing: int = 14) -> Array:
    """Vertices seen in the reference frame, about one per ``spacing`` x ``spacing`` pixels; eyes and mouth left out.

    Args:
        vertices: (V, 3) posed, world.
        camera: camera at the working (half) resolution.
    """
    uv, z = camera.project(vertices)
    depth = np.asarray(rasterize_mesh(torch.as_tensor(vertices), body.faces, camera).depth)
    seen = _visible(uv, z, depth)
    for name in ("eyeballs", "teeth", "tongue", "mouth_cavity"):
        if name in body.regions:
            seen &= ~np.asarray(body.regions[name])
    ids = np.flatnonzero(seen)
    cells = (uv[ids] // spacing).astype(np.int64)
    _, first = np.unique(cells[:, 0] * 100_000 + cells[:, 1], return_index=True)
    return ids[np.sort(first)]


def _visible(uv: Array, z: Array, depth: Array) -> Array:
    """Whether projected points lie in the picture and on its front surface."""
    height, width = depth.shape
    col, row = np.floor(uv[:, 0]).astype(int), np.floor(uv[:, 1]).astype(int)
    inside = (col >= 0) & (col < width) & (row >= 0) & (row < height)
    front = depth[np.clip(row, 0, height - 1), np.clip(col, 0, width - 1)]
    return inside & np.isfinite(front) & (front > 0) & (z < front + DEPTH_TOLERANCE)


def cut_out(grey: Array, alpha: Array) -> Array:
    """A grey picture (h, w) uint8 of the person on white."""
    return np.clip(grey * alpha + 255 * (1 - alpha), 0, 255).astype(np.uint8)


class FlowAligner:
    """Compares frames with the reference; frames are small grey cut-outs, (h, w) uint8 (see :func:`cut_out`)."""

    def __init__(self, body: BodyModel, reference: Array, params: BodyParams, camera: Camera) -> None:
        self.body, self.camera = body, camera.resized(reference.shape[1], reference.shape[0])
        self.scale = camera.width / self.camera.width
        self.reference = reference
        vertices = _vertices(body, params)
        self.anchors = choose_anchors(body, vertices, self.camera)
        uv, z = self.camera.project(vertices)
        self.attributes = torch.as_tensor(np.concatenate([uv, z[:, None]], 1).astype(np.float32))
        self.depth = np.asarray(rasterize_mesh(torch.as_tensor(vertices), body.faces, self.camera).depth)
        self.flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def align(self, frame: Array, params: BodyParams) -> tuple[Array, Array]:
        """Where the anchors are seen in one frame.

        Returns:
            (D, 2) pixels of the full crop and (D,) weights in 0..1.
        """
        vertices = _vertices(self.body, params)
        fragments = rasterize_mesh(torch.as_tensor(vertices), self.body.faces, self.camera)
        carried = np.asarray(interpolate(fragments, self.body.faces, self.attributes))
        predicted, known = self._predict(frame, carried, np.asarray(fragments.face) >= 0)
        flow = self.flow.calc(predicted, frame, None)
        confidence = self._confidence(predicted, frame, flow, known)
        uv, z = self.camera.project(vertices[self.anchors])
        seen = _visible(uv, z, np.asarray(fragments.depth))
        col = np.clip(uv[:, 0].astype(int), 0, frame.shape[1] - 1)
        row = np.clip(uv[:, 1].astype(int), 0, frame.shape[0] - 1)
        return (uv + flow[row, col]) * self.scale, confidence[row, col] * seen

    def _predict(self, frame: Array, carried: Array, covered: Array) -> tuple[Array, Array]:
        """The reference carried along by the mesh, hair and cloth beside it by the nearest piece of mesh; the frame
        itself where the reference shows nothing."""
        rows, cols = np.indices(frame.shape, dtype=np.float32)
        if not covered.any():
            return frame, covered
        seen = _visible(carried[..., :2].reshape(-1, 2), carried[..., 2].ravel(), self.depth).reshape(covered.shape)
        shift = carried[..., :2] - np.stack([cols + 0.5, rows + 0.5], -1)
        _, row, col = nearest_of(covered)
        shift, known = shift[row, col], seen[row, col]
        beside = cv2.GaussianBlur(shift, (0, 0), 4.0)
        shift = np.where(covered[..., None], shift, beside).astype(np.float32)
        warped = cv2.remap(
            self.reference, cols + shift[..., 0], rows + shift[..., 1], cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT, borderValue=255,
        )  # fmt: skip
        return np.where(known, warped, frame), known & covered

    def _confidence(self, predicted: Array, frame: Array, flow: Array, known: Array) -> Array:
        rows, cols = np.indices(frame.shape, dtype=np.float32)
        found = cv2.remap(frame, cols + flow[..., 0], rows + flow[..., 1], cv2.INTER_LINEAR)
        error = cv2.blur(np.abs(found.astype(np.float32) - predicted) / 255, (5, 5))
        texture = cv2.blur(np.abs(cv2.Laplacian(predicted, cv2.CV_32F)), (9, 9)) / 255
        short = np.linalg.norm(flow, axis=-1) < MAX_RESIDUAL * frame.shape[0]
        return np.exp(-((error / COLOUR_TOLERANCE) ** 2)) * (0.15 + np.clip(texture / 0.05, 0, 1)) * short * known


def _vertices(body: BodyModel, params: BodyParams) -> Array:
    from pipeline.perceive.photo import posed_vertices

    return posed_vertices(body, params)
