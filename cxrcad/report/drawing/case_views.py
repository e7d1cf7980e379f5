"""Views of cases: a radiograph in panels side by side, with truth, maps and findings drawn in, titled and captioned."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cxrcad.core import Box, Radiograph
from cxrcad.files import write_atomically
from cxrcad.report.drawing.crops import stretched
from cxrcad.report.drawing.marks import BELOW, REPORTED, SHADOW, TRUTH, Canvas, Colour, font

if TYPE_CHECKING:
    from PIL.Image import Image

TRUE, HIT, FALSE_POSITIVE, BELOW_THRESHOLD = "true", "hit", "false positive", "below the threshold"

WRONG = (255, 110, 220)
OUTLINE = (60, 215, 235)
COLOURS: Mapping[str, Colour] = {TRUE: TRUTH, HIT: REPORTED, FALSE_POSITIVE: WRONG, BELOW_THRESHOLD: BELOW}
"""Green, orange, pink, light blue; each box also says in its label what it is."""

LEGEND: Mapping[str, str] = {
    TRUE: "dashed: the true nodule",
    HIT: "box: a hit",
    FALSE_POSITIVE: "box: a false positive",
    BELOW_THRESHOLD: "thin box: below the threshold",
}

PAGE_COLS = 1500
MARGIN, GAP, BETWEEN = 14, 8, 34
"""Pixels: the sheet's width, its rim, the space between two panels and between two cases."""

TEXT_SIZE = 20
MARK_SIZE = 16
LINE = 27
LETTER = 11
"""Pixels: the letters of titles and captions, of labels, a line of text, and about a letter's width."""

INK, PAPER = (51, 51, 51), (255, 255, 255)

SHADE = (255, 120, 0)
STRONGEST_SHADE = 0.6
"""Part of the shade's colour where the probability is 1: the radiograph stays visible under it."""

OUTLINE_PX = 2
MAPS = ("the true lung fields", "nodule probability")


@dataclass(frozen=True)
class Mark:
    """A box in the image's pixels, drawn as what it is (`kind`: TRUE, HIT, FALSE_POSITIVE, BELOW_THRESHOLD)."""

    kind: str
    box_px: Box
    label: str = ""


@dataclass(frozen=True, eq=False)
class Panel:
    """One picture of a case: title, boxes, and two maps over exactly the image's extent, of any size.

    `shade` holds probabilities 0-1, `outline` is a mask, of which the rim is drawn.
    """

    title: str
    marks: tuple[Mark, ...] = ()
    shade: NDArray[np.float32] | None = None
    outline: NDArray[np.bool_] | None = None


@dataclass(frozen=True, eq=False)
class CaseView:
    """One case: the `part` of its radiograph (pixels) that every panel shows, and the caption under them."""

    caption: str
    radiograph: Radiograph
    part: Box
    panels: tuple[Panel, ...]


def write_case_views(cases: Sequence[CaseView], path: Path, across: int = 1, maps: tuple[str, str] = MAPS) -> None:
    """Write `render_case_views` as PNG, whole or not at all; the same cases give the same bytes. Raises WriteError."""
    content = io.BytesIO()
    render_case_views(cases, across, maps).save(content, format="PNG", optimize=True)
    write_atomically(path, content.getvalue())


