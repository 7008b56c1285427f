"""Retargeting: a clip played by a fitted body, anchored to the posture of its photo.

Posture of the torso and head is the photo's, moved by the clip around the clip's own mean posture, so that the avatar
stays where the photo knows it best. Arms follow the clip relative to the chest; hands then keep the clip's contacts
(with each other, the face and the chest) and are kept out of torso and head by inverse kinematics.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, overload

import numpy as np

from ..types import ROTATION_FIELDS, Array, BodyParams, Camera, MotionClip, PipelineError
from .clips import validate
from .contact import HandFixes, fix_hands
from .curves import min_jerk
from .edit import amplitude as scale_amplitude
from .edit import interpolate_to
from .idle import add_idle
from .rotations import aa_to_matrix, axis_rotation, heading, matrix_to_aa, mean_rotation
from .skeleton import ARKIT, INDEX, LEGS, N_JOINTS, SIDES
from .statistics import local_rotations

if TYPE_CHECKING:
    from ..body import BodyModel

ANCHORED = tuple(INDEX[j] for j in ("spine1", "spine2", "spine3", "neck", "head", "left_collar", "right_collar"))
COLLARS = (INDEX["left_collar"], INDEX["right_collar"])
ROOT_TURN_LIMIT = np.radians(28.0)
"""Most that the spine turns in place of a root that is kept still."""
EYE_LIMIT = np.radians(40.0)


@dataclass(frozen=True)
class RetargetedMotion(Sequence[BodyParams]):
    """A motion for one body: a sequence of :class:`BodyParams` that share ``betas``.

    Attributes:
        fps: frames per second.
        betas: (B,).
        arrays: every other field of :class:`BodyParams` stacked, (F, ...), float32.
        notes: what had to be changed, for people.
        fixes: how far hands were moved, for programs.
    """

    fps: float
    betas: Array
    arrays: dict[str, Array]
    notes: tuple[str, ...] = ()
    fixes: HandFixes = field(default_factory=HandFixes)

    def __len__(self) -> int:
        return len(self.arrays["transl"])

    @overload
    def __getitem__(self, index: int) -> BodyParams: ...
    @overload
    def __getitem__(self, index: slice) -> RetargetedMotion: ...
    def __getitem__(self, index: int | slice) -> BodyParams | RetargetedMotion:
        if isinstance(index, slice):
            return RetargetedMotion(
                self.fps, self.betas, {k: v[index] for k, v in self.arrays.items()}, self.notes, self.fixes
            )
        return BodyParams(betas=self.betas, **{k: v[index] for k, v in self.arrays.items()})

    def __iter__(self) -> Iterator[BodyParams]:
        return (self[i] for i in range(len(self)))


def retarget(
    clip: MotionClip,
    body: BodyModel,
    rest: BodyParams,
    *,
    amplitude: float = 1.0,
    keep_lower_body: bool = True,
    settle: float = 0.0,
    posture: float = 1.0,
    expression_gain: float = 1.0,
    fix_contacts: bool = True,
    idle: bool = True,
    clearance: float = 0.012,
    camera: Camera | None = None,
) -> RetargetedMotion:
    """Play a clip on a fitted body.

    Args:
        clip: any checked clip.
        body: the model that ``rest`` belongs to.
        rest: the body as registered in the photo.
        amplitude: 0 (still) to 1.5, around the clip's mean pose.
        keep_lower_body: keep legs, root orientation and place of the photo (seated, or legs not visible); the root's
            turn and lean then go into the spine. Otherwise legs and root follow the clip, starting from the photo's
            root heading and pelvis.
        settle: seconds over which the motion starts from the photo's own pose; 0 starts in the clip.
        posture: 1 keeps the photo's posture of torso, head and shoulders on average, 0 takes the clip's.
        expression_gain: 0..1.5, factor on mouth, brows and cheeks (not on blinks and gaze). The photo's expression is
            not added.
        fix_contacts: keep contacts and push hands out of torso and head.
        idle: add blinks, gaze, breathing and sway where the clip has none (:func:`pipeline.motion.add_idle`).
        clearance: metres that hands keep from the skin where they do not touch on purpose.
        camera: the view that will be drawn; raised hands that leave its picture at the sides are drawn back into it
            as far as 14 cm. None lets them leave.

    Returns:
        One :class:`BodyParams` per frame, all with ``rest.betas``.

    Raises:
        PipelineError: a parameter out of range, or an invalid clip.
    """
    _check_ranges(settle=(settle, 0, 10), posture=(posture, 0, 1), expression_gain=(expression_gain, 0, 1.5))
    clip = validate(clip)
    clip = scale_amplitude(add_idle(clip) if idle else clip, amplitude)
    moved = _local_rotations(clip, keep_lower_body, posture, rest)
    transl = _translation(clip, rest, keep_lower_body)
    fixes = HandFixes()
    if fix_contacts:
        moved, fixes = fix_hands(moved, local_rotations(clip), transl, body, rest.betas, clearance, clip.fps, camera)
    arrays = {**_pose_fields(moved), "transl": transl, **_face(clip, body, expression_gain)}
    arrays = {**arrays, **_anchored_eyes(arrays, rest, posture)}
    arrays = {k: np.ascontiguousarray(v, np.float32) for k, v in arrays.items()}
    if settle > 0:
        arrays = _settle(arrays, rest, round(settle * clip.fps))
    return RetargetedMotion(clip.fps, rest.betas, arrays, tuple(fixes.notes()), fixes)


def clip_to_params(clip: MotionClip, body: BodyModel, rest: BodyParams) -> RetargetedMotion:
    """The clip's own rotations and root path on a body, unchanged: for a clip tracked from the same person."""
    clip = validate(clip)
    arrays: dict[str, Array] = {k: getattr(clip, k) for k in ROTATION_FIELDS}
    arrays |= {"transl": clip.transl, **_face(clip, body, 1.0)}
    return RetargetedMotion(clip.fps, rest.betas, {k: np.ascontiguousarray(v, np.float32) for k, v in arrays.items()})


