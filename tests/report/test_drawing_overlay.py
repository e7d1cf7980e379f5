"""Overlays: what is drawn lies where the finding lies, whatever the size of the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cxrcad.core import Box, Finding, Nodule, Radiograph, Source, WriteError
from cxrcad.report.drawing.marks import BELOW, REPORTED, TRUTH
from cxrcad.report.drawing.overlay import render_overlay, write_overlay


def radiograph(rows: int, cols: int, spacing_mm: tuple[float, float] | None = (0.5, 0.5)) -> Radiograph:
    pixels = np.full((rows, cols), 0.4, dtype=np.float32)
    return Radiograph(pixels, spacing_mm, None, None, Source("x", "PNG", "a" * 64))


def finding(score: float, box: Box) -> Finding:
    return Finding("nodule", score, box, box.center, box.area)


def extent(picture: Image.Image, colour: tuple[int, int, int]) -> Box | None:
    """Where a colour stands, without the legend in the lower left corner."""
    pixels: NDArray[np.uint8] = np.asarray(picture).copy()
    pixels[-130:, :560] = 0
    rows, cols = np.nonzero((pixels == colour).all(axis=2))
    return Box(cols.min(), rows.min(), cols.max() + 1, rows.max() + 1) if len(rows) else None


@pytest.mark.parametrize(
    ("rows", "cols", "size"),
    [(2048, 2048, (1024, 1024)), (3000, 2000, (683, 1024)), (1000, 800, (800, 1000)), (256, 192, (576, 768))],
)
def test_the_picture_has_a_legible_size(rows: int, cols: int, size: tuple[int, int]) -> None:
    picture = render_overlay(radiograph(rows, cols), [])
    assert picture.size == size
    assert picture.mode == "RGB"
    assert picture.getpixel((size[0] // 2, size[1] // 2)) == (102, 102, 102)


def test_a_box_is_drawn_about_its_finding() -> None:
    """Half size: the box at (600, 800)-(700, 920) is (300, 400)-(350, 460) on the picture, its frame 4 pixels off."""
    found = extent(render_overlay(radiograph(2048, 2048), [finding(0.9, Box(600, 800, 700, 920))]), REPORTED)
    assert found is not None
    assert (found.x0, found.y1) == (296, 465)
    assert found.x1 < 300 + 80
    assert found.y0 < 396 - 20, "the score stands above the box"


def test_findings_below_the_threshold_have_another_colour() -> None:
    findings = [finding(0.9, Box(200, 200, 300, 300)), finding(0.2, Box(600, 600, 700, 700))]
    picture = render_overlay(radiograph(1024, 1024), findings, threshold=0.5)
    high, low = extent(picture, REPORTED), extent(picture, BELOW)
    assert high is not None
    assert low is not None
    assert high.y1 < 400 < low.y0
    assert extent(render_overlay(radiograph(1024, 1024), findings), BELOW) is None


def test_truth_of_known_size_is_a_dashed_circle() -> None:
    """20 mm at 0.5 mm a pixel: 40 pixels across, of which 8 of 14 pixels are drawn."""
    picture = render_overlay(radiograph(1024, 1024), [], truth=[Nodule(500.0, 300.0, diameter_mm=20.0)])
    found = extent(picture, TRUTH)
    assert found is not None
    assert [found.x0, found.y0, found.x1, found.y1] == pytest.approx([480, 280, 520, 320], abs=2.5)
    angles = np.linspace(0, 2 * np.pi, 720)
    rows, cols = (300 + 20 * np.sin(angles)).astype(int), (500 + 20 * np.cos(angles)).astype(int)
    drawn = (np.asarray(picture)[rows, cols] == TRUTH).all(axis=1).mean()
    assert drawn == pytest.approx(8 / 14, abs=0.1)


def test_truth_of_known_extent_is_a_dashed_box() -> None:
    nodule = Nodule(500.0, 300.0, box_px=Box(450, 280, 550, 330))
    found = extent(render_overlay(radiograph(1024, 1024, None), [], truth=[nodule]), TRUTH)
    assert found is not None
    assert [found.x0, found.y0, found.x1, found.y1] == pytest.approx([450, 280, 550, 330], abs=2.5)


def test_truth_of_unknown_size_is_still_shown() -> None:
    found = extent(render_overlay(radiograph(1024, 1024), [], truth=[Nodule(500.0, 300.0)]), TRUTH)
    assert found is not None
    assert found.center == pytest.approx((500, 300), abs=2)


@pytest.mark.parametrize(
    "box", [Box(0, 0, 20, 20), Box(1004, 0, 1024, 20), Box(1000, 1000, 1024, 1024), Box(0, 0, 1024, 1024)]
)
def test_a_finding_at_the_edge_keeps_its_score_in_the_picture(box: Box) -> None:
    """Two scores give two pictures; where they differ, digits stand, whole and clear of the picture's edge."""
    one, other = (np.asarray(render_overlay(radiograph(1024, 1024), [finding(score, box)])) for score in (0.11, 0.88))
    rows, cols = np.nonzero((one != other).any(axis=2))
    assert len(rows) > 50
    assert min(rows.min(), cols.min()) >= 1
    assert max(rows.max(), cols.max()) <= 1022


def test_no_box_hides_a_score() -> None:
    """The better finding's frame runs where the other's score stands: its digits are the same as without it."""
    low, high = finding(0.4, Box(400, 400, 500, 500)), finding(0.9, Box(300, 388, 520, 392))
    region = (slice(383, 394), slice(400, 420))
    alone = np.asarray(render_overlay(radiograph(1024, 1024), [low]))[region]
    both = np.asarray(render_overlay(radiograph(1024, 1024), [high, low]))[region]
    assert len(np.unique(alone.reshape(-1, 3), axis=0)) > 2, "digits stand here"
    np.testing.assert_array_equal(alone, both)


def test_the_legend_stands_in_the_corner() -> None:
    picture = np.asarray(render_overlay(radiograph(1024, 1024), [], truth=[Nodule(500.0, 300.0)]))
    assert (picture[-90:, :200] == REPORTED).all(axis=2).any()
    assert (picture[-90:, :200] == TRUTH).all(axis=2).any()


def test_an_overlay_is_written_as_png(tmp_path: Path) -> None:
    path = tmp_path / "out" / "scan.png"
    write_overlay(radiograph(256, 256), [finding(0.5, Box(20, 20, 60, 60))], path, threshold=0.4)
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert picture.size == (768, 768)


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match=r"x\.png: cannot be written"):
        write_overlay(radiograph(256, 256), [], tmp_path / "file" / "x.png")
