"""Radiographs with outlined pleural effusions, and normals, as cases: a folder in the layout of the NIH radiographs.

The paper (section 4.3) segments effusions of NIH ChestX-ray8. `metadata.csv` names the images with role, patient and
spacing; `effusion.json` has the outlines (those of ChestX-Det, Liu, Lian, Yu, arXiv 2006.10550, or anybody's).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from cxrcad.core import Case, DataError
from cxrcad.datasets.dataset import NORMAL, Dataset, by_name, check_images, lung_masks, spacing_mm
from cxrcad.datasets.fields import Entry, Table, check_files_once, named, parse_json, read_table, read_text, shown
from cxrcad.imaging.read import image_size

__all__ = ["EFFUSION", "HOW_TO_GET", "METADATA", "SEXES", "matches", "read", "read_metadata"]

HOW_TO_GET = """\
no data folder is named. --lesion effusion takes a folder with metadata.csv, effusion.json and radiographs
of NIH ChestX-ray14 (nihcc.app.box.com/v/ChestXray-NIHCC): --data FOLDER. docs/DATA.md shows the layout."""

EFFUSION = "effusion"
METADATA = "metadata.csv"
OUTLINES = "effusion.json"
SEXES = {"m": "Male", "male": "Male", "f": "Female", "female": "Female"}
COLUMNS = ("file", "role", "patient")

OUTLINE_SIDE = 1024
"""Pixels of the grid on which effusion.json gives corners, whatever the image's size: that of NIH's images."""

SLACK = 2.0
"""Pixels of that grid by which a corner may lie over the edge."""

FEWEST_CORNERS = 3

Polygon = tuple[tuple[float, float], ...]


def matches(folder: Path) -> bool:
    """Whether the folder has outlines of effusions."""
    return (folder / OUTLINES).is_file()


def read(folder: Path) -> Dataset:
    """The cases of `folder`: radiographs of role effusion with their outlines, those of role normal without.

    Only headers of images are read. A case's group is its patient. Raises DataError for what is missing or contradicts
    itself (a missing lung mask is a note), ReadError for an image whose header is damaged.
    """
    table, outlines = folder / METADATA, folder / OUTLINES
    content = read_metadata(table, COLUMNS)
    rows = {row.inside("file"): row for row in content.rows if row.fields["role"] in (EFFUSION, NORMAL)}
    polygons = _read_outlines(outlines)
    _check_rows(rows, polygons, folder)
    cases = by_name(table, [_case(row, polygons, folder) for row in rows.values()])
    return Dataset(folder, "paper", cases, tuple(_notes(cases)), EFFUSION)


def read_metadata(table: Path, columns: Sequence[str]) -> Table:
    """The table of a folder in the NIH layout. Raises DataError where it is damaged or lacks one of `columns`."""
    content = read_table(table, columns, DataError)
    check_files_once(content.rows)
    return content


def _read_outlines(path: Path) -> dict[str, tuple[Polygon, ...]]:
    """The outlines by file name, corners (x, y) on the 1024 grid."""
    document = parse_json(path, read_text(path, DataError), DataError)
    if not isinstance(document, dict):
        raise DataError(
            f"{path}: it holds {shown(document)}, where an object of lists by file name is needed; write it anew"
        )
    return {name: tuple(_outlines_of(path, name, entries)) for name, entries in document.items()}


def _outlines_of(path: Path, name: str, entries: Any) -> Iterable[Polygon]:
    if not isinstance(entries, list) or not entries:
        _refuse(path, name, f"it is {shown(entries)}, where a list of outlines is needed")
    places: dict[Polygon, int] = {}
    for number, entry in enumerate(entries, start=1):
        corners = entry.get("polygon") if isinstance(entry, dict) else None
        if not isinstance(corners, list):
            _refuse(path, name, f"outline {number} has no polygon, a list of corners [x, y]")
        if len(corners) < FEWEST_CORNERS:
            _refuse(path, name, f"outline {number} has {len(corners)} corners, where {FEWEST_CORNERS} are needed")
        polygon = tuple(_corner(path, f"{name}, outline {number}", corner) for corner in corners)
        first = places.setdefault(polygon, number)
        if first != number:
            _refuse(path, name, f"outline {number} is outline {first} again, where each is needed once")
        yield polygon


def _corner(path: Path, place: str, corner: Any) -> tuple[float, float]:
    numbers = isinstance(corner, list) and all(type(value) in (int, float) for value in corner)
    if not numbers or len(corner) != 2 or not all(-SLACK <= value <= OUTLINE_SIDE + SLACK for value in corner):
        _refuse(path, place, f"its corner {shown(corner)} is not [x, y] in pixels of 0 to {OUTLINE_SIDE}")
    x, y = corner
    return float(x), float(y)


def _refuse(path: Path, place: str, fault: str) -> NoReturn:
    raise DataError(f"{path}, {place}: {fault}; correct the entry")


def _check_rows(rows: Mapping[str, Entry], polygons: Mapping[str, Any], folder: Path) -> None:
    """Raise DataError unless each effusion has an outline, each outline an effusion, and each file an image."""
    effusions = {file for file, row in rows.items() if row.fields["role"] == EFFUSION}
    if not effusions:
        raise DataError(f"{folder / METADATA}: no radiograph of role {EFFUSION} in it; name a folder that has some")
    bare, strange = sorted(effusions - set(polygons)), sorted(set(polygons) - effusions)
    if bare:
        raise DataError(
            f"{folder / OUTLINES}: no outline of {named(bare)}, of role {EFFUSION} in {METADATA}; draw them or remove "
            "the rows"
        )
    if strange:
        raise DataError(
            f"{folder / OUTLINES}: {named(strange)} are not of role {EFFUSION} in {METADATA}; correct one of the two"
        )
    check_images(folder, [folder / file for file in rows])


def _case(row: Entry, polygons: Mapping[str, Sequence[Polygon]], folder: Path) -> Case:
    file = row.text("file")
    rows, cols = image_size(folder / file)
    scale = cols / OUTLINE_SIDE, rows / OUTLINE_SIDE
    age = re.match(r"\d{1,3}", row.fields.get("age", ""))
    return Case(
        name=Path(file).stem,
        image=folder / file,
        rows=rows,
        cols=cols,
        spacing_mm=spacing_mm(row),
        lung_masks=lung_masks(row, folder),
        age_years=int(age.group()) if age else None,
        sex=SEXES.get(row.fields.get("sex", "").lower()),
        view=row.fields.get("view") or None,
        groups=(f"patient:{row.text('patient')}",),
        polygons=tuple(tuple((x * scale[0], y * scale[1]) for x, y in polygon) for polygon in polygons.get(file, ())),
    )


def _notes(cases: Sequence[Case]) -> list[str]:
    normals = [case for case in cases if not case.positive]
    without = [case.name for case in normals if not case.lung_masks]
    notes = [] if normals else [f"no radiograph of role {NORMAL}: no specificity, and nothing teaches the lung task"]
    if without:
        notes.append(f"{len(without)} of {len(normals)} normals have no lung mask: {named(without)}")
    return notes
