"""`cxrcad robustness`."""

from __future__ import annotations

import click

from cxrcad.cli.options import Command, with_settings
from cxrcad.cli.progress import Bar
from cxrcad.config import RobustnessConfig

__all__ = ["command"]


@click.command("robustness", cls=Command)
@with_settings(RobustnessConfig, leave_out=("lesion",))
def command(config: RobustnessConfig) -> None:
    """Score a model on test cases as they are and under each alteration: windows, noise, sizes, borders, devices.

    Prints sensitivity and F1 with the difference from the unaltered and its paired 95 % interval; also written to
    robustness.md and robustness.json.
    """
    from cxrcad.evaluation.robustness import measure_robustness

    with Bar("image") as bar:
        text = measure_robustness(config, bar)
    click.echo(text, nl=False)
