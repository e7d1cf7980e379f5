from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cxrcad.core import Box, Case, DataError, Nodule, ReadError, disc_box_px, nodule_box_px
from cxrcad.datasets.masks import centre_in_lung, lung_mask, truth_mask, unknown_mask
from cxrcad.imaging.preprocess import Geometry

from .conftest import write_mask


def case_of(*nodules: Nodule, side: int = 64, spacing: tuple[float, float] | None = (1.0, 1.0)) -> Case:
    return Case("A", Path("A.png"), side, side, spacing, nodules)


SAME = Geometry.fit(64, 64, 64, 16)
HALF = Geometry.fit(64, 64, 32, 16)


def test_a_disc_holds_the_pixels_whose_centre_it_holds() -> None:
    mask = truth_mask(case_of(Nodule(20.0, 30.0, diameter_mm=4.0)), SAME, "disc")
    expected = np.array([[0, 1, 1, 0], [1, 1, 1, 1], [1, 1, 1, 1], [0, 1, 1, 0]], bool)
    assert mask.dtype == np.bool_
    assert mask.shape == (64, 64)
    assert (mask[28:32, 18:22] == expected).all()
    assert mask.sum() == 12


def test_a_disc_on_a_pixel_centre() -> None:
    mask = truth_mask(case_of(Nodule(20.5, 30.5, diameter_mm=2.0)), SAME, "disc")
    assert set(zip(*np.nonzero(mask), strict=True)) == {(30, 20), (29, 20), (31, 20), (30, 19), (30, 21)}


def test_the_disc_has_the_nodules_area_in_mm2_on_any_grid() -> None:
    case = case_of(Nodule(1000.0, 700.0, diameter_mm=30.0), side=2048, spacing=(0.175, 0.175))
    for side in (2048, 1024, 512):
        geometry = Geometry.fit(2048, 2048, side, 16, case.spacing_mm)
        area = truth_mask(case, geometry, "disc").sum() * (0.175 * 2048 / side) ** 2
        assert area == pytest.approx(math.pi * 15**2, rel=0.02)


def test_pixels_that_are_not_square_make_an_ellipse() -> None:
    mask = truth_mask(case_of(Nodule(32.0, 32.0, diameter_mm=16.0), spacing=(2.0, 1.0)), SAME, "disc")
    rows, cols = np.nonzero(mask)
    assert (rows.min(), rows.max() + 1, cols.min(), cols.max() + 1) == (28, 36, 24, 40)


def test_a_box_is_the_exact_one_or_the_discs_square() -> None:
    exact = Nodule(20.0, 30.0, diameter_mm=4.0, box_px=Box(10.0, 24.0, 26.0, 34.0))
    assert np.argwhere(truth_mask(case_of(exact), HALF, "box")).tolist() == [
        [row, col] for row in range(12, 17) for col in range(5, 13)
    ]
    square = Nodule(20.0, 30.0, diameter_mm=4.0)
    assert np.argwhere(truth_mask(case_of(square), HALF, "box")).tolist() == [[14, 9], [14, 10], [15, 9], [15, 10]]
    assert disc_box_px(case_of(exact), exact) == Box(18.0, 28.0, 22.0, 32.0)
    assert nodule_box_px(case_of(exact), exact) == Box(10.0, 24.0, 26.0, 34.0)
    assert nodule_box_px(case_of(square), square) == Box(18.0, 28.0, 22.0, 32.0)


@pytest.mark.parametrize("truth", ["disc", "box"])
def test_a_nodule_smaller_than_a_pixel_still_sets_its_own(truth: str) -> None:
    mask = truth_mask(case_of(Nodule(20.1, 31.9, diameter_mm=0.1)), HALF, truth)
    assert np.argwhere(mask).tolist() == [[15, 10]]


def test_two_nodules_are_both_there_and_none_is_nothing() -> None:
    two = case_of(Nodule(10.0, 10.0, diameter_mm=4.0), Nodule(50.0, 50.0, diameter_mm=4.0))
    mask = truth_mask(two, SAME, "disc")
    assert (mask[:32, :32].sum(), mask[32:, 32:].sum(), mask.sum()) == (12, 12, 24)
    assert truth_mask(case_of(), SAME, "disc").sum() == 0


