"""What a card says of its model's scores: calibration and operating points from the real images that folds held out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from cxrcad.config import FindConfig, OperatingPointsConfig, ScoringConfig
from cxrcad.core import Case, ModelIdentity, Nodule, UsageError
from cxrcad.evaluation.bootstrap import bootstrap
from cxrcad.evaluation.calibration import fit_calibration
from cxrcad.evaluation.matching import FalsePositive, Hit, HitRule, ImageMatch
from cxrcad.evaluation.records import FoldResult, ScoredImage, ScoringContext, pooled_matches
from cxrcad.inference.calibration import Calibration
from cxrcad.packaging import calibration
from cxrcad.packaging.calibration import TITLE, calibrated_fields, drawn_bins, score_lines

RUN = Path("runs/real")
RESAMPLES = 200
CHOICES = OperatingPointsConfig()


@pytest.fixture(autouse=True)
def _fewer_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "ScoringConfig", lambda: ScoringConfig(resamples=RESAMPLES))


def fold(number: int, positives: int = 30, normals: int = 60, series: int = 0) -> FoldResult:
    """Lesions score high more often than others; of each normal three findings. `series` images hold a CT nodule."""
    rng = np.random.default_rng(number)
    matches, scored = [], []
    for index in range(positives + normals + series):
        positive = not positives <= index < positives + normals
        name = f"{number}-{index}"
        hits = (Hit(float(rng.beta(4, 2)), 0),) if positive else ()
        others = tuple(FalsePositive(float(score)) for score in rng.beta(2, 4, 3))
        matches.append(ImageMatch(name, int(positive), hits, others))
        groups = ("series:1.2",) if index >= positives + normals else ()
        nodules = (Nodule(10, 10, 10.0),) if positive else ()
        scored.append(ScoredImage(Case(name, Path(name), 64, 64, (1, 1), nodules, groups=groups), name, (), ()))
    model = ModelIdentity(f"m{number}", "1" * 64, 0.5, "CPU")
    context = ScoringContext("d", "jsrt-247", HitRule(), model, "u-net", "multi", "validation", number)
    return FoldResult(context, tuple(matches), (None,) * len(matches), (), tuple(scored))


class Source:
    """A bundle as far as it is read."""

    def __init__(self, **card: object) -> None:
        self.threshold = 0.41
        self.card = {"find": {**vars(FindConfig()), "threshold": 0.41}, "threshold_from": "best F1", **card}


def fields(*folds: FoldResult, source: Source | None = None, config: OperatingPointsConfig = CHOICES) -> dict:
    return calibrated_fields({"matches-a.json": folds}, RUN, source or Source(), config)


def test_calibration_points_and_the_model_s_threshold_come_from_the_pooled_folds():
    folds = [fold(1), fold(2)]
    found, fit = fields(*folds), fit_calibration(pooled_matches(folds))
    fitted, points = found["calibration"], found["operating_points"]
    assert Calibration(fitted["slope"], fitted["intercept"]) == fit
    assert list(points) == ["sensitive", "balanced", "specific"]
    assert points["sensitive"]["rule"] == "lowest score with at most 1 false positive per normal image"
    normal = [one for result in folds for one in result.matches if one.normal]
    for name, rate in CHOICES.rates().items():
        own = points[name]
        flag, score = own["command"].split()[-2:]
        assert flag == "--threshold"
        assert fit.applied(float(score)) == own["threshold"]
        wrong = sum(fp.score >= float(score) for match in normal for fp in match.false_positives) / len(normal)
        assert rate - 0.02 < wrong <= rate
        assert own["false_positives_per_normal_image"].startswith(f"{wrong:.3f} [")
        hits = sum(hit.score >= float(score) for result in folds for match in result.matches for hit in match.hits)
        assert own["sensitivity"].startswith(f"{hits / 60:.3f} [")
    assert points["sensitive"]["threshold"] < points["balanced"]["threshold"] < points["specific"]["threshold"]
    assert found["find"]["threshold"] == points["balanced"]["threshold"]
    assert found["threshold_from"].startswith(
        "operating point balanced, at most 0.25 false positives per normal image: 180 re"
    )
    assert found["training_threshold"] == {"score": 0.41, "from": "best F1", "threshold": fit.applied(0.41)}
    words = "180 real images (60 with a lesion, 120 without) that folds 1, 2 of real held out, protocol jsrt-247"
    assert fitted["on"].startswith(words)
    assert fitted["case_mix"] == "each image counts once; 33.3% have a lesion"
    assert "figures" not in found


def test_the_command_of_a_point_gives_its_figures():
    folds = [fold(1), fold(2)]
    own = fields(*folds)["operating_points"]["specific"]
    assert "--protocol jsrt-247 --hit-rule center --fp-axis normals --data DATA --threshold" in own["command"]
    threshold = float(own["command"].split()[-1])
    model = replace(folds[0].context.model, threshold=threshold)
    asked = [replace(one, context=replace(one.context, model=model, fp_axis="normals")) for one in folds]
    figures = bootstrap(
        [replace(one, context=replace(one.context, fold=n)) for n, one in enumerate(asked)], RESAMPLES, 0
    )
    assert own["sensitivity"] == str(figures["recall"])
    assert own["false_positives_per_normal_image"] == str(figures["false positives an image"])


def test_images_with_an_inserted_nodule_are_left_out():
    with_series, without = fields(fold(1, series=9), fold(2)), fields(fold(1), fold(2))
    told = with_series.pop("figures")
    assert told == {TITLE: {"left out": "9 images with inserted nodules"}}
    assert with_series == without
    alone = {
        TITLE: {"not calibrated": "no protocol scored real images both with and without a lesion, as jsrt-247 does"}
    }
    assert fields(fold(1, positives=0, series=30)) == {"figures": alone}


def test_the_evaluation_with_the_most_real_images_is_taken():
    small, large = (fold(1, 25, 50), fold(2, 25, 50)), (fold(1), fold(2))
    found = calibrated_fields({"a": small, "b": large, "c": (fold(1, 200, 0),)}, RUN, Source(), CHOICES)
    assert found["calibration"]["on"].startswith("180 real images")


def test_too_few_findings_or_normals_are_said_and_nothing_is_made_of_them():
    found = fields(fold(1, 8, 30), fold(2, 8, 30))
    assert "calibration" not in found
    told = found["figures"][TITLE]
    assert told["not calibrated"] == "16 findings on lesions and 228 others, where 20 of each are needed"
    assert told["no operating point"] == "specific: 60 normal images at 0.125 are fewer than 10 false positives"
    points = found["operating_points"]
    assert list(points) == ["sensitive", "balanced"]
    for point in points.values():
        assert point["threshold"] == float(point["command"].split()[-1])
    assert found["find"]["threshold"] == points["balanced"]["threshold"]
    few = fields(fold(1, 4, 4))
    assert set(few) == {"figures"}


def test_a_rate_that_the_curve_does_not_reach_is_no_point():
    config = replace(CHOICES, sensitive_rate=4.0)
    found = fields(fold(1), fold(2), config=config)
    assert found["figures"] == {TITLE: {"no operating point": "sensitive: 4 is not reached, the curve ends at 3"}}
    assert list(found["operating_points"]) == ["balanced", "specific"]
    with pytest.raises(UsageError, match=r"--specific-rate are 0.2, 0.25, 0.125; give three rates, each lower than"):
        fields(fold(1), config=replace(CHOICES, sensitive_rate=0.2))


def test_a_model_that_was_calibrated_before_is_calibrated_anew_from_the_threshold_of_its_training():
    first = fields(fold(1), fold(2))
    again = Source(**{name: first[name] for name in ("calibration", "operating_points", "training_threshold")})
    again.threshold = first["find"]["threshold"]
    assert fields(fold(1), fold(2), source=again) == first


def test_a_prevalence_is_in_slope_and_intercept_and_said():
    plain, rare = (fields(fold(1), fold(2), config=replace(CHOICES, prevalence=part)) for part in (None, 0.05))
    assert rare["calibration"]["intercept"] < plain["calibration"]["intercept"] - 1
    told = "each image counts once; 33.3% have a lesion, weighted to 5.0% for slope and intercept"
    assert rare["calibration"]["case_mix"] == told
    assert rare["calibration"]["reliability"] == plain["calibration"]["reliability"]


def test_the_card_is_read_aloud_and_its_plot_s_bins_are_those_of_the_fit():
    found = fields(fold(1), fold(2))
    text = "\n".join(score_lines(found))
    point = found["operating_points"]["balanced"]
    row = (
        f"| balanced | {point['threshold']:.4g} | {point['false_positives_per_normal_image']} | {point['sensitivity']}"
    )
    assert row in text
    assert f"`{point['command']}`" in text
    assert "The threshold that training chose (best F1) is" in text
    assert "![Part of the findings that are lesions, by score](reliability.svg)" in text
    assert "each fold's findings by the fit to the other folds" in text
    bins = drawn_bins(found)
    assert (sum(one.n for one in bins), sum(one.hits for one in bins)) == (600, 60)
    assert all(one.low <= one.mean_score <= one.high for one in bins)
    assert score_lines({}) == []
    assert drawn_bins({}) == ()
