"""Crafted maps whose findings are known exactly, told in words."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from cxrcad.config import FindConfig
from cxrcad.core import Box, Finding, ModelError
from cxrcad.imaging.preprocess import Geometry
from cxrcad.inference import candidates
from cxrcad.inference.candidates import ASSUMED_CHEST_MM, _highest, _smoothed, find, select

MILLIMETRE = Geometry.fit(128, 128, 128, 16, (1.0, 1.0))
"""A file of 128 x 128 mm whose pixels are the grid's."""

EVERYTHING = FindConfig(min_area_mm2=0.0)


def empty(geometry: Geometry = MILLIMETRE) -> NDArray[np.float32]:
    return np.zeros((geometry.grid_rows, geometry.grid_cols), dtype=np.float32)


def block(grid_map: NDArray[np.float32], top: int, left: int, height: int, width: int, value: float) -> None:
    grid_map[top : top + height, left : left + width] = value


def cone(grid_map: NDArray[np.float32], row: int, col: int, height: float, radius: float) -> None:
    """A cone with its tip at a pixel's centre, laid over what is there (the higher of the two)."""
    rows, cols = np.ogrid[: grid_map.shape[0], : grid_map.shape[1]]
    distance = np.hypot(rows - row, cols - col)
    np.maximum(grid_map, height * np.clip(1 - distance / radius, 0, 1), out=grid_map, casting="unsafe")


def one(findings: tuple[Finding, ...]) -> Finding:
    assert len(findings) == 1
    return findings[0]


class TestWhatIsMeasured:
    """A flat block of 0.8, 6 rows by 10 columns, 20 rows down and 30 columns in."""

    @pytest.fixture
    def nodule(self) -> NDArray[np.float32]:
        grid_map = empty()
        block(grid_map, 20, 30, 6, 10, 0.8)
        return grid_map

    @pytest.mark.parametrize("method", ["peaks", "components"])
    def test_every_field(self, nodule: NDArray[np.float32], method: str) -> None:
        lung = empty()
        lung[:, :35] = 1.0
        finding = one(find(nodule, lung, MILLIMETRE, FindConfig(method=method)))
        assert finding.label == "nodule"
        assert finding.score == pytest.approx(0.8)
        assert finding.box_px == Box(30, 20, 40, 26)
        assert finding.center_px == pytest.approx((35.0, 23.0))
        assert finding.area_px == 60
        assert finding.box_mm == Box(30, 20, 40, 26)
        assert finding.area_mm2 == 60
        assert finding.diameter_mm == pytest.approx(2 * math.sqrt(60 / math.pi))
        assert finding.lung_probability == 0.5

    def test_without_a_lung_map_its_probability_is_none(self, nodule: NDArray[np.float32]) -> None:
        assert one(find(nodule, None, MILLIMETRE, EVERYTHING)).lung_probability is None

    def test_the_label_is_the_callers(self, nodule: NDArray[np.float32]) -> None:
        assert one(find(nodule, None, MILLIMETRE, EVERYTHING, label="mass")).label == "mass"

    def test_unknown_spacing_leaves_every_mm_field_none(self, nodule: NDArray[np.float32]) -> None:
        finding = one(find(nodule, None, replace(MILLIMETRE, spacing_mm=None), EVERYTHING))
        assert (finding.box_mm, finding.area_mm2, finding.diameter_mm) == (None, None, None)
        assert finding.box_px == Box(30, 20, 40, 26)
        assert finding.area_px == 60

    def test_anisotropic_spacing_counts_rows_and_columns_apart(self, nodule: NDArray[np.float32]) -> None:
        finding = one(find(nodule, None, replace(MILLIMETRE, spacing_mm=(2.0, 0.5)), EVERYTHING))
        assert finding.box_mm == Box(15, 40, 20, 52)
        assert finding.area_mm2 == 60
        assert finding.area_px == 60

    def test_the_box_lies_in_the_files_pixels(self) -> None:
        """A file of 300 x 512 on a grid of 75 x 128 padded to 80 x 128: four file pixels a grid pixel."""
        geometry = Geometry.fit(300, 512, 75, 16, (0.25, 0.25))
        grid_map = empty(geometry)
        block(grid_map, 20, 30, 6, 10, 0.8)
        finding = one(find(grid_map, None, geometry, EVERYTHING))
        assert finding.box_px == Box(120, 80, 160, 104)
        assert finding.center_px == pytest.approx((140.0, 92.0))
        assert finding.area_px == 60 * 16
        assert finding.box_mm == Box(30, 20, 40, 26)
        assert finding.area_mm2 == pytest.approx(60)

    def test_the_centre_is_weighted_by_probability(self) -> None:
        grid_map = empty()
        grid_map[10:14, 10:14] = 0.9
        grid_map[10:14, 14:18] = 0.6
        finding = one(find(grid_map, None, MILLIMETRE, EVERYTHING))
        assert finding.box_px == Box(10, 10, 18, 14)
        assert finding.center_px == pytest.approx(((0.9 * 12 + 0.6 * 16) / 1.5, 12.0))

    def test_the_score_is_the_peak_of_the_unsmoothed_map(self) -> None:
        grid_map = empty()
        block(grid_map, 40, 40, 8, 8, 0.6)
        grid_map[45, 42] = 0.97
        finding = one(find(grid_map, None, MILLIMETRE, EVERYTHING))
        assert finding.score == pytest.approx(0.97)
        assert finding.box_px == Box(40, 40, 48, 48)


