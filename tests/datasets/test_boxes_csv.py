"""A folder with boxes.csv: what is read of it, whose each image is, and each sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxrcad.core import Box, DataError, Nodule
from cxrcad.datasets.folds import make_folds
from cxrcad.datasets.read import read_dataset

HEAD = "file,x0,y0,x1,y1,label\n"
BOXED = "a.png,10,20,30,40,Nodule\na.png,5,5,9.5,9,mass\nb.png,,,,,\n"


def written(folder: Path, text: str, names: tuple[str, ...] = ("a.png", "b.png")) -> Path:
    for name in names:
        Image.fromarray(np.zeros((64, 128), np.uint8)).save(folder / name)
    (folder / "boxes.csv").write_text(text)
    return folder


def test_boxes_keep_their_label_and_an_image_without_corners_is_normal(tmp_path: Path) -> None:
    dataset = read_dataset(written(tmp_path, HEAD + BOXED))
    assert [case.name for case in dataset.positives] == ["a"]
    assert dataset.by_name["a"].nodules == (
        Nodule(20, 30, box_px=Box(10, 20, 30, 40), label="nodule"),
        Nodule(7.25, 7, box_px=Box(5, 5, 9.5, 9), label="mass"),
    )
    assert dataset.notes == (
        "no patient is named, each image counts as one: a, b (2 images)",
        "no lung mask, and no lung loss of: a, b (2 images)",
    )


def test_spacing_and_masks_are_read_where_they_are(tmp_path: Path) -> None:
    table = "file,x0,y0,x1,y1,label,spacing_row_mm,spacing_col_mm\na.png,10,20,30,40,nodule,0.5,0.25\n"
    (tmp_path / "lungs").mkdir()
    Image.fromarray(np.zeros((64, 128), np.uint8)).save(tmp_path / "lungs" / "a.png")
    dataset = read_dataset(written(tmp_path, table))
    case = dataset.by_name["a"]
    assert (case.spacing_mm, case.lung_masks, case.nodules[0].diameter_mm) == (
        (0.5, 0.25),
        (tmp_path / "lungs" / "a.png",),
        7.5,
    )
    assert dataset.notes[0] == "no row in boxes.csv, left out: b.png (1 image)"


@pytest.mark.parametrize(
    ("head", "end", "groups"),
    [
        ("", "", ("patient:00000344",)),
        (",patient", ",P7", ("patient:P7",)),
        (",patient", ",", ("patient:00000344",)),
    ],
)
def test_the_patient_is_the_columns_or_that_of_an_nih_name(
    tmp_path: Path, head: str, end: str, groups: tuple[str, ...]
) -> None:
    table = f"{HEAD.strip()}{head}\n00000344_002.png,1,2,3,4,nodule{end}\n"
    assert read_dataset(written(tmp_path, table, ("00000344_002.png",))).cases[0].groups == groups


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (HEAD.replace("y1", "y2") + BOXED, r"boxes\.csv: no column y1; its first row must name file, x0, y0, x1, y1"),
        (HEAD + "a.png,100,20,140,40,x\n", r"row 1 \(line 2\): its box runs from x 100 to 140 .* outside its image"),
        (HEAD + "a.png,30,20,10,40,x\n", r"its box runs from x 30 to 10 and y 20 to 40, where each must rise"),
        (HEAD + "a.png,1,2,,4,x\n", "x1 is empty, where a finite number is needed; correct the row"),
        (HEAD + "a.png,1,2,3,4,\n", "label is empty, where a text is needed"),
        (HEAD + BOXED + "b.png,1,2,3,4,x\n", r"row 3 .*: it has no corners, but b\.png has a box in row 4 \(line 5\)"),
        (HEAD + 2 * "a.png,1,2,3,4,x\n", r"row 2 .*: the nodule of 'a' at x 2, y 3 stands in row 1 \(line 2\) already"),
        (HEAD + "c.png,1,2,3,4,x\n", r"1 of 1 images are missing: c\.png; copy them there"),
        (HEAD + "../a.png,1,2,3,4,x\n", r"file is '\.\./a\.png', where a file's path inside its folder"),
        (
            f"{HEAD.strip()},patient\na.png,1,2,3,4,x,P\na.png,5,6,7,8,x,Q\n",
            "the patient of a is 'P' or 'Q'; one is needed",
        ),
    ],
)
def test_what_is_off_is_named(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        read_dataset(written(tmp_path, text))


def test_the_boxed_nih_radiographs(open_data: Path) -> None:
    dataset = read_dataset(open_data / "nih-boxed")
    assert (len(dataset.cases), sum(len(case.nodules) for case in dataset.cases)) == (107, 113)
    assert {nodule.label for case in dataset.cases for nodule in case.nodules} == {"nodule", "mass"}
    assert len({case.groups for case in dataset.cases}) < 107
    assert len(make_folds(dataset, 2020)) == 5


ROLES = "file,x0,y0,x1,y1,label,role\na.png,10,20,30,40,Nodule,\nb.png,,,,,,{}\n"


@pytest.mark.parametrize("role", ["normal", "other_finding", "annotated_no_nodule"])
def test_an_image_without_a_box_keeps_its_role(tmp_path: Path, role: str) -> None:
    cases = read_dataset(written(tmp_path, ROLES.format(role))).by_name
    assert (cases["a"].role, cases["b"].role) == (None, role)
    assert read_dataset(written(tmp_path, ROLES.format(""))).by_name["b"].role is None


def test_an_image_that_may_have_a_lesion_is_no_negative(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"row 2 \(line 3\): it has no box, and its role is 'weak_positive', .*; remove"
    ):
        read_dataset(written(tmp_path, ROLES.format("weak_positive")))


def test_a_lesion_is_marked_as_boxed(tmp_path: Path) -> None:
    dataset = read_dataset(written(tmp_path, HEAD + BOXED))
    assert [nodule.boxed for nodule in dataset.by_name["a"].nodules] == [True, True]
