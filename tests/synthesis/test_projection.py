"""Projected CT nodules: made once, put where they may lie, never of a held-out series."""

from pathlib import Path

import numpy as np
import pytest

from cxrcad.core import DataError
from cxrcad.synthesis import insertion
from cxrcad.synthesis.insertion import Zones, insert_backgrounds, insert_nodules, placement_zones
from cxrcad.synthesis.projection import CONTRAST, Projection, load_projections, masses


def ball(diameter_mm: int) -> np.ndarray:
    grid = np.mgrid[:diameter_mm, :diameter_mm, :diameter_mm] - (diameter_mm - 1) / 2
    return np.where((grid**2).sum(0) <= (diameter_mm / 2) ** 2, 1000, 0).astype(np.int16)


@pytest.fixture
def nodules(tmp_path: Path) -> Path:
    balls = [ball(16), ball(16), ball(5)]
    np.savez(
        tmp_path / "nodules.npz",
        shapes=np.array([b.shape for b in balls]),
        densities=np.concatenate([b.ravel() for b in balls]),
        diameters=np.array([16.0, 16.0, 5.0]),
        series_uid=np.array(["1.1", "1.2", "1.3"]),
    )
    return tmp_path / "nodules.npz"


def load(path: Path, *exclude: str, count: int = 6) -> tuple[Projection, ...]:
    return load_projections(path, exclude_series=exclude, spacing_mm=0.7, count=count, seed=1)


def test_a_ball_is_seen_as_a_disc_of_its_size(nodules):
    for projection in load(nodules):
        diameter_mm = 2 * np.sqrt(projection.outline.sum() / np.pi) * 0.7
        assert 16 * 0.75 * 0.95 < diameter_mm < 16 * 1.4 * 1.05
        core = projection.thickness > 0.5 * projection.thickness.max()
        assert projection.thickness[core].mean() == pytest.approx(1, abs=1e-5)
        rows, cols = np.nonzero(projection.outline)
        assert abs(np.ptp(rows) - np.ptp(cols)) <= 1


def test_held_out_series_and_small_nodules_are_not_used(nodules):
    assert {projection.series_uid for projection in load(nodules, count=20)} == {"1.1", "1.2"}
    assert {projection.series_uid for projection in load(nodules, "1.1")} == {"1.2"}
    with pytest.raises(DataError, match=r"no CT nodule of 6 mm or more is left outside the held-out series"):
        load(nodules, "1.1", "1.2")


def test_the_same_seed_gives_the_same_projections(nodules):
    for first, second in zip(load(nodules), load(nodules), strict=True):
        assert np.array_equal(first.thickness, second.thickness)


def test_what_is_no_file_of_nodules_is_named(tmp_path):
    (tmp_path / "other.npz").write_bytes(b"no zip")
    for name in ("other.npz", "missing.npz"):
        with pytest.raises(DataError, match=f"{name}: not a file of CT nodules"):
            load(tmp_path / name)


def chest() -> tuple[np.ndarray, np.ndarray]:
    lung = np.zeros((256, 256), bool)
    lung[40:200, 30:110] = lung[40:200, 146:226] = True
    return np.where(lung, 0.3, 0.8).astype(np.float32), lung


def test_zones_lie_inside_the_lung_or_behind_heart_and_domes():
    image, lung = chest()
    zones = placement_zones(image, lung)
    assert lung.ravel()[zones.lung].all()
    assert not lung.ravel()[zones.outside].any()
    rows = zones.outside // 256
    assert rows.min() >= 40 + int(0.35 * 159)
    assert zones.lung_level == pytest.approx(0.3)


@pytest.mark.parametrize("fraction", [0.0, 0.5, 1.0])
def test_the_fraction_outside_the_lungs_is_that_of_jsrt(nodules, fraction, monkeypatch):
    assert insertion.OUTSIDE_FRACTION == 14 / 154
    monkeypatch.setattr(insertion, "OUTSIDE_FRACTION", fraction)
    image, lung = chest()
    rng, outside, count = np.random.default_rng(3), 0, 0
    for _ in range(150):
        truth = np.zeros_like(lung)
        zones = placement_zones(image, lung)
        count += insert_nodules(image.copy(), truth, zones, load(nodules), count=1, easy=1.0, rng=rng)
        outside += bool(truth.any()) and not (truth & lung).sum() > truth.sum() / 2
    assert count > 100
    assert outside / count == pytest.approx(fraction, abs=0.12)