class TestPeaks:
    def test_an_empty_map_has_none(self) -> None:
        assert find(empty(), None, MILLIMETRE, EVERYTHING) == ()

    def test_a_map_that_is_the_same_everywhere_is_one_finding(self) -> None:
        finding = one(find(np.full_like(empty(), 0.5), None, MILLIMETRE, EVERYTHING))
        assert finding.box_px == Box(0, 0, 128, 128)
        assert finding.score == 0.5

    def test_a_plateau_is_one_finding(self) -> None:
        grid_map = empty()
        block(grid_map, 30, 30, 40, 50, 0.7)
        assert one(find(grid_map, None, MILLIMETRE, EVERYTHING)).box_px == Box(30, 30, 80, 70)

    def test_a_cone_is_grown_to_half_its_height(self) -> None:
        grid_map = empty()
        cone(grid_map, 60, 60, 0.8, 16)
        assert one(find(grid_map, None, MILLIMETRE, FindConfig(grow=0.5))).box_px == Box(52, 52, 69, 69)
        assert one(find(grid_map, None, MILLIMETRE, FindConfig(grow=0.75))).box_px == Box(56, 56, 65, 65)

    def test_touching_nodules_of_different_height_with_a_low_saddle_are_two(self) -> None:
        """0.9 and 0.6, 24 mm apart; between them the map falls to 0.24, below half of either."""
        grid_map = empty()
        cone(grid_map, 60, 40, 0.9, 16)
        cone(grid_map, 60, 64, 0.6, 16)
        high, low = find(grid_map, None, MILLIMETRE, EVERYTHING)
        assert [high.score, low.score] == pytest.approx([0.9, 0.6])
        assert high.box_px == Box(32, 52, 49, 69)
        assert low.box_px == Box(56, 52, 73, 69)

    def test_touching_nodules_with_a_high_saddle_are_the_higher_one(self) -> None:
        """0.9 and 0.6 with 0.4 between: at half of 0.6 the lower one's pixels reach the higher one's."""
        grid_map = empty()
        cone(grid_map, 60, 40, 0.9, 16)
        cone(grid_map, 60, 64, 0.6, 16)
        grid_map[60, 40:64] = np.maximum(grid_map[60, 40:64], 0.4)
        finding = one(find(grid_map, None, MILLIMETRE, EVERYTHING))
        assert finding.score == pytest.approx(0.9)
        assert finding.box_px == Box(32, 52, 49, 69)

    def test_a_summit_inside_a_higher_ones_region_is_no_finding_of_its_own(self) -> None:
        grid_map = empty()
        cone(grid_map, 60, 50, 0.9, 30)
        cone(grid_map, 60, 62, 0.8, 10)
        assert one(find(grid_map, None, MILLIMETRE, EVERYTHING)).score == pytest.approx(0.9)

    @pytest.mark.parametrize(("distance_mm", "expected"), [(8.0, 1), (6.9, 2)])
    def test_peaks_nearer_than_the_least_distance_are_one(self, distance_mm: float, expected: int) -> None:
        """Two blocks of 3 x 3 whose middles lie 7 mm apart."""
        grid_map = empty()
        block(grid_map, 50, 50, 3, 3, 0.9)
        block(grid_map, 50, 57, 3, 3, 0.8)
        config = FindConfig(min_area_mm2=0, peak_distance_mm=distance_mm)
        assert len(find(grid_map, None, MILLIMETRE, config)) == expected

    def test_the_least_distance_is_measured_in_a_circle(self) -> None:
        """8.5 mm apart on the diagonal, 6 rows and 6 columns: two findings at a least distance of 8 mm."""
        grid_map = empty()
        block(grid_map, 50, 50, 3, 3, 0.9)
        block(grid_map, 56, 56, 3, 3, 0.8)
        assert len(find(grid_map, None, MILLIMETRE, EVERYTHING)) == 2

    def test_the_least_distance_follows_each_axis(self) -> None:
        """Six pixels apart: 12 mm down the rows, but 3 mm along the columns."""
        geometry = replace(MILLIMETRE, spacing_mm=(2.0, 0.5))
        down, along = empty(), empty()
        for grid_map, row, col in ((down, 56, 50), (along, 50, 56)):
            block(grid_map, 50, 50, 3, 3, 0.9)
            block(grid_map, row, col, 3, 3, 0.8)
        assert len(find(down, None, geometry, EVERYTHING)) == 2
        assert len(find(along, None, geometry, EVERYTHING)) == 1

    def test_unknown_spacing_takes_the_image_as_a_chest_wide(self) -> None:
        """Blocks 30 of 350 columns apart are 30 mm apart whatever the file's pixels are."""
        geometry = Geometry.fit(350, 350, 350, 16)
        assert geometry.content_cols == ASSUMED_CHEST_MM
        grid_map = empty(geometry)
        block(grid_map, 100, 100, 6, 6, 0.9)
        block(grid_map, 100, 130, 6, 6, 0.8)
        assert len(find(grid_map, None, geometry, FindConfig(peak_distance_mm=29))) == 2
        assert len(find(grid_map, None, geometry, FindConfig(peak_distance_mm=31))) == 1
        assert len(find(grid_map, None, geometry, FindConfig(min_area_mm2=36))) == 2
        assert len(find(grid_map, None, geometry, FindConfig(min_area_mm2=37))) == 0

    def test_diagonal_neighbours_are_connected(self) -> None:
        grid_map = empty()
        block(grid_map, 50, 50, 4, 4, 0.9)
        block(grid_map, 54, 54, 2, 2, 0.9)
        assert one(find(grid_map, None, MILLIMETRE, EVERYTHING)).area_px == 20

    def test_a_region_larger_than_the_first_window_is_grown_whole(self) -> None:
        """A line of 0.9, 3 rows by 120 columns, with a bend at its end."""
        grid_map = empty()
        block(grid_map, 10, 4, 3, 120, 0.9)
        block(grid_map, 13, 120, 100, 3, 0.9)
        finding = one(find(grid_map, None, MILLIMETRE, EVERYTHING))
        assert finding.box_px == Box(4, 10, 124, 113)
        assert finding.area_px == 360 + 300

    def test_a_fine_grid_finds_the_same_as_a_coarse_one(self) -> None:
        """Cells of 3 x 3 pixels in the search: what is found is still exact to the pixel."""
        geometry = Geometry.fit(301, 400, 301, 16, (0.3, 0.3))
        grid_map = empty(geometry)
        block(grid_map, 100, 101, 20, 31, 0.9)
        block(grid_map, 280, 371, 21, 29, 0.7)
        first, second = find(grid_map, None, geometry, EVERYTHING)
        assert first.box_px == Box(101, 100, 132, 120)
        assert second.box_px == Box(371, 280, 400, 301)


