"""Every hyper-parameter once: the paper's symbol, its section, and the value we use.

The paper is "One Shot, One Talk: Whole-body Talking Avatar from a Single Image" (arXiv 2412.01106).

**The lost loss weight.** Its text names eight weights (lambda_normal, lambda_M, lambda_MGC, lambda_lap, lambda_LPIPS,
lambda_RGB, lambda_SSIM, lambda_alpha) and prints seven values (1e-2, 1e-1, 1e2, 2e-1, 8e-1, 1e-1, 4e-1). We take
**lambda_LPIPS** as the missing one: read in order, the others then fall on sensible places (lambda_RGB = 0.8 as in
every 3DGS recipe, lambda_lap = 0.2), and ours is 0.2. docs/ablation.md cannot tell it from lambda_RGB or lambda_alpha.
Had any of the first three been lost, a weight of 1e2 would stand before the Laplacian of colours and blur them.

**lambda_MGC** is 1e1 and not the printed 1e2: it multiplies an L1 of metres, that is about 1e-3, and holds
photo-aligned Gaussians where they were attached. On synthetic people (seeds that chose nothing else) and on filmed ones
the smaller weight is better (docs/ablation.md).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Literal

Quality = Literal["fast", "default", "full"]
STEPS: dict[str, int] = {"fast": 32, "default": 150, "full": 5000}
"""Optimisation steps of the Gaussian stage."""
LABEL_STEP = 2000
"""Step of the full schedule at which L_diff enters (section 3.4); shorter schedules are scaled."""


FOOTAGE_STEPS, FOOTAGE_RATE, FOOTAGE_OFFSETS = 4, 5e-4, 2e-4
"""Steps added per filmed label; in short schedules the learning rates of the shape that they correct and of dX, dT."""


@dataclass(frozen=True)
class FitConfig:
    """How an avatar is fitted; ``FitConfig.preset(quality)`` gives the three settings that users choose from.

    Attributes (paper symbol, section in brackets):
        quality, seed: name of the preset; seed of every random choice.
        layout: "adaptive" (photo-aligned Gaussians over an adaptive surface layer) or "uv" (the paper's, section 3.4).
        uv_size: resolution of the UV map (512, section 3.4: about 150,000 Gaussians).
        surface_samples: Gaussians of the surface layer of the adaptive layout.
        max_pixels: most photo-aligned Gaussians; beyond it flat areas are merged more eagerly.
        working_height: the photo is fitted at this height in pixels at most (1024, section 4.1: 576 x 1024).
        steps: optimisation steps of the Gaussian stage.
        label_start: share of ``steps`` after which L_diff enters (step 2000 of the full schedule, section 3.4).
        label_seen: share of a generated label's gradient that reaches Gaussians that the photo shows. 1 is the paper's;
            we let the photo rule where it can see (docs/ablation.md).
        filmed_weight: what a filmed label counts against the photo, which is in every step. More teaches other poses
            better and costs the photo's own view (docs/labels.md).
        lambda_*: loss weights, see the module text [lambda_normal, lambda_M, lambda_MGC, lambda_lap, lambda_LPIPS,
            lambda_RGB, lambda_SSIM, lambda_alpha; section 3.4].
        adam_betas: (0.9, 0.999) [section 3.4].
        lr_offsets: learning rate of dX and dT, 1e-4 [section 3.4].
        lr_shape: that of the shape which filmed labels correct, see :mod:`pipeline.avatar.shape_field` (ours).
        lr_rgb, lr_log_scale: those of the reference 3DGS (feature 2.5e-3 in spherical-harmonic units, which is
            2.5e-3 * 0.282 per unit of colour: raised here because a fit of tens of steps replaces one of 30,000).
        max_dT: bound of the mesh field in metres (clothes and hair).
        splat_pixels: scale of a photo-aligned Gaussian in units of its pixel's footprint.
        band_pixels: half-width, at 1024 rows, of the band around inner depth edges in which parts are re-labelled by
            colour.
        perceptual: the distance of L_diff: LPIPS with either network, the structural one, or "auto" for LPIPS-VGG
            where its weights are and the structural one elsewhere (docs/ablation.md).
        fill_hidden: paint what front parts hide (torso behind a hand) by exemplar inpainting.
    """

    quality: Quality = "default"
    seed: int = 0
    layout: Literal["adaptive", "uv"] = "adaptive"
    uv_size: int = 512
    surface_samples: int = 110_000
    max_pixels: int = 330_000
    working_height: int = 1024
    steps: int = 150
    label_start: float = LABEL_STEP / STEPS["full"]
    label_seen: float = 0.1
    filmed_weight: float = 2.0
    lambda_normal: float = 1e-2
    lambda_M: float = 1e-1
    lambda_MGC: float = 1e1
    lambda_lap: float = 2e-1
    lambda_LPIPS: float = 2e-1
    lambda_RGB: float = 8e-1
    lambda_SSIM: float = 1e-1
    lambda_alpha: float = 4e-1
    adam_betas: tuple[float, float] = (0.9, 0.999)
    lr_offsets: float = 1e-4
    lr_shape: float = 1e-4
    lr_rgb: float = 2.5e-2
    lr_log_scale: float = 5e-3
    max_dT: float = 0.08
    splat_pixels: float = 0.34
    band_pixels: float = 8.0
    perceptual: Literal["auto", "structural", "squeeze", "vgg"] = "auto"
    fill_hidden: bool = True

    @staticmethod
    def preset(quality: Quality = "default", seed: int = 0) -> FitConfig:
        """The settings behind ``--quality fast|default|full``."""
        if quality not in STEPS:
            raise ValueError(f"quality must be one of {sorted(STEPS)}, not {quality!r}")
        return FitConfig(quality=quality, seed=seed, steps=STEPS[quality])

    def for_footage(self, count: int) -> FitConfig:
        """The settings where ``count`` filmed labels teach too: each gets a few steps more, and in the short schedules
        shape and Gaussians move faster, because outlines seen in other poses lie centimetres apart (docs/labels.md)."""
        if not count:
            return self
        steps = self.steps + FOOTAGE_STEPS * count
        changes = {"steps": steps, "label_start": self.label_start * self.steps / steps}
        if self.steps < STEPS["full"]:
            changes |= {"lr_shape": FOOTAGE_RATE, "lr_offsets": FOOTAGE_OFFSETS}
        return self.replace(**changes)

    def replace(self, **changes: object) -> FitConfig:
        """A copy with some fields exchanged."""
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]


REGISTER_STATE = ("global_orient", "body_pose", "left_hand_pose", "right_hand_pose", "arkit", "transl")
"""Unknowns of every frame in a registration; the shape ``betas`` is shared."""


@dataclass(frozen=True)
class Stage:
    """One pass of Adam: how long, which unknowns, and which terms beyond reprojection are on.

    ``prior`` scales the pose priors, ``silhouette`` the matte term; ``order`` keeps visible hands before the body.
    ``newton`` steps for place and pose of the body follow (:mod:`pipeline.perceive.newton`).
    """

    iterations: int
    learning_rate: float
    free: tuple[str, ...]
    prior: float = 1.0
    silhouette: float = 0.0
    order: bool = False
    newton: int = 0


@dataclass(frozen=True)
class RegisterConfig:
    """Weights and scales of the registration energy.

    ``sigma`` values are the detector noise in metres; ``cut`` values where the robust loss saturates; ``weight`` values
    multiply the mean over a group of points; ``smooth`` values the squared acceleration between frames.
    ``nearest`` is the least distance in metres from which a picture is taken to be filmed.
    ``weight_dense`` is for optical flow, ``weight_edge`` for outlines (:mod:`pipeline.perceive.dense`).
    ``sigma_known_legs`` (radians) is how far the legs of a person known from a photo leave its pose: those who talk and
    sign seldom move them, and a picture seldom tells how. The depth order looks at every ``order_step``-th frame.
    """

    focal_over_height: float = 1.5
    nearest: float = 1.4
    sigma_face: float = 0.004
    sigma_hand: float = 0.010
    sigma_body: float = 0.025
    cut_face: float = 0.03
    cut_hand: float = 0.05
    cut_body: float = 0.15
    weight_face: float = 40.0
    weight_hand: float = 25.0
    weight_body: float = 12.0
    weight_body_direction: float = 6.0
    weight_trunk_direction: float = 6.0
    weight_hand_direction: float = 8.0
    weight_limits: float = 30.0
    weight_betas: float = 0.25
    weight_arkit: float = 1.5
    weight_silhouette: float = 2.0
    weight_order: float = 15.0
    weight_dense: float = 200.0
    weight_edge: float = 200.0
    sigma_dense: float = 0.004
    cut_dense: float = 0.03
    smooth_pose: float = 60.0
    smooth_hand: float = 12.0
    smooth_arkit: float = 4.0
    smooth_transl: float = 4000.0
    sigma_known_legs: float = 0.06
    order_step: int = 1
    stages: tuple[Stage, ...] = field(
        default_factory=lambda: (
            Stage(50, 0.03, ("global_orient", "transl"), prior=1.0),
            Stage(120, 0.02, ("global_orient", "transl", "body_pose", "arkit"), prior=2.0),
            Stage(120, 0.02, (*REGISTER_STATE, "betas"), prior=1.0),
            Stage(80, 0.015, (*REGISTER_STATE, "betas"), prior=0.7, order=True),
            Stage(100, 0.006, (*REGISTER_STATE, "betas"), prior=0.7, silhouette=1.0, order=True),
        )
    )
