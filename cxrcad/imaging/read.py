"""Any file that may be a radiograph -> `Radiograph`: the reader is chosen by the file's content, not by its ending."""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from typing import NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from cxrcad.core import Radiograph
from cxrcad.imaging import dicom, jsrt_img, raster, volume
from cxrcad.imaging.faults import FORMATS, check_file, head_of, refuse

__all__ = ["format_of", "image_size", "read_mask", "read_radiograph"]

HEAD = 4096
MAGIC = {
    b"\x89PNG\r\n\x1a\n": "raster",
    b"\xff\xd8\xff": "raster",
    b"II*\x00": "raster",
    b"MM\x00*": "raster",
    b"BM": "raster",
    b"\x00\x00\x00\x0cjP  \r\n\x87\n": "raster",
    b"\xff\x4f\xff\x51": "raster",
    b"GIF8": "gif",
    b"PK\x03\x04": "zip archive",
    b"%PDF": "PDF document",
    b"\x1f\x8b": "gzip archive",
    b"BZh": "bzip2 archive",
    b"7z\xbc\xaf\x27\x1c": "7z archive",
    b"Rar!": "RAR archive",
    b"\x89HDF": "HDF5 file",
    b"\x93NUMPY": "NumPy array",
}


class Reader(Protocol):
    """What the module of a format holds."""

    def read(self, path: Path) -> Radiograph:
        """The radiograph in a file of this format; ReadError."""

    def image_size(self, path: Path) -> tuple[int, int]:
        """(rows, cols) from the file's header; ReadError."""


READERS: dict[str, Reader] = {"dicom": dicom, "raster": raster, "jsrt": jsrt_img, "volume": volume}
IMAGE_ENDINGS = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".jp2", ".bmp", ".mha", ".mhd", ".nii", ".gz")
META_IMAGE = re.compile(rb"^\s*(ObjectType|NDims|Comment|ID)\s*=.*\bNDims\s*=", re.DOTALL)
BARE_DICOM = re.compile(
    rb"\x08\x00[\x00\x01\x05\x06\x08\x12-\x18\x20-\x23\x30-\x33\x50\x60]\x00|\x02\x00[\x00-\x02\x10]\x00"
)
"""A data set without preamble starts with an element of group 0008 (or 0002), little endian (DICOM PS3.10, 7.1)."""


def format_of(path: Path) -> str | None:
    """The reader that takes this file: dicom, jsrt, raster or volume; None where none does. Raises ReadError."""
    kind = _kind(path)
    return kind if kind in READERS else None


def read_radiograph(path: Path) -> Radiograph:
    """The frontal chest radiograph in a file, bright = dense, on the file's own grid.

    Raises ReadError, one sentence with the file, the fault and the way out, for everything that is not one.
    """
    kind = _kind(path)
    if kind in READERS:
        return READERS[kind].read(path)
    _refuse_unknown(path, kind)


def image_size(path: Path) -> tuple[int, int]:
    """(rows, cols) from the file's header, without decoding pixels. Raises ReadError."""
    kind = _kind(path)
    if kind == "gif":
        return raster.image_size(path)
    if kind in READERS:
        return READERS[kind].image_size(path)
    _refuse_unknown(path, kind)


def read_mask(path: Path) -> NDArray[np.bool_]:
    """A mask (rows, cols) from a GIF, PNG or other image: true above half of its largest value. Raises ReadError."""
    return raster.read_mask(path)


def _kind(path: Path) -> str:
    """A reader's name, or in words what else the file is; "" where its content tells nothing."""
    head = head_of(path, HEAD)
    if head[128:132] == b"DICM":
        return "dicom"
    for magic, kind in MAGIC.items():
        if head.startswith(magic) and (magic != b"BM" or head[6:10] == bytes(4)):
            return "volume" if kind == "gzip archive" and volume.is_nifti(_gunzipped(head)) else kind
    if META_IMAGE.search(head) or volume.is_nifti(head):
        return "volume"
    if check_file(path) == jsrt_img.BYTES:  # no 12-bit image starts with any of the marks above
        return "jsrt"
    if BARE_DICOM.match(head):
        return "dicom"
    return "text" if _is_text(head) else ""


def _gunzipped(head: bytes) -> bytes:
    try:
        return zlib.decompressobj(wbits=31).decompress(head, HEAD)
    except zlib.error:
        return b""


def _is_text(head: bytes) -> bool:
    return not any(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in head)


def _refuse_unknown(path: Path, kind: str) -> NoReturn:
    size = check_file(path)
    ending = path.suffix.lower()
    if kind == "gif":
        refuse(path, "a GIF image, read as a mask only", "save the radiograph as PNG or TIFF")
    if kind == "gzip archive" and path.name.lower().endswith(".nii.gz"):
        refuse(path, f"no NIfTI header in its {size:,} bytes", "copy the file again")
    if "archive" in kind:
        refuse(path, f"a {kind}", "unpack it first")
    if kind == "text":
        refuse(path, f"text, not an image ({size:,} bytes)", f"give {FORMATS}")
    if kind:
        refuse(path, f"a {kind}", f"export the radiograph as {FORMATS}")
    if ending == ".img":
        jsrt_img.image_size(path)
    if ending in (".dcm", ".dicom"):
        refuse(path, f"no DICOM file: the mark DICM is missing at byte 128 ({size:,} bytes)", "copy the file again")
    way_out = "copy the file again" if ending in IMAGE_ENDINGS else f"give {FORMATS}"
    refuse(path, f"not recognised as an image by its content ({size:,} bytes)", way_out)
