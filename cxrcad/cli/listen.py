"""`cxrcad listen`."""

from __future__ import annotations

import click

from cxrcad.cli.options import OF_BATCHES, Command, with_settings
from cxrcad.cli.progress import Bar
from cxrcad.config import ListenConfig

__all__ = ["command"]


@click.command("listen", cls=Command)
@with_settings(ListenConfig, leave_out=OF_BATCHES)
def command(config: ListenConfig) -> None:
    """Take radiographs from DICOM senders (C-STORE), find nodules, send reports to a peer.

    What is acknowledged is in the queue on disk: a kill at any moment loses and doubles nothing, and the next start
    goes on. `cxrcad queue` tells what became of it. Ctrl-C and SIGTERM end it.
    """
    from cxrcad.commands.listen import listen

    with Bar("image") as bar:
        listen(config, bar)
