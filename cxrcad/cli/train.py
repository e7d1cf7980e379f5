"""`cxrcad train`."""

from __future__ import annotations

import click

from cxrcad.cli.options import Command, with_settings
from cxrcad.cli.progress import Bar, note
from cxrcad.config import LESIONS, TrainConfig
from cxrcad.core import TrainingError

__all__ = ["command"]


@click.command("train", cls=Command)
@with_settings(TrainConfig, tell_given=True)
def command(config: TrainConfig, given: frozenset[str]) -> None:
    """Train a network on a folder in JSRT's layout and package each fold in the run's folder.

    With --lesion effusion it learns pleural effusions, from a folder in the NIH layout with their outlines.
    The run's folder is printed. `cxrcad train --resume` goes on after an interruption and ends with the same weights
    (nearly, with CUDA).
    """
    try:
        from cxrcad.training.plan import lesion_of, train
    except ImportError as error:
        missing = error.name or str(error)
        raise TrainingError(
            f"training needs {missing}, which is not installed; run pip install 'cxrcad[train]'"
        ) from None
    with Bar("step") as bar:
        try:
            run = train(config, bar, given)
        except KeyboardInterrupt:
            again = f"cxrcad train --resume{f' --run {config.run}' if config.run else ''}"
            bar.note(f"stopped; `{again}` goes on from what is kept")
            raise
    if config.fold == "none":
        note(f"done: cxrcad detect SCAN --model {run / 'fold0'} finds with it, cxrcad export packages it")
    elif lesion_of(run) == LESIONS[0]:
        note(f"done: cxrcad evaluate --run {run} and cxrcad froc --run {run} score it")
    else:
        note(f"done: cxrcad evaluate --lesion {lesion_of(run)} --run {run} scores it")
    click.echo(str(run))
