"""A training's run in --out: its name, and whether an earlier call left one of the same settings and the same data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cxrcad.config import TrainConfig, build, to_dict
from cxrcad.core import CxrcadError, DataError, EvaluationError, UsageError
from cxrcad.datasets.content import check_content
from cxrcad.datasets.dataset import Dataset
from cxrcad.documents import toml_value
from cxrcad.evaluation.trainings import CONFIG
from cxrcad.files import read_json, sha256_of
from cxrcad.inference.model import CARD_NAME, RUN_FOLDER, resolve_model
from cxrcad.synthesis.nodules import ANALYTIC

__all__ = ["KeptRuns", "check_data", "check_settings", "check_sources", "run_name"]

VERSION = "v2"
"""Of the way in which a run is named; runs of another are found by their settings."""

CLASSIFIER = "--classifier-weights"

NOT_IN_NAME = (
    *("data", "fold", "device", "threads", "workers", "runs", "run", "resume", "checkpoint_minutes"),
    *("devices", "nodes", "jobs", "timeout_minutes", "allow_unknown_series"),
    *("tensorboard", "from_run", "input_cache", "cache"),
)
"""Settings that leave the training what it is, or that the fold's folder is named by."""


def run_name(config: TrainConfig) -> str:
    """The name of a training's run folder: what is trained, a hash of the settings that are not the default, the seed.

    A new setting changes no name as long as it has its default.
    """
    default = _decisive(TrainConfig())
    changed = {name: value for name, value in _decisive(config).items() if name != "seed" and value != default[name]}
    digest = hashlib.sha256(json.dumps(changed, sort_keys=True).encode()).hexdigest()
    network = config.network
    what = "patch-classifier" if network.patch_classifier else f"{network.network}-{network.tasks}"
    return f"{what}-{VERSION}-{digest[:8]}-s{config.seed}"


