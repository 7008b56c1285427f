"""Blinks and gaze of a video, measured on the face mesh itself.

A registration that is smooth in time rounds blinks of three frames off and hardly turns eyes of a few pixels. Lids and
irises are found well enough to be read directly: the opening of the lids and the place of the iris between the corners
of the eye, each against what is usual in this video.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.body import ARKIT_NAMES, BodyModel
from pipeline.perceive import targets as T
from pipeline.perceive.register import Registration
from pipeline.perceive.targets import Targets
from pipeline.types import Array, Observation

BLINK = [ARKIT_NAMES.index(f"eyeBlink{side}") for side in ("Left", "Right")]

LEFT, RIGHT = (362, 263, 386, 374, 473), (33, 133, 159, 145, 468)
"""Face mesh points of each eye: corner on the person's right and left, upper and lower lid, centre of the iris."""
CLOSED, USUAL, HALF_SHUT = 0.06, 75, 0.8
"""Lid opening over eye width when shut; percentile that counts as open; share of it that is still no blink."""
WIDTH_OVER_RADIUS = 2.4
"""Distance of the eye's corners over the radius of the eyeball (29 mm, 12 mm)."""
MAX_LEFT, MAX_DOWN = np.radians(30.0), np.radians(20.0)
SHUT = 0.4
"""Gaze is not read while the lids are further shut than this."""
MIN_PIXELS = 6.0
"""Width of an eye under which nothing is read from it."""


@dataclass(frozen=True)
class Eyes:
    """Of F frames: ``blink`` (F, 2) left and right, 0 open to 1 shut; ``gaze`` (F, 2) to the left and down, radians.

    ``sure`` (F,) bool: frames in which both eyes were measured; the others are filled from their neighbours.
    """

    blink: Array
    gaze: Array
    sure: Array


def read_eyes(faces: Array, seen: Array) -> Eyes:
    """Measure lids and irises.

    Args:
        faces: (F, 478, 2) face mesh points in pixels, x to the right, y down.
        seen: (F,) bool, frames with a face.
    """
    sides = [_measure(faces, points) for points in (LEFT, RIGHT)]
    sure = seen & (np.min([width for *_, width in sides], axis=0) > MIN_PIXELS)
    if not sure.any():
        return Eyes(np.zeros((len(faces), 2)), np.zeros((len(faces), 2)), sure)
    blink = np.stack([_blink(opening, sure) for opening, *_ in sides], axis=-1)
    looking = sure & (blink.max(axis=-1) < SHUT)
    gaze = np.zeros((len(faces), 2))
    if looking.any():
        places = np.mean([np.stack([across, down], axis=-1) for _, across, down, _ in sides], axis=0)
        away = (places - np.median(places[looking], axis=0)) * WIDTH_OVER_RADIUS
        limits = np.array([MAX_LEFT, MAX_DOWN])
        gaze = limits * np.tanh(np.arcsin(np.clip(away, -0.9, 0.9)) / limits)
        gaze = _fill(gaze, looking)
    return Eyes(_fill(blink, sure), gaze, sure)


def with_blinks(registration: Registration, targets: Targets, body: BodyModel, photo: Observation) -> Registration:
    """The same bodies with lids as far shut as they are measured; open is what the photo shows."""
    eyes = read_eyes(targets.points[:, T.FACE].numpy(), targets.has_face.numpy())
    own = np.asarray(photo.arkit)[BLINK]
    arkit = np.array(registration.state["arkit"])
    arkit[:, BLINK] = own + (1 - own) * eyes.blink
    return registration.acting(arkit, body)


def _measure(faces: Array, points: tuple[int, int, int, int, int]) -> tuple[Array, Array, Array, Array]:
    """Lid opening, place of the iris across (to the person's left) and down, over the eye's width; and that width."""
    right, left, upper, lower, iris = (faces[:, i].astype(np.float64) for i in points)
    axis = left - right
    width = np.linalg.norm(axis, axis=-1)
    axis = axis / np.maximum(width, 1e-6)[:, None]
    below = np.stack([-axis[:, 1], axis[:, 0]], axis=-1)
    offset = iris - 0.5 * (left + right)
    safe = np.maximum(width, 1e-6)
    opening = np.abs(((lower - upper) * below).sum(-1)) / safe
    return opening, (offset * axis).sum(-1) / safe, (offset * below).sum(-1) / safe, width


def _blink(opening: Array, sure: Array) -> Array:
    usual = max(float(np.percentile(opening[sure], USUAL)), 2 * CLOSED)
    begin = HALF_SHUT * usual
    return np.clip((begin - opening) / (begin - CLOSED), 0.0, 1.0)


def _fill(values: Array, good: Array) -> Array:
    """Frames that are not good, by linear interpolation."""
    index = np.arange(len(values))
    return np.stack([np.interp(index, index[good], column[good]) for column in values.T], axis=-1)
