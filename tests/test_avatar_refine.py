"""What the fit does with devices: hand over to the CPU when a card is full; the same on a card, where there is one."""

from __future__ import annotations

import dataclasses
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from pipeline.avatar.optimise import Fields, GaussianStage
from pipeline.avatar.refine import OUT_OF_MEMORY, refine
from pipeline.types import PipelineError, PseudoLabel

STEPS = 8


@dataclasses.dataclass
class Scripted:
    """Stands in for a stage: counts steps, and runs out of memory at one of them on a card."""

    device: torch.device
    fails_at: int | None
    done: int = 0
    rasteriser: str = "cpu"
    resumed: tuple | None = None

    def run(self, tick):
        for step in range(self.done, STEPS):
            self.done = step
            tick(step / STEPS)
            if self.device.type == "cuda" and step == self.fails_at:
                raise torch.OutOfMemoryError("CUDA out of memory")
        return f"fields of {self.device.type}"

    def reached(self):
        return "half-way"

    def resume(self, fields, done):
        self.resumed, self.done = (fields, done), done


def test_a_full_card_hands_over_to_the_cpu_where_it_stopped():
    made, heard = [], []

    def make(device):
        made.append(Scripted(device, fails_at=5))
        return made[-1]

    refined = refine(make, torch.device("cuda"), lambda stage, share: heard.append((stage, share)))
    assert [stage.device.type for stage in made] == ["cuda", "cpu"]
    assert made[1].resumed == ("half-way", 5)
    assert refined.fields == "fields of cpu" and refined.rasteriser == "cpu" and refined.remark == OUT_OF_MEMORY
    assert heard[-1] == ("refining on the CPU: the card is full", 7 / 8) and heard[6][1] == 5 / 8


def test_a_card_too_small_to_begin_with():
    def make(device):
        if device.type == "cuda":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return Scripted(device, None)

    refined = refine(make, torch.device("cuda"), lambda stage, share: None)
    assert refined.fields == "fields of cpu" and refined.remark == OUT_OF_MEMORY


def test_other_errors_and_the_cpus_own_memory_are_not_hidden():
    def make(device):
        raise torch.OutOfMemoryError("no memory") if device.type == "cpu" else ValueError("a mistake")

    for device, error in (("cpu", torch.OutOfMemoryError), ("cuda", ValueError)):
        with pytest.raises(error):
            refine(make, torch.device(device), lambda stage, share: None)


def test_unknown_devices_are_refused_before_the_photo_is_read():
    from pipeline import api

    with pytest.raises(PipelineError, match="auto, cpu or cuda"):
        api.fit("no photo.jpg", device="gpu")
    if not torch.cuda.is_available():
        with pytest.raises(PipelineError, match="cannot be used here"):
            api.fit("no photo.jpg", device="cuda")


def test_a_card_that_fills_up_while_drawing_leaves_the_rest_to_the_cpu(doll, monkeypatch):
    from pipeline import render
    from pipeline.puppet import Puppet

    made, on_cpu = [], render.skinned_renderer

    class Full:
        def draw(self, *args, **more):
            raise torch.OutOfMemoryError("CUDA out of memory")

    def make(rig, device):
        made.append(torch.device(device).type)
        return on_cpu(rig) if made[-1] == "cpu" else Full()

    monkeypatch.setattr(render, "skinned_renderer", make)
    puppet, wall = Puppet(doll, "cuda"), np.zeros((256, 144, 3), np.uint8)
    with pytest.warns(UserWarning, match="drawn on the CPU"):
        frame = puppet.draw(doll.params, doll.camera, wall)
    assert frame.any() and np.array_equal(frame, puppet.draw(doll.params, doll.camera, wall))
    assert made == ["cuda", "cpu"]


@pytest.fixture(scope="module")
def stage_of(doll):
    """Makes a stage that fits the doll's colours to a picture of it in other colours."""
    from pipeline.avatar import initial
    from pipeline.avatar.attach import SURFACE, Samples
    from pipeline.avatar.surface import spacing
    from pipeline.config import FitConfig
    from pipeline.render import rasterize_gaussians

    means, scales, colors = doll.pose(doll.params)
    out = rasterize_gaussians(means, scales, 1 - colors, doll.camera)
    n, alpha = len(doll), out.alpha.numpy()
    empty = np.zeros(0, bool)
    scene = initial.Scene(
        doll.params, empty, out.image.numpy(), out.image.numpy(), alpha, np.ones_like(alpha, bool), doll.camera, None
    )
    posed = initial.posed_body(doll.body, doll.params)
    samples = Samples(
        face=doll.face_ids.numpy(), bary=doll.bary.numpy(), point=means.numpy(), rgb=colors.numpy(),
        scale=scales.numpy(), group=np.zeros(n, np.int8), kind=np.full(n, SURFACE, np.int8),
        guessed=np.zeros(n, np.float32), skin_index=doll.skin_index.numpy(), skin_weight=doll.skin_weight.numpy(),
        neighbours=spacing(means.numpy(), np.zeros(n, np.int8))[1],
    )  # fmt: skip
    config = FitConfig(steps=STEPS)
    label = PseudoLabel(out.image.numpy(), alpha, doll.camera, doll.params, "body", filmed=True)

    def make(device: str, labels: int = 0) -> GaussianStage:
        dX, dT = doll.dX.numpy(), doll.dT.numpy()
        further = [label] * labels
        return GaussianStage(doll.body, posed, samples, dX, dT, scene, doll.params, config, further, device=device)

    return make