class TestBorders:
    def test_a_nodule_at_the_border_keeps_its_box(self) -> None:
        grid_map = empty()
        block(grid_map, 0, 122, 5, 6, 0.9)
        assert one(find(grid_map, None, MILLIMETRE, EVERYTHING)).box_px == Box(122, 0, 128, 5)

    @pytest.mark.parametrize("method", ["peaks", "components"])
    def test_the_padding_yields_nothing(self, method: str) -> None:
        """100 rows of image padded to 112: a bright strip below row 100 is not in the file."""
        geometry = Geometry.fit(100, 128, 100, 16, (1.0, 1.0))
        grid_map = empty(geometry)
        block(grid_map, 100, 0, 12, 128, 0.99)
        assert find(grid_map, None, geometry, FindConfig(method=method)) == ()

    @pytest.mark.parametrize("method", ["peaks", "components"])
    def test_a_nodule_that_runs_into_the_padding_ends_with_the_image(self, method: str) -> None:
        geometry = Geometry.fit(100, 128, 100, 16, (1.0, 1.0))
        grid_map = empty(geometry)
        block(grid_map, 95, 40, 10, 8, 0.9)
        grid_map[103, 44] = 0.99
        finding = one(find(grid_map, None, geometry, FindConfig(method=method)))
        assert finding.box_px == Box(40, 95, 48, 100)
        assert finding.area_px == 40
        assert finding.score == pytest.approx(0.9)


