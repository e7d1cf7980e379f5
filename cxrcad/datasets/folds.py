"""Five folds of a data set: positives stratified by subtlety, normals spread, groups kept together; saved as JSON.

The paper (section 4.1) divides the 154 positives into five subsets of similar size and does not say how: this is our
way.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cxrcad.config import NODULE
from cxrcad.core import Case, DataError
from cxrcad.datasets.dataset import Dataset
from cxrcad.documents import MALFORMED, fault_words, made
from cxrcad.files import read_json, write_json

__all__ = [
    "FOLDS",
    "FOLDS_NAME",
    "WHOLE",
    "Split",
    "held_out_names",
    "load_folds",
    "make_folds",
    "save_folds",
    "whole",
    "with_part",
]

SCHEMA = "cxrcad/folds/1"
PARTS = ("train", "validation", "test")

FOLDS = 5
"""The number of folds (the paper, section 4.1); the validation set is one part in as many of each training part."""

FOLDS_NAME = "folds.json"
"""The file, in a run, of its folds."""

WHOLE = "fold0"
"""The folder, in a run, of the model that was trained on every case; it has no test cases."""

NORMAL = 6
"""The stratum of the normals, beside the subtleties 1-5 and 0 for an unknown one."""

Stratum = tuple[int, str]
"""One of these, and the data set where there are several."""


@dataclass(frozen=True)
class Split:
    """One fold: names of its training, validation and test cases, sorted; together all cases of the data set."""

    fold: int
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True)
class _Unit:
    """Cases that may not be parted: `strata` counts them by stratum, and by data set where there are several."""

    names: tuple[str, ...]
    strata: Mapping[Stratum, int]

    @property
    def positives(self) -> int:
        return sum(count for (stratum, _), count in self.strata.items() if stratum != NORMAL)


def make_folds(dataset: Dataset, seed: int, least: int = FOLDS) -> tuple[Split, ...]:
    """The five splits of a data set; fold 1's test cases, fold 2's ... are disjoint and together all cases.

    Positives of each subtlety, positives altogether and normals are divided as evenly as the groups let them be, and so
    are those of each of several joined sets. Cases that share a group, directly or through others, stay together. One
    fifth of each training part, divided in the same way, is its validation set. The same names, subtleties, groups,
    sets and seed give the same splits in any order and on any machine. Raises DataError where the data set has fewer
    than `least` positives that share no group.
    """
    units = _units(dataset.cases)
    independent = sum(unit.positives > 0 for unit in units)
    if independent < least:
        article = "an" if dataset.lesion[0] in "aeiou" else "a"
        raise DataError(
            f"{dataset.where}: {independent} cases with {article} {dataset.lesion} that share no patient or "
            f"series, and {FOLDS} folds need {FOLDS} at least; take more data"
            + (" (`cxrcad phantom OUT` writes some)" if dataset.lesion == NODULE else "")
        )
    parts = _divide(units, f"{seed}")
    splits = []
    for index, test in enumerate(parts):
        training = [unit for part in parts[:index] + parts[index + 1 :] for unit in part]
        pieces = _divide(training, f"{seed}:{index + 1}")
        validation = max(pieces, key=lambda piece: sum(unit.positives for unit in piece))
        kept = [unit for piece in pieces if piece is not validation for unit in piece]
        splits.append(Split(index + 1, _names(kept), _names(validation), _names(test)))
    return tuple(splits)


def whole(dataset: Dataset) -> Split:
    """The split that holds nothing out, as fold 0: every case is for training."""
    return Split(0, tuple(sorted(case.name for case in dataset.cases)), (), ())


def held_out_names(dataset: Dataset, fold_seed: int, fold: str) -> list[str]:
    """The names of the test cases of a fold ("1" to "5"), or of all five ("all"), of the folds made with the seed."""
    return [name for split in make_folds(dataset, fold_seed) if fold in ("all", str(split.fold)) for name in split.test]


def with_part(split: Split, dataset: Dataset, share: float) -> Split:
    """The split with `share` (0-1) of its training cases, positives and normals alike, groups kept whole.

    The validation and test cases stay as they are. A smaller part lies in every larger one.
    """
    units = _units(dataset.select(split.train))
    taken: list[_Unit] = []
    for positive in (True, False):
        kind = sorted((u for u in units if (u.positives > 0) == positive), key=lambda u: _chance(f"part:{u.names[0]}"))
        wanted, count = share * sum(len(unit.names) for unit in kind), 0
        for unit in kind:
            if count >= wanted:
                break
            taken.append(unit)
            count += len(unit.names)
    return replace(split, train=_names(taken))


def save_folds(path: Path, splits: Sequence[Split], dataset: Dataset) -> None:
    """Write the splits to `path` as JSON of schema "cxrcad/folds/1", atomically. Raises WriteError."""
    folds = [
        {"fold": split.fold, "train": list(split.train), "validation": list(split.validation), "test": list(split.test)}
        for split in splits
    ]
    counts = {"positives": len(dataset.positives), "normals": len(dataset.normals)}
    write_json(path, {"schema": SCHEMA, **counts, "folds": folds})


def load_folds(path: Path, dataset: Dataset) -> tuple[Split, ...]:
    """The splits of a folds.json, checked against the data set. DataError where they differ or a split overlaps."""
    document = read_json(path, DataError)
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        found = document.get("schema") if isinstance(document, dict) else None
        raise DataError(f"{path}: its schema is {found!r}, not {SCHEMA!r}; train in a new run folder")
    splits = _parsed(path, document)
    _check(path, splits, dataset)
    return splits


def _units(cases: Sequence[Case]) -> list[_Unit]:
    """The connected components of the cases over their groups, in an order that only their names decide."""
    lead: dict[str, str] = {}

    def find(key: str) -> str:
        while lead.setdefault(key, key) != key:
            lead[key] = lead[lead[key]]
            key = lead[key]
        return key

    for case in cases:
        for group in case.groups:
            lead[find("group " + group)] = find("case " + case.name)
    members: dict[str, list[Case]] = defaultdict(list)
    for case in sorted(cases, key=lambda case: case.name):
        members[find("case " + case.name)].append(case)
    return [
        _Unit(tuple(case.name for case in unit), Counter(_stratum(case) for case in unit)) for unit in members.values()
    ]


def _stratum(case: Case) -> Stratum:
    """NORMAL, or the subtlety of the case's most obvious nodule (0 where unknown, for an outlined lesion); its set."""
    subtlety = max((nodule.subtlety or 0 for nodule in case.nodules), default=0) if case.positive else NORMAL
    return subtlety, case.data_set or ""


