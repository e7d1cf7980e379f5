"""JSRT and SCR as cases: one pass over the tables; images and masks found wherever they lie, sizes from headers only.

The radiographs and nodules are those of the Japanese Society of Radiological Technology (Shiraishi et al., AJR
174:71-74, 2000); the lung masks those of van Ginneken et al. (Medical Image Analysis 10:19-40, 2006). Any data in their
layout reads alike.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cxrcad.core import Box, Case, DataError, Nodule
from cxrcad.datasets.dataset import Dataset
from cxrcad.datasets.fields import named
from cxrcad.datasets.jsrt import tables
from cxrcad.imaging.jsrt_img import FIELD_MM
from cxrcad.imaging.read import image_size

__all__ = ["HOW_TO_GET", "matches", "read"]

HOW_TO_GET = """\
no data folder is named. Get JSRT from the Japanese Society of Radiological Technology (db.jsrt.or.jp) and
SCR's masks from its owners; put CLNDAT_EN.txt, CNNDAT_EN.TXT, images/, scr/ in one folder: --data FOLDER.
To try without them: `cxrcad phantom OUT` writes phantoms in the same layout; then --data OUT."""

NODULES = "clndat_en.txt"
NORMALS = "cnndat_en.txt"

BOX_SLACK = 2.0
"""Pixels of the 1024 grid by which a nodule's rounded centre may miss its exact box."""

MASK_ENDINGS = (".gif", ".png")
MASK_FOLDERS = {"scr", "fold1", "fold2", "masks", "left lung", "right lung", "lungs"}
SIDES = ("left lung", "right lung")
BOTH = "lungs"

DEEPEST = 5
"""Levels of folders that are searched: scr/scratch/fold1/masks/left lung."""


@dataclass(frozen=True)
class _Files:
    """Where things lie in a data folder: images and tables by name, lung masks by case and side, or of both lungs."""

    images: Mapping[str, Path]
    tables: Mapping[str, Path]
    masks: Mapping[str, Mapping[str, Path]]
    image_folders: tuple[str, ...]


def matches(folder: Path) -> bool:
    """Whether JSRT's table of nodules lies in the folder or below."""
    return any(name.lower() == NODULES for _, _, names in _walk(folder) for name in names)


def read(folder: Path) -> Dataset:
    """The data set in `folder`: every case of its tables with image, truth, lung masks and groups.

    Only headers of images are read. Raises DataError for what is missing or contradicts itself (a missing lung mask is
    a note), ReadError for an image whose header is damaged.
    """
    files = _find_files(folder)
    nodules: dict[str, list[tables.NoduleRow]] = defaultdict(list)
    for row in tables.read_nodules(files.tables[NODULES]):
        nodules[row.name].append(row)
    normals: dict[str, tables.NormalRow] = {}
    notes = ["no CNNDAT_EN.TXT: no radiographs without a nodule"]
    if NORMALS in files.tables:
        normals, notes = {row.name: row for row in tables.read_normals(files.tables[NORMALS])}, []
    both = sorted(set(nodules) & set(normals))
    if both:
        raise DataError(f"{folder}: {named(both)} stand in CLNDAT_EN.txt and in CNNDAT_EN.TXT; remove them from one")
    names = sorted({*nodules, *normals})
    _check_images(names, files, folder)
    cases = [_case(name, nodules[name][0] if name in nodules else normals[name], files) for name in names]
    cases, source_notes = _with_sources(cases, files)
    cases = _with_nodules(cases, nodules, files)
    notes += source_notes + _mask_notes(cases, files) + _size_notes(cases)
    return Dataset(folder, "paper", tuple(cases), tuple(notes))


def _walk(folder: Path) -> Iterator[tuple[Path, tuple[str, ...], list[str]]]:
    """Each folder that is searched, with the names of those above it, below `folder`, and its files, sorted."""
    for place, subfolders, names in os.walk(folder, followlinks=True):
        parts = Path(place).relative_to(folder).parts
        subfolders[:] = sorted(name for name in subfolders if not name.startswith(".") and len(parts) < DEEPEST)
        yield Path(place), parts, sorted(names)


def _find_files(folder: Path) -> _Files:
    images: dict[str, Path] = {}
    found_tables: dict[str, Path] = {}
    masks: dict[str, dict[str, Path]] = defaultdict(dict)
    image_folders: list[str] = []
    for here, place, names in _walk(folder):
        parts = [part.lower().replace("_", " ") for part in place]
        side = parts[-1] if parts and parts[-1] in SIDES else BOTH if BOTH in parts else None
        of_masks = not MASK_FOLDERS.isdisjoint(parts)
        if not of_masks:
            image_folders.append(str(Path(*place)))
        for name in names:
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


def _check_images(names: Sequence[str], files: _Files, folder: Path) -> None:
    missing = [name for name in names if name not in files.images]
    if missing:
        raise DataError(
            f"{folder}: {len(missing)} of {len(names)} images are missing: {named(missing)} (looked in "
            f"{named(files.image_folders, 6)}); copy them there or correct the tables"
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
        lung_masks=tuple(masks[side] for side in (SIDES if set(SIDES) <= set(masks) else (BOTH,)) if side in masks),
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
        [f"{len(absent)} of {len(cases)} cases are not in sources.csv: {named(absent)}: no group is known of them"]
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
        notes.append(f"{len(none)} of {len(cases)} cases have no lung mask: {named(none)}: they add no lung loss")
    if single:
        notes.append(
            f"{len(single)} of {len(cases)} cases have one lung's mask only: {named(single)}: they add no lung loss"
        )
    return notes


def _size_notes(cases: Sequence[Case]) -> list[str]:
    unsized = [case.name for case in cases if any(nodule.diameter_mm is None for nodule in case.nodules)]
    return [f"{len(unsized)} of {len(cases)} cases have a nodule of unknown size: {named(unsized)}"] if unsized else []
