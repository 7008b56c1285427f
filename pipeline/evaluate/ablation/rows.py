"""The rows of the ablation: which labels, which loss, which terms; and how each avatar is scored."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from pipeline.avatar import Avatar, fit
from pipeline.config import FitConfig
from pipeline.evaluate import metrics
from pipeline.evaluate.ablation.scenes import Bench, Shot, Size
from pipeline.perceptual import Lpips, Measure, choose_measure, load_lpips, structural_loss
from pipeline.types import Array

WEIGHTS = ("normal", "M", "MGC", "lap", "LPIPS", "RGB", "SSIM", "alpha")
"""The paper's loss weights in the order of its text."""
PRINTED = (1e-2, 1e-1, 1e2, 2e-1, 8e-1, 1e-1, 4e-1)
"""The seven values that it prints for these eight."""


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: for people. labels: kinds of labels, see :class:`Bench`. loss: of L_diff: "l1" or a perceptual measure.
        changes: of the fit's configuration. group: which table it is in: "terms", "lost weight", "head".
    """

    name: str
    labels: tuple[str, ...] = ()
    loss: str = "structural"
    changes: dict[str, Any] = field(default_factory=dict)
    group: str = "terms"


def lost_weight(missing: str) -> dict[str, float]:
    """The seven printed values on the eight names if ``missing`` lost its value, which then stays our own."""
    names = [name for name in WEIGHTS if name != missing]
    return {f"lambda_{name}": value for name, value in zip(names, PRINTED, strict=True)}


def all_rows(best: str, squeeze: bool = False) -> list[Row]:
    """Every row; ``best`` is the perceptual loss of rows that do not say theirs, ``squeeze``: LPIPS-squeeze is here."""
    lap, consistency = FitConfig().lambda_lap, FitConfig().lambda_MGC
    no_mesh = {"lambda_normal": 0.0, "lambda_M": 0.0, "lambda_MGC": 0.0}
    rows = [
        Row("photo only"),
        Row("photo only, - soft mesh constraints", changes=no_mesh),
        Row("+ labels, L1", ("body",), "l1"),
        Row("+ labels, structural", ("body",), "structural"),
    ]
    if squeeze:
        rows.append(Row("+ labels, lpips-squeeze", ("body",), "lpips-squeeze"))
    if best != "structural":
        rows.append(Row(f"+ labels, {best}", ("body",), best))
    rows += [
        Row("labels, - soft mesh constraints", ("body",), best, no_mesh),
        Row("labels, - Laplacian", ("body",), best, {"lambda_lap": 0.0}),
        Row("labels, Laplacian x 10", ("body",), best, {"lambda_lap": 10 * lap}),
        Row("labels, Laplacian / 10", ("body",), best, {"lambda_lap": lap / 10}),
        Row("labels, mesh-Gaussian consistency x 10", ("body",), best, {"lambda_MGC": 10 * consistency}),
        Row("labels, - re-tracking", ("untracked",), best),
    ]
    rows += [
        Row("photo only", group="head"),
        Row("+ head labels, L1", ("head",), "l1", group="head"),
        Row("+ head labels", ("head",), best, group="head"),
    ]
    rows += [Row(f"lost: lambda_{w}", ("body",), best, lost_weight(w), "lost weight") for w in WEIGHTS]
    return rows


def quick_rows() -> list[Row]:
    """Few rows, for tests: every kind of label and loss that needs no weights."""
    wanted = ("photo only", "+ labels, L1", "labels, - re-tracking", "+ head labels", "lost: lambda_lap")
    return [row for row in all_rows("structural") if row.name in wanted]


def l1_loss(render: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """L1 in place of the perceptual distance, which the paper argues against (section 3.4)."""
    return ((render - target).abs().mean(-1) * weight).sum() / weight.sum().clamp_min(1)


def measure_of(name: str) -> Measure:
    """The loss of a row: "l1", "structural", "lpips-squeeze" or "lpips-vgg".

    Raises:
        PipelineError: LPIPS without weights.
    """
    return Measure("l1", l1_loss) if name == "l1" else choose_measure(name.removeprefix("lpips-"))  # type: ignore[arg-type]


def run_row(bench: Bench, row: Row, size: Size, seed: int, lpips: Lpips | None) -> tuple[Avatar, dict[str, float]]:
    """Fit one avatar and score it.

    Returns:
        The avatar; ``seconds`` and means over shots: ``psnr``, ``ssim``, ``lpips`` inside the union of both masks; over
        faces and their boxes: ``face_structural``, ``face_lpips``; of the photo itself: ``photo_psnr``.
    """
    config = FitConfig(steps=size.steps, surface_samples=size.surface, max_pixels=size.pixels,
                       working_height=size.height, seed=seed).replace(**row.changes)  # fmt: skip
    labels = [label for kind in row.labels for label in bench.labels[kind]]
    started = time.perf_counter()
    photo = bench.portrait if row.group == "head" else bench.observation
    avatar = fit(photo, bench.person.body, labels, config, perceptual=measure_of(row.loss))
    seconds = time.perf_counter() - started
    scores = score(avatar, bench.shots, bench.faces, lpips)
    return avatar, {**scores, "photo_psnr": avatar.meta["metrics"]["psnr_mask"], "seconds": seconds}


def score(avatar: Avatar, shots: Sequence[Shot], faces: Sequence[Shot], lpips: Lpips | None) -> dict[str, float]:
    """Compare an avatar with the truth; see :func:`run_row`."""
    whole = []
    for shot in shots:
        image, alpha = draw(avatar, shot)
        mask = (shot.alpha > 0.5) | (alpha > 0.5)
        row = {k: v for k, v in metrics.compare(image, shot.image, mask).items() if k in ("psnr", "ssim")}
        whole.append(row | ({"lpips": lpips.of_images(image, shot.image, mask)} if lpips else {}))
    near = []
    for shot in faces:
        image, _ = draw(avatar, shot)
        for box in shot.boxes.values():
            a, b = image[box], shot.image[box]
            row = {"face_structural": _structural(a, b)}
            near.append(row | ({"face_lpips": lpips.of_images(a, b)} if lpips else {}))
    return metrics.average(whole) | metrics.average(near)


def draw(avatar: Avatar, shot: Shot) -> tuple[Array, Array]:
    """The avatar in a shot's pose and view: on white (H, W, 3), and alpha (H, W)."""
    from pipeline.render import rasterize_gaussians

    with torch.no_grad():
        out = rasterize_gaussians(*avatar.pose(shot.params), shot.camera, background=torch.ones(3))
    return out.image.numpy(), out.alpha.numpy()


