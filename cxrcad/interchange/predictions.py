"""Anybody's boxes as findings of a truth's cases: our boxes.json, COCO, NODE21's JSON and CSV tables.

The format is recognised by content. Boxes are in pixels of the image that the truth describes, in NODE21's JSON too
(its algorithms write mm where their image has a spacing; NODE21's own images and tables have none).
"""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from cxrcad.core import Box, Case, EvaluationError, Finding, UsageError
from cxrcad.datasets.coco_json import KEYS, categories_of, counting
from cxrcad.datasets.fields import (
    FINITE,
    PROBABILITY,
    SLACK_PX,
    Entry,
    Range,
    Table,
    is_json,
    listed,
    named,
    parse_json,
    parse_table,
    read_text,
    shown,
)
from cxrcad.imaging.volume import image_sha256
from cxrcad.interchange.truth import TruthSet

__all__ = ["MISSING", "read_predictions"]

log = logging.getLogger(__name__)

MISSING = ("refuse", "empty")
"""What an image of the truth is that the predictions do not hold: an error, or one in which nothing was found."""

SCHEMA = "cxrcad/boxes/1"
BOXES_TYPE = "Multiple 2D bounding boxes"
CORNERS = ("x0", "y0", "x1", "y1")

NAME_COLUMNS = ("img_name", "name", "image_id")
SIDES = ("x", "y", "width", "height")
EXTENTS = ("x_min", "y_min", "x_max", "y_max")
SCORE_COLUMNS = {"probability": PROBABILITY, "score": FINITE}

ENDING = re.compile(r"(\.nii)?\.[A-Za-z]\w{0,4}$")
"""A file's ending begins with a letter: the last part of a UID, which is a number, is none."""

DIGEST = re.compile("[0-9a-f]{64}")

WAYS = f"give JSON with the schema {SCHEMA}, COCO results, or NODE21's JSON or CSV"


def read_predictions(path: Path, truth: TruthSet, *, missing: str = "refuse") -> dict[str, tuple[Finding, ...]]:
    """The findings of every case of the truth, by its name, in the file's order; label "nodule", mm fields None.

    Recognised by content:

    - our boxes.json, schema cxrcad/boxes/1; a case among its failures, or skipped, is an error, and so is, with a data
      folder as the truth, an image of another SHA-256 than the folder's;
    - COCO results: {image_id, bbox [x, y, width, height], score}; image_id is an id of COCO truth, with truth of
      another format a name. A box of a category that does not count as a nodule is no finding;
    - a COCO document {images, annotations, categories} whose annotations have a score: its images join by file_name,
      and one without an annotation is one in which nothing was found;
    - NODE21: {"type": "Multiple 2D bounding boxes", "boxes": [...]}, where the z of the corners is the image's number
      in the stack that grand-challenge makes: z 0 is the first name of the truth in sorted order, `truth.cases[0]`;
    - grand-challenge's predictions.json, a list with one such object an image and its name;
    - CSV: img_name, name or image_id; x, y (upper left corner), width, height or x_min, y_min, x_max, y_max;
      probability or score.

    Names join by path, else by file name, else by file name without ending; a SHA-256, as results without identifiers
    have it, by the content of the truth's images where it is a data folder. A format that defines a probability allows
    scores from 0 to 1, the others (COCO, a CSV column score) any finite number. `area_px` is the box's where the file
    has no area, `center_px` its middle where the file has no centre.

    Args:
        path: The file.
        truth: What `read_truth` returned.
        missing: "refuse" or "empty": what becomes of images that the file does not hold. Formats that list only boxes
            cannot say that an image was looked at and nothing found.

    Raises:
        EvaluationError: A missing or damaged file, a value that is off (with its place), or images that do not join.
        UsageError: `missing` is neither word.
    """
    if missing not in MISSING:
        raise UsageError(f"missing is {missing!r}; choose from {', '.join(MISSING)}")
    collected = _Collected(path, truth)
    text = read_text(path, EvaluationError)
    if is_json(text):
        _read_json(path, parse_json(path, text, EvaluationError), collected)
    else:
        _read_table(path, parse_table(path, text, EvaluationError), collected)
    return collected.finished(missing)


