"""Alignment of a drawn avatar with frames, and the steadier matte of a camera at rest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.labels.align import Aligner, CutOut, agree, choose_anchors, outline
from pipeline.labels.steady import camera_moved, shared_ground, steady_matte
from pipeline.perceive import targets as T
from pipeline.perceive.dense import Anchors, DenseTargets
from pipeline.perceive.register import LandmarkModel, RegisterConfig, Registration, project
from pipeline.perceive.targets import build_targets
from pipeline.puppet import Puppet
from pipeline.types import Detections, FitReport, Observation


def still(doll, frames: int = 1, **changes) -> Registration:
    """The doll's own pose as a registration, with changed fields."""
    p = doll.params
    names = ("global_orient", "body_pose", "left_hand_pose", "right_hand_pose", "transl")
    state = {k: np.repeat(changes.get(k, getattr(p, k))[None], frames, 0) for k in names}
    state["arkit"] = np.zeros((frames, 52), np.float32)
    native = ("expression", "jaw_pose", "leye_pose", "reye_pose")
    face = {k: np.repeat(getattr(p, k)[None], frames, 0) for k in native}
    return Registration(state, p.betas, face, np.zeros((frames, 1, 2), np.float32))


def disc(radius: float, size: int = 64) -> np.ndarray:
    """A soft-edged disc (size, size) in 0..1."""
    y, x = np.indices((size, size)) + 0.5
    return np.clip(radius - np.hypot(x - size / 2, y - size / 2) + 0.5, 0, 1).astype(np.float32)


def test_anchors_follow_their_gaussians(doll):
    anchors = choose_anchors(doll)
    assert 500 < len(anchors) < len(doll)
    placed = anchors.posed(doll.body, still(doll))[0]
    with torch.no_grad():
        means = doll.pose(doll.params)[0].numpy()
    gap = np.linalg.norm(means[None] - placed[::50, None], axis=-1).min(1)
    assert gap.max() < 1e-3, "at the photo's pose every anchor lies on a Gaussian"


@pytest.mark.parametrize("shift", [1.6, -2.3])
def test_outline_measures_a_fraction_of_a_pixel(shift):
    drawn, seen = disc(20), disc(20 + shift)
    frame = CutOut(np.zeros((64, 64), np.uint8), np.rint(seen * 255).astype(np.uint8), np.ones((64, 64), bool))
    uv = np.array([[32 + 18.5, 32.0], [32.0, 32 - 18.5], [32.0, 32.0]])
    normals, edges, sure = outline(drawn, frame, uv, uv[:, 1].astype(int), uv[:, 0].astype(int), 8.0)
    assert sure.tolist() == [1, 1, 0], "the middle is not near the outline"
    assert np.allclose(normals[:2], [[1, 0], [0, -1]], atol=0.1)
    moved = edges[:2] - (uv * normals).sum(1)[:2]
    assert np.allclose(moved, shift, atol=0.35)


def test_a_moved_person_draws_the_anchors_along(doll):
    size = (72, 128)
    camera = doll.camera.resized(*size)
    moved = doll.params.transl + np.float32([0.02, 0, 0])
    drawn, cover = Puppet(doll).layers(doll.params.replace(transl=moved), camera)
    frame = CutOut.of((np.clip(drawn + 1 - cover[..., None], 0, 1) * 255).astype(np.uint8), cover, cover >= 0)
    anchors = choose_anchors(doll)
    seen = Aligner(doll, anchors, doll.camera, size).targets([frame], still(doll), 8.0, lambda share: None)
    before = project(torch.from_numpy(anchors.posed(doll.body, still(doll))), doll.camera)
    after = project(torch.from_numpy(anchors.posed(doll.body, still(doll, transl=moved))), doll.camera)
    sure = seen.edge_weights > 0.5
    assert sure.sum() > 20
    wanted = ((after - before) * seen.normals).sum(-1)[sure]
    found = (seen.edges - (before * seen.normals).sum(-1))[sure]
    assert (wanted - found).abs().mean() < 0.5 * wanted.abs().mean()


