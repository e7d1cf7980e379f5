"""`cxrcad demo`."""

from __future__ import annotations

from pathlib import Path

import click

from cxrcad.cli.progress import note

__all__ = ["command"]


@click.command("demo")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("demo"),
    show_default=True,
    metavar="DIR",
    help="Folder of the scans, boxes, overlays and report.",
)
@click.option("--cases", type=click.IntRange(1, 50), default=4, show_default=True, help="Number of phantom scans.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the phantoms.")
def command(out: Path, cases: int, seed: int) -> None:
    """Write phantom scans as DICOM, find their nodules with the packaged model, print boxes beside the truth."""
    from cxrcad.commands.demo import run_demo

    click.echo(run_demo(out, cases, seed, note), nl=False)
