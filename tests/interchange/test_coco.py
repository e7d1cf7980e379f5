"""The COCO document of findings: pycocotools opens it, and no reader of truth does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cxrcad.core import Box, Case, DataError, EvaluationError, Finding, ModelIdentity, Result
from cxrcad.files import write_atomically
from cxrcad.interchange import coco
from cxrcad.interchange.boxes import Found
from cxrcad.interchange.predictions import read_predictions
from cxrcad.interchange.truth import TruthSet, read_truth

IDENTITY = ModelIdentity("toy", "0" * 64, 0.5, "CPUExecutionProvider")
LARGE = Finding("nodule", 0.87, Box(10, 20, 30.5, 40), (20.2, 30.0), 300.0)
SMALL = Finding("nodule", 0.25, Box(50, 50, 60, 61), (55.0, 55.5), 80.0)
RESULTS = (
    Result("a.dcm", "1" * 64, 64, 80, None, None, (LARGE, SMALL)),
    Result("b.dcm", "2" * 64, 64, 64, None, None, ()),
    Result("c.dcm", "3" * 64, 96, 64, None, None, (SMALL,)),
)
TRUTH = TruthSet((Case("a.dcm", Path("a.dcm"), 64, 80), Case("b.dcm", Path("b.dcm"), 64, 64)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_atomically(tmp_path / "coco.json", coco.write(Found(IDENTITY, RESULTS, find={"min_score": 0.25})))
    return tmp_path / "coco.json"


def changed(path: Path, part: str, number: int, **values: Any) -> Path:
    document = json.loads(path.read_text())
    document[part][number] |= values
    path.write_text(json.dumps(document))
    return path


def test_the_document_is_what_coco_says(path: Path) -> None:
    document = json.loads(path.read_text())
    assert list(document) == ["info", "licenses", "images", "annotations", "categories"]
    assert document["info"]["model"]["sha256"] == "0" * 64
    assert document["info"]["find"] == {"min_score": 0.25}
    assert "complete" not in document["info"]
    assert document["images"] == [
        {"id": 1, "file_name": "a.dcm", "width": 80, "height": 64},
        {"id": 2, "file_name": "b.dcm", "width": 64, "height": 64},
        {"id": 3, "file_name": "c.dcm", "width": 64, "height": 96},
    ]
    assert document["annotations"][0] == {
        **{"id": 1, "image_id": 1, "category_id": 1, "bbox": [10.0, 20.0, 20.5, 20.0], "area": 410.0},
        **{"iscrowd": 0, "score": 0.87},
    }
    assert [one["image_id"] for one in document["annotations"]] == [1, 1, 3]
    assert document["categories"] == [{"id": 1, "name": "nodule"}, {"id": 2, "name": "effusion"}]


def test_work_that_ended_early_says_so_and_other_labels_get_numbers_of_their_own() -> None:
    mass = Result("m.png", "4" * 64, 64, 64, None, None, (Finding("mass", 0.5, Box(1, 2, 3, 4), (2, 3), 4.0),))
    document = json.loads("".join(coco.write(Found(IDENTITY, [mass], complete=False))))
    assert document["info"]["complete"] is False
    assert document["categories"][2:] == [{"id": 3, "name": "mass"}]
    assert document["annotations"][0]["category_id"] == 3


def test_pycocotools_opens_it_and_scores_its_annotations(path: Path, tmp_path: Path) -> None:
    tools, cocoeval = pytest.importorskip("pycocotools.coco"), pytest.importorskip("pycocotools.cocoeval")
    opened = tools.COCO(str(path))
    assert opened.getCatIds(["nodule"]) == [1]
    assert [one["bbox"] for one in opened.loadAnns(opened.getAnnIds([1]))] == [[10, 20, 20.5, 20], [50, 50, 10, 11]]
    document = json.loads(path.read_text())
    truth = {**document, "annotations": [{k: v for k, v in document["annotations"][0].items() if k != "score"}]}
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    known = tools.COCO(str(tmp_path / "truth.json"))
    scored = cocoeval.COCOeval(known, known.loadRes(document["annotations"]), "bbox")
    scored.evaluate()
    scored.accumulate()
    scored.summarize()
    assert scored.stats[1] == pytest.approx(1.0)  # the best finding is the nodule: AP at IoU 0.5


def test_it_is_read_back_as_predictions_with_images_in_which_nothing_was_found(path: Path, tmp_path: Path) -> None:
    document = json.loads(path.read_text())
    document["images"], document["annotations"] = document["images"][:2], document["annotations"][:2]
    path.write_text(json.dumps(document))
    found = read_predictions(path, TRUTH)  # none is missing
    assert {name: [(one.score, one.box_px) for one in findings] for name, findings in found.items()} == {
        "a.dcm": [(0.87, LARGE.box_px), (0.25, SMALL.box_px)],
        "b.dcm": [],
    }


@pytest.mark.parametrize(
    ("part", "number", "values", "sentence"),
    [
        ("images", 2, {}, "'c.dcm' is no image of the truth, which has 2"),
        ("images", 1, {"width": 63}, "its 64 rows and 63 columns are not the 64 rows and 64 columns that the truth"),
        ("images", 1, {"file_name": "a.dcm"}, "both join the image 'a.dcm' of the truth"),
        ("annotations", 2, {"image_id": 9}, "image_id is 9, where the id of an image in images is needed"),
        ("annotations", 0, {"score": None}, "score is null"),
        ("annotations", 0, {"bbox": [70, 20, 30, 20]}, "bbox|box"),
    ],
)
def test_what_is_off_is_refused_with_its_place(path: Path, part: str, number: int, values: Any, sentence: str) -> None:
    if part != "images" or number != 2:
        document = json.loads(path.read_text())
        del document["images"][2:]
        path.write_text(json.dumps(document))
    with pytest.raises(EvaluationError, match=rf"coco\.json, {part} entry {number + 1}.*({sentence})"):
        read_predictions(changed(path, part, number, **values), TRUTH)


def test_findings_are_no_truth(path: Path, tmp_path: Path) -> None:
    sentence = r"annotations entry 1: it has a score \(0\.87\), so it is a model's finding, where truth is needed"
    with pytest.raises(DataError, match=sentence):
        read_truth(path)
