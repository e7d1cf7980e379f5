"""A simulated data set as files: images, SCR lung masks, and the tables of truth, sources and negative insertions."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxrcad.config import SimulateConfig
from cxrcad.files import write_atomically
from cxrcad.synthesis.backgrounds import GRID_SIDE, Background
from cxrcad.synthesis.files import (
    DicomOrigin,
    box_row,
    dicom_bytes,
    image_path,
    location,
    mask_bytes,
    mask_paths,
    write_tables,
)
from cxrcad.synthesis.insertion import Inserted

__all__ = ["Row", "write_case", "write_set_tables"]

SOURCES = ("patient", "view", "role", "nodule", "series_uid", "scale")
NEGATIVE_INSERTIONS = ("file", "x", "y", "x0", "y0", "x1", "y1", "diameter_mm", "patch", "outside_lung")
TITLES = ("file", "subtlety", "size", "age", "sex", "x", "y", "malignancy", "location", "diagnosis")
"""All that CLNDAT_EN.txt holds where there is no nodule."""


@dataclass(frozen=True)
class Row:
    """One case's part of the tables; `location` is JSRT's words for where the nodule lies.

    `patch` says what a negative insertion is made of, "" where it is none. `kind` is an analytic nodule's.
    """

    name: str
    index: int
    background: Background
    oddities: bool
    inserted: Inserted | None = None
    subtlety: int | None = None
    kind: str = ""
    series_uid: str = ""
    patch: str = ""
    location: str = ""


def write_case(
    folder: Path, row: Row, image: NDArray[np.float32], lung: NDArray[np.bool_], config: SimulateConfig
) -> Row:
    """Write the case's image (1024 x 1024, grey levels of 255) and lung masks; its row with the location.

    Raises WriteError.
    """
    write_atomically(image_path(folder, row.name, config.format), _image_bytes(row, image, config))
    paths = mask_paths(folder, row.name, row.index, ("right lung", "left lung"))
    for path, mask in zip(paths, _halves(lung), strict=True):
        write_atomically(path, mask_bytes(mask))
    if row.inserted is None:
        return row
    return replace(row, location=location(row.inserted.x_px, row.inserted.y_px, GRID_SIDE / 2, lung))


def _image_bytes(row: Row, image: NDArray[np.float32], config: SimulateConfig) -> bytes:
    if config.format == "png":
        buffer = io.BytesIO()
        Image.fromarray(np.clip(np.rint(image), 0, 255).astype(np.uint8)).save(buffer, "PNG")
        return buffer.getvalue()
    if config.format == "img":
        from scipy import ndimage

        full = ndimage.zoom(image, 2, order=1, grid_mode=True, mode="nearest")
        counts: NDArray[np.uint16] = (4095 - np.clip(np.rint(full * 16), 0, 4095)).astype(">u2")  # dense is dark
        return counts.tobytes()
    origin = DicomOrigin(
        patient="Simulated",
        manufacturer="cxrcad simulate",
        study="Chest radiograph, simulated nodules",
        derivation="a nodule inserted by cxrcad simulate" if row.inserted else "resampled by cxrcad simulate",
        view="AP" if row.background.view == "AP" else "PA",
        salt=("simulate", hashlib.sha256(image.tobytes()).hexdigest()),
    )
    if row.patch:
        origin = replace(origin, derivation="a piece of itself inserted by cxrcad simulate")
    sex, age = row.background.sex, row.background.age
    assert config.seed is not None
    return dicom_bytes(
        image / np.float32(255),
        row.name,
        row.index + 1,
        config.seed,
        None if sex == "?" else sex,
        int(age) if age.isdigit() else None,
        origin,
    )


def _halves(lung: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(right, left) lung: the connected parts whose middle lies at image left or right of the lungs' middle."""
    from scipy import ndimage

    labels, _ = ndimage.label(lung)
    middle = np.flatnonzero(lung.any(0)).mean()
    at_left = [(found[1].start + found[1].stop) / 2 < middle for found in ndimage.find_objects(labels)]
    is_right = np.array([False, *at_left])[labels]
    return is_right, lung & ~is_right


def write_set_tables(folder: Path, rows: Sequence[Row], source_column: str, negative: bool) -> None:
    """Write sources.csv, CNNDAT_EN.TXT, CLNDAT_EN.txt and boxes.csv, or shams.csv in its place. Raises WriteError."""
    write_atomically(folder / "sources.csv", _csv(("file", source_column, *SOURCES), map(_source, rows)))
    marked = [row for row in rows if row.inserted is not None]
    if negative:
        write_atomically(folder / "shams.csv", _csv(NEGATIVE_INSERTIONS, [_box(row, row.patch) for row in marked]))
    positives = [] if negative else [_nodule(row) for row in marked]
    negatives = [
        (f"{row.name}.IMG", row.background.age, row.background.sex, "normal")
        for row in rows
        if negative or row.inserted is None
    ]
    boxes = [] if negative else [_box(row, row.subtlety) for row in marked]
    write_tables(folder, positives or [TITLES], negatives, boxes)


def _csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows([columns, *rows])
    return buffer.getvalue()


def _source(row: Row) -> tuple[object, ...]:
    background, inserted = row.background, row.inserted
    of_nodule = ("", "", "") if inserted is None else (inserted.index, row.series_uid, round(inserted.scale, 3))
    return (row.name, background.image.name, background.patient, background.view, background.role, *of_nodule)


def _box(row: Row, what: object) -> tuple[object, ...]:
    assert row.inserted is not None
    box = row.inserted.box_px
    lengths = (row.inserted.x_px, row.inserted.y_px, box.x0, box.y0, box.x1, box.y1, row.inserted.diameter_mm)
    return box_row(row.name, lengths, what, row.inserted.outside_lung)


def _nodule(row: Row) -> tuple[str, ...]:
    """The case's line of CLNDAT_EN.txt, x and y on the 2048 grid."""
    inserted = row.inserted
    assert inserted is not None
    fields = (
        f"{row.name}.IMG",
        row.subtlety,
        round(inserted.diameter_mm),
        "?" if row.oddities and row.index % 40 == 7 else row.background.age,
        row.background.sex,
        round(inserted.x_px * 2),
        round(inserted.y_px * 2),
        "benign",
        row.location,
        f"simulated {row.kind} nodule" if row.kind else "simulated nodule",
        *([""] if row.oddities and row.index % 50 == 9 else []),
    )
    return tuple(str(field) for field in fields)
