"""`cxrcad insertion-test`."""

from __future__ import annotations

import click

from cxrcad.cli.options import Command, with_settings
from cxrcad.cli.progress import Bar
from cxrcad.config import InsertionTestConfig

__all__ = ["command"]


@click.command("insertion-test", cls=Command)
@with_settings(InsertionTestConfig, leave_out=("lesion", "protocol"))
def command(config: InsertionTestConfig) -> None:
    """Test whether a model responds to insertion artefacts: its scores on inserted background patches.

    One place of each background is scored untouched, with a contralateral and a blurred background patch inserted
    (negative insertions), and with a nodule inserted. Give --fold and --data to take only patients that the model was
    not trained on. Also written to insertion_test.md and insertion_test.json.
    """
    from cxrcad.commands.insertion_test import run_insertion_test

    with Bar("radiograph") as bar:
        text = run_insertion_test(config, bar)
    click.echo(text, nl=False)
