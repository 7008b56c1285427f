"""The fit: an observation in, an avatar out."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pipeline.avatar import initial, losses
from pipeline.avatar.attach import HIDDEN, LID, LOOSE, SURFACE, TIGHT, Samples
from pipeline.avatar.lessons import take_lessons
from pipeline.avatar.model import Avatar
from pipeline.avatar.optimise import Fields, GaussianStage
from pipeline.avatar.refine import Refined, Show, refine
from pipeline.avatar.rim import calmed
from pipeline.avatar.settle import settled
from pipeline.avatar.shading import GUESSED, light_of_face
from pipeline.avatar.stray import SkinSplats, black_rim, skin_splats, tamed
from pipeline.config import FitConfig
from pipeline.labels.fusion import fuse
from pipeline.perceptual import Measure, choose_measure
from pipeline.render import choose_device
from pipeline.types import Observation, PipelineError, PseudoLabel

if TYPE_CHECKING:
    from pipeline.body import BodyModel

Progress = Callable[[str, float], Any]
"""Called with a stage's name and the share of it that is done; a return value of False cancels the fit."""


class PipelineCancelled(PipelineError):
    """The user asked to stop."""


def fit(
    observation: Observation,
    body: BodyModel,
    labels: Sequence[PseudoLabel] = (),
    config: FitConfig | None = None,
    progress: Progress | None = None,
    perceptual: Measure | None = None,
    device: str = "auto",
    show: Show | None = None,
) -> Avatar:
    """Make an avatar of the person in the photo.

    Args:
        observation: the understood photo.
        body: the body model that it was registered with.
        labels: further pictures of the person for L_diff (Eq. 9).
        config: settings; the default quality if None.
        progress: hears of the stages; may raise, or return False, to cancel.
        perceptual: the distance of L_diff; None takes what ``config.perceptual`` says (needed for labels only).
        device: where to optimise: "auto" (a CUDA card where one works, else the CPU), "cpu" or "cuda". A card without
            enough memory hands over to the CPU.
        show: sees about once a second a picture of the avatar as it is while it is refined; may raise to cancel.

    Returns:
        The avatar; ``meta["metrics"]`` holds PSNR inside the mask and SSIM at the photo's own pose and camera, and
        ``meta["rasteriser"]`` tells what drew it.

    Raises:
        PipelineCancelled: ``progress`` returned False.
        PipelineError: the matte is empty, the perceptual loss that is asked for has no weights, or no such device.
    """
    config = config or FitConfig.preset("default")
    started, place = time.perf_counter(), choose_device(device)
    measure = (perceptual or choose_measure(config.perceptual)) if labels else None

    def tell(stage: str, share: float) -> None:
        if progress is not None and progress(stage, share) is False:
            raise PipelineCancelled("The fit was cancelled; nothing was written.")

    torch.manual_seed(config.seed)
    tell("shaping the body", 0.0)
    scene = initial.working_scene(body, observation, config.working_height)
    if (scene.alpha > 0.5).sum() < 400:
        raise PipelineError("No person could be cut out of this photo; use one with the person larger and in front.")
    posed = initial.posed_body(body, scene.params)
    with ThreadPoolExecutor(1) as beside:  # the mesh is shaped on one core
        painting = beside.submit(_background, scene)
        dT = initial.mesh_stage(body, posed, scene, config)
    behind = painting.result()
    tell("placing Gaussians", 0.0)
    samples, parts, scene = initial.place_gaussians(body, posed, dT, scene, config)
    surface = samples.kind == SURFACE
    hands = skin_splats(body, samples, parts, scene.image, scene.camera, surface)
    dX = initial.canonical_offsets(body, posed, samples)
    if labels:
        tell("taking colours from labels", 0.0)
    guessed = samples.guessed
    aligned = [settled(body, label, dT, scene) for label in fuse(body, labels)]
    samples, lessons, learnt = take_lessons(body, samples, dX, aligned)
    rgb, _ = tamed(samples.rgb, samples.scale, samples.point, hands, surface)
    samples = dataclasses.replace(samples, rgb=rgb)
    tell("refining", 0.0)

    def make(where: torch.device) -> GaussianStage:
        further = (lessons, measure.to(where).loss) if measure else ()
        return GaussianStage(body, posed, samples, dX, dT, scene, scene.params, config, *further, guessed=guessed,
                             device=where)  # fmt: skip

    refined = refine(make, place, tell, show)
    rgb = calmed(refined.fields.rgb.numpy(), samples, scene.camera, parts.label, scene.enlarged)
    fields = dataclasses.replace(refined.fields, rgb=torch.from_numpy(rgb))
    fields, samples = _clean_hands(fields, samples, hands)
    refined = dataclasses.replace(refined, fields=fields)
    tell("finishing", 0.0)
    avatar = _lighted(_assemble(observation, body, scene, behind, samples, refined, config, labels, measure))
    metrics = own_view_metrics(avatar, scene)
    seconds = round(time.perf_counter() - started, 2)
    meta = {**avatar.meta, "metrics": metrics, "learnt_from_labels": learnt, "seconds": seconds}
    tell("finishing", 1.0)
    return avatar.replace(meta=meta)