def test_nothing_moves_because_the_video_ends(doll):
    anchors, size = choose_anchors(doll), (doll.camera.width // 2, doll.camera.height // 2)
    drawn, cover = Puppet(doll).layers(doll.params, doll.camera.resized(*size))
    valid = np.ones_like(cover, bool)
    rows = np.flatnonzero((cover > 0.5).any(1))
    last = int(rows[len(rows) // 2])
    valid[last:] = False  # the video ends at the person's middle
    shown = np.where(valid[..., None], drawn + 1 - cover[..., None], 1.0)
    frame = CutOut.of((np.clip(shown, 0, 1) * 255).astype(np.uint8), cover * valid, valid)
    seen = Aligner(doll, anchors, doll.camera, size).targets([frame], still(doll), 8.0, lambda share: None)
    places, _ = doll.camera.project(anchors.posed(doll.body, still(doll))[0])
    weights, beyond = seen.weights[0].numpy(), places[:, 1] > 2 * last
    assert beyond.any() and not weights[beyond].any()
    near = (weights > 0.1) & (places[:, 1] > 2 * last - 20)
    assert near.any() and np.abs(seen.points[0].numpy() - places)[near].max() < 0.5


def test_who_keeps_still_is_still(doll):
    """Frames that show what the photo shows: the track settles on the photo's pose instead of trembling around it."""
    frames, camera = 5, doll.camera
    own = still(doll, frames)
    state = {k: torch.from_numpy(v[:1]) for k, v in own.state.items()}
    points = LandmarkModel(doll.body)(state, torch.as_tensor(own.betas))[0][0, T.POSE]
    pixels = project(points, camera).numpy()
    world = (points.numpy() * [1, -1, -1]).astype(np.float32)
    pose = np.c_[pixels, np.ones(33)].astype(np.float32)
    seen = Detections(np.zeros((133, 3), np.float32), pose, world, None, None, None)
    drawn, cover = Puppet(doll).layers(doll.params, camera)
    report = FitReport(True, "", (), {}, ())
    white = np.clip(drawn + 1 - cover[..., None], 0, 1)
    photo = Observation(white, cover, camera, doll.params, np.zeros(52, np.float32), seen, report, "")
    frame = CutOut.of((white * 255).astype(np.uint8), cover, cover >= 0)
    rng = np.random.default_rng(0)
    shaken = [np.c_[pixels + rng.normal(0, 1, pixels.shape), np.ones(33)].astype(np.float32) for _ in range(frames)]
    every = [replace(seen, pose=pose) for pose in shaken]
    targets = build_targets(every, camera.width, camera.height)
    config = RegisterConfig()
    found = agree(own, targets, camera, [(0, frames)], config, doll, photo, [frame] * frames, lambda stage, share: None)
    anchors = choose_anchors(doll)
    places = anchors.posed(doll.body, found)
    steps = np.linalg.norm(np.diff(places, axis=0), axis=-1)
    assert np.median(steps, axis=1).max() < 0.0015, "a quarter of a pixel, while keypoints are off by one"


def test_targets_of_some_frames():
    dense = DenseTargets(np.array([3, 5]), torch.zeros(4, 2, 2), torch.ones(4, 2))
    part = dense.select(slice(1, 3))
    assert part.points.shape == (2, 2, 2) and part.normals is None
    joined = part.spots.joined(Anchors(np.zeros((1, 3), int), np.full((1, 3), 1 / 3), np.ones((1, 3))))
    assert joined.vertex_ids.shape == (3, 3) and joined.mix.sum(1) == pytest.approx(np.ones(3))


def test_matte_keeps_still_where_the_picture_does():
    photo = np.full((100, 60, 3), 0.5, np.float32)
    known = np.zeros((100, 60), np.float32)
    known[20:80, 20:40] = 1
    crop = (photo * 255).astype(np.uint8)
    crop[85:95, 45:55] = 250  # something that was not there before
    wavering = known.copy()
    wavering[40:60, 28:32] = 0.2  # a hole in the person
    wavering[5:15, 5:15] = 0.9  # a chair
    wavering[85:95, 45:55] = 0.9
    steady = steady_matte(wavering, crop, photo, known)
    assert steady[40:60, 28:32].min() > 0.99 and steady[5:15, 5:15].max() < 0.01
    assert steady[87:93, 47:53].min() > 0.85, "where the picture changed, the frame's own matte decides"
    moved = np.clip(crop.astype(int) + 60, 0, 255).astype(np.uint8)
    assert np.array_equal(steady_matte(wavering, moved, photo, known), wavering)


def test_matte_of_a_moving_camera_is_left_alone():
    """A plain wall looks the same from everywhere; the picture on it tells that the camera moved."""
    photo = np.full((200, 120, 3), 0.5, np.float32)
    photo[20:60, 80:110] = speckled(np.random.default_rng(1), 40, 32)[:, :30]
    known = np.zeros((200, 120), np.float32)
    known[80:, 30:60] = 1  # a person in the colour of the wall
    crop = (photo * 255).astype(np.uint8)
    alpha = np.roll(known, 25, axis=1)
    assert not camera_moved(crop, alpha, photo, known)
    aside = np.roll(crop, 12, axis=1)
    assert camera_moved(aside, alpha, photo, known)
    assert np.array_equal(steady_matte(alpha, aside, photo, known), alpha)


def speckled(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A ground with corners to match, (height, width, 3) in 0..1."""
    import cv2

    small = rng.random((height // 8, width // 8, 3)).astype(np.float32)
    return cv2.GaussianBlur(cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST), (0, 0), 1.5)


def test_photo_of_the_same_camera_is_found_and_laid_over_the_frames():
    import cv2

    rng = np.random.default_rng(0)
    photo = speckled(rng, 320, 180)
    known = np.zeros((320, 180), np.float32)
    known[120:300, 60:120] = 1
    photo[known > 0] = (0.8, 0.6, 0.5)
    move = np.float32([[1.25, 0, -20], [0, 1.25, -30]])  # another window on the same scene
    crop = (cv2.warpAffine(photo, move, (180, 320)) * 255).astype(np.uint8)
    person = cv2.warpAffine(known, move, (180, 320))
    chair = person.copy()
    chair[200:300, 10:40] = 0.9
    ground = shared_ground(photo, known, crop, chair)
    assert ground is not None
    steady = ground.steady(chair, crop)
    assert steady[210:290, 15:35].mean() < 0.1 and steady[180:280, 80:110].min() > 0.95
    same = (photo * 255).astype(np.uint8)
    assert shared_ground(photo, known, same, known).image is photo, "nothing is moved where nothing has to be"


def test_photo_of_another_place_steadies_nothing():
    photo, other = (speckled(np.random.default_rng(seed), 320, 180) for seed in (0, 1))
    known = np.zeros((320, 180), np.float32)
    known[120:300, 60:120] = 1
    crop = (other * 255).astype(np.uint8)
    assert shared_ground(photo, known, crop, known) is None
    plain = np.full_like(crop, 200)
    assert shared_ground(photo, known, plain, known) is None, "no corners at all"
