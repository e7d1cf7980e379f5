"""Means, pooled counts, intervals and overlaps, by hand or from published values."""

from __future__ import annotations

import numpy as np
import pytest

from cxrcad.core import EvaluationError, ModelIdentity
from cxrcad.evaluation.froc import Operating
from cxrcad.evaluation.matching import FalsePositive, Hit, HitRule, ImageMatch
from cxrcad.evaluation.records import FoldResult, ScoringContext, pooled
from cxrcad.evaluation.statistics import Spread, dice, spread, wilson


def test_the_standard_deviation_has_n_minus_1() -> None:
    """2, 4 and 9 have the mean 5 and squared deviations 9 + 1 + 16 = 26; 26 / 2 = 13."""
    found = spread([2, 4, 9])
    assert found is not None
    assert (found.mean, found.n) == (5, 3)
    assert found.sd == pytest.approx(13**0.5, rel=1e-12)


def test_one_fold_has_no_standard_deviation() -> None:
    assert spread([0.4]) == Spread(0.4, None, 1)


def test_an_undefined_fold_leaves_the_mean_undefined() -> None:
    assert spread([0.4, None, 0.6]) is None


def fold(threshold: float, *matches: ImageMatch) -> FoldResult:
    model = ModelIdentity("m", "0" * 64, threshold, "CPU")
    context = ScoringContext("d", "paper", HitRule(), model, "u-net", "multi", "card")
    return FoldResult(context, matches, (None,) * len(matches))


def test_pooling_adds_counts_and_not_figures() -> None:
    """Recall 1/1 and 1/9 pool to 2/10, not to 5/9."""
    wrong = tuple(FalsePositive(0.4, in_lung) for in_lung in (True, True, True, False))
    first = ImageMatch("a", 1, (Hit(0.9, 0),))
    others = [ImageMatch(f"b{number}", 1) for number in range(9)]
    others[0] = ImageMatch("b0", 1, (Hit(0.35, 0),), wrong)  # below the first fold's threshold
    folds = [fold(0.5, first), fold(0.3, *others)]
    assert [one.operating for one in folds] == [
        Operating(0.5, 1, 1, 0, 0, 0, 0),
        Operating(0.3, 9, 1, 4, 8, 3, 1),
    ]
    assert pooled(folds) == Operating(None, 10, 2, 4, 8, 3, 1)
    assert pooled(folds).recall == 0.2
    assert pooled(folds[:1]) == folds[0].operating


def test_wilson_intervals_as_published() -> None:
    """Newcombe, Statistics in Medicine 17:857-872 (1998), table I, method 3 (score without continuity correction)."""
    for successes, trials, low, high in [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ]:
        found = wilson(successes, trials)
        assert (round(found[0], 4), round(found[1], 4)) == (low, high)


def test_wilson_of_everything_ends_at_1() -> None:
    low, high = wilson(20, 20)
    assert (round(low, 4), high) == (1 - 0.1611, 1.0)


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (3, 2), (-1, 2)])
def test_impossible_proportions_are_errors(successes: int, trials: int) -> None:
    with pytest.raises(EvaluationError, match=f"{successes} of {trials} has no interval"):
        wilson(successes, trials)


def test_no_fold_is_an_error() -> None:
    with pytest.raises(EvaluationError, match="there is no fold to take a mean of"):
        spread([])
    with pytest.raises(EvaluationError, match="there is no scored fold"):
        pooled([])


def test_dice_by_hand() -> None:
    """Three pixels and two pixels with one in common: 2 * 1 / 5."""
    found = np.array([[1, 1, 1], [0, 0, 0]], dtype=bool)
    truth = np.array([[0, 0, 1], [0, 0, 1]], dtype=bool)
    assert dice(found, truth) == 0.4
    assert dice(found, found) == 1.0
    assert dice(found, ~found) == 0.0
    assert dice(found & ~found, truth & ~truth) == 1.0
    with pytest.raises(EvaluationError, match=r"masks of \(2, 3\) and \(3, 2\) pixels do not compare"):
        dice(found, truth.T)