def _assemble(
    observation: Observation, body: BodyModel, scene: initial.Scene, behind: np.ndarray, samples: Samples,
    refined: Refined, config: FitConfig, labels: Sequence[PseudoLabel], measure: Measure | None,
) -> Avatar:  # fmt: skip
    kinds = {"on_mesh": TIGHT, "loose": LOOSE, "hidden": HIDDEN, "surface": SURFACE, "lids": LID}
    source = "footage" if all(label.filmed for label in labels) else "full"
    meta = {
        "source_sha256": observation.source_hash,
        "quality": config.quality,
        "seed": config.seed,
        "layout": config.layout,
        "tiers": {"body": body.tier, "labels": source if labels else "embedded"}
        | {"Gaussians": "embedded" if refined.rasteriser == "cpu" else "full"}
        | ({"perceptual loss": measure.tier} if measure else {}),
        "rasteriser": refined.rasteriser,
        "labels": len(labels),
        "perceptual_loss": measure.name if measure else None,
        "gaussians": {name: int((samples.kind == kind).sum()) for name, kind in kinds.items()},
    }
    if refined.remark:
        meta["remark"] = refined.remark
    fields = refined.fields
    return Avatar(
        body=body,
        face_ids=torch.from_numpy(samples.face.astype(np.int64)),
        bary=torch.from_numpy(samples.bary.astype(np.float32)),
        dX=fields.dX,
        dT=fields.dT,
        scale=fields.log_scale.exp(),
        rgb=fields.rgb,
        guessed=torch.from_numpy(samples.guessed),
        skin_index=torch.from_numpy(samples.skin_index.astype(np.int64)),
        skin_weight=torch.from_numpy(samples.skin_weight),
        camera=scene.camera,
        params=scene.params,
        background=behind,
        meta=meta,
    )


def _clean_hands(fields: Fields, samples: Samples, hands: list[SkinSplats]) -> tuple[Fields, Samples]:
    """Hands without the colours of what is beside them, see :mod:`pipeline.avatar.stray`."""
    scale = fields.log_scale.exp().numpy()
    rgb, scale = tamed(fields.rgb.numpy(), scale, samples.point, hands, samples.kind == SURFACE)
    keep = ~black_rim(rgb, hands)
    dX, scale, rgb = (torch.from_numpy(x[keep]) for x in (fields.dX.numpy(), scale, rgb))
    return Fields(dX, fields.dT, scale.log(), rgb), samples.take(keep)


def _lighted(avatar: Avatar) -> Avatar:
    """The avatar with the light that its face shows."""
    shown = avatar.guessed < GUESSED
    points = (x[shown].numpy() for x in (avatar.rgb, avatar.face_ids, avatar.bary))
    with torch.no_grad():
        light = light_of_face(avatar.body, avatar.mesh(avatar.params).numpy(), *points)
    return avatar.replace(light=torch.from_numpy(light))


def _background(scene: initial.Scene) -> np.ndarray:
    """The photo without the person, (H, W, 3) uint8."""
    from pipeline.perceive.matte import inpaint_background

    return (np.clip(inpaint_background(scene.image, scene.alpha, scene.valid), 0, 1) * 255 + 0.5).astype(np.uint8)


def own_view_metrics(avatar: Avatar, scene: initial.Scene) -> dict[str, float]:
    """PSNR inside the mask (alpha > 0.5) and SSIM of the whole picture at the photo's pose and camera, on white."""
    from pipeline.render import rasterize_gaussians

    with torch.no_grad():
        means, scales, colors = avatar.pose(avatar.params)
        out = rasterize_gaussians(means, scales, colors, scene.camera, background=torch.ones(3))
    alpha = torch.from_numpy(scene.alpha)
    target = torch.from_numpy(scene.image) * alpha[..., None] + (1 - alpha[..., None])
    mask = alpha > 0.5
    valid = torch.from_numpy(scene.valid)
    picture = torch.where(valid[..., None], out.image, target)
    error = float(((picture - target) ** 2)[mask].mean())
    similarity = losses.ssim_map(picture, target)
    return {
        "psnr_mask": round(-10 * float(np.log10(max(error, 1e-10))), 3),
        "ssim": round(float(similarity.mean()), 5),
        "ssim_mask": round(float(similarity[mask].mean()), 5),
    }