def test_nothing_lies_in_the_padding() -> None:
    geometry = Geometry.fit(60, 60, 60, 16)
    corner = replace(case_of(Nodule(60.0, 60.0, diameter_mm=10.0)), rows=60, cols=60)
    for truth in ("disc", "box"):
        mask = truth_mask(corner, geometry, truth)
        assert mask.shape == (64, 64)
        assert mask[55:60, 55:60].any()
        assert not mask[60:].any()
        assert not mask[:, 60:].any()


def test_truth_of_unknown_size_unless_the_box_is_known() -> None:
    with pytest.raises(DataError, match="A: the size of its nodule in mm is unknown"):
        truth_mask(case_of(Nodule(20.0, 30.0)), SAME, "disc")
    with pytest.raises(DataError, match="A: the spacing of its pixels in mm is unknown"):
        truth_mask(case_of(Nodule(20.0, 30.0, diameter_mm=4.0), spacing=None), SAME, "disc")
    boxed = case_of(Nodule(20.0, 30.0, box_px=Box(18.0, 29.0, 22.0, 31.0)))
    assert truth_mask(boxed, SAME, "box").sum() == 8


def test_another_images_geometry_and_another_truth_are_refused() -> None:
    with pytest.raises(DataError, match=r"its image has 64 x 64 pixels and the geometry is of one with 128 x 128"):
        truth_mask(case_of(), Geometry.fit(128, 128, 64, 16), "disc")
    with pytest.raises(DataError, match="there is no truth 'square'; choose from disc, box"):
        truth_mask(case_of(), SAME, "square")


@pytest.fixture
def with_lungs(tmp_path: Path) -> Case:
    """An image of 128 x 128 with masks of 64 x 64, as SCR's are half of JSRT's."""
    write_mask(tmp_path / "right.gif", (8, 8, 28, 56))
    write_mask(tmp_path / "left.gif", (36, 8, 56, 56))
    return replace(case_of(side=128), lung_masks=(tmp_path / "left.gif", tmp_path / "right.gif"))


def test_the_lung_mask_is_the_union_on_the_grid(with_lungs: Case) -> None:
    mask = lung_mask(with_lungs, Geometry.fit(128, 128, 32, 16))
    expected = np.zeros((32, 32), bool)
    expected[4:28, 4:14] = expected[4:28, 18:28] = True
    assert mask is not None
    assert (mask == expected).all()


def test_no_masks_no_lung_mask_and_a_damaged_one_is_named(with_lungs: Case, tmp_path: Path) -> None:
    assert lung_mask(replace(with_lungs, lung_masks=()), Geometry.fit(128, 128, 32, 16)) is None
    (tmp_path / "left.gif").write_bytes(b"GIF89a")
    with pytest.raises(ReadError, match=r"left\.gif"):
        lung_mask(with_lungs, Geometry.fit(128, 128, 32, 16))


def test_whether_a_centre_lies_in_the_lungs(with_lungs: Case) -> None:
    assert centre_in_lung(with_lungs, Nodule(16.0, 16.0)) is True  # the first pixel of the right lung: edges count in
    assert centre_in_lung(with_lungs, Nodule(15.9, 16.0)) is False
    assert centre_in_lung(with_lungs, Nodule(100.0, 60.0)) is True
    assert centre_in_lung(with_lungs, Nodule(128.0, 128.0)) is False  # the far corner of the image is no fault
    assert centre_in_lung(replace(with_lungs, lung_masks=()), Nodule(16.0, 16.0)) is None


def outlined(*corners: tuple[float, float], more: tuple[tuple[float, float], ...] = ()) -> Case:
    return replace(case_of(), polygons=(corners, more) if more else (corners,))


def test_an_outline_holds_the_pixels_whose_centre_lies_in_it() -> None:
    square = outlined((10.0, 20.0), (14.0, 20.0), (14.0, 23.0), (10.0, 23.0))
    expected = [[row, col] for row in (20, 21, 22) for col in (10, 11, 12, 13)]
    for truth in ("disc", "box"):
        assert np.argwhere(truth_mask(square, SAME, truth)).tolist() == expected
    assert np.argwhere(truth_mask(square, HALF, "disc")).tolist() == [[10, 5], [10, 6]]
    triangle = outlined((0.0, 0.2), (4.0, 4.2), (0.0, 4.2))
    assert truth_mask(triangle, SAME, "disc")[:4, :4].astype(int).tolist() == [
        *([0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0])
    ]


