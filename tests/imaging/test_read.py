"""The contract of all readers: one pattern, in each format, comes back bright = dense on the file's own grid."""

from __future__ import annotations

import gzip
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from cxrcad.core import ReadError
from cxrcad.imaging import read as reading
from cxrcad.imaging.read import format_of, image_size, read_mask, read_radiograph


def write_img(path, stored, make_dicom):
    path.write_bytes((4095 - stored).astype(">u2").tobytes())


def write_raster(path, stored, make_dicom):
    image = Image.fromarray(stored if "16" in path.stem else np.rint(stored / 4095 * 255).astype(np.uint8))
    image.save(path, **({"quality": 98} if path.suffix == ".jpg" else {}))


def write_itk(path, stored, make_dicom):
    image = sitk.GetImageFromArray(stored)
    image.SetSpacing((0.15, 0.2))  # column, row
    sitk.WriteImage(image, str(path))


def write_dcm(path, stored, make_dicom):
    dark_dense = path.stem == "monochrome1"
    values = 4095 - stored if dark_dense else stored
    elements = {"PhotometricInterpretation": "MONOCHROME1"} if dark_dense else {}
    make_dicom(values, path.name, PixelSpacing=[0.2, 0.15], **elements)


MEMBERS = {
    # name: (writer, shape, spacing, where it is from, the reader, largest difference)
    "a.dcm": (write_dcm, (96, 80), (0.2, 0.15), "PixelSpacing", "dicom", 1e-6),
    "monochrome1.dcm": (write_dcm, (96, 80), (0.2, 0.15), "PixelSpacing", "dicom", 1e-6),
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
    assert radiograph.source.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert radiograph.source.notes
    assert image_size(path) == stored.shape
    assert format_of(path) == reader


def test_the_content_decides_not_the_ending(member, tmp_path):
    path, stored, *_ = member
    renamed = path.rename(tmp_path / "renamed.bin")
    np.testing.assert_allclose(read_radiograph(renamed).pixels, stored / 4095, atol=0.05)
    assert image_size(renamed) == stored.shape


def test_a_file_cut_anywhere_is_refused_and_the_way_out_is_another_copy(member, fault):
    path = member[0]
    cut = path.with_suffix(".raw") if path.suffix == ".mhd" else path
    whole = cut.read_bytes()
    for length in (1, 20, 131, 133, 200, 350, 420, len(whole) // 2, len(whole) - 300):
        cut.write_bytes(whole[:length])
        sentence = fault(path)
        assert "copy the file again" in sentence or "text, not an image" in sentence or length < 100, (length, sentence)


class TestFaults:
    @pytest.mark.parametrize(
        ("name", "content", "sentence"),
        [
            ("a.dcm", b"", "a.dcm: empty, 0 bytes; copy the file again"),
            (
                "a.png",
                b"<html>not found</html>\n",
                "a.png: text, not an image (23 bytes); give a DICOM, JSRT .IMG, PNG, TIFF, JPEG, MHA or NIfTI file",
            ),
            (
                "a.dcm",
                bytes(range(256)),
                "a.dcm: no DICOM file: the mark DICM is missing at byte 128 (256 bytes); copy the file again",
            ),
            (
                "a.bin",
                bytes(1000),
                "a.bin: not recognised as an image by its content (1,000 bytes); "
                "give a DICOM, JSRT .IMG, PNG, TIFF, JPEG, MHA or NIfTI file",
            ),
            ("a.zip", b"PK\x03\x04" + bytes(99), "a.zip: a zip archive; unpack it first"),
            ("a.dcm.gz", gzip.compress(bytes(999)), "a.dcm.gz: a gzip archive; unpack it first"),
            (
                "a.pdf",
                b"%PDF-1.7",
                "a.pdf: a PDF document; "
                "export the radiograph as a DICOM, JSRT .IMG, PNG, TIFF, JPEG, MHA or NIfTI file",
            ),
            (
                "a.gif",
                b"GIF89a" + bytes(9),
                "a.gif: a GIF image, read as a mask only; save the radiograph as PNG or TIFF",
            ),
        ],
    )
    def test_what_is_no_radiograph_gets_one_sentence(self, tmp_path, fault, name, content, sentence):
        path = tmp_path / name
        path.write_bytes(content)
        assert fault(path) == sentence
        with pytest.raises(ReadError):
            image_size(path) if name != "a.gif" else read_mask(path)
        if content:
            assert format_of(path) is None

    def test_missing(self, tmp_path, fault):
        assert fault(tmp_path / "a.png") == "a.png: there is no such file; check the path"

    def test_folder(self, tmp_path, fault):
        (tmp_path / "b").mkdir()
        assert fault(tmp_path / "b") == "b: a folder, not a file; name the files in it"

    def test_a_pipe_is_not_waited_for(self, tmp_path, fault):
        os.mkfifo(tmp_path / "p")
        assert fault(tmp_path / "p").startswith("p: not a regular file; give a DICOM")

    def test_no_permission(self, tmp_path, fault, monkeypatch):
        path = tmp_path / "a.png"
        path.write_bytes(b"x")

        def denied(self, *_args, **_kwargs):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "open", denied)
        assert fault(path) == "a.png: no permission to read it; ask its owner, or chmod it"

    def test_a_disk_that_fails(self, tmp_path, fault, monkeypatch):
        path = tmp_path / "a.png"
        path.write_bytes(b"x")

        def broken(self, *_args, **_kwargs):
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(Path, "open", broken)
        assert fault(path) == "a.png: cannot be read (Input/output error); copy the file again"

    def test_a_name_that_the_system_refuses(self, tmp_path):
        with pytest.raises(ReadError, match="File name too long"):
            read_radiograph(tmp_path / ("x" * 300))

    def test_the_path_is_named_as_it_was_given(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(ReadError, match=r"^sub/a\.png: there is no such file"):
            read_radiograph(Path("sub/a.png"))


def test_every_reader_has_a_member_here():
    assert {expected[4] for expected in MEMBERS.values()} == set(reading.READERS)


def test_a_real_radiograph_in_jsrts_own_format(open_data, tmp_path):
    tool = open_data.parent / "tools" / "make_open_jsrt.py"
    if not tool.is_file():
        pytest.skip(f"no {tool} beside the open data")
    command = [sys.executable, str(tool), str(tmp_path), "--format", "img", "--limit", "2", "--data", str(open_data)]
    subprocess.run(command, check=True, capture_output=True)
    files = sorted((tmp_path / "images").iterdir())
    assert [file.suffix.lower() for file in files] == [".img", ".img"]
    for file in files:
        radiograph = read_radiograph(file)
        assert radiograph.pixels.shape == (2048, 2048)
        assert (radiograph.spacing_mm, radiograph.spacing_from) == ((0.175, 0.175), "JSRT")
        # bright = dense: the lung fields are darker than the mediastinum between them
        masks = [mask for mask in (tmp_path / "scr").rglob(f"{file.stem}.gif") if "lung" in mask.parent.name]
        lungs = np.any([read_mask(mask) for mask in masks], axis=0)
        assert lungs.shape == (1024, 1024)
        pixels = radiograph.pixels.reshape(1024, 2, 1024, 2).mean(axis=(1, 3))
        columns = np.nonzero(lungs.any(axis=0))[0]
        middle = int(columns.mean())
        assert pixels[lungs].mean() < pixels[300:700, middle - 20 : middle + 20].mean()
