"""NIH ChestX-ray14 with its boxes: BBox_List_2017.csv and Data_Entry_2017.csv (or _v2020), and images below them.

Boxed nodules and masses are the lesions. The others are negatives where NIH's text mining names neither nodule nor mass
(Wang et al., ChestX-ray8, CVPR 2017); where it names one that nobody boxed, the image is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cxrcad.core import Case, DataError
from cxrcad.datasets.boxed import Images, boxed_dataset, corners_of, lesion, rows_by, scaled_lesion, tables_with
from cxrcad.datasets.dataset import NORMAL, OTHER_FINDING, Dataset
from cxrcad.datasets.fields import SPACING_MM, Entry, with_nodules
from cxrcad.datasets.nih import SEXES

__all__ = ["matches", "read"]

FILE, LABEL, LABELS, PATIENT = "image index", "finding label", "finding labels", "patient id"
BOX = ("bbox [x", "y", "w", "h]")
"""How the first row, `Bbox [x,y,w,h]`, falls apart at its commas; so do the next two, `OriginalImage[Width,Height]`."""
SIDES = ("height]", "originalimage[width")
SPACINGS = ("y]", "originalimagepixelspacing[x")
NO_FINDING = "No Finding"
OLDEST_YEARS = 120  # Data_Entry_2017.csv has ages up to 414


def matches(folder: Path) -> bool:
    """Whether the folder has NIH's list of boxes."""
    return bool(tables_with(folder, (FILE, LABEL)))


def read(folder: Path) -> Dataset:
    """The images that are there: boxed nodules and masses, and negatives. Only headers of images are read.

    Raises DataError for what is missing or contradicts itself, ReadError for an image whose header is damaged.
    """
    boxes = rows_by(FILE, tables_with(folder, (FILE, LABEL)), (FILE, LABEL, *BOX))
    tables = tables_with(folder, (FILE, LABELS))
    if not tables:
        raise DataError(f"{folder}: no table with Image Index and Finding Labels; copy Data_Entry_2017.csv there")
    people = {file: rows[0] for file, rows in rows_by(FILE, tables, (FILE, LABELS, PATIENT)).items()}
    lesions = {file: kept for file, rows in boxes.items() if (kept := [r for r in rows if lesion(r.text(LABEL))])}
    for file in sorted(lesions.keys() - people.keys()):
        lesions[file][0].refuse(f"{file} has no row in {tables[0].name}", "copy the whole table")
    images = Images.of(folder, people)
    images.check(list(lesions))
    weak = {file for file, row in people.items() if any(map(lesion, row.text(LABELS).split("|")))} - lesions.keys()
    there = {file: row for file, row in people.items() if file in images}
    cases = [_case(file, row, lesions.get(file, ()), images) for file, row in there.items() if file not in weak]
    notes = {
        "called nodule or mass and not boxed, left out": sorted(weak & there.keys()),
        f"in {tables[0].name} and not in the folder, left out": sorted(people.keys() - there.keys()),
    }
    return boxed_dataset(folder, tables[0], cases, notes)


def _case(file: str, person: Entry, rows: Sequence[Entry], images: Images) -> Case:
    case, age = images.case(file, [person], PATIENT), person.fields.get("patient age", "").rstrip("Y")
    sex = person.fields.get("patient gender") or person.fields.get("patient sex", "")
    case = replace(
        case,
        spacing_mm=_spacing_mm(person, case),
        age_years=int(age) if age.isdecimal() and int(age) <= OLDEST_YEARS else None,
        sex=SEXES.get(sex.lower()),
        view=person.fields.get("view position") or None,
        role=None if rows else NORMAL if person.text(LABELS) == NO_FINDING else OTHER_FINDING,
    )
    return with_nodules(case, [scaled_lesion(row, corners_of(row, BOX), case, row.text(LABEL).lower()) for row in rows])


def _spacing_mm(person: Entry, case: Case) -> tuple[float, float] | None:
    """The file's own: NIH states the original's, which it squeezed to a square. None where it states none."""
    if not all(person.fields.get(key) for key in (*SIDES, *SPACINGS)):
        return None
    height, width = map(person.side_px, SIDES)
    row_mm, col_mm = (person.number(key, SPACING_MM) for key in SPACINGS)
    return row_mm * height / case.rows, col_mm * width / case.cols
