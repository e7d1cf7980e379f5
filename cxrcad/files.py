"""What every stage does with files and long work: atomic writes, checksums, JSON, and who is told of progress."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import logging
import os
import re
import secrets
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from cxrcad.core import CxrcadError, UsageError, WriteError, duration_words
from cxrcad.documents import MALFORMED, fault_words, json_value

__all__ = [
    "UNENCODABLE",
    "Pace",
    "Progress",
    "Silent",
    "check_folder",
    "check_out",
    "check_results",
    "is_locked",
    "json_sha256",
    "names_in",
    "read_json",
    "read_record",
    "remove_leftovers",
    "sha256_of",
    "stamp",
    "take_lock",
    "write_atomically",
    "write_json",
]


log = logging.getLogger(__name__)

T = TypeVar("T")


class Progress(Protocol):
    """Who is told how long work goes on: the command line shows it, the library is silent."""

    def start(self, title: str, total_steps: int, done_steps: int) -> None:
        """Begin work of `total_steps`, of which `done_steps` are done."""

    def step(self, done_steps: int, loss: float | None = None) -> None:
        """Say that `done_steps` are done, and the mean loss where there is one."""

    def note(self, text: str) -> None:
        """Say one line."""


class Silent:
    """A Progress that says nothing but to the log."""

    def start(self, title: str, total_steps: int, done_steps: int) -> None:
        """Log the beginning."""
        log.info("%s: %d of %d steps done", title, done_steps, total_steps)

    def step(self, done_steps: int, loss: float | None = None) -> None:
        """Say nothing."""

    def note(self, text: str) -> None:
        """Log the line."""
        log.info(text)


WARM_UP = 1  # steps that are not timed: they allocate
TIMED = 3
FEWEST = 20  # steps that must be left for the time to be worth telling


class Pace:
    """Times a few steps after the first and tells `progress` once how long the others will take.

    It says nothing where fewer than `fewest` steps are left. `more` is said after it: what else takes time.
    """

    def __init__(self, total: int, progress: Progress, steps: str, *, fewest: int = FEWEST, more: str = "") -> None:
        self.total, self.progress, self.steps, self.fewest, self.more = total, progress, steps, fewest, more
        self.taken, self.since = 0, time.monotonic()

    def step(self, done: int) -> None:
        """Count one more step, after which `done` of all are done."""
        self.taken += 1
        left = self.total - done
        if self.taken == WARM_UP:
            self.since = time.monotonic()
        elif self.taken == WARM_UP + TIMED and left >= self.fewest:
            seconds = (time.monotonic() - self.since) / TIMED
            self.progress.note(
                f"{duration_words(left * seconds)} for the {left:,} {self.steps} left at {seconds:.2g} s each on this "
                f"machine{self.more}"
            )


def check_out(out: Path | None) -> None:
    """`check_folder` of --out, where it is given."""
    if out is not None:
        check_folder(out, f"--out {out}")


def check_results(folder: Path, out: Path | None) -> None:
    """`check_folder` of where results go: --out if it is given, otherwise `folder`."""
    if out is None:
        check_folder(folder, str(folder), "name another folder with --out")
    else:
        check_out(out)


def check_folder(folder: Path, option: str, remedy: str = "name another place") -> None:
    """Raise where nothing can be written into `folder`, which need not be there yet. UsageError, WriteError.

    What killed processes left half written in it is removed.
    """
    if str(folder) == "-":
        raise UsageError(f"{option}: standard output takes no files; name a folder")
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise UsageError(f"{option}: {place} is a file, not a folder; {remedy}")
    try:
        tempfile.TemporaryFile(dir=place).close()  # asking for permission is not enough: root has it in /proc
    except OSError:
        raise WriteError(f"{option}: nothing can be written in {place}; {remedy}") from None
    remove_leftovers(folder)


def names_in(folder: Path, files: Iterable[Path], ending: str, on_disk: Iterable[Path], option: str) -> dict[str, Path]:
    """What is written into `folder` of each file, by its path: its stem and `ending`; files of one stem get a number.

    Raises UsageError where one of `on_disk`, the radiographs, would be overwritten; and as `check_folder`.
    """
    check_folder(folder, f"{option} {folder}")
    kept, names = set(map(os.path.realpath, on_disk)), dict[str, Path]()
    taken, numbers = set[Path](), Counter[str]()
    for file in files:
        path = folder / f"{file.stem}{ending}"
        while path in taken:
            numbers[file.stem] += 1
            path = folder / f"{file.stem}-{numbers[file.stem] + 1}{ending}"
        if os.path.realpath(path) in kept:
            raise UsageError(f"{option} {folder}: {path} is a radiograph and would be overwritten; name a new folder")
        names[str(file)] = path
        taken.add(path)
    return names


def remove_leftovers(folder: Path) -> None:
    """Remove from `folder` the temporary files of `write_atomically` whose process, of this machine, is gone."""
    if os.name != "posix":  # elsewhere no signal asks whether a process is there
        return
    for path in folder.glob(".*.tmp"):
        found = LEFTOVER.fullmatch(path.name)
        if found and found["host"] == _host() and not _is_running(int(found["process"])):
            with contextlib.suppress(OSError):
                path.unlink()


LEFTOVER = re.compile(r"\..+@(?P<host>[^@]*)@(?P<process>[0-9]{1,9})@[a-z0-9_]+\.tmp", re.DOTALL)
"""The name of a temporary file: that of the file that is written, the machine, the process, and letters of chance."""


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9.-]", "_", socket.gethostname())[:64]


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


LONGEST_START = 120
"""Bytes of a file's name that its temporary file's begins with: all together may have 255."""
UNENCODABLE = "backslashreplace"
"""How text is written that holds a file's name of bytes that are not UTF-8: E9 becomes \\udce9, as JSON writes it."""


