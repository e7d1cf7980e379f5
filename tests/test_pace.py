"""The time that is left is told once, from the steps after the first, where it is worth telling."""

from __future__ import annotations

import pytest

from cxrcad import files


class Told:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def start(self, title: str, total_steps: int, done_steps: int) -> None: ...

    def step(self, done_steps: int, loss: float | None = None) -> None: ...

    def note(self, text: str) -> None:
        self.lines.append(text)


@pytest.mark.parametrize(
    ("total", "lines"),
    [
        (3004, ["1 h 40 min for the 3,000 steps left at 2 s each on this machine, and some more for validation"]),
        (24, ["40 s for the 20 steps left at 2 s each on this machine, and some more for validation"]),
        (23, []),
        (2, []),
    ],
)
def test_the_time_left_is_that_of_the_steps_after_the_first(
    total: int, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 50.0, *(50.0 + 6.0 * count for count in range(1, 9))])
    monkeypatch.setattr(files.time, "monotonic", lambda: next(clock))
    told = Told()
    timed = files.Pace(total, told, "steps", more=", and some more for validation")
    for done in range(1, min(total, 8) + 1):
        timed.step(done)
    assert told.lines == lines
