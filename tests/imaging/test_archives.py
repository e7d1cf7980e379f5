"""Files in zip archives and gzipped files: read as they are, and never past a bound, a password or the archive."""

from __future__ import annotations

import gzip
import hashlib
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from cxrcad.core import NotRadiographError, ReadError
from cxrcad.imaging import archives
from cxrcad.imaging.archives import contents_of, file_of, is_zip
from cxrcad.imaging.read import image_header, read_radiograph


@pytest.fixture
def scan(make_dicom, stored):
    return make_dicom(stored, "scan.dcm", PixelSpacing=[0.2, 0.15])


@pytest.fixture
def archive(tmp_path, scan):
    """`archive({name: content}, name="a.zip")` -> a zip archive, its names as they are given."""

    def make(files, name="a.zip", kind=zipfile.ZIP_DEFLATED):
        path = tmp_path / name
        with zipfile.ZipFile(path, "w", kind) as file:
            for inner, content in files.items():
                info = zipfile.ZipInfo()
                info.filename, info.compress_type = inner, kind
                file.writestr(info, content)
        return path

    return make


@pytest.mark.parametrize("kind", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_file_in_an_archive_is_named_as_in_a_folder(archive, scan, kind):
    path = archive({"inner/s c\u00e4n.dcm": scan.read_bytes()}, kind=kind) / "inner" / "s c\u00e4n.dcm"
    found, plain = read_radiograph(path), read_radiograph(scan)
    assert np.array_equal(found.pixels, plain.pixels)
    assert found.source.path == str(path)
    assert found.source.sha256 == hashlib.sha256(scan.read_bytes()).hexdigest()
    assert image_header(path) == (96, 80, (0.2, 0.15))
    assert file_of(path) == path.parents[1]
    assert file_of(scan) == scan


def test_nothing_is_left_behind(archive, scan, tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    path = archive({"scan.dcm": scan.read_bytes(), "cut.dcm": scan.read_bytes()[:900]})
    read_radiograph(path / "scan.dcm")
    with pytest.raises(ReadError):
        read_radiograph(path / "cut.dcm")
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_header_and_its_pixels_are_read_together(archive, stored, tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(stored), str(tmp_path / "scan.mhd"))
    files = {f"x/scan.{ending}": (tmp_path / f"scan.{ending}").read_bytes() for ending in ("mhd", "raw")}
    assert np.ptp(read_radiograph(archive(files) / "x" / "scan.mhd").pixels) == 1


def test_names_that_lead_outside_are_refused(archive, tmp_path):
    names = ("../out.dcm", "a/../../out.dcm", "/etc/out.dcm", "\\out.dcm", "..\\out.dcm", "C:\\out.dcm", "c:/out.dcm")
    path = archive({**dict.fromkeys(names, b"x"), "in.dcm": b"x", "./b//in.dcm": b"x", "folder/": b""})
    contents = contents_of(path)
    assert contents.names == ("in.dcm", "b/in.dcm")
    assert contents.refused == tuple((name, "it holds a file whose name leads outside of it") for name in names)
    for name in names:
        with pytest.raises(ReadError):
            read_radiograph(path / name)


def test_of_two_files_of_one_name_the_first_is_read(archive, scan):
    path = archive({"a/scan.dcm": scan.read_bytes(), "a//scan.dcm": b"other"})
    assert contents_of(path).names == ("a/scan.dcm",)
    assert contents_of(path).refused == (("a//scan.dcm", "it holds two files of one name, of which the first is read"),)
    assert read_radiograph(path / "a" / "scan.dcm").rows == 96


def test_hidden_files_are_left_out(archive):
    assert contents_of(archive({".DS_Store": b"", "__MACOSX/._a.dcm": b"", "b/.git/x": b"", "a": b""})).names == ("a",)


def test_documents_are_no_archives(archive):
    for name in ("[Content_Types].xml", "mimetype", "META-INF/MANIFEST.MF"):
        path = archive({name: b"", "a.png": b""}, f"{len(name)}.docx")
        assert not is_zip(path, path.read_bytes())
    assert is_zip(archive({"a.png": b""}), b"PK\x03\x04")
    assert not is_zip(Path("a.png"), b"\x89PNG")


class TestFaults:
    def sentence(self, path, error=ReadError):
        with pytest.raises(error) as caught:
            read_radiograph(path)
        assert type(caught.value) is error
        return str(caught.value).removeprefix(f"{path}: ")

    def test_a_sentence_names_the_file_in_its_archive(self, archive, scan):
        path = archive({"inner/scan.dcm": scan.read_bytes()[:-99]}) / "inner" / "scan.dcm"
        assert self.sentence(path) == "pixel data ends after 15,261 of 15,360 bytes; copy the file again"

    def test_missing(self, archive):
        path = archive({"a.dcm": b"x"})
        assert self.sentence(path / "b.dcm") == "a.zip holds no file b.dcm; check the path"

    def test_encrypted(self, archive, scan):
        path = archive({"a.dcm": scan.read_bytes()})
        data = bytearray(path.read_bytes())
        data[6] |= 1
        data[data.rindex(b"PK\x01\x02") + 8] |= 1
        path.write_bytes(data)
        words = "encrypted in its archive; unpack the archive with its password, and give the file"
        assert self.sentence(path / "a.dcm") == words

    def test_an_archive_in_an_archive(self, archive, scan):
        inner = archive({"a.dcm": scan.read_bytes()}, "inner.zip")
        path = archive({"inner.zip": inner.read_bytes()}, "outer.zip") / "inner.zip"
        assert self.sentence(path) == "a zip archive; unpack it first"
        with pytest.raises(NotRadiographError, match="an archive in an archive; unpack it first"):
            archives.head_of(path, 99)

    @pytest.mark.parametrize("at", [0.3, 0.5, 0.9])
    def test_damaged(self, archive, scan, at):
        noise = np.random.default_rng(0).integers(0, 255, 9000, dtype=np.uint8).tobytes()
        path = archive({"a.dcm": scan.read_bytes() + noise})
        data = bytearray(path.read_bytes())
        data[int(len(data) * at)] ^= 0xFF
        path.write_bytes(data)
        assert re.fullmatch(r"damaged in its archive \(.+\); copy the archive again", self.sentence(path / "a.dcm"))

    def test_cut(self, archive, scan):
        path = archive({"a.dcm": scan.read_bytes()})
        path.write_bytes(path.read_bytes()[:-10])
        with pytest.raises(ReadError, match=r"a\.zip: a damaged zip archive \(.+\); copy the file again"):
            contents_of(path)

    def test_a_method_that_is_not_read(self, archive, scan):
        path = archive({"a.dcm": scan.read_bytes()})
        data = bytearray(path.read_bytes())
        for place in (8, data.rindex(b"PK\x01\x02") + 10):
            data[place : place + 2] = b"\x09\x00"  # deflate64
        path.write_bytes(data)
        assert re.fullmatch(r"cannot be unpacked \(.+\); unpack the archive first", self.sentence(path / "a.dcm"))

    def test_too_many_files(self, archive, monkeypatch):
        monkeypatch.setattr(archives, "MOST_FILES", 3)
        path = archive({f"{number}.dcm": b"" for number in range(4)})
        with pytest.raises(ReadError, match=r"a\.zip: a zip archive of 4 files, more than 3; unpack it first"):
            contents_of(path)

    def test_too_many_bytes(self, archive, monkeypatch):
        monkeypatch.setattr(archives, "MOST_BYTES", 1999)
        path = archive({f"{number}.dcm": bytes(1000) for number in range(2)})
        with pytest.raises(ReadError, match=r"a zip archive of 2,000 bytes unpacked, more than 1,999; unpack it first"):
            contents_of(path)

    def test_a_file_that_is_larger_than_a_radiograph(self, archive, scan, monkeypatch):
        monkeypatch.setattr(archives, "LARGEST_BYTES", 9999)
        path = archive({"a.dcm": scan.read_bytes()}) / "a.dcm"
        size = scan.stat().st_size
        assert self.sentence(path, NotRadiographError) == (
            f"{size:,} bytes unpacked, more than any radiograph has; give a frontal chest radiograph"
        )

    def test_a_file_that_is_larger_than_it_states(self, archive, scan):
        """zipfile stops at the size that the archive states, and the checksum is then another."""
        path = archive({"a.dcm": scan.read_bytes()})
        data = bytearray(path.read_bytes())
        data[(place := data.rindex(b"PK\x01\x02") + 24) : place + 4] = (9000).to_bytes(4, "little")
        path.write_bytes(data)
        assert self.sentence(path / "a.dcm").startswith("damaged in its archive (")

    def test_no_room(self, archive, scan, monkeypatch):
        def full(*_arguments):
            raise OSError(28, "No space left on device")

        path = archive({"a.dcm": scan.read_bytes()}) / "a.dcm"
        real = Path.open
        monkeypatch.setattr(Path, "open", lambda self, mode="r": full() if mode == "wb" else real(self, mode))
        sentence = self.sentence(path)
        assert sentence.startswith("cannot be unpacked to ")
        assert sentence.endswith(" (No space left on device); make room, or set TMPDIR to a folder with room")


class TestGzip:
    def test_the_sha256_is_the_file_s(self, scan, tmp_path):
        path = tmp_path / "scan.dcm.gz"
        path.write_bytes(gzip.compress(scan.read_bytes()))
        radiograph = read_radiograph(path)
        assert radiograph.source.path == str(path)
        assert radiograph.source.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()

    @pytest.mark.parametrize("change", [lambda data: data[:-20], lambda data: data[:-8] + bytes(4) + data[-4:]])
    def test_damaged(self, scan, tmp_path, fault, change):
        (tmp_path / "a.dcm.gz").write_bytes(change(gzip.compress(scan.read_bytes())))
        pattern = r"a\.dcm\.gz: the compressed data end early or are damaged \(.+\); copy the file again"
        assert re.fullmatch(pattern, fault(tmp_path / "a.dcm.gz"))

    def test_a_bomb_is_not_unpacked(self, scan, tmp_path, fault, monkeypatch):
        monkeypatch.setattr(archives, "LARGEST_BYTES", 2**21)
        (tmp_path / "a.dcm.gz").write_bytes(gzip.compress(scan.read_bytes() + bytes(2**23)))
        assert fault(tmp_path / "a.dcm.gz") == (
            "a.dcm.gz: more than 2,097,152 bytes unpacked, which no radiograph has; give a frontal chest radiograph"
        )

    def test_gzip_in_gzip(self, scan, tmp_path, fault):
        (tmp_path / "a.dcm.gz").write_bytes(gzip.compress(gzip.compress(scan.read_bytes())))
        assert fault(tmp_path / "a.dcm.gz") == "a.dcm.gz: a gzip archive; unpack it first"
