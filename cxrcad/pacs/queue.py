"""What came in and what is to go out: one queue on disk, in SQLite, for a listener or a watched folder.

An image is received, then detected (its results are files in the queue's folder), then sent; or skipped, being no
frontal chest radiograph, or failed, with the sentence why. Each step is on the disk before it counts: a kill at any
moment loses nothing, and what is done twice for it has the same UIDs. The folder must be on a disk of this machine.
"""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cxrcad.core import DataError, UsageError, WriteError
from cxrcad.files import stamp, take_lock

__all__ = ["DETECTED", "FAILED", "RECEIVED", "SENT", "SKIPPED", "STATES", "Entry", "Queue", "listing", "retry"]

RECEIVED, DETECTED, SENT, SKIPPED, FAILED = STATES = ("received", "detected", "sent", "skipped", "failed")
FILE = "queue.sqlite"
LOCK = "queue.lock"
IMAGES, RESULTS, INCOMING = "images", "results", "incoming"
VERSION = 1
BUSY_SECONDS = 30.0
"""How long one process waits for another's transaction; each is a few writes."""
LONGEST_WAIT_SECONDS = 3600.0
"""Between two tries of a step."""
TABLES = """
CREATE TABLE IF NOT EXISTS entries (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    sha256 TEXT NOT NULL,
    file TEXT NOT NULL,
    sender TEXT NOT NULL,
    received TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('received', 'detected', 'sent', 'skipped', 'failed')),
    setup TEXT NOT NULL DEFAULT '',
    tries INTEGER NOT NULL DEFAULT 0,
    due REAL NOT NULL DEFAULT 0,
    said TEXT NOT NULL DEFAULT '',
    findings INTEGER
);
CREATE INDEX IF NOT EXISTS by_state ON entries (state, id);
CREATE TABLE IF NOT EXISTS seen (path TEXT PRIMARY KEY, stamp TEXT NOT NULL);
"""
INSERT = "INSERT INTO entries (sha256, file, sender, received, name, state) VALUES (?, ?, ?, ?, ?, 'received')"
HAS_FAILED, WAITS = "state = 'failed'", "state IN ('received', 'detected') AND due > 0"
REPLACE = """
UPDATE entries SET sha256 = ?, file = ?, sender = ?, received = ?, state = 'received', tries = 0, due = 0, said = '',
findings = NULL WHERE name = ?
"""


@dataclass(frozen=True)
class Entry:
    """One image of the queue.

    `name` is its SOP instance UID, or in a watched folder the path of a file that has none; `sha256` is that of its
    content, in hexadecimal. `sender` is an AE title or a folder. `setup` is the model and settings of its results,
    `tries` how often its present step was begun, and `said` the last sentence on it. `findings` is their number, None
    before detection.
    """

    id: int
    name: str
    sha256: str
    file: Path
    sender: str
    received: str
    state: str
    setup: str
    tries: int
    due: float
    said: str
    findings: int | None


