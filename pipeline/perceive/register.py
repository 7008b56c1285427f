"""Registration of the body model to 2D detections, one photo or a whole video at once.

Staged optimisation in the spirit of SMPLify-X (Pavlakos et al. 2019): camera and root first, then body, hands, face
and shape, with robust reprojection, weak 3D direction terms, a silhouette term, joint limits and priors. All residuals
are in metres on the person's plane, so that one set of weights serves every picture size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pipeline.body import BodyModel, joint_limits
from pipeline.config import REGISTER_STATE, RegisterConfig, Stage
from pipeline.perceive import newton
from pipeline.perceive import targets as T
from pipeline.perceive.dense import Anchors, DenseTargets
from pipeline.perceive.initial import initial_state
from pipeline.perceive.order import armless_faces, front_depth, sunken
from pipeline.perceive.points import PosedPoints
from pipeline.perceive.targets import Targets
from pipeline.pixels import distance_to
from pipeline.types import Array, BodyParams, Camera

if TYPE_CHECKING:
    from pipeline.perceive.likeness import Likeness

LEGS = (0, 1, 3, 4, 6, 7, 9, 10)
"""Rows of ``body_pose`` from hip to toes."""
STATE = REGISTER_STATE
"""Per-frame unknowns, each with a leading frame axis; ``betas`` (B,) is shared."""


@dataclass(frozen=True)
class Registration:
    """Registered bodies of F frames.

    Attributes:
        state: arrays with a leading frame axis (see ``STATE``).
        betas: (B,).
        face: native ``expression``, ``jaw_pose``, ``leye_pose``, ``reye_pose`` per frame, from ``arkit``.
        points: (F, N_POINTS, 2) projected landmarks, pixels.
    """

    state: dict[str, Array]
    betas: Array
    face: dict[str, Array]
    points: Array

    def __len__(self) -> int:
        return len(self.points)

    def select(self, index: Array) -> Registration:
        """The bodies of some frames."""
        state, face = ({k: v[index] for k, v in values.items()} for values in (self.state, self.face))
        return Registration(state, self.betas, face, self.points[index])

    def frame(self, index: int) -> BodyParams:
        """Parameters of one frame."""
        pose = {k: v[index] for k, v in self.state.items() if k != "arkit"}
        return BodyParams(betas=self.betas, **pose, **{k: v[index] for k, v in self.face.items()})

    def acting(self, arkit: Array, body: BodyModel) -> Registration:
        """The same bodies with other faces: ARKit coefficients ``arkit`` (F, 52). ``points`` stay as they were."""
        face = {k: v.numpy() for k, v in FaceRig(body)(torch.from_numpy(arkit)).items()}
        return replace(self, state={**self.state, "arkit": arkit}, face=face)


class FaceRig:
    """The linear map from ARKit coefficients to a body's ``expression``, jaw and eyes."""

    def __init__(self, body: BodyModel) -> None:
        zero = body.arkit_to_params(np.zeros((1, 52), np.float32))
        unit = body.arkit_to_params(np.eye(52, dtype=np.float32))
        self.matrices = {k: torch.from_numpy(np.asarray(unit[k] - zero[k], np.float32)) for k in unit}

    def __call__(self, arkit: Tensor) -> dict[str, Tensor]:
        """(F, 52) -> native parameters, each (F, n)."""
        return {k: arkit @ matrix for k, matrix in self.matrices.items()}


