"""The visible label: "AI-generated" in the lower right corner, light on dark, legible on any ground."""

from __future__ import annotations

import numpy as np

from pipeline.types import Array

TEXT = "AI-generated"
HEIGHT, SMALLEST = 0.026, 11
"""Size of the letters as a share of the picture's longer side, and in pixels at least."""
GROUND, INK = (16, 16, 20, 200), (255, 255, 255, 255)
"""Colours with opacity: white on nearly black keeps a contrast of at least 7:1 over white, black and all between."""


class VisibleLabel:
    """Draws the label into frames of one size.

    Args:
        size: (width, height) of the frames; where the label would be wider than the frame it is made smaller.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        width, height = size
        badge = _badge(max(SMALLEST, round(HEIGHT * max(size))), width)
        gap = badge.shape[0] // 3
        self._rows = slice(max(0, height - gap - badge.shape[0]), max(badge.shape[0], height - gap))
        self._columns = slice(max(0, width - gap - badge.shape[1]), max(badge.shape[1], width - gap))
        self._colour = badge[..., :3].astype(np.float32)
        self._opacity = badge[..., 3:].astype(np.float32) / 255

    def draw(self, frame: Array) -> Array:
        """A labelled copy of an (H, W, 3) or (H, W, 4) uint8 frame; alpha is straight."""
        out = frame.copy()
        corner = out[self._rows, self._columns].astype(np.float32)
        opacity, colour = (a[: corner.shape[0], : corner.shape[1]] for a in (self._opacity, self._colour))
        below = 1.0 if frame.shape[2] == 3 else corner[..., 3:] / 255
        total = opacity + (1 - opacity) * below
        mixed = (opacity * colour + (1 - opacity) * below * corner[..., :3]) / np.maximum(total, 1e-6)
        out[self._rows, self._columns, :3] = np.rint(mixed)
        if frame.shape[2] == 4:
            out[self._rows, self._columns, 3:] = np.rint(255 * total)
        return out


def _badge(letters: int, room: int) -> Array:
    """(h, w, 4) uint8 picture of the label, at most ``room`` pixels wide if it can be."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(letters)
    left, top, right, bottom = font.getbbox(TEXT)
    pad = letters // 2
    size = (round(right - left) + 2 * pad, round(bottom - top) + 2 * pad)
    if size[0] > room and letters > 5:
        return _badge(letters - 1, room)
    picture = Image.new("RGBA", size, (*GROUND[:3], 0))
    draw = ImageDraw.Draw(picture)
    draw.rounded_rectangle((0, 0, size[0] - 1, size[1] - 1), radius=pad, fill=GROUND)
    draw.text((pad - left, pad - top), TEXT, font=font, fill=INK)
    return np.asarray(picture)
