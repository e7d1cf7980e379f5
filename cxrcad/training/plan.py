"""`cxrcad train` as a library call: a data folder -> a run folder with one trained fold, or five."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

from cxrcad import config as settings
from cxrcad.config import LESIONS, NO_FOLD, PatchClassifierConfig, SynthesisConfig, TrainConfig
from cxrcad.core import DataError, NetworkError, TrainingError, UsageError
from cxrcad.datasets.content import check_content, read_content, write_content
from cxrcad.datasets.folds import WHOLE, Split, load_folds, make_folds, save_folds, whole, with_part
from cxrcad.datasets.jsrt.reader import Dataset
from cxrcad.datasets.read import how_to_get, read_data
from cxrcad.documents import toml_value
from cxrcad.files import Progress, Silent, write_atomically
from cxrcad.inference.model import CARD_NAME, RUN_FOLDER
from cxrcad.networks.blocks import RESIDUAL
from cxrcad.networks.registry import build_network
from cxrcad.synthesis.nodules import ANALYTIC
from cxrcad.training.device import check_device
from cxrcad.training.initial_weights import initial_model
from cxrcad.training.loop import train_fold
from cxrcad.training.losses import make_balance
from cxrcad.training.out_of_fold import with_out_of_fold
from cxrcad.training.patch_classifier.loop import initial_models, train_patch_classifier

__all__ = ["lesion_of", "train"]

CONFIG = "config.toml"
FIRST_FOLD = "1"
MAY_CHANGE = (
    *("fold", "epochs", "max_steps", "checkpoint_minutes", "validate_epochs"),
    *("device", "threads", "workers", "precision", "runs", "run", "resume", "allow_unknown_series"),
)
"""Settings that may be given anew with --resume; every other one would make it another training."""


def train(config: TrainConfig, progress: Progress | None = None) -> Path:
    """The folder of the run: config.toml, folds.json, and fold1 ... fold5 as far as they were asked for.

    With the fold `none`, fold0 instead: a training on every case. With `config.resume`, goes on in `config.run` (else
    in the newest run of `config.runs`) with the run's own settings, and leaves finished folds as they are. Raises
    DataError, UsageError, TrainingError, ReadError, WriteError.
    """
    progress = progress or Silent()
    folder = _run_folder(config)
    if config.resume:
        config = _resumed(config, folder)
    if config.data.data is None:
        raise DataError(how_to_get(config.data.lesion))
    config = replace(config, fold=config.fold or FIRST_FOLD)
    _check(config)
    _check_one_network(config, folder)
    dataset = read_data(config.data)
    for note in dataset.notes:
        progress.note(note)
    for note in _unused(config):
        progress.note(note)
    asked = config
    if config.fold == NO_FOLD:
        config = with_out_of_fold(config, progress)
    folds_file = folder / "folds.json"
    there = folds_file.is_file()
    if there:
        check_content(folder, dataset, "give the data that the run was begun with, or another --run")
    splits = load_folds(folds_file, dataset) if there else make_folds(dataset, config.data.fold_seed)
    chosen = [split for split in splits if config.fold in ("all", str(split.fold))]
    if config.fold == NO_FOLD:
        chosen = [whole(dataset)]
    for split in chosen:  # all of them before anything is written
        _check_starts(config, dataset, split, folder)
    if not there:
        write_content(folder, dataset)
        save_folds(folds_file, splits, dataset)
    for split in chosen:
        part = with_part(split, dataset, config.train_fraction) if config.train_fraction < 1 else split
        place = folder / f"fold{split.fold}"
        if config.resume and _finished(place):
            progress.note(f"fold {split.fold} is finished already")
            continue
        kept = replace(asked, resume=False, run=None, fold=str(split.fold or NO_FOLD))
        write_atomically(place / CONFIG, settings.to_toml(kept))
        (train_patch_classifier if config.network.patch_classifier else train_fold)(
            config, dataset, part, place, progress
        )
    return folder


def lesion_of(run: Path) -> str:
    """The lesion that a trained run is of, from a fold's settings. Raises TrainingError, UsageError."""
    files = sorted(run.glob(f"fold?/{CONFIG}"))
    return (_read_kept(files[-1]) if files else TrainConfig()).data.lesion


def _check(config: TrainConfig) -> None:
    """Refuse, before anything is read or written, settings that no training can have.

    Raises UsageError, TrainingError, DataError.
    """
    if config.data.lesion != LESIONS[0]:
        _check_outlined(config)
    if config.max_steps == 0 and not (config.network.patch_classifier and config.classifier.classifier_weights):
        raise UsageError(
            "--max-steps 0: trains nothing; it is for --patch-classifier with --classifier-weights, where only the "
            "ensemble weight is chosen"
        )
    if config.threshold_from is not None and config.fold != NO_FOLD:
        raise UsageError(f"--threshold-from: is for --fold none, and the fold is {config.fold}; leave it out")
    make_balance(config.loss)
    try:
        build_network(config.network, config.grid.side)
    except NetworkError as error:
        raise UsageError(str(error)) from None
    check_device(config.device)
    nodules = config.synthesis.simulate
    if nodules is not None and nodules != ANALYTIC and not nodules.is_file():
        fault = "is a folder" if nodules.is_dir() else "there is no such file"
        raise DataError(f"{nodules}: {fault}; --simulate takes CT nodules (.npz), or {ANALYTIC}")


