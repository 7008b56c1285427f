"""Volume rendering: 48 stratified and 48 importance samples per ray, mid-point quadrature."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.labels.portrait4d.field import BOX_WARP, FieldDecoder, sample_planes
from pipeline.labels.portrait4d.rays import Rays

SAMPLES = 48
Deformation = Callable[[Tensor], Tensor]
"""Moves points (M, 3) from the picture's head pose to the planes' canonical pose."""


@dataclass(frozen=True)
class Jitter:
    """The random numbers of the renderer; constant over a video, or it flickers.

    Attributes:
        coarse: (48,) in [0, 1): place of each coarse sample in its interval, the same for all rays.
        fine: (48,) or (R, 48) in [0, 1): quantiles of the importance samples.
    """

    coarse: Tensor
    fine: Tensor

    @staticmethod
    def centred() -> Jitter:
        """Interval centres: no randomness."""
        return Jitter(torch.full((SAMPLES,), 0.5), (torch.arange(SAMPLES) + 0.5) / SAMPLES)


@dataclass(frozen=True)
class March:
    """Result of one quadrature: features (R, C), weights (R, S-1), mid-point depths (R, S-1), transmittance (R,)."""

    features: Tensor
    weights: Tensor
    depths: Tensor
    transmittance: Tensor


@dataclass(frozen=True)
class VolumeImage:
    """Rays rendered, in row-major order.

    Attributes:
        features: (R, 32) accumulated colour features.
        transmittance: (R,) share of the background that is seen, in [0, 1].
        depth: (R,) mean distance along the ray.
        coarse_depths, fine_depths, all_depths: (R, S) sample distances; the fine ones are not sorted.
        coarse_weights, all_weights: (R, S-1). All six are empty unless asked for.
    """

    features: Tensor
    transmittance: Tensor
    depth: Tensor
    coarse_depths: Tensor
    coarse_weights: Tensor
    fine_depths: Tensor
    all_depths: Tensor
    all_weights: Tensor


def coarse_depths(distance: float, jitter: Tensor) -> Tensor:
    """(48,) stratified distances around the head; the last one may lie beyond the far plane."""
    near, far = distance - BOX_WARP / 2, distance + BOX_WARP / 2
    steps = torch.linspace(0, 1, SAMPLES, device=jitter.device) * (far - near) + near
    return steps + jitter * ((far - near) / (SAMPLES - 1))


def march(depths: Tensor, sigma: Tensor, colours: Tensor) -> March:
    """Integrate samples sorted by depth.

    Args:
        depths: (R, S). sigma: (R, S) raw densities. colours: (R, S, C).
    """
    middle = (sigma[:, :-1] + sigma[:, 1:]) / 2
    alpha = 1 - torch.exp(-F.softplus(middle - 1) * depths.diff(dim=1))
    passed = torch.cumprod(torch.cat([torch.ones_like(alpha[:, :1]), 1 - alpha + 1e-10], 1), 1)[:, :-1]
    weights = alpha * passed
    mixed = (weights[..., None] * ((colours[:, :-1] + colours[:, 1:]) / 2)).sum(1)
    return March(mixed, weights, (depths[:, :-1] + depths[:, 1:]) / 2, 1 - weights.sum(1))


def importance_depths(depths: Tensor, weights: Tensor, quantiles: Tensor) -> Tensor:
    """Distances drawn from the coarse weights.

    Args:
        depths: (R, 48). weights: (R, 47). quantiles: (R, 48) in [0, 1).

    Returns:
        (R, 48), unsorted.
    """
    blurred = F.max_pool1d(weights[:, None], 2, stride=1, padding=1)
    blurred = F.avg_pool1d(blurred, 2, stride=1)[:, 0] + 0.01
    bins = (depths[:, :-1] + depths[:, 1:]) / 2
    inner = blurred[:, 1:-1] + 1e-5
    cdf = torch.cumsum(inner / inner.sum(1, keepdim=True), 1)
    cdf = torch.cat([torch.zeros_like(cdf[:, :1]), cdf], 1)
    index = torch.searchsorted(cdf, quantiles.contiguous(), right=True)
    below, above = (index - 1).clamp(min=0), index.clamp(max=cdf.shape[1] - 1)
    low, high = cdf.gather(1, below), cdf.gather(1, above)
    span = torch.where(high - low < 1e-5, torch.ones_like(low), high - low)
    start, end = bins.gather(1, below), bins.gather(1, above)
    return start + (quantiles - low) / span * (end - start)


class VolumeRenderer:
    """Renders one set of planes; holds no weights of its own.

    Args:
        decoder: the field's network.
        rays_per_chunk: rays rendered together; None chooses by device (a CPU likes its cache, a GPU its width).
    """

    def __init__(self, decoder: FieldDecoder, rays_per_chunk: int | None = None) -> None:
        self.decoder, self.rays_per_chunk = decoder, rays_per_chunk

    def __call__(
        self, planes: Tensor, rays: Rays, jitter: Jitter, deform: Deformation | None = None, samples: bool = False
    ) -> VolumeImage:
        """Render all rays.

        Args:
            planes: (96, 256, 256).
            rays: R rays of one image.
            jitter: random numbers.
            deform: head pose deformation, None = none.
            samples: also return the sample tables (large).
        """
        device = rays.directions.device
        coarse = coarse_depths(rays.distance, jitter.coarse.to(device))
        total = len(rays.directions)
        size = self.rays_per_chunk or (16384 if device.type == "cuda" else 1024)
        fine = jitter.fine.to(device).expand(total, SAMPLES)
        chunks = [
            self._chunk(planes, rays.origin, rays.directions[where], coarse, fine[where], deform)
            for where in torch.arange(total, device=device).split(size)
        ]
        low = min(float(c[5].min()) for c in chunks)
        high = max(float(c[5].max()) for c in chunks)
        columns = [torch.cat(column) for column in zip(*(c if samples else c[:3] for c in chunks), strict=True)]
        features, transmittance, depth = columns[:3]
        depth = depth.nan_to_num(float("inf")).clamp(low, high)
        blank = torch.empty(0)
        tables = (coarse.expand(total, -1), *columns[3:]) if samples else (blank,) * 5
        coarse_d, fine_d, coarse_w, all_d, all_w = tables
        return VolumeImage(features, transmittance, depth, coarse_d, coarse_w, fine_d, all_d, all_w)

    def _chunk(
        self, planes: Tensor, origin: Tensor, directions: Tensor, coarse: Tensor, quantiles: Tensor,
        deform: Deformation | None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
        """Features, transmittance, depth, fine depths, coarse weights, all depths and all weights of some rays."""
        depths = coarse.expand(len(directions), -1)
        sigma, colours = self._query(planes, origin, directions, depths, deform)
        first = march(depths, sigma, colours)
        fine = importance_depths(depths, first.weights, quantiles)
        fine_sigma, fine_colours = self._query(planes, origin, directions, fine, deform)
        merged, order = torch.sort(torch.cat([depths, fine], 1), dim=1)
        sigma = torch.cat([sigma, fine_sigma], 1).gather(1, order)
        colours = torch.cat([colours, fine_colours], 1)
        colours = colours.gather(1, order[..., None].expand(-1, -1, colours.shape[-1]))
        final = march(merged, sigma, colours)
        depth = (final.weights * final.depths).sum(1) / final.weights.sum(1)
        return final.features, final.transmittance, depth, fine, first.weights, merged, final.weights

    def _query(
        self, planes: Tensor, origin: Tensor, directions: Tensor, depths: Tensor, deform: Deformation | None
    ) -> tuple[Tensor, Tensor]:
        """Raw density (R, S) and colour features (R, S, 32) at the samples."""
        points = (origin + depths[..., None] * directions[:, None]).view(-1, 3)
        features = sample_planes(planes, points if deform is None else deform(points))
        sigma, colours = self.decoder(features)
        return sigma.view(depths.shape), colours.view(*depths.shape, -1)
