"""`cxrcad merge`."""

from __future__ import annotations

from pathlib import Path

import click

from cxrcad.cli.options import Command, given_files, with_tables
from cxrcad.cli.paths import with_paths

__all__ = ["command"]


@click.command("merge", cls=Command)
@with_paths("parts")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default="boxes.json",
    show_default=True,
    metavar="FILE",
    help="Where all boxes go: JSON, or a CSV table where the name ends in .csv.",
)
@with_tables
@click.option(
    "--identifiers/--no-identifiers",
    default=True,
    show_default=True,
    help="Write paths, names and DICOM UIDs; without, an image is called by the SHA-256 of its file.",
)
def command(parts: tuple[Path, ...], out: Path, identifiers: bool, **tables: Path | None) -> None:
    """Join PARTS, the boxes.json files that `cxrcad detect --shard` wrote, or folders of --engine ray, in one.

    Parts of another model or other settings are refused, and those whose work ended early.
    """
    from cxrcad.commands.merge import merge

    click.echo(merge(parts, out, given_files(tables), identifiers=identifiers), err=True)