def render_case_views(cases: Sequence[CaseView], across: int = 1, maps: tuple[str, str] = MAPS) -> Image:
    """The cases below one another, `across` of them side by side, 1500 pixels wide, on white; a legend at the foot.

    `maps` says in the legend what outline and shade are. There is at least one strip, and all have as many panels.
    """
    from PIL import Image as images

    width = (PAGE_COLS - 2 * MARGIN - (across - 1) * BETWEEN) // across
    drawn = [_case(case, width) for case in cases]
    lines = [drawn[start : start + across] for start in range(0, len(drawn), across)]
    legend = _legend(cases, maps)
    height = sum(max(one.height for one in line) + BETWEEN // 2 for line in lines) + 2 * MARGIN + legend.height
    sheet = images.new("RGB", (PAGE_COLS, height), PAPER)
    top = MARGIN
    for line in lines:
        for place, one in enumerate(line):
            sheet.paste(one, (MARGIN + place * (width + BETWEEN), top))
        top += max(one.height for one in line) + BETWEEN // 2
    sheet.paste(legend, (MARGIN, top))
    return sheet


def _case(case: CaseView, width: int) -> Image:
    """Titles, panels and the caption, as one picture `width` pixels wide."""
    from PIL import Image as images
    from PIL import ImageDraw

    count = len(case.panels)
    side = (width - (count - 1) * GAP) // count
    pictures = [_panel(case, panel, side) for panel in case.panels]
    caption = textwrap.wrap(case.caption, width // LETTER)
    body = LINE + max(picture.height for picture in pictures)
    whole = images.new("RGB", (width, body + LINE * len(caption) + 6), PAPER)
    draw = ImageDraw.Draw(whole)
    for place, (panel, picture) in enumerate(zip(case.panels, pictures, strict=True)):
        left = place * (side + GAP)
        draw.text((left, LINE // 2), panel.title, fill=INK, font=font(TEXT_SIZE), anchor="lm")
        whole.paste(picture, (left, LINE))
    for number, line in enumerate(caption):
        middle = body + 6 + LINE * number + LINE // 2
        draw.text((0, middle), line, fill=INK, font=font(TEXT_SIZE), anchor="lm")
    return whole


def _panel(case: CaseView, panel: Panel, side: int) -> Image:
    canvas = stretched(case.radiograph, case.part, side, MARK_SIZE)
    if panel.shade is not None:
        strength = np.clip(_fitted(panel.shade, case, canvas), 0, 1)[..., None] * STRONGEST_SHADE
        _paint(canvas, np.asarray(canvas.picture) * (1 - strength) + np.array(SHADE) * strength + 0.5)
    if panel.outline is not None:
        from scipy import ndimage

        mask = _fitted(panel.outline.astype(np.float32), case, canvas) >= 0.5
        rim = mask & ~ndimage.binary_erosion(mask, iterations=OUTLINE_PX, border_value=1)  # none at the picture's edge
        _paint(canvas, np.where(rim[..., None], np.array(OUTLINE), np.asarray(canvas.picture)))
    for mark in panel.marks:
        if mark.kind == TRUE:
            canvas.truth(mark.box_px, thick=2)
    for mark in reversed(panel.marks):  # the first on top
        if mark.kind != TRUE:
            canvas.box(mark.box_px, COLOURS[mark.kind], 2 if mark.kind == BELOW_THRESHOLD else 3, mark.label)
    return canvas.finished()


def _paint(canvas: Canvas, pixels: NDArray[np.float64]) -> None:
    from PIL import Image as images

    canvas.picture.paste(images.fromarray(pixels.astype(np.uint8)))


def _fitted(values: NDArray[np.float32], case: CaseView, canvas: Canvas) -> NDArray[np.float32]:
    """The case's part of a map over the image's extent, at the picture's pixels."""
    from PIL import Image as images

    rows, cols = values.shape
    down, across = rows / case.radiograph.rows, cols / case.radiograph.cols
    part = case.part
    box = (part.x0 * across, part.y0 * down, min(part.x1 * across, cols), min(part.y1 * down, rows))
    picture = images.fromarray(np.ascontiguousarray(values, dtype=np.float32))
    return np.asarray(picture.resize(canvas.picture.size, images.Resampling.BILINEAR, box=box))


def _legend(cases: Sequence[CaseView], maps: tuple[str, str]) -> Image:
    """What was drawn, in its colours on black: on one line where there is room."""
    from PIL import Image as images
    from PIL import ImageDraw

    panels = [panel for case in cases for panel in case.panels]
    kinds = {mark.kind for panel in panels for mark in panel.marks}
    entries = [(text, COLOURS[kind]) for kind, text in LEGEND.items() if kind in kinds]
    if any(panel.outline is not None for panel in panels):
        entries.append((f"line: {maps[0]}", OUTLINE))
    if any(panel.shade is not None for panel in panels):
        entries.append((f"shade: {maps[1]}", SHADE))
    width = PAGE_COLS - 2 * MARGIN
    places, left, top = [], GAP, 0
    for text, colour in entries:
        long = round(font(TEXT_SIZE).getlength(text))
        if left > GAP and left + long > width - GAP:
            left, top = GAP, top + LINE
        places.append((left, top + LINE // 2, text, colour))
        left += long + BETWEEN
    legend = images.new("RGB", (width, top + LINE), SHADOW)
    draw = ImageDraw.Draw(legend)
    for x, y, text, colour in places:
        draw.text((x, y), text, fill=colour, font=font(TEXT_SIZE), anchor="lm")
    return legend
