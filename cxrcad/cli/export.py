"""`cxrcad export`."""

from __future__ import annotations

from pathlib import Path

import click

from cxrcad.cli.options import Command, with_settings
from cxrcad.cli.progress import Bar
from cxrcad.config import ExportConfig

__all__ = ["command"]


@click.command("export", cls=Command)
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Folder of the packaged model."
)
@with_settings(ExportConfig)
def command(config: ExportConfig, run: Path, out: Path) -> None:
    """Package a trained fold of RUN as a model: safetensors, ONNX and card, torch compared with ONNX Runtime.

    RUN may also be a packaged model, by its folder or name.
    """
    from cxrcad.commands.export import export

    with Bar("step") as bar:
        sentence = export(run, out, config, bar)
    click.echo(sentence)
