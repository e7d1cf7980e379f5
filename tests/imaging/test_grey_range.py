"""Markers, borders and padding far beyond a picture's grey levels do not decide its range."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from cxrcad.imaging.grey_range import with_own_range
from cxrcad.imaging.read import read_radiograph

NOTE = "% of the pixels lie far beyond the others: clipped to their range"


def noted(radiograph):
    return any(note.endswith(NOTE) for note in radiograph.source.notes)


@pytest.mark.parametrize("offset", [0, 30000])
@pytest.mark.parametrize("beyond", [(65535,), (0, 65535)])
def test_a_border_beyond_the_picture_is_clipped_to_its_range(make_dicom, make_pattern, tmp_path, offset, beyond):
    picture = make_pattern(256, 256).astype(np.uint16) + np.uint16(offset)
    inside = (picture[16:-16, 16:-16].astype(np.float64) - picture.min()) / np.ptp(picture)
    values = picture.copy()
    values[:, :8], values[:, -8:] = beyond[0], beyond[-1]
    Image.fromarray(values).save(tmp_path / "a.png")
    for path in (make_dicom(values, bits=16), tmp_path / "a.png"):
        found = read_radiograph(path)
        assert noted(found)
        slope, _ = np.polyfit(inside.ravel(), found.pixels[16:-16, 16:-16].ravel(), 1)
        assert slope == pytest.approx(1, abs=0.05)
        assert (found.pixels.min(), found.pixels.max()) == (0, 1)


def test_a_few_pixels_beyond_and_a_window_leave_the_picture_as_it_is(make_dicom, make_pattern):
    values = make_pattern(256, 256).astype(np.uint16)
    whole = read_radiograph(make_dicom(values, bits=16))
    assert not noted(whole)
    values[:4, :8] = 65535
    few = read_radiograph(make_dicom(values, bits=16))
    assert not noted(few)
    values[:, :8] = 65535
    windowed = read_radiograph(make_dicom(values, bits=16, WindowCenter=2048, WindowWidth=4096))
    assert not noted(windowed)


def test_a_picture_of_two_levels_is_left_as_it_is(make_dicom, make_pattern):
    pixels = np.zeros((256, 256), np.float32)
    pixels[:64] = 1
    radiograph = replace(read_radiograph(make_dicom(make_pattern(256, 256).astype(np.uint16), bits=16)), pixels=pixels)
    assert with_own_range(radiograph) is radiograph
