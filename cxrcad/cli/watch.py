"""`cxrcad watch`."""

from __future__ import annotations

from pathlib import Path

import click

from cxrcad.cli.options import OF_BATCHES, Command, with_settings
from cxrcad.cli.progress import Bar
from cxrcad.config import WatchConfig

__all__ = ["command"]


@click.command("watch", cls=Command)
@click.argument("folder", type=click.Path(path_type=Path))
@with_settings(WatchConfig, leave_out=OF_BATCHES)
def command(config: WatchConfig, folder: Path) -> None:
    """Find nodules in each radiograph that comes into FOLDER or a folder in it, until it is stopped.

    A file is taken when it has stopped growing; it stays where it is. Results go to --out, to a peer, or both. A kill
    at any moment loses and doubles nothing, and the next start goes on. `cxrcad queue` tells what became of each.
    """
    from cxrcad.commands.watch import watch

    with Bar("image") as bar:
        watch(config, folder, bar)
