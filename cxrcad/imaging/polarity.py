"""Whether a radiograph is bright = dense, told by its pixels: which is more like a mean chest, it or its inverse.

The mean chest is searched for at many places, in several sizes and in four orientations. Ranks are compared and not
grey levels, so that no tone curve matters, and what holds for a radiograph holds for its inverse with the sign turned.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from cxrcad.core import Radiograph
from cxrcad.imaging.orientation import turned, upright
from cxrcad.imaging.preprocess import resized

__all__ = ["INVERTED", "RIGHT", "TURNED_BACK", "UNSURE", "UNTOLD", "polarity", "ranks_of", "way_shown", "with_polarity"]

RIGHT, INVERTED, UNSURE, UNTOLD = "right", "inverted", "unsure", "no chest"
CERTAIN = 0.1
"""Difference of two correlations from which one is taken for the better (docs/DETECT.md has what it gives)."""
CERTAIN_WAY = 0.05
"""The same, of the four ways in which a chest may lie."""
LEAST = 0.4
"""Correlation from which there may be a chest."""
STRUCTURE = 0.4
"""Correlation from which there is one, with the mean chest less its slope: any picture that grows bright downwards is
like a chest.
"""
BORDER = 4 / 255
"""Rows and columns at the edge whose values differ no more hold no picture: shutters, padding."""
COARSE, FINE, LEAST_SIDE = 128, 64, 40
SIZES = (1.0, 0.88, 0.77, 0.67, 0.58)
"""Sides of the chest, as parts of the picture's."""
LONGEST = 1.35
"""The most that the two parts may differ by."""
MEAN_CHEST = (
    (-91, -90, -89, -88, -85, -79, -61, -31, -3, 15),
    (-74, -65, -62, -61, -59, -56, -40, -17, 3, 15),
    (-39, -27, -24, -23, -23, -23, -27, -29, -7, 11),
    (-6, 8, 7, 1, -5, -27, -48, -52, -23, 6),
    (15, 26, 19, 8, -19, -53, -62, -57, -27, 9),
    (26, 33, 25, 7, -39, -70, -76, -66, -30, 16),
    (28, 36, 31, 0, -51, -77, -83, -71, -30, 25),
    (27, 38, 35, -8, -57, -79, -83, -70, -23, 34),
    (22, 38, 37, -14, -60, -79, -80, -60, -13, 42),
    (15, 36, 36, -20, -60, -77, -74, -46, 1, 51),
    (7, 33, 34, -23, -59, -73, -65, -30, 16, 60),
    (0, 32, 32, -25, -56, -67, -51, -14, 29, 67),
    (-4, 34, 28, -27, -51, -55, -31, 1, 41, 73),
    (-7, 35, 23, -27, -45, -39, -13, 13, 51, 78),
    (-8, 35, 15, -27, -35, -23, 0, 22, 58, 82),
    (-9, 33, 7, -21, -19, -1, 18, 37, 66, 86),
    (-12, 29, 5, -1, 17, 33, 44, 56, 75, 90),
    (-16, 25, 20, 39, 55, 62, 68, 74, 85, 94),
    (-21, 23, 46, 63, 72, 78, 82, 87, 93, 98),
    (-27, 20, 53, 71, 80, 86, 90, 94, 96, 99),
)
"""The left half of the mean of radiographs, as ranks, cut to the lung fields with 15 % around; the right mirrors it.

benchmarks/polarity.py makes it.
"""
WAYS = (1, 4, 5, 8)
TURNED_BACK = "the lungs were bright and the mediastinum dark: polarity turned back"
DOUBTFUL = "the pixels do not tell whether bright is dense: polarity left as it is"


def with_polarity(radiograph: Radiograph) -> Radiograph:
    """The radiograph, inverted where its polarity contradicts the anatomy for certain; else its pixels are untouched.

    Its notes say that it was inverted, or that the pixels leave it in doubt.
    """
    found = polarity(upright(radiograph.pixels, turned(radiograph.orientation)))
    if found in (RIGHT, UNTOLD):
        return radiograph
    note = TURNED_BACK if found == INVERTED else DOUBTFUL
    source = replace(radiograph.source, notes=(*radiograph.source.notes, note))
    return replace(radiograph, pixels=1 - radiograph.pixels if found == INVERTED else radiograph.pixels, source=source)


