"""Crafted images, told in words, with hits, misses and false positives counted by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrcad.core import Box, Case, EvaluationError, Finding, Nodule, UsageError
from cxrcad.evaluation.matching import FalsePositive, Hit, HitRule, ImageMatch, match_image

CENTER = HitRule()


def case(*nodules: Nodule, spacing_mm: tuple[float, float] | None = (0.5, 0.5)) -> Case:
    """An image of 200 x 100 pixels (rows x columns), half a millimetre each unless told otherwise."""
    return Case("JPCLN001", Path("JPCLN001.png"), rows=200, cols=100, spacing_mm=spacing_mm, nodules=nodules)


def finding(score: float, x: float, y: float, half: float = 4.0) -> Finding:
    return Finding("nodule", score, Box(x - half, y - half, x + half, y + half), (x, y), (2 * half) ** 2)


NODULE = Nodule(50.0, 60.0, diameter_mm=10.0)  # a disc with a radius of 5 mm: 10 pixels
FAR = Nodule(20.0, 150.0, diameter_mm=10.0)


def test_a_finding_in_the_disc_is_a_hit_and_one_beside_it_a_false_positive() -> None:
    match = match_image(case(NODULE), [finding(0.9, 53, 64), finding(0.7, 90, 10)], CENTER)
    assert match == ImageMatch("JPCLN001", 1, (Hit(0.9, 0, 2.5),), (FalsePositive(0.7),), ())
    assert match.misses == 0


def test_a_missed_nodule_is_a_count_and_no_detection() -> None:
    match = match_image(case(NODULE, FAR), [finding(0.9, 50, 60)], CENTER)
    assert match.misses == 1
    assert [hit.nodule for hit in match.hits] == [0]
    assert match.false_positives == ()
    assert match_image(case(NODULE, FAR), [], CENTER) == ImageMatch("JPCLN001", 2)
    assert match_image(case(NODULE, FAR), [], CENTER).misses == 2


def test_of_three_findings_on_a_nodule_the_best_counts_and_the_others_are_nothing() -> None:
    match = match_image(case(NODULE), [finding(0.3, 50, 60), finding(0.8, 55, 60), finding(0.5, 50, 65)], CENTER)
    assert match == ImageMatch("JPCLN001", 1, (Hit(0.8, 0, 2.5),), (), (0.5, 0.3))


def test_the_rule_can_make_duplicates_false_positives() -> None:
    rule = HitRule(duplicates="false-positives")
    match = match_image(case(NODULE), [finding(0.3, 50, 60), finding(0.8, 55, 60)], rule)
    assert match == ImageMatch("JPCLN001", 1, (Hit(0.8, 0, 2.5),), (FalsePositive(0.3),), ())


def test_a_finding_between_two_nodules_is_given_to_the_nearest() -> None:
    """Discs at x = 50 and x = 62 overlap; the finding at x = 57 lies in both, 3.5 mm and 2.5 mm from their centres."""
    both = case(NODULE, replace(NODULE, x_px=62.0))
    match = match_image(both, [finding(0.9, 57, 60)], CENTER)
    assert match.hits == (Hit(0.9, 1, 2.5),)
    assert match.misses == 1


def test_the_second_finding_between_two_nodules_gets_the_one_that_is_left() -> None:
    both = case(NODULE, replace(NODULE, x_px=62.0))
    match = match_image(both, [finding(0.4, 57, 60), finding(0.9, 58, 60)], CENTER)
    assert match.hits == (Hit(0.9, 1, 2.0), Hit(0.4, 0, 3.5))
    assert (match.misses, match.duplicates) == (0, ())


def test_a_better_finding_is_never_moved_to_make_room_for_a_worse_one() -> None:
    """0.9 lies in both discs and takes the nearer, first one; 0.8 lies in the first only and becomes a duplicate."""
    both = case(NODULE, replace(NODULE, x_px=62.0))
    match = match_image(both, [finding(0.9, 55, 60), finding(0.8, 45, 60)], CENTER)
    assert match.hits == (Hit(0.9, 0, 2.5),)
    assert (match.misses, match.duplicates, match.false_positives) == (1, (0.8,), ())


def test_the_edge_of_the_disc_belongs_to_it() -> None:
    assert match_image(case(NODULE), [finding(0.9, 60, 60)], CENTER).misses == 0
    assert match_image(case(NODULE), [finding(0.9, 60.01, 60)], CENTER).misses == 1


def test_a_disc_in_mm_is_an_ellipse_in_pixels_of_unequal_spacing() -> None:
    """Rows 1 mm apart, columns 0.25 mm: the disc of radius 5 mm is 20 pixels wide to each side and 5 high."""
    flat = case(NODULE, spacing_mm=(1.0, 0.25))
    assert match_image(flat, [finding(0.9, 69, 60)], CENTER).hits == (Hit(0.9, 0, 4.75),)
    assert match_image(flat, [finding(0.9, 50, 66)], CENTER).misses == 1


def test_distance_counts_from_centre_to_centre_and_needs_no_diameter() -> None:
    unknown = case(replace(NODULE, diameter_mm=None))
    rule = HitRule("distance", 15.0)
    assert match_image(unknown, [finding(0.9, 80, 60)], rule).hits == (Hit(0.9, 0, 15.0),)
    assert match_image(unknown, [finding(0.9, 81, 60)], rule).misses == 1


def test_iou_takes_the_exact_box_and_else_the_square_around_the_disc() -> None:
    """The square is [40, 60) x [50, 70), 400 pixels; a box of 100 in it overlaps by 1/4. The exact box is that box."""
    inside = [finding(0.9, 45, 55, half=5)]
    quarter, more = HitRule("iou", 0.25), HitRule("iou", 0.26)
    assert match_image(case(NODULE), inside, quarter).hits[0].nodule == 0
    assert match_image(case(NODULE), inside, more).misses == 1
    exact = replace(NODULE, box_px=Box(40, 50, 50, 60))
    assert match_image(case(exact), inside, HitRule("iou", 1.0)).misses == 0
    without_mm = case(replace(exact, diameter_mm=None), spacing_mm=None)
    assert match_image(without_mm, inside, more).hits == (Hit(0.9, 0, None),)


def test_iou_of_zero_is_no_hit_even_where_the_rule_asks_for_nothing() -> None:
    assert match_image(case(NODULE), [finding(0.9, 90, 190)], HitRule("iou", 0.0)).misses == 1


def test_iou_gives_a_finding_on_two_nodules_to_the_one_it_overlaps_most() -> None:
    left, right = replace(NODULE, box_px=Box(0, 0, 10, 10)), replace(NODULE, box_px=Box(6, 0, 16, 10))
    match = match_image(case(left, right), [finding(0.9, 10, 5, half=5)], HitRule("iou", 0.1))
    assert match.hits[0].nodule == 1


@pytest.mark.parametrize(
    ("x", "half", "hit"),
    [(50, 1, True), (60.9, 1, True), (61.1, 1, False), (61.1, 12, True), (66, 10, False)],
)
def test_the_box_rule_takes_a_centre_in_the_grown_box_or_an_overlap(x: float, half: float, hit: bool) -> None:
    """A box of 20 x 20 about (50, 60): grown by a tenth it ends at 61; at 61.1 with a half of 12 the IoU is 0.38."""
    boxed = Nodule(50.0, 60.0, box_px=Box(40, 50, 60, 70))
    match = match_image(case(boxed, spacing_mm=None), [finding(0.9, x, 60, half)], HitRule("box", strict=True))
    assert bool(match.hits) is hit


def test_false_positives_are_inside_or_outside_the_lung_by_their_centre() -> None:
    """The mask has a quarter of the image's size: its one lung pixel covers x 40-80 and y 80-120 of the image."""
    lung = np.zeros((5, 5), dtype=bool)
    lung[2, 2] = True
    wide = replace(case(), rows=200, cols=200)
    match = match_image(wide, [finding(0.9, 80, 80), finding(0.8, 79, 100), finding(0.7, 119.9, 119.9)], CENTER, lung)
    assert [positive.in_lung for positive in match.false_positives] == [True, False, True]
    by_function = match_image(wide, [finding(0.9, 30, 80)], CENTER, lambda x, y: x < y)
    assert by_function.false_positives == (FalsePositive(0.9, True),)
    assert match_image(wide, [finding(0.9, 200, 200)], CENTER, lung).false_positives == (FalsePositive(0.9, False),)


