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

__all__ = ["Projection", "Zones", "insert_nodules", "load_projections", "placement_zones"]

LUNG_DENSITY = 0.22  # of water: what a nodule displaces (make_open_jsrt.py's figure)
CONTRAST = (6 / 255, 42 / 255)  # of the display range: from subtlety 1 to 5
OUTSIDE_SHARE = 14 / 154  # JSRT's nodules outside the lung fields
WHITE = 262 / 255  # the display curve flattens towards this level


@dataclass(frozen=True, eq=False)
class Projection:
    """One nodule from one side: `thickness` (h, w) float32, mean of its core = 1; `outline` where it is visible."""

    thickness: NDArray[np.float32]
    outline: NDArray[np.bool_]
    series_uid: str


@dataclass(frozen=True, eq=False)
class Zones:
    """Where nodules may be put on one image: flat pixel indices, and the median level of its lungs (0-1)."""

    lung: NDArray[np.int32]
    outside: NDArray[np.int32]
    lung_level: float


def load_projections(
    path: Path, *, exclude_series: Collection[str], spacing_mm: float, count: int, seed: int
) -> tuple[Projection, ...]:
    """`count` random projections, at `spacing_mm` a pixel, of the nodules in `path` whose series is not excluded.

    `path` is an .npz with shapes (n, 3), densities (flat int16), diameters (mm) and series_uid. Sizes follow JSRT's
    (log-normal about 16 mm, 6-40 mm). Raises DataError.
    """
    try:
        with np.load(path) as store:
            shapes, densities = store["shapes"], store["densities"]
            diameters, series = store["diameters"], [str(uid) for uid in store["series_uid"]]
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"{path}: not a file of CT nodules ({error}); see docs/DATA.md for its layout") from None
    starts = np.concatenate([[0], np.cumsum(shapes.prod(1))])
    usable = [i for i in range(len(shapes)) if diameters[i] >= 6 and series[i] not in exclude_series]
    if not usable:
        raise DataError(f"{path}: no CT nodule of 6 mm or more is left outside the held-out series; use more nodules")
    rng = np.random.default_rng([seed, 0x51])
    usable_mm = diameters[usable]
    projections = []
    for _ in range(count):
        target = float(np.clip(rng.lognormal(np.log(16), 0.38), 6, 40))
        near = np.flatnonzero((usable_mm >= target / 1.3) & (usable_mm <= target / 0.8))
        pick = usable[int(rng.choice(near) if len(near) else np.abs(usable_mm - target).argmin())]
        density = densities[starts[pick] : starts[pick + 1]].reshape(shapes[pick])
        scale = float(np.clip(target / diameters[pick], 0.75, 1.4))
        projections.append(_project(density, scale / spacing_mm, series[pick], rng))
    return tuple(projections)


def _project(density: NDArray[np.int16], zoom: float, series_uid: str, rng: np.random.Generator) -> Projection:
    from scipy import ndimage
    from scipy.spatial.transform import Rotation

    excess = np.clip(density.astype(np.float32) / 1000 - LUNG_DENSITY * (density > 0), 0, None)
    matrix = Rotation.random(rng=rng).as_matrix() / zoom  # output pixel -> mm of the volume
    side = int(np.ceil(np.linalg.norm(excess.shape) * zoom)) + 4
    middle, out_middle = (np.array(excess.shape) - 1) / 2, np.full(3, (side - 1) / 2)
    turned = ndimage.affine_transform(excess, matrix, middle - matrix @ out_middle, (side,) * 3, order=1)
    thickness = ndimage.gaussian_filter(turned.sum(0), 0.42 * zoom)  # 0.42 mm: make_open_jsrt's 1.2 pixels of 0.35 mm
    visible = thickness > 0.2 * thickness.max()
    rows, cols = np.flatnonzero(visible.any(1)), np.flatnonzero(visible.any(0))
    window = slice(max(0, rows[0] - 2), rows[-1] + 3), slice(max(0, cols[0] - 2), cols[-1] + 3)
    thickness, visible = thickness[window], visible[window]
    thickness = thickness / thickness[thickness > 0.5 * thickness.max()].mean()
    return Projection(thickness.astype(np.float32), visible, series_uid)


def placement_zones(image: NDArray[np.float32], lung: NDArray[np.bool_]) -> Zones:
    """Where a nodule may lie on `image` (rows, cols; 0-1): in the lung, or behind heart, hila and the domes."""
    from scipy import ndimage

    margin = max(1, round(lung.shape[0] * 6 / 1024))
    inside = ndimage.binary_erosion(lung, iterations=margin)
    rows = np.flatnonzero(lung.any(1))
    span = np.zeros_like(lung)
    for row in range(rows[0] + int(0.35 * (rows[-1] - rows[0])), rows[-1]):
        cols = np.flatnonzero(lung[row])
        if len(cols) > 2:
            span[row, cols[0] : cols[-1]] = True
    below = np.zeros_like(lung)
    shift = round(lung.shape[0] * 71 / 1024)  # 25 mm
    below[shift:] = lung[:-shift]
    outside = (span | below) & ~ndimage.binary_dilation(lung, iterations=margin)
    level = float(np.median(image[inside])) if inside.any() else 0.4
    return Zones(np.flatnonzero(inside).astype(np.int32), np.flatnonzero(outside).astype(np.int32), level)


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
    rows, cols = image.shape
    added = 0
    for _ in range(count):
        zone = zones.outside if rng.random() < OUTSIDE_SHARE and len(zones.outside) else zones.lung
        if not len(zone):
            continue
        row, col = divmod(int(zone[rng.integers(len(zone))]), cols)
        projection = projections[rng.integers(len(projections))]
        height, width = projection.thickness.shape
        top, left = row - height // 2, col - width // 2
        window = slice(top, top + height), slice(left, left + width)
        if top < 0 or left < 0 or top + height > rows or left + width > cols or nodules[window].any():
            continue
        contrast = float(np.exp(rng.uniform(*np.log(CONTRAST)))) * easy
        background = image[window]
        compression = np.clip((WHITE - background) / (WHITE - zones.lung_level), 0.3, 1.15)
        thickness, outline = _mirrored(projection, rng)
        image[window] = np.clip(background + thickness * contrast * compression, 0, 1)
        nodules[window] |= outline
        added += 1
    return added


def _mirrored(projection: Projection, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    flips = slice(None, None, int(rng.choice((-1, 1)))), slice(None, None, int(rng.choice((-1, 1))))
    return projection.thickness[flips], projection.outline[flips]
