"""A radiograph onto the model's grid, and the way back: `Geometry` joins the file's pixels, the grid's, and mm.

Pixel edges throughout: the first pixel covers [0, 1), and the grid is a pure scale of the file's extent with its
content at the top left, padded at the bottom and right. So x_grid = x_file * scale_col, without half pixels. A chest
that lies turned or mirrored in its file stands upright on the grid, and the grid's pixels are square.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrcad.config import GridConfig
from cxrcad.core import Box, Radiograph
from cxrcad.imaging.orientation import UPRIGHT, as_stored, reverses, transposes, turned, upright

__all__ = ["Geometry", "mask_to_grid", "normalise", "resample", "resized", "to_grid"]

SQUARE = 0.005
"""Pixels whose height and width differ by no more than this part are square: spacings are often rounded."""


@dataclass(frozen=True)
class Geometry:
    """Where the pixels of a file (`rows` x `cols`) lie on the model's grid.

    `grid_rows` and `grid_cols` include the padding. `scale_row` and `scale_col` are grid pixels per file pixel, down
    and across the file. `spacing_mm` is the file's (row, column) pixel distance, or None where it is unknown.
    `orientation` is how the file lies, one of the eight of EXIF (1 upright); the grid is upright.
    """

    rows: int
    cols: int
    grid_rows: int
    grid_cols: int
    scale_row: float
    scale_col: float
    spacing_mm: tuple[float, float] | None = None
    orientation: int = UPRIGHT

    @classmethod
    def fit(
        cls,
        rows: int,
        cols: int,
        side: int,
        multiple: int,
        spacing_mm: tuple[float, float] | None = None,
        pixel_aspect: float | None = None,
        orientation: int = UPRIGHT,
    ) -> Geometry:
        """The geometry that brings the shorter side to `side` grid pixels and pads both sides up to a `multiple`.

        The longer side keeps the aspect ratio, rounded to a whole pixel; the two scales differ by that rounding, and by
        the aspect of pixels that are not square. That is the spacing's or, where it is None, `pixel_aspect`, the
        height of a pixel / its width.
        """
        aspect = spacing_mm[0] / spacing_mm[1] if spacing_mm is not None else pixel_aspect or 1.0
        if abs(aspect - 1) <= SQUARE:
            short = min(rows, cols)
            down, across = (max(1, (2 * length * side + short) // (2 * short)) for length in (rows, cols))
        else:
            least = min(rows * aspect, cols)
            down, across = (max(1, round(length * side / least)) for length in (rows * aspect, cols))
        padded = [math.ceil(length / multiple) * multiple for length in (down, across)]
        grid_rows, grid_cols = reversed(padded) if transposes(orientation) else padded
        return cls(rows, cols, grid_rows, grid_cols, down / rows, across / cols, spacing_mm, orientation)

    @property
    def square(self) -> bool:
        """Whether the file's pixels are square, as far as is known."""
        return abs(self.scale_row / self.scale_col - 1) <= SQUARE + 1 / min(self.content_rows, self.content_cols)

    @property
    def _content(self) -> tuple[int, int]:
        rows, cols = round(self.rows * self.scale_row), round(self.cols * self.scale_col)
        return (cols, rows) if transposes(self.orientation) else (rows, cols)

    @property
    def content_rows(self) -> int:
        """Rows of the grid that hold the image; the rest is padding."""
        return self._content[0]

    @property
    def content_cols(self) -> int:
        """Columns of the grid that hold the image; the rest is padding."""
        return self._content[1]

    def as_stored(self, grid_map: NDArray[Any]) -> NDArray[Any]:
        """A map on the grid (grid_rows, grid_cols) without its padding, turned as the file lies."""
        return as_stored(grid_map[: self.content_rows, : self.content_cols], self.orientation)

    @property
    def grid_spacing_mm(self) -> tuple[float, float] | None:
        """(row, column) distance of the grid's pixels, or None where the spacing is unknown."""
        if self.spacing_mm is None:
            return None
        down, across = self.spacing_mm[0] / self.scale_row, self.spacing_mm[1] / self.scale_col
        return (across, down) if transposes(self.orientation) else (down, across)

    @property
    def grid_pixel_area_mm2(self) -> float | None:
        """Area of one pixel of the grid, or None where the spacing is unknown."""
        spacing = self.grid_spacing_mm
        return None if spacing is None else spacing[0] * spacing[1]

    def point_to_grid(self, x: float, y: float) -> tuple[float, float]:
        """(x, y) on the grid of a point in the file's pixels."""
        across, down = x * self.scale_col, y * self.scale_row
        if self.orientation == UPRIGHT:
            return across, down
        if transposes(self.orientation):
            across, down = down, across
        return self._reversed(across, down)

    def point_to_file(self, x: float, y: float) -> tuple[float, float]:
        """(x, y) in the file's pixels of a point on the grid."""
        if self.orientation != UPRIGHT:
            x, y = self._reversed(x, y)
            if transposes(self.orientation):
                x, y = y, x
        return x / self.scale_col, y / self.scale_row

    def _reversed(self, x: float, y: float) -> tuple[float, float]:
        rows_reversed, cols_reversed = reverses(self.orientation)
        return self.content_cols - x if cols_reversed else x, self.content_rows - y if rows_reversed else y

    def box_to_grid(self, box: Box) -> Box:
        """A box of the file's pixels on the grid."""
        return _box(self.point_to_grid(box.x0, box.y0), self.point_to_grid(box.x1, box.y1))

    def box_to_file(self, box: Box) -> Box:
        """A box of the grid in the file's pixels, clipped to the file's extent (the padding is none of it)."""
        whole = _box(self.point_to_file(box.x0, box.y0), self.point_to_file(box.x1, box.y1))
        ends, values = (self.cols, self.rows, self.cols, self.rows), (whole.x0, whole.y0, whole.x1, whole.y1)
        return Box(*(min(max(value, 0.0), float(end)) for value, end in zip(values, ends, strict=True)))

    def box_to_mm(self, box: Box) -> Box | None:
        """A box of the file's pixels in mm from the file's top left corner, or None where the spacing is unknown."""
        if self.spacing_mm is None:
            return None
        row_mm, col_mm = self.spacing_mm
        return Box(box.x0 * col_mm, box.y0 * row_mm, box.x1 * col_mm, box.y1 * row_mm)


