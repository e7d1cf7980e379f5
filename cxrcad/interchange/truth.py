"""Anybody's truth as cases: a data folder, our own JSON, COCO's, or NODE21's metadata.csv.

The format is recognised by content. Boxes become `Nodule.box_px`, half-open and in the image's own pixels.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cxrcad.core import Case, DataError, Nodule
from cxrcad.datasets.coco_json import KEYS, counting, parse
from cxrcad.datasets.fields import (
    FINITE,
    SLACK_PX,
    Entry,
    Range,
    box_diameter_mm,
    is_json,
    parse_json,
    parse_table,
    read_text,
    shown,
    with_nodules,
)
from cxrcad.datasets.node21 import COLUMNS, cases_of
from cxrcad.datasets.read import read_dataset

__all__ = ["SCHEMA", "TruthSet", "read_truth"]

SCHEMA = "cxrcad/truth/1"

NODE21_SIDE_PX = 1024
"""Rows and columns of every NODE21 image: they are resized to it (node21.grand-challenge.org/Data, Preprocessing)."""

IMAGE_FIELDS = ("name", "rows", "cols", "spacing_mm", "nodules", "age_years", "sex", "view")
NODULE_FIELDS = ("x_px", "y_px", "diameter_mm", "box_px", "subtlety", "malignancy", "location", "in_lung")
CORNERS = ("x0", "y0", "x1", "y1")

DIAMETER_MM = Range("a length in mm from 0.01 to 1000", 0.01, 1000)
"""Beyond it is a slip of the unit, no nodule."""

WAYS = f"give JSON with the schema {SCHEMA}, COCO ground truth, NODE21's metadata.csv, or a data folder"


@dataclass(frozen=True)
class TruthSet:
    """The cases of a truth file, sorted by name, and by what else predictions may call them.

    `ids` has the name of the case of each COCO image id, `categories` says of each COCO category id whether it counts
    as a nodule; both are empty where the truth is of another format. `with_images` is True for a data folder, where the
    images themselves lie.
    """

    cases: tuple[Case, ...]
    ids: Mapping[int | str, str] = field(default_factory=dict)
    categories: Mapping[int | str, bool] = field(default_factory=dict)
    with_images: bool = False


def read_truth(path: Path) -> TruthSet:
    """The cases that `path` describes, sorted by name; the images themselves are needed with a folder only.

    Recognised by content:

    - a folder of any layout that `read_dataset` reads;
    - our own JSON, schema cxrcad/truth/1: a nodule has a centre, a box, or both (without a centre it is the box's
      middle; without a diameter it is the mean of the box's sides in mm, where the spacing is known);
    - COCO ground truth: every category counts as a nodule, unless exactly one is named "nodule", which alone then does;
    - NODE21's metadata.csv: images of 1024 x 1024 pixels, spacing unknown; (x, y) is a box's upper left corner, and a
      row with label 0 an image without a nodule.

    Raises:
        DataError: A missing or damaged file, or a value that is off, with its place. A folder raises as
            `read_dataset` does.
    """
    if os.path.isdir(path):
        return TruthSet(read_dataset(path).cases, with_images=True)
    text = read_text(path, DataError)
    if not is_json(text):
        return _sorted(_node21(path, text), path)
    document = parse_json(path, text, DataError)
    if not isinstance(document, dict):
        raise DataError(f"{path}: a JSON list, where truth is a JSON object; {WAYS}")
    whole = Entry(path, DataError, document)
    if whole.fields.get("schema") == SCHEMA:
        return _sorted([_image(entry) for entry in whole.entries("images")], path)
    if "schema" in whole.fields:
        whole.refuse(f"its schema is {shown(whole.fields['schema'])}, which is no truth", WAYS)
    if all(key in whole.fields for key in KEYS):
        return _coco(whole)
    whole.refuse(f"its fields are {shown(list(whole.fields))}, which are no truth's", WAYS)


def _sorted(cases: Iterable[Case], path: Path) -> TruthSet:
    names: dict[str, Case] = {}
    for number, case in enumerate(cases, start=1):
        if case.name in names:
            raise DataError(
                f"{path}, images entry {number}: {shown(case.name)} stands in images entry "
                f"{list(names).index(case.name) + 1} already; put all its nodules in one of them"
            )
        names[case.name] = case
    if not names:
        raise DataError(f"{path}: no image in it, where at least one is needed; {WAYS}")
    return TruthSet(tuple(names[name] for name in sorted(names)))


def _image(entry: Entry) -> Case:
    """One image of our own JSON."""
    entry.only(IMAGE_FIELDS)
    name, rows, cols = entry.inside("name"), entry.side_px("rows"), entry.side_px("cols")
    bare = Case(
        name=name,
        image=Path(name),
        rows=rows,
        cols=cols,
        spacing_mm=entry.spacing_mm("spacing_mm"),
        age_years=entry.whole("age_years", "an age", 0, 150) if entry.has("age_years") else None,
        sex=entry.text_or_none("sex"),
        view=entry.text_or_none("view"),
    )
    return with_nodules(bare, [(nodule, _nodule(nodule, bare)) for nodule in entry.entries("nodules")])


def _nodule(entry: Entry, case: Case) -> Nodule:
    entry.only(NODULE_FIELDS)
    box = None
    if entry.has("box_px"):
        part = entry.part("box_px")
        part.only(CORNERS)
        box = part.box([part.number(key, FINITE) for key in CORNERS], case.rows, case.cols)
    if entry.has("x_px") or entry.has("y_px"):
        x, y = entry.number("x_px", _along("width", case.cols)), entry.number("y_px", _along("height", case.rows))
    elif box is not None:
        x, y = box.center
    else:
        entry.refuse("neither x_px and y_px nor box_px are given, where a nodule needs a centre or a box")
    diameter = entry.number_or_none("diameter_mm", DIAMETER_MM)
    if diameter is None and box is not None:
        diameter = box_diameter_mm(box, case)
    in_lung = entry.fields.get("in_lung")
    if not (in_lung is None or isinstance(in_lung, bool)):
        entry.refuse_field("in_lung", "true, false or null")
    return Nodule(
        x_px=x,
        y_px=y,
        diameter_mm=diameter,
        subtlety=entry.whole("subtlety", "JSRT's degree", 1, 5) if entry.has("subtlety") else None,
        malignancy=entry.text_or_none("malignancy"),
        location=entry.text_or_none("location"),
        box_px=box,
        in_lung=in_lung,
    )


def _along(side: str, length: int) -> Range:
    return Range(f"a position within the image's {side}, 0 to {length},", -SLACK_PX, length + SLACK_PX)


def _coco(whole: Entry) -> TruthSet:
    found = parse(whole)
    counts = counting(found.categories)
    nodules: dict[str, list[tuple[Entry, Nodule]]] = {name: [] for name in found.cases}
    for entry, name, nodule, category in found.boxes:
        if category is None or counts[category]:
            nodules[name].append((entry, nodule))
    cases = _sorted(found.cases.values(), whole.path).cases
    return TruthSet(tuple(with_nodules(case, nodules[case.name]) for case in cases), found.names, counts)


def _node21(path: Path, text: str) -> list[Case]:
    table = parse_table(path, text, DataError)
    missing = [name for name in COLUMNS if name not in table.columns]
    if missing:
        raise DataError(
            f"{path}: no JSON, and as CSV it has no column {', '.join(missing)} (its columns are "
            f"{shown(list(table.columns))}, those of NODE21 {', '.join(COLUMNS)}); {WAYS}"
        )
    return cases_of(table.rows, lambda name: Case(name, Path(name), NODE21_SIDE_PX, NODE21_SIDE_PX))
