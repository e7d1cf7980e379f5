"""Ctrl-C and SIGTERM during a training: they wait for the end of a step, and what was reached is kept."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

__all__ = ["Stopping", "without_interrupts"]

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopping:
    """While it is open, a signal within `step` waits for its end; a KeyboardInterrupt that leaves it calls `keep`.

    The signals then go to whoever took them before. A second one within a step does not wait. Signals that are ignored
    stay so, and outside the main thread, which alone gets them, nothing is changed.
    """

    def __init__(self, keep: Callable[[], object]) -> None:
        self.keep = keep
        self.before: dict[int, Any] = {}
        self.inside = False
        self.waiting: int | None = None

    def __enter__(self) -> Stopping:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self.before[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
        if kind is KeyboardInterrupt:
            self.keep()

    @contextmanager
    def step(self) -> Iterator[None]:
        """What must not be left half done."""
        self.inside = True
        try:
            yield
        finally:
            self.inside = False
        if self.waiting is not None:
            number, self.waiting = self.waiting, None
            self._pass_on(number, None)

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self.inside and self.waiting is None:
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
