"""Teeth that the photo does not show look like teeth, in the light of the photo."""

import numpy as np
import pytest

from pipeline.avatar import features, teeth
from pipeline.avatar import geometry as geo
from pipeline.body import load_body


@pytest.fixture(scope="module")
def body():
    return load_body()


def on(body, name: str, spots: int = 20) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Triangles, weights and rest places of points spread over one row of teeth."""
    faces = np.asarray(body.faces)
    mine = np.flatnonzero(geo.region(body, name)[faces].all(1))
    face = np.repeat(mine, spots)
    bary = np.random.default_rng(0).dirichlet((1, 1, 1), len(face))
    return face, bary, (np.asarray(body.v_template)[faces[face]] * bary[..., None]).sum(1)


@pytest.mark.parametrize("name", teeth.WIDTHS)
def test_teeth_have_gaps_between_them(body, name):
    face, bary, point = on(body, name, 800)
    template, band = np.asarray(body.v_template), geo.region(body, name)
    tips = template[band & (np.abs(template[:, 0]) < 0.01), 1]
    height = point[:, 1] - tips.min() if name == "upper_teeth" else tips.max() - point[:, 1]
    bright = teeth.tooth_detail(body, face, bary).mean(1)[height < 0.006]
    along = teeth.arch_length(template, band, point[:, 0])[height < 0.006]
    whole = teeth.arch_length(template, band, np.array([np.inf]))[0]
    edge = teeth.WIDTHS[name][0] / sum(teeth.WIDTHS[name]) * whole
    gap, middle = np.abs(along - edge) < 2e-4, np.abs(along - 0.5 * edge) < 1e-3
    assert gap.sum() > 10 and middle.sum() > 10
    assert bright[gap].mean() < 0.75 * bright[middle].mean()


def test_gums_are_redder_than_teeth_and_lower_teeth_darker(body):
    detail = {name: teeth.tooth_detail(body, *on(body, name)[:2]) for name in teeth.WIDTHS}
    for values in detail.values():
        red = values[:, 0] / values[:, 1]
        assert (red > 1.5).any() and (red < 1.01).mean() > 0.4
    assert detail["lower_teeth"].max() <= teeth.LOWER_SHADE < 0.95 < detail["upper_teeth"].max()


def test_nothing_but_teeth_is_touched(body):
    faces = np.asarray(body.faces)
    other = np.flatnonzero(~geo.region(body, "teeth")[faces].any(1))[:500]
    np.testing.assert_array_equal(teeth.tooth_detail(body, other, np.full((len(other), 3), 1 / 3)), 1.0)


def test_whites_of_the_eyes_tell_the_light():
    skin, lamp = np.array([0.55, 0.32, 0.2]), np.array([1.2, 1.0, 0.8])
    rng = np.random.default_rng(0)
    eyes = np.r_[rng.uniform(0.05, 0.2, (200, 3)), 0.6 * lamp * features.SCLERA + rng.normal(0, 0.01, (300, 3))]
    np.testing.assert_allclose(teeth.light_tint(eyes, skin), lamp, atol=0.05)
    np.testing.assert_array_equal(teeth.light_tint(eyes[:10], skin), 1.0, "too little is seen")
    np.testing.assert_array_equal(teeth.light_tint(0.3 * eyes, skin), 1.0, "sunglasses")
