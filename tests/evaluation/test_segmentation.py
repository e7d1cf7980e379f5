"""Dice at every level, the threshold, and figures of images by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cxrcad.core import EvaluationError, ModelIdentity
from cxrcad.evaluation.segmentation import (
    SegmentedFold,
    SegmentedImage,
    best_dice,
    measured,
    overlap,
    spreads,
)
from cxrcad.evaluation.statistics import dice
from cxrcad.imaging.preprocess import Geometry

GRID = Geometry.fit(30, 20, 20, 16)  # 30 x 20 of content in 32 x 32


def test_the_overlap_at_each_level_is_that_of_the_cut_map() -> None:
    rng = np.random.default_rng(0)
    found = (rng.integers(0, 101, (32, 32)) / 100).astype(np.float32)  # on the levels themselves too
    truth = rng.random((32, 32)) < 0.3
    measured_so = overlap(found, truth, GRID)
    for level in range(1, 100):
        cut = found[:30, :20] >= level / 100
        assert measured_so.found[level - 1] == cut.sum()
        assert measured_so.dice[level - 1] == pytest.approx(dice(cut, truth[:30, :20]))
    assert measured_so.true == truth[:30, :20].sum()


def test_the_best_threshold_has_the_best_mean_over_images_with_the_lesion() -> None:
    truth = np.zeros((32, 32), bool)
    truth[:10, :10] = True
    sure, unsure = np.where(truth, 0.8, 0.1).astype(np.float32), np.where(truth, 0.4, 0.1).astype(np.float32)
    nothing = overlap(sure, np.zeros_like(truth), GRID)  # a normal: it has no part in the threshold
    assert best_dice([overlap(sure, truth, GRID)]) == (0.8, 1.0)  # the higher of equal ones
    assert best_dice([overlap(sure, truth, GRID), overlap(unsure, truth, GRID), nothing]) == (0.4, 1.0)
    with pytest.raises(EvaluationError, match="no validation case has the lesion"):
        best_dice([nothing])


def image(case: str, dice: float | None, score: float, reported: bool, patient: str = "") -> SegmentedImage:
    return SegmentedImage(case, patient or case, "0" * 64, dice is not None, dice, score, score / 10, reported, None)


def fold(*images: SegmentedImage, number: int = 1) -> SegmentedFold:
    model = ModelIdentity("toy", "0" * 64, 0.5, "CPU")
    return SegmentedFold(number, "data", model, "u-net", "multi", "the model's card", 12.0, "0" * 64, images)


FOLDS = (
    fold(image("a", 0.8, 0.9, True), image("b", 0.4, 0.3, False), image("c", None, 0.2, False)),
    fold(image("d", 0.6, 0.7, True), image("e", None, 0.7, True), image("f", None, 0.1, False), number=2),
)


def test_the_figures_by_hand() -> None:
    found = {name: interval.value for name, interval in measured(FOLDS, 0, 0).items()}
    assert found["Dice"] == pytest.approx((0.8 + 0.4 + 0.6) / 3)
    assert found["sensitivity"] == pytest.approx(2 / 3)
    assert found["specificity"] == pytest.approx(2 / 3)
    # a beats all three normals, b beats c and f, d beats c and f and ties with e
    assert found["image AUC, highest probability"] == pytest.approx((3 + 2 + 2.5) / 9)
    assert found["image AUC, area"] == pytest.approx((3 + 2 + 2.5) / 9)
    assert found["lung Dice"] is None
    over = spreads(FOLDS)["Dice"]
    assert over is not None
    assert (over.mean, over.n) == (pytest.approx(0.6), 2)
    assert over.sd == pytest.approx(0.0, abs=1e-9)


def test_the_interval_draws_patients_and_holds_the_figure() -> None:
    rng = np.random.default_rng(0)
    apart = fold(*(image(f"e{i}", float(d), 0.5, True) for i, d in enumerate(rng.random(40))))
    together = replace(apart, images=tuple(replace(one, patient=f"p{i // 20}") for i, one in enumerate(apart.images)))
    narrow, wide = (measured([one], 2000, 0)["Dice"] for one in (apart, together))
    assert narrow.low is not None
    assert narrow.high is not None
    assert narrow.low < narrow.value < narrow.high  # type: ignore[operator]
    sd = np.std([one.dice for one in apart.images], ddof=0) / np.sqrt(40)
    assert (narrow.high - narrow.low) / 2 == pytest.approx(1.96 * sd, rel=0.1)
    means = [np.mean([one.dice for one in apart.images[part : part + 20]]) for part in (0, 20)]
    assert (wide.low, wide.high) == (pytest.approx(min(means)), pytest.approx(max(means)))  # two patients: either twice
    assert measured([apart], 2000, 0)["specificity"].value is None
    with pytest.raises(EvaluationError, match="none of the 1 images has the lesion"):
        measured([fold(image("n", None, 0.1, False))], 0, 0)
