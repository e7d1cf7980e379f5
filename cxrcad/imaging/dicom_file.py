"""A DICOM file -> its data set: the header first, then the pixel data where the header promises a radiograph's.

Nothing is read or inflated beyond what the header promises: elements of other kinds that are large are passed over.
"""

from __future__ import annotations

import io
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from cxrcad.core import ReadError
from cxrcad.imaging.faults import check_file, reason, refuse

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["UNDEFINED", "DicomFile", "matches", "matches_bare", "opened"]

MARK = 128
MOST_HEADER = 16 * 2**20
"""Bytes of a header that are read, without its elements above LARGE."""
LARGE = 2**20
GE_PRIVATE = "1.2.840.113619.5.2"
"""GE's implicit VR little endian with 16-bit pixels in the other order, as DCMTK and GDCM know it."""
PIXEL_DATA = 0x7FE00010
UNDEFINED = 0xFFFFFFFF
TOO_LONG = f"more than {MOST_HEADER:,} bytes before the pixel data"


def matches(head: bytes, _size: int) -> bool:
    """Whether a file has DICOM's mark after its preamble."""
    return head[MARK : MARK + 4] == b"DICM"


def matches_bare(head: bytes, size: int) -> bool:
    """Whether a file starts as a data set without preamble does, in any of DICOM's three encodings (PS3.5, 7.1)."""
    return any(_starts(head, size, *encoding) for encoding in (("<", True), ("<", False), (">", True)))


def _starts(head: bytes, size: int, order: str, explicit: bool) -> bool:
    """Whether two elements stand at the start, with ascending tags, the first of group 0002 or 0008."""
    if head[:2] not in ((b"\x02\x00", b"\x08\x00") if order == "<" else (b"\x00\x02", b"\x00\x08")):
        return False
    if explicit != (head[4:6].isalpha() and head[4:6].isupper()):
        return False
    from pydicom.datadict import dictionary_has_tag
    from pydicom.filereader import data_element_generator

    elements: Any = data_element_generator(io.BytesIO(head), not explicit, order == "<")
    try:
        first, second = next(elements), next(elements)
    except Exception:  # whatever pydicom raises at what is none
        return False
    known = first.tag.element == 0 or dictionary_has_tag(first.tag)
    return bool(known and first.tag < second.tag and first.length < size)


class _Limited:
    """A file of which no more bytes are read than a header may have; it may be passed over at will."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.left = file, MOST_HEADER
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        data = self.file.read(size if 0 <= size <= self.left else self.left + 1)
        self.left -= len(data)
        if self.left < 0:
            raise ValueError(TOO_LONG)
        return data


class _Inflated:
    """What the rest of a file inflates to (PS3.5, A.5), as a file, inflated as far as it is read, `most` bytes at most.

    Raises ValueError beyond, and zlib.error for damage.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.engine, self.most = file, zlib.decompressobj(-zlib.MAX_WBITS), MOST_HEADER
        self.data, self.place = bytearray(), 0

    def read(self, size: int = -1) -> bytes:
        end = self.place + size if size >= 0 else self.most + 1
        while len(self.data) < min(end, self.most + 1) and not self.engine.eof:
            packed = self.engine.unconsumed_tail or self.file.read(65536)
            if not packed:
                raise zlib.error("incomplete or truncated stream")
            self.data += self.engine.decompress(packed, min(end, self.most + 1) - len(self.data))
        if len(self.data) > self.most:
            raise ValueError(f"more than {self.most:,} bytes inflated")
        found = bytes(self.data[self.place : end])
        self.place += len(found)
        return found

    def seek(self, offset: int, whence: int = 0) -> int:
        self.place = offset + (self.place if whence == 1 else 0)
        return self.place

    def tell(self) -> int:
        return self.place


