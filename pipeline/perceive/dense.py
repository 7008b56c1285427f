"""Points of a body that were seen in pictures without being landmarks: anchors, and where they were seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pipeline.body import BodyModel
from pipeline.types import Array

if TYPE_CHECKING:
    from pipeline.perceive.register import Registration


@dataclass(frozen=True)
class Anchors:
    """Points on or near the body, D of them.

    Attributes:
        vertex_ids: (D, K) int. mix: (D, K) weights, sum 1. offsets: (D, 3) canonical metres away from that mix.
    """

    vertex_ids: Array
    mix: Array
    offsets: Array

    def __len__(self) -> int:
        return len(self.vertex_ids)

    @staticmethod
    def of_vertices(ids: Array) -> Anchors:
        """Plain vertices (D,)."""
        return Anchors(ids[:, None], np.ones((len(ids), 1)), np.zeros((len(ids), 3)))

    def joined(self, other: Anchors) -> Anchors:
        """These points, then the others."""
        width = max(self.vertex_ids.shape[1], other.vertex_ids.shape[1])
        both = [
            [np.pad(x, ((0, 0), (0, width - x.shape[1]))) for x in (a.vertex_ids, a.mix)] for a in (self, other)
        ]
        ids, mix = (np.concatenate(pair) for pair in zip(*both, strict=True))
        return Anchors(ids, mix, np.concatenate([self.offsets, other.offsets]))

    def posed(self, body: BodyModel, registration: Registration) -> Array:
        """World positions in every frame, (F, D, 3) metres."""
        from pipeline.perceive.register import LandmarkModel

        model = LandmarkModel(body, self)
        state = {k: torch.from_numpy(v) for k, v in registration.state.items()}
        with torch.no_grad():
            return model(state, torch.as_tensor(registration.betas))[1].numpy()


@dataclass(frozen=True)
class DenseTargets:
    """Where anchors were seen in F frames; pixels of the full crop.

    Attributes:
        anchors: which points; an array (D,) stands for vertices.
        points: (F, D, 2) their places, with weights (F, D) in 0..1.15.
        normals: (F, D, 2) unit normals of the outline or None. edges: (F, D) wanted ``normal . point``, with
            edge_weights (F, D).
    """

    anchors: Anchors | Array
    points: Tensor
    weights: Tensor
    normals: Tensor | None = None
    edges: Tensor | None = None
    edge_weights: Tensor | None = None

    @property
    def spots(self) -> Anchors:
        """The anchors as points of the body."""
        return self.anchors if isinstance(self.anchors, Anchors) else Anchors.of_vertices(self.anchors)

    def select(self, index: slice) -> DenseTargets:
        """The anchors of some frames."""
        tensors = (self.points, self.weights, self.normals, self.edges, self.edge_weights)
        return DenseTargets(self.anchors, *(None if t is None else t[index] for t in tensors))
