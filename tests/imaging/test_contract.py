"""The contract of all readers: one pattern, in each format, comes back bright = dense on the file's own grid.

A new format is a function that writes the pattern and its row in MEMBERS.
"""

from __future__ import annotations

import gzip
import hashlib

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from PIL import Image

from cxrcad.imaging.read import (
    IMAGE_ENDINGS,
    READERS,
    content_sha256,
    image_header,
    image_size,
    read_radiograph,
    reader_of,
)


def write_img(path, stored, make_dicom):
    path.write_bytes((4095 - stored).astype(">u2").tobytes())


def write_raster(path, stored, make_dicom):
    image = Image.fromarray(stored if "16" in path.stem else np.rint(stored / 4095 * 255).astype(np.uint8))
    image.save(path, **({"quality": 98} if path.suffix == ".jpg" else {}))


def write_itk(path, stored, make_dicom):
    image = sitk.GetImageFromArray(stored)
    image.SetSpacing((0.15, 0.2))  # column, row
    sitk.WriteImage(image, str(path))


def write_bare(path, stored, make_dicom):
    dataset = pydicom.dcmread(make_dicom(stored))
    del dataset.file_meta, dataset.preamble
    pydicom.dcmwrite(path, dataset, implicit_vr=False, little_endian=True)


def write_gzip(path, stored, make_dicom):
    path.write_bytes(gzip.compress(make_dicom(stored, PixelSpacing=[0.2, 0.15]).read_bytes()))


def write_dcm(path, stored, make_dicom):
    dark_dense = path.stem == "monochrome1"
    values = 4095 - stored if dark_dense else stored
    elements = {"PhotometricInterpretation": "MONOCHROME1"} if dark_dense else {}
    make_dicom(values, path.name, PixelSpacing=[0.2, 0.15], **elements)


MEMBERS = {
    # name: (writer, shape, spacing, where it is from, the reader, largest difference)
    "a.dcm": (write_dcm, (96, 80), (0.2, 0.15), "PixelSpacing", "dicom", 1e-6),
    "monochrome1.dcm": (write_dcm, (96, 80), (0.2, 0.15), "PixelSpacing", "dicom", 1e-6),
    "bare": (write_bare, (96, 80), None, None, "bare dicom", 1e-6),
    "a.dcm.gz": (write_gzip, (96, 80), (0.2, 0.15), "PixelSpacing", "gzip", 1e-6),
    "a.IMG": (write_img, (2048, 2048), (0.175, 0.175), "JSRT", "jsrt", 1e-6),
    "8.png": (write_raster, (96, 80), None, None, "raster", 0.5 / 255 + 1e-6),
    "16.png": (write_raster, (96, 80), None, None, "raster", 1e-6),
    "16.tif": (write_raster, (96, 80), None, None, "raster", 1e-6),
    "8.tif": (write_raster, (96, 80), None, None, "raster", 0.5 / 255 + 1e-6),
    "8.jpg": (write_raster, (96, 80), None, None, "raster", 0.05),
    "8.bmp": (write_raster, (96, 80), None, None, "raster", 0.5 / 255 + 1e-6),
    "16.jp2": (write_raster, (96, 80), None, None, "raster", 1e-6),
    "a.mha": (write_itk, (96, 80), (0.2, 0.15), "header", "volume", 1e-6),
    "a.mhd": (write_itk, (96, 80), (0.2, 0.15), "header", "volume", 1e-6),
    "a.nii": (write_itk, (96, 80), (0.2, 0.15), "header", "volume", 1e-6),
    "a.nii.gz": (write_itk, (96, 80), (0.2, 0.15), "header", "volume", 1e-6),
}


@pytest.fixture(params=MEMBERS)
def member(request, tmp_path, make_dicom, make_pattern):
    write, shape, *expected = MEMBERS[request.param]
    path = tmp_path / request.param
    stored = make_pattern(*shape)
    write(path, stored, make_dicom)
    return path, stored, *expected


def test_every_reader_gives_the_same_radiograph(member):
    path, stored, spacing, spacing_from, reader, tolerance = member
    radiograph = read_radiograph(path)
    assert radiograph.pixels.dtype == np.float32
    assert radiograph.pixels.flags.c_contiguous
    assert (radiograph.rows, radiograph.cols) == stored.shape
    np.testing.assert_allclose(radiograph.pixels, stored / 4095, atol=tolerance)
    assert 0 <= radiograph.pixels.min() <= radiograph.pixels.max() <= 1
    assert (radiograph.spacing_mm, radiograph.spacing_from) == (spacing, spacing_from)
    assert radiograph.source.path == str(path)
    if not path.with_suffix(".raw").is_file():  # the SHA-256 of a header and its data: test_volume
        assert radiograph.source.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert radiograph.source.sha256 == content_sha256(path)
    assert radiograph.source.notes
    assert image_header(path) == (*stored.shape, spacing)
    assert reader_of(path).name == reader


def test_the_content_decides_not_the_ending(member, tmp_path):
    path, stored, *_ = member
    renamed = path.rename(tmp_path / "renamed.bin")
    np.testing.assert_allclose(read_radiograph(renamed).pixels, stored / 4095, atol=0.05)
    assert image_size(renamed) == stored.shape


def test_a_file_cut_anywhere_is_refused_and_the_remedy_is_another_copy(member, fault):
    path = member[0]
    cut = path.with_suffix(".raw") if path.suffix == ".mhd" else path
    whole = cut.read_bytes()
    for length in (1, 20, 131, 133, 200, 350, 420, len(whole) // 2, len(whole) - 300):
        cut.write_bytes(whole[:length])
        sentence = fault(path)
        assert "copy the file again" in sentence or "text, not an image" in sentence or length < 100, (length, sentence)


def test_every_reader_and_every_ending_stands_once():
    assert {expected[4] for expected in MEMBERS.values()} == {reader.name for reader in READERS}
    assert len({reader.name for reader in READERS}) == len(READERS)
    assert len(set(IMAGE_ENDINGS)) == len(IMAGE_ENDINGS)
    assert all(ending == ending.lower() and ending.startswith(".") for ending in IMAGE_ENDINGS)
