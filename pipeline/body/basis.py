"""The linear pieces of the open body: shape basis, joint regressor, facial actions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.body.names import ARKIT_INDEX, ARKIT_NAMES, JOINT_INDEX

EYE_LOOKS = tuple(name for name in ARKIT_NAMES if name.startswith("eyeLook"))


@dataclass(frozen=True)
class ShapeBasis:
    """``mean + dirs @ betas`` with betas of unit variance over the sampled people.

    Attributes:
        mean: (V, 3). dirs: (V, 3, n). explained: (n,) cumulative share of the weighted variance.
        residual_mm: root mean square distance that n components leave, per region name.
    """

    mean: np.ndarray
    dirs: np.ndarray
    explained: np.ndarray
    residual_mm: dict[str, float]


def fit_shape_basis(
    people: np.ndarray, vertex_weights: np.ndarray, n: int, regions: dict[str, np.ndarray]
) -> ShapeBasis:
    """Principal components of people (N, V, 3) in the metric of ``vertex_weights`` (V,).

    The sign of each component is fixed (its largest entry is positive), so that a build is reproducible.
    """
    mean = people.mean(0)
    centred = (people - mean).reshape(len(people), -1)
    metric = np.repeat(np.sqrt(vertex_weights), 3).astype(np.float32)
    weighted = centred * metric
    gram = (weighted @ weighted.T).astype(np.float64) / len(people)
    values, vectors = np.linalg.eigh(gram)
    values, vectors = values[::-1], vectors[:, ::-1]
    explained = np.cumsum(values)[:n] / values.sum()
    dirs = centred.T @ vectors[:, :n].astype(np.float32) / np.sqrt(len(people))
    dirs *= np.sign(dirs[np.abs(dirs).argmax(0), np.arange(n)])
    scores = weighted @ (dirs * metric[:, None]) / values[:n].astype(np.float32)
    left = (centred - scores @ dirs.T).reshape(people.shape)
    error = np.sqrt((left**2).sum(-1).mean(0))
    residual = {name: float(1000 * np.sqrt((error[mask] ** 2).mean())) for name, mask in regions.items()}
    return ShapeBasis(mean, dirs.reshape(*mean.shape, n), explained, residual)


def spread_choice(points: np.ndarray, centre: np.ndarray, near: int, count: int) -> np.ndarray:
    """``count`` of the ``near`` points nearest to ``centre``, far from one another (farthest-point sampling)."""
    order = np.argsort(((points - centre) ** 2).sum(1))[:near]
    chosen = [0]
    distance = ((points[order] - points[order[0]]) ** 2).sum(1)
    for _ in range(min(count, len(order)) - 1):
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, ((points[order] - points[order[chosen[-1]]]) ** 2).sum(1))
    return order[chosen]


def _rows(samples: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Linear system of all coordinates, relative to the samples' centre: (3N, K) and (3N,), metres."""
    centre = samples.mean(1, keepdims=True)
    a = (samples - centre).transpose(0, 2, 1).reshape(-1, samples.shape[1])
    return a.astype(np.float64), (wanted - centre[:, 0]).reshape(-1).astype(np.float64)