def _box(one: tuple[float, float], other: tuple[float, float]) -> Box:
    """The box of two opposite corners (x, y)."""
    (x0, x1), (y0, y1) = sorted((one[0], other[0])), sorted((one[1], other[1]))
    return Box(x0, y0, x1, y1)


def normalise(pixels: NDArray[Any], low_percentile: float, high_percentile: float) -> NDArray[np.float32]:
    """The pixels stretched so that the two percentiles become 0 and 1, clipped there; zeros where they coincide."""
    values = np.asarray(pixels, dtype=np.float32)
    low, high = (float(value) for value in np.percentile(values, (low_percentile, high_percentile)))
    if not high > low:
        return np.zeros_like(values)
    stretched: NDArray[np.float32] = np.clip((values - np.float32(low)) * np.float32(1 / (high - low)), 0, 1)
    return stretched


def to_grid(radiograph: Radiograph, grid: GridConfig, multiple: int) -> tuple[NDArray[np.float32], Geometry]:
    """The network's input (grid_rows, grid_cols), float32 0-1, and its geometry.

    Resampled first (the percentiles are then those of what the network sees, without the film's grain), normalised over
    the image without its padding, then padded with the edge's values.
    """
    spacing, aspect, orientation = radiograph.spacing_mm, radiograph.pixel_aspect, turned(radiograph.orientation)
    geometry = Geometry.fit(radiograph.rows, radiograph.cols, grid.side, multiple, spacing, aspect, orientation)
    content = resized(upright(radiograph.pixels, orientation), geometry.content_rows, geometry.content_cols)
    return _padded(normalise(content, grid.low_percentile, grid.high_percentile), geometry), geometry


