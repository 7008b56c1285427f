"""What the photo does not show: cloth and hair continued, colours kept apart, what belongs together kept together."""

import numpy as np
import pytest
import torch
from toy_body import ToyBody, toy_observation

from pipeline.avatar import arms, attach, below, completion, features, initial, parts, texture
from pipeline.avatar import geometry as geo
from pipeline.avatar.attach import SURFACE, TIGHT, PixelMap
from pipeline.avatar.meshfit import pull_mesh
from pipeline.avatar.optimise import GaussianStage
from pipeline.body import load_body
from pipeline.config import FitConfig
from pipeline.perceive.background import matched
from pipeline.types import Camera


@pytest.fixture(scope="module")
def body():
    return ToyBody()


def test_fold_reflects_at_both_ends():
    values = np.array([[-0.25], [0.0], [0.5], [1.0], [1.25], [2.25]])
    np.testing.assert_allclose(texture.fold(values, np.zeros(1), np.ones(1)).ravel(), [0.25, 0, 0.5, 1, 0.75, 0.25])


def test_hidden_half_of_a_striped_sleeve_gets_stripes(body):
    """Rings around the upper half of an arm go on below it; the other arm, all unseen, is left alone."""
    rng = np.random.default_rng(0)
    faces, template = np.asarray(body.faces), body.v_template.numpy()
    group = geo.face_groups(body)
    face = rng.choice(np.flatnonzero(np.isin(group, (geo.LEFT_ARM, geo.RIGHT_ARM))), 12_000)
    bary = rng.dirichlet((1, 1, 1), len(face)).astype(np.float32)
    points = (template[faces[face]] * bary[..., None]).sum(1)
    mine = group[face]
    rings = 0.5 + 0.1 * np.sign(np.sin(np.abs(points[:, 0]) * 2 * np.pi / 0.04))[:, None] * np.ones(3)
    seen = (mine == geo.LEFT_ARM) & (np.abs(points[:, 0]) < 0.38)
    smooth = np.full((len(face), 3), 0.5, np.float32)
    rgb = np.where(seen[:, None], rings, smooth).astype(np.float32)
    out = texture.continue_texture(body, points, mine, face, rgb, smooth, seen)
    np.testing.assert_array_equal(out[seen | (mine == geo.RIGHT_ARM)], rgb[seen | (mine == geo.RIGHT_ARM)])
    unseen = (mine == geo.LEFT_ARM) & ~seen
    assert np.abs(out[unseen] - 0.5).mean() > 0.08
    assert np.abs(out[unseen].mean() - 0.5) < 0.02


def test_folds_of_a_colourful_sleeve_are_told_from_its_prints():
    yellow = np.float32([[0.8, 0.55, 0.05]])
    assert texture.shaded(0.6 * yellow, yellow).all() and texture.shaded(1.2 * yellow, yellow).all()
    assert not texture.shaded(np.float32([[0.2, 0.2, 0.6]]), yellow).any()
    grey = np.float32([[0.5, 0.5, 0.5]])
    assert not texture.shaded(0.6 * grey, grey).any()  # it may be striped


def test_commonest_is_a_mode_and_no_mix():
    rgb = np.concatenate([np.tile([0.9, 0.4, 0.1], (60, 1)), np.tile([0.2, 0.2, 0.6], (40, 1))])
    np.testing.assert_allclose(completion.commonest(rgb, np.ones(100)), [0.9, 0.4, 0.1], atol=0.01)
    np.testing.assert_allclose(
        completion.commonest(rgb, np.r_[np.ones(60), 2 * np.ones(40)]), [0.2, 0.2, 0.6], atol=0.01
    )


def test_short_sleeve_stays_cloth_and_the_arm_below_it_skin(body):
    """The front of an arm is seen, cloth to the elbow and skin beyond: so is its back."""
    template = body.v_template.numpy()
    arm = np.asarray(body.regions["left_arm"])
    cloth, skin = np.array([0.1, 0.2, 0.6]), np.array([0.8, 0.6, 0.5])
    rgb = np.where((template[:, :1] < 0.38), cloth, skin).astype(np.float32)
    seen = arm & (template[:, 2] > 0.01)
    filled = completion.complete(body, rgb, seen.astype(np.float32)).rgb
    back = arm & (template[:, 2] < -0.01)
    upper, lower = back & (template[:, 0] < 0.34), back & (template[:, 0] > 0.44)
    for where, own, other in ((upper, cloth, skin), (lower, skin, cloth)):
        mean = filled[where].mean(0)
        assert np.linalg.norm(mean - own) < 0.5 * np.linalg.norm(mean - other)
    near = filled[back & (np.abs(template[:, 0] - 0.38) < 0.08)]
    off = np.minimum(*(np.linalg.norm(near - colour, axis=1) for colour in (cloth, skin)))
    assert len(near) > 8
    assert np.quantile(off, 0.8) < 0.25 * np.linalg.norm(cloth - skin), "a sleeve ends, it does not fade"