def convex_weights(samples: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Weights w >= 0 with sum 1 that bring ``samples`` (N, K, 3) closest to ``wanted`` (N, 3); (K,) float64."""
    from scipy.optimize import nnls

    a, b = _rows(samples, wanted)
    firm = 10.0 * np.sqrt(len(a)) * np.abs(a).max()
    weights, _ = nnls(np.concatenate([a, firm * np.ones((1, a.shape[1]))]), np.append(b, firm))
    return weights / weights.sum()


def fit_joint_regressor(
    people: np.ndarray, joints: np.ndarray, usable: np.ndarray, count: int = 60, near: int = 240
) -> np.ndarray:
    """Sparse convex joint regressor.

    Args:
        people: (N, V, 3) meshes. joints: (N, J, 3). usable: (V,) vertices that may serve.
        count: candidates per joint, spread out among the ``near`` nearest vertices.

    Returns:
        (J, V) float32, rows are convex combinations of at most ``count`` vertices around the joint.
    """
    ids = np.flatnonzero(usable)
    mean = people[:, ids].mean(0)
    out = np.zeros((joints.shape[1], people.shape[1]), np.float32)
    for j in range(joints.shape[1]):
        chosen = ids[spread_choice(mean, joints[:, j].mean(0), near, count)]
        out[j, chosen] = convex_weights(people[:, chosen], joints[:, j])
    return out


def refine_joint_regressor(
    regressor: np.ndarray, people: np.ndarray, joints: np.ndarray, pull: float = 1e-4
) -> np.ndarray:
    """Adapt a regressor (J, V) to other meshes of the same people: least squares near the given weights, sum 1."""
    out = np.zeros_like(regressor)
    for j, row in enumerate(regressor):
        chosen = np.flatnonzero(row)
        a, b = _rows(people[:, chosen], joints[:, j])
        gram = a.T @ a
        gram += pull * np.trace(gram) * np.eye(len(chosen))
        step, ones = np.linalg.solve(gram, np.stack([a.T @ (b - a @ row[chosen]), np.ones(len(chosen))], 1)).T
        out[j, chosen] = row[chosen] + step - ones * step.sum() / ones.sum()
    return out


def _fit_rotation(points: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """Axis-angle (3,) of the rotation about the origin that best carries points (K, 3) to moved (K, 3)."""
    from scipy.spatial.transform import Rotation

    return Rotation.align_vectors(moved, points)[0].as_rotvec()


@dataclass(frozen=True)
class Actions:
    """Facial actions split into joint rotations and displacements.

    Attributes:
        dirs: (V, 3, 52) displacements before skinning, what the joints do not do.
        jaw: (52, 3) axis-angle of the jaw per unit of action; leye, reye: (52, 3) of the eyes.
    """

    dirs: np.ndarray
    jaw: np.ndarray
    leye: np.ndarray
    reye: np.ndarray


def split_actions(
    actions: np.ndarray, template: np.ndarray, weights: np.ndarray, joints: np.ndarray, regions: dict[str, np.ndarray]
) -> Actions:
    """Let the jaw joint do jawOpen and the eye joints do eyeLook*, so that teeth, tongue and eyeballs stay rigid.

    Args:
        actions: (52, V, 3) the artist's displacements. template: (V, 3). weights: (V, 55). joints: (55, 3).
        regions: masks of lower_teeth, left_eyeball, right_eyeball.
    """
    from scipy.spatial.transform import Rotation

    dirs = actions.transpose(1, 2, 0).astype(np.float64)
    turns = {name: np.zeros((len(actions), 3)) for name in ("jaw", "left_eye_smplhf", "right_eye_smplhf")}
    k, teeth = ARKIT_INDEX["jawOpen"], regions["lower_teeth"]
    arm = template[teeth] - joints[JOINT_INDEX["jaw"]]
    turns["jaw"][k, 0] = _fit_rotation(arm, arm + actions[k, teeth])[0]
    rotation = Rotation.from_rotvec(turns["jaw"][k]).as_matrix()
    share = weights[:, JOINT_INDEX["jaw"]][:, None, None]
    pivot = joints[JOINT_INDEX["jaw"]]
    blended = np.eye(3) * (1 - share) + rotation * share
    wanted = template + actions[k] - share[..., 0] * (pivot - rotation @ pivot)
    dirs[..., k] = np.linalg.solve(blended, wanted[..., None])[..., 0] - template
    for side in ("left", "right"):
        ball, joint = regions[f"{side}_eyeball"], f"{side}_eye_smplhf"
        for name in EYE_LOOKS:
            k = ARKIT_INDEX[name]
            if name.endswith(side.capitalize()):
                arm = template[ball] - joints[JOINT_INDEX[joint]]
                turns[joint][k] = _fit_rotation(arm, arm + actions[k, ball])
        dirs[ball] = 0.0
    return Actions(dirs, turns["jaw"], turns["left_eye_smplhf"], turns["right_eye_smplhf"])
