"""From tracked frames to a motion: gaps bridged, cuts joined, jitter taken out, and all of it told in the meta.

The smoothing is the One-Euro filter (Casiez, Roussel and Vogel 2012): a low pass whose cut-off rises with speed, so
that a hand at rest does not tremble. Run forwards and backwards it has no delay, and since the speed is held for a
moment, the turning point of a beat, where the speed is nought, is not rounded off.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter1d, maximum_filter1d
from scipy.signal import find_peaks

from ..types import ROTATION_FIELDS, Array, MotionClip, PipelineError
from .curves import min_jerk
from .rotations import aa_to_quat, quat_conjugate, quat_multiply, quat_to_aa, slerp
from .skeleton import INDEX
from .statistics import joint_paths

HAND_FIELDS = {"left_hand": ("left_hand_pose",), "right_hand": ("right_hand_pose",)}
FACE_FIELDS = ("jaw_pose", "leye_pose", "reye_pose", "arkit")
BRIDGE_SECONDS = 0.6
"""Unseen hands and faces are bridged this long; after that they rest until they are seen again."""
REST_SECONDS = 0.3
"""How long they take to come to rest, and how long a join at a cut takes."""
HOLD_SECONDS = 0.33
"""How long a filter stays open around a fast moment."""
MAX_LISTED = 100
BEAT_METRES, BEAT_SECONDS = 0.03, 1.0
"""Smallest up and down of a wrist that counts as a beat, and the longest one."""


@dataclass(frozen=True)
class OneEuro:
    """Cut-off at rest in Hz, and how many Hz more per unit of speed (rad/s, m/s or coefficient per second)."""

    rest: float
    per_speed: float


SMOOTHING: dict[str, dict[str, OneEuro]] = {
    "off": {},
    "light": {
        "rotations": OneEuro(2.0, 6.0), "hands": OneEuro(1.8, 4.0), "transl": OneEuro(1.5, 25.0),
        "arkit": OneEuro(4.0, 8.0),
    },
    "strong": {
        "rotations": OneEuro(1.0, 3.0), "hands": OneEuro(0.8, 2.0), "transl": OneEuro(0.7, 12.0),
        "arkit": OneEuro(2.0, 5.0),
    },
}  # fmt: skip
"""What ``--smooth`` offers; docs/motion.md says what each leaves of beats and jerk."""


@dataclass(frozen=True)
class Seen:
    """What the detectors saw of F frames, each (F,) bool."""

    person: Array
    face: Array
    left_hand: Array
    right_hand: Array

    def shares(self) -> dict[str, float]:
        """Share of the frames in which each part was seen."""
        return {name: round(float(np.mean(values)), 3) for name, values in vars(self).items()}


def finish(clip: MotionClip, seen: Seen, cuts: tuple[int, ...] = (), smooth: str = "light") -> MotionClip:
    """Make a motion of tracked frames.

    Args:
        clip: one pose per frame, made up where nothing was seen.
        seen: what was seen.
        cuts: numbers of the frames that begin a new shot.
        smooth: "off", "light" or "strong".

    Returns:
        The motion; ``meta`` gains ``seen`` (shares), ``gaps`` (seconds without the person), ``cuts`` (seconds) and
        ``smoothing`` (its name, the share of beats' height that is left, the share of jerk that is left).

    Raises:
        PipelineError: an unknown kind of smoothing.
    """
    if smooth not in SMOOTHING:
        raise PipelineError(f"There is no smoothing '{smooth}'; use {', '.join(SMOOTHING)}.")
    bridged = join_cuts(bridge(clip, seen), cuts)
    smoothed = one_euro(bridged, SMOOTHING[smooth])
    meta: dict[str, Any] = {**clip.meta, "seen": seen.shares(), "smoothing": {"kind": smooth}}
    meta["gaps"] = [[round(a / clip.fps, 3), round(b / clip.fps, 3)] for a, b in runs(~seen.person)[:MAX_LISTED]]
    meta["cuts"] = [round(cut / clip.fps, 3) for cut in cuts[:MAX_LISTED]]
    if smooth != "off" and len(clip) > 8:
        meta["smoothing"] |= compare(bridged, smoothed)
    return smoothed.replace(meta=meta)


def runs(mask: Array) -> list[tuple[int, int]]:
    """First and one-past-last index of every run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(mask, np.int8), [0]])))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def bridge(clip: MotionClip, seen: Seen) -> MotionClip:
    """Frames without the person, and hands and faces that are hidden for a moment, filled from before and after."""
    changes = {name: np.array(getattr(clip, name)) for name in (*ROTATION_FIELDS, "transl", "arkit")}
    parts = [(HAND_FIELDS["left_hand"], seen.left_hand), (HAND_FIELDS["right_hand"], seen.right_hand)]
    for names, visible in [*parts, (FACE_FIELDS, seen.face)]:
        if visible.any():
            for name in names:
                _fill(changes[name], ~visible, name, clip.fps, BRIDGE_SECONDS)
    if seen.person.any():
        for name, values in changes.items():
            _fill(values, ~seen.person, name, clip.fps, np.inf)
    return clip.replace(**changes)


