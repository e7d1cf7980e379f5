"""`cxrcad info`."""

from __future__ import annotations

from pathlib import Path

import click

from cxrcad.cli.paths import with_paths
from cxrcad.cli.progress import note

__all__ = ["command"]


@click.command("info")
@with_paths("paths")
@click.option("--json", "as_json", is_flag=True, help="The same as JSON, a document for each.")
@click.option(
    "--sheet", type=click.Path(path_type=Path), metavar="FILE", help="Write a contact sheet of a data set as PNG."
)
def command(paths: tuple[Path, ...], as_json: bool, sheet: Path | None) -> None:
    """Say what PATHS are: a radiograph (size, spacing and its source, what was done to its pixels), a model or a run.

    Of a data folder (layouts: docs/DATA.md): images, lesions by label and size, patients, spacing, lung masks, notes.
    Of any other folder of radiographs, name the files. Exit code 1 when some failed; the others are described.
    """
    from cxrcad.commands.info import describe_paths

    described = describe_paths(paths, as_json, note, sheet)
    click.echo(described.text, nl=False)
    if described.failed:
        raise click.exceptions.Exit(1)
