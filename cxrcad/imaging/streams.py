"""Whether a compressed picture is whole: JPEG, JPEG-LS, JPEG 2000 and PNG.

Most decoders fill what a damaged stream lacks with values of their own, and leave what it has too much, without a word.
What is whole decodes to the same pixels whatever bits follow it, and mostly to others where its last bits are others:
so the stream of an entropy coder is decoded three times, and GDCM is asked where the last bits changed nothing, and
where there are several scans, of which each may be damaged.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrcad.imaging.faults import refuse
from cxrcad.imaging.gdcm_apart import fault_of

__all__ = ["AGAIN", "LS", "Stream", "check_order", "check_png", "check_whole", "jpeg_stream", "stream_of"]

AGAIN = "copy the file again, or export the radiograph again"
J2K, JP2 = b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  \r\n\x87\n"
"""How a JPEG 2000 codestream starts, and how its file format does."""
OTHER_BITS = tuple(pattern * 64 for pattern in (b"\x55\xaa\x33\xcc", b"\xaa\x55\xcc\x33", b"\xe1\x96", b"\x1e\x69"))
"""What is put behind the coded data, or in place of their end: neither the zeros that decoders add, nor a marker."""
LAST_BYTES, LAST_OF_PROGRESSIVE = 1, 8
"""Bytes in which coded data end: other bits in their place mostly make other pixels."""
ZEROS = 256
"""Zero bytes in a row that JPEG 2000's arithmetic coder does not write; packets without data are one each."""
JPEG_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
JPEG_LS_MARKER = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")  # its stuffing is a bit, not a byte (ITU-T T.87, A.1)
RESTART = re.compile(rb"\xff([\xd0-\xd7])")
EOI, SOS, DRI, SOT, EOC, SOD = 0xD9, 0xDA, 0xDD, 0x90, b"\xff\xd9", b"\xff\x93"
FRAMES = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0), 0xF7)
"""Markers of frame headers, SOF0 to SOF15 and JPEG-LS's SOF55 (ITU-T T.81, table B.1; T.87, C.1)."""
BETWEEN_SCANS = (0xC4, 0xCC, 0xDB, 0xDC, DRI, SOS, EOI, 0xF8, 0xFE, *range(0xE0, 0xF0))
"""What may follow a scan: tables, DNL, a scan, the end, comments, application data. Another marker is damage."""
SEQUENTIAL, PROGRESSIVE, LS = (0xC0, 0xC1), (0xC2,), 0xF7


@dataclass(frozen=True)
class Stream:
    """A compressed picture as it is to be decoded, with its end marker.

    `rows`, `cols`, `samples`, `bits` and `kind`, the marker, are what its own frame header states. Its coded data end
    at `end`, and the last `spare` bytes of them should decide some pixel; 0 where the stream states its own length.
    """

    rows: int
    cols: int
    data: bytes
    end: int = 0
    spare: int = 0
    kind: int = -1
    samples: int = 1
    bits: int = 8
    scans: int = 1

    def with_bits(self, bits: bytes, spare: int = 0) -> bytes:
        """The stream with other bits behind its coded data, in place of the last `spare` bytes of them."""
        return self.data[: self.end - spare].rstrip(b"\xff") + bits + self.data[self.end :]


def stream_of(path: Path, data: bytes) -> Stream | None:
    """The stream in one frame of a DICOM file, None where it is of no known kind. Raises ReadError where it is cut."""
    if data.startswith(b"\xff\xd8"):
        return jpeg_stream(path, data)
    return jpeg2000_stream(path, data) if data.startswith((J2K, JP2)) else None


def check_order(path: Path, fragments: list[bytes]) -> None:
    """Raise ReadError where the fragments of one frame start or end a picture in their midst: an order of their own."""
    parts = [part for part in (each.rstrip(b"\0") for each in fragments) if part]
    late = [number for number, part in enumerate(parts) if number and part.startswith((b"\xff\xd8\xff", J2K, JP2))]
    early = [number for number, part in enumerate(parts[:-1]) if part.endswith(EOC)]
    if late or early:
        what = f"number {late[0] + 1} starts" if late else f"number {early[0] + 1} ends"
        refuse(path, f"its {len(parts)} fragments of one frame are in a wrong order ({what} a picture)", AGAIN)


def check_whole(path: Path, pixels: NDArray[Any], stream: Stream, decode: Callable[[bytes], NDArray[Any]]) -> None:
    """Raise ReadError where `pixels`, which are those of `stream`, depend on the bits behind it, or not on its last."""
    if not stream.spare:
        return
    other = decode(stream.with_bits(OTHER_BITS[0]))
    changed = np.nonzero((pixels != other).reshape(len(pixels), -1).any(axis=1))[0]
    if len(changed):
        refuse(path, f"its compressed pixels are cut short or damaged (from row {changed[0]:,} on)", AGAIN)

    def matter(bits: bytes) -> bool:
        try:
            return not np.array_equal(pixels, decode(stream.with_bits(bits, stream.spare)))
        except Exception:  # the decoders raise what they like
            return True

    if stream.scans == 1 and any(matter(bits) for bits in OTHER_BITS):
        return
    found = fault_of(stream.data, stream.kind, stream.rows, stream.cols, stream.samples, stream.bits)
    if found:
        refuse(path, f"its compressed pixels are damaged ({found})", AGAIN)


