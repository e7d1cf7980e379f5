"""What the readers of boxed radiographs share: tables found by their columns, images below a folder, patients, labels.

A set's own file says what is in an image; the image may lie anywhere in the folder, under any ending that is read.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxrcad.core import Case, DataError, Nodule, counted
from cxrcad.datasets.dataset import Dataset, by_name, check_images
from cxrcad.datasets.fields import FINITE, Entry, box_nodule, named, read_table
from cxrcad.imaging.read import IMAGE_ENDINGS, image_header

__all__ = [
    "LESIONS",
    "SIDE_PX",
    "Images",
    "boxed_dataset",
    "columns_of",
    "corners_of",
    "documents_with",
    "groups_of",
    "lesion",
    "notes_of",
    "rows_by",
    "scaled_lesion",
    "tables_with",
]

LESIONS = ("nodule", "mass", "nodule/mass")
"""Labels, in small letters, that are lesions where a set boxes other findings too; VinDr-CXR has the two as one."""

SIDE_PX = 1024
"""Rows and columns of the images of NIH ChestX-ray14, and of ChestX-Det's, which are among them."""

NIH_NAME = re.compile(r"(\d{8})_\d{3}")
ANNOTATIONS = "annotations"
LUNGS = "lungs"
DEEPEST = 5
"""Levels of folders that are searched for images, as in JSRT's layout."""


def columns_of(table: Path) -> frozenset[str]:
    """The columns that a CSV file's first line names, in small letters; none where it cannot be read."""
    try:
        with open(table, encoding="utf-8-sig") as file:
            head = file.readline(4096)
    except (OSError, UnicodeDecodeError):
        return frozenset()
    return frozenset(name.strip().strip('"').lower() for name in head.split(","))


def tables_with(folder: Path, columns: Sequence[str]) -> list[Path]:
    """The CSV files in the folder, and in its annotations/, whose first line names all of `columns`."""
    return [table for table in _files(folder, ".csv") if set(columns) <= columns_of(table)]


def documents_with(folder: Path, start: bytes, keys: Sequence[str]) -> list[Path]:
    """The JSON files in the folder, and in its annotations/, that begin with `start` and have all of `keys`."""
    found = []
    for path in _files(folder, ".json"):
        try:
            data = path.read_bytes()
        except OSError:
            continue
        begins = data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(start)
        if begins and all(f'"{key}"'.encode() in data for key in keys):
            found.append(path)
    return found


def _files(folder: Path, ending: str) -> list[Path]:
    places = [place for place in (folder, folder / ANNOTATIONS) if place.is_dir()]
    return sorted(path for place in places for path in place.iterdir() if path.suffix.lower() == ending)


def rows_by(key: str, tables: Iterable[Path], columns: Sequence[str]) -> dict[str, list[Entry]]:
    """The rows of all tables by the file that their column `key` names. DataError for one without all of `columns`."""
    rows: dict[str, list[Entry]] = defaultdict(list)
    for table in tables:
        for row in read_table(table, columns, DataError).rows:
            rows[row.inside(key)].append(row)
    return rows


def lesion(label: str) -> str | None:
    """The label in small letters where it is a nodule's or a mass's, else None."""
    small = label.strip().lower()
    return small if small in LESIONS else None


def groups_of(name: str, rows: Sequence[Entry], key: str = "patient") -> tuple[str, ...]:
    """The patient of an image: the field `key` of its rows, else that of an NIH name (00000344_002), or none.

    Refuses rows of two patients.
    """
    patients: dict[str, Entry] = {}
    for row in rows:
        given = row.fields.get(key)
        patients[str(row.identifier(key)) if given not in (None, "") else ""] = row
    if len(patients) > 1:
        list(patients.values())[1].refuse(f"the patient of {name} is {' or '.join(map(repr, patients))}; one is needed")
    given, of_name = next(iter(patients), ""), NIH_NAME.fullmatch(name)
    patient = given or (of_name.group(1) if of_name else "")
    return (f"patient:{patient}",) if patient else ()


