"""How many bytes packed data hold: PackBits (TIFF's and DICOM's RLE), LZW, and the strips of a TIFF file.

libtiff stops when it has the bytes of a strip, whatever is left; damage almost always changes how many there are.
Strips of JPEG are streams, of which libtiff fills what they lack.
"""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrcad.imaging.faults import refuse
from cxrcad.imaging.streams import check_whole, jpeg_stream

__all__ = ["check_rle", "check_strips", "lzw_length", "packbits_length"]

WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
OFFSETS, SAMPLES, ROWS, COUNTS, PLANAR = 273, 277, 278, 279, 284
TILE_WIDTH, TILE_LENGTH, TILE_OFFSETS, TILE_COUNTS = 322, 323, 324, 325
JPEG_TABLES = 347
"""TIFF's tags (TIFF 6.0, sections 8 and 15; Technical Note 2)."""
YCBCR, SEPARATE, JPEG = 6, 2, 7
CLEAR, END, FIRST = 256, 257, 258
"""LZW's codes (TIFF 6.0, section 13): a new table, the end, and the first entry of the table."""
LZW_BITS = np.repeat((9, 10, 11, 12), (254, 512, 1024, 2310))
"""Bits of each code after a new table, which is full before the last."""
LZW_START = np.concatenate(([0], np.cumsum(LZW_BITS)[:-1]))
SPARE = 2
"""Bytes that a segment may hold too much: it is padded to an even length."""


def check_rle(path: Path, frame: bytes, rows: int, cols: int) -> None:
    """Raise ReadError where a segment of a DICOM RLE frame does not hold `rows` of `cols` bytes (PS3.5, annex G)."""
    pixels = rows * cols
    count, *starts = np.frombuffer(frame[:64], "<u4").tolist() if len(frame) >= 64 else (0,)
    ends = [*starts[1:count], len(frame)]
    if not 0 < count < 16 or starts[:count] != sorted(starts[:count]):
        refuse(path, f"a damaged header in its RLE data of {len(frame):,} bytes", "copy the file again")
    for number, (start, end) in enumerate(zip(starts, ends, strict=False), start=1):
        length = packbits_length(frame[start:end], pixels + SPARE)
        if length > pixels + SPARE:  # some writers put zeros behind
            length = max(pixels, packbits_length(frame[start:end].rstrip(b"\0"), pixels + SPARE))
        if not pixels <= length <= pixels + SPARE:
            more = "more than " if length > pixels else ""
            fault = f"RLE segment {number} of {count} holds {more}{min(length, pixels):,} of {pixels:,} bytes"
            refuse(path, fault, "copy the file again, or export the radiograph again")
        row = _torn_row(frame[start:end], rows, cols)
        if row is not None:
            fault = f"RLE segment {number} of {count} is damaged (row {row:,} of {rows:,} does not end with a run)"
            refuse(path, fault, "copy the file again, or export the radiograph again")


def check_strips(path: Path, data: bytes, tags: Mapping[int, Any]) -> None:
    """Raise ReadError where a strip or tile of a TIFF file, by its `tags`, does not hold the bytes of its rows."""
    tiled = TILE_OFFSETS in tags
    places = (TILE_OFFSETS, TILE_COUNTS) if tiled else (OFFSETS, COUNTS)
    offsets, counts = (np.atleast_1d(tags.get(tag, ())).tolist() for tag in places)
    if tags.get(COMPRESSION) == JPEG:
        for start, count in zip(offsets, counts, strict=False):
            _check_jpeg(path, tags.get(JPEG_TABLES, b""), data[start : start + count])
    length_of = LENGTHS.get(tags.get(COMPRESSION, 1))
    if length_of is None or tags.get(PHOTOMETRIC) == YCBCR:
        return
    width, rows = tags[TILE_WIDTH if tiled else WIDTH], tags[LENGTH]
    height = max(1, tags[TILE_LENGTH] if tiled else min(tags.get(ROWS, rows), rows))
    bits = tags.get(BITS, (1,))
    samples = 1 if tags.get(PLANAR) == SEPARATE else tags.get(SAMPLES, 1)
    row = math.ceil(width * samples * (bits[0] if isinstance(bits, tuple) else bits) / 8)
    down = math.ceil(rows / height)
    for number, (start, count) in enumerate(zip(offsets, counts, strict=False)):
        last = not tiled and number % down == down - 1
        expected = row * (rows - height * (down - 1) if last else height)
        most = row * height + SPARE
        length = length_of(data[start : start + count], most)
        if not expected <= length <= most:
            more = "more than " if length > expected else ""
            what = f"{'tile' if tiled else 'strip'} {number + 1:,} of {len(offsets):,}"
            fault = f"holds {more}{max(0, min(length, expected)):,} of {expected:,} bytes"
            text = f"TIFF data end early or are damaged, in a file of {len(data):,} bytes ({what} {fault})"
            refuse(path, text, "copy the file again")


