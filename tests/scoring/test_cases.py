"""Whole folds scored with answers instead of a model; matches kept bit for bit; the table beside the paper's."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from cxrcad.core import Box, Case, EvaluationError, Finding, ModelIdentity, Nodule, ReadError, Result
from cxrcad.datasets.made_masks import MadeMasks, write_made_masks
from cxrcad.evaluation.matching import FalsePositive, Hit, HitRule, ImageMatch
from cxrcad.evaluation.records import (
    FoldResult,
    ScoringContext,
    context_lines,
    from_document,
    pooled_matches,
    read_matches,
    rematched,
    scope,
    to_document,
    write_matches,
)
from cxrcad.files import sha256_of
from cxrcad.report.table2 import table2_text
from cxrcad.scoring.cases import Detection, evaluate_cases, read_true_lung

MODEL = ModelIdentity("mo-segnet-open", "ab12", 0.5, "CPUExecutionProvider")
CONTEXT = ScoringContext(
    "open-jsrt", "paper", HitRule(), MODEL, "mo-segnet", "multi", "best F1 on 25 validation images", 3
)


def case(name: str, *nodules: Nodule) -> Case:
    return Case(name, Path(f"{name}.png"), rows=100, cols=100, spacing_mm=(1.0, 1.0), nodules=nodules)


def finding(score: float, x: float, y: float) -> Finding:
    return Finding("nodule", score, Box(x - 4, y - 4, x + 4, y + 4), (x, y), 64.0)


class Answers:
    """A detector that knows what it says: findings by case name, and one lung map for all."""

    def __init__(self, findings: Mapping[str, list[Finding]], lung: NDArray[np.bool_] | None = None) -> None:
        self.findings, self.lung = findings, lung

    def __call__(self, case: Case, /) -> Detection:
        found = tuple(self.findings[case.name])
        return Detection(Result(str(case.image), f"sha-{case.name}", 100, 100, (1.0, 1.0), "JSRT", found), self.lung)


A = case("A", Nodule(30, 30, 10.0))
B = case("B", Nodule(60, 60, 10.0), Nodule(80, 20, 10.0))
NORMAL = case("N")
ANSWERS = Answers(
    {"A": [finding(0.9, 31, 30), finding(0.6, 90, 90)], "B": [finding(0.4, 60, 62)], "N": [finding(0.7, 10, 50)]}
)


def left_half(case: Case) -> NDArray[np.bool_] | None:
    """Lung fields over the image's left half, drawn on 10 x 10 pixels; the normal case has no mask."""
    mask = np.zeros((10, 10), dtype=bool)
    mask[:, :5] = True
    return None if case.name == "N" else mask


def test_three_cases_with_the_answers_known() -> None:
    seen: list[str] = []
    result = evaluate_cases([A, B, NORMAL], ANSWERS, CONTEXT, true_lung=left_half, on_done=seen.append)
    assert result.matches == (
        ImageMatch("A", 1, (Hit(0.9, 0, 1.0),), (FalsePositive(0.6, False),)),
        ImageMatch("B", 2, (Hit(0.4, 0, 2.0),)),
        ImageMatch("N", 0, (), (FalsePositive(0.7, None),)),
    )
    assert (result.operating.tp, result.operating.fp, result.operating.fn) == (1, 2, 2)
    assert (result.operating.fp_in_lung, result.operating.fp_outside_lung) == (0, 1)
    assert result.lung_dice == (None, None, None)
    assert seen == ["A", "B", "N"]
    assert result.trained_on == ()


def test_images_of_the_training_list_are_named() -> None:
    result = evaluate_cases([A, B], ANSWERS, CONTEXT, true_lung=left_half, trained_on=frozenset({"sha-B", "sha-X"}))
    assert result.trained_on == ("B",)
    assert "NOT A TEST: 1 of the scored images stand in the model's training list: B" in table2_text([[result]])


def test_lung_dice_is_taken_on_the_true_masks_grid() -> None:
    """The map has 20 x 20 pixels and lung in its left quarter (5 columns): 2 * 25 / (25 + 50) on the mask's 10 x 10.

    Column c of the mask looks at the map's column 2c + 1: columns 0 and 1 are lung, 2 (column 5) is not: 2 * 20 / 70.
    """
    lung = np.zeros((20, 20), dtype=np.bool_)
    lung[:, :5] = True
    result = evaluate_cases([A, NORMAL], Answers(ANSWERS.findings, lung), CONTEXT, true_lung=left_half)
    assert result.lung_dice == (40 / 70, None)
    assert result.known_dice == (40 / 70,)
    exact = Answers(ANSWERS.findings, left_half(A))
    assert evaluate_cases([A], exact, CONTEXT, true_lung=left_half).lung_dice == (1.0,)


