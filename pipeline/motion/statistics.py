"""Numbers that tell a natural motion from a robotic or a broken one, for presets and tracked clips alike."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from ..types import ROTATION_FIELDS, Array, MotionClip, PipelineError
from .kinematics import joint_positions, local_to_global
from .rotations import aa_to_matrix, matrix_to_aa, unroll
from .skeleton import ARKIT, INDEX, mean_joints

ARM_STATISTICS = frozenset(
    ["wrist_speed_median", "wrist_speed_95", "wrist_speed_max", "wrist_jerk_95", "wrist_jerk_max", "hand_range",
     "arm_turn_max", "finger_turn_max", "limit_max", "limit_share"]
)  # fmt: skip
HAND_IN_VIEW = 0.5
"""Share of the frames of a tracked clip in which the hand that is seen more must be seen, for arms to count."""


@dataclass(frozen=True)
class MotionStatistics:
    """Statistics of one clip on an average adult.

    Attributes:
        wrist_speed_median, wrist_speed_95, wrist_speed_max: metres per second, both hands.
        wrist_jerk_95, wrist_jerk_max: metres per second cubed.
        hand_range: largest extent of the wrists' paths, metres.
        arm_turn_max, finger_turn_max, head_turn_max, torso_turn_max: fastest joint, radians per second.
        chest_turn_95: turn of the chest in the room, radians per second.
        head_range, chest_range: largest extent of the head's angles and of the chest's in the room, degrees.
        jaw_median, jaw_max: jaw opening coefficient.
        blinks_per_minute: closings of the left lid.
        limit_max: furthest that a joint goes beyond its limit, degrees.
        limit_share: share of all joint angles that are more than 2 degrees beyond their limit.
    """

    wrist_speed_median: float
    wrist_speed_95: float
    wrist_speed_max: float
    wrist_jerk_95: float
    wrist_jerk_max: float
    hand_range: float
    arm_turn_max: float
    finger_turn_max: float
    head_turn_max: float
    torso_turn_max: float
    chest_turn_95: float
    head_range: float
    chest_range: float
    jaw_median: float
    jaw_max: float
    blinks_per_minute: float
    limit_max: float
    limit_share: float

    def as_dict(self) -> dict[str, float]:
        """Plain values by name."""
        return asdict(self)


def joint_paths(clip: MotionClip) -> tuple[Array, Array]:
    """Local rotations (F, 55, 3, 3) of a clip, and its joints' places (F, 55, 3) on an average adult, metres."""
    local = local_rotations(clip)
    return local, joint_positions(local_to_global(local), mean_joints(), clip.transl)


def local_rotations(clip: MotionClip) -> Array:
    """Local rotations (F, 55, 3, 3) of a clip."""
    fields = [clip.global_orient[:, None], clip.body_pose, clip.jaw_pose[:, None], clip.leye_pose[:, None]]
    fields += [clip.reye_pose[:, None], clip.left_hand_pose, clip.right_hand_pose]
    return aa_to_matrix(np.concatenate(fields, axis=1))


def motion_statistics(clip: MotionClip, *, depth: bool = True) -> MotionStatistics:
    """Measure a clip of four frames or more (around its seam too, when it is a loop).

    Args:
        clip: what to measure.
        depth: False measures the wrists' ways as seen from the front. What one camera tells of depth trembles by
            centimetres, which would be most of what is measured of a quiet hand.

    Raises:
        PipelineError: fewer frames.
    """
    if len(clip) < 4:
        raise PipelineError(f"A clip of {len(clip)} frames has no statistics; take one of four frames or more.")
    looped = clip.meta.get("loop") is True
    local, joints = joint_paths(clip)
    wrists = joints[:, [INDEX["left_wrist"], INDEX["right_wrist"]], : 3 if depth else 2]
    velocity = _rate(wrists, clip.fps, looped)
    jerk = np.linalg.norm(_rate(_rate(velocity, clip.fps, looped), clip.fps, looped), axis=-1)
    speed = np.linalg.norm(velocity, axis=-1)
    turns = _turns(local, clip.fps, looped)
    head = np.degrees(np.ptp(clip.body_pose[:, INDEX["head"] - 1] + clip.body_pose[:, INDEX["neck"] - 1], axis=0))
    jaw = clip.arkit[:, ARKIT.index("jawOpen")]
    lid = clip.arkit[:, ARKIT.index("eyeBlinkLeft")] > 0.5
    chest = local_to_global(local)[:, INDEX["spine3"]]
    chest_path = matrix_to_aa(chest[0].T @ chest)
    excess = limit_excess(clip)
    return MotionStatistics(
        wrist_speed_median=float(np.median(speed)),
        wrist_speed_95=float(np.percentile(speed, 95)),
        wrist_speed_max=float(speed.max()),
        wrist_jerk_95=float(np.percentile(jerk, 95)),
        wrist_jerk_max=float(jerk.max()),
        hand_range=float(np.ptp(wrists, axis=0).max()),
        chest_turn_95=float(np.percentile(_turn_speed(chest, clip.fps, looped), 95)),
        head_range=float(head.max()),
        chest_range=float(np.degrees(np.ptp(chest_path, axis=0)).max()),
        jaw_median=float(np.median(jaw)),
        jaw_max=float(jaw.max()),
        blinks_per_minute=float(np.sum(lid[1:] & ~lid[:-1]) * 60.0 / clip.duration),
        limit_max=float(np.degrees(excess.max())),
        limit_share=float((np.degrees(excess) > 2.0).mean()),
        **turns,
    )


