"""A radiograph as PNG with its findings drawn in, and the truth where it is known."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cxrcad.core import Box, Finding, Nodule, Radiograph
from cxrcad.files import write_atomically
from cxrcad.report.drawing.marks import (
    BELOW,
    REPORTED,
    SHADOW,
    TRUTH,
    Colour,
    Corners,
    corners_of,
    dashed,
    frame,
    label,
    text,
    text_size,
)

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

__all__ = ["render_overlay", "write_overlay"]

SMALLEST_SIDE = 768
LARGEST_SIDE = 1024
"""The longer side of an overlay lies between these, pixels: text and lines are legible whatever the file's size."""

TEXT_PART = 1 / 32
"""Height of the letters, of the overlay's longer side: legible where a page shows it at a third of its size."""

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
    from PIL import ImageDraw

    longer = max(radiograph.rows, radiograph.cols)
    zoom = min(max(longer, SMALLEST_SIDE), LARGEST_SIDE) / longer
    size = (max(1, round(radiograph.cols * zoom)), max(1, round(radiograph.rows * zoom)))
    grey = (np.clip(radiograph.pixels, 0, 1) * 255 + 0.5).astype(np.uint8)
    picture = images.fromarray(grey).resize(size, images.Resampling.LANCZOS if zoom < 1 else images.Resampling.BICUBIC)
    picture = picture.convert("RGB")
    draw = ImageDraw.Draw(picture)
    size_px = round(max(size) * TEXT_PART)
    reported = [item for item in findings if threshold is None or item.score >= threshold]
    below = [item for item in findings if threshold is not None and item.score < threshold]
    labels = []  # after all boxes, so that none hides a score
    for group, colour, thick in ((below, BELOW, 2), (reported, REPORTED, 3)):
        for finding in reversed(group):  # the best on top
            place = frame(draw, _scaled(finding.box_px, zoom, thick + 1), colour, thick)
            labels.append((place, f"{finding.score:.2f}", colour, thick))
    for place, words, colour, thick in labels:
        label(draw, place, words, colour, size_px, thick)
    for nodule in truth:
        _draw_truth(draw, nodule, radiograph.spacing_mm, zoom)
    _draw_legend(draw, _legend(reported, below, truth, threshold), size_px)
    return picture


def _draw_truth(draw: ImageDraw, nodule: Nodule, spacing_mm: tuple[float, float] | None, zoom: float) -> None:
    """The nodule's exact extent as a dashed box where it is known, else a dashed circle of its size."""
    if nodule.box_px is not None:
        dashed(draw, corners_of(_scaled(nodule.box_px, zoom)))
        return
    radius = (UNKNOWN_RADIUS, UNKNOWN_RADIUS)
    if nodule.diameter_mm is not None and spacing_mm is not None:
        half = nodule.diameter_mm / 2 * zoom
        radius = (half / spacing_mm[1], half / spacing_mm[0])
    angles = np.linspace(0, 2 * math.pi, 73)
    x, y = nodule.x_px * zoom, nodule.y_px * zoom
    dashed(draw, [(x + radius[0] * math.cos(angle), y + radius[1] * math.sin(angle)) for angle in angles])


def _legend(
    reported: Sequence[Finding], below: Sequence[Finding], truth: Sequence[Nodule], threshold: float | None
) -> list[tuple[str, Colour]]:
    """The lines of the legend with their colours: what was drawn, and how often."""
    at_least = "" if threshold is None else f", score {threshold:.2f} and above"
    lines = [(f"{len(reported)} found{at_least}", REPORTED)]
    if below:
        lines.append((f"{len(below)} below {threshold:.2f}", BELOW))
    if truth:
        lines.append((f"{len(truth)} true (dashed)", TRUTH))
    return lines


def _draw_legend(draw: ImageDraw, lines: Sequence[tuple[str, Colour]], size_px: int) -> None:
    sizes = [text_size(draw, words, size_px) for words, _ in lines]
    width, height = max(cols for cols, _ in sizes), max(rows for _, rows in sizes) + 1
    y = draw.im.size[1] - height * len(lines) - 6
    draw.rectangle((6, y, 6 + width, y + height * len(lines) - 1), fill=SHADOW)
    for words, colour in lines:
        text(draw, (6, y), words, colour, size_px)
        y += height


def _scaled(box: Box, zoom: float, margin: int = 0) -> Corners:
    """The box on the overlay, so many of its pixels larger all round."""
    return box.x0 * zoom - margin, box.y0 * zoom - margin, box.x1 * zoom + margin, box.y1 * zoom + margin
