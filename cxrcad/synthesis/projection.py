"""CT nodules as a radiograph shows them: their projected thickness, their contrast, and where they may lie.

A nodule (density, water = 1000, on a 1 mm grid) is rotated at random and projected along z as mm of water less the lung
that it displaces, and blurred. Its contrast in grey levels was measured on boxed real nodules; over dense tissue the
display curve leaves less of it. `cxrcad simulate`, the insertion-artefact test and training share all of this but the
rotation: `project` turns about one axis after another, `load_projections` about all at once and straight onto the
model's grid, which is faster. Data sets and models were made with both, so neither may change by a bit.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrcad.core import Box, DataError, Nodule
from cxrcad.synthesis.backgrounds import GRID_MM
from cxrcad.synthesis.nodules import LUNG_DENSITY, draw_nodule, read_nodules

__all__ = [
    "BLUR_PX",
    "CONTRAST",
    "VISIBLE_FRACTION",
    "WHITE",
    "Projection",
    "load_projections",
    "masses",
    "outlined",
    "outside_zone",
    "project",
    "projection_of",
    "with_background",
    "with_nodule",
]

CONTRAST = {1: (6.0, 9.0), 2: (9.0, 13.0), 3: (13.0, 19.0), 4: (19.0, 27.0), 5: (27.0, 42.0)}
"""Grey levels of 255 that a nodule's core adds over the lung, by subtlety; measured on boxed real nodules."""

WHITE = 262.0  # grey levels: the display curve flattens towards this
BLUR_MM = 0.42  # standard deviation of a projection's blur
BLUR_PX = BLUR_MM / GRID_MM
VISIBLE_FRACTION = 0.2  # of its peak thickness ends what counts as the nodule
ANALYTIC_POOL = 240  # analytic nodules that a training draws from
MASS_SCALES = (2.0, 3.0)  # by which a projection of at least the middle size is enlarged to a mass
MOST_TRIES = 20  # to get one projection on which anything is seen

Image32 = NDArray[np.float32]
Bits = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Projection:
    """One nodule from one side: `thickness` (h, w), mean of its core 1; `outline` (h, w) where it is visible."""

    thickness: Image32
    outline: Bits
    series_uid: str = ""


def projection_of(thickness: NDArray[Any], series_uid: str = "") -> Projection | None:
    """The projection of a thickness map (h, w) in any unit; None where nothing is seen on it."""
    peak = thickness.max()
    if peak <= 0:
        return None
    core = thickness[thickness > 0.5 * peak].mean()
    return Projection((thickness / core).astype(np.float32), thickness > VISIBLE_FRACTION * peak, series_uid)


def project(density: NDArray[np.int16], scale: float, rng: np.random.Generator) -> Image32:
    """A nodule (z, y, x), enlarged by `scale` and rotated at random: mm of water on JSRT's grid of 0.35 mm."""
    from scipy import ndimage

    inside = np.asarray(density > 0, np.float32)
    excess, inside = np.pad(_excess(density, inside), 4), np.pad(inside, 4)
    for axes in ((0, 1), (1, 2), (0, 2)):
        angle = rng.uniform(0, 360)
        excess = ndimage.rotate(excess, angle, axes=axes, order=1)
        inside = ndimage.rotate(inside, angle, axes=axes, order=1)
        found = ndimage.find_objects((inside > 0.3).astype(int))[0]
        window = tuple(slice(max(0, side.start - 3), side.stop + 3) for side in found)
        excess, inside = excess[window], inside[window]
    thickness = ndimage.zoom(excess.sum(0), scale / GRID_MM, order=3) * scale
    return np.asarray(ndimage.gaussian_filter(np.clip(thickness, 0, None), BLUR_PX))


def load_projections(
    path: Path, *, exclude_series: Collection[str], spacing_mm: float, count: int, seed: int
) -> tuple[Projection, ...]:
    """`count` random projections, at `spacing_mm` a pixel, of the nodules in `path` whose series is not excluded.

    `path` is an .npz with shapes (n, 3), densities (flat int16), diameters (mm) and series_uid, or `nodules.ANALYTIC`.
    Sizes follow JSRT's (log-normal about 16 mm, 6-40 mm). Raises DataError.
    """
    stock = read_nodules(path, count=ANALYTIC_POOL, seed=seed)
    usable = stock.usable(exclude_series)
    if not usable:
        raise DataError(f"{path}: no CT nodule of 6 mm or more is left outside the held-out series; use more nodules")
    rng = np.random.default_rng([seed, 0x51])
    usable_mm = stock.diameters_mm[usable]
    projections: list[Projection] = []
    for _ in range(MOST_TRIES * count):
        if len(projections) == count:
            break
        place, scale = draw_nodule(usable_mm, rng)
        pick = usable[place]
        thickness = _project_at_once(stock.density(pick), scale / spacing_mm, rng)
        seen = projection_of(thickness, stock.series_uid[pick])
        if seen is not None:
            projections.append(_cropped(seen))
    if not projections:
        raise DataError(
            f"{path}: nothing is seen of its nodules with pixels of {spacing_mm:g} mm; check their densities (water is "
            "1000), or take a larger --side"
        )
    return tuple(projections)