def test_a_mask_that_a_model_made_is_no_truth_for_lung_dice(tmp_path: Path) -> None:
    """It still tells which false positives lie in the lungs."""
    mask = tmp_path / "A.png"
    Image.fromarray(left_half(A).astype(np.uint8) * 255).save(mask)
    image = tmp_path / "image.png"
    image.write_bytes(b"as it is")
    masked, answers = replace(A, image=image, lung_masks=(mask,)), Answers(ANSWERS.findings, left_half(A))
    assert evaluate_cases([masked], answers, CONTEXT).lung_dice == (1.0,)
    write_made_masks(tmp_path, MadeMasks("m", "0" * 64, 0.5, {"A.png": sha256_of(image)}))
    made = evaluate_cases([masked], answers, CONTEXT)
    assert (made.lung_dice, made.scored[0].lung_iou) == ((None,), None)
    assert made.scored[0].in_lung == evaluate_cases([A], answers, CONTEXT, true_lung=left_half).scored[0].in_lung


def test_masks_are_read_from_their_files_and_joined(tmp_path: Path) -> None:
    left, right = np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8)
    left[:, :2], right[:, 6:] = 255, 255
    for name, mask in (("left.png", left), ("right.png", right), ("small.png", left[:4])):
        Image.fromarray(mask).save(tmp_path / name)
    both = read_true_lung(replace(A, lung_masks=(tmp_path / "left.png", tmp_path / "right.png")))
    assert both is not None
    assert both.sum(axis=0).tolist() == [8, 8, 0, 0, 0, 0, 8, 8]
    assert read_true_lung(A) is None
    with pytest.raises(EvaluationError, match="A: its lung masks differ in size"):
        read_true_lung(replace(A, lung_masks=(tmp_path / "left.png", tmp_path / "small.png")))
    with pytest.raises(ReadError):
        read_true_lung(replace(A, lung_masks=(tmp_path / "none.png",)))
    Image.fromarray(0 * left).save(tmp_path / "empty.png")
    with pytest.raises(EvaluationError, match=r"empty\.png: no pixel is lung; draw the lungs in it, or remove it"):
        read_true_lung(replace(A, lung_masks=(tmp_path / "empty.png",)))


def test_an_image_scored_twice_and_a_result_of_another_size_are_errors() -> None:
    with pytest.raises(EvaluationError, match="A: the image is scored 2 times"):
        evaluate_cases([A, B, A], ANSWERS, CONTEXT)
    with pytest.raises(
        EvaluationError, match="A: the result is of an image with 100 x 100 pixels and the case has 50 x 100"
    ):
        evaluate_cases([replace(A, rows=50)], ANSWERS, CONTEXT)


def test_images_that_cannot_be_read_are_all_counted_and_three_are_named() -> None:
    def reading(*damaged: str) -> Callable[[Case], Detection]:
        def detect(case: Case, /) -> Detection:
            if case.name in damaged:
                raise ReadError(f"{case.image}: damaged; copy it again")
            return Detection(Result(str(case.image), "", 100, 100, None, None, ()))

        return detect

    cases, done = [case(name) for name in "ABCDEF"], []
    with pytest.raises(ReadError, match=r"^B\.png: damaged; copy it again$"):
        evaluate_cases(cases, reading("B"), CONTEXT, on_done=done.append)
    assert done == ["A", "C", "D", "E", "F"]
    with pytest.raises(
        ReadError,
        match=r"^4 of 6 images cannot be read: B, C, E and 1 more; the first: B\.png: damaged; copy it again$",
    ):
        evaluate_cases(cases, reading("B", "C", "E", "F"), CONTEXT)


def fold(number: int, hits: list[float], misses: int, fps: list[float], **context: object) -> FoldResult:
    """A fold of one image for each hit and each miss; all false positives, inside the lung, stand in the first."""
    matches = [ImageMatch(f"{number}-{index}", 1, (Hit(score, 0, 1.5),)) for index, score in enumerate(hits)]
    matches += [ImageMatch(f"{number}-m{index}", 1) for index in range(misses)]
    matches[0] = replace(matches[0], false_positives=tuple(FalsePositive(score, True) for score in fps))
    return FoldResult(replace(CONTEXT, fold=number, **context), tuple(matches), (0.9,) * len(matches))  # type: ignore[arg-type]


