"""boxes.json: the fields of the format in their order, its decimals, its schema, and the way back."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from cxrcad.core import Box, DataError, Failure, Finding, ModelIdentity, Result, Skipped, WriteError
from cxrcad.files import write_atomically
from cxrcad.interchange.boxes import Found, read_boxes, to_document, to_text

IDENTITY = ModelIdentity("mo-segnet-open", "a" * 64, 0.41, "CPUExecutionProvider")

KNOWN = Result(
    path="scan.dcm",
    sha256="b" * 64,
    rows=2048,
    cols=2048,
    spacing_mm=(0.175, 0.175),
    spacing_from="ImagerPixelSpacing",
    findings=(
        Finding(
            label="nodule",
            score=0.871234567,
            box_px=Box(812, 640, 903, 733),
            center_px=(857.2345, 686.4444),
            area_px=5753.46938775,
            box_mm=Box(142.1, 112.0, 158.025, 128.275),
            area_mm2=176.2,
            diameter_mm=14.978,
            lung_probability=0.97,
        ),
    ),
    notes=("MONOCHROME1 inverted",),
    seconds={"read": 0.0900001, "infer": 0.41, "find": 0.02},
)

UNKNOWN = Result(
    path="photo.png",
    sha256="c" * 64,
    rows=512,
    cols=400,
    spacing_mm=None,
    spacing_from=None,
    findings=(Finding("nodule", 0.5, Box(10.25, 20, 30, 40), (20.0, 30.0), 400.0),),
)

FAILURE = Failure("cut.dcm", "cut.dcm: pixel data ends after 5,000 of 8,388,608 bytes; copy the file again")


def document() -> dict[str, Any]:
    return to_document(Found(IDENTITY, [KNOWN, UNKNOWN], [FAILURE]))


def test_a_document_is_what_the_format_says_fields_in_order() -> None:
    expected = {
        "schema": "cxrcad/boxes/1",
        "model": {
            "name": "mo-segnet-open",
            "sha256": "a" * 64,
            "threshold": 0.41,
            "provider": "CPUExecutionProvider",
        },
        "images": [
            {
                "path": "scan.dcm",
                "sha256": "b" * 64,
                "rows": 2048,
                "cols": 2048,
                "spacing_mm": [0.175, 0.175],
                "spacing_from": "ImagerPixelSpacing",
                "findings": [
                    {
                        "label": "nodule",
                        "score": 0.8712,
                        "box_px": {"x0": 812.0, "y0": 640.0, "x1": 903.0, "y1": 733.0},
                        "box_mm": {"x0": 142.1, "y0": 112.0, "x1": 158.0, "y1": 128.3},
                        "center_px": [857.2, 686.4],
                        "area_mm2": 176.2,
                        "diameter_mm": 15.0,
                        "lung_probability": 0.97,
                    }
                ],
                "notes": ["MONOCHROME1 inverted"],
                "seconds": {"read": 0.09, "infer": 0.41, "find": 0.02},
            }
        ],
        "failures": [{"path": "cut.dcm", "error": FAILURE.error}],
    }
    assert json.dumps(to_document(Found(IDENTITY, [KNOWN], [FAILURE]))) == json.dumps(expected)


def test_unknown_spacing_is_null_throughout() -> None:
    image = document()["images"][1]
    assert image["spacing_mm"] is None
    assert image["spacing_from"] is None
    assert image["findings"][0] == {
        "label": "nodule",
        "score": 0.5,
        "box_px": {"x0": 10.2, "y0": 20.0, "x1": 30.0, "y1": 40.0},
        "box_mm": None,
        "center_px": [20.0, 30.0],
        "area_mm2": None,
        "diameter_mm": None,
        "lung_probability": None,
    }


def test_every_document_follows_the_schema(boxes_schema: dict[str, Any]) -> None:
    Draft202012Validator.check_schema(boxes_schema)
    validator = Draft202012Validator(boxes_schema)
    for made in (document(), to_document(Found(IDENTITY, [], [])), to_document(Found(IDENTITY, [], [FAILURE]))):
        validator.validate(json.loads(to_text(made)))


def change(made: dict[str, Any], where: list[Any], value: Any) -> dict[str, Any]:
    place: Any = made
    for key in where[:-1]:
        place = place[key]
    place[where[-1]] = value
    return made


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (["schema"], "cxrcad/boxes/2"),
        (["model", "sha256"], "short"),
        (["model", "threshold"], None),
        (["images", 0, "rows"], 0),
        (["images", 0, "spacing_mm"], [0.175]),
        (["images", 0, "spacing_mm"], None),
        (["images", 0, "findings", 0, "score"], 1.2),
        (["images", 0, "findings", 0, "box_px"], None),
        (["images", 0, "findings", 0, "center_px"], [1.0]),
        (["images", 0, "findings", 0, "more"], 1),
        (["failures", 0, "error"], ""),
    ],
)
def test_the_schema_refuses_what_is_off(where: list[Any], value: Any, boxes_schema: dict[str, Any]) -> None:
    assert not Draft202012Validator(boxes_schema).is_valid(change(document(), where, value))


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "out" / "boxes.json"
    write_atomically(path, to_text(document()))
    read = read_boxes(path)
    results = read.results
    assert read.identity == IDENTITY
    assert read.failures == (FAILURE,)
    assert [(item.path, item.sha256, item.rows, item.cols) for item in results] == [
        ("scan.dcm", "b" * 64, 2048, 2048),
        ("photo.png", "c" * 64, 512, 400),
    ]
    assert results[0].spacing_mm == (0.175, 0.175)
    assert results[0].notes == ("MONOCHROME1 inverted",)
    assert results[0].seconds == {"read": 0.09, "infer": 0.41, "find": 0.02}
    assert results[0].findings[0] == Finding(
        label="nodule",
        score=0.8712,
        box_px=Box(812, 640, 903, 733),
        center_px=(857.2, 686.4),
        area_px=176.2 / (0.175 * 0.175),
        box_mm=Box(142.1, 112.0, 158.0, 128.3),
        area_mm2=176.2,
        diameter_mm=15.0,
        lung_probability=0.97,
    )
    assert math.isnan(results[1].findings[0].area_px)
    assert results[1].findings[0].area_mm2 is None


def test_reading_and_writing_again_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "boxes.json"
    path.write_text(to_text(document()))
    read = read_boxes(path)
    assert to_text(to_document(Found(read.identity, read.results, read.failures))) == path.read_text()


def test_what_is_skipped_is_said_and_read_back(tmp_path: Path, boxes_schema: dict[str, Any]) -> None:
    skipped = (Skipped("notes.txt", "notes.txt: text; give a radiograph"),)
    found = to_document(Found(IDENTITY, [KNOWN], [FAILURE], skipped=skipped))
    assert found["skipped"] == [{"path": "notes.txt", "reason": "notes.txt: text; give a radiograph"}]
    assert Draft202012Validator(boxes_schema).is_valid(found)
    (tmp_path / "boxes.json").write_text(to_text(found))
    assert read_boxes(tmp_path / "boxes.json").skipped == skipped
    (tmp_path / "boxes.json").write_text(to_text(document()))
    assert read_boxes(tmp_path / "boxes.json").skipped == ()
    assert not Draft202012Validator(boxes_schema).is_valid(change(found, ["skipped", 0, "reason"], ""))
    (tmp_path / "boxes.json").write_text(to_text(change(found, ["skipped", 0], 1)))
    with pytest.raises(DataError, match="not a whole cxrcad/boxes/1 document"):
        read_boxes(tmp_path / "boxes.json")


def test_a_file_name_that_is_no_utf8_can_be_written(tmp_path: Path) -> None:
    failure = Failure("caf\udce9.dcm", "caf\udce9.dcm: empty")
    write_atomically(tmp_path / "boxes.json", to_text(to_document(Found(IDENTITY, [], [failure]))))
    assert read_boxes(tmp_path / "boxes.json").failures == (failure,)


def test_a_value_that_is_no_number_is_never_written() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_text(change(document(), ["images", 0, "findings", 0, "score"], math.nan))


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match=r"boxes\.json: cannot be written"):
        write_atomically(tmp_path / "file" / "boxes.json", to_text(document()))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", r"not JSON"),
        ("[]", r"its schema is 'list', not 'cxrcad/boxes/1'"),
        ('{"schema": "cxrcad/folds/1"}', r"its schema is 'cxrcad/folds/1'"),
        ('{"schema": "cxrcad/boxes/1"}', r"not a whole cxrcad/boxes/1 document \('model' is missing\)"),
    ],
)
def test_a_file_that_is_no_boxes_json_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "boxes.json"
    path.write_text(text)
    with pytest.raises(DataError, match=sentence):
        read_boxes(path)


def test_a_dicom_file_s_image_series_and_study_stand_with_its_result(boxes_schema: Any, tmp_path: Path) -> None:
    uids = {"SOPInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.4", "StudyInstanceUID": "1.2.5"}
    others = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1", "FrameOfReferenceUID": "1.2.6"}
    some = replace(UNKNOWN, uids={"StudyInstanceUID": "1.2.7"})
    results = [replace(KNOWN, uids={**others, **uids}), some, UNKNOWN]
    written = to_document(Found(IDENTITY, results, [FAILURE]))
    Draft202012Validator(boxes_schema).validate(written)
    assert [image.get("uids") for image in written["images"]] == [uids, {"StudyInstanceUID": "1.2.7"}, None]
    write_atomically(tmp_path / "boxes.json", to_text(written))
    assert [dict(result.uids) for result in read_boxes(tmp_path / "boxes.json").results] == [uids, some.uids, {}]
