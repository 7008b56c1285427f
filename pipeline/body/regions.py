"""Named parts of a body mesh, as masks over its vertices."""

from __future__ import annotations

import numpy as np

from pipeline.body.names import JOINT_INDEX, JOINT_NAMES

Masks = dict[str, np.ndarray]


_LIMBS: dict[str, tuple[str, ...]] = {
    "head": ("head", "jaw", "left_eye_smplhf", "right_eye_smplhf"),
    "neck": ("neck",),
    "torso": ("pelvis", "spine1", "spine2", "spine3", "left_collar", "right_collar"),
    "legs": ("left_hip", "right_hip", "left_knee", "right_knee"),
    "feet": ("left_ankle", "right_ankle", "left_foot", "right_foot"),
    "left_arm": ("left_shoulder", "left_elbow"),
    "right_arm": ("right_shoulder", "right_elbow"),
    "left_hand": ("left_wrist", *(n for n in JOINT_NAMES if n.startswith("left") and n[-1] in "123")),
    "right_hand": ("right_wrist", *(n for n in JOINT_NAMES if n.startswith("right") and n[-1] in "123")),
}


def limb_regions(weights: np.ndarray) -> Masks:
    """Split the body into disjoint limbs: each vertex goes where most of its skinning weight (V, 55) is."""
    shares = [weights[:, [JOINT_INDEX[name] for name in joints]].sum(1) for joints in _LIMBS.values()]
    owner = np.argmax(shares, axis=0)
    return {name: owner == k for k, name in enumerate(_LIMBS)}


def moved_by(displacements: np.ndarray, share: float) -> np.ndarray:
    """Vertices that a morph target (V, 3) moves by more than ``share`` of its largest displacement."""
    size = np.linalg.norm(displacements, axis=-1)
    return size > share * size.max()


_EYE_POINTS = {
    "left_eyelids": (362, 398, 384, 385, 386, 387, 388, 466, 263, 249, 390, 373, 374, 380, 381, 382),
    "right_eyelids": (33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7),
}
_CHIN = 152
_LIP_POINTS = (61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87)
_NOSE_POINTS = (1, 2, 4, 5, 98, 327, 129, 358, 195, 45, 275, 48, 278)


def head_parts(
    vertices: np.ndarray, face_points: np.ndarray, head: np.ndarray, inner: np.ndarray, ears: np.ndarray
) -> Masks:
    """Split the outer skin of the head into face, scalp, ears and ``under_chin``, and find eyelids, lips and nose.

    The hair line is guessed from proportions: a slanted plane from above the forehead to the front of the ears.

    Args:
        vertices: (V, 3) T-pose. face_points: (478, 3) MediaPipe's points on it. head, inner, ears: (V,) masks.
    """

    def close(chosen: tuple[int, ...], reach: float) -> np.ndarray:
        gap = np.linalg.norm(vertices[:, None] - face_points[list(chosen)][None], axis=-1).min(1)
        return ~inner & (gap < reach)

    masks = {name: close(chosen, 0.005) for name, chosen in _EYE_POINTS.items()}
    masks["eyelids"] = masks["left_eyelids"] | masks["right_eyelids"]
    masks["lips"], masks["nose"] = close(_LIP_POINTS, 0.006), close(_NOSE_POINTS, 0.009)
    skin = head & ~inner & ~ears
    y, z = vertices[:, 1], vertices[:, 2]
    chin, front = face_points[_CHIN, 1], z[skin].max()
    height = y[skin].max() - chin
    hairline = chin + 0.86 * height - 0.55 * np.maximum(front - 0.02 - z, 0.0)
    masks["face"] = skin & (z > z[ears].max() - 0.004) & (y < hairline) & (y > chin - 0.004)
    masks["scalp"] = skin & ~masks["face"] & (y > chin + 0.40 * height)
    masks["under_chin"] = skin & ~masks["face"] & ~masks["scalp"]
    return masks