def _structural(a: Array, b: Array) -> float:
    x, y = (torch.from_numpy(np.ascontiguousarray(i, dtype=np.float32)) for i in (a, b))
    with torch.no_grad():
        return float(structural_loss(x, y, torch.ones(x.shape[:2])))


def best_measure() -> tuple[str, Lpips | None]:
    """The best perceptual loss that has weights here, and the metric with it."""
    return choose_measure().name, load_lpips("squeeze") or load_lpips("vgg")


STRIP_ROWS, STRIP_SHOTS, STRIP_FACES = 256, 4, 3
"""Height of one picture of the sheet, and how many shots and faces it shows."""


def strip(name: str, pictures: Sequence[Array]) -> Array:
    """Pictures (H, W, 3) beside one another, at one height, with a name."""
    cells = [cv2.resize(p, (round(p.shape[1] * STRIP_ROWS / p.shape[0]), STRIP_ROWS)) for p in pictures]
    out = np.ascontiguousarray(np.clip(np.concatenate(cells, 1), 0, 1), dtype=np.float32)
    return cv2.putText(out, name, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)


def avatar_strip(bench: Bench, avatar: Avatar | None, name: str) -> Array:
    """What an avatar (None: the truth) looks like in the first shots and faces."""
    shots = [*bench.shots[:STRIP_SHOTS], *bench.faces[:STRIP_FACES]]
    return strip(name, [shot.image if avatar is None else draw(avatar, shot)[0] for shot in shots])


def label_strip(bench: Bench) -> Array:
    """The first label frames."""
    frames = [*bench.labels["body"][:STRIP_SHOTS], *bench.labels["head"][:STRIP_FACES]]
    return strip("labels", [label.image for label in frames])
