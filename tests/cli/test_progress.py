"""Progress on stderr: plain lines in a log, a bar on a terminal."""

from __future__ import annotations

import io
import sys

import pytest

from cxrcad.cli import progress
from cxrcad.cli.progress import Bar


@pytest.fixture
def log(monkeypatch, capsys):
    """`log()` -> the lines on a stderr that is no terminal, with a clock that goes 10 s a look."""
    looks = iter(range(0, 10_000, 10))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(looks)))
    return lambda: capsys.readouterr().err.splitlines()


def test_a_log_gets_a_line_now_and_then_with_the_time_left(log):
    with Bar("step") as bar:
        bar.start("fold 3", 100, 0)
        for done in range(1, 8):
            bar.step(done, 0.5)
        bar.note("epoch 1")
    lines = log()
    assert lines[0] == "fold 3: 100 steps"
    assert lines[1].startswith("fold 3: 3 of 100 steps, ")
    assert lines[1].endswith(" left, loss 0.5000")
    assert lines[-1] == "epoch 1"
    assert len(lines) < 6


def test_what_was_done_before_does_not_count_for_the_pace(log):
    with Bar("step") as bar:
        bar.start("fold 1", 1000, 900)
    assert log() == ["fold 1: 1000 steps, 900 done before"]
    with Bar("image") as bar:
        bar.start("toy", 1, 0)
        for _ in range(4):
            bar.step(0)
    lines = log()
    assert lines[0] == "toy: 1 image"
    assert lines[1].startswith("toy: 0 of 1 image, ")


@pytest.mark.parametrize(
    ("seconds", "said"), [(4.4, "4 s"), (59.7, "1 min 00 s"), (125, "2 min 05 s"), (7260, "2 h 01 min")]
)
def test_a_duration_is_told_in_two_units(seconds, said):
    assert progress._duration(seconds) == said


def test_a_terminal_gets_a_bar_with_the_count(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with Bar("step") as bar:
        bar.start("fold 3", 4, 0)
        bar.step(4, 0.25)
        bar.note("[epoch] 1")
    text = terminal.getvalue()
    assert "fold 3" in text
    assert "4/4" in text
    assert "loss 0.2500" in text
    assert "[epoch] 1" in text
