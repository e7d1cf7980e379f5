"""The insertion-artefact test: one place scored four times, and a verdict that follows from intervals and bound."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from cxrcad.core import Result
from cxrcad.evaluation.bootstrap import Interval
from cxrcad.imaging.preprocess import Geometry
from cxrcad.inference.examining import Examined
from cxrcad.scoring.insertion_test import VERSIONS, score_place, verdict
from cxrcad.synthesis.backgrounds import GRID_MM, read_background, read_backgrounds
from cxrcad.synthesis.insertion import Candidates
from cxrcad.synthesis.nodules import read_nodules


class Seeing:
    """A detector whose map is 1 where the image is not the background, and elsewhere 0.1."""

    def __init__(self, background):
        image, _ = read_background(background)
        self.untouched = (np.clip(np.rint(image), 0, 255) / 255).astype(np.float32)
        self.changed = []

    def examine(self, radiograph):
        assert radiograph.spacing_mm == (GRID_MM, GRID_MM)
        changed = radiograph.pixels != self.untouched
        self.changed.append(changed)
        rows, cols = changed.shape
        geometry = Geometry(rows, cols, rows, cols, 1.0, 1.0, radiograph.spacing_mm)
        result = Result("a", "", rows, cols, radiograph.spacing_mm, None, ())
        return Examined(result, {"lesion": np.where(changed, np.float32(1), np.float32(0.1))}, geometry)


@pytest.fixture
def noisy_background(nih_folder):
    """A background with noise, so that every background patch changes pixels."""
    from PIL import Image

    background = read_backgrounds(nih_folder).backgrounds[0]
    pixels = np.asarray(Image.open(background.image)).astype(np.float64)
    noise = np.random.default_rng(0).normal(0, 12, pixels.shape)
    Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8)).save(background.image)
    return background


def test_all_four_versions_are_of_one_place(noisy_background, ball_nodules):
    detector = Seeing(noisy_background)
    stock = read_nodules(ball_nodules, count=0, seed=0)
    scored = score_place(detector, noisy_background, Candidates(stock, stock.usable()), 0, 7)
    assert dict(scored.scores) == pytest.approx({**dict.fromkeys(VERSIONS, 1.0), "untouched": 0.1})
    untouched, *others = detector.changed
    assert not untouched.any()
    reach = scored.inserted.nodule.diameter_mm / GRID_MM
    for changed in others:
        rows, cols = np.nonzero(changed)
        assert np.abs(rows + 0.5 - scored.inserted.nodule.y_px).max() < reach
        assert np.abs(cols + 0.5 - scored.inserted.nodule.x_px).max() < reach
    again = score_place(detector, noisy_background, Candidates(stock, stock.usable()), 0, 7)
    assert again == scored
    assert score_place(detector, noisy_background, Candidates(stock, [0]), 0, 8).inserted != scored.inserted


def test_only_the_disc_of_the_nodules_size_counts(noisy_background, ball_nodules):
    stock = read_nodules(ball_nodules, count=0, seed=0)
    candidates = Candidates(stock, stock.usable())
    place = score_place(Seeing(noisy_background), noisy_background, candidates, 0, 7).inserted.nodule
    radius = place.diameter_mm / 2 / GRID_MM
    rows, cols = np.mgrid[:1024, :1024] + 0.5
    away = np.hypot(rows - place.y_px, cols - place.x_px)
    levels = np.where(away <= radius - 1, 0.3, np.where(away > radius + 1, 0.9, 0.3)).astype(np.float32)

    def examine(radiograph):
        geometry = Geometry(1024, 1024, 1024, 1024, 1.0, 1.0, radiograph.spacing_mm)
        return Examined(Result("a", "", 1024, 1024, None, None, ()), {"lesion": levels}, geometry)

    scored = score_place(SimpleNamespace(examine=examine), noisy_background, candidates, 0, 7)
    assert set(scored.scores.values()) == {float(np.float32(0.3))}


@pytest.mark.parametrize(
    ("intervals", "word"),
    [
        (((0.01, -0.02, 0.04), (0.0, -0.049, 0.03)), "below"),
        (((0.01, -0.02, 0.04), (0.03, 0.00, 0.06)), "undecided"),
        (((0.01, -0.02, 0.04), (0.2, 0.06, 0.3)), "beyond"),
        (((-0.2, -0.3, -0.06), (0.0, -0.01, 0.01)), "beyond"),
        (((0.0, None, None), (0.0, None, None)), "undecided"),
        (((0.0, None, None), (0.0, -0.01, 0.01)), "undecided"),
    ],
)
def test_the_verdict_follows_from_intervals_and_bound(intervals, word):
    differences = {name: Interval(*one) for name, one in zip(("contralateral", "blurred"), intervals, strict=True)}
    assert verdict(differences, 0.05) == word
