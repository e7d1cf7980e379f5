"""Ctrl-C, SIGTERM and lost processes during a training: what was reached at the end of a step is kept."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from cxrcad.core import TrainingError

__all__ = ["ProcessLost", "Stopping", "children_as_before", "ignore_signals", "without_interrupts"]

SIGNALS = (signal.SIGINT, signal.SIGTERM)
AGAIN_SECONDS = 2.0
"""Within this time a second signal is the first one once more, as a launcher and a process group send it."""


class ProcessLost(TrainingError):
    """A process that draws training images ended; the steps that were taken are whole."""


class Stopping:
    """While it is open, a signal within `step` waits for its end; one that then leaves it calls `keep`.

    So does a ProcessLost. The signals go to whoever took them before. One that comes AGAIN_SECONDS after the first and
    still within the step does not wait, and nothing of that step is kept; while `keep` works none but such a one is
    heeded. Signals that are ignored stay so, and outside the main thread, which alone gets them, nothing is changed.

    Where `several` processes train together, a signal to any of them ends all after the same step: it waits whenever it
    comes, but in `work`, until they have `agreed` within a step.
    """

    def __init__(self, keep: Callable[[], object], several: bool = False) -> None:
        self.keep, self.several = keep, several
        self.before: dict[int, Any] = {}
        self.inside, self.broken, self.agreed = several, False, True
        self.waiting: int | None = None
        self.since = 0.0

    def __enter__(self) -> Stopping:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self.before[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        try:
            if kind in (KeyboardInterrupt, ProcessLost) and not self.broken:
                self.inside = True
                self.keep()
        finally:
            for number, handler in self.before.items():
                signal.signal(number, handler)

    @contextmanager
    def step(self) -> Iterator[None]:
        """What must not be left half done."""
        self.inside = self.broken = True
        try:
            yield
            self.broken = False
        finally:
            self.inside = self.several
        if self.waiting is not None and self.agreed:
            number, self.waiting = self.waiting, None
            self._pass_on(number, None)
        elif self.several and self.agreed:
            raise KeyboardInterrupt

    @contextmanager
    def work(self) -> Iterator[None]:
        """What is done between steps; a signal does not wait for its end."""
        self.inside = False
        try:
            yield
        finally:
            self.inside = self.several

    def _take(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.waiting is None:
            self.since = now
        if self.inside and now - self.since < AGAIN_SECONDS:
            self.waiting = number
        else:
            self._pass_on(number, frame)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        handler = self.before[number]
        if callable(handler):
            handler(number, frame)
        else:
            signal.signal(number, handler)
            os.kill(os.getpid(), number)


def ignore_signals() -> None:
    """From now on neither signal is heeded: the process ends by itself, and has something to say before."""
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)


@contextmanager
def without_interrupts() -> Iterator[None]:
    """Processes that are started within get neither signal, which may be sent to a whole group: their parent ends them.

    It has to: Python waits at its exit for those that did not heed its SIGTERM. With the parent gone they end by
    themselves (torch's DataLoader looks for it).
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, set(SIGNALS))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def children_as_before() -> Iterator[None]:
    """Leaves SIGCHLD to whom it went before: torch would raise wherever the training is, in the middle of a step too.

    Without that it finds a lost process where it waits for what that should have drawn.
    """
    if not hasattr(signal, "SIGCHLD") or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL if before is None else before)