@dataclass
class _Frame:
    """What the markers of a JPEG stream tell: `open` are the (component, coefficient) that no scan has completed."""

    kind: int = -1
    rows: int = 0
    cols: int = 0
    samples: int = 1
    bits: int = 8
    open: set[tuple[int, int]] = field(default_factory=set)
    restarts: bool = False
    scans: int = 0


def jpeg_stream(path: Path, data: bytes) -> Stream:
    """The JPEG (baseline, extended, progressive, lossless) or JPEG-LS stream at the start of `data`.

    A lacking end marker is added, and a scan header that contradicts its frame is put right (T.81, table B.3). Raises
    ReadError for headers and scans that lack, and for markers where none can be.
    """
    frame, place, end, mended = _Frame(), 2, -1, bytearray(data)
    while True:
        marker, after = _segment(path, data, place, end)
        if marker == EOI:
            break
        body = data[place + 4 : after]
        if marker in FRAMES:
            _start(path, frame, marker, body)
        elif marker == DRI:
            frame.restarts = any(body)
        elif marker == SOS:
            _scan(path, frame, body)
            if frame.kind in SEQUENTIAL:
                mended[after - 3 : after] = b"\x00\x3f\x00"
            found = (JPEG_LS_MARKER if frame.kind == LS else JPEG_MARKER).search(data, after)
            end = found.start() if found else len(data)
            _check_restarts(path, frame, data[after:end])
            after = end
        place = after
    if end < 0 or frame.kind < 0:
        refuse(path, "no picture between the start and the end of its compressed pixels", AGAIN)
    if frame.open:
        missing = len({component for component, _ in frame.open})
        refuse(path, f"its compressed pixels lack scans (of {missing} of its components)", AGAIN)
    spare = LAST_OF_PROGRESSIVE if frame.kind in PROGRESSIVE else LAST_BYTES
    spare += data[end - 1] == 0  # one to an even length, where there is no end marker
    data = bytes(mended[:place]) + EOC
    return Stream(frame.rows, frame.cols, data, end, spare, frame.kind, frame.samples, frame.bits, frame.scans)


def _segment(path: Path, data: bytes, place: int, end: int) -> tuple[int, int]:
    """The marker at `place` and where its segment ends; EOI also where the stream ends behind a scan."""
    while data[place : place + 2] == b"\xff\xff":  # fill bytes (T.81, B.1.1.2)
        place += 1
    head = data[place : place + 4]
    if end >= 0 and (len(head) < 2 or not data[place:].strip(b"\x00\xff")):
        return EOI, place
    marker = head[1] if len(head) > 1 and head[0] == 0xFF else -1
    if marker == EOI and end >= 0:
        return EOI, place
    if marker < 0 or (end >= 0 and marker not in BETWEEN_SCANS):
        refuse(path, f"its compressed pixels are damaged (at byte {place:,} of {len(data):,})", AGAIN)
    after = place + 2 + int.from_bytes(head[2:4], "big")
    if len(head) < 4 or after < place + 4 or after > len(data):
        refuse(path, f"its compressed pixels end in a header, after {len(data):,} bytes", AGAIN)
    return marker, after


def _start(path: Path, frame: _Frame, marker: int, body: bytes) -> None:
    if len(body) < 6 or len(body) < 6 + 3 * body[5]:
        refuse(path, "a damaged frame header in its compressed pixels", AGAIN)
    frame.kind, frame.bits, frame.samples = marker, body[0], body[5]
    frame.rows, frame.cols = struct.unpack_from(">HH", body, 1)
    coefficients = range(64) if marker in PROGRESSIVE else range(1)
    frame.open = {(body[6 + 3 * index], k) for index in range(body[5]) for k in coefficients}


def _scan(path: Path, frame: _Frame, body: bytes) -> None:
    count = body[0] if body else 0
    if len(body) != 4 + 2 * count or frame.kind < 0:
        refuse(path, "a damaged scan header in its compressed pixels", AGAIN)
    frame.scans += 1
    first, last, low = body[-3], body[-2], body[-1] & 15
    if frame.kind not in PROGRESSIVE:
        first, last, low = 0, 0, 0
    if low == 0:  # the last bit of these coefficients (T.81, G.1.1.1)
        frame.open -= {(body[1 + 2 * index], k) for index in range(count) for k in range(first, last + 1)}


