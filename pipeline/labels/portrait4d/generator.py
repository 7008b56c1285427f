"""The head generator: photo and motion in, head picture out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.labels.portrait4d.background import BackgroundNet
from pipeline.labels.portrait4d.canonical import MOTION_DIMS, CanonicalEncoder
from pipeline.labels.portrait4d.detail_encoder import DetailEncoder
from pipeline.labels.portrait4d.field import FieldDecoder
from pipeline.labels.portrait4d.global_encoder import GlobalEncoder
from pipeline.labels.portrait4d.layers import with_coordinates
from pipeline.labels.portrait4d.rays import make_rays
from pipeline.labels.portrait4d.superres import STYLE_DIMS, SuperResolution
from pipeline.labels.portrait4d.triplane import TriplaneDecoder
from pipeline.labels.portrait4d.volume import Deformation, Jitter, VolumeImage, VolumeRenderer

IMAGE_SIZE, RENDER_SIZE = 512, 128


@dataclass(frozen=True)
class SourceFeatures:
    """What is computed once per photo.

    Attributes:
        neutral: (1, 1024, 1024) expression-free tokens. detail: (1, 96, 256, 256). background: (1, 32, 128, 128).
    """

    neutral: Tensor
    detail: Tensor
    background: Tensor


@dataclass(frozen=True)
class HeadImage:
    """A generated head.

    Attributes:
        image: (3, 512, 512) RGB, nominally in [-1, 1].
        features: (32, 128, 128) feature image with background, the input of the super-resolution.
        foreground: (32, 128, 128) the same over black, scaled alike (2 x - 1).
        transmittance: (128, 128); 1 minus it is the foreground alpha.
        depth: (128, 128) distance along the ray in world units.
        volume: everything that the volume renderer returned.
    """

    image: Tensor
    features: Tensor
    foreground: Tensor
    transmittance: Tensor
    depth: Tensor
    volume: VolumeImage


class Portrait4D(nn.Module):
    """Portrait4D-v2 at inference. One image at a time; weights come from :mod:`.checkpoint`.

    Args:
        narrow: divides the width of all hidden layers, for quick toys of the same wiring; 1 is the published network,
            whose sizes all docstrings state. 32 at most, a power of two.
    """

    w_avg: Tensor

    def __init__(self, narrow: int = 1) -> None:
        super().__init__()
        self.register_buffer("w_avg", torch.zeros(STYLE_DIMS))
        self.encoder_global = GlobalEncoder(narrow)
        self.encoder_detail = DetailEncoder(narrow)
        self.encoder_canonical = CanonicalEncoder(narrow=narrow)
        self.generator_triplane = TriplaneDecoder(narrow)
        self.background = BackgroundNet(narrow)
        self.superresolution = SuperResolution(narrow)
        self.decoder = FieldDecoder()
        self.eval()

    @torch.inference_mode()
    def encode_source(self, image: Tensor, motion: Tensor) -> SourceFeatures:
        """Everything that depends on the photo alone.

        Args:
            image: (1, 3, 512, 512) aligned photo, RGB in [-1, 1].
            motion: (1, 548) motion vector of the photo.
        """
        if image.shape != (1, 3, IMAGE_SIZE, IMAGE_SIZE) or motion.shape != (1, MOTION_DIMS):
            raise ValueError(
                f"expected a (1, 3, 512, 512) image and (1, 548) motion, got {image.shape}, {motion.shape}"
            )
        x = with_coordinates(image)
        neutral = self.encoder_canonical.neutralise(self.encoder_global(x), motion)
        return SourceFeatures(neutral, self.encoder_detail(x), self.background.features(x))

    @torch.inference_mode()
    def planes(self, source: SourceFeatures, motion: Tensor) -> Tensor:
        """Tri-planes (96, 256, 256) of the source with the expression of a driving motion vector (1, 548)."""
        expression = self.encoder_canonical.express(source.neutral, motion)
        return self.generator_triplane(expression, source.detail)[0]

    @torch.inference_mode()
    def render(
        self, planes: Tensor, background: Tensor, camera: Tensor, *, jitter: Jitter | None = None,
        deform: Deformation | None = None, samples: bool = False,
    ) -> HeadImage:  # fmt: skip
        """Picture of the planes.

        Args:
            planes: (96, 256, 256). background: (1, 32, 128, 128).
            camera: (25,) camera vector, see :mod:`.rays`.
            jitter: sampling table; interval centres by default.
            deform: neck deformation, None when the head pose is in the camera.
            samples: keep the sample tables in ``volume``.
        """
        rays = make_rays(camera.to(planes), RENDER_SIZE)
        volume = VolumeRenderer(self.decoder)(planes, rays, jitter or Jitter.centred(), deform, samples)
        size = (RENDER_SIZE, RENDER_SIZE)
        foreground = volume.features.T.reshape(1, -1, *size)
        transmittance = volume.transmittance.view(1, 1, *size)
        features = 2 * (foreground + transmittance * background) - 1
        image = self.superresolution(features, self.w_avg)[0]
        return HeadImage(
            image, features[0], 2 * foreground[0] - 1, transmittance[0, 0], volume.depth.view(size), volume
        )

    def forward(self, source: SourceFeatures, motion: Tensor, camera: Tensor) -> HeadImage:
        """One driven frame."""
        return self.render(self.planes(source, motion), source.background, camera)
