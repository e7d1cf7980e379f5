"""Perturbations: what they do to the pixels, and that the truth goes where the pixels go."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cxrcad.core import Box, Case, Nodule, Radiograph, Source, UsageError
from cxrcad.synthesis.perturbations import PERTURBATIONS, UNPERTURBED, perturbations_named

ROWS, COLS, MM = 240, 200, 1.8
X, Y, DIAMETER_MM = 61.5, 160.5, 23.4  # off the middle in both directions
RADIUS = DIAMETER_MM / 2 / MM
BOX = Box(X - RADIUS, Y - RADIUS, X + RADIUS, Y + RADIUS)
MOVING = [
    name for name, perturbation in PERTURBATIONS.items() if perturbation.move(100, 100) != UNPERTURBED.move(100, 100)
]


def radiograph(pixels: np.ndarray, spacing: tuple[float, float] | None = (MM, MM)) -> Radiograph:
    return Radiograph(
        pixels.astype(np.float32), spacing, "PixelSpacing", None, Source("a.png", "PNG", "ab", {}, ("n",))
    )


def disc() -> np.ndarray:
    rows, cols = np.mgrid[:ROWS, :COLS] + 0.5
    return np.where((rows - Y) ** 2 + (cols - X) ** 2 <= RADIUS**2, 0.9, 0.2)


def gradient() -> np.ndarray:
    return np.linspace(0, 1, ROWS * COLS).reshape(ROWS, COLS)


CASE = Case("A1", Path("a.png"), ROWS, COLS, (MM, MM), (Nodule(X, Y, DIAMETER_MM, 3, box_px=BOX, in_lung=True),))


@pytest.mark.parametrize("name", list(PERTURBATIONS))
def test_the_perturbed_case_fits_the_perturbed_radiograph(name: str) -> None:
    altered, case = PERTURBATIONS[name].of(radiograph(disc()), "A1", 0), PERTURBATIONS[name].of_case(CASE)
    assert (altered.rows, altered.cols) == (case.rows, case.cols)
    assert altered.pixels.dtype == np.float32
    assert 0 <= altered.pixels.min() <= altered.pixels.max() <= 1
    assert altered.source == replace(radiograph(disc()).source, notes=("n", PERTURBATIONS[name].words))
    if not name.startswith("spacing"):
        assert altered.spacing_mm == case.spacing_mm


@pytest.mark.parametrize("name", ["unaltered", "gamma-1.6", "blur-low", "spacing-absent", *MOVING])
def test_a_bright_disc_at_the_nodules_place_is_under_the_moved_truth(name: str) -> None:
    perturbation = {**PERTURBATIONS, "unaltered": UNPERTURBED}[name]
    altered, case = perturbation.of(radiograph(disc()), "A1", 0), perturbation.of_case(CASE)
    (nodule,) = case.nodules
    box, (row_mm, col_mm) = nodule.box_px, case.spacing_mm
    pixels = altered.pixels[int(box.y0) - 8 : int(box.y1) + 8, int(box.x0) - 8 : int(box.x1) + 8]
    low, high = np.percentile(pixels, 10), np.percentile(pixels, 90)
    rows, cols = np.nonzero(pixels > (low + high) / 2)
    x, y = cols.mean() + 0.5 + int(box.x0) - 8, rows.mean() + 0.5 + int(box.y0) - 8
    assert (x, y) == pytest.approx((nodule.x_px, nodule.y_px), abs=0.35 * case.rows / ROWS)
    size_mm = 2 * math.sqrt(len(rows) / math.pi * row_mm * col_mm)
    assert size_mm == pytest.approx(nodule.diameter_mm, rel=0.08)
    found = (cols.min(), rows.min(), cols.max() + 1, rows.max() + 1)
    edges = (box.x0, box.y0, box.x1, box.y1)
    limit = 1.5 * case.rows / ROWS
    start = np.array([int(box.x0) - 8, int(box.y0) - 8] * 2)
    assert np.abs(np.array(found) + start - edges).max() < limit
    assert (nodule.subtlety, nodule.in_lung, nodule.diameter_mm) == (3, True, DIAMETER_MM)


def test_what_moves_the_pixels_is_known() -> None:
    sizes, borders = {"side-512", "side-3000", "side-4000"}, {"border-black", "border-white"}
    assert set(MOVING) == sizes | borders | {"rotated-clockwise", "rotated-anticlockwise"}


def test_resampling_scales_truth_and_spacing() -> None:
    square = Case(
        "A", Path("a"), 1024, 1024, (0.35, 0.35), (Nodule(300.0, 700.0, 20.0, box_px=Box(280, 660, 320, 740)),)
    )
    small = PERTURBATIONS["side-512"].of_case(square)
    assert (small.rows, small.cols, small.spacing_mm) == (512, 512, (0.7, 0.7))
    assert small.nodules[0] == Nodule(150.0, 350.0, 20.0, box_px=Box(140, 330, 160, 370))
    large = PERTURBATIONS["side-4000"].of_case(CASE)
    assert (large.rows, large.cols) == (4000, 3333)
    assert large.spacing_mm == pytest.approx((MM * ROWS / 4000, MM * COLS / 3333))
    assert PERTURBATIONS["side-512"].of_case(replace(square, spacing_mm=None)).spacing_mm is None


def test_a_border_shifts_truth_by_a_tenth_and_shows_its_colour() -> None:
    case = PERTURBATIONS["border-black"].of_case(CASE)
    assert (case.rows, case.cols, case.spacing_mm) == (ROWS + 48, COLS + 40, (MM, MM))
    assert (case.nodules[0].x_px, case.nodules[0].y_px) == (X + 20, Y + 24)
    for name, level in (("border-black", 0.0), ("border-white", 1.0)):
        pixels = PERTURBATIONS[name].of(radiograph(disc()), "A1", 0).pixels
        assert np.array_equal(pixels[24:-24, 20:-20], disc().astype(np.float32))
        pixels[24:-24, 20:-20] = level
        assert (pixels == level).all()


def test_a_rotation_turns_truth_clockwise_about_the_middle() -> None:
    right_of_middle = replace(CASE, nodules=(Nodule(COLS / 2 + 50, ROWS / 2, 9.0, box_px=Box(140, 115, 160, 125)),))
    (nodule,) = PERTURBATIONS["rotated-clockwise"].of_case(right_of_middle).nodules
    cos, sin = math.cos(math.radians(5)), math.sin(math.radians(5))
    assert (nodule.x_px, nodule.y_px) == pytest.approx((COLS / 2 + 50 * cos, ROWS / 2 + 50 * sin))  # y is down
    half = math.hypot(10 * cos, 5 * sin), math.hypot(10 * sin, 5 * cos)
    box = nodule.box_px
    assert (box.x1 - box.x0, box.y1 - box.y0) == pytest.approx((2 * half[0], 2 * half[1]))
    back = PERTURBATIONS["rotated-anticlockwise"].of_case(replace(right_of_middle, nodules=(nodule,))).nodules[0]
    assert (back.x_px, back.y_px) == pytest.approx((COLS / 2 + 50, ROWS / 2))


def test_lung_masks_are_dropped_and_outlines_move() -> None:
    outlined = replace(CASE, nodules=(), lung_masks=(Path("l"), Path("r")), polygons=(((0.0, 0.0), (10.0, 20.0)),))
    case = PERTURBATIONS["border-white"].of_case(outlined)
    assert (case.lung_masks, case.polygons) == ((), (((20.0, 24.0), (30.0, 44.0)),))


def test_the_file_tells_another_spacing_and_truth_keeps_the_true_one() -> None:
    told = {
        name: PERTURBATIONS[f"spacing-{name}"].of(radiograph(disc()), "A1", 0) for name in ("absent", "small", "large")
    }
    assert (told["absent"].spacing_mm, told["absent"].spacing_from) == (None, None)
    assert told["small"].spacing_mm == pytest.approx((0.8 * MM, 0.8 * MM))
    assert told["large"].spacing_mm == pytest.approx((1.2 * MM, 1.2 * MM))
    for name, altered in told.items():
        assert np.array_equal(altered.pixels, disc().astype(np.float32))
        assert PERTURBATIONS[f"spacing-{name}"].of_case(CASE) == CASE
    unknown = radiograph(disc(), None)
    assert PERTURBATIONS["spacing-small"].of(unknown, "A1", 0).spacing_mm is None


def test_grey_levels_are_what_the_words_say() -> None:
    values = gradient()

    def altered(name: str) -> np.ndarray:
        return PERTURBATIONS[name].of(radiograph(values), "A1", 0).pixels

    assert altered("inverted") == pytest.approx(1 - values, abs=1e-6)
    assert altered("gamma-0.6") == pytest.approx(values**0.6, abs=1e-5)
    assert altered("gamma-1.6") == pytest.approx(values**1.6, abs=1e-5)
    narrow, wide = altered("window-narrow"), altered("window-wide")
    assert (narrow == 0).mean() == pytest.approx(0.104, abs=0.004)  # a tenth of the range between percentiles 0.5, 99.5
    assert (narrow == 1).mean() == pytest.approx(0.104, abs=0.004)
    assert (wide.min(), wide.max()) == pytest.approx((0.25, 0.75), abs=0.01)
    for pixels in (narrow, wide):
        assert np.abs(pixels * 255 - np.rint(pixels * 255)).max() < 1e-3


def test_noise_and_blur_have_the_sizes_that_the_words_say() -> None:
    grey = radiograph(np.full((ROWS, COLS), 0.5))
    low, high = (PERTURBATIONS[name].of(grey, "A1", 0).pixels for name in ("noise-low", "noise-high"))
    assert (low.std(), high.std()) == pytest.approx((0.03, 0.10), rel=0.03)
    edge = radiograph(np.repeat(np.arange(100) >= 50, 100).reshape(100, 100).astype(float), (0.5, 0.5))
    for name, deviation_px in (("blur-low", 1.4), ("blur-high", 4.0)):
        spread = np.diff(PERTURBATIONS[name].of(edge, "A1", 0).pixels[:, 50].astype(np.float64))
        place = np.arange(99)
        middle = (spread * place).sum() / spread.sum()
        assert math.sqrt((spread * (place - middle) ** 2).sum() / spread.sum()) == pytest.approx(deviation_px, rel=0.03)


@pytest.mark.parametrize("name", ["noise-low", "electrodes", "pacemaker", "port"])
def test_chance_follows_from_the_seed_and_the_case(name: str) -> None:
    def altered(case: str, seed: int) -> np.ndarray:
        return PERTURBATIONS[name].of(radiograph(disc()), case, seed).pixels

    assert np.array_equal(altered("A1", 0), altered("A1", 0))
    assert not np.array_equal(altered("A1", 0), altered("A2", 0))
    assert not np.array_equal(altered("A1", 0), altered("A1", 1))


def drawn(name: str, side: int = 400) -> np.ndarray:
    """By how much each pixel of a grey image of 360 mm became brighter."""
    grey = radiograph(np.full((side, side), 0.4), (360 / side, 360 / side))
    change = PERTURBATIONS[name].of(grey, "A1", 0).pixels - np.float32(0.4)
    assert change.min() >= 0
    return change


def test_text_stands_white_in_the_corners_and_nowhere_else() -> None:
    change = drawn("text")
    assert change.max() == pytest.approx(0.6)
    corners = [change[:60, :160], change[:60, 320:], change[340:, :260]]
    assert all((corner > 0.3).sum() > 20 for corner in corners)
    assert np.count_nonzero(change) == sum(np.count_nonzero(corner) for corner in corners)


def test_electrodes_lie_on_both_sides_and_their_leads_leave_the_image() -> None:
    change = drawn("electrodes")
    dense = change > 0.4
    assert dense[:120, :200].any()
    assert dense[:120, 200:].any()
    assert (change[-1] > 0.2).any()
    assert not change[0].any()
    snaps = np.count_nonzero(dense) * 0.9**2
    assert snaps == pytest.approx(3 * math.pi * 4.5**2, rel=0.35)  # three discs of 9 mm


def test_a_pacemaker_is_an_opaque_can_on_the_patients_left_with_leads_across_the_middle() -> None:
    change = drawn("pacemaker")
    can = change > 0.55
    assert np.count_nonzero(can) * 0.9**2 == pytest.approx(46 * 42, rel=0.15)
    rows, cols = np.nonzero(can)
    assert cols.min() > 200  # image right
    assert rows.max() < 150  # above the middle
    assert (change[150:, :240] > 0.3).any()


def test_a_port_is_a_ring_on_the_patients_right_with_a_catheter_to_the_middle() -> None:
    change = drawn("port")
    rows, cols = np.nonzero(change > 0.35)
    assert cols.max() < 180  # image left
    assert (rows.max() - rows.min() + 1) * 0.9 == pytest.approx(27, abs=2.5)
    assert (change[100:200, 170:] > 0.1).any()


def test_devices_keep_their_size_in_mm_when_there_are_more_pixels() -> None:
    small, large = drawn("pacemaker", 300), drawn("pacemaker", 900)
    areas = [np.count_nonzero(change > 0.55) * (360 / len(change)) ** 2 for change in (small, large)]
    assert areas[0] == pytest.approx(areas[1], rel=0.05)
    unknown = radiograph(np.full((300, 300), 0.4), None)
    assert np.array_equal(PERTURBATIONS["pacemaker"].of(unknown, "A1", 0).pixels - np.float32(0.4), small)


def test_alterations_are_named_in_a_list() -> None:
    assert perturbations_named(None) == tuple(PERTURBATIONS.values())
    assert [one.name for one in perturbations_named("text, side-512,text,")] == ["text", "side-512"]
    with pytest.raises(
        UsageError, match=r"^--perturbations: there is no 'inverse'; did you mean inverted\? choose from wind"
    ):
        perturbations_named("text,inverse")
    with pytest.raises(UsageError, match=r"there is no 'xyzzy'; choose from window-narrow, .*, pacemaker, port$"):
        perturbations_named("xyzzy")
    with pytest.raises(UsageError, match=r"it names none; choose from"):
        perturbations_named(" , ")
