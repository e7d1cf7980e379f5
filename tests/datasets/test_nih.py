"""Outlined effusions in the NIH layout: what is read, how it is parted, what is trained on, and each sentence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxrcad.config import DataConfig
from cxrcad.core import DataError
from cxrcad.datasets.folds import load_folds, make_folds, save_folds
from cxrcad.datasets.masks import truth_mask
from cxrcad.datasets.nih import read as read_effusions
from cxrcad.datasets.read import cases_to_train, read_data, read_dataset
from cxrcad.imaging.preprocess import Geometry


@pytest.fixture
def own(effusion_data: Path, tmp_path: Path) -> Path:
    """A copy of the data that a test may damage."""
    return Path(shutil.copytree(effusion_data, tmp_path / "own"))


def test_effusions_have_outlines_and_normals_have_lungs(effusion_data: Path) -> None:
    dataset = read_data(DataConfig(data=effusion_data, lesion="effusion"))
    assert (dataset.lesion, len(dataset.positives), len(dataset.normals)) == ("effusion", 10, 8)
    case = dataset.by_name["e02"]
    assert case.polygons == (((16.0, 80.0), (56.0, 80.0), (56.0, 112.0), (16.0, 112.0)),)
    assert (case.positive, case.nodules, case.lung_masks, case.groups) == (True, (), (), ("patient:2",))
    assert (case.spacing_mm, case.age_years, case.sex, case.view) == ((2.8, 2.8), 42, "Female", "PA")
    normal = dataset.by_name["n00"]
    assert (normal.positive, normal.polygons, normal.lung_masks) == (False, (), (effusion_data / "lungs" / "n00.png",))
    assert dataset.notes == ("1 of 8 normals have no lung mask: n07",)


def test_corners_are_of_the_1024_grid_whatever_the_image(own: Path) -> None:
    Image.fromarray(np.zeros((256, 512), np.uint8)).save(own / "e02.png")
    case = read_effusions(own).by_name["e02"]
    assert (case.rows, case.cols) == (256, 512)
    assert case.polygons[0][:2] == ((64.0, 160.0), (224.0, 160.0))
    assert truth_mask(case, Geometry.fit(256, 512, 256, 16), "disc").sum() == 160 * 64


def test_the_folds_keep_a_patient_together_and_each_part_has_an_effusion(effusion_data: Path, tmp_path: Path) -> None:
    dataset = read_effusions(effusion_data)
    splits = make_folds(dataset, 2020)
    for split in splits:
        for part in (split.train, split.validation, split.test):
            assert ("e00" in part) == ("e01" in part)
            assert any(name.startswith("e") for name in part)
    assert sorted(name for split in splits for name in split.test) == [case.name for case in dataset.cases]
    save_folds(tmp_path / "folds.json", splits, dataset)
    assert load_folds(tmp_path / "folds.json", dataset) == splits


def test_as_many_normals_are_trained_on_as_effusions_or_all(effusion_data: Path) -> None:
    dataset = read_effusions(effusion_data)
    names = ["n03", "e05", "n01", "e02", "n00", "n06"]
    chosen = [case.name for case in cases_to_train(dataset, names, False)]
    assert sum(name.startswith("e") for name in chosen) == 2
    assert sum(name.startswith("n") for name in chosen) == 2
    again = [case.name for case in cases_to_train(dataset, [*names[::-1]], False)]
    assert sorted(again) == sorted(chosen)
    assert [case.name for case in cases_to_train(dataset, names, True)] == names
    with pytest.raises(DataError, match=r"none of the 2 cases of a part of the fold has the lesion \(effusion\)"):
        cases_to_train(dataset, ["n00", "n01"], True)


def outline(corners: object) -> dict[str, object]:
    return {"e02.png": [{"polygon": corners}]}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (outline([[0, 0], [5, 5]]), "e02.png: outline 1 has 2 corners, where 3 are needed; correct the entry"),
        (
            outline([[0, 0], [5, 5], [9]]),
            r"e02.png, outline 1: its corner \[9\] is not \[x, y\] in pixels of 0 to 1024",
        ),
        (outline([[0, 0], [5, 5], [9, 1100]]), r"its corner \[9, 1100\] is not \[x, y\] in pixels of 0 to 1024"),
        (outline([[0, 0], [5, 5], [True, 1]]), r"its corner \[true, 1\] is not"),
        (outline("round"), "outline 1 has no polygon, a list of corners"),
        ({"e02.png": []}, r"e02.png: it is \[\], where a list of outlines is needed"),
        ({"n00.png": [{"polygon": [[0, 0], [5, 5], [0, 5]]}]}, r"n00.png are not of role effusion in metadata.csv"),
        (
            {"e03.png": 2 * [{"polygon": [[0, 0], [5, 5], [0, 5]]}]},
            r"e03\.png: outline 2 is outline 1 again, where each is needed once; correct the entry",
        ),
        ({"e02.png": None}, "e02.png: it is null, where a list of outlines is needed"),
    ],
)
def test_an_outline_that_cannot_be_is_named(own: Path, change: dict[str, object], sentence: str) -> None:
    outlines = json.loads((own / "effusion.json").read_text())
    (own / "effusion.json").write_text(json.dumps({**outlines, **change}))
    with pytest.raises(DataError, match=sentence):
        read_effusions(own)


def test_what_is_missing_is_named(own: Path) -> None:
    with pytest.raises(DataError, match=r"none: there is no such folder; --data takes a folder with effusion\.json"):
        read_dataset(own / "none", lesion="effusion")
    with pytest.raises(DataError, match=r"(?s)--lesion effusion takes a folder with metadata.csv.*--data FOLDER"):
        read_data(DataConfig(lesion="effusion"))
    (own / "e03.png").unlink()
    with pytest.raises(DataError, match=r"1 of 18 images are missing: e03.png; copy them there"):
        read_effusions(own)
    outlines = json.loads((own / "effusion.json").read_text())
    (own / "effusion.json").write_text(json.dumps({key: outlines[key] for key in outlines if key != "e04.png"}))
    with pytest.raises(DataError, match=r"no outline of e04\.png, of role effusion"):
        read_effusions(own)
    (own / "effusion.json").write_text('{"e00.png": [')
    with pytest.raises(DataError, match=r"effusion\.json: not JSON"):
        read_effusions(own)
    (own / "effusion.json").unlink()
    with pytest.raises(
        DataError, match=r"no effusion\.json \(with metadata\.csv\) in it; copy it there or name another"
    ):
        read_dataset(own, lesion="effusion")


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("role", "rolle", "no column role; its first row must name file, role, patient"),
        (
            "e01.png,effusion",
            "e00.png,effusion",
            r"metadata\.csv, row 2 \(line 3\): e00.png stands in row 1 \(line 2\) already",
        ),
        (",effusion,", ",other_finding,", "no radiograph of role effusion in it"),
        (
            "e01.png,effusion",
            "../e01.png,effusion",
            r"row 2 \(line 3\): file is '../e01.png', where a file's path inside",
        ),
        ("e02.png,effusion,2,", "e02.png,effusion,,", "patient is empty, where a text is needed"),
    ],
)
def test_a_table_that_cannot_be_is_named(own: Path, old: str, new: str, sentence: str) -> None:
    table = (own / "metadata.csv").read_text()
    assert old in table
    (own / "metadata.csv").write_text(table.replace(old, new))
    with pytest.raises(DataError, match=sentence):
        read_effusions(own)


def test_too_few_patients_for_five_folds(own: Path) -> None:
    lines = (own / "metadata.csv").read_text().splitlines()
    (own / "metadata.csv").write_text("\n".join(line for line in lines if line[0] in "fn" or line[:3] <= "e04") + "\n")
    outlines = json.loads((own / "effusion.json").read_text())
    (own / "effusion.json").write_text(json.dumps({key: outlines[key] for key in outlines if key <= "e04.png"}))
    with pytest.raises(DataError, match="4 cases with an effusion that share no patient or series, and 5 folds need 5"):
        make_folds(read_effusions(own), 0)
