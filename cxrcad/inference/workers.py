"""What goes on beside the network: files read ahead, and findings cut from maps, by processes or else a thread.

A file may end or hang a process, and costs itself alone.

A process is a Python of its own that has only this module's imports: nothing of the caller's main module runs again.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from io import FileIO
from itertools import islice
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any, cast

from cxrcad.core import CxrcadError, Failure, Result, Skipped, UsageError, WorkerError, usable_cores
from cxrcad.inference.examining import Inferred
from cxrcad.inference.reading import Prepared, Reading, none_of

__all__ = ["Answer", "Readers", "Workers", "serve"]

FEW_FILES = 20
"""With fewer, starting processes (0.7 s of CPU each) is not worth it."""
MOST_BY_CORES = 4
"""A radiograph of 2,048 x 2,048 takes 0.3 s to read and longer to detect in on a CPU; more would wait."""
START_SECONDS = 120.0
STEP_SECONDS = 1.0
TRIES = 2
REMEDY = "free memory or give fewer --workers, and report it with the file where that does not help"
PR_SET_PDEATHSIG = 1
"""Of prctl(2)."""
SOONER = "500"
"""Of -1000 to 1000: Linux ends this process, which is replaced, before the one that holds the results (proc(5))."""

Answer = Prepared | Failure | Skipped


@dataclass(frozen=True)
class Workers:
    """How many processes read, and the seconds after which one that still reads the same file is ended."""

    number: int
    timeout: float

    @classmethod
    def fitting(cls, files: int, number: int | None, timeout: float) -> Workers | None:
        """`number` processes, by default half the cores and at most 4; None for reading without any.

        By default there are none for a few files, and none on Windows, where `number` raises UsageError.
        """
        if os.name != "posix":
            if number:
                raise UsageError(f"--workers {number}: processes that read are for Linux and macOS; give --workers 0")
            return None
        if number is None:
            number = min(MOST_BY_CORES, usable_cores() // 2) if files >= FEW_FILES else 0
        number = min(number, files)
        return cls(number, timeout) if number else None


class Readers:
    """What reads files ahead of the network, and cuts findings behind it; close it to end its processes.

    Without `workers` a thread reads the next file, or as many as are taken `at_once`, and findings are cut by the
    caller. `behind` is how many results may be waited for while the network goes on.
    """

    def __init__(self, reading: Reading, workers: Workers | None, at_once: int = 1) -> None:
        number = workers.number if workers else 1
        self.behind = 2 * max(number, at_once) if workers else 0
        self._ahead = max(2 * number if workers else 0, at_once)
        self._pool = _Pool(reading, workers) if workers else None
        self._read = self._pool.read if self._pool else reading.read
        self._threads = ThreadPoolExecutor(number, thread_name_prefix="read")

    def __enter__(self) -> Readers:
        return self

    def __exit__(self, *stop: object) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._pool is not None:
            self._pool.close()

    def read(self, paths: Sequence[Path]) -> Iterator[tuple[Path, Future[Answer]]]:
        """Each path, in order, with what will be read of it; a few files behind it are being read or wait.

        The answer raises WorkerError where processes cannot be started.
        """
        coming = iter(paths)
        waiting: deque[tuple[Path, Future[Answer]]] = deque()

        def begin(number: int) -> None:
            waiting.extend((path, self._threads.submit(self._read, path)) for path in islice(coming, number))

        begin(self._ahead)
        while waiting:
            begin(1)
            yield waiting.popleft()

    def result(self, inferred: Inferred) -> Future[Result]:
        """The result of what the network gave; raises what `Inferred.result` does."""
        if self._pool is not None:
            return self._threads.submit(self._pool.result, inferred)
        future = Future[Result]()
        try:
            future.set_result(inferred.result())
        except Exception as error:
            future.set_exception(error)
        return future


class _Pool:
    """Processes that read, of which the one that was used last is used again first."""

    def __init__(self, reading: Reading, workers: Workers) -> None:
        self._all = [_Process(reading, workers.timeout) for _ in range(workers.number)]
        self._free = list(self._all)
        self._closed = False

    def close(self) -> None:
        """End them, and leave nothing behind."""
        self._closed = True
        for process in self._all:
            process.stop()
        for process in self._all:
            process.close()

    def read(self, path: Path) -> Answer:
        """What is read of a file in one of the processes, or the sentence why nothing is."""
        try:
            return cast(Answer, self._asked(path))
        except TimeoutError as error:
            remedy = "copy the file to a disk of this machine, or give a larger --timeout"
            return Failure(str(path), f"{path}: not read after {error} s; {remedy}")
        except _Ended as ended:
            return Failure(str(path), f"{path}: the process that read it {ended}, twice; {REMEDY}")
        except MemoryError as error:  # the answer is too large
            return none_of(path, error)

    def result(self, inferred: Inferred) -> Result:
        """The result that one of the processes makes of the maps; the caller's own where it does not come to it.

        Raises what `Inferred.result` does, and WorkerError where `close` is called meanwhile.
        """
        given = replace(inferred.given, image=inferred.given.image[:0], radiograph=None)  # which the result is not of
        try:
            answer = self._asked(replace(inferred, given=given))
        except (TimeoutError, _Ended, MemoryError, WorkerError):
            if self._closed:
                raise WorkerError("stopped") from None
            answer = None
        if isinstance(answer, CxrcadError):
            raise answer
        return answer if isinstance(answer, Result) else inferred.result()

    def _asked(self, value: object) -> object:
        """What one of the processes, each of which does one thing at a time, answers."""
        process = self._free.pop()
        try:
            return process.asked(value)
        finally:
            self._free.append(process)


class _Ended(Exception):
    """How a process ended, at one thing twice."""


class _Process:
    """What does one thing at a time: a process that is started when it is needed, and again where it has ended."""

    def __init__(self, reading: Reading, timeout: float) -> None:
        self._reading, self._timeout = reading, timeout
        self._held = threading.Lock()  # by the thread that talks to it
        self._stopped = threading.Event()
        self._running: _Running | None = None

    def asked(self, value: object) -> object:
        """What it answers. Raises _Ended where it ended twice, TimeoutError where it took too long, MemoryError."""
        with self._held:
            for _ in range(TRIES):
                running = self._started()
                try:
                    running.send(value)
                    return running.answer(self._timeout, self._stopped)
                except TimeoutError as error:
                    self._end(error)
                    raise TimeoutError(f"{self._timeout:g}") from None
                except MemoryError as error:
                    self._end(error)
                    raise
                except (EOFError, OSError) as error:
                    how = self._end(error)
            raise _Ended(how)

    def stop(self) -> None:
        """End the process; what is read in another thread comes to its end."""
        self._stopped.set()
        running = self._running
        if running is not None:
            running.kill()

    def close(self) -> None:
        """Leave nothing behind; after `stop`."""
        with self._held:
            self._end(EOFError())

    def _started(self) -> _Running:
        how = ""
        for _ in range(TRIES):
            if self._stopped.is_set():
                raise WorkerError("stopped")
            if self._running is None:
                try:
                    self._running = _Running()
                    self._running.send(self._reading)
                    self._running.answer(START_SECONDS, self._stopped)
                except (EOFError, OSError) as error:
                    how = self._end(error)
                    continue
            return self._running
        raise WorkerError(f"a process that reads cannot be started: it {how}; give --workers 0 to read without any")

    def _end(self, error: BaseException) -> str:
        """End the process, whose connection failed with `error`; how it ended."""
        running, self._running = self._running, None
        if running is None:
            return f"failed ({getattr(error, 'strerror', None) or error})"
        return running.end(by_itself=isinstance(error, EOFError | ConnectionError))


class _Running:
    """A process that reads, from its start to its end, with a folder for its temporary files. Raises OSError."""

    def __init__(self) -> None:
        with contextlib.ExitStack() as held:
            folder = held.enter_context(tempfile.TemporaryDirectory(prefix="cxrcad-", ignore_cleanup_errors=True))
            here, other = Pipe()
            held.enter_context(other)
            handle, memory = other.fileno(), _memory(Path(folder))
            self._line = held.enter_context(contextlib.closing(_Line(here, memory)))
            code = f"import sys; sys.path[:] = {sys.path!r}; from cxrcad.inference.workers import serve"
            self._process = subprocess.Popen(
                [sys.executable, "-c", f"{code}; serve({handle}, {memory})"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "TMPDIR": folder},
                pass_fds=[handle, memory],
                process_group=0,  # Ctrl-C does not reach it, and what it starts ends with it
            )
            other.close()
            self._held = held.pop_all()

    def send(self, value: object) -> None:
        """Send it a value. Raises OSError where it has ended."""
        self._line.send(value)

    def answer(self, seconds: float, stopped: threading.Event) -> object:
        """What it sends next. Raises EOFError and OSError where it has ended, TimeoutError, WorkerError for a stop."""
        last = time.monotonic() + seconds
        while not self._line.connection.poll(min(STEP_SECONDS, seconds)):
            if stopped.is_set():
                raise WorkerError("stopped")
            if time.monotonic() > last:
                raise TimeoutError
        return self._line.receive()

    def kill(self) -> None:
        """End it and what it has started."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def end(self, by_itself: bool) -> str:
        """End it where it has not ended `by_itself`, and remove its files; how it ended."""
        self._line.close()
        for kill in (not by_itself, True):
            if kill:
                self.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):  # one that waits for a dead disk does not end
                self._process.wait(STEP_SECONDS)
        self._held.close()
        code = self._process.returncode or 0
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