def test_the_table_has_the_papers_row_the_folds_their_mean_and_the_pooled_counts() -> None:
    """Fold 1: 3 of 4 found and 1 false positive, all figures 3/4. Fold 2: 1 of 2 and 1, all 1/2.

    Mean 62.5, standard deviation 17.7; pooled 4 of 6 found and 2 false positives: 66.7.
    """
    text = table2_text([[fold(1, [0.9, 0.8, 0.7], 1, [0.6, 0.1]), fold(2, [0.9], 1, [0.5])]])
    assert text.splitlines() == [
        "Data open-jsrt, protocol paper (images with a nodule only).",
        HitRule().describe(),
        "",
        "Task      Model        figures          F1              Recall                 Precision",
        "Multiple  MO-SegNet    paper, Table 2   83.8 ± 3.4 %    81.3 ± 4.1 %           86.4 ± 3.8 %",
        "Multiple  MO-SegNet    fold 1           75.0 %          75.0 % [30.1, 95.4]    75.0 %",
        "Multiple  MO-SegNet    fold 2           50.0 %          50.0 % [9.5, 90.5]     50.0 %",
        "Multiple  MO-SegNet    mean of 2 folds  62.5 ± 17.7 %   62.5 ± 17.7 %          62.5 ± 17.7 %",
        "Multiple  MO-SegNet    pooled           66.7 %          66.7 % [30.0, 90.3]    66.7 %",
        "",
        "MO-SegNet, multiple task, folds 1, 2: 6 images, 6 nodules",
        "  threshold 0.5, 0.5 (best F1 on 25 validation images)",
        "  false positives 2 (0.33 per image): 2 inside the lung fields, 0 outside",
        "  lung Dice 0.900, mean of 6 images",
        "± is the standard deviation over folds (n - 1).",
        "Brackets hold Wilson's 95 % interval.",
        "The paper's rows are JSRT's 154 positives; it states neither hit rule nor threshold protocol.",
    ]


def test_one_fold_has_one_row_and_networks_stand_below_each_other() -> None:
    multi = fold(3, [0.9], 0, [])
    single = replace(fold(3, [0.4], 0, [], tasks="single"), lung_dice=(None,))
    lines = table2_text([[multi], [single]]).splitlines()
    assert lines[4:8] == [
        "Multiple  MO-SegNet    paper, Table 2   83.8 ± 3.4 %    81.3 ± 4.1 %           86.4 ± 3.8 %",
        "Multiple  MO-SegNet    fold 3           100.0 %         100.0 % [20.7, 100.0]  100.0 %",
        "Single    MO-SegNet    paper, Table 2   64.5 ± 3.4 %    62.5 ± 3.9 %           66.6 ± 3.1 %",
        "Single    MO-SegNet    fold 3           0.0 %           0.0 % [0.0, 79.3]      undefined",
    ]
    assert "  lung Dice: none (no lung task, or no lung mask)" in lines
    assert not any("±" in line for line in lines[8:])  # one fold has no standard deviation
    assert "Brackets hold Wilson's 95 % interval." in lines


def test_a_fold_without_findings_leaves_the_mean_precision_undefined() -> None:
    lines = table2_text([[fold(1, [0.9], 0, []), fold(2, [0.1], 0, [])]]).splitlines()
    assert lines[7] == "Multiple  MO-SegNet    mean of 2 folds  50.0 ± 70.7 %   50.0 ± 70.7 %          undefined"


@pytest.mark.parametrize(
    ("other", "name"),
    [
        ({"protocol": "jsrt-247"}, "protocol"),
        ({"data": "JSRT"}, "data"),
        ({"rule": HitRule("iou")}, "rule"),
    ],
)
def test_folds_scored_under_different_contexts_are_not_put_together(other: dict[str, object], name: str) -> None:
    pair = [fold(1, [0.9], 0, []), fold(2, [0.9], 0, [], **other)]
    with pytest.raises(EvaluationError, match=f"differ in their {name}"):
        pooled_matches(pair)
    with pytest.raises(EvaluationError, match=f"differ in their {name}"):
        table2_text([[pair[0]], [pair[1]]])


def test_pooling_refuses_an_image_of_two_folds_and_no_fold() -> None:
    with pytest.raises(EvaluationError, match="1-0: the image is scored 2 times"):
        pooled_matches([fold(1, [0.9], 0, []), fold(1, [0.9], 0, [])])
    for empty in (pooled_matches, table2_text):
        with pytest.raises(EvaluationError, match="there is no scored fold"):
            empty([])


def test_context_and_scope_say_what_figures_rest_on() -> None:
    assert context_lines(replace(CONTEXT, protocol="jsrt-247"))[0] == (
        "Data open-jsrt, protocol jsrt-247 (images with a nodule and normal images)."
    )
    assert scope([fold(2, [0.9], 3, [])]) == "fold 2: 4 images, 4 nodules"
    alone = fold(2, [0.9], 0, [])
    assert scope([replace(alone, context=replace(alone.context, fold=None))]) == "all cases: 1 image, 1 nodule"