def resample(pixels: NDArray[Any], geometry: Geometry) -> NDArray[np.float32]:
    """`pixels`, of any size with the file's extent, on the grid (grid_rows, grid_cols), padded with the edge's values.

    Shrinking averages over areas (no aliasing); enlarging interpolates linearly.
    """
    values = upright(np.asarray(pixels, dtype=np.float32), geometry.orientation)
    return _padded(resized(values, geometry.content_rows, geometry.content_cols), geometry)


def mask_to_grid(mask: NDArray[np.bool_], geometry: Geometry) -> NDArray[np.bool_]:
    """A mask on the grid (grid_rows, grid_cols): true where it covers at least half of a grid pixel; padding is false.

    The mask may have another size than the image, but covers the same extent (SCR: 1024 x 1024 for 2048 x 2048).
    """
    values = upright(np.asarray(mask, dtype=np.float32), geometry.orientation)
    covered = resized(values, geometry.content_rows, geometry.content_cols)
    result = np.zeros((geometry.grid_rows, geometry.grid_cols), dtype=np.bool_)
    result[: covered.shape[0], : covered.shape[1]] = covered >= 0.5 - 1e-5
    return result


def _padded(content: NDArray[np.float32], geometry: Geometry) -> NDArray[np.float32]:
    below, right = geometry.grid_rows - content.shape[0], geometry.grid_cols - content.shape[1]
    return np.pad(content, ((0, below), (0, right)), mode="edge") if below or right else content


def resized(pixels: NDArray[np.float32], rows: int, cols: int) -> NDArray[np.float32]:
    """The pixels on `rows` x `cols`: averaged over areas where these are fewer, interpolated linearly where more."""
    result = pixels
    for axis, length in enumerate((rows, cols)):
        if length != result.shape[axis]:
            result = _weighted(result, length, axis)
    return np.ascontiguousarray(result, dtype=np.float32)


def _weighted(pixels: NDArray[np.float32], length: int, axis: int) -> NDArray[np.float32]:
    """`length` new rows (axis 0) or columns (1): each the weighted sum of a few old ones, one gather a tap."""
    indices, weights = _taps(pixels.shape[axis], length)
    shape = (length, pixels.shape[1]) if axis == 0 else (pixels.shape[0], length)
    result, part = np.zeros(shape, dtype=np.float32), np.empty(shape, dtype=np.float32)
    for index, weight in zip(indices, weights, strict=True):
        np.take(pixels, index, axis=axis, out=part, mode="clip")  # with "raise" NumPy would copy `part`
        part *= weight[:, None] if axis == 0 else weight
        result += part
    return result


@lru_cache(maxsize=16)
def _taps(old: int, new: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """(taps, new) indices of old pixels and their weights, which sum to 1 for each new pixel."""
    step = old / new
    if step > 1:  # the old pixels under each new one, by the length that they share with it
        starts = np.arange(new) * old / new
        ends = np.arange(1, new + 1) * old / new
        first = np.floor(starts + 1e-9).astype(np.intp)
        taps = first[None, :] + np.arange(math.ceil(step) + 1)[:, None]
        shared = np.minimum(ends, taps + 1) - np.maximum(starts, taps)
        weights = np.clip(shared, 0, None) / step
    else:  # between the two nearest centres
        position = np.clip((np.arange(new) + 0.5) * step - 0.5, 0, old - 1)
        first = np.floor(position).astype(np.intp)
        taps = np.stack([first, first + 1])
        weights = np.stack([1 - (position - first), position - first])
    keep = weights.max(axis=1) > 1e-9
    return np.minimum(taps[keep], old - 1), (weights[keep] / weights.sum(axis=0)).astype(np.float32)