class TestComponents:
    def test_two_summits_in_one_component_are_one_finding_with_the_higher_score(self) -> None:
        grid_map = empty()
        cone(grid_map, 60, 40, 0.9, 40)
        cone(grid_map, 60, 64, 0.8, 40)
        finding = one(find(grid_map, None, MILLIMETRE, FindConfig(method="components")))
        assert finding.score == pytest.approx(0.9)

    def test_the_map_is_cut_at_the_threshold(self) -> None:
        grid_map = empty()
        block(grid_map, 20, 20, 6, 6, 0.4)
        block(grid_map, 60, 60, 6, 6, 0.6)
        at_half = find(grid_map, None, MILLIMETRE, FindConfig(method="components"))
        at_less = find(grid_map, None, MILLIMETRE, FindConfig(method="components", threshold=0.3))
        assert [item.score for item in at_half] == [pytest.approx(0.6)]
        assert [item.score for item in at_less] == [pytest.approx(0.6), pytest.approx(0.4)]

    def test_a_pixel_at_the_threshold_counts_and_diagonals_connect(self) -> None:
        grid_map = empty()
        block(grid_map, 20, 20, 4, 4, 0.5)
        block(grid_map, 24, 24, 4, 4, 0.75)
        finding = one(find(grid_map, None, MILLIMETRE, FindConfig(method="components")))
        assert finding.area_px == 32
        assert finding.score == 0.75


