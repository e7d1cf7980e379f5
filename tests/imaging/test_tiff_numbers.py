"""Numbers of TIFF files: signed, of 32 bits, float, in both byte orders, packed or not."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest

from cxrcad.imaging.raster import stretched
from cxrcad.imaging.read import read_radiograph


def tiff(values, order, sample_format, deflated):
    """A TIFF file of one strip, with the tags of TIFF 6.0."""
    rows, cols = values.shape
    data = values.astype(values.dtype.newbyteorder(order)).tobytes()
    data = zlib.compress(data) if deflated else data
    tags = {256: cols, 257: rows, 258: 8 * values.dtype.itemsize, 259: 8 if deflated else 1, 262: 1, 273: 0, 277: 1}
    tags |= {278: rows, 279: len(data), 339: sample_format}
    tags[273] = 14 + 12 * len(tags)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(tags))
    entries = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in tags.items())
    return head + entries + bytes(4) + data


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("deflated", [False, True])
@pytest.mark.parametrize(
    ("kind", "scale", "offset"),
    [("i1", 1 / 16, -128), ("i2", 1, -2000), ("u4", 1e6, 0), ("i4", 1e5, -2e8), ("f4", 1, -2000)],
)
def test_values_are_read_with_their_sign_and_byte_order(tmp_path, stored, order, deflated, kind, scale, offset):
    if kind == "u4" and order == ">":
        pytest.skip("Pillow reads no unsigned 32-bit TIFF of this byte order")
    values = (stored.astype(np.float64) * scale + offset).astype(kind)
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(values, order, {"u": 1, "i": 2, "f": 3}[kind[0]], deflated))
    np.testing.assert_array_equal(read_radiograph(path).pixels, stretched(values)[0])


@pytest.mark.parametrize(("kind", "bits"), [("i1", 8), ("u2", 16)])
def test_a_sign_that_contradicts_the_pixels_is_noted(tmp_path, kind, bits):
    smooth = np.indices((128, 128)).sum(axis=0) * 2**bits // 256
    signed = kind == "u2"  # and stated as unsigned
    values = (smooth - 2 ** (bits - 1) * signed).astype(f"i{bits // 8}").view(kind)
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(values, "<", 1 if signed else 2, deflated=False))
    radiograph = read_radiograph(path)
    np.testing.assert_allclose(radiograph.pixels, stretched(smooth)[0], atol=1e-2)
    assert any("but smooth only as" in note for note in radiograph.source.notes)
