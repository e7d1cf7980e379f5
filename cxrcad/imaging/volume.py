"""Radiographs in MetaImage (.mha, .mhd) and NIfTI files through SimpleITK: two dimensions, or one slice of three.

Neither format says which end is dense: bright = dense is assumed and noted. A volume is refused.
"""

from __future__ import annotations

import re
import struct
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrcad.core import Radiograph, Source
from cxrcad.files import sha256_of
from cxrcad.imaging.bits import with_sign
from cxrcad.imaging.elements import number
from cxrcad.imaging.faults import (
    LARGEST_PIXEL,
    MOST_BESIDE,
    Header,
    bytes_of,
    check_bulk,
    check_byte_order,
    check_file,
    check_size,
    check_values,
    digest,
    reason,
    refuse,
    with_padding,
)
from cxrcad.imaging.orientation import frontal
from cxrcad.imaging.raster import stretched
from cxrcad.imaging.spacing import implausible
from cxrcad.imaging.view import with_view
from cxrcad.imaging.volume_orientation import letters, shown, stated

__all__ = ["gunzipped", "header", "image_sha256", "matches", "read"]

GZIP = b"\x1f\x8b"
ZLIB_OR_GZIP = 47
"""zlib's window bits with which it reads either, as ITK does."""
PROBE = 4096
INFLATED_AT_ONCE = 2**20
NIFTI_MAGIC = {344: (b"n+1\x00", b"ni1\x00"), 4: (b"n+2\x00", b"ni2\x00")}
"""Where the magic stands in NIfTI-1 and NIfTI-2 headers (nifti1.h, nifti2.h)."""
SAME_SCALE = 0.01
"""Relative difference of two statements of one length, for rounding."""
META_START = re.compile(rb"^\s*(ObjectType|NDims|Comment|ID)\s*=.*\bNDims\s*=", re.DOTALL)
META_FIELD = re.compile(rb"^\s*(\w+)\s*=\s*(.*?)\s*$", re.MULTILINE)
META_REQUIRED = (b"NDims", b"DimSize", b"ElementType", b"ElementDataFile")
META_LOCAL = re.compile(rb"^\s*ElementDataFile\s*=\s*LOCAL[ \t\r]*\n", re.MULTILINE | re.IGNORECASE)
META_FILE = re.compile(rb"^[ \t]*ElementDataFile\s*=(?:\s*LIST.*\Z|[^\n]*)", re.MULTILINE | re.IGNORECASE | re.DOTALL)
NAMES = "surrogateescape"
"""How the bytes of a file's name become text (os.fsdecode)."""
META_TYPES = {
    b"MET_CHAR": "i1", b"MET_UCHAR": "u1", b"MET_SHORT": "i2", b"MET_USHORT": "u2", b"MET_INT": "i4", b"MET_UINT": "u4",
    b"MET_LONG": "i4", b"MET_ULONG": "u4", b"MET_LONG_LONG": "i8", b"MET_ULONG_LONG": "u8", b"MET_FLOAT": "f4",
    b"MET_DOUBLE": "f8",
}  # fmt: skip
"""NumPy's names of MetaImage's numbers; of ElementNumberOfChannels numbers a pixel where _ARRAY follows."""
SPACINGS = "numbers other than 0, with decimal points"
META_NUMBERS = ((b"DimSize", "whole numbers above 0"), (b"ElementSpacing", SPACINGS), (b"ElementSize", SPACINGS))


def matches(head: bytes, _size: int) -> bool:
    """Whether a file starts with the header of a MetaImage or of a NIfTI file, which may be compressed."""
    return bool(META_START.search(head)) or _is_nifti(gunzipped(head, 348) if head.startswith(GZIP) else head)


def gunzipped(head: bytes, length: int) -> bytes:
    """The first bytes, at most `length`, of a gzipped file that starts with `head`; b"" where it is none."""
    try:
        return zlib.decompressobj(wbits=31).decompress(head, length)
    except zlib.error:
        return b""


