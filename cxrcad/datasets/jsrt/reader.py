"""JSRT and SCR as cases: one pass over the tables; images and masks found wherever they lie, sizes from headers only.

The radiographs and nodules are those of the Japanese Society of Radiological Technology (Shiraishi et al., AJR
174:71-74, 2000); the lung masks those of van Ginneken et al. (Medical Image Analysis 10:19-40, 2006). Any data in their
layout reads alike.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from cxrcad.config import PROTOCOLS, DataConfig, build
from cxrcad.core import Box, Case, DataError, Nodule
from cxrcad.datasets.jsrt import tables
from cxrcad.datasets.masks import centre_in_lung
from cxrcad.imaging.read import image_size

__all__ = ["Dataset", "how_to_get_data", "read_jsrt"]

FIELD_MM = 0.175 * 2048
"""Side of JSRT's square field: 2048 pixels of 0.175 mm (the paper, section 4.1)."""

BOX_SLACK = 2.0
"""Pixels of the 1024 grid by which a nodule's rounded centre may miss its exact box."""

MASK_ENDINGS = (".gif", ".png")
MASK_FOLDERS = {"scr", "fold1", "fold2", "masks", "left lung", "right lung"}

DEEPEST = 5
"""Levels of folders that are searched: scr/scratch/fold1/masks/left lung."""


@dataclass(frozen=True)
class Dataset:
    """All cases of a data folder, sorted by name, whatever the protocol; `notes` say what is incomplete.

    The layout is JSRT's and `lesion` nodule, unless another reader says otherwise.
    """

    folder: Path
    protocol: str
    cases: tuple[Case, ...]
    notes: tuple[str, ...] = ()
    lesion: str = "nodule"

    @cached_property
    def by_name(self) -> Mapping[str, Case]:
        """The cases by name."""
        return {case.name: case for case in self.cases}

    @property
    def positives(self) -> tuple[Case, ...]:
        """The cases with a lesion."""
        return tuple(case for case in self.cases if case.positive)

    @property
    def normals(self) -> tuple[Case, ...]:
        """The cases without a lesion."""
        return tuple(case for case in self.cases if not case.positive)

    def select(self, names: Iterable[str]) -> tuple[Case, ...]:
        """The cases of these names, in their order. Raises DataError for a name that is not there."""
        wanted = tuple(names)
        unknown = [name for name in wanted if name not in self.by_name]
        if unknown:
            raise DataError(f"{self.folder}: no case {_named(unknown)}; read the data that the names come from")
        return tuple(self.by_name[name] for name in wanted)

    def scored(self, protocol: str | None = None) -> tuple[Case, ...]:
        """The cases that a protocol scores (default: the data set's own).

        By its image set (`config.PROTOCOLS`): the positives; in-lung, the positives whose every nodule's centre lies in
        the lung fields (the 14 others of JSRT's 154 lie behind the heart or below the diaphragm); or all.
        Raises DataError, UsageError.
        """
        images = PROTOCOLS[_checked(protocol or self.protocol)]
        if images == "all":
            return self.cases
        if images == "positives":
            return self.positives
        located = _located(self.positives, self.folder)
        inside = {case.name for case in located if all(nodule.in_lung for nodule in case.nodules)}
        return tuple(case for case in self.positives if case.name in inside)


@dataclass(frozen=True)
class _Files:
    """Where things lie in a data folder: images and tables by name, lung masks by case and side."""

    images: Mapping[str, Path]
    tables: Mapping[str, Path]
    masks: Mapping[str, Mapping[str, Path]]
    image_folders: tuple[str, ...]


def read_jsrt(folder: Path, *, protocol: str = "paper") -> Dataset:
    """The data set in `folder`: every case of its tables with image, truth, lung masks and groups.

    Only headers of images are read. An in-lung protocol also reads the masks of nodules of which boxes.csv does not say
    whether they lie in the lung fields. Raises DataError for what is missing or contradicts itself (a missing lung mask
    is a note), ReadError for an image whose header is damaged, UsageError for a protocol that does not exist.
    """
    protocol = _checked(protocol)
    files = _find_files(folder)
    nodules: dict[str, list[tables.NoduleRow]] = defaultdict(list)
    for row in tables.read_nodules(_table(files, folder, "clndat_en.txt")):
        nodules[row.name].append(row)
    normals, notes = _read_normals(files, folder, protocol)
    both = sorted(set(nodules) & set(normals))
    if both:
        raise DataError(f"{folder}: {_named(both)} stand in CLNDAT_EN.txt and in CNNDAT_EN.TXT; remove them from one")
    names = sorted({*nodules, *normals})
    _check_images(names, files, folder)
    cases = [_case(name, nodules[name][0] if name in nodules else normals[name], files) for name in names]
    cases, source_notes = _with_sources(cases, files)
    cases = _with_nodules(cases, nodules, files)
    notes += source_notes + _mask_notes(cases, files) + _size_notes(cases)
    if PROTOCOLS[protocol] == "in-lung":
        cases = _located(cases, folder)
    return Dataset(folder, protocol, tuple(cases), tuple(notes))