def test_forearm_that_is_not_shown_is_as_the_other_one(body):
    """Of one arm only the sleeve is in the photo, the other shows the bare forearm: both are bare."""
    template = body.v_template.numpy()
    left, right = (np.asarray(body.regions[name]) for name in ("left_arm", "right_arm"))
    cloth, skin = np.array([0.1, 0.2, 0.6]), np.array([0.8, 0.6, 0.5])
    rgb = np.where(np.abs(template[:, :1]) < 0.34, cloth, skin).astype(np.float32)
    seen = (template[:, 2] > 0.0) & (left | (right & (np.abs(template[:, 0]) < 0.30)))
    filled = completion.complete(body, rgb, seen.astype(np.float32)).rgb
    forearm = right & (np.abs(template[:, 0]) > 0.44)
    assert np.linalg.norm(filled[forearm].mean(0) - skin) < 0.3 * np.linalg.norm(cloth - skin)


def test_a_bare_forearm_outweighs_the_rest_of_the_clothes(body):
    """A polo shirt, of which much is shown, and a few vertices of both bare forearms: what follows them is bare."""
    template = body.v_template.numpy()
    torso, arm = (np.asarray(body.regions[name]) for name in ("torso", "right_arm"))
    both, along = arm | np.asarray(body.regions["left_arm"]), np.abs(template[:, 0])
    cloth, skin = np.array([0.1, 0.2, 0.4]), np.array([0.9, 0.8, 0.75])
    rgb = np.where((both & (along > 0.38))[:, None], skin, cloth).astype(np.float32)
    seen = (template[:, 2] > 0.0) & ((torso & ~both) | (both & (along < 0.50)))
    bare = seen & both & (along > 0.38)
    seen &= ~bare | (bare.cumsum() % 2 == 0)
    filled = completion.complete(body, rgb, seen.astype(np.float32)).rgb
    assert np.linalg.norm(filled[arm & (along > 0.52)].mean(0) - skin) < 0.2 * np.linalg.norm(cloth - skin)


def test_a_lit_arm_is_not_completed_in_the_shadow_of_the_other(body):
    """One bare arm in the sun, seen in part; the other in shadow, seen all around: the first is lit all around."""
    template = body.v_template.numpy()
    left, right = (np.asarray(body.regions[name]) for name in ("left_arm", "right_arm"))
    sun, shadow = np.array([0.9, 0.75, 0.7]), np.array([0.36, 0.3, 0.28])
    rgb = np.where(right[:, None], sun, shadow).astype(np.float32)
    seen = left | (right & (template[:, 2] > 0.02))
    filled = completion.complete(body, rgb, seen.astype(np.float32)).rgb
    back = right & ~seen & (np.abs(template[:, 0]) > 0.25)
    assert back.sum() > 20 and np.linalg.norm(filled[back].mean(0) - sun) < 0.15 * np.linalg.norm(sun - shadow)


def test_arms_that_are_not_in_the_photo_are_as_the_shoulders(body):
    """Bare shoulders with a dark strap, and next to nothing of the arms: they become skin, no mix."""
    template = body.v_template.numpy()
    torso, arm = (np.asarray(body.regions[name]) for name in ("torso", "right_arm"))
    skin, strap = np.array([0.8, 0.6, 0.5]), np.array([0.05, 0.05, 0.05])
    rgb = np.where(np.abs(template[:, :1]) < 0.09, strap, skin).astype(np.float32)
    root = np.abs(template[arm, 0]).min()
    few = arm & (np.abs(template[:, 0]) < root + 0.02)
    seen = (torso & (template[:, 2] > 0.0)) | (few & (few.cumsum() <= 4))
    filled = completion.complete(body, rgb, seen.astype(np.float32)).rgb
    for name in ("left_arm", "right_arm"):
        mean = filled[np.asarray(body.regions[name]) & ~seen].mean(0)
        assert np.linalg.norm(mean - skin) < 0.2 * np.linalg.norm(strap - skin)