def _is_nifti(head: bytes) -> bool:
    return any(head[start : start + 4] in magic for start, magic in NIFTI_MAGIC.items())


def image_sha256(path: Path) -> str:
    """The SHA-256 of an image's file, in hexadecimal; where its pixel data lie in another file, of both.

    Raises OSError.
    """
    with path.open("rb") as file:
        head = file.read(PROBE)
    beside = _data_file(path, head)
    if beside is None or not beside.is_file():
        return sha256_of(path)
    return digest(f"{sha256_of(path)} {sha256_of(beside)}".encode())


def _data_file(path: Path, head: bytes) -> Path | None:
    """The file that a MetaImage's or NIfTI's header leaves the pixel data to; None of any other file."""
    if META_START.search(head):
        file = dict(META_FIELD.findall(head)).get(b"ElementDataFile", b"LOCAL").decode(errors=NAMES)
        return None if file.upper() == "LOCAL" else path.parent / file
    if head[344:348] == NIFTI_MAGIC[344][1] or head[4:8] == NIFTI_MAGIC[4][1]:
        return path.with_suffix(".img")
    return None


def header(path: Path) -> Header:
    """Size and spacing of the one slice, from the header. Raises ReadError."""
    with _readable(path) as name:
        reader, (rows, cols), axes = _header(path, name)
    spacing = _spacing_mm(reader, axes)
    return Header(rows, cols, None if implausible(rows, cols, spacing) else spacing)


def read(path: Path, force: bool = False) -> Radiograph:
    """The radiograph in a MetaImage or NIfTI file.

    `force`: also one that lies as no frontal radiograph does. Raises ReadError for a volume, colour, and data that end
    early, which ITK's NIfTI reader silently fills with zeros; NotRadiographError for a lateral view.
    """
    with _readable(path) as name:
        reader, (rows, cols), axes = _header(path, name)
        check_size(path, rows, cols)
        check_bulk(path, check_file(path), rows, cols)
        nifti = reader.GetImageIO() == "NiftiImageIO"
        anatomy = b"" if nifti else dict(META_FIELD.findall(bytes_of(path, PROBE))).get(b"AnatomicalOrientation", b"")
        orientation, view, doubtful = stated(reader, axes, anatomy.decode("latin-1"))
        if orientation and orientation[0] == orientation[1]:
            fault = f"rows and columns that both run to {orientation[0]} by its matrix"
            refuse(path, fault, "save the radiograph again")
        against = [] if orientation is None or frontal(orientation) else view
        notes = with_view(path, against, force)
        stored = None if nifti else _meta_inflated(path, bytes_of(path), (rows, cols))
        if nifti:
            _check_nifti_length(path, bytes_of(path), rows * cols)
        try:
            stored = _toolkit().GetArrayFromImage(reader.Execute()).reshape(rows, cols) if stored is None else stored
        except RuntimeError as error:
            refuse(path, f"the pixel data cannot be read ({_itk_reason(error)})", "save the radiograph again")
    check_byte_order(path, stored)
    check_values(path, stored)
    if stored.dtype.kind in "iu" and stored.dtype.itemsize == 2:
        stored, sign_note = with_sign(stored, 16, stored.dtype.kind == "i")
        notes += [sign_note] * bool(sign_note)
    pixels, note = stretched(stored)
    if doubtful:
        orientation, view = shown(orientation, view, pixels, bool(anatomy))
    notes += [note, "bright = dense assumed", *view]
    row_mm, col_mm = spacing = _spacing_mm(reader, axes)
    why = implausible(rows, cols, spacing)
    notes += [f"header spacing {row_mm:g} x {col_mm:g} mm {why}: taken as unknown"] if why else []
    source = Source(str(path), "NIfTI" if nifti else "MetaImage", image_sha256(path), notes=tuple(notes))
    return Radiograph(pixels, None if why else spacing, None if why else "header", orientation, source)