class TestWhatIsKept:
    @pytest.mark.parametrize("method", ["peaks", "components"])
    def test_the_smallest_area_is_kept_and_one_pixel_less_is_not(self, method: str) -> None:
        grid_map = empty()
        block(grid_map, 20, 20, 3, 4, 0.9)
        block(grid_map, 60, 60, 1, 11, 0.9)
        assert one(find(grid_map, None, MILLIMETRE, FindConfig(method=method, min_area_mm2=12))).area_mm2 == 12

    @pytest.mark.parametrize("method", ["peaks", "components"])
    def test_the_best_are_kept_in_order(self, method: str) -> None:
        grid_map = empty()
        for index, score in enumerate([0.6, 0.9, 0.7, 0.8]):
            block(grid_map, 20, 10 + 25 * index, 6, 6, score)
        config = FindConfig(method=method, max_findings=3)
        assert [item.score for item in find(grid_map, None, MILLIMETRE, config)] == pytest.approx([0.9, 0.8, 0.7])

    def test_a_speck_too_small_to_keep_hides_no_neighbour(self) -> None:
        """A speck of 0.95 lies 7 mm from a nodule of 0.6; the speck is dropped, the nodule stays."""
        grid_map = empty()
        grid_map[50, 50] = 0.95
        block(grid_map, 48, 55, 5, 5, 0.6)
        assert one(find(grid_map, None, MILLIMETRE, FindConfig())).score == pytest.approx(0.6)

    def test_low_scores_are_candidates_too(self) -> None:
        grid_map = empty()
        block(grid_map, 20, 20, 6, 6, 0.002)
        assert one(find(grid_map, None, MILLIMETRE, FindConfig(threshold=0.5))).score == pytest.approx(0.002)

    def test_select_keeps_what_reaches_the_score(self) -> None:
        grid_map = empty()
        for index, score in enumerate([0.25, 0.5, 0.75]):
            block(grid_map, 20, 10 + 25 * index, 6, 6, score)
        findings = find(grid_map, None, MILLIMETRE, EVERYTHING)
        assert [item.score for item in select(findings, 0.5)] == [0.75, 0.5]
        assert select(findings, 0.0) == findings

    def test_equal_scores_are_ordered_from_the_top(self) -> None:
        grid_map = empty()
        for row, col in ((80, 10), (20, 60), (20, 10)):
            block(grid_map, row, col, 6, 6, 0.5)
        findings = find(grid_map, None, MILLIMETRE, EVERYTHING)
        assert [item.box_px for item in findings] == [Box(10, 20, 16, 26), Box(60, 20, 66, 26), Box(10, 80, 16, 86)]


def test_a_map_of_another_size_is_refused() -> None:
    with pytest.raises(ModelError, match=r"64 x 64 pixels for a grid of 128 x 128"):
        find(np.zeros((64, 64), dtype=np.float32), None, MILLIMETRE, EVERYTHING)


def test_many_bumps_of_all_sizes_on_a_map_of_1024() -> None:
    geometry = Geometry.fit(2048, 2048, 1024, 16, (0.175, 0.175))
    grid_map = empty(geometry)
    rng = np.random.default_rng(0)
    for _ in range(60):
        row, col = rng.integers(100, 900, 2)
        part = grid_map[row - 50 : row + 50, col - 50 : col + 50]
        cone(part, 50, 50, rng.uniform(0.1, 1), rng.uniform(10, 50))
    assert len(find(grid_map, grid_map, geometry, FindConfig())) == 43


@pytest.mark.parametrize("side", [256, 512, 1024])
def test_a_mass_of_400_of_1024_pixels_is_one_finding_with_its_box(side: int) -> None:
    """A wide plateau with ripples, as a network draws a mass: one candidate, not one for each ripple."""
    geometry = Geometry.fit(1024, 1024, side, 16)
    rows, cols = (np.mgrid[:side, :side] + 0.5) * 1024 / side
    inside = ((rows - 500) / 150) ** 2 + ((cols - 620) / 200) ** 2 <= 1
    ripples = 0.8 + 0.1 * np.sin(rows / 17) * np.sin(cols / 23)
    finding = one(find((inside * ripples).astype(np.float32), None, geometry, FindConfig()))
    box = finding.box_px
    assert (box.x0, box.y0, box.x1, box.y1) == pytest.approx((420, 350, 820, 650), abs=1024 / side + 1)
    assert finding.center_px == pytest.approx((620, 500), abs=5)


@pytest.mark.parametrize("reach", [1, 2, 5, 8, 30])
def test_the_highest_value_near_each_place_is_that_of_a_maximum_filter(reach):
    values = np.random.default_rng(reach).random((24, 7)).astype(np.float32)
    expected = ndimage.maximum_filter1d(values, 2 * reach + 1, axis=0, mode="nearest")
    np.testing.assert_array_equal(_highest(values, reach), expected)


