"""Between the avatar's world and the head generator's: rotations, cameras, and the first guess of where the head is.

Both worlds have x to the right of a frontal picture, y up and z towards the viewer, and a head at rest looks along +z
in both; they differ by the place of the origin (there: the joint between neck and head) and by the unit (there: a third
of a metre). So only the head's rotation is handed over, and the place comes back by registration.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.body import BodyModel
from pipeline.labels.portrait4d.rays import HEAD_POSITION, UNITS_PER_METRE, normalised_focal
from pipeline.types import Array, BodyParams, Camera

HEAD_JOINT = 15
FLIP = np.diag([1.0, -1.0, -1.0])
"""OpenCV camera axes <-> axes with y up and z to the viewer."""


def label_camera(size: int = 512) -> Camera:
    """The generator's camera as a frontal one at the world's origin: a narrow lens far away."""
    return Camera.frontal(size, size, normalised_focal() * size)


def head_in_camera() -> Array:
    """(3,) metres: where the generator's camera sees the joint between neck and head (y up, z to the viewer)."""
    return -np.array(HEAD_POSITION) / UNITS_PER_METRE


def batch_of_one(params: BodyParams) -> dict[str, Tensor]:
    """The fields of one body as tensors with a leading axis, ready for :meth:`BodyModel.forward`."""
    return {
        f.name: torch.as_tensor(np.asarray(getattr(params, f.name)), dtype=torch.float32)[None]
        for f in dataclasses.fields(params)
    }


def posed(body: BodyModel, params: BodyParams) -> Any:
    """The posed body of one frame, without gradient; only one vertex of it is computed."""
    with torch.no_grad():
        return body(**batch_of_one(params), vertex_ids=torch.zeros(1, dtype=torch.long))


def head_rotation(body: BodyModel, params: BodyParams, camera: Camera) -> Array:
    """(3, 3) rotation of the head as the camera sees it, in the generator's axes; identity = looks into the camera."""
    turned = posed(body, params).A[0, HEAD_JOINT, :3, :3].numpy().astype(np.float64)
    return FLIP @ camera.viewmat[:3, :3].astype(np.float64) @ turned


def turned_by(rotation: Array, yaw: float, pitch: float) -> Array:
    """Turn a head further, degrees: yaw to the picture's right, pitch downwards, both in the camera's axes."""
    from scipy.spatial.transform import Rotation

    return Rotation.from_euler("yx", [yaw, pitch], degrees=True).as_matrix() @ rotation


def limited(rotation: Array, max_yaw: float, max_pitch: float, max_roll: float = 20.0) -> Array:
    """The nearest head rotation inside of the generator's good range, degrees."""
    from scipy.spatial.transform import Rotation

    bounds = np.array([max_yaw, max_pitch, max_roll])
    angles = Rotation.from_matrix(rotation).as_euler("YXZ", degrees=True)
    return Rotation.from_euler("YXZ", np.clip(angles, -bounds, bounds), degrees=True).as_matrix()


def root_matrix(body: BodyModel, params: BodyParams) -> Array:
    """(4, 4) rigid motion of the whole body by ``global_orient`` about the pelvis and ``transl``."""
    A = posed(body, params).A[0, 0].numpy().astype(np.float64)
    A[:3, 3] += params.transl
    return A


def place_head(body: BodyModel, params: BodyParams, rotation: Array) -> BodyParams:
    """The same pose moved and turned as a whole, so that the head stands where the generator puts it.

    Args:
        params: any placing. rotation: (3, 3) wanted head rotation in front of :func:`label_camera`.
    """
    from scipy.spatial.transform import Rotation

    upright = params.replace(global_orient=np.zeros(3, np.float32), transl=np.zeros(3, np.float32))
    chain = posed(body, upright).A[0, HEAD_JOINT, :3, :3].numpy().astype(np.float64)
    orient = Rotation.from_matrix(rotation @ chain.T).as_rotvec().astype(np.float32)
    turned = upright.replace(global_orient=orient)
    joint = posed(body, turned).joints[0, HEAD_JOINT].numpy()
    return turned.replace(transl=(head_in_camera() - joint).astype(np.float32))


def in_avatar_coordinates(body: BodyModel, placed: BodyParams, home: BodyParams, camera: Camera) -> Camera:
    """Move the camera instead of the body.

    Args:
        placed: body as it stands before ``camera``. home: the same body where the photo has it.

    Returns:
        The camera that sees ``home`` as ``camera`` sees ``placed``.
    """
    motion = root_matrix(body, placed) @ np.linalg.inv(root_matrix(body, home))
    return Camera((camera.viewmat @ motion).astype(np.float32), camera.K, camera.width, camera.height)
