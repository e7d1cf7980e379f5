from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrcad.config import GridConfig
from cxrcad.core import Box, Radiograph, Source
from cxrcad.imaging.orientation import as_stored, letters_of, upright
from cxrcad.imaging.preprocess import Geometry, mask_to_grid, normalise, resample, to_grid

SIDES = st.integers(64, 4000)


def radiograph(pixels, spacing_mm=None):
    return Radiograph(np.asarray(pixels, dtype=np.float32), spacing_mm, None, None, Source("a.png", "PNG", ""))


def test_jsrt_on_half_its_size():
    geometry = Geometry.fit(2048, 2048, 1024, 16, (0.175, 0.175))
    assert (geometry.grid_rows, geometry.grid_cols) == (1024, 1024)
    assert (geometry.scale_row, geometry.scale_col) == (0.5, 0.5)
    assert geometry.grid_spacing_mm == (0.35, 0.35)
    assert geometry.grid_pixel_area_mm2 == pytest.approx(0.1225)
    assert geometry.point_to_grid(857.2, 686.4) == (428.6, 343.2)


def test_the_shorter_side_is_fitted_and_both_are_padded():
    geometry = Geometry.fit(rows=3000, cols=2000, side=500, multiple=64)
    assert (geometry.content_rows, geometry.content_cols) == (750, 500)
    assert (geometry.grid_rows, geometry.grid_cols) == (768, 512)
    assert (geometry.scale_row, geometry.scale_col) == (0.25, 0.25)


def test_unknown_spacing_stays_unknown():
    geometry = Geometry.fit(100, 100, 50, 16)
    assert geometry.grid_spacing_mm is None
    assert geometry.grid_pixel_area_mm2 is None
    assert geometry.box_to_mm(Box(0, 0, 1, 1)) is None


def test_boxes_come_back_in_the_files_pixels_and_in_mm():
    geometry = Geometry.fit(200, 400, 100, 16, (0.2, 0.2))
    box = geometry.box_to_file(Box(10, 20, 30, 40))
    assert box == Box(20, 40, 60, 80)
    assert geometry.box_to_mm(box) == Box(4.0, 8.0, 12.0, 16.0)
    assert geometry.box_to_grid(box) == Box(10, 20, 30, 40)


def test_a_box_in_the_padding_is_clipped_to_the_file():
    geometry = Geometry.fit(100, 100, 50, 64)
    assert geometry.grid_cols == 64
    assert geometry.box_to_file(Box(40, -3, 64, 64)) == Box(80, 0, 100, 100)


@given(
    rows=SIDES, cols=SIDES, side=st.integers(32, 2048), multiple=st.sampled_from([1, 8, 16, 32]), part=st.floats(0, 1)
)
def test_geometry_round_trips(rows, cols, side, multiple, part):
    geometry = Geometry.fit(rows, cols, side, multiple)
    assert min(geometry.content_rows, geometry.content_cols) == side
    assert 0 <= geometry.grid_rows - geometry.content_rows < multiple
    assert 0 <= geometry.grid_cols - geometry.content_cols < multiple
    assert geometry.grid_rows % multiple == geometry.grid_cols % multiple == 0
    x, y = part * cols, (1 - part) * rows
    assert geometry.point_to_file(*geometry.point_to_grid(x, y)) == pytest.approx((x, y))
    assert geometry.point_to_grid(cols, rows) == pytest.approx((geometry.content_cols, geometry.content_rows))


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(120, 300), cols=st.integers(120, 300), side=st.integers(40, 400),
    x_part=st.floats(0.3, 0.7), y_part=st.floats(0.3, 0.7),
)  # fmt: skip
def test_a_bright_dots_centroid_lies_where_the_geometry_says(rows, cols, side, x_part, y_part):
    geometry = Geometry.fit(rows, cols, side, 16)
    x, y = x_part * cols, y_part * rows
    # wide enough to be sampled well on both grids, small enough not to touch the edge
    width = max(1.5, 1.0 / geometry.scale_row, 1.0 / geometry.scale_col)
    ys, xs = np.mgrid[:rows, :cols] + 0.5
    dot = np.exp(-((xs - x) ** 2 + (ys - y) ** 2) / (2 * width**2))
    grid = resample(dot, geometry).astype(np.float64)
    ys, xs = np.mgrid[: grid.shape[0], : grid.shape[1]] + 0.5
    centroid = (grid * xs).sum() / grid.sum(), (grid * ys).sum() / grid.sum()
    assert math.dist(centroid, geometry.point_to_grid(x, y)) < 0.05


def test_shrinking_averages_the_pixels_under_each_new_one():
    pixels = np.arange(16, dtype=np.float32).reshape(4, 4)
    assert resample(pixels, Geometry.fit(4, 4, 2, 1)).tolist() == [[2.5, 4.5], [10.5, 12.5]]


def test_shrinking_by_a_broken_factor_shares_pixels_by_length():
    # three columns into two: the middle one is half in each
    grid = resample(np.tile([0.0, 3.0, 6.0], (3, 1)), Geometry.fit(3, 3, 2, 1))
    np.testing.assert_allclose(grid, [[1, 5], [1, 5]], atol=1e-6)


def test_enlarging_interpolates_between_pixel_centres():
    grid = resample(np.tile([0.0, 4.0], (2, 1)), Geometry.fit(2, 2, 4, 1))
    np.testing.assert_allclose(grid, np.tile([0, 1, 3, 4], (4, 1)), atol=1e-6)


