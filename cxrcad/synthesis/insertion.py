"""One nodule projected into a radiograph on JSRT's grid, or, as a sham, a piece of the radiograph itself.

A nodule is rotated at random, projected along z as mm of water less the lung that it displaces, blurred, and added in
grey levels whose range per subtlety was set from boxed real nodules. A sham goes the same way without a nodule: what
finds shams finds the traces of inserting.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrcad.core import Box, DataError
from cxrcad.synthesis.backgrounds import GRID_MM, GRID_SIDE
from cxrcad.synthesis.nodules import LUNG_DENSITY, NoduleStock, draw_nodule
from cxrcad.synthesis.phantom.marks import CONTRAST, VISIBLE_SHARE
from cxrcad.synthesis.projections import compression, outside_zone

__all__ = ["PATCHES", "Candidates", "Inserted", "insert_nodule", "project", "reinsert_background"]

PATCHES = ("contralateral", "blurred")
"""What a sham is made of: the same place of the other side, mirrored; or its own place, blurred."""

BLUR_PX = 1.2  # of 0.35 mm, of a projection and of a sham's patch
WHITE = 262.0  # grey levels: the display curve flattens towards this
LUNG_MARGIN, OUTSIDE_MARGIN, LEVEL_MARGIN = 6, 4, 12  # pixels off the lung's edge
MOST_TRIES = 50

Image32 = NDArray[np.float32]
Bits = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Candidates:
    """The nodules of a stock that may still be drawn, by index."""

    stock: NoduleStock
    free: Sequence[int]


@dataclass(frozen=True)
class Inserted:
    """What was put where, in pixel edges of the 1024 grid: the extent above a fifth of the projection's peak.

    `index` names the nodule in its stock, `scale` says by how much it was enlarged.
    """

    x_px: float
    y_px: float
    box_px: Box
    diameter_mm: float
    outside_lung: bool
    index: int
    scale: float


@dataclass(frozen=True, eq=False)
class _Spot:
    """A projection (mm of water) and the window of the image under it; `kept` is what the display leaves of it."""

    thickness: Image32
    window: tuple[slice, slice]
    kept: Image32
    index: int
    scale: float

    @property
    def profile(self) -> Image32:
        """The projection, mean of its core 1."""
        core = self.thickness > 0.5 * self.thickness.max()
        return np.asarray(self.thickness / self.thickness[core].mean())


def insert_nodule(
    image: Image32, lung: Bits, candidates: Candidates, subtlety: int, outside: bool, rng: np.random.Generator
) -> tuple[Image32, Inserted]:
    """`image` (1024 x 1024, grey levels of 255) with one nodule of `subtlety` (1-5), and its truth.

    `outside` puts it outside the lung fields. Raises DataError where no place is large enough.
    """
    spot = _spot(image, lung, candidates, outside, rng)
    added = spot.profile * rng.uniform(*CONTRAST[subtlety]) * spot.kept
    return _with(image, spot, added), _told(spot, outside)


def reinsert_background(
    image: Image32, lung: Bits, rng: np.random.Generator, *, candidates: Candidates, outside: bool, patch: str
) -> tuple[Image32, Inserted]:
    """`image` with a piece of background inserted as a nodule would be, without a nodule; and where.

    Shape, place, blur, compression and rounding are those of the nodule that `insert_nodule` would draw from `rng`;
    instead of its contrast, `patch` (one of PATCHES) takes the background's place, and the mean level is kept.
    Raises DataError as `insert_nodule`.
    """
    from scipy import ndimage

    if patch not in PATCHES:
        raise DataError(f"there is no patch {patch!r}; choose from {', '.join(PATCHES)}")
    spot = _spot(image, lung, candidates, outside, rng)
    source = image[spot.window] if patch == "blurred" else _mirrored(image, lung, spot.window)
    difference = ndimage.gaussian_filter(source, BLUR_PX) - image[spot.window]
    weight = np.minimum(spot.profile, 1) * spot.kept
    difference = difference - (weight * difference).sum(dtype=np.float64) / weight.sum(dtype=np.float64)
    return _with(image, spot, (weight * difference).astype(np.float32)), _told(spot, outside)


def project(density: NDArray[np.int16], scale: float, rng: np.random.Generator) -> Image32:
    """A nodule (z, y, x; 1 mm; water = 1000), rotated at random -> mm of water over the displaced lung, at 0.35 mm."""
    from scipy import ndimage

    inside = (density > 0).astype(np.float32)
    excess = np.pad(np.clip(density.astype(np.float32) / 1000 - LUNG_DENSITY * inside, 0, None), 4)
    inside = np.pad(inside, 4)
    for axes in ((0, 1), (1, 2), (0, 2)):
        angle = rng.uniform(0, 360)
        excess = ndimage.rotate(excess, angle, axes=axes, order=1)
        inside = ndimage.rotate(inside, angle, axes=axes, order=1)
        found = ndimage.find_objects((inside > 0.3).astype(int))[0]
        window = tuple(slice(max(0, side.start - 3), side.stop + 3) for side in found)
        excess, inside = excess[window], inside[window]
    thickness = ndimage.zoom(excess.sum(0), scale / GRID_MM, order=3) * scale
    return np.asarray(ndimage.gaussian_filter(np.clip(thickness, 0, None), BLUR_PX))


def _spot(image: Image32, lung: Bits, candidates: Candidates, outside: bool, rng: np.random.Generator) -> _Spot:
    """A nodule and a place that takes it; where none does, another nodule, up to MOST_TRIES of them."""
    from scipy import ndimage

    zone = outside_zone(lung, OUTSIDE_MARGIN) if outside else ndimage.binary_erosion(lung, iterations=LUNG_MARGIN)
    spots = np.argwhere(zone)
    diameters_mm = candidates.stock.diameters_mm.astype(np.float64)[list(candidates.free)]
    for _ in range(MOST_TRIES):
        place, scale = draw_nodule(diameters_mm, rng)
        index = candidates.free[place]
        thickness = project(candidates.stock.density(index), scale, rng)
        height, width = thickness.shape
        fits = ((spots > (height, width)) & (spots < (GRID_SIDE - height, GRID_SIDE - width))).all(1)
        if not fits.any() or thickness.max() <= 0:  # no room, or a nodule no denser than the lung
            continue
        row, col = spots[fits][rng.integers(fits.sum())]
        top, left = row - height // 2, col - width // 2
        window = slice(top, top + height), slice(left, left + width)
        return _Spot(thickness, window, compression(image[window], _lung_level(image, lung), WHITE), index, scale)
    raise DataError(
        f"no place for a nodule {'outside' if outside else 'in'} its lung fields, {np.count_nonzero(zone)} pixels; "
        "correct its lung mask or take it out of the folder"
    )


def _lung_level(image: Image32, lung: Bits) -> float:
    from scipy import ndimage

    inner = ndimage.binary_erosion(lung, iterations=LEVEL_MARGIN)
    return float(np.median(image[inner if inner.any() else lung]))


def _mirrored(image: Image32, lung: Bits, window: tuple[slice, slice]) -> Image32:
    """The place across the middle of the lung fields, mirrored, moved into the image where it would leave it."""
    cols = np.flatnonzero(lung.any(0))
    width = window[1].stop - window[1].start
    left = min(max(0, int(cols[0]) + int(cols[-1]) + 1 - window[1].stop), image.shape[1] - width)
    return image[window[0], left : left + width][:, ::-1]


def _with(image: Image32, spot: _Spot, added: Image32) -> Image32:
    result = image.copy()
    result[spot.window] = image[spot.window] + added
    return result


def _told(spot: _Spot, outside: bool) -> Inserted:
    visible = spot.thickness > VISIBLE_SHARE * spot.thickness.max()
    rows, cols = np.nonzero(visible)
    rows, cols = rows + spot.window[0].start, cols + spot.window[1].start
    return Inserted(
        x_px=float(cols.mean() + 0.5),
        y_px=float(rows.mean() + 0.5),
        box_px=Box(float(cols.min()), float(rows.min()), float(cols.max() + 1), float(rows.max() + 1)),
        diameter_mm=float(2 * np.sqrt(visible.sum() / np.pi) * GRID_MM),
        outside_lung=outside,
        index=spot.index,
        scale=spot.scale,
    )