class _Line:
    """One end of a connection. Values pass through `memory`, a file that both ends hold open.

    Arrays so take a quarter of the time, and sending waits for nobody, however large a value is.
    """

    def __init__(self, connection: Connection, memory: int) -> None:
        self.connection, self._memory = connection, FileIO(memory, "r+")

    def send(self, value: object) -> None:
        """Send a value to the other end, which has answered the one before."""
        arrays: list[pickle.PickleBuffer] = []
        content = pickle.dumps(value, pickle.HIGHEST_PROTOCOL, buffer_callback=arrays.append)
        self._memory.seek(0)
        self._memory.truncate()
        sizes = [self._memory.write(content), *(self._memory.write(array.raw()) for array in arrays)]
        self.connection.send_bytes(pickle.dumps(sizes))

    def receive(self) -> Any:
        """The value that comes next. Raises EOFError where the other end has ended."""
        sizes = pickle.loads(self.connection.recv_bytes())
        self._memory.seek(0)
        content, *arrays = (bytearray(size) for size in sizes)
        for part in (content, *arrays):
            self._memory.readinto(part)
        return pickle.loads(content, buffers=arrays)

    def close(self) -> None:
        """Close this end."""
        self.connection.close()
        self._memory.close()


def _memory(folder: Path) -> int:
    """A file in memory, or else in `folder`, that is gone when nobody holds it open."""
    if sys.platform == "linux":
        return os.memfd_create("cxrcad")
    return os.open(folder / "arrays", os.O_RDWR | os.O_CREAT, 0o600)


def serve(handle: int, memory: int) -> None:
    """Read the files, and cut findings from the maps, that come through the connection `handle`, until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_with_parent()
    line = _Line(Connection(handle), memory)
    with contextlib.suppress(EOFError, OSError):
        reading = line.receive()
        line.send(None)
        while True:
            line.send(_answer(reading, line.receive()))


def _answer(reading: Reading, value: Path | Inferred) -> Answer | Result | CxrcadError | None:
    """What is read of a file, or the result of maps; None where the caller shall see the fault itself."""
    if isinstance(value, Path):
        return reading.read(value)
    try:
        return value.result()
    except CxrcadError as error:
        return error
    except Exception:
        return None


def _end_with_parent() -> None:
    """Linux: be ended with the thread that started this process, and before it where memory runs out.

    Elsewhere a process ends when its connection does, behind the file that it reads.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(SOONER)
