"""A training's run in --out: its name, and whether an earlier call left one of the same settings and the same data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cxrcad.config import TrainConfig, build, to_dict
from cxrcad.core import DataError, UsageError
from cxrcad.datasets.content import check_content
from cxrcad.datasets.dataset import Dataset
from cxrcad.documents import toml_value

__all__ = ["KeptRuns", "check_data", "check_settings", "run_name"]

VERSION = "v2"
"""Of the way in which a run is named; runs of another are found by their settings."""

CONFIG = "config.toml"

NOT_IN_NAME = (
    *("data", "fold", "device", "threads", "workers", "runs", "run", "resume", "checkpoint_minutes"),
    "allow_unknown_series",
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
