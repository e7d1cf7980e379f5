"""Strata: nodules filtered, false positives kept; what is unknown stands apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrcad.config import PROTOCOLS
from cxrcad.core import Box, Case, Finding, ModelIdentity, Nodule
from cxrcad.evaluation.bootstrap import bootstrap
from cxrcad.evaluation.froc import froc, sensitivity_at
from cxrcad.evaluation.matching import FalsePositive, Hit, HitRule, ImageMatch, match_image
from cxrcad.evaluation.metrics import rate_name
from cxrcad.evaluation.protocols import TABLE, Protocol
from cxrcad.evaluation.records import FoldResult, ScoredImage, ScoringContext, pooled, pooled_matches
from cxrcad.evaluation.statistics import wilson
from cxrcad.evaluation.subgroups import STRATUM_RATES, Stratum, nodules_of, strata

CONTEXT = ScoringContext(
    "data", "jsrt-247", HitRule(), ModelIdentity("m", "ab", 0.5, "CPU"), "mo-segnet", "multi", "validation", 1
)
OBVIOUS = Nodule(10, 10, 12.0, subtlety=5, malignancy="malignant", location="r.upper lobe", in_lung=True)
SUBTLE = Nodule(40, 40, 8.0, subtlety=1, malignancy="Benign", location="Left lower lobe", in_lung=False)


def scored_image(name: str, *nodules: Nodule, **facts: object) -> ScoredImage:
    case = replace(Case(name, Path(name), 100, 100, (1.0, 1.0), nodules), **facts)  # type: ignore[arg-type]
    return ScoredImage(case, "", (), ())


STORY = FoldResult(
    CONTEXT,
    (
        ImageMatch("A", 2, (Hit(0.9, 0, 1.0), Hit(0.6, 1, 2.0)), (FalsePositive(0.7, True),), (0.55,)),
        ImageMatch("B", 1, (), (FalsePositive(0.8, False), FalsePositive(0.4, True))),
        ImageMatch("N", 0, (), (FalsePositive(0.6, True),)),
    ),
    (None, None, None),
    (),
    (
        scored_image("A", OBVIOUS, SUBTLE, sex="Male", age_years=70, view="PA"),
        scored_image("B", replace(SUBTLE, subtlety=None), sex="Female", age_years=49, view="AP"),
        scored_image("N", sex="Male", age_years=30, view="PA"),
    ),
)


def named(kind: str) -> dict[str, Stratum]:
    return {one.name: one for one in strata([STORY]) if one.kind == kind}


def test_nodules_of_one_subtlety_are_counted_and_every_false_positive_kept() -> None:
    """Subtlety 5: found. 1: found at 0.6. Unknown: missed. Three false positives from 0.5 on in three images."""
    found = named("subtlety")
    assert list(found) == ["1", "5", "unknown"]
    assert [(one.n_nodules, one.hits, one.n_images, one.fp_per_image) for one in found.values()] == [
        *((1, 1, 3, 1.0), (1, 1, 3, 1.0), (1, 0, 3, 1.0))
    ]
    assert found["5"].recall == 1.0
    assert found["5"].interval == wilson(1, 1)
    # 1/4 an image allows none of three images' false positives, 1/2 one, 1 three; the curve ends at 4/3
    assert found["1"].sensitivities == (0.0, 0.0, 1.0, None, None)
    assert found["5"].sensitivities == (1.0, 1.0, 1.0, None, None)


def test_size_place_and_malignancy() -> None:
    assert {name: one.n_nodules for name, one in named("size").items()} == {"below 10 mm": 2, "10-15 mm": 1}
    assert {name: one.n_nodules for name, one in named("lung field").items()} == {"inside": 1, "outside": 2}
    assert {name: one.n_nodules for name, one in named("malignancy").items()} == {"malignant": 1, "benign": 2}
    assert {name: one.n_nodules for name, one in named("side").items()} == {"right": 1, "left": 2}
    assert {name: one.n_nodules for name, one in named("location").items()} == {"lower lobe": 2, "upper lobe": 1}


def test_strata_of_images_keep_their_images_only() -> None:
    found = named("sex")
    assert [(name, one.n_images, one.n_nodules, one.hits, one.fp_per_image) for name, one in found.items()] == [
        *(("female", 1, 1, 0, 1.0), ("male", 2, 2, 2, 1.0))
    ]
    assert list(named("age")) == ["below 50 years", "65 years and more"]
    assert named("age")["below 50 years"].n_images == 2
    assert list(named("view")) == ["PA", "AP"]


def test_a_kind_of_which_nothing_is_known_is_left_out() -> None:
    bare = replace(
        STORY, scored=tuple(scored_image(d.case.name, *(Nodule(1, 1),) * len(d.case.nodules)) for d in STORY.scored)
    )
    assert strata([bare]) == ()


def test_a_finding_on_a_nodule_that_is_dropped_is_neither_hit_nor_false_positive() -> None:
    kept = nodules_of(STORY.matches[0], [False, True])
    assert (kept.n_nodules, kept.hits, kept.false_positives) == (1, (Hit(0.6, 1, 2.0),), (FalsePositive(0.7, True),))
    assert kept.duplicates == ()
    assert nodules_of(STORY.matches[0], [True, True]) == STORY.matches[0]


def by_normals(*results: FoldResult) -> list[FoldResult]:
    return [replace(one, context=replace(one.context, fp_axis="normals")) for one in results]


def test_with_the_axis_normals_an_image_whose_nodules_are_dropped_is_no_normal_one() -> None:
    """The only normal image is N, here with false positives of 0.6 and 0.55; A's and B's are on no axis."""
    normal = ImageMatch("N", 0, (), (FalsePositive(0.6, True), FalsePositive(0.55, True)))
    story = replace(STORY, matches=(*STORY.matches[:2], normal))
    found = {one.name: one for one in strata(by_normals(story)) if one.kind == "subtlety"}
    assert [(one.n_images, one.fp_per_image) for one in found.values()] == [(3, 2.0)] * 3
    # the nodule of 0.6 is reported with the first false positive; the curve ends at the second
    assert found["5"].sensitivities == (1.0, 1.0, 1.0, 1.0, None)
    assert found["1"].sensitivities == (0.0, 0.0, 1.0, 1.0, None)


def test_a_stratum_of_images_without_a_normal_one_reaches_no_rate_of_the_axis_normals() -> None:
    found = {one.name: one for one in strata(by_normals(STORY)) if one.kind == "sex"}
    assert (found["female"].hits, found["female"].n_nodules, found["female"].fp_per_image) == (0, 1, None)
    assert found["female"].sensitivities == (None,) * 5
    assert (found["male"].fp_per_image, found["male"].sensitivities) == (1.0, (0.5, 0.5, 1.0, None, None))


def test_further_findings_on_a_dropped_nodule_that_are_false_positives_vanish_with_it() -> None:
    """One image: two findings on the obvious nodule, one on the subtle one, one on none."""
    case = Case("A", Path("A"), 100, 100, (1.0, 1.0), (OBVIOUS, SUBTLE))
    places = [(0.9, 10.0), (0.8, 11.0), (0.7, 40.0), (0.6, 80.0)]
    findings = tuple(Finding("nodule", score, Box(at, at, at, at), (at, at), 1.0) for score, at in places)
    rule = HitRule(duplicates="false-positives")
    context = replace(CONTEXT, rule=rule)
    match = match_image(case, findings, rule)
    assert [fp.score for fp in match.false_positives] == [0.8, 0.6]
    result = FoldResult(context, (match,), (None,), (), (ScoredImage(case, "", findings, (None,) * 4),))
    found = {one.name: one.fp_per_image for one in strata([result]) if one.kind == "subtlety"}
    assert found == {"1": 1.0, "5": 2.0}


@st.composite
def folds(draw: st.DrawFn, images: str) -> list[FoldResult]:
    """Two folds with thresholds of their own, every nodule and image of one stratum; normals where they are scored."""
    scores = st.integers(0, 8).map(lambda eighths: eighths / 8)
    results = []
    for number in (1, 2):
        kinds = draw(st.lists(st.integers(0 if images == "all" else 1, 2), min_size=1, max_size=4))
        kinds += [0, 1] if images == "all" else [1]
        matches, scored_images = [], []
        for place, count in enumerate(kinds):
            hits = tuple(Hit(draw(scores), nodule) for nodule in range(count) if draw(st.booleans()))
            wrong = tuple(FalsePositive(score, True) for score in draw(st.lists(scores, max_size=3)))
            name = f"{number}-{place}"
            matches.append(ImageMatch(name, count, hits, wrong))
            scored_images.append(scored_image(name, *(OBVIOUS,) * count, sex="Male", age_years=70, view="PA"))
        model = replace(CONTEXT.model, threshold=draw(scores))
        context = replace(CONTEXT, fold=number, model=model)
        results.append(FoldResult(context, tuple(matches), (None,) * len(matches), (), tuple(scored_images)))
    return results


AXES = [(protocol, axis) for protocol in TABLE for axis in ("all", "normals")[: 2 if protocol.images == "all" else 1]]


@pytest.mark.parametrize(("protocol", "axis"), AXES, ids=[f"{protocol.name}-{axis}" for protocol, axis in AXES])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_stratum_of_everything_is_the_whole(protocol: Protocol, axis: str, data: st.DataObject) -> None:
    """Under every protocol and on each axis that it can have, with the figures that the other pages print."""
    assert {one.name for one, _ in AXES} == set(PROTOCOLS)
    results = [
        replace(one, context=replace(one.context, protocol=protocol.name, rule=protocol.rule, fp_axis=axis))
        for one in data.draw(folds(protocol.images))
    ]
    counts = pooled(results)
    curve = froc(pooled_matches(results), axis)
    figures = bootstrap(results, 0, 0)
    parts = strata(results)
    assert {one.kind for one in parts} == {
        *("subtlety", "size", "malignancy", "lung field", "side", "location", "age", "sex", "view")
    }
    for one in parts:
        assert (one.n_images, one.n_nodules, one.hits) == (counts.n_images, counts.tp + counts.fn, counts.tp)
        assert (one.recall, one.fp_per_image) == (counts.recall, counts.fp_per_image)
        assert one.interval == wilson(counts.tp, counts.tp + counts.fn)
        assert one.sensitivities == tuple(sensitivity_at(curve, rate) for rate in STRATUM_RATES)
        assert one.recall == pytest.approx(figures["recall"].value)
        assert one.fp_per_image == pytest.approx(figures["false positives an image"].value)
        told = [figures[f"sensitivity at {rate_name(rate)}"].value for rate in STRATUM_RATES]
        assert one.sensitivities == pytest.approx(tuple(told))
