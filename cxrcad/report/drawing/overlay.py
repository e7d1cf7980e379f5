"""A radiograph as PNG with its findings drawn in, and the truth where it is known."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cxrcad.core import Box, Finding, Nodule, Radiograph
from cxrcad.files import write_atomically

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

__all__ = ["render_overlay", "write_overlay"]

SMALLEST_SIDE = 768
LARGEST_SIDE = 1024
"""The longer side of an overlay lies between these, pixels: text and lines are legible whatever the file's size."""

REPORTED = (255, 176, 0)
BELOW = (120, 180, 255)
TRUTH = (80, 230, 120)
"""Orange, light blue and green: told apart on grey, and by line style without colour."""
SHADOW = (0, 0, 0)

TEXT_SIZE = 15
TEXT_MARGIN = 3
"""Pixels; text stands on a black label, legible on bone and on air."""

UNKNOWN_RADIUS = 24.0
"""Radius on the overlay of a nodule whose size is not known, pixels."""


def write_overlay(
    radiograph: Radiograph,
    findings: Sequence[Finding],
    path: Path,
    *,
    truth: Sequence[Nodule] = (),
    threshold: float | None = None,
) -> None:
    """Write `render_overlay` to `path` as PNG, whole or not at all. Raises WriteError."""
    buffer = io.BytesIO()
    render_overlay(radiograph, findings, truth=truth, threshold=threshold).save(buffer, format="PNG")
    write_atomically(path, buffer.getvalue())


def render_overlay(
    radiograph: Radiograph,
    findings: Sequence[Finding],
    *,
    truth: Sequence[Nodule] = (),
    threshold: float | None = None,
) -> Image:
    """The radiograph as an RGB picture of at most 1024 pixels a side, findings as boxes with their scores.

    Findings below `threshold` are thin and light blue, the others orange (all of them when it is None); the truth is
    dashed and green. A legend in the lower left corner says so.
    """
    from PIL import Image as images
    from PIL import ImageDraw, ImageFont

    longer = max(radiograph.rows, radiograph.cols)
    zoom = min(max(longer, SMALLEST_SIDE), LARGEST_SIDE) / longer
    size = (max(1, round(radiograph.cols * zoom)), max(1, round(radiograph.rows * zoom)))
    grey = (np.clip(radiograph.pixels, 0, 1) * 255 + 0.5).astype(np.uint8)
    picture = images.fromarray(grey).resize(size, images.Resampling.LANCZOS if zoom < 1 else images.Resampling.BICUBIC)
    picture = picture.convert("RGB")
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(TEXT_SIZE)
    reported = [item for item in findings if threshold is None or item.score >= threshold]
    below = [item for item in findings if threshold is not None and item.score < threshold]
    labels = []  # after all boxes, so that none hides a score
    for group, colour, width in ((below, BELOW, 1), (reported, REPORTED, 2)):
        for finding in reversed(group):  # the best on top
            place = _draw_box(draw, finding, zoom, colour, width)
            labels.append((f"{finding.score:.2f}", place, colour, width))
    for text, place, colour, width in labels:
        _draw_label(draw, text, place, (colour, width), font)
    for nodule in truth:
        _draw_truth(draw, nodule, radiograph.spacing_mm, zoom)
    _draw_legend(draw, _legend(reported, below, truth, threshold), font)
    return picture


def _draw_box(draw: ImageDraw, finding: Finding, zoom: float, colour: tuple[int, int, int], width: int) -> Box:
    """A box about the finding; where it stands on the overlay."""
    cols, rows = draw.im.size
    margin = width + 1
    box = _scaled(finding.box_px, zoom)
    x0, x1 = (min(max(x, 1), cols - 2) for x in (box.x0 - margin, box.x1 + margin))
    y0, y1 = (min(max(y, 1), rows - 2) for y in (box.y0 - margin, box.y1 + margin))
    draw.rectangle((x0 - 1, y0 - 1, x1 + 1, y1 + 1), outline=SHADOW, width=width + 2)
    draw.rectangle((x0, y0, x1, y1), outline=colour, width=width)
    return Box(x0, y0, x1, y1)


def _draw_label(draw: ImageDraw, text: str, box: Box, style: tuple[tuple[int, int, int], int], font: Any) -> None:
    """The score above its box, else below it, else inside, where there is room."""
    colour, width = style
    cols, rows = draw.im.size
    label_cols, label_rows = _label_size(draw, text, font)
    x = min(max(box.x0 - 1, 1), cols - label_cols - 1)
    above, below, inside = box.y0 - label_rows - 2, box.y1 + 3, box.y0 + width + 2
    y = above if above >= 1 else below if below + label_rows < rows else inside
    _draw_text(draw, (x, y), text, colour, font)


