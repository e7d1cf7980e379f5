"""`cxrcad phantom`."""

from __future__ import annotations

from pathlib import Path

import click

from cxrcad.cli.options import Command, with_settings
from cxrcad.cli.progress import Bar
from cxrcad.config import PhantomConfig

__all__ = ["command"]


@click.command("phantom", cls=Command)
@click.argument("out", type=click.Path(path_type=Path))
@with_settings(PhantomConfig)
def command(config: PhantomConfig, out: Path) -> None:
    """Write synthetic chest radiographs with nodules, lung masks and truth to OUT, in JSRT's and SCR's layout."""
    from cxrcad.commands.phantom import make_phantoms

    with Bar("phantom") as bar:
        sentence = make_phantoms(out, config, bar)
    click.echo(sentence)
