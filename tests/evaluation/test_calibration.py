"""Calibration, reliability and thresholds: fits whose answer is known, and findings counted by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cxrcad.core import EvaluationError
from cxrcad.evaluation.bootstrap import draw_images
from cxrcad.evaluation.calibration import (
    Bin,
    calibrated,
    calibration_error,
    cross_fitted,
    fit_calibration,
    image_weights,
    reliability,
    threshold_at,
)
from cxrcad.evaluation.froc import froc, sensitivity_at
from cxrcad.evaluation.matching import FalsePositive, Hit, ImageMatch
from cxrcad.evaluation.statistics import wilson
from cxrcad.inference.calibration import Calibration


def image(name: str, lesions: tuple[float, ...] = (), others: tuple[float, ...] = (), missed: int = 0) -> ImageMatch:
    hits = tuple(Hit(score, number) for number, score in enumerate(lesions))
    return ImageMatch(name, len(lesions) + missed, hits, tuple(FalsePositive(score) for score in others))


def drawn(slope: float, intercept: float, count: int, seed: int = 0) -> list[ImageMatch]:
    """Images of one finding each: a lesion with the probability sigmoid(slope x logit(score) + intercept)."""
    rng = np.random.default_rng(seed)
    scores = rng.uniform(0.02, 0.98, count)
    truth = Calibration(slope, intercept)
    lesion = rng.random(count) < [truth.applied(score) for score in scores]
    return [
        image(str(n), (score,)) if yes else image(str(n), (), (score,))
        for n, (score, yes) in enumerate(zip(scores.tolist(), lesion, strict=True))
    ]


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.5, 1.0), (1.6, -2.0)])
def test_the_fit_finds_the_line_that_the_findings_were_drawn_from(slope, intercept):
    found = fit_calibration(drawn(slope, intercept, 20_000))
    assert found.slope == pytest.approx(slope, abs=0.05)
    assert found.intercept == pytest.approx(intercept, abs=0.06)


def test_of_two_scores_each_becomes_the_mean_of_platt_s_targets():
    """Two lesions at 0.8, one other at 0.2: targets 3/4 and 1/3. Ties at 0.8 of 3 lesions and 1 other: their mean."""
    three = fit_calibration([image("a", (0.8,)), image("b", (0.8,)), image("c", (), (0.2,))])
    assert three.applied(0.8) == pytest.approx(3 / 4, abs=1e-6)
    assert three.applied(0.2) == pytest.approx(1 / 3, abs=1e-6)
    tied = [image("a", (0.8, 0.8, 0.8), (0.8,)), image("b", (0.2,), (0.2, 0.2))]
    lesion, other = 5 / 6, 1 / 5
    assert fit_calibration(tied).applied(0.8) == pytest.approx((3 * lesion + other) / 4, abs=1e-6)
    assert fit_calibration(tied).applied(0.2) == pytest.approx((lesion + 2 * other) / 3, abs=1e-6)


@pytest.mark.parametrize(
    ("matches", "words"),
    [
        ([image("a", (0.8, 0.3))], "2 of 2 findings are lesions, and a calibration needs lesions and others"),
        ([image("a", (), (0.8, 0.3))], "0 of 2 findings are lesions"),
        ([image("a")], "0 of 0 findings are lesions"),
        ([image("a", (0.5,), (0.5, 0.5))], "all 3 findings have the score 0.5; there is nothing to calibrate"),
        ([image("a", (0.2, 0.3), (0.8, 0.9))], "the 2 lesions score no higher than the 2 other findings"),
    ],
)
def test_findings_that_cannot_be_calibrated_are_refused(matches, words):
    with pytest.raises(EvaluationError, match=words):
        fit_calibration(matches)


def test_candidates_below_eight_false_positives_an_image_decide_nothing():
    first = image("a", (0.9, 0.7), tuple(0.8 - 0.05 * n for n in range(8)))
    more = image("a", (0.9, 0.7, 0.01), tuple(0.8 - 0.05 * n for n in range(8)) + (0.02,) * 500)
    assert fit_calibration([first]) == fit_calibration([more])


def test_a_prevalence_moves_the_odds():
    """Half of the images have a lesion. At 10 % the odds of every score are a ninth of what they were."""
    matches = drawn(1.0, 0.0, 20_000)
    weights = image_weights(matches, 0.1)
    positive = np.array([match.n_nodules > 0 for match in matches])
    assert weights.sum() == pytest.approx(len(matches))
    assert weights[positive].sum() / weights.sum() == pytest.approx(0.1)
    plain, rare = fit_calibration(matches), fit_calibration(matches, weights)
    assert rare.slope == pytest.approx(plain.slope, abs=0.05)
    assert rare.intercept - plain.intercept == pytest.approx(-math.log(9), abs=0.1)
    assert (image_weights(matches, None) == 1).all()
    with pytest.raises(EvaluationError, match=r"prevalence of 0.1 needs images with and without a lesion; 0 of the 1"):
        image_weights([image("a", (0.5,))], 0.1)


def test_ranking_and_froc_stay_what_they_were():
    rng = np.random.default_rng(3)
    matches = [
        image(str(n), tuple(rng.random(n % 2)), tuple(np.float32(rng.random(5)).tolist()), missed=n % 3 == 1)
        for n in range(40)
    ]
    moved = [calibrated(match, Calibration(1.4, -5.0)) for match in matches]
    before, after = froc(matches), froc(moved)
    assert (before.hits, before.false_positives) == (after.hits, after.false_positives)
    assert list(after.thresholds) == [Calibration(1.4, -5.0).applied(score) for score in before.thresholds]


def test_each_fold_is_calibrated_by_the_others():
    folds = [drawn(1.0, 0.0, 300, seed) for seed in range(3)]
    by_hand = [*folds[0], *folds[2]]
    assert cross_fitted(folds)[300:600] == tuple(calibrated(one, fit_calibration(by_hand)) for one in folds[1])
    alone = tuple(calibrated(one, fit_calibration(folds[0])) for one in folds[0])
    assert cross_fitted(folds[:1]) == alone


def test_bins_are_counted_by_hand():
    """A score of 1 belongs to the last tenth; a further finding on a lesion is in none."""
    matches = [image("a", (1.0, 0.92), (0.15,)), image("b", (), (0.96, 0.11))]
    matches.append(ImageMatch("c", 1, (Hit(0.9, 0),), (), (0.5,)))
    assert reliability(matches) == (
        Bin(0.1, 0.2, 2, 0, 0.13, wilson(0, 2)),
        Bin(0.9, 1.0, 4, 3, pytest.approx(0.945), wilson(3, 4)),
    )
    assert reliability([image("a")]) == ()


def test_the_calibration_error_is_the_mean_gap_of_the_bins():
    """Bin 0.9: four findings, 3 lesions, mean 0.945; bin 0.1: two, none, mean 0.13: (0.78 + 0.26) / 6."""
    matches = [image("a", (1.0, 0.92), (0.15,)), image("b", (), (0.96, 0.11)), image("c", (0.9,))]
    error = calibration_error(matches)
    assert error.value == pytest.approx((4 * 0.195 + 2 * 0.13) / 6)
    assert (error.low, error.high) == (None, None)
    assert calibration_error([image("a")]).value is None
    once = calibration_error(matches, np.array([[1.0, 0, 0]] * 40))
    assert (once.low, once.high) == (pytest.approx((0.08 + 0.15) / 3),) * 2


def test_only_findings_down_to_one_false_positive_an_image_are_in_the_error():
    quiet = [image("a", (0.8,), (0.3,)), image("b", (), (0.4,))]
    noisy = [image("a", (0.8,), (0.3, *[0.01] * 50)), image("b", (), (0.4, *[0.02] * 50))]
    assert calibration_error(noisy) == calibration_error(quiet)


def test_scores_that_are_the_probabilities_have_a_small_error_and_others_a_large_one():
    true, off = drawn(1.0, 0.0, 4000), [calibrated(one, Calibration(1.0, 2.0)) for one in drawn(1.0, 0.0, 4000)]
    draws = draw_images([one.case for one in true], np.array([one.n_nodules > 0 for one in true]), 200, 0)
    small, large = calibration_error(true, draws), calibration_error(off, draws)
    assert small.value < 0.03
    assert small.low <= small.value + 0.02
    assert small.high < 0.05 < 0.15 < large.low < large.value < large.high


def test_a_threshold_has_the_sensitivity_of_its_rate():
    """Two normals; false positives there at 0.9, 0.6, 0.6, 0.2; lesions at 0.95, 0.7, 0.5."""
    matches = [
        image("a", (0.95, 0.7), (0.99,)),
        image("b", (0.5,)),
        image("n", (), (0.9, 0.6)),
        image("m", (), (0.6, 0.2)),
    ]
    found = {rate: threshold_at(matches, rate) for rate in (0.1, 0.5, 1.0, 1.5, 2.0, 4.0)}
    assert found == {0.1: 0.95, 0.5: 0.7, 1.0: 0.7, 1.5: 0.5, 2.0: 0.2, 4.0: None}
    for rate, threshold in found.items():
        if threshold is not None:
            reported = sum(hit.score >= threshold for match in matches for hit in match.hits) / 3
            assert reported == sensitivity_at(froc(matches, "normals"), rate)
    assert threshold_at([image("a", (0.5,)), image("n", (), (0.8, 0.8, 0.8))], 1.0) is None