def _draw_truth(draw: ImageDraw, nodule: Nodule, spacing_mm: tuple[float, float] | None, zoom: float) -> None:
    """The nodule's exact extent as a dashed box where it is known, else a dashed circle of its size."""
    if nodule.box_px is not None:
        box = _scaled(nodule.box_px, zoom)
        corners = ((box.x0, box.y0), (box.x1, box.y0), (box.x1, box.y1), (box.x0, box.y1), (box.x0, box.y0))
        _draw_dashed(draw, corners)
        return
    radius = (UNKNOWN_RADIUS, UNKNOWN_RADIUS)
    if nodule.diameter_mm is not None and spacing_mm is not None:
        half = nodule.diameter_mm / 2 * zoom
        radius = (half / spacing_mm[1], half / spacing_mm[0])
    angles = np.linspace(0, 2 * math.pi, 73)
    x, y = nodule.x_px * zoom, nodule.y_px * zoom
    _draw_dashed(draw, [(x + radius[0] * math.cos(angle), y + radius[1] * math.sin(angle)) for angle in angles])


def _draw_dashed(draw: ImageDraw, points: Sequence[tuple[float, float]], dash: float = 8.0, gap: float = 6.0) -> None:
    """A dashed green line through the points, the dashes running on round the corners."""
    along = 0.0
    for (x0, y0), (x1, y1) in pairwise(points):
        length = math.hypot(x1 - x0, y1 - y0)
        start = 0.0
        while start < length:
            phase = along % (dash + gap)
            end = min(length, start + (dash - phase if phase < dash else dash + gap - phase))
            if phase < dash:
                ends = [(x0 + (x1 - x0) * at / length, y0 + (y1 - y0) * at / length) for at in (start, end)]
                draw.line(ends, fill=SHADOW, width=5)
                draw.line(ends, fill=TRUTH, width=3)
            along += max(end - start, 1e-6)
            start = max(end, start + 1e-6)


def _legend(
    reported: Sequence[Finding], below: Sequence[Finding], truth: Sequence[Nodule], threshold: float | None
) -> list[tuple[str, tuple[int, int, int]]]:
    """The lines of the legend with their colours: what was drawn, and how often."""
    at_least = "" if threshold is None else f", score {threshold:.2f} and above"
    lines = [(f"{len(reported)} found{at_least}", REPORTED)]
    if below:
        lines.append((f"{len(below)} below {threshold:.2f}", BELOW))
    if truth:
        lines.append((f"{len(truth)} true (dashed)", TRUTH))
    return lines


def _draw_legend(draw: ImageDraw, lines: Sequence[tuple[str, tuple[int, int, int]]], font: Any) -> None:
    sizes = [_label_size(draw, text, font) for text, _ in lines]
    width, height = max(cols for cols, _ in sizes), max(rows for _, rows in sizes) + 1
    y = draw.im.size[1] - height * len(lines) - 6
    draw.rectangle((6, y, 6 + width, y + height * len(lines) - 1), fill=SHADOW)
    for text, colour in lines:
        _draw_text(draw, (6, y), text, colour, font)
        y += height


def _draw_text(draw: ImageDraw, place: tuple[float, float], text: str, colour: tuple[int, int, int], font: Any) -> None:
    """Text on a black label whose upper left corner is `place`."""
    cols, rows = _label_size(draw, text, font)
    left, top = round(place[0]), round(place[1])
    draw.rectangle((left, top, left + cols - 1, top + rows - 1), fill=SHADOW)
    draw.text((left + TEXT_MARGIN, top + rows // 2), text, fill=colour, font=font, anchor="lm")


def _label_size(draw: ImageDraw, text: str, font: Any) -> tuple[int, int]:
    """(width, height) of a text's label; the height is the same for every text."""
    left, _, right, _ = draw.textbbox((0, 0), text, font=font, anchor="lm")
    return math.ceil(right - left) + 2 * TEXT_MARGIN, TEXT_SIZE + 2 * TEXT_MARGIN - 1


def _scaled(box: Box, zoom: float) -> Box:
    return Box(box.x0 * zoom, box.y0 * zoom, box.x1 * zoom, box.y1 * zoom)