def _check_restarts(path: Path, frame: _Frame, coded: bytes) -> None:
    numbers = np.frombuffer(b"".join(RESTART.findall(coded)), dtype=np.uint8)
    if frame.kind == LS and not frame.restarts:
        return
    if (len(numbers) and not frame.restarts) or not np.array_equal(numbers, 0xD0 + np.arange(len(numbers)) % 8):
        refuse(path, "its compressed pixels are damaged (restart markers out of order)", AGAIN)


def jpeg2000_stream(path: Path, data: bytes) -> Stream:
    """The JPEG 2000 codestream at the start of `data`, or in its boxes, of which every tile is there.

    A lacking end marker is added. Raises ReadError where a tile is cut or lacks. Source: ITU-T T.800, annexes A and I.
    """
    if data.startswith(JP2):
        data = data[max(0, data.find(b"jp2c" + J2K)) + 4 :]
    if len(data) < 42:
        refuse(path, f"its compressed pixels end in a header, after {len(data):,} bytes", AGAIN)
    x1, y1, x0, y0, width, height, tile_x0, tile_y0 = struct.unpack_from(">8I", data, 8)
    if not (width and height and x1 > x0 and y1 > y0):
        refuse(path, "a damaged header in its compressed pixels", AGAIN)
    tiles = -(-(x1 - tile_x0) // width) * -(-(y1 - tile_y0) // height)
    found: dict[int, int] = {}  # tile-parts of each tile
    stated: dict[int, int] = {}
    place = 2
    while data[place : place + 2] not in (EOC, b"") and (data[place + 1 : place + 2] == b"\x90" or not found):
        marker, after = _segment(path, data, place, -1)
        if marker == SOT:
            if after - place != 12:
                refuse(path, "a damaged header of a tile in its compressed pixels", AGAIN)
            tile, length, _, parts = struct.unpack_from(">HIBB", data, place + 4)
            if length == 0:  # the last one, up to the end marker
                length = max(data.rfind(EOC), place) - place or len(data) + 1
            if place + length > len(data) or length < 14:
                fault = f"its compressed pixels end after {len(data):,} bytes, in tile {tile + 1:,} of {tiles:,}"
                refuse(path, fault, AGAIN)
            inside = data.find(EOC, max(after, data.find(SOD, after)), place + length - len(EOC))
            if inside >= 0:  # no coded data hold a marker (T.800, B.10.1, C.3)
                refuse(path, f"its compressed pixels are damaged (an end marker at byte {inside:,})", AGAIN)
            found[tile] = found.get(tile, 0) + 1
            stated[tile] = max(stated.get(tile, 0), parts)
            after = place + length
        place = after
    lacking = tiles - sum(1 for tile, count in found.items() if count >= stated[tile])
    if lacking > 0:
        refuse(path, f"its compressed pixels lack {lacking:,} of {tiles:,} tiles", AGAIN)
    zeros = ZEROS + tiles * _packets(path, data, width, height)
    hole = data.find(bytes(zeros), 0, place) if zeros < place else -1
    if hole >= 0:
        refuse(path, f"its compressed pixels are damaged (more than {zeros:,} zero bytes from byte {hole:,} on)", AGAIN)
    return Stream(y1 - y0, x1 - x0, data[:place] + EOC)


def _packets(path: Path, data: bytes, width: int, height: int) -> int:
    """The packets that a tile may have: layers x components x precincts of each resolution (T.800, A.6.1, B.6)."""
    place = data.find(b"\xff\x52")
    if place < 0 or len(data) < place + 14 + 33:
        refuse(path, "a damaged header in its compressed pixels", AGAIN)
    style, layers, levels, body = data[place + 4], data[place + 6 : place + 8], data[place + 9], data[place + 14 :]
    precincts = 0
    for level in range(min(levels, 32) + 1):  # from the lowest resolution on
        across, down = (body[level] & 15, body[level] >> 4) if style & 1 else (15, 15)
        scale = levels - level
        precincts += ((width >> (scale + across)) + 2) * ((height >> (scale + down)) + 2)
    return int.from_bytes(layers, "big") * int.from_bytes(data[40:42], "big") * precincts


def check_png(path: Path, data: bytes) -> None:
    """Raise ReadError where a chunk of a PNG file with pixels or their description is cut or its checksum is wrong.

    Source: the PNG specification (W3C), 5.3.
    """
    place = 8
    while place + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        if kind == b"IEND":
            return
        body = data[place + 4 : place + 8 + length]
        check = data[place + 8 + length : place + 12 + length]
        if not kind[0] & 0x20 and zlib.crc32(body) != int.from_bytes(check, "big"):
            where = f"the chunk {kind.decode('latin-1')} at byte {place:,}"
            fault = f"PNG data end early or are damaged, in a file of {len(data):,} bytes ({where})"
            refuse(path, fault, "copy the file again")
        place += 12 + length