def _fill(values: Array, missing: Array, name: str, fps: float, longest: float) -> None:
    """Fill the missing frames of one field in place: from edge to edge, or over a rest in the made-up pose."""
    rest = max(1, round(REST_SECONDS * fps))
    for a, b in runs(missing):
        before = values[a - 1 : a] if a else values[b : b + 1]
        after = values[b : b + 1] if b < len(values) else before
        if (b - a) / fps <= longest:
            values[a:b] = _mix(before, after, min_jerk(np.arange(1, b - a + 1) / (b - a + 1)), name)
            continue
        if a:
            stop = min(a + rest, b)
            values[a:stop] = _mix(before, values[a:stop], min_jerk(np.arange(1, stop - a + 1) / rest), name)
        if b < len(values):
            start = max(b - rest, a)
            values[start:b] = _mix(after, values[start:b], min_jerk(np.arange(b - start, 0, -1) / rest), name)


def _mix(a: Array, b: Array, share: Array, name: str) -> Array:
    """From ``a`` (share 0) to ``b`` (share 1), frames first, one or as many as ``share``; rotations by slerp."""
    if name not in ROTATION_FIELDS:
        t = share.reshape(-1, *(1,) * (a.ndim - 1))
        return a + t * (b - a)
    return quat_to_aa(slerp(aa_to_quat(a), aa_to_quat(b), share.reshape(-1, *(1,) * (a.ndim - 2))))


def join_cuts(clip: MotionClip, cuts: tuple[int, ...]) -> MotionClip:
    """Each shot begins in the last pose of the one before and leaves it within 0.3 s; the place carries on."""
    changes = {name: np.array(getattr(clip, name)) for name in (*ROTATION_FIELDS, "transl", "arkit")}
    rest = max(1, round(REST_SECONDS * clip.fps))
    for cut in cuts:
        end = min(cut + rest, len(clip))
        left = 1.0 - min_jerk(np.arange(1, end - cut + 1) / (rest + 1))
        changes["transl"][cut:] += changes["transl"][cut - 1] - changes["transl"][cut]
        for name, values in changes.items():
            if name == "transl":
                continue
            t = left.reshape(-1, *(1,) * (values.ndim - 1))
            if name == "arkit":
                values[cut:end] += t * (values[cut - 1] - values[cut])
                continue
            q = aa_to_quat(values[cut - 1 : end])
            jump = quat_to_aa(quat_multiply(q[0], quat_conjugate(q[1])))
            values[cut:end] = quat_to_aa(quat_multiply(aa_to_quat(t * jump), q[1:]))
    changes["arkit"] = np.clip(changes["arkit"], 0.0, 1.0)
    return clip.replace(**{name: values.astype(np.float32) for name, values in changes.items()})


