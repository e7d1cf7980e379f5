"""Options made from settings: groups, advanced ones, and flags under their former spelling."""

from __future__ import annotations

from dataclasses import dataclass

import click
import pytest
from click.testing import CliRunner, Result

from cxrcad.cli.options import Command, with_settings
from cxrcad.config import part, setting


@dataclass(frozen=True)
class Inner:
    width: int = setting(3, "width, pixels", low=1, was="breadth")
    tilt: bool = setting(False, "tilt it", was="slant", advanced=True)


@dataclass(frozen=True)
class Outer:
    inner: Inner = part(Inner, "Shape")
    name: str | None = setting(None, "name of it")


@click.command("make", cls=Command)
@with_settings(Outer)
def make(config: Outer) -> None:
    """Make it."""
    click.echo(config)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setattr("cxrcad.config.sources.ALL_CONFIGS", (Outer,))
    return lambda *arguments: CliRunner().invoke(make, arguments)


def test_options_stand_under_their_groups_and_advanced_ones_in_help_all(run) -> None:
    short, long = run("--help").output, run("--help-all").output
    assert short.index("Options:") < short.index("--name TEXT") < short.index("Shape:") < short.index("--width N")
    assert short.index("--width N") < short.index("General:") < short.index("--config FILE") < short.index("--help")
    assert "--tilt" not in short
    assert "--help-all" in short
    assert long.index("Shape:") < long.index("--tilt / --no-tilt") < long.index("General:")
    assert "--breadth" not in long


@pytest.mark.parametrize(
    ("flags", "width", "tilt", "notes"),
    [
        ((), 3, False, ""),
        (("--width", "5"), 5, False, ""),
        (("--breadth", "5"), 5, False, "--breadth is now --width\n"),
        (("--breadth", "5", "--width", "6"), 6, False, "--breadth is now --width\n"),
        (("--slant",), 3, True, "--slant is now --tilt\n"),
        (("--no-slant", "--tilt"), 3, True, "--slant is now --tilt\n"),
    ],
)
def test_a_former_flag_still_works_and_names_the_new_one(
    run, flags: tuple[str, ...], width: int, tilt: bool, notes: str
) -> None:
    done: Result = run(*flags)
    assert (done.exit_code, done.stderr) == (0, notes)
    assert done.stdout == f"{Outer(Inner(width, tilt))}\n"