def _check_ranges(**values: tuple[float, float, float]) -> None:
    for name, (value, low, high) in values.items():
        if not low <= value <= high:
            raise PipelineError(f"The motion setting {name} is {value:g}, it must be {low:g} to {high:g}.")


def _params_local(rest: BodyParams) -> Array:
    """Local rotations (55, 3, 3) of one body."""
    fields = [rest.global_orient[None], rest.body_pose, rest.jaw_pose[None], rest.leye_pose[None], rest.reye_pose[None]]
    return aa_to_matrix(np.concatenate([*fields, rest.left_hand_pose, rest.right_hand_pose]))


def _local_rotations(clip: MotionClip, keep_lower_body: bool, posture: float, rest: BodyParams) -> Array:
    """Local rotations (F, 55, 3, 3) before hands are looked at."""
    source, photo = local_rotations(clip), _params_local(rest)
    out = source.copy()
    delta = np.swapaxes(_root_reference(clip, keep_lower_body), -1, -2) @ source[:, 0]
    mean = aa_to_matrix(mean_rotation(clip.body_pose))
    for joint in ANCHORED:
        weight = posture * (_collar_trust(mean[joint - 1], photo[joint]) if joint in COLLARS else 1.0)
        base = _between(mean[joint - 1], photo[joint], weight)
        out[:, joint] = base @ mean[joint - 1].T @ source[:, joint]
    if keep_lower_body:
        out[:, 0] = photo[0]
        out[:, list(LEGS)] = photo[list(LEGS)]
        out[:, INDEX["spine1"]] = aa_to_matrix(_limited(matrix_to_aa(delta), ROOT_TURN_LIMIT)) @ out[:, INDEX["spine1"]]
    else:
        out[:, 0] = photo[0] @ delta
    for side in SIDES:
        collar, shoulder = INDEX[f"{side}_collar"], INDEX[f"{side}_shoulder"]
        out[:, shoulder] = np.swapaxes(out[:, collar], -1, -2) @ source[:, collar] @ source[:, shoulder]
    return out


def _root_reference(clip: MotionClip, keep_lower_body: bool) -> Array:
    """The root rotation (3, 3) of the clip that stands for the photo's: its mean tilt, with the heading of the mean
    (body kept in place) or of the first frame (body moving about)."""
    world = aa_to_matrix(clip.global_orient)
    level = axis_rotation("y", -heading(world)) @ world
    tilt = aa_to_matrix(mean_rotation(matrix_to_aa(level)))
    yaw = heading(aa_to_matrix(mean_rotation(clip.global_orient))) if keep_lower_body else heading(world[0])
    return axis_rotation("y", yaw) @ tilt