def _divide(units: Sequence[_Unit], salt: str) -> list[list[_Unit]]:
    """The units in five parts: large units first, then stratum by stratum, each to the part that has least of its kind.

    Chance is a hash of salt and name, so that it depends on neither order nor the version of a random generator.
    """
    most = math.ceil(sum(unit.positives for unit in units) / FOLDS)
    parts: list[list[_Unit]] = [[] for _ in range(FOLDS)]
    strata = [Counter[Stratum]() for _ in range(FOLDS)]
    positives = [0] * FOLDS

    def burden(part: int, unit: _Unit) -> tuple[Any, ...]:
        alike = sum(count * strata[part][stratum] for stratum, count in unit.strata.items())
        over = max(0, positives[part] + unit.positives - most) if unit.positives else 0
        return over, alike, positives[part], strata[part].total(), _chance(f"{salt}:{unit.names[0]}:{part}")

    def turn(unit: _Unit) -> tuple[Any, ...]:
        return -len(unit.names), min(unit.strata), _chance(f"{salt}:{unit.names[0]}")

    for unit in sorted(units, key=turn):
        part = min(range(FOLDS), key=lambda part: burden(part, unit))
        parts[part].append(unit)
        strata[part].update(unit.strata)
        positives[part] += unit.positives
    return parts


def _chance(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _names(units: Sequence[_Unit]) -> tuple[str, ...]:
    return tuple(sorted(name for unit in units for name in unit.names))


def _parsed(path: Path, document: Mapping[str, Any]) -> tuple[Split, ...]:
    try:
        splits = tuple(made(Split, {key: fold[key] for key in ("fold", *PARTS)}) for fold in document["folds"])
    except MALFORMED as fault:
        raise DataError(f"{path}: damaged ({fault_words(fault)}); train in a new run folder") from None
    numbers = [split.fold for split in splits]
    if numbers != list(range(1, FOLDS + 1)):
        raise DataError(f"{path}: holds the folds {numbers}, not 1 to {FOLDS}; train in a new run folder")
    return splits


def _check(path: Path, splits: Sequence[Split], dataset: Dataset) -> None:
    there = {case.name for case in dataset.cases}
    for split in splits:
        named = [*split.train, *split.validation, *split.test]
        lacking, unknown = sorted(there - set(named)), sorted(set(named) - there)
        if lacking or unknown:
            only = [
                f"{names[0]} only in the {where}" for names, where in ((lacking, "data"), (unknown, "file")) if names
            ]
            raise DataError(
                f"{path}: fold {split.fold} has {len(set(named))} cases and {dataset.where} {len(there)} ("
                f"{', '.join(only)}); give the data that the folds were made from, or train in a new run folder"
            )
        _check_apart(path, split, named, dataset)
    tests = Counter(name for split in splits for name in split.test)
    twice = [name for name, count in sorted(tests.items()) if count > 1]
    if twice or len(tests) != len(there):
        name, count = (twice[0], "two folds") if twice else (min(there - set(tests)), "no fold")
        raise DataError(f"{path}: {name} is a test case of {count}; train in a new run folder")


def _check_apart(path: Path, split: Split, named: Sequence[str], dataset: Dataset) -> None:
    twice = sorted(name for name, count in Counter(named).items() if count > 1)
    if twice:
        raise DataError(f"{path}: fold {split.fold} names {twice[0]} twice; train in a new run folder")
    part_of = {name: part for part in PARTS for name in getattr(split, part)}
    holder: dict[str, str] = {}
    for case in dataset.cases:
        for group in case.groups:
            other = holder.setdefault(group, case.name)
            if part_of[other] != part_of[case.name]:
                raise DataError(
                    f"{path}: fold {split.fold} has {other} in {part_of[other]} and {case.name} in "
                    f"{part_of[case.name]}, which share {group}; train in a new run folder"
                )