SCORES = st.floats(0, 1)
IMAGES = st.builds(
    lambda hits, fps, inside, duplicates: (
        tuple(Hit(score, index, distance) for index, (score, distance) in enumerate(hits)),
        tuple(FalsePositive(score, inside) for score in fps),
        tuple(duplicates),
    ),
    st.lists(st.tuples(SCORES, st.none() | st.floats(0, 40)), max_size=3),
    st.lists(SCORES, max_size=4),
    st.sampled_from([True, False, None]),
    st.lists(SCORES, max_size=2),
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(IMAGES, max_size=4), st.none() | st.floats(0, 1), st.sampled_from([CONTEXT, replace(CONTEXT, fold=None)])
)
def test_matches_come_back_from_json_bit_for_bit(images, overlap, context) -> None:  # type: ignore[no-untyped-def]
    matches = tuple(ImageMatch(f"image {n}", len(i[0]) + n, *i) for n, i in enumerate(images))
    result = FoldResult(context, matches, (overlap,) * len(matches), ("image 0",))
    text = json.dumps(to_document(result))
    again = from_document(json.loads(text), "matches.json")
    assert again == result
    assert json.dumps(to_document(again)) == text


def test_matches_are_written_and_read(tmp_path: Path) -> None:
    result = evaluate_cases([A, B, NORMAL], ANSWERS, CONTEXT, true_lung=left_half)
    write_matches(tmp_path / "matches.json", result)
    assert read_matches(tmp_path / "matches.json") == result
    document = json.loads((tmp_path / "matches.json").read_text(encoding="utf-8"))
    assert document["schema"] == "cxrcad/matches/2"
    assert document["hit_rule"]["sentence"] == HitRule().describe()
    image = document["images"][0]
    found = image.pop("findings")
    assert [(one["score"], one["in_lung"]) for one in found] == [(0.9, True), (0.6, False)]
    assert [one["center_px"] for one in found] == [[31, 30], [90, 90]]
    assert image.pop("truth")[0]["diameter_mm"] == 10.0
    assert image == {
        "case": "A",
        "nodules": 1,
        "hits": [{"score": 0.9, "nodule": 0, "distance_mm": 1.0, "finding": 0}],
        "false_positives": [{"score": 0.6, "in_lung": False, "finding": 1}],
        "duplicates": [],
        **{"lung_dice": None, "lung_iou": None, "lung_hd95_mm": None, "nodule_dice": None},
        **{"path": "A.png", "sha256": "sha-A", "masks_sha256": "", "rows": 100, "cols": 100, "spacing_mm": [1.0, 1.0]},
        **{"age_years": None, "sex": None, "view": None, "groups": []},
    }


def test_the_same_findings_are_matched_again_under_another_rule() -> None:
    """At 1 mm a pixel the findings lie 1, 2 and some 40 mm off: within 1.5 mm one nodule of three is hit."""
    result = evaluate_cases([A, B, NORMAL], ANSWERS, CONTEXT, true_lung=left_half)
    near = [rematched(scored_image, HitRule("distance", 1.5)) for scored_image in result.scored]
    assert [len(match.hits) for match in near] == [1, 0, 0]
    assert near[1].false_positives == (FalsePositive(0.4, False),)
    assert tuple(rematched(scored_image, CONTEXT.rule) for scored_image in result.scored) == result.matches


def damaged(change: str) -> object:
    document = to_document(fold(1, [0.9, 0.8], 0, [0.3]))
    image = document["images"][0]
    if change == "schema":
        document["schema"] = "cxrcad/boxes/1"
    elif change == "key":
        del document["protocol"]
    elif change == "score":
        image["hits"][0]["score"] = float("nan")
    elif change == "nodule":
        image["hits"][0]["nodule"] = 1
    elif change == "twice":
        document["images"][1]["case"] = image["case"]
    elif change == "rule":
        document["hit_rule"]["kind"] = "overlap"
    elif change == "list":
        return [document]
    else:
        image["hits"] = None
    return document


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("schema", "not a document of schema cxrcad/matches/2"),
        ("list", "not a document of schema cxrcad/matches/2"),
        ("key", "'protocol' is missing"),
        ("score", "1-0 has a score that is no finite number"),
        ("nodule", r"1-0 has 1 nodules and hits on \[1\]"),
        ("twice", "1-0: the image is scored 2 times"),
        ("rule", "hit rule is 'overlap'"),
        ("hits", "damaged matches"),
    ],
)
def test_damaged_matches_are_named(change: str, words: str) -> None:
    with pytest.raises(EvaluationError, match=f"(?s)^runs/a/matches.json: .*{words}"):
        from_document(damaged(change), "runs/a/matches.json")
