"""Probability maps -> findings: candidates cut from the lesion map, measured, and taken back to the file's pixels."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cxrcad.config import FindConfig
from cxrcad.core import Box, Finding, ModelError
from cxrcad.imaging.orientation import UPRIGHT

if TYPE_CHECKING:
    from cxrcad.imaging.preprocess import Geometry

__all__ = ["ASSUMED_CHEST_MM", "find", "select"]

ASSUMED_CHEST_MM = 350.0
"""Width that an image of unknown spacing is taken to show, mm: JSRT's field is 2048 x 0.175 mm = 358 mm."""

SMOOTHING_MM = 1.0
"""Standard deviation of the smoothing before peaks are looked for, mm: a fifth of JSRT's smallest nodule (5 mm)."""

TRUNCATE = 3.0
"""Standard deviations at which that smoothing ends."""

LEAST_PEAK = 1e-4
"""Lowest peak that is a candidate: scores are written with four decimals."""

DEFAULT_THRESHOLD = 0.5
"""Where the paper's components are cut when no threshold is set: the more probable of the two classes (argmax)."""

FIRST_WINDOW_MM = 12.0
"""Half the side of the window in which a peak is first grown, mm; doubled until the region fits. Decides speed only."""

JOINED, LINES = 200, 3
"""The last peaks of regions taken, or merged into one, of which so many that are nearest are tried, by a straight line,
before a peak is grown. Decide speed only.
"""

EIGHT_CONNECTED = np.ones((3, 3), dtype=bool)


@dataclass(frozen=True, eq=False)
class _Region:
    """The pixels of one candidate: `mask` is its bounding box on the grid, whose first pixel is (`row`, `col`)."""

    row: int
    col: int
    mask: NDArray[np.bool_]

    def under(self, grid: NDArray[np.float32]) -> NDArray[np.float32]:
        """The values of `grid` in the region."""
        rows, cols = self.mask.shape
        return grid[self.row : self.row + rows, self.col : self.col + cols][self.mask]


def find(
    lesion_map: NDArray[np.float32],
    lung_map: NDArray[np.float32] | None,
    geometry: Geometry,
    config: FindConfig,
    *,
    label: str = "nodule",
) -> tuple[Finding, ...]:
    """Every candidate of a lesion's probability map, best score first, in the file's own pixels and mm.

    Method `peaks`: local maxima of the lightly smoothed map, each grown to the 8-connected pixels of the map itself
    that have at least `config.grow` of its height. From the highest peak down: a peak nearer than
    `config.peak_distance_mm` to one already taken, or whose region would hold pixels of a region already taken, is
    merged into that one, which stays as it is. `config.threshold` plays no part.

    Method `components` (the paper's, its Figure 1): the map is cut at `config.threshold`, 0.5 where that is None,
    and each 8-connected component is a candidate.

    In both, the score is the highest probability in the region, the centre the region's centroid weighted by
    probability, regions below `config.min_area_mm2` are dropped and the best `config.max_findings` are kept. Where the
    spacing is unknown, these settings in mm are read as if the image showed `ASSUMED_CHEST_MM` across, and every mm
    field of the findings is None. The padding of the grid never yields a finding.

    Args:
        lesion_map: probabilities 0-1, (grid rows, grid columns).
        lung_map: the same for the lung fields, or None for a model without a lung task.
        geometry: where the grid lies on the file's pixels.
        config: how candidates are cut.
        label: what the findings are called.

    Raises:
        ModelError: a map's size is not the grid's.
    """
    content = _content(lesion_map, geometry)
    lung = None if lung_map is None else _content(lung_map, geometry)
    spacing = geometry.grid_spacing_mm or _assumed_spacing_mm(geometry)
    least_pixels = max(1, math.ceil(config.min_area_mm2 / (spacing[0] * spacing[1]) - 1e-9))
    cut = _components if config.method == "components" else _peaks
    regions = cut(content, config, spacing, least_pixels)
    findings = [_finding(region, content, lung, geometry, label) for region in regions]
    findings.sort(key=lambda item: (-item.score, item.center_px[1], item.center_px[0]))
    return tuple(findings[: config.max_findings])


def select(findings: Sequence[Finding], min_score: float) -> tuple[Finding, ...]:
    """The findings whose score is at least `min_score`, in their order."""
    return tuple(item for item in findings if item.score >= min_score)


