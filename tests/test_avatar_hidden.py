"""Hands that the photo does not show: found, tucked away, and given skin colour."""

import numpy as np
import pytest

from pipeline.avatar import arms, initial, tuck
from pipeline.avatar import geometry as geo
from pipeline.avatar.parts import Parts, smile_layer
from pipeline.avatar.surface import never_seen, unfolding_lids
from pipeline.config import FitConfig
from pipeline.types import BodyParams, Camera, Detections


@pytest.fixture(scope="module")
def body():
    from pipeline.body import load_body

    return load_body()


@pytest.fixture(scope="module")
def params(body) -> BodyParams:
    """Upper arms down, forearms bent forwards: both hands in front of the belly."""
    from scipy.spatial.transform import Rotation

    base = BodyParams.zeros(body.n_betas, body.n_expression)
    pose = base.body_pose.copy()
    for joint, side in ((16, 1), (17, -1)):
        pose[joint - 1] = (Rotation.from_euler("z", -1.2 * side) * Rotation.from_euler("x", 0.8)).as_rotvec()
        pose[joint + 1] = [0, -1.5 * side, 0]
    return base.replace(body_pose=pose.astype(np.float32))


@pytest.fixture(scope="module")
def camera() -> Camera:
    camera = Camera.frontal(288, 512, focal=560.0, distance=2.4)
    viewmat = camera.viewmat.copy()
    viewmat[1, 3] = 0.1
    return Camera(viewmat, camera.K, camera.width, camera.height)


def seen_wrists(body, params, camera, score: float) -> Detections:
    _, _, joints = tuck._posed(body, params)
    pose = np.zeros((33, 3), np.float32)
    for side in (tuck.LEFT, tuck.RIGHT):
        pose[side.pose_wrist, :2] = camera.project(joints[side.wrist])[0]
        pose[side.pose_wrist, 2] = score
    return Detections(np.zeros((133, 3), np.float32), pose, np.zeros((33, 3), np.float32), None, None, None)


def test_inverse_kinematics_reaches_and_keeps_the_elbow(body, params, camera):
    _, _, joints = tuck._posed(body, params)
    target = joints[tuck.LEFT.wrist] + np.array([0.0, 0.0, -0.12])
    moved = tuck._posed(body, tuck.reach(body, params, camera, tuck.LEFT, target))[2]
    np.testing.assert_allclose(moved[tuck.LEFT.wrist], target, atol=2e-3)
    before, after = (camera.project(j[tuck.LEFT.elbow])[0] for j in (joints, moved))
    assert np.linalg.norm(before - after) < 15
    np.testing.assert_allclose(moved[tuck.RIGHT.wrist], joints[tuck.RIGHT.wrist], atol=1e-5)


def test_unseen_hands_are_hidden_in_the_body(body, params, camera):
    valid = np.ones((512, 288), bool)
    hits = geo.cast(tuck._posed(body, params)[0], body.faces.numpy(), camera)
    image = np.where(arms.face_skin(body, hits)[..., None], [0.8, 0.6, 0.5], [0.1, 0.2, 0.7]).astype(np.float32)
    unseen = tuck.unseen_faces(body, params, camera, image, seen_wrists(body, params, camera, 0.9), valid)
    segments = arms.arm_segments(body)
    assert (segments[unseen] == arms.HAND).all() and unseen.any()
    tucked = tuck.tuck(body, params, camera, unseen)
    part = np.unique(body.faces.numpy()[unseen & (geo.face_groups(body) == geo.LEFT_ARM)])
    posed = tuck._posed(body, params)[0]
    hits = geo.cast(posed, body.faces.numpy(), camera, geo.face_groups(body) == geo.BODY)
    before = tuck.exposed(posed[part], hits, camera)
    after = tuck.exposed(tuck._posed(body, tucked)[0][part], hits, camera)
    assert before > 0.8 and after < 0.3


