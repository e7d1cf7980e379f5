"""`cxrcad export`: a trained fold packaged as a model."""

from __future__ import annotations

from pathlib import Path

from cxrcad.commands.train import training_libraries
from cxrcad.config import ExportConfig
from cxrcad.files import Progress
from cxrcad.inference.model import load_bundle
from cxrcad.report.drawing.roc import plot_calibration

__all__ = ["export"]


def export(run: Path, out: Path, config: ExportConfig, progress: Progress | None = None) -> str:
    """Package a fold of `run` in `out`, with a reliability plot where its scores are calibrated; one sentence.

    Raises what `packaging.package.export_run` does, and TrainingError where a library of the extra `train` is missing.
    """
    with training_libraries("export"):
        from cxrcad.packaging.calibration import PICTURE, drawn_bins
        from cxrcad.packaging.package import export_run
    sentence = export_run(run, out, config, progress)
    bundle = load_bundle(out)
    bins, picture = drawn_bins(bundle.card), out / PICTURE
    if bins:
        on = f"{bundle.name}: scores calibrated on {bundle.card['calibration']['on']}"
        error = f"Expected calibration error {bundle.card['calibration']['expected_calibration_error']}."
        plot_calibration(bins, sorted(bundle.operating_points.values()), [picture], f"{on}. {error}")
    elif picture.is_file():
        picture.unlink()  # it shows the scores of the model that was here before
    return sentence
