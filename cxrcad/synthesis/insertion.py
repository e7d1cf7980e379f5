"""Nodules put into radiographs, and negative insertions: background patches put in the same way, without a nodule.

`cxrcad simulate` and the insertion-artefact test put one nodule into a radiograph on JSRT's grid, in grey levels of 255
(`insert_nodule`, `reinsert_background`). Training puts new ones into an image each time it is drawn, on the model's
grid in 0-1, from projections made once (`insert_nodules`, `insert_backgrounds`). A model that finds negative insertions
has learned the traces of inserting.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrcad.core import DataError, Nodule
from cxrcad.synthesis.backgrounds import GRID_MM, GRID_SIDE
from cxrcad.synthesis.nodules import JSRT_NODULES, JSRT_OUTSIDE, NoduleStock, draw_nodule
from cxrcad.synthesis.projection import (
    BLUR_PX,
    CONTRAST,
    WHITE,
    Projection,
    outlined,
    outside_zone,
    project,
    projection_of,
    with_background,
    with_nodule,
)

__all__ = [
    "PATCHES",
    "Candidates",
    "Inserted",
    "Zones",
    "insert_backgrounds",
    "insert_nodule",
    "insert_nodules",
    "placement_zones",
    "reinsert_background",
]

PATCHES = ("contralateral", "blurred")
"""What a negative insertion is made of: the same place of the other side, mirrored; or its own place, blurred."""

OUTSIDE_FRACTION = JSRT_OUTSIDE / JSRT_NODULES  # of the nodules lie behind heart and hila or below the domes
LUNG_MARGIN, OUTSIDE_MARGIN, LEVEL_MARGIN = 6, 4, 12  # pixels of 0.35 mm off the lung's edge
MOST_TRIES = 50
TRAINING_CONTRAST = CONTRAST[1][0] / 255, CONTRAST[5][1] / 255  # of the display range: all subtleties

Image32 = NDArray[np.float32]
Bits = NDArray[np.bool_]
Window = tuple[slice, slice]


@dataclass(frozen=True, eq=False)
class Candidates:
    """The nodules of a stock that may still be drawn, by index."""

    stock: NoduleStock
    free: Sequence[int]


@dataclass(frozen=True)
class Inserted:
    """What was put where: `nodule` in pixel edges of the 1024 grid, its extent above a fifth of the projection's peak.

    `index` is its place in its stock, `scale` says by how much it was enlarged.
    """

    nodule: Nodule
    index: int
    scale: float


@dataclass(frozen=True, eq=False)
class _Spot:
    """A projection and the window of the image that it goes to."""

    projection: Projection
    window: Window
    inserted: Inserted


def insert_nodule(
    image: Image32, lung: Bits, candidates: Candidates, subtlety: int, outside: bool, rng: np.random.Generator
) -> tuple[Image32, Inserted]:
    """`image` (1024 x 1024, grey levels of 255) with one nodule of `subtlety` (1-5), and its truth.

    `outside` puts it outside the lung fields. Raises DataError where no place is large enough.
    """
    spot = _spot(lung, candidates, outside, rng)
    contrast, level = rng.uniform(*CONTRAST[subtlety]), _lung_level(image, lung)
    result, thickness = image.copy(), spot.projection.thickness
    result[spot.window] = with_nodule(image[spot.window], thickness, contrast, lung_level=level, white=WHITE)
    return result, spot.inserted


def reinsert_background(
    image: Image32, lung: Bits, rng: np.random.Generator, *, candidates: Candidates, outside: bool, patch: str
) -> tuple[Image32, Inserted]:
    """`image` with a negative insertion: a background patch put in as a nodule would be; and where.

    Shape, place, blur, compression and rounding are those of the nodule that `insert_nodule` would draw from `rng`;
    instead of its contrast, `patch` (one of PATCHES) takes the background's place, and the mean level is kept.
    Raises DataError as `insert_nodule`.
    """
    from scipy import ndimage

    if patch not in PATCHES:
        raise DataError(f"there is no patch {patch!r}; choose from {', '.join(PATCHES)}")
    spot = _spot(lung, candidates, outside, rng)
    place = image[spot.window]
    source = ndimage.gaussian_filter(place if patch == "blurred" else _mirrored(image, lung, spot.window), BLUR_PX)
    level, thickness = _lung_level(image, lung), spot.projection.thickness
    result = image.copy()
    result[spot.window] = with_background(place, source, thickness, lung_level=level, white=WHITE, precision=np.float64)
    return result, spot.inserted


def _spot(lung: Bits, candidates: Candidates, outside: bool, rng: np.random.Generator) -> _Spot:
    """A nodule and a place that takes it; where none does, another nodule, up to MOST_TRIES of them."""
    from scipy import ndimage

    zone = outside_zone(lung, OUTSIDE_MARGIN) if outside else ndimage.binary_erosion(lung, iterations=LUNG_MARGIN)
    spots = np.argwhere(zone)
    diameters_mm = candidates.stock.diameters_mm.astype(np.float64)[list(candidates.free)]
    for _ in range(MOST_TRIES):
        place, scale = draw_nodule(diameters_mm, rng)
        index = candidates.free[place]
        projection = projection_of(project(candidates.stock.density(index), scale, rng))
        if projection is None:  # a nodule no denser than the lung
            continue
        height, width = projection.thickness.shape
        fits = ((spots > (height, width)) & (spots < (GRID_SIDE - height, GRID_SIDE - width))).all(1)
        if not fits.any():
            continue
        row, col = spots[fits][rng.integers(fits.sum())]
        window = _window(row, col, projection)
        corner = window[0].start, window[1].start
        nodule = outlined(projection.outline, GRID_MM, in_lung=not outside, corner=corner)
        return _Spot(projection, window, Inserted(nodule, index, scale))
    raise DataError(
        f"no place for a nodule {'outside' if outside else 'in'} its lung fields, {np.count_nonzero(zone)} pixels; "
        "correct its lung mask or take it out of the folder"
    )


def _window(row: int, col: int, projection: Projection) -> Window:
    """The part of an image under a projection whose middle lies at (row, col)."""
    height, width = projection.thickness.shape
    top, left = row - height // 2, col - width // 2
    return slice(top, top + height), slice(left, left + width)


def _lung_level(image: Image32, lung: Bits) -> float:
    from scipy import ndimage

    inner = ndimage.binary_erosion(lung, iterations=LEVEL_MARGIN)
    return float(np.median(image[inner if inner.any() else lung]))


def _mirrored(image: Image32, lung: Bits, window: Window) -> Image32:
    """The place across the middle of the lung fields, mirrored, moved into the image where it would leave it."""
    cols = np.flatnonzero(lung.any(0))
    width = window[1].stop - window[1].start
    left = min(max(0, int(cols[0]) + int(cols[-1]) + 1 - window[1].stop), image.shape[1] - width)
    return image[window[0], left : left + width][:, ::-1]


# Training


@dataclass(frozen=True, eq=False)
class Zones:
    """Where nodules may be put on one image: flat pixel indices, and the median level of its lungs (0-1).

    OUTSIDE_FRACTION of them go outside the lung fields.
    """

    lung: NDArray[np.int32]
    outside: NDArray[np.int32]
    lung_level: float


def placement_zones(image: Image32, lung: Bits) -> Zones:
    """Where a nodule may lie on `image` (rows, cols; 0-1): in the lung, or behind heart, hila and the domes."""
    from scipy import ndimage

    margin = max(1, round(lung.shape[0] * LUNG_MARGIN / GRID_SIDE))
    inside = ndimage.binary_erosion(lung, iterations=margin)
    level = float(np.median(image[inside])) if inside.any() else 0.4
    inner, outer = (np.flatnonzero(zone).astype(np.int32) for zone in (inside, outside_zone(lung, margin)))
    return Zones(inner, outer, level)


def insert_nodules(
    image: Image32,
    nodules: Bits,
    zones: Zones,
    projections: tuple[Projection, ...],
    *,
    count: int,
    easy: float,
    rng: np.random.Generator,
) -> int:
    """Add up to `count` nodules to `image` (0-1) and their outlines to `nodules`, both in place; how many were added.

    `easy` multiplies the contrast (a curriculum starts above 1). A place that touches a nodule already there is not
    used.
    """
    added = 0
    for _ in range(count):
        place = _place(nodules, zones, projections, rng)
        if place is None:
            continue
        window, projection = place
        contrast = float(np.exp(rng.uniform(*np.log(TRAINING_CONTRAST)))) * easy
        flips = slice(None, None, int(rng.choice((-1, 1)))), slice(None, None, int(rng.choice((-1, 1))))
        level, thickness = zones.lung_level, projection.thickness[flips]
        shown = with_nodule(image[window], thickness, contrast, lung_level=level, white=WHITE / 255)
        image[window] = np.clip(shown, 0, 1)
        nodules[window] |= projection.outline[flips]
        added += 1
    return added


def insert_backgrounds(
    image: Image32,
    nodules: Bits,
    zones: Zones,
    projections: tuple[Projection, ...],
    *,
    count: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Put up to `count` negative insertions into `image` (0-1), in place; their middles (n, 2).

    Each is a background patch inserted as a nodule would be: the place itself, blurred, or another place, mirrored.
    None touches or shows a nodule.
    """
    from scipy import ndimage

    middles = []
    for _ in range(count):
        found = _place(nodules, zones, projections, rng)
        if found is None:
            continue
        window, projection = found
        place = image[window]
        height, width = place.shape
        top, left = int(rng.integers(image.shape[0] - height)), int(rng.integers(image.shape[1] - width))
        other = slice(top, top + height), slice(left, left + width)
        if rng.random() < 0.5 or nodules[other].any():
            patch = ndimage.gaussian_filter(place, rng.uniform(1, 2))
        else:
            patch = image[other][:, ::-1]
        level, thickness = zones.lung_level, projection.thickness
        shown = with_background(place, patch, thickness, lung_level=level, white=WHITE / 255, precision=np.float32)
        image[window] = np.clip(shown, 0, 1)
        middles.append((window[0].start + (height - 1) / 2, window[1].start + (width - 1) / 2))
    return np.array(middles, dtype=np.float64).reshape(len(middles), 2)


def _place(
    nodules: Bits, zones: Zones, projections: tuple[Projection, ...], rng: np.random.Generator
) -> tuple[Window, Projection] | None:
    """A window of the image and a projection that fills it; None where it touches a nodule or leaves the image."""
    rows, cols = nodules.shape
    zone = zones.outside if rng.random() < OUTSIDE_FRACTION and len(zones.outside) else zones.lung
    if not len(zone):
        return None
    row, col = divmod(int(zone[rng.integers(len(zone))]), cols)
    projection = projections[rng.integers(len(projections))]
    down, across = window = _window(row, col, projection)
    if down.start < 0 or across.start < 0 or down.stop > rows or across.stop > cols or nodules[window].any():
        return None
    return window, projection
