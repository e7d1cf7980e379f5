"""`cxrcad train` as a library call: a data folder -> a run folder with one trained fold, or five."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

from cxrcad import config as settings
from cxrcad.config import TrainConfig
from cxrcad.core import DataError, TrainingError
from cxrcad.datasets.folds import load_folds, make_folds, save_folds
from cxrcad.datasets.jsrt import how_to_get_data, read_jsrt
from cxrcad.jobs import Progress, Silent, write_atomically
from cxrcad.training.trainer import train_fold

__all__ = ["train"]


def train(config: TrainConfig, progress: Progress | None = None) -> Path:
    """The folder of the run: config.toml, folds.json, and fold1 ... fold5 as far as they were asked for.

    With `config.resume`, goes on in `config.run` (else in the newest run of `config.runs`) with the settings given
    now, and leaves finished folds as they are. Raises DataError, TrainingError, ReadError, WriteError.
    """
    progress = progress or Silent()
    if config.data.data is None:
        raise DataError(how_to_get_data())
    dataset = read_jsrt(config.data.data, protocol=config.data.protocol)
    for note in dataset.notes:
        progress.note(note)
    folder = _run_folder(config)
    folds_file = folder / "folds.json"
    if folds_file.is_file():
        splits = load_folds(folds_file, dataset)
    else:
        splits = make_folds(dataset, config.data.fold_seed)
        save_folds(folds_file, splits, dataset)
    write_atomically(folder / "config.toml", settings.to_toml(replace(config, resume=False, run=None)))
    wanted = [split for split in splits if config.fold in ("all", str(split.fold))]
    for split in wanted:
        fold_folder = folder / f"fold{split.fold}"
        if config.resume and (fold_folder / "model" / "card.json").is_file():
            progress.note(f"fold {split.fold} is finished already")
            continue
        train_fold(config, dataset, split, fold_folder, progress)
    return folder


def _run_folder(config: TrainConfig) -> Path:
    """Where the run lies: the one named, the newest to resume, or a new one named by time and network."""
    if config.run is not None:
        used = (config.run / "folds.json").is_file() and any(config.run.glob("fold?/checkpoint.safetensors"))
        if used and not config.resume and (config.fold == "all" or (config.run / f"fold{config.fold}").exists()):
            raise TrainingError(
                f"{config.run}: there is a training in this folder already; use --resume or another --run"
            )
        return config.run
    if config.resume:
        runs = sorted(path.parent for path in config.runs.glob("*/folds.json"))
        if not runs:
            raise TrainingError(f"{config.runs}: there is no run to resume; leave out --resume, or name --run")
        return max(runs, key=lambda run: (run / "folds.json").stat().st_mtime)
    return config.runs / f"{datetime.now():%Y%m%d-%H%M%S}-{config.network.network}-{config.network.tasks}"
