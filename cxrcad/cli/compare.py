"""`cxrcad compare`."""

from __future__ import annotations

import click

from cxrcad.cli.options import Command, with_settings
from cxrcad.cli.progress import note
from cxrcad.config import EvaluateConfig

__all__ = ["command"]


@click.command("compare", cls=Command)
@click.argument("first")
@click.argument("second")
@with_settings(EvaluateConfig, leave_out=("run", "beside", "model", "predictions", "report", "seeds"))
def command(config: EvaluateConfig, first: str, second: str) -> None:
    """Paired difference of FIRST and SECOND on the same images, for every figure, with 95 % interval and p value.

    Each is a run or a packaged model, or both are files of predictions (with --truth). Interval: paired bootstrap over
    images; p: permutation test.
    """
    from cxrcad.commands.compare import report_comparison

    click.echo(report_comparison(first, second, config, note), nl=False)