def test_a_sunken_forearm_that_the_photo_shows_comes_out(body, params, camera):
    pose = params.body_pose.copy()
    pose[17] = [0.0, -0.2, 0.0]
    from scipy.spatial.transform import Rotation

    pose[15] = (Rotation.from_euler("z", -1.75) * Rotation.from_euler("x", 0.2)).as_rotvec()  # the arm inside the hip
    sunken = params.replace(body_pose=pose.astype(np.float32))
    groups, segments = geo.face_groups(body), arms.arm_segments(body)
    faces = np.asarray(body.faces)
    fore, hand = ((groups == tuck.LEFT.group) & (segments == s) for s in (arms.FOREARM, arms.HAND))

    def shown(values: BodyParams) -> float:
        posed = tuck._posed(body, values)[0]
        hits = geo.cast(posed, faces, camera, groups == geo.BODY)
        return tuck.exposed(posed[np.unique(faces[fore])], hits, camera)

    assert shown(sunken) < tuck.SUNKEN
    seen = tuck.emerge(body, sunken, camera, hand)
    assert shown(seen) > max(tuck.SUNKEN, shown(sunken) + 0.2)
    before, after = (tuck._posed(body, p)[2] for p in (sunken, seen))
    for joint in (tuck.LEFT.elbow, tuck.LEFT.wrist):
        gap = camera.project(before[joint])[0] - camera.project(after[joint])[0]
        assert np.linalg.norm(gap) < 12  # as seen in the picture it stays where it was
    unseen = tuck.emerge(body, sunken, camera, hand | fore)
    np.testing.assert_array_equal(unseen.body_pose, sunken.body_pose)


def test_seen_hands_are_left_alone(body, params, camera):
    image, valid = np.full((512, 288, 3), 0.5, np.float32), np.ones((512, 288), bool)
    unseen = tuck.unseen_faces(body, params, camera, image, seen_wrists(body, params, camera, 0.9), valid)
    assert not unseen.any(), "hands of the face's colour count as seen"
    assert tuck.tuck(body, params, camera, unseen) is params
    hidden = tuck.unseen_faces(body, params, camera, image, None, valid)
    assert not hidden.any(), "nothing is known without detections"


def test_a_sleeve_at_the_edge_of_the_photo_belongs_to_the_arm(body, params, camera):
    """Hanging arms often leave a photo at the wrist, where the keypoint is in doubt."""
    hits = geo.cast(tuck._posed(body, params)[0], body.faces.numpy(), camera)
    image = np.where(arms.face_skin(body, hits)[..., None], [0.8, 0.6, 0.5], [0.1, 0.2, 0.7]).astype(np.float32)
    found, segments = seen_wrists(body, params, camera, 0.3), arms.arm_segments(body)
    found.pose[[tuck.LEFT.pose_elbow, tuck.RIGHT.pose_elbow]] = 140, 300, 0.9
    lowest = max(found.pose[side.pose_wrist, 1] for side in (tuck.LEFT, tuck.RIGHT))
    for below, seen in ((100, False), (10, True)):
        valid = np.zeros((512, 288), bool)
        valid[: int(lowest) + below] = True
        unseen = tuck.unseen_faces(body, params, camera, image, found, valid)
        assert (segments[unseen] == arms.HAND).any()
        assert (segments[unseen] != arms.FOREARM).all() == seen


def test_a_half_seen_wrist_counts_where_the_picture_shows_one_sleeve(body, params, camera):
    """A bent arm whose keypoints are in doubt, and the same arm with something dark held before the forearm."""
    hits = geo.cast(tuck._posed(body, params)[0], body.faces.numpy(), camera)
    image = np.where(arms.face_skin(body, hits)[..., None], [0.8, 0.6, 0.5], [0.9, 0.4, 0.1]).astype(np.float32)
    segments, valid = arms.arm_segments(body), np.ones((512, 288), bool)
    on_forearm = (hits.face >= 0) & (geo.face_groups(body) > 0)[hits.face] & (segments == arms.FOREARM)[hits.face]
    held = np.where(on_forearm[..., None], np.float32(0.05), image)
    for picture, score, seen in ((image, 0.45, True), (held, 0.45, False), (image, 0.2, False), (held, 0.9, True)):
        unseen = tuck.unseen_faces(body, params, camera, picture, seen_wrists(body, params, camera, score), valid)
        assert (segments[unseen] == arms.HAND).any()
        assert (segments[unseen] != arms.FOREARM).all() == seen


