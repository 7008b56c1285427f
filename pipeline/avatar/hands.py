"""What a guessed hand needs to look like one: nails, creases at the joints, lines of the palm, knuckles, round fingers.

The photo often shows no hand, or only one side of it. A flat skin colour then looks like clay. Everything here is
drawn from the joints and the normals of the template, so it serves any body in the layout of SMPL-X, whose hands lie
flat with the palms down.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from pipeline.avatar import geometry as geo

if TYPE_CHECKING:
    from pipeline.body import BodyModel

Array = np.ndarray

WRISTS = (20, 21)
FINGERS = ((0, 1, 2), (3, 4, 5), (6, 7, 8), (9, 10, 11), (12, 13, 14))
"""Joints of index, middle, little, ring finger and thumb, counted from the hand's first (25 left, 40 right)."""
THUMB = 4
KNUCKLES = (0, 1, 3, 2)
"""Fingers in the order in which their knuckles lie side by side."""

CREASE = 0.9e-3
"""Half-width of a crease in metres: about as fine as the Gaussians of a hand draw."""
PALM_LINES = (
    ((0.84, 0.62), (0.80, 0.25), (0.86, -0.10), (0.99, -0.28)),
    ((0.72, -0.60), (0.68, -0.10), (0.52, 0.42)),
    ((0.74, -0.60), (0.58, -0.22), (0.34, -0.10), (0.08, -0.16)),
)
"""The three lines of a palm: heart, head, life; (u, v) with u from wrist (0) to knuckles (1), v from the index finger's
knuckle (-0.5) to the little finger's (0.5)."""
PINK = np.array([0.35, -0.75, -0.55])
"""How much more or less of each colour blood under the skin gives."""
RUDDY = 0.02
"""How much redder than a face a hand is everywhere."""
PALM = np.array([0.45, 0.65, 0.70])
"""By what share the palm of dark skin is lighter than its back, per channel: palms have next to no melanin."""
WRIST_FADE = 0.2
"""Share of the way from wrist to knuckles over which the inside of a hand begins."""
LIGHT_SKIN, DARK_SKIN = 0.62, 0.32
"""Brightness of a face from which on its palms are as light as the rest, and below which they differ by PALM."""
PALE, BROWN = 0.30, 0.45
"""Saturation of a face below which it is dark for want of light, and from which on it is brown."""
NAIL = np.array([1.03, 0.95, 0.95])
"""Colour of a nail relative to the skin around it."""


@dataclass(frozen=True)
class Finger:
    """Points (N) of one finger: metres from its first joint ``along`` its bones (N,), the other ``joints`` (2,) and the
    ``tip`` on that scale, and the cosine ``back`` (N,) of the normal about the bone, 1 on the nail's side."""

    along: Array
    back: Array
    joints: Array
    tip: float


def palm_of(skin: Array) -> Array:
    """Colour of a palm relative to the back of the hand (3,), 1 or more, for the skin (3,) of a face in 0..1."""
    dark = (LIGHT_SKIN - skin.mean()) / (LIGHT_SKIN - DARK_SKIN)
    brown = (np.ptp(skin) / max(float(skin.max()), 1e-3) - PALE) / (BROWN - PALE)
    return 1 + PALM * np.clip(dark, 0, 1) * np.clip(brown, 0, 1)


def lighter_palms(rgb: Array, palm: Array, skin: Array) -> Array:
    """Colours (N, 3) with palms that are lighter than the skin (3,) of a dark face.

    A hand that is as light already, because the photo shows its palm, stays as it is.

    Args:
        palm: (N,) how much a point is a guess and on a palm, 0..1.
    """
    wanted = np.clip(skin * palm_of(skin), rgb, rgb * palm_of(skin))
    return rgb + palm[:, None] * (wanted - rgb)


