"""Several data sets as one, and the lesions of chosen labels: which cases of its folders a command is given."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from cxrcad.core import Case, DataError, Nodule, counted
from cxrcad.datasets.dataset import Dataset
from cxrcad.datasets.fields import named

__all__ = ["joined", "label_of", "of_sets", "with_labels"]


def joined(sets: Sequence[Dataset]) -> Dataset:
    """One data set of several, each case with the name of its set's folder (`data_set`).

    A case whose name stands in two sets has that name before its own (SET-NAME); every other one keeps its name. One
    patient in two sets is one group: a number counts as the same with and without leading zeros.
    Raises DataError for two folders of one name, and for names that are not told apart even so.
    """
    titles = [one.folder.resolve().name for one in sets]
    twice = [title for title, count in Counter(titles).items() if count > 1]
    if twice:
        places = " and ".join(str(one.folder) for one, title in zip(sets, titles, strict=True) if title == twice[0])
        raise DataError(
            f"--data: {places} are both called {twice[0]}, and the sets' cases and figures are told apart by their "
            "folder's name; give each set once, or rename one folder"
        )
    names = Counter(case.name for one in sets for case in one.cases)
    cases: list[Case] = []
    for one, title in zip(sets, titles, strict=True):
        for case in one.cases:
            own = f"{title}-{case.name}" if names[case.name] > 1 else case.name
            cases.append(replace(case, name=own, data_set=title, groups=tuple(map(_alike, case.groups))))
    odd = [name for name, count in Counter(case.name for case in cases).items() if count > 1]
    if odd:
        raise DataError(f"--data: two images of the sets {', '.join(titles)} are called {odd[0]}; rename one of them")
    notes = tuple(f"{title}: {note}" for one, title in zip(sets, titles, strict=True) for note in one.notes)
    ordered = tuple(sorted(cases, key=lambda case: case.name))
    return replace(sets[0], cases=ordered, notes=notes, folders=tuple(one.folder for one in sets))


def of_sets(dataset: Dataset, sets: str | None) -> Dataset:
    """The cases of these sets of a joined data set (their folders' names, comma-separated; None: all).

    Raises DataError for a set that is not there.
    """
    if sets is None:
        return dataset
    wanted = [name.strip() for name in sets.split(",")]
    folders = {folder.resolve().name: folder for folder in dataset.folders or (dataset.folder,)}
    strange = [name for name in wanted if name not in folders]
    if strange:
        raise DataError(f"--sets: there is no data set {strange[0]!r}; choose from {', '.join(folders)}")
    chosen = tuple(folder for name, folder in folders.items() if name in wanted)
    cases = tuple(case for case in dataset.cases if case.data_set in (None, *wanted))
    return replace(dataset, folder=chosen[0], folders=chosen, cases=cases).for_protocol(dataset.protocol)


def _alike(group: str) -> str:
    """The group as every layout would name it: NIH's file names have patient 00000344, its tables 344."""
    return re.sub(r"^patient:0+(?=\d+$)", "patient:", group)


def label_of(nodule: Nodule, lesion: str) -> str:
    """The lesion's label; in a data set of one kind, the word for that kind."""
    return nodule.label or lesion


def with_labels(dataset: Dataset, labels: str | None) -> Dataset:
    """The data set with lesions of these labels only (comma-separated; None: all), said in notes.

    Images all of whose lesions have another label are left out: they are neither positive nor normal. In an image that
    has one of the labels too, the others are no lesions. Raises DataError for a label that no lesion has.
    """
    if labels is None:
        return dataset
    wanted = {label.strip().lower() for label in labels.split(",")}
    there = Counter(label_of(nodule, dataset.lesion) for case in dataset.cases for nodule in case.nodules)
    unknown = sorted(wanted - there.keys())
    if unknown:
        known = ", ".join(f"{label} ({count})" for label, count in sorted(there.items()))
        raise DataError(f"{dataset.where}: --labels names {unknown[0]!r}; its lesions are {known}, choose from these")
    cases, left_out, dropped = [], [], []
    for case in dataset.cases:
        kept = tuple(nodule for nodule in case.nodules if label_of(nodule, dataset.lesion) in wanted)
        if case.nodules and not kept:
            left_out.append(case.name)
            continue
        if len(kept) < len(case.nodules):
            dropped.append(case.name)
        cases.append(replace(case, nodules=kept))
    words = {"left out, no lesion of this label": left_out, "has other lesions too, which count as none": dropped}
    notes = [
        f"--labels {labels}: {told}: {named(names)} ({counted(len(names), 'image')})"
        for told, names in words.items()
        if names
    ]
    return replace(dataset, cases=tuple(cases), notes=(*dataset.notes, *notes))