def _check_jpeg(path: Path, tables: bytes, strip: bytes) -> None:
    """Raise ReadError where the JPEG stream of a strip, which may lean on common tables, is cut or damaged."""
    stream = jpeg_stream(path, tables.removesuffix(b"\xff\xd9") + strip[2:] if tables else strip)
    check_whole(path, _jpeg_values(stream.data), stream, _jpeg_values)


def _jpeg_values(data: bytes) -> NDArray[Any]:
    from PIL import Image

    with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
        return np.asarray(image)


def packbits_length(data: bytes, most: int) -> int:
    """The bytes that PackBits data hold (TIFF 6.0, section 9); counted no further than beyond `most`."""
    place = total = 0
    while place < len(data) - 1 and total <= most:
        control = data[place]
        if control < 128:
            place += control + 2
            total += control + 1 - max(0, place - len(data))
        elif control > 128:
            place += 2
            total += 257 - control
        else:
            place += 1
    return total


def _torn_row(data: bytes, rows: int, cols: int) -> int | None:
    """The first row, from 1 on, in the PackBits `data` of a DICOM segment that ends inside a run; None where none does.

    Every row is packed by itself (PS3.5, G.3.1), and nothing but padding follows the last.
    """
    place = row = 0
    while row < rows and place < len(data):
        left = cols
        while left > 0 and place < len(data):
            control = data[place]
            left -= control + 1 if control < 128 else 257 - control if control > 128 else 0
            place += control + 2 if control < 128 else 2 if control > 128 else 1
        row += 1
        if left < 0:
            return row
    return rows if len(data) - place > 1 and data[place:].strip(b"\0\x80") else None


def lzw_length(data: bytes, most: int) -> int:
    """The bytes that TIFF's LZW data hold up to their end code; -1 for a code that no table has.

    A code stands for one byte, or for a string one byte longer than that of the code before which it was made.
    """
    if data[:2] == b"\x00\x01":  # of an older kind, with its bits in the other order
        return most
    values = np.frombuffer(data + bytes(4), dtype=np.uint8).astype(np.int64)
    place = total = 0
    while total <= most:
        starts = place + LZW_START
        starts = starts[starts + LZW_BITS <= 8 * len(data)]
        bits, at = LZW_BITS[: len(starts)], starts >> 3
        window = values[at] << 16 | values[at + 1] << 8 | values[at + 2]
        codes = window >> (24 - (starts & 7) - bits) & ((1 << bits) - 1)
        stops = np.nonzero((codes == CLEAR) | (codes == END))[0]
        count = int(stops[0]) if len(stops) else len(codes)
        parent = codes[:count] - FIRST
        if (parent >= np.arange(count)).any():
            return -1
        parent = np.append(np.where(parent < 0, count, parent), count)
        depth = np.append(np.ones(count, np.int64), 0)
        while (parent < count).any():
            depth, parent = depth + depth[parent], parent[parent]
        total += int(depth.sum())
        if not len(stops) or codes[count] == END:
            return total
        place = int(starts[count] + bits[count])
    return total


def _stored_length(data: bytes, most: int) -> int:
    return min(len(data), most)


def _zlib_length(data: bytes, most: int) -> int:
    """The bytes that zlib data hold; -1 where they are cut or fail their checksum."""
    engine = zlib.decompressobj()
    try:
        length = len(engine.decompress(data, most + 1))
    except zlib.error:
        return -1
    return length if engine.eof or length > most else -1


LENGTHS: dict[int, Callable[[bytes, int], int]] = {
    1: _stored_length, 5: lzw_length, 8: _zlib_length, 32773: packbits_length, 32946: _zlib_length,
}  # fmt: skip
"""By TIFF's number of the compression; others are not looked into."""