def how_to_get_data() -> str:
    """Three lines: how to get JSRT and SCR, how to use them, how to try without."""
    return (
        "no data folder is named. Get JSRT from the Japanese Society of Radiological Technology (db.jsrt.or.jp) and\n"
        "SCR's masks from its owners; put CLNDAT_EN.txt, CNNDAT_EN.TXT, images/, scr/ in one folder: --data FOLDER.\n"
        "To try without them: `cxrcad phantom OUT` writes phantoms in the same layout; then --data OUT."
    )


def _checked(protocol: str) -> str:
    return build(DataConfig, {"protocol": protocol}).protocol


def _named(names: Sequence[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _find_files(folder: Path) -> _Files:
    if not folder.is_dir():
        fault = "is a file" if folder.exists() else "there is no such folder"
        raise DataError(f"{folder}: {fault}; --data takes a folder in JSRT's layout")
    images: dict[str, Path] = {}
    found_tables: dict[str, Path] = {}
    masks: dict[str, dict[str, Path]] = defaultdict(dict)
    image_folders: list[str] = []
    for place, subfolders, names in os.walk(folder, followlinks=True):
        here = Path(place)
        depth = len(here.relative_to(folder).parts)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith(".") and depth < DEEPEST)
        parts = [part.lower().replace("_", " ") for part in here.relative_to(folder).parts]
        side = parts[-1] if parts and parts[-1] in ("left lung", "right lung") else None
        of_masks = not MASK_FOLDERS.isdisjoint(parts)
        if not of_masks:
            image_folders.append(str(here.relative_to(folder)))
        for name in sorted(names):
            ending = os.path.splitext(name)[1].lower()
            if side and ending in MASK_ENDINGS:
                masks[tables.case_name(name)].setdefault(side, here / name)
            elif ending in tables.IMAGE_ENDINGS and not of_masks and not name.startswith("."):
                _keep_better(images, tables.case_name(name), here / name)
            elif ending in (".txt", ".csv"):
                found_tables.setdefault(name.lower(), here / name)
    return _Files(images, found_tables, masks, tuple(image_folders))


def _keep_better(images: dict[str, Path], name: str, path: Path) -> None:
    rank = tables.IMAGE_ENDINGS.index
    if name not in images or rank(path.suffix.lower()) < rank(images[name].suffix.lower()):
        images[name] = path


def _table(files: _Files, folder: Path, name: str) -> Path:
    if name not in files.tables:
        raise DataError(
            f"{folder}: no CLNDAT_EN.txt in it, the table of nodules; copy it there or name JSRT's folder with --data"
        )
    return files.tables[name]


def _read_normals(files: _Files, folder: Path, protocol: str) -> tuple[dict[str, tables.NormalRow], list[str]]:
    path = files.tables.get("cnndat_en.txt")
    if path is not None:
        return {row.name: row for row in tables.read_normals(path)}, []
    if PROTOCOLS[protocol] == "all":
        raise DataError(
            f"{folder}: no CNNDAT_EN.TXT in it, the table of normals, which protocol {protocol} scores; copy it there"
        )
    return {}, ["no CNNDAT_EN.TXT: no radiographs without a nodule"]


def _check_images(names: Sequence[str], files: _Files, folder: Path) -> None:
    missing = [name for name in names if name not in files.images]
    if missing:
        raise DataError(
            f"{folder}: {len(missing)} of {len(names)} images are missing: {_named(missing)} (looked in "
            f"{_named(files.image_folders, 6)}); copy them there or correct the tables"
        )


def _case(name: str, person: tables.NoduleRow | tables.NormalRow, files: _Files) -> Case:
    path = files.images[name]
    rows, cols = image_size(path)
    if rows != cols:
        raise DataError(
            f"{path}: {rows} rows and {cols} columns; JSRT's images are square (2048 or 1024): export it uncropped"
        )
    masks = files.masks.get(name, {})
    spacing = FIELD_MM / rows
    return Case(
        name=name,
        image=path,
        rows=rows,
        cols=cols,
        spacing_mm=(spacing, spacing),
        lung_masks=tuple(masks[side] for side in sorted(masks)) if len(masks) == 2 else (),
        age_years=person.age_years,
        sex=person.sex,
    )


def _with_sources(cases: Sequence[Case], files: _Files) -> tuple[list[Case], list[str]]:
    path = files.tables.get("sources.csv")
    if path is None:
        return list(cases), []
    sources = tables.read_sources(path)
    absent = [case.name for case in cases if case.name not in sources]
    told = [
        replace(case, groups=sources[case.name].groups, view=sources[case.name].view) if case.name in sources else case
        for case in cases
    ]
    notes = (
        [f"{len(absent)} of {len(cases)} cases are not in sources.csv: {_named(absent)}: no group is known of them"]
        if absent
        else []
    )
    return told, notes


def _with_nodules(cases: Sequence[Case], rows: Mapping[str, Sequence[tables.NoduleRow]], files: _Files) -> list[Case]:
    path = files.tables.get("boxes.csv")
    boxes: dict[str, list[tables.BoxRow]] = defaultdict(list)
    for box in tables.read_boxes(path) if path else ():
        boxes[box.name].append(box)
    return [
        replace(case, nodules=tuple(_nodule(row, case, boxes[case.name], path) for row in rows.get(case.name, ())))
        for case in cases
    ]


def _nodule(row: tables.NoduleRow, case: Case, boxes: list[tables.BoxRow], path: Path | None) -> Nodule:
    """The nodule in the case's own pixels; its box is taken out of `boxes`: of those around its centre the nearest."""
    box, in_lung = None, None
    if boxes:
        x, y = (value * tables.BOXES_SIDE / tables.TABLE_SIDE for value in (row.x, row.y))
        nearest = min(boxes, key=lambda other: _apart(other.box, x, y))
        extent = nearest.box
        inside = (
            extent.x0 - BOX_SLACK <= x <= extent.x1 + BOX_SLACK and extent.y0 - BOX_SLACK <= y <= extent.y1 + BOX_SLACK
        )
        if not inside:
            raise DataError(
                f"{path}, row {nearest.row}: the box of {row.name} does not hold its nodule of CLNDAT_EN.txt, row "
                f"{row.row}, at x {x:g}, y {y:g} on the {tables.BOXES_SIDE} grid; correct one of the two"
            )
        boxes.remove(nearest)
        scale = case.cols / tables.BOXES_SIDE
        box, in_lung = Box(*(value * scale for value in (extent.x0, extent.y0, extent.x1, extent.y1))), nearest.in_lung
    return Nodule(
        x_px=row.x * case.cols / tables.TABLE_SIDE,
        y_px=row.y * case.rows / tables.TABLE_SIDE,
        diameter_mm=row.diameter_mm,
        subtlety=row.subtlety,
        malignancy=row.malignancy,
        location=row.location,
        diagnosis=row.diagnosis,
        box_px=box,
        in_lung=in_lung,
    )


def _apart(box: Box, x: float, y: float) -> float:
    return (box.center[0] - x) ** 2 + (box.center[1] - y) ** 2


def _mask_notes(cases: Sequence[Case], files: _Files) -> list[str]:
    without = [case.name for case in cases if not case.lung_masks]
    single = [name for name in without if files.masks.get(name)]
    none = [name for name in without if not files.masks.get(name)]
    notes = []
    if none:
        notes.append(f"{len(none)} of {len(cases)} cases have no lung mask: {_named(none)}: they add no lung loss")
    if single:
        notes.append(
            f"{len(single)} of {len(cases)} cases have one lung's mask only: {_named(single)}: they add no lung loss"
        )
    return notes


def _size_notes(cases: Sequence[Case]) -> list[str]:
    unsized = [case.name for case in cases if any(nodule.diameter_mm is None for nodule in case.nodules)]
    return [f"{len(unsized)} of {len(cases)} cases have a nodule of unknown size: {_named(unsized)}"] if unsized else []


def _located(cases: Sequence[Case], folder: Path) -> list[Case]:
    """The cases with `in_lung` of every nodule known: from boxes.csv, otherwise from the lung mask at its centre."""
    unknown = [
        case.name for case in cases if not case.lung_masks and any(nodule.in_lung is None for nodule in case.nodules)
    ]
    if unknown:
        raise DataError(
            f"{folder}: the image set of protocol jsrt-140 needs to know which nodules lie in the lung fields, and "
            f"{_named(unknown)} have no lung mask; add SCR's masks (scr/fold1, scr/fold2) or take protocol paper"
        )
    return [replace(case, nodules=tuple(_with_lung(case, nodule) for nodule in case.nodules)) for case in cases]


def _with_lung(case: Case, nodule: Nodule) -> Nodule:
    return nodule if nodule.in_lung is not None else replace(nodule, in_lung=centre_in_lung(case, nodule))
