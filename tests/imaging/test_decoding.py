"""Compressed DICOM pixels: what is cut is refused whatever the decoder makes of it, what is whole is read."""

from __future__ import annotations

import io
import re

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSLossless

from cxrcad.imaging import decoding, gdcm_apart, streams
from cxrcad.imaging.read import read_radiograph

SYNTAXES = ["jpeg", "progressive", "gdcm:JPEGLosslessProcess14_1", "gdcm:JPEGLSLossless", "gdcm:JPEG2000Lossless"]
EOI = b"\xff\xd9"


@pytest.fixture
def make(make_dicom, make_pattern):
    """`make(syntax, change, name)` -> a DICOM file whose one frame is `change(frame)`, wrapped as if whole."""

    def write(syntax, change=lambda frame: frame, name="a.dcm"):
        rng = np.random.default_rng(7)
        values = (make_pattern(256, 256) // 2 + rng.integers(0, 400, (256, 256))).astype(np.uint16)
        if syntax in ("jpeg", "progressive"):
            values = (values >> 4).astype(np.uint8)
            content = io.BytesIO()
            Image.fromarray(values).save(content, "JPEG", quality=95, progressive=syntax == "progressive")
            path = make_dicom(values, name, bits=8)
            dataset, frame = pydicom.dcmread(path), content.getvalue()
            dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
        else:
            path = make_dicom(values, name, syntax=syntax)
            dataset = pydicom.dcmread(path)
            frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
        dataset.PixelData = encapsulate([change(frame)])
        dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
        dataset.save_as(path)
        return path

    return write


def cut(part, end=b""):
    return lambda frame: frame[: len(frame) * part // 100] + end


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("end", [b"", EOI], ids=["bare", "with an end marker"])
@pytest.mark.parametrize("part", [5, 60, 95])
def test_a_stream_cut_and_wrapped_as_if_whole_is_refused(make, fault, syntax, part, end):
    sentence = fault(make(syntax, cut(part, end)))
    assert "compressed pixels" in sentence
    assert sentence.endswith("; copy the file again, or export the radiograph again")


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_whole_stream_that_only_lacks_its_end_marker_is_read(make, syntax):
    whole = read_radiograph(make(syntax)).pixels
    bare = make(syntax, lambda frame: frame.rstrip(b"\0").removesuffix(EOI), "b.dcm")
    np.testing.assert_array_equal(read_radiograph(bare).pixels, whole)
    padded = make(syntax, lambda frame: frame + bytes(10), "c.dcm")
    np.testing.assert_array_equal(read_radiograph(padded).pixels, whole)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.53", "1.2.840.10008.1.2.4.55"])
def test_jpeg_in_a_retired_syntax_is_read(make, fault, syntax):
    """Which DCMTK still writes (dcmcjpeg +ep)."""
    path = make("progressive")
    whole, dataset = read_radiograph(path).pixels, pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path)
    np.testing.assert_array_equal(read_radiograph(path).pixels, whole)
    dataset.PixelData = encapsulate([cut(60)(get_frame(dataset.PixelData, 0, number_of_frames=1))])
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path)
    assert "its compressed pixels " in fault(path)


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("end", [b"", EOI], ids=["bare", "with an end marker"])
@pytest.mark.parametrize("part", [5, 60, 95])
def test_a_cut_stream_filled_with_zeros_is_refused(make, fault, syntax, part, end):
    def change(frame):
        short = frame[: len(frame) * part // 100]
        return short + bytes(len(frame) - len(short)) + end

    assert "its compressed pixels " in fault(make(syntax, change))


@pytest.mark.parametrize("syntax", ["jpeg", "progressive", "gdcm:JPEGLosslessProcess14_1"])
@pytest.mark.parametrize("count", [4, 1000])
def test_more_coded_data_than_pixels_are_damage(make, fault, syntax, count):
    sentence = fault(make(syntax, lambda frame: frame[: frame.rindex(EOI)] + b"\x35" * (count + 8) + EOI))
    assert "its compressed pixels are damaged (there are more coded data than pixels)" in sentence


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda scan: scan[:-20], "premature end of data segment"),
        (lambda scan: scan + b"\x35" * 20, "there are more coded data than pixels"),
    ],
)
def test_each_of_several_scans_is_looked_at(make, fault, damage, told):
    def change(frame):
        start = frame.index(b"\xff\xda") + 10
        end = next(match.start() for match in re.finditer(b"\xff[^\0]", frame) if match.start() > start)
        return frame[:start] + damage(frame[start:end]) + frame[end:]

    assert f"its compressed pixels are damaged ({told})" in fault(make("progressive", change))


