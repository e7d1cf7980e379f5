"""Our FROC against the public scorers' rules: where LUNA16's are right the points agree, and named cases that differ.

`oracles.py` beside this file holds those rules. Detections are made ready for matching: which lesion each is on.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from cxrcad.evaluation.froc import RATES, Curve, froc, sensitivity_at
from cxrcad.evaluation.matching import FalsePositive, Hit, ImageMatch
from tests.evaluation.oracles import (
    LUNA16_RATES,
    Image,
    luna16_cpm,
    luna16_froc,
    monai_froc_score,
    picai_froc,
    picai_sensitivity_at,
)


def matched(images: list[Image]) -> list[ImageMatch]:
    """The images as match_image leaves them: best score first, one hit a lesion, further ones duplicates."""
    matches = []
    for number, (n_lesions, candidates) in enumerate(images):
        taken: set[int] = set()
        hits, false_positives, duplicates = [], [], []
        for score, lesion in sorted(candidates, key=lambda candidate: -candidate[0]):
            if lesion is None:
                false_positives.append(FalsePositive(score))
            elif lesion in taken:
                duplicates.append(score)
            else:
                taken.add(lesion)
                hits.append(Hit(score, lesion))
        matches.append(ImageMatch(f"{number}", n_lesions, tuple(hits), tuple(false_positives), tuple(duplicates)))
    return matches


def curve_of(images: list[Image]) -> Curve:
    return froc(matched(images))


def random_images(seed: int) -> list[Image]:
    """One to eight images of up to three lesions; few distinct scores, so that ties and duplicates are common."""
    draw = np.random.default_rng(seed)
    images: list[Image] = [(1, [(0.5, 0)])]  # so that there is a lesion, and one that is hit
    for _ in range(draw.integers(0, 8)):
        n_lesions = int(draw.integers(0, 4))
        on = draw.integers(-3, n_lesions, size=draw.integers(0, 9))
        images.append((n_lesions, [(float(draw.integers(1, 10)) / 10, int(k) if k >= 0 else None) for k in on]))
    return images


SETS = [random_images(seed) for seed in range(200)]


def test_the_random_sets_hold_what_makes_scoring_hard() -> None:
    curves = [curve_of(images) for images in SETS]
    assert sum(any(match.duplicates for match in matched(images)) for images in SETS) > 100
    assert sum(any(match.misses for match in matched(images)) for images in SETS) > 100
    assert sum(not any(match.misses for match in matched(images)) for images in SETS) > 20
    assert sum(curve.final_fp_per_image == 0 for curve in curves) > 10
    assert sum(curve.final_fp_per_image >= 1 for curve in curves) > 100


def test_points_are_luna16s_exactly_where_a_lesion_is_hit() -> None:
    """Ours leave out (0, 0), where every curve starts."""
    for seed, images in enumerate(SETS):
        curve = curve_of(images)
        assert ([0.0, *curve.fp_per_image], [0.0, *curve.sensitivity]) == luna16_froc(images), seed


def test_steps_are_never_above_luna16s_lines_and_meet_them_at_its_points() -> None:
    for seed, images in enumerate(SETS):
        curve, points = curve_of(images), luna16_froc(images)
        for rate in (*RATES, *curve.fp_per_image):
            ours, line = sensitivity_at(curve, rate), float(np.interp(rate, *points))
            if ours is not None:
                assert ours <= line + 1e-12, seed
                assert rate not in curve.fp_per_image or ours == line, seed


def test_the_mean_on_lines_is_numpys() -> None:
    for seed, images in enumerate(SETS):
        lines = np.interp(LUNA16_RATES, *luna16_froc(images))
        assert luna16_cpm(images) == pytest.approx(float(np.mean(lines)), abs=1e-12), seed


def test_luna16_has_no_number_when_no_lesion_is_hit_and_we_have_zero() -> None:
    images: list[Image] = [(1, [(0.9, None)]), (1, [(0.4, None)])]
    assert curve_of(images).sensitivity == (0.0, 0.0)
    assert all(math.isnan(value) for value in luna16_froc(images)[1])


def test_luna16_holds_the_last_sensitivity_beyond_the_curve_and_we_say_not_reached() -> None:
    """One of two lesions is found and the curve ends at half a false positive an image."""
    images: list[Image] = [(1, [(0.9, 0), (0.5, None)]), (1, [])]
    assert [sensitivity_at(curve_of(images), rate) for rate in RATES] == [0.5, 0.5, 0.5, None, None, None, None]
    assert luna16_cpm(images) == 0.5


def test_luna16_draws_a_line_to_the_next_point_and_we_take_the_best_point_reached() -> None:
    """The first lesion costs no false positive, the second comes with one, at the same score, in two images."""
    images: list[Image] = [(1, [(0.9, 0)]), (1, [(0.5, 0), (0.5, None)])]
    assert sensitivity_at(curve_of(images), 0.25) == 0.5
    assert float(np.interp(0.25, *luna16_froc(images))) == 0.75


def test_monai_loses_its_last_point_when_no_lesion_is_missed() -> None:
    """The lowest score is a hit's, but is taken for the zero of a missed lesion. A missed one brings the point back."""
    images: list[Image] = [(1, [(0.9, 0)] + [(0.8, None)] * 8), (1, [(0.7, 0)] + [(0.8, None)] * 8)]
    assert curve_of(images).sensitivity[-1] == sensitivity_at(curve_of(images), 8.0) == 1.0
    assert monai_froc_score(images, (8.0,)) == 0.5
    assert monai_froc_score([*images, (1, [])], (8.0,)) == pytest.approx(2 / 3)