class Queue:
    """The queue in `folder`, on which one process at a time works; any of its threads may call it.

    `setup` names the present model and settings: what comes again, and was done with others, is done again. Raises
    UsageError where another process works on it, DataError for a damaged one, WriteError.
    """

    def __init__(self, folder: Path, setup: str = "") -> None:
        self.folder, self.setup = folder, setup
        self.incoming = folder / INCOMING
        self._changed = threading.Condition(threading.RLock())
        self._closed = False
        try:
            with ExitStack() as held:
                for part in (IMAGES, RESULTS, INCOMING):  # of patients: for nobody else's eyes
                    (folder / part).mkdir(mode=0o700, parents=True, exist_ok=True)
                held.callback(os.close, _taken(folder / LOCK))
                self._database = held.enter_context(closing(_opened(folder / FILE)))
                self._clean()
                self._held = held.pop_all()
        except OSError as error:
            raise WriteError(f"--queue {folder}: {_reason(error)}; name a folder on a disk of this machine") from None

    def __enter__(self) -> Queue:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let another process have the queue. What is asked of it afterwards raises WriteError."""
        with self._changed:
            if not self._closed:
                self._closed = True
                self._held.close()

    def add(self, name: str, sha256: str, file: Path, sender: str, *, move: bool = False) -> str:
        """Take an image in; on the disk when this returns. What is said of it: "" for a new one.

        `move`: the file becomes the queue's. One that is there already, done or to be done by this setup, is left as it
        is; one of other content takes the place of the former, and its results are made and sent again. So are those of
        one that failed, or was done with another setup. Raises WriteError.
        """
        with self._changed:
            with self._transaction() as database:
                former = self._entry("SELECT * FROM entries WHERE name = ?", name)
                same = former is not None and former.sha256 == sha256
                if former is not None and same and self._stands(former):
                    if move:
                        file.unlink(missing_ok=True)
                    return f"{name}: came again from {sender}, is {former.state}"
                place = self._moved(file, sha256) if move else str(file.absolute())
                row = (sha256, place, sender, f"{datetime.now():%F %T}", name)
                database.execute(INSERT if former is None else REPLACE, row)
                self._changed.notify_all()
            if former is None:
                return ""
            self._remove_files(former, image=not same)
            how = "again" if same else "again with other content"
            return f"{name}: came {how} from {sender}; it is detected in again"

    def next(self, state: str) -> Entry | None:
        """The first image in this state of which it is time to do the next step.

        It is also where the clock was set back since: no step is due later than the longest wait.
        """
        now = time.time()
        with self._transaction():
            question = "SELECT * FROM entries WHERE state = ? AND (due <= ? OR due > ?) ORDER BY id LIMIT 1"
            return self._entry(question, state, now, now + LONGEST_WAIT_SECONDS)

    def wait(self, seconds: float) -> None:
        """Return when something changes, and after so many seconds at the latest."""
        with self._changed:
            if not self._closed:
                self._changed.wait(seconds)

    def wake(self) -> None:
        """Let those who wait go on."""
        with self._changed:
            self._changed.notify_all()

    def results_of(self, entry: Entry) -> Path:
        """The folder of an image's results."""
        return self.folder / RESULTS / f"{entry.id}-{entry.sha256[:16]}"

    # Each of the following is False, and does nothing, where other content came meanwhile.

    def begin(self, entry: Entry) -> bool:
        """Count one detection that is begun."""
        return self._set(entry, tries=entry.tries + 1)

    def end(self, entry: Entry) -> bool:
        """Its detection, begun with this entry, ended by no fault of the image: it does not count."""
        return self._set(entry, tries=entry.tries)

    def detected(self, entry: Entry, findings: int, said: str = "") -> bool:
        """Its results are in `results_of`."""
        folder = self.results_of(entry)
        try:
            for place in (folder, folder.parent):
                _sync_folder(place)
        except OSError as error:
            raise WriteError(f"{folder}: {_reason(error)}; the results are made again") from None
        return self._set(entry, state=DETECTED, setup=self.setup, tries=0, due=0.0, findings=findings, said=said)

    def again(self, entry: Entry) -> bool:
        """Its results are gone, or of other settings than the present ones: it is detected in again."""
        return self._set(entry, state=RECEIVED, tries=0, due=0.0, findings=None)

    def sent(self, entry: Entry) -> bool:
        """All that it has to give is where it was to go; its files are removed from the queue."""
        return self._done(entry, state=SENT)

    def skipped(self, entry: Entry, sentence: str) -> bool:
        """It is no frontal chest radiograph; its files are removed from the queue."""
        return self._done(entry, state=SKIPPED, setup=self.setup, said=sentence)

    def failed(self, entry: Entry, sentence: str) -> bool:
        """Its present step cannot be done; its files stay, and `retry` does it again."""
        return self._set(entry, state=FAILED, due=0.0, said=sentence)

    def later(self, entry: Entry, sentence: str, first_seconds: float, most_tries: int) -> float | None:
        """Its present step did not go: how many seconds later it is tried again, twice as many each time.

        None, and the image is failed, where it was tried `most_tries` times.
        """
        tries = entry.tries + 1
        if tries >= most_tries:
            times = f"tried {tries} times, " if tries > 1 else ""
            self._set(entry, state=FAILED, tries=tries, due=0.0, said=f"{times}{sentence}")
            return None
        seconds = min(LONGEST_WAIT_SECONDS, first_seconds * 2.0 ** min(tries - 1, 30))
        self._set(entry, tries=tries, due=time.time() + seconds, said=sentence)
        return seconds

    def is_seen(self, path: Path) -> bool:
        """Whether the file was looked at as it is now. Raises OSError."""
        now = ",".join(map(str, stamp(path)))
        with self._transaction() as database:
            row = database.execute("SELECT stamp FROM seen WHERE path = ?", (str(path),)).fetchone()
        return row is not None and row[0] == now

    def see(self, path: Path, state: Sequence[int]) -> None:
        """Remember that the file was looked at when its `files.stamp` was `state`."""
        row = (str(path), ",".join(map(str, state)))
        with self._transaction() as database:
            database.execute("INSERT OR REPLACE INTO seen (path, stamp) VALUES (?, ?)", row)

    def counts(self) -> dict[str, int]:
        """The number of images in each state."""
        with self._transaction() as database:
            return _counts(database)

    def _stands(self, former: Entry) -> bool:
        """Whether an image that came again, the same, needs nothing. A file may have another name by now."""
        done = former.state in (SENT, SKIPPED) and former.setup == self.setup
        return done or former.state == DETECTED or (former.state == RECEIVED and former.file.is_file())

    def _set(self, entry: Entry, **values: Any) -> bool:
        """Change an image's row, unless it is in another state by now or has other content."""
        columns = ", ".join(f"{column} = ?" for column in values)
        with self._transaction() as database:
            done = database.execute(
                f"UPDATE entries SET {columns} WHERE id = ? AND sha256 = ? AND state = ?",
                (*values.values(), entry.id, entry.sha256, entry.state),
            )
            self._changed.notify_all()
        return done.rowcount == 1

    def _done(self, entry: Entry, **values: Any) -> bool:
        with self._changed:
            done = self._set(entry, due=0.0, **values)
            if done:
                self._remove_files(entry)
        return done

    def _entry(self, question: str, *values: Any) -> Entry | None:
        row = self._database.execute(question, values).fetchone()
        return None if row is None else _entry_of(self.folder, row)

    def _moved(self, file: Path, sha256: str) -> str:
        """The file under the queue's name for it, which is relative to its folder; content and name on the disk."""
        place = self.folder / IMAGES / f"{sha256}.dcm"
        try:
            with file.open("rb+") as content:
                os.fsync(content.fileno())
            os.replace(file, place)
            _sync_folder(place.parent)
        except OSError as error:
            raise WriteError(f"{place}: cannot be written ({_reason(error)}); make room on the disk") from None
        return f"{IMAGES}/{place.name}"

    def _remove_files(self, entry: Entry, *, image: bool = True) -> None:
        """What the queue holds of an image; a watched folder's file is not the queue's."""
        shutil.rmtree(self.results_of(entry), ignore_errors=True)
        if image and entry.file.parent == self.folder / IMAGES:
            with suppress(OSError):
                entry.file.unlink()

    def _clean(self) -> None:
        """Remove what a killed process left: files that no row knows, since none of them was acknowledged."""
        with self._transaction() as database:
            rows = database.execute("SELECT * FROM entries WHERE state NOT IN ('sent', 'skipped')")
            entries = [_entry_of(self.folder, row) for row in rows]
        kept = {path for entry in entries for path in (entry.file, self.results_of(entry))}
        for part in (IMAGES, RESULTS, INCOMING):
            for path in (self.folder / part).iterdir():
                if path not in kept:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """One thread at a time; on the disk when it ends."""
        with self._changed, _sentences(self.folder):
            if self._closed:
                raise WriteError(f"--queue {self.folder}: is closed")
            with self._database:
                yield self._database


