"""`cxrcad detect`."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import click

from cxrcad.cli.options import Command, with_settings
from cxrcad.cli.progress import Bar, note
from cxrcad.config import DetectConfig
from cxrcad.core import UsageError, WriteError

__all__ = ["command"]


def _file(context: click.Context, option: click.Parameter, value: str) -> Path:
    """The path of --out, whose last slash would otherwise be lost."""
    if value.endswith(("/", os.sep)):
        raise UsageError(f"--out {value}: is a folder; name the file, for example {value}boxes.json")
    return Path(value)


@click.command("detect", cls=Command)
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path, readable=False))
@click.option(
    "--out",
    type=click.Path(allow_dash=True),
    callback=_file,
    default="boxes.json",
    show_default=True,
    metavar="FILE",
    help="Where the boxes go: JSON, or a CSV table where the name ends in .csv; - for stdout.",
)
@click.option(
    "--overlay", type=click.Path(path_type=Path), metavar="DIR", help="Write each radiograph with its boxes as PNG."
)
@click.option(
    "--html",
    type=click.Path(path_type=Path),
    metavar="PAGE",
    help="Write a page of all cases with their boxes, a slider for the score and a filter, in one file.",
)
@with_settings(DetectConfig)
def command(config: DetectConfig, paths: tuple[Path, ...], out: Path, overlay: Path | None, html: Path | None) -> None:
    """Find nodules in PATHS: DICOM, JSRT .IMG, PNG, TIFF, JPEG, MHA, NIfTI, or folders and zip archives of these.

    A model that is made for another lesion finds that one; --lesion demands such a model.
    Exit code 0 when every file was done, 1 when some failed (they are in "failures"; the others are done). What lies
    beside radiographs in a folder or archive and is none is in "skipped".
    """
    from cxrcad.commands.detect import detect_to_file

    document: list[str] = []  # for stdout, which a bar on a terminal holds until it ends
    try:
        with Bar("image") as bar:
            place = document.append if str(out) == "-" else out
            summary = detect_to_file(config, paths, place, overlay, bar, html)
    except (KeyboardInterrupt, WriteError):
        with contextlib.suppress(BrokenPipeError):  # Ctrl-C also stops who reads it
            click.echo("".join(document), nl=False)
        raise
    click.echo("".join(document), nl=False)
    note(summary.sentence)
    if summary.failed:
        raise click.exceptions.Exit(1)
