"""A part of a radiograph as PNG with one finding and its nodule drawn in."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cxrcad.core import Box, Case, DataError, Finding, Nodule, Radiograph, nodule_box_px
from cxrcad.files import write_atomically
from cxrcad.report.drawing.marks import BELOW, REPORTED, TRUTH, Canvas

SIDE_MM = 60.0
"""Length of a crop's side: a nodule of 10 mm and what surrounds it, ribs and vessels, are seen together."""

PART_OF_IMAGE = 0.25
"""Length of a crop's side, of the image's longer one, where the spacing is not known."""

ROOM = 1.5
"""A crop is at least this many times as wide as the boxes in it."""

PICTURE_SIDE = 384
"""Pixels of the picture's longer side, about the size at which the page shows it, so that its score is legible."""

SHOWN_PART = (1.0, 99.0)
LEAST_RANGE = 0.15
"""Percentiles of the crop that become black and white, and the least difference between them, presentation values."""

TEXT_SIZE = 22
COLOURS = 128
"""Of the PNG's palette: so many shades of grey look smooth, and the page stays small."""


def truth_box_px(case: Case, nodule: Nodule) -> Box | None:
    """The nodule's labelled box, else that of its disc, in pixels of the image; None where its size is unknown."""
    try:
        return nodule_box_px(case, nodule)
    except DataError:
        return None


def box_or_point(case: Case, nodule: Nodule) -> Box:
    """`truth_box_px`, or the nodule's centre as a box without area where its size is unknown."""
    return truth_box_px(case, nodule) or Box(nodule.x_px, nodule.y_px, nodule.x_px, nodule.y_px)


def inside(point: tuple[float, float], box: Box) -> bool:
    """Whether the point (x, y) lies in the half-open box."""
    return box.x0 <= point[0] < box.x1 and box.y0 <= point[1] < box.y1


def crop_px(case: Case, boxes: Sequence[Box], side_mm: float = SIDE_MM) -> Box:
    """The part of the image around the boxes: 60 mm a side, or a quarter of the image where the spacing is unknown.

    It is larger where the boxes need it, and moved inwards where it would reach over an edge; whole pixels. Another
    `side_mm` changes the quarter in proportion.
    """
    box = Box(
        min(box.x0 for box in boxes),
        min(box.y0 for box in boxes),
        max(box.x1 for box in boxes),
        max(box.y1 for box in boxes),
    )
    row_mm, col_mm = case.spacing_mm or (1.0, 1.0)
    side = side_mm if case.spacing_mm else PART_OF_IMAGE * side_mm / SIDE_MM * max(case.rows, case.cols)
    side = max(side, ROOM * (box.x1 - box.x0) * col_mm, ROOM * (box.y1 - box.y0) * row_mm)
    x, y = box.center
    x0, x1 = _span(x, side / col_mm, case.cols)
    y0, y1 = _span(y, side / row_mm, case.rows)
    return Box(x0, y0, x1, y1)


def _span(middle: float, length: float, size: int) -> tuple[int, int]:
    whole = min(max(1, round(length)), size)
    start = min(max(round(middle - whole / 2), 0), size - whole)
    return start, start + whole


def write_crop(
    radiograph: Radiograph,
    part: Box,
    path: Path,
    *,
    finding: Finding | None,
    truth: Sequence[Box],
    threshold: float,
) -> None:
    """Write the part of the radiograph to `path` as PNG, its greys stretched to the part's own range.

    The finding is a box with its score, orange, or light blue and thinner below `threshold`; true boxes are dashed and
    green. Raises WriteError.
    """
    from PIL import Image

    canvas = stretched(radiograph, part, PICTURE_SIDE, TEXT_SIZE)
    for box in truth:
        canvas.truth(box)
    if finding is not None:
        colour, thick = (REPORTED, 3) if finding.score >= threshold else (BELOW, 2)
        canvas.box(finding.box_px, colour, thick, f"{finding.score:.2f}")
    buffer = io.BytesIO()
    palette = Image.new("P", (1, 1))
    palette.putpalette(_palette())
    canvas.finished().quantize(palette=palette, dither=Image.Dither.NONE).save(buffer, format="PNG", optimize=True)
    write_atomically(path, buffer.getvalue())


def stretched(radiograph: Radiograph, part: Box, side_px: int, text_px: int) -> Canvas:
    """The part of the radiograph to draw on, its longer side `side_px`, its greys stretched to its own range."""
    pixels = radiograph.pixels[int(part.y0) : int(part.y1), int(part.x0) : int(part.x1)]
    low, high = np.percentile(pixels, SHOWN_PART)
    grey = (pixels - low) / max(high - low, LEAST_RANGE)
    row_mm, col_mm = radiograph.spacing_mm or (1.0, 1.0)
    zoom = side_px / max((part.x1 - part.x0) * col_mm, (part.y1 - part.y0) * row_mm)
    return Canvas(grey, part, (col_mm * zoom, row_mm * zoom), text_px)


def _palette() -> list[int]:
    """128 colours: every second grey or so, and those of the lines with the shades of their letters' edges."""
    shades = [round(part * value) for line in (REPORTED, BELOW) for part in (1.0, 0.75, 0.5, 0.25) for value in line]
    coloured = [*TRUTH, *shades]
    greys = np.linspace(0, 255, COLOURS - len(coloured) // 3).round().astype(int)
    return [*np.repeat(greys, 3).tolist(), *coloured]
