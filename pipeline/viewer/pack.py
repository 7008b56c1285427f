"""The compact binary that the browser's player reads: quantised Gaussians, skin, face basis, and motions of joints.

A file is gzip of: ``OSV1``, the header's length (uint32, little endian), the header (JSON), then the sections that the
header names, each at a multiple of four bytes from the end of the header. Numbers are little endian.

A *scene* holds what does not move; a *motion* holds one rotation and one translation per joint and frame, and the
expression coefficients. Positions are good to 1/65535 of the avatar's box (some 0.03 mm), standard deviations to 2 %,
colours, weights and the face basis to 8 bits. The pose-dependent corrections of a licensed SMPL-X are left out.
"""

from __future__ import annotations

import gzip
import io
import json
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pipeline.types import Array, BodyParams, PipelineError

if TYPE_CHECKING:
    from pipeline.avatar import Avatar

MAGIC = b"OSV1"
MAX_SPLATS = 300_000
"""More are thinned, those that the photo does not show first, so that the file stays near four megabytes."""
MAX_VIEW_SECONDS = 60.0
JOINTS_KEPT = 4


def pack_scene(avatar: Avatar, max_splats: int = MAX_SPLATS) -> bytes:
    """What the player needs of an avatar, in its photo's pose until a motion comes.

    Args:
        avatar: whom.
        max_splats: how many Gaussians are kept at most.
    """
    from pipeline.animation import person_center
    from pipeline.avatar.model import sparse_weights
    from pipeline.puppet import expression_basis

    neutral = avatar.params.replace(expression=np.zeros_like(avatar.params.expression))
    with torch.no_grad():
        points = avatar.canonical(neutral).numpy()
    moved = np.zeros(len(avatar), bool)
    moved[expression_basis(avatar)[0].numpy()] = True
    kept, widened = _thinned(avatar.guessed.numpy(), max_splats)
    kept = np.concatenate([kept[moved[kept]], kept[~moved[kept]]])  # those that the face moves come first
    count = int(moved[kept].sum())
    dense = torch.zeros(len(kept), avatar.body.lbs_weights.shape[1])
    dense.scatter_add_(1, avatar.skin_index[kept], avatar.skin_weight[kept])
    joints, weights = sparse_weights(dense, JOINTS_KEPT)
    low, high = points[kept].min(0), points[kept].max(0)
    log_scale = np.log(avatar.scale.numpy()[kept] * widened[kept])
    scale_low, scale_high = float(log_scale.min()), float(max(log_scale.max(), log_scale.min() + 1e-6))
    face, face_header = _face(avatar, kept[:count])
    sections = {
        "position": np.rint((points[kept] - low) / np.maximum(high - low, 1e-9) * 65535).astype(np.uint16),
        "scale": np.rint((log_scale - scale_low) / (scale_high - scale_low) * 255).astype(np.uint8),
        "color": np.rint(np.clip(avatar.rgb.numpy()[kept], 0, 1) * 255).astype(np.uint8),
        "guessed": np.rint(np.clip(avatar.guessed.numpy()[kept], 0, 1) * 255).astype(np.uint8),
        "normal": _lit_normals(avatar)[kept],
        "joint": joints.numpy().astype(np.uint8),
        "weight": _bytes_that_sum(weights.numpy()),
        **face,
        **_background(avatar),
        **_motion_sections(avatar, [avatar.params]),
    }
    camera = avatar.camera
    header = {
        "kind": "scene",
        "splats": len(kept),
        "low": low.tolist(),
        "high": high.tolist(),
        "logScale": [scale_low, scale_high],
        "camera": {
            "viewmat": camera.viewmat.ravel().tolist(),
            "K": camera.K.ravel().tolist(),
            "width": camera.width,
            "height": camera.height,
        },
        "center": person_center(avatar).tolist(),
        "light": [0.0, 0.0, 0.0] if avatar.light is None else avatar.light.tolist(),
        "fps": 30.0,
        **face_header,
    }
    return _pack(header, sections)


def pack_motion(avatar: Avatar, poses: Sequence[BodyParams], fps: float, name: str = "") -> bytes:
    """A motion for the player.

    Args:
        avatar: whom it was made for.
        poses: body parameters, one per frame, e.g. from :func:`pipeline.animation.pose_sequence`.
        fps: frames per second.
        name: for people.

    Raises:
        PipelineError: nothing, or more than ``MAX_VIEW_SECONDS``.
    """
    if not len(poses):
        raise PipelineError("The motion has no frames.")
    if len(poses) > MAX_VIEW_SECONDS * fps:
        raise PipelineError(f"The view plays up to {MAX_VIEW_SECONDS:.0f} s of motion; make a video of a longer one.")
    return _pack({"kind": "motion", "fps": float(fps), "name": name}, _motion_sections(avatar, poses))


def joint_transforms(avatar: Avatar, poses: Sequence[BodyParams]) -> Array:
    """Rest-to-world transforms of all joints, (F, 55, 3, 4) float32, translation included."""
    from pipeline.avatar.model import canonical_mesh, full_pose

    body = avatar.body
    neutral = avatar.params.replace(expression=np.zeros_like(avatar.params.expression))
    with torch.no_grad():
        rest = canonical_mesh(body, neutral)[1]
        basis = torch.einsum("jv,vce->jce", body.J_regressor, body.expr_dirs)
        expression = torch.from_numpy(np.stack([np.asarray(p.expression, np.float32) for p in poses]))
        joints = rest + torch.einsum("jce,fe->fjc", basis, expression)
        A, _ = body.transforms(torch.stack([full_pose(p) for p in poses]), joints)
        out = A[:, :, :3].clone()
        out[..., 3] += torch.from_numpy(np.stack([np.asarray(p.transl, np.float32) for p in poses]))[:, None]
    return out.numpy()