def hand_detail(body: BodyModel, face: Array, bary: Array) -> tuple[Array, Array]:
    """Factor on the colour of surface points that turns plain skin into a hand's.

    Args:
        face: (N,) triangles. bary: (N, 3).

    Returns:
        (N, 3) factors, 0.6..1.2, 1 away from hands; and how much points belong to the inside of a hand, (N,) 0..1.
    """
    template, faces = np.asarray(body.v_template, np.float64), np.asarray(body.faces)
    corners, weights = faces[face], np.asarray(body.lbs_weights)
    joints = body.shaped(torch.zeros(1, body.n_betas), torch.zeros(1, body.n_expression))[1][0].numpy().astype(float)
    normals = geo.vertex_normals(template, faces)
    out, palmar = np.ones((len(face), 3)), np.zeros(len(face))
    for side, name in enumerate(("left_hand", "right_hand")):
        mine = np.flatnonzero(geo.region(body, name)[corners].any(1))
        if len(mine) == 0:
            continue
        at, part = corners[mine], bary[mine][..., None]
        point, normal = ((values[at] * part).sum(1) for values in (template, normals))
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
        first = 25 + 15 * side
        hold = np.stack([(weights[at][:, :, [first + j for j in f]] * part).sum((1, 2)) for f in FINGERS], 1)
        hand = joints[[WRISTS[side], *range(first, first + 15)]]
        factor = palm_and_back(point, normal, hand, hold[:, THUMB])
        middle = hand[1 + FINGERS[1][0]] - hand[0]
        up = (point - hand[0]) @ middle / (middle @ middle)
        inside = np.clip(-2.5 * normal[:, 1], 0, 1) * np.clip(up / WRIST_FADE, 0, 1)
        for number in range(len(FINGERS)):
            on = np.flatnonzero((hold.argmax(1) == number) & (hold[:, number] > 0.05))
            if len(on) == 0:
                continue
            tips = template[weights[:, first + FINGERS[number][2]] > 0.5]
            finger = unroll_finger(point[on], normal[on], hand, number, tips)
            share = np.clip(hold[on, number] / 0.8, 0, 1)
            factor[on] += share[:, None] * (finger_detail(finger) - factor[on])
            inside[on] += share * (np.clip(-2.5 * finger.back, 0, 1) - inside[on])
        out[mine], palmar[mine] = factor, inside
    return np.clip(out, 0.6, 1.2).astype(np.float32), palmar.astype(np.float32)


def unroll_finger(point: Array, normal: Array, hand: Array, number: int, tips: Array) -> Finger:
    """Lay points (N, 3) of finger ``number`` along its bones.

    Args:
        normal: (N, 3). hand: (16, 3) wrist and the hand's joints. tips: (M, 3) vertices of the last bone.
    """
    a, b, c = (hand[1 + j] for j in FINGERS[number])
    last = _unit(c - b)
    reach = float(((tips - c) @ last).max()) if len(tips) else float(np.linalg.norm(c - b))
    chain = np.stack([a, b, c, c + reach * last])
    lengths = np.linalg.norm(np.diff(chain, axis=0), axis=1)
    starts = np.r_[0.0, np.cumsum(lengths)]
    along, back = np.zeros(len(point)), np.zeros(len(point))
    nearest = np.full(len(point), np.inf)
    for k in range(3):
        axis = _unit(chain[k + 1] - chain[k])
        up = np.array([0.0, 1.0, 0.0])
        if number == THUMB:  # it bends towards the root of the ring finger
            up = chain[k] - hand[1 + FINGERS[3][0]]
        up = _unit(up - (up @ axis) * axis)
        place = (point - chain[k]) @ axis
        kept = np.clip(place, 0 if k else -1, lengths[k] if k < 2 else 1)
        gap = np.linalg.norm(point - chain[k] - kept[:, None] * axis, axis=1)
        across = normal - (normal @ axis)[:, None] * axis
        cosine = (across @ up) / np.maximum(np.linalg.norm(across, axis=1), 1e-9)
        here = gap < nearest
        along[here], back[here], nearest[here] = (starts[k] + place)[here], cosine[here], gap[here]
    return Finger(along, back, starts[1:3], float(starts[3]))


def finger_detail(finger: Finger) -> Array:
    """Factor (N, 3) of one finger's points: round sides, creases and red over the joints, nail and fingertip."""
    shade = 0.75 + 0.25 * np.sqrt(np.abs(finger.back))
    red = np.full(len(shade), RUDDY)
    over, under = np.clip(2 * finger.back, 0, 1), np.clip(-2 * finger.back, 0, 1)
    for joint in finger.joints:
        gap = finger.along - joint
        shade *= 1 - 0.16 * under * _bell(gap, CREASE)
        wrinkles = sum(_bell(gap - shift, 0.8 * CREASE) for shift in (-2.8e-3, 0.0, 2.8e-3))
        shade *= 1 - 0.10 * over * wrinkles
        red += 0.07 * over * _bell(gap, 6e-3)
    root = 0.52 * finger.joints[0]
    shade *= 1 - 0.16 * under * _bell(finger.along - root, CREASE)
    red += 0.06 * np.clip((finger.along - finger.joints[1]) / max(finger.tip - finger.joints[1], 1e-6), 0, 1)
    factor = shade[:, None] * (1 + red[:, None] * PINK)
    return _nail(factor, finger)


