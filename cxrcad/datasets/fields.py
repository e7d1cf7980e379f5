"""Files that others wrote, JSON or CSV, read field by field: a value that is off is refused in one sentence.

The sentence names the file, the place as a person counts ("entry 3", "row 3 (line 4)"), the value found, what is
allowed, and the remedy.
"""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from cxrcad.core import Box, Case, CxrcadError, Nodule
from cxrcad.documents import ABSENT, INSIDE, is_inside, json_value, shown

__all__ = [
    "FINITE",
    "PROBABILITY",
    "SLACK_PX",
    "SPACING_MM",
    "Entry",
    "Range",
    "Table",
    "box_diameter_mm",
    "box_nodule",
    "check_files_once",
    "is_json",
    "listed",
    "named",
    "parse_json",
    "parse_table",
    "read_table",
    "read_text",
    "shown",
    "with_nodules",
]

SLACK_PX = 1.0
"""Pixels by which a box may reach over its image's edge: what rounding and inclusive corners explain, no more."""

LARGEST_SIDE_PX = 100_000


@dataclass(frozen=True)
class Range:
    """The numbers that a field may hold, `low` and `high` included; `words` say it in a sentence."""

    words: str
    low: float = -math.inf
    high: float = math.inf


SPACING_MM = Range("a pixel's row and column distance in mm (0.001 to 100)", 0.001, 100)
"""Beyond it is a slip of the unit (cm, micrometres), no radiograph."""

FINITE = Range("a finite number")
PROBABILITY = Range("a number from 0 to 1", 0, 1)


