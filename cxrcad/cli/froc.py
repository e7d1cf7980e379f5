"""`cxrcad froc`."""

from __future__ import annotations

import click

from cxrcad.cli.options import Command, with_settings
from cxrcad.cli.progress import note
from cxrcad.config import EvaluateConfig

__all__ = ["command"]


@click.command("froc", cls=Command)
@with_settings(EvaluateConfig)
def command(config: EvaluateConfig) -> None:
    """Sensitivity against false positives per image, at 1/8 ... 8: a table, and froc.png, .svg, .json and .csv.

    Scores the newest run that holds the fold unless --run or --model names another; --beside RUN draws a second curve.
    """
    from cxrcad.commands.froc import report_froc

    click.echo(report_froc(config, note), nl=False)