def _between(a: Array, b: Array, weight: float) -> Array:
    """Rotation (3, 3) from ``a`` (weight 0) to ``b`` (weight 1)."""
    return a @ aa_to_matrix(weight * matrix_to_aa(a.T @ b))


def _collar_trust(mean: Array, photo: Array) -> float:
    """How far a photo's shoulder line stands for the person: not where it is lifted along with a raised arm."""
    degrees = float(np.degrees(np.linalg.norm(matrix_to_aa(mean.T @ photo))))
    return float(np.clip((18.0 - degrees) / 12.0, 0.0, 1.0))


def _limited(aa: Array, limit: float) -> Array:
    """Rotation vectors whose angle bends smoothly to stay under ``limit``."""
    angle = np.linalg.norm(aa, axis=-1, keepdims=True)
    return aa * (limit * np.tanh(angle / limit) / np.maximum(angle, 1e-9))


def _translation(clip: MotionClip, rest: BodyParams, keep_lower_body: bool) -> Array:
    """Root places (F, 3): the photo's, plus the clip's travel turned into the photo's heading unless kept still."""
    place = np.repeat(np.asarray(rest.transl, np.float64)[None], len(clip), axis=0)
    if keep_lower_body:
        return place
    turn = aa_to_matrix(rest.global_orient) @ _root_reference(clip, keep_lower_body).T
    return place + (clip.transl - clip.transl[0]).astype(np.float64) @ turn.T


def _pose_fields(local: Array) -> dict[str, Array]:
    aa = matrix_to_aa(local)
    return {
        "global_orient": aa[:, 0],
        "body_pose": aa[:, 1:22],
        "left_hand_pose": aa[:, 25:40],
        "right_hand_pose": aa[:, 40:N_JOINTS],
    }


def _face(clip: MotionClip, body: BodyModel, gain: float) -> dict[str, Array]:
    """Expression, jaw and eyes. The clip's own jaw and eye rotations win over those that ARKit coefficients imply."""
    scaled = np.array([not n.startswith(("eyeBlink", "eyeLook")) for n in ARKIT])
    arkit = np.clip(clip.arkit * np.where(scaled, gain, 1.0), 0.0, 1.0).astype(np.float32)
    face = {k: np.asarray(v) for k, v in body.arkit_to_params(arkit).items()}
    for name in ("jaw_pose", "leye_pose", "reye_pose"):
        own = getattr(clip, name)
        if np.abs(own).max() > 1e-4:
            face[name] = own * (gain if name == "jaw_pose" else 1.0)
    if clip.expression is not None and _same_space(clip.expression_space, body.expression_space):
        count = min(clip.expression.shape[1], body.n_expression)
        face["expression"] = np.array(face["expression"])
        face["expression"][:, :count] += gain * clip.expression[:, :count]
    return face


def _anchored_eyes(arrays: dict[str, Array], rest: BodyParams, posture: float) -> dict[str, Array]:
    """Eyes that look, at rest, where those of the photo look: its gaze (mean of both eyes) under the clip's."""
    gaze = posture * 0.5 * (np.asarray(rest.leye_pose, np.float64) + np.asarray(rest.reye_pose, np.float64))
    base = aa_to_matrix(_limited(gaze, EYE_LIMIT))
    return {k: _limited(matrix_to_aa(base @ aa_to_matrix(arrays[k])), EYE_LIMIT) for k in ("leye_pose", "reye_pose")}


def _same_space(clip_space: str | None, body_space: str) -> bool:
    """SMPL-X takes its expression space from FLAME."""
    return clip_space == body_space or (clip_space == "flame" and body_space == "smplx")


def _settle(arrays: dict[str, Array], rest: BodyParams, frames: int) -> dict[str, Array]:
    """Begin in the photo's pose and move into the motion within ``frames`` frames."""
    weight = min_jerk(np.arange(len(arrays["transl"])) / max(frames, 1))
    out = {}
    for name, values in arrays.items():
        start = np.asarray(getattr(rest, name), np.float32)
        if name in ROTATION_FIELDS:
            out[name] = interpolate_to(start, values, weight).astype(np.float32)
        else:
            w = weight[:, None].astype(np.float32)
            out[name] = start + w * (values - start)
    return out