@pytest.mark.parametrize("sigma", [0.2, 1.0, 1.46, 1.99])
def test_smoothing_is_that_of_a_gaussian_filter(sigma: float) -> None:
    values = np.random.default_rng(0).random((24, 7)).astype(np.float32)
    expected = ndimage.gaussian_filter1d(values, sigma, axis=0, mode="nearest", truncate=candidates.TRUNCATE)
    np.testing.assert_allclose(_smoothed(values, sigma), expected, atol=2e-7)
    across = ndimage.gaussian_filter1d(values, sigma, axis=1, mode="nearest", truncate=candidates.TRUNCATE)
    np.testing.assert_allclose(_smoothed(values.T, sigma).T, across, atol=2e-7)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 1.99])
def test_around_the_cells_that_are_cut_out_nothing_is_as_high_and_their_smooth_values_are_the_whole_map_s(sigma):
    whole = np.full((120, 90), 9e-5, dtype=np.float32)
    whole[40:60, 30:50] = np.random.default_rng(0).random((20, 20))
    part, (row, col) = candidates._cropped(whole)
    assert part.size < whole.size
    smooth, cut = (_smoothed(_smoothed(one, sigma).T, sigma).T for one in (whole, part))
    expected = np.zeros_like(whole)
    expected[row : row + part.shape[0], col : col + part.shape[1]] = cut
    peak = np.float32(candidates.LEAST_PEAK)
    assert np.array_equal(smooth > peak, expected > peak)
    assert np.array_equal(smooth[smooth > peak], expected[smooth > peak])


def test_a_map_of_noise_costs_no_more_for_its_many_peaks(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def counted(values: memoryview, one: tuple[int, int], other: tuple[int, int], level: float) -> bool:
        asked.append(other)
        return on_a_line(values, one, other, level)

    on_a_line = candidates._on_a_line
    monkeypatch.setattr(candidates, "_on_a_line", counted)
    noise = np.random.default_rng(0).random((256, 256)).astype(np.float32)
    grid = Geometry.fit(256, 256, 256, 16, (2.0, 2.0))
    seeds = len(list(candidates._seeds(noise, 1.0, (2.0, 2.0))))
    find(noise, None, grid, replace(EVERYTHING, peak_distance_mm=1.0))
    assert seeds > 1000
    assert len(asked) < seeds / 10  # nearly all lie in the first region


@pytest.mark.parametrize("spacing", [0.3, 0.7, 2.0])
def test_what_saves_time_changes_no_finding(spacing: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines to peaks already taken, and the map cut to where it is not next to 0: rugged maps with empty borders."""
    grid = Geometry.fit(192, 256, 192, 16, (spacing, spacing))
    config = FindConfig(min_area_mm2=0.0, peak_distance_mm=4 * spacing, grow=0.4)
    lines, cuts = 0, 0

    def counted(*given: object) -> bool:
        nonlocal lines
        lines += (found := on_a_line(*given))
        return found

    def measured(cells: NDArray[np.float32]) -> tuple[NDArray[np.float32], tuple[int, int]]:
        nonlocal cuts
        part, first = cropped(cells)
        cuts += part.size < cells.size
        return part, first

    on_a_line, cropped = candidates._on_a_line, candidates._cropped
    for seed in range(12):
        random = np.random.default_rng(seed)
        top, left, bottom, right = (int(length) for length in random.integers(0, 60, 4))
        rugged = ndimage.gaussian_filter(random.random((192, 256)), 1.5 + seed / 4)
        rugged = ((rugged - rugged.min()) / np.ptp(rugged)) ** 4
        whole = np.zeros((192, 256), dtype=np.float32)
        whole[top : 192 - bottom, left : 256 - right] = rugged[top : 192 - bottom, left : 256 - right]
        whole += np.float32(5e-5)
        with monkeypatch.context() as patched:
            patched.setattr(candidates, "_on_a_line", counted)
            patched.setattr(candidates, "_cropped", measured)
            quick = find(whole, None, grid, config)
            patched.setattr(candidates, "LINES", 0)
            patched.setattr(candidates, "_cropped", lambda cells: (cells, (0, 0)))
            assert find(whole, None, grid, config) == quick
            assert len(quick) > 5
    assert lines > 30
    assert cuts >= 8
