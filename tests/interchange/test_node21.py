"""NODE21's nodules.json: corners as its algorithms write them, and the number of the image in the stack."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cxrcad.core import Box, Case, EvaluationError, Finding, ModelIdentity, Result
from cxrcad.files import write_atomically
from cxrcad.interchange import node21
from cxrcad.interchange.boxes import Found
from cxrcad.interchange.predictions import read_predictions
from cxrcad.interchange.truth import TruthSet

IDENTITY = ModelIdentity("toy", "0" * 64, 0.5, "CPUExecutionProvider")
FOUND = Finding("nodule", 0.87, Box(10, 20, 30.5, 40), (20.2, 30.0), 300.0, Box(5, 10, 15.3, 20), 75.0, 9.8, 0.5)
RESULTS = (
    Result("scans/n2.mha", "1" * 64, 64, 64, (0.5, 0.5), "header", (FOUND,)),
    Result("scans/c0.mha", "2" * 64, 64, 64, None, None, ()),
)


def truth(*names: str) -> TruthSet:
    return TruthSet(tuple(Case(name, Path(name), 64, 64) for name in sorted(names)))


def test_a_box_has_four_corners_in_pixels_and_the_number_of_its_image(tmp_path: Path) -> None:
    path = tmp_path / "nodules.json"
    write_atomically(path, node21.write(Found(IDENTITY, RESULTS)))
    document = json.loads(path.read_text())
    assert list(document) == ["type", "boxes", "version"]
    assert document["type"] == "Multiple 2D bounding boxes"
    assert document["version"] == {"major": 1, "minor": 0}
    assert document["boxes"] == [
        {
            "name": "scans/n2.mha",
            "corners": [[30.5, 40.0, 1], [10.0, 40.0, 1], [10.0, 20.0, 1], [30.5, 20.0, 1]],
            "probability": 0.87,
        }
    ]
    found = read_predictions(path, truth("c0.mha", "n2.mha"), missing="empty")
    assert [one.box_px for one in found["n2.mha"]] == [FOUND.box_px]
    assert found["c0.mha"] == ()


def test_a_truth_of_other_images_is_not_scored_with_the_wrong_boxes(tmp_path: Path) -> None:
    path = tmp_path / "nodules.json"
    write_atomically(path, node21.write(Found(IDENTITY, RESULTS)))
    with pytest.raises(EvaluationError, match="its z 1 means"):
        read_predictions(path, truth("c0.mha", "d1.mha", "n2.mha"), missing="empty")


def test_without_identifiers_no_number_is_taken_for_that_of_a_named_image(tmp_path: Path) -> None:
    path = tmp_path / "nodules.json"
    hidden = [replace(result, path=result.sha256) for result in RESULTS]
    write_atomically(path, node21.write(Found(IDENTITY, hidden, identifiers=False)))
    with pytest.raises(
        EvaluationError, match="its name is the SHA-256 of no image of the truth; score it with the data"
    ):
        read_predictions(path, truth("c0.mha", "n2.mha"), missing="empty")