def test_nodules_brighten_what_they_outline_and_nothing_far_from_it(nodules):
    image, lung = chest()
    before, truth = image.copy(), np.zeros_like(lung)
    rng = np.random.default_rng(2)
    count = insert_nodules(image, truth, placement_zones(image, lung), load(nodules), count=3, easy=1.0, rng=rng)
    assert count == 3
    change = image - before
    assert (change[truth] > 0).all()
    from scipy.ndimage import binary_dilation

    assert np.abs(change[~binary_dilation(truth, iterations=4)]).max() < 1e-3  # the tail of the blur
    assert (
        change.max() <= CONTRAST[5][1] / 255 * 1.15 * 1.6
    )  # the largest contrast, compression and peak over mean of a ball


def test_easy_multiplies_the_contrast(nodules):
    image, lung = chest()
    zones, projections = placement_zones(image, lung), load(nodules)
    peaks = []
    for easy in (1.0, 2.0):
        drawn = image.copy()
        truth = np.zeros_like(lung)
        rng = np.random.default_rng(5)
        insert_nodules(drawn, truth, zones, projections, count=1, easy=easy, rng=rng)
        peaks.append(float((drawn - image).max()))
    assert peaks[1] == pytest.approx(2 * peaks[0], rel=0.02)


def test_a_place_that_is_taken_or_over_the_edge_is_left(nodules):
    image, lung = chest()
    taken = np.ones_like(lung)
    zones = placement_zones(image, lung)
    rng = np.random.default_rng(0)
    assert insert_nodules(image, taken, zones, load(nodules), count=5, easy=1.0, rng=rng) == 0
    corner = Zones(np.array([0], np.int32), np.array([0], np.int32), 0.3)
    empty = np.zeros_like(lung)
    assert insert_nodules(image, empty, corner, load(nodules), count=5, easy=1.0, rng=rng) == 0
    nowhere = Zones(np.array([], np.int32), np.array([], np.int32), 0.3)
    assert insert_nodules(image, empty, nowhere, load(nodules), count=5, easy=1.0, rng=rng) == 0


def test_nodules_of_which_nothing_is_seen_are_an_error(tmp_path):
    air = ball(16) // 10  # less dense than the lung that they displace
    np.savez(tmp_path / "air.npz", shapes=[air.shape], densities=air.ravel(), diameters=[16.0], series_uid=["1"])
    with pytest.raises(
        DataError, match=r"air\.npz: nothing is seen of its nodules with pixels of 0\.7 mm; check their"
    ):
        load(tmp_path / "air.npz", count=1)


def test_negative_insertions_change_the_background_but_not_its_level_and_keep_off_nodules(nodules):
    rng = np.random.default_rng(4)
    image = rng.uniform(0.3, 0.6, (200, 200)).astype(np.float32)
    before, taken = image.copy(), np.zeros((200, 200), dtype=bool)
    taken[:, :100] = True
    zones = Zones(np.flatnonzero(np.ones((200, 200), bool)).astype(np.int32), np.zeros(0, np.int32), 0.45)
    middles = insert_backgrounds(image, taken, zones, load(nodules), count=30, rng=rng)
    changed = np.abs(image - before) > 1e-6
    assert 1 <= len(middles) < 30  # those that would touch the nodule are left out
    assert not changed[:, :100].any()
    assert changed[:, 100:].any()
    rows, cols = np.nonzero(changed)
    near = np.hypot(rows[:, None] - middles[:, 0], cols[:, None] - middles[:, 1]).min(1)
    assert near.max() < 25  # half the diagonal of the largest projection
    assert abs(float((image - before)[changed].mean())) < 0.02  # a nodule's contrast is 0.024 to 0.165
    assert (image - before)[changed].min() < -0.02


def test_no_negative_insertion_is_asked_for(nodules):
    image = np.full((50, 50), 0.5, np.float32)
    zones = Zones(np.arange(2500, dtype=np.int32), np.zeros(0, np.int32), 0.5)
    middles = insert_backgrounds(image, np.zeros((50, 50), bool), zones, (), count=0, rng=np.random.default_rng(0))
    assert middles.shape == (0, 2)
    assert (image == 0.5).all()


def test_masses_are_nodules_of_the_larger_half_enlarged(nodules):
    made = load(nodules, count=12)
    areas = sorted(int(one.outline.sum()) for one in made)
    large = masses(made, 20, seed=3)
    assert len(large) == 20
    assert 4 * areas[6] * 0.85 < min(int(one.outline.sum()) for one in large)
    assert max(int(one.outline.sum()) for one in large) < 9 * areas[-1] * 1.15
    assert {one.series_uid for one in large} <= {"1.1", "1.2"}
    again = masses(made, 20, seed=3)
    assert all((one.thickness == other.thickness).all() for one, other in zip(large, again, strict=True))
