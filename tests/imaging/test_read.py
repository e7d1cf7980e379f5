"""Which reader takes a file, and what is said of a file that none takes."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cxrcad.core import ReadError
from cxrcad.imaging.read import image_size, read_mask, read_radiograph, reader_of


class TestFaults:
    @pytest.mark.parametrize(
        ("name", "content", "sentence"),
        [
            ("a.dcm", b"", "a.dcm: empty, 0 bytes; copy the file again"),
            (
                "a.png",
                b"<html>not found</html>\n",
                "a.png: text, not an image (23 bytes); give a DICOM, PNG, TIFF, JPEG, MHA, NIfTI or JSRT .IMG file",
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
                "give a DICOM, PNG, TIFF, JPEG, MHA, NIfTI or JSRT .IMG file",
            ),
            ("a.zip", b"PK\x03\x04" + bytes(99), "a.zip: a zip archive; unpack it first"),
            ("a.dcm.gz", gzip.compress(bytes(999), mtime=0), "a.dcm.gz: a gzip archive; unpack it first"),
            (
                "a.pdf",
                b"%PDF-1.7",
                "a.pdf: a PDF document; "
                "export the radiograph as a DICOM, PNG, TIFF, JPEG, MHA, NIfTI or JSRT .IMG file",
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
            assert reader_of(path) is None

    def test_missing(self, tmp_path, fault):
        assert fault(tmp_path / "a.png") == "a.png: there is no such file; check the path"

    def test_folder(self, tmp_path, fault):
        (tmp_path / "b").mkdir()
        assert fault(tmp_path / "b") == "b: a folder, not a file; name the files in it"

    def test_a_pipe_is_not_waited_for(self, tmp_path, fault):
        os.mkfifo(tmp_path / "p")
        assert fault(tmp_path / "p") == "p: not a regular file; save the radiograph in one"

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
