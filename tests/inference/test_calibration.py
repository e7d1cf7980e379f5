"""Calibrated scores: strictly rising, undone again, and applied by the detector of a model that has them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cxrcad.core import ModelError, Radiograph, Source, UsageError
from cxrcad.inference.calibration import Calibration
from cxrcad.inference.detector import Detector
from cxrcad.inference.model import load_bundle

FITTED = {
    **{"method": "Platt", "slope": 1.25, "intercept": -2.0, "on": "40 real images", "case_mix": "half have a lesion"},
    **{"expected_calibration_error": "0.03", "command": "cxrcad evaluate"},
    "reliability": [{"low": 0.1, "mean_score": 0.12, "findings": 3, "lesions": 1}],
}


def point(threshold: float) -> dict[str, object]:
    told = dict.fromkeys(("rule", "false_positives_per_normal_image", "sensitivity", "on", "command"), "told")
    return {"threshold": threshold, **told}


POINTS = {"balanced": point(0.3), "specific": point(0.6)}


def radiograph() -> Radiograph:
    pixels = np.zeros((128, 128), np.float32)
    pixels[20:40, 20:40], pixels[80:100, 80:100], pixels[20:40, 90:110] = 1.0, 0.6, 0.3
    return Radiograph(pixels, (1.0, 1.0), "test", None, Source("x.png", "png", "0" * 64))


def found(bundle) -> list:
    return list(Detector.open(bundle, "cpu", 1).detect(radiograph()).findings)


def test_identity_ends_and_back():
    same = Calibration(1.0, 0.0)
    for score in (0.0001, 0.25, 0.5, 0.999):
        assert same.applied(score) == pytest.approx(score, abs=1e-12)
        assert Calibration(1.3, -4.0).undone(Calibration(1.3, -4.0).applied(score)) == pytest.approx(score, abs=1e-12)
    assert 0 < Calibration(1.3, -4.0).applied(0.0) < 1e-8
    assert 0.99 < Calibration(1.3, -4.0).applied(1.0) < 1
    assert Calibration(900.0, -900.0).applied(0.0) >= 0.0


def test_scores_of_float32_next_to_each_other_do_not_tie():
    fit = Calibration(1.36, -5.3)
    for score in np.float32([1e-4, 0.1, 0.5, 0.9, 0.999, 0.99999]):
        assert fit.applied(float(np.nextafter(score, np.float32(1)))) > fit.applied(float(score))


@pytest.mark.parametrize("method", ["peaks", "components"])
def test_a_detector_changes_scores_alone(make_model, tmp_path: Path, method):
    plain = make_model(tmp_path / "plain")
    plain = replace(plain, find=replace(plain.find, method=method))
    fit = Calibration(FITTED["slope"], FITTED["intercept"])
    own = make_model(tmp_path / "own", calibration=FITTED)
    own = replace(own, find=replace(plain.find, threshold=fit.applied(plain.threshold)))
    before, after = found(plain), found(own)
    assert len(before) == {"peaks": 3, "components": 2}[method]
    assert after == [replace(one, score=fit.applied(one.score)) for one in before]
    assert own.map_threshold == pytest.approx(plain.threshold)


def test_a_model_without_a_calibration_is_what_it_was(make_model, tmp_path):
    plain = make_model(tmp_path / "plain")
    assert (plain.calibration, plain.operating_points, plain.operating_point) == (None, {}, None)
    assert plain.map_threshold == plain.threshold
    assert make_model(tmp_path / "own", calibration=FITTED).settings_sha256 != plain.settings_sha256
    assert make_model(tmp_path / "pts", operating_points=POINTS).settings_sha256 == plain.settings_sha256


def test_an_operating_point_is_named_or_refused(make_model, tmp_path):
    bundle = make_model(tmp_path / "m", operating_points=POINTS)
    assert bundle.operating_points == {"balanced": 0.3, "specific": 0.6}
    chosen = bundle.at_operating_point("specific")
    assert (chosen.threshold, chosen.operating_point, bundle.operating_point) == (0.6, "specific", None)
    with pytest.raises(UsageError, match=r"--operating-point sensitive: .* tiny has only balanced, specific; name one"):
        bundle.at_operating_point("sensitive")
    with pytest.raises(UsageError, match=r"sensitive: the card of tiny has no operating point; give --threshold"):
        make_model(tmp_path / "n").at_operating_point("sensitive")


@pytest.mark.parametrize(
    ("card", "words"),
    [
        ({"calibration": {**FITTED, "slope": -1}}, "calibration: slope is -1, where a number above 0 is needed"),
        ({"calibration": {**FITTED, "reliability": [{"low": 0.1, "mean_score": 0.1, "findings": 1, "lesions": 2}]}},
         "lesions is 2, where a count, a whole number from 0 to 1, is needed"),
        ({"operating_points": {"eager": point(0.1)}}, "it has the field 'eager', where sensitive, balanced, specific"),
        ({"operating_points": {"balanced": point(1.5)}}, "balanced: threshold is 1.5, where a number from 0 to 1"),
        ({"training_threshold": {"score": 0.5, "threshold": 0.5}}, "training_threshold: from is"),
    ],
)  # fmt: skip
def test_a_card_with_impossible_scores_is_refused(make_model, tmp_path, card, words):
    with pytest.raises(ModelError, match=words):
        make_model(tmp_path / "m", **card)
    assert not (tmp_path / "m" / "card.json").exists()
    load_bundle(make_model(tmp_path / "good", calibration=FITTED, operating_points=POINTS).folder)
