"""`cxrcad info`."""

from __future__ import annotations

from pathlib import Path

import click

from cxrcad.cli.progress import note

__all__ = ["command"]


@click.command("info")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path, readable=False))
@click.option("--json", "as_json", is_flag=True, help="The same as JSON, a document for each.")
def command(paths: tuple[Path, ...], as_json: bool) -> None:
    """Say what PATHS are: a radiograph (size, spacing and its source, what was done to its pixels), a model or a run.

    Of a folder of radiographs, name the files. Exit code 1 when some failed; the others are described.
    """
    from cxrcad.commands.info import describe_paths

    described = describe_paths(paths, as_json, note)
    click.echo(described.text, nl=False)
    if described.failed:
        raise click.exceptions.Exit(1)
