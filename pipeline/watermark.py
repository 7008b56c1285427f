"""An invisible keyed mark in every frame, and its blind detection.

The mark is one tile of 256 x 256 pixels, repeated over the frame and the same in every frame (so it does not flicker,
and an encoder carries it along instead of coding it anew). In the tile's Fourier plane every frequency of a band of
middle frequencies has the same strength and a phase that follows from the key. Half of the frequencies carry nothing
else and show where the tile lies; the other half carries 16 bits of payload and 8 check bits.

Detection needs the key and no original. Only the *phases* of the video's mean detail are used: each is compared with
the key's phase, for every shift of the tile and a range of scales, mirrored or not. The key's phases are uniform and
know nothing of the video, so that for an unmarked video, whatever it shows, the sum of ``M`` cosines exceeds ``t`` with
a probability of at most ``exp(-t^2 / M)`` (each cosine of a uniform phase is sub-Gaussian with variance 1/2). Times the
number of shifts and scales tried, that is the p-value given here; it is an upper bound, not a fit to examples.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any

import numpy as np

from pipeline.types import Array

PUBLIC_KEY = b"one photo, one talking avatar: public mark 1"
"""What is used when no key is set: whoever has this software can find the mark, and could also put it elsewhere."""
PERIOD = 256
"""Side of the repeated tile in pixels."""
BAND = (8.0, 32.0)
"""Frequencies of the mark in cycles per tile: wavelengths of 32 down to 8 pixels."""
STRENGTHS = (0.65, 1.8)
"""Root mean square of the mark in grey levels of 255: in plain areas, and where the picture's contrast hides it."""
STRIDE, BUSY_LEVELS = 4, 24
"""An area is busy when every fourth pixel of a window of 17 x 17 spans more grey levels than this."""
SYMBOLS = 3
"""The payload's 16 bits and 8 check bits travel as three symbols out of 256."""
PAYLOAD_BITS = 16
SCALES = (0.4, 1.6)
SCALE_STEP = 1.004
"""Next scale that is tried; a pattern 1000 pixels wide is then at most one pixel off at its edge."""
GRID, FINE_GRID = 128, 256
"""Shifts tried per axis, in the search and then at the best scale: steps of 2 and 1 pixels."""
MAX_P = 1e-6
"""A mark is reported when chance would show as much in fewer than one unmarked video in a million."""
SURE_P = 1e-12
"""A mark that is this sure at its own scale is not looked for at others."""
FINE_STEPS = 9
MAX_FRAMES = 48
SURROUND, DETAIL_CLIP = 19, 2.0
"""Side in pixels of the surroundings that a pixel is compared with; bound of its difference in standard deviations."""


@dataclass(frozen=True)
class Detection:
    """What :func:`detect` found.

    Attributes:
        found: ``p_value`` is at most :data:`MAX_P`.
        score: agreement of the best placed tile, in standard deviations of chance.
        threshold: the score from which on a mark is reported.
        p_value: upper bound of the probability of such a score in an unmarked video.
        scale: size of the mark against the original, 1 where the video was not resized.
        mirrored: the video was flipped left to right.
        payload: 0..65535, or None where none can be read.
        frames: how many frames were looked at.
    """

    found: bool
    score: float
    threshold: float
    p_value: float
    scale: float
    mirrored: bool
    payload: int | None
    frames: int


@dataclass(frozen=True)
class _Layout:
    """The key's frequencies: (M, 2) integers kx, ky of the half plane, their unit phases, and who carries what."""

    sync: Array
    sync_phase: Array
    data: tuple[Array, ...]
    data_phase: tuple[Array, ...]  # per symbol (256, m)


def _numbers(key: bytes, purpose: str, count: int) -> Array:
    """``count`` uniform integers below 2^32 that follow from the key, the same on every machine."""
    seed = len(key).to_bytes(4, "big") + key + purpose.encode()
    return np.frombuffer(hashlib.shake_256(seed).digest(4 * count), ">u4")


def _phases(key: bytes, purpose: str, count: int) -> Array:
    return np.exp(2j * np.pi * _numbers(key, purpose, count) / 2.0**32).astype(np.complex64)


@lru_cache(maxsize=4)
def _layout(key: bytes) -> _Layout:
    reach = math.ceil(BAND[1])
    ky, kx = np.mgrid[-reach : reach + 1, 0 : reach + 1]
    radius = np.hypot(kx, ky)
    half = (radius >= BAND[0]) & (radius <= BAND[1]) & ((kx > 0) | (ky > 0))
    band = np.stack([kx[half], ky[half]], 1)
    band = band[np.argsort(_numbers(key, "order", len(band)), kind="stable")]
    middle = len(band) // 2
    data = tuple(np.array_split(band[middle:], SYMBOLS))
    tables = tuple(_phases(key, f"symbol {i}", 256 * len(d)).reshape(256, -1) for i, d in enumerate(data))
    return _Layout(band[:middle], _phases(key, "sync", middle), data, tables)


