"""The generator as the label stage uses it: a photo once, then pictures by expression and head pose."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch.nn import functional as F

from pipeline.checkpoints import fingerprint
from pipeline.labels.card import memory_explained
from pipeline.labels.portrait4d.align import from_network, motion_crop, to_network
from pipeline.labels.portrait4d.checkpoint import load_generator, load_motion_encoder
from pipeline.labels.portrait4d.driving import AlignedFace
from pipeline.labels.portrait4d.generator import IMAGE_SIZE, Portrait4D, SourceFeatures
from pipeline.labels.portrait4d.motion_encoder import MotionEncoder
from pipeline.labels.portrait4d.rays import camera_vector
from pipeline.types import Array

OUT_OF_MEMORY = "The graphics card ran out of memory for head labels; close other programs that use it, then go on."


class HeadModel(Protocol):
    """What makes head pictures."""

    name: str
    """Identifies the weights, for the cache."""

    def encode(self, photo: AlignedFace) -> Any:
        """Everything that depends on the photo alone."""
        ...

    def draw(self, source: Any, driving: AlignedFace, rotation: Array) -> tuple[Array, Array]:
        """The photo's head with the expression of ``driving``, turned by ``rotation`` (3, 3).

        Returns:
            (512, 512, 3) uint8 and (512, 512) float32 matte.
        """
        ...


class Portrait4DModel:
    """:class:`HeadModel` by Portrait4D-v2 and PD-FGC."""

    def __init__(self, generator: Portrait4D, motion: MotionEncoder, name: str, device: str = "cpu") -> None:
        self.generator, self.motion_encoder = generator.to(device), motion.to(device)
        self.name, self.device = name, device

    @staticmethod
    def load(generator: str | Path, motion: str | Path, device: str = "cpu") -> Portrait4DModel:
        """Load both published files.

        Raises:
            PipelineError: see :mod:`.checkpoint`; or the card is full.
        """
        with memory_explained(OUT_OF_MEMORY):
            loaded = load_generator(generator, device)
            encoder = load_motion_encoder(motion, device)
        name = f"portrait4d-v2 {fingerprint(Path(generator), Path(motion))}"
        return Portrait4DModel(loaded.network, encoder, name, device)

    @staticmethod
    def from_weights(device: str = "cpu") -> Portrait4DModel:
        """Load the files that the table of weights knows of.

        Raises:
            PipelineError: they are not on this machine (the message says how to get them), or not what they should be.
        """
        from pipeline import weights

        entry, folder = weights.find("portrait4d-v2"), weights.require("portrait4d-v2")
        generator, motion = (folder / file.path for file in entry.files)
        return Portrait4DModel.load(generator, motion, device)

    @torch.inference_mode()
    def motion(self, face: AlignedFace) -> torch.Tensor:
        """(1, 548) motion vector of an aligned face."""
        crop = motion_crop(to_network(face.image), face.landmarks68)
        return self.motion_encoder(crop.to(self.device))

    def encode(self, photo: AlignedFace) -> SourceFeatures:
        with memory_explained(OUT_OF_MEMORY):
            return self.generator.encode_source(to_network(photo.image).to(self.device), self.motion(photo))

    @torch.inference_mode()
    def draw(self, source: SourceFeatures, driving: AlignedFace, rotation: Array) -> tuple[Array, Array]:
        camera = camera_vector(torch.from_numpy(np.asarray(rotation, np.float64))).to(self.device)
        with memory_explained(OUT_OF_MEMORY):
            head = self.generator(source, self.motion(driving), camera)
        matte = F.interpolate(
            (1 - head.transmittance)[None, None], (IMAGE_SIZE, IMAGE_SIZE), mode="bilinear", align_corners=False
        )
        return from_network(head.image), matte[0, 0].clamp(0, 1).cpu().numpy()
