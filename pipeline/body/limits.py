"""Anatomical limits of the SMPL-X joints: generous boxes in axis-angle, for penalties and sanity checks."""

from __future__ import annotations

import numpy as np

from pipeline.body.names import JOINT_INDEX, JOINT_NAMES

_CENTRAL = {
    "spine1": ((-20, -15, -15), (35, 15, 15)),
    "spine2": ((-15, -15, -15), (30, 15, 15)),
    "spine3": ((-15, -15, -15), (25, 15, 15)),
    "neck": ((-35, -45, -30), (40, 45, 30)),
    "head": ((-35, -45, -30), (35, 45, 30)),
    "jaw": ((-3, -8, -5), (28, 8, 5)),
}
# Left side: x turns about the limb (arms) or swings it forward (legs); the right side mirrors y and z.
_LEFT = {
    "hip": ((-130, -50, -30), (40, 60, 60)),
    "knee": ((-10, -20, -15), (155, 20, 15)),
    "ankle": ((-45, -35, -30), (55, 35, 30)),
    "foot": ((-30, -10, -10), (60, 10, 10)),
    "collar": ((-25, -35, -30), (25, 25, 45)),
    "shoulder": ((-100, -150, -110), (110, 90, 95)),
    "elbow": ((-95, -165, -45), (95, 12, 45)),
    "wrist": ((-60, -45, -85), (60, 45, 85)),
    "eye_smplhf": ((-30, -40, -5), (30, 40, 5)),
}
_FINGER = {1: ((-20, -25, -105), (20, 25, 35)), 2: ((-10, -10, -115), (10, 10, 10)), 3: ((-10, -10, -95), (10, 10, 15))}
_THUMB = {1: ((-60, -60, -60), (60, 60, 60)), 2: ((-30, -70, -70), (30, 70, 30)), 3: ((-25, -90, -90), (25, 30, 30))}
_MIRROR = np.array([1.0, -1.0, -1.0])


def joint_limits() -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper limits, (55, 3) each, radians per axis-angle component; the root is free (+-pi).

    Boxes on axis-angle components are a coarse stand-in for real joint ranges: they stop elbows, knees and fingers
    from bending the wrong way and heads from turning backwards.
    """
    lower, upper = np.full((55, 3), -np.pi), np.full((55, 3), np.pi)
    table = dict(_CENTRAL)
    for joint, limits in _LEFT.items():
        table[f"left_{joint}"] = limits
    for name in JOINT_NAMES[25:40]:
        table[name] = (_THUMB if "thumb" in name else _FINGER)[int(name[-1])]
    for name, (low, high) in table.items():
        j = JOINT_INDEX[name]
        lower[j], upper[j] = np.radians(low), np.radians(high)
        if name.startswith("left_"):
            other = JOINT_INDEX[name.replace("left_", "right_")]
            ends = np.stack([lower[j] * _MIRROR, upper[j] * _MIRROR])
            lower[other], upper[other] = ends.min(0), ends.max(0)
    return lower.astype(np.float32), upper.astype(np.float32)