class _Collected:
    """What a file says of each case, gathered entry by entry, and under which name it called the case."""

    def __init__(self, path: Path, truth: TruthSet) -> None:
        self.path = path
        self.truth = truth
        self.cases = {case.name: case for case in truth.cases}
        self.ids: dict[str, int | str] = {str(key): key for key in truth.ids}
        self.findings: dict[str, list[Finding]] = {}
        self.called: dict[str, tuple[str, str]] = {}
        self.places: dict[tuple[str, Box, float], str] = {}
        self.names: list[dict[str, set[str]]] = []
        for part in JOINS:
            known: dict[str, set[str]] = {}
            for case in truth.cases:
                for text in (case.name, str(case.image)):
                    known.setdefault(part(text), set()).add(case.name)
            self.names.append(known)

    @functools.cached_property
    def contents(self) -> dict[str, set[str]]:
        """The cases by the SHA-256 of their image's content."""
        known: dict[str, set[str]] = {}
        for case in self.cases.values():
            known.setdefault(image_sha256(case.image), set()).add(case.name)
        return known

    def find(self, name: str, entry: Entry) -> Case | None:
        """The case that a name or path means, None where there is none; refuses a name that may mean two."""
        joins = list(zip(JOINS, self.names, strict=True))
        if self.truth.with_images and DIGEST.fullmatch(name):
            joins.append((str, self.contents))
        for part, known in joins:
            found = sorted(known.get(part(name), ()))
            if len(found) > 1:
                entry.refuse(
                    f"{shown(name)} may be any of {named(found)} of the truth, where it must name one image",
                    "write the names as the truth has them",
                )
            if found:
                return self.cases[found[0]]
        return None

    def case_of_name(self, name: str, entry: Entry) -> Case:
        """The case of this name, from now on held by the file under this name only."""
        case = self.find(name, entry)
        if case is None:
            entry.refuse(
                f"{shown(name)} is no image of the truth, which has {len(self.cases)}: {named(list(self.cases))}",
                "score it with the truth that has it, or remove it",
            )
        if self.called.setdefault(case.name, (name, entry.place))[0] != name:
            self._refuse_both(name, case, entry, "give the predictions of one image one name")
        return self.hold(case)

    def case_of_id(self, key: int | str, entry: Entry) -> Case:
        """The case of a COCO image id, or of a name where the truth has no ids."""
        if self.truth.ids:
            if key not in self.truth.ids:
                entry.refuse(
                    f"image_id is {shown(key)}, where one of the {len(self.truth.ids)} ids of the COCO truth is needed",
                    "score it with the truth that has it, or remove it",
                )
            return self.hold(self.cases[self.truth.ids[key]])
        if not isinstance(key, str):
            entry.refuse(
                f"image_id is {key}, where the truth, which is no COCO file, knows its images by name only",
                "write the image's name there, or score against COCO truth",
            )
        return self.case_of_name(key, entry)

    def case_once(self, name: str, entry: Entry) -> Case:
        """The case of this name, in a format that has one entry an image; refuses a second one."""
        case = self.find(name, entry)
        if case is not None and case.name in self.called:
            self._refuse_both(name, case, entry, "remove one of them")
        return self.case_of_name(name, entry)

    def _refuse_both(self, name: str, case: Case, entry: Entry, remedy: str) -> NoReturn:
        before, place = self.called[case.name]
        both = f"{shown(name)} and {shown(before)} ({place}) both join the image {shown(case.name)}"
        entry.refuse(f"{both} of the truth, where one is allowed", remedy)

    def hold(self, case: Case) -> Case:
        """The case, which the file now holds, be it with no finding."""
        self.findings.setdefault(case.name, [])
        return case

    def add(self, entry: Entry, case: Case, score: float, box: Box, **more: Any) -> None:
        """A finding; `more` has center_px (x, y) and area_px where the file has them. Refuses one given before."""
        key = (case.name, box, score)
        if key in self.places:
            entry.refuse(
                f"the same box and score {score:g} on {shown(case.name)} stand in {self.places[key]} already",
                "remove one of them",
            )
        self.places[key] = entry.place
        known = {"center_px": box.center, "area_px": box.area, **more}
        self.findings[case.name].append(Finding("nodule", score, box, **known))

    def finished(self, missing: str) -> dict[str, tuple[Finding, ...]]:
        """The findings of every case; what the file does not hold is refused or empty."""
        absent = [name for name in self.cases if name not in self.findings]
        if absent and missing == "refuse":
            raise EvaluationError(
                f"{self.path}: it holds no prediction for {len(absent)} of the {len(self.cases)} images of the truth: "
                f"{named(absent)}; predict them too, or --missing empty counts them as images in which nothing was "
                "found"
            )
        if absent:
            log.info("%s: nothing found in %d images that it does not hold: %s", self.path, len(absent), named(absent))
        return {name: tuple(self.findings.get(name, ())) for name in self.cases}


