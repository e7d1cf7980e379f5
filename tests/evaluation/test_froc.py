"""Curves and operating points of crafted matches, counted by hand, and what must hold for any matches."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrcad.core import EvaluationError
from cxrcad.evaluation.froc import RATES, best_f1_threshold, froc, score_at_threshold, sensitivity_at
from cxrcad.evaluation.matching import FalsePositive, Hit, ImageMatch


def image(hits: list[float], fps: list[float], nodules: int = 1, inside: bool | None = None) -> ImageMatch:
    return ImageMatch(
        "image",
        nodules,
        tuple(Hit(score, index) for index, score in enumerate(sorted(hits, reverse=True))),
        tuple(FalsePositive(score, inside) for score in sorted(fps, reverse=True)),
    )


def test_four_images_by_hand() -> None:
    """Hits at 0.9 and 0.6, a miss, a normal image; false positives at 0.8 (inside the lung), 0.6 and 0.3 (outside)."""
    matches = [
        image([0.9], [0.8], inside=True),
        image([0.6], [0.6], inside=False),
        image([], []),
        image([], [0.3], 0, False),
    ]
    curve = froc(matches)
    assert (curve.n_images, curve.n_nodules) == (4, 3)
    assert curve.thresholds == (0.9, 0.8, 0.6, 0.3)
    assert curve.hits == (1, 1, 2, 2)
    assert curve.false_positives == (0, 1, 2, 3)
    assert curve.in_lung == (0, 1, 1, 1)
    assert curve.outside_lung == (0, 0, 1, 2)
    assert curve.sensitivity == (1 / 3, 1 / 3, 2 / 3, 2 / 3)
    assert curve.fp_per_image == (0, 0.25, 0.5, 0.75)
    assert [sensitivity_at(curve, rate) for rate in (0, 0.125, 0.25, 0.5, 0.6, 0.75)] == [
        1 / 3,
        1 / 3,
        1 / 3,
        2 / 3,
        2 / 3,
        2 / 3,
    ]
    assert sensitivity_at(curve, 1) is None


def test_a_curve_that_ends_at_0_6_does_not_reach_1_though_it_found_every_nodule() -> None:
    """Five images, five hits, three false positives: the last point is 0.6 FP an image at a sensitivity of 1.0."""
    matches = [image([0.9], []), image([0.8], [0.85]), image([0.7], [0.3]), image([0.2], [0.5]), image([0.1], [])]
    curve = froc(matches)
    assert curve.final_fp_per_image == 0.6
    assert curve.sensitivity[-1] == 1.0
    assert sensitivity_at(curve, 0.6) == 1.0
    assert [sensitivity_at(curve, rate) for rate in RATES] == [0.2, 0.6, 0.6, None, None, None, None]


def test_a_nodule_that_no_finding_took_does_not_become_a_point() -> None:
    """Two nodules, one hit at 0.4 and one missed: a single point with sensitivity 1/2, and no false positive."""
    curve = froc([image([0.4], [], nodules=2)])
    assert (curve.thresholds, curve.hits, curve.false_positives) == ((0.4,), (1,), (0,))
    assert sensitivity_at(curve, 0) == 0.5
    assert sensitivity_at(curve, 0.125) is None


def test_a_hit_tied_with_two_false_positives_cannot_be_had_without_them() -> None:
    """All three at 0.5 in one image: the only point is 2 FP; with at most 1 FP nothing can be reported."""
    curve = froc([image([0.5], [0.5, 0.5])])
    assert (curve.thresholds, curve.hits, curve.false_positives) == ((0.5,), (1,), (2,))
    assert sensitivity_at(curve, 1) == 0.0
    assert sensitivity_at(curve, 2) == 1.0


def test_a_model_that_finds_nothing_has_a_curve_without_points() -> None:
    curve = froc([image([], []), image([], [])])
    assert (curve.thresholds, curve.final_fp_per_image) == ((), 0.0)
    assert sensitivity_at(curve, 0) == 0.0
    assert sensitivity_at(curve, 0.125) is None


def test_a_rate_that_counts_make_in_decimal_is_reached_exactly() -> None:
    """Three false positives in ten images are 0.3 an image, not a little more."""
    curve = froc([image([0.9], [0.5, 0.5, 0.5]), *[image([], [])] * 9])
    assert sensitivity_at(curve, 0.3) == 0.1


def test_duplicates_are_no_points() -> None:
    assert froc([ImageMatch("a", 1, (Hit(0.9, 0),), (), (0.5, 0.4))]).thresholds == (0.9,)


def test_operating_point_by_hand() -> None:
    """At 0.6, itself reported: two hits of four nodules, one false positive: recall 1/2, precision 2/3, F1 4/7."""
    matches = [image([0.9, 0.6], [0.7], 3, True), image([0.5], [0.59], 1, False)]
    counts = score_at_threshold(matches, 0.6)
    assert (counts.tp, counts.fp, counts.fn, counts.n_images) == (2, 1, 2, 2)
    assert (counts.recall, counts.precision, counts.f1, counts.fp_per_image) == (1 / 2, 2 / 3, 4 / 7, 0.5)
    assert (counts.fp_in_lung, counts.fp_outside_lung) == (1, 0)
    assert score_at_threshold(matches, 0.5).fp_outside_lung == 1


def test_precision_of_an_empty_report_is_undefined_and_its_f1_zero() -> None:
    counts = score_at_threshold([image([0.4], [0.4])], 0.5)
    assert (counts.precision, counts.recall, counts.f1) == (None, 0.0, 0.0)


def test_best_f1_by_hand() -> None:
    """Three nodules. F1 at 0.9: 2/4; at 0.8: 2/5; at 0.7: 4/6; at 0.2: 4/7. The best is from 0.7."""
    assert best_f1_threshold([image([0.9, 0.7], [0.8, 0.2], 3)]) == 0.7


def test_of_equal_f1_the_higher_threshold_is_chosen() -> None:
    """Two nodules. F1 at 0.9: 2/3; at 0.5, 0.4, 0.3 with two more false positives and the second hit: 4/6, the same."""
    matches = [image([0.9, 0.3], [0.5, 0.4], 2)]
    assert score_at_threshold(matches, 0.9).f1 == score_at_threshold(matches, 0.3).f1 == 2 / 3
    assert best_f1_threshold(matches) == 0.9


def test_without_a_hit_the_threshold_is_the_highest_score_and_without_findings_1() -> None:
    assert best_f1_threshold([image([], [0.3, 0.8])]) == 0.8
    assert best_f1_threshold([image([], [])]) == 1.0


@pytest.mark.parametrize("score", [froc, best_f1_threshold, lambda matches: score_at_threshold(matches, 0.5)])
def test_no_image_and_no_nodule_are_errors(score) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(EvaluationError, match="there is no image to score"):
        score([])
    with pytest.raises(EvaluationError, match="none of the 2 images holds a nodule"):
        score([image([], [0.5], 0), image([], [], 0)])


EIGHTHS = st.integers(0, 8).map(lambda number: number / 8)


@st.composite
def images(draw: st.DrawFn) -> ImageMatch:
    hits = draw(st.lists(EIGHTHS, max_size=3))
    inside = draw(st.sampled_from([True, False, None]))
    return image(hits, draw(st.lists(EIGHTHS, max_size=4)), len(hits) + draw(st.integers(0, 2)), inside)


MATCHES = st.lists(images(), min_size=1, max_size=6).filter(lambda found: any(match.n_nodules for match in found))
ANY = settings(max_examples=60, deadline=None)


@ANY
@given(MATCHES)
def test_along_a_curve_nothing_falls_and_thresholds_do(matches: list[ImageMatch]) -> None:
    curve = froc(matches)
    for values in (curve.hits, curve.false_positives, curve.in_lung, curve.outside_lung):
        assert list(values) == sorted(values)
    assert list(curve.thresholds) == sorted(set(curve.thresholds), reverse=True)
    sensitivities = [sensitivity_at(curve, rate) for rate in RATES]
    reached = [value for value in sensitivities if value is not None]
    assert reached == sorted(reached)
    assert sensitivities == reached + [None] * (len(RATES) - len(reached))


@ANY
@given(MATCHES)
def test_every_point_is_the_operating_point_at_its_threshold(matches: list[ImageMatch]) -> None:
    curve = froc(matches)
    for index, threshold in enumerate(curve.thresholds):
        counts = score_at_threshold(matches, threshold)
        assert (counts.tp, counts.fp) == (curve.hits[index], curve.false_positives[index])
        assert (counts.fp_in_lung, counts.fp_outside_lung) == (curve.in_lung[index], curve.outside_lung[index])
        assert (counts.recall, counts.fp_per_image) == (curve.sensitivity[index], curve.fp_per_image[index])


@ANY
@given(MATCHES, st.sampled_from([0.0, *RATES]))
def test_sensitivity_at_a_rate_is_the_best_of_all_thresholds_that_keep_it(
    matches: list[ImageMatch], rate: float
) -> None:
    points = [score_at_threshold(matches, number / 8) for number in range(10)]
    allowed = max(point.recall for point in points if point.fp_per_image <= rate)
    reached = points[0].fp_per_image >= rate
    assert sensitivity_at(froc(matches), rate) == (allowed if reached else None)


@ANY
@given(MATCHES)
def test_best_f1_is_best_of_all_thresholds_and_the_highest_of_equals(matches: list[ImageMatch]) -> None:
    best = best_f1_threshold(matches)
    scores = froc(matches).thresholds or (1.0,)
    f1 = {score: score_at_threshold(matches, score).f1 for score in scores}
    assert best == max(score for score in scores if f1[score] == max(f1.values()))


@ANY
@given(MATCHES, st.integers(0, 9))
def test_the_order_of_images_and_of_findings_never_matters(matches: list[ImageMatch], seed: int) -> None:
    chance = random.Random(seed)
    shuffled = [
        ImageMatch(
            match.case,
            match.n_nodules,
            tuple(chance.sample(match.hits, len(match.hits))),
            tuple(chance.sample(match.false_positives, len(match.false_positives))),
        )
        for match in chance.sample(matches, len(matches))
    ]
    assert froc(shuffled) == froc(matches)
    assert best_f1_threshold(shuffled) == best_f1_threshold(matches)


@ANY
@given(MATCHES, st.sets(st.floats(-5, 5), min_size=9, max_size=9).map(sorted))
def test_a_strictly_increasing_change_of_scores_moves_no_point(matches: list[ImageMatch], levels: list[float]) -> None:
    """Scores are eighths; the n-th eighth becomes the n-th of nine arbitrary rising numbers."""
    changed = [
        ImageMatch(
            match.case,
            match.n_nodules,
            tuple(Hit(levels[int(hit.score * 8)], hit.nodule) for hit in match.hits),
            tuple(FalsePositive(levels[int(fp.score * 8)], fp.in_lung) for fp in match.false_positives),
        )
        for match in matches
    ]
    before, after = froc(matches), froc(changed)
    assert (after.hits, after.false_positives) == (before.hits, before.false_positives)
    assert (after.in_lung, after.outside_lung) == (before.in_lung, before.outside_lung)
    if before.thresholds:
        assert best_f1_threshold(changed) == levels[int(best_f1_threshold(matches) * 8)]


@ANY
@given(MATCHES, st.integers(2, 3))
def test_every_image_several_times_gives_the_same_curve(matches: list[ImageMatch], times: int) -> None:
    once, more = froc(matches), froc(matches * times)
    assert (more.thresholds, more.sensitivity, more.fp_per_image) == (
        once.thresholds,
        once.sensitivity,
        once.fp_per_image,
    )
