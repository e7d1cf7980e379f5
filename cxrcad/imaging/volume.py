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

from cxrcad.core import Radiograph, Source
from cxrcad.files import sha256_of
from cxrcad.imaging.faults import (
    LARGEST_PIXEL,
    MOST_BESIDE,
    Header,
    bytes_of,
    check_bulk,
    check_file,
    check_size,
    check_values,
    digest,
    reason,
    refuse,
    with_padding,
)
from cxrcad.imaging.orientation import towards
from cxrcad.imaging.raster import stretched
from cxrcad.imaging.spacing import implausible

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
META_BYTES = {
    **dict.fromkeys((b"MET_CHAR", b"MET_UCHAR"), 1),
    **dict.fromkeys((b"MET_SHORT", b"MET_USHORT"), 2),
    **dict.fromkeys((b"MET_INT", b"MET_UINT", b"MET_LONG", b"MET_ULONG", b"MET_FLOAT"), 4),
    **dict.fromkeys((b"MET_LONG_LONG", b"MET_ULONG_LONG", b"MET_DOUBLE"), 8),
}


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


def read(path: Path) -> Radiograph:
    """The radiograph in a MetaImage or NIfTI file.

    Raises ReadError for a volume, colour, and data that end early, which ITK's NIfTI reader silently fills with zeros.
    """
    with _readable(path) as name:
        reader, (rows, cols), axes = _header(path, name)
        check_size(path, rows, cols)
        check_bulk(path, check_file(path), rows, cols)
        data = bytes_of(path)
        nifti = reader.GetImageIO() == "NiftiImageIO"
        _check_nifti_length(path, data, rows * cols) if nifti else _check_meta_length(path, data, (rows, cols))
        try:
            stored = _toolkit().GetArrayFromImage(reader.Execute()).reshape(rows, cols)
        except RuntimeError as error:
            refuse(path, f"the pixel data cannot be read ({_itk_reason(error)})", "copy the file again")
    check_values(path, stored)
    pixels, note = stretched(stored)
    orientation, view = _orientation(reader, axes)
    notes = [note, "bright = dense assumed", *view]
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


def _orientation(reader: Any, axes: list[int]) -> tuple[tuple[str, str] | None, list[str]]:
    """(row direction, column direction) by the header's matrix, and a note; None where the matrix tells nothing.

    The identity tells nothing in either format, nor does NIfTI without qform and sform. A radiograph that lies in the
    axial plane, as dcm2niix writes one without an orientation, has its head where a slice has its front.
    """
    count = reader.GetDimension()
    matrix = np.reshape(reader.GetDirection(), (count, count))
    rows_and_cols = matrix[:, axes].T
    stored = ["rows and columns as stored"] if reader.GetImageIO() == "NiftiImageIO" else []
    codes = [reader.GetMetaData(code) for code in ("qform_code", "sform_code") if reader.HasMetaDataKey(code)]
    plain = stored and np.array_equal(np.abs(matrix), np.eye(count)) and set(reader.GetSpacing()) == {1.0}
    if np.array_equal(matrix, np.eye(count)) or plain or (codes and set(codes) == {"0"}):
        return None, stored
    letters = [towards(direction) for direction in rows_and_cols]
    if not {"F", "H"} & set(letters) and {"L", "R"} & set(letters):
        letters = [{"P": "F", "A": "H"}.get(letter, letter) for letter in letters]
    row, col = letters
    return (row, col), [f"the header's matrix: rows run to {row}, columns to {col}"]


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
    if not nifti:
        present = {key for key, _ in META_FIELD.findall(bytes_of(path, PROBE))}
        for key in META_REQUIRED:
            if key not in present:
                refuse(path, f"no {key.decode()} in its header", "copy the file again")
        _check_inside(path, bytes_of(path, PROBE))
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
        _check_scales(path, reader, axes)
    return reader, (int(size[axes[1]]), int(size[axes[0]])), axes


def _check_scales(path: Path, reader: Any, axes: list[int]) -> None:
    """Raise ReadError where a NIfTI header states two sizes of its pixels: in pixdim, and in the sform's columns."""
    if not reader.HasMetaDataKey("sform_code") or reader.GetMetaData("sform_code") == "0":
        return
    matrix = np.array([reader.GetMetaData(f"srow_{name}").split()[:3] for name in "xyz"], dtype=np.float64)
    lengths = np.linalg.norm(matrix, axis=0)[axes]
    stated = np.array([abs(float(reader.GetMetaData(f"pixdim[{axis + 1}]"))) for axis in axes])
    if not np.allclose(lengths, stated, rtol=SAME_SCALE):
        one, other = (" x ".join(f"{length:g}" for length in each[::-1]) for each in (stated, lengths))
        refuse(path, f"pixels of {one} mm by its pixdim, of {other} mm by its sform", "save the radiograph again")


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


def _check_meta_length(path: Path, data: bytes, shape: tuple[int, int]) -> None:
    header = dict(META_FIELD.findall(data[:PROBE]))
    file = header.get(b"ElementDataFile", b"LOCAL").decode(errors=NAMES)
    packed = header.get(b"CompressedData", b"False").lower() == b"true"
    pixels = shape[0] * shape[1] * META_BYTES.get(header.get(b"ElementType", b""), 0)
    stated = header.get(b"CompressedDataSize", b"0")
    expected = pixels if not packed else int(stated) if stated.isdigit() else 0
    if file.upper() == "LOCAL":
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
    if packed:
        length = _inflated(path, data, ZLIB_OR_GZIP, pixels)
        if length != pixels:
            refuse(path, f"the compressed data hold {length:,} of {pixels:,} bytes", "copy the file again")


def _inflated(path: Path, data: bytes, bits: int, most: int) -> int:
    """How many bytes `data` inflate to. Raises ReadError where they are cut, damaged, or more than `most`."""
    engine, length = zlib.decompressobj(bits), 0
    try:
        while not engine.eof and data:
            length += len(engine.decompress(data, INFLATED_AT_ONCE))
            data = engine.unconsumed_tail
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
