"""The FROC plot: what is drawn, in which pixels and words, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxrcad.core import UsageError
from cxrcad.evaluation.froc import Curve, froc
from cxrcad.evaluation.matching import FalsePositive, Hit, ImageMatch
from cxrcad.report.drawing.froc import band_rates, drawn_band, drawn_steps, plot_froc


def curve(hits: list[float], fps: list[float], images: int, nodules: int) -> Curve:
    """`nodules` nodules and all findings in the first of `images` images."""
    first = ImageMatch(
        "0", nodules, tuple(Hit(score, index) for index, score in enumerate(hits)), tuple(FalsePositive(s) for s in fps)
    )
    return froc([first, *(ImageMatch(str(number), 0) for number in range(1, images))])


def test_a_curve_is_a_step_from_an_eighth_to_where_its_data_end() -> None:
    """Four nodules, four images: hit 0.9, false positive 0.8 (1/4 FP), hit 0.7, false positive 0.6 (1/2 FP)."""
    assert drawn_steps(curve([0.9, 0.7], [0.8, 0.6], 4, 4)) == (
        [0.125, 0.25, 0.25, 0.25, 0.25, 0.5, 0.5],
        [0.25, 0.25, 0.25, 0.25, 0.5, 0.5, 0.5],
    )


def test_what_lies_beyond_8_is_cut_off_and_the_step_reaches_to_8() -> None:
    """One image: a hit, three false positives tied, then nine more tied: points at 0, 3 and 12 FP."""
    x, y = drawn_steps(curve([0.9], [0.5] * 3 + [0.4] * 9, 1, 2))
    assert (x, y) == ([0.125, 3.0, 3.0, 8.0], [0.5, 0.5, 0.5, 0.5])


def test_a_curve_that_ends_before_an_eighth_is_not_drawn() -> None:
    assert drawn_steps(curve([0.9], [0.8], 10, 1)) == ([], [])
    assert drawn_steps(curve([], [], 2, 1)) == ([], [])


def test_a_band_is_a_step_within_the_axes_that_ends_where_its_curve_does() -> None:
    """The curve ends at 1/2 false positive an image; what a band says of 1/16 and of 1 is not drawn."""
    ends_at_half = curve([0.9, 0.7], [0.8, 0.6], 4, 4)
    band = ((1 / 16, 1 / 8, 1 / 4, 1.0), (0.0, 0.1, 0.2, 0.3), (0.4, 0.5, 0.6, 0.7))
    assert drawn_band(ends_at_half, band) == (
        [1 / 8, 1 / 4, 1 / 4, 1 / 2],
        [0.1, 0.1, 0.2, 0.2],
        [0.5, 0.5, 0.6, 0.6],
    )
    assert band_rates(ends_at_half) == pytest.approx([2 ** (step / 8) / 8 for step in range(17)])
    assert band_rates(curve([], [], 2, 1)) == ()


def test_bands_and_the_axis_are_named(tmp_path: Path) -> None:
    curves = {"multi": CURVES["multi-task"]}
    bands = {"multi": ((0.125, 1.0), (0.1, 0.5), (0.5, 0.9))}
    plot_froc(curves, [tmp_path / "a.svg", tmp_path / "a.png"], "caption", bands, "normals")
    text = (tmp_path / "a.svg").read_text(encoding="utf-8")
    for words in (
        "shaded: 95 % bootstrap interval",
        "false positives per image (the normal images)",
    ):
        assert f"<!-- {words} -->" in text
    with Image.open(tmp_path / "a.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    shade = np.array([0xFF, 0xFF, 0xFF]) * 0.8 + np.array([0x00, 0x72, 0xB2]) * 0.2
    assert (np.abs(pixels - shade).max(axis=2) < 2).sum() > 50_000


CURVES = {
    "multi-task": curve([0.9, 0.7, 0.5], [0.8, 0.6, 0.55, 0.5, 0.4, 0.3, 0.2], 4, 4),
    "single task": curve([0.9], [0.8, 0.7], 4, 4),
    "empty": curve([], [], 4, 4),
}


@pytest.fixture(scope="module")
def plots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plots")
    plot_froc(
        CURVES, [folder / "froc.png", folder / "froc.svg"], "Data open-jsrt, protocol paper.\nA hit is a finding."
    )
    return folder


def test_each_curve_has_its_colour_in_the_picture(plots: Path) -> None:
    with Image.open(plots / "froc.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert pixels.shape[1] == 1200
    blue, vermilion = np.array([0x00, 0x72, 0xB2]), np.array([0xD5, 0x5E, 0x00])
    for colour in (blue, vermilion):
        assert (np.abs(pixels - colour).max(axis=2) < 8).sum() > 500
    assert (pixels[:6] == 255).all()
    assert (pixels[:, :6] == 255).all()
    assert (pixels[:, -6:] == 255).all()


def test_the_shorter_curve_ends_further_left(plots: Path) -> None:
    """Multi-task ends at 7/4 false positives, single task at 1/2: 1.8 of the 6 octaves earlier."""
    with Image.open(plots / "froc.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    body = pixels[200:850]

    def last_column(colour: tuple[int, int, int]) -> int:
        return int(np.flatnonzero((np.abs(body - np.array(colour)).max(axis=2) < 8).any(axis=0)).max())

    octaves = (last_column((0x00, 0x72, 0xB2)) - last_column((0xD5, 0x5E, 0x00))) / (0.85 * 1200 / 6.17)
    assert octaves == pytest.approx(np.log2(7 / 4 / 0.5), abs=0.03)


def test_the_same_curves_give_the_same_bytes(plots: Path, tmp_path: Path) -> None:
    plot_froc(CURVES, [tmp_path / "a.svg", tmp_path / "a.png"], "Data open-jsrt, protocol paper.\nA hit is a finding.")
    assert (tmp_path / "a.svg").read_bytes() == (plots / "froc.svg").read_bytes()
    assert (tmp_path / "a.png").read_bytes() == (plots / "froc.png").read_bytes()


def test_the_svg_holds_its_words_as_comments_beside_their_outlines(plots: Path) -> None:
    text = (plots / "froc.svg").read_text(encoding="utf-8")
    for words in (
        "multi-task (nodules: 4, images: 4; ends at 1.8 FP/image)",
        "single task (nodules: 4, images: 4; ends at 0.5 FP/image)",
        "empty (nodules: 4, images: 4; ends at 0 FP/image, left of the axis)",
        "Data open-jsrt, protocol paper.",
        "A hit is a finding.",
        "false positives per image (all scored images)",
        "sensitivity (nodules found)",
        "1/8",
    ):
        assert f"<!-- {words} -->" in text


def test_no_curve_and_an_ending_that_is_not_drawn_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no curve to draw"):
        plot_froc({}, [tmp_path / "a.png"], "")
    with pytest.raises(UsageError, match=r"a\.pdf: plots are written as \.png or \.svg"):
        plot_froc(CURVES, [tmp_path / "a.pdf"], "")
    assert list(tmp_path.iterdir()) == []


def test_importing_loads_no_heavy_package_and_drawing_no_pyplot(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "import cxrcad.scoring.cases, cxrcad.report.froc, cxrcad.report.drawing.froc as plots\n"
        "heavy = {'torch', 'matplotlib', 'scipy', 'PIL', 'SimpleITK', 'pydicom'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "from cxrcad.evaluation.froc import Curve\n"
        "plots.plot_froc({'a': Curve(1, 1, (0.5,), (1,), (1,), (0,), (0,))}, [Path(sys.argv[1])], 'caption')\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "a.png")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "a.png").stat().st_size > 10_000
