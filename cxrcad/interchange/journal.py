"""The journal of a detection: a line of JSON for each input as it is done. Whatever ends the work, the lines stay.

The first line names the model and the settings; each other one is {"image": ...} as in boxes.json, {"failure": ...} or
{"skipped": ...}. A line that was cut off counts as not written; of several for one path the last counts. Memory holds a
place in the file for each image, and not what was found in it.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from cxrcad.core import Failure, ModelIdentity, Outcome, Result, Skipped, UsageError, WriteError, counted
from cxrcad.documents import MALFORMED, json_value
from cxrcad.files import take_lock
from cxrcad.interchange.boxes import differing, image_document, model_document, read_boxes, result_from

__all__ = ["BEFORE", "ENDING", "Journal", "check_same", "open_alone", "write_all"]

SCHEMA = "cxrcad/journal/1"
ENDING = ".jsonl"
BEFORE = ".before"
"""Ends the name of what an earlier run wrote, where a later one needs the place."""
SYNC_SECONDS = 1.0  # a power cut loses no more than this
PIECE = 2**20


class _Place(NamedTuple):
    """Where a result's line lies; of what content the image was, how much was found in it, and the picture of it."""

    start: int
    length: int
    sha256: str
    findings: int
    overlay: str | None


class Journal:
    """What was found so far, in the file `path`, which this process alone writes (None: a temporary file).

    `failures` and `skipped` are those of this process: a journal that is gone on with has its images, and what failed
    is tried again.
    """

    def __init__(
        self,
        path: Path | None,
        identity: ModelIdentity,
        find: Mapping[str, Any],
        *,
        resume: Path | None = None,
        identifiers: bool = True,
    ) -> None:
        """Begin the journal, or with `resume` go on with what it, or else the finished boxes.json `resume`, holds.

        Raises UsageError where another process writes it, or another model or other settings made it; WriteError.
        """
        self.path, self.failures, self.skipped = path, list[Failure](), list[Skipped]()
        self.put_aside: Path | None = None
        self._places: dict[str, _Place] = {}
        self._synced = time.monotonic()
        self._file = self._opened()
        try:
            head: dict[str, Any] = {"schema": SCHEMA, "model": model_document(identity), "find": dict(find)}
            head |= {} if identifiers else {"identifiers": False}
            if not self._taken_over(head, resume):
                results = _results_of(resume, head) if resume is not None and resume.is_file() else ()
                self._line(head)
                for result in results:
                    self.add(result)
        except BaseException:
            if not self._file.closed and os.fstat(self._file.fileno()).st_size == 0:
                self.remove()
            self._file.close()
            raise

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._places)

    def add(self, outcome: Outcome) -> None:
        """Write the outcome, flushed: it is there after a SIGKILL. Raises WriteError."""
        if isinstance(outcome, Result):
            self._place(*self._line({"image": image_document(outcome)}), outcome)
        elif isinstance(outcome, Failure):
            self._line({"failure": {"path": outcome.path, "error": outcome.error}})
            self.failures.append(outcome)
        else:
            self._line({"skipped": {"path": outcome.path, "reason": outcome.reason}})
            self.skipped.append(outcome)

    def sha256_of(self, path: str) -> str | None:
        """SHA-256 of the file whose result stands under `path`; None where there is none."""
        return self._places[path].sha256 if path in self._places else None

    def overlay_of(self, path: str) -> str | None:
        """The picture that was drawn of the file whose result stands under `path`; None where there is none."""
        return self._places[path].overlay if path in self._places else None

    def keep_only(self, paths: Iterable[str]) -> None:
        """Leave out the results of all other paths."""
        wanted = set(paths)
        self._places = {path: place for path, place in self._places.items() if path in wanted}

    @property
    def findings(self) -> int:
        """The findings in all results."""
        return sum(place.findings for place in self._places.values())

    def results(self, order: Sequence[str]) -> Iterator[Result]:
        """The results of these paths, read one by one; a path without one is passed over."""
        for path in order:
            if path in self._places:
                self._file.seek(self._places[path].start)
                yield result_from(json.loads(self._file.read(self._places[path].length))["image"])

    @property
    def is_there(self) -> bool:
        """Whether what was found stands in the file `path`, which may have been removed."""
        return self.path is not None and bool(os.fstat(self._file.fileno()).st_nlink)

    def remove(self) -> None:
        """Remove the file: what it held stands elsewhere, or it held nothing."""
        if self.path is not None:
            with contextlib.suppress(OSError):
                self.path.unlink()

    def _opened(self) -> FileIO:
        if self.path is None:
            return tempfile.TemporaryFile(buffering=0)  # type: ignore[return-value]
        try:
            return open_alone(self.path, self.path)
        except OSError as error:
            raise self._unwritable(error) from None

    def _taken_over(self, head: Mapping[str, Any], resume: Path | None) -> bool:
        """Whether the file holds images to go on from. Without `resume` such a file is put aside, and another begun."""
        lines = _whole_lines(self._file)
        _, _, first = next(lines, (0, 0, {}))
        for start, length, line in lines:
            with contextlib.suppress(*MALFORMED):
                self._place(start, length, result_from(line["image"]))
        if not self._places:
            self._file.truncate(0)
        elif resume is None:
            self._places.clear()
            self._put_aside()
        else:
            check_same(self.path, first, head, "leave out --resume")
        return bool(self._places)

    def _place(self, start: int, length: int, result: Result) -> None:
        self._places[result.path] = _Place(start, length, result.sha256, len(result.findings), result.overlay)

    def _put_aside(self) -> None:
        assert self.path is not None
        self.put_aside = self.path.with_name(self.path.name + BEFORE)
        self._file.close()
        try:
            os.replace(self.path, self.put_aside)
        except OSError as error:
            raise self._unwritable(error) from None
        self._file = self._opened()

    def _put_back(self) -> None:
        """Write the file anew, which was removed."""
        file = self._opened()
        with contextlib.ExitStack() as stack:
            stack.callback(file.close)
            if os.fstat(file.fileno()).st_size:
                raise OSError("removed, and another one in its place")
            self._file.seek(0)
            while piece := self._file.read(PIECE):
                write_all(file, piece)
            stack.pop_all()
        self._file.close()
        self._file = file

    def _line(self, value: Mapping[str, Any]) -> tuple[int, int]:
        """Write one line; where it begins, and its length."""
        line = (json.dumps(value, ensure_ascii=True, allow_nan=False) + "\n").encode("ascii")
        try:
            if self.path is not None and not self.is_there:
                self._put_back()
            start = self._file.seek(0, os.SEEK_END)
            write_all(self._file, line)
            if time.monotonic() - self._synced >= SYNC_SECONDS:
                os.fsync(self._file.fileno())
                self._synced = time.monotonic()
        except OSError as error:
            raise self._unwritable(error) from None
        return start, len(line)

    def _unwritable(self, error: OSError) -> WriteError:
        held = f"; it holds {counted(len(self), 'image')}, and --resume goes on from there"
        held = held if len(self) and self.is_there else ""
        return WriteError(
            f"{self.path or 'temporary file'}: cannot be written ({error.strerror or error}); make room, or choose "
            f"another place{held}"
        )