def _file_name(name: str) -> str:
    return name.replace("\\", "/").rsplit("/", 1)[-1]


def _stem(name: str) -> str:
    bare = _file_name(name)
    return ENDING.sub("", bare) or bare


JOINS: tuple[Callable[[str], str], ...] = (str, _file_name, _stem)
"""What of a name must agree, the strictest first."""


def _read_json(path: Path, document: Any, collected: _Collected) -> None:
    if isinstance(document, list):
        entries = listed(path, EvaluationError, document)
        if any("inputs" in entry.fields or "outputs" in entry.fields for entry in entries):
            _challenge(entries, collected)
        else:
            _coco(entries, collected)
        return
    whole = Entry(path, EvaluationError, document)
    if whole.fields.get("schema") == SCHEMA:
        _boxes(whole, collected)
    elif "schema" in whole.fields:
        whole.refuse(f"its schema is {shown(whole.fields['schema'])}, where {SCHEMA} is needed", WAYS)
    elif all(key in whole.fields for key in KEYS):
        _coco_document(whole, collected)
    elif "boxes" in whole.fields:
        _stack(whole, collected)
    else:
        whole.refuse(f"its fields are {shown(list(whole.fields))}, which are no predictions'", WAYS)


def _boxes(whole: Entry, collected: _Collected) -> None:
    """Our boxes.json."""
    for failure in whole.entries("failures") if whole.has("failures") else ():
        case = collected.find(failure.text("path"), failure)
        if case is not None:
            failure.refuse(
                f"the image {shown(case.name)} of the truth failed ({shown(failure.fields.get('error'))}), where a "
                "result is needed",
                "detect in it again, or score with a truth that leaves it out",
            )
    for image in whole.entries("images"):
        case = collected.case_once(image.text("path"), image)
        _check_size(image, case, "rows", "cols")
        known = image.text_or_none("sha256")
        if collected.truth.with_images and known is not None and known != (now := image_sha256(case.image)):
            image.refuse(
                f"its boxes were found in an image of SHA-256 {known[:12]}..., and {case.image} has {now[:12]}...",
                "detect in it again, or score with the data folder that has that image",
            )
        spacing_mm = image.spacing_mm("spacing_mm")
        for entry in image.entries("findings"):
            _boxes_finding(entry, case, spacing_mm, collected)
    files = {_file_name(text): case for case in collected.cases.values() for text in (case.name, str(case.image))}
    for skipped in whole.entries("skipped") if whole.has("skipped") else ():
        lacking = files.get(_file_name(skipped.text("path")))  # no stem: a table may lie beside an image of its name
        if lacking is not None and lacking.name not in collected.findings:
            skipped.refuse(
                f"the image {shown(lacking.name)} of the truth was skipped ({shown(skipped.fields.get('reason'))}), "
                "where a result is needed",
                "detect in another file of it, or score with a truth that leaves it out",
            )