def gap(a: Fields, b: Fields) -> float:
    """Mean difference of the colours."""
    return float((a.rgb - b.rgb).abs().mean())


def same(a: Fields, b: Fields) -> bool:
    """Every bit of every field."""
    return all(torch.equal(x, y) for x, y in zip(vars(a).values(), vars(b).values(), strict=True))


def test_a_stage_goes_on_where_another_stopped(stage_of):
    first, whole = stage_of("cpu"), stage_of("cpu")
    start = whole.reached()

    def stop(share: float) -> None:
        if share >= 0.5:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        first.run(stop)
    second, shares = stage_of("cpu"), []
    second.resume(first.reached(), first.done)
    assert first.done == STEPS // 2 and same(second.reached(), first.reached())
    fields = second.run(shares.append)
    assert shares == [k / STEPS for k in range(STEPS // 2, STEPS)] and second.done == STEPS
    assert gap(fields, whole.run(lambda share: None)) < 0.2 * gap(start, fields), "Adam starts anew, the fields do not"


def test_the_avatar_can_be_watched_while_it_is_refined(stage_of, monkeypatch):
    """Pictures of what the steps draw, at their pace, that change nothing; who looks may stop it."""
    monkeypatch.setattr("pipeline.avatar.refine.SHOW_EVERY", 0.0)
    seen, watched = [], stage_of("cpu")
    assert watched.picture() is None
    refined = refine(lambda device: watched, torch.device("cpu"), lambda stage, share: None,
                     lambda picture, share: seen.append((picture, share)))  # fmt: skip
    assert [share for _, share in seen] == [k / STEPS for k in range(1, STEPS)]
    assert same(refined.fields, stage_of("cpu").run(lambda share: None))
    picture, _ = seen[-1]
    target, alpha = (x.numpy() for x in (watched.photo.target, watched.photo.alpha))
    h, w = alpha.shape[0] // 2 * 2, alpha.shape[1] // 2 * 2
    assert picture.dtype == np.uint8 and picture.shape == (h // 2, w // 2, 3)
    inside, outside = (mask[:h:2, :w:2] for mask in (alpha > 0.99, alpha < 0.01))
    assert np.abs(picture[outside] / 255 - 0.91).mean() < 0.01, "grey around the person"
    first, last = (np.abs(p[inside] / 255 - target[:h:2, :w:2][inside]).mean() for p in (seen[0][0], picture))
    assert last < first, "it comes closer to the photo"

    def stop(picture, share):
        raise InterruptedError

    with pytest.raises(InterruptedError):
        refine(lambda device: stage_of("cpu"), torch.device("cpu"), lambda stage, share: None, stop)


class Nothing:
    """Stands in for a Triton kernel."""

    def __getitem__(self, grid):
        return lambda *args, **options: None


@pytest.mark.skipif(find_spec("triton") is None, reason="the Triton kernels need the package triton")
def test_nothing_in_the_loop_leaves_the_device_or_waits_for_it(stage_of, monkeypatch):
    """On torch's "meta" device, where reading a value or mixing in a tensor of the CPU raises; kernels do nothing."""
    from pipeline.avatar import optimise
    from pipeline.render import budget, gaussians, silhouette, triton_kernels, triton_mask_kernels

    for module, names in (
        (triton_kernels, ("project", "emit_pairs", "blend", "blend_backward", "project_backward")),
        (triton_mask_kernels, ("cover", "cross", "cross_backward")),
    ):
        for name in names:
            monkeypatch.setattr(module, name, Nothing())
    for module in (optimise, gaussians, silhouette):
        monkeypatch.setattr(module, "pick_backend", lambda wanted, like, accelerators=(): wanted or "triton")
    monkeypatch.setattr(budget.PairBudget, "room", lambda self, total: 1000)  # the one that may wait
    stage = stage_of("meta", labels=2)
    optimizer = stage.optimizer()
    for step in (STEPS - 2, STEPS - 1, optimise.MESH_EVERY):
        optimizer.zero_grad()
        stage.loss(step).backward()
        optimizer.step()
    assert all(x.grad.device.type == "meta" for x in vars(stage.fields).values())
    with pytest.raises(NotImplementedError, match="meta"):
        stage.reached()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA card")
def test_the_card_fits_as_the_cpu_does_repeatably_and_without_waiting(stage_of):
    from pipeline.render import choose_device

    device = str(choose_device("cuda"))
    slow = stage_of("cpu").run(lambda share: None)
    stages = [stage_of(device) for _ in range(2)]
    start = stages[0].reached()
    assert stages[0].rasteriser in ("triton", "gsplat")

    def guard(share: float) -> None:  # the first step may wait: kernels are compiled and budgets filled
        torch.cuda.set_sync_debug_mode("default" if share == 0 else "error")

    try:
        first = stages[0].run(guard)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    second = stages[1].run(lambda share: None)
    assert gap(first, slow) < 0.02 * gap(start, slow)
    if stages[0].rasteriser == "triton":
        assert same(first, second)