def unpack(data: bytes) -> tuple[dict[str, Any], dict[str, Array]]:
    """The inverse of the packing: header, and arrays by name.

    Raises:
        PipelineError: it is no such file.
    """
    try:
        raw = gzip.decompress(data)
        if raw[:4] != MAGIC:
            raise ValueError("magic")
        (length,) = struct.unpack("<I", raw[4:8])
        header = json.loads(raw[8 : 8 + length])
        base, arrays = 8 + length, {}
        for name, (kind, shape, offset) in header["sections"].items():
            count = int(np.prod(shape))
            arrays[name] = np.frombuffer(raw, kind, count, base + offset).reshape(shape)
    except (OSError, EOFError, ValueError, KeyError, struct.error) as error:
        raise PipelineError("This is not a file of the viewer, or it is damaged; export it again.") from error
    return header, arrays


def _pack(header: dict[str, Any], sections: dict[str, Array]) -> bytes:
    table, body = {}, io.BytesIO()
    for name, values in sections.items():
        body.write(b"\0" * (-body.tell() % 4))
        values = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
        table[name] = [values.dtype.str.replace("|", "<"), list(values.shape), body.tell()]
        body.write(values.tobytes())
    text = json.dumps({**header, "sections": table}, allow_nan=False, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % 4)
    return gzip.compress(MAGIC + struct.pack("<I", len(text)) + text + body.getvalue(), 6, mtime=0)


def _thinned(guessed: Array, limit: int) -> tuple[Array, Array]:
    """Which Gaussians stay (indices), and the factor (N,) by which thinned-out kinds grow to cover the same surface."""
    n, widened = len(guessed), np.ones(len(guessed), np.float32)
    if n <= limit:
        return np.arange(n), widened
    rng, keep = np.random.default_rng(0), np.ones(n, bool)
    surplus = n - limit
    for kind, share in ((guessed > 0.5, 0.7), (guessed <= 0.5, 1.0)):
        rows = np.flatnonzero(kind)
        out = min(surplus, int(share * len(rows)))
        if out:
            keep[rng.choice(rows, out, replace=False)] = False
            widened[rows] = np.sqrt(len(rows) / max(len(rows) - out, 1))
        surplus -= out
    return np.flatnonzero(keep), widened


def _bytes_that_sum(weights: Array) -> Array:
    """Weights (N, K), rows sum to 1, as bytes whose rows sum to 255; what rounding loses goes to the largest."""
    out = np.floor(weights * 255).astype(np.int32)
    out[np.arange(len(out)), weights.argmax(1)] += 255 - out.sum(1)
    return out.astype(np.uint8)


def _lit_normals(avatar: Avatar) -> Array:
    """(N, 3) int8: canonical normals of Gaussians that are lit, as long as their share of the light; others zero."""
    lit, out = avatar.shading, np.zeros((len(avatar), 3), np.int8)
    out[lit.rows.numpy()] = np.rint((lit.normals * lit.shares[:, None]).numpy() * 127).astype(np.int8)
    return out


def _face(avatar: Avatar, rows: Array) -> tuple[dict[str, Array], dict[str, Any]]:
    """How expressions move the first Gaussians: corners and barycentrics into a basis over a few vertices."""
    corners = avatar.corners[rows].numpy()
    used, local = np.unique(corners, return_inverse=True)
    basis = avatar.body.expr_dirs[used].numpy().transpose(2, 0, 1)  # (E, vertices, 3)
    step = np.abs(basis).max(axis=(1, 2)) / 127
    step = np.where(step > 0, step, 1.0)
    sections = {
        "faceCorner": local.reshape(-1, 3).astype(np.uint16),
        "faceBary": _bytes_that_sum(np.clip(avatar.bary[rows].numpy(), 0, 1))[:, :2].copy(),
        "faceBasis": np.rint(basis / step[:, None, None]).astype(np.int8),
    }
    return sections, {"faceSplats": len(rows), "faceVertices": len(used), "faceStep": step.tolist()}


def _background(avatar: Avatar) -> dict[str, Array]:
    if avatar.background is None:
        return {}
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.asarray(avatar.background)).save(file, "JPEG", quality=82)
    return {"background": np.frombuffer(file.getvalue(), np.uint8)}


def _motion_sections(avatar: Avatar, poses: Sequence[BodyParams]) -> dict[str, Array]:
    from scipy.spatial.transform import Rotation

    transforms = joint_transforms(avatar, poses)
    frames, joints = transforms.shape[:2]
    turns = Rotation.from_matrix(transforms[..., :3].reshape(-1, 3, 3)).as_quat().reshape(frames, joints, 4)
    expression = np.stack([np.asarray(p.expression, np.float32) for p in poses])
    return {
        "turn": np.rint(turns * 32767).astype(np.int16),
        "shift": transforms[..., 3].astype(np.float32),
        "expression": expression.astype(np.float32),
    }
