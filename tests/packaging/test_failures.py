"""A card's failures: which nodules are missed and what is taken for one, in order, with their places."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

from cxrcad.core import Box, Case, Finding, ModelIdentity, Nodule
from cxrcad.evaluation.matching import FalsePositive, Hit, HitRule, ImageMatch
from cxrcad.evaluation.records import FoldResult, ScoredImage, ScoringContext
from cxrcad.packaging.failures import MOST, failures
from cxrcad.packaging.package import card_text
from tests.packaging.test_package import CARD


def found(score: float, x: float, y: float) -> Finding:
    return Finding("nodule", score, Box(x - 1, y - 1, x + 1, y + 1), (x, y), 4.0)


def case(name: str, *nodules: Nodule) -> Case:
    return Case(name, Path(f"{name}.png"), 100, 100, (1.0, 1.0), nodules)


def result(protocol: str, *images: tuple[ImageMatch, ScoredImage]) -> FoldResult:
    model = ModelIdentity("toy", "0" * 64, 0.5, "CPUExecutionProvider")
    context = ScoringContext("data", protocol, HitRule(), model, "u-net", "single", "validation", 3)
    return FoldResult(context, tuple(m for m, _ in images), (None,) * len(images), scored=tuple(d for _, d in images))


HIT = (
    ImageMatch("A", 1, (Hit(0.9, 0, 1.0, 0),), (FalsePositive(0.6, False, 1), FalsePositive(0.4, True, 2))),
    ScoredImage(case("A", Nodule(30, 30, 10.0, 3)), "a", (found(0.9, 30, 31), found(0.6, 90, 80), found(0.4, 5, 5)),
           (True, False, True)),
)  # fmt: skip
LOW = (
    ImageMatch("B", 2, (Hit(0.3, 1, 1.0, 0),), ()),
    ScoredImage(case("B", Nodule(30, 30, 8.0, 2), Nodule(60, 60, 18.4, 5)), "b", (found(0.3, 60, 61),), (True,)),
)
NORMAL = (
    ImageMatch("N", 0, (), (FalsePositive(0.8, None, 0),)),
    ScoredImage(case("N"), "n", (found(0.8, 12.4, 40),), (None,)),
)


def test_missed_nodules_come_most_obvious_first_and_false_positives_highest_first():
    failed = failures([result("paper", HIT, LOW), result("jsrt-247", HIT, LOW, NORMAL)], "packed")
    assert failed == {
        "command": "cxrcad evaluate --model packed --fold 3 --protocol jsrt-247 --hit-rule center --data DATA",
        "threshold": 0.5,
        "missed": [
            "B: 18 mm, subtlety 5; its candidate has 0.30",
            "B: 8 mm, subtlety 2; no candidate on it",
        ],
        "nodules": 3,
        "false_positives": [
            "N (without a nodule): 0.80 at x 12, y 40, unknown whether in a lung",
            "A (with a nodule): 0.60 at x 90, y 80, outside the lung fields",
        ],
        "false_positives_in_all": 2,
    }
    text = card_text({**CARD, "failures": failed})
    assert "## Failures at the threshold of 0.5\n\n`cxrcad evaluate --model packed" in text
    assert "Missed, 2 of 3 nodules, most obvious first:\n\n- B: 18 mm, subtlety 5; its candidate has 0.30\n" in text
    assert "False positives, 2:\n\n- N (without a nodule): 0.80" in text


def test_a_card_lists_the_surest_false_positives_and_counts_all():
    many = tuple(FalsePositive(0.99 - number / 100, True, number) for number in range(MOST + 3))
    places = tuple(found(one.score, 10, 10 + number) for number, one in enumerate(many))
    image = (ImageMatch("N", 0, (), many), ScoredImage(case("N"), "n", places, (True,) * len(many)))
    failed = failures([result("paper", HIT, image)], "packed")
    assert failed is not None
    assert (len(failed["false_positives"]), failed["false_positives_in_all"]) == (MOST, MOST + 4)
    text = card_text({**CARD, "failures": failed})
    assert f"False positives, {MOST + 4}, the {MOST} with the highest scores:" in text
    assert "Missed, 0 of 1 nodule, most obvious first:\n\n- none\n" in text


def test_a_fold_that_was_not_evaluated_has_none():
    assert failures([], "packed") is None
