"""Measure a body's landmarks on pictures of it: ``python -m pipeline.body.calibrate`` rewrites ``data/landmarks.npz``.

MediaPipe's idea of a hip, a wrist or an eyelid differs from SMPL-X's joints and from hand-picked vertices. Shown
plain Lambert pictures of the body, it says itself where its points are; cast back to the mesh and averaged over
views, shapes and poses they become exact correspondences. What it does not find is taken from anatomy.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from pipeline.body import anatomy
from pipeline.body.calibrate_face import calibrate_face
from pipeline.body.calibrate_joints import calibrate_hands, calibrate_pose
from pipeline.body.landmarks import FACE68_FROM_MEDIAPIPE, MEDIAPIPE_TO_COCO17
from pipeline.body.model import BodyModel, Landmarks, pack_landmarks

Array = np.ndarray
_POSE_ON_FACE = {
    "nose": 1,
    "left_eye_inner": 362,
    "left_eye": 473,
    "left_eye_outer": 263,
    "right_eye_inner": 133,
    "right_eye": 468,
    "right_eye_outer": 33,
    "mouth_left": 291,
    "mouth_right": 61,
}
"""Points of MediaPipe Pose that are points of the face mesh (pupils at the iris centres)."""


def dense_rows(marks: Landmarks, count: int) -> Array:
    """Landmarks as dense rows (L, count)."""
    rows = np.zeros((len(marks.names), count), np.float32)
    np.add.at(rows, (np.arange(len(rows))[:, None], marks.vertex_ids), marks.weights)
    return rows


def assemble(
    body: BodyModel, face: Landmarks, hands: dict[str, Landmarks], points: dict[str, Array]
) -> dict[str, Landmarks]:
    """All landmark sets from the face, both hands and named rows (V,) of body points."""
    face_rows = dense_rows(face, body.n_vertices)
    points = points | {name: face_rows[i] for name, i in _POSE_ON_FACE.items()}
    pose = np.stack([points[name] for name in anatomy.POSE_NAMES])
    feet = ("left_foot_index", "left_small_toe", "left_heel", "right_foot_index", "right_small_toe", "right_heel")
    hand_rows = {side: dense_rows(hands[side], body.n_vertices) for side in ("left", "right")}
    whole = np.concatenate(
        [
            pose[list(MEDIAPIPE_TO_COCO17)],
            np.stack([points[name] for name in feet]),
            face_rows[list(FACE68_FROM_MEDIAPIPE)],
            hand_rows["left"],
            hand_rows["right"],
        ]
    )
    names = (
        *(anatomy.POSE_NAMES[i] for i in MEDIAPIPE_TO_COCO17),
        *feet,
        *(f"face68_{i}" for i in range(68)),
        *(f"{side}_hand_{name}" for side in ("left", "right") for name in anatomy.HAND_NAMES),
    )
    return {
        "mediapipe_face": face,
        "mediapipe_left_hand": hands["left"],
        "mediapipe_right_hand": hands["right"],
        "mediapipe_pose": Landmarks(anatomy.POSE_NAMES, *anatomy.compact(pose)),
        "coco_wholebody": Landmarks(names, *anatomy.compact(whole)),
    }


def calibrate(body: BodyModel, seed: int = 5) -> tuple[dict[str, Array], dict]:
    """Measure all landmark sets of ``body``.

    Returns:
        Arrays for an ``.npz`` (see :func:`pipeline.body.model.pack_landmarks`) and statistics.
    """
    face, face_stats = calibrate_face(body, seed)
    vertices, joints = anatomy.posed_samples(body)
    rows = anatomy.joint_rows(body, vertices, joints)
    points = anatomy.pose_rows(body, rows)
    hands, hand_stats = calibrate_hands(body, rows, seed)
    measured, pose_stats = calibrate_pose(body, seed)
    arrays = pack_landmarks(assemble(body, face, hands, points | measured))
    return arrays, {"face": face_stats, "hands": hand_stats, "pose": pose_stats}


def main() -> None:
    """Rewrite the landmark data of the open body."""
    from pipeline.body.build import DATA
    from pipeline.body.cache import write_atomically
    from pipeline.body.model import load_body

    arrays, stats = calibrate(load_body())
    arrays["stats"] = np.array(json.dumps(stats))
    write_atomically(Path(DATA), lambda path: np.savez_compressed(path, **arrays))
    print(json.dumps(stats, indent=1))


if __name__ == "__main__":
    main()
