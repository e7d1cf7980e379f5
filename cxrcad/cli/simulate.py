"""`cxrcad simulate`."""

from __future__ import annotations

from pathlib import Path

import click

from cxrcad.cli.options import Command, with_settings
from cxrcad.cli.progress import Bar
from cxrcad.config import SimulateConfig
from cxrcad.core import counted

__all__ = ["command"]


@click.command("simulate", cls=Command)
@click.argument("out", type=click.Path(path_type=Path))
@with_settings(SimulateConfig, also={"positives": "--cases", "negatives": "--normals"})
def command(config: SimulateConfig, out: Path) -> None:
    """Project one nodule into each of so many radiographs and write them, with others without, in JSRT's layout.

    OUT must be new or empty. It can then be named with --data.
    """
    from cxrcad.synthesis.dataset import write_simulated

    with Bar("radiograph") as bar:
        made = write_simulated(out, config, bar)
    what = f"{made.positives} with a nodule"
    if config.background_patches:
        what = f"{made.negative_insertions} with a negative insertion, none with a nodule"
    click.echo(f"{made.folder}: {counted(made.cases, 'radiograph')}, {what}")
