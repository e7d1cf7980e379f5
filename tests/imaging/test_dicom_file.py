"""How a DICOM file is opened: by its header first, bare, deflated, in GE's own syntax, and never beyond its promise."""

from __future__ import annotations

import io
import zlib

import numpy as np
import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

from cxrcad.imaging import dicom_file
from cxrcad.imaging.read import image_size, read_radiograph, reader_of

GE_PRIVATE = "1.2.840.113619.5.2"


def same(path, stored):
    assert image_size(path) == stored.shape
    np.testing.assert_allclose(read_radiograph(path).pixels, stored / 4095, atol=1e-6)


@pytest.fixture
def meta_length():
    return lambda data: 132 + 12 + int.from_bytes(data[140:144], "little")


class TestEncodings:
    def test_big_endian_without_preamble_and_meta(self, make_dicom, stored, tmp_path):
        dataset = pydicom.dcmread(make_dicom(stored))
        dataset.PixelData = stored.astype(">u2").tobytes()
        del dataset.file_meta, dataset.preamble
        path = tmp_path / "bare"
        pydicom.dcmwrite(path, dataset, implicit_vr=False, little_endian=False)
        assert path.read_bytes()[:2] == b"\x00\x08"
        same(path, stored)

    @pytest.mark.parametrize("implicit", [True, False])
    @pytest.mark.parametrize("first", ["00080005", "00080012", "00080020", "00080070", "00080090", "00081010"])
    def test_a_bare_data_set_may_start_with_any_element_of_its_group(
        self, make_dicom, stored, tmp_path, implicit, first
    ):
        dataset = pydicom.dcmread(make_dicom(stored))
        del dataset.file_meta, dataset.preamble, dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.Modality
        dataset[first] = pydicom.DataElement(first, pydicom.datadict.dictionary_VR(int(first, 16)), "")
        path = tmp_path / "bare"
        pydicom.dcmwrite(path, dataset, implicit_vr=implicit, little_endian=True)
        same(path, stored)

    @pytest.mark.parametrize("start", [b"\x08\x00", b"\x00\x08", b"\x02\x00"])
    def test_two_bytes_make_no_dicom_file(self, tmp_path, start):
        path = tmp_path / "a"
        path.write_bytes(start + bytes(range(255, 0, -1)))
        assert reader_of(path) is None

    def test_ges_own_syntax_has_its_pixels_in_the_other_byte_order(self, make_dicom, stored, tmp_path, meta_length):
        """As DCMTK's UID_PrivateGE_LEI_WithBigEndianPixelDataTransferSyntax and GDCM's ImplicitVRBigEndianPrivateGE."""
        dataset = pydicom.dcmread(make_dicom(stored))
        dataset.PixelData = stored.astype(">u2").tobytes()
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
        content = io.BytesIO()
        dataset.save_as(content, enforce_file_format=True)
        path, data = tmp_path / "ge.dcm", content.getvalue()
        path.write_bytes(data.replace(b"UI\x12\x00" + b"1.2.840.10008.1.2\0", b"UI\x12\x00" + GE_PRIVATE.encode(), 1))
        assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == GE_PRIVATE
        same(path, stored)

    @pytest.mark.parametrize("rows", [96, 98])
    def test_implicit_data_in_a_file_that_states_explicit_ones(self, make_dicom, make_pattern, rows, meta_length):
        """98 x 97 pixels of 16 bit have a length whose bytes look like the letters of a VR."""
        values = make_pattern(rows, 97)
        path = make_dicom(values)
        data, dataset, content = path.read_bytes(), pydicom.dcmread(path), io.BytesIO()
        del dataset.file_meta, dataset.preamble
        pydicom.dcmwrite(content, dataset, implicit_vr=True, little_endian=True)
        path.write_bytes(data[: meta_length(data)] + content.getvalue())
        same(path, values)


