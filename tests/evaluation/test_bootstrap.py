"""Bootstrap intervals and paired comparison: exact where they can be, and right in the long run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cxrcad.core import Case, EvaluationError, ModelIdentity, Nodule
from cxrcad.evaluation.bootstrap import Interval, _p, _swaps, bootstrap, compare, compare_seeds, draw, froc_band
from cxrcad.evaluation.matching import FalsePositive, Hit, HitRule, ImageMatch
from cxrcad.evaluation.metrics import figures, tally
from cxrcad.evaluation.records import FoldResult, ScoredImage, ScoringContext
from cxrcad.evaluation.statistics import wilson

MODEL = ModelIdentity("m", "ab", 0.5, "CPUExecutionProvider")
CONTEXT = ScoringContext("data", "jsrt-247", HitRule(), MODEL, "mo-segnet", "multi", "validation", 1)


def fold(found: list[bool], normals: int = 0, score: float = 0.9) -> FoldResult:
    """One nodule an image, hit where `found`; then normal images, every other one with a false positive at 0.7."""
    matches = [ImageMatch(f"P{i}", 1, (Hit(score, 0, 1.0),) if hit else ()) for i, hit in enumerate(found)]
    fp = (FalsePositive(0.7, True),)
    matches += [ImageMatch(f"N{i}", 0, (), fp if i % 2 else ()) for i in range(normals)]
    return FoldResult(CONTEXT, tuple(matches), (None,) * len(matches))


def test_recall_has_wilson_s_interval_which_the_bootstrap_of_the_same_hits_comes_near() -> None:
    """60 of 100 found, without a false positive: the sensitivity at 1/8 is not reached, that of the band is recall."""
    result = [fold([True] * 60 + [False] * 40)]
    assert bootstrap(result, 4000, 0)["recall"] == Interval(0.6, *wilson(60, 100))
    assert np.ravel(froc_band(result, (1.0,), 4000, 0)) == pytest.approx(wilson(60, 100), abs=0.01)


def test_where_no_resample_differs_proportions_have_wilson_s_interval_and_other_figures_none() -> None:
    """Two of two nodules and no false positive in them; the one false positive stands in each of four normals."""
    normals = tuple(ImageMatch(f"F{i}", 0, (), (FalsePositive(0.7, True),)) for i in range(4))
    every = fold([True, True])
    every = replace(every, matches=(*every.matches, *normals), lung_dice=(None,) * 6)
    found = bootstrap([every], 100, 0)
    assert found["recall"] == found["sensitivity at 1/2"] == Interval(1.0, *wilson(2, 2))
    assert found["precision"] == Interval(2 / 6, *wilson(2, 6))
    assert found["false positives an image"] == Interval(4 / 6)
    assert found["CPM"] == Interval(1.0)
    assert froc_band([every], (0.5,), 100, 0) == ((wilson(2, 2)[0],), (1.0,))
    nothing = bootstrap([fold([False, False], 4)], 100, 0)
    assert nothing["recall"] == Interval(0.0, *wilson(0, 2))


def test_there_is_no_cpm_where_the_curve_ends_below_an_eighth() -> None:
    """One false positive in sixteen images; then two, which is an eighth."""
    one, two = (
        replace(
            fold([True], 15),
            matches=fold([True]).matches
            + tuple(ImageMatch(f"N{i}", 0, (), (FalsePositive(0.7, True),) * (i < fps)) for i in range(15)),
        )
        for fps in (1, 2)
    )
    assert bootstrap([one], 0, 0)["CPM"] == Interval(None)
    assert bootstrap([two], 0, 0)["CPM"] == Interval(1.0)


def test_the_same_seed_gives_the_same_interval_and_none_without_resamples() -> None:
    result = [fold([True, False, True, True], 4)]
    assert bootstrap(result, 100, 3) == bootstrap(result, 100, 3)
    assert bootstrap(result, 100, 3)["F1"] != bootstrap(result, 100, 4)["F1"]
    assert bootstrap(result, 0, 0)["F1"] == Interval(2 / 3)
    assert bootstrap(result, 0, 0)["recall"] == Interval(0.75, *wilson(3, 4))


def test_positives_and_normals_are_drawn_apart_and_images_of_a_patient_together() -> None:
    result = fold([True, False, True], 2)
    weights = draw([result], 200, 0)
    assert weights.shape == (200, 5)
    assert set(weights[:, :3].sum(1)) == {3.0}
    assert set(weights[:, 3:].sum(1)) == {2.0}
    cases = [
        Case(m.case, Path(m.case), 10, 10, groups=("patient:7",) if m.case in ("P0", "P2") else ())
        for m in result.matches
    ]
    scored_images = tuple(ScoredImage(case, "", (), ()) for case in cases)
    together = draw([replace(result, scored=scored_images)], 200, 0)
    assert (together[:, 0] == together[:, 2]).all()
    assert not (together[:, 0] == together[:, 1]).all()


def test_an_interval_is_given_only_where_resamples_reach_the_rate() -> None:
    """One false positive in four images is 1/4: half the resamples of the normals have fewer."""
    found = bootstrap([fold([True, True], 2)], 400, 0)
    assert found["sensitivity at 1/4"].value == 1.0
    assert found["sensitivity at 1/4"].low is None
    assert found["sensitivity at 1"] == Interval(None)
    assert found["CPM"] == Interval(1.0)


def test_the_band_holds_the_curve_and_its_ends_are_those_of_the_sensitivity() -> None:
    result = [fold([True] * 12 + [False] * 8, 40)]
    low, high = froc_band(result, (0.125, 0.25), 1000, 0)
    found = bootstrap(result, 1000, 0)["sensitivity at 1/8"]
    assert (low[0], high[0]) == (found.low, found.high)
    assert low[0] <= 0.6 <= high[0]


def test_a_run_against_itself_differs_by_nothing() -> None:
    one = [fold([True, False, True, False], 4)]
    found = compare(one, one, 200, 0)
    for name in ("F1", "recall", "image AUC"):
        assert found[name].difference == Interval(0.0, 0.0, 0.0)
        assert found[name].p == 1.0


def test_a_clear_difference_has_a_small_p_and_an_interval_off_zero() -> None:
    """30 images, all found by the first run, none by the second: only all-stay and all-swapped are as far apart."""
    found = compare([fold([True] * 30)], [fold([False] * 30)], 999, 0)["recall"]
    assert (found.first, found.second, found.difference) == (1.0, 0.0, Interval(1.0, 1.0, 1.0))
    assert found.p == 1 / 1000


def test_p_of_three_images_by_hand() -> None:
    """Found 3 of 3 against 0 of 3: of the 8 ways to swap, 2 are as far apart; p comes near 1/4."""
    found = compare([fold([True] * 3)], [fold([False] * 3)], 8000, 0)["recall"]
    assert found.p == pytest.approx(0.25, abs=0.02)


def test_the_paired_difference_is_that_of_the_figures_on_the_same_resamples() -> None:
    first, second = fold([True, True, False, True, False] * 4, 6), fold([True, False, False, True, True] * 4, 6, 0.8)
    weights = draw([first], 300, 5)
    by_hand = figures(tally([first]), weights)["F1"] - figures(tally([second]), weights)["F1"]
    found = compare([first], [second], 300, 5)["F1"].difference
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(by_hand, (2.5, 97.5))))


def test_several_seeds_are_compared_by_the_mean_of_their_figures_on_the_same_resamples() -> None:
    first = [[fold([True, True, False, True, False] * 4, 6)], [fold([True, False, True, True, True] * 4, 6)]]
    second = [[fold([True, False, False, True, True] * 4, 6, 0.8)], [fold([False, False, True, True, False] * 4, 6)]]
    pairs = list(zip(first, second, strict=True))
    found = compare_seeds(pairs, 300, 5)["F1"]
    weights = draw(first[0], 300, 5)
    drawn = [np.mean([figures(tally(one), weights)["F1"] for one in side], axis=0) for side in (first, second)]
    bounds = np.percentile(drawn[0] - drawn[1], (2.5, 97.5))
    assert (found.difference.low, found.difference.high) == pytest.approx(tuple(bounds))
    apart = [compare(one, other, 0, 0)["F1"].difference.value for one, other in pairs]
    assert found.difference.value == pytest.approx(np.mean(apart))
    one, twice = compare(*pairs[0], 300, 5), compare_seeds([pairs[0], pairs[0]], 300, 5)
    assert twice["F1"].p == one["F1"].p
    assert twice["recall"].difference == one["recall"].difference
    with pytest.raises(EvaluationError, match="not scored on the same images"):
        compare_seeds([pairs[0], ([fold([True, False], 1)], [fold([True, False], 1)])], 10, 0)


def test_runs_on_other_images_or_under_other_rules_are_not_compared() -> None:
    one = fold([True, False], 1)
    with pytest.raises(EvaluationError, match="not scored on the same images"):
        compare([one], [fold([True, False, True], 1)], 10, 0)
    with pytest.raises(EvaluationError, match="P0"):
        compare([one], [replace(one, matches=one.matches * 2, lung_dice=(None,) * 6)], 10, 0)
    with pytest.raises(EvaluationError, match="differ in their rule"):
        compare([one], [replace(one, context=replace(CONTEXT, rule=HitRule("iou")))], 10, 0)


def test_runs_whose_folds_hold_other_cases_are_compared_image_by_image() -> None:
    """Each image keeps the threshold of the model that it was held out from."""
    whole = fold([True, False, True, True, False], 4)
    first = [replace(whole, matches=whole.matches[part], lung_dice=(None,) * 3) for part in (slice(3), slice(3, 6))]
    first += [replace(whole, matches=whole.matches[6:], lung_dice=(None,) * 3)]
    strict = replace(CONTEXT, model=replace(CONTEXT.model, threshold=0.95))
    shuffled = [whole.matches[place] for place in (8, 1, 3, 0, 7, 2, 6, 4, 5)]
    second = [
        FoldResult(CONTEXT, tuple(shuffled[:4]), (None,) * 4),
        FoldResult(strict, tuple(shuffled[4:]), (None,) * 5),
    ]
    found = compare(first, second, 200, 3)
    assert (found["CPM"].difference.value, found["CPM"].p) == (0.0, 1.0)
    assert (found["recall"].first, found["recall"].second) == (3 / 5, 2 / 5)  # P2 is found with 0.9, below 0.95
    assert compare(second, first, 0, 0)["recall"].difference.value == pytest.approx(-1 / 5)


def test_one_image_with_a_nodule_gives_a_difference_without_interval_or_p() -> None:
    one, two = (compare([fold(found, 3)], [fold([False] * len(found), 3)], 50, 0) for found in ([True], [True, False]))
    assert (one["recall"].difference, one["recall"].p) == (Interval(1.0), None)
    assert two["recall"].difference.low is not None
    assert two["recall"].p is not None


def test_the_false_alarm_rate_of_the_permutation_test_is_near_5_percent() -> None:
    """200 pairs of runs that differ by chance alone: p < 0.05 in about 10 (binomial: 2 to 20 in 999 of 1,000).

    The recall has few values, so that many draws tie with it: its test alarms less often, never more.
    """
    alarms = {"recall": 0, "image AUC": 0, "JAFROC": 0}
    for seed in range(200):
        rng = np.random.default_rng(seed)
        one, other = (_chance(rng) for _ in range(2))
        found = compare([one], [other], 199, seed)
        for name in alarms:
            p = found[name].p
            assert p is not None
            alarms[name] += p < 0.05
    assert all(2 <= alarms[name] <= 20 for name in ("image AUC", "JAFROC")), alarms
    assert alarms["recall"] <= 20


def _chance(rng: np.random.Generator) -> FoldResult:
    """24 images with a nodule that is found as a coin falls, 16 without; every score is noise."""
    matches = []
    for index in range(40):
        fps = (FalsePositive(float(rng.random()), True),)
        hits = (Hit(float(rng.random()), 0, 1.0),) if index < 24 and rng.random() < 0.7 else ()
        matches.append(ImageMatch(str(index), int(index < 24), hits, fps))
    return FoldResult(CONTEXT, tuple(matches), (None,) * 40)


def of_patients(result: FoldResult, patients: list[str]) -> FoldResult:
    """The result with each image of that patient."""
    cases = [
        Case(match.case, Path(match.case), 10, 10, groups=(f"patient:{patient}",))
        for match, patient in zip(result.matches, patients, strict=True)
    ]
    return replace(result, scored=tuple(ScoredImage(case, "", (), ()) for case in cases))


def test_results_change_places_by_patient_and_not_image_by_image() -> None:
    """Two patients of three images each, found by the first run alone.

    Of the 4 ways to swap patients 2 are as far apart: p comes near 1/2. Of the 64 ways to swap images 2 would be: 1/32.
    """
    patients = ["A", "B", "A", "B", "A", "B"]
    first, second = (of_patients(fold([found] * 6), patients) for found in (True, False))
    found = compare([first], [second], 2000, 0)["recall"]
    assert found.difference.value == 1.0
    assert found.p == pytest.approx(0.5, abs=0.05)
    stay = _swaps([first], 200, 0)
    assert (stay[:, ::2] == stay[:, :1]).all()
    assert (stay[:, 1::2] == stay[:, 1:2]).all()
    assert not (stay[:, 0] == stay[:, 1]).all()


def test_a_patient_with_a_nodule_in_any_image_is_drawn_with_the_positives() -> None:
    """A has a nodule and then none, B one, C none: A and B are drawn from A and B, C alone."""
    names = ["A", "A", "B", "C"]
    matches = tuple(ImageMatch(f"{i}", int(i in (0, 2))) for i in range(4))
    weights = draw([of_patients(FoldResult(CONTEXT, matches, (None,) * 4), names)], 200, 0)
    assert set(weights[:, 0] + weights[:, 2]) == {2.0}
    assert set(weights[:, 3]) == {1.0}


def test_images_are_drawn_together_by_their_patient_and_by_no_other_group() -> None:
    result = fold([True] * 4)
    groups = [("series:1", "patient:7"), ("series:1",), ("series:2", "patient:7"), ("series:1",)]
    cases = [Case(m.case, Path(m.case), 10, 10, groups=mine) for m, mine in zip(result.matches, groups, strict=True)]
    weights = draw([replace(result, scored=tuple(ScoredImage(case, "", (), ()) for case in cases))], 200, 0)
    assert (weights[:, 0] == weights[:, 2]).all()
    assert not (weights[:, 0] == weights[:, 1]).all()
    assert not (weights[:, 1] == weights[:, 3]).all()


def test_a_p_needs_nearly_all_permutations() -> None:
    permuted = np.zeros(1000)
    permuted[:25] = np.nan
    assert _p(0.5, permuted) == 1 / 976
    permuted[25] = np.nan
    assert _p(0.5, permuted) is None


def test_one_image_with_a_nodule_has_no_bootstrap_interval_and_its_recall_has_wilsons() -> None:
    found = bootstrap([fold([True], 3)], 50, 0)
    assert found["F1"] == Interval(2 / 3)
    assert found["recall"] == Interval(1.0, *wilson(1, 1))


def test_the_band_counts_false_positives_on_the_axis() -> None:
    """Two nodules at 0.5, two normals with a false positive at 0.6: 1 per image of the axis, 1/2 of all images."""
    matches = [ImageMatch(f"P{i}", 1, (Hit(0.5, 0, 1.0),)) for i in range(2)]
    matches += [ImageMatch(f"N{i}", 0, (), (FalsePositive(0.6, True),)) for i in range(2)]
    on_all = FoldResult(CONTEXT, tuple(matches), (None,) * 4)
    on_normals = replace(on_all, context=replace(CONTEXT, fp_axis="normals"))
    none, both = wilson(0, 2), wilson(2, 2)  # of two: no resample differs
    assert froc_band([on_all], (0.5,), 50, 0) == ((both[0],), (both[1],))
    assert froc_band([on_normals], (0.5, 1.0), 50, 0) == ((none[0], both[0]), (none[1], both[1]))


@pytest.mark.parametrize(("other", "what"), [({"sha256": "f" * 64}, "image"), ({"x_px": 9.0}, "truth")])
def test_runs_on_images_of_one_name_and_other_content_are_not_compared(other, what) -> None:
    def run(sha256: str = "a" * 64, x_px: float = 5.0) -> FoldResult:
        nodule = Nodule(x_px, 5.0, 8.0)
        image = ScoredImage(Case("1", Path("1.png"), 64, 64, None, (nodule,)), sha256, (), ())
        return replace(fold([False]), matches=(ImageMatch("1", 1),), scored=(image,), lung_dice=(None,))

    compare([run()], [run()], 10, 0)
    with pytest.raises(EvaluationError, match=rf"not scored on the same data \(1 has another {what}\)"):
        compare([run()], [run(**other)], 10, 0)
