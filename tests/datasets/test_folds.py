from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cxrcad.core import Case, DataError, Nodule
from cxrcad.datasets.dataset import Dataset
from cxrcad.datasets.folds import Split, load_folds, make_folds, save_folds, whole, with_part
from cxrcad.datasets.read import read_dataset

JSRT = {1: 25, 2: 29, 3: 50, 4: 38, 5: 12}  # its 154 nodules by subtlety


def case_of(name: str, subtlety: int | None = None, *groups: str) -> Case:
    nodules = (Nodule(1.0, 1.0, 10.0, subtlety),) if subtlety is not None else ()
    return Case(name, Path(f"{name}.png"), 64, 64, nodules=nodules, groups=groups)


def dataset_of(cases: list[Case]) -> Dataset:
    return Dataset(Path("data"), "paper", tuple(cases))


def like_jsrt() -> list[Case]:
    levels = [level for level, count in JSRT.items() for _ in range(count)]
    random.Random(1).shuffle(levels)
    positives = [case_of(f"JPCLN{number:03d}", level) for number, level in enumerate(levels, start=1)]
    return positives + [case_of(f"JPCNN{number:03d}") for number in range(1, 94)]


def counts_of(dataset: Dataset, names: tuple[str, ...]) -> Counter[int | None]:
    return Counter(case.nodules[0].subtlety if case.positive else None for case in dataset.select(names))


def test_each_case_is_tested_once_and_each_fold_is_a_partition() -> None:
    dataset = dataset_of(like_jsrt())
    everything = sorted(case.name for case in dataset.cases)
    splits = make_folds(dataset, 2020)
    assert [split.fold for split in splits] == [1, 2, 3, 4, 5]
    assert sorted(name for split in splits for name in split.test) == everything
    for split in splits:
        assert sorted(split.train + split.validation + split.test) == everything


