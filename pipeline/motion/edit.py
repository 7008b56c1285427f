"""Clip editing: resampling, mirroring, amplitude, speed, seamless loops and cross-fades. All return new clips."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from ..types import ROTATION_FIELDS, Array, MotionClip, PipelineError
from .clips import MAX_FRAMES, check_fps
from .rotations import (
    aa_to_matrix,
    aa_to_quat,
    heading,
    matrix_to_aa,
    mean_rotation,
    quat_conjugate,
    quat_multiply,
    quat_to_aa,
    slerp,
    slerp_aa,
)
from .rotations import axis_rotation as rotation_about
from .skeleton import ARKIT, BODY_JOINTS, mirror_order

LINEAR_FIELDS = ("transl", "arkit", "expression")
BLINK_PREFIX = "eyeBlink"


def _map_fields(
    clip: MotionClip, rotation: Callable[[Array], Array], linear: Callable[[Array], Array]
) -> dict[str, Array]:
    """Apply one function to every rotation field and another to every linear field that the clip has."""
    out = {name: rotation(getattr(clip, name)).astype(np.float32) for name in ROTATION_FIELDS}
    for name in LINEAR_FIELDS:
        if getattr(clip, name) is not None:
            out[name] = linear(getattr(clip, name)).astype(np.float32)
    return out


def select(clip: MotionClip, index: Array | slice) -> MotionClip:
    """The clip with only the frames ``index`` (a slice or an array of frame numbers), at the same rate."""
    return clip.replace(**_map_fields(clip, lambda a: a[index], lambda a: a[index]))


def sample(clip: MotionClip, frames: Array) -> MotionClip:
    """The clip at fractional frame numbers ``frames (N,)``: slerp for rotations, linear for the rest."""
    frames = np.clip(np.asarray(frames, np.float64), 0, len(clip) - 1)
    low = np.floor(frames).astype(int)
    high = np.minimum(low + 1, len(clip) - 1)
    part = frames - low

    def rotation(a: Array) -> Array:
        t = part.reshape(-1, *(1,) * (a.ndim - 2))
        return slerp_aa(a[low], a[high], np.broadcast_to(t, (len(part), *a.shape[1:-1])))

    def linear(a: Array) -> Array:
        return a[low] * (1.0 - part[:, None]) + a[high] * part[:, None]

    return clip.replace(**_map_fields(clip, rotation, linear))


def resample(clip: MotionClip, fps: float) -> MotionClip:
    """The same motion at another frame rate; going down, each frame averages the time that it covers.

    Args:
        clip: any rate.
        fps: 1..240.

    Raises:
        PipelineError: rate out of range, or the result would be too long.
    """
    fps = check_fps(fps, "the wanted motion")
    if abs(fps - clip.fps) < 1e-6:
        return clip
    count = max(1, round(len(clip) * fps / clip.fps))
    if count > MAX_FRAMES:
        raise PipelineError(f"At {fps:g} frames per second the motion has {count} frames: cut it or lower the rate.")
    frames = np.arange(count) * (clip.fps / fps)
    if clip.fps / fps >= 1.9:
        clip = _low_pass(clip, clip.fps / fps)
    return sample(clip, frames).replace(fps=fps)


def _low_pass(clip: MotionClip, ratio: float) -> MotionClip:
    """A short binomial-like average over ``ratio`` frames, against aliasing before frames are dropped."""
    from scipy.ndimage import gaussian_filter1d

    sigma = 0.30 * ratio

    def rotation(a: Array) -> Array:
        q = aa_to_quat(a)
        flips = np.where(np.sum(q[1:] * q[:-1], axis=-1, keepdims=True) < 0, -1.0, 1.0)
        q[1:] *= np.cumprod(flips, axis=0)
        q = gaussian_filter1d(q, sigma, axis=0, mode="nearest")
        return quat_to_aa(q / np.linalg.norm(q, axis=-1, keepdims=True))

    return clip.replace(**_map_fields(clip, rotation, lambda a: gaussian_filter1d(a, sigma, axis=0, mode="nearest")))


def speed(clip: MotionClip, factor: float) -> MotionClip:
    """The clip played ``factor`` times as fast (0.25..4) at its own frame rate.

    Raises:
        PipelineError: factor out of range.
    """
    if not 0.25 <= factor <= 4.0:
        raise PipelineError(f"The motion speed is {factor:g}, it must be 0.25 to 4.")
    if factor == 1.0:
        return clip
    count = max(1, round(len(clip) / factor))
    return sample(clip, np.arange(count) * factor)


@lru_cache(maxsize=1)
def _mirror_tables() -> tuple[list[int], list[int]]:
    return mirror_order(BODY_JOINTS[1:]), mirror_order(ARKIT)


def mirror(clip: MotionClip) -> MotionClip:
    """Left and right exchanged: body, hands, eyes, root path and face.

    A native ``expression`` has no known mirror image and is kept as it is.
    """
    flip = np.array([1.0, -1.0, -1.0], np.float32)
    body, face = _mirror_tables()
    return clip.replace(
        global_orient=clip.global_orient * flip,
        body_pose=clip.body_pose[:, body] * flip,
        left_hand_pose=clip.right_hand_pose * flip,
        right_hand_pose=clip.left_hand_pose * flip,
        jaw_pose=clip.jaw_pose * flip,
        leye_pose=clip.reye_pose * flip,
        reye_pose=clip.leye_pose * flip,
        transl=clip.transl * np.array([-1.0, 1.0, 1.0], np.float32),
        arkit=np.ascontiguousarray(clip.arkit[:, face]),
    )


def amplitude(clip: MotionClip, gain: float, *, face_gain: float | None = None) -> MotionClip:
    """Larger or smaller movement around the clip's own mean pose.

    Args:
        clip: any clip.
        gain: 0 (still, in the mean pose) to 1.5; 1 changes nothing.
        face_gain: the same for mouth and brows, around the neutral face; None takes ``min(gain, 1.2)``. Blinks stay
            as they are unless ``gain`` and ``face_gain`` are 0.

    Raises:
        PipelineError: gain out of range.
    """
    face_gain = min(gain, 1.2) if face_gain is None else face_gain
    for value in (gain, face_gain):
        if not 0.0 <= value <= 1.5:
            raise PipelineError(f"The motion amplitude is {value:g}, it must be 0 to 1.5.")
    if gain == 1.0 and face_gain == 1.0:
        return clip
    changes: dict[str, Array] = {}
    for name in ROTATION_FIELDS:
        changes[name] = _scale_rotation(getattr(clip, name), face_gain if name == "jaw_pose" else gain)
    middle = clip.transl.mean(axis=0)
    changes["transl"] = (middle + gain * (clip.transl - middle)).astype(np.float32)
    changes["arkit"] = _scale_face(clip.arkit, face_gain, keep_blinks=gain > 0 or face_gain > 0)
    if clip.expression is not None:
        changes["expression"] = (face_gain * clip.expression).astype(np.float32)
    return clip.replace(**changes)


def _scale_rotation(aa: Array, gain: float) -> Array:
    mean = aa_to_quat(mean_rotation(aa))
    away = quat_to_aa(quat_multiply(np.broadcast_to(quat_conjugate(mean), (*aa.shape[:-1], 4)), aa_to_quat(aa)))
    scaled = quat_multiply(np.broadcast_to(mean, (*aa.shape[:-1], 4)), aa_to_quat(gain * away))
    return quat_to_aa(scaled).astype(np.float32)


def _scale_face(arkit: Array, gain: float, keep_blinks: bool) -> Array:
    scaled = np.clip(gain * arkit, 0.0, 1.0)
    if keep_blinks:
        blinks = [i for i, name in enumerate(ARKIT) if name.startswith(BLINK_PREFIX)]
        scaled[:, blinks] = arkit[:, blinks]
    return scaled.astype(np.float32)


def blend_clips(a: MotionClip, b: MotionClip, weight: Array) -> MotionClip:
    """Frame-wise mix of two clips of equal length: ``weight (F,)`` 0 gives ``a``, 1 gives ``b``; meta of ``a``."""
    weight = np.asarray(weight, np.float64)
    changes: dict[str, Array] = {}
    for name in ROTATION_FIELDS:
        x, y = getattr(a, name), getattr(b, name)
        t = np.broadcast_to(weight.reshape(-1, *(1,) * (x.ndim - 2)), x.shape[:-1])
        changes[name] = slerp_aa(x, y, t).astype(np.float32)
    for name in LINEAR_FIELDS:
        x, y = getattr(a, name), getattr(b, name)
        if x is not None and y is not None:
            changes[name] = (x + weight[:, None] * (y - x)).astype(np.float32)
    return a.replace(**changes)


def loop(clip: MotionClip, seconds: float = 0.6) -> MotionClip:
    """Make the end flow into the beginning by fading the last ``seconds`` into what comes before the start.

    The clip becomes ``seconds`` shorter (at most a third of it). A clip whose meta says ``loop`` is returned as it is.
    """
    if clip.meta.get("loop") is True or len(clip) < 4:
        return clip
    overlap = min(max(2, round(seconds * clip.fps)), len(clip) // 3)
    if overlap < 1:
        return clip
    kept = len(clip) - overlap
    clip = _without_drift(clip, kept)
    head, tail = select(clip, slice(0, overlap)), select(clip, slice(kept, None))
    mixed = blend_clips(tail, head, _ease(overlap))
    body = select(clip, slice(overlap, kept))
    return join(mixed, body).replace(meta={**clip.meta, "loop": True})


def _without_drift(clip: MotionClip, period: int) -> MotionClip:
    """The root's travel and turn from frame 0 to frame ``period`` taken out evenly, so that a loop stays in place."""
    share = np.arange(len(clip)) / period
    drift = clip.transl[period] - clip.transl[0]
    world = aa_to_matrix(clip.global_orient)
    turn = heading(world[period]) - heading(world[0])
    turn = (turn + np.pi) % (2 * np.pi) - np.pi
    orient = matrix_to_aa(rotation_about("y", -turn * share) @ world)
    transl = clip.transl - share[:, None] * drift
    return clip.replace(global_orient=orient.astype(np.float32), transl=transl.astype(np.float32))


