"""A contact sheet: many radiographs of a data set small on one picture, with their true lesions and lung masks."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cxrcad.core import Box, Case, CxrcadError, DataError, Nodule, UsageError, nodule_box_px
from cxrcad.datasets.dataset import Dataset
from cxrcad.datasets.images import read_case
from cxrcad.datasets.joined import label_of
from cxrcad.files import write_atomically
from cxrcad.imaging.raster import read_mask
from cxrcad.report.drawing.marks import BELOW, REPORTED, TRUTH, Canvas, text

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["MOST", "chosen_for_sheet", "write_contact_sheet"]

MOST = 48
"""Images of a sheet, two thirds of them with a lesion where there are enough."""

COLUMNS, TILE, GAP, TEXT_PX = 8, 288, 4, 15
"""Pictures in a row; the side of each, the space between two and the height of letters, pixels."""


def chosen_for_sheet(dataset: Dataset) -> tuple[Case, ...]:
    """The cases that a sheet shows, at most MOST, spread evenly over those with a lesion, then those without."""
    positives = min(len(dataset.positives), max(MOST * 2 // 3, MOST - len(dataset.normals)))
    return (*_spread(dataset.positives, positives), *_spread(dataset.normals, MOST - positives))


def write_contact_sheet(dataset: Dataset, path: Path, note: Callable[[str], None]) -> None:
    """Write the chosen cases to `path` as PNG, with their names.

    Lesions are dashed and green and have their label, lung masks are outlined in light blue. `note` is told of each
    image that cannot be read, whose place stays empty. Raises UsageError for a name that does not end in .png,
    WriteError.
    """
    from PIL import Image as images
    from PIL import ImageDraw

    if path.suffix.lower() != ".png":
        raise UsageError(f"--sheet {path}: a contact sheet is a PNG file; give a name that ends in .png")
    cases = chosen_for_sheet(dataset)
    columns = min(COLUMNS, len(cases))
    step = TILE + GAP
    sheet = images.new("RGB", (columns * step + GAP, math.ceil(len(cases) / columns) * step + GAP), (60, 60, 60))
    draw = ImageDraw.Draw(sheet)
    for number, case in enumerate(cases):
        left, top = GAP + number % columns * step, GAP + number // columns * step
        try:
            tile = _tile(case, dataset.lesion)
        except CxrcadError as error:
            note(f"not on the sheet: {error}")
            text(draw, (left, top), "not readable", REPORTED, TEXT_PX)
        else:
            sheet.paste(tile, (left + (TILE - tile.width) // 2, top + (TILE - tile.height) // 2))
        text(draw, (left, top + TILE - TEXT_PX - 5), case.name, REPORTED if case.positive else (255,) * 3, TEXT_PX)
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG")
    write_atomically(path, buffer.getvalue())


def _spread(cases: Sequence[Case], count: int) -> list[Case]:
    count = min(count, len(cases))
    return [cases[number * len(cases) // count] for number in range(count)]


def _tile(case: Case, lesion: str) -> Image:
    radiograph = read_case(case)
    zoom = TILE / max(radiograph.rows, radiograph.cols)
    whole = Box(0, 0, radiograph.cols, radiograph.rows)
    canvas = Canvas(radiograph.pixels, whole, (zoom, zoom), TEXT_PX)
    for mask in case.lung_masks:
        _outline(canvas.picture, read_mask(mask))
    for nodule in case.nodules:
        box = _extent(case, nodule)
        canvas.truth(box, thick=2)
        if nodule.label:
            place = (box.x0 * zoom, max(0.0, box.y0 * zoom - TEXT_PX - 8))
            text(canvas.draw, place, label_of(nodule, lesion), TRUTH, TEXT_PX)
    for polygon in case.polygons:
        corners = [(x * zoom, y * zoom) for x, y in polygon]
        canvas.draw.line([*corners, corners[0]], fill=TRUTH, width=2)
    return canvas.finished()


def _outline(picture: Image, mask: NDArray[np.bool_]) -> None:
    """Draw the mask's edge, one pixel wide, just inside it."""
    from PIL import Image as images
    from PIL import ImageFilter

    small = images.fromarray(mask.astype(np.uint8) * 255).resize(picture.size)
    inner = small.filter(ImageFilter.MinFilter(3))
    edge = (np.asarray(small) >= 128) & (np.asarray(inner) < 128)
    picture.paste(BELOW, (0, 0), images.fromarray(edge.astype(np.uint8) * 255))


def _extent(case: Case, nodule: Nodule) -> Box:
    """The lesion's box; around a centre of unknown size a twentieth of the image."""
    try:
        return nodule_box_px(case, nodule)
    except DataError:
        radius = max(case.rows, case.cols) / 40
        return Box(nodule.x_px - radius, nodule.y_px - radius, nodule.x_px + radius, nodule.y_px + radius)
