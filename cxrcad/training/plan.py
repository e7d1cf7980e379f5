"""`cxrcad train` as a library call: a data folder -> a run folder with one trained fold, or five."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from cxrcad import config as settings
from cxrcad.config import (
    FINDINGS,
    LESIONS,
    NO_FOLD,
    LossConfig,
    PatchClassifierConfig,
    SynthesisConfig,
    TrainConfig,
    check_lesion_settings,
)
from cxrcad.core import DataError, NetworkError, TrainingError, UsageError
from cxrcad.datasets.content import check_content, write_content
from cxrcad.datasets.dataset import Dataset
from cxrcad.datasets.folds import FOLDS, FOLDS_NAME, WHOLE, Split, load_folds, make_folds, save_folds, whole, with_part
from cxrcad.datasets.read import how_to_get, read_data
from cxrcad.files import Progress, Silent, remove_leftovers, write_atomically
from cxrcad.inference.model import RUN_FOLDER
from cxrcad.networks.blocks import RESIDUAL
from cxrcad.networks.registry import build_network
from cxrcad.synthesis.nodules import ANALYTIC
from cxrcad.training.device import check_device
from cxrcad.training.distillation import start_distillation
from cxrcad.training.fine_tuning import check_fine_tuning
from cxrcad.training.initial_weights import initial_model
from cxrcad.training.locks import check_free, locked
from cxrcad.training.log import Watcher
from cxrcad.training.loop import train_fold
from cxrcad.training.losses import make_balance
from cxrcad.training.out_of_fold import with_out_of_fold
from cxrcad.training.patch_classifier.task import initial_models
from cxrcad.training.processes import Processes, open_processes
from cxrcad.training.resume import (
    CONFIG,
    begun,
    check_one_source,
    check_unused,
    finished,
    folder_name,
    lasting,
    new_folder,
    read_kept,
    repeated,
    resumed,
    run_folder,
)

__all__ = ["begin_folds", "lesion_of", "train"]

FIRST_FOLD = "1"


def train(
    config: TrainConfig,
    progress: Progress | None = None,
    given: Collection[str] | None = None,
    watcher: Watcher | None = None,
) -> Path:
    """The folder of the run: config.toml, folds.json, and fold1 ... fold5 as far as they were asked for.

    With the fold `none`, fold0 instead: a training on every case. With `config.resume`, goes on in `config.run` (else
    in the newest run of `config.runs`) with the run's own settings, and leaves finished folds as they are. `given`
    names the settings that were given to that end, whatever their value (without it, those that differ from the
    defaults): one that would make another training is refused. With `config.from_run`, they take the place of that
    run's. The `watcher` follows each fold.
    Of the processes that torchrun or Slurm started, the first one plans, and raises what goes wrong in any of them; the
    others end with ToldElsewhere. Raises DataError, UsageError, TrainingError, ReadError, WriteError.
    """
    processes = open_processes(config)
    with processes.telling(), ExitStack() as held:
        progress = progress if progress and processes.first else Silent()
        dataset, own = _planned(config, given, processes.size, held, progress) if processes.first else (None, None)
        plan = processes.share(own)
        assert plan is not None  # the first one's
        return _train(dataset or read_data(plan.config.data), plan, processes, progress, watcher)


def begin_folds(config: TrainConfig, progress: Progress, given: Collection[str]) -> tuple[Path, tuple[int, ...]]:
    """The run's folder with all that `train` writes before its first step, and the folds that are to be trained in it.

    Raises what `train` does before that.
    """
    with ExitStack() as held:
        plan = _planned(config, given, config.devices or 1, held, progress)[1]
    return plan.folder, tuple(split.fold for split in plan.splits)


@dataclass(frozen=True)
class _Plan:
    """What is to be trained, and where; `asked` are the settings that are kept."""

    config: TrainConfig
    asked: TrainConfig
    folder: Path
    splits: tuple[Split, ...]


def _train(dataset: Dataset, plan: _Plan, processes: Processes, progress: Progress, watcher: Watcher | None) -> Path:
    config = plan.config
    for number, split in enumerate(plan.splits):
        place = plan.folder / f"fold{split.fold}"
        if number and processes.first:  # the first one's are kept
            _keep_settings(plan.asked, split, place)
        part = with_part(split, dataset, config.train_fraction) if config.train_fraction < 1 else split
        train_fold(config, dataset, part, place, progress, processes, watcher)
    return plan.folder


def _planned(
    config: TrainConfig, given: Collection[str] | None, size: int, held: ExitStack, progress: Progress
) -> tuple[Dataset, _Plan]:
    """The data and what `size` processes are to train; `held` then holds the folds' folders."""
    given = _differing(config) if given is None else given
    if config.from_run is not None:
        config = repeated(config, given, progress)
    folder = run_folder(config)
    kept = config.from_run is not None or (config.resume and any(folder.glob(f"fold?/{CONFIG}")))
    if config.accumulate is None and size > 1 and not kept:
        config = replace(config, accumulate=size)
    if config.resume:
        config = resumed(config, folder, given, progress)
    if not config.data.folders:
        raise DataError(how_to_get(config.data.lesion))
    config = replace(config, fold=config.fold or FIRST_FOLD)
    _check(config)
    if config.micro_batches % size:
        raise UsageError(
            f"--accumulate {config.micro_batches}: {size} processes share the micro-batches of a step; give a multiple "
            f"of {size}, or to a run that has another number a number of processes that divides it"
        )
    new = config.run is None and not config.resume  # then a folder of that name is another training's of this second
    if not new:
        _check_one_recipe(config, folder)
        for place in sorted(folder.glob("fold?")):
            if config.fold == "all" or place.name == folder_name(config.fold):
                check_free(place)
    dataset = read_data(config.data)
    for note in (*dataset.notes, *_unused(config)):
        progress.note(note)
    if config.from_run is not None and not _same_data(config.from_run, dataset, "data" in given, progress):
        config = replace(config, from_run=None)  # its settings are repeated, its folds and weights cannot be
    asked = config
    if config.fold == NO_FOLD:
        config = with_out_of_fold(config, dataset, progress)
    _splits(config, dataset, None if new else folder)  # all that can be refused is, before anything is written
    if new:
        folder = new_folder(folder)
    todo = _begin(config, asked, dataset, folder, held, progress)
    return dataset, _Plan(config, asked, folder, tuple(todo))