def test_smile_hangs_on_the_upper_teeth(body, camera):
    vertices = body.v_template.numpy()
    head = Camera.frontal(200, 200, focal=1500.0, distance=1.0)
    viewmat = head.viewmat.copy()
    teeth = vertices[geo.region(body, "teeth")].mean(0)
    viewmat[:3, 3] -= viewmat[:3, :3] @ teeth
    head = Camera(viewmat, head.K, 200, 200)
    mouth = np.zeros((200, 200), bool)
    mouth[97:103, 70:130] = True
    hits = geo.cast(vertices, body.faces.numpy(), head, geo.mouth_interior(body)[body.faces.numpy()].all(1))
    bound = smile_layer(body, vertices, head, hits, mouth)
    upper = geo.region(body, "upper_teeth")[body.faces.numpy()].all(1)
    assert upper[bound.face[mouth]].all()
    assert (bound.depth[mouth] <= hits.depth[mouth]).all()
    np.testing.assert_array_equal(bound.face[~mouth], hits.face[~mouth])


def test_lids_unfold_and_inner_walls_are_left_out(body):
    from pipeline.avatar.initial import posed_body

    posed = posed_body(body, BodyParams.zeros(body.n_betas, body.n_expression))
    lids = unfolding_lids(body, posed.canonical, posed.blink)
    assert 10 < lids.sum() < 1000
    assert geo.region(body, "head")[body.faces.numpy()[lids]].all()
    walls = never_seen(body)
    assert walls.any() and not geo.region(body, "teeth", "eyeballs")[body.faces.numpy()[walls]].any()


def hanging(params: BodyParams) -> BodyParams:
    """Both arms down beside the body, straight."""
    pose = params.body_pose.copy()
    pose[15], pose[16], pose[17], pose[18] = [0, 0, -1.2], [0, 0, 1.2], 0, 0
    return params.replace(body_pose=pose)


def painted(body, params, camera, colours: dict[int, list[float]]) -> np.ndarray:
    """A picture with a colour for each segment of the arms, a face of skin, and blue cloth elsewhere."""
    hits = geo.cast(tuck._posed(body, params)[0], body.faces.numpy(), camera)
    image = np.where(arms.face_skin(body, hits)[..., None], [0.8, 0.6, 0.5], [0.1, 0.2, 0.7]).astype(np.float32)
    segment = np.where(hits.face >= 0, arms.arm_segments(body)[np.maximum(hits.face, 0)], -1)
    segment[np.isin(geo.face_groups(body)[np.maximum(hits.face, 0)], (geo.LEFT_ARM, geo.RIGHT_ARM), invert=True)] = -1
    for number, colour in colours.items():
        image[segment == number] = colour
    return image


@pytest.mark.parametrize(("forearm", "seen"), [([0.8, 0.6, 0.5], True), ([0.1, 0.2, 0.7], False)])
def test_a_bare_forearm_that_leaves_the_photo_is_seen_without_its_elbow(body, params, camera, forearm, seen):
    """The detector is not sure of an elbow near the photo's edge; skin is skin."""
    params = hanging(params)
    joints = camera.project(tuck._posed(body, params)[2])[0]
    detections = seen_wrists(body, params, camera, 0.1)
    for side in (tuck.LEFT, tuck.RIGHT):
        detections.pose[side.pose_elbow] = [*joints[side.elbow], 0.25]
    valid = np.ones((512, 288), bool)
    valid[int(0.4 * joints[tuck.LEFT.elbow, 1] + 0.6 * joints[tuck.LEFT.wrist, 1]) :] = False
    image = painted(body, params, camera, {arms.FOREARM: forearm})
    unseen = tuck.unseen_faces(body, params, camera, image, detections, valid)
    segments = arms.arm_segments(body)
    assert (segments[unseen] == arms.HAND).any() and (segments[unseen] == arms.FOREARM).any() != seen