class KeptRuns:
    """The runs that lie in a folder, each with the settings of its folds, read once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._runs = {run: _folds(run) for run in sorted(folder.glob("*")) if run.is_dir()}

    def run_for(self, config: TrainConfig) -> Path:
        """The run that was trained with the same settings, whatever its name; a new one where there is none."""
        own = self.folder / run_name(config)
        same = [run for run, folds in self._runs.items() if folds and _difference(folds, config) is None]
        return own if own in same or not same else same[0]


def check_settings(runs: Mapping[Path, TrainConfig]) -> None:
    """Raise UsageError where a fold of one of the runs was trained with other settings than are given with the run.

    A run has its training's name and other settings where its folder was renamed, or its files were changed or copied.
    """
    for run, config in runs.items():
        found = _difference(_folds(run), config)
        if found is not None:
            file, fault = found
            raise UsageError(f"{file}: {fault}; {_remedy(file.parent)}")


def check_data(runs: Mapping[Path, TrainConfig], dataset: Dataset, note: Callable[[str], None]) -> None:
    """Raise UsageError where a run was made from other images, truth or masks than the data set's.

    The same data in another folder is the same. Runs of a version that did not keep their content are noted: of their
    data only the folder is known, and it must be the data set's.
    """
    unknown = []
    for run in filter(Path.is_dir, runs):
        try:
            known = check_content(run, dataset, _remedy(run))
        except DataError as error:
            raise UsageError(str(error)) from None
        folds = {} if known else _folds(run)
        for settings in folds.values():
            before = None if isinstance(settings, str) else settings["data"]
            if before is not None and Path(before).resolve() != dataset.folder.resolve():
                raise UsageError(
                    f"--out {run.parent.parent}: holds trainings on {before}, not on {dataset.where}, and only the "
                    "folder's name is known of their data; name another folder"
                )
        if folds:
            unknown.append(str(run))
    if unknown:
        note(f"trained before, and it is not known whether on these images and this truth: {', '.join(unknown)}")


def check_sources(folds: Mapping[Path, TrainConfig], note: Callable[[str], None]) -> None:
    """Raise UsageError where a finished fold, by its folder, was made from other nodules or models than lie there now.

    What an earlier version did not write down, and what does not lie there any more, is noted.
    """
    unknown = []
    for folder, config in folds.items():
        sources = _sources(config)
        before = _sources_of_card(folder / RUN_FOLDER / CARD_NAME) if sources else {}
        for flag, now in sources.items():
            if now is None or before[flag] is None:
                unknown.append(f"{folder} ({flag})")
            elif now != before[flag]:
                raise UsageError(
                    f"{folder}: {flag} names another file than it was trained with; {_remedy(folder.parent)}"
                )
    if unknown:
        note(f"trained before, and it is not known whether with these files: {', '.join(unknown)}")


def _sources_of_card(path: Path) -> dict[str, object]:
    """SHA-256 of the CT nodules and models that a fold was made from, by option; None where its card has none."""
    card = read_json(path, EvaluationError)
    training = card.get("training") if isinstance(card, dict) else None
    known = training if isinstance(training, dict) else {}
    names = {"--initial-weights": "init", CLASSIFIER: "second_init", "--teacher": "teacher"}
    starts = {flag: known.get(name) for flag, name in names.items()}
    models = {flag: one.get("sha256") if isinstance(one, dict) else None for flag, one in starts.items()}
    return {"--simulate": known.get("nodules_sha256"), **models}


def _sources(config: TrainConfig) -> dict[str, str | None]:
    """The same of the files that the settings name, as they are now; None for one that is not there any more."""
    from cxrcad.training.initial_weights import of_fold

    found: dict[str, str | None] = {}
    nodules = config.synthesis.simulate
    if nodules is not None and nodules != ANALYTIC:
        found["--simulate"] = sha256_of(nodules) if nodules.is_file() else None
    classifier = config.classifier.classifier_weights if config.network.patch_classifier else None
    starts = {"--initial-weights": config.initial_weights, CLASSIFIER: classifier, "--teacher": config.loss.teacher}
    for flag, name in starts.items():
        if name is not None:
            try:
                found[flag] = resolve_model(of_fold(Path(name), flag, int(config.fold or 1)) or name).sha256
            except CxrcadError:
                found[flag] = None
    return found


def _decisive(config: TrainConfig) -> dict[str, Any]:
    """The settings that decide a training, by name."""
    return {name: value for name, value in to_dict(config).items() if name not in NOT_IN_NAME}


def _folds(run: Path) -> dict[Path, dict[str, Any] | str]:
    """The settings of each fold that is begun or finished in the run, by their file; where unreadable, the fault."""
    begun = {file.parent for file in run.glob(f"fold?/{CONFIG}")}
    begun |= {card.parent.parent for card in run.glob("fold?/model/card.json")}
    found: dict[Path, dict[str, Any] | str] = {}
    for file in sorted(folder / CONFIG for folder in begun):
        try:
            found[file] = to_dict(build(TrainConfig, toml_value(file.read_text(encoding="utf-8")), str(file)))
        except UsageError as error:
            found[file] = str(error).removeprefix(f"{file}: ")
        except (OSError, ValueError) as error:
            found[file] = f"cannot be read ({error})"
    return found


def _difference(folds: Mapping[Path, dict[str, Any] | str], config: TrainConfig) -> tuple[Path, str] | None:
    """The first file that has other settings than the training, and what differs; None where they are the same."""
    wanted = _decisive(config)
    for file, kept in folds.items():
        if isinstance(kept, str):
            return file, kept
        for name, value in {**wanted, "fold": file.parent.name.removeprefix("fold")}.items():
            if kept[name] != value:
                return file, f"{name} is {kept[name]!r}, and this training has {value!r}"
    return None


def _remedy(folder: Path) -> str:
    return f"remove the folder {folder} to train it again, or name another folder with --out"
