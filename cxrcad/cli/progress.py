"""Progress on stderr: a bar with the time left on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import click

from cxrcad.core import counted
from cxrcad.documents import printable

__all__ = ["Bar", "note"]

LINE_SECONDS = 30.0  # least time between two lines in a log


def note(text: str) -> None:
    """One line on stderr."""
    click.echo(printable(text), err=True)


class Bar:
    """A bar (terminal) or lines (log) for work of so many of a `unit` (image); keeps the Progress protocol.

    `stops` are those that were asked for (`main`). One that the work took for a fault is raised again at its next step.
    """

    def __init__(self, unit: str, stops: Sequence[int] | None = None) -> None:
        self.unit, self.stops = unit, stops
        self.title, self.total = "", 0
        self._bar: Any = None
        self._task: Any = None
        self._said = self._started = time.monotonic()
        self._first = 0

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def start(self, title: str, total_steps: int, done_steps: int) -> None:
        """Begin `total_steps` of work of which `done_steps` are done."""
        self.title, self.total, self._first = title, total_steps, done_steps
        self._started = self._said = time.monotonic()
        if not sys.stderr.isatty():
            note(f"{title}: {counted(total_steps, self.unit)}" + (f", {done_steps} done before" if done_steps else ""))
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        if self._bar is None:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, TextColumn("{task.fields[last]}"), console=Console(stderr=True))
            self._bar.start()
        self._task = self._bar.add_task(title, total=total_steps, completed=done_steps, last="")

    def step(self, done_steps: int, loss: float | None = None) -> None:
        """Say that `done_steps` are done; `loss` is shown where there is one."""
        if self.stops:
            raise KeyboardInterrupt
        last = "" if loss is None else f"loss {loss:.4f}"
        if self._bar is not None:
            self._bar.update(self._task, completed=done_steps, last=last)
        elif time.monotonic() - self._said >= LINE_SECONDS:
            self._said = time.monotonic()
            pace = (self._said - self._started) / max(1, done_steps - self._first)
            total, left = counted(self.total, self.unit), _duration(pace * (self.total - done_steps))
            note(f"{self.title}: {done_steps} of {total}, {left} left" + (f", {last}" if last else ""))

    def note(self, text: str) -> None:
        """One line above the bar, or in the log."""
        if self._bar is not None:
            self._bar.console.print(printable(text), markup=False, highlight=False)
        else:
            note(text)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
