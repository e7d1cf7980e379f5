"""`cxrcad train`: a run with its trained folds, and what to do with it next."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cxrcad.commands.following import followers
from cxrcad.config import NODULE, TrainConfig, command_line, to_dict
from cxrcad.core import ToldElsewhere, TrainingError, UsageError
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


def train_run(config: TrainConfig, progress: Progress, given: frozenset[str]) -> Trained | None:
    """Train the folds that `config` names; `given` has the names of the settings that were given.

    None where another process tells what became of it: the first of several that train together.
    Raises what `training.plan.train` does, and TrainingError where a library of the extra `train` is not installed.
    """
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # what torch notes of sockets and DDP is for its developers
    with training_libraries("training"):
        from cxrcad.training.launch import launch, train_folds
        from cxrcad.training.plan import lesion_of, train
        from cxrcad.training.processes import check_devices, is_first, started
    several = (config.devices or 1) > 1 and (config.nodes or 1) == 1
    following = followers(config, progress.note)
    try:
        if config.jobs > 1:
            of_the_run = config.fold is None and (config.resume or config.from_run is not None)
            if config.fold != "all" and not of_the_run:
                raise UsageError(f"--jobs {config.jobs}: is for --fold all; leave it out")
            run = train_folds(config, progress, given, _words(config, given.difference(("fold", "jobs", "run"))))
        elif several and started() is None:
            check_devices(config, progress)
            code = launch(config.devices or 1, _words(config, given))
            if code:
                raise ToldElsewhere(code)
            return None
        else:
            run = train(config, progress, given, following)
    except KeyboardInterrupt:
        usual = TrainConfig().runs
        place = f" --run {config.run}" if config.run else f" --runs {config.runs}" if config.runs != usual else ""
        again = f"cxrcad train --resume{place}"
        raise KeyboardInterrupt(f"stopped; `{again}` goes on from what is kept") from None
    finally:
        following.page.finish()
    if not is_first():
        return None
    if (run / WHOLE / RUN_FOLDER / CARD_NAME).is_file():
        sentence = f"done: cxrcad detect SCAN --model {run / WHOLE} finds with it, cxrcad export packages it"
    elif lesion_of(run) == NODULE:
        sentence = f"done: cxrcad evaluate --run {run} and cxrcad froc --run {run} score it"
    else:
        sentence = f"done: cxrcad evaluate --lesion {lesion_of(run)} --run {run} scores it"
    return Trained(run, sentence)


def _words(config: TrainConfig, names: frozenset[str]) -> list[str]:
    """`train` with the flags of the settings of these names, as arguments of `cxrcad`."""
    return shlex.split(command_line("train", config, {**to_dict(config), **dict.fromkeys(names, ...)}))