def _check_size(image: Entry, case: Case, height: str, width: str) -> None:
    """Refuse an image that has other sides, in the fields of these names, than its case."""
    rows, cols = image.side_px(height), image.side_px(width)
    if (rows, cols) != (case.rows, case.cols):
        known = f"the {case.rows} rows and {case.cols} columns that the truth has for {shown(case.name)}"
        image.refuse(f"its {rows} rows and {cols} columns are not {known}", "give both the pixels of the same file")


def _boxes_finding(entry: Entry, case: Case, spacing_mm: tuple[float, float] | None, collected: _Collected) -> None:
    part = entry.part("box_px")
    box = part.box([part.number(key, FINITE) for key in CORNERS], case.rows, case.cols)
    more: dict[str, Any] = {}
    if entry.has("center_px"):
        x, y = entry.numbers("center_px", "[x, y]", 2)
        if not (-SLACK_PX <= x <= case.cols + SLACK_PX and -SLACK_PX <= y <= case.rows + SLACK_PX):
            entry.refuse_field("center_px", f"a point in the image of {case.cols} x {case.rows} pixels")
        more["center_px"] = (x, y)
    area_mm2 = entry.number_or_none("area_mm2", Range("an area in mm2 from 0 to 1000000", 0, 1_000_000))
    if area_mm2 is not None and spacing_mm is not None:
        more["area_px"] = area_mm2 / (spacing_mm[0] * spacing_mm[1])
    collected.add(entry, case, entry.number("score", PROBABILITY), box, **more)


def _coco_document(whole: Entry, collected: _Collected) -> None:
    """COCO's images, annotations and categories, each annotation with a score; the numbers are the document's own."""
    cases: dict[int | str, Case] = {}
    for image in whole.entries("images"):
        case = collected.case_once(image.text("file_name"), image)
        _check_size(image, case, "height", "width")
        cases[image.identifier("id")] = collected.hold(case)

    def case_of(key: int | str, entry: Entry) -> Case:
        if key not in cases:
            entry.refuse(f"image_id is {shown(key)}, where the id of an image in images is needed")
        return cases[key]

    _coco_boxes(whole.entries("annotations"), counting(categories_of(whole)), case_of, collected)


def _coco(entries: Sequence[Entry], collected: _Collected) -> None:
    """COCO results, one entry a box, with the truth's numbers."""
    _coco_boxes(entries, collected.truth.categories, collected.case_of_id, collected)


def _coco_boxes(
    entries: Sequence[Entry],
    categories: Mapping[int | str, bool],
    case_of: Callable[[int | str, Entry], Case],
    collected: _Collected,
) -> None:
    for entry in entries:
        case = case_of(entry.identifier("image_id"), entry)
        x, y, width, height = entry.numbers("bbox", "[x, y, width, height]", 4)
        box = entry.box((x, y, x + width, y + height), case.rows, case.cols)
        score = entry.number("score", FINITE)
        if categories and entry.has("category_id"):
            key = entry.identifier("category_id")
            if key not in categories:
                entry.refuse(f"category_id is {shown(key)}, where the id of one of the categories is needed")
            if not categories[key]:
                continue
        collected.add(entry, case, score, box)


def _stack(whole: Entry, collected: _Collected) -> None:
    """NODE21's nodules.json of a stack of images: z is the image's number in it, from 0."""
    cases = collected.truth.cases
    for entry in _node21_boxes(whole):
        box, z = _corners(entry)
        if z != int(z) or not 0 <= z < len(cases):
            entry.refuse(
                f"z is {z:g}, where the number of one of the truth's {len(cases)} images is needed (0 to "
                f"{len(cases) - 1}, in the order of their names)",
                "predict on the stack of exactly these images, or give predictions with names",
            )
        case = collected.hold(cases[int(z)])
        name = entry.fields.get("name")
        named_case = collected.find(entry.text("name"), entry) if isinstance(name, str) else None
        if named_case is None and DIGEST.fullmatch(str(name)):
            entry.refuse("its name is the SHA-256 of no image of the truth", "score it with the data folder")
        if named_case is not None and named_case is not case:
            entry.refuse(
                f"its name is {shown(named_case.name)}, but its z {z:g} means {shown(case.name)}, the image of this "
                "number in the order of the truth's names",
                "stack the images in this order",
            )
        _add_corners(entry, case, box, collected)


