"""Strata: nodules filtered, false positives kept; what is unknown stands apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cxrcad.core import Case, ModelIdentity, Nodule
from cxrcad.evaluation.matching import FalsePositive, Hit, HitRule, ImageMatch
from cxrcad.evaluation.records import Detail, FoldResult, Terms
from cxrcad.evaluation.statistics import wilson
from cxrcad.evaluation.subgroups import Stratum, nodules_of, strata

TERMS = Terms(
    "data", "jsrt-247", HitRule(), ModelIdentity("m", "ab", 0.5, "CPU"), "mo-segnet", "multi", "validation", 1
)
OBVIOUS = Nodule(10, 10, 12.0, subtlety=5, malignancy="malignant", location="r.upper lobe", in_lung=True)
SUBTLE = Nodule(40, 40, 8.0, subtlety=1, malignancy="Benign", location="Left lower lobe", in_lung=False)


def detail(name: str, *nodules: Nodule, **facts: object) -> Detail:
    case = replace(Case(name, Path(name), 100, 100, (1.0, 1.0), nodules), **facts)  # type: ignore[arg-type]
    return Detail(case, "", (), ())


STORY = FoldResult(
    TERMS,
    (
        ImageMatch("A", 2, (Hit(0.9, 0, 1.0), Hit(0.6, 1, 2.0)), (FalsePositive(0.7, True),), (0.55,)),
        ImageMatch("B", 1, (), (FalsePositive(0.8, False), FalsePositive(0.4, True))),
        ImageMatch("N", 0, (), (FalsePositive(0.6, True),)),
    ),
    (None, None, None),
    (),
    (
        detail("A", OBVIOUS, SUBTLE, sex="Male", age_years=70, view="PA"),
        detail("B", replace(SUBTLE, subtlety=None), sex="Female", age_years=49, view="AP"),
        detail("N", sex="Male", age_years=30, view="PA"),
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
        STORY, details=tuple(detail(d.case.name, *(Nodule(1, 1),) * len(d.case.nodules)) for d in STORY.details)
    )
    assert strata([bare]) == ()


def test_a_finding_on_a_nodule_that_is_dropped_is_neither_hit_nor_false_positive() -> None:
    kept = nodules_of(STORY.matches[0], [False, True])
    assert (kept.n_nodules, kept.hits, kept.false_positives) == (1, (Hit(0.6, 1, 2.0),), (FalsePositive(0.7, True),))
    assert kept.duplicates == ()
    assert nodules_of(STORY.matches[0], [True, True]) == STORY.matches[0]
