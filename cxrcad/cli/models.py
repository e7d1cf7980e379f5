"""`cxrcad models`."""

from __future__ import annotations

import click

__all__ = ["command"]


@click.command("models")
@click.option("--json", "as_json", is_flag=True, help="The cards as JSON.")
def command(as_json: bool) -> None:
    """List the packaged models: name, side, threshold, size, SHA-256, and what they were trained on."""
    from cxrcad.commands.models import describe_models

    click.echo(describe_models(as_json=as_json))
