"""A part of a radiograph as a picture, and what is drawn on it: boxes with scores, dashed outlines of the truth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cxrcad.core import Box

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

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


class Canvas:
    """A part of a radiograph as an RGB picture. Places are in pixels of the image, widths in pixels of the picture."""

    def __init__(self, grey: NDArray[np.float32], part: Box, scale: tuple[float, float], text_px: int) -> None:
        """`grey` holds the part's values, 0-1, and `scale` (x, y) how many of the picture's pixels one of them is."""
        from PIL import Image as images
        from PIL import ImageDraw

        self.part, self.scale, self.text_px = part, scale, text_px
        rows, cols = grey.shape
        size = (max(1, round(cols * scale[0])), max(1, round(rows * scale[1])))
        kind = images.Resampling.LANCZOS if min(scale) < 1 else images.Resampling.BICUBIC
        whole = images.fromarray((np.clip(grey, 0, 1) * 255 + 0.5).astype(np.uint8))
        self.picture: Image = whole.resize(size, kind).convert("RGB")
        self.draw = ImageDraw.Draw(self.picture)
        self._labels: list[tuple[Corners, str, Colour, int]] = []

    def box(self, box: Box, colour: Colour, thick: int, words: str) -> None:
        """Draw a box with lines `thick` wide on a dark one, just outside `box`, and its label."""
        cols, rows = self.picture.size
        left, top, right, bottom = self._placed(box, thick + 1)
        x0, x1 = (min(max(x, 1), cols - 2) for x in (left, right))
        y0, y1 = (min(max(y, 1), rows - 2) for y in (top, bottom))
        self.draw.rectangle((x0 - 1, y0 - 1, x1 + 1, y1 + 1), outline=SHADOW, width=thick + 2)
        self.draw.rectangle((x0, y0, x1, y1), outline=colour, width=thick)
        self._labels.append(((x0, y0, x1, y1), words, colour, thick))

    def truth(self, box: Box, margin: int = 2, thick: int = 3) -> None:
        """Draw a true nodule's box: green and dashed, `margin` outside it."""
        x0, y0, x1, y1 = self._placed(box, margin)
        dashed(self.draw, [(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)], thick)

    def finished(self) -> Image:
        """The picture, with the labels above their boxes, else below or inside: over all lines, so that none is hid."""
        cols, rows = self.picture.size
        for (x0, y0, _, y1), words, colour, thick in self._labels:
            wide, high = text_size(self.draw, words, self.text_px)
            above, below, inside = y0 - high - 2, y1 + 3, y0 + thick + 2
            top = above if above >= 1 else below if below + high < rows else inside
            text(self.draw, (min(max(x0 - 1, 1), cols - wide - 1), top), words, colour, self.text_px)
        return self.picture

    def _placed(self, box: Box, margin: int) -> Corners:
        (x, y), part = self.scale, self.part
        left, top = (box.x0 - part.x0) * x - margin, (box.y0 - part.y0) * y - margin
        return left, top, (box.x1 - part.x0) * x + margin, (box.y1 - part.y0) * y + margin


def font(size: int) -> Any:
    """Pillow's own font, in letters of `size` pixels."""
    from PIL import ImageFont

    return ImageFont.load_default(size)


def text(draw: ImageDraw, place: tuple[float, float], words: str, colour: Colour, size: int) -> None:
    """Write on a black label whose upper left corner is `place`."""
    wide, high = text_size(draw, words, size)
    left, top = round(place[0]), round(place[1])
    draw.rectangle((left, top, left + wide - 1, top + high - 1), fill=SHADOW)
    draw.text((left + TEXT_MARGIN, top + high // 2), words, fill=colour, font=font(size), anchor="lm")


def text_size(draw: ImageDraw, words: str, size: int) -> tuple[int, int]:
    """(width, height) of a label; the height is the same for every text."""
    left, _, right, _ = draw.textbbox((0, 0), words, font=font(size), anchor="lm")
    return math.ceil(right - left) + 2 * TEXT_MARGIN, size + 2 * TEXT_MARGIN - 1


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
