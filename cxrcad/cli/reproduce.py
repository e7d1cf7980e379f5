"""`cxrcad reproduce`."""

from __future__ import annotations

from typing import Any

import click

from cxrcad.cli.options import Command, with_settings
from cxrcad.cli.progress import Bar, note
from cxrcad.config import ReproduceConfig
from cxrcad.paper.cells import FORMER_ITEMS, ITEMS, profile_file

__all__ = ["command"]


class _ItemName(click.Choice):  # type: ignore[type-arg]  # click 8.1 takes none
    """The name of an item; a former one is taken with a note."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value in FORMER_ITEMS:
            note(f"{value} is now {FORMER_ITEMS[value]}")
        return super().convert(FORMER_ITEMS.get(value, value), param, ctx)


@click.command("reproduce", cls=Command)
@click.argument("item", type=_ItemName(list(ITEMS)))
@click.option(
    "--list", "listed", is_flag=True, help="Print the jobs, their state and how long they take here; run none."
)
@with_settings(
    ReproduceConfig,
    leave_out=(
        *("fold", "run", "runs", "resume", "from_run", "threshold_from"),
        *("devices", "nodes", "jobs", "tensorboard"),
    ),
    recipe=lambda config: profile_file(config.profile),
)
def command(config: ReproduceConfig, item: str, listed: bool) -> None:
    """Train and score what ITEM of the paper compares, and print its table with our figures beside the paper's.

    Items that are not in the paper: ablations and classifier-ablations, where each cell changes one thing of the
    recipe that --config names, and training-size.

    The table is also written to --out as ITEM.md, with ITEM.json. Finished trainings are used again, so the same
    command continues after an interruption. Exit code 1 if a job failed; the others are still done.
    """
    from cxrcad.commands.reproduce import list_jobs, reproduce

    with Bar("step") as bar:
        if listed:
            click.echo(list_jobs(item, config, bar), nl=False)
            return
        try:
            done = reproduce(item, config, bar)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("stopped; run the same command to continue") from None
    click.echo(done.text, nl=False)
    if done.failed:
        note(f"{done.failed} of {done.jobs} jobs failed; run the same command to try them again")
        raise click.exceptions.Exit(1)