def _entry_of(folder: Path, row: sqlite3.Row) -> Entry:
    return Entry(**{**dict(row), "file": folder / row["file"]})


def _counts(database: sqlite3.Connection) -> dict[str, int]:
    found = dict(map(tuple, database.execute("SELECT state, COUNT(*) FROM entries GROUP BY state")))
    return {state: found.get(state, 0) for state in STATES}


def listing(folder: Path) -> tuple[dict[str, int], tuple[Entry, ...], tuple[Entry, ...]]:
    """The number of images in each state, those that failed, and those that wait since a step did not go.

    Another process may work on the queue meanwhile. Raises UsageError where there is none, DataError for a damaged one,
    WriteError.
    """
    with _looked_into(folder) as database:
        rows = [database.execute(f"SELECT * FROM entries WHERE {which} ORDER BY id") for which in (HAS_FAILED, WAITS)]
        failed, waiting = (tuple(_entry_of(folder, row) for row in found) for found in rows)
        return _counts(database), failed, waiting


def retry(folder: Path) -> int:
    """Have what failed or waits done at once: it is sent where its results are there, else detected in.

    The number of images. Raises as `listing`.
    """
    with _looked_into(folder) as database, database:
        state = f"CASE WHEN findings IS NULL THEN '{RECEIVED}' ELSE '{DETECTED}' END"
        change = f"UPDATE entries SET state = {state}, tries = 0, due = 0 WHERE {HAS_FAILED} OR {WAITS}"
        return database.execute(change).rowcount


