"""What the page shows while an avatar is being made: what was understood of the photo, and the avatar as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pipeline.service import Store
from pipeline.types import Array, Observation

KEPT = 60
"""A slow visitor may still be fetching the picture of a minute ago."""
TINT = np.array([0.25, 0.35, 0.95], np.float32)


class LivePictures:
    """The pictures of one running fit, as files of a store with their captions.

    Those of the photo are the visitor's own pixels and carry no mark; those of the avatar carry the invisible mark and
    the visible label. They are seen for seconds and not signed.

    Args:
        store: where the files go.
    """

    def __init__(self, store: Store) -> None:
        self._store, self._early, self._stamp = store, [], None  # type: ignore[var-annotated]
        self._meta: dict[str, Any] = {}
        self._live: list[Path] = []

    def understood(self, observation: Observation) -> list[tuple[str, str]]:
        """What the first stages found: the person cut out, and the body laid over the photo."""
        from pipeline import api

        self._meta = {"source_sha256": observation.source_hash}
        alpha = observation.alpha[..., None]
        cut = observation.image * alpha + 0.92 * (1 - alpha)
        covered = _covered(observation, api.get_body())[..., None]
        laid = np.where(covered, 0.55 * observation.image + 0.45 * TINT, observation.image)
        self._early = [
            (self._write(cut[::2, ::2]), "the person, cut out"),
            (self._write(laid[::2, ::2]), "the body, laid over the photo"),
        ]
        return self._captioned()

    def add(self, picture: Array) -> list[tuple[str, str]]:
        """The avatar as it is now, (h, w, 3) uint8; the last ``KEPT`` are kept."""
        from pipeline.provenance import Stamp

        if self._stamp is None:
            self._stamp = Stamp.of(self._meta, (picture.shape[1], picture.shape[0]), label=True)
        self._live.append(self._write(self._stamp.mark(picture)))
        while len(self._live) > KEPT:
            self._live.pop(0).unlink(missing_ok=True)
        return self._captioned()

    def hand_over(self, token: str) -> None:
        """Let the pictures go with an avatar."""
        for path in self._paths():
            self._store.attach(token, path)
        self._early, self._live = [], []

    def close(self) -> None:
        """Delete the pictures of a fit that came to nothing."""
        for path in self._paths():
            path.unlink(missing_ok=True)

    def _paths(self) -> list[Path]:
        return [*(path for path, _ in self._early), *self._live]

    def _captioned(self) -> list[tuple[str, str]]:
        newest = [(path, "the avatar so far") for path in self._live[-1:]]
        return [(str(path), words) for path, words in (*newest, *self._early)]

    def _write(self, image: Array) -> Path:
        from pipeline.media import save_image

        path = self._store.new_file(".jpg")
        save_image(path, image, quality=88)
        return path


def _covered(observation: Observation, body: Any) -> Array:
    """(H, W) bool: where the registered body lies in the photo."""
    import torch

    from pipeline.perceive.photo import posed_vertices
    from pipeline.render import rasterize_mesh

    vertices = torch.as_tensor(posed_vertices(body, observation.params))
    return np.asarray(rasterize_mesh(vertices, body.faces, observation.camera).face) >= 0
