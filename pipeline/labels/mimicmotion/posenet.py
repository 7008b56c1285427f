"""PoseNet: the small convolutional network that turns pose pictures into what is added to the UNet's first features."""

from __future__ import annotations

from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, cat, nn, ones

_LAYERS = (
    (3, 3, 3, 1), (3, 16, 4, 2), (16, 16, 3, 1), (16, 32, 4, 2), (32, 32, 3, 1), (32, 64, 4, 2), (64, 64, 3, 1),
    (64, 128, 3, 1),
)  # fmt: skip
"""Channels in, channels out, kernel, stride; padding 1 everywhere."""


class PoseNet(ModelMixin, ConfigMixin):
    """Pose pictures (N, 3, H, W) in -1..1 to pose latents (N, channels, H/8, W/8).

    Args:
        channels: width of the UNet's first level (320).
    """

    @register_to_config
    def __init__(self, channels: int = 320) -> None:
        super().__init__()
        convolutions = [nn.Conv2d(i, o, k, stride=s, padding=1) for i, o, k, s in _LAYERS]
        self.conv_layers = nn.Sequential(*(m for conv in convolutions for m in (conv, nn.SiLU())))
        self.final_proj = nn.Conv2d(128, channels, 1)
        self.scale = nn.Parameter(2.0 * ones(1))

    def forward(self, pictures: Tensor) -> Tensor:
        """See the class."""
        return self.final_proj(self.conv_layers(pictures)) * self.scale

    def in_chunks(self, pictures: Tensor, frames: int = 8) -> Tensor:
        """The same, a few frames at a time and cast to the network's device and type, so that memory stays small."""
        like = self.final_proj.weight
        return cat([self(chunk.to(like.device, like.dtype)) for chunk in pictures.split(frames)])