def repeat(clip: MotionClip, frames: int) -> MotionClip:
    """The looped clip repeated or cut to exactly ``frames`` frames; the root path carries on where it was.

    Raises:
        PipelineError: frame count out of range.
    """
    if not 1 <= frames <= MAX_FRAMES:
        raise PipelineError(f"{frames} frames were asked for, it must be 1 to {MAX_FRAMES}.")
    return select(clip, np.arange(frames) % len(clip))


def align(clip: MotionClip, reference: MotionClip) -> MotionClip:
    """Turn and move the clip so that its first frame has the heading and the place of ``reference``'s first frame."""
    own, wanted = aa_to_matrix(clip.global_orient[0]), aa_to_matrix(reference.global_orient[0])
    turn = rotation_about("y", heading(wanted) - heading(own))
    start = clip.transl[0]
    transl = (clip.transl - start) @ turn.T + reference.transl[0]
    orient = matrix_to_aa(turn @ aa_to_matrix(clip.global_orient))
    return clip.replace(transl=transl.astype(np.float32), global_orient=orient.astype(np.float32))


def join(a: MotionClip, b: MotionClip) -> MotionClip:
    """Two clips of one rate one after the other, meta of the first; a native expression survives if both have it."""
    both = a.expression is not None and b.expression is not None and a.expression.shape[1] == b.expression.shape[1]
    names = [*ROTATION_FIELDS, "transl", "arkit", *(["expression"] if both else [])]
    changes: dict[str, Array | None] = {n: np.concatenate([getattr(a, n), getattr(b, n)]) for n in names}
    if not both:
        changes["expression"] = None
    return a.replace(**changes, expression_space=a.expression_space if both else None)


