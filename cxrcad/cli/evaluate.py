"""`cxrcad evaluate`."""

from __future__ import annotations

import click

from cxrcad.cli.options import Command, with_settings
from cxrcad.cli.progress import note
from cxrcad.config import EvaluateConfig

__all__ = ["command"]


@click.command("evaluate", cls=Command)
@with_settings(EvaluateConfig)
def command(config: EvaluateConfig) -> None:
    """F1, recall and precision of a run's test cases, as the paper's Table 2, with lung Dice and threshold.

    Scores the newest run that holds the fold unless --run or --model names another; hit rule and image set are printed.
    With --lesion effusion: Dice, and sensitivity, specificity and ROC area of images.
    """
    from cxrcad.commands.evaluate import report_evaluation

    click.echo(report_evaluation(config, note), nl=False)
