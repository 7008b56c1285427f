"""The Gaussian stage: L = L_SC + L_diff + L_S over colours, scales, dX and dT (paper section 3.4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pipeline.avatar import geometry as geo
from pipeline.avatar import losses, model
from pipeline.avatar.attach import HIDDEN, LID, LOOSE, TIGHT, Samples
from pipeline.avatar.below import BLUR
from pipeline.avatar.initial import PosedBody, Scene
from pipeline.avatar.rim import SOFT
from pipeline.avatar.shape_field import ShapeField
from pipeline.config import FitConfig
from pipeline.perceive.matte import contrast
from pipeline.perceptual.structural import PerceptualLoss, structural_loss
from pipeline.render.backends import REPEATABLE, REPEATABLE_MASKS, pick_backend
from pipeline.render.budget import PairBudget
from pipeline.types import BodyParams, Camera, PseudoLabel

if TYPE_CHECKING:
    from pipeline.body import BodyModel

LABELS_KEPT = 24
"""Labels whose posing is kept in memory (20 MB each for half a million Gaussians); further ones are posed anew."""
SOLID, SOLID_ARM, SOLID_SOFT_ARM = 0.5, 0.75, 0.97
"""Opacity of the matte from which on a pixel teaches colour on white, see :class:`View`; arms turn most, and would show
as a bright line what their rim had learnt from a half-transparent pixel, most of all in a much enlarged photo."""
SOLID_ALIKE, ALIKE, AROUND = 0.97, 0.15, 0.03
"""The same where person and ground differ by less than the second in every channel (a white rim would show before a
dark wall, and the ground's colour does no harm), and how far around is compared, in parts of the picture's height."""
SIGHT = 0.04
"""Share of a splat, of what it would cover alone, from which on its colour is learnt from the photo."""
GREY = 0.91
"""Behind the avatar in pictures of the running fit."""
MESH_EVERY = 5
"""The mesh terms of L_SC move slowly and are evaluated every so many steps (with so many times the weight)."""


@dataclass(frozen=True)
class Fields:
    """What is optimised: dX (N, 3), dT (V, 3), log_scale (N,), rgb (N, 3)."""

    dX: Tensor
    dT: Tensor
    log_scale: Tensor
    rgb: Tensor

    def damped(self, share: Tensor) -> Fields:
        """The same values; what gradient reaches a Gaussian (dX, scale, colour) is scaled by ``share`` (N,)."""
        s = share[:, None]
        return Fields(
            torch.lerp(self.dX.detach(), self.dX, s),
            self.dT,
            torch.lerp(self.log_scale.detach(), self.log_scale, share),
            torch.lerp(self.rgb.detach(), self.rgb, s),
        )


@dataclass(frozen=True)
class View:
    """A picture to be matched: target (H, W, 3), alpha (H, W), camera, body parameters.

    Where the matte is ``solid`` both target and render lie on white, so that the person is as opaque as the matte says.
    Elsewhere the target is the person's own colour continued over the edge, and so is ``backdrop`` (H, W, 3): what
    leaks there costs alpha loss, but teaches no splat the colour of a background. ``valid`` (H, W) is
    0 where nothing is known or may be taught.
    """

    target: Tensor
    backdrop: Tensor
    alpha: Tensor
    valid: Tensor
    camera: Camera
    params: BodyParams

    def to(self, device: torch.device) -> View:
        """The same with its pictures on a device."""
        pictures = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **pictures)


class Posing:
    """Eq. 5 for a fixed pose: ``means = M (Bary(T) + dX) + t`` with the blended transforms evaluated once.

    Everything lies on the device of ``bary``; the body itself is evaluated on the CPU. ``budget`` is for drawing the
    pose again and again.
    """

    def __init__(
        self, body: BodyModel, params: BodyParams, corners: Tensor, bary: Tensor, index: Tensor, weight: Tensor
    ):
        with torch.no_grad():
            vertices, joints = model.canonical_mesh(body, params)
            A = model.skinning_transforms(body, params, joints)
            vertices, A, weights = (x.to(bary.device) for x in (vertices, A, body.lbs_weights))
            blended = model.blend(A, index, weight)
            self.linear = blended[:, :, :3].contiguous()
            self.offset = _turned(self.linear, model.barycentric(vertices, corners, bary)) + blended[:, :, 3]
            dense = (weights @ A.reshape(len(A), 12)).reshape(-1, 3, 4)
            self.mesh_linear = dense[:, :, :3].contiguous()
            self.mesh_offset = model.skin_dense(vertices, A, weights)
        self.budget = PairBudget()

    def gaussians(self, dX: Tensor) -> Tensor:
        """World means (N, 3)."""
        return self.offset + _turned(self.linear, dX)

    def mesh(self, dT: Tensor) -> Tensor:
        """World mesh (V, 3), Eq. 4."""
        return self.mesh_offset + _turned(self.mesh_linear, dT)


def _turned(matrices: Tensor, vectors: Tensor) -> Tensor:
    """(N, 3, 3) times (N, 3); column by column, because a card multiplies many small matrices slowly."""
    x, y, z = vectors.split(1, 1)
    return matrices[:, :, 0] * x + matrices[:, :, 1] * y + matrices[:, :, 2] * z


def solid_pixels(
    samples: Samples, camera: Camera, alpha: np.ndarray, arm_least: float = SOLID_ARM, reach: int = 7,
    alike: np.ndarray | None = None,
) -> np.ndarray:  # fmt: skip
    """Pixels (H, W) bool that teach colour on white: above SOLID, within ``reach`` of an arm above ``arm_least``, and
    above SOLID_ALIKE where person and ground look ``alike`` (H, W) bool."""
    from scipy import ndimage

    mine = np.isin(samples.group, (geo.LEFT_ARM, geo.RIGHT_ARM)) & np.isin(samples.kind, (TIGHT, LOOSE))
    xy, _ = camera.project(samples.point[mine])
    arm = np.zeros(alpha.shape, bool)
    arm[tuple(np.clip(xy[:, ::-1].astype(int), 0, np.array(alpha.shape) - 1).T)] = True
    least = np.where(ndimage.binary_dilation(arm, np.ones((reach, reach))), arm_least, SOLID)
    return alpha > (least if alike is None else np.where(alike, np.maximum(least, SOLID_ALIKE), least))


def crop_view(
    image: np.ndarray, alpha: np.ndarray, valid: np.ndarray | None, camera: Camera, params: BodyParams,
    solid: np.ndarray | None = None, margin: int = 12,
) -> View:  # fmt: skip
    """A view cut to the person: fewer pixels to draw. ``image`` (H, W, 3), ``alpha`` (H, W), ``valid`` (H, W) 0..1,
    ``solid`` (H, W) bool, see :class:`View` (None: alpha above SOLID)."""
    rows, cols = np.nonzero((alpha if valid is None else alpha * valid) > 0.05)
    h, w = alpha.shape
    if len(rows) == 0:
        rows, cols = np.array([0, h - 1]), np.array([0, w - 1])
    r0, r1 = max(rows.min() - margin, 0), min(rows.max() + margin + 1, h)
    c0, c1 = max(cols.min() - margin, 0), min(cols.max() + margin + 1, w)
    a = torch.from_numpy(np.ascontiguousarray(alpha[r0:r1, c0:c1], dtype=np.float32))
    picture = torch.from_numpy(np.ascontiguousarray(image[r0:r1, c0:c1], dtype=np.float32))
    known = torch.ones_like(a) if valid is None else torch.from_numpy(valid[r0:r1, c0:c1].astype(np.float32))
    full = alpha > SOLID if solid is None else solid
    inside = torch.from_numpy(full[r0:r1, c0:c1].astype(np.float32))[..., None]
    white = torch.ones_like(picture)
    target = torch.lerp(picture, torch.lerp(white, picture, a[..., None]), inside)
    backdrop = torch.lerp(picture, white, inside)
    return View(target, backdrop, a, known, camera.cropped(int(c0), int(r0), int(c1 - c0), int(r1 - r0)), params)


class GaussianStage:
    """Optimises the fields of one avatar.

    Args:
        body: body model. samples: initial Gaussians. dX (N, 3), dT (V, 3): initial fields. scene: the photo.
        labels: further pictures for L_diff. perceptual: the loss between them and renders (Eq. 9), on ``device``.
        guessed: (N,) 0 where the photo shows a Gaussian .. 1 where it does not, before labels; that of ``samples`` if
            None. device: where to optimise; see :func:`pipeline.render.choose_device`.

    Attributes:
        rasteriser: what draws the Gaussians. done: steps that are behind.
    """

    _drawn: tuple[Tensor, Tensor] | None = None

    def __init__(
        self, body: BodyModel, posed: PosedBody, samples: Samples, dX: np.ndarray, dT: np.ndarray, scene: Scene,
        params: BodyParams, config: FitConfig, labels: Sequence[PseudoLabel] = (),
        perceptual: PerceptualLoss = structural_loss, guessed: np.ndarray | None = None,
        device: torch.device | str = "cpu",
    ):  # fmt: skip
        self.body, self.config, self.perceptual = body, config, perceptual
        self.device, self.done = torch.device(device), 0
        self.corners = torch.from_numpy(np.asarray(body.faces)[samples.face]).to(self.device)
        self.bary = torch.from_numpy(samples.bary).to(self.device)
        self.index = torch.from_numpy(samples.skin_index.astype(np.int64)).to(self.device)
        self.weight = torch.from_numpy(samples.skin_weight).to(self.device)
        values = dX.astype(np.float32), dT.astype(np.float32), np.log(samples.scale), samples.rgb.copy()
        self.fields = Fields(*(torch.from_numpy(x).to(self.device).requires_grad_() for x in values))
        self.rasteriser = pick_backend(None, self.fields.dX, REPEATABLE)
        self.mask_rasteriser = pick_backend(None, self.fields.dX, REPEATABLE_MASKS)
        lids = samples.kind == LID
        taught = ~np.isin(samples.kind, (HIDDEN, LID))
        self.free = torch.from_numpy(taught.astype(np.float32)).to(self.device)[:, None]
        share = np.maximum(samples.guessed if guessed is None else guessed, config.label_seen)
        share[lids] = config.label_seen  # they have the median of all labels; single flawed ones would spoil it
        self.teachable = torch.from_numpy(share.astype(np.float32)).to(self.device)
        self.start = Fields(*(x.detach().clone() for x in vars(self.fields).values()))
        self.held = torch.from_numpy((samples.kind != LOOSE).astype(np.float32)).to(self.device)
        self.gap = self.start.dX - self._bary_dT(self.start.dT)
        self.laplacian = losses.NeighbourLaplacian(samples.neighbours, self.device)
        least = SOLID_SOFT_ARM if scene.enlarged > SOFT else SOLID_ARM
        alike = contrast(scene.alpha, scene.image, AROUND * len(scene.alpha)) < ALIKE
        solid = solid_pixels(samples, scene.camera, scene.alpha, least, alike=alike)
        view = crop_view(scene.foreground, scene.alpha, scene.valid, scene.camera, params, solid)
        self.photo = view.to(self.device)
        self.posing = self._posing(params)
        self.free = self.free * self.in_sight()[:, None]
        self.labels, self.labels_kept = list(labels), self._labels_kept()
        if not labels:  # nothing shows the folded lids, nor what an arm hides
            self.fields.rgb.register_hook(lambda gradient: gradient * self.free)
        self.label_views: dict[int, tuple[View, Posing]] = {}
        filmed = any(label.filmed for label in self.labels)
        trunk = geo.region(body, "torso")
        self.shape = ShapeField(np.asarray(body.faces), len(dT), self.device, trunk) if filmed else None
        self.turn = np.random.default_rng(config.seed).permutation(len(self.labels))
        self._prepare_mesh()

    def _posing(self, params: BodyParams) -> Posing:
        return Posing(self.body, params, self.corners, self.bary, self.index, self.weight)

    def _labels_kept(self) -> int:
        """How many labels to keep ready: LABELS_KEPT, or what half of a card's free memory holds."""
        if self.device.type != "cuda":
            return LABELS_KEPT
        floats = 12 * (len(self.bary) + len(self.fields.dT)) + 8 * self.photo.alpha.numel()
        return max(LABELS_KEPT, torch.cuda.mem_get_info(self.device)[0] // (2 * 4 * floats))

    def _bary_dT(self, dT: Tensor) -> Tensor:
        return model.barycentric(dT, self.corners, self.bary)

    def _prepare_mesh(self) -> None:
        faces = np.asarray(self.body.faces)
        self.faces = torch.from_numpy(faces).to(self.device)
        self.pairs = torch.from_numpy(losses.face_pairs(faces)).to(self.device)
        with torch.no_grad():
            self.creases = losses.crease(self.posing.mesh(self.start.dT), self.faces, self.pairs)

    def optimizer(self) -> torch.optim.Adam:
        """Adam (0.9, 0.999) with one rate per field; steps shorter than the paper's schedule decay to a tenth."""
        c, f = self.config, self.fields
        groups = [
            {"params": [f.dX], "lr": c.lr_offsets},
            {"params": [f.dT], "lr": c.lr_offsets},
            {"params": [f.log_scale], "lr": c.lr_log_scale},
            {"params": [f.rgb], "lr": c.lr_rgb},
        ]
        if self.shape is not None:
            groups.append({"params": [self.shape.raw], "lr": c.lr_shape})
        return torch.optim.Adam(groups, betas=c.adam_betas, fused=self.device.type == "cuda")

    def resume(self, fields: Fields, done: int) -> None:
        """Go on from what another stage of the same person had reached after ``done`` steps."""
        with torch.no_grad():
            for mine, reached in zip(vars(self.fields).values(), vars(fields).values(), strict=True):
                mine.copy_(reached)
            if self.shape is not None:  # it is in the fields that were reached
                self.shape.raw.zero_()
        self.done = done

    def picture(self) -> np.ndarray | None:
        """The avatar on grey as the last step drew it for the photo's view, (h, w, 3) uint8; None before a step."""
        if self._drawn is None:
            return None
        image, alpha = self._drawn
        image = image + (1 - alpha)[..., None] * (GREY - self.photo.backdrop)
        small = torch.nn.functional.interpolate(image.permute(2, 0, 1)[None], scale_factor=0.5, mode="area")[0]
        return (small.permute(1, 2, 0).clamp(0, 1) * 255).round().to("cpu", torch.uint8).numpy()

    def reached(self) -> Fields:
        """A copy of the fields as they are now, on the CPU."""
        return Fields(*(x.detach().to("cpu", copy=True) for x in vars(self.shaped()).values()))

    def shaped(self) -> Fields:
        """The fields with the shared correction of the shape."""
        if self.shape is None:
            return self.fields
        offsets = self.shape()
        f = self.fields
        return replace(f, dX=f.dX + self._bary_dT(offsets), dT=f.dT + offsets)

    def run(self, tick: Callable[[float], None]) -> Fields:
        """Optimise until ``config.steps`` steps are done; ``tick`` hears the share done and may raise to cancel.

        On a card nothing in the loop waits for it (but for every fiftieth :class:`PairBudget`).
        """
        steps, first = self.config.steps, self.done
        optimizer = self.optimizer()
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: 0.1 ** ((first + i) / max(steps, 1)))
        for step in range(first, steps):
            self.done = step
            tick(step / steps)
            optimizer.zero_grad(set_to_none=True)
            self.loss(step).backward()
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                self.fields.rgb.clamp_(0, 1)
                lowest = self.start.log_scale - 1.2
                self.fields.log_scale.copy_(
                    torch.minimum(torch.maximum(self.fields.log_scale, lowest), self.start.log_scale + 0.5)
                )
        self.done = steps
        return self.reached()

    def loss(self, step: int) -> Tensor:
        """L = L_SC + L_diff + L_S (Eq. 7) at one step."""
        total = self.photo_loss() + self.consistency_loss()
        if step % MESH_EVERY == 0:
            total = total + MESH_EVERY * self.mesh_loss()
        if self.labels and step >= self.config.label_start * self.config.steps:
            total = total + self.label_loss(step)
        return total

    def draw(self, posing: Posing, view: View, fields: Fields | None = None) -> tuple[Tensor, Tensor]:
        """The Gaussians over the view's backdrop (H, W, 3), and their alpha (H, W)."""
        from pipeline.render import rasterize_gaussians

        f = fields or self.fields
        splats = posing.gaussians(f.dX), f.log_scale.exp(), f.rgb
        out = rasterize_gaussians(*splats, view.camera, backend=self.rasteriser, budget=posing.budget)
        return out.image + (1 - out.alpha)[..., None] * view.backdrop, out.alpha

    def in_sight(self) -> Tensor:
        """Gaussians of which the photo shows enough to learn their colour from, (N,) 0 or 1.

        Adam takes full steps however small a gradient is, so the hidden side of an arm, of which a trace shines through
        at its rim, would end in strong wrong colours that the next pose brings to light.
        """
        f, camera = self.fields, self.photo.camera
        image, _ = self.draw(self.posing, self.photo)
        shown = torch.autograd.grad(image[..., 0].sum(), f.rgb)[0][:, 0]
        with torch.no_grad():
            view = torch.as_tensor(camera.viewmat, device=self.device)
            depth = self.posing.gaussians(f.dX) @ view[2, :3] + view[2, 3]
            width = f.log_scale.exp() * float(camera.K[0, 0]) / depth.clamp_min(1e-3)
            return (shown > SIGHT * 2 * torch.pi * (width**2 + BLUR)).to(shown.dtype)

    def photo_loss(self) -> Tensor:
        """L_S (Eq. 10)."""
        c = self.config
        photo = self.photo
        f = self.shaped()
        if self.labels:  # only they teach the colour of unfolded lids and of what an arm hides
            f = replace(f, rgb=torch.lerp(f.rgb.detach(), f.rgb, self.free))
        image, alpha = self.draw(self.posing, photo, f)
        self._drawn = image.detach(), alpha.detach()
        image = torch.lerp(photo.target, image, photo.valid[..., None])
        l1, ssim, mask = losses.photo_losses(image, alpha * photo.valid, photo.target, photo.alpha)
        return c.lambda_RGB * l1 + c.lambda_SSIM * ssim + c.lambda_alpha * mask

    def consistency_loss(self) -> Tensor:
        """L_MGC and L_lap of L_SC (Eq. 8): deviations from where the Gaussians were attached."""
        c, f = self.config, self.fields
        total = c.lambda_MGC * losses.mesh_gaussian_consistency(f.dX - self.gap, self._bary_dT(f.dT), self.held)
        change = torch.cat([(f.dX - self.start.dX) * 100.0, (f.log_scale - self.start.log_scale)[:, None], f.rgb], 1)
        reference = torch.cat([torch.zeros_like(change[:, :4]), self.start.rgb], 1)
        return total + c.lambda_lap * self.laplacian(change, reference)

    def mesh_loss(self) -> Tensor:
        """L_normal and L_M of L_SC (Eq. 8) on the deformed mesh."""
        from pipeline.render import mesh_mask

        c = self.config
        vertices = self.posing.mesh(self.shaped().dT)
        bent = losses.normal_consistency(vertices, self.faces, self.pairs, self.creases)
        mask = mesh_mask(vertices, np.asarray(self.body.faces), self.photo.camera, backend=self.mask_rasteriser)
        return c.lambda_normal * bent + c.lambda_M * losses.mask_loss(mask * self.photo.valid, self.photo.alpha)

    def label_loss(self, step: int) -> Tensor:
        """L_diff (Eq. 9) of one pseudo-label, in turn; beside it L_S (Eq. 10) where the label is a real picture.

        Outside the label's weight the render is replaced by the target, so that nothing there is taught. A generated
        label teaches what the photo shows only a little, see ``FitConfig.label_seen``. Half-transparent pixels of a
        filmed label (motion blur, hair) teach no colour: it is mixed with the background there.
        """
        which = int(self.turn[step % len(self.turn)])
        label, (view, posing) = self.labels[which], self._label_view(which)
        fields = self.shaped()
        image, alpha = self.draw(posing, view, fields if label.filmed else fields.damped(self.teachable))
        mixed = (view.alpha > 0.1) & (view.alpha < 0.9) & label.filmed
        image = torch.lerp(view.target, image, (view.valid * ~mixed)[..., None])
        c, weight = self.config, view.alpha * view.valid
        loss = c.lambda_LPIPS * self.perceptual(image, view.target, weight)
        if label.filmed:
            alpha = torch.lerp(view.alpha, alpha, view.valid)
            l1, ssim, mask = losses.photo_losses(image, alpha, view.target, view.alpha)
            loss = c.filmed_weight * (loss + c.lambda_RGB * l1 + c.lambda_SSIM * ssim + c.lambda_alpha * mask)
        return label.confidence * loss

    def _label_view(self, which: int) -> tuple[View, Posing]:
        if which not in self.label_views:
            label = self.labels[which]
            view = crop_view(label.image, label.alpha, label.weight, label.camera, label.params).to(self.device)
            if len(self.label_views) >= self.labels_kept:
                self.label_views.popitem()
            self.label_views[which] = (view, self._posing(label.params))
        return self.label_views[which]
