"""PD-FGC motion encoder: a face crop -> 548 numbers for eyes, emotion and mouth, free of identity and head pose.

The published weight file is a flat dictionary; heads that the motion vector does not use are not built.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CROP_SIZE = 224
EYE_DIMS, EMOTION_DIMS, MOUTH_DIMS = 6, 30, 512
UNUSED_PREFIXES = ("to_headpose.", "headpose_embed.", "mouth_embed.")
"""Heads of the published network that take no part in the motion vector."""


class ConvBlock(nn.Module):
    """Pre-activation block whose three convolutions are concatenated and added to a shortcut."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(a)
        self.conv1 = nn.Conv2d(a, b // 2, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(b // 2)
        self.conv2 = nn.Conv2d(b // 2, b // 4, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(b // 4)
        self.conv3 = nn.Conv2d(b // 4, b // 4, 3, padding=1, bias=False)
        self.downsample = None
        if a != b:
            self.downsample = nn.Sequential(nn.BatchNorm2d(a), nn.ReLU(), nn.Conv2d(a, b, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        first = self.conv1(F.relu(self.bn1(x)))
        second = self.conv2(F.relu(self.bn2(first)))
        third = self.conv3(F.relu(self.bn3(second)))
        shortcut = x if self.downsample is None else self.downsample(x)
        return torch.cat([first, second, third], 1) + shortcut


class HourGlass(nn.Module):
    """Recursive down- and upsampling with skip connections."""

    def __init__(self, depth: int, channels: int) -> None:
        super().__init__()
        self.depth = depth
        for level in range(depth, 0, -1):
            for branch in (f"b1_{level}", f"b2_{level}", f"b3_{level}"):
                self.add_module(branch, ConvBlock(channels, channels))
        self.b2_plus_1 = ConvBlock(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self._level(self.depth, x)

    def _level(self, level: int, x: Tensor) -> Tensor:
        up = self.get_submodule(f"b1_{level}")(x)
        low = self.get_submodule(f"b2_{level}")(F.max_pool2d(x, 2))
        low = self._level(level - 1, low) if level > 1 else self.b2_plus_1(low)
        low = self.get_submodule(f"b3_{level}")(low)
        return up + F.interpolate(low, up.shape[2:], mode="bilinear", align_corners=False)


class FaceTrunk(nn.Module):
    """(N, 3, 224, 224) RGB in [-1, 1] -> (N, 512)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3)
        self.bn1 = nn.BatchNorm2d(64)
        self.conv2 = ConvBlock(64, 128)
        self.conv3 = ConvBlock(128, 128)
        self.conv4 = ConvBlock(128, 256)
        self.m0 = HourGlass(4, 256)
        self.top_m_0 = ConvBlock(256, 256)
        self.conv_last0 = nn.Conv2d(256, 256, 1)
        self.bn_end0 = nn.BatchNorm2d(256)
        self.l0 = nn.Conv2d(256, 68, 1)
        self.bn5 = nn.BatchNorm2d(68)
        self.conv6 = nn.Conv2d(68, 1, 3, stride=2, padding=1)
        self.fc = nn.Linear(784, 512)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.conv2(F.relu(self.bn1(self.conv1(x)))), 2)
        x = self.top_m_0(self.m0(self.conv4(self.conv3(x))))
        x = self.l0(F.relu(self.bn_end0(self.conv_last0(x))))
        x = self.conv6(F.relu(self.bn5(x)))
        return self.fc(F.relu(x.flatten(1)))


def _head() -> nn.Sequential:
    return nn.Sequential(nn.Linear(512, 512), nn.ReLU(), nn.BatchNorm1d(512), nn.Linear(512, 512))


def _embed(dims: int) -> nn.Sequential:
    return nn.Sequential(nn.ReLU(), nn.Linear(512, dims))


class MotionEncoder(nn.Module):
    """(N, 3, 224, 224) face crops in [-1, 1] -> (N, 548): eyes 6, emotion 30, mouth 512. Always in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.model = FaceTrunk()
        self.to_mouth = _head()
        self.to_eye = _head()
        self.eye_embed = _embed(EYE_DIMS)
        self.to_emo = _head()
        self.emo_embed = _embed(EMOTION_DIMS)
        self.eval()

    def train(self, mode: bool = True) -> MotionEncoder:
        """Batch statistics are frozen: training mode does not exist."""
        return super().train(False)

    def forward(self, crop: Tensor) -> Tensor:
        hidden = self.model(crop)
        eye = self.eye_embed(self.to_eye(hidden))
        emotion = self.emo_embed(self.to_emo(hidden))
        return torch.cat([eye, emotion, self.to_mouth(hidden)], -1)