def _stem(file: str) -> str:
    return os.path.splitext(os.path.basename(file))[0]


@dataclass(frozen=True)
class Images:
    """Image files below a folder, and lung mask files in its lungs/, by name without ending."""

    folder: Path
    images: Mapping[str, Path]
    masks: Mapping[str, Path]

    @classmethod
    def of(cls, folder: Path, files: Iterable[str]) -> Images:
        """Those of the files that lie in the folder, at most five folders deep; their endings do not matter.

        Raises DataError for two of one name, unless one lies just where its file says.
        """
        wanted = {_stem(file): file for file in files}
        images: dict[str, Path] = {}
        masks: dict[str, Path] = {}
        others: dict[str, Path] = {}
        for place, below, names in os.walk(folder, followlinks=True):
            parts = Path(place).relative_to(folder).parts
            below[:] = sorted(name for name in below if not name.startswith(".") and len(parts) < DEEPEST)
            found = masks if parts and parts[0] == LUNGS else images
            for name in sorted(names):
                stem, ending = os.path.splitext(name)
                if stem not in wanted or ending.lower() not in IMAGE_ENDINGS:
                    continue
                path = Path(place, name)
                if stem in found:
                    others[stem] = path
                if stem not in found or path == folder / wanted[stem]:
                    found[stem] = path
        for stem, other in others.items():
            first = (masks if other.parts[len(folder.parts)] == LUNGS else images)[stem]
            if first != folder / wanted[stem]:
                raise DataError(f"{first} and {other}: two images have one name, where one is needed; remove one")
        return cls(folder, images, masks)

    def __contains__(self, file: object) -> bool:
        return _stem(str(file)) in self.images

    def check(self, files: Sequence[str]) -> None:
        """Raise DataError unless there is an image of each of the files."""
        check_images(self.folder, [self.images.get(_stem(file), self.folder / file) for file in files])

    def case(self, file: str, rows: Sequence[Entry], key: str = "patient") -> Case:
        """The file's case without its truth: size and spacing from the header, lung mask, and patient (`groups_of`).

        Raises ReadError for a damaged header.
        """
        name = _stem(file)
        image = self.images[name]
        masks = (self.masks[name],) if name in self.masks else ()
        return Case(name, image, *image_header(image), lung_masks=masks, groups=groups_of(name, rows, key))


def corners_of(row: Entry, keys: Sequence[str]) -> tuple[float, ...]:
    """The corners x0, y0, x1, y1 of a box that the fields `keys` give as x, y, width, height."""
    x, y, width, height = (row.number(key, FINITE) for key in keys)
    return x, y, x + width, y + height


def scaled_lesion(entry: Entry, corners: Sequence[float], case: Case, label: str) -> tuple[Entry, Nodule]:
    """A lesion whose corners are pixels of the set's images of 1024 x 1024; a resized copy has its box scaled.

    Refuses an empty or outlying box.
    """
    box = entry.box(corners, SIDE_PX, SIDE_PX)
    x, y = case.cols / SIDE_PX, case.rows / SIDE_PX
    return entry, box_nodule(entry, (box.x0 * x, box.y0 * y, box.x1 * x, box.y1 * y), case, label)


def boxed_dataset(folder: Path, table: Path, cases: Iterable[Case], notes: Mapping[str, Sequence[str]]) -> Dataset:
    """The data set of the cases; its notes are those of the reader, each with the images it is about, and the usual."""
    ordered = by_name(table, cases)
    return Dataset(folder, "paper", ordered, tuple(notes_of(ordered, notes)))


def notes_of(cases: Sequence[Case], notes: Mapping[str, Sequence[str]]) -> list[str]:
    """A sentence for each of `notes` that is about an image, and for images without patient and without lung mask."""
    every: dict[str, Any] = {
        **notes,
        "no patient is named, each image counts as one": [case.name for case in cases if not case.groups],
        "no lung mask, and no lung loss of": [case.name for case in cases if not case.lung_masks],
    }
    return [f"{words}: {named(names)} ({counted(len(names), 'image')})" for words, names in every.items() if names]