class LandmarkModel:
    """Posed landmarks of the body (face, hands, pose), in the order of :mod:`targets`, and any further points."""

    def __init__(self, body: BodyModel, extra: Anchors | None = None) -> None:
        self.rig = FaceRig(body)
        names = ("mediapipe_face", "mediapipe_left_hand", "mediapipe_right_hand", "mediapipe_pose")
        parts = [body.landmarks[name] for name in names]
        extra = extra or Anchors.of_vertices(np.zeros(0, np.int64))
        width = max(*(p.vertex_ids.shape[1] for p in parts), extra.vertex_ids.shape[1])

        def pad(values: Array) -> Array:
            return np.pad(np.asarray(values), ((0, 0), (0, width - values.shape[1])))

        ids = np.concatenate([*(pad(p.vertex_ids) for p in parts), pad(extra.vertex_ids)])
        mix = np.concatenate([*(pad(p.weights) for p in parts), pad(extra.mix)])
        self.points = PosedPoints(body, ids, mix)
        self.move(np.concatenate([np.zeros((T.N_POINTS, 3)), extra.offsets]))

    def __call__(self, state: dict[str, Tensor], betas: Tensor) -> tuple[Tensor, Tensor]:
        """Landmarks (F, N_POINTS, 3) and extra points (F, S, 3), world."""
        expression, pose = self._pose(state)
        points = self.points(betas, expression, pose, state["transl"])
        return points[:, : T.N_POINTS], points[:, T.N_POINTS :]

    def rotations(self, state: dict[str, Tensor], betas: Tensor) -> Tensor:
        """Blended rotations (F, N_POINTS + S, 3, 3) of landmarks and extra points."""
        return self.points.rotations(betas, *self._pose(state))

    def move(self, offsets: Array) -> None:
        """Shift the first points by (n, 3) canonical metres."""
        rest = self.points.count - len(offsets)
        self.points = self.points.shifted(torch.from_numpy(np.pad(offsets, ((0, rest), (0, 0)))).float())

    def _pose(self, state: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Expression (F, E) and pose (F, 55, 3)."""
        face = self.rig(state["arkit"])
        parts = [
            state["global_orient"][:, None], state["body_pose"], face["jaw_pose"][:, None],
            face["leye_pose"][:, None], face["reye_pose"][:, None], state["left_hand_pose"], state["right_hand_pose"],
        ]  # fmt: skip
        return face["expression"], torch.cat(parts, 1)


def _silhouette_vertices(body: BodyModel, every: int = 12) -> Array:
    """A thin, even sample of trunk and limb vertices (clothes are outside of them, never inside)."""
    inside = np.zeros(len(body.v_template), bool)
    for name in ("torso", "left_arm", "right_arm", "left_hand", "right_hand", "legs"):
        if name in body.regions:
            inside |= np.asarray(body.regions[name])
    return np.flatnonzero(inside)[::every]


def robust(squared: Tensor, cut: float) -> Tensor:
    """Geman-McClure: quadratic near zero, saturating at cut^2."""
    return squared * cut**2 / (squared + cut**2)


def robust_weight(squared: Tensor, cut: float) -> Tensor:
    """The slope of :func:`robust`."""
    return (cut**2 / (squared + cut**2)) ** 2


def project(points: Tensor, camera: Camera) -> Tensor:
    """World points (..., 3) to pixels (..., 2), differentiable."""
    view = torch.from_numpy(camera.viewmat)
    cam = points @ view[:3, :3].T + view[:3, 3]
    z = cam[..., 2:].clamp(min=0.05)
    K = torch.from_numpy(camera.K)
    return cam[..., :2] / z * torch.stack([K[0, 0], K[1, 1]]) + K[:2, 2]


def _group_shares(weights: Tensor) -> Tensor:
    """What each point counts in :func:`_group_mean`, (F, n)."""
    total = weights.sum(-1, keepdim=True)
    return weights / total.clamp(min=1e-6) * total.clamp(max=1.0)


def _group_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Per-frame weighted mean, scaled down when few points of the group are seen; summed over frames."""
    return (values * _group_shares(weights)).sum()


def _point_weights() -> Tensor:
    """What each landmark counts within its group, (N_POINTS,)."""
    weights = torch.ones(T.N_POINTS)
    weights[list(T.LIPS)] = 2.5
    weights[list(T.EYES)] = 2.5
    weights[list(T.IRISES)] = 3.0
    weights[list(T.FACE_CONTOUR)] = 0.4
    return weights


class Energy:
    """The registration energy of fixed targets; call it with the unknowns."""

    def __init__(
        self, targets: Targets, camera: Camera, body: BodyModel, init: dict[str, Tensor], config: RegisterConfig,
        outside: Tensor | None = None, betas_prior: Tensor | None = None, dense: DenseTargets | None = None,
        likeness: Likeness | None = None,
    ) -> None:  # fmt: skip
        self.targets, self.camera, self.config, self.dense = targets, camera, config, dense
        skin = _silhouette_vertices(body) if outside is not None else np.zeros(0, np.int64)
        self.n_skin = len(skin)
        extra = Anchors.of_vertices(skin)
        self.landmarks = LandmarkModel(body, extra if dense is None else extra.joined(dense.spots))
        depth = (-init["transl"][:, 2]).detach()
        self.metres = (depth / float(camera.K[0, 0]))[:, None]
        self.outside = outside
        self.body, self.fronts, self.faces = body, None, armless_faces(body)
        self.betas_prior = betas_prior
        lower, upper = joint_limits()
        self.lower, self.upper = torch.as_tensor(lower).float(), torch.as_tensor(upper).float()
        self.point_weights = _point_weights()
        self.pose_mean, self.pose_sigma = _pose_prior()
        self.hand_mean, self.hand_sigma = _hand_prior()
        self.arkit_mean = torch.zeros(52)
        if likeness is not None:
            self._know(likeness)
        self.trunk = self.targets.trunk()

    def _know(self, likeness: Likeness) -> None:
        """A person who is known from a photo: landmarks where the detectors see them, priors about the photo's pose."""
        self.landmarks.move(likeness.offsets)
        self.targets = likeness.corrected(self.targets)
        known = {k: torch.from_numpy(v[0]) for k, v in likeness.state.items()}
        self.pose_mean, self.arkit_mean = known["body_pose"], known["arkit"]
        self.pose_sigma[list(LEGS)] = self.config.sigma_known_legs
        for side, name in enumerate(("left_hand_pose", "right_hand_pose")):
            if likeness.hands[side]:
                self.hand_mean[side] = known[name]

    def __call__(self, state: dict[str, Tensor], betas: Tensor, stage: Stage) -> Tensor:
        points, extra = self.landmarks(state, betas)
        seen = self.targets if "body_pose" in stage.free else self.trunk
        total = self.reprojection(points, seen) + self.directions(points, seen)
        total = total + self.priors(state, betas, stage.prior) + self.smoothness(state)
        if stage.silhouette and self.outside is not None:
            total = total + stage.silhouette * self.silhouette(extra[:, : self.n_skin])
        if self.fronts is not None:
            pixels, depth = project(points, self.camera), self._depth(points)
            total = total + self.config.weight_order * sunken(points, pixels, depth, self.fronts, self.targets)
        if self.dense is not None:
            total = total + self.dense_alignment(extra[:, self.n_skin :], self.dense)
        return total

    def look_at_order(self, state: dict[str, Tensor], betas: Tensor) -> None:
        """Draw the front of the body as it stands now, for the depth order of what follows."""
        with torch.no_grad():
            native = self.landmarks.rig(state["arkit"])
            pose = {k: v for k, v in state.items() if k != "arkit"}
            maps, step = [], self.config.order_step
            for start in range(0, len(self.targets), 16 * step):
                part = slice(start, start + 16 * step, step)
                fields = {k: v[part] for k, v in (pose | native).items()}
                shape = betas[None].expand(len(fields["transl"]), -1)
                maps.append(front_depth(self.body(betas=shape, **fields).vertices.numpy(), self.faces, self.camera))
        self.fronts = torch.cat(maps).repeat_interleave(step, 0)[: len(self.targets)]

    def _depth(self, points: Tensor) -> Tensor:
        view = torch.from_numpy(self.camera.viewmat)
        return points @ view[2, :3] + view[2, 3]

    def dense_alignment(self, anchors: Tensor, dense: DenseTargets) -> Tensor:
        """Anchors go where optical flow saw them, and with the outline."""
        c, pixels = self.config, project(anchors, self.camera)
        squared = ((pixels - dense.points) ** 2).sum(-1) * self.metres**2
        flow = c.weight_dense * _group_mean(robust(squared, c.cut_dense), dense.weights)
        if dense.normals is None:
            return flow / c.sigma_dense**2
        across = ((pixels * dense.normals).sum(-1) - dense.edges) ** 2 * self.metres**2
        edge = c.weight_edge * _group_mean(robust(across, c.cut_dense), dense.edge_weights)
        return (flow + edge) / c.sigma_dense**2

    def curvature(self, state: dict[str, Tensor], betas: Tensor, stage: Stage) -> Array:
        """Gauss-Newton curvature (F, n, n) of the terms that hold place and pose, see :mod:`.newton`.

        Left out are bone directions, silhouette, joint limits and depth order, which are small or one-sided.
        """
        expression, pose = self.landmarks._pose(state)
        model, blocks = self.landmarks.points, []
        for first in range(0, len(pose), newton.BATCH):
            part = slice(first, first + newton.BATCH)
            with torch.no_grad():
                points = model(betas, expression[part], pose[part], state["transl"][part])
                held = self._information(points, part)
                which = torch.nonzero(held.amax((0, 2, 3)) > 0)[:, 0]
                rows = newton.seen_rows(held[:, which], points[:, which], self.camera)
                blocks.append(newton.curvature(model, betas, expression[part], pose[part], rows, which))
        out = torch.cat(blocks).numpy().astype(np.float64)
        places = np.arange(newton.SIZE)[-self.pose_sigma.numel() :]
        out[:, places, places] += 2 * stage.prior / self.pose_sigma.numpy().ravel() ** 2
        return out

    def _information(self, points: Tensor, part: slice) -> Tensor:
        """Second derivatives of the energy by the pixels of points (f, L, 3) of some frames, (f, L, 2, 2)."""
        c, t, metres = self.config, self.targets, 2 * self.metres[part] ** 2
        pixels = project(points, self.camera)

        def gain(away: Tensor, seen: Tensor, cut: float) -> Tensor:
            return _group_shares(seen) * robust_weight(0.5 * (away**2).sum(-1) * metres, cut) * metres

        away, held = pixels[:, : T.N_POINTS] - t.points[part], torch.zeros(points.shape[:2])
        for where, weight, cut in self._landmark_terms():
            seen = t.weights[part, where] * self.point_weights[where]
            held[:, where] = weight * gain(away[:, where], seen, cut)
        out = held[..., None, None] * torch.eye(2)
        d, rest = self.dense, slice(T.N_POINTS + self.n_skin, None)
        if d is not None:
            flow = c.weight_dense * gain(pixels[:, rest] - d.points[part], d.weights[part], c.cut_dense)
            out[:, rest] = flow[..., None, None] * torch.eye(2)
        if d is not None and d.normals is not None and d.edges is not None and d.edge_weights is not None:
            normal = d.normals[part]
            across = (pixels[:, rest] * normal).sum(-1) - d.edges[part]
            edge = c.weight_edge * gain(across[..., None], d.edge_weights[part], c.cut_dense)
            out[:, rest] += edge[..., None, None] * normal[..., None] * normal[..., None, :]
        out[:, rest] /= c.sigma_dense**2
        return out

    def coupling(self) -> Array:
        """How strongly place and pose of neighbouring frames are tied, (n,), see :func:`.newton.solve_frames`."""
        out = np.full(newton.SIZE, self.config.smooth_pose)
        out[:3] = self.config.smooth_transl
        return out

    def _landmark_terms(self) -> tuple[tuple[slice, float, float], ...]:
        """Each group of landmarks, how much it counts, and where its robust loss saturates (metres)."""
        c = self.config
        hand = c.weight_hand / c.sigma_hand**2
        return (
            (T.FACE, 0.1 * c.weight_face / c.sigma_face**2, c.cut_face),
            (T.POSE, c.weight_body / c.sigma_body**2, c.cut_body),
            (T.LEFT_HAND, hand, c.cut_hand),
            (T.RIGHT_HAND, hand, c.cut_hand),
        )

    def reprojection(self, points: Tensor, t: Targets) -> Tensor:
        squared = ((project(points, self.camera) - t.points) ** 2).sum(-1) * self.metres**2
        total = torch.zeros(())
        for where, weight, cut in self._landmark_terms():
            seen = t.weights[:, where] * self.point_weights[where]
            total = total + weight * _group_mean(robust(squared[:, where], cut), seen)
        return total

    def directions(self, points: Tensor, t: Targets) -> Tensor:
        c = self.config
        body = points[:, T.POSE]
        a, b = (torch.tensor([pair[k] for pair in T.BODY_BONES]) for k in (0, 1))
        gains = torch.tensor([c.weight_trunk_direction if bone in T.TRUNK_BONES else c.weight_body_direction
                              for bone in T.BODY_BONES])  # fmt: skip
        total = _misalignment(body[:, b] - body[:, a], t.body_dirs, t.body_dir_weights * gains)
        a, b = (torch.tensor([pair[k] for pair in T.HAND_BONES]) for k in (0, 1))
        for side, where in enumerate((T.LEFT_HAND, T.RIGHT_HAND)):
            hand = points[:, where]
            weights = t.hand_dir_weights[:, side, None].expand(-1, len(T.HAND_BONES)) / len(T.HAND_BONES)
            bones = hand[:, b] - hand[:, a]
            total = total + c.weight_hand_direction * _misalignment(bones, t.hand_dirs[:, side], weights)
        return total

    def priors(self, state: dict[str, Tensor], betas: Tensor, gain: float) -> Tensor:
        c = self.config
        total = (((state["body_pose"] - self.pose_mean) / self.pose_sigma) ** 2).sum()
        hands = torch.stack([state["left_hand_pose"], state["right_hand_pose"]], 1)
        total = total + (((hands - self.hand_mean) / self.hand_sigma) ** 2).sum()
        total = gain * (total + c.weight_arkit * ((state["arkit"] - self.arkit_mean) ** 2).sum())
        pose = torch.cat([state["body_pose"], state["left_hand_pose"], state["right_hand_pose"]], 1)
        rows = torch.tensor([*range(1, 22), *range(25, 55)])
        over = (pose - self.upper[rows]).clamp(min=0) + (self.lower[rows] - pose).clamp(min=0)
        total = total + c.weight_limits * (over**2).sum()
        offset = betas if self.betas_prior is None else betas - self.betas_prior
        return total + c.weight_betas * len(self.targets) * (offset**2).sum()

    def smoothness(self, state: dict[str, Tensor]) -> Tensor:
        c = self.config
        if len(self.targets) < 3:
            return torch.zeros(())
        gains = {
            "global_orient": c.smooth_pose, "body_pose": c.smooth_pose, "left_hand_pose": c.smooth_hand,
            "right_hand_pose": c.smooth_hand, "arkit": c.smooth_arkit, "transl": c.smooth_transl,
        }  # fmt: skip
        total = torch.zeros(())
        for name, gain in gains.items():
            x = state[name]
            total = total + gain * ((x[2:] - 2 * x[1:-1] + x[:-2]) ** 2).sum()
            total = total + 0.02 * gain * ((x[1:] - x[:-1]) ** 2).sum()
        return total

    def silhouette(self, skin: Tensor) -> Tensor:
        """Skin may not leave the matte: squared distance (metres) of sampled vertices outside of it (one frame)."""
        assert self.outside is not None
        c, t = self.config, self.targets
        uv = project(skin, self.camera)
        grid = uv / torch.tensor([t.width, t.height]) * 2 - 1
        distance = torch.nn.functional.grid_sample(
            self.outside[None, None], grid[:, None], align_corners=False, padding_mode="border"
        )[:, 0, 0]
        inside = ((grid.abs() < 1).all(-1)).float()
        squared = (distance * self.metres) ** 2 * inside
        return c.weight_silhouette * robust(squared, 0.05).mean(-1).sum() / 0.01**2 * 10


def _misalignment(bones: Tensor, directions: Tensor, weights: Tensor) -> Tensor:
    cosine = (torch.nn.functional.normalize(bones, dim=-1, eps=1e-6) * directions).sum(-1)
    return ((1 - cosine) * weights).sum()


def _pose_prior() -> tuple[Tensor, Tensor]:
    """Mean (arms hanging) and standard deviation, radians, of the 21 body joints."""
    mean = torch.zeros(21, 3)
    mean[15, 2], mean[16, 2] = -1.15, 1.15
    sigma = torch.full((21, 3), 0.35)
    for joints, value in (
        ((0, 1), 0.3), ((2, 5, 8), 0.12), ((3, 4), 0.4), ((6, 7, 9, 10), 0.15), ((11, 14), 0.3), ((12, 13), 0.15),
        ((15, 16), 0.9), ((17, 18), 1.0), ((19, 20), 0.4),
    ):  # fmt: skip
        sigma[list(joints)] = value
    return mean, sigma


def _hand_prior() -> tuple[Tensor, Tensor]:
    """Relaxed curl of both hands (2, 15, 3), and its deviation (twist, spread, bend in finger axes)."""
    mean = torch.zeros(2, 15, 3)
    mean[0, :12, 2], mean[1, :12, 2] = -0.25, 0.25
    sigma = torch.tensor([0.08, 0.15, 0.6]).repeat(15, 1)
    sigma[1:12:3, :2] *= 0.4
    sigma[2:12:3, :2] *= 0.4
    sigma[12:] = 0.35
    return mean, sigma


def register(
    targets: Targets,
    body: BodyModel,
    camera: Camera,
    config: RegisterConfig | None = None,
    *,
    init: dict[str, Array] | None = None,
    betas: Array | None = None,
    fixed_shape: bool = False,
    alpha: Array | None = None,
    dense: DenseTargets | None = None,
    likeness: Likeness | None = None,
    progress: Callable[[float], None] | None = None,
) -> Registration:
    """Find the body parameters that explain the detections.

    Args:
        targets: F frames of detections.
        body: body model.
        camera: camera of the pictures (its pose is the world).
        config: energy weights and stages.
        init: per-frame start (see ``STATE``); from the detections when absent.
        betas: (B,) start of the shape, and its prior mean.
        fixed_shape: keep ``betas``.
        alpha: (H, W) matte of a single photo, for the silhouette term.
        dense: anchors seen in the pictures (:mod:`pipeline.perceive.dense`).
        likeness: the same person, known from a photo (:mod:`pipeline.perceive.likeness`).
        progress: called with the share done, 0..1.

    Returns:
        The registration; deterministic.
    """
    config = config or RegisterConfig()
    start = initial_state(targets, body, camera) if init is None else init
    state = {k: torch.tensor(np.asarray(start[k]), dtype=torch.float32) for k in STATE}
    shape = torch.zeros(body.n_betas) if betas is None else torch.tensor(betas, dtype=torch.float32)
    prior = None if betas is None else shape.clone()
    energy = Energy(targets, camera, body, state, config, _outside_distance(alpha), prior, dense, likeness)
    stages = [s for s in config.stages if s.iterations or s.newton]
    total, done = sum(s.iterations for s in stages), 0
    for stage in stages:
        unknowns = {k: v.requires_grad_(k in stage.free) for k, v in state.items()}
        shape.requires_grad_("betas" in stage.free and not fixed_shape)
        leaves = [v for v in (*unknowns.values(), shape) if v.requires_grad]
        if stage.order:
            energy.look_at_order(state, shape)
        optimiser = torch.optim.Adam(leaves, lr=stage.learning_rate, betas=(0.9, 0.98))
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, stage.iterations, stage.learning_rate * 0.2)
        for _ in range(stage.iterations):
            optimiser.zero_grad(set_to_none=True)
            energy(state, shape, stage).backward()
            optimiser.step()
            schedule.step()
            with torch.no_grad():
                state["arkit"].clamp_(0.0, 1.0)
                shape.clamp_(-4.0, 4.0)
            done += 1
            if progress is not None:
                progress(done / total)
        if stage.newton:
            newton.newton_steps(energy, state, shape, stage)
    return _finish(energy, {k: v.detach() for k, v in state.items()}, shape.detach(), camera)


def _outside_distance(alpha: Array | None) -> Tensor | None:
    """Distance to the matte in pixels, 0 inside."""
    if alpha is None:
        return None
    return torch.from_numpy(distance_to(alpha >= 0.5).astype(np.float32))


def _finish(energy: Energy, state: dict[str, Tensor], betas: Tensor, camera: Camera) -> Registration:
    with torch.no_grad():
        points, _ = energy.landmarks(state, betas)
        native = energy.landmarks.rig(state["arkit"])
        uv = project(points, camera)
    return Registration(
        {k: v.numpy() for k, v in state.items()}, betas.numpy(), {k: v.numpy() for k, v in native.items()}, uv.numpy()
    )
