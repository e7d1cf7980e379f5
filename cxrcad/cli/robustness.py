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
    """Score a model on test cases as they are and under each perturbation: windows, noise, sizes, borders, devices.

    Prints sensitivity and F1 with the difference from the unperturbed cases and its paired 95 % interval; also written
    to robustness.md and robustness.json.
    """
    from cxrcad.commands.robustness import measure_robustness

    with Bar("image") as bar:
        text = measure_robustness(config, bar)
    click.echo(text, nl=False)
