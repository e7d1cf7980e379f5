"""One nodule into one radiograph, and its negative insertion: same place, same path, no nodule."""

import numpy as np
import pytest

from cxrcad.core import DataError
from cxrcad.synthesis.backgrounds import read_background, read_backgrounds
from cxrcad.synthesis.insertion import PATCHES, Candidates, insert_nodule, reinsert_background
from cxrcad.synthesis.nodules import read_nodules
from cxrcad.synthesis.projection import project


@pytest.fixture
def balls(ball_nodules):
    return Candidates(read_nodules(ball_nodules, count=0, seed=0), [0, 1])


@pytest.fixture
def chest(nih_folder):
    """A radiograph with noise of 4 grey levels, and its lungs."""
    image, lung = read_background(read_backgrounds(nih_folder).backgrounds[0])
    return image + np.random.default_rng(0).normal(0, 4, image.shape).astype(np.float32), lung


def test_a_ball_projects_as_a_disc_as_thick_as_it_is_in_the_middle(balls):
    thickness = project(balls.stock.density(0), 1.0, np.random.default_rng(0))
    assert thickness.max() == pytest.approx(16 * 0.78, rel=0.06)  # mm of water over the lung that it displaces
    visible = thickness > 0.2 * thickness.max()
    assert 2 * np.sqrt(visible.sum() / np.pi) * 0.35 == pytest.approx(16, rel=0.06)
    twice = project(balls.stock.density(0), 1.25, np.random.default_rng(0))
    assert twice.max() == pytest.approx(1.25 * thickness.max(), rel=0.02)


@pytest.mark.parametrize(("subtlety", "low", "high"), [(1, 6, 9), (5, 27, 42)])
def test_a_nodule_adds_the_contrast_of_its_subtlety_in_the_lung(chest, balls, subtlety, low, high):
    image, lung = chest
    result, inserted = insert_nodule(image, lung, balls, subtlety, False, np.random.default_rng(4))
    truth, change = inserted.nodule, result - image
    row, col = int(truth.y_px), int(truth.x_px)
    assert lung[row, col]
    middle = change[row - 5 : row + 5, col - 5 : col + 5].mean()
    assert low * 0.9 <= middle <= high * 1.4  # the core's mean, and its peak
    box = truth.box_px
    away = change.copy()
    away[int(box.y0) - 16 : int(box.y1) + 16, int(box.x0) - 16 : int(box.x1) + 16] = 0
    assert not away.any()
    assert box.center == pytest.approx((truth.x_px, truth.y_px), abs=1.5)
    assert truth.diameter_mm == pytest.approx({0: 16, 1: 12}[inserted.index] * inserted.scale, rel=0.08)


def test_a_nodule_outside_the_lung_fields_lies_between_or_below_them_and_shows_less(chest, balls):
    image, lung = chest
    result, inserted = insert_nodule(image, lung, balls, 5, True, np.random.default_rng(1))
    assert inserted.nodule.in_lung is False
    assert not lung[int(inserted.nodule.y_px), int(inserted.nodule.x_px)]
    # the display curve leaves (262 - 150) / (262 - 60) of it
    assert (result - image).max() < 42 * 1.5 * (262 - 130) / (262 - 60)


@pytest.mark.parametrize("patch", PATCHES)
def test_a_negative_insertion_touches_the_nodules_place_and_keeps_the_mean_level(chest, balls, patch):
    image, lung = chest
    _, truth = insert_nodule(image, lung, balls, 3, False, np.random.default_rng(7))
    before = image.copy()
    result, negative = reinsert_background(
        image, lung, np.random.default_rng(7), candidates=balls, outside=False, patch=patch
    )
    assert negative == truth  # the place, shape and size that the nodule would have had
    assert np.array_equal(image, before)
    change = (result - image).astype(np.float64)
    row, col = int(negative.nodule.y_px), int(negative.nodule.x_px)
    core = np.s_[row - 8 : row + 8, col - 8 : col + 8]
    assert np.abs(change[core]).mean() > 1
    box = negative.nodule.box_px
    whole = np.s_[int(box.y0) - 16 : int(box.y1) + 16, int(box.x0) - 16 : int(box.x1) + 16]
    assert abs(change[whole].mean()) < 1e-4
    change[whole] = 0
    assert not change.any()


def test_a_blurred_insertion_has_less_noise_and_a_contralateral_one_shows_the_other_side(chest, balls):
    image, lung = chest
    blurred, negative = reinsert_background(
        image, lung, np.random.default_rng(7), candidates=balls, outside=False, patch="blurred"
    )
    row, col = int(negative.nodule.y_px), int(negative.nodule.x_px)
    core = np.s_[row - 8 : row + 8, col - 8 : col + 8]
    assert blurred[core].std() < 0.5 * image[core].std()
    ramp = np.tile(np.abs(np.arange(1024) - 511.5).astype(np.float32) / 8, (1024, 1)) + 40  # the same on both sides
    same, negative = reinsert_background(
        ramp, lung, np.random.default_rng(7), candidates=balls, outside=False, patch="contralateral"
    )
    assert np.abs(same - ramp)[core].max() < 0.01
    with pytest.raises(DataError, match=r"there is no patch 'noise'; choose from contralateral, blurred"):
        reinsert_background(image, lung, np.random.default_rng(7), candidates=balls, outside=False, patch="noise")


def test_no_place_is_said(chest, balls):
    image, _ = chest
    speck = np.zeros((1024, 1024), bool)
    speck[500:510, 500:510] = True
    with pytest.raises(DataError, match=r"no place for a nodule in its lung fields, 0 pixels; correct its lung mask"):
        insert_nodule(image, speck, balls, 3, False, np.random.default_rng(0))
