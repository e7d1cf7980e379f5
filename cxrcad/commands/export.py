"""`cxrcad export`: a trained fold packaged as a model."""

from __future__ import annotations

from pathlib import Path

from cxrcad.config import ExportConfig
from cxrcad.core import TrainingError
from cxrcad.files import Progress

__all__ = ["export"]


def export(run: Path, out: Path, config: ExportConfig, progress: Progress | None = None) -> str:
    """Package a fold of `run` in `out`; one sentence.

    Raises what `packaging.package.export_run` does, and TrainingError where a library of the extra `train` is missing.
    """
    try:
        from cxrcad.packaging.package import export_run
    except ImportError as error:
        missing = error.name or str(error)
        raise TrainingError(
            f"export needs {missing}, which is not installed; run pip install 'cxrcad[train]'"
        ) from None
    return export_run(run, out, config, progress)
