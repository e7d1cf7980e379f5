"""Radiographs with boxed lesions: a folder of images with boxes.csv, whose columns are file, x0, y0, x1, y1, label.

A row is a box, half-open and in the image's own pixels; without corners it says that the image has no lesion. `patient`
names whose image it is, otherwise a file name as NIH gives it does (00000344_002: patient 00000344). Also read, where
they are there: the `role` of an image without a lesion, spacing_row_mm and spacing_col_mm, and the lung masks in
lungs/, called as the images are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cxrcad.core import Case
from cxrcad.datasets.boxed import boxed_dataset, columns_of, groups_of, rows_by
from cxrcad.datasets.dataset import NORMAL, OTHER_FINDING, Dataset, check_images, lung_masks, spacing_mm
from cxrcad.datasets.fields import FINITE, Entry, box_nodule, with_nodules
from cxrcad.imaging.read import IMAGE_ENDINGS, image_size

__all__ = ["COLUMNS", "matches", "read"]

TABLE = "boxes.csv"
CORNERS = ("x0", "y0", "x1", "y1")
COLUMNS = ("file", *CORNERS, "label")
ROLES = (NORMAL, OTHER_FINDING, "annotated_no_nodule")


def matches(folder: Path) -> bool:
    """Whether the folder has a boxes.csv with labels (JSRT's layout may have one without)."""
    return {"file", "label"} <= columns_of(folder / TABLE)


def read(folder: Path) -> Dataset:
    """The cases of the files that boxes.csv names. Only headers of images are read.

    Raises DataError for what is missing or contradicts itself, ReadError for an image whose header is damaged.
    """
    rows = rows_by("file", [folder / TABLE], COLUMNS)
    check_images(folder, [folder / file for file in rows])
    cases = [_case(folder / file, folder, its) for file, its in rows.items()]
    images = {case.image for case in cases}
    there = (path for path in folder.iterdir() if path.suffix.lower() in IMAGE_ENDINGS)
    left_out = sorted(path.name for path in there if path not in images)
    return boxed_dataset(folder, folder / TABLE, cases, {f"no row in {TABLE}, left out": left_out})


def _case(image: Path, folder: Path, rows: Sequence[Entry]) -> Case:
    height, width = image_size(image)
    case = Case(
        name=image.stem,
        image=image,
        rows=height,
        cols=width,
        spacing_mm=spacing_mm(rows[0]),
        lung_masks=lung_masks(rows[0], folder),
        groups=groups_of(image.stem, rows),
    )
    boxed = [row for row in rows if any(row.fields[key] for key in CORNERS)]
    if not boxed:
        return replace(case, role=_role(rows[0]))
    if boxed and len(boxed) < len(rows):
        empty = next(row for row in rows if row not in boxed)
        empty.refuse(f"it has no corners, but {image.name} has a box in {boxed[0].place}", "remove one of them")
    nodules = [
        (row, box_nodule(row, [row.number(key, FINITE) for key in CORNERS], case, row.text("label").lower()))
        for row in boxed
    ]
    return with_nodules(case, nodules)


def _role(row: Entry) -> str | None:
    """What the row says of an image without a box; refuses what may be a lesion after all."""
    role = str(row.fields.get("role") or "")
    if role and role not in ROLES:
        row.refuse(f"it has no box, and its role is {role!r}, where {', '.join(ROLES)} are allowed", "remove the row")
    return role or None
