"""What is drawn on radiographs: frames about findings, scores on black labels, dashed outlines of the truth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

__all__ = [
    "BELOW",
    "REPORTED",
    "SHADOW",
    "TRUTH",
    "Colour",
    "Corners",
    "corners_of",
    "dashed",
    "frame",
    "label",
    "text",
    "text_size",
]

Colour = tuple[int, int, int]
Corners = tuple[float, float, float, float]
"""x0, y0, x1, y1 in the pixels of a picture."""

REPORTED: Colour = (255, 176, 0)
BELOW: Colour = (120, 180, 255)
TRUTH: Colour = (80, 230, 120)
"""Orange, light blue and green: told apart on grey, and by line style without colour."""
SHADOW: Colour = (0, 0, 0)

DASH, GAP = 8.0, 6.0
TEXT_MARGIN = 3
"""Pixels; text stands on a black label, legible on bone and on air."""


def frame(draw: ImageDraw, box: Corners, colour: Colour, thick: int) -> Corners:
    """Draw a box with lines `thick` pixels wide on a dark one; where it stands within the picture."""
    cols, rows = draw.im.size
    x0, x1 = (min(max(x, 1), cols - 2) for x in (box[0], box[2]))
    y0, y1 = (min(max(y, 1), rows - 2) for y in (box[1], box[3]))
    draw.rectangle((x0 - 1, y0 - 1, x1 + 1, y1 + 1), outline=SHADOW, width=thick + 2)
    draw.rectangle((x0, y0, x1, y1), outline=colour, width=thick)
    return x0, y0, x1, y1


def label(draw: ImageDraw, box: Corners, words: str, colour: Colour, size: int, thick: int) -> None:
    """Write above the box, else below it, else inside, where there is room."""
    cols, rows = draw.im.size
    wide, high = text_size(draw, words, size)
    x0, y0, _, y1 = box
    left = min(max(x0 - 1, 1), cols - wide - 1)
    above, below, inside = y0 - high - 2, y1 + 3, y0 + thick + 2
    top = above if above >= 1 else below if below + high < rows else inside
    text(draw, (left, top), words, colour, size)


def text(draw: ImageDraw, place: tuple[float, float], words: str, colour: Colour, size: int) -> None:
    """Write on a black label whose upper left corner is `place`."""
    from PIL import ImageFont

    wide, high = text_size(draw, words, size)
    left, top = round(place[0]), round(place[1])
    draw.rectangle((left, top, left + wide - 1, top + high - 1), fill=SHADOW)
    font = ImageFont.load_default(size)
    draw.text((left + TEXT_MARGIN, top + high // 2), words, fill=colour, font=font, anchor="lm")


def text_size(draw: ImageDraw, words: str, size: int) -> tuple[int, int]:
    """(width, height) of a label; the height is the same for every text."""
    from PIL import ImageFont

    left, _, right, _ = draw.textbbox((0, 0), words, font=ImageFont.load_default(size), anchor="lm")
    return math.ceil(right - left) + 2 * TEXT_MARGIN, size + 2 * TEXT_MARGIN - 1


def corners_of(box: Corners) -> list[tuple[float, float]]:
    """The closed line round a box."""
    x0, y0, x1, y1 = box
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)]


def dashed(draw: ImageDraw, points: Sequence[tuple[float, float]], thick: int = 3) -> None:
    """Draw a dashed green line through the points, the dashes running on round the corners."""
    along = 0.0
    for (x0, y0), (x1, y1) in pairwise(points):
        length = math.hypot(x1 - x0, y1 - y0)
        start = 0.0
        while start < length:
            phase = along % (DASH + GAP)
            end = min(length, start + (DASH - phase if phase < DASH else DASH + GAP - phase))
            if phase < DASH:
                ends = [(x0 + (x1 - x0) * at / length, y0 + (y1 - y0) * at / length) for at in (start, end)]
                draw.line(ends, fill=SHADOW, width=thick + 2)
                draw.line(ends, fill=TRUTH, width=thick)
            along += max(end - start, 1e-6)
            start = max(end, start + 1e-6)