@pytest.mark.parametrize("quality", [50, 98, 100])
@pytest.mark.parametrize("options", [{}, {"optimize": True}, {"progressive": True}])
@pytest.mark.parametrize("corner", [0, 255])
def test_last_bits_that_change_no_pixel_are_no_damage(tmp_path, quality, options, corner):
    """As those of the empty colour channels of a grey picture, and of saturated corners."""
    values = np.full((150, 130), 77, np.uint8)
    values[-60:, -60:], values[:20, :20] = corner, np.arange(400).reshape(20, 20) // 2
    path = tmp_path / "a.jpg"
    for mode in ("L", "RGB"):
        Image.fromarray(values).convert(mode).save(path, quality=quality, **options)
        assert read_radiograph(path).pixels.shape == (150, 130)


def test_where_no_bit_decides_a_pixel_gdcm_decides(make, fault, monkeypatch):
    path = make("jpeg", lambda frame: frame[: frame.rindex(EOI)] + b"\x35" * 20 + EOI)
    assert "there are more coded data than pixels" in fault(path)
    monkeypatch.setattr(streams, "fault_of", lambda *_: "")
    assert read_radiograph(path).pixels.shape == (256, 256)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_flat_picture_is_whole(make_dicom, syntax):
    """Its coded data are zeros in the end."""
    values = np.full((256, 256), 7, np.uint16)
    values[:40, :40] = np.arange(1600).reshape(40, 40) * 2
    if syntax.startswith("gdcm:"):
        path = make_dicom(values, syntax=syntax)
    else:
        values = (values >> 4).astype(np.uint8)
        content = io.BytesIO()
        Image.fromarray(values).save(content, "JPEG", quality=100, optimize=True, progressive=syntax == "progressive")
        path = make_dicom(values, bits=8)
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
        dataset.PixelData = encapsulate([content.getvalue()])
        dataset["PixelData"].is_undefined_length = True
        dataset.save_as(path)
    assert read_radiograph(path).pixels.shape == (256, 256)


def test_a_progressive_stream_without_its_last_scan_is_refused(make, fault):
    path = make("progressive", lambda frame: frame[: frame.rindex(b"\xff\xda")] + EOI)
    assert "lack scans" in fault(path)


def test_a_marker_inside_the_coded_data_is_damage(make, fault):
    def change(frame):
        place = frame.index(b"\xff\xda") + 300
        return frame[:place] + b"\xff\xc0" + frame[place + 2 :]

    assert "its compressed pixels are damaged (at byte" in fault(make("jpeg", change))


def test_a_stream_larger_than_its_header_states_is_not_decoded(make, fault, monkeypatch):
    def change(frame):
        place = frame.index(b"\xff\xc0") + 5
        return frame[:place] + b"\xff\xf0\xff\xf0" + frame[place + 4 :]

    monkeypatch.setattr(decoding, "_with", None)
    assert "the header states 256 x 256 pixels, the data hold 65520 x 65520" in fault(make("jpeg", change))


def test_a_scan_header_that_ends_at_0_is_put_right(make):
    whole = read_radiograph(make("jpeg")).pixels

    def change(frame):
        place = frame.index(b"\xff\xda") + 2 + int.from_bytes(frame[frame.index(b"\xff\xda") + 2 :][:2], "big")
        return frame[: place - 3] + bytes(3) + frame[place:]

    np.testing.assert_array_equal(read_radiograph(make("jpeg", change, "b.dcm")).pixels, whole)


@pytest.mark.parametrize("syntax", ["gdcm:JPEGLSLossless", JPEG2000Lossless])
def test_the_next_decoder_is_tried_for_each_file(make, fault, monkeypatch, syntax):
    path = make(syntax)
    whole, real, tried = read_radiograph(path).pixels, decoding._with, []

    def failing(dataset, syntax, frame, plugin, apart):
        tried.append((plugin, apart))
        if plugin != "gdcm":
            raise ValueError(f"{plugin}: no luck")
        return real(dataset, syntax, frame, plugin, apart)

    monkeypatch.setattr(decoding, "_with", failing)
    np.testing.assert_array_equal(read_radiograph(path).pixels, whole)
    assert tried[-1] == ("gdcm", True)  # GDCM may end the process in which it is

    def ended(dataset):
        raise ValueError("it ended with -11")

    monkeypatch.setattr(decoding, "_gdcm_apart", ended)
    sentence = fault(path)
    assert "pylibjpeg: no luck; " in sentence
    assert "gdcm: it ended with -11)" in sentence


