"""`cxrcad simulate`: a data set of radiographs with projected nodules, and one sentence about it."""

from __future__ import annotations

from pathlib import Path

from cxrcad.config import SimulateConfig
from cxrcad.core import counted
from cxrcad.files import Progress
from cxrcad.synthesis.dataset import write_simulated

__all__ = ["simulate"]


def simulate(out: Path, config: SimulateConfig, progress: Progress) -> str:
    """Write the radiographs to `out`; how many they are. Raises UsageError, DataError, ReadError, WriteError."""
    radiographs, marked = write_simulated(out, config, progress)
    what = f"{marked} with a nodule"
    if config.background_patches:
        what = f"{marked} with a negative insertion, none with a nodule"
    return f"{out}: {counted(radiographs, 'radiograph')}, {what}"