def _check_byte(payload: int) -> int:
    return hashlib.sha256(b"payload" + payload.to_bytes(2, "big")).digest()[0]


def tile(key: bytes, payload: int) -> Array:
    """The mark: (256, 256) float32 with root mean square 1.

    Raises:
        ValueError: payload outside 0..65535.
    """
    if not 0 <= payload < 1 << PAYLOAD_BITS:
        raise ValueError(f"the payload has {PAYLOAD_BITS} bits, not {payload}")
    layout, spectrum = _layout(key), np.zeros((PERIOD, PERIOD), np.complex64)
    spectrum[layout.sync[:, 1], layout.sync[:, 0]] = layout.sync_phase
    for where, table, symbol in zip(layout.data, layout.data_phase, _symbols(payload), strict=True):
        spectrum[where[:, 1], where[:, 0]] = table[symbol]
    picture = np.fft.ifft2(spectrum).real
    return (picture / picture.std()).astype(np.float32)


def _symbols(payload: int) -> tuple[int, int, int]:
    return payload >> 8, payload & 255, _check_byte(payload)


class Marker:
    """Puts the mark into frames of one size; costs about a millisecond per frame of 576 x 1024.

    Args:
        key: secret or public.
        payload: 0..65535, readable by who has the key.
        size: (width, height) of the frames.
    """

    def __init__(self, key: bytes, payload: int, size: tuple[int, int]) -> None:
        width, height = size
        repeats = (math.ceil(height / PERIOD), math.ceil(width / PERIOD))
        pattern = np.tile(tile(key, payload), repeats)[:height, :width]
        self._plain, self._busy = (np.rint(pattern * strength).astype(np.int8) for strength in STRENGTHS)

    def mark(self, frame: Array) -> Array:
        """A marked copy of an (H, W, 3) or (H, W, 4) uint8 frame of the size given.

        All three colours change by the same few levels. Alpha stays as it is, and so do the colours of fully
        transparent pixels.
        """
        from pipeline.watermark_kernels import add_pattern

        out = np.empty_like(frame)
        add_pattern(np.ascontiguousarray(frame), _busy(frame), self._plain, self._busy, out)
        return out


def _busy(frame: Array) -> Array:
    """(ceil(H/4), ceil(W/4)) bool: where the picture's own contrast hides more."""
    import cv2

    green = np.ascontiguousarray(frame[::STRIDE, ::STRIDE, 1])
    around = np.ones((5, 5), np.uint8)
    return cv2.dilate(green, around) - cv2.erode(green, around) > BUSY_LEVELS


def detect(frames: Iterable[Array], key: bytes) -> Detection:
    """Look for the mark.

    Args:
        frames: (H, W, 3) uint8 RGB frames of one size, at least one; best spread over the whole video (:func:`spread`).
        key: the key it was made with.

    Raises:
        ValueError: no frames, or of different sizes.
    """
    detail, count = mean_detail(frames)
    layout, best = _layout(key), (-1.0, 1.0, False)
    for scale in _scales():
        spectrum = _spectrum(detail, scale)
        for mirrored in (False, True):
            peak = float(_surface(_agreement(spectrum, layout.sync, layout.sync_phase, mirrored), layout.sync).max())
            best = max(best, (peak, scale, mirrored))
        if scale == 1.0 and _p_value(best[0], len(layout.sync)) < SURE_P:
            break
    return _judge(detail, layout, best, count)


def _scales() -> list[float]:
    """1, where most marks are found, and then everything from 0.4 to 1.6."""
    low, high = (math.log(s) / math.log(SCALE_STEP) for s in SCALES)
    return [1.0, *(SCALE_STEP**i for i in range(math.ceil(low), math.floor(high) + 1) if i)]


def _trials() -> int:
    """How many placements the search may compare, however early it ends."""
    return 2 * GRID * GRID * len(_scales()) + FINE_STEPS * FINE_GRID * FINE_GRID


def _p_value(peak: float, m: int) -> float:
    """Upper bound of the chance that the best of all placements sums to ``peak`` without a mark."""
    return min(1.0, _trials() * math.exp(-(max(peak, 0.0) ** 2) / m))


def _judge(detail: Array, layout: _Layout, best: tuple[float, float, bool], count: int) -> Detection:
    """Refine the best placement, read its payload, and say how likely chance is."""
    m = len(layout.sync)
    peak, scale, mirrored = best
    for fine in np.linspace(scale / SCALE_STEP, scale * SCALE_STEP, FINE_STEPS):
        spectrum = _spectrum(detail, float(fine))
        surface = _surface(_agreement(spectrum, layout.sync, layout.sync_phase, mirrored), layout.sync, FINE_GRID)
        if surface.max() > peak:
            peak, scale = float(surface.max()), float(fine)
    p_value, deviation = _p_value(peak, m), math.sqrt(m / 2)
    threshold = math.sqrt(m * math.log(_trials() / MAX_P)) / deviation
    found = p_value <= MAX_P
    payload = _read_payload(_spectrum(detail, scale), layout, mirrored) if found else None
    return Detection(found, peak / deviation, threshold, p_value, scale, mirrored, payload, count)


