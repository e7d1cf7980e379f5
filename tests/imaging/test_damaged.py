"""Files that are damaged, or that read another: refused in a sentence; padding behind the pixels is left out."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from cxrcad.imaging.read import read_radiograph


@pytest.fixture
def noise():
    return np.random.default_rng(3).integers(0, 256, (128, 128)).astype(np.uint8)


@pytest.mark.parametrize("end", [b"", b"\xff\xd9"])
def test_a_cut_jpeg_is_refused_with_an_end_marker_too(tmp_path, noise, fault, end):
    path = tmp_path / "a.jpg"
    Image.fromarray(noise).save(path, quality=90)
    whole = read_radiograph(path).pixels
    data = path.read_bytes()
    path.write_bytes(data.removesuffix(b"\xff\xd9"))
    np.testing.assert_array_equal(read_radiograph(path).pixels, whole)
    path.write_bytes(data[: len(data) * 95 // 100] + end)
    assert "its compressed pixels are cut short or damaged" in fault(path)


def test_a_png_whose_checksum_is_wrong_is_refused(tmp_path, noise, fault):
    path = tmp_path / "a.png"
    Image.fromarray(noise).save(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert "PNG data end early or are damaged, in a file of " in fault(path)


@pytest.mark.parametrize("name", ["a.mha", "a.mhd"])
def test_compressed_metaimage_data_are_checked(tmp_path, stored, fault, name):
    path = tmp_path / name
    sitk.WriteImage(sitk.GetImageFromArray(stored), str(path), useCompression=True)
    read_radiograph(path)
    file = path if name == "a.mha" else next(tmp_path.glob("*.zraw"))
    data = bytearray(file.read_bytes())
    data[-200] ^= 0xFF
    file.write_bytes(data)
    assert "the compressed data " in fault(path)


@pytest.mark.parametrize("place", ["../b/a.raw", "/tmp/a.raw", "..\\b\\a.raw", "LIST\n../b/a.raw"])
def test_a_metaimage_reads_no_file_outside_its_folder(tmp_path, stored, fault, place):
    path = tmp_path / "a.mhd"
    sitk.WriteImage(sitk.GetImageFromArray(stored), str(path))
    path.write_text(path.read_text().replace("a.raw", place))
    assert "its pixel data lie outside its folder, in " in fault(path)


def test_4_kb_behind_the_pixels_are_left_out(make_dicom, make_pattern):
    values = make_pattern(256, 256)
    path = make_dicom(values, PixelData=values.tobytes() + bytes(4096))
    np.testing.assert_allclose(read_radiograph(path).pixels, values / 4095, atol=1e-6)


@pytest.mark.parametrize("big", [False, True])
def test_bigtiff_is_read(tmp_path, stored, big):
    path = tmp_path / "a.tif"
    Image.fromarray(stored).save(path, big_tiff=big)
    assert path.read_bytes()[2] == (43 if big else 42)
    np.testing.assert_allclose(read_radiograph(path).pixels, stored / 4095, atol=1e-6)