def test_monai_scores_zero_when_every_lesion_is_hit_at_one_score() -> None:
    images: list[Image] = [(1, [(0.9, 0)]), (1, [(0.9, 0)])]
    assert curve_of(images).sensitivity == (1.0,)
    assert monai_froc_score(images) == 0.0


@pytest.mark.parametrize(("score", "monai"), [(0.7, 0.0), (0.1, 1.0)])
def test_monai_breaks_ties_by_rounding_hits_to_single_precision(score: float, monai: float) -> None:
    """0.7 is rounded down and falls behind the false positive of that score; 0.1 is rounded up and goes before it."""
    images: list[Image] = [(1, [(score, 0), (score, None)]), (0, [(0.05, None)])]
    assert curve_of(images).fp_per_image == (0.5, 1.0)
    assert sensitivity_at(curve_of(images), 0.25) == 0.0
    assert float(np.interp(0.25, *luna16_froc(images))) == 0.5
    assert monai_froc_score(images, (0.25,)) == monai


def test_monai_holds_the_last_sensitivity_beyond_the_curve_and_we_say_not_reached() -> None:
    images: list[Image] = [(1, [(0.9, 0), (0.5, None)]), (1, [])]
    assert sensitivity_at(curve_of(images), 8.0) is None
    assert monai_froc_score(images, (8.0,)) == 0.5


def test_monai_agrees_on_duplicates_which_are_nothing() -> None:
    once: list[Image] = [(1, [(0.75, 0), (0.25, None)]), (1, [])]
    twice: list[Image] = [(1, [(0.75, 0), (0.5, 0), (0.25, None)]), (1, [])]
    assert curve_of(twice) == curve_of(once)
    assert monai_froc_score(twice) == monai_froc_score(once)


def test_picai_gives_sixty_percent_for_a_true_hundred_because_no_lesion_is_missed() -> None:
    """Five lesions, all hit, no false positive: three at 0.9 and two at 0.5. The point of 0.5 is written over."""
    images: list[Image] = [(1, [(score, 0)]) for score in (0.9, 0.9, 0.9, 0.5, 0.5)]
    assert curve_of(images).sensitivity == (0.6, 1.0)
    assert picai_froc(images) == ([0.0, math.inf], [0.6, 0.6])


def test_picai_is_right_when_a_lesion_is_missed_because_only_its_zero_is_written_over() -> None:
    images: list[Image] = [(1, [(score, 0)]) for score in (0.9, 0.9, 0.9, 0.5)] + [(1, [])]
    assert curve_of(images).sensitivity == (0.6, 0.8)
    assert picai_froc(images) == ([0.0, 0.0, math.inf], [0.6, 0.8, 0.8])


def test_picai_gives_zero_when_every_lesion_is_hit_at_one_score() -> None:
    images: list[Image] = [(1, [(0.9, 0)]), (1, [(0.9, 0)])]
    assert curve_of(images).sensitivity == (1.0,)
    assert picai_froc(images) == ([0.0, math.inf], [0.0, 0.0])


def test_picai_answers_at_rates_that_the_curve_never_reaches() -> None:
    images: list[Image] = [(1, [(0.9, 0), (0.5, None)]), (1, [])]
    assert sensitivity_at(curve_of(images), 8.0) is None
    assert picai_sensitivity_at(images, 8.0) == 0.5


def test_picai_takes_the_largest_overlap_on_a_lesion_and_we_the_best_score() -> None:
    """Of two candidates on the lesion, the one that overlaps most stands first and has the lower score."""
    images: list[Image] = [(1, [(0.3, 0), (0.9, 0), (0.5, None)]), (1, [])]
    assert sensitivity_at(curve_of(images), 0.0) == 0.5
    assert picai_sensitivity_at(images, 0.0) == 0.0


def test_picai_has_our_points_but_the_last_of_sets_without_a_miss() -> None:
    """Candidates best first, so that overlap and score choose the same one on a lesion."""
    for seed, images in enumerate(SETS):
        best_first: list[Image] = [(n, sorted(c, key=lambda candidate: -candidate[0])) for n, c in images]
        curve = curve_of(images)
        ours = list(zip(curve.fp_per_image, curve.sensitivity, strict=True))
        if curve.hits[-1] == curve.n_nodules:
            ours = ours[:-1]
        theirs = list(zip(*picai_froc(best_first), strict=True))
        assert theirs[:-1] == (ours or [(0.0, 0.0)]), seed
        assert theirs[-1] == (math.inf, theirs[-2][1]), seed
