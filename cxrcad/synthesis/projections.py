"""CT nodules projected into radiographs: a new nodule on a new place each time a radiograph is drawn.

A nodule of LIDC-IDRI (density, water = 1000, on a 1 mm grid) is rotated at random, projected along z as mm of water
less the lung that it displaces, blurred, and added with a contrast drawn over the range that boxed real nodules show.
Projections are computed once; a draw is one addition of a small patch.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxrcad.core import DataError
from cxrcad.synthesis.nodules import LUNG_DENSITY, draw_nodule, read_nodules

__all__ = [
    "Projection",
    "Zones",
    "compression",
    "insert_nodules",
    "insert_shams",
    "load_projections",
    "outside_zone",
    "placement_zones",
]

ANALYTIC_POOL = 240  # analytic nodules that a training draws from
MOST_TRIES = 20  # to get one projection on which anything is seen
CONTRAST = (6 / 255, 42 / 255)  # of the display range: from subtlety 1 to 5
WHITE = 262 / 255  # the display curve flattens towards this level


@dataclass(frozen=True, eq=False)
class Projection:
    """One nodule from one side: `thickness` (h, w) float32, mean of its core = 1; `outline` where it is visible."""

    thickness: NDArray[np.float32]
    outline: NDArray[np.bool_]
    series_uid: str


@dataclass(frozen=True, eq=False)
class Zones:
    """Where nodules may be put on one image: flat pixel indices, and the median level of its lungs (0-1).

    `outside_share` of them go outside the lung fields.
    """

    lung: NDArray[np.int32]
    outside: NDArray[np.int32]
    outside_share: float
    lung_level: float


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
        seen = _project(stock.density(pick), scale / spacing_mm, stock.series_uid[pick], rng)
        projections += [seen] if seen is not None else []
    if not projections:
        raise DataError(
            f"{path}: nothing is seen of its nodules with pixels of {spacing_mm:g} mm; check their densities (water is "
            "1000), or take a larger --side"
        )
    return tuple(projections)


def _project(density: NDArray[np.int16], zoom: float, series_uid: str, rng: np.random.Generator) -> Projection | None:
    """The nodule from a random side; None where nothing of it is seen."""
    from scipy import ndimage
    from scipy.spatial.transform import Rotation

    excess = np.clip(density.astype(np.float32) / 1000 - LUNG_DENSITY * (density > 0), 0, None)
    matrix = Rotation.random(rng=rng).as_matrix() / zoom  # output pixel -> mm of the volume
    side = int(np.ceil(np.linalg.norm(excess.shape) * zoom)) + 4
    middle, out_middle = (np.array(excess.shape) - 1) / 2, np.full(3, (side - 1) / 2)
    turned = ndimage.affine_transform(excess, matrix, middle - matrix @ out_middle, (side,) * 3, order=1)
    thickness = ndimage.gaussian_filter(turned.sum(0), 0.42 * zoom)  # 0.42 mm: make_open_jsrt's 1.2 pixels of 0.35 mm
    visible = thickness > 0.2 * thickness.max()
    if not visible.any():
        return None
    rows, cols = np.flatnonzero(visible.any(1)), np.flatnonzero(visible.any(0))
    window = slice(max(0, rows[0] - 2), rows[-1] + 3), slice(max(0, cols[0] - 2), cols[-1] + 3)
    thickness, visible = thickness[window], visible[window]
    thickness = thickness / thickness[thickness > 0.5 * thickness.max()].mean()
    return Projection(thickness.astype(np.float32), visible, series_uid)


def placement_zones(image: NDArray[np.float32], lung: NDArray[np.bool_], outside_share: float) -> Zones:
    """Where a nodule may lie on `image` (rows, cols; 0-1): in the lung, or behind heart, hila and the domes.

    `outside_share` of the nodules, 0-1, are to lie in the latter.
    """
    from scipy import ndimage

    margin = max(1, round(lung.shape[0] * 6 / 1024))
    inside = ndimage.binary_erosion(lung, iterations=margin)
    outside = outside_zone(lung, margin)
    level = float(np.median(image[inside])) if inside.any() else 0.4
    inner, outer = (np.flatnonzero(zone).astype(np.int32) for zone in (inside, outside))
    return Zones(inner, outer, outside_share, level)


def outside_zone(lung: NDArray[np.bool_], margin: int) -> NDArray[np.bool_]:
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


def compression(background: NDArray[np.float32], lung_level: float, white: float) -> NDArray[np.float32]:
    """How much of a contrast is left on each pixel, 1 on the lung: the display curve flattens towards `white`.

    All three are in one unit.
    """
    return np.asarray(np.clip((white - background) / (white - lung_level), 0.3, 1.15))


def insert_nodules(
    image: NDArray[np.float32],
    nodules: NDArray[np.bool_],
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
        spot = _spot(nodules, zones, projections, rng)
        if spot is None:
            continue
        window, projection = spot
        contrast = float(np.exp(rng.uniform(*np.log(CONTRAST)))) * easy
        background = image[window]
        kept = compression(background, zones.lung_level, WHITE)
        thickness, outline = _mirrored(projection, rng)
        image[window] = np.clip(background + thickness * contrast * kept, 0, 1)
        nodules[window] |= outline
        added += 1
    return added


def insert_shams(
    image: NDArray[np.float32],
    nodules: NDArray[np.bool_],
    zones: Zones,
    projections: tuple[Projection, ...],
    *,
    count: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Insert up to `count` pieces of background into `image` (0-1) as nodules would be, in place; their middles (n, 2).

    A piece is the place itself, blurred, or another place, mirrored; its mean level is the place's. What takes one for
    a nodule has learned the traces of inserting. None touches or shows a nodule.
    """
    from scipy import ndimage

    middles = []
    for _ in range(count):
        spot = _spot(nodules, zones, projections, rng)
        if spot is None:
            continue
        window, projection = spot
        place = image[window]
        height, width = place.shape
        top, left = int(rng.integers(image.shape[0] - height)), int(rng.integers(image.shape[1] - width))
        other = slice(top, top + height), slice(left, left + width)
        if rng.random() < 0.5 or nodules[other].any():
            piece = ndimage.gaussian_filter(place, rng.uniform(1, 2))
        else:
            piece = image[other][:, ::-1]
        weight = np.minimum(projection.thickness, 1) * compression(place, zones.lung_level, WHITE)
        difference = piece - place
        difference = difference - (weight * difference).sum() / weight.sum()
        image[window] = np.clip(place + weight * difference, 0, 1)
        middles.append((window[0].start + (height - 1) / 2, window[1].start + (width - 1) / 2))
    return np.array(middles, dtype=np.float64).reshape(len(middles), 2)


def _spot(
    nodules: NDArray[np.bool_], zones: Zones, projections: tuple[Projection, ...], rng: np.random.Generator
) -> tuple[tuple[slice, slice], Projection] | None:
    """A window of the image and a projection that fills it; None where it touches a nodule or leaves the image."""
    rows, cols = nodules.shape
    zone = zones.outside if rng.random() < zones.outside_share and len(zones.outside) else zones.lung
    if not len(zone):
        return None
    row, col = divmod(int(zone[rng.integers(len(zone))]), cols)
    projection = projections[rng.integers(len(projections))]
    height, width = projection.thickness.shape
    top, left = row - height // 2, col - width // 2
    window = slice(top, top + height), slice(left, left + width)
    if top < 0 or left < 0 or top + height > rows or left + width > cols or nodules[window].any():
        return None
    return window, projection


def _mirrored(projection: Projection, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    flips = slice(None, None, int(rng.choice((-1, 1)))), slice(None, None, int(rng.choice((-1, 1))))
    return projection.thickness[flips], projection.outline[flips]