def _check_one_network(config: TrainConfig, folder: Path) -> None:
    """Refuse a fold of another network than the run's others have: their figures are pooled. Raises TrainingError."""
    own = folder / _folder_name(config.fold) / CONFIG
    given = settings.to_dict(config.network) | settings.to_dict(config.grid)
    for file in sorted(set(folder.glob(f"fold?/{CONFIG}")) - {own}):
        kept = settings.to_dict(_read_kept(file))
        for name, value in given.items():
            if kept[name] != value:
                raise TrainingError(
                    f"{file}: {name} is {kept[name]!r} and {value!r} was given; the folds of a run are pooled, so give "
                    "the same, or another --run"
                )


def _check_starts(config: TrainConfig, dataset: Dataset, split: Split, folder: Path) -> None:
    """Refuse models to start from that are not there, do not fit, or saw a held-out case.

    Raises UsageError, TrainingError, ModelError.
    """
    if config.resume and _finished(folder / f"fold{split.fold}"):
        return
    if config.network.patch_classifier:
        initial_models(config, dataset, split)
    elif config.initial_weights is not None:
        initial_model(config.initial_weights, "--initial-weights", config, dataset, split)


def _unused(config: TrainConfig) -> list[str]:
    """A sentence for each setting that was changed and that this training has no use for."""
    default, notes = TrainConfig(), []
    if config.network.width != default.network.width and config.network.network not in RESIDUAL:
        notes.append(f"--width {config.network.width} is not used: {config.network.network} has the paper's widths")
    if config.find.lung_threshold is not None and config.network.tasks == "single":
        notes.append("--lung-threshold is not used: a single-task network outlines no lungs")
    if config.synthesis.simulate is None:
        names = [flag for flag in _changed(config.synthesis) if flag.startswith("--simulate-")]
        if names:
            notes.append(f"{', '.join(names)} not used: no nodules are projected (--simulate)")
    if not config.network.patch_classifier:
        names = _changed(config.classifier)
        if names:
            notes.append(
                f"{', '.join(names)} not used: for a patch classifier, and this training has none (--patch-classifier)"
            )
    return notes


def _changed(part: SynthesisConfig | PatchClassifierConfig) -> list[str]:
    """The flags of the settings that are not the default ones."""
    given, usual = settings.to_dict(part), settings.to_dict(type(part)())
    return [one.flag for one in settings.settings_of(type(part)) if given[one.name] != usual[one.name]]


def _check_outlined(config: TrainConfig) -> None:
    """Raise UsageError for a setting that speaks of nodules where the lesion is outlined."""
    default = TrainConfig()
    nodules = {
        "--simulate": config.synthesis.simulate is not None,
        "--truth": config.loss.truth != default.loss.truth,
        "--protocol": config.data.protocol != default.data.protocol,
        "--patch-classifier": config.network.patch_classifier != default.network.patch_classifier,
        "--fold none": config.fold == NO_FOLD,
    }
    given = [flag for flag, changed in nodules.items() if changed]
    if given:
        raise UsageError(f"{given[0]}: is for nodules and not for --lesion {config.data.lesion}; leave it out")


def _finished(folder: Path) -> bool:
    return (folder / RUN_FOLDER / CARD_NAME).is_file()


def _resumed(config: TrainConfig, folder: Path) -> TrainConfig:
    """The settings that the run was begun with; of those given now, the ones that may change and were changed.

    Raises TrainingError for a setting that would make another training of it.
    """
    files = sorted(folder.glob(f"fold?/{CONFIG}"))
    own = folder / _folder_name(config.fold) / CONFIG
    if not files:
        return config
    file = own if config.fold is not None and own in files else files[-1]
    kept = settings.to_dict(_read_kept(file))
    given, default = settings.to_dict(config), settings.to_dict(TrainConfig())
    for name, value in given.items():
        if name in MAY_CHANGE:
            kept[name] = value if value != default[name] else kept[name]
        elif name == "data" and value is not None and read_content(folder) is not None:
            kept[name] = value  # known by its content, wherever it lies now
        elif value not in (default[name], kept[name]):
            raise TrainingError(
                f"{file}: {name} is {kept[name]!r} and {value!r} was given; leave it out, or start a new run"
            )
    return settings.build(TrainConfig, {**kept, "resume": True, "run": folder})


def _read_kept(file: Path) -> TrainConfig:
    """The settings that a fold was trained with. Raises TrainingError."""
    try:
        return settings.build(TrainConfig, toml_value(file.read_text(encoding="utf-8")), str(file))
    except (OSError, ValueError) as error:
        raise TrainingError(f"{file}: cannot be read ({error}); start a new run") from None


def _run_folder(config: TrainConfig) -> Path:
    """Where the run lies: the one named, the newest to resume, or a new one named by time and network."""
    if config.run is not None:
        if config.resume and not config.run.is_dir():
            raise TrainingError(f"{config.run}: there is no such run to resume; check --run, or leave out --resume")
        used = (config.run / "folds.json").is_file() and any(config.run.glob("fold?/checkpoint.safetensors"))
        if used and not config.resume and _begun(config):
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


def _begun(config: TrainConfig) -> bool:
    """Whether the run's folder holds the fold that is asked for (any, for all)."""
    assert config.run is not None
    return config.fold == "all" or (config.run / _folder_name(config.fold)).exists()


def _folder_name(fold: str | None) -> str:
    return WHOLE if fold == NO_FOLD else f"fold{fold or FIRST_FOLD}"