def _same_data(run: Path, dataset: Dataset, given: bool, progress: Progress) -> bool:
    """Whether the data are those of the run that is repeated; where not, that is noted if they were `given`.

    Raises DataError where they were not.
    """
    remedy = "its settings are repeated" if given else "put them back as they were, or give --data to train on others"
    try:
        if not check_content(run, dataset, remedy):
            progress.note(f"{run}: it is not known on which data it was trained; of these, its settings are repeated")
            return False
    except DataError as error:
        if not given:
            raise
        progress.note(str(error))
        return False
    return True


def _begin(
    config: TrainConfig, asked: TrainConfig, dataset: Dataset, folder: Path, held: ExitStack, progress: Progress
) -> list[Split]:
    """The splits to train, once the run's folder has its files; `held` then holds their folders.

    The first fold's settings are written first, folds.json last: what is there after a kill can be resumed, and a run
    without folds.json can be begun again.
    """
    with locked(folder, wait=True):
        if not config.resume:
            check_unused(config, folder)
        _check_one_recipe(config, folder)
        splits, chosen = _splits(config, dataset, folder)
        todo = []
        for split in chosen:
            if config.resume and finished(folder / f"fold{split.fold}"):
                progress.note(f"fold {split.fold} is finished already")
            else:
                todo.append(split)
        places = [folder / f"fold{split.fold}" for split in todo]
        for place in places:
            held.enter_context(locked(place))
        for place in (folder, *places, *(place / RUN_FOLDER for place in places)):
            remove_leftovers(place)
        if todo:
            _keep_settings(asked, todo[0], places[0])
        if not (folder / FOLDS_NAME).is_file():
            write_content(folder, dataset)
            save_folds(folder / FOLDS_NAME, splits, dataset)
    return todo