class DicomFile:
    """An open DICOM file: its data set up to the pixel data, and these when they are asked for.

    `size` is the file's, in bytes. `stated` is the length of the pixel data by the header: UNDEFINED where they are
    compressed, None where there are none. `held` is how many bytes the file has for them, None where it is deflated.
    """

    def __init__(self, path: Path, file: BinaryIO, size: int) -> None:
        from pydicom.uid import ImplicitVRLittleEndian

        self.path, self.size = path, size
        meta = _meta_of_deflated(file)
        self._content: Any = file if meta is None else _Inflated(file)
        self.dataset = _header(path, _Limited(file) if meta is None else self._content, size)
        first = next(iter(self.dataset.elements()))
        encoding = self.dataset.original_encoding
        self._encoding = (
            bool(getattr(first, "is_implicit_VR", encoding[0])),
            bool(getattr(first, "is_little_endian", encoding[1])),
        )
        self._place: int = self._content.tell()
        self.stated, start = self._length()
        self.held = size - start if meta is None else None
        _complete_meta(self.dataset, meta, *self._encoding)
        self._swapped = self.dataset.file_meta.TransferSyntaxUID == GE_PRIVATE
        if self._swapped:
            self.dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian

    def _elements(self, stop_when: Callable[[Any, str | None, int], bool]) -> list[Any]:
        from pydicom.filereader import data_element_generator

        self._content.seek(self._place)
        return list(data_element_generator(self._content, *self._encoding, stop_when=stop_when))

    def _length(self) -> tuple[int | None, int]:
        """The length that the header states for the pixel data, and where they start."""
        found: list[tuple[int, int, int]] = []

        def stop(tag: int, _vr: str | None, length: int) -> bool:
            found.append((tag, length, self._content.tell()))
            return True

        self._elements(stop)
        tag, length, start = found[0] if found else (0, 0, self._place)
        return length if tag == PIXEL_DATA else None, start

    def load(self, most: int) -> None:
        """Put the pixel data, `most` bytes at most, into the data set. Raises ReadError where they end early."""
        if isinstance(self._content, _Inflated):
            self._content.most = self._place + most + LARGE
        try:
            found = self._elements(lambda tag, _vr, _length: tag != PIXEL_DATA)
        except EOFError:
            fault = f"the file ends inside its compressed pixel data, after {self.size:,} bytes"
            refuse(self.path, fault, "copy the file again")
        if isinstance(self._content, _Inflated):
            if found[0].length != UNDEFINED:
                self._content.seek(found[0].value_tell + found[0].length)
            self._check_rest(self._content.read())  # to its end, which a cut stream lacks
        self.dataset[PIXEL_DATA] = found[0]
        if self._swapped and self.dataset.get("BitsAllocated") == 16:
            values = self.dataset.PixelData
            self.dataset.PixelData = np.frombuffer(values, "<u2", len(values) // 2).byteswap().tobytes()

    def _check_rest(self, rest: bytes) -> None:
        """Raise ReadError where no elements follow the pixel data in what has no checksum: bytes were added to them."""
        from pydicom.filereader import data_element_generator

        if not rest.strip(b"\0"):
            return
        content: Any = io.BytesIO(rest)
        try:
            tags = [element.tag for element in data_element_generator(content, *self._encoding)]
        except Exception:  # whatever pydicom raises at what are none
            tags = []
        if not tags or [PIXEL_DATA, *tags] != sorted({PIXEL_DATA, *tags}):
            fault = f"its deflated data are damaged ({len(rest):,} bytes that are no elements after the pixel data)"
            refuse(self.path, fault, "copy the file again, or export the radiograph again")


@contextmanager
def opened(path: Path) -> Iterator[DicomFile]:
    """A DICOM file with its header read. Raises ReadError for one that cannot be, and for what its values raise."""
    size = check_file(path)
    try:
        file = path.open("rb")
    except PermissionError:
        refuse(path, "no permission to read it", "ask its owner, or chmod it")
    except OSError as error:
        refuse(path, f"cannot be read ({error.strerror or error})", "copy the file again")
    with file, _damage(path):
        yield DicomFile(path, file, size)


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Whatever pydicom raises at a damaged value becomes a ReadError; its warnings are silenced."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except ReadError:
            raise
        except Exception as error:
            refuse(path, f"a damaged DICOM header ({reason(error)})", "export the radiograph again")


def _meta_of_deflated(file: BinaryIO) -> Dataset | None:
    """The file meta information of a deflated file, whose rest is then the deflated data set; None for other files."""
    from pydicom.filereader import read_dataset
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    head = file.read(MARK + 4)
    file.seek(MARK + 4)
    if matches(head, 0):
        limited: Any = _Limited(file)
        meta = read_dataset(limited, False, True, stop_when=lambda tag, _vr, _length: tag.group != 2)
        if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
            return meta
    file.seek(0)
    return None


def _header(path: Path, content: Any, size: int) -> Dataset:
    import pydicom

    try:
        dataset = pydicom.dcmread(content, force=True, stop_before_pixels=True, defer_size=LARGE)
    except Exception as error:  # pydicom raises whatever a damaged value leads to
        fault = f"a damaged DICOM header, in a file of {size:,} bytes ({reason(error)})"
        refuse(path, fault, "copy the file again")
    if not len(dataset):
        refuse(path, f"the DICOM file ends inside its header, after {size:,} bytes", "copy the file again")
    return dataset


def _complete_meta(dataset: Dataset, meta: Dataset | None, implicit: bool, little: bool) -> None:
    """Give a data set its file meta information, with a transfer syntax."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    if meta is not None or not getattr(dataset, "file_meta", None):
        dataset.file_meta = FileMetaDataset(meta or {})
    if "TransferSyntaxUID" not in dataset.file_meta:
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