@dataclass(frozen=True)
class Entry:
    """One JSON object or CSV row of a file; every refusal is of the kind `error`.

    `place` says where it stands ("images entry 2, nodules entry 1"), empty for the whole file. The fields of a CSV row
    (`row`) are texts, from which numbers are read. `remedy` is what to do where a refusal names none.
    """

    path: Path
    error: type[CxrcadError]
    fields: Mapping[str, Any]
    place: str = ""
    row: bool = False
    remedy: str = ""

    def refuse(self, fault: str, remedy: str = "") -> NoReturn:
        """Raise `error` with the one sentence: file, place, fault, remedy."""
        where = f"{self.path}, {self.place}" if self.place else f"{self.path}"
        usual = self.remedy or ("correct the row" if self.row else "correct the entry")
        raise self.error(f"{where}: {fault}; {remedy or usual}")

    def refuse_field(self, key: str, allowed: str) -> NoReturn:
        """Raise `error` for the field's value, where `allowed` is needed."""
        self.refuse(f"{key} is {shown(self.fields.get(key, ABSENT))}, where {allowed} is needed")

    def has(self, key: str) -> bool:
        """Whether the field is there and not null."""
        return self.fields.get(key) is not None

    def only(self, keys: Sequence[str]) -> None:
        """Refuse a field of another name: a misspelt one would be lost without a word."""
        unknown = [key for key in self.fields if key not in keys]
        if unknown:
            self.refuse(f"it has the field {shown(unknown[0])}, where {', '.join(keys)} are allowed")

    def number(self, key: str, allowed: Range) -> float:
        """The field's number; refuses any other value."""
        value = self._as_number(self.fields.get(key))
        if value is None or not allowed.low <= value <= allowed.high:
            self.refuse_field(key, allowed.words)
        return value

    def number_or_none(self, key: str, allowed: Range) -> float | None:
        """The field's number, None where it is null or not there."""
        return self.number(key, allowed) if self.has(key) else None

    def numbers(self, key: str, words: str, count: int, allowed: Range = FINITE) -> tuple[float, ...]:
        """The field's list of `count` numbers, which `words` describe."""
        values = self.fields.get(key)
        found = [self._as_number(value) for value in values] if isinstance(values, list) else []
        numbers = tuple(value for value in found if value is not None and allowed.low <= value <= allowed.high)
        if not isinstance(values, list) or len(numbers) != len(values) or len(numbers) != count:
            self.refuse_field(key, f"{words}, {count} numbers,")
        return numbers

    def whole(self, key: str, words: str, low: int, high: int) -> int:
        """The field's whole number from `low` to `high`, which `words` describe."""
        value = self._as_number(self.fields.get(key))
        if value is None or not low <= value <= high or value != int(value):
            self.refuse_field(key, f"{words}, a whole number from {low} to {high},")
        return int(value)

    def side_px(self, key: str) -> int:
        """The field's number of rows or columns."""
        return self.whole(key, "the image's side in pixels", 1, LARGEST_SIDE_PX)

    def spacing_mm(self, key: str) -> tuple[float, float] | None:
        """The field's (row, column) distance of pixels in mm, None where it is null or not there."""
        if not self.has(key):
            return None
        row_mm, col_mm = self.numbers(key, SPACING_MM.words, 2, SPACING_MM)
        return row_mm, col_mm

    def text(self, key: str) -> str:
        """The field's text, which must not be empty."""
        value = self.fields.get(key)
        if not isinstance(value, str) or not value.strip():
            self.refuse_field(key, "a text")
        return value

    def text_or_none(self, key: str) -> str | None:
        """The field's text, None where it is null or not there."""
        return self.text(key) if self.has(key) else None

    def inside(self, key: str) -> str:
        """The field's path of a file, which must not lead out of the folder that it is joined with."""
        value = self.text(key)
        if not is_inside(value):
            self.refuse_field(key, INSIDE)
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """The field's list of texts."""
        values = self.fields.get(key)
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            self.refuse_field(key, "a list of texts")
        return tuple(values)

    def identifier(self, key: str) -> int | str:
        """The field's id: a whole number or a text."""
        value = self.fields.get(key)
        if isinstance(value, bool) or not isinstance(value, (int, str)) or value == "":
            self.refuse_field(key, "a whole number or a text")
        return value

    def part(self, key: str) -> Entry:
        """The field's JSON object."""
        if not isinstance(self.fields.get(key), dict):
            self.refuse_field(key, "a JSON object")
        place = f"{self.place}, {key}" if self.place else key
        return Entry(self.path, self.error, self.fields[key], place, remedy=self.remedy)

    def entries(self, key: str) -> tuple[Entry, ...]:
        """The JSON objects in the field's list, each with its place."""
        values = self.fields.get(key)
        if not isinstance(values, list):
            self.refuse_field(key, "a list of JSON objects")
        entries = listed(self.path, self.error, values, f"{self.place}, {key}" if self.place else key)
        return tuple(replace(entry, remedy=self.remedy) for entry in entries)

    def box(self, corners: Sequence[float], rows: int, cols: int) -> Box:
        """The box x0, y0, x1, y1 (pixels) in an image of rows x cols; refuses an empty, swapped or outlying one."""
        x0, y0, x1, y1 = corners
        runs = f"its box runs from x {x0:g} to {x1:g} and y {y0:g} to {y1:g}"
        if not (x0 < x1 and y0 < y1):
            self.refuse(f"{runs}, where each must rise (x1 above x0, y1 above y0, width and height above 0)")
        if min(x0, y0) < -SLACK_PX or x1 > cols + SLACK_PX or y1 > rows + SLACK_PX:
            self.refuse(
                f"{runs}, outside its image of {cols} x {rows} pixels (columns x rows) by more than {SLACK_PX:g} pixel",
                "give boxes in the pixels of the image that the truth describes",
            )
        return Box(*(float(value) for value in corners))

    def _as_number(self, value: Any) -> float | None:
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            return None
        if isinstance(value, str) and (not self.row or "_" in value):
            return None
        try:
            number = float(value)
        except (ValueError, OverflowError):
            return None
        return number if math.isfinite(number) else None


@dataclass(frozen=True)
class Table:
    """A CSV table: the names in its first row in small letters, and its data rows."""

    columns: tuple[str, ...]
    rows: tuple[Entry, ...]


def read_text(path: Path, error: type[CxrcadError]) -> str:
    """The text of a UTF-8 file (a byte order mark is dropped); raises `error` where there is none."""
    if os.path.isdir(path):
        raise error(f"{path}: a folder, not a file; name the file in it")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise error(f"{path}: there is no such file; check the path") from None
    except UnicodeDecodeError as fault:
        raise error(f"{path}: byte {fault.start + 1} is no UTF-8 text; save it as JSON or CSV in UTF-8") from None
    except (OSError, ValueError) as fault:
        reason = getattr(fault, "strerror", None) or str(fault)
        raise error(f"{path}: cannot be read ({reason}); check the path and its permissions") from None
    if not text.strip():
        raise error(f"{path}: empty, neither JSON nor CSV in it; write the file again")
    return text


def is_json(text: str) -> bool:
    """Whether the text begins as a JSON object or list does."""
    return text.lstrip()[:1] in ("{", "[")