def test_patch_away_from_its_mesh_joins_what_it_touches():
    label = np.full((60, 60), -1, np.int8)
    label[20:58, 5:30], label[20:58, 30:55] = geo.BODY, geo.LEFT_ARM
    label[30:40, 40:50] = geo.BODY  # a fleck inside the arm, where no mesh of the body is
    label[2:6, 50:54] = geo.BODY  # one that touches nothing
    on_mesh = np.zeros((60, 60), bool)
    on_mesh[20:58, 5:30] = True
    miss = geo.Hits(np.full((60, 60), -1), np.zeros((60, 60, 3)), np.ones((60, 60)))
    hits = geo.Hits(np.where(on_mesh, 0, -1), miss.bary, miss.depth)
    arm = geo.Hits(np.where(label == geo.LEFT_ARM, 0, -1), miss.bary, miss.depth)
    out = parts.join_islands(label, {geo.BODY: hits, geo.LEFT_ARM: arm, geo.RIGHT_ARM: miss})
    assert (out[30:40, 40:50] == geo.LEFT_ARM).all()
    keep = np.ones_like(on_mesh)
    keep[30:40, 40:50] = False
    np.testing.assert_array_equal(out[keep], label[keep])


def test_body_goes_on_behind_a_crossing_arm_but_not_beside_a_hanging_one():
    label = np.full((400, 400), -1, np.int8)
    label[50:390, 100:250] = geo.BODY
    label[180:220, 120:240] = geo.LEFT_ARM  # across the chest
    label[80:380, 250:300] = geo.RIGHT_ARM  # beside it
    hidden = parts.behind_arms(label, np.ones_like(label, bool), 1.0)
    assert hidden[180:220, 120:240].all()
    assert not hidden[100:360, 270:300].any()
    label[80:300, 246:250] = -1  # ground between the two: the trunk ends there, and goes on only where they touch
    apart = parts.behind_arms(label, np.ones_like(label, bool), 1.0)
    assert hidden[100:280, 250:255].all() and not apart[100:280, 250:300].any() and apart[310:360, 250:255].all()
    label[80:300, 246:250] = geo.BODY
    no_mesh = parts.behind_arms(label, np.zeros_like(label, bool), 1.0)
    assert no_mesh[180:220, 130:230].all()  # a gap as low as this one in loose hair
    assert not no_mesh[80:380, 250:300].any()


def test_specks_beside_a_hand_go_and_wisps_of_hair_stay():
    label = np.full((100, 100), -1, np.int8)
    label[20:, :40] = geo.BODY
    label[50:90, 60:80] = geo.LEFT_ARM
    on_mesh = label == geo.BODY
    label[60, 82:90] = label[10:12, 20] = geo.BODY
    out = parts.without_specks(label, on_mesh)
    assert (out[60, 82:90] == -1).all() and (out[10:12, 20] == geo.BODY).all()
    assert (out != label).sum() == 8


def test_a_trunk_that_sticks_out_a_little_behind_an_arm_ends_where_it_is_known():
    """Above, 6 pixels of its mesh lie behind an arm, but no trunk; below, half of the arm: nothing is known there."""
    label = np.full((100, 100), geo.BODY, np.int8)
    label[:, 50:] = geo.RIGHT_ARM
    face = np.where(np.arange(100)[None] < np.where(np.arange(100)[:, None] < 45, 56, 80), 0, -1)
    face[45:55] = -1
    layers = {geo.BODY: geo.Hits(face, np.zeros((100, 100, 3), np.float32), np.ones((100, 100), np.float32))}
    nothing = np.zeros(label.shape, bool)
    person = np.ones_like(nothing)
    found = below.beside_trunk(parts.Parts(label, nothing, layers, nothing, label, nothing, nothing), person, 14)
    assert found[:45, 50:].all() and not found[:, :50].any()
    assert not found[55:, 50:80].any() and found[55:, 80:].all()
    hidden = nothing.copy()
    hidden[:, 50:54] = True
    found = below.beside_trunk(parts.Parts(label, nothing, layers, hidden, label, nothing, nothing), person, 14)
    assert not found[:, 50:54].any() and found[:45, 54:].all()
    face[85:] = -1  # now the trunk is seen above and below what sticks out
    found = below.beside_trunk(parts.Parts(label, nothing, layers, nothing, label, nothing, nothing), person, 14)
    assert found[:, 50:].all()