def test_shrinking_keeps_the_mean_and_makes_no_pattern_of_fine_stripes():
    stripes = np.tile([0.0, 1.0], (100, 50))
    grid = resample(stripes, Geometry.fit(100, 100, 50, 1))
    np.testing.assert_allclose(grid, 0.5, atol=1e-6)


def test_the_padding_repeats_the_edge():
    pixels = np.arange(4, dtype=np.float32).reshape(2, 2)
    assert resample(pixels, Geometry.fit(2, 2, 2, 3)).tolist() == [[0, 1, 1], [2, 3, 3], [2, 3, 3]]


def test_normalise_stretches_between_the_percentiles():
    values = normalise(np.arange(101.0), 10, 90)
    assert values.dtype == np.float32
    assert (values[10], values[90], values[0], values[100]) == (0, 1, 0, 1)
    assert values[50] == pytest.approx(0.5)


def test_normalise_of_one_value_is_zero():
    assert normalise(np.full((3, 3), 7.0), 0.5, 99.5).tolist() == np.zeros((3, 3)).tolist()


def test_to_grid_is_0_to_1_and_carries_the_spacing():
    pixels = np.random.default_rng(0).random((120, 100)) * 0.2 + 0.4
    grid, geometry = to_grid(radiograph(pixels, (0.2, 0.2)), GridConfig(side=50), 16)
    assert (grid.shape, grid.dtype) == ((64, 64), np.float32)
    assert (grid.min(), grid.max()) == (0, 1)
    assert geometry.spacing_mm == (0.2, 0.2)
    assert geometry.grid_spacing_mm == (0.4, 0.4)
    assert (grid[60:, :50] == grid[59, :50]).all()


def test_a_mask_of_half_the_images_size_lands_in_the_same_place():
    mask = np.zeros((50, 50), dtype=bool)
    mask[10:20, 30:40] = True  # the image's rows 20-40, columns 60-80
    geometry = Geometry.fit(100, 100, 30, 16)
    grid = mask_to_grid(mask, geometry)
    assert (grid.shape, grid.dtype) == ((32, 32), np.bool_)
    rows, cols = np.nonzero(grid)
    assert (rows.min(), rows.max() + 1, cols.min(), cols.max() + 1) == (6, 12, 18, 24)
    assert grid.sum() == 36


def test_a_mask_is_true_from_half_of_a_grid_pixel_and_false_in_the_padding():
    mask = np.ones((4, 4), dtype=bool)
    mask[0, 0] = mask[0, 1] = False  # half of the first grid pixel
    mask[0, 2] = mask[0, 3] = mask[1, 3] = False  # three quarters of the second
    grid = mask_to_grid(mask, Geometry.fit(4, 4, 2, 4))
    assert grid.tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_chest_stands_upright_on_the_grid_and_boxes_lie_as_in_the_file(orientation):
    """The same grid, to the bit, from a chest that lies in its file in any of the eight ways."""
    chest = np.random.default_rng(0).random((120, 90), dtype=np.float32)
    plain, _ = to_grid(radiograph(chest), GridConfig(side=45), 16)
    stored = np.ascontiguousarray(as_stored(chest, orientation))
    turned_chest = replace(radiograph(stored), orientation=letters_of(orientation))
    grid, geometry = to_grid(turned_chest, GridConfig(side=45), 16)
    assert (grid == plain).all()
    assert (upright(stored, orientation) == chest).all()
    mark = np.zeros(stored.shape, dtype=np.bool_)
    mark[10:30, 40:60] = True
    rows, cols = np.nonzero(mask_to_grid(mark, geometry))
    box = Box(cols.min(), rows.min(), cols.max() + 1, rows.max() + 1)
    assert geometry.box_to_file(box) == Box(40, 10, 60, 30)
    assert geometry.box_to_grid(Box(40, 10, 60, 30)) == box
    assert geometry.point_to_file(*geometry.point_to_grid(17.0, 5.0)) == pytest.approx((17.0, 5.0))
    assert geometry.as_stored(grid).shape == (stored.shape[0] // 2, stored.shape[1] // 2)
    assert (geometry.as_stored(mask_to_grid(mark, geometry)) == mark[::2, ::2]).all()


@pytest.mark.parametrize(("spacing", "aspect"), [((0.3, 0.2), None), (None, 1.5), ((0.3, 0.2), 9.0)])
def test_pixels_that_are_not_square_become_square(spacing, aspect):
    """1.5 times as high as wide: 100 x 150 pixels are a square."""
    squeezed = replace(radiograph(np.random.default_rng(0).random((100, 150)), spacing), pixel_aspect=aspect)
    grid, geometry = to_grid(squeezed, GridConfig(side=64), 16)
    assert grid.shape == (64, 64)
    assert not geometry.square
    assert geometry.grid_spacing_mm is None or geometry.grid_spacing_mm == pytest.approx((0.46875, 0.46875))
    assert geometry.box_to_file(Box(0, 0, 32, 32)) == Box(0, 0, 75, 50)


def test_a_spacing_of_a_turned_chest_goes_with_its_rows():
    geometry = Geometry.fit(100, 150, 50, 16, (0.3, 0.2), orientation=6)
    assert (geometry.content_rows, geometry.content_cols) == (50, 50)
    geometry = Geometry.fit(100, 200, 50, 16, (0.2, 0.2), orientation=6)
    assert (geometry.content_rows, geometry.content_cols) == (100, 50)
    assert geometry.grid_spacing_mm == (0.4, 0.4)


def test_rounded_spacings_are_square():
    assert Geometry.fit(300, 200, 100, 16, (0.1432, 0.143)) == replace(
        Geometry.fit(300, 200, 100, 16), spacing_mm=(0.1432, 0.143)
    )
