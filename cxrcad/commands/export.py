"""`cxrcad export`: a trained fold packaged as a model."""

from __future__ import annotations

from pathlib import Path

from cxrcad.commands.train import training_libraries
from cxrcad.config import ExportConfig
from cxrcad.files import Progress

__all__ = ["export"]


def export(run: Path, out: Path, config: ExportConfig, progress: Progress | None = None) -> str:
    """Package a fold of `run` in `out`; one sentence.

    Raises what `packaging.package.export_run` does, and TrainingError where a library of the extra `train` is missing.
    """
    with training_libraries("export"):
        from cxrcad.packaging.package import export_run
    return export_run(run, out, config, progress)