def test_modules_of_the_folder_in_which_the_user_is_are_not_run(make, tmp_path, monkeypatch):
    dataset = pydicom.dcmread(make("gdcm:JPEGLSLossless"))
    damaged = make("jpeg", lambda frame: frame[: frame.rindex(EOI)] + b"\x35" * 20 + EOI, "b.dcm")
    frame = get_frame(pydicom.dcmread(damaged).PixelData, 0, number_of_frames=1)
    for name in ("pydicom", "numpy", "gdcm", "io"):
        (tmp_path / f"{name}.py").write_text(f"from pathlib import Path\nPath({name!r} + '-ran').touch()\n")
    monkeypatch.chdir(tmp_path)
    assert gdcm_apart.decoded(dataset).shape == (256, 256)
    assert gdcm_apart.fault_of(frame, 0xC0, 256, 256, 1, 8) == "there are more coded data than pixels"
    assert not list(tmp_path.glob("*-ran"))


def test_what_no_decoder_reads_is_refused_with_the_error_of_each(make, fault):
    path = make("jpeg", lambda frame: frame.replace(b"\xff\xc0\x00\x0b\x08", b"\xff\xc0\x00\x0b\x09"))
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = JPEGExtended12Bit
    dataset.save_as(path)
    sentence = fault(path)
    assert "cannot be decoded from" in sentence
    assert "pylibjpeg: " in sentence
    assert "gdcm: " in sentence


def item(value: bytes) -> bytes:
    return b"\xfe\xff\x00\xe0" + len(value).to_bytes(4, "little") + value


@pytest.mark.parametrize("table", [b"", bytes(4), b"\xe7\x03\0\0", b"\0\0\0\0\x08\x01\0\0", b"\0\0\0"])
def test_the_fragments_are_one_frame_whatever_the_offset_table_says(make_dicom, stored, table):
    path = make_dicom(stored, syntax=JPEG2000Lossless)
    dataset = pydicom.dcmread(path)
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    parts = [frame[start : start + 256] for start in range(0, len(frame), 256)]
    dataset.PixelData = item(table) + b"".join(item(part) for part in parts)
    dataset.save_as(path)
    np.testing.assert_allclose(read_radiograph(path).pixels, stored / 4095, atol=1e-6)


@pytest.mark.parametrize("syntax", ["jpeg", "gdcm:JPEGLosslessProcess14_1", "gdcm:JPEG2000Lossless"])
@pytest.mark.parametrize(("order", "told"), [((1, 0, 2, 3), "number 2 starts"), ((0, 1, 3, 2), "number 3 ends")])
def test_fragments_in_another_order_are_refused(make, fault, syntax, order, told):
    path = make(syntax)
    dataset = pydicom.dcmread(path)
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    size = len(frame) // 8 * 2
    parts = [frame[:size], frame[size : 2 * size], frame[2 * size : 3 * size], frame[3 * size :]]
    dataset.PixelData = item(b"") + b"".join(item(parts[number]) for number in order)
    dataset.save_as(path)
    assert f"its 4 fragments of one frame are in a wrong order ({told} a picture)" in fault(path)


def test_an_end_marker_inside_a_jpeg_2000_tile_is_damage(make, fault):
    sentence = fault(make("gdcm:JPEG2000Lossless", lambda frame: frame[:3000] + EOI + frame[3002:]))
    assert "its compressed pixels are damaged (an end marker at byte " in sentence


@pytest.mark.parametrize("own", SYNTAXES)
@pytest.mark.parametrize("stated", [JPEGBaseline8Bit, JPEGLSLossless, JPEG2000Lossless])
def test_a_stream_of_another_family_than_stated_is_read_as_what_it_is(make, own, stated):
    path = make(own)
    values = read_radiograph(path).pixels
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = stated
    dataset.save_as(path)
    np.testing.assert_array_equal(read_radiograph(path).pixels, values)
