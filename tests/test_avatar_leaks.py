"""What the matte took for part of an arm and what goes on behind it belongs to the body, not to the arm."""

import numpy as np

from pipeline.avatar import geometry as geo
from pipeline.avatar.leaks import leaked


def scene(chunk: tuple, ground: tuple) -> tuple[np.ndarray, np.ndarray]:
    """A red sleeve on a ground, with a chunk of colour ``chunk`` at its right edge inside the matte."""
    image = np.empty((400, 300, 3), np.float32)
    image[:] = ground
    label = np.full((400, 300), -1, np.int8)
    label[100:300, 60:180] = geo.LEFT_ARM
    image[label >= 0] = (0.8, 0.2, 0.1)
    image[180:220, 150:180] = chunk
    return label, image


def test_a_piece_of_the_ground_is_found():
    label, image = scene((0.05, 0.05, 0.05), (0.05, 0.05, 0.05))
    found = leaked(label, image, np.ones(label.shape, bool))
    assert found[185:215, 155:178].mean() > 0.95
    assert found[100:170].sum() == 0 and found[:, 60:140].sum() == 0


def test_a_badge_of_another_colour_than_the_ground_stays():
    label, image = scene((0.05, 0.05, 0.05), (0.9, 0.9, 0.9))
    assert not leaked(label, image, np.ones(label.shape, bool)).any()


def test_a_sleeve_of_the_grounds_colour_stays():
    label, image = scene((0.8, 0.2, 0.1), (0.8, 0.2, 0.1))
    assert not leaked(label, image, np.ones(label.shape, bool)).any()


def test_the_edge_of_the_photo_says_nothing():
    label, image = scene((0.05, 0.05, 0.05), (0.05, 0.05, 0.05))
    valid = np.ones(label.shape, bool)
    valid[:, 180:] = False
    assert not leaked(label, image, valid).any()