def _nail(factor: Array, finger: Finger) -> Array:
    """The factors (N, 3) with a nail: a lighter plate with a dark fold around it and a pale edge."""
    t = (finger.along - finger.joints[1]) / max(finger.tip - finger.joints[1], 1e-6)
    aside = np.sqrt(np.clip(1 - finger.back**2, 0, 1))
    radius = (np.abs((t - 0.74) / 0.28) ** 2.5 + (aside / 0.74) ** 2.5) ** 0.4
    radius = np.where(finger.back > 0, radius, 9.0)
    plate = np.clip((1.0 - radius) / 0.2, 0, 1)[:, None]
    fold = _bell(radius - 1.08, 0.10) * np.clip((0.97 - t) / 0.1, 0, 1)
    edge = plate[:, 0] * np.clip((t - 0.90) / 0.05, 0, 1)
    nail = NAIL * (1 + 0.10 * edge[:, None])
    return (factor * (1 - plate) + nail * plate) * (1 - 0.22 * fold[:, None])


def palm_and_back(point: Array, normal: Array, hand: Array, thumb: Array) -> Array:
    """Factor (N, 3) of palm and back of the hand.

    Args:
        point, normal: (N, 3). hand: (16, 3) wrist and the hand's joints. thumb: (N,) how much a point
            belongs to the thumb, 0..1.
    """
    wrist, roots = hand[0], hand[[1 + f[0] for f in FINGERS]]
    forward = roots[1] - wrist
    length = max(float(np.linalg.norm(forward)), 1e-6)
    forward = forward / length
    aside = roots[2] - roots[0]
    aside = aside - (aside @ forward) * forward
    width = max(float(np.linalg.norm(aside)), 1e-6)
    u = (point - wrist) @ forward / length
    v = (point - 0.5 * (roots[0] + roots[2])) @ (aside / width) / width
    over, under = np.clip(2.5 * normal[:, 1], 0, 1), np.clip(-2.5 * normal[:, 1], 0, 1)
    shade = 0.82 + 0.18 * np.sqrt(np.abs(normal[:, 1]))
    flat = np.stack([u * length, v * width], 1)
    inside = under * (1 - thumb)
    for line in PALM_LINES:
        shade *= 1 - 0.14 * inside * _bell(_to_line(flat, np.array(line) * (length, width)), CREASE)
    red = RUDDY + 0.04 * under
    for left, right in zip(KNUCKLES[:-1], KNUCKLES[1:], strict=True):
        valley = 0.5 * (roots[left] + roots[right]) + 0.004 * forward
        shade *= 1 - 0.13 * over * _bell(np.linalg.norm(point - valley, axis=1), 7e-3)
    for root in roots[:4]:
        gap = np.linalg.norm(np.cross(point - root, _unit(root - wrist)), axis=1)
        behind = (point - root) @ _unit(root - wrist)
        on_tendon = over * np.clip(-behind / 0.01, 0, 1) * np.clip(u / 0.3, 0, 1)
        shade *= 1 + on_tendon * (0.05 * _bell(gap, 3e-3) - 0.02)
        near = np.linalg.norm(point - root - 0.004 * _unit(root - wrist), axis=1)
        red += 0.06 * over * _bell(near, 0.011)
    return shade[:, None] * (1 + red[:, None] * PINK)


def _to_line(points: Array, line: Array) -> Array:
    """Distance (N,) of points (N, 2) to a chain of segments (M, 2)."""
    gap = np.full(len(points), np.inf)
    for a, b in zip(line[:-1], line[1:], strict=True):
        t = np.clip(((points - a) @ (b - a)) / max(((b - a) ** 2).sum(), 1e-12), 0, 1)
        gap = np.minimum(gap, np.linalg.norm(points - a - t[:, None] * (b - a), axis=1))
    return gap


def _bell(x: Array, width: float) -> Array:
    return np.exp(-0.5 * (x / width) ** 2)


def _unit(v: Array) -> Array:
    return v / max(float(np.linalg.norm(v)), 1e-9)
