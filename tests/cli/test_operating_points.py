"""From folds to `--operating-point`: export calibrates and names the points; detect, evaluate and froc know them.

The folds' models score every nodule 1, five further discs 0.8, and five normals 1, 1, 1, 0.67 and 0.33.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

pytest.importorskip("torch")

from cxrcad.commands.export import export
from cxrcad.config import EvaluateConfig, ExportConfig, NetworkConfig, build, to_dict
from cxrcad.inference.model import load_bundle
from cxrcad.packaging import calibration, package
from cxrcad.scoring.runs import score

FIGURES = "scores, out of fold"


@pytest.fixture
def folds(make_run, tmp_path) -> Path:
    """Five folds, evaluated."""
    run = make_run(tmp_path / "folds", folds=(1, 2, 3, 4, 5), network=to_dict(NetworkConfig()))
    score(build(EvaluateConfig, {"device": "cpu", "threads": 1, "run": run, "protocol": "jsrt-247"}))
    return run


@pytest.fixture
def whole(make_toy, tmp_path) -> Path:
    """The model of the same recipe that held no case out."""
    place = tmp_path / "whole" / "fold0" / "model"
    place.mkdir(parents=True)
    (place / "model.safetensors").write_bytes(b"weights")
    make_toy(place, network=to_dict(NetworkConfig()), created="today", threshold_from="best F1")
    return place


@pytest.fixture
def _any_weights(monkeypatch, whole) -> None:
    """Toy models have no torch network to export and compare with."""

    def copied(network: None, tasks: tuple[str, ...], multiple: int, path: Path, weights: str) -> None:
        shutil.copy(whole / "model.onnx", path)

    monkeypatch.setattr(package, "load_network", lambda folder: None)
    monkeypatch.setattr(package, "write_onnx", copied)
    monkeypatch.setattr(package, "differences", lambda folder, images: [1e-6])


@pytest.fixture
def packed(whole, folds, disc_data, monkeypatch, _any_weights, tmp_path) -> Path:
    """The packaged model, calibrated on 10 nodules and 10 others, with the points sensitive and balanced."""
    monkeypatch.setattr(calibration, "LEAST_FINDINGS", 10)
    monkeypatch.setattr(calibration, "LEAST_FALSE_POSITIVES", 1)
    values = {"out_of_fold": folds, "balanced_rate": 0.8, "specific_rate": 0.4}
    export(whole, tmp_path / "packed", build(ExportConfig, {**values, "data": disc_data / "images", "compare": 1}))
    return tmp_path / "packed"


def test_export_writes_calibration_points_and_plot(packed, whole):
    own, plain = load_bundle(packed), load_bundle(whole)
    fit = own.calibration
    assert fit is not None
    assert own.operating_points == {
        "sensitive": pytest.approx(fit.applied(1 / 3)), "balanced": pytest.approx(fit.applied(2 / 3))
    }  # fmt: skip
    assert (own.operating_point, own.threshold) == ("balanced", own.operating_points["balanced"])
    assert own.card["training_threshold"] == {"score": 0.9, "threshold": fit.applied(0.9), "from": "best F1"}
    assert own.card["figures"][FIGURES] == {"no operating point": "specific: 0.4 lies below the highest score's rate"}
    assert own.card["operating_points"]["balanced"]["sensitivity"].startswith("1.000 [")
    assert own.card["operating_points"]["balanced"]["false_positives_per_normal_image"].startswith("0.800")
    assert own.settings_sha256 != plain.settings_sha256
    assert "<svg" in (packed / "reliability.svg").read_text()
    readme = (packed / "README.md").read_text()
    assert "## Operating points\n\n| name | threshold |" in readme
    assert "folds 1, 2, 3, 4, 5 of folds held out, protocol jsrt-247, hit rule center" in readme


def test_detect_reports_calibrated_scores_from_the_point_s_threshold(cxrcad, packed, whole, disc_data, boxes_schema):
    jsonschema = pytest.importorskip("jsonschema")
    own, image = load_bundle(packed), disc_data / "images" / "JPCLN002.png"

    def told(model: Path, *flags: str) -> dict:
        document = json.loads(cxrcad("detect", image, "--model", model, "--out", "-", *flags).out)
        jsonschema.validate(document, boxes_schema)
        return document

    before, usual = told(whole, "--min-score", "0"), told(packed)
    assert not {"operating_point", "calibrated"} & set(before["find"])
    assert (usual["find"]["operating_point"], usual["find"]["calibrated"]) == ("balanced", True)
    chosen, other = told(packed, "--operating-point", "sensitive"), told(packed, "--threshold", "0.001")
    assert chosen["model"]["threshold"] == round(own.operating_points["sensitive"], 4)
    assert chosen["find"]["operating_point"] == "sensitive"
    assert "operating_point" not in other["find"]
    raw, calibrated = (document["images"][0]["findings"] for document in (before, usual))
    assert [one["score"] for one in raw] == pytest.approx([1.0, 0.8], abs=1e-3)
    for one, same in zip(raw, calibrated, strict=True):
        assert same["box_px"] == one["box_px"]
        assert same["score"] == pytest.approx(own.calibration.applied(one["score"]), abs=2e-3)


def test_evaluate_and_froc_take_the_point_and_the_page_says_what_a_score_is(cxrcad, packed, disc_data):
    own = load_bundle(packed)
    flags = ("--data", disc_data, "--fold", "1", "--protocol", "jsrt-247", "--resamples", "20", "--out", "told")
    point = ("--operating-point", "sensitive")
    answer = cxrcad("evaluate", "--model", packed, *flags, *point)
    assert answer.code == 0, answer.err
    (run,) = json.loads(Path("told/fold1/evaluation.json").read_text())["runs"]
    assert (run["threshold_from"], run["folds"][0]["threshold"]) == (
        "--operating-point sensitive", own.operating_points["sensitive"]
    )  # fmt: skip
    page = Path("told/fold1/report/report.html").read_text()
    assert "Scores are calibrated on 15 real images (10 with a lesion, 5 without)" in page
    assert "Expected calibration error of the findings down to 1 false positive per image: 0." in page
    assert "it is not the probability" not in page
    kept = json.loads(Path("told/fold1/matches-jsrt-247-center.json").read_text())
    assert kept["calibrated_on"] == own.card["calibration"]["on"]
    again = cxrcad("froc", "--model", packed, *flags, *point)
    assert again.code == 0, again.err
    assert "used again" in again.err
    told = cxrcad("info", packed).out
    assert f"balanced {own.operating_points['balanced']:.4g}, scores calibrated)" in told


def test_a_point_that_cannot_be_had_is_refused(cxrcad, packed, folds, disc_data, tmp_path):
    image, flag = disc_data / "images" / "JPCLN002.png", "--operating-point"
    words = "--operating-point balanced and --threshold 0.5 exclude each other; give one of them"
    for command in (("detect", image, "--model", packed), ("evaluate", "--model", packed), ("froc", "--run", folds)):
        answer = cxrcad(*command, flag, "balanced", "--threshold", "0.5")
        assert (answer.code, answer.err) == (2, f"Error: {words}\n")
    answer = cxrcad("detect", image, "--model", packed, flag, "specific")
    assert answer.code == 2
    assert answer.err.startswith("Error: --operating-point specific: the card of packed has only sensitive, balanced; ")
    answer = cxrcad("evaluate", "--run", folds, "--fold", "1", flag, "balanced")
    assert answer.code == 2
    assert "--operating-point balanced: the card of folds-fold1 has no operating point; give --thresh" in answer.err
    boxes = ("--predictions", "boxes.json", "--truth", disc_data, "--protocol", "jsrt-247")
    cxrcad("detect", disc_data / "images", "--model", packed)
    answer = cxrcad("evaluate", *boxes, flag, "balanced")
    assert answer.code == 2
    assert "--operating-point balanced: stands in a model's card, and --predictions are boxes only" in answer.err
    answer = cxrcad("evaluate", "--lesion", "effusion", flag, "balanced")
    assert (answer.code, answer.err.split(":")[1]) == (2, " --operating-point")


def test_without_calibrate_or_with_few_findings_the_scores_stay(packed, whole, folds, disc_data, monkeypatch):
    values = {"out_of_fold": folds, "data": disc_data / "images", "compare": 1, "overwrite": True}
    export(whole, packed, build(ExportConfig, {**values, "calibrate": False}))
    own, plain = load_bundle(packed), load_bundle(whole)
    assert (own.calibration, own.operating_points, own.find) == (None, {}, plain.find)
    assert own.settings_sha256 == plain.settings_sha256
    assert not {FIGURES, "training_threshold"} & {*own.card, *own.card["figures"]}
    assert not (packed / "reliability.svg").exists()
    monkeypatch.setattr(calibration, "LEAST_FINDINGS", 20)
    monkeypatch.setattr(calibration, "LEAST_FALSE_POSITIVES", 10)
    export(whole, packed, build(ExportConfig, values))
    own = load_bundle(packed)
    assert (own.calibration, own.operating_points, own.find) == (None, {}, plain.find)
    told = own.card["figures"][FIGURES]
    assert told["not calibrated"] == "10 findings on lesions and 10 others, where 20 of each are needed"


def test_a_packaged_model_keeps_its_scores_when_it_is_exported_again(packed, disc_data, tmp_path):
    export(packed, tmp_path / "again", build(ExportConfig, {"data": disc_data / "images", "compare": 1}))
    first, second = load_bundle(packed), load_bundle(tmp_path / "again")
    assert (first.calibration, first.card["operating_points"], first.find) == (
        second.calibration, second.card["operating_points"], second.find
    )  # fmt: skip
    assert (packed / "reliability.svg").read_bytes() != b""
    assert (tmp_path / "again" / "reliability.svg").is_file()
