"""Colour images of 16 bits a channel, which Pillow reads as 8: each keeps all its bits, or is refused."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from cxrcad.imaging.read import read_mask, read_radiograph

ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
"""First row and column, and their steps, of each pass (PNG specification, 8.2)."""
COLOUR_TYPES = {2: 4, 3: 2, 4: 6}
"""PNG's colour type, by the number of channels."""


def png(channels, interlaced=False):
    """A PNG of 16 bits a channel, its rows unfiltered and filtered by Up in turn."""
    rows, cols, count = channels.shape
    raw = b""
    for top, left, down, right in ADAM7 if interlaced else ((0, 0, 1, 1),):
        before = bytes(2 * count * len(range(left, cols, right)))
        for index, row in enumerate(channels[top::down, left::right]):
            line = row.astype(">u2").tobytes()
            up = np.frombuffer(line, np.uint8) - np.frombuffer(before, np.uint8)
            raw += b"\2" + up.tobytes() if index % 2 else b"\0" + line
            before = line

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", cols, rows, 16, COLOUR_TYPES[count], 0, 0, int(interlaced)))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


def tiff(channels, order="II", alpha=None, packed=False, planes=False):
    """A TIFF of 16 bits a channel; `alpha` is its ExtraSamples, `packed` its deflate compression."""
    rows, cols, count = channels.shape
    parts = np.moveaxis(channels, 2, 0) if planes else [channels]
    strips = [part.astype("<u2" if order == "II" else ">u2").tobytes() for part in parts]
    strips = [zlib.compress(strip) if packed else strip for strip in strips]
    tags = TiffImagePlugin.ImageFileDirectory_v2(prefix=order.encode())
    tags[256], tags[257], tags[277], tags[278] = cols, rows, count, rows
    tags[258], tags[259], tags[262], tags[284] = (16,) * count, 8 if packed else 1, 2, 2 if planes else 1
    tags[273] = tuple(sum(map(len, strips[:index])) for index in range(len(strips)))  # from the end of the directory
    tags[279] = tuple(map(len, strips))
    if alpha is not None:
        tags[338] = (alpha,)
    head = struct.pack("<2sHI" if order == "II" else ">2sHI", order.encode(), 42, 8)
    return head + tags.tobytes(8) + b"".join(strips)


def jpeg2000(channels):
    import openjpeg

    return openjpeg.encode(channels, bits_stored=16, photometric_interpretation=1, codec_format=1)


MEMBERS = {
    "rgb.png": lambda grey: png(of(grey, grey, grey)),
    "interlaced rgb.png": lambda grey: png(of(grey, grey, grey), interlaced=True),
    "grey with alpha.png": lambda grey: png(of(grey, full(grey))),
    "interlaced grey with alpha.png": lambda grey: png(of(grey, full(grey)), interlaced=True),
    "rgba.png": lambda grey: png(of(grey, grey, grey, full(grey))),
    "rgb.tif": lambda grey: tiff(of(grey, grey, grey)),
    "big-endian rgb.tif": lambda grey: tiff(of(grey, grey, grey), "MM"),
    "deflated rgb.tif": lambda grey: tiff(of(grey, grey, grey), packed=True),
    "big-endian deflated rgb.tif": lambda grey: tiff(of(grey, grey, grey), "MM", packed=True),
    "rgba.tif": lambda grey: tiff(of(grey, grey, grey, full(grey)), alpha=2),
    "unspecified fourth.tif": lambda grey: tiff(of(grey, grey, grey, full(grey)), alpha=0),
    "premultiplied rgba.tif": lambda grey: tiff(of(grey // 2, grey // 2, grey // 2, full(grey) // 2), alpha=1),
    "rgb.jp2": lambda grey: jpeg2000(of(grey, grey, grey)),
}


def of(*channels):
    return np.stack(channels, axis=2)


def full(grey):
    return np.full_like(grey, 65535)


@pytest.mark.parametrize("top", [4095, 65535])
@pytest.mark.parametrize("name", MEMBERS)
def test_all_16_bits_are_read(tmp_path, stored, name, top):
    grey = stored if top == 4095 else (stored << 4) + (stored & 15)
    path = tmp_path / name
    path.write_bytes(MEMBERS[name](grey))
    radiograph = read_radiograph(path)
    tolerance = 1e-7 if "premultiplied" not in name else 1.01 / top
    np.testing.assert_allclose(radiograph.pixels, grey.astype(np.float32) / top, atol=tolerance)
    assert "equal channels read as grey" in radiograph.source.notes


def test_channels_of_12_bit_that_differ_are_colour_however_small_they_are_of_16(tmp_path, stored, fault):
    other = np.where(stored > 100, stored - 40, stored)
    (tmp_path / "a.png").write_bytes(png(of(stored, stored, other)))
    assert fault(tmp_path / "a.png").startswith("a.png: a colour image (")


@pytest.mark.parametrize("packed", [False, True])
def test_planes_are_refused(tmp_path, stored, fault, packed):
    (tmp_path / "a.tif").write_bytes(tiff(of(stored, stored, stored), packed=packed, planes=True))
    assert fault(tmp_path / "a.tif") == (
        "a.tif: 16 bit a channel in a plane for each channel, which Pillow reads as 8; "
        "save the radiograph as 16-bit grey"
    )


def test_a_cut_one_is_refused(tmp_path, stored, fault):
    data = png(of(stored, stored, stored))
    (tmp_path / "a.png").write_bytes(data[: len(data) // 2])
    assert fault(tmp_path / "a.png").endswith("; copy the file again")


def test_a_mask_in_the_low_byte_is_seen(tmp_path):
    mask = np.eye(10, dtype=np.uint16)
    (tmp_path / "a.png").write_bytes(png(of(mask, mask, mask)))
    assert np.array_equal(read_mask(tmp_path / "a.png"), mask > 0)


def test_the_files_here_are_what_others_read(stored):
    """Pillow's high bytes: the writers of this file do not only agree with their reader."""
    for name, write in MEMBERS.items():
        if "premultiplied" not in name and "jp2" not in name:
            high = np.asarray(Image.open(io.BytesIO(write(stored << 4))).convert("RGB"))
            assert (high[..., 0] == stored >> 4).all(), name
