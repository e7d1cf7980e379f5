"""What a run's folder tells of its trainings, whatever became of them: settings, state, losses and validations.

Nothing in it is an error: a fold is shown as far as its files can be read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cxrcad.config import NO_FOLD, TrainConfig, build, to_dict
from cxrcad.core import CxrcadError
from cxrcad.datasets.folds import FOLDS_NAME, WHOLE
from cxrcad.documents import json_value, toml_value
from cxrcad.files import is_locked
from cxrcad.inference.model import CARD_NAME, RUN_FOLDER

__all__ = [
    "CONFIG",
    "FINISHED",
    "INTERRUPTED",
    "LOCK",
    "LOG_NAME",
    "PACKAGING",
    "RUNNING",
    "FoldTraining",
    "RunTrainings",
    "figures_of",
    "read_log",
    "read_run",
    "runs_in",
]

LOG_NAME = "log.jsonl"
"""In a fold's folder, a line of JSON for each event of its training: `start`, `steps` or `validation`."""

CONFIG = "config.toml"
HISTORY_NAME = "history.json"
LOCK = ".lock"

FINISHED, RUNNING, PACKAGING, INTERRUPTED = "finished", "running", "packaging", "interrupted"

Entry = Mapping[str, Any]

FIGURES = {"f1": "F1", "dice": "Dice", "lung_dice": "lung Dice"}
"""The names of figures in a validation's entry, and what they are called; sensitivities come behind them."""


@dataclass(frozen=True)
class FoldTraining:
    """One fold's training; `settings` is empty where its config.toml cannot be read."""

    folder: Path
    settings: Mapping[str, Any]
    finished: bool
    locked: bool
    log: tuple[Entry, ...]
    validations: tuple[Entry, ...]

    @property
    def name(self) -> str:
        """The fold: 1 to 5, or none for a training on every case."""
        return NO_FOLD if self.folder.name == WHOLE else self.folder.name[-1]

    @property
    def state(self) -> str:
        """Finished, running, packaging after the last step, or interrupted.

        A training of all folds holds the locks of those that it has finished until its end.
        """
        if self.finished or not self.locked:
            return FINISHED if self.finished else INTERRUPTED
        return PACKAGING if self.total_steps is not None and self.steps >= self.total_steps else RUNNING

    @property
    def network(self) -> str:
        """The network and its tasks, in words."""
        if not self.settings:
            return "unknown"
        if self.settings["patch_classifier"]:
            return "patch classifier"
        return f"{self.settings['network']}, {self.settings['tasks']}"

    @cached_property
    def losses(self) -> tuple[Entry, ...]:
        """The entries with a training loss, in order: of runs without a log, the validations."""
        entries = [entry for entry in self.log if entry.get("event") == "steps"] or self.validations
        return tuple(entry for entry in entries if number(entry, "loss") is not None)

    @property
    def steps(self) -> int:
        """Steps taken, as far as they are known."""
        return int(max((number(entry, "step") or 0 for entry in (*self.log, *self.validations)), default=0))

    @property
    def total_steps(self) -> int | None:
        """Steps of the whole training."""
        told = [number(entry, "total_steps") for entry in self.log]
        return next((int(total) for total in reversed(told) if total is not None), None)

    @property
    def loss(self) -> float | None:
        """The last mean training loss."""
        return number(self.losses[-1], "loss") if self.losses else None

    @property
    def minutes(self) -> float | None:
        """Minutes of training, interruptions apart."""
        told = [number(entry, "seconds") for entry in (*self.log, *self.validations)]
        return max((seconds / 60 for seconds in told if seconds is not None), default=None)

    @property
    def figures(self) -> Mapping[str, float]:
        """The figures of the last validation by name, 0-1."""
        return figures_of(self.validations[-1]) if self.validations else {}


@dataclass(frozen=True)
class RunTrainings:
    """A run: its folder and its folds in order."""

    folder: Path
    folds: tuple[FoldTraining, ...]


def read_run(folder: Path) -> RunTrainings | None:
    """The run in this folder; None where no training was begun in it."""
    places = sorted({file.parent for name in (CONFIG, HISTORY_NAME) for file in folder.glob(f"fold?/{name}")})
    return RunTrainings(folder, tuple(map(_fold, places))) if places else None


def runs_in(folder: Path) -> tuple[RunTrainings, ...]:
    """The run in this folder, or those in the folders in it, by name."""
    own = read_run(folder)
    if own is not None or (folder / FOLDS_NAME).is_file():
        return () if own is None else (own,)
    found = [read_run(place) for place in sorted(folder.iterdir()) if place.is_dir()]
    return tuple(run for run in found if run is not None)


def figures_of(entry: Entry) -> dict[str, float]:
    """The figures of a validation by name, 0-1, sensitivities at so many false positives per image last."""
    found = {words: number(entry, name) for name, words in FIGURES.items()}
    rates = entry.get("sensitivity")
    if isinstance(rates, Mapping):
        found |= {f"sensitivity at {rate.removesuffix('.0')}": number(rates, rate) for rate in rates}
    return {name: value for name, value in found.items() if value is not None}


def number(entry: Entry, name: str) -> float | None:
    """A number of the entry; None where there is none, or something else."""
    value = entry.get(name)
    return value if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) else None


def read_log(path: Path) -> tuple[Entry, ...]:
    """The lines of a log that are whole, each with its step; of a file that is not there, none."""
    return tuple(entry for line in _text(path).splitlines() for entry in _objects([_json(line)]))


def _fold(folder: Path) -> FoldTraining:
    try:
        settings = to_dict(build(TrainConfig, toml_value(_text(folder / CONFIG))))
    except (ValueError, CxrcadError):
        settings = {}
    finished, locked = (folder / RUN_FOLDER / CARD_NAME).is_file(), is_locked(folder / LOCK)
    history = _json(_text(folder / HISTORY_NAME))
    validations = _objects(history if isinstance(history, list) else [])
    return FoldTraining(folder, settings, finished, locked, read_log(folder / LOG_NAME), validations)


def _objects(values: Sequence[Any]) -> tuple[Entry, ...]:
    return tuple(value for value in values if isinstance(value, dict) and number(value, "step") is not None)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _json(text: str) -> Any:
    try:
        return json_value(text)
    except ValueError:
        return None