def test_a_hand_that_shows_a_little_is_turned_to_its_place_and_then_seen(body, params, camera):
    """Cut off by the photo, it was found bent over the dress; it is as bright as the forearm, the face is not."""
    params = hanging(params)
    bent = params.body_pose.copy()
    bent[19] = [0.0, -0.9, 0.0]
    wrong = params.replace(body_pose=bent)
    wrist = camera.project(tuck._posed(body, params)[2])[0][tuck.LEFT.wrist, 1]
    low = Camera(camera.viewmat, camera.K, camera.width, int(wrist) + 16)
    bright, skin = [0.97, 0.85, 0.74], [0.8, 0.6, 0.5]
    image = painted(body, params, low, {arms.HAND: bright, arms.FOREARM: bright})
    image[: int(wrist) - 20] = painted(body, params, low, {arms.FOREARM: skin})[: int(wrist) - 20]
    detections, valid = seen_wrists(body, params, low, 0.9), np.ones(image.shape[:2], bool)
    faces, left = body.faces.numpy(), geo.face_groups(body) == geo.LEFT_ARM
    unseen = left & tuck.unseen_faces(body, wrong, low, image, detections, valid)
    part = np.unique(faces[unseen])
    turned = tuck.tuck(body, wrong, low, unseen)

    def shown(values: BodyParams) -> float:
        posed = tuck._posed(body, values)[0]
        return tuck.exposed(posed[part], geo.cast(posed, faces, low, ~left), low)

    assert tuck.ENOUGH < shown(wrong) <= tuck.TOLERATED and shown(turned) < shown(wrong) - 0.05
    assert (unseen & tuck.unseen_faces(body, turned, low, image, detections, valid)).any()
    assert not (unseen & tuck.unseen_faces(body, turned, low, image, detections, valid, tucked=True)).any()


@pytest.mark.parametrize("belly", ["cloth", "bare"])
def test_what_a_hand_hid_is_filled_with_cloth_and_not_with_the_other_hand_or_hair(body, params, camera, belly):
    """Beside the hole: the other hand's skin, a lock of hair, and a shirt. A bare belly stays bare."""
    cloth, skin, hair = np.array([0.1, 0.2, 0.7]), np.array([0.8, 0.6, 0.5]), np.array([0.15, 0.1, 0.05])
    hits = geo.cast(tuck._posed(body, params)[0], body.faces.numpy(), camera, geo.face_groups(body) == geo.BODY)
    person, face = hits.face >= 0, arms.face_skin(body, hits)
    chest = camera.project(tuck._posed(body, params)[2])[0][6].astype(int)
    row, col = np.mgrid[:512, :288]
    hidden = (np.abs(row - chest[1]) < 20) & (np.abs(col - chest[0]) < 20)
    other = (np.abs(row - chest[1] - 8) < 28) & (np.abs(col - chest[0] - 8) < 28) & ~hidden
    lock = (np.abs(row - chest[1]) < 20) & (col <= chest[0] - 20) & (col > chest[0] - 30)
    image = np.where((face | other)[..., None], skin, np.where(lock[..., None], hair, cloth))
    image = np.where((person & (belly == "bare"))[..., None], skin, image).astype(np.float32)
    no, label = np.zeros((512, 288), bool), np.where(person, geo.BODY, -1).astype(np.int8)
    parts = Parts(label, no, {geo.BODY: hits}, hidden & person, label, no, lock & (belly == "cloth"))
    alpha = person.astype(np.float32)
    scene = initial.Scene(params, np.zeros(len(body.faces), bool), image, image, alpha, ~no, camera, None)
    painted = initial.paint_hidden(body, scene, parts, FitConfig.preset("fast"))[hidden & person]
    off = np.abs(painted - (skin if belly == "bare" else cloth)).max(1)
    assert len(off) > 1000 and np.median(off) < 0.05 and off.max() < 0.3, "blue is 0.7 from skin, 0.65 from hair"
