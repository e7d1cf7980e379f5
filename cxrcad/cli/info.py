"""`cxrcad info`."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["command"]


@click.command("info")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="The same as JSON.")
def command(path: Path, as_json: bool) -> None:
    """Say what PATH is: a radiograph (size, spacing and its source, what was done to its pixels), a model or a run."""
    from cxrcad.report.about import describe_path

    click.echo(describe_path(path, as_json=as_json))
