"""`cxrcad lungs`."""

from __future__ import annotations

from pathlib import Path

import click

from cxrcad.cli.options import Command, with_settings
from cxrcad.cli.progress import Bar
from cxrcad.config import LungsConfig

__all__ = ["command"]


@click.command("lungs", cls=Command)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="MASKS", help="Folder of the masks.  [default: FOLDER/lungs]"
)
@with_settings(LungsConfig)
def command(config: LungsConfig, folder: Path, out: Path | None) -> None:
    """Write a model's lung masks for the radiographs of FOLDER, a data set or any folder of images.

    Radiographs of a data set that have a drawn mask get none. Data sets read the masks from their folder lungs, and say
    that a model made them. Exit code 1 when some radiographs failed; the others are done.
    """
    from cxrcad.commands.lungs import write_lungs

    with Bar("image") as bar:
        written = write_lungs(folder, out, config, bar)
    click.echo(written.sentence)
    if written.failed:
        raise click.exceptions.Exit(1)
