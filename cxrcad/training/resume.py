"""The folder of a run: which one it is, what was begun in it, and with which settings and inputs it goes on.

Inputs are what a checkpoint's steps were made from: its cases, the file of CT nodules, the initial models.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from cxrcad import config as settings
from cxrcad.config import NO_FOLD, TrainConfig
from cxrcad.core import Case, DataError, TrainingError, UsageError, WriteError
from cxrcad.datasets.content import CONTENT_NAME, content_of
from cxrcad.datasets.folds import FOLDS, FOLDS_NAME, WHOLE
from cxrcad.documents import fault_words, toml_value
from cxrcad.evaluation.trainings import CONFIG
from cxrcad.files import Progress, sha256_of
from cxrcad.inference.model import CARD_NAME, RUN_FOLDER, resolve_model
from cxrcad.synthesis.nodules import ANALYTIC
from cxrcad.training.initial_weights import lasting_name
from cxrcad.training.state import CHECKPOINT, read_record

__all__ = [
    "CONFIG",
    "begun",
    "changed_inputs",
    "check_inputs",
    "check_one_source",
    "check_unused",
    "finished",
    "folder_name",
    "inputs_of",
    "lasting",
    "new_folder",
    "read_kept",
    "repeated",
    "resumed",
    "run_folder",
]

MAY_CHANGE = (
    *("fold", "epochs", "max_steps", "checkpoint_minutes", "validate_epochs"),
    *("device", "devices", "nodes", "jobs", "timeout_minutes", "threads", "workers", "precision"),
    *("runs", "run", "resume", "allow_unknown_series", "tensorboard", "input_cache", "cache"),
)
"""Settings that may be given anew with --resume; every other one would make it another training.

`data` may be, too, where the run's content.json says whether they are the same.
"""

PLACES = ("data", "simulate", "threshold_from", "runs", "cache")
MODELS = ("initial_weights", "classifier_weights", "teacher")
"""Settings that are paths, and those that are a model's name or path: kept so that every working folder finds them."""


def folder_name(fold: str | None) -> str:
    """The folder, in a run, of the fold."""
    return WHOLE if fold == NO_FOLD else f"fold{fold or 1}"


def finished(place: Path) -> bool:
    """Whether the fold in this folder is trained and packaged."""
    return (place / RUN_FOLDER / CARD_NAME).is_file()


def begun(run: Path) -> list[Path]:
    """The folders of folds in which a training left a checkpoint or a model."""
    return [place for place in sorted(run.glob("fold?")) if (place / CHECKPOINT).is_file() or finished(place)]


def run_folder(config: TrainConfig) -> Path:
    """Where the run lies: the one named, the newest to resume, or a new one named by time and network.

    Raises TrainingError where there is none to resume, or one to resume that is to be begun.
    """
    if config.run is not None:
        if config.resume and not config.run.is_dir():
            raise TrainingError(f"{config.run}: there is no such run to resume; check --run, or leave out --resume")
        if not config.resume:
            check_unused(config, config.run)
        return config.run
    if config.resume:
        times: dict[Path, float] = {}
        for file in (*config.runs.glob(f"*/{FOLDS_NAME}"), *config.runs.glob(f"*/fold?/{CONFIG}")):
            run = file.parent if file.name == FOLDS_NAME else file.parent.parent
            times[run] = max(times.get(run, 0.0), file.stat().st_mtime)
        if not times:
            raise TrainingError(f"{config.runs}: there is no run to resume; leave out --resume, or name --run")
        return max(times, key=lambda run: times[run])
    return config.runs / f"{datetime.now():%Y%m%d-%H%M%S}-{config.network.network}-{config.network.tasks}"


def new_folder(wanted: Path) -> Path:
    """A folder that was not there before, made: `wanted`, or with -2, -3 behind its name. Raises WriteError."""
    try:
        wanted.parent.mkdir(parents=True, exist_ok=True)
        for number in itertools.count(1):
            folder = wanted if number == 1 else wanted.with_name(f"{wanted.name}-{number}")
            try:
                folder.mkdir()
            except FileExistsError:
                continue
            return folder
    except OSError as error:
        raise WriteError(f"{wanted}: cannot be made ({error.strerror}); choose another --runs or make room") from None
    raise AssertionError("itertools.count ends")


