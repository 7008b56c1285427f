"""The ablation bench: the synthetic person, the damage done to its labels, and the table."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from pipeline.__main__ import main
from pipeline.body import load_body
from pipeline.evaluate.ablation import corrupt, report, rows
from pipeline.evaluate.ablation.scenes import QUICK, make_bench

SIZE = dataclasses.replace(QUICK, height=128, gaussians=12_000)


@pytest.fixture(scope="module")
def bench():
    return make_bench(load_body(), 0, SIZE)


def test_the_person_is_dressed_and_has_hair(bench):
    person, photo = bench.person, bench.observation
    body, avatar = person.body, person.avatar
    lifted = avatar.dT.norm(dim=1)
    assert 0.008 < lifted[body.regions["torso"]].mean() < 0.03 and lifted[body.regions["face"]].max() < 1e-3
    bald = avatar.replace(scale=torch.where(avatar.dX.norm(dim=1) > 0.03, 1e-5, avatar.scale))
    with_hair, without = (
        p.draw(photo.params, photo.camera)[1].sum() for p in (person, type(person)(bald, person.normals))
    )
    assert with_hair > 1.005 * without
    assert 0.2 < photo.alpha.mean() < 0.7 and photo.detections.face.shape == (478, 3)
    assert photo.image.std() > 0.1


def test_same_seed_same_bench(bench):
    again = make_bench(bench.person.body, 0, SIZE)
    assert np.array_equal(again.observation.image, bench.observation.image)
    assert np.array_equal(again.labels["head"][1].image, bench.labels["head"][1].image)
    other = make_bench(bench.person.body, 1, dataclasses.replace(SIZE, labels=1, poses=1))
    assert np.abs(other.observation.image - bench.observation.image).mean() > 0.01


def test_labels_are_damaged_as_said(bench):
    label, untracked = bench.labels["body"][0], bench.labels["untracked"][0]
    truth, _ = bench.person.draw(label.params, label.camera)
    assert 0.01 < np.abs(label.image - truth - (1 - label.alpha[..., None])).mean() < 0.2
    assert np.array_equal(label.image, untracked.image), "the same frame, with and without re-tracking"
    assert not np.array_equal(label.params.body_pose, untracked.params.body_pose)
    assert np.array_equal(label.params.betas, bench.observation.params.betas), "shape is fixed"
    head = bench.labels["head"][0]
    assert head.region == "head" and head.image.shape == (corrupt.HEAD_PIXELS, corrupt.HEAD_PIXELS, 3)
    assert head.weight.min() == 0 and head.weight.max() == 1
    none = corrupt.Corruption(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    clean = corrupt.body_label(bench.person, label.params, label.camera, np.random.default_rng(0), none)
    truth, alpha = bench.person.draw(label.params, label.camera)
    assert np.abs(clean.image - np.clip(truth + (1 - alpha[..., None]), 0, 1)).max() < 2e-3


def test_boxes_of_the_face_lie_in_the_picture(bench):
    for shot in bench.faces:
        assert set(shot.boxes) == {"mouth", "eyes"}
        for box in shot.boxes.values():
            assert min(shot.image[box].shape[:2]) > 8
        assert shot.boxes["eyes"][0].start < shot.boxes["mouth"][0].start


def test_the_truth_scores_best(bench):
    perfect = rows.score(bench.person.avatar.replace(), bench.shots, bench.faces, None)
    dimmed = bench.person.avatar.replace(rgb=bench.person.avatar.rgb * 0.6)
    worse = rows.score(dimmed, bench.shots, bench.faces, None)
    assert perfect["psnr"] > worse["psnr"] and perfect["face_structural"] < worse["face_structural"]


def test_candidates_of_the_lost_weight():
    taken = rows.lost_weight("lap")
    assert taken == {
        "lambda_normal": 1e-2, "lambda_M": 1e-1, "lambda_MGC": 1e2, "lambda_LPIPS": 2e-1, "lambda_RGB": 8e-1,
        "lambda_SSIM": 1e-1, "lambda_alpha": 4e-1,
    }  # fmt: skip
    assert rows.lost_weight("normal")["lambda_lap"] == 1e2
    assert {len(rows.lost_weight(name)) for name in rows.WEIGHTS} == {7}
    assert {row.group for row in rows.all_rows("structural")} == {"terms", "lost weight", "head"}


def test_findings_say_what_does_not_show():
    terms = {
        "photo only": {"psnr": 20.0, "ssim": 0.8},
        "+ labels, L1": {"psnr": 21.0, "ssim": 0.7},
        "+ labels, structural": {"psnr": 20.5, "ssim": 0.7},
    }
    head = {"photo only": {"face_structural": 0.1}, "+ head labels": {"face_structural": 0.08}}
    labels, loss, gain = report.findings({"terms": terms, "head": head})
    assert "shows in part" in labels and "does not show" in loss and "not met" in gain and "+20 %" in gain
    head["+ head labels"]["face_structural"] = 0.07
    assert "**met** (structural loss +30 %" in report.findings({"head": head})[0]


def test_one_table_alone(monkeypatch, tmp_path):
    from pipeline.evaluate import ablation
    from pipeline.evaluate.ablation import scenes

    ran, blank = [], np.zeros((4, 4, 3), np.float32)
    monkeypatch.setattr(scenes, "make_bench", lambda *args: None)
    scores = {"face_structural": 1.0}
    monkeypatch.setattr(rows, "run_row", lambda bench, row, *rest: (None, ran.append(row.name) or scores))
    for name in ("avatar_strip", "label_strip"):
        monkeypatch.setattr(rows, name, lambda *args: blank)
    made = ablation.run_ablation(None, tmp_path / "out", only="head", progress=lambda stage, share: None)
    assert ran == ["photo only", "+ head labels, L1", "+ head labels"] and set(made["groups"]) == {"head"}
    assert made["command"] == "python -m pipeline ablate --only head" and made["rows_done"] == made["rows_total"] == 3


@pytest.mark.slow
def test_quick_command(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("ONESHOT_LPIPS", raising=False)
    assert main(["ablate", "--out", str(tmp_path / "out"), "--quick", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["ablation.json", "ablation.md", "ablation.png"]
    assert said["groups"]["terms"]["photo only"]["psnr"] > 10
    assert set(said["groups"]) == {"terms", "lost weight", "head"}
    assert "--quick" in (tmp_path / "out/ablation.md").read_text("utf-8")
    assert main(["ablate", "--out", str(tmp_path / "x"), "--subjects", "0"]) == 1
