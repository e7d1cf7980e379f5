"""The log of a fold's training, a line of JSON every few steps, and who else watches it."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import nn

from cxrcad.core import WriteError
from cxrcad.datasets.samples import Sample
from cxrcad.evaluation.trainings import LOG_NAME, read_log
from cxrcad.files import write_atomically
from cxrcad.training.device import Backend, predict
from cxrcad.training.state import State

__all__ = ["EVERY_STEPS", "Look", "RunLog", "Unwatched", "Watcher", "look"]

T = TypeVar("T")

EVERY_STEPS = 50
"""Steps between two lines; the end of an epoch has one too."""

Seen = tuple[Sample, Mapping[str, NDArray[np.float32]]]
"""A validation case with what the network finds in it now: probability maps (H, W) by task."""

Look = Callable[[], Seen | None]


class Watcher(Protocol):
    """Who follows a training beside the log: a page and TensorBoard, which are above this layer."""

    def logged(self, fold: Path, entry: Mapping[str, Any]) -> None:
        """A line of the log of the fold in this folder was written."""

    def epoch_ended(self, fold: Path, step: int, look: Look) -> None:
        """An epoch has ended with this step; `look` takes a moment."""


class Unwatched:
    """A Watcher that does nothing."""

    def logged(self, fold: Path, entry: Mapping[str, Any]) -> None:
        """Do nothing."""

    def epoch_ended(self, fold: Path, step: int, look: Look) -> None:
        """Do nothing."""


def look(validation: Sequence[Sample], network: nn.Module, backend: Backend) -> Seen | None:
    """The first validation case with a lesion, and the network's maps of it."""
    sample = next((one for one in validation if one.lesion.any()), None)
    return None if sample is None else (sample, predict(network, sample.image, backend))


class RunLog:
    """Writes log.jsonl into a fold's folder, and tells the watcher of each line and of each epoch's end.

    What an interrupted training logged after the step from which it goes on is taken out. Without a watcher nothing is
    written: of several processes, the first one alone has one. `epoch_steps` need not be whole. Raises WriteError.
    """

    def __init__(
        self, folder: Path, state: State, epoch_steps: float, total_steps: int, watcher: Watcher | None
    ) -> None:
        self.folder, self.epoch_steps, self.total_steps, self.watcher = folder, epoch_steps, total_steps, watcher
        self.validations, self.loss_sum, self.steps = len(state.history), 0.0, 0
        self.waited, self.since = 0.0, time.monotonic()
        if watcher is None:
            return
        before = [entry for entry in read_log(folder / LOG_NAME) if entry["step"] <= state.step]
        write_atomically(folder / LOG_NAME, [json.dumps(entry) + "\n" for entry in before])
        lengths = {"total_steps": total_steps, "epoch_steps": round(epoch_steps, 4)}
        self._write({"event": "start", **self._place(state), **lengths})

    def timed(self, batches: Iterator[T]) -> Iterator[T]:
        """The batches; how long they are waited for goes into the log."""
        while True:
            asked = time.monotonic()
            try:
                batch = next(batches)
            except StopIteration:
                return
            self.waited += time.monotonic() - asked
            yield batch

    def took(self, loss: float) -> None:
        """A step with this loss was taken."""
        self.loss_sum, self.steps = self.loss_sum + loss, self.steps + 1

    def step(self, state: State, look: Look) -> None:
        """After a step, and perhaps a validation: write what is due."""
        if self.watcher is None:
            return
        epochs, before = (math.floor(step / self.epoch_steps + 1e-9) for step in (state.step, state.step - 1))
        epoch_ended = epochs > before or state.step == self.total_steps
        if epoch_ended or state.step % EVERY_STEPS == 0:
            self._steps(state)
        self.validated(state)
        if epoch_ended:
            self.watcher.epoch_ended(self.folder, state.step, look)

    def stopped(self, state: State) -> None:
        """The training is stopped after this step, which is kept."""
        if self.watcher is not None and self.steps:
            self._steps(state)

    def _steps(self, state: State) -> None:
        """Write the steps since the last line."""
        now = time.monotonic()
        told = {
            "loss": round(self.loss_sum / self.steps, 6),
            "learning_rate": state.optimizer.param_groups[0]["lr"],
            "waited": round(self.waited / max(now - self.since, 1e-9), 4),
        }
        self.loss_sum, self.steps, self.waited, self.since = 0.0, 0, 0.0, now
        self._write({"event": "steps", **self._place(state), **told})

    def validated(self, state: State) -> None:
        """Write the validations that the history has got since."""
        for entry in state.history[self.validations :]:
            self._write({"event": "validation", **self._place(state), **entry})
        self.validations = len(state.history)

    def _place(self, state: State) -> dict[str, Any]:
        epoch = round(state.step / self.epoch_steps, 4)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return {"time": now, "step": state.step, "epoch": epoch, "seconds": round(state.seconds, 1)}

    def _write(self, entry: Mapping[str, Any]) -> None:
        assert self.watcher is not None  # it is the first process
        path = self.folder / LOG_NAME
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
        except OSError as error:
            raise WriteError(f"{path}: cannot be written ({error.strerror}); make room, then --resume") from None
        self.watcher.logged(self.folder, entry)
