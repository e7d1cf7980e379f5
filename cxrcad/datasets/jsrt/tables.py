"""The text tables of a data set in JSRT's layout, row by row: nodules, normals, exact boxes, sources.

The tables as they are handed round have `?` for unknown values, stray tabs, either line ending and any letter case.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxrcad.core import Box, DataError
from cxrcad.imaging import read
from cxrcad.imaging.jsrt_img import SIDE

__all__ = [
    "BoxRow",
    "NoduleRow",
    "NormalRow",
    "SourceRow",
    "case_name",
    "read_boxes",
    "read_nodules",
    "read_normals",
    "read_sources",
]

TABLE_SIDE = SIDE
"""Pixels of the grid on which CLNDAT_EN.txt gives x and y: JSRT's own images."""

BOXES_SIDE = 1024
"""Pixels of the grid on which boxes.csv gives extents."""

SUBTLETIES = {"extremely subtle": 1, "very subtle": 2, "subtle": 3, "relatively obvious": 4, "obvious": 5}
"""JSRT's five degrees in words (Shiraishi et al., AJR 174:71-74, 2000)."""

UNKNOWN = ("", "?", "-", "unknown", "n/a")
SEXES = {"male": "Male", "m": "Male", "female": "Female", "f": "Female"}
IMAGE_ENDINGS = tuple(sorted(read.IMAGE_ENDINGS, key=lambda ending: ending != ".img"))
"""Endings under which an image may lie, JSRT's own first; of two files with one name the earlier ending counts."""


@dataclass(frozen=True)
class NoduleRow:
    """One nodule of CLNDAT_EN.txt; x and y on the 2048 grid. `row` counts from 1."""

    row: int
    name: str
    x: float
    y: float
    diameter_mm: float | None
    subtlety: int | None
    age_years: int | None
    sex: str | None
    malignancy: str | None
    location: str | None
    diagnosis: str | None


@dataclass(frozen=True)
class NormalRow:
    """One radiograph without a nodule, of CNNDAT_EN.TXT."""

    row: int
    name: str
    age_years: int | None
    sex: str | None


@dataclass(frozen=True)
class BoxRow:
    """One exact extent of boxes.csv, on the 1024 grid; `in_lung` is None where the table does not say."""

    row: int
    name: str
    box: Box
    in_lung: bool | None


@dataclass(frozen=True)
class SourceRow:
    """What sources.csv says of one case: its groups ("patient:2120", "series:1.3.6...") and its view."""

    name: str
    groups: tuple[str, ...]
    view: str | None


def case_name(file: str) -> str:
    """A case's name from a file's: without folder and image ending, in capitals ("jpcln001.img" -> "JPCLN001")."""
    bare = file.strip().replace("\\", "/").rsplit("/", 1)[-1]
    stem, dot, ending = bare.rpartition(".")
    return (stem if dot and "." + ending.lower() in (*IMAGE_ENDINGS, ".gif") else bare).upper()


def read_nodules(path: Path) -> tuple[NoduleRow, ...]:
    """The rows of CLNDAT_EN.txt; several may name one file, each nodule once. Raises DataError, which names the row.

    Columns: file, subtlety, size mm, age, sex, x, y, malignancy, location, diagnosis. A table of their titles alone is
    that of a data set without nodules; an empty file is an error.
    """
    rows = []
    titled = False
    for number, line in _lines(path):
        fields = _aligned(line)
        if fields is None:
            if number == 1 and not re.search(r"\d", line):
                titled = line.lower().startswith("file")
                continue  # a line of column titles
            raise DataError(
                f"{path}, row {number}: {line.strip()[:80]!r} is not file, subtlety, size mm, age, sex, x, y, "
                "malignancy, location, diagnosis separated by tabs, with numbers for x and y; correct the row"
            )
        rows.append(_nodule(fields, path, number))
    _check_once(path, [(row.row, (row.name, row.x, row.y)) for row in rows], "the nodule of {} at x {:g}, y {:g}")
    if not rows and not titled:
        raise DataError(f"{path}: no nodule in it; copy JSRT's CLNDAT_EN.txt again")
    return tuple(rows)


def read_normals(path: Path) -> tuple[NormalRow, ...]:
    """The rows of CNNDAT_EN.TXT: file, age, sex, separated by tabs or blanks. DataError for a name given twice."""
    rows: list[NormalRow] = []
    for number, line in _lines(path):
        fields = line.split()
        if number == 1 and not re.search(r"\d", line):
            continue  # a line of column titles
        name = case_name(fields[0])
        ages = [text for text in fields[1:] if re.match(r"\d", text)]
        sexes = [SEXES[text.lower()] for text in fields[1:] if text.lower() in SEXES]
        rows.append(NormalRow(number, name, _age(ages[0]) if ages else None, sexes[0] if sexes else None))
    _check_once(path, [(row.row, (row.name,)) for row in rows], "{}")
    return tuple(rows)


