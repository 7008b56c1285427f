"""Several looks at one photo: mirrored answers turned back, the median where looks agree, doubt where they do not."""

import numpy as np

from pipeline.perceive.consensus import AGREE, DOUBTED, MIRRORED, Look, consensus, further_looks, unmirrored


def a_look(seed: int = 0) -> Look:
    generator = np.random.default_rng(seed)
    pose = np.concatenate([generator.uniform(0, 100, (33, 2)), np.full((33, 1), 0.8)], 1).astype(np.float32)
    return Look(pose, generator.normal(0, 0.3, (33, 3)).astype(np.float32))


def shifted(look: Look, keypoint: int, by: float) -> Look:
    pose = look.pose.copy()
    pose[keypoint, 0] += by
    return Look(pose, look.world)


def test_mirrored_order_swaps_sides_and_is_its_own_inverse():
    order = np.array(MIRRORED)
    np.testing.assert_array_equal(order[order], np.arange(33))
    assert order[0] == 0 and order[11] == 12 and order[15] == 16 and order[2] == 5 and order[9] == 10


def test_unmirrored_twice_is_the_same():
    look = a_look()
    again = unmirrored(unmirrored(look, 100), 100)
    np.testing.assert_allclose(again.pose, look.pose, atol=1e-5)
    np.testing.assert_allclose(again.world, look.world)


def test_further_looks_come_back_in_the_pixels_of_the_picture():
    picture = np.zeros((200, 100, 3), np.uint8)
    picture[60:64, 20:24] = 255

    def brightest(shown: np.ndarray) -> Look:
        rows, cols = np.nonzero(shown[..., 0] > 128)
        pose = np.tile(np.array([cols.mean() + 0.5, rows.mean() + 0.5, 1.0], np.float32), (33, 1))
        return Look(pose, np.zeros((33, 3), np.float32))

    looks = further_looks(picture, brightest)
    assert len(looks) == 6
    for look in looks:
        np.testing.assert_allclose(look.pose[:, :2], np.tile([22.0, 62.0], (33, 1)), atol=0.6)


def test_one_wrong_look_is_outvoted_and_somebody_else_is_not_asked():
    first = a_look()
    wrong = shifted(first, 14, 12.0)
    stranger = Look(first.pose + np.array([80, 0, 0], np.float32), first.world)
    agreed = consensus(wrong, [first, first, first, stranger, stranger], scale=100.0)
    np.testing.assert_allclose(agreed.pose, first.pose)
    assert consensus(wrong, [stranger, stranger], scale=100.0) is wrong


def test_without_agreement_the_first_look_counts_with_less_visibility():
    first = a_look()
    far = 100.0 * AGREE * 4
    others = [shifted(first, 15, far * k) for k in (1, -1, 2, -2)]
    agreed = consensus(first, others, scale=100.0)
    np.testing.assert_allclose(agreed.pose[15, :2], first.pose[15, :2])
    np.testing.assert_allclose(agreed.pose[15, 2], DOUBTED * first.pose[15, 2])
    np.testing.assert_allclose(np.delete(agreed.pose, 15, 0), np.delete(first.pose, 15, 0))
