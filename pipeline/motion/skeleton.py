"""The SMPL-X joint tree as names, indices and an average adult's joint positions, without loading a body model."""

from __future__ import annotations

import numpy as np

from ..types import Array

BODY_JOINTS = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle", "right_ankle",
    "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head", "left_shoulder",
    "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
)  # fmt: skip
FINGERS = ("index", "middle", "pinky", "ring", "thumb")
HAND_JOINTS = tuple(f"{finger}{i}" for finger in FINGERS for i in (1, 2, 3))
NAMES = (
    *BODY_JOINTS,
    "jaw",
    "left_eye",
    "right_eye",
    *(f"left_{j}" for j in HAND_JOINTS),
    *(f"right_{j}" for j in HAND_JOINTS),
)
INDEX = {name: i for i, name in enumerate(NAMES)}
N_JOINTS = len(NAMES)

_BODY_PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19)
_HAND_PARENTS = {
    side: tuple(INDEX[f"{side}_wrist"] if i % 3 == 0 else INDEX[f"{side}_index1"] + offset + i - 1 for i in range(15))
    for side, offset in (("left", 0), ("right", 0))
}
PARENTS = (*_BODY_PARENTS, 15, 15, 15, *_HAND_PARENTS["left"], *_HAND_PARENTS["right"])
"""Parent of every joint; -1 for the pelvis. A parent always comes before its children."""

SPINE = tuple(INDEX[j] for j in ("spine1", "spine2", "spine3"))
LEGS = tuple(INDEX[f"{s}_{j}"] for j in ("hip", "knee", "ankle", "foot") for s in ("left", "right"))
SIDES = ("left", "right")


ARKIT = (
    "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff",
    "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight",
    "eyeLookInLeft", "eyeLookInRight", "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight",
    "eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen", "jawRight",
    "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel",
    "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker",
    "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft",
    "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight",
    "noseSneerLeft", "noseSneerRight", "tongueOut",
)  # fmt: skip
"""The order of :data:`pipeline.body.ARKIT_NAMES` (a test compares them), here so that clips need no body."""


def mirror_order(names: tuple[str, ...]) -> list[int]:
    """Indices that swap left and right in a list of names such as ``left_hip`` or ``mouthSmileLeft``."""
    swapped = []
    for name in names:
        if name.startswith(("left_", "right_")):
            other = name.replace("left_", "right_") if name.startswith("left_") else name.replace("right_", "left_")
        elif name.endswith("Left"):
            other = name[:-4] + "Right"
        elif name.endswith("Right"):
            other = name[:-5] + "Left"
        else:
            other = name
        swapped.append(names.index(other))
    return swapped


def mean_joints() -> Array:
    """Joint positions (55, 3) of an average adult in the T-pose, metres, pelvis at the origin.

    The open body's mean shape, rounded to millimetres and made symmetric (a test compares them), so that authoring
    needs no body model. x to the person's left, y up, z to the front.
    """
    left = {
        "hip": (0.11, -0.016, -0.008), "knee": (0.121, -0.401, -0.008), "ankle": (0.121, -0.842, -0.03),
        "foot": (0.142, -0.892, 0.109), "collar": (0.023, 0.469, 0.017), "shoulder": (0.178, 0.448, 0.012),
        "elbow": (0.439, 0.447, 0.012), "wrist": (0.673, 0.447, 0.012), "eye": (0.03, 0.686, 0.115),
        "index1": (0.78, 0.443, 0.039), "index2": (0.807, 0.443, 0.041), "index3": (0.831, 0.443, 0.042),
        "middle1": (0.779, 0.447, 0.012), "middle2": (0.814, 0.447, 0.012), "middle3": (0.843, 0.447, 0.012),
        "pinky1": (0.763, 0.443, -0.027), "pinky2": (0.785, 0.443, -0.03), "pinky3": (0.801, 0.443, -0.033),
        "ring1": (0.773, 0.448, -0.008), "ring2": (0.804, 0.448, -0.01), "ring3": (0.829, 0.448, -0.012),
        "thumb1": (0.712, 0.443, 0.037), "thumb2": (0.724, 0.422, 0.057), "thumb3": (0.75, 0.404, 0.077),
    }  # fmt: skip
    middle = {
        "pelvis": (0.0, 0.0, 0.0), "spine1": (0.0, 0.113, -0.032), "spine2": (0.0, 0.229, -0.029),
        "spine3": (0.0, 0.358, -0.039), "neck": (0.0, 0.543, 0.003), "head": (0.0, 0.643, 0.035),
        "jaw": (0.0, 0.653, 0.05),
    }  # fmt: skip
    joints = np.zeros((N_JOINTS, 3))
    for name, index in INDEX.items():
        side, _, part = name.partition("_")
        if side in SIDES:
            joints[index] = np.array(left[part]) * (1.0 if side == "left" else -1.0, 1.0, 1.0)
        else:
            joints[index] = middle[name]
    return joints
