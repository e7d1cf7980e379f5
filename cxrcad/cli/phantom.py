"""`cxrcad phantom`."""

from __future__ import annotations

from pathlib import Path

import click

from cxrcad.cli.options import Command, with_settings
from cxrcad.config import PhantomConfig
from cxrcad.core import counted

__all__ = ["command"]


@click.command("phantom", cls=Command)
@click.argument("out", type=click.Path(path_type=Path))
@with_settings(PhantomConfig)
def command(config: PhantomConfig, out: Path) -> None:
    """Write synthetic chest radiographs with nodules, lung masks and truth to OUT, in JSRT's and SCR's layout."""
    from cxrcad.synthesis.phantom.dataset import write_phantoms

    before = ", in place of those that were there" if (out / "CLNDAT_EN.txt").is_file() else ""
    written = write_phantoms(out, config)
    what = f"{counted(len(written.cases), 'phantom')}, {len(written.positives)} with a nodule"
    click.echo(f"{written.folder}: {what}{before}")