def _splits(config: TrainConfig, dataset: Dataset, folder: Path | None) -> tuple[tuple[Split, ...], tuple[Split, ...]]:
    """The run's five splits, and those that are asked for; of a run that is to be made, `folder` is None.

    Raises DataError, TrainingError, UsageError, ModelError for data that are not the run's and for models to start from
    that are not there, do not fit, or saw a held-out case.
    """
    folds_file = folder / FOLDS_NAME if folder and (folder / FOLDS_NAME).is_file() else None
    places = [place.name for place in begun(folder) if place.name != WHOLE] if folder and not folds_file else []
    if places:
        raise TrainingError(
            f"{folder}: holds {places[0]} and no {FOLDS_NAME}, and only that says which cases {places[0]} holds out; "
            "put it back, or name another --run"
        )
    drawn = folds_file or (config.from_run / FOLDS_NAME if config.from_run else None)
    there = drawn is not None and drawn.is_file()
    least = 0 if config.loss.teacher and config.fold == NO_FOLD else FOLDS
    splits = load_folds(drawn, dataset) if drawn and there else make_folds(dataset, config.data.fold_seed, least)
    if folder and (folds_file or begun(folder)):
        check_content(folder, dataset, "give the data that the run was begun with, or another --run")
    chosen = tuple(split for split in splits if config.fold in ("all", str(split.fold)))
    if config.fold == NO_FOLD:
        chosen = (whole(dataset),)
    for split in chosen:
        if folder and config.resume and finished(folder / f"fold{split.fold}"):
            continue
        if config.network.patch_classifier:
            initial_models(config, dataset, split)
        elif config.initial_weights is not None:
            initial_model(config.initial_weights, "--initial-weights", config, dataset, split)
        if config.loss.teacher is not None:
            start_distillation(config, dataset, split)
    return splits, chosen


def _keep_settings(asked: TrainConfig, split: Split, place: Path) -> None:
    kept = replace(lasting(asked), resume=False, run=None, from_run=None, fold=str(split.fold or NO_FOLD))
    kept = replace(kept, devices=None, nodes=None, jobs=1)  # how it is started is no setting of the run
    write_atomically(place / CONFIG, settings.to_toml(kept))


def lesion_of(run: Path) -> str:
    """The lesion that a trained run is of, from a fold's settings."""
    files = sorted(run.glob(f"fold?/{CONFIG}"))
    return (read_kept(files[-1]) if files else TrainConfig()).data.lesion


def _check(config: TrainConfig) -> None:
    """Refuse, before anything is read or written, settings that no training can have.

    Raises UsageError, TrainingError, DataError.
    """
    lesion = config.data.lesion
    check_lesion_settings(config, lesion)
    if config.fold == NO_FOLD and LESIONS[lesion] != FINDINGS:
        raise UsageError(f"--fold {NO_FOLD}: is for nodules and not for --lesion {lesion}; leave it out")
    if config.max_steps == 0 and not (config.network.patch_classifier and config.classifier.classifier_weights):
        raise UsageError(
            "--max-steps 0: trains nothing; it is for --patch-classifier with --classifier-weights, where only the "
            "ensemble weight is chosen"
        )
    if config.loss.teacher is not None and config.network.patch_classifier:
        raise UsageError("--teacher: is for a segmentation network; leave it or --patch-classifier out")
    if config.threshold_from is not None and config.fold != NO_FOLD:
        raise UsageError(f"--threshold-from: is for --fold none, and the fold is {config.fold}; leave it out")
    check_fine_tuning(config)
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


def _check_one_recipe(config: TrainConfig, folder: Path) -> None:
    """Refuse a fold of another network or other CT nodules than the run's others: their figures are pooled.

    Raises TrainingError; DataError for a file of nodules that cannot be read.
    """
    check_one_source(config, folder, folder_name(config.fold))
    own = folder / folder_name(config.fold) / CONFIG
    given = settings.to_dict(config.network) | settings.to_dict(config.grid) | {"teacher": lasting(config).loss.teacher}
    for file in sorted(set(folder.glob(f"fold?/{CONFIG}")) - {own}):
        kept = settings.to_dict(read_kept(file))
        for name, value in given.items():
            if kept[name] != value:
                raise TrainingError(
                    f"{file}: {name} is {kept[name]!r} and {value!r} was given; the folds of a run are pooled, so give "
                    "the same, or another --run"
                )


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
    if config.loss.teacher is not None:
        names = [flag for flag in _changed(config.loss) if flag not in ("--teacher", "--balance", "--balance-start")]
        if names:
            notes.append(f"{', '.join(names)} not used: the teacher's maps are learned, and not masks (--teacher)")
    if not config.network.patch_classifier:
        names = _changed(config.classifier)
        if names:
            notes.append(
                f"{', '.join(names)} not used: for a patch classifier, and this training has none (--patch-classifier)"
            )
    return notes


def _differing(config: TrainConfig) -> list[str]:
    """The settings that are not the default ones."""
    default = settings.to_dict(TrainConfig())
    return [name for name, value in settings.to_dict(config).items() if value != default[name]]


def _changed(part: LossConfig | SynthesisConfig | PatchClassifierConfig) -> list[str]:
    """The flags of the settings that are not the default ones."""
    given, usual = settings.to_dict(part), settings.to_dict(type(part)())
    return [one.flag for one in settings.settings_of(type(part)) if given[one.name] != usual[one.name]]
