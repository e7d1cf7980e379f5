"""The results of an archive: a folder of partitions, JSON of a row an image, and the manifest of those that are whole.

The manifest's first line names the model and the settings, each other one a partition with its rows and its SHA-256, or
says that all inputs are done. A partition is written whole before its line is; one without a line counts as not
written, and so does a line that was cut off.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any

from cxrcad.core import DataError, Failure, ModelIdentity, Outcome, Result, Skipped, UsageError, WriteError, counted
from cxrcad.documents import MALFORMED, fault_words, json_value, made
from cxrcad.files import check_folder, write_atomically
from cxrcad.interchange.boxes import Detected, image_document, result_from
from cxrcad.interchange.journal import check_same, open_alone, write_all

__all__ = ["MANIFEST", "Partitions", "read_partitions"]

MANIFEST = "manifest.jsonl"
SCHEMA = "cxrcad/partitions/1"
DONE, FAILED, SKIPPED = "done", "failed", "skipped"
ROWS = 1000
SECONDS = 60.0
"""A partition has no more rows, and none waits longer to be written: so much is lost by a kill."""


@dataclass(frozen=True)
class _Row:
    """Which partition has the row of an image, what became of it, its SHA-256 and how many findings it has."""

    partition: str
    status: str
    sha256: str | None
    findings: int


class Partitions:
    """The folder of an archive's results, to which this process alone writes. Each path has one row in it."""

    def __init__(self, folder: Path, head: Mapping[str, Any], *, resume: bool) -> None:
        """Begin the folder, or with `resume` go on with what it holds; `head` as `head_document` gives it.

        Raises UsageError where another process writes it, where it holds results and `resume` does not say so, and
        where another model or other settings made them; WriteError.
        """
        check_folder(folder, f"--out {folder}")
        self.folder, self.unreadable = folder, list[str]()
        self._last: dict[str, _Row] = {}
        self._now = set[str]()  # paths of this run
        self._doubled = set[str]()  # partitions of which a row is not the last
        self._rows: list[str] = []
        self._since = time.monotonic()
        self._number = 0
        self._file = self._opened()
        try:
            self._begin(head, resume)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Partitions:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def sha256_of(self, path: str) -> str | None:
        """SHA-256 of the image whose result a run before left under `path`; None where there is none."""
        row = self._last.get(path)
        return row.sha256 if row is not None and row.status == DONE else None

    def add(self, outcome: Outcome) -> None:
        """Keep the outcome, which takes the place of what a run before left of the path. Raises WriteError."""
        if outcome.path in self._now:  # of one content, without identifiers
            return
        row = _row(outcome)
        self._now.add(outcome.path)
        self._note(_name(self._number), row)
        self._rows.append(json.dumps(row, allow_nan=False))
        if len(self._rows) >= ROWS or time.monotonic() - self._since >= SECONDS:
            self.write()

    def write(self) -> None:
        """Write what waits to be written, as a partition. Raises WriteError."""
        if self._rows:
            self._write(_name(self._number), self._rows)
            self._number += 1
        self._rows, self._since = [], time.monotonic()

    def finish(self) -> None:
        """Write what waits, leave out what has a newer row, and say that all inputs are done. Raises WriteError."""
        self.write()
        for name in sorted(self._doubled):
            rows = [row for row in _rows(self.folder / name) if self._last[row["path"]].partition == name]
            self._write(name, [json.dumps(row, allow_nan=False) for row in rows])
        self._line({"complete": True})

    def count(self, status: str) -> int:
        """How many images became so: done, failed, skipped."""
        return sum(row.status == status for row in self._last.values())

    @property
    def findings(self) -> int:
        """The findings in all results."""
        return sum(row.findings for row in self._last.values())

    def _opened(self) -> FileIO:
        try:
            return open_alone(self.folder / MANIFEST, self.folder)
        except OSError as error:
            raise self._unwritable(error) from None

    def _begin(self, head: Mapping[str, Any], resume: bool) -> None:
        head = {"schema": SCHEMA, **head}
        before = _manifest(self.folder)
        if before is None or not before.partitions:
            self._file.truncate(0)
            self._line(head)
            return
        if not resume:
            held = counted(sum(int(line["rows"]) for line in before.partitions.values()), "row")
            raise UsageError(
                f"--out {self.folder}: holds {held} of a run before; --resume goes on from them, or name another folder"
            )
        check_same(self.folder, before.head, head, "name another --out")
        self._file.truncate(before.length)
        self._number = 1 + max(_number(name) for name in before.partitions)
        for name, line in sorted(before.partitions.items()):
            try:
                rows = _rows(self.folder / name, str(line.get("sha256")))
            except DataError as error:
                self.unreadable.append(str(error))
                self._write(name, [])
                continue
            for row in rows:
                self._note(name, row)

    def _note(self, partition: str, row: Mapping[str, Any]) -> None:
        """Remember the row, the last of its path so far."""
        path = str(row["path"])
        if path in self._last:
            self._doubled.add(self._last[path].partition)
        self._last[path] = _Row(partition, str(row["status"]), row["sha256"], len(row.get("findings", ())))

    def _write(self, name: str, rows: list[str]) -> None:
        text = "".join(f"{row}\n" for row in rows)
        write_atomically(self.folder / name, text)
        digest = hashlib.sha256(text.encode()).hexdigest()
        self._line({"partition": name, "rows": len(rows), "sha256": digest})

    def _line(self, value: Mapping[str, Any]) -> None:
        """One line more in the manifest, on the disk."""
        content = (json.dumps(value, allow_nan=False) + "\n").encode()
        try:
            write_all(self._file, content)
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._unwritable(error) from None

    def _unwritable(self, error: OSError) -> WriteError:
        reason = error.strerror or str(error)
        return WriteError(
            f"{self.folder / MANIFEST}: cannot be written ({reason}); make room and go on with --resume, or choose "
            "another place"
        )