def open_alone(path: Path, name: Path) -> FileIO:
    """The file `path` to append to, which this process alone writes until it closes it, in a folder that is made.

    It has no buffer: what could not be written would be tried again by whatever comes next. Raises UsageError, about
    the results `name`, where another process writes it; OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        while True:
            with contextlib.ExitStack() as stack:
                file = stack.enter_context(FileIO(path, "a+"))
                if take_lock(file.fileno(), path):
                    stack.pop_all()  # whoever asked closes it
                    return file
    except BlockingIOError:
        reason = "another cxrcad detect writes it; wait for its end, or name another --out"
        raise UsageError(f"{name}: {reason}") from None


def write_all(file: FileIO, content: bytes) -> None:
    """Write it all, which a disk that is nearly full takes in parts. Raises OSError."""
    while content:
        content = content[file.write(content) :]


def _whole_lines(file: FileIO) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Where each line begins, its length, and the object in it.

    What no line break ends, and lines that hold no object, do not count. The end of the file is cut off there.
    """
    start = 0
    with open(file.fileno(), "rb", closefd=False) as lines:
        lines.seek(0)
        for text in lines:
            if not text.endswith(b"\n"):
                break
            with contextlib.suppress(*MALFORMED):
                value = json_value(text.decode())
                if isinstance(value, dict):
                    yield start, len(text), value
            start += len(text)
    file.truncate(start)


def _results_of(document: Path, head: Mapping[str, Any]) -> tuple[Result, ...]:
    """The results of a finished boxes.json of this model and these settings. Raises UsageError, DataError."""
    before = read_boxes(document)
    check_same(document, before.head, head, "leave out --resume")
    return before.results


def check_same(name: Path | None, kept: Mapping[str, Any], head: Mapping[str, Any], otherwise: str) -> None:
    """Refuse results of another model or other settings; `otherwise` is the other remedy. UsageError."""
    if words := differing(kept, head):
        raise UsageError(
            f"--resume: {name} was made {words[0]}, and now it is {words[1].removeprefix('with ')}; give the model and "
            f"settings that it was made with, or {otherwise}"
        )
