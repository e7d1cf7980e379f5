"""VinDr-CXR: train.csv (Kaggle) or annotations_train.csv and annotations_test.csv (PhysioNet), images below them.

Nguyen et al., "VinDr-CXR: An open dataset of chest X-rays with radiologist's annotations", Scientific Data 9:429, 2022.
Three radiologists read each training image. Their boxes of "Nodule/Mass" are merged (`merged`); an image in which none
drew one is a negative, whatever else was found. The files name no patient.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cxrcad.core import Box
from cxrcad.datasets.boxed import Images, boxed_dataset, lesion, rows_by, tables_with
from cxrcad.datasets.dataset import Dataset
from cxrcad.datasets.fields import FINITE, Entry, box_nodule, with_nodules

__all__ = ["OVERLAP", "matches", "merged", "read"]

TELLING = ("image_id", "class_name")
CORNERS = ("x_min", "y_min", "x_max", "y_max")
OVERLAP = 0.4
"""Boxes of different readers are of one lesion above this intersection over union."""

Drawn = tuple[str, tuple[float, ...], Entry]
"""A reader, the corners x0, y0, x1, y1 of a box in pixels, and the row that has it."""


def matches(folder: Path) -> bool:
    """Whether the folder has a table of findings by image_id and class_name."""
    return bool(tables_with(folder, TELLING))


def read(folder: Path) -> Dataset:
    """The images that the tables name. Only headers of images are read; DICOM's have the spacing.

    Raises DataError for what is missing or contradicts itself, ReadError for an image whose header is damaged.
    """
    tables = tables_with(folder, TELLING)
    files = rows_by("image_id", tables, (*TELLING, *CORNERS))
    images = Images.of(folder, files)
    images.check(list(files))
    cases, alone = [], []
    for file, rows in files.items():
        case, drawn = images.case(file, rows), []
        for row in rows:
            if lesion(row.text("class_name")):
                box = row.box([row.number(key, FINITE) for key in CORNERS], case.rows, case.cols)
                drawn.append((row.fields.get("rad_id", ""), (box.x0, box.y0, box.x1, box.y1), row))
        lesions = merged(drawn)
        if any(len(one) == 1 for one in lesions) and len({row.fields.get("rad_id") for row in rows}) > 1:
            alone.append(case.name)
        firsts = ((one[0][2], mean(one)) for one in lesions)
        nodules = [(row, box_nodule(row, box, case, lesion(row.fields["class_name"]))) for row, box in firsts]
        cases.append(with_nodules(case, nodules))
    return boxed_dataset(folder, tables[0], cases, {"a lesion that one of the readers alone drew": alone})


def merged(drawn: Sequence[Drawn]) -> list[list[Drawn]]:
    """Boxes of one image as lesions, each with the boxes of those who drew it; a lesion's box is their mean.

    In the order of readers and corners, a box joins the lesion whose mean it overlaps most, above `OVERLAP`, and of
    which its reader has no box; otherwise it is a lesion of its own. One reader suffices.
    """
    lesions: list[list[Drawn]] = []
    for reader, corners, row in sorted({one[:2]: one for one in reversed(drawn)}.values(), key=lambda one: one[:2]):
        free = [one for one in lesions if all(other != reader for other, _, _ in one)]
        best = max(free, key=lambda one: Box(*corners).iou(Box(*mean(one))), default=None)
        if best is None or Box(*corners).iou(Box(*mean(best))) <= OVERLAP:
            best = []
            lesions.append(best)
        best.append((reader, corners, row))
    return lesions


def mean(boxes: Sequence[Drawn]) -> tuple[float, ...]:
    """The mean of the boxes' corners."""
    return tuple(sum(values) / len(boxes) for values in zip(*(corners for _, corners, _ in boxes), strict=True))
