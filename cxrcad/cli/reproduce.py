"""`cxrcad reproduce`."""

from __future__ import annotations

import click

from cxrcad.cli.options import Command, with_settings
from cxrcad.cli.progress import Bar, note
from cxrcad.config import ReproduceConfig
from cxrcad.paper.cells import ITEMS, profile_file

__all__ = ["command"]


@click.command("reproduce", cls=Command)
@click.argument("item", type=click.Choice(list(ITEMS)))
@click.option("--list", "listed", is_flag=True, help="Print the jobs with their state, and run none.")
@with_settings(
    ReproduceConfig,
    leave_out=("fold", "run", "runs", "resume", "threshold_from"),
    recipe=lambda config: profile_file(config.profile),
)
def command(config: ReproduceConfig, item: str, listed: bool) -> None:
    """Train and score what ITEM of the paper compares; its table, with the paper's figures beside ours.

    Items of our own: ablations and look-ablations, where each cell changes one thing of the recipe that --config
    names, and training-size.

    The text also goes to --out as ITEM.md, with ITEM.json. What is finished is not trained again: the same command goes
    on after an interruption. Exit code 1 when a job failed; the others are done.
    """
    from cxrcad.commands.reproduce import list_jobs, reproduce

    if listed:
        click.echo(list_jobs(item, config), nl=False)
        return
    with Bar("step") as bar:
        try:
            done = reproduce(item, config, bar)
        except KeyboardInterrupt:
            bar.note("stopped; the same command goes on from what is kept")
            raise
    click.echo(done.text, nl=False)
    if done.failed:
        note(f"{done.failed} of {done.jobs} jobs failed; the same command tries them again")
        raise click.exceptions.Exit(1)