def _content(grid_map: NDArray[np.float32], geometry: Geometry) -> NDArray[np.float32]:
    """The part of a map that shows the image, without the padding at the bottom and right."""
    expected = (geometry.grid_rows, geometry.grid_cols)
    if grid_map.shape != expected:
        found = " x ".join(map(str, grid_map.shape))
        raise ModelError(
            f"probability map of {found} pixels for a grid of {expected[0]} x {expected[1]};"
            " the model must give one value a pixel of its input, export it again"
        )
    return np.ascontiguousarray(grid_map[: geometry.content_rows, : geometry.content_cols], dtype=np.float32)


def _assumed_spacing_mm(geometry: Geometry) -> tuple[float, float]:
    """(row, column) spacing of the grid, mm, if `ASSUMED_CHEST_MM` lie across the upright chest."""
    if geometry.square and geometry.orientation == UPRIGHT:
        file_mm = ASSUMED_CHEST_MM / geometry.cols
        return file_mm / geometry.scale_row, file_mm / geometry.scale_col
    return (ASSUMED_CHEST_MM / geometry.content_cols,) * 2


def _components(
    content: NDArray[np.float32], config: FindConfig, spacing: tuple[float, float], least_pixels: int
) -> list[_Region]:
    """The best `max_findings` 8-connected components of at least `least_pixels` of the cut map."""
    from scipy import ndimage

    threshold = DEFAULT_THRESHOLD if config.threshold is None else config.threshold
    labels, count = ndimage.label(content >= threshold, EIGHT_CONNECTED)
    where = np.flatnonzero(labels)
    names = labels.ravel()[where]
    areas = np.bincount(names, minlength=count + 1)
    scores = np.full(count + 1, -np.inf, dtype=np.float32)
    np.maximum.at(scores, names, content.ravel()[where])
    kept = np.flatnonzero(areas >= least_pixels)
    kept = kept[np.argsort(-scores[kept], kind="stable")][: config.max_findings]
    boxes = ndimage.find_objects(labels)
    found = [(name, boxes[name - 1]) for name in kept]
    return [_Region(box[0].start, box[1].start, labels[box] == name) for name, box in found]


def _peaks(
    content: NDArray[np.float32], config: FindConfig, spacing: tuple[float, float], least_pixels: int
) -> list[_Region]:
    """The regions of the `max_findings` highest peaks of at least `least_pixels`, each peak apart from the others."""
    taken = np.zeros(content.shape, dtype=bool)
    peaks_mm: list[tuple[float, float]] = []
    joined = deque[tuple[int, int]](maxlen=JOINED)  # peaks in regions taken, or in what would grow into one
    regions: list[_Region] = []
    window = (math.ceil(FIRST_WINDOW_MM / spacing[0]) + 1, math.ceil(FIRST_WINDOW_MM / spacing[1]) + 1)
    for row, col in _seeds(content, config.peak_distance_mm, spacing):
        here = (row * spacing[0], col * spacing[1])
        if any(math.dist(here, peak) < config.peak_distance_mm for peak in peaks_mm):
            continue
        seed, level = (row, col), float(content[row, col] * np.float32(config.grow))
        merged = taken[seed] or any(
            _on_a_line(content.data, seed, peak, level) for peak in sorted(joined, key=partial(math.dist, seed))[:LINES]
        )
        region = None if merged else _grow(content, seed, level, window, taken)
        if region is None:
            joined.append(seed)
            continue
        if np.count_nonzero(region.mask) < least_pixels:
            continue
        rows, cols = region.mask.shape
        taken[region.row : region.row + rows, region.col : region.col + cols] |= region.mask
        peaks_mm.append(here)
        joined.append(seed)
        regions.append(region)
        if len(regions) == config.max_findings:
            break
    return regions


def _on_a_line(values: memoryview, one: tuple[int, int], other: tuple[int, int], level: float) -> bool:
    """Whether a straight line between two pixels of a map stays at `level` or above, so that one region holds both.

    Levels fall from peak to peak, so what a higher peak would grow into a lower one on a line to it would, too.
    """
    (row, col), down, across = one, other[0] - one[0], other[1] - one[1]
    steps = max(abs(down), abs(across))
    return all(values[row + round(down * k / steps), col + round(across * k / steps)] >= level for k in range(1, steps))


