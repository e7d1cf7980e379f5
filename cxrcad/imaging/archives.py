"""Files in zip archives, and gzipped files: each is read from a temporary copy, one at a time.

A file in an archive is named as if the archive were a folder: archive.zip/inner/scan.dcm.
"""

from __future__ import annotations

import functools
import gzip
import os
import re
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from cxrcad.core import ReadError
from cxrcad.imaging.faults import LARGEST_BYTES, bytes_of, check_file, not_radiograph, reason, refuse
from cxrcad.imaging.remote import RemotePath, copy_to

__all__ = [
    "Contents", "contents_of", "file_of", "head_of", "is_zip", "local_file", "spelled_in_archive", "unpacked",
]  # fmt: skip

STEP_BYTES = 2**20
MOST_FILES = 20_000
MOST_BYTES = 64 * 2**30
"""Of all files of an archive together: a study of CT has some GB."""
ZIP = (b"PK\x03\x04", b"PK\x05\x06")
"""How an archive starts: with a file, or with the end of its list where it is empty (APPNOTE 4.3.7, 4.3.16)."""
ENCRYPTED = 1
DOCUMENTS = ("[Content_Types].xml", "mimetype", "META-INF/MANIFEST.MF")
"""A file of one of these names makes a zip archive an Office document, an e-book or a program."""
BESIDE = (".mhd", ".raw", ".zraw", ".hdr", ".img")
"""Endings of files that are read together where they lie side by side with one stem."""


@dataclass(frozen=True)
class Contents:
    """The names of an archive's files, paths with slashes, in its order; `refused` has others, each with the reason."""

    names: tuple[str, ...]
    refused: tuple[tuple[str, str], ...]


def is_zip(path: Path, head: bytes) -> bool:
    """Whether a file that starts with `head` is a zip archive, and no document that is one inside."""
    if not head.startswith(ZIP):
        return False
    try:
        return not any(name in DOCUMENTS for name in _kept_of(path).names)
    except ReadError:
        return True


def contents_of(path: Path) -> Contents:
    """The files of a zip archive, without its folders and hidden files.

    A name that leads outside of the archive, or stands in it twice, is refused. Raises ReadError for a damaged archive
    and for one of more than 20,000 files or 64 GB.
    """
    found = [info for info in _kept_of(path).file.infolist() if not info.is_dir()]
    if len(found) > MOST_FILES:
        refuse(path, f"a zip archive of {len(found):,} files, more than {MOST_FILES:,}", "unpack it first")
    total = sum(info.file_size for info in found)
    if total > MOST_BYTES:
        refuse(path, f"a zip archive of {total:,} bytes unpacked, more than {MOST_BYTES:,}", "unpack it first")
    names: dict[str, None] = {}
    refused = []
    for info in found:
        name = _inner(info.filename)
        parts = re.split(r"[/\\]", name)
        if not name or any(part == "__MACOSX" or (part.startswith(".") and part != "..") for part in parts):
            continue
        if ".." in parts or info.filename.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name):
            refused += [(info.filename, "it holds a file whose name leads outside of it")]
        elif name in names:
            refused += [(info.filename, "it holds two files of one name, of which the first is read")]
        else:
            names[name] = None
    return Contents(tuple(names), tuple(refused))


def spelled_in_archive(archive: Path, folder: Path) -> Callable[[tuple[str, ...]], Path | None]:
    """Finds a file of an archive by its parts below a folder in it, in any case of its letters."""
    spelled = {name.upper(): name for name in contents_of(archive).names}

    def find(parts: tuple[str, ...]) -> Path | None:
        name = spelled.get((folder.relative_to(archive).joinpath(*parts)).as_posix().upper())
        return archive / name if name else None

    return find


def file_of(path: Path) -> Path:
    """The file on the disk that holds what `path` names: the archive of a file in one, else `path`."""
    place = _located(path)
    return place[0] if place else path


def head_of(path: Path, length: int) -> tuple[bytes, int]:
    """The first bytes and the size in bytes of a file, which may be in an archive. Raises ReadError."""
    place = _located(path)
    if place is None:
        return bytes_of(path, length), check_file(path)
    info = _info(path, *place)
    with _member(path, *place) as file:
        head = file.read(length)
    if head.startswith(ZIP):
        not_radiograph(path, "an archive in an archive", "unpack it first")
    return head, info.file_size


