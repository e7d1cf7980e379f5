"""froc.json, froc.csv and the text table of a crafted fold, against numbers counted by hand."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from cxrcad.core import EvaluationError, ModelIdentity
from cxrcad.evaluation.bootstrap import bootstrap
from cxrcad.evaluation.froc import froc
from cxrcad.evaluation.matching import FalsePositive, Hit, HitRule, ImageMatch
from cxrcad.evaluation.records import FoldResult, ScoringContext
from cxrcad.report.froc import froc_caption, froc_csv, froc_document, froc_text, write_froc

CONTEXT = ScoringContext(
    "open-jsrt",
    "paper",
    HitRule(),
    ModelIdentity("net", "ab12", 0.5, "CPUExecutionProvider"),
    "mo-segnet",
    "multi",
    "best F1 on 25 validation images",
    3,
)

# Four images with a nodule each: hits at 0.9 and 0.6, two misses; false positives at 0.8 and 0.3 inside the lung fields
# and at 0.6 outside. The curve ends at 3/4 false positives per image.
FOLD = FoldResult(
    CONTEXT,
    (
        ImageMatch("a", 1, (Hit(0.9, 0, 1.0),), (FalsePositive(0.8, True),)),
        ImageMatch("b", 1, (Hit(0.6, 0, 2.0),), (FalsePositive(0.6, False),)),
        ImageMatch("c", 1, (), (FalsePositive(0.3, True),)),
        ImageMatch("d", 1),
    ),
    (0.9, 0.9, None, 0.9),
)
ALONE = bootstrap([FOLD], 0, 0)
SECOND = FoldResult(
    replace(CONTEXT, fold=4, model=replace(CONTEXT.model, threshold=0.2)),
    (ImageMatch("e", 1, (Hit(0.25, 0, 1.0),), (FalsePositive(0.1),)),),
    (None,),
    ("e",),
)


def test_the_document_holds_the_curve_and_what_it_rests_on() -> None:
    assert froc_document([FOLD], ALONE) == {
        "schema": "cxrcad/froc/1",
        "data": "open-jsrt",
        "protocol": "paper",
        "hit_rule": HitRule().describe(),
        "folds": [3],
        "models": [{"name": "net", "sha256": "ab12"}],
        "images": 4,
        "nodules": 4,
        "fp_axis": "false positives over all 4 scored images",
        "sensitivities": [
            {"fp_per_image": 0.125, "sensitivity": 0.25, "low": None, "high": None},
            {"fp_per_image": 0.25, "sensitivity": 0.25, "low": None, "high": None},
            {"fp_per_image": 0.5, "sensitivity": 0.5, "low": None, "high": None},
            {"fp_per_image": 1.0, "sensitivity": None, "low": None, "high": None},
            {"fp_per_image": 2.0, "sensitivity": None, "low": None, "high": None},
            {"fp_per_image": 4.0, "sensitivity": None, "low": None, "high": None},
            {"fp_per_image": 8.0, "sensitivity": None, "low": None, "high": None},
        ],
        "cpm": {"value": 3 / 7, "low": None, "high": None},
        "at_threshold": {
            "threshold": 0.5,
            "hits": 2,
            "missed": 2,
            "false_positives": 2,
            "fp_in_lung": 1,
            "fp_outside_lung": 1,
            "f1": 0.5,
            "recall": 0.5,
            "precision": 0.5,
        },
        "trained_on": [],
        "points": [
            point(0.9, 1, 0, 0, 0, 0.25, 0.0),
            point(0.8, 1, 1, 1, 0, 0.25, 0.25),
            point(0.6, 2, 2, 1, 1, 0.5, 0.5),
            point(0.3, 2, 3, 2, 1, 0.5, 0.75),
        ],
    }


def point(
    threshold: float, hits: int, fps: int, inside: int, outside: int, sensitivity: float, rate: float
) -> dict[str, float]:
    return {
        "threshold": threshold,
        "hits": hits,
        "false_positives": fps,
        "fp_in_lung": inside,
        "fp_outside_lung": outside,
        "sensitivity": sensitivity,
        "fp_per_image": rate,
    }


def test_folds_are_pooled_each_at_its_own_threshold() -> None:
    document = froc_document([FOLD, SECOND], bootstrap([FOLD, SECOND], 0, 0))
    assert (document["folds"], document["images"], document["trained_on"]) == ([3, 4], 5, ["e"])
    assert document["at_threshold"]["threshold"] is None
    assert document["at_threshold"]["hits"] == 3
    assert document["points"][-1]["false_positives"] == 4
    assert document["points"][-1]["fp_in_lung"] + document["points"][-1]["fp_outside_lung"] == 3


def test_the_csv_has_a_line_for_each_point_with_exact_numbers() -> None:
    lines = froc_csv(froc(FOLD.matches)).splitlines()
    assert lines == [
        "threshold,hits,false_positives,fp_in_lung,fp_outside_lung,sensitivity,fp_per_image",
        "0.9,1,0,0,0,0.25,0.0",
        "0.8,1,1,1,0,0.25,0.25",
        "0.6,2,2,1,1,0.5,0.5",
        "0.3,2,3,2,1,0.5,0.75",
    ]
    thirds = froc([ImageMatch("a", 3, (Hit(1 / 3, 0),))])
    assert float(next(csv.DictReader(froc_csv(thirds).splitlines()))["sensitivity"]) == 1 / 3


def test_the_text_says_not_reached_where_the_curve_has_ended() -> None:
    assert froc_text([FOLD], ALONE).splitlines() == [
        "Data open-jsrt, protocol paper (images with a nodule only).",
        HitRule().describe(),
        "Scored: fold 3: 4 images, 4 nodules.",
        "",
        "FP/image  sensitivity",
        "     1/8  25.0 %",
        "     1/4  25.0 %",
        "     1/2  50.0 %",
        "       1  not reached",
        "       2  not reached",
        "       4  not reached",
        "       8  not reached",
        "     CPM  42.9 % (lower bound: an unreached rate takes the last one)",
        "",
        "The curve ends at 0.75 false positives per image (false positives over all 4 scored images).",
        "At the threshold: sensitivity 50.0 % (Wilson's 95 % interval 15.0 to 85.0), 0.50 false positives per image, "
        "1 inside the lung fields, 1 outside.",
    ]


def test_the_text_names_training_images_and_images_without_a_mask() -> None:
    low = replace(SECOND, context=replace(SECOND.context, model=replace(SECOND.context.model, threshold=0.1)))
    lines = froc_text([low], bootstrap([low], 0, 0)).splitlines()
    assert lines[-2].endswith("0 inside the lung fields, 0 outside, 1 in images without a lung mask.")
    assert lines[-1] == "NOT A TEST: 1 of the scored images stand in the model's training list: e"


def test_the_caption_is_data_protocol_and_hit_rule() -> None:
    assert froc_caption(CONTEXT).splitlines() == [
        "Data open-jsrt, protocol paper (images with a nodule only).",
        HitRule().describe(),
    ]


def test_intervals_stand_beside_the_sensitivities() -> None:
    figures = bootstrap([FOLD], 200, 0)
    lines = froc_text([FOLD], figures).splitlines()
    assert lines[5].startswith("     1/8  25.0 % [0.0, ")
    assert lines[12].endswith("(lower bound: an unreached rate takes the last one)")
    document = froc_document([FOLD], figures)
    assert document["sensitivities"][0]["low"] == 0.0
    assert document["sensitivities"][-1] == {"fp_per_image": 8.0, "sensitivity": None, "low": None, "high": None}
    assert document["cpm"]["value"] == figures["CPM"].value


def test_both_files_are_written(tmp_path: Path) -> None:
    write_froc(tmp_path / "froc.json", tmp_path / "froc.csv", [FOLD], ALONE)
    assert json.loads((tmp_path / "froc.json").read_text(encoding="utf-8")) == froc_document([FOLD], ALONE)
    assert (tmp_path / "froc.csv").read_text(encoding="utf-8") == froc_csv(froc(FOLD.matches))


def test_a_fold_of_normals_has_no_curve() -> None:
    with pytest.raises(EvaluationError, match="none of the 1 images holds a nodule"):
        froc_document([replace(FOLD, matches=(ImageMatch("n", 0),), lung_dice=(None,))], ALONE)