def _seeds(content: NDArray[np.float32], distance_mm: float, spacing: tuple[float, float]) -> Iterator[tuple[int, int]]:
    """(row, column) of the map's pixel at each peak of the smoothed map, the highest pixel first.

    The smoothed map is searched on cells of at most one standard deviation. Its peaks are the highest in the square
    inscribed in the circle of `distance_mm`, so none is lost to the square's corners; the few that are nearer than that
    are told apart by the caller. A plateau is one peak.
    """
    from scipy import ndimage

    sigma = [SMOOTHING_MM / step for step in spacing]
    cell = [max(1, math.floor(value)) for value in sigma]
    smooth, (first_row, first_col) = _cropped(_cells(content, cell))
    smooth = _smoothed(_smoothed(smooth, sigma[0] / cell[0]).T, sigma[1] / cell[1]).T
    steps_mm = [step * pixels for step, pixels in zip(spacing, cell, strict=True)]
    reach = [max(1, math.floor(distance_mm / math.sqrt(2) / step)) for step in steps_mm]
    highest = _highest(_highest(smooth, reach[0]).T, reach[1]).T
    tops, count = ndimage.label((smooth == highest) & (smooth > LEAST_PEAK), EIGHT_CONNECTED)
    if not count:
        return iter(())
    rows, cols = _middles(tops, count)
    rows, cols = (
        np.minimum(index * pixels + pixels // 2, length - 1)
        for index, pixels, length in zip((rows + first_row, cols + first_col), cell, content.shape, strict=True)
    )
    rows, cols = _climb(content, rows, cols, [math.ceil(value) for value in sigma])
    order = np.argsort(-content[rows, cols], kind="stable")
    return iter(zip(rows[order].tolist(), cols[order].tolist(), strict=True))


def _cropped(cells: NDArray[np.float32]) -> tuple[NDArray[np.float32], tuple[int, int]]:
    """The cells that can hold a peak, with as many around as decide where it is, and the first one's (row, column).

    The standard deviation is below two cells. Nothing smooth above `LEAST_PEAK` lies farther than the filter's reach
    from these cells, and what lies there is smooth as in the whole map with as much again around it.
    """
    margin = 2 * math.ceil(2 * TRUNCATE)
    found = []
    for axis in (1, 0):
        high = np.flatnonzero(cells.max(axis=axis, initial=0) > LEAST_PEAK)
        found.append(slice(max(0, high[0] - margin), high[-1] + margin + 1) if high.size else slice(0, 1))
    return cells[found[0], found[1]], (found[0].start, found[1].start)


def _smoothed(values: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Each column smoothed by a Gaussian, as `scipy.ndimage.gaussian_filter1d` does it, in float32."""
    reach, rows = int(TRUNCATE * sigma + 0.5), len(values)
    weights = np.exp(-0.5 * (np.arange(reach + 1) / sigma) ** 2)
    weights = (weights / (weights[0] + 2 * weights[1:].sum())).astype(np.float32)
    values = np.pad(values, [(reach, reach), (0, 0)], mode="edge")
    result: NDArray[np.float32] = values[reach : reach + rows] * weights[0]
    for step in range(1, reach + 1):
        pair = values[reach - step : reach - step + rows] + values[reach + step : reach + step + rows]
        pair *= weights[step]
        result += pair
    return result


def _highest(values: NDArray[np.float32], reach: int) -> NDArray[np.float32]:
    """The highest value in each column within `reach` rows of each place."""
    values = np.pad(values, [(reach, reach), (0, 0)], mode="edge")
    rows = 1  # over which each is the highest
    while rows < 2 * reach + 1:
        step = min(rows, 2 * reach + 1 - rows)
        values = np.maximum(values[:-step], values[step:])
        rows += step
    return values


def _cells(content: NDArray[np.float32], cell: Sequence[int]) -> NDArray[np.float32]:
    """The map's means over cells of (rows, columns) pixels; a last cell that is cut repeats the map's edge."""
    if max(cell) == 1:
        return content
    missing = [-length % pixels for length, pixels in zip(content.shape, cell, strict=True)]
    whole = np.pad(content, [(0, missing[0]), (0, missing[1])], mode="edge") if any(missing) else content
    total = np.zeros((whole.shape[0] // cell[0], whole.shape[1] // cell[1]), dtype=np.float32)
    for row in range(cell[0]):
        for col in range(cell[1]):
            total += whole[row :: cell[0], col :: cell[1]]
    total /= cell[0] * cell[1]
    return total


def _middles(labels: NDArray[np.int32], count: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """(rows, columns) of one pixel of each label: the middle one in reading order."""
    where = np.flatnonzero(labels)
    names = labels.ravel()[where]
    where = where[np.argsort(names, kind="stable")]
    sizes = np.bincount(names, minlength=count + 1)[1:]
    middles = where[np.cumsum(sizes) - sizes + sizes // 2]
    rows, cols = np.divmod(middles, labels.shape[1])
    return rows, cols


def _climb(
    content: NDArray[np.float32], rows: NDArray[np.intp], cols: NDArray[np.intp], reach: Sequence[int]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """For each peak of the smoothed map the highest pixel of the map within `reach`, itself where none is higher."""
    best = content[rows, cols]
    best_rows, best_cols = rows, cols
    for down in range(-reach[0], reach[0] + 1):
        near_rows = np.clip(rows + down, 0, content.shape[0] - 1)
        for right in range(-reach[1], reach[1] + 1):
            near_cols = np.clip(cols + right, 0, content.shape[1] - 1)
            value = content[near_rows, near_cols]
            higher = value > best
            best = np.where(higher, value, best)
            best_rows = np.where(higher, near_rows, best_rows)
            best_cols = np.where(higher, near_cols, best_cols)
    return best_rows, best_cols


def _grow(
    content: NDArray[np.float32],
    seed: tuple[int, int],
    level: float,
    window: tuple[int, int],
    taken: NDArray[np.bool_],
) -> _Region | None:
    """The 8-connected pixels about `seed` of at least `level`; None when they hold a `taken` one."""
    from scipy import ndimage

    (row, col), (rows, cols) = seed, content.shape
    half_rows, half_cols = window
    while True:
        top, bottom = max(0, row - half_rows), min(rows, row + half_rows + 1)
        left, right = max(0, col - half_cols), min(cols, col + half_cols + 1)
        labels, _ = ndimage.label(content[top:bottom, left:right] >= level, EIGHT_CONNECTED)
        mask = labels == labels[row - top, col - left]
        if (mask & taken[top:bottom, left:right]).any():
            return None
        in_rows, in_cols = mask.any(axis=1), mask.any(axis=0)
        open_rows = (top > 0 and in_rows[0]) or (bottom < rows and in_rows[-1])
        open_cols = (left > 0 and in_cols[0]) or (right < cols and in_cols[-1])
        if not (open_rows or open_cols):
            break
        half_rows, half_cols = half_rows * 2, half_cols * 2
    first_row, first_col = int(in_rows.argmax()), int(in_cols.argmax())
    last_row, last_col = len(in_rows) - int(in_rows[::-1].argmax()), len(in_cols) - int(in_cols[::-1].argmax())
    return _Region(top + first_row, left + first_col, mask[first_row:last_row, first_col:last_col])


def _finding(
    region: _Region, content: NDArray[np.float32], lung: NDArray[np.float32] | None, geometry: Geometry, label: str
) -> Finding:
    """A region measured: score, box and centre in the file's pixels, area, and mm where the spacing is known."""
    rows, cols = np.nonzero(region.mask)
    values = region.under(content).astype(np.float64)
    total = float(values.sum())
    weights = values / total if total > 0 else np.full(len(values), 1 / len(values))
    # pixel edges: the first pixel's centre is at 0.5
    x, y = region.col + 0.5 + float(weights @ cols), region.row + 0.5 + float(weights @ rows)
    height, width = region.mask.shape
    box_px = geometry.box_to_file(Box(region.col, region.row, region.col + width, region.row + height))
    pixel_mm2 = geometry.grid_pixel_area_mm2
    area_mm2 = None if pixel_mm2 is None else len(values) * pixel_mm2
    return Finding(
        label=label,
        score=min(1.0, float(values.max())),
        box_px=box_px,
        center_px=geometry.point_to_file(x, y),
        area_px=len(values) / (geometry.scale_row * geometry.scale_col),
        box_mm=geometry.box_to_mm(box_px),
        area_mm2=area_mm2,
        diameter_mm=None if area_mm2 is None else 2 * math.sqrt(area_mm2 / math.pi),
        lung_probability=None if lung is None else float(region.under(lung).mean(dtype=np.float64)),
    )