def _spacing_mm(reader: Any, axes: list[int]) -> tuple[float, float]:
    """(row, column) as the header states it."""
    col_mm, row_mm = (float(reader.GetSpacing()[axis]) for axis in axes)
    if reader.GetImageIO() == "NiftiImageIO":  # the header holds float32
        return float(f"{row_mm:.7g}"), float(f"{col_mm:.7g}")
    return row_mm, col_mm


@contextmanager
def _readable(path: Path) -> Iterator[str]:
    """A name under which ITK reads the file: its NIfTI reader goes by the ending, and a name that is no UTF-8 ends it.

    So the file may get a link, and the file that holds its pixel data one beside it.
    """
    head = bytes_of(path, PROBE)
    endings = (".nii.gz",) if head.startswith(GZIP) else (".nii", ".hdr") if _is_nifti(head) else ()
    ending = next((ending for ending in endings if path.name.lower().endswith(ending)), None)
    if (ending or not endings) and _is_utf8(path):
        yield str(path)
        return
    with tempfile.TemporaryDirectory(prefix="cxrcad-") as folder:
        link = Path(folder) / f"image{ending or (*endings, '.mhd')[0]}"
        link.symlink_to(path.resolve())
        beside = _data_file(path, head)
        if beside is not None and beside.is_file():
            other = link.with_suffix(beside.suffix) if endings else link.parent / beside.relative_to(path.parent)
            other.parent.mkdir(parents=True, exist_ok=True)
            other.symlink_to(beside.resolve())
        yield str(link)


def _is_utf8(path: Path) -> bool:
    try:
        return bool(str(path).encode())
    except UnicodeEncodeError:
        return False


def _toolkit() -> Any:
    import SimpleITK  # without types

    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)  # in its own words, on stderr
    return SimpleITK


def _header(path: Path, name: str) -> tuple[Any, tuple[int, int], list[int]]:
    """ITK's reader with the header read, (rows, cols), and ITK's axes of columns and rows.

    Raises ReadError for volumes and colour.
    """
    nifti = name.lower().endswith((".nii", ".nii.gz", ".hdr"))
    head = bytes_of(path, PROBE)
    if (gunzipped(head, 348) if head.startswith(GZIP) else head)[4:8] in NIFTI_MAGIC[4]:
        refuse(path, "a NIfTI-2 file, which is not read", "save it as NIfTI-1")
    if not nifti:
        _check_meta(path, head)
    reader = _toolkit().ImageFileReader()
    reader.SetImageIO("NiftiImageIO" if nifti else "MetaImageIO")
    reader.SetFileName(name)
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        refuse(path, f"a damaged header ({_itk_reason(error)})", "copy the file again")
    size = reader.GetSize()
    axes = [axis for axis, length in enumerate(size) if length > 1]
    shape = " x ".join(str(length) for length in size)
    if len(axes) != 2:
        what = "a volume" if len(axes) > 2 else "not an image"
        refuse(path, f"{shape} pixels, {what}", "give one frontal chest radiograph")
    if reader.GetNumberOfComponents() != 1:
        refuse(path, f"{reader.GetNumberOfComponents()} values a pixel, a colour image", "give the radiograph in grey")
    if nifti:
        _check_forms(path, reader, axes)
    return reader, (int(size[axes[1]]), int(size[axes[0]])), axes


def _check_meta(path: Path, header: bytes) -> None:
    """Raise ReadError for a MetaImage header that lacks a field, or has one that ITK takes for another or for 0."""
    fields = dict(META_FIELD.findall(header))
    for key in META_REQUIRED:
        if key not in fields:
            refuse(path, f"no {key.decode()} in its header", "copy the file again")
    _check_inside(path, header)
    kind = fields[b"ElementType"].decode(errors="replace")
    if kind.removesuffix("_ARRAY").encode() not in META_TYPES:
        known = ", ".join(each.decode() for each in META_TYPES)
        refuse(path, f"ElementType is {kind!r}, not one of {known}", "save the radiograph again")
    if fields.get(b"BinaryData", b"True").lower() == b"false":
        refuse(path, "its pixels are text (BinaryData = False)", "save the radiograph in binary")
    count = fields[b"NDims"].decode(errors="replace")
    for key, needed in META_NUMBERS:
        values = fields.get(key, b"").decode(errors="replace")
        found = [number(each) for each in values.split()]
        wrong = [each for each in found if not each or (key == b"DimSize" and not (each > 0 and each.is_integer()))]
        if key in fields and (wrong or str(len(found)) != count or "," in values):
            stated = f"{key.decode()} is {values[:40]!r}, but {count} {needed} are needed"
            refuse(path, stated, "save the radiograph again")


