"""`cxrcad fingerprint`."""

from __future__ import annotations

import click

from cxrcad.cli.options import Command, with_settings
from cxrcad.cli.progress import Bar
from cxrcad.config import InsertionTestConfig

__all__ = ["command"]


@click.command("fingerprint", cls=Command)
@with_settings(InsertionTestConfig, leave_out=("lesion", "protocol"))
def command(config: InsertionTestConfig) -> None:
    """Tell whether a model has learned the traces of inserting: its scores on shams, which hold no nodule.

    One place of each background is scored untouched, with two kinds of sham, and with a nodule. Give --fold and --data
    to take only patients that the model was not trained on. Also written to fingerprint.md and fingerprint.json.
    """
    from cxrcad.evaluation.insertion_test import measure_insertion_artefacts

    with Bar("radiograph") as bar:
        text = measure_insertion_artefacts(config, bar)
    click.echo(text, nl=False)