def test_body_goes_on_behind_a_thumb_in_its_outline_but_does_not_bulge_there():
    label = np.full((400, 400), -1, np.int8)
    label[:, 100:250] = geo.BODY
    label[150:250, 220:300] = geo.RIGHT_ARM
    hidden = parts.behind_arms(label, np.ones_like(label, bool), 1.0)
    assert hidden[155:245, 225:240].all() and not hidden[:, 256:].any()


def test_a_trunk_before_an_arm_goes_behind_it():
    """A hip that is too wide, before a thumb, would take the thumb's colours and keep them when it leaves."""
    camera = Camera(np.eye(4), np.array([[100.0, 0, 50], [0, 100, 50], [0, 0, 1]]), 100, 100)
    label = np.full((100, 100), geo.BODY, np.int8)
    label[:, 50:] = geo.LEFT_ARM
    point = np.array([[0.2, 0, 1.0], [-0.2, 0, 1.0], [0.2, 0, 3.0]], np.float32)
    depth = np.full((100, 100), 2.0, np.float32)
    group = np.full(3, geo.BODY)
    out = below.clamp_to_photo(camera, label, point, group, depth, 14.0)
    assert np.allclose(out[0] / out[0, 2], point[0]) and out[0, 2] > 2.0
    np.testing.assert_allclose(out[1:], point[1:])


def test_a_fill_meets_the_cloth_beside_it_and_not_another_material():
    """A hole in cloth that gets darker to the right, filled evenly; above it something white."""
    cloth = np.linspace(0.4, 0.2, 200, dtype=np.float32)[None, :, None].repeat(200, 0).repeat(3, 2)
    hole = np.zeros((200, 200), bool)
    hole[60:140, 40:160] = True
    photo = np.where(np.arange(200)[:, None, None] < 60, 1.0, cloth).astype(np.float32)
    painted = np.where(hole[..., None], 0.33, photo).astype(np.float32)
    out = matched(painted, hole, ~hole, 3, unlike=0.18)
    np.testing.assert_array_equal(out[~hole], photo[~hole])
    error = np.abs(out - cloth)[..., 0]
    assert error[135:139, 45:155].max() < 0.03 and error[hole].mean() < 0.4 * np.abs(painted - cloth)[hole].mean()
    assert out[hole].max() < 0.5, "white does not run into it"


def test_what_shows_between_two_fingers_is_painted():
    """Two fingers with a gap of 16 pixels, and a sleeve beside the body: only the gap of the hand is taken."""
    from pipeline.body import load_body

    body = load_body()
    segments = arms.arm_segments(body)
    hand, sleeve = (int(np.flatnonzero(segments == s)[0]) for s in (arms.HAND, arms.UPPER))
    label = np.full((120, 200), geo.BODY, np.int8)
    label[20:100, 20:40] = label[20:100, 56:76] = geo.LEFT_ARM
    label[:, 130:150] = label[:, 166:186] = geo.RIGHT_ARM
    miss = geo.Hits(np.full(label.shape, -1), np.zeros((*label.shape, 3)), np.ones(label.shape))
    layers = {
        group: geo.Hits(np.where(label == group, face, -1), miss.bary, miss.depth)
        for group, face in ((geo.LEFT_ARM, hand), (geo.RIGHT_ARM, sleeve))
    }
    slit = parts.between_fingers(body, label, layers, 10)
    assert slit[30:90, 42:54].all()
    assert not slit[:, 100:].any() and not slit[:10].any() and not (slit & (label != geo.BODY)).any()
    assert not parts.between_fingers(body, label, layers, 6)[30:90, 45:50].any(), "a wider gap is left alone"


def test_thin_pieces_away_from_a_hand_are_left_out_and_a_finger_stays():
    body = load_body()
    hand = int(np.flatnonzero(arms.arm_segments(body) == arms.HAND)[0])
    label = np.full((200, 200), -1, np.int8)
    label[50:100, 20:80] = geo.LEFT_ARM
    face = np.where(label == geo.LEFT_ARM, hand, -1)
    label[50:100, 80:82] = geo.LEFT_ARM  # a rim of the hand
    label[70:72, 82:95] = geo.LEFT_ARM  # a scrap that touches it
    label[100:150, 30:50] = geo.LEFT_ARM  # a finger that the mesh bends otherwise
    layer = geo.Hits(face, np.zeros((*label.shape, 3)), np.ones(label.shape))
    nothing = geo.Hits(np.full(label.shape, -1), layer.bary, layer.depth)
    out = parts.without_scraps(body, label, {geo.LEFT_ARM: layer, geo.RIGHT_ARM: nothing}, 1.0)
    assert (out[50:100, 20:82] == geo.LEFT_ARM).all() and (out[100:150, 30:50] == geo.LEFT_ARM).all()


