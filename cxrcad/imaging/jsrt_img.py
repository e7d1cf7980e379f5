"""JSRT's .IMG files: 2048 x 2048 big-endian uint16 without a header, 12 bit, 0.175 mm, dark = dense.

Source: J. Shiraishi et al., "Development of a digital image database for chest radiographs with and without a lung
nodule", AJR 174 (2000), and the database's own description.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cxrcad.core import Radiograph, Source
from cxrcad.imaging.faults import Header, bytes_of, check_file, check_values, digest, refuse

__all__ = ["BYTES", "FIELD_MM", "LARGEST", "SIDE", "SPACING_MM", "header", "matches", "read"]

SIDE = 2048
BYTES = SIDE * SIDE * 2
LARGEST = 4095
SPACING_MM = 0.175
FIELD_MM = SIDE * SPACING_MM
"""Side of JSRT's square field, 358.4 mm, whatever the size at which an image is kept (the paper, section 4.1)."""


def matches(_head: bytes, size: int) -> bool:
    """Whether a file has the length of a JSRT .IMG, which has no header."""
    return size == BYTES


def header(path: Path) -> Header:
    """2048 x 2048 of 0.175 mm, for a file of the right length. Raises ReadError."""
    _check_length(path, check_file(path))
    return Header(SIDE, SIDE, (SPACING_MM, SPACING_MM))


def read(path: Path) -> Radiograph:
    """The radiograph in a JSRT .IMG file. Raises ReadError for another length, and for values beyond 12 bit."""
    data = bytes_of(path)
    _check_length(path, len(data))
    stored = np.frombuffer(data, dtype=">u2").reshape(SIDE, SIDE)
    largest = int(stored.max())
    if largest > LARGEST:
        fault = f"values up to {largest:,}, but JSRT's are 12 bit, up to {LARGEST:,}"
        if int(stored.view("<u2").max()) <= LARGEST:
            refuse(path, f"{fault}, as they would be in the other byte order", "write the file big-endian")
        refuse(path, f"{fault}, so this is not a JSRT .IMG", "convert it to a 16-bit PNG or DICOM")
    check_values(path, stored)
    pixels = 1 - stored.astype(np.float32) / np.float32(LARGEST)
    source = Source(str(path), "JSRT", digest(data), notes=("JSRT's dark = dense inverted",))
    return Radiograph(pixels, (SPACING_MM, SPACING_MM), "JSRT", None, source)


def _check_length(path: Path, length: int) -> None:
    if length != BYTES:
        expected = f"exactly {BYTES:,} ({SIDE} x {SIDE} x 2)"
        refuse(path, f"{length:,} bytes, but a JSRT .IMG has {expected}", "copy the file again")