def _check_forms(path: Path, reader: Any, axes: list[int]) -> None:
    """Raise ReadError where a NIfTI header has two statements on its pixels: two sizes, or two ways in which they lie.

    The sizes are those of pixdim and the sform, the ways those of qform and sform (nifti1.h, methods 2 and 3).
    """
    stated = ["sform_code", "qform_code", *(f"quatern_{name}" for name in "bcd")]
    if not all(reader.HasMetaDataKey(key) for key in stated) or reader.GetMetaData("sform_code") == "0":
        return
    matrix = np.array([reader.GetMetaData(f"srow_{name}").split()[:3] for name in "xyz"], dtype=np.float64)
    lengths = np.linalg.norm(matrix, axis=0)[axes]
    sizes = np.array([abs(float(reader.GetMetaData(f"pixdim[{axis + 1}]"))) for axis in axes])
    if not np.allclose(lengths, sizes, rtol=SAME_SCALE):
        one, other = (" x ".join(f"{length:g}" for length in each[::-1]) for each in (sizes, lengths))
        refuse(path, f"pixels of {one} mm by its pixdim, of {other} mm by its sform", "save the radiograph again")
    b, c, d = (float(reader.GetMetaData(f"quatern_{name}")) for name in "bcd")
    if reader.GetMetaData("qform_code") == "0" or (b, c, d) == (0, 0, 0):
        return
    a = np.sqrt(max(0.0, 1 - b * b - c * c - d * d))
    turns = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    to_itk = np.array([-1, -1, 1])  # from RAS to LPS
    sform = letters(matrix[:, axes].T * to_itk)
    qform = [letters((turns * (1, 1, qfac))[:, axes].T * to_itk) for qfac in (1, -1)]  # ITK does not tell which
    if sform not in qform:
        named = ((qform[0], "qform"), (sform, "sform"))
        ways = (f"to {row} and columns to {col} by its {name}" for (row, col), name in named)
        refuse(path, f"rows run {', '.join(ways)}", "save the radiograph again")


def _check_nifti_length(path: Path, data: bytes, pixels: int) -> None:
    packed = data.startswith(GZIP)
    head = gunzipped(data[:PROBE], 348) if packed else data[:352]
    if head[344:348] != NIFTI_MAGIC[344][0]:
        start, expected = 0, 0  # a pair, whose data lie in its .img, or NIfTI-2
    else:
        order = "<" if head[:4] == struct.pack("<i", 348) else ">"
        bits, start = struct.unpack_from(f"{order}h", head, 72)[0], int(struct.unpack_from(f"{order}f", head, 108)[0])
        expected = pixels * bits // 8
    if packed:
        most = max(0, start) + (expected or pixels * LARGEST_PIXEL) + MOST_BESIDE
        _check_length(path, _inflated(path, data, ZLIB_OR_GZIP, most) - start, expected, exact=True)
    else:
        _check_length(path, len(data) - start, expected, exact=True)