def unseen_statistics(clip: MotionClip) -> frozenset[str]:
    """Names of the statistics that say nothing of a tracked clip: those of arms when hardly a hand was in view."""
    seen = clip.meta.get("seen")
    hands = [seen.get(f"{side}_hand") for side in ("left", "right")] if isinstance(seen, dict) else []
    if not hands or max(h if isinstance(h, (int, float)) else 1.0 for h in hands) >= HAND_IN_VIEW:
        return frozenset()
    return ARM_STATISTICS


def limit_excess(clip: MotionClip) -> Array:
    """How far each joint angle is beyond its limit (F, 51, 3), radians, 0 within; body joints, then both hands."""
    from pipeline.body.limits import joint_limits

    lower, upper = joint_limits()
    rows = [*range(1, 22), *range(25, 55)]
    angles = np.concatenate([clip.body_pose, clip.left_hand_pose, clip.right_hand_pose], axis=1)
    return np.maximum(np.maximum(angles - upper[rows], lower[rows] - angles), 0.0)


def _rate(values: Array, fps: float, looped: bool) -> Array:
    """Change per second, around the loop's seam when ``looped``."""
    if looped:
        return (np.roll(values, -1, axis=0) - values) * fps
    return np.diff(values, axis=0) * fps


def _turn_speed(rotations: Array, fps: float, looped: bool) -> Array:
    """Turning speed (F or F - 1, ...) of rotations (F, ..., 3, 3), radians per second."""
    following = np.roll(rotations, -1, axis=0) if looped else rotations[1:]
    present = rotations if looped else rotations[:-1]
    return np.linalg.norm(matrix_to_aa(np.swapaxes(present, -1, -2) @ following), axis=-1) * fps


def _turns(local: Array, fps: float, looped: bool) -> dict[str, float]:
    speed = _turn_speed(local, fps, looped)
    arms = [INDEX[f"{s}_{j}"] for s in ("left", "right") for j in ("collar", "shoulder", "elbow", "wrist")]
    groups = {
        "arm": arms,
        "finger": list(range(25, 55)),
        "head": [INDEX["neck"], INDEX["head"]],
        "torso": [INDEX[f"spine{i}"] for i in (1, 2, 3)],
    }
    return {f"{name}_turn_max": float(speed[:, ids].max()) for name, ids in groups.items()}


def low_pass(clip: MotionClip, hertz: float) -> MotionClip:
    """Body, place and face without what is quicker than ``hertz`` (Gaussian, half the power left there; no delay).

    Tracked frames tremble by a degree, authored ones do not: only what is slower than the tremor can be compared.
    """
    sigma = np.sqrt(np.log(2.0)) / (2.0 * np.pi * hertz) * clip.fps
    mode = "wrap" if clip.meta.get("loop") is True else "nearest"
    changes = {name: gaussian_filter1d(getattr(clip, name), sigma, axis=0, mode=mode) for name in ("transl", "arkit")}
    for name in ROTATION_FIELDS:
        slow = gaussian_filter1d(unroll(getattr(clip, name)), sigma, axis=0, mode=mode)
        changes[name] = slow.astype(np.float32)
    return clip.replace(**changes)


def windows(clip: MotionClip, seconds: float) -> list[MotionClip]:
    """A clip in pieces of equal length, about ``seconds`` long, so that long and short clips can be compared."""
    from .edit import select

    count = max(1, round(clip.duration / seconds))
    edges = np.linspace(0, len(clip), count + 1).round().astype(int)
    plain = clip.replace(meta={**clip.meta, "loop": False}) if count > 1 else clip
    return [select(plain, slice(a, b)) for a, b in zip(edges[:-1], edges[1:], strict=True)]