@pytest.mark.parametrize("seed", [0, 1, 2020, 31337])
def test_folds_of_jsrt_are_balanced(seed: int) -> None:
    dataset = dataset_of(like_jsrt())
    tests = [counts_of(dataset, split.test) for split in make_folds(dataset, seed)]
    assert sorted(sum(count for level, count in test.items() if level) for test in tests) == [30, 31, 31, 31, 31]
    assert sorted(test[None] for test in tests) == [18, 18, 19, 19, 19]
    for level, total in JSRT.items():
        assert {test[level] for test in tests} <= {total // 5, total // 5 + 1}


def test_validation_is_a_fifth_of_the_training_part_stratified() -> None:
    dataset = dataset_of(like_jsrt())
    for split in make_folds(dataset, 2020):
        validation, train = counts_of(dataset, split.validation), counts_of(dataset, split.train)
        assert 154 - sum(counts_of(dataset, split.test)[level] for level in JSRT) in (123, 124)
        assert sum(validation[level] for level in JSRT) == 25
        assert validation[None] in (14, 15)
        for level in JSRT:
            assert abs(validation[level] - (validation[level] + train[level]) / 5) < 1


def test_order_of_the_cases_and_names_of_the_groups_do_not_matter() -> None:
    cases = like_jsrt()
    shuffled = random.Random(7).sample(cases, len(cases))
    assert make_folds(dataset_of(cases), 5) == make_folds(dataset_of(shuffled), 5)
    first = [case_of(f"C{i:02d}", 3, f"patient:{i // 2}") for i in range(30)]
    second = [case_of(f"C{i:02d}", 3, f"series:{99 - i // 2}") for i in range(30)]
    assert make_folds(dataset_of(first), 5) == make_folds(dataset_of(second[::-1]), 5)


def test_the_seed_decides() -> None:
    dataset = dataset_of(like_jsrt())
    assert make_folds(dataset, 1) == make_folds(dataset, 1)
    assert make_folds(dataset, 1) != make_folds(dataset, 2)
    assert make_folds(dataset, 1)[0].test != make_folds(dataset, 2)[0].test


def test_the_folds_of_a_seed_stay_what_they_are() -> None:
    dataset = dataset_of([case_of(f"P{i}", 1 + i % 5) for i in range(10)] + [case_of(f"N{i}") for i in range(5)])
    assert [split.test for split in make_folds(dataset, 2020)] == [
        ("N2", "P0", "P4"),
        ("N0", "P3", "P5"),
        ("N1", "P2", "P8"),
        ("N4", "P6", "P9"),
        ("N3", "P1", "P7"),
    ]


def test_groups_stay_together_through_others() -> None:
    cases = like_jsrt()
    chained = {0: ("patient:a",), 40: ("patient:a", "series:1"), 90: ("series:1", "patient:b"), 200: ("patient:b",)}
    cases = [
        case_of(c.name, c.nodules[0].subtlety if c.positive else None, *chained.get(i, ())) for i, c in enumerate(cases)
    ]
    together = {cases[i].name for i in chained}
    for split in make_folds(dataset_of(cases), 3):
        assert [len(together & set(part)) for part in (split.train, split.validation, split.test)].count(4) == 1
        assert len(together & {*split.train, *split.validation, *split.test}) == 4


@pytest.mark.parametrize("seed", range(5))
def test_pairs_of_patients_leave_folds_balanced(seed: int) -> None:
    cases = [
        case_of(c.name, c.nodules[0].subtlety if c.positive else None, f"patient:{i // 2}")
        for i, c in enumerate(like_jsrt())
    ]
    dataset = dataset_of(cases)
    patient = {case.name: case.groups[0] for case in cases}
    for split in make_folds(dataset, seed):
        parts = [{patient[name] for name in part} for part in (split.train, split.validation, split.test)]
        assert not parts[0] & parts[1]
        assert not parts[0] & parts[2]
        assert not parts[1] & parts[2]
        assert sum(counts_of(dataset, split.test)[level] for level in JSRT) in range(28, 33)


def test_five_positives_are_enough_and_every_part_has_one() -> None:
    dataset = dataset_of([case_of(f"P{i}", i) for i in range(1, 6)])
    for split in make_folds(dataset, 0):
        assert (len(split.train), len(split.validation), len(split.test)) == (3, 1, 1)


def test_too_few_that_share_no_group() -> None:
    cases = [case_of(f"P{i}", 3, "patient:1" if i < 2 else f"patient:{i}") for i in range(5)]
    with pytest.raises(
        DataError, match=r"data: 4 cases with a nodule that share no patient or series, and 5 folds need 5"
    ):
        make_folds(dataset_of(cases), 0)


def test_an_unknown_subtlety_is_a_stratum_of_its_own() -> None:
    unknown = [Case(f"U{i}", Path("u"), 8, 8, nodules=(Nodule(1.0, 1.0),)) for i in range(10)]
    dataset = dataset_of(unknown + [case_of(f"P{i}", 4) for i in range(10)])
    assert [counts_of(dataset, split.test) for split in make_folds(dataset, 0)] == [Counter({None: 2, 4: 2})] * 5


def test_saved_folds_are_loaded_again(tmp_path: Path) -> None:
    dataset = dataset_of(like_jsrt())
    splits = make_folds(dataset, 2020)
    save_folds(tmp_path / "run" / "folds.json", splits, dataset)
    document = json.loads((tmp_path / "run" / "folds.json").read_text())
    assert (document["schema"], document["positives"], document["normals"]) == ("cxrcad/folds/1", 154, 93)
    assert document["folds"][2]["test"] == list(splits[2].test)
    assert load_folds(tmp_path / "run" / "folds.json", dataset) == splits


def spoil_schema(document: dict[str, Any]) -> None:
    document["schema"] = "cxrcad/folds/9"


def spoil_part(document: dict[str, Any]) -> None:
    del document["folds"][1]["validation"]


def spoil_number(document: dict[str, Any]) -> None:
    del document["folds"][4]


def spoil_leak(document: dict[str, Any]) -> None:
    fold = document["folds"][0]
    fold["train"].append(fold["test"][0])


def spoil_tests(document: dict[str, Any]) -> None:
    document["folds"][1] = {**document["folds"][0], "fold": 2}


def spoil_group(document: dict[str, Any]) -> None:
    fold = document["folds"][0]
    part = next(part for part in ("train", "validation", "test") if "P0" in fold[part])
    other = "train" if part != "train" else "validation"
    fold[part].remove("P0")
    fold[other].append("P0")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_schema, r"folds\.json: its schema is 'cxrcad/folds/9', not 'cxrcad/folds/1'; train in a new"),
        (spoil_part, r"folds\.json: damaged \('validation' is missing\); train in a new run"),
        (spoil_number, r"folds\.json: holds the folds \[1, 2, 3, 4\], not 1 to 5"),
        (spoil_leak, r"folds\.json: fold 1 names P\d+ twice; train in a new run"),
        (spoil_tests, r"folds\.json: P\d+ is a test case of two folds"),
        (spoil_group, r"folds\.json: fold 1 has P0 in \w+ and P1 in \w+, which share patient:0; train in a new run"),
    ],
    ids=["schema", "part", "number", "leak", "tests", "group"],
)
def test_spoiled_folds_are_refused(tmp_path: Path, spoil: Callable[[dict[str, Any]], None], message: str) -> None:
    dataset = dataset_of([case_of(f"P{i}", 3, f"patient:{i // 2}") for i in range(20)])
    path = tmp_path / "folds.json"
    save_folds(path, make_folds(dataset, 0), dataset)
    document = json.loads(path.read_text())
    spoil(document)
    path.write_text(json.dumps(document))
    with pytest.raises(DataError, match=message):
        load_folds(path, dataset)