def one_euro(clip: MotionClip, filters: dict[str, OneEuro]) -> MotionClip:
    """The clip with every field filtered (see :data:`SMOOTHING`); an empty table changes nothing."""
    if not filters or len(clip) < 3:
        return clip
    changes = {}
    for name in ROTATION_FIELDS:
        q = aa_to_quat(getattr(clip, name))
        flips = np.where(np.sum(q[1:] * q[:-1], axis=-1, keepdims=True) < 0, -1.0, 1.0)
        q[1:] *= np.cumprod(flips, axis=0)
        q = _filtered(q, clip.fps, filters["hands" if "hand" in name else "rotations"], 2.0)
        changes[name] = quat_to_aa(q / np.linalg.norm(q, axis=-1, keepdims=True)).astype(np.float32)
    changes["transl"] = _filtered(clip.transl[:, None], clip.fps, filters["transl"], 1.0)[:, 0].astype(np.float32)
    arkit = _filtered(clip.arkit[..., None], clip.fps, filters["arkit"], 1.0)[..., 0]
    changes["arkit"] = np.clip(arkit, 0.0, 1.0).astype(np.float32)
    return clip.replace(**changes)


def _filtered(x: Array, fps: float, filter_: OneEuro, unit: float) -> Array:
    """One-Euro both ways over (F, ..., C); ``unit`` turns the length of a change into the filter's unit of speed."""
    x = np.asarray(x, np.float64)
    speed = unit * fps * np.linalg.norm(np.gradient(x, axis=0), axis=-1, keepdims=True)
    held = maximum_filter1d(speed, max(1, round(HOLD_SECONDS * fps)) | 1, axis=0)
    cutoff = filter_.rest + filter_.per_speed * held
    keep = 1.0 / (1.0 + 2.0 * np.pi * cutoff / fps)
    for order in (range(1, len(x)), range(len(x) - 2, -1, -1)):
        out = x.copy()
        step = -1 if order.step > 0 else 1
        for i in order:
            out[i] = keep[i] * out[i + step] + (1.0 - keep[i]) * x[i]
        x = out
    return x


def compare(before: MotionClip, after: MotionClip) -> dict[str, float]:
    """What a filter left of the wrists' motion.

    Returns:
        ``beats`` (how many were looked at), ``beats_kept`` (median share of their height that is left, when there are
        any) and ``jerk_left`` (share of the mean jerk).
    """
    wrists = [INDEX["left_wrist"], INDEX["right_wrist"]]
    a, b = (joint_paths(clip)[1][:, wrists, 1] for clip in (before, after))
    ways = [(side, sign) for side in (0, 1) for sign in (1, -1)]
    kept = [share for side, sign in ways for share in _kept(sign * a[:, side], sign * b[:, side], before.fps)]
    jerk = [float(np.abs(np.diff(x, 3, axis=0)).mean()) for x in (a, b)]
    result: dict[str, float] = {"beats": len(kept), "jerk_left": round(jerk[1] / max(jerk[0], 1e-12), 3)}
    return result | ({"beats_kept": round(float(np.median(kept)), 3)} if kept else {})


def _kept(before: Array, after: Array, fps: float) -> list[float]:
    """Share of each upward beat's height in metres that is left; tremor (found by a short average) is no beat."""
    window, near = max(3, round(BEAT_SECONDS * fps)) | 1, max(1, round(0.08 * fps))
    calm = gaussian_filter1d(before, 0.04 * fps)
    shares = []
    for peak in find_peaks(calm, prominence=BEAT_METRES, wlen=window)[0]:
        heights = []
        for path in (before, after):
            part = slice(max(peak - near, 0), peak + near + 1)
            top = part.start + int(np.argmax(path[part]))
            around = path[max(top - window // 2, 0) : top + window // 2 + 1]
            split = min(top, window // 2)
            heights.append(path[top] - max(around[: split + 1].min(), around[split:].min()))
        shares.append(min(heights[1] / max(heights[0], 1e-9), 1.0))
    return shares