@dataclass(frozen=True)
class _Manifest:
    """The head, the last line of each partition by its name, whether all is done, and the bytes of its whole lines."""

    head: Mapping[str, Any]
    partitions: Mapping[str, Mapping[str, Any]]
    complete: bool
    length: int


def read_partitions(folder: Path) -> Detected:
    """What a folder of partitions holds; its head says "complete": false where the work ended early. DataError."""
    manifest = _manifest(folder)
    if manifest is None:
        raise DataError(f"{folder}: no folder of results, as it holds no {MANIFEST}; give one of cxrcad detect --out")
    rows: dict[str, dict[str, Any]] = {}
    for name, line in sorted(manifest.partitions.items()):
        rows |= {row["path"]: row for row in _rows(folder / name, str(line.get("sha256")))}
    outcomes = [_outcome(row) for row in rows.values()]
    try:
        identity = made(ModelIdentity, manifest.head["model"])
    except MALFORMED as fault:
        raise DataError(f"{folder / MANIFEST}: damaged ({fault_words(fault)}); detect again in a new --out") from None
    return Detected(
        identity,
        tuple(one for one in outcomes if isinstance(one, Result)),
        tuple(one for one in outcomes if isinstance(one, Failure)),
        tuple(one for one in outcomes if isinstance(one, Skipped)),
        {**manifest.head, **({} if manifest.complete else {"complete": False})},
    )


def _manifest(folder: Path) -> _Manifest | None:
    """The manifest of a folder; None without one. Raises DataError for a file that is none."""
    path = folder / MANIFEST
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None
    if lines and not lines[-1].endswith(b"\n"):  # cut off
        lines.pop()
    if not lines:
        return None
    try:
        head, *others = (json_value(line.decode()) for line in lines)
        if head["schema"] != SCHEMA:
            raise ValueError(f"schema {head['schema']!r}, not {SCHEMA!r}")
        partitions = {str(one["partition"]): one for one in others if "partition" in one}
        if any(_number(name) < 0 for name in partitions):
            raise ValueError("a partition's name is none")
    except MALFORMED as fault:
        raise DataError(f"{path}: damaged ({fault_words(fault)}); detect again in a new --out") from None
    complete = bool(others) and "complete" in others[-1]
    return _Manifest(head, partitions, complete, sum(map(len, lines)))


def _name(number: int) -> str:
    return f"part-{number:06d}.jsonl"


def _number(name: str) -> int:
    """The number in a partition's name; -1 in any other."""
    digits = name.removeprefix("part-").removesuffix(".jsonl")
    return int(digits) if digits.isdecimal() and name == _name(int(digits)) else -1


def _rows(path: Path, sha256: str | None = None) -> list[dict[str, Any]]:
    """The rows of a partition, which has the `sha256` that the manifest says. Raises DataError."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); --resume detects in its images again") from None
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise DataError(f"{path}: not as {MANIFEST} says by its SHA-256; --resume detects in its images again")
    try:
        rows = [json_value(row.decode()) for row in content.splitlines()]
        if any(not isinstance(row["path"], str) or "sha256" not in row or "status" not in row for row in rows):
            raise ValueError("a row without path, status and sha256")
        return rows
    except MALFORMED as fault:
        raise DataError(
            f"{path}: not a partition ({fault_words(fault)}); --resume detects in its images again"
        ) from None


def _row(outcome: Outcome) -> dict[str, Any]:
    """The row of an image."""
    if isinstance(outcome, Result):
        return {"status": DONE, **image_document(outcome)}
    if isinstance(outcome, Failure):
        return {"status": FAILED, "path": outcome.path, "sha256": None, "error": outcome.error}
    return {"status": SKIPPED, "path": outcome.path, "sha256": None, "reason": outcome.reason}


def _outcome(row: Mapping[str, Any]) -> Outcome:
    """What a row tells. Raises DataError."""
    fields = dict(row)
    try:
        status = fields.pop("status")
        if status == DONE:
            return result_from(fields)
        del fields["sha256"]
        return made(Failure, fields) if status == FAILED else made(Skipped, fields)
    except MALFORMED as fault:
        raise DataError(f"{row.get('path')}: its row is damaged ({fault_words(fault)}); detect again") from None