def write_atomically(path: Path, data: bytes | str | Iterable[bytes | str]) -> None:
    """Write `data` to `path` through a temporary file beside it: a reader sees the old file or the whole new one.

    `data` may come in pieces; what of a text is not UTF-8 is written as UNENCODABLE says. Parent folders are made; a
    link is followed; a pipe or device is written to as it is. Raises WriteError.
    """
    pieces = (data,) if isinstance(data, bytes | str) else data
    content = (piece.encode(errors=UNENCODABLE) if isinstance(piece, str) else piece for piece in pieces)
    temporary = ""
    try:
        path = path.resolve() if path.is_symlink() else path
        if path.exists() and not path.is_file() and not path.is_dir():
            with path.open("wb") as stream:
                stream.writelines(content)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        start = os.fsdecode(os.fsencode(path.name)[:LONGEST_START])
        temporary = str(path.parent / f".{start}@{_host()}@{os.getpid()}@{secrets.token_hex(4)}.tmp")
        with open(temporary, "xb") as file:
            file.writelines(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise WriteError(f"{path}: cannot be written ({reason}); choose another place or make room") from None
    finally:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)


def write_json(path: Path, document: Any) -> None:
    """Write `document` to `path` as indented JSON, atomically. Raises WriteError; NaN is refused (ValueError)."""
    write_atomically(path, json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path, error: type[CxrcadError]) -> Any:
    """The content of a JSON file; a missing or damaged one raises `error` with one sentence.

    Damaged is, too, what no document of ours can hold: see `documents.json_value`.
    """
    try:
        return json_value(path.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        raise error(f"{path}: there is no such file; check the path") from None
    except OSError as fault:
        raise error(f"{path}: cannot be read ({fault.strerror}); check the path and its permissions") from None
    except ValueError as fault:
        raise error(f"{path}: not JSON ({fault_words(fault)}); make the file again") from None


def read_record(path: Path, schema: str, make: Callable[[Any], T], error: type[CxrcadError], remedy: str) -> T | None:
    """What `make` makes of a JSON document of this schema; None where there is no such file.

    A damaged one, or one of another schema, raises `error` with one sentence that ends in `remedy`.
    """
    if not path.is_file():
        return None
    document = read_json(path, error)
    try:
        if document["schema"] != schema:
            raise ValueError(f"schema {document['schema']!r}, not {schema!r}")
        return make(document)
    except MALFORMED as fault:
        raise error(f"{path}: damaged ({fault_words(fault)}); {remedy}") from None


NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
"""What a file system says that keeps no locks; there, and on Windows, none is held."""


def take_lock(handle: int, path: Path, *, wait: bool = False) -> bool:
    """Hold the open file `path` for this process, until it closes it or ends, where locks are kept.

    False where who held it before has removed it: open it again. Raises BlockingIOError, unless `wait` says to wait,
    where another process holds it; OSError.
    """
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def is_locked(path: Path) -> bool:
    """Whether somebody holds the file by `take_lock`; False where there is no such file, or no locks are kept."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        take_lock(handle, path)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(handle)
    return False


def json_sha256(value: Any) -> str:
    """The SHA-256 of a JSON value, in hexadecimal, whatever the order of its objects' names."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def stamp(path: Path) -> tuple[int, int, int, int]:
    """What stays while a file's content does: its place, size and times of change. Raises OSError."""
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal; taken once while the file's size and time of change stay."""
    return _sha256_of(path, *stamp(path))


@functools.lru_cache(maxsize=65536)
def _sha256_of(path: Path, *_known: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