def check_unused(config: TrainConfig, run: Path) -> None:
    """Refuse to begin a fold that the run's folder holds already. Raises TrainingError."""
    if any(config.fold == "all" or place.name == folder_name(config.fold) for place in begun(run)):
        raise TrainingError(f"{run}: there is a training in this folder already; use --resume or another --run")


def read_kept(file: Path) -> TrainConfig:
    """The settings that a fold was trained with. TrainingError for what is damaged, or cut off: a fold's are whole."""
    try:
        values = toml_value(file.read_text(encoding="utf-8"))
        missing = [name for name in ("data", "side", "network", "seed") if name not in values]
        if missing:
            raise ValueError(f"{', '.join(missing)} missing")
        return settings.build(TrainConfig, values, str(file))
    except (OSError, ValueError, UsageError) as error:
        raise TrainingError(f"{file}: cannot be read ({fault_words(error)}); start a new run") from None


def lasting(config: TrainConfig) -> TrainConfig:
    """`config` with paths that do not depend on the working folder."""
    values = settings.to_dict(config)
    return settings.build(TrainConfig, {name: _absolute(name, value) for name, value in values.items()})


def _absolute(name: str, value: Any) -> Any:
    if isinstance(value, list):
        return [_absolute(name, one) for one in value]
    if value is None or (name == "simulate" and Path(value) == ANALYTIC):
        return value
    if name in MODELS:
        return lasting_name(value)
    return str(Path(value).absolute()) if name in PLACES else value


def resumed(config: TrainConfig, run: Path, given: Collection[str], progress: Progress) -> TrainConfig:
    """The settings that the run was begun with; of those that are `given` now, the ones that may change.

    Without a fold given: the one begun last, or all five where the run was begun with all. Raises TrainingError for a
    setting that would make another training of it.
    """
    files = sorted(run.glob(f"fold?/{CONFIG}"))
    own = run / folder_name(config.fold) / CONFIG
    if not files:
        if not config.data.folders:
            raise TrainingError(f"{run}: no training was begun in it; leave out --resume, and give --data")
        return config
    file = own if "fold" in given and own in files else files[-1]
    kept = settings.to_dict(read_kept(file))
    now = settings.to_dict(config)
    bound = (*MAY_CHANGE, "data") if (run / CONTENT_NAME).is_file() else MAY_CHANGE
    for name in (*PLACES, *MODELS):
        if name not in given or name not in bound:
            kept[name] = _found(name, kept[name], run, progress)
    if _is_of_all(run):
        kept["fold"] = "all"
    for name in given:
        value = _absolute(name, now[name])
        if name in bound:
            kept[name] = value
        elif value != kept[name]:
            raise TrainingError(
                f"{file}: {name} is {kept[name]!r} and {now[name]!r} was given; leave it out, or start a new run"
            )
    return replace(settings.build(TrainConfig, kept), resume=True, run=run)


def repeated(config: TrainConfig, given: Collection[str], progress: Progress) -> TrainConfig:
    """The settings of the run `config.from_run`, those that are `given` now in their place, for a run of its own.

    Without a fold given: the run's fold, or all five where several were begun or it is of all. Raises UsageError beside
    --resume, TrainingError where no training was begun in the run.
    """
    run = config.from_run
    assert run is not None
    if config.resume:
        raise UsageError(f"--from-run {run}: repeats a run in a new folder, and --resume goes on in one; leave one out")
    files = sorted(run.glob(f"fold?/{CONFIG}"))
    if not files:
        raise TrainingError(f"{run}: no training was begun in it; name the folder of a run with --from-run")
    own = run / folder_name(config.fold) / CONFIG
    kept, now = (
        settings.to_dict(read_kept(own if "fold" in given and own in files else files[-1])),
        settings.to_dict(config),
    )
    if len(files) > 1 or _is_of_all(run):
        kept["fold"] = "all"
    for name in (*PLACES, *MODELS):
        kept[name] = _found(name, kept[name], run, progress)
    own_to_this = ("runs", "run", "from_run")
    return settings.build(TrainConfig, kept | {name: now[name] for name in (*given, *own_to_this)})


