"""A watched folder: each radiograph in it comes into the queue when its file has stopped growing. Plain polling.

What was looked at is remembered in the queue, so that a restart reads no file again. A DICOM file is known by its SOP
instance UID, whatever it is called; any other one by its path.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from cxrcad.core import NotRadiographError, ReadError
from cxrcad.files import Progress, stamp
from cxrcad.imaging.archives import unpacked
from cxrcad.imaging.dicom_file import opened
from cxrcad.imaging.elements import texts
from cxrcad.imaging.read import reader_of
from cxrcad.pacs.peers import UID
from cxrcad.pacs.queue import Queue

__all__ = ["Watch"]

UNFINISHED = (".tmp", ".temp", ".part", ".partial", ".filepart", ".crdownload", ".lock")
"""Endings of files that another program is writing."""
DICOM = ("dicom", "bare dicom")


class Watch:
    """Looks through `folder` and those in it, hidden ones apart, and puts radiographs into `queue`.

    A file is taken when it is the same in two looks that are `settle` seconds apart.
    """

    def __init__(self, folder: Path, queue: Queue, settle: float, progress: Progress) -> None:
        self.folder, self.queue, self.settle, self.progress = folder.absolute(), queue, settle, progress
        self._growing: dict[Path, tuple[tuple[int, ...], float]] = {}
        self._unreadable: dict[Path, str] = {}

    def look(self) -> int:
        """One look; how many files still may grow. Raises WriteError where the queue cannot be written."""
        before, self._growing = self._growing, {}
        now = time.monotonic()
        for path in self._files():
            try:
                state = stamp(path)
                if self.queue.is_seen(path):
                    continue
                known, since = before.get(path, (None, now))
                if known != state or now - since < self.settle:
                    self._growing[path] = (state, since if known == state else now)
                    continue
                self._take(path)
                self.queue.see(path, state)
            except OSError as error:  # it was removed, or may not be read
                self._tell(path, f"{path}: cannot be read ({error.strerror or error})")
            except UnicodeEncodeError:
                self._tell(path, f"{path}: its name is no UTF-8, which the queue needs; rename it")
        return len(self._growing)

    def _files(self) -> Iterator[Path]:
        def unreadable(error: OSError) -> None:
            where = Path(str(error.filename))
            self._tell(where, f"{where}: cannot be read ({error.strerror}); its files are taken when it can")

        for place, folders, names in os.walk(self.folder, onerror=unreadable):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                if not name.startswith(".") and not name.lower().endswith(UNFINISHED):
                    yield Path(place) / name

    def _tell(self, path: Path, sentence: str) -> None:
        """Say it once, unless a file is gone meanwhile."""
        there = path == self.folder or os.path.lexists(path)
        if there and self._unreadable.get(path) != sentence:
            self._unreadable[path] = sentence
            self.progress.note(sentence)

    def _take(self, path: Path) -> None:
        """Put a file into the queue, if it can be a radiograph's."""
        try:
            name = _name_of(path)
        except NotRadiographError as error:
            self.progress.note(f"skipped: {error}")
            return
        except ReadError:
            name = str(path)  # detection says what is wrong with it
        if name is None:
            return
        with path.open("rb") as content:
            sha256 = hashlib.file_digest(content, "sha256").hexdigest()
        said = self.queue.add(name, sha256, path, str(self.folder))
        self.progress.note(said or f"{path}: received")


def _name_of(path: Path) -> str | None:
    """What the queue knows an image by; None for a file of no image format. Raises ReadError, OSError."""
    reader = reader_of(path)
    if reader is not None and reader.name == "gzip":
        with unpacked(path) as inner:
            return _uid_of(inner) or str(path)
    if reader is None:
        return None
    return (_uid_of(path) if reader.name in DICOM else None) or str(path)


def _uid_of(path: Path) -> str | None:
    """The SOP instance UID of a DICOM file, if it is one."""
    reader = reader_of(path)
    if reader is None or reader.name not in DICOM:
        return None
    with opened(path) as dicom:
        uid = "".join(texts(dicom.dataset, "SOPInstanceUID")[:1])
    return uid if UID.fullmatch(uid) else None
