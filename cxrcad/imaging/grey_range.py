"""Grey levels of which a radiograph fills a small part: markers, borders and padding far beyond it decide the range."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cxrcad.core import Radiograph
from cxrcad.imaging.presentation import middle_of

__all__ = ["with_own_range"]

LEVELS = 256
LEAST_GAP = 16
"""Levels: what remains of a picture in a few of them has gaps by its coarseness."""
FEW = 1e-4
"""Part of the pixels that a level may have and still count as empty: damaged ones, the seam of a lossy compression."""
WIDE = 0.4
"""Part of all levels from which empty ones between two parts are a gap, which no radiograph has."""
OUTSIDE = 0.005
"""Part of the pixels from which what lies beyond the picture counts: the model's own stretch leaves out as much."""


def with_own_range(radiograph: Radiograph) -> Radiograph:
    """The radiograph with its own grey levels as 0-1, where others lie far beyond them; else it is untouched.

    What lies beyond a wide gap, and not in the middle, are markers, borders or padding. The notes say how many pixels
    were clipped.
    """
    levels = (radiograph.pixels * (LEVELS - 1)).astype(np.uint8)
    first, end = _own_levels(levels)
    if (first, end) == (0, LEVELS):
        return radiograph
    inside = (levels >= first) & (levels < end)
    outside = 1 - float(inside.mean())
    if outside <= OUTSIDE or 1 - middle_of(inside).mean() > OUTSIDE:
        return radiograph
    low, high = radiograph.pixels[inside].min(), radiograph.pixels[inside].max()
    if low == high:
        return radiograph
    pixels = (np.clip(radiograph.pixels, low, high) - low) / (high - low)
    note = f"{100 * outside:.1f} % of the pixels lie far beyond the others: clipped to their range"
    return replace(radiograph, pixels=pixels, source=replace(radiograph.source, notes=(*radiograph.source.notes, note)))


def _own_levels(levels: NDArray[np.uint8]) -> tuple[int, int]:
    """The first level of the picture and the one behind its last: those of its middle at each wide gap."""
    counts, middle = (np.bincount(each.ravel(), minlength=LEVELS) for each in (levels, middle_of(levels)))
    first, end = 0, LEVELS
    while True:
        filled = first + np.flatnonzero(counts[first:end] > FEW * levels.size)
        gaps = np.diff(filled)
        if not gaps.size or gaps.max() < max(LEAST_GAP, WIDE * (filled[-1] - filled[0])):
            return first, end
        place = int(gaps.argmax())
        below, above = filled[place] + 1, filled[place + 1]
        is_below = middle[first:below].sum() >= middle[above:end].sum()
        first, end = (first, int(below)) if is_below else (int(above), end)