def _meta_inflated(path: Path, data: bytes, shape: tuple[int, int]) -> NDArray[Any] | None:
    """The pixels (rows, cols) of a compressed MetaImage, whatever size it states for them, None of any other.

    Raises ReadError where they are fewer or more than its header states.
    """
    header = dict(META_FIELD.findall(data[:PROBE]))
    file = header.get(b"ElementDataFile", b"LOCAL").decode(errors=NAMES)
    packed = header.get(b"CompressedData", b"False").lower() == b"true"
    kind = np.dtype(META_TYPES[header[b"ElementType"].removesuffix(b"_ARRAY")])
    pixels = shape[0] * shape[1] * kind.itemsize
    stated = header.get(b"CompressedDataSize", b"0")
    expected = pixels if not packed else int(stated) if stated.isdigit() else 0
    if file.upper() == "LOCAL":
        if header.get(b"HeaderSize", b"0") != b"0":
            stated_size = header[b"HeaderSize"].decode(errors="replace")
            refuse(path, f"HeaderSize {stated_size}, though its pixels follow its header", "save the radiograph again")
        mark = META_LOCAL.search(data)
        data = data[mark.end() :] if mark else data
        _check_length(path, len(data), expected, exact=not packed)
    elif file.upper() == "LIST" or "%" in file:
        refuse(path, f"its pixel data lie in several files (ElementDataFile = {file})", "save it in one file")
    else:
        beside = path.parent / file
        if not beside.is_file():
            refuse(path, f"its pixel data lie in {file}, which is not there", "copy that file beside it")
        _check_length(path, beside.stat().st_size, expected, exact=not packed and b"HeaderSize" not in header)
        check_bulk(beside, beside.stat().st_size, *shape)
        data = bytes_of(beside) if packed else b""
    if not packed:
        return None
    length = _inflated(path, data, ZLIB_OR_GZIP, pixels)
    if length != pixels:
        refuse(path, f"the compressed data hold {length:,} of {pixels:,} bytes", "copy the file again")
    big = b"true" in (header.get(key, b"").lower() for key in (b"BinaryDataByteOrderMSB", b"ElementByteOrderMSB"))
    values = zlib.decompressobj(ZLIB_OR_GZIP).decompress(data)
    return np.frombuffer(values, kind.newbyteorder(">" if big else "<")).astype(kind).reshape(shape)


def _inflated(path: Path, data: bytes, bits: int, most: int) -> int:
    """How many bytes `data` inflate to. Raises ReadError where they are cut, damaged, or more than `most`."""
    engine, length = zlib.decompressobj(bits), 0
    try:
        while data and not (engine.eof and not data.startswith(GZIP)):
            if engine.eof:  # gzip may have several members (RFC 1952, 2.2)
                engine = zlib.decompressobj(bits)
            length += len(engine.decompress(data, INFLATED_AT_ONCE))
            data = engine.unconsumed_tail or engine.unused_data
            if length > most:
                refuse(path, f"the compressed data hold more than {most:,} bytes", "save the radiograph alone")
    except zlib.error as error:
        refuse(path, f"the compressed data end early or are damaged ({reason(error)})", "copy the file again")
    if not engine.eof:
        refuse(path, f"the compressed data end early or are damaged ({length:,} bytes inflated)", "copy the file again")
    return length


def _check_inside(path: Path, header: bytes) -> None:
    """Raise ReadError where a MetaImage header names a file outside its own folder."""
    found = META_FILE.search(header)
    for name in found.group(0).decode(errors="replace").splitlines() if found else ():
        file = Path(name.split("=", 1)[-1].strip().replace("\\", "/"))
        if file.is_absolute() or ".." in file.parts or re.match(r"[A-Za-z]:", str(file)):
            remedy = "copy that file beside it, and name it in the header without a folder"
            refuse(path, f"its pixel data lie outside its folder, in {file}", remedy)


def _check_length(path: Path, length: int, expected: int, exact: bool = False) -> None:
    if length < expected:
        refuse(path, f"pixel data ends after {max(0, length):,} of {expected:,} bytes", "copy the file again")
    if exact and expected and length > with_padding(expected, 0):
        fault = f"{length:,} bytes of pixel data, but the header states {expected:,}"
        refuse(path, fault, "save the radiograph again")


def _itk_reason(error: RuntimeError) -> str:
    found = re.search(r"ITK ERROR: (?:\w+\(\w+\): )?(.*)", str(error))
    return reason(ValueError(found.group(1))) if found else reason(error)
