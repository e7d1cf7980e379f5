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
from cxrcad.report.drawing.marks import BELOW, REPORTED, SHADOW, TRUTH, Canvas, Colour, dashed, text, text_size

if TYPE_CHECKING:
    from PIL.Image import Image

SMALLEST_SIDE, LARGEST_SIDE = 768, 1024
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
    longer = max(radiograph.rows, radiograph.cols)
    zoom = min(max(longer, SMALLEST_SIDE), LARGEST_SIDE) / longer
    whole = Box(0, 0, radiograph.cols, radiograph.rows)
    canvas = Canvas(radiograph.pixels, whole, (zoom, zoom), round(round(longer * zoom) * TEXT_PART))
    reported = [item for item in findings if threshold is None or item.score >= threshold]
    below = [item for item in findings if threshold is not None and item.score < threshold]
    for group, colour, thick in ((below, BELOW, 2), (reported, REPORTED, 3)):
        for finding in reversed(group):  # the best on top
            canvas.box(finding.box_px, colour, thick, f"{finding.score:.2f}")
    for nodule in truth:
        _draw_truth(canvas, nodule, radiograph.spacing_mm)
    at_least = "" if threshold is None else f", score {threshold:.2f} and above"
    lines = [(f"{len(reported)} found{at_least}", REPORTED)]
    if below:
        lines.append((f"{len(below)} below {threshold:.2f}", BELOW))
    if truth:
        lines.append((f"{len(truth)} true (dashed)", TRUTH))
    picture = canvas.finished()
    _draw_legend(canvas, lines)
    return picture


def _draw_truth(canvas: Canvas, nodule: Nodule, spacing_mm: tuple[float, float] | None) -> None:
    """The nodule's exact extent as a dashed box where it is known, else a dashed circle of its size."""
    if nodule.box_px is not None:
        canvas.truth(nodule.box_px, margin=0)
        return
    zoom = canvas.scale[0]
    radius = (UNKNOWN_RADIUS, UNKNOWN_RADIUS)
    if nodule.diameter_mm is not None and spacing_mm is not None:
        half = nodule.diameter_mm / 2 * zoom
        radius = (half / spacing_mm[1], half / spacing_mm[0])
    angles = np.linspace(0, 2 * math.pi, 73)
    x, y = nodule.x_px * zoom, nodule.y_px * zoom
    dashed(canvas.draw, [(x + radius[0] * math.cos(angle), y + radius[1] * math.sin(angle)) for angle in angles])


def _draw_legend(canvas: Canvas, lines: Sequence[tuple[str, Colour]]) -> None:
    sizes = [text_size(canvas.draw, words, canvas.text_px) for words, _ in lines]
    width, height = max(cols for cols, _ in sizes), max(rows for _, rows in sizes) + 1
    y = canvas.picture.size[1] - height * len(lines) - 6
    canvas.draw.rectangle((6, y, 6 + width, y + height * len(lines) - 1), fill=SHADOW)
    for words, colour in lines:
        text(canvas.draw, (6, y), words, colour, canvas.text_px)
        y += height
