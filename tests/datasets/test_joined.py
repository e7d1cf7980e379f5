"""Several data sets as one, and chosen labels: names, patients, folds, notes, and each sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxrcad.core import DataError
from cxrcad.datasets.content import check_content, content_of, read_content, write_content
from cxrcad.datasets.folds import load_folds, make_folds, save_folds
from cxrcad.datasets.joined import of_sets
from cxrcad.datasets.read import read_dataset

HEAD = "file,x0,y0,x1,y1,label,patient\n"


def boxes(folder: Path, *rows: str) -> Path:
    """A set of boxes: "name label patient" a lesion, "name - patient" a normal."""
    folder.mkdir()
    lines = []
    for row in rows:
        name, label, patient = row.split()
        Image.fromarray(np.zeros((64, 64), np.uint8)).save(folder / f"{name}.png")
        corners = ",,,," if label == "-" else f"{10 + len(lines)},10,30,30,{label}"
        lines.append(f"{name}.png,{corners},{patient}\n")
    (folder / "boxes.csv").write_text(HEAD + "".join(lines))
    return folder


@pytest.fixture
def sets(tmp_path: Path) -> tuple[Path, Path]:
    """Eight patients in A; in B three of them again, and others; `same` is a name in both."""
    a = boxes(tmp_path / "A", *(f"a{i} nodule {i}" for i in range(8)), "same nodule 20", "an - 21")
    b = boxes(
        tmp_path / "B", *(f"b{i} mass 000{i}" for i in range(3)), *(f"c{i} mass c{i}" for i in range(5)), "same - x"
    )
    return a, b


def test_one_folder_is_read_as_before_whether_in_a_list_or_not(sets: tuple[Path, Path]) -> None:
    assert read_dataset([sets[0]]) == read_dataset(sets[0])
    assert all(case.data_set is None for case in read_dataset(sets[0]).cases)


def test_cases_of_several_sets_are_told_apart(sets: tuple[Path, Path]) -> None:
    """Only a name that stands in both sets is changed; the set is said of each case, and of each note."""
    dataset = read_dataset(sets)
    names = [case.name for case in dataset.cases]
    assert names == sorted(names)
    assert {"a0", "b0", "A-same", "B-same"} <= set(names)
    assert "same" not in names
    assert [dataset.by_name[name].data_set for name in ("a0", "A-same", "b0", "B-same")] == ["A", "A", "B", "B"]
    assert (dataset.by_name["A-same"].positive, dataset.by_name["B-same"].positive) == (True, False)
    assert (dataset.folders, dataset.where) == (sets, f"{sets[0]}, {sets[1]}")
    assert dataset.notes[0].startswith("A: no lung mask")
    assert dataset.notes[1].startswith("B: no lung mask")


def test_a_patient_of_two_sets_stays_in_one_fold(sets: tuple[Path, Path]) -> None:
    """Patient 1 in A is 0001 in B: NIH's names and tables write one number in two ways."""
    dataset = read_dataset(sets)
    for split in make_folds(dataset, 2020):
        for part in (split.train, split.validation, split.test):
            assert [f"a{i}" in part for i in range(3)] == [f"b{i}" in part for i in range(3)]


def test_each_set_is_divided_evenly(tmp_path: Path) -> None:
    a = boxes(tmp_path / "A", *(f"a{i} nodule a{i}" for i in range(10)))
    b = boxes(tmp_path / "B", *(f"b{i} nodule b{i}" for i in range(5)), *(f"n{i} - n{i}" for i in range(5)))
    for split in make_folds(read_dataset([a, b]), 2020):
        assert sorted(name[0] for name in split.test) == ["a", "a", "b", "n"]


