"""Lung map -> lung fields: two areas, holes filled, from a threshold on."""

import numpy as np
import pytest

from cxrcad.inference.lungs import LUNG_FROM, lung_fields


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
