"""Patches for the patch classifier: what is in their middle, what is not, and where hard negatives lie."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cxrcad.config import TrainConfig, build
from cxrcad.core import Case
from cxrcad.datasets.samples import Sample
from cxrcad.imaging.preprocess import Geometry
from cxrcad.networks.blocks import InputChannels
from cxrcad.synthesis.insertion import Zones
from cxrcad.synthesis.projection import Projection
from cxrcad.training.patch_classifier.patches import Ground, PatchSource, cut, make_grounds, peaks

SIDE = 160
STILL = {"rotate_degrees": 0, "zoom": 0, "brightness": 0, "gamma": 0, "gaussian_noise": 0, "poisson_counts": 0}


def sample(nodule_at: tuple[int, int] | None = (80, 60)) -> Sample:
    """A dark lung field of 100 x 100 pixels on grey, with a bright disc of radius 8 in it."""
    rows, cols = np.mgrid[:SIDE, :SIDE]
    lung = (abs(rows - 80) < 50) & (abs(cols - 80) < 50)
    nodules = np.zeros((SIDE, SIDE), bool)
    if nodule_at:
        nodules = np.hypot(rows - nodule_at[0], cols - nodule_at[1]) <= 8
    image = np.where(nodules, 250, np.where(lung, 80, 140)).astype(np.uint8)
    geometry = Geometry.fit(SIDE, SIDE, SIDE, 16, (0.7, 0.7))
    return Sample(Case("A", Path("A.png"), SIDE, SIDE), image, nodules, lung, geometry, "0" * 64)


def zones(one: Sample) -> Zones:
    assert one.lung is not None
    return Zones(np.flatnonzero(one.lung).astype(np.int32), np.zeros(0, np.int32), 0.31)


def source(*samples: Sample, projections: tuple[Projection, ...] = (), **values) -> PatchSource:
    config = build(TrainConfig, {"patch_classifier": True, "batch": 2, "patches_per_image": 20, **STILL, **values})
    grounds = make_grounds(samples, [zones(one) for one in samples])
    return PatchSource(grounds, projections, config)


def patches(drawn: PatchSource, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The raw patches of a step, and their labels."""
    places, generator = drawn.draw(step), torch.Generator().manual_seed(step)
    return cut(places, InputChannels(("raw",), SIDE), drawn.config, generator, torch.device("cpu")), places.labels


def middles(patches: torch.Tensor) -> np.ndarray:
    """Mean level, 0-1, of the 3 x 3 pixels in each patch's middle; raw channels are (level - 0.5) x 4."""
    half = patches.shape[2] // 2
    return patches[:, 0, half - 1 : half + 2, half - 1 : half + 2].mean((1, 2)).numpy() / 4 + 0.5


@pytest.mark.parametrize("side", [69, 97])
def test_a_patch_labelled_nodule_has_one_in_its_middle_and_no_other_has(side):
    drawn = source(sample(), patch=side)
    seen, labels = patches(drawn, 0)
    assert seen.shape == (40, 1, side, side)
    assert labels.sum() == 2 * 6  # 0.3 of 20, of two images
    level = middles(seen)
    assert level[labels == 1].min() > 0.8
    assert level[labels == 0].max() < 0.62


def test_an_image_without_a_nodule_gives_patches_without():
    labels = source(sample(None)).draw(0).labels
    assert len(labels) == 40
    assert labels.sum() == 0


def test_the_same_draw_twice_is_the_same_and_another_is_not():
    drawn = source(sample(), brightness=0.2, gaussian_noise=0.02, blur=1, zoom=0.2, rotate_degrees=20)
    first, again, other = (patches(drawn, step)[0] for step in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_projected_nodules_are_nodules_and_negative_insertions_are_not():
    disc = np.hypot(*(np.mgrid[:17, :17] - 8)) <= 7
    projection = Projection(disc.astype(np.float32), disc, "1.1")
    flat = replace(sample(None), image=np.full((SIDE, SIDE), 80, np.uint8))
    drawn = source(flat, projections=(projection,), simulate_count=1, simulate_easy=3.0, simulate_easy_steps=99)
    seen, labels = patches(drawn, 1)
    assert labels.sum() == 12
    level = middles(seen)
    assert level[labels == 1].min() > 80 / 255 + 0.05
    assert np.abs(level[labels == 0] - 80 / 255).max() < 0.01


def test_hard_negatives_are_the_highest_peaks_away_from_the_nodules():
    one = sample()
    ground = Ground(one, zones(one), np.flatnonzero(one.lung).astype(np.int32), np.zeros((0, 2)))
    judged = np.zeros((SIDE, SIDE), np.float32)
    judged[80, 60], judged[80, 70], judged[50, 100], judged[5, 5] = (
        9,
        8,
        7,
        6,
    )  # nodule, its edge, a hard negative, outside
    ground.take(judged)
    assert ground.hard[0].tolist() == [50, 100]
    assert [5, 5] not in ground.hard.tolist()
    assert np.hypot(*(ground.hard - (80, 60)).T).min() > 8 + 3


def test_peaks_come_best_first_and_apart():
    values = np.zeros((40, 40), np.float32)
    values[10, 10], values[10, 13], values[30, 30] = 5, 4, 7
    found = peaks(values, np.flatnonzero(values > 0).astype(np.int32), 5)
    assert found.tolist() == [[30, 30], [10, 10]]


def test_images_without_lung_fields_give_no_ground():
    one = sample()
    assert make_grounds([one], [None]) == ()
