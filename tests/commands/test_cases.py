"""One open radiograph in 22 forms, each with its right result: ../shared/cases, whose cases.csv this table follows."""

from __future__ import annotations

import csv
import re
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cxrcad.commands.detect import open_detector
from cxrcad.config import DetectConfig, build
from cxrcad.core import Failure, Finding, Result
from cxrcad.inference.batch import detect_paths

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases"
REFERENCE = "ref_png16.png"
SIDE = 1024
PX, SCORE = 1.0, 0.02
"""What a centre and a score may differ by."""
GRID_PX = 2.0
"""A pixel of the model's grid, 512 x 512, in those of the reference: a lossy JPEG may move a box's edge by one."""
LEAST = 0.45
"""The lowest score that is compared, before calibration: far below the model's threshold."""

Point = tuple[float, float]
SAME, REFUSED = "same", "refuse"
RIGHT = {
    # file: (what is right, how a note says it where a warning will do)
    REFERENCE: (SAME, ""),
    "dcm_plain12.dcm": (SAME, ""),
    "cut_stream_jpegls.dcm": (REFUSED, ""),
    "cut95_stream_jpegll.dcm": (REFUSED, ""),
    "cut95_stream_jpeg12.dcm": (REFUSED, ""),
    "cut_stream_jpeg8.dcm": (REFUSED, ""),
    "jpeg12_bad_sos.dcm": (SAME, ""),
    "png_rgb16.png": (SAME, ""),
    "jpeg_exif6.jpg": (SAME, ""),
    "nii_dcm2niix.nii.gz": (SAME, ""),
    "or_upside_down_tagged.dcm": (SAME, ""),
    "or_rot90_tagged.dcm": (SAME, ""),
    "sp_nonsquare_rows.dcm": (SAME, ""),
    "win_8bit_on_12.dcm": (SAME, "window .* not applied|saturat"),
    "px_bitsstored_too_small.dcm": (REFUSED, "BitsStored"),
    "for_processing_lin.dcm": (SAME, "polarity|inverted|turned"),
    "view_lateral_code.dcm": (REFUSED, "not frontal|lateral"),
    "body_hand.dcm": (REFUSED, "HAND|not a chest"),
    "slope_ds_comma.dcm": (f"{SAME} or {REFUSED}", ""),
    "voi_lut_empty_voi_item.dcm": (SAME, ""),
    "extra_4k.dcm": (SAME, ""),
    "mhd_escapes.mhd": (REFUSED, ""),
}
STORED: dict[str, Callable[[float, float], Point]] = {
    "jpeg_exif6.jpg": lambda x, y: (y, SIDE - x),
    "nii_dcm2niix.nii.gz": lambda x, y: (x, SIDE - y),
    "or_upside_down_tagged.dcm": lambda x, y: (x, SIDE - y),
    "or_rot90_tagged.dcm": lambda x, y: (SIDE - y, x),
    "sp_nonsquare_rows.dcm": lambda x, y: (x, y * 660 / SIDE),
}
"""Where a point of the reference lies in the stored pixels, of files that store the radiograph in another way."""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result | Failure]:
    """What the packaged model makes of each file; findings from a little below the lowest that is compared."""
    if not (CASES / "cases.tar.xz").is_file():
        pytest.skip(f"no cases at {CASES}")
    folder = tmp_path_factory.mktemp("cases")
    with tarfile.open(CASES / "cases.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    paths = {name: next(folder.rglob(name)) for name in RIGHT}
    detector = open_detector(build(DetectConfig, {"device": "cpu"}))
    card = {name: value for name, value in detector.bundle.card.items() if name != "calibration"}
    detector = replace(detector, bundle=replace(detector.bundle, card=card))
    found = detect_paths(list(paths.values()), detector, min_score=LEAST - SCORE)
    return {Path(one.path).name: one for one in (*found.results, *found.failures)}


def placed(finding: Finding, stored: Callable[[float, float], Point]) -> tuple[float, Point, list[float]]:
    """The score, the centre and the box of a finding of the reference, in the stored pixels."""
    box = finding.box_px
    (x0, y0), (x1, y1) = stored(box.x0, box.y0), stored(box.x1, box.y1)
    return finding.score, stored(*finding.center_px), [*sorted((x0, x1)), *sorted((y0, y1))]


def differing(reference: Result, other: Result, stored: Callable[[float, float], Point]) -> list[str]:
    """The findings of either, from LEAST on, that the other one does not have at the same place and score."""
    expected = [placed(one, stored) for one in reference.findings]
    found = [placed(one, lambda x, y: (x, y)) for one in other.findings]

    def known(one: tuple[float, Point, list[float]], others: list[tuple[float, Point, list[float]]]) -> bool:
        return any(
            abs(one[0] - score) <= SCORE
            and max(abs(a - b) for a, b in zip(one[1], center, strict=True)) <= PX
            and max(abs(a - b) for a, b in zip(one[2], box, strict=True)) <= GRID_PX
            for score, center, box in others
        )

    lost = [f"lost: {one}" for one in expected if one[0] >= LEAST and not known(one, found)]
    return lost + [f"new: {one}" for one in found if one[0] >= LEAST and not known(one, expected)]


@pytest.mark.parametrize("name", RIGHT)
def test_each_gives_what_is_right(outcomes: dict[str, Result | Failure], name: str) -> None:
    reference, outcome = outcomes[REFERENCE], outcomes[name]
    right, warning = RIGHT[name]
    assert isinstance(reference, Result)
    assert sum(one.score >= LEAST for one in reference.findings) == 4
    if isinstance(outcome, Failure):
        assert REFUSED in right, outcome.error
        return
    if warning and any(re.search(warning, note) for note in outcome.notes):
        return
    assert SAME in right, outcome.notes
    stored = STORED.get(name, lambda x, y: (x, y))
    assert differing(reference, outcome, stored) == []


def test_the_table_is_that_of_the_cases() -> None:
    if not (CASES / "cases.csv").is_file():
        pytest.skip(f"no cases at {CASES}")
    with (CASES / "cases.csv").open(encoding="utf-8") as file:
        rows = {row["file"]: row["right"] for row in csv.DictReader(file)}
    assert list(rows) == list(RIGHT)
    for name, (right, warning) in RIGHT.items():
        assert rows[name].startswith(right)
        assert bool(warning) == ("warn" in rows[name])
        assert (name in STORED) == ("in the stored pixels" in rows[name])