def polarity(pixels: NDArray[np.float32]) -> str:
    """RIGHT, INVERTED, UNSURE or UNTOLD, of an upright chest (rows, cols), values 0-1.

    INVERTED: the inverse is more like a chest than the picture is, and than the picture would be upside down or lying.
    """
    likeness = _likeness(pixels)
    right, inverted = likeness[0], -likeness[1]
    if max(right[0], inverted[0]) < LEAST:
        return UNTOLD
    if inverted[0] > max(right[0] + CERTAIN, *right[1:4]) and inverted[4] >= STRUCTURE:
        return INVERTED
    return UNSURE if inverted[0] > right[0] - CERTAIN else RIGHT


def way_shown(pixels: NDArray[np.float32]) -> int | None:
    """How the chest lies in pixels (rows, cols) of values 0-1, as a number of `orientation`; None where in doubt.

    1, or 4, 5, 8 for the head at the bottom, left or right; a chest and its mirror image are too like to be told apart.
    """
    likeness = {way: _likeness(upright(pixels, way)) for way in WAYS}
    best = max(WAYS, key=lambda way: likeness[way][0, 0])
    others = [likeness[way] for way in WAYS if way != best]
    found = likeness[best]
    as_chest = max(*(each[0, 0] for each in others), *(-each[1, 0] for each in likeness.values())) + CERTAIN_WAY
    as_structure = max(STRUCTURE, *(each[0, 4] + CERTAIN_WAY for each in others))
    return best if found[0, 0] >= as_chest and found[0, 4] >= as_structure else None


def _likeness(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """(2, 5): the highest and the lowest correlation that any part of a picture has with the five of `_chests`."""
    ranks = ranks_of(resized(_without_borders(resized(pixels, COARSE, COARSE)), FINE, FINE))
    chests, side = _chests(), len(MEAN_CHEST)
    found = []
    for down in SIZES:
        for across in SIZES:
            if max(down, across) <= LONGEST * min(down, across):
                small = np.matmul(_shrinking(round(side / down)) @ ranks, _shrinking(round(side / across)).T)
                parts = sliding_window_view(small, (side, side)).reshape(-1, side * side)
                parts = parts - parts.mean(axis=1, keepdims=True)
                found.append(parts @ chests.T / np.maximum(_lengths(parts), 1e-6))
    every = np.concatenate(found)
    return np.stack([every.max(axis=0), every.min(axis=0)])


@cache
def _shrinking(length: int) -> NDArray[np.float32]:
    """The matrix (length, FINE) that resizes that many rows, as `resized` does: many small pictures are made of one."""
    return resized(np.eye(FINE, dtype=np.float32), length, FINE)


@cache
def _chests() -> NDArray[np.float32]:
    """(5, pixels): the mean chest upright, upside down, lying to either side, and upright less its slope."""
    half = np.asarray(MEAN_CHEST, dtype=np.float32)
    chest = np.hstack([half, half[:, ::-1]])
    slope = np.polynomial.Polynomial.fit(np.arange(len(chest)), chest.mean(axis=1), 1)(np.arange(len(chest)))
    chests = (chest, chest[::-1], np.rot90(chest), np.rot90(chest, 3), chest - slope[:, None])
    rows = np.stack([one.ravel() - one.mean() for one in chests])
    return np.asarray(rows / _lengths(rows), dtype=np.float32)


def _without_borders(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    for axis in (1, 0):
        inside = np.flatnonzero(np.ptp(pixels, axis=axis) > BORDER)
        if inside.size and inside[-1] - inside[0] >= LEAST_SIDE:
            pixels = np.take(pixels, np.arange(inside[0], inside[-1] + 1), axis=1 - axis)
    return pixels


def ranks_of(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The rank of each value; equal ones share their mean rank."""
    _, index, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    return ranks[index].reshape(values.shape).astype(np.float32)


def _lengths(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """(rows, 1): the Euclidean length of each row."""
    lengths: NDArray[np.float32] = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    return lengths[:, None]