def test_edge_of_the_chin_goes_with_the_head(body):
    """A head (closer) above a torso: the first rows of torso pixels below it are given to the head."""
    groups = np.asarray(body.regions["head"])[np.asarray(body.faces)].all(1)
    head_face, torso_face = int(np.flatnonzero(groups)[0]), 0
    face, depth = np.full((1024, 40), torso_face), np.full((1024, 40), 2.1, np.float32)
    face[:500], depth[:500] = head_face, 2.0
    found = PixelMap(face, np.full((1024, 40, 3), 1 / 3), depth, np.ones((1024, 40), bool))
    grey = np.full((1024, 40, 3), 0.5, np.float32)
    out = attach.chin_to_head(body, found, np.zeros((1024, 40), np.int8), grey)
    changed = np.flatnonzero((out.face == head_face).all(1))
    assert changed.max() == 499 + round(attach.RIM)
    assert np.all(out.depth[500 : 500 + round(attach.RIM)] == 2.0)
    bearded = np.where(np.arange(1024)[:, None, None] < 512, 0.1, np.broadcast_to([0.8, 0.6, 0.5], (1024, 40, 3)))
    out = attach.chin_to_head(body, found, np.zeros((1024, 40), np.int8), bearded.astype(np.float32))
    changed = np.flatnonzero((out.face == head_face).all(1))
    assert changed.max() == 511, "the end of a beard goes with it too, and the neck below it does not"


def test_slope_is_limited_within_a_surface_and_kept_at_a_contour():
    camera = Camera.frontal(40, 60, focal=100.0, distance=2.0)
    depth = np.full((60, 40), 2.0, np.float32)
    depth[:, 20:24] = 2.0 + 0.011 * np.arange(1, 5)  # as steep as one surface gets
    depth[:, 24:] = depth[:, 23:24]
    depth[40:] = 2.5
    found = PixelMap(np.zeros((60, 40), int), np.zeros((60, 40, 3)), depth, np.ones((60, 40), bool))
    steep = attach.limit_slope(found, np.zeros((60, 40), np.int8), camera)
    np.testing.assert_array_equal(steep.depth, depth)  # 2 cm a pixel: nothing here is steeper than 4
    near = Camera.frontal(40, 60, focal=1000.0, distance=2.0)
    flat = attach.limit_slope(found, np.zeros((60, 40), np.int8), near)
    step = attach.SLOPE * depth.max() / 1000
    assert np.diff(flat.depth[:40], axis=1).max() <= step * 1.01
    np.testing.assert_array_equal(flat.depth[40:], depth[40:])
    assert (flat.depth <= depth).all()


def test_slope_of_a_wide_rim_is_limited_to_its_end():
    camera, columns = Camera.frontal(80, 6, focal=1000.0, distance=2.0), np.arange(80)
    depth = np.tile(2.0 + 0.0115 * np.clip(columns - 20, 0, 40), (6, 1)).astype(np.float32)
    found = PixelMap(np.zeros(depth.shape, int), np.zeros((*depth.shape, 3)), depth, np.ones(depth.shape, bool))
    step = attach.SLOPE * depth / 1000
    for turned in (np.s_[:, :], np.s_[:, ::-1]):
        mirrored = PixelMap(found.face, found.bary, np.ascontiguousarray(depth[turned]), found.valid)
        flat = attach.limit_slope(mirrored, np.zeros(depth.shape, np.int8), camera).depth[turned]
        assert (np.diff(flat, axis=1) <= step[:, :-1] * 1.001).all()
        np.testing.assert_array_equal(flat[:, :21], depth[:, :21])
        np.testing.assert_allclose(flat[0, 60], 2.0 + step[0, 20:60].sum(), rtol=1e-5)


