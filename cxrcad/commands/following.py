"""Who follows a training for `cxrcad train`: the page training.html in the run's folder, and TensorBoard."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrcad.config import TrainConfig, command_line
from cxrcad.core import CxrcadError, TrainingError
from cxrcad.evaluation.trainings import figures_of, number, read_run
from cxrcad.report.drawing.validation_view import render_validation
from cxrcad.report.html import Made
from cxrcad.report.training_page import write_training_page

if TYPE_CHECKING:
    from cxrcad.training.log import Look, Watcher

__all__ = ["Page", "Several", "TensorBoard", "followers"]

PAGE_SECONDS = 60.0
"""Least time between two pages while a training goes on."""

TENSORBOARD = "tensorboard"
"""The folder of its files, in a fold's folder."""


def followers(config: TrainConfig, note: Callable[[str], None]) -> Several:
    """Those that the settings ask for. Raises TrainingError where --tensorboard has no library."""
    page = Page(command_line("cxrcad train", config), note)
    return Several(page, [page, TensorBoard()] if config.tensorboard else [page])


class Several:
    """Followers that are told the same; `page` is one of them."""

    def __init__(self, page: Page, each: Sequence[Watcher]) -> None:
        self.page, self.each = page, each

    def logged(self, fold: Path, entry: Mapping[str, Any]) -> None:
        """Tell each."""
        for one in self.each:
            one.logged(fold, entry)

    def epoch_ended(self, fold: Path, step: int, look: Look) -> None:
        """Tell each."""
        for one in self.each:
            one.epoch_ended(fold, step, look)


class Page:
    """Writes training.html after validations, at most once in PAGE_SECONDS; `finish` writes the last one.

    A page that cannot be written is noted, and the training goes on.
    """

    def __init__(self, command: str, note: Callable[[str], None]) -> None:
        self.command, self.note = command, note
        self.run: Path | None = None
        self.written = time.monotonic()

    def logged(self, fold: Path, entry: Mapping[str, Any]) -> None:
        """Write the page after a validation."""
        self.run = fold.parent
        if entry["event"] == "validation" and time.monotonic() - self.written >= PAGE_SECONDS:
            self.finish()

    def epoch_ended(self, fold: Path, step: int, look: Look) -> None:
        """Wait for the validation."""

    def finish(self) -> None:
        """Write the page, if a training was begun."""
        run = None if self.run is None else read_run(self.run)
        if run is None:
            return
        try:
            write_training_page(run, Made.today(self.command))
        except CxrcadError as error:
            self.note(f"no page of the training: {error}")
        self.written = time.monotonic()


class TensorBoard:
    """Writes scalars, and at the end of each epoch a picture of a validation case, for TensorBoard."""

    def __init__(self) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise TrainingError(
                f"--tensorboard needs {error.name or 'tensorboard'}, which is not installed; run pip install "
                "'cxrcad[tensorboard]'"
            ) from None
        self.open, self.writers = SummaryWriter, dict[Path, Any]()

    def logged(self, fold: Path, entry: Mapping[str, Any]) -> None:
        """Write the line's numbers; what an interrupted training wrote after this one's first step is hidden."""
        step = entry["step"]
        if entry["event"] == "start":
            self.writers[fold] = self.open(str(fold / TENSORBOARD), purge_step=step + 1)
        elif entry["event"] == "steps":
            for name in ("loss", "learning_rate", "waited"):
                self.writers[fold].add_scalar(f"training/{name}", number(entry, name), step)
        else:
            for name, value in figures_of(entry).items():
                self.writers[fold].add_scalar(f"validation/{name}", value, step)
        self.writers[fold].flush()

    def epoch_ended(self, fold: Path, step: int, look: Look) -> None:
        """Write the picture, where there is a validation case with a lesion."""
        import numpy as np

        seen = look()
        if seen is not None:
            sample, maps = seen
            picture = render_validation(sample, maps, f"{sample.case.name}, step {step}").reduce(2)
            self.writers[fold].add_image("validation case", np.asarray(picture), step, dataformats="HWC")
