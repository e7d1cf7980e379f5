from __future__ import annotations

import numpy as np
import pytest

from cxrcad.imaging.read import image_size, read_radiograph

SIDE = 2048


def write(path, values):
    path.write_bytes(values.astype(">u2").tobytes())
    return path


def test_dark_is_dense_in_the_file_and_bright_is_dense_here(tmp_path):
    stored = np.zeros((SIDE, SIDE), dtype=np.uint16)
    stored[0, 0], stored[0, 1], stored[1, 0], stored[1, 1] = 4095, 1365, 819, 1
    radiograph = read_radiograph(write(tmp_path / "JPCLN001.IMG", stored))
    assert radiograph.pixels.dtype == np.float32
    np.testing.assert_allclose(radiograph.pixels[[0, 0, 1, 9], [0, 1, 0, 9]], [0, 2 / 3, 0.8, 1], atol=1e-6)
    assert (radiograph.spacing_mm, radiograph.spacing_from) == ((0.175, 0.175), "JSRT")
    assert radiograph.source.format == "JSRT"
    assert radiograph.source.notes == ("JSRT's dark = dense inverted",)


def test_it_is_known_by_its_size_whatever_its_ending(tmp_path):
    stored = np.zeros((SIDE, SIDE), dtype=np.uint16)
    stored[0, :4] = 0x0800, 0x0500, 0x0100, 1  # as a DICOM data set without preamble starts
    path = write(tmp_path / "radiograph.dcm", stored)
    assert read_radiograph(path).source.format == "JSRT"
    assert image_size(path) == (SIDE, SIDE)


def test_a_wrong_size_says_the_right_one(tmp_path, fault):
    path = tmp_path / "a.img"
    path.write_bytes(b"\x00\x01" * 1024 * 1024)
    assert fault(path) == (
        "a.img: 2,097,152 bytes, but a JSRT .IMG has exactly 8,388,608 (2048 x 2048 x 2); copy the file again"
    )


def test_the_other_byte_order_is_named(tmp_path, fault):
    path = tmp_path / "a.img"
    path.write_bytes((np.arange(SIDE * SIDE) % 4096).astype("<u2").tobytes())
    assert fault(path) == (
        "a.img: values up to 65,295, but JSRT's are 12 bit, up to 4,095, as they would be in the other byte order; "
        "write the file big-endian"
    )


def test_16_bit_is_not_jsrt(tmp_path, fault):
    path = write(tmp_path / "a.img", np.arange(SIDE * SIDE) % 60000)
    assert fault(path) == (
        "a.img: values up to 59,999, but JSRT's are 12 bit, up to 4,095, so this is not a JSRT .IMG; "
        "convert it to a 16-bit PNG or DICOM"
    )


def test_one_value_is_refused(tmp_path, fault):
    path = write(tmp_path / "a.img", np.zeros((SIDE, SIDE)))
    assert fault(path) == "a.img: all 4,194,304 pixels have the value 0; export the radiograph again"


@pytest.mark.parametrize("name", ["a.IMG", "a.Img"])
def test_the_ending_may_be_in_capitals(tmp_path, fault, name):
    path = tmp_path / name
    path.write_bytes(b"\x00\x01\x02")
    assert "3 bytes, but a JSRT .IMG has exactly 8,388,608" in fault(path)
