"""Which notes are told: those that say that something could not be taken as it stands."""

from __future__ import annotations

import pytest

from cxrcad.imaging.notes import is_plain, kind_of, remarks
from cxrcad.imaging.read import read_radiograph


@pytest.mark.parametrize(
    "note",
    [
        "MONOCHROME1 inverted",
        "MONOCHROME1 with PresentationLUTShape INVERSE inverted once",
        "JSRT's dark = dense inverted",
        "window center 2000, width 4000 (LINEAR) applied",
        "VOI LUT (first of 2) applied",
        "modality LUT applied",
        "no VOI: full range 0 to 4095, padding 0 left out",
        "bright = dense assumed",
        "three equal channels read as grey",
        "pixel spacing unknown: no sizes in mm",
        "8 bit, 0-255 to 0-1",
        "12 bit in 16, 0-4,095 to 0-1",
        "range -1000 to 3.5e+03 stretched to 0-1",
    ],
)
def test_what_is_done_every_day_is_not_told(note: str) -> None:
    assert remarks([note]) == ()


@pytest.mark.parametrize(
    "note",
    [
        "ViewPosition LL is not frontal",
        "window center 2000, width 0 (LINEAR) is not allowed: not applied",
        "an empty modality LUT: not applied",
        "RescaleSlope 0 not applied",
        "PixelSpacing 0 x 0 mm is no size: taken as unknown",
        "PatientOrientation 'x', not two directions: taken as upright",
        "turned by 90 degrees for the model; boxes lie in the file's pixels",
        "3 pixels beyond 0 to 4000 clipped, 12 bit in 16, 0-4,095 to 0-1",
        "a note of tomorrow",
    ],
)
def test_all_else_is_told(note: str) -> None:
    assert remarks(["bright = dense assumed", note]) == (note,)


def test_notes_that_differ_in_numbers_are_of_one_kind() -> None:
    first, second = (f"window center {center}, width 0 (LINEAR) is not allowed" for center in ("1", "2.5"))
    assert kind_of(first) == kind_of(second) == "window center #, width # (LINEAR) is not allowed"


@pytest.mark.parametrize(
    "elements",
    [
        {},
        {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE", "PixelSpacing": [0.2, 0.2]},
        {"RescaleSlope": -0.5, "RescaleIntercept": 1e5, "WindowCenter": 2048.5, "WindowWidth": 4096},
        {"WindowCenter": [1, 2048], "WindowWidth": [1, 4096], "VOILUTFunction": "SIGMOID"},
        {"PixelPaddingValue": 0, "EstimatedRadiographicMagnificationFactor": 1.1, "ImagerPixelSpacing": [0.2, 0.2]},
    ],
)
def test_what_is_done_every_day_can_hold_no_name(make_dicom, stored, elements):
    notes = read_radiograph(make_dicom(stored, **elements)).source.notes
    assert notes
    assert all(map(is_plain, notes)), notes


@pytest.mark.parametrize(
    "note",
    [
        "PixelSpacing is 'DOE', not two numbers: taken as unknown",
        "DOE with equal channels read as grey",
        "MONOCHROME1 of Doe inverted",
        "no frontal chest radiograph by its header (SeriesDescription Doe): read all the same",
    ],
)
def test_what_quotes_a_header_can(note):
    assert not is_plain(note)
