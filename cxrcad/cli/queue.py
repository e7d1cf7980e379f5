"""`cxrcad queue`."""

from __future__ import annotations

import click

from cxrcad.cli.options import Command, with_settings
from cxrcad.config import QueueConfig

__all__ = ["command"]


@click.command("queue", cls=Command)
@click.option("--retry", is_flag=True, help="Have what failed, or waits for its next try, done at once.")
@with_settings(QueueConfig)
def command(config: QueueConfig, retry: bool) -> None:
    """Tell what became of the images that `listen` or `watch` took, and why some failed; it may work meanwhile."""
    from cxrcad.commands.queue import report, retried

    click.echo(retried(config) if retry else report(config), nl=False)