def parse_json(path: Path, text: str, error: type[CxrcadError]) -> Any:
    """The value that the JSON text holds; raises `error` where it is damaged. NaN is left for its field to refuse."""
    try:
        return json_value(text, endless=True)
    except ValueError as fault:
        raise error(f"{path}: not JSON ({fault}); write the file again") from None


def parse_table(path: Path, text: str, error: type[CxrcadError]) -> Table:
    """The CSV table, fields separated by commas; raises `error` for a column named twice or a row of other length.

    Columns without a name (the index that pandas writes) are dropped; a row may lack those at its end (NIH's lists).
    """
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        lines = [(reader.line_num, fields) for fields in reader if any(field.strip() for field in fields)]
    except csv.Error as fault:
        raise error(f"{path}, line {reader.line_num}: not CSV ({fault}); write the table again") from None
    columns = [name.strip().lower() for name in lines[0][1]] if lines else []
    kept = [(index, name) for index, name in enumerate(columns) if name and not name.startswith("unnamed:")]
    twice = [name for _, name in kept if columns.count(name) > 1]
    if twice:
        raise error(f"{path}: two columns are named {shown(twice[0])}, where each name is needed once; rename one")
    lengths = {len(columns), max((index + 1 for index, name in enumerate(columns) if name), default=0)}
    rows = []
    for number, (line, fields) in enumerate(lines[1:], start=1):
        place = f"row {number} (line {line})"
        if len(fields) not in lengths:
            raise error(
                f"{path}, {place}: {len(fields)} fields, where the first row names {len(columns)} columns, separated "
                "by commas; correct the row"
            )
        rows.append(Entry(path, error, {name: fields[index].strip() for index, name in kept}, place, row=True))
    return Table(tuple(name for _, name in kept), tuple(rows))


def read_table(path: Path, columns: Sequence[str], error: type[CxrcadError]) -> Table:
    """The CSV table in the file; raises `error` where it is damaged or lacks one of `columns`."""
    table = parse_table(path, read_text(path, error), error)
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise error(f"{path}: no column {', '.join(missing)}; its first row must name {', '.join(columns)}")
    return table


def check_files_once(rows: Iterable[Entry]) -> None:
    """Refuse a row whose file stands in an earlier one: an image would count twice."""
    places: dict[Path, str] = {}
    for row in rows:
        first = places.setdefault(Path(row.inside("file")), row.place)
        if first != row.place:
            row.refuse(f"{row.fields['file']} stands in {first} already, where one row is needed", "remove one of them")


def box_nodule(entry: Entry, corners: Sequence[float], case: Case, label: str | None = None) -> Nodule:
    """A boxed nodule (x0, y0, x1, y1 in pixels of the case's image); refuses an empty or outlying box."""
    box = entry.box(corners, case.rows, case.cols)
    return Nodule(*box.center, box_diameter_mm(box, case), box_px=box, label=label, boxed=True)


def box_diameter_mm(box: Box, case: Case) -> float | None:
    """The mean of the box's sides; None where the case's spacing is unknown."""
    if case.spacing_mm is None:
        return None
    row_mm, col_mm = case.spacing_mm
    return ((box.x1 - box.x0) * col_mm + (box.y1 - box.y0) * row_mm) / 2


def with_nodules(case: Case, nodules: Iterable[tuple[Entry, Nodule]]) -> Case:
    """The case with its nodules; refuses one that is given twice (it could be hit once only, and missed ever after)."""
    places: dict[tuple[float, float, Box | None], str] = {}
    kept: list[Nodule] = []
    for entry, nodule in nodules:
        key = (nodule.x_px, nodule.y_px, nodule.box_px)
        if key in places:
            entry.refuse(
                f"the nodule of {shown(case.name)} at x {nodule.x_px:g}, y {nodule.y_px:g} stands in {places[key]} "
                "already, where each is needed once",
                "remove one of them",
            )
        places[key] = entry.place
        kept.append(nodule)
    return replace(case, nodules=tuple(kept))


def listed(path: Path, error: type[CxrcadError], values: Iterable[Any], title: str = "") -> tuple[Entry, ...]:
    """The JSON objects of a list, each with its place ("entry 3", or "images entry 3" with a title)."""
    entries = []
    for number, value in enumerate(values, start=1):
        place = f"{title} entry {number}".strip()
        if not isinstance(value, dict):
            Entry(path, error, {}, place).refuse(f"it is {shown(value)}, where a JSON object is needed")
        entries.append(Entry(path, error, value, place))
    return tuple(entries)


def named(names: Sequence[str], most: int = 3) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
