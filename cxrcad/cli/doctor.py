"""`cxrcad doctor`."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from cxrcad.cli.options import Command, with_settings
from cxrcad.config import DoctorConfig

__all__ = ["command"]

MOST_COLUMNS = 100


@click.command("doctor", cls=Command)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("."),
    show_default="here",
    metavar="DIR",
    help="Folder in which results are going to be written.",
)
@click.option("--json", "as_json", is_flag=True, help="The same as JSON.")
@with_settings(DoctorConfig)
def command(config: DoctorConfig, out: Path, as_json: bool) -> None:
    """Try all that `cxrcad detect` needs: providers, decoders, models and their checksums, memory, disk, libraries.

    Each provider runs a small network, each decoder reads a small picture, each model runs a small image. What is
    broken has a sentence and a remedy. Exit code 0 where all that is needed works, 1 where something is broken.
    """
    from cxrcad.commands.doctor import examine_machine

    report = examine_machine(config, out)
    columns = min(shutil.get_terminal_size().columns, MOST_COLUMNS)
    click.echo(report.json() if as_json else report.text(columns), nl=False)
    if report.broken:
        raise click.exceptions.Exit(1)
