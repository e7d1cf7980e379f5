"""`cxrcad train`: a run with its trained folds, and what to do with it next."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cxrcad.config import NODULE, TrainConfig
from cxrcad.core import TrainingError
from cxrcad.datasets.folds import WHOLE
from cxrcad.files import Progress
from cxrcad.inference.model import CARD_NAME, RUN_FOLDER

__all__ = ["Trained", "train_run", "training_libraries"]


@dataclass(frozen=True)
class Trained:
    """The run's folder, and one sentence that names the commands to go on with."""

    run: Path
    sentence: str


@contextlib.contextmanager
def training_libraries(work: str) -> Iterator[None]:
    """Raise TrainingError where what is imported inside needs a library of the extra `train` that is not installed."""
    try:
        yield
    except ImportError as error:
        missing = error.name or str(error)
        raise TrainingError(
            f"{work} needs {missing}, which is not installed; run pip install 'cxrcad[train]'"
        ) from None


def train_run(config: TrainConfig, progress: Progress, given: frozenset[str]) -> Trained:
    """Train the folds that `config` names; `given` has the names of the settings that were given.

    Raises what `training.plan.train` does, and TrainingError where a library of the extra `train` is not installed.
    """
    with training_libraries("training"):
        from cxrcad.training.plan import lesion_of, train
    try:
        run = train(config, progress, given)
    except KeyboardInterrupt:
        usual = TrainConfig().runs
        place = f" --run {config.run}" if config.run else f" --runs {config.runs}" if config.runs != usual else ""
        again = f"cxrcad train --resume{place}"
        raise KeyboardInterrupt(f"stopped; `{again}` goes on from what is kept") from None
    if (run / WHOLE / RUN_FOLDER / CARD_NAME).is_file():
        sentence = f"done: cxrcad detect SCAN --model {run / WHOLE} finds with it, cxrcad export packages it"
    elif lesion_of(run) == NODULE:
        sentence = f"done: cxrcad evaluate --run {run} and cxrcad froc --run {run} score it"
    else:
        sentence = f"done: cxrcad evaluate --lesion {lesion_of(run)} --run {run} scores it"
    return Trained(run, sentence)
