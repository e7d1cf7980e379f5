"""Lung map -> lung fields: two areas, holes filled, from a threshold on."""

import numpy as np
import pytest
from scipy import ndimage

from cxrcad.inference.lungs import LUNG_FROM, lung_fields, unlike_lungs


def drawn() -> np.ndarray:
    lung = np.zeros((40, 40), np.float32)
    lung[5:35, 3:15] = 0.9
    lung[15:20, 6:10] = 0.1  # a vessel that the network left out
    lung[5:35, 25:37] = 0.6
    lung[36:39, 18:22] = 0.99  # the stomach's gas
    return lung


def test_the_two_largest_areas_are_kept_and_their_holes_filled():
    found = lung_fields(drawn(), None)
    expected = np.zeros((40, 40), bool)
    expected[5:35, 3:15] = expected[5:35, 25:37] = True
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("threshold", "area"), [(0.6, 720), (0.7, 360 + 12), (0.95, 12), (1.0, 0)])
def test_the_threshold_decides_and_one_area_or_none_is_what_it_is(threshold, area):
    found = lung_fields(drawn(), threshold)
    assert (found.dtype, int(found.sum())) == (np.bool_, area)


def test_without_a_threshold_half_is_enough():
    assert lung_fields(np.full((4, 4), LUNG_FROM, np.float32), None).all()
    assert not lung_fields(np.full((4, 4), LUNG_FROM - 0.01, np.float32), None).any()


@pytest.mark.parametrize("seed", range(20))
def test_the_fields_of_any_map_have_their_holes_filled_and_no_bay(seed):
    rng = np.random.default_rng(seed)
    lung = ndimage.gaussian_filter(rng.random(rng.integers(1, 60, 2)), rng.uniform(0.3, 4)).astype(np.float32)
    level = np.quantile(lung, rng.uniform(0.2, 0.8))
    expected, _ = ndimage.label(ndimage.binary_fill_holes(lung >= level))
    sizes = np.bincount(expected.ravel(), minlength=2)[1:]
    two = np.argsort(-sizes, kind="stable")[:2] + 1
    np.testing.assert_array_equal(lung_fields(lung, level), np.isin(expected, two))


def two_lungs(rows: int = 100, cols: int = 100) -> np.ndarray:
    """Two fields of 50 x 24 % of the picture, their middles 40 % of the width apart."""
    fields = np.zeros((rows, cols), dtype=bool)
    fields[rows // 4 : 3 * rows // 4, round(0.18 * cols) : round(0.42 * cols)] = True
    return fields | fields[:, ::-1]


def test_two_fields_side_by_side_are_lungs() -> None:
    fields = two_lungs()
    assert unlike_lungs(fields) == unlike_lungs(two_lungs(300, 200)) == ""
    fields[40, 42:58] = True  # joined
    assert unlike_lungs(fields) == ""


def test_what_is_unlike_the_lungs_of_a_frontal_chest_is_told() -> None:
    lungs = two_lungs()
    one, small, low = lungs.copy(), lungs.copy(), lungs.copy()
    one[:, 50:] = False
    small[:50, 50:] = small[60:, 50:] = small[:, 64:] = False
    low[:, 50:] = np.roll(low[:, 50:], 50, axis=0) & (np.arange(100)[:, None] > 60)
    assert unlike_lungs(np.zeros((9, 9), bool)) == "no lung fields"
    assert unlike_lungs(np.ones((100, 100), bool)) == "lung fields on 100 % of it"
    assert unlike_lungs(one) == "lung fields that do not lie side by side"  # one field, parted in its middle
    assert unlike_lungs(small) == "one lung field on 0.6 % of it"
    assert unlike_lungs(low) == "lung fields that do not lie side by side"
    assert unlike_lungs(np.ascontiguousarray(lungs.T)) == "lung fields that do not lie side by side"