def read_boxes(path: Path) -> tuple[BoxRow, ...]:
    """The rows of boxes.csv (columns file, x0, y0, x1, y1 and, where known, outside_lung). Raises DataError."""
    rows = []
    for number, record in _records(path, ("file", "x0", "y0", "x1", "y1")):
        name = case_name(record["file"])
        corners = [value for key in ("x0", "y0", "x1", "y1") if (value := _number(record[key])) is not None]
        if len(corners) < 4:
            raise DataError(f"{path}, row {number}: {name} lacks a number for x0, y0, x1 or y1; correct the row")
        box = Box(*corners)
        if box.x1 <= box.x0 or box.y1 <= box.y0:
            raise DataError(f"{path}, row {number}: the box of {name} is empty; x1 must exceed x0 and y1 y0")
        outside = _number(record.get("outside_lung", ""))
        rows.append(BoxRow(number, name, box, None if outside is None else outside == 0))
    boxes = [(row.row, (row.name, row.box.x0, row.box.y0, row.box.x1, row.box.y1)) for row in rows]
    _check_once(path, boxes, "the box of {} from x {:g}, y {:g} to x {:g}, y {:g}")
    return tuple(rows)


def read_sources(path: Path) -> dict[str, SourceRow]:
    """What sources.csv says, by case: column file, and of patient, series_uid, view those that are there. DataError."""
    rows: dict[str, SourceRow] = {}
    for _, record in _records(path, ("file",)):
        name = case_name(record["file"])
        kinds = (("patient", "patient"), ("series", "series_uid"))
        groups = [f"{kind}:{record[key]}" for kind, key in kinds if not _unknown(record.get(key, ""))]
        view = record.get("view", "")
        before = rows[name].groups if name in rows else ()
        rows[name] = SourceRow(name, tuple(dict.fromkeys((*before, *groups))), None if _unknown(view) else view)
    return rows


def _check_once(path: Path, rows: Sequence[tuple[int, tuple[Any, ...]]], what: str) -> None:
    """Raise DataError where two rows say the same: a nodule could be hit once only, and missed ever after."""
    places: dict[tuple[Any, ...], int] = {}
    for number, values in rows:
        first = places.setdefault(values, number)
        if first != number:
            raise DataError(
                f"{path}, row {number}: {what.format(*values)} stands in row {first} already; remove one of them"
            )


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(_text(path).splitlines(), start=1):
        if line.strip():
            yield number, line


def _records(path: Path, needed: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    table = csv.reader(io.StringIO(_text(path)))
    try:
        rows = [(table.line_num, [field.strip() for field in fields]) for fields in table if any(fields)]
    except csv.Error as error:
        raise DataError(f"{path}, row {table.line_num}: not a CSV table ({error}); write it again") from None
    columns = [name.lower() for name in rows[0][1]] if rows else []
    missing = [name for name in needed if name not in columns]
    if missing:
        raise DataError(f"{path}: no column {', '.join(missing)}; its first row must name at least {', '.join(needed)}")
    for number, fields in rows[1:]:
        yield number, dict(zip(columns, fields + [""] * len(columns), strict=False))


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the file and its permissions") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _aligned(line: str) -> list[str] | None:
    """The ten fields of a CLNDAT row, or None. Empty ones are unknown values if x and y then fit, else stray."""
    literal = [field.strip().strip('"').strip() for field in line.split("\t")] if "\t" in line else line.split(None, 8)
    for fields in (literal, [field for field in literal if field]):
        in_place = len(fields) >= 7 and fields[0] and _number(fields[5]) is not None and _number(fields[6]) is not None
        if in_place and (_unknown(fields[4]) or fields[4].lower() in SEXES):
            return (fields + [""] * 10)[:10]
    return None


def _nodule(fields: list[str], path: Path, number: int) -> NoduleRow:
    name = case_name(fields[0])
    where = f"{path}, row {number}: {name}"
    x, y = _number(fields[5]), _number(fields[6])
    if x is None or y is None or not (0 <= x <= TABLE_SIDE and 0 <= y <= TABLE_SIDE):
        raise DataError(f"{where} has its nodule at x {fields[5]}, y {fields[6]}; both lie between 0 and {TABLE_SIDE}")
    size = _number(re.sub(r"\s*mm$", "", fields[2], flags=re.IGNORECASE))
    if not _unknown(fields[2]) and (size is None or size <= 0):
        raise DataError(f"{where} has the size {fields[2]!r}; write the diameter in mm, or ? where it is unknown")
    malignancy = fields[7].lower()
    return NoduleRow(
        row=number,
        name=name,
        x=x,
        y=y,
        diameter_mm=size,
        subtlety=_subtlety(fields[1], where),
        age_years=_age(fields[3]),
        sex=SEXES.get(fields[4].lower()),
        malignancy=None if _unknown(malignancy) else malignancy,
        location=None if _unknown(fields[8]) else fields[8],
        diagnosis=None if _unknown(fields[9]) else fields[9],
    )


def _subtlety(text: str, where: str) -> int | None:
    if _unknown(text):
        return None
    degree = SUBTLETIES.get(" ".join(text.lower().split()), _number(text))
    if degree not in (1, 2, 3, 4, 5):
        raise DataError(
            f"{where} has the subtlety {text!r}; write 1 (extremely subtle) to 5 (obvious), or ? if unknown"
        )
    return int(degree)


def _age(text: str) -> int | None:
    found = re.match(r"\d{1,3}", text)
    return int(found.group()) if found else None


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _unknown(text: str) -> bool:
    return text.strip().lower() in UNKNOWN