def crossfade(a: MotionClip, b: MotionClip, seconds: float = 0.5) -> MotionClip:
    """``a`` then ``b`` (resampled to ``a``'s rate, aligned to where ``a`` ends), overlapping by ``seconds``.

    The overlap is at most half of the shorter clip. The result is no loop any more.

    Raises:
        PipelineError: the result would be too long.
    """
    b = resample(b, a.fps)
    if len(a) + len(b) > MAX_FRAMES:
        raise PipelineError(f"The joined motion has {len(a) + len(b)} frames, the most is {MAX_FRAMES}: shorten it.")
    overlap = min(round(seconds * a.fps), len(a) // 2, len(b) // 2)
    start = len(a) - overlap
    reference = select(a, slice(min(start, len(a) - 1), None))
    b = align(b, reference)
    joined = join(select(a, slice(0, start)), b) if start else b
    if overlap:
        mixed = blend_clips(reference, select(b, slice(0, overlap)), _ease(overlap))
        joined = join(join(select(a, slice(0, start)), mixed), select(b, slice(overlap, None)))
    meta = {k: v for k, v in a.meta.items() if k != "loop"}
    return joined.replace(meta={**meta, "parts": [a.meta.get("name", ""), b.meta.get("name", "")]})


def _ease(count: int) -> Array:
    """``count`` weights strictly between 0 and 1, smooth at both ends."""
    x = (np.arange(count) + 1.0) / (count + 1.0)
    return x * x * (3.0 - 2.0 * x)


def interpolate_to(start: Array, values: Array, weight: Array) -> Array:
    """Slerp from one pose ``start (..., 3)`` to a sequence ``values (F, ..., 3)`` with weights (F,)."""
    q0 = np.broadcast_to(aa_to_quat(start), (*values.shape[:-1], 4))
    t = np.broadcast_to(np.asarray(weight).reshape(-1, *(1,) * (values.ndim - 2)), values.shape[:-1])
    return quat_to_aa(slerp(q0, aa_to_quat(values), t))
