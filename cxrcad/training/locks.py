"""One training at a time in a folder: a lock that the kernel holds for a process, and that ends with it."""

from __future__ import annotations

import functools
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from cxrcad.core import TrainingError, WriteError
from cxrcad.evaluation.trainings import LOCK
from cxrcad.files import take_lock

__all__ = ["check_free", "locked"]

_held: set[int] = set()


@contextmanager
def locked(folder: Path, wait: bool = False) -> Iterator[None]:
    """While it is open, no other training may open it for `folder`, which is made where it is missing.

    Raises TrainingError, which names the process that holds it, unless `wait` says to wait for that one; WriteError.
    """
    path = folder / LOCK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = _take(path, wait)
    except OSError as error:
        raise WriteError(f"{folder}: cannot be written ({error.strerror}); choose another place or make room") from None
    try:
        with suppress(OSError):  # on a full disk it goes unnamed
            os.ftruncate(handle, 0)
            os.write(handle, f"process {os.getpid()} on {socket.gethostname()}, since {datetime.now():%F %T}".encode())
        yield
    finally:
        if handle in _held:  # not in a process that was forked off
            with suppress(OSError):
                path.unlink()
            _held.discard(handle)
            os.close(handle)


def check_free(folder: Path) -> None:
    """Raise TrainingError where another training holds `folder`."""
    if (folder / LOCK).is_file():
        with locked(folder):
            return


def _take(path: Path, wait: bool) -> int:
    """The handle of the locked file."""
    _let_children_go()
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if take_lock(handle, path, wait=wait):
                _held.add(handle)
                return handle
        except BlockingIOError:
            holder = os.read(handle, 200).decode(errors="replace") or "another process"
            raise TrainingError(
                f"{path.parent}: is being trained by {holder}; wait for it, end it, or name another --run"
            ) from None
        finally:
            if handle not in _held:
                os.close(handle)


@functools.cache
def _let_children_go() -> None:
    """Processes that draw images do not keep the lock of a training that was killed."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_close_held)


def _close_held() -> None:
    for handle in _held:
        os.close(handle)
    _held.clear()
