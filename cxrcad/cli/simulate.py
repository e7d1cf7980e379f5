"""`cxrcad simulate`."""

from __future__ import annotations

from pathlib import Path

import click

from cxrcad.cli.options import Command, with_settings
from cxrcad.cli.progress import Bar
from cxrcad.config import SimulateConfig

__all__ = ["command"]


@click.command("simulate", cls=Command)
@click.argument("out", type=click.Path(path_type=Path))
@with_settings(SimulateConfig, also={"positives": "--cases", "negatives": "--normals"})
def command(config: SimulateConfig, out: Path) -> None:
    """Write radiographs with one projected nodule each, and others without, in JSRT's layout.

    OUT must be new or empty. Afterwards `cxrcad train --data OUT` takes it.
    """
    from cxrcad.commands.simulate import simulate

    with Bar("radiograph") as bar:
        sentence = simulate(out, config, bar)
    click.echo(sentence)
