"""Any file that may be a radiograph -> `Radiograph`: the reader is chosen by the file's content, not by its ending.

A new format is a module with `matches`, `read` and `header`, and its row in `READERS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from cxrcad.core import Radiograph, ReadError
from cxrcad.imaging import dicom, jsrt_img, raster, volume
from cxrcad.imaging.archives import head_of, local_file, unpacked
from cxrcad.imaging.faults import Header, digest_of, refuse
from cxrcad.imaging.polarity import with_polarity
from cxrcad.imaging.raster import read_mask

__all__ = [
    "FORMATS",
    "IMAGE_ENDINGS",
    "READERS",
    "Header",
    "Reader",
    "content_sha256",
    "image_header",
    "image_size",
    "read_mask",
    "read_radiograph",
    "reader_of",
    "unknown_words",
]

HEAD = 4096


@dataclass(frozen=True)
class Reader:
    """One format or family of formats.

    `endings` are in lower case, and `formats` is what a sentence calls them. `matches(head, size)` tells by a file's
    first 4,096 bytes and its size in bytes. `read` and `header` (the pixels are not decoded) raise ReadError. Where
    `states_view`, the header may say that it is no frontal chest radiograph, and `read` takes `force`.
    """

    name: str
    formats: str
    endings: tuple[str, ...]
    matches: Callable[[bytes, int], bool]
    read: Callable[..., Radiograph]
    header: Callable[[Path], Header]
    states_view: bool = False


def _matches_gzip(head: bytes, _size: int) -> bool:
    inside = volume.gunzipped(head, HEAD)
    return any(reader.matches(inside, 0) for reader in READERS if reader.name != "gzip")


def _read_gzip(path: Path, force: bool = False) -> Radiograph:
    with unpacked(path) as file:
        radiograph = _read(file, force)
    return _named(radiograph, path, digest_of(path))


def _header_gzip(path: Path) -> Header:
    with unpacked(path) as file:
        return _reader(file).header(file)


DICOM_ENDINGS = (".dcm", ".dicom", ".dic", ".ima")
RASTER_ENDINGS = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".jp2", ".bmp")
VOLUME_ENDINGS = (".mha", ".mhd", ".nii", ".nii.gz")
READERS = (
    Reader("dicom", "DICOM", DICOM_ENDINGS, dicom.matches, dicom.read, dicom.header, True),
    Reader("raster", "PNG, TIFF, JPEG", RASTER_ENDINGS, raster.matches, raster.read, raster.header),
    Reader("volume", "MHA, NIfTI", VOLUME_ENDINGS, volume.matches, volume.read, volume.header, True),
    Reader("gzip", "", (".dcm.gz",), _matches_gzip, _read_gzip, _header_gzip, True),
    # These two have no mark of their own, so they come last.
    Reader("jsrt", "JSRT .IMG", (".img",), jsrt_img.matches, jsrt_img.read, jsrt_img.header),
    Reader("bare dicom", "", (), dicom.matches_bare, dicom.read, dicom.header, True),
)
"""The first reader that matches takes the file."""

IMAGE_ENDINGS = tuple(ending for reader in READERS for ending in reader.endings)
_formats = ", ".join(reader.formats for reader in READERS if reader.formats)
FORMATS = f"a {' or '.join(_formats.rsplit(', ', 1))} file"
OTHERS = {
    b"GIF8": "GIF image",
    b"PK\x03\x04": "zip archive",
    b"%PDF": "PDF document",
    b"\x1f\x8b": "gzip archive",
    b"BZh": "bzip2 archive",
    b"7z\xbc\xaf\x27\x1c": "7z archive",
    b"Rar!": "RAR archive",
    b"\x89HDF": "HDF5 file",
    b"\x93NUMPY": "NumPy array",
}


def reader_of(path: Path) -> Reader | None:
    """The reader that takes this file, None where none does. Raises ReadError."""
    head, size = head_of(path, HEAD)
    return next((reader for reader in READERS if reader.matches(head, size)), None)


def _reader(path: Path) -> Reader:
    return reader_of(path) or _refuse_unknown(path)


def read_radiograph(path: Path, force: bool = False) -> Radiograph:
    """The frontal chest radiograph in a file, bright = dense, on the file's own grid.

    A file in a zip archive is named as if the archive were a folder (archive.zip/inner/scan.dcm). A polarity that
    contradicts the anatomy is turned back; a note says so. `force`: also an image whose header says that it is no
    frontal chest radiograph; its notes say so. Raises ReadError, one sentence with the file, the fault and the remedy,
    for everything that is not one; NotRadiographError where the file says of itself that it is something else.
    """
    with local_file(path) as file:
        radiograph = with_polarity(_read(file, force))
    return radiograph if file == path else _named(radiograph, path)


def _read(path: Path, force: bool = False) -> Radiograph:
    """What `read_radiograph` gives, with the polarity that the file states."""
    reader = _reader(path)
    return reader.read(path, force=True) if force and reader.states_view else reader.read(path)


def content_sha256(path: Path) -> str | None:
    """The SHA-256 that `read_radiograph` tells of the file, without decoding it; None where it cannot be read."""
    try:
        with local_file(path) as file:
            return volume.image_sha256(file)
    except (ReadError, OSError):
        return None


def _named(radiograph: Radiograph, path: Path, sha256: str | None = None) -> Radiograph:
    """The radiograph of a temporary copy, as that of `path`."""
    source = replace(radiograph.source, path=str(path), sha256=sha256 or radiograph.source.sha256)
    return replace(radiograph, source=source)


def image_size(path: Path) -> tuple[int, int]:
    """(rows, cols) from the header of a radiograph or a mask, without decoding pixels. Raises ReadError."""
    return image_header(path)[:2]


def image_header(path: Path) -> Header:
    """Size and spacing from the header of a radiograph or a mask, without decoding pixels. Raises ReadError."""
    with local_file(path) as file:
        reader = reader_of(file)
        if reader:
            return reader.header(file)
        return raster.header(file) if _other(file) == "GIF image" else _refuse_unknown(file)


def unknown_words(path: Path) -> str:
    """The sentence with which a file that no reader takes is refused."""
    try:
        _refuse_unknown(path)
    except ReadError as error:
        return str(error)


def _other(path: Path) -> str:
    """What a file is that no reader takes; "" where its content tells nothing."""
    head, _ = head_of(path, HEAD)
    binary = any(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in head)
    return next((kind for magic, kind in OTHERS.items() if head.startswith(magic)), "" if binary else "text")


def _refuse_unknown(path: Path) -> NoReturn:
    kind, size, name = _other(path), head_of(path, HEAD)[1], path.name.lower()
    if kind == "GIF image":
        refuse(path, "a GIF image, read as a mask only", "save the radiograph as PNG or TIFF")
    if kind == "gzip archive" and name.endswith(".nii.gz"):
        refuse(path, f"no NIfTI header in its {size:,} bytes", "copy the file again")
    if "archive" in kind:
        refuse(path, f"a {kind}", "unpack it first")
    if kind == "text":
        refuse(path, f"text, not an image ({size:,} bytes)", f"give {FORMATS}")
    if kind:
        refuse(path, f"a {kind}", f"export the radiograph as {FORMATS}")
    if name.endswith(".img"):
        jsrt_img.header(path)
    if name.endswith(DICOM_ENDINGS):
        refuse(path, f"no DICOM file: the mark DICM is missing at byte 128 ({size:,} bytes)", "copy the file again")
    remedy = "copy the file again" if name.endswith(IMAGE_ENDINGS) else f"give {FORMATS}"
    refuse(path, f"not recognised as an image by its content ({size:,} bytes)", remedy)
