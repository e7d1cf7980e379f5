"""What every reader gives of a header, and the faults that it may find: a file that cannot be opened, odd pixels."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from cxrcad.core import NotRadiographError, ReadError

__all__ = [
    "LARGEST_ASPECT", "LARGEST_BYTES", "Header", "bytes_of", "check_bulk", "check_byte_order", "check_file",
    "check_size", "check_values", "digest", "digest_of", "grey_of", "not_radiograph", "reason", "refuse",
]  # fmt: skip

SMALLEST_SIDE = 64
"""Below this a radiograph's nodules (5 mm and more, of some 350 mm) are less than a pixel wide."""
LARGEST_ASPECT = 3.0
MOST_PIXELS = 32_000_000
"""Twice those of a film of 35 x 43 cm at 0.1 mm, which take less than 500 MB of memory."""
GREY_TOLERANCE = 2
"""Levels of 255 by which channels of a grey image may differ through a JPEG's colour transform."""
ROUGH = 0.15
"""Roughness from which bytes may be in the wrong order: radiographs have 0.05 at most, swapped ones 0.36 at least."""
MUCH_ROUGHER = 3.0
MASK_VALUES = 4
"""A mask of both lungs and of nodules has no more values than this; a radiograph has some hundred."""
PROBE = 4096


LARGEST_PIXEL = 8
"""Bytes: four channels of 16 bit, or a double."""
LARGEST_BYTES = 512 * 2**20
"""No radiograph's file has more, whatever lies beside its pixels."""
MOST_PADDING = 65536
"""Bytes that some writers add to the pixels, where they are not a large part of the picture."""
MOST_BESIDE = 64 * 2**20
"""Bytes of a file that are no pixels: texts, thumbnails, colour profiles."""


INTERPRETER = (TypeError, AttributeError, LookupError, ArithmeticError, AssertionError, RecursionError, UnicodeError)
INTERPRETER_TEXT = re.compile(
    r"invalid literal|could not convert|values to unpack|NoneType|unpack(_from)? requires|cannot reshape|buffer size|"
    r"object (is|has|does)|argument|codec can't|out of (range|bounds)|math domain|must be .*, not "
)
"""What Python and NumPy say to a programmer of values that a library did not expect."""


class Header(NamedTuple):
    """An image's size in pixels, and its (row, column) spacing in mm where its file states a usable one."""

    rows: int
    cols: int
    spacing_mm: tuple[float, float] | None = None


def refuse(path: Path, fault: str, remedy: str) -> NoReturn:
    """Raise ReadError with the one sentence: file, fault, remedy."""
    raise ReadError(f"{path}: {fault}; {remedy}")


def not_radiograph(path: Path, fault: str, remedy: str) -> NoReturn:
    """Raise NotRadiographError with the one sentence: file, what it is, remedy."""
    raise NotRadiographError(f"{path}: {fault}; {remedy}")


def check_file(path: Path) -> int:
    """The size in bytes of a file that is there, is a regular one and is not empty. Raises ReadError."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError):
        if os.path.islink(path):
            fault = f"a link to {os.readlink(path)}, which is not there"
            refuse(path, fault, "mount or copy what it points to, or remove the link")
        refuse(path, "there is no such file", "check the path")
    except OSError as error:
        refuse(path, f"cannot be read ({error.strerror or error})", "check the path and its permissions")
    if stat.S_ISDIR(found.st_mode):
        refuse(path, "a folder, not a file", "name the files in it")
    if not stat.S_ISREG(found.st_mode):
        refuse(path, "not a regular file", "save the radiograph in one")
    if found.st_size == 0:
        refuse(path, "empty, 0 bytes", "copy the file again")
    return found.st_size


def bytes_of(path: Path, length: int = -1) -> bytes:
    """The first `length` bytes of a file; by default all. Raises ReadError."""
    check_file(path)
    try:
        with path.open("rb") as file:
            return file.read(length)
    except PermissionError:
        refuse(path, "no permission to read it", "ask its owner, or chmod it")
    except OSError as error:
        refuse(path, f"cannot be read ({error.strerror or error})", "copy the file again")


def digest(data: bytes) -> str:
    """The SHA-256 of `data`, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def digest_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal, of which a part is in memory at a time."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_size(path: Path, rows: int, cols: int) -> None:
    """Raise ReadError where no frontal chest radiograph has this many rows and columns."""
    remedy = "give a frontal chest radiograph"
    if min(rows, cols) < SMALLEST_SIDE:
        refuse(path, f"{rows} rows x {cols} columns, but a side needs at least {SMALLEST_SIDE} pixels", remedy)
    if max(rows, cols) > LARGEST_ASPECT * min(rows, cols):
        refuse(path, f"{rows} rows x {cols} columns, one side more than {LARGEST_ASPECT:g} times the other", remedy)
    if rows * cols > MOST_PIXELS:
        remedy = "save it smaller: pixels of 0.1 mm show all that is looked for"
        refuse(path, f"{rows} rows x {cols} columns, more than {MOST_PIXELS:,} pixels", remedy)