def test_an_outline_may_be_hollow_and_two_are_joined() -> None:
    notched = outlined((0.0, 0.0), (6.0, 0.0), (6.0, 6.0), (4.0, 6.0), (4.0, 2.0), (2.0, 2.0), (2.0, 6.0), (0.0, 6.0))
    mask = truth_mask(notched, SAME, "disc")
    assert mask.sum() == 36 - 8
    assert not mask[2:6, 2:4].any()
    overlapping = outlined((0, 0), (4, 0), (4, 4), (0, 4), more=((2, 2), (6, 2), (6, 6), (2, 6)))
    assert truth_mask(overlapping, SAME, "disc").sum() == 16 + 16 - 4


def test_the_smallest_outline_sets_one_pixel_and_one_over_the_edge_is_cut() -> None:
    speck = outlined((20.6, 30.6), (20.8, 30.6), (20.7, 30.8))
    assert np.argwhere(truth_mask(speck, SAME, "disc")).tolist() == [[30, 20]]
    outer = outlined((60.0, 60.0), (70.0, 60.0), (70.0, 70.0), (60.0, 70.0))
    assert np.argwhere(truth_mask(outer, SAME, "disc")).min() == 60
    assert truth_mask(outer, SAME, "disc").sum() == 16


def test_the_disc_of_a_turned_chest_lies_where_its_pixels_do() -> None:
    case = case_of(Nodule(10.0, 40.0, diameter_mm=16.0), spacing=(2.0, 1.0))
    turned = Geometry.fit(64, 64, 64, 16, case.spacing_mm, orientation=8)
    straight = Geometry.fit(64, 64, 64, 16, case.spacing_mm)
    assert (turned.as_stored(truth_mask(case, turned, "disc")) == truth_mask(case, straight, "disc")).all()


BOXED = Nodule(32.0, 20.0, box_px=Box(28, 18, 36, 22), label="mass", boxed=True)


def drawn(rows: list[str]) -> np.ndarray:
    return np.array([[pixel == "#" for pixel in row] for row in rows])


def test_the_lesion_in_a_box_is_the_ellipse_of_its_sides_times_the_scale() -> None:
    case = case_of(BOXED)
    assert (
        truth_mask(case, SAME, "disc")[18:22, 28:36] == drawn([".######.", "########", "########", ".######."])
    ).all()
    half = truth_mask(case, SAME, "disc", 0.5)
    assert (half[18:22, 28:36] == drawn(["........", "..####..", "..####..", "........"])).all()
    assert half.sum() == 8


def test_a_box_tells_the_ellipse_whatever_the_spacing_makes_of_its_size() -> None:
    known = case_of(replace(BOXED, diameter_mm=6.0))
    assert (truth_mask(known, SAME, "disc") == truth_mask(case_of(BOXED, spacing=None), SAME, "disc")).all()


def test_the_rim_is_the_grown_box_without_the_lesion() -> None:
    case = case_of(BOXED)
    lesion = truth_mask(case, SAME, "disc", 0.5)
    rim = unknown_mask(case, SAME, lesion, 0.5)  # 8 x 4 becomes 12 x 6
    assert rim is not None
    assert not (rim & lesion).any()
    rows, cols = np.nonzero(rim | lesion)
    assert (rows.min(), rows.max() + 1, cols.min(), cols.max() + 1, len(rows)) == (17, 23, 26, 38, 12 * 6)
    alone = unknown_mask(case, SAME, lesion, 0.0)
    assert alone is not None
    assert alone.sum() == 8 * 4 - 8


def test_only_boxed_lesions_have_a_rim_and_only_where_it_is_asked_for() -> None:
    exact = case_of(Nodule(32.0, 20.0, diameter_mm=4.0, box_px=Box(28, 18, 36, 22)))
    assert unknown_mask(exact, SAME, truth_mask(exact, SAME, "disc"), 0.1) is None
    assert unknown_mask(case_of(BOXED), SAME, truth_mask(case_of(BOXED), SAME, "disc"), None) is None
    assert unknown_mask(case_of(), SAME, np.zeros((64, 64), bool), 0.1) is None


def test_a_lesion_that_lies_in_the_rim_of_another_stays_a_lesion() -> None:
    other = replace(BOXED, x_px=39.0, box_px=Box(37, 19, 41, 21))
    case = case_of(BOXED, other)
    lesion = truth_mask(case, SAME, "disc")
    rim = unknown_mask(case, SAME, lesion, 1.0)
    assert rim is not None
    assert lesion[20, 39]
    assert not (rim & lesion).any()
