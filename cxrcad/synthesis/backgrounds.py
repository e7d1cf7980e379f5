"""Radiographs without a nodule, with their lung fields, on JSRT's grid: what nodules are projected into.

They come from a folder in the layout of the NIH radiographs (metadata.csv, images, lungs/), or from the normals of a
folder in JSRT's layout.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrcad.core import Case, DataError
from cxrcad.datasets.dataset import check_images, lung_masks
from cxrcad.datasets.fields import SPACING_MM, Entry, named
from cxrcad.datasets.jsrt import reader as jsrt
from cxrcad.datasets.nih import METADATA, SEXES, read_metadata
from cxrcad.imaging.read import image_size, read_mask, read_radiograph

__all__ = ["GRID_MM", "GRID_SIDE", "Background", "BackgroundSet", "read_background", "read_backgrounds", "to_jsrt_grid"]

GRID_SIDE = 1024  # pixels of the working grid: half of JSRT's
GRID_MM = 0.35  # between them

COLUMNS = ("file", "patient", "view", "age", "sex", "spacing_row_mm", "spacing_col_mm", "role")


@dataclass(frozen=True)
class Background:
    """One radiograph without a nodule; `spacing_mm` is (row, column). What is unknown is "?"."""

    image: Path
    lung_masks: tuple[Path, ...]
    spacing_mm: tuple[float, float]
    role: str
    patient: str
    view: str
    age: str
    sex: str


@dataclass(frozen=True)
class BackgroundSet:
    """The usable backgrounds of a folder, in its order; `column` names their files in sources.csv."""

    folder: Path
    backgrounds: tuple[Background, ...]
    column: str
    notes: tuple[str, ...]


def read_backgrounds(folder: Path, packaged: Path | None = None) -> BackgroundSet:
    """The backgrounds of `folder` that have a lung mask; a note names the others.

    `packaged` is the table to take where the folder has none. Raises DataError for a folder of another layout, a
    damaged table, images that are missing, and where no background has a mask.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder; --backgrounds takes one in the NIH layout or in JSRT's")
    if (folder / METADATA).is_file():
        found, column = _of_table(folder, folder / METADATA), "nih_file"
    elif jsrt.matches(folder):
        found, column = _of_jsrt(folder), "background"
    elif packaged is not None:
        found, column = _of_table(folder, packaged), "nih_file"
    else:
        raise DataError(
            f"{folder}: neither {METADATA} (the NIH layout) nor CLNDAT_EN.txt (JSRT's) in it; see docs/DATA.md"
        )
    usable = tuple(filter(_has_lungs, found))
    faulty = [background.image.name for background in found if background not in usable]
    if not usable:
        raise DataError(
            f"{folder}: none of its {len(found)} backgrounds has a usable lung mask; put masks of the images' "
            "names and sizes into lungs/ (JSRT's layout: scr/)"
        )
    check_images(folder, [background.image for background in usable])
    for background in usable:
        _check_masks(background)
    left_out = f"left out, without a usable lung mask: {named(faulty)} ({len(faulty)} of {len(found)})"
    return BackgroundSet(folder, usable, column, (left_out,) if faulty else ())


def _of_table(folder: Path, table: Path) -> list[Background]:
    return [_of_row(row, folder) for row in read_metadata(table, COLUMNS).rows]


def _of_row(row: Entry, folder: Path) -> Background:
    name = row.inside("file")
    return Background(
        folder / name,
        lung_masks(row, folder),
        (row.number("spacing_row_mm", SPACING_MM), row.number("spacing_col_mm", SPACING_MM)),
        row.fields["role"] or "normal",
        row.fields["patient"] or Path(name).stem,
        row.fields["view"] or "?",
        row.fields["age"] or "?",
        SEXES.get(row.fields["sex"].lower(), "?"),
    )


def _of_jsrt(folder: Path) -> list[Background]:
    found = [_of_case(case) for case in jsrt.read(folder).for_protocol("jsrt-247").normals]
    if not found:
        raise DataError(f"{folder}: no normals in CNNDAT_EN.TXT, the backgrounds; name a folder that has some")
    return found


def _of_case(case: Case) -> Background:
    patients = [group.removeprefix("patient:") for group in case.groups if group.startswith("patient:")]
    assert case.spacing_mm is not None  # JSRT's field is known
    return Background(
        case.image,
        case.lung_masks,
        case.spacing_mm,
        "normal",
        patients[0] if patients else case.name,
        case.view or "?",
        "?" if case.age_years is None else str(case.age_years),
        case.sex or "?",
    )


def _has_lungs(background: Background) -> bool:
    """Whether its masks are there, and one of them is not empty."""
    masks = background.lung_masks
    return all(mask.is_file() for mask in masks) and any(read_mask(mask).any() for mask in masks)


def _check_masks(background: Background) -> None:
    """Raise DataError for a mask whose sides are not in its image's proportion, to a pixel."""
    rows, cols = image_size(background.image)
    for mask in background.lung_masks:
        height, width = image_size(mask)
        if abs(height * cols - width * rows) > max(height, width, rows, cols):
            raise DataError(f"{mask}: its sides are not in proportion to its image's; draw it on the image's grid")


def read_background(background: Background) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """(image, lung fields) on the 1024 grid of 0.35 mm; the image in grey levels of 255, bright = dense. ReadError."""
    pixels = read_radiograph(background.image).pixels.astype(np.float64) * 255
    levels = np.rint(pixels)
    if np.abs(pixels - levels).max() < 1e-3:  # an image of 8 bits: its very levels
        pixels = levels
    (rows, cols), (row_mm, col_mm) = pixels.shape, background.spacing_mm
    lung = np.zeros((GRID_SIDE, GRID_SIDE), np.bool_)
    for path in background.lung_masks:
        mask = read_mask(path)  # over its image's field, maybe with another number of pixels
        spacing_mm = row_mm * rows / mask.shape[0], col_mm * cols / mask.shape[1]
        lung |= to_jsrt_grid(mask, spacing_mm, order=0) > 0.5
    return to_jsrt_grid(pixels, background.spacing_mm), lung


def to_jsrt_grid(pixels: NDArray[Any], spacing_mm: tuple[float, float], order: int = 1) -> NDArray[np.float32]:
    """(rows, cols) of spacing (row, column) mm, resampled to 0.35 mm and cut or padded about the centre to 1024 x 1024.

    `order` 1 interpolates and repeats the edge outside; 0 takes the nearest, as for masks, and pads with 0.
    """
    from scipy import ndimage

    image = pixels.astype(np.float32)
    if order:
        image = ndimage.gaussian_filter(image, [max(0.0, GRID_MM / mm - 1) * 0.3 for mm in spacing_mm])
    zoom = [round(size * mm / GRID_MM) / size for size, mm in zip(image.shape, spacing_mm, strict=True)]
    image = ndimage.zoom(image, zoom, order=order, grid_mode=True, mode="nearest")
    cut = [max(0, size - GRID_SIDE) // 2 for size in image.shape]
    image = image[cut[0] : cut[0] + GRID_SIDE, cut[1] : cut[1] + GRID_SIDE]
    lacking = [GRID_SIDE - size for size in image.shape]
    pad = [(size // 2, size - size // 2) for size in lacking]
    return np.asarray(np.pad(image, pad, mode="edge" if order else "constant"), dtype=np.float32)
