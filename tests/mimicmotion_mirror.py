"""Tiny MimicMotion weights that were not trained but built: the networks show the photo they are conditioned on.

Every layer computes as always, on random weights, except for one path that carries three numbers per latent pixel:
the encoder averages the photo's colours, the UNet answers v = -(image latents), which the scheduler turns into them,
and the decoder enlarges them bilinearly. So a person can be found in the frames: the photo at an eighth of its
resolution, whatever the pose pictures ask for. Normalisation layers forget each colour's mean and spread; the
decoder's last layer puts those of one photo back.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from mimicmotion_golden import SCHEDULER, TINY_CLIP, TINY_UNET, TINY_VAE, fill
from torch import Tensor, nn

COLOURS = range(3)
LIFT = 20.0
"""SiLU changes nothing that lies this far above zero."""
UNET = {
    **TINY_UNET, "block_out_channels": (32, 32, 32), "num_attention_heads": (1, 1, 1), "layers_per_block": 1,
    "down_block_types": ("DownBlockSpatioTemporal", "CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
    "up_block_types": ("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal", "UpBlockSpatioTemporal"),
}  # fmt: skip
VAE = {**TINY_VAE, "block_out_channels": (32, 32, 32, 32)}
BOX = torch.tensor([[1.0, 1, 0], [1, 1, 0], [0, 0, 0]]) / 4
TENT = torch.outer(torch.tensor([1.0, 2, 1]), torch.tensor([1.0, 2, 1])) / 16
CENTRE = torch.zeros(3, 3)
CENTRE[1, 1] = 1.0


def mirror_parts(photo: np.ndarray) -> dict[str, nn.Module]:
    """The networks for one photo, (H, W, 3) float in 0..1 as the pipeline is given it."""
    from diffusers import AutoencoderKLTemporalDecoder, EulerDiscreteScheduler
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    from pipeline.labels.mimicmotion import PoseGuidedUNet, PoseNet

    parts = {
        "unet": fill(PoseGuidedUNet(**UNET), "unet"),
        "pose_net": fill(PoseNet(32), "pose_net"),
        "vae": fill(AutoencoderKLTemporalDecoder(**VAE), "vae"),
        "image_encoder": fill(CLIPVisionModelWithProjection(CLIPVisionConfig(**TINY_CLIP)), "image_encoder"),
        "scheduler": EulerDiscreteScheduler(**SCHEDULER),
    }
    with torch.no_grad():
        _open_vae(parts["vae"], *_colours(photo))
        _open_unet(parts["unet"], parts["pose_net"])
    return parts


def _colours(photo: np.ndarray) -> tuple[Tensor, Tensor]:
    """Mean and spread (3,) of the enlarged eighth of a photo, in -1..1."""
    pixels = torch.from_numpy(np.ascontiguousarray(photo, np.float32)).permute(2, 0, 1)[None] * 2 - 1
    small = nn.functional.avg_pool2d(pixels, 8)
    large = nn.functional.interpolate(small, scale_factor=8, mode="bilinear")
    return large.mean((0, 2, 3)), large.std((0, 2, 3), correction=0)


def _open_vae(vae: nn.Module, mean: Tensor, spread: Tensor) -> None:
    _silence(vae)
    encoder, decoder = vae.encoder, vae.decoder
    _carry(encoder.conv_in, CENTRE)
    for block in encoder.down_blocks[:-1]:
        _carry(block.downsamplers[0].conv, BOX)
    _carry(encoder.conv_out, CENTRE)
    _level(encoder.conv_norm_out, encoder.conv_out, torch.ones(3), torch.zeros(3))
    vae.quant_conv.weight.zero_()
    vae.quant_conv.weight[:, :, 0, 0] = torch.eye(8)
    _carry(decoder.conv_in, CENTRE)
    for block in decoder.up_blocks[:-1]:
        _carry(block.upsamplers[0].conv, TENT)
    _carry(decoder.conv_out, CENTRE)
    _level(decoder.conv_norm_out, decoder.conv_out, spread, mean)
    decoder.time_conv_out.weight.zero_()
    decoder.time_conv_out.weight[:, :, 1, 0, 0] = torch.eye(3)
    decoder.time_conv_out.bias.zero_()


def _open_unet(unet: nn.Module, pose_net: nn.Module) -> None:
    _silence(unet)
    _carry(unet.conv_in, CENTRE, first=4)  # the image latents come behind the noise
    pose_net.final_proj.weight[list(COLOURS)] = 0.0
    pose_net.final_proj.bias[list(COLOURS)] = 0.0
    last = unet.up_blocks[-1].resnets[-1].spatial_res_block.conv_shortcut
    last.weight.zero_()
    last.bias.zero_()
    last.weight[:, 32:, 0, 0] = torch.eye(32)  # what came from conv_in, past everything in between
    _carry(unet.conv_out, CENTRE)
    _level(unet.conv_norm_out, unet.conv_out, -torch.ones(3), torch.zeros(3))


def _silence(network: nn.Module) -> None:
    """Let every block hand its input on: the last layer of what it would add becomes zero."""
    for name, module in network.named_modules():
        if name.endswith(("conv2", "to_out.0", "proj_out")):
            module.weight.zero_()
            module.bias.zero_()


def _carry(layer: nn.Conv2d, kernel: Tensor, first: int = 0) -> None:
    """The first three outputs become the three inputs from ``first`` on, each under a kernel of its own."""
    for c in COLOURS:
        layer.weight[c], layer.bias[c] = 0.0, 0.0
        layer.weight[c, first + c] = kernel


def _level(norm: nn.GroupNorm, layer: nn.Conv2d, scale: Tensor, offset: Tensor) -> None:
    """Lift what is normalised over SiLU's bend; take the lift off again in the layer behind it."""
    norm.weight.fill_(1.0)
    norm.bias.fill_(LIFT)
    layer.weight[:3] *= scale.view(3, 1, 1, 1)
    layer.weight[3:], layer.bias[3:] = 0.0, 0.0
    layer.bias[:3] = offset - LIFT * scale


def write_mirror_weights(photo: np.ndarray, folder: Path) -> dict[str, bytes]:
    """The files of the two parts in the table of weights, by path in their repositories."""
    parts = mirror_parts(photo)
    for name in ("vae", "image_encoder"):
        parts[name].half().save_pretrained(folder / name, variant="fp16")
    parts["scheduler"].save_pretrained(folder / "scheduler")
    parts["unet"].save_config(folder / "unet")
    state = {f"{p}.{k}": v.half() for p in ("unet", "pose_net") for k, v in parts[p].state_dict().items()}
    torch.save(state, folder / "MimicMotion_1-1.pth")
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
