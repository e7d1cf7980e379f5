"""`cxrcad train`."""

from __future__ import annotations

import click

from cxrcad.cli.options import Command, with_settings
from cxrcad.cli.progress import Bar, note
from cxrcad.config import TrainConfig

__all__ = ["command"]


@click.command("train", cls=Command)
@with_settings(TrainConfig, tell_given=True)
def command(config: TrainConfig, given: frozenset[str]) -> None:
    """Train a network on a data folder (layouts: docs/DATA.md), and package each fold as a model in the run's folder.

    The defaults are the paper's: a fold of JSRT takes some 40 hours on two CPU cores. docs/TRAIN.md has a training of
    ten minutes. With --lesion effusion the network learns pleural effusions, from a folder in the NIH layout.

    The run's folder is printed. `cxrcad train --resume` continues after an interruption and ends with the same weights
    (nearly, with CUDA).
    """
    from cxrcad.commands.train import train_run

    with Bar("step") as bar:
        trained = train_run(config, bar, given)
    if trained is not None:
        note(trained.sentence)
        click.echo(str(trained.run))