def masses(projections: Sequence[Projection], count: int, seed: int) -> tuple[Projection, ...]:
    """`count` of the larger half of `projections`, enlarged to masses: nodules of 16 to 40 mm become 32 to 120 mm."""
    from scipy import ndimage

    rng = np.random.default_rng([seed, 0x52])
    large = sorted(projections, key=lambda one: int(one.outline.sum()))[len(projections) // 2 :]
    enlarged = []
    for _ in range(count):
        one = large[rng.integers(len(large))]
        thickness = ndimage.zoom(one.thickness, rng.uniform(*MASS_SCALES), order=1)
        mass = projection_of(thickness, one.series_uid)
        assert mass is not None  # the nodule is seen
        enlarged.append(_cropped(mass))
    return tuple(enlarged)


def _project_at_once(density: NDArray[np.int16], zoom: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """The nodule from a random side, `zoom` pixels a mm; the thickness in any unit."""
    from scipy import ndimage
    from scipy.spatial.transform import Rotation

    excess = _excess(density, density > 0)
    matrix = Rotation.random(rng=rng).as_matrix() / zoom  # output pixel -> mm of the volume
    side = int(np.ceil(np.linalg.norm(excess.shape) * zoom)) + 4
    middle, out_middle = (np.array(excess.shape) - 1) / 2, np.full(3, (side - 1) / 2)
    turned = ndimage.affine_transform(excess, matrix, middle - matrix @ out_middle, (side,) * 3, order=1)
    return np.asarray(ndimage.gaussian_filter(turned.sum(0), BLUR_MM * zoom))


def _excess(density: NDArray[np.int16], inside: NDArray[Any]) -> NDArray[Any]:
    """Density over that of the lung in its place, water = 1, not below 0."""
    return np.asarray(np.clip(density.astype(np.float32) / 1000 - LUNG_DENSITY * inside, 0, None))


def _cropped(projection: Projection) -> Projection:
    """The projection with a margin of 2 pixels about its outline."""
    rows, cols = (np.flatnonzero(projection.outline.any(axis)) for axis in (1, 0))
    window = slice(max(0, rows[0] - 2), rows[-1] + 3), slice(max(0, cols[0] - 2), cols[-1] + 3)
    return Projection(projection.thickness[window], projection.outline[window], projection.series_uid)


def outside_zone(lung: Bits, margin: int) -> Bits:
    """Where JSRT's nodules outside the lung fields lie: between the lungs and under the domes, (rows, cols).

    `margin` pixels around the lung fields are left out. `lung` must not be empty.
    """
    from scipy import ndimage

    rows = np.flatnonzero(lung.any(1))
    span = np.zeros_like(lung)
    for row in range(rows[0] + int(0.35 * (rows[-1] - rows[0])), rows[-1]):
        cols = np.flatnonzero(lung[row])
        if len(cols) > 2:
            span[row, cols[0] : cols[-1]] = True
    below = np.zeros_like(lung)
    shift = round(lung.shape[0] * 71 / 1024)  # 25 mm
    below[shift:] = lung[:-shift]
    return np.asarray((span | below) & ~ndimage.binary_dilation(lung, iterations=margin))


def with_nodule(
    background: Image32, thickness: Image32, contrast: float, *, lung_level: float, white: float
) -> Image32:
    """`background` (h, w) with a nodule whose core adds `contrast` where the background is at `lung_level`.

    Levels, contrast and `white`, towards which the display curve flattens, are in one unit.
    """
    return np.asarray(background + thickness * contrast * _compression(background, lung_level, white))


def with_background(
    background: Image32,
    patch: Image32,
    thickness: Image32,
    *,
    lung_level: float,
    white: float,
    precision: type[np.floating],
) -> Image32:
    """`background` (h, w) with a negative insertion: `patch` in a nodule's shape, and the mean level kept.

    Means are summed in `precision`: float64 on JSRT's grid, float32 in training.
    """
    difference = patch - background
    weight = np.minimum(thickness, 1) * _compression(background, lung_level, white)
    mean = (weight * difference).sum(dtype=precision) / weight.sum(dtype=precision)
    return np.asarray(background + (weight * (difference - mean)).astype(np.float32))


def _compression(background: Image32, lung_level: float, white: float) -> Image32:
    """How much of a contrast is left on each pixel, 1 on the lung: the display curve flattens towards `white`."""
    return np.asarray(np.clip((white - background) / (white - lung_level), 0.3, 1.15))


def outlined(
    outline: Bits, mm: float, *, in_lung: bool, subtlety: int | None = None, corner: tuple[int, int] = (0, 0)
) -> Nodule:
    """The nodule that `outline` (h, w) shows, `corner` (row, column) being where its first pixel lies on the grid.

    `mm` is the distance of the grid's pixels. The diameter is that of the disc of equal area.
    """
    rows, cols = np.nonzero(outline)
    rows, cols = rows + corner[0], cols + corner[1]
    return Nodule(
        x_px=float(cols.mean() + 0.5),
        y_px=float(rows.mean() + 0.5),
        diameter_mm=float(2 * np.sqrt(outline.sum() / np.pi) * mm),
        subtlety=subtlety,
        box_px=Box(float(cols.min()), float(rows.min()), float(cols.max() + 1), float(rows.max() + 1)),
        in_lung=in_lung,
    )