def _is_of_all(run: Path) -> bool:
    """Whether a run is of all folds: it then holds all their folders from the start."""
    return all((run / folder_name(str(fold))).is_dir() for fold in range(1, FOLDS + 1))


def _found(name: str, value: Any, run: Path, progress: Progress) -> Any:
    """A run's path as an absolute one: older runs have it relative to the folder in which they were begun.

    That may be the working folder, or one that holds the run.
    """
    if isinstance(value, list):
        return [_found(name, one, run, progress) for one in value]
    path = Path(str(value))
    if value is not None and not path.is_absolute() and not path.exists() and name != "runs":
        for parent in run.absolute().parents:
            if (parent / path).exists():
                progress.note(f"--{name.replace('_', '-')} {value}: found at {parent / path}")
                return str(parent / path)
    return _absolute(name, value)


def inputs_of(config: TrainConfig, cases: Sequence[Case]) -> dict[str, Any]:
    """By name: the SHA-256 of each case (image, truth, lung masks) and of the files that `config` starts from.

    Raises DataError for a file that cannot be read, ModelError.
    """
    classifier = config.classifier.classifier_weights if config.network.patch_classifier else None
    return {
        "cases": {case.name: _digest(case) for case in cases},
        "simulate": _nodules_sha256(config),
        "initial_weights": _model_sha256(config.initial_weights),
        "classifier_weights": _model_sha256(classifier),
        "teacher": _model_sha256(config.loss.teacher),
    }


def _nodules_sha256(config: TrainConfig) -> str | None:
    simulate = config.synthesis.simulate
    try:
        return None if simulate in (None, ANALYTIC) else sha256_of(Path(str(simulate)))
    except OSError as error:
        raise DataError(f"{simulate}: cannot be read ({error.strerror}); copy the file again") from None


def check_one_source(config: TrainConfig, run: Path, own: str) -> None:
    """Refuse CT nodules of another file than the run's other folds than `own` had: the folds are pooled.

    Checkpoints of earlier versions do not name the file. Raises TrainingError; DataError for a file that cannot be
    read.
    """
    now = _nodules_sha256(config)
    for path in sorted(run.glob(f"fold?/{CHECKPOINT}")):
        before = read_record(path).get("inputs") if path.parent.name != own else None
        if isinstance(before, dict) and before.get("simulate", now) != now:
            raise TrainingError(
                f"{path}: was made with other CT nodules than --simulate names now; the folds of a run are pooled, so "
                "give the same file, or another --run"
            )


def _model_sha256(name: str | None) -> str | None:
    return None if name is None else resolve_model(name).sha256


def _digest(case: Case) -> str:
    content = content_of(case)
    return hashlib.sha256(f"{content.image} {content.truth} {content.masks}".encode()).hexdigest()


def check_inputs(path: Path, before: Any, now: Mapping[str, Any]) -> None:
    """Raise TrainingError where the checkpoint `path` was made from other inputs; an older one does not name them."""
    changed = changed_inputs(before, now) if isinstance(before, dict) else []
    if changed:
        raise TrainingError(
            f"{path}: was made before {changed[0]} changed; put that back as it was, or remove this file and "
            "--resume trains the fold from its first step"
        )


def changed_inputs(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between the inputs of two trainings, in words."""
    ways = {
        "simulate": "the CT nodules (--simulate)",
        "initial_weights": "the model of --initial-weights",
        "classifier_weights": "the model of --classifier-weights",
        "teacher": "the model of --teacher",
    }
    changed = [words for name, words in ways.items() if name in before and before[name] != now[name]]
    cases = before.get("cases")
    if isinstance(cases, dict):
        names = sorted(name for name in {*cases, *now["cases"]} if cases.get(name) != now["cases"].get(name))
        changed += [f"the image, truth or lung masks of {name}" for name in names[:1]]
    return changed