class TestBounds:
    @pytest.fixture
    def deflate(self, make_dicom, stored, tmp_path, meta_length):
        """`deflate(change)` -> a deflated file whose packed data set is `change(packed)`."""

        def make(change=lambda packed: packed, behind=b""):
            dataset = pydicom.dcmread(make_dicom(stored))
            dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
            path = tmp_path / "d.dcm"
            dataset.save_as(path, enforce_file_format=True)
            data = path.read_bytes()
            start = meta_length(data)
            whole = zlib.decompress(data[start:], -15) + behind
            engine = zlib.compressobj(9, zlib.DEFLATED, -15)
            path.write_bytes(data[:start] + change(engine.compress(whole) + engine.flush()))
            return path

        return make

    def test_a_deflated_file_is_read(self, deflate, stored):
        same(deflate(), stored)
        same(deflate(lambda packed: packed + b"\0"), stored)  # padded to an even length

    def test_a_deflated_file_that_is_cut_is_refused(self, deflate, fault):
        sentence = fault(deflate(lambda packed: packed[:-9]))
        assert "incomplete or truncated stream" in sentence

    def test_what_follows_the_pixels_of_a_deflated_file_is_of_elements(self, deflate, stored, fault):
        padding = b"\xfc\xff\xfc\xffOB\0\0\4\0\0\0abcd"
        for behind in (b"", bytes(2), padding):
            same(deflate(behind=behind), stored)
        for behind in (b"\1\2\3\4", stored.tobytes()[-40:], padding + padding):
            assert f"({len(behind)} bytes that are no elements after the pixel data)" in fault(deflate(behind=behind))

    def test_no_more_is_inflated_than_the_header_promises(self, deflate, fault):
        assert "bytes inflated" in fault(deflate(behind=bytes(4 * 2**20)))

    def test_pixel_data_longer_than_promised_are_not_read(self, make_dicom, stored, fault, monkeypatch):
        path = make_dicom(stored, PixelData=stored.tobytes() * 9)
        monkeypatch.setattr(dicom_file.DicomFile, "load", None)
        assert "138,240 bytes of pixel data, but 96 x 80 pixels of 16 bit make 15,360" in fault(path)

    def test_frames_are_counted_before_their_pixels_are_read(self, make_dicom, stored, fault, monkeypatch):
        path = make_dicom(stored, NumberOfFrames=9, PixelData=stored.tobytes() * 9)
        monkeypatch.setattr(dicom_file.DicomFile, "load", None)
        assert "9 frames in one file" in fault(path)

    def test_large_elements_before_the_pixels_are_passed_over(self, make_dicom, stored, monkeypatch):
        path = make_dicom(stored)
        dataset = pydicom.dcmread(path)
        dataset.private_block(0x0011, "TEST", create=True).add_new(1, "OB", bytes(dicom_file.LARGE + 2))
        dataset.save_as(path)
        monkeypatch.setattr(dicom_file, "MOST_HEADER", dicom_file.LARGE)
        same(path, stored)

    def test_a_header_of_many_small_elements_is_left(self, make_dicom, stored, fault, monkeypatch):
        path = make_dicom(stored)
        monkeypatch.setattr(dicom_file, "MOST_HEADER", 100)
        assert "a damaged DICOM header" in fault(path)

    def test_compressed_pixels_in_a_file_that_states_none(self, make_dicom, stored, fault):
        path = make_dicom(stored, syntax="1.2.840.10008.1.2.5")
        path.write_bytes(path.read_bytes().replace(b"\x14\x001.2.840.10008.1.2.5\0", b"\x14\x001.2.840.10008.1.2.1\0"))
        assert "compressed pixel data in a file that states Explicit VR Little Endian" in fault(path)


@pytest.mark.parametrize(
    ("names", "remedy"),
    [
        (("Rows",), "export the radiograph again"),
        (("BitsAllocated",), "export the radiograph again, or correct it: dcmodify -i BitsAllocated=16"),
        (
            ("BitsAllocated", "PhotometricInterpretation"),
            "dcmodify -i BitsAllocated=16 -i PhotometricInterpretation=MONOCHROME2 a.dcm",
        ),
    ],
)
def test_what_a_header_lacks_is_named(make_dicom, stored, fault, names, remedy):
    sentence = fault(make_dicom(stored, **dict.fromkeys(names)))
    assert sentence.startswith(f"a.dcm: no {' and no '.join(names)} in its header; ")
    assert remedy in sentence
    assert "copy the file" not in sentence


@pytest.mark.parametrize("name", ["SamplesPerPixel", "PixelRepresentation", "HighBit", "BitsStored"])
def test_what_has_a_usual_value_may_lack(make_dicom, stored, name):
    values = stored * np.uint16(16) if name in ("HighBit", "BitsStored") else stored
    bits = 16 if name in ("HighBit", "BitsStored") else 12
    radiograph = read_radiograph(make_dicom(values, bits=bits, **{name: None}))
    np.testing.assert_allclose(radiograph.pixels, stored / 4095, atol=1e-6)