def _read_payload(spectrum: Array, layout: _Layout, mirrored: bool) -> int | None:
    """The payload at the placement that the sync frequencies show, or None when its check bits do not fit."""
    surface = _surface(_agreement(spectrum, layout.sync, layout.sync_phase, mirrored), layout.sync, FINE_GRID)
    dy, dx = np.unravel_index(int(surface.argmax()), surface.shape)
    symbols = []
    for where, table in zip(layout.data, layout.data_phase, strict=True):
        turn = np.exp(2j * np.pi * (where[:, 0] * dx + where[:, 1] * dy) / (FINE_GRID))
        seen = _agreement(spectrum, where, np.ones(len(where), np.complex64), mirrored) * turn
        symbols.append(int((np.conj(table) @ seen).real.argmax()))
    payload = symbols[0] << 8 | symbols[1]
    return payload if symbols[2] == _check_byte(payload) else None


def spread(frames: Iterable[Array], expected: int) -> Iterator[Array]:
    """At most :data:`MAX_FRAMES` of about ``expected`` frames, evenly spaced."""
    return islice(iter(frames), 0, None, max(1, math.ceil(expected / MAX_FRAMES)))


def mean_detail(frames: Iterable[Array]) -> tuple[Array, int]:
    """What is left of the brightness when its surroundings are taken off and its contrast is evened out.

    Returns:
        (H, W) float32, the mean over the frames; and how many there were.

    Raises:
        ValueError: no frames, or of different sizes.
    """
    import cv2

    total, count = None, 0
    for frame in frames:
        grey = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY).astype(np.float32)
        detail = grey - cv2.blur(grey, (SURROUND, SURROUND))
        contrast = np.sqrt(cv2.blur(detail * detail, (SURROUND, SURROUND)) + 1.0)
        detail = np.clip(detail / contrast, -DETAIL_CLIP, DETAIL_CLIP)
        if total is None:
            total = np.zeros_like(detail)
        if total.shape != detail.shape:
            raise ValueError("the frames have different sizes")
        total += detail
        count += 1
    if total is None:
        raise ValueError("there are no frames")
    return total / count, count


def _spectrum(detail: Array, scale: float) -> Array:
    """Fourier coefficients of a picture at multiples of one cycle per (scaled) tile, up to R, the end of the band.

    Returns:
        (2R+1, R+1) complex64, indexed [ky + R, kx].
    """
    height, width = detail.shape
    k = np.arange(math.ceil(BAND[1]) + 1, dtype=np.float32)
    cycle = np.float32(-2 * np.pi / (PERIOD * scale))
    rows = cycle * np.outer(k, np.arange(height, dtype=np.float32))
    columns = cycle * np.outer(np.arange(width, dtype=np.float32), k)
    # Real products and half of the plane: BLAS takes no half of a complex matrix, and the picture is real.
    even, odd = np.cos(rows) @ detail, np.sin(rows) @ detail
    c, s = np.cos(columns), np.sin(columns)
    ec, es, oc, os = even @ c, even @ s, odd @ c, odd @ s
    down, up = (ec - os) + 1j * (es + oc), (ec + os) + 1j * (es - oc)
    return np.concatenate([up[:0:-1], down])


def _agreement(spectrum: Array, where: Array, phase: Array, mirrored: bool) -> Array:
    """(M,) unit phases of the spectrum at ``where``, turned back by the key's."""
    reach = math.ceil(BAND[1])
    if mirrored:  # the coefficient at (-kx, ky) of a real picture
        seen = np.conj(spectrum[reach - where[:, 1], where[:, 0]])
    else:
        seen = spectrum[reach + where[:, 1], where[:, 0]]
    return seen / np.maximum(np.abs(seen), 1e-12) * np.conj(phase)


def _surface(agreement: Array, where: Array, grid: int = GRID) -> Array:
    """Sum of cosines for each of grid x grid shifts of the tile: an inverse Fourier transform."""
    from scipy import fft

    plane: Any = np.zeros((grid, grid // 2 + 1), np.complex64)
    plane[where[:, 1], where[:, 0]] = agreement
    axis = where[:, 0] == 0  # these have their mirror images in the same half of the plane
    plane[-where[axis, 1], 0] = np.conj(agreement[axis])
    return fft.irfft2(plane, (grid, grid), norm="forward") / 2