@contextmanager
def _looked_into(folder: Path) -> Iterator[sqlite3.Connection]:
    if not (folder / FILE).is_file():
        raise UsageError(f"--queue {folder}: holds no queue; name the folder that `listen` or `watch` works with")
    database = _opened(folder / FILE)
    try:
        with _sentences(folder):
            yield database
    finally:
        database.close()


def _opened(path: Path) -> sqlite3.Connection:
    """The database, each of whose commits is on the disk when it returns."""
    with _sentences(path.parent):
        database = sqlite3.connect(path, timeout=BUSY_SECONDS, check_same_thread=False)
        database.row_factory = sqlite3.Row
        try:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
            (version,) = database.execute("PRAGMA user_version").fetchone()
            if version > VERSION:
                raise DataError(f"{path}: was made by a later cxrcad; use that one, or name another --queue")
            if version < VERSION:  # what is only looked at is not written, as on a full disk
                database.executescript(f"BEGIN; {TABLES} PRAGMA user_version = {VERSION}; COMMIT")
        except BaseException:
            database.close()
            raise
    return database


@contextmanager
def _sentences(folder: Path) -> Iterator[None]:
    """SQLite's errors as ours."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        damaged = error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
        if damaged:
            remedy = f"move the folder away, and send again what lies in its {IMAGES}"
            raise DataError(f"{folder / FILE}: is no queue or damaged ({error}); {remedy}") from None
        raise WriteError(f"{folder / FILE}: cannot be written ({error}); make room, or check permissions") from None


def _taken(path: Path) -> int:
    """The handle of the queue's lock file, locked."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if take_lock(handle, path):
                os.ftruncate(handle, 0)
                words = f"process {os.getpid()} on {socket.gethostname()}, since {datetime.now():%F %T}"
                os.write(handle, words.encode())
                return handle
            os.close(handle)
        except BlockingIOError:
            holder = os.read(handle, 200).decode(errors="replace") or "another process"
            os.close(handle)
            raise UsageError(
                f"--queue {path.parent}: {holder} works on it; end that, or name another --queue"
            ) from None
        except OSError:
            os.close(handle)
            raise


def _sync_folder(folder: Path) -> None:
    """Have the names of a folder's files on the disk, where the system can."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
