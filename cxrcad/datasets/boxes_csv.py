"""Radiographs with boxed lesions: a folder of images with boxes.csv, whose columns are file, x0, y0, x1, y1, label.

A row is a box, half-open and in the image's own pixels; without corners it says that the image has no lesion. `patient`
names whose image it is, otherwise a file name as NIH gives it does (00000344_002: patient 00000344). Also read, where
they are there: spacing_row_mm and spacing_col_mm, and the lung masks in lungs/, called as the images are.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from cxrcad.core import Case, DataError, counted
from cxrcad.datasets.dataset import Dataset, by_name, check_images, lung_masks, spacing_mm
from cxrcad.datasets.fields import FINITE, Entry, box_nodule, named, read_table, with_nodules
from cxrcad.imaging.read import IMAGE_ENDINGS, image_size

__all__ = ["COLUMNS", "matches", "read"]

TABLE = "boxes.csv"
CORNERS = ("x0", "y0", "x1", "y1")
COLUMNS = ("file", *CORNERS, "label")
NIH_NAME = re.compile(r"(\d{8})_\d{3}")


def matches(folder: Path) -> bool:
    """Whether the folder has a boxes.csv with labels (JSRT's layout may have one without)."""
    try:
        with open(folder / TABLE, encoding="utf-8-sig") as table:
            head = table.readline()
    except (OSError, UnicodeDecodeError):
        return False
    return {"file", "label"} <= {name.strip().lower() for name in head.split(",")}


def read(folder: Path) -> Dataset:
    """The cases of the files that boxes.csv names. Only headers of images are read.

    Raises DataError for what is missing or contradicts itself, ReadError for an image whose header is damaged.
    """
    rows: dict[str, list[Entry]] = defaultdict(list)
    for row in read_table(folder / TABLE, COLUMNS, DataError).rows:
        rows[row.inside("file")].append(row)
    check_images(folder, [folder / file for file in rows])
    cases = by_name(folder / TABLE, [_case(folder / file, folder, its) for file, its in rows.items()])
    return Dataset(folder, "paper", cases, tuple(_notes(cases, folder)))


def _case(image: Path, folder: Path, rows: Sequence[Entry]) -> Case:
    height, width = image_size(image)
    case = Case(
        name=image.stem,
        image=image,
        rows=height,
        cols=width,
        spacing_mm=spacing_mm(rows[0]),
        lung_masks=lung_masks(rows[0], folder),
        groups=_groups(image.stem, rows),
    )
    boxed = [row for row in rows if any(row.fields[key] for key in CORNERS)]
    if boxed and len(boxed) < len(rows):
        empty = next(row for row in rows if row not in boxed)
        empty.refuse(f"it has no corners, but {image.name} has a box in {boxed[0].place}", "remove one of them")
    nodules = [
        (row, box_nodule(row, [row.number(key, FINITE) for key in CORNERS], case, row.text("label").lower()))
        for row in boxed
    ]
    return with_nodules(case, nodules)


def _groups(name: str, rows: Sequence[Entry]) -> tuple[str, ...]:
    patients = {row.fields.get("patient", ""): row for row in rows}
    if len(patients) > 1:
        list(patients.values())[1].refuse(f"the patient of {name} is {' or '.join(map(repr, patients))}; one is needed")
    given, of_name = next(iter(patients)), NIH_NAME.fullmatch(name)
    patient = given or (of_name.group(1) if of_name else "")
    return (f"patient:{patient}",) if patient else ()


def _notes(cases: Sequence[Case], folder: Path) -> list[str]:
    files = {case.image for case in cases}
    notes = {
        f"no row in {TABLE}, left out": sorted(
            path.name for path in folder.iterdir() if path.suffix.lower() in IMAGE_ENDINGS and path not in files
        ),
        "no patient is named, each image counts as one": [case.name for case in cases if not case.groups],
        "no lung mask, and no lung loss of": [case.name for case in cases if not case.lung_masks],
    }
    return [f"{words}: {named(names)} ({counted(len(names), 'image')})" for words, names in notes.items() if names]