def test_equal_scores_are_taken_from_top_to_bottom_whatever_the_order_given() -> None:
    pair = [finding(0.5, 50, 62), finding(0.5, 50, 58)]
    assert match_image(case(NODULE), pair, CENTER) == match_image(case(NODULE), pair[::-1], CENTER)
    assert match_image(case(NODULE), pair, CENTER).duplicates == (0.5,)


@pytest.mark.parametrize(
    ("truth", "rule", "words"),
    [
        (case(replace(NODULE, diameter_mm=None)), CENTER, "JPCLN001: the nodule at (50, 60) has no diameter"),
        (case(NODULE, spacing_mm=None), CENTER, "JPCLN001: the pixel spacing is unknown"),
        (case(NODULE, spacing_mm=None), HitRule("distance"), "JPCLN001: the pixel spacing is unknown"),
        (case(NODULE, spacing_mm=None), HitRule("iou"), "JPCLN001: the spacing of its pixels in mm is unknown"),
    ],
)
def test_a_truth_that_the_rule_cannot_use_is_an_error_that_names_the_case(
    truth: Case, rule: HitRule, words: str
) -> None:
    with pytest.raises(EvaluationError) as caught:
        match_image(truth, [finding(0.9, 50, 60)], rule)
    assert str(caught.value).startswith(words)