def test_a_run_is_bound_to_every_set(sets: tuple[Path, Path], tmp_path: Path) -> None:
    dataset, run = read_dataset(sets), tmp_path / "run"
    run.mkdir()
    write_content(run, dataset)
    kept = read_content(run)
    assert kept is not None
    assert kept == {case.name: content_of(case) for case in dataset.cases}
    assert check_content(run, read_dataset(sets[::-1]), "stop")
    with pytest.raises(DataError, match=r"made from other data than .*A holds: A-same is not in it, and 10 more"):
        check_content(run, read_dataset(sets[0]), "stop")
    Image.fromarray(np.ones((64, 64), np.uint8)).save(sets[1] / "c1.png")
    with pytest.raises(DataError, match=rf"than {sets[0]}, {sets[1]} holds: c1 has another image; stop"):
        check_content(run, read_dataset(sets), "stop")


def test_folds_that_part_a_patient_of_two_sets_are_refused(sets: tuple[Path, Path], tmp_path: Path) -> None:
    dataset, path = read_dataset(sets), tmp_path / "folds.json"
    save_folds(path, make_folds(dataset, 2020), dataset)
    assert load_folds(path, dataset) == make_folds(dataset, 2020)
    path.write_text(path.read_text().replace('"a1"', '"?"').replace('"c4"', '"a1"').replace('"?"', '"c4"'))
    with pytest.raises(DataError, match=r"a1 in \w+ and b1 in \w+, which share patient:1; train in a new run folder"):
        load_folds(path, dataset)


def test_sets_that_cannot_be_told_apart_are_refused(sets: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"A and .*A are both called A, .*; give each set once, or rename one folder"):
        read_dataset([sets[0], sets[0]])
    odd = boxes(tmp_path / "C", "same nodule 1", "A-same nodule 2")
    with pytest.raises(DataError, match=r"two images of the sets A, C are called A-same; rename one"):
        read_dataset([sets[0], odd])


def test_some_of_the_sets_are_chosen(sets: tuple[Path, Path]) -> None:
    dataset = read_dataset(sets)
    assert of_sets(dataset, None) is dataset
    assert of_sets(dataset, "B, A").cases == dataset.cases
    part = of_sets(dataset, "B")
    assert {case.name for case in part.cases} == {case.name for case in dataset.cases if case.data_set == "B"}
    assert (len(part.cases), part.where) == (9, str(sets[1]))
    with pytest.raises(DataError, match=r"^--sets: there is no data set 'C'; choose from A, B$"):
        of_sets(dataset, "A,C")


def test_protocols_see_all_sets(sets: tuple[Path, Path]) -> None:
    dataset = read_dataset(sets, protocol="jsrt-247")
    assert len(dataset.scored()) == len(dataset.cases) == 19
    assert len(dataset.scored("paper")) == 17
    with pytest.raises(DataError, match=rf"^{sets[0]}, {sets[1]}: the image set of protocol jsrt-140"):
        read_dataset(sets, protocol="jsrt-140")


def test_labels_are_chosen_and_the_rest_is_no_normal(tmp_path: Path) -> None:
    folder = boxes(tmp_path / "A", "a Nodule 1", "b mass 2", "c nodule 3", "c mass 3", "d - 4")
    assert [case.name for case in read_dataset(folder, labels="mass, Nodule").cases] == ["a", "b", "c", "d"]
    dataset = read_dataset(folder, labels="nodule")
    assert [(case.name, [n.label for n in case.nodules]) for case in dataset.cases] == [
        ("a", ["nodule"]),
        ("c", ["nodule"]),
        ("d", []),
    ]
    assert dataset.notes[-2:] == (
        "--labels nodule: left out, no lesion of this label: b (1 image)",
        "--labels nodule: has other lesions too, which count as none: c (1 image)",
    )
    with pytest.raises(DataError, match=r"--labels names 'cyst'; its lesions are mass \(2\), nodule \(2\), choose"):
        read_dataset(folder, labels="nodule,cyst")


def test_lesions_without_a_label_are_nodules(tmp_path: Path, disc_data: Path) -> None:
    """JSRT has nodules and no word for them."""
    folder = boxes(tmp_path / "A", "a nodule 1", "b mass 2")
    assert len(read_dataset([disc_data, folder], labels="nodule").positives) == 11
    assert len(read_dataset([disc_data, folder], labels="mass").positives) == 1
    assert read_dataset(disc_data, labels="nodule").cases == read_dataset(disc_data).cases
