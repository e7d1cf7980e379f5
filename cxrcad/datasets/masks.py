"""A case's truth as masks on the model's grid (nodules, outlined lesions, lung fields), and where its nodules lie."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cxrcad.core import Box, Case, DataError, Nodule, nodule_box_px, radii_px
from cxrcad.imaging.orientation import transposes
from cxrcad.imaging.preprocess import Geometry, mask_to_grid
from cxrcad.imaging.read import read_mask

__all__ = ["centre_in_lung", "lung_mask", "truth_mask", "unknown_mask"]


def truth_mask(case: Case, geometry: Geometry, truth: str, ellipse: float = 1) -> NDArray[np.bool_]:
    """The case's lesions on the model's grid, (grid_rows, grid_cols); nothing in a normal case and in the padding.

    `truth` "disc" sets the pixels whose centre lies in a disc of the nodule's diameter, "box" those in its exact box
    or, where that is unknown, the disc's bounding square (the paper, section 2.3). Of a boxed nodule the disc is the
    ellipse in its box, with axes of `ellipse` times the sides. An outline sets the pixels whose centre lies in it,
    whatever `truth` says. Each nodule and each outline sets one pixel at least.
    Raises DataError for an unknown size and for a geometry of another image.
    """
    if truth not in ("disc", "box"):
        raise DataError(f"{case.name}: there is no truth {truth!r}; choose from disc, box")
    _check_geometry(case, geometry)
    mask = np.zeros((geometry.grid_rows, geometry.grid_cols), dtype=np.bool_)
    inner = mask[: geometry.content_rows, : geometry.content_cols]
    for nodule in case.nodules:
        x, y = geometry.point_to_grid(nodule.x_px, nodule.y_px)
        if truth == "disc":
            inner |= _disc(case, nodule, geometry, inner.shape, ellipse)
        else:
            inner |= _box(nodule_box_px(case, nodule), geometry, inner.shape)
        inner[min(max(int(y), 0), inner.shape[0] - 1), min(max(int(x), 0), inner.shape[1] - 1)] = True
    for polygon in case.polygons:
        corners = [geometry.point_to_grid(x, y) for x, y in polygon]
        inside = _inside(corners, inner.shape)
        if not inside.any():
            x, y = (sum(values) / len(corners) for values in zip(*corners, strict=True))
            inside[min(max(int(y), 0), inner.shape[0] - 1), min(max(int(x), 0), inner.shape[1] - 1)] = True
        inner |= inside
    return mask


def unknown_mask(
    case: Case, geometry: Geometry, lesion: NDArray[np.bool_], rim: float | None
) -> NDArray[np.bool_] | None:
    """What may be lesion or not, on the model's grid: the boxes, grown by `rim` of their sides, without `lesion`.

    Only boxed nodules have such a rim: readers draw boxes loosely. None where there is nothing unknown, or `rim` None.
    """
    boxes = [nodule.box_px for nodule in case.nodules if nodule.boxed and nodule.box_px is not None]
    if rim is None or not boxes:
        return None
    mask = np.zeros_like(lesion)
    inner = mask[: geometry.content_rows, : geometry.content_cols]
    for box in boxes:
        across, down = rim / 2 * (box.x1 - box.x0), rim / 2 * (box.y1 - box.y0)
        inner |= _box(Box(box.x0 - across, box.y0 - down, box.x1 + across, box.y1 + down), geometry, inner.shape)
    mask &= ~lesion
    return mask if mask.any() else None


def lung_mask(case: Case, geometry: Geometry) -> NDArray[np.bool_] | None:
    """The case's lung fields on the model's grid, (grid_rows, grid_cols), or None where it has no masks.

    Raises ReadError for a damaged mask, DataError for an empty one and for a geometry of another image.
    """
    if not case.lung_masks:
        return None
    _check_geometry(case, geometry)
    fields = np.zeros((geometry.grid_rows, geometry.grid_cols), dtype=np.bool_)
    for path in case.lung_masks:
        fields |= mask_to_grid(read_mask(path), geometry)
    if not fields.any():
        names = ", ".join(map(str, case.lung_masks))
        raise DataError(f"{names}: no pixel of the model's grid is lung; draw the lungs in it, or remove it")
    return fields


def centre_in_lung(case: Case, nodule: Nodule) -> bool | None:
    """Whether the nodule's centre lies in one of the case's lung masks; None where there are none. Raises ReadError."""
    for path in case.lung_masks:
        mask = read_mask(path)
        row = min(int(nodule.y_px * mask.shape[0] / case.rows), mask.shape[0] - 1)
        col = min(int(nodule.x_px * mask.shape[1] / case.cols), mask.shape[1] - 1)
        if mask[row, col]:
            return True
    return False if case.lung_masks else None


def _check_geometry(case: Case, geometry: Geometry) -> None:
    if (geometry.rows, geometry.cols) != (case.rows, case.cols):
        raise DataError(
            f"{case.name}: its image has {case.rows} x {case.cols} pixels and the geometry is of one with "
            f"{geometry.rows} x {geometry.cols}; make the geometry from this case's image"
        )


def _disc(case: Case, nodule: Nodule, geometry: Geometry, shape: tuple[int, ...], ellipse: float) -> NDArray[np.bool_]:
    if nodule.boxed and nodule.box_px is not None:
        box = nodule.box_px
        radius_x, radius_y = ellipse * (box.x1 - box.x0) / 2, ellipse * (box.y1 - box.y0) / 2
    else:
        radius_x, radius_y = radii_px(case, nodule)
    x, y = geometry.point_to_grid(nodule.x_px, nodule.y_px)
    wide, high = radius_x * geometry.scale_col, radius_y * geometry.scale_row
    if transposes(geometry.orientation):
        wide, high = high, wide
    across = (np.arange(shape[1]) + 0.5 - x) / wide
    down = (np.arange(shape[0]) + 0.5 - y) / high
    return np.asarray(down[:, None] ** 2 + across[None, :] ** 2 <= 1)


def _inside(corners: Sequence[tuple[float, float]], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The pixels whose centre lies inside the closed line through the corners (x, y): each line left of it counts."""
    inside = np.zeros(shape, dtype=np.bool_)
    across, down = np.arange(shape[1]) + 0.5, np.arange(shape[0]) + 0.5
    for (x0, y0), (x1, y1) in zip(corners, [*corners[1:], corners[0]], strict=True):
        rows = np.flatnonzero((y0 <= down) != (y1 <= down))
        if len(rows):
            crossing = x0 + (down[rows] - y0) * (x1 - x0) / (y1 - y0)
            inside[rows] ^= across[None, :] > crossing[:, None]
    return inside


def _box(box_px: Box, geometry: Geometry, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    box = geometry.box_to_grid(box_px)
    across, down = np.arange(shape[1]) + 0.5, np.arange(shape[0]) + 0.5
    return np.asarray(((down >= box.y0) & (down < box.y1))[:, None] & ((across >= box.x0) & (across < box.x1))[None, :])
