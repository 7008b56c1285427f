"""What can be said about a photo within a second or two, before the long work starts."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.types import Array, Detections

DARK, BRIGHT = 0.16, 0.90
SHARP = 6e-4
"""Variance of the Laplacian of the face at 128 pixels, over its squared brightness, below which it counts as blurred.
Sharp photos have 0.01 to 0.08; the same blurred by 2 % of the face's height 0.0001 to 0.0014."""
SMALL_FACE = 80
HANDS = {"left_hand": "left", "right_hand": "right"}


def check_photo(path: str | Path) -> list[str]:
    """Look at a photo as the fit will, but only briefly.

    Args:
        path: JPEG, PNG or WebP.

    Returns:
        Advice, one sentence each; empty when there is nothing to improve.

    Raises:
        PipelineError: the photo will not do, and why.
    """
    from pipeline.media import load_photo
    from pipeline.perceive.detect import Detector
    from pipeline.perceive.people import count_people
    from pipeline.perceive.report import check_detections

    image = load_photo(path)
    with Detector(static=True) as detector:
        found = detector.detect(image)
    found = check_detections(found, image.shape[1], image.shape[0], count_people(image, found))
    return advise(image, found)


def advise(image: Array, found: Detections) -> list[str]:
    """Advice on a photo (H, W, 3) in 0..1 in which a person was found."""
    advice = []
    if found.face is not None:
        advice += _about_face(image, found.face)
    for field, side in HANDS.items():
        if getattr(found, field) is None:
            advice.append(f"The {side} hand is not visible and will be guessed.")
    hips = found.pose[[23, 24]]
    if not ((hips[:, 2] > 0.5) & (hips[:, 1] < image.shape[0])).any():
        advice.append("The photo ends above the hips; a half-length photo gives arms that move better.")
    return advice


def _about_face(image: Array, face: Array) -> list[str]:
    import cv2

    x0, y0 = np.clip(face[:, :2].min(0).astype(int), 0, None)
    x1, y1 = np.ceil(face[:, :2].max(0)).astype(int) + 1
    crop = image[y0:y1, x0:x1].mean(2).astype(np.float32)
    if min(crop.shape) < 8:
        return []
    advice, light = [], float(np.median(crop))
    if y1 - y0 < SMALL_FACE:
        advice.append(f"The face is only {y1 - y0} pixels high; a closer or larger photo gives a sharper one.")
    if not DARK < light < BRIGHT:
        advice.append(f"The face is very {'dark' if light <= DARK else 'bright'}; use soft light from the front.")
    small = cv2.resize(crop, (128, 128), interpolation=cv2.INTER_AREA)
    if float(cv2.Laplacian(small, cv2.CV_32F).var()) / max(light, 0.05) ** 2 < SHARP:
        advice.append("The face is blurred; use a sharper photo.")
    return advice