def test_folds_of_other_data_are_refused(tmp_path: Path) -> None:
    cases = [case_of(f"P{i:02d}", 3) for i in range(20)]
    path = tmp_path / "folds.json"
    save_folds(path, make_folds(dataset_of(cases), 0), dataset_of(cases))
    other = dataset_of([*cases[1:], case_of("Q", 3), case_of("R", 3)])
    message = r"fold 1 has 20 cases and data 21 \(Q only in the data, P00 only in the file\); give the data that"
    with pytest.raises(DataError, match=message):
        load_folds(path, other)
    with pytest.raises(DataError, match=r"none\.json: there is no such file"):
        load_folds(tmp_path / "none.json", other)


def test_folds_of_open_jsrt_keep_patients_and_series_apart(open_jsrt_img: Path) -> None:
    dataset = read_dataset(open_jsrt_img)
    for split in make_folds(dataset, 2020):
        assert isinstance(split, Split)
        assert len(split.train + split.validation + split.test) == 12
        groups = [
            {group for case in dataset.select(part) for group in case.groups} for part in (split.train, split.test)
        ]
        assert not groups[0] & groups[1]


def test_a_part_of_the_training_cases_keeps_kinds_and_groups_and_lies_in_a_larger_part() -> None:
    pairs = [f"patient:{number // 2}" for number in range(154)]
    cases = [case_of(f"P{number:03d}", 3, pairs[number]) for number in range(154)]
    dataset = dataset_of(cases + [case_of(f"N{number:03d}") for number in range(93)])
    split = make_folds(dataset, 2020)[0]
    parts = {share: with_part(split, dataset, share) for share in (0.25, 0.5, 1.0)}
    assert set(parts[0.25].train) < set(parts[0.5].train) < set(parts[1.0].train) == set(split.train)
    for share, part in parts.items():
        assert (part.validation, part.test) == (split.validation, split.test)
        whole_counts, counts = counts_of(dataset, split.train), counts_of(dataset, part.train)
        assert 0 <= counts[3] - share * whole_counts[3] < 2
        assert 0 <= counts[None] - share * whole_counts[None] < 1
        names = set(part.train)
        assert all((a.name in names) == (b.name in names) for a, b in zip(cases[::2], cases[1::2], strict=True))


def test_the_whole_holds_nothing_out() -> None:
    dataset = dataset_of(like_jsrt())
    assert whole(dataset) == Split(0, tuple(sorted(case.name for case in dataset.cases)), (), ())