def _challenge(entries: Sequence[Entry], collected: _Collected) -> None:
    """grand-challenge's predictions.json: one entry an image, with its name among the inputs."""
    for entry in entries:
        images = [item for item in entry.entries("inputs") if item.has("image")]
        if len(images) != 1:
            entry.refuse(f"it has {len(images)} inputs with an image, where one is needed")
        image = images[0].part("image")
        case = collected.case_once(image.text("name"), image)
        outputs = [item for item in entry.entries("outputs") if item.part("interface").text("slug") == "nodules"]
        if len(outputs) != 1:
            entry.refuse(f"it has {len(outputs)} outputs with the slug 'nodules', where one is needed")
        for item in _node21_boxes(outputs[0].part("value")):
            box, z = _corners(item)
            if not 0 <= z < 1:
                item.refuse(
                    f"z is {z:g}, where 0 is needed: the entry is of one image, not of a stack",
                    "give the nodules.json of the stack itself",
                )
            _add_corners(item, case, box, collected)


def _node21_boxes(entry: Entry) -> tuple[Entry, ...]:
    if entry.fields.get("type", BOXES_TYPE) != BOXES_TYPE:
        entry.refuse_field("type", repr(BOXES_TYPE))
    return entry.entries("boxes")


def _corners(entry: Entry) -> tuple[tuple[float, ...], float]:
    """(x0, y0, x1, y1) and z of a box that is given by its four corners [x, y, z], in any order."""
    words = "four corners [x, y, z] of an upright rectangle, all with one z,"
    values = entry.fields.get("corners")
    if not isinstance(values, list) or len(values) != 4:
        entry.refuse_field("corners", words)
    points = []
    for number, value in enumerate(values, start=1):
        key = f"corner {number}"
        points.append(Entry(entry.path, entry.error, {key: value}, entry.place).numbers(key, "[x, y, z]", 3))
    xs, ys, zs = (sorted({point[axis] for point in points}) for axis in range(3))
    if len({point[:2] for point in points}) != len(xs) * len(ys) or len(zs) != 1 or len(xs) > 2 or len(ys) > 2:
        entry.refuse_field("corners", words)
    return (xs[0], ys[0], xs[-1], ys[-1]), zs[0]


def _add_corners(entry: Entry, case: Case, corners: tuple[float, ...], collected: _Collected) -> None:
    box = entry.box(corners, case.rows, case.cols)
    collected.add(entry, case, entry.number("probability", PROBABILITY), box)


def _read_table(path: Path, table: Table, collected: _Collected) -> None:
    """A CSV table, one row a box."""
    name_column = _one_of(path, table, [(name,) for name in NAME_COLUMNS])[0]
    box_columns = _one_of(path, table, [SIDES, EXTENTS])
    score_column = _one_of(path, table, [(name,) for name in SCORE_COLUMNS])[0]
    for entry in table.rows:
        case = _case_of_row(entry, name_column, collected)
        x, y, right, lower = (entry.number(key, FINITE) for key in box_columns)
        corners = (x, y, x + right, y + lower) if box_columns == SIDES else (x, y, right, lower)
        box = entry.box(corners, case.rows, case.cols)
        collected.add(entry, case, entry.number(score_column, SCORE_COLUMNS[score_column]), box)


def _one_of(path: Path, table: Table, choices: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The one group of columns of these that the table has."""
    found = [names for names in choices if all(name in table.columns for name in names)]
    if len(found) == 1:
        return found[0]
    words = " or ".join(", ".join(names) for names in choices)
    fault = f"no JSON, and as CSV its columns {shown(list(table.columns))} hold {len(found) or 'none'} of {words}"
    raise EvaluationError(f"{path}: {fault}, where one is needed; {WAYS}")


def _case_of_row(entry: Entry, column: str, collected: _Collected) -> Case:
    name = entry.text(column)
    if column == "image_id" and collected.ids:
        return collected.case_of_id(collected.ids.get(name, name), entry)
    return collected.case_of_name(name, entry)