def test_a_score_that_is_no_number_is_an_error() -> None:
    with pytest.raises(EvaluationError, match="JPCLN001: a finding has the score nan"):
        match_image(case(NODULE), [finding(float("nan"), 50, 60)], CENTER)


def test_a_rule_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(UsageError, match="hit rule is 'overlap'; choose from center, iou, box, distance"):
        HitRule("overlap")
    with pytest.raises(UsageError, match="duplicates are 'kept'; choose from ignored, false-positives"):
        HitRule(duplicates="kept")


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        (
            CENTER,
            "A hit is a finding whose centre lies in the nodule's disc; the best-scored finding on a nodule counts, "
            "further findings on it are neither hits nor false positives.",
        ),
        (
            HitRule("distance", 22, duplicates="false-positives"),
            "A hit is a finding whose centre lies within 22 mm of the nodule's centre; the best-scored finding on a "
            "nodule counts, further findings on it are false positives.",
        ),
        (
            HitRule("iou", 0.5),
            "A hit is a finding whose box overlaps the nodule's box with an IoU of at least 0.5; the best-scored "
            "finding on a nodule counts, further findings on it are neither hits nor false positives.",
        ),
    ],
)
def test_every_rule_says_in_one_sentence_what_it_is(rule: HitRule, sentence: str) -> None:
    assert rule.describe() == sentence


NODULES = st.lists(st.builds(lambda x, y: Nodule(x, y, 10.0), st.integers(20, 50), st.integers(20, 50)), max_size=4)
FINDINGS = st.lists(
    st.builds(lambda s, x, y: finding(s / 4, x, y), st.integers(0, 4), st.integers(10, 60), st.integers(10, 60)),
    max_size=8,
)
RULES = st.sampled_from([CENTER, HitRule("iou"), HitRule("distance", 6), HitRule(duplicates="false-positives")])


@settings(max_examples=60, deadline=None)
@given(NODULES, FINDINGS, RULES, st.randoms(use_true_random=False))
def test_the_order_of_findings_never_matters(nodules, findings, rule, random) -> None:  # type: ignore[no-untyped-def]
    shuffled = random.sample(findings, len(findings))
    assert match_image(case(*nodules), shuffled, rule) == match_image(case(*nodules), findings, rule)


@settings(max_examples=60, deadline=None)
@given(NODULES, FINDINGS, RULES, st.integers(0, 4))
def test_matching_above_a_threshold_is_matching_all_and_dropping_those_below(nodules, findings, rule, quarter) -> None:  # type: ignore[no-untyped-def]
    threshold = quarter / 4
    whole = match_image(case(*nodules), findings, rule)
    above = match_image(case(*nodules), [item for item in findings if item.score >= threshold], rule)
    assert above.hits == tuple(hit for hit in whole.hits if hit.score >= threshold)
    assert above.false_positives == tuple(fp for fp in whole.false_positives if fp.score >= threshold)
    assert above.duplicates == tuple(score for score in whole.duplicates if score >= threshold)


@settings(max_examples=60, deadline=None)
@given(NODULES, FINDINGS, RULES)
def test_every_finding_and_every_nodule_is_counted_once(nodules, findings, rule) -> None:  # type: ignore[no-untyped-def]
    match = match_image(case(*nodules), findings, rule)
    assert len(match.hits) + len(match.false_positives) + len(match.duplicates) == len(findings)
    assert len({hit.nodule for hit in match.hits}) == len(match.hits)
    assert match.misses + len(match.hits) == len(nodules)
