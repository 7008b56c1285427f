"""From files to networks: the checkpoint is checked key by key against the architecture before anything is built."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLTemporalDecoder, EulerDiscreteScheduler
from torch import Tensor, nn

from pipeline.checkpoints import KeyReport, as_safetensors, compare_keys, read_tensors
from pipeline.labels.mimicmotion.posenet import PoseNet
from pipeline.labels.mimicmotion.unet import PoseGuidedUNet
from pipeline.types import PipelineError

LOG = logging.getLogger(__name__)
BASE_FILES = ("unet/config.json", "vae/config.json", "image_encoder/config.json", "scheduler/scheduler_config.json")


def empty_networks(unet_config: dict[str, Any]) -> dict[str, nn.Module]:
    """UNet and PoseNet without memory, by checkpoint prefix."""
    with torch.device("meta"):
        unet: Any = PoseGuidedUNet.from_config(unet_config)
        pose_net = PoseNet(unet.config.block_out_channels[0])
    return {"unet": unet, "pose_net": pose_net}


def expected_shapes(networks: dict[str, nn.Module]) -> dict[str, tuple[int, ...]]:
    """Name to shape of every tensor that a checkpoint must hold: 1,447 at full size."""
    return {
        f"{prefix}.{name}": tuple(tensor.shape)
        for prefix, network in networks.items()
        for name, tensor in network.state_dict().items()
    }


def check_checkpoint(tensors: dict[str, Tensor], networks: dict[str, nn.Module], name: str) -> KeyReport:
    """Compare a checkpoint with the architecture.

    Raises:
        PipelineError: something is missing or of another shape; the message says what.
    """
    report = compare_keys({k: tuple(v.shape) for k, v in tensors.items()}, expected_shapes(networks))
    if not report.ok:
        LOG.info("%s: %s", name, report.text())
        raise PipelineError(f"{name} is not a checkpoint of this model: {report.sentence()}.")
    if report.unexpected:
        LOG.warning("%s: %s; ignored.", name, report.sentence())
    return report


def load_checkpoint(path: Path, networks: dict[str, nn.Module], dtype: torch.dtype) -> None:
    """Fill empty networks from a checkpoint, strictly.

    Raises:
        PipelineError: see :func:`check_checkpoint` and :mod:`pipeline.checkpoints`.
    """
    tensors = read_tensors(as_safetensors(path))
    check_checkpoint(tensors, networks, path.name)
    for prefix, network in networks.items():
        start = prefix + "."
        part = {k.removeprefix(start): v.to(dtype) for k, v in tensors.items() if k.startswith(start)}
        network.load_state_dict(part, strict=True, assign=True)
        network.requires_grad_(False).eval()


def base_folder(name: str | os.PathLike[str] | None, revision: str | None) -> Path:
    """The folder of Stable Video Diffusion: one on disk, or what was fetched, by name or by default.

    Raises:
        PipelineError: it was not fetched, or in another revision.
    """
    from pipeline.weights import find, require

    svd = find("svd-xt-1.1")
    if name is not None and (str(name) != svd.source or Path(name).is_dir()):
        if revision is not None:
            raise PipelineError("A folder has no revision; leave it out, or name the repository that was fetched.")
        return Path(name)
    base, commit = require("svd-xt-1.1"), svd.record().get("commit")
    if revision is not None and revision != commit:
        raise PipelineError(
            f"What was fetched of {svd.source} is {str(commit)[:12]} and not {revision[:12]}; leave the revision out."
        )
    return base


def load_components(base: Path, checkpoint: Path | None, dtype: torch.dtype, variant: str | None) -> dict[str, Any]:
    """The five components of the pipeline.

    Args:
        base: folder in the layout of Stable Video Diffusion; its UNet weights are not needed.
        checkpoint: MimicMotion's file; None where ``base`` was written by ``save_pretrained`` and holds all.
        dtype: of all networks.
        variant: "fp16" picks the half-precision files of ``base`` where there are any.

    Raises:
        PipelineError: a file is missing or not what it should be.
    """
    missing = [name for name in BASE_FILES if not (base / name).is_file()]
    if missing:
        raise PipelineError(
            f"{base} is no complete Stable Video Diffusion folder, {missing[0]} is missing; fetch it again."
        )
    if checkpoint is None:
        if not (base / "pose_net").is_dir():
            raise PipelineError(f"{base} holds no pose_net; give the MimicMotion checkpoint as well.")
        networks: dict[str, Any] = {
            "unet": _stock(PoseGuidedUNet, base, "unet", dtype, variant),
            "pose_net": _stock(PoseNet, base, "pose_net", dtype, variant),
        }
    else:
        networks = empty_networks(json.loads((base / "unet/config.json").read_text("utf-8")))
        load_checkpoint(checkpoint, networks, dtype)
    from transformers import CLIPVisionModelWithProjection

    return {
        **networks,
        "vae": _stock(AutoencoderKLTemporalDecoder, base, "vae", dtype, variant),
        "image_encoder": _stock(CLIPVisionModelWithProjection, base, "image_encoder", dtype, variant),
        "scheduler": EulerDiscreteScheduler.from_pretrained(base, subfolder="scheduler", local_files_only=True),
    }


def _stock(kind: Any, base: Path, part: str, dtype: torch.dtype, variant: str | None) -> Any:
    """Load one stock component from safetensors."""
    if variant and not list((base / part).glob(f"*.{variant}*.safetensors")):
        variant = None
    try:
        network = kind.from_pretrained(
            base, subfolder=part, variant=variant, torch_dtype=dtype, use_safetensors=True, local_files_only=True
        )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise PipelineError(f"{base / part} could not be loaded ({first}); fetch it again.") from error
    return network.requires_grad_(False).eval()
