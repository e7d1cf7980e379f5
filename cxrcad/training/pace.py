"""How long a training will take on this machine, told after its first steps."""

from __future__ import annotations

import time

from cxrcad.core import duration_words
from cxrcad.files import Progress

__all__ = ["Pace"]

WARM_UP = 1  # steps that are not timed: they allocate
TIMED = 3
FEWEST = 20
"""Steps that must be left for the time to be worth telling."""


class Pace:
    """Times a few steps after the first and tells `progress` once how long the others will take."""

    def __init__(self, total: int, progress: Progress) -> None:
        self.total, self.progress, self.taken, self.since = total, progress, 0, time.monotonic()

    def step(self, done: int) -> None:
        """Count one more step, after which `done` of all are done."""
        self.taken += 1
        if self.taken == WARM_UP:
            self.since = time.monotonic()
        elif self.taken == WARM_UP + TIMED and self.total - done >= FEWEST:
            seconds = (time.monotonic() - self.since) / TIMED
            left = self.total - done
            self.progress.note(
                f"{duration_words(left * seconds)} for the {left:,} steps left at {seconds:.2g} s each on this machine"
                ", and some more for validation"
            )
