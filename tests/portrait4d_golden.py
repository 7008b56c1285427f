"""Weights, inputs and sub-sampling of the Portrait4D parity vectors (../shared/specs/portrait4d_golden/README.md)."""

from __future__ import annotations

import json
import math
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn


def fill_value(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """The deterministic random value of one tensor."""
    if key.endswith("resample_filter"):
        return np.outer([1, 3, 3, 1], [1, 3, 3, 1]).astype(np.float32) / 64
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    x = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape).astype(np.float32)
    one, tenth = np.float32(1), np.float32(0.1)
    if key.endswith("running_var"):
        return one + tenth * np.abs(x)
    if key.endswith("running_mean"):
        return tenth * x
    if key == "w_avg" or key.endswith("noise_const"):
        return x
    if not shape:
        return np.asarray(tenth * x)
    if key == "decoder.out_sigma.weight":
        return np.float32(40) * x
    if len(shape) >= 2:
        scaled = not key.startswith(("superresolution.", "decoder."))
        return x * np.float32(1 / math.sqrt(math.prod(shape[1:]))) if scaled else x
    if key.endswith((".weight", "affine.bias")):
        return one + tenth * x
    return tenth * x


def filled(module: nn.Module, prefix: str = "") -> nn.Module:
    """Fill a module in place (it may be on the meta device); ``prefix`` is its place in the whole network."""
    values = {k: torch.from_numpy(fill_value(prefix + k, tuple(v.shape))) for k, v in module.state_dict().items()}
    module.load_state_dict(values, assign=True)
    return module.eval().requires_grad_(False)


def load_keys(folder: Path) -> dict[str, dict[str, dict]]:
    """The key lists of the two networks."""
    return json.loads((folder / "keys.json").read_text())


def _interpolator(n: int, m: int) -> np.ndarray:
    return np.maximum(0, 1 - np.abs(np.arange(n)[:, None] * (m - 1) / (n - 1) - np.arange(m)[None]))


def source_image() -> Tensor:
    """(1, 3, 512, 512)."""
    rng = np.random.default_rng(1)
    low, noise = rng.uniform(-1, 1, (1, 3, 16, 16)), rng.uniform(-1, 1, (1, 3, 512, 512))
    up = _interpolator(512, 16)
    return torch.from_numpy((0.9 * (up @ low @ up.T) + 0.1 * noise).astype(np.float32))


def motion(seed: int) -> Tensor:
    """(1, 548): seed 2 = source, 3 = driving."""
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((1, 548)).astype(np.float32))


def smooth_planes() -> Tensor:
    """(96, 256, 256) for the renderer test."""
    up = _interpolator(256, 24)
    planes = 0.4 * (up @ np.random.default_rng(16).standard_normal((1, 96, 24, 24)) @ up.T)
    return torch.from_numpy(planes.astype(np.float32))[0]


def head_rotation(yaw: float) -> Tensor:
    """The head rotation whose camera is turned by ``yaw`` about +y."""
    c, s = math.cos(yaw), math.sin(yaw)
    return torch.tensor([[c, 0, s], [0, 1, 0], [-s, 0, c]], dtype=torch.float64).T


def face_crop() -> Tensor:
    """(1, 3, 224, 224) test picture of the motion encoder."""
    blocks = np.kron(np.random.default_rng(31).uniform(-1, 1, (1, 3, 14, 14)), np.ones((16, 16)))
    noise = np.random.default_rng(32).uniform(-1, 1, (1, 3, 224, 224))
    return torch.from_numpy(np.clip(0.7 * blocks + 0.3 * noise, -1, 1).astype(np.float32))


def sub(image: Tensor, channels: int, start: int, step: int) -> np.ndarray:
    """Every ``channels``-th channel, rows and columns from ``start`` in steps."""
    return image[:, ::channels, start::step, start::step].numpy()


def stats(image: Tensor) -> np.ndarray:
    """Mean, population deviation, minimum, maximum and sum of magnitudes, in float64."""
    x = image.double()
    return np.array([x.mean(), x.std(correction=0), x.min(), x.max(), x.abs().sum()])


def gap(a: np.ndarray | Tensor, b: np.ndarray) -> float:
    """Largest absolute difference; shapes must agree."""
    a = np.asarray(a)
    assert a.shape == b.shape, (a.shape, b.shape)
    return float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max())