@contextmanager
def local_file(path: Path) -> Iterator[Path]:
    """`path`, or a temporary copy of it where it is remote or in an archive; ReadErrors raised meanwhile name `path`.

    Raises ReadError where the copy cannot be made; NotRadiographError for more than 512 MB.
    """
    if isinstance(path, RemotePath):
        with _folder(path) as folder:
            copy_to(path, folder / _plain(path.name))
            yield folder / _plain(path.name)
        return
    place = _located(path)
    if place is None:
        yield path
        return
    archive, inner = place
    with _folder(path) as folder:
        stem, here = PurePosixPath(inner).with_suffix(""), PurePosixPath(inner).suffix.lower() in BESIDE
        names = [name for name in _kept_of(archive).names if here and _stem(name) == stem]
        for name in sorted({*names, inner}):
            _copy(path, archive, name, folder / _plain(name))
        yield folder / _plain(inner)


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """A temporary copy of a gzipped file, unpacked; ReadErrors raised meanwhile name `path`.

    Raises ReadError where it is damaged; NotRadiographError for more than 512 MB unpacked.
    """
    with _folder(path) as folder:
        local = folder / _plain(path.name.removesuffix(".gz"))
        try:
            with gzip.open(path) as source:
                _write(path, source, local)
        except ReadError:
            raise
        except Exception as error:  # gzip and zipfile raise whatever damage leads to
            refuse(path, f"the compressed data end early or are damaged ({reason(error)})", "copy the file again")
        yield local


@contextmanager
def _folder(path: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="cxrcad-") as folder:
        try:
            yield Path(folder)
        except ReadError as error:
            sentence = re.sub(rf"^{re.escape(folder)}[^:]*", lambda _: str(path), str(error))
            raise type(error)(sentence) from None


class _Readable(Protocol):
    """An open file."""

    def read(self, length: int, /) -> bytes:
        """The next bytes, at most `length`; b"" at the end."""


def _copy(path: Path, archive: Path, name: str, local: Path) -> None:
    with _member(path, archive, name) as source:
        _write(path, source, local)


def _write(path: Path, source: _Readable, local: Path) -> None:
    left = LARGEST_BYTES
    try:
        with local.open("wb") as target:
            while data := source.read(STEP_BYTES):
                left -= len(data)
                if left < 0:
                    fault = f"more than {LARGEST_BYTES:,} bytes unpacked, which no radiograph has"
                    not_radiograph(path, fault, "give a frontal chest radiograph")
                target.write(data)
    except OSError as error:
        if not error.errno:  # of gzip
            raise
        remedy = "make room, or set TMPDIR to a folder with room"
        refuse(path, f"cannot be unpacked to {local.parent} ({error.strerror})", remedy)


@contextmanager
def _member(path: Path, archive: Path, inner: str) -> Iterator[_Readable]:
    """The file of this name in an archive, to be read; what zipfile raises meanwhile becomes a ReadError."""
    info = _info(path, archive, inner)
    if info.flag_bits & ENCRYPTED:
        refuse(path, "encrypted in its archive", "unpack the archive with its password, and give the file")
    try:
        with _kept_of(archive).file.open(info) as file:
            yield file
    except ReadError:
        raise
    except NotImplementedError as error:
        refuse(path, f"cannot be unpacked ({reason(error)})", "unpack the archive first")
    except Exception as error:
        refuse(path, f"damaged in its archive ({reason(error)})", "copy the archive again")


def _info(path: Path, archive: Path, inner: str) -> zipfile.ZipInfo:
    info = _kept_of(archive).names.get(inner)
    if info is None:
        refuse(path, f"{archive.name} holds no file {inner}", "check the path")
    if info.file_size > LARGEST_BYTES:
        fault = f"{info.file_size:,} bytes unpacked, more than any radiograph has"
        not_radiograph(path, fault, "give a frontal chest radiograph")
    return info


def _located(path: Path) -> tuple[Path, str] | None:
    """The archive that holds `path` and its name in it; None where there is a file of that name, or no archive."""
    if isinstance(path, RemotePath) or os.path.lexists(path):
        return None
    archive = next((parent for parent in path.parents if os.path.isfile(parent)), None)
    if archive is None or not bytes_of(archive, 4).startswith(ZIP):
        return None
    return archive, path.relative_to(archive).as_posix()


@dataclass(frozen=True)
class _Kept:
    """An open archive, and its files by their names in it."""

    file: zipfile.ZipFile
    names: dict[str, zipfile.ZipInfo]


def _kept_of(path: Path) -> _Kept:
    check_file(path)
    found = path.stat()
    try:
        return _kept(path, found.st_size, found.st_mtime_ns)
    except Exception as error:
        refuse(path, f"a damaged zip archive ({reason(error)})", "copy the file again")


@functools.lru_cache(maxsize=1)  # the last one: its files are asked for one after the other
def _kept(path: Path, *_state: int) -> _Kept:
    file = zipfile.ZipFile(path)
    names: dict[str, zipfile.ZipInfo] = {}
    for info in file.infolist():
        names.setdefault(_inner(info.filename), info)
    return _Kept(file, names)


def _inner(name: str) -> str:
    """The name as a path spells it: without . and doubled slashes."""
    return PurePosixPath(name.lstrip("/")).as_posix() if name.strip("/.") else ""


def _stem(name: str) -> PurePosixPath | None:
    path = PurePosixPath(name)
    return path.with_suffix("") if path.suffix.lower() in BESIDE else None


def _plain(name: str) -> str:
    """The last part of a name, without what a file system may not take."""
    return re.sub(r"[^\w.\- ]", "_", PurePosixPath(name).name)[-100:]
