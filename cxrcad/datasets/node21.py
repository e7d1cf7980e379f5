"""NODE21: metadata.csv (img_name, x, y, width, height, label) and the images below it, in images/ as a rule.

Sogancioglu et al., "Nodule detection and generation on chest X-rays: NODE21 challenge", IEEE TMI 43, 2024. Boxes are in
the pixels of the images beside their table; (x, y) is the upper left corner. The table names no patient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from cxrcad.core import Case, Nodule
from cxrcad.datasets.boxed import Images, boxed_dataset, corners_of, rows_by, tables_with
from cxrcad.datasets.dataset import Dataset
from cxrcad.datasets.fields import Entry, Range, box_nodule, shown, with_nodules

__all__ = ["COLUMNS", "cases_of", "matches", "read"]

SIDES = ("x", "y", "width", "height")
COLUMNS = ("img_name", "label", *SIDES)


def matches(folder: Path) -> bool:
    """Whether the folder has a table of images by img_name with a label."""
    return bool(tables_with(folder, COLUMNS[:2]))


def read(folder: Path) -> Dataset:
    """The images that the table names. Only headers of images are read; those of .mha have the spacing.

    Raises DataError for what is missing or contradicts itself, ReadError for an image whose header is damaged.
    """
    tables = tables_with(folder, COLUMNS[:2])
    files = rows_by("img_name", tables, COLUMNS)
    images = Images.of(folder, files)
    images.check(list(files))
    rows = (row for its in files.values() for row in its)
    return boxed_dataset(folder, tables[0], cases_of(rows, lambda file: images.case(file, files[file]), "nodule"), {})


def cases_of(rows: Iterable[Entry], bare: Callable[[str], Case], label: str | None = None) -> list[Case]:
    """The cases of the table's rows, in the order of their images; `bare(img_name)` is one without its truth.

    Refuses a box off its image, and an image with label 0 and another row.
    """
    first: dict[str, Entry] = {}
    cases: dict[str, Case] = {}
    nodules: dict[str, list[tuple[Entry, Nodule]]] = {}
    for entry in rows:
        name, count = entry.inside("img_name"), entry.whole("label", "0 for no nodule or 1 for a nodule", 0, 1)
        if name in first and not (count and nodules[name]):
            entry.refuse(
                f"label is {count}, but {shown(name)} stands in {first[name].place} already, where an image without a "
                "nodule has one row, with label 0, and one with nodules only rows with label 1",
                "remove one of them",
            )
        if name not in first:
            first[name], nodules[name], cases[name] = entry, [], bare(name)
        if count:
            nodules[name].append((entry, box_nodule(entry, corners_of(entry, SIDES), cases[name], label)))
        else:
            _check_no_box(entry)
    return [with_nodules(cases[name], nodules[name]) for name in cases]


def _check_no_box(entry: Entry) -> None:
    """Refuse a row that has label 0 and yet a box: one of the two is wrong."""
    for key in SIDES[2:]:
        if entry.fields[key] and entry.number(key, Range("a finite number, or nothing,")) != 0:
            entry.refuse(f"label is 0 (no nodule), but {key} is {entry.fields[key]}, where 0 or nothing is allowed")