def test_photo_does_not_teach_what_it_does_not_show(body):
    """The far side keeps its colour through the optimisation, the near side learns."""
    observation, config = toy_observation(body), FitConfig(steps=4, surface_samples=4000, fill_hidden=False)
    scene = initial.working_scene(body, observation, 1024)
    posed = initial.posed_body(body, scene.params)
    dT = initial.mesh_stage(body, posed, scene, config)
    samples, *_ = initial.place_gaussians(body, posed, dT, scene, config)
    dX = initial.canonical_offsets(body, posed, samples)
    stage = GaussianStage(body, posed, samples, dX, dT, scene, scene.params, config)
    torch.manual_seed(0)
    change = (stage.run(lambda share: None).rgb - torch.from_numpy(samples.rgb)).abs().amax(1).numpy()
    depth = scene.camera.project(samples.point)[1]
    behind = (samples.kind == SURFACE) & (depth > np.median(depth[samples.kind == TIGHT]) + 0.1)
    assert behind.sum() > 200 and (change[behind] > 1e-6).mean() < 0.02
    assert (change[samples.kind == TIGHT] > 1e-3).mean() > 0.5


def test_torso_behind_a_hanging_arm_ends_at_the_arm(body):
    """A trunk that is wider than what shows beside the arm is drawn in; behind a crossing arm it stays."""
    observation, config = toy_observation(body), FitConfig()
    alpha, camera = observation.alpha, observation.camera
    posed = initial.posed_body(body, observation.params)
    faces = np.asarray(body.faces)
    trunk = geo.cast(posed.vertices, faces, camera, geo.face_groups(body) == geo.BODY).face >= 0
    rows = np.flatnonzero(trunk.sum(1) > 0.8 * trunk.sum(1).max())
    rows = rows[len(rows) // 4 : -len(rows) // 4]
    left = np.array([np.flatnonzero(trunk[row])[0] for row in rows])
    band = int(0.04 * camera.K[0, 0] / camera.project(posed.vertices)[1].mean())
    arm = np.zeros_like(trunk)
    for row, start in zip(rows, left, strict=True):
        arm[row, max(start - 2, 0) : start + band] = True
    free = pull_mesh(body, posed.vertices, camera, np.maximum(alpha, arm), config, arms=np.zeros_like(arm))
    drawn = pull_mesh(body, posed.vertices, camera, np.maximum(alpha, arm), config, arms=arm)

    def edge(offsets: np.ndarray) -> float:
        vertices = (posed.vertices + offsets).astype(np.float32)
        mask = geo.cast(vertices, faces, camera, geo.face_groups(body) == geo.BODY).face >= 0
        return float(np.mean([np.flatnonzero(mask[row])[0] for row in rows]))

    assert edge(drawn) > edge(free) + 0.2 * band


def test_shine_is_not_the_colour_of_skin():
    """Much of the face shines: the hands are still as brown as the rest."""
    body = load_body()
    face = geo.region(body, "face") & ~geo.region(body, "lips", "eyelids", "eyeballs", "mouth_cavity")
    brown, shine = np.array([0.52, 0.36, 0.29]), np.array([0.76, 0.66, 0.62])
    where = np.flatnonzero(face)
    rgb = np.zeros((len(face), 3), np.float32)
    rgb[where] = brown + np.linspace(-0.02, 0.02, len(where))[:, None]
    rgb[where[: int(0.4 * len(where))]] = shine
    np.testing.assert_allclose(completion.skin_color(body, rgb, face), brown, atol=0.03)


def test_black_and_white_photos_get_no_pink_hands():
    pink = np.array([[1.1, 0.95, 0.9], [0.8, 0.7, 0.7]])
    grey = features.toned(pink, np.array([0.6, 0.6, 0.6]))
    assert np.ptp(grey, axis=1).max() < 1e-6 and np.allclose(grey.mean(1), pink.mean(1))
    np.testing.assert_array_equal(features.toned(pink, np.array([0.8, 0.6, 0.5])), pink)


def test_a_head_is_drawn_in_from_further_off_than_a_limb(body):
    """What sticks out of the person's outline: ears do not hide, hands may."""
    observation = toy_observation(body)
    scene = initial.working_scene(body, observation, 1024)
    vertices = initial.posed_body(body, scene.params).vertices
    faces = np.asarray(body.faces)
    reach = below.outline_reach(body, scene, faces, vertices[faces].mean(1))
    head, hand = (geo.region(body, name)[faces].all(1) for name in ("head", "left_hand"))
    assert (reach[hand] == below.OUTSIDE).all()
    pixel = scene.camera.project(vertices[faces[head]].mean(1))[1] / scene.camera.K[0, 0]
    np.testing.assert_allclose(reach[head] * pixel, below.OUTSIDE_HEAD, rtol=1e-4)