def with_padding(expected: int, row: int) -> int:
    """The most bytes that uncompressed pixels of `expected` bytes, `row` a row, may have with padding behind them."""
    return expected + max(row, min(MOST_PADDING, expected // 16))


def check_bulk(path: Path, size: int, rows: int, cols: int) -> None:
    """Raise ReadError where a file of `size` bytes is far larger than its pixels can be; it is not read then."""
    most = rows * cols * LARGEST_PIXEL + MOST_BESIDE
    if size > most:
        fault = f"{size:,} bytes, but {rows} x {cols} pixels need {most:,} at most"
        refuse(path, fault, "save the radiograph alone")


def check_values(path: Path, values: NDArray[Any]) -> None:
    """Raise ReadError where the pixels are not numbers, are all one value, or are so few values that it is a mask."""
    if values.dtype.kind == "f":
        bad = int(values.size - np.count_nonzero(np.isfinite(values)))
        if bad:
            refuse(path, f"{bad:,} of {values.size:,} pixels are not finite numbers", "export the radiograph again")
    low = values.min()
    if low == values.max():
        refuse(path, f"all {values.size:,} pixels have the value {low:g}", "export the radiograph again")
    if np.unique(values.ravel()[:: values.size // PROBE + 1]).size <= MASK_VALUES:  # a few pixels tell of a radiograph
        count = np.unique(values).size
        if count <= MASK_VALUES:
            refuse(path, f"only {count} values in {values.size:,} pixels", "give the radiograph, not a mask of it")


def check_byte_order(path: Path, values: NDArray[Any]) -> None:
    """Raise ReadError where pixels (rows, cols) of 16 bit are a picture only with their bytes in the other order."""
    if values.dtype.kind not in "iu" or values.dtype.itemsize != 2:
        return
    some = values[::8]
    own, other = _roughness(some), _roughness(some.byteswap())
    if own > ROUGH and own > MUCH_ROUGHER * other > 0:
        fault = "its pixels are a picture only with the two bytes of each in the other order"
        refuse(path, fault, "export the radiograph again, in the byte order that its header states")


def _roughness(values: NDArray[Any]) -> float:
    """How much neighbours in a row differ, as a part of the spread: some 1.1 for noise, far less for a picture."""
    steps = np.abs(np.diff(values.astype(np.float32), axis=1))
    return float(steps.mean()) / max(float(values.std()), 1e-6)


def grey_of(path: Path, channels: NDArray[Any], top: int) -> NDArray[Any]:
    """The grey values of an image whose three channels (rows, cols, 3), 0 to `top`, agree. Raises ReadError."""
    spread = channels.max(axis=2).astype(np.int64) - channels.min(axis=2)
    coloured = int(np.count_nonzero(spread > top * GREY_TOLERANCE / 255))
    if coloured:
        fault = f"a colour image ({coloured:,} of {spread.size:,} pixels are coloured)"
        refuse(path, fault, "give the radiograph in grey, without colour marks")
    grey: NDArray[Any] = channels[..., 1]
    return grey


def reason(error: BaseException, line: int = 0) -> str:
    """One line of an error's text, short, to stand in brackets; the interpreter's own words are not passed on."""
    text = (str(error).strip() or type(error).__name__).splitlines()[line].strip().rstrip(".")
    if isinstance(error, INTERPRETER) or INTERPRETER_TEXT.search(text):
        return "it cannot be parsed"
    return text if len(text) <= 120 else text[:117] + "..."
