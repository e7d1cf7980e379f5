"""`cxrcad runs`."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["command"]


@click.command("runs")
@click.argument("folders", nargs=-1, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="The same as JSON, with all figures and settings.")
def command(folders: tuple[Path, ...], as_json: bool) -> None:
    """List the trainings in a folder of runs (default: runs), or compare runs.

    A row for each fold: network, state (running, finished, interrupted), steps, loss, last validation, minutes. Of two
    or more runs: the settings that differ, their figures beside each other, and whether their data are the same.
    """
    from cxrcad.commands.runs import describe_runs

    click.echo(describe_runs(folders, as_json), nl=False)
